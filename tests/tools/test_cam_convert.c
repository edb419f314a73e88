/* SPDX-License-Identifier: MIT */
/* cam_convert as its users run it. Checkpoints are made here, of seeded weights. */
#include "nets/nets.h"
#include "tests/nets/checkpoint.h"
#include "tests/tools/start.h"
#include "tools/convert.h"
#include "weights/camw.h"
#include "weights/file.h"

#include <glob.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Enters a folder with mobilenet_v2's seeded weights in m.safetensors; with a prefix before all names, and an extra tensor. */
static void enter_convert(const char *prefix)
{
    static t_checkpoint c;
    char names[T_MAX_TENSORS][128];
    int64_t counter = 7;
    en_error e;
    enter();
    strcpy(strrchr(program, '/'), "/cam_convert");
    t_checkpoint_make("mobilenet_v2", &c);
    const char *plain[T_MAX_TENSORS];
    for (size_t i = 0; i < c.count; i++) {
        snprintf(names[i], sizeof names[i], "%s%s", prefix, c.array[i].name);
        plain[i] = c.array[i].name;
        c.array[i].name = names[i];
    }
    c.array[c.count] = (wt_array){"features.0.1.num_batches_tracked", WT_I64, 0, {0}, &counter};
    CHECK_OK(wt_save_safetensors("m.safetensors", c.array, c.count + 1, NULL, &e), e);
    for (size_t i = 0; i < c.count; i++) c.array[i].name = plain[i];
    t_checkpoint_free(&c);
}

/* Half a file is hidden, and named .PROCESS-N.tmp. */
static int temporary_files(void)
{
    glob_t found;
    int status = glob(".*.tmp", 0, NULL, &found), n = status ? 0 : (int)found.gl_pathc;
    CHECK(!status || status == GLOB_NOMATCH);
    globfree(&found);
    return n;
}

static wt_store *opened(const char *path)
{
    wt_store *store;
    en_error e;
    CHECK_OK(wt_open(path, &store, &e), e);
    return store;
}

/* The values of a tensor; the caller frees. */
static float *values_of(const wt_store *store, const char *name, size_t *n)
{
    const wt_tensor *t = wt_find(store, name);
    en_error e;
    CHECK_MSG(t != NULL, "%s", name);
    *n = wt_elements(t);
    float *x = malloc(*n * sizeof *x + 1);
    CHECK_OK(wt_read(store, t, 0, *n, x, &e), e);
    return x;
}

static void check_same(const wt_store *a, const wt_store *b)
{
    for (size_t i = 0; i < wt_count(b); i++) {
        size_t n, m;
        float *x = values_of(a, wt_at(b, i)->name, &n), *y = values_of(b, wt_at(b, i)->name, &m);
        CHECK_MSG(n == m && !memcmp(x, y, n * sizeof *x), "%s", wt_at(b, i)->name);
        free(x), free(y);
    }
}

TEST(a_checkpoint_is_recognised_and_converted_with_all_its_bits)
{
    enter_convert("");
    RUN(o, 0, "--net", "auto", "-o", "m.camw", "m.safetensors");
    CHECK(strstr(o.out, "unused   features.0.1.num_batches_tracked") && strstr(o.out, "used     classifier.1.bias"));
    CHECK(strstr(o.out, "wrote    m.camw: mobilenet_v2, 1000 classes; 262 tensors used, 1 unused, 0 missing") && o.err_size == 0);
    forget(&o);
    wt_store *before = opened("m.safetensors"), *after = opened("m.camw");
    CHECK(wt_count(after) == 262);
    check_same(before, after);
    const wt_metadata *m = wt_metadata_of(after);
    CHECK(!strcmp(m->net, "mobilenet_v2") && m->class_count == 1000 && !strcmp(m->classes[208].id, "n02099712"));
    CHECK(m->preprocess->width == 224 && m->preprocess->mean[0] == 0.485f && !strcmp(m->preprocess->sizing, "shorter"));
    CHECK(m->origin_count == 1 && !strcmp(m->origins[0].name, "m.safetensors"));
    uint64_t bytes;
    char sha[65];
    CHECK(wt_file_at(before, 0, &bytes, sha) && !strcmp(m->origins[0].sha256, sha) && m->origins[0].bytes == bytes);
    wt_close(before), wt_close(after);
    RUN(verify, 0, "--verify", "m.camw");
    CHECK(!strcmp(verify.out, "m.camw: all 262 checksums are right\n"));
    forget(&verify);
    CHECK(temporary_files() == 0);
}

TEST(the_same_input_gives_the_same_file)
{
    enter_convert("");
    RUN(a, 0, "-n", "mobilenet_v2", "-o", "a.camw", "m.safetensors");
    RUN(b, 0, "-n", "MobileNetV2", "-o", "b.camw", "m.safetensors");
    CHECK(same_bytes("a.camw", "b.camw"));
    forget(&a), forget(&b);
}

TEST(camw_and_safetensors_convert_into_each_other)
{
    enter_convert("module.");
    RUN(to, 0, "-n", "auto", "-o", "m.camw", "m.safetensors", "--strip", "module.");
    RUN(back, 0, "--to", "safetensors", "-o", "back.safetensors", "m.camw");
    RUN(again, 0, "-n", "auto", "-o", "again.camw", "back.safetensors");
    wt_store *a = opened("m.camw"), *b = opened("back.safetensors"), *c = opened("again.camw");
    check_same(a, b);
    check_same(b, c);
    CHECK(wt_count(a) == wt_count(b) && wt_count(a) == wt_count(c));
    wt_close(a), wt_close(b), wt_close(c);
    forget(&to), forget(&back), forget(&again);
}

TEST(half_precision_is_for_tensors_of_several_axes)
{
    enter_convert("");
    RUN(o, 0, "-n", "mobilenet_v2", "--dtype", "bf16", "-o", "m.camw", "m.safetensors", "-q");
    CHECK(!strncmp(o.out, "wrote ", 6));
    wt_store *store = opened("m.camw");
    CHECK(wt_find(store, "features.0.0.weight")->dtype == WT_BF16 && wt_find(store, "features.0.1.running_var")->dtype == WT_F32);
    wt_close(store);
    forget(&o);
}

/* w' = w gamma / sqrt(var + eps), b' = beta - mean gamma / sqrt(var + eps), and a batch norm that only adds b'. */
static void check_fold(const wt_store *before, const wt_store *after, const char *conv, const char *norm)
{
    static const char *const leaves[] = {"weight", "bias", "running_mean", "running_var"};
    char key[64];
    size_t n, c;
    float *in[4], *out[4];
    snprintf(key, sizeof key, "%s.weight", conv);
    float *w = values_of(before, key, &n), *folded = values_of(after, key, &n);
    for (int k = 0; k < 4; k++) {
        snprintf(key, sizeof key, "%s.%s", norm, leaves[k]);
        in[k] = values_of(before, key, &c), out[k] = values_of(after, key, &c);
    }
    for (size_t i = 0; i < n; i++) {
        size_t k = i / (n / c);
        double scale = (double)in[0][k] / sqrt((double)in[3][k] + (double)1e-5f);
        CHECK_MSG(fabs((double)folded[i] - (double)w[i] * scale) <= 2e-7 * fabs((double)w[i] * scale), "%s, element %zu", conv, i);
        CHECK(fabs((double)out[1][k] - ((double)in[1][k] - (double)in[2][k] * scale)) <= 1e-6);
        CHECK(out[0][k] == 1 && out[2][k] == 0 && out[3][k] + 1e-5f == 1);
    }
    for (int k = 0; k < 4; k++) free(in[k]), free(out[k]);
    free(w), free(folded);
}

TEST(batch_norms_fold_into_the_convolutions_before_them)
{
    enter_convert("");
    RUN(o, 0, "-n", "mobilenet_v2", "--fold-bn", "-o", "m.camw", "m.safetensors");
    forget(&o);
    wt_store *a = opened("m.safetensors"), *b = opened("m.camw");
    check_fold(a, b, "features.0.0", "features.0.1");
    check_fold(a, b, "features.18.0", "features.18.1"); /* read in several pieces */
    size_t n;
    float *same = values_of(b, "classifier.1.weight", &n), *before = values_of(a, "classifier.1.weight", &n);
    CHECK(!memcmp(same, before, n * sizeof *same));
    free(same), free(before);
    wt_close(a), wt_close(b);
}

TEST(a_missing_parameter_is_named_and_can_be_allowed)
{
    enter_convert("");
    write_file("map", "classifier.1.bias -\n", 20);
    RUN(o, 3, "-n", "mobilenet_v2", "--map", "map", "-o", "m.camw", "m.safetensors");
    CHECK(strstr(o.out, "missing  classifier.1.bias\n") && strstr(o.err, "1 parameters of mobilenet_v2 are missing, the first is 'classifier.1.bias'"));
    CHECK(strstr(o.out, "unused   classifier.1.bias") && !exists("m.camw"));
    forget(&o);
    RUN(allowed, 0, "-n", "mobilenet_v2", "--map", "map", "--allow-missing", "x,classifier.1.bias", "-o", "m.camw", "m.safetensors");
    wt_store *store = opened("m.camw");
    size_t n;
    float *bias = values_of(store, "classifier.1.bias", &n);
    CHECK(n == 1000 && bias[0] == 0 && bias[999] == 0);
    free(bias);
    wt_close(store);
    forget(&allowed);
}

TEST(what_was_not_meant_is_refused)
{
    enter_convert("");
    write_file("text", "hello, world", 12);
    REFUSES(3, "m.safetensors: its SHA-256 is", "-n", "auto", "-o", "m.camw", "m.safetensors", "--sha256", "0123abcd");
    REFUSES(3, "classifier", "-n", "resnet18", "-o", "m.camw", "m.safetensors");
    REFUSES(3, "text: not a checkpoint", "-n", "auto", "-o", "m.camw", "text");
    REFUSES(3, "missing: cannot open", "-n", "auto", "-o", "m.camw", "missing");
    REFUSES(3, "m.safetensors: not a .camw file", "--verify", "m.safetensors");
    REFUSES(1, "cannot create", "-n", "auto", "-o", "no/such/m.camw", "m.safetensors");
    CHECK(!exists("m.camw") && temporary_files() == 0);
    wt_store *store = opened("m.safetensors");
    uint64_t bytes;
    char sha[65];
    wt_file_at(store, 0, &bytes, sha);
    wt_close(store);
    sha[12] = 0;
    RUN(o, 0, "-n", "auto", "-o", "m.camw", "m.safetensors", "--sha256", sha);
    forget(&o);
}

TEST(usage_errors_have_exit_code_2_and_say_what_is_wanted)
{
    enter_convert("");
    REFUSES(2, "want a FILE", "-n", "auto", "-o", "x");
    REFUSES(2, "want -o OUT", "-n", "auto", "m.safetensors");
    REFUSES(2, "want --net NAME", "-o", "x", "m.safetensors");
    REFUSES(2, "no network is called 'resnet81'; did you mean resnet18", "-n", "resnet81", "-o", "x", "m.safetensors");
    REFUSES(2, "--dtype: want f32, f16 or bf16", "-n", "auto", "--dtype", "int8", "-o", "x", "m.safetensors");
    REFUSES(2, "--to: want camw or safetensors", "--to", "onnx", "-o", "x", "m.safetensors");
    REFUSES(2, "8 to 64 hexadecimal digits", "-n", "auto", "--sha256", "xyz", "-o", "x", "m.safetensors");
    REFUSES(2, "want one of --inspect", "--inspect", "--verify", "m.safetensors");
    REFUSES(2, "nothing is written when looking", "--inspect", "-o", "x", "m.safetensors");
    REFUSES(2, "want --net", "--to", "safetensors", "--fold-bn", "-o", "x", "m.safetensors");
    REFUSES(2, "--int8", "--int8", "m.safetensors");
    write_file("classes", "dog\ncat\n", 8);
    REFUSES(2, "classes: 2 lines, want one for each of the 1000 classes", "-n", "auto", "--classes", "classes", "-o", "x", "m.safetensors");
    CHECK(!exists("x"));
}

TEST(looking_at_a_checkpoint_tells_network_tensors_and_hashes)
{
    enter_convert("");
    RUN(o, 0, "--inspect", "m.safetensors");
    CHECK(strstr(o.out, "format      safetensors, 263 tensors") && strstr(o.out, "network     mobilenet_v2, 1000 classes"));
    CHECK(strstr(o.out, "float32   [1000, 1280]") && strstr(o.out, "int64     []"));
    forget(&o);
    RUN(j, 0, "--inspect", "--json", "m.safetensors");
    CHECK(check_lines(j.out, j.out_size) == 1);
    CHECK_TEXT(json_at(j.out, j.out_size, "network"), "mobilenet_v2");
    CHECK_TEXT(json_at(j.out, j.out_size, "tensors/0/dtype"), "int64");
    CHECK(strlen(json_at(j.out, j.out_size, "tensors/262/sha256")) == 64);
    forget(&j);
    RUN(keys, 0, "--list-keys", "m.safetensors");
    CHECK(strstr(keys.out, "features.0.0.weight\n") && !strstr(keys.out, "float32"));
    forget(&keys);
    RUN(some, 1, "--list-keys", "m.safetensors", "missing");
    CHECK(some.out_size > 0 && strstr(some.err, "missing: cannot open"));
    forget(&some);
}

TEST(a_conversion_reports_itself_in_json)
{
    enter_convert("");
    RUN(o, 0, "-n", "auto", "-o", "m.camw", "m.safetensors", "--json", "--preprocess", "100x50:bicubic");
    CHECK(check_lines(o.out, o.out_size) == 1);
    CHECK_TEXT(json_at(o.out, o.out_size, "network"), "mobilenet_v2");
    CHECK_TEXT(json_at(o.out, o.out_size, "used/0/name"), "features.0.0.weight");
    CHECK_TEXT(json_at(o.out, o.out_size, "unused/0"), "features.0.1.num_batches_tracked");
    forget(&o);
    wt_store *store = opened("m.camw");
    const wt_preprocess *p = wt_metadata_of(store)->preprocess;
    CHECK(!strcmp(p->sizing, "whole") && !strcmp(p->filter, "bicubic") && p->width == 100 && p->height == 50);
    wt_close(store);
}

TEST(class_names_and_preprocessing_stay_with_a_camw)
{
    enter_convert("");
    FILE *f = fopen("classes", "w");
    CHECK(f != NULL);
    for (int i = 0; i < 1000; i++) fprintf(f, i % 2 ? "class %d\n" : "id%d\tclass\r\n", i);
    fclose(f);
    RUN(a, 0, "-n", "auto", "-o", "a.camw", "m.safetensors", "--classes", "classes", "--preprocess", "64x32:bilinear");
    RUN(b, 0, "-n", "auto", "--dtype", "f16", "-o", "b.camw", "a.camw");
    wt_store *store = opened("b.camw");
    const wt_metadata *m = wt_metadata_of(store);
    CHECK(m->class_count == 1000 && !strcmp(m->classes[7].name, "class 7") && !*m->classes[7].id);
    CHECK(!strcmp(m->classes[8].id, "id8") && !strcmp(m->classes[8].name, "class"));
    CHECK(m->preprocess->width == 64 && m->preprocess->height == 32 && !strcmp(m->origins[0].name, "a.camw"));
    wt_close(store);
    forget(&a), forget(&b);
}

TEST(checkpoints_in_parts_are_converted_together)
{
    enter_convert("");
    en_error e;
    wt_store *store = opened("m.safetensors");
    size_t count = wt_count(store), half = count / 2;
    wt_output *t = malloc(count * sizeof *t);
    for (size_t i = 0; i < count; i++) t[i] = wt_output_of(store, wt_at(store, i), wt_at(store, i)->name, wt_at(store, i)->dtype);
    CHECK_OK(wt_write_safetensors("1.safetensors", t, half, NULL, &e), e);
    CHECK_OK(wt_write_safetensors("2.safetensors", t + half, count - half, NULL, &e), e);
    RUN(o, 0, "-n", "auto", "-o", "m.camw", "1.safetensors", "2.safetensors");
    forget(&o);
    wt_store *parts = opened("m.camw");
    check_same(store, parts);
    CHECK(wt_metadata_of(parts)->origin_count == 2 && !strcmp(wt_metadata_of(parts)->origins[1].name, "2.safetensors"));
    wt_close(parts), wt_close(store);
    free(t);
}

TEST(an_interrupted_conversion_leaves_nothing_behind)
{
    static volatile sig_atomic_t stop;
    convert_plan plan;
    en_error e;
    enter_convert("");
    wt_store *store = opened("m.safetensors");
    CHECK_OK(convert_plan_make(store, &(convert_options){"auto", NULL, NULL, WT_F32, &stop}, &plan, &e), e);
    stop = 1;
    CHECK_FAILS(wt_camw_write("m.camw", &(wt_metadata){.net = ""}, plan.output, plan.count, &e), e, EN_E_CANCELLED, "interrupted");
    CHECK(!exists("m.camw") && temporary_files() == 0 && plan.count == 262);
    convert_plan_free(&plan);
    wt_close(store);
}
