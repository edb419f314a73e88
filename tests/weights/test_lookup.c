/* SPDX-License-Identifier: MIT */
/* The order of look-up, in a folder of the test's own that plays home. */
#include "tests/test.h"
#include "weights/file.h"
#include "weights/lookup.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char home[] = "/tmp/lookup-XXXXXX";
static const char *const official[] = {"net-0123abcd.pth", NULL};
static const wt_names names = {.net = "net", .official = official, .hub = "timm/net.in1k"};

static void set_up(void)
{
    static const char *const unset[] = {"CAM_WEIGHTS", "XDG_DATA_HOME", "XDG_CACHE_HOME", "TORCH_HOME", "HF_HOME"};
    for (size_t i = 0; i < sizeof unset / sizeof *unset; i++) unsetenv(unset[i]);
    CHECK(mkdtemp(home) != NULL);
    setenv("HOME", home, 1);
}

/* Home's path with this text behind it; valid until the second next call. */
__attribute__((format(printf, 1, 2))) static const char *below_home(const char *format, ...)
{
    static char path[2][512];
    static int turn;
    va_list args;
    turn ^= 1;
    int n = snprintf(path[turn], sizeof path[turn], "%s", home);
    va_start(args, format);
    vsnprintf(path[turn] + n, sizeof path[turn] - (size_t)n, format, args);
    va_end(args);
    return path[turn];
}

static void make_file(const char *path)
{
    en_error e;
    char folder[512];
    for (const char *slash = strchr(path + strlen(home) + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        snprintf(folder, sizeof folder, "%.*s", (int)(slash - path), path);
        (void)!mkdir(folder, 0755);
    }
    CHECK_OK(wt_file_write(path, &(wt_part){"x", 1}, 1, &e), e);
}

/* Removes a file below home and the folders that are then empty. */
static void remove_file(const char *path)
{
    char name[512];
    snprintf(name, sizeof name, "%s", path);
    CHECK(!unlink(name));
    while (strlen(name) > strlen(home)) {
        *strrchr(name, '/') = 0;
        if (rmdir(name)) break;
    }
    (void)!mkdir(home, 0700);
}

static int position(const wt_paths *paths, const char *path)
{
    for (size_t i = 0; i < paths->count; i++)
        if (!strcmp(paths->path[i], path)) return (int)i;
    return -1;
}

TEST(candidates_come_in_the_order_of_the_manual)
{
    wt_paths paths;
    en_error e;
    set_up();
    setenv("CAM_WEIGHTS", "mine", 1);
    CHECK_OK(wt_candidates(&names, &paths, &e), e);
    static const char *const first[] = {"mine/net.camw", "mine/net.safetensors", "mine/net.pth", "mine/net-0123abcd.pth"};
    for (int i = 0; i < 4; i++) CHECK_MSG(!strcmp(paths.path[i], first[i]), "%s", paths.path[i]);
    CHECK(paths.path[4][0] == '/' && strstr(paths.path[4], "/weights/net.camw"));
    int data = position(&paths, below_home("/.local/share/shapleycam/net.camw"));
    int torch = position(&paths, below_home("/.cache/torch/hub/checkpoints/net-0123abcd.pth"));
    int face = position(&paths, below_home("/.cache/huggingface/hub/models--timm--net.in1k/snapshots/*/model.safetensors"));
    CHECK_MSG(4 < data && data < torch && torch < face && face == (int)paths.count - 1, "%d %d %d", data, torch, face);
    CHECK(position(&paths, below_home("/.cache/torch/hub/checkpoints/net.pth")) < 0);
    wt_paths_free(&paths);
    setenv("XDG_DATA_HOME", "data", 1);
    setenv("TORCH_HOME", "torch", 1);
    setenv("HF_HOME", "face", 1);
    CHECK_OK(wt_candidates(&names, &paths, &e), e);
    CHECK(position(&paths, "data/shapleycam/net.pth") > 0 && position(&paths, "torch/hub/checkpoints/net-0123abcd.pth") > 0);
    CHECK(position(&paths, "face/hub/models--timm--net.in1k/snapshots/*/model.safetensors") == (int)paths.count - 1);
    CHECK(position(&paths, below_home("/.local/share/shapleycam/net.camw")) < 0);
    wt_paths_free(&paths);
    unsetenv("TORCH_HOME");
    setenv("HF_HOME", "", 1); /* empty: as if unset */
    setenv("XDG_CACHE_HOME", "cache", 1);
    CHECK_OK(wt_candidates(&names, &paths, &e), e);
    CHECK(position(&paths, "cache/torch/hub/checkpoints/net-0123abcd.pth") > 0);
    CHECK(position(&paths, "cache/huggingface/hub/models--timm--net.in1k/snapshots/*/model.safetensors") > 0);
    wt_paths_free(&paths);
    rmdir(home);
}

TEST(the_first_place_with_a_file_wins)
{
    static const char *const places[] = {"/.cache/huggingface/hub/models--timm--net.in1k/snapshots/c0ffee/model.safetensors",
                                         "/.cache/torch/hub/checkpoints/net-0123abcd.pth",
                                         "/.local/share/shapleycam/net-0123abcd.pth",
                                         "/.local/share/shapleycam/net.pth",
                                         "/.local/share/shapleycam/net.safetensors",
                                         "/mine/net.pth"};
    enum { PLACES = sizeof places / sizeof *places };
    char *path;
    en_error e;
    set_up();
    setenv("CAM_WEIGHTS", below_home("/mine"), 1);
    CHECK_FAILS(wt_lookup(&names, &path, &e), e, EN_E_IO, "no weights for net in any of");
    CHECK(!path);
    CHECK(!mkdir(below_home("/mine"), 0755) && !mkdir(below_home("/mine/net.camw"), 0755)); /* a folder is no file */
    for (int i = 0; i < PLACES; i++) {
        make_file(below_home("%s", places[i]));
        CHECK_OK(wt_lookup(&names, &path, &e), e);
        CHECK_MSG(!strcmp(path, below_home("%s", places[i])), "%s before %s", path, places[i]);
        free(path);
    }
    rmdir(below_home("/mine/net.camw"));
    for (int i = 0; i < PLACES; i++) remove_file(below_home("%s", places[i]));
    rmdir(home);
}

TEST(without_a_home_or_names_there_are_fewer_places)
{
    wt_paths paths;
    en_error e;
    set_up();
    rmdir(home);
    unsetenv("HOME");
    CHECK_OK(wt_candidates(&(wt_names){.net = "net"}, &paths, &e), e);
    CHECK_MSG(paths.count == 3 || paths.count == 6, "%zu", paths.count); /* beside the program only */
    wt_paths_free(&paths);
    setenv("HF_HOME", "face", 1);
    CHECK_FAILS(wt_candidates(&(wt_names){.net = "net", .hub = "net"}, &paths, &e), e, EN_E_ARG, "want OWNER/NAME");
    CHECK(!paths.path && paths.count == 0);
}

TEST(failed_allocations_in_the_look_up_are_reported)
{
    char *path;
    en_error e;
    set_up();
    make_file(below_home("/.cache/huggingface/hub/models--timm--net.in1k/snapshots/c0ffee/model.safetensors"));
    long n = 1;
    for (;; n++) {
        t_fail_allocation(n, 0);
        en_status status = wt_lookup(&names, &path, &e);
        t_fail_allocation(0, 0);
        if (status == EN_OK) break;
        CHECK_MSG(status == EN_E_NOMEM && !path, "allocation %ld: %s", n, e.text);
    }
    free(path);
    CHECK(n > 10);
    remove_file(below_home("/.cache/huggingface/hub/models--timm--net.in1k/snapshots/c0ffee/model.safetensors"));
    rmdir(home);
}
