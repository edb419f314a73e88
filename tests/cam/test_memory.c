/* SPDX-License-Identifier: MIT */
/* Memory: the peak of a process that opens a network and explains a picture, less 4 bytes for each parameter. A child process does
 * it, so that the peak is its own; Linux tells it as VmHWM. */
#include "tests/cam/golden.h"

#include "nets/nets.h"
#include "tests/nets/checkpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* "VmHWM:" is the peak, "VmRSS:" is now. */
static long kilobytes_of(const char *what)
{
    char line[256];
    long kilobytes = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (!strncmp(line, what, strlen(what))) kilobytes = strtol(line + strlen(what), NULL, 10);
    if (f) fclose(f);
    return kilobytes;
}

static long peak_kilobytes(void) { return kilobytes_of("VmHWM:"); }

static void need_a_measure(void)
{
    if (T_SANITIZED) t_skip("the sanitizer has memory of its own");
    if (!peak_kilobytes()) t_skip("needs VmHWM in /proc/self/status");
}

static size_t parameters(const char *net)
{
    size_t count = 0;
    net_model m;
    en_error e;
    CHECK_OK(net_model_build(net_arch_find(net), 1000, 1, 224, 224, NULL, &m, &e), e);
    for (en_ref x = 0; x < en_nodes(m.graph); x++)
        if (en_key_of(m.graph, x)) count += en_count(en_shape_of(m.graph, x));
    net_model_free(&m);
    return count;
}

/* In the child: both layers at once, batch 1. */
static void explain(const char *name, const char *weights)
{
    cam_net *net = t_net(name, weights);
    cam_ctx *ctx = t_ctx(net, 2);
    cam_input in = t_images(1, 1, 224, 224);
    cam_request want[] = {t_request("shapleycam", "rest", "pre_pool", CAM_TOP1), t_request("shapleycam", "rest", "conv", CAM_TOP1)};
    cam_result got[2];
    t_explain(ctx, in, want, 2, got);
}

static void check_peak(const char *net, const char *weights, double megabytes)
{
    int ends[2], status;
    long peak = 0;
    need_a_measure();
    CHECK(!pipe(ends));
    pid_t child = fork();
    CHECK(child >= 0);
    if (!child) {
        explain(net, weights);
        peak = peak_kilobytes();
        _exit(write(ends[1], &peak, sizeof peak) != sizeof peak);
    }
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK(read(ends[0], &peak, sizeof peak) == sizeof peak);
    double beyond = (double)peak * 1024 / 1e6 - 4 * (double)parameters(net) / 1e6;
    fprintf(stderr, "  %s: peak %.1f MB, %.1f MB beyond the weights\n", net, (double)peak * 1024 / 1e6, beyond);
    CHECK_MSG(beyond <= megabytes, "%s, weights %s: %.1f MB beyond the weights, want at most %.0f", net, weights, beyond,
              megabytes);
}

/* A checkpoint of the right size, but sparse: all numbers are 0 and take no room on the disk. */
static void write_zeros(const char *net, const char *path)
{
    size_t at = 0;
    net_model m;
    en_error e;
    char *header = malloc(1 << 18), *end = header;
    CHECK_OK(net_model_build(net_arch_find(net), 1000, 1, 224, 224, NULL, &m, &e), e);
    for (en_ref x = 0; x < en_nodes(m.graph); x++) {
        if (!en_key_of(m.graph, x)) continue;
        const en_shape *s = en_shape_of(m.graph, x);
        end += sprintf(end, "%c\"%s\":{\"dtype\":\"F32\",\"shape\":[", end == header ? '{' : ',', en_key_of(m.graph, x));
        for (int i = 0; i < s->rank; i++) end += sprintf(end, i ? ",%d" : "%d", s->dim[i]);
        end += sprintf(end, "],\"data_offsets\":[%zu,%zu]}", at, at + 4 * en_count(s));
        at += 4 * en_count(s);
    }
    *end++ = '}';
    while ((end - header) % 8 != 0) *end++ = ' ';
    net_model_free(&m);
    uint64_t size = (uint64_t)(end - header);
    FILE *f = fopen(path, "wb");
    CHECK(f && fwrite(&size, sizeof size, 1, f) == 1 && fwrite(header, size, 1, f) == 1 && !fclose(f));
    CHECK(!truncate(path, (off_t)(sizeof size + size + at)));
    free(header);
}

static void check_file_peak(const char *net, double megabytes)
{
    char path[128];
    need_a_measure(); /* before there is a file to be removed */
    t_temporary(path);
    write_zeros(net, path);
    check_peak(net, path, megabytes);
    unlink(path);
}

TEST(vgg16_from_a_file_needs_little_memory_beyond_its_weights) { check_file_peak("vgg16", 150); }
TEST(mobilenet_v2_from_a_file_needs_little_memory_beyond_its_weights) { check_file_peak("mobilenet_v2", 60); }

#define SMALL_BESIDE_ITS_WEIGHTS(net, megabytes)                                                                                   \
    TEST(net##_from_a_seed_needs_little_memory_beyond_its_weights) { check_peak(#net, "seeded", megabytes); }
SMALL_BESIDE_ITS_WEIGHTS(mobilenet_v2, 60)
SMALL_BESIDE_ITS_WEIGHTS(vgg16, 150)
SMALL_BESIDE_ITS_WEIGHTS(resnet18, 150)
SMALL_BESIDE_ITS_WEIGHTS(resnet50, 150)
SMALL_BESIDE_ITS_WEIGHTS(resnet101, 150)
SMALL_BESIDE_ITS_WEIGHTS(resnet152, 150)
SMALL_BESIDE_ITS_WEIGHTS(resnext50_32x4d, 150)
SMALL_BESIDE_ITS_WEIGHTS(efficientnet_b0, 150)
SMALL_BESIDE_ITS_WEIGHTS(swin_tiny, 150)
SMALL_BESIDE_ITS_WEIGHTS(swin_small, 150)
SMALL_BESIDE_ITS_WEIGHTS(swin_base, 150)
SMALL_BESIDE_ITS_WEIGHTS(swin_large, 300)
SMALL_BESIDE_ITS_WEIGHTS(deit_base, 150)

/* Forward passes and maps at both layers in turn, so that graphs are built and thrown away; cam_bench steady does it 10,000 times. */
TEST(memory_stays_as_it_is_over_hundreds_of_maps)
{
    need_a_measure();
    cam_net *net = t_net("mobilenet_v2", NULL);
    cam_ctx *ctx = t_ctx(net, 2);
    cam_input in = t_images(1, 1, 32, 32);
    long before = 0;
    for (int i = 0; i < 330; i++) {
        float logits[1000];
        cam_error e;
        cam_result got;
        cam_request want = t_request("shapleycam", "rest", i % 2 ? "conv" : "pre_pool", CAM_TOP1);
        CHECK_OK(cam_forward(ctx, in, logits, &e), e);
        t_explain(ctx, in, &want, 1, &got);
        if (i == 29) before = kilobytes_of("VmRSS:");
    }
    long grown = kilobytes_of("VmRSS:") - before;
    CHECK_MSG(grown <= 512, "%ld kB more after 300 forward passes and maps, want at most 512", grown);
    free((float *)(uintptr_t)in.nchw);
    cam_ctx_free(ctx);
    cam_net_close(net);
}
