/* SPDX-License-Identifier: MIT */
/* Bundles on the disk: what their manifest promises is there, and half a bundle has none; and the names of their files. */
#include "tests/test.h"
#include "tools/bundle.h"
#include "tools/stems.h"
#include "weights/checksum.h"
#include "weights/json.h"
#include "weights/npy.h"

#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[] = "/tmp/cam_bundle_XXXXXX";
static cam_error e;

#define TEXT(text) ((char[]){text})

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st, (void)kind, (void)at;
    return remove(path);
}

static void remove_folder(void) { nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS); }

static const char *in_folder(const char *name)
{
    static char paths[4][256];
    static int next;
    char *path = paths[next++ & 3];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static void make_folder(void)
{
    CHECK(mkdtemp(folder) != NULL);
    atexit(remove_folder);
}

static int exists(const char *path) { return !access(path, F_OK); }

static bundle_facts facts_of(cam_net *net)
{
    static char program[] = "cam_run", word[] = "\"quoted\"", *const command[] = {program, word, NULL};
    return (bundle_facts){.net = net, .command = command, .images = 3, .failed = 1};
}

/* The value of a key that appears once in a text: what stands behind it. */
static const char *behind(const char *text, const char *key)
{
    const char *at = strstr(text, key);
    CHECK_MSG(at != NULL, "no %s in %s", key, text);
    return at + strlen(key);
}

TEST(a_manifest_lists_every_file_with_its_size_and_hash)
{
    bundle b;
    cam_net *net;
    make_folder();
    CHECK(cam_net_open("mobilenet_v2", CAM_NO_WEIGHTS, &net, &e) == CAM_OK);
    CHECK_MSG(bundle_open(in_folder("new"), 0, &b, &e) == CAM_OK, "%s", e.text);
    CHECK(bundle_write(&b, "abc.txt", "abc", 3, &e) == CAM_OK);
    CHECK(bundle_write_npy(&b, "map.npy", 2, 3, (float[]){1, 2, 3, 4, 5, 6}, &e) == CAM_OK);
    CHECK(bundle_report(&b, "{}", &e) == CAM_OK && bundle_report(&b, "[]", &e) == CAM_OK);
    CHECK(!exists(in_folder("new/manifest.json")));
    bundle_facts facts = facts_of(net);
    CHECK_MSG(bundle_close(&b, &facts, &e) == CAM_OK, "%s", e.text);
    size_t size;
    char *text = (char *)t_read_file(in_folder("new/manifest.json"), &size);
    text[size] = 0;
    CHECK(strstr(
        text, "{\"name\":\"abc.txt\",\"size\":3,\"sha256\":\"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\"}"));
    CHECK(strstr(text, "{\"name\":\"map.npy\",\"size\":152,") && strstr(text, "{\"name\":\"report.jsonl\",\"size\":6,"));
    CHECK(!strncmp(behind(text, "\"command\":"), "[\"cam_run\",\"\\\"quoted\\\"\"]", 24));
    CHECK(!strncmp(behind(text, "\"images\":"), "3,\"failed\":1,\"interrupted\":false", 31));
    wt_npy a;
    en_error inner;
    CHECK_OK(wt_npy_read(in_folder("new/map.npy"), &a, &inner), inner);
    CHECK(a.rank == 2 && a.dim[0] == 2 && a.dim[1] == 3 && a.data[5] == 6);
    wt_npy_free(&a);
    free(text);
    bundle_free(&b);
    cam_net_close(net);
}

TEST(a_folder_that_is_not_empty_is_refused_and_force_removes_its_manifest_first)
{
    bundle b;
    make_folder();
    CHECK(bundle_open(folder, 0, &b, &e) == CAM_OK && !b.made);
    CHECK(bundle_write(&b, "manifest.json", "{}", 2, &e) == CAM_OK && bundle_write(&b, "keep", "x", 1, &e) == CAM_OK);
    bundle_free(&b);
    CHECK(bundle_open(folder, 0, &b, &e) == CAM_E_ARG && strstr(e.text, "is not empty; want a new folder, or --force"));
    CHECK(exists(in_folder("manifest.json")));
    CHECK(bundle_open(folder, 1, &b, &e) == CAM_OK);
    CHECK(!exists(in_folder("manifest.json")) && exists(in_folder("keep")));
    bundle_free(&b);
}

TEST(what_is_no_folder_or_cannot_be_made_or_has_too_long_a_name_is_refused)
{
    static char path[5000];
    bundle b;
    make_folder();
    fclose(fopen(in_folder("file"), "w"));
    CHECK(bundle_open(in_folder("file"), 1, &b, &e) == CAM_E_ARG && strstr(e.text, "is there and is no folder"));
    CHECK(bundle_open(in_folder("a/b"), 0, &b, &e) == CAM_E_IO && strstr(e.text, "cannot make the folder"));
    memset(path, 'x', sizeof path - 1);
    CHECK(bundle_open(path, 0, &b, &e) == CAM_E_ARG && strstr(e.text, "too long"));
}

TEST(a_bundle_without_files_leaves_no_manifest_and_no_folder_of_its_own)
{
    bundle b;
    bundle_facts facts = facts_of(NULL);
    make_folder();
    CHECK(bundle_open(in_folder("new"), 0, &b, &e) == CAM_OK && bundle_close(&b, &facts, &e) == CAM_OK);
    CHECK(!exists(in_folder("new")));
    CHECK(bundle_open(folder, 0, &b, &e) == CAM_OK && bundle_close(&b, &facts, &e) == CAM_OK);
    CHECK(exists(folder) && !exists(in_folder("manifest.json")));
}

TEST(a_bundle_survives_every_failing_allocation_and_then_has_no_manifest)
{
    cam_net *net;
    make_folder();
    CHECK(cam_net_open("mobilenet_v2", CAM_NO_WEIGHTS, &net, &e) == CAM_OK);
    bundle_facts facts = facts_of(net);
    for (long n = 1, done = 0; !done; n++) {
        bundle b;
        CHECK(bundle_open(folder, 1, &b, &e) == CAM_OK);
        t_fail_allocation(n, 0);
        done = !bundle_write(&b, "a", "b", 1, &e) && !bundle_write_npy(&b, "c.npy", 1, 1, (float[]){1}, &e) &&
               !bundle_close(&b, &facts, &e);
        t_fail_allocation(0, 0);
        CHECK_MSG(exists(in_folder("manifest.json")) == done, "allocation %ld", n);
        CHECK(n < 200);
        bundle_free(&b);
    }
    cam_net_close(net);
}

static void check_stem(const char *path, const char *want)
{
    stem *s = stems_make((char *const[]){(char *)(uintptr_t)path}, 1);
    CHECK_MSG(s && !strcmp(s[0], want), "%s: %s, want %s", path, s ? s[0] : "", want);
    free(s);
}

TEST(a_stem_is_the_file_name_without_folder_ending_and_unwelcome_letters)
{
    check_stem("a/b.c/dog.small.jpg", "dog.small");
    check_stem("dog", "dog");
    check_stem("-", "stdin");
    check_stem(".hidden", "_hidden");
    check_stem("seeded-image:5", "seeded-image_5");
    check_stem("a b~2\n\x1b?.png", "a_b_2___");
    check_stem("H\xC3\xBCndin.png", "H\xC3\xBCndin");
    check_stem("\xFF\xC3(\xED\xA0\x80\xE0\x80\x80.png", "__(______");
    check_stem("0123456789012345678901234567890123456789012345678901234567\xC3\xBCxx\xC3\xBC.png",
               "0123456789012345678901234567890123456789012345678901234567\xC3\xBC");
    check_stem("01234567890123456789012345678901234567890123456789012345678\xC3\xBC.png",
               "01234567890123456789012345678901234567890123456789012345678");
}

TEST(equal_stems_are_numbered_in_the_order_of_the_inputs)
{
    char *paths[] = {TEXT("b/x.png"), TEXT("x~2"), TEXT("a/x.jpg"), TEXT("y"), TEXT("x.png")};
    stem *s = stems_make(paths, 5);
    CHECK(s != NULL);
    CHECK(!strcmp(s[0], "x") && !strcmp(s[1], "x_2") && !strcmp(s[2], "x~2") && !strcmp(s[3], "y") && !strcmp(s[4], "x~3"));
    free(s);
}

TEST(stems_survive_a_failing_allocation)
{
    char *paths[] = {TEXT("x")};
    for (long n = 1; n <= 2; n++) {
        t_fail_allocation(n, 0);
        CHECK(!stems_make(paths, 1));
    }
}
