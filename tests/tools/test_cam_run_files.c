/* SPDX-License-Identifier: MIT */
/* The files that cam_run reads and writes: pictures and ready inputs of every kind, bundles, dumps. */
#include "tests/tools/start.h"
#include "weights/checksum.h"
#include "weights/npy.h"
#include "weights/store.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- inputs ---- */

TEST(inputs_that_cannot_be_read_have_exit_code_4)
{
    enter();
    write_file("empty", "", 0);
    write_file("text.jpg", "This is no picture.", 19);
    REFUSES(4, "missing.jpg: cannot open", NET, "-q", "missing.jpg");
    REFUSES(4, "empty", NET, "-q", "empty");
    REFUSES(4, "text.jpg", NET, "-q", "text.jpg");
    REFUSES(4, "/dev/null", NET, "-q", "/dev/null");
    REFUSES(4, ".: cannot read", NET, "-q", ".");
    REFUSES(4, "/dev/stdin", NET, "-q", "-"); /* empty */
    REFUSES(4, "tiny.jpg", NET, "-q", "--preprocess", "224x224:none", "tiny.jpg");
    CHECK(count_files(".", "", ".png") == 0);
}

TEST(of_several_pictures_a_broken_one_does_not_stop_the_others)
{
    enter();
    RUN(o, 1, NET, "--json", "tiny.jpg", "missing.jpg", "wide.jpg");
    CHECK(check_lines(o.out, o.out_size) == 2 && strstr(o.err, "missing.jpg: cannot open"));
    forget(&o);
    RUN(all, 4, NET, "--json", "missing.jpg", ".");
    CHECK(all.out_size == 0 && strstr(all.err, "missing.jpg: cannot open") && strstr(all.err, ".: cannot read"));
    forget(&all);
}

TEST(a_hyphen_reads_the_picture_from_standard_input)
{
    enter();
    copy_file("tiny.jpg", ".in");
    RUN(piped, 0, NET, "--json", "-");
    RUN(named, 0, NET, "--json", "tiny.jpg");
    CHECK_TEXT(json_at(piped.out, piped.out_size, "image"), "-");
    CHECK(!strcmp(strstr(piped.out, "\"net\""), strstr(named.out, "\"net\"")));
    forget(&piped), forget(&named);
    RUN(o, 0, NET, "--out", "o", "-");
    CHECK(count_files("o", "stdin-", ".png") == 1);
    forget(&o);
}

TEST(preprocessing_changes_the_input_as_it_says)
{
    enter();
    const char *const how[] = {"native", "paper", "96x64:bilinear", "96x64:bicubic"};
    const long height[] = {224, 224, 64, 64}, width[] = {224, 224, 96, 96};
    for (int i = 0; i < 4; i++) {
        wt_store *store;
        en_error e;
        RUN(o, 0, NET, "--preprocess", how[i], "wide.jpg", "--dump", how[i], "-m", "gradcam", "-c", "0");
        CHECK_OK(wt_open(how[i], &store, &e), e);
        const wt_tensor *map = wt_find(store, "0/gradcam/map");
        CHECK(map && map->rank == 2 && map->dim[0] == height[i] && map->dim[1] == width[i]);
        wt_close(store);
        forget(&o);
    }
    CHECK(same_bytes("native", "paper") && !same_bytes("96x64:bilinear", "96x64:bicubic"));
}

static void write_tensor(const char *name, int rank, const int64_t *dim, float value)
{
    en_error e;
    size_t n = 1;
    for (int i = 0; i < rank; i++) n *= (size_t)dim[i];
    float *data = malloc(n * sizeof *data);
    CHECK(data != NULL);
    for (size_t i = 0; i < n; i++) data[i] = (float)(i % 17) / 8 - 1;
    data[n / 2] = value;
    CHECK_OK(wt_npy_write(name, rank, dim, data, &e), e);
    free(data);
}

TEST(ready_inputs_of_other_shapes_are_refused)
{
    enter();
    write_tensor("rank2.npy", 2, (int64_t[]){3, 64}, 0);
    write_tensor("channels.npy", 3, (int64_t[]){4, 64, 64}, 0);
    write_tensor("small.npy", 3, (int64_t[]){3, 64, 8}, 0);
    REFUSES(4, "rank2.npy: array of rank 2, want [3, H, W] or [N, 3, H, W]", NET, "-q", "--input-tensor", "rank2.npy");
    REFUSES(4, "channels.npy: 4 channels, want 3", NET, "-q", "--input-tensor", "channels.npy");
    REFUSES(4, "input of 8 x 64", NET, "-q", "--input-tensor", "small.npy");
    REFUSES(4, "missing.npy", NET, "-q", "--input-tensor", "missing.npy");
    REFUSES(4, "tiny.jpg", NET, "-q", "--input-tensor", "tiny.jpg");
    REFUSES(4, "seeded-image:x", NET, "-q", "--input-tensor", "seeded-image:x");
}

TEST(a_batch_of_ready_inputs_gives_the_same_as_each_alone)
{
    enter();
    float two[2 * 3 * 64 * 96];
    size_t half = sizeof two / sizeof *two / 2;
    en_error e;
    for (size_t i = 0; i < 2 * half; i++) two[i] = (float)(i * 37 % 101) / 50 - 1;
    CHECK_OK(wt_npy_write("two.npy", 4, (int64_t[]){2, 3, 64, 96}, two, &e), e);
    CHECK_OK(wt_npy_write("second.npy", 3, (int64_t[]){3, 64, 96}, two + half, &e), e);
    RUN(both, 0, NET, "--input-tensor", "two.npy", "--json", "--out", "o");
    RUN(one, 0, NET, "--input-tensor", "second.npy", "--json", "--out", "p");
    CHECK(check_lines(both.out, both.out_size) == 2);
    CHECK_TEXT(json_at(both.out, (size_t)(strchr(both.out, '\n') - both.out), "image"), "two.npy[0]");
    char *second = strchr(both.out, '\n') + 1;
    CHECK(!strcmp(strstr(second, "\"net\""), strstr(one.out, "\"net\"")));
    char a[64], b[64];
    int cls = atoi(json_at(one.out, one.out_size, "maps/0/class"));
    snprintf(a, sizeof a, "o/two-1-features.18-shapleycam-%d.npy", cls);
    snprintf(b, sizeof b, "p/second-features.18-shapleycam-%d.npy", cls);
    CHECK(same_bytes(a, b));
    forget(&both), forget(&one);
}

TEST(numbers_that_are_not_finite_have_exit_code_5)
{
    enter();
    write_tensor("nan.npy", 3, (int64_t[]){3, 64, 64}, NAN);
    write_tensor("inf.npy", 3, (int64_t[]){3, 64, 64}, INFINITY);
    REFUSES(5, "want a finite number", NET, "-q", "--input-tensor", "nan.npy");
    REFUSES(5, "want a finite number", NET, "-q", "--input-tensor", "inf.npy");
}

TEST(a_blank_map_is_said_in_words_and_refused_by_strict_alone)
{
    enter(); /* the gradient of a logit at the logits is 1, so the map of a negative logit is negative */
    RUN(o, 0, NET, INPUT, "-l", "logits", "-m", "gradcam", "-u", "logit", "-c", "5", "--out", "o");
    CHECK(strstr(o.out, "BLANK: no position speaks for this class"));
    forget(&o);
    RUN(strict, 5, NET, INPUT, "-l", "logits", "-m", "gradcam", "-u", "logit", "-c", "5", "--json", "--strict");
    CHECK_TEXT(json_at(strict.out, strict.out_size, "maps/0/status"), "blank");
    CHECK(strstr(strict.err, "some maps say nothing or are not finite"));
    forget(&strict);
    RUN(fine, 0, NET, INPUT, "--json", "--strict");
    forget(&fine);
}

TEST(strange_names_of_pictures_stay_valid_json_and_cannot_steer_a_terminal)
{
    enter();
    copy_file("tiny.jpg", "a\xFF\"\n\x1b[2J.jpg");
    RUN(o, 0, NET, "--json", "a\xFF\"\n\x1b[2J.jpg");
    CHECK(check_lines(o.out, o.out_size) == 1);
    CHECK_TEXT(json_at(o.out, o.out_size, "image"), "a\xEF\xBF\xBD\"\n\x1b[2J.jpg");
    forget(&o);
    RUN(text, 0, NET, "--out", "o", "a\xFF\"\n\x1b[2J.jpg");
    CHECK(!strchr(text.out, '\x1b') && !strncmp(text.out, "a\xFF\"??[2J.jpg\n", 12));
    CHECK(count_files("o", "a____[2J-features.18-", ".png") == 1);
    forget(&text);
}

TEST(a_very_long_path_is_refused_or_read_but_never_cut)
{
    enter();
    static char path[6000];
    for (size_t i = 0; i < 5000; i += 2) memcpy(path + i, "./", 2);
    strcat(path, "tiny.jpg");
    REFUSES(4, "./././", NET, "-q", path);
    RUN(o, 0, NET, "--json", path + 1500);
    const char *image = strstr(o.out, "\"image\":\"") + 9;
    CHECK(!strncmp(image, path + 1500, strlen(path + 1500)) && image[strlen(path + 1500)] == '"');
    forget(&o);
}

/* ---- bundles and dumps ---- */

/* Checks every file of a manifest against its size and hash; their number. */
static int check_manifest(const char *text, size_t size, const char *in)
{
    int i = 0;
    for (;; i++) {
        char path[64], file[600], hash[65];
        uint8_t digest[32];
        size_t n;
        wt_sha256 s;
        snprintf(path, sizeof path, "files/%d/name", i);
        const char *name = json_at(text, size, path);
        if (!name) return i;
        snprintf(file, sizeof file, "%s/%s", in, name);
        uint8_t *bytes = t_read_file(file, &n);
        wt_sha256_start(&s), wt_sha256_add(&s, bytes, n), wt_sha256_end(&s, digest), wt_sha256_text(digest, hash);
        free(bytes);
        snprintf(path, sizeof path, "files/%d/sha256", i);
        CHECK_TEXT(json_at(text, size, path), hash);
        snprintf(path, sizeof path, "files/%d/size", i);
        CHECK((size_t)atol(json_at(text, size, path)) == n);
    }
}

TEST(a_bundle_holds_pictures_maps_report_and_a_manifest_that_fits)
{
    enter();
    size_t size;
    RUN(o, 0, NET, "--out", "o", "-m", "gradcam,shapleycam", "-l", "pre_pool,features.17", "tiny.jpg");
    char *text = text_of("o/manifest.json", &size);
    CHECK(check_manifest(text, size, "o") == 13); /* four maps of three files, and the report */
    CHECK(count_files("o", "", "") == 14);
    CHECK_TEXT(json_at(text, size, "command/0"), program);
    CHECK_TEXT(json_at(text, size, "command/6"), "o");
    CHECK_TEXT(json_at(text, size, "command/11"), "tiny.jpg");
    CHECK_TEXT(json_at(text, size, "interrupted"), "false");
    free(text);
    char *line = text_of("o/report.jsonl", &size), name[80];
    CHECK(check_lines(line, size) == 1);
    wt_npy map, raw;
    en_error e;
    snprintf(name, sizeof name, "o/tiny-features.17-shapleycam-%s.npy", json_at(line, size, "maps/3/class"));
    CHECK_OK(wt_npy_read(name, &map, &e), e);
    strcpy(strrchr(name, '.'), ".raw.npy");
    CHECK_OK(wt_npy_read(name, &raw, &e), e);
    CHECK(map.rank == 2 && map.dim[0] == 224 && map.dim[1] == 224 && raw.rank == 2 && raw.dim[0] == 7 && raw.dim[1] == 7);
    double positive = 0;
    for (int i = 0; i < 49; i++) positive += raw.data[i] > 0 ? (double)raw.data[i] : 0;
    CHECK(fabs(positive - atof(json_at(line, size, "maps/3/positive"))) < 1e-5 * positive);
    wt_npy_free(&map), wt_npy_free(&raw);
    free(line);
    forget(&o);
}

TEST(a_bundle_is_not_written_over_another_without_force)
{
    enter();
    RUN(first, 0, NET, "--out", "o", "tiny.jpg");
    forget(&first);
    REFUSES(2, "o: is not empty; want a new folder, or --force", NET, "-q", "--out", "o", "wide.jpg");
    CHECK(count_files("o", "wide-", ".png") == 0);
    RUN(again, 0, NET, "--out", "o", "--force", "wide.jpg");
    CHECK(count_files("o", "wide-", ".png") == 1);
    forget(&again);
    REFUSES(4, "missing.jpg", NET, "-q", "--out", "o", "--force", "missing.jpg");
    CHECK(!exists("o/manifest.json")); /* that of the first would be of files it does not describe */
    REFUSES(4, "missing.jpg", NET, "-q", "--out", "new", "missing.jpg");
    CHECK(!exists("new"));
    REFUSES(2, "tiny.jpg: is there and is no folder", NET, "-q", "--out", "tiny.jpg", "wide.jpg");
    REFUSES(2, "a/b: cannot make the folder", NET, "-q", "--out", "a/b", "wide.jpg");
}

TEST(pictures_of_the_same_name_do_not_overwrite_each_other)
{
    enter();
    CHECK(!mkdir("a", 0777));
    copy_file("wide.jpg", "a/tiny.jpg");
    RUN(o, 0, NET, "--out", "o", "tiny.jpg", "a/tiny.jpg");
    CHECK(count_files("o", "tiny-", ".png") == 1 && count_files("o", "tiny~2-", ".png") == 1);
    forget(&o);
}

/* Checks a tensor of a dump: type and shape, -1 for any size. */
static const wt_tensor *check_tensor(const wt_store *store, const char *name, wt_dtype dtype, int rank, const int64_t *dim)
{
    const wt_tensor *t = wt_find(store, name);
    CHECK_MSG(t != NULL, "no %s", name);
    CHECK_MSG(t->dtype == dtype && t->rank == rank, "%s: %s of rank %d", name, wt_dtype_name(t->dtype), t->rank);
    for (int i = 0; i < rank; i++) CHECK_MSG(t->dim[i] == dim[i], "%s: dimension %d is %lld", name, i, (long long)t->dim[i]);
    return t;
}

TEST(a_dump_has_exactly_the_layout_of_the_contract)
{
    enter();
    static const int64_t logits[] = {1, 1000}, chw[] = {1280, 7, 7}, map[] = {224, 224}, one[] = {1};
    wt_store *store;
    en_error e;
    RUN(o, 0, NET, INPUT, "--dump", "d.safetensors", "-m", "gradcam,shapleycam,randomcam", "-c", "899,5");
    CHECK_OK(wt_open("d.safetensors", &store, &e), e);
    check_tensor(store, "logits", WT_F32, 2, logits);
    check_tensor(store, "activation", WT_F32, 3, chw);
    const char *const classes[] = {"899", "5"};
    for (int i = 0; i < 2; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s/value", classes[i]), check_tensor(store, name, WT_F64, 1, one);
        snprintf(name, sizeof name, "%s/gradient", classes[i]), check_tensor(store, name, WT_F32, 3, chw);
        snprintf(name, sizeof name, "%s/hvp", classes[i]), check_tensor(store, name, WT_F32, 3, chw);
        snprintf(name, sizeof name, "%s/gradcam/raw", classes[i]), check_tensor(store, name, WT_F32, 2, chw + 1);
        snprintf(name, sizeof name, "%s/gradcam/map", classes[i]), check_tensor(store, name, WT_F32, 2, map);
        snprintf(name, sizeof name, "%s/shapleycam/raw", classes[i]), check_tensor(store, name, WT_F32, 2, chw + 1);
        snprintf(name, sizeof name, "%s/shapleycam/map", classes[i]), check_tensor(store, name, WT_F32, 2, map);
    }
    check_tensor(store, "randomcam/raw", WT_F32, 2, chw + 1);
    check_tensor(store, "randomcam/map", WT_F32, 2, map);
    CHECK(wt_count(store) == 18);
    wt_close(store);
    forget(&o);
    RUN(twice, 0, NET, INPUT, "--dump", "t", "-m", "gradcam", "-c", "top1,899");
    CHECK_OK(wt_open("t", &store, &e), e);
    CHECK(wt_count(store) == 7);
    wt_close(store);
    forget(&twice);
    RUN(zero, 0, NET, INPUT, "--dump", "z", "-m", "gradcam", "-u", "logit"); /* H A also where the method does not ask for it */
    CHECK_OK(wt_open("z", &store, &e), e);
    float hvp[1280 * 49];
    CHECK_OK(wt_read(store, check_tensor(store, "899/hvp", WT_F32, 3, chw), 0, 1280 * 49, hvp, &e), e);
    for (int i = 0; i < 1280 * 49; i++) CHECK(hvp[i] == 0);
    wt_close(store);
    forget(&zero);
}

TEST(a_dump_has_the_same_bytes_however_it_is_made)
{
    enter();
    CHECK(!mkdir("a", 0777));
    copy_file("tiny.jpg", "a/other.jpg");
    RUN(a, 0, NET, "--dump", "a.safetensors", "-m", "gradcam,randomcam", "-c", "top2", "tiny.jpg");
    RUN(b, 0, NET, "--dump", "a/b.safetensors", "-m", "gradcam,randomcam", "-c", "top2", "-t", "1", "--json", "--out", "o", "-q",
        "a/other.jpg");
    CHECK(same_bytes("a.safetensors", "a/b.safetensors"));
    CHECK(check_lines(b.out, b.out_size) == 1 && exists("o/manifest.json"));
    forget(&a), forget(&b);
}

TEST(json_into_a_file_leaves_the_report_on_stdout)
{
    enter();
    size_t size;
    RUN(o, 0, NET, INPUT, "--json=lines");
    char *lines = text_of("lines", &size);
    CHECK(check_lines(lines, size) == 1 && strstr(o.out, "class 899 water jug"));
    free(lines);
    forget(&o);
    RUN(hyphen, 0, NET, INPUT, "--json=-");
    CHECK(check_lines(hyphen.out, hyphen.out_size) == 1 && !exists("-"));
    forget(&hyphen);
    REFUSES(2, "none/lines: cannot write", NET, "-q", INPUT, "--json=none/lines");
}

TEST(an_interrupt_keeps_the_finished_pictures_with_a_manifest)
{
    enter();
    const char *arguments[60] = {NET, "-q", "--out", "o", "--json"};
    for (int i = 8; i < 58; i++) arguments[i] = "tiny.jpg";
    pid_t pid = start(".out", arguments);
    struct stat st = {0};
    for (int i = 0; i < 60000 && (stat(".out", &st) || st.st_size == 0); i++) usleep(1000); /* the first result */
    CHECK(st.st_size > 0 && !kill(pid, SIGINT));
    CHECK(code_of(pid) == 130);
    size_t size, out_size;
    char *out = text_of(".out", &out_size), *text = text_of("o/manifest.json", &size), *err = text_of(".err", &(size_t){0});
    int lines = check_lines(out, out_size);
    CHECK(lines >= 1 && lines < 50);
    CHECK(check_manifest(text, size, "o") == 3 * lines + 1 && atoi(json_at(text, size, "images")) == lines);
    CHECK_TEXT(json_at(text, size, "interrupted"), "true");
    CHECK(strstr(err, "interrupted after"));
    free(out), free(text), free(err);
}
