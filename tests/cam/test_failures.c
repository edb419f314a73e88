/* SPDX-License-Identifier: MIT */
/* Out of memory anywhere: for every n, the n-th allocation of a step fails. The step then says so, hands out nothing, loses nothing
 * (the build with SAN=address looks), and the same objects work when it is tried again.
 *
 * Running is covered completely, opening a network up to its first blocks of weights and then in samples: mobilenet_v2 makes some
 * 1,300 allocations from a file, and 12,000 from a seed, since it reads the statistics anew for every batch norm. */
#include "tests/cam/golden.h"

#include "tests/nets/checkpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SIDE = 64 };

/* The step returned `status` while allocation n failed; true if it got through because it has fewer. */
static int survived(cam_status status, const cam_error *e, long n, const char *step)
{
    t_fail_allocation(0, 0);
    if (status == CAM_OK) return 1;
    CHECK_MSG(status == CAM_E_NOMEM, "%s, allocation %ld: \"%s\", want out of memory", step, n, en_status_text((en_status)status));
    CHECK_MSG(*e->text && e->status == CAM_E_NOMEM, "%s, allocation %ld: no message", step, n);
    return 0;
}

/* ---- opening ---- */

/* Up to here every allocation fails: those of the checkpoint, the graph, the threads and the first blobs. After that come blobs of
 * the same few kinds; the steps have no factor in common with their order. */
enum { ALL = 400 };

/* True if the network could be opened all the same. */
static int open_fails(const char *weights, long n)
{
    cam_net *net;
    cam_error e = {0};
    t_fail_allocation(n, 0);
    int through = survived(cam_net_open("mobilenet_v2", weights, &net, &e), &e, n, "cam_net_open");
    CHECK(through == (net != NULL));
    cam_net_close(net);
    return through;
}

TEST(a_network_that_cannot_get_memory_is_not_opened_from_a_file)
{
    char path[128];
    t_checkpoint_save("mobilenet_v2", path);
    long n = 1;
    while (!open_fails(path, n)) n += n < ALL ? 1 : 11;
    unlink(path);
    CHECK_MSG(n > 500, "only %ld allocations", n);
    fprintf(stderr, "  %ld allocations\n", n);
}

TEST(a_network_that_cannot_get_memory_is_not_opened_from_a_seed)
{
    long n = 1;
    while (!open_fails("seeded", n)) n += n < ALL ? 1 : 11;
    CHECK_MSG(n > 500, "only %ld allocations", n);
}

TEST(a_network_that_names_only_its_layers_is_not_opened_without_memory)
{
    long n = 1;
    while (!open_fails(CAM_NO_WEIGHTS, n)) n++;
    CHECK_MSG(n > 3, "only %ld allocations", n);
}

/* ---- running ---- */

typedef struct bench {
    cam_net *net;
    int threads;
    cam_ctx *ctx;
    cam_image *image;
    char *json;
    uint8_t *png;
    size_t size;
    float logits[1000];
} bench;

static cam_status explain(bench *b, cam_error *e)
{
    cam_request want[] = {t_request("shapleycam", "rest", "pre_pool", CAM_TOP1), t_request("randomcam", "rest", "conv", -2),
                          t_request("gradcam++", "softmax", "conv", 281)};
    cam_result got[3];
    return cam_explain(b->ctx, cam_image_input(b->image), want, 3, got, e);
}

static cam_status new_context(bench *b, cam_error *e)
{
    cam_ctx_free(b->ctx);
    cam_status status = cam_ctx_new(b->net, &(cam_options){.size = sizeof(cam_options), .threads = b->threads}, &b->ctx, e);
    CHECK((status == CAM_OK) == (b->ctx != NULL));
    return status;
}

static cam_status picture(bench *b, cam_error *e)
{
    cam_image_free(b->image);
    cam_status status = cam_image_sample(b->net, "64x64:bilinear", &b->image, e);
    CHECK((status == CAM_OK) == (b->image != NULL));
    return status;
}

/* From nothing, and again with the graph that is there. */
static cam_status forward(bench *b, cam_error *e) { return cam_forward(b->ctx, cam_image_input(b->image), b->logits, e); }

static cam_status tail(bench *b, cam_error *e)
{
    int32_t chw[3];
    const float *a = cam_activation(b->ctx, 0, 1, chw);
    return cam_tail(b->ctx, "conv", a, 1, b->logits, e);
}

static cam_status render(bench *b, cam_error *e)
{
    free(b->png);
    cam_status status = cam_render(b->ctx, b->image, 0, "viridis", &b->png, &b->size, e);
    CHECK((status == CAM_OK) == (b->png != NULL));
    return status;
}

static cam_status report(bench *b, cam_error *e)
{
    free(b->json);
    cam_status status = cam_report(b->ctx, "sample", 0, 5, &b->json, e);
    CHECK((status == CAM_OK) == (b->json != NULL));
    return status;
}

/* Every allocation of the step; returns how many there are. */
static long fail_each(const char *name, bench *b, cam_status (*step)(bench *b, cam_error *e))
{
    for (long n = 1;; n++) {
        cam_error e = {0};
        t_fail_allocation(n, 0);
        cam_status status = step(b, &e);
        if (survived(status, &e, n, name)) return n - 1;
    }
}

static uint64_t hash_of(const bench *b)
{
    uint64_t hash = t_hash(T_HASH, cam_logits(b->ctx, 0), 1000 * sizeof(float));
    for (int i = 0; i < 3; i++) hash = t_hash(hash, cam_map(b->ctx, 0, i), SIDE * SIDE * sizeof(float));
    return hash;
}

TEST(every_step_without_memory_says_so_and_works_when_it_has_some)
{
    static const struct {
        const char *name;
        cam_status (*step)(bench *b, cam_error *e);
        long least; /* allocations that it makes at any rate */
    } steps[] = {{"cam_ctx_new", new_context, 4}, {"cam_image_sample", picture, 5},
                 {"cam_forward", forward, 6},     {"cam_explain", explain, 20},
                 {"cam_tail", tail, 6},           {"cam_render", render, 3},
                 {"cam_report", report, 3},       {"cam_forward", forward, 6},
                 {"cam_explain", explain, 20}};
    bench b = {.net = t_net("mobilenet_v2", NULL), .threads = 2};
    uint64_t first = 0;
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        long count = fail_each(steps[i].name, &b, steps[i].step);
        fprintf(stderr, "  %s: %ld allocations\n", steps[i].name, count);
        CHECK_MSG(count >= steps[i].least, "%s: only %ld allocations", steps[i].name, count);
        if (steps[i].step != explain) continue;
        CHECK(!first || hash_of(&b) == first);
        first = hash_of(&b);
    }
    free(b.png);
    free(b.json);
    cam_image_free(b.image);
    cam_ctx_free(b.ctx);
    cam_net_close(b.net);
}

/* A failure in the middle of an explanation, at each place, and then another explanation with the same context. */
TEST(an_explanation_after_one_that_failed_has_the_same_bits)
{
    bench b = {.net = t_net("mobilenet_v2", NULL), .threads = 1};
    cam_error e = {0};
    CHECK_OK(new_context(&b, &e), e);
    CHECK_OK(picture(&b, &e), e);
    CHECK_OK(explain(&b, &e), e);
    const uint64_t want = hash_of(&b);
    for (long n = 1;; n++) {
        CHECK_OK(forward(&b, &e), e); /* drops the graph of the explanation */
        t_fail_allocation(n, 0);
        int through = survived(explain(&b, &e), &e, n, "cam_explain");
        CHECK(through || (!cam_map(b.ctx, 0, 0) && !cam_logits(b.ctx, 0)));
        CHECK_OK(explain(&b, &e), e);
        CHECK_MSG(hash_of(&b) == want, "after allocation %ld failed", n);
        if (through) break;
    }
    cam_image_free(b.image);
    cam_ctx_free(b.ctx);
    cam_net_close(b.net);
}
