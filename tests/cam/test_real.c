/* SPDX-License-Identifier: MIT */
/* A real network on real photographs: MobileNetV2 with the weights of a published int8 network, from JPEG and PNG files to classes
 * and maps, against double precision. Material of others, so these tests are skipped where it is missing. */
#include "tests/cam/golden.h"

#include "nets/image/image.h"
#include "weights/npy.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PICTURES = 14, CLASSES = 1000 };

typedef struct picture {
    char name[48], path[96];
    int cls[5];
    double probability[5];
} picture;

typedef struct pictures {
    picture list[PICTURES];
    int count;
} pictures;

/* "images/NAME/path" and "images/NAME/top5/RANK/class" or "/prob" */
static void see_picture(void *arg, const char *where, const wt_json_token *value)
{
    pictures *p = arg;
    char name[48], leaf[32];
    int rank = 0;
    if (sscanf(where, "images/%47[^/]/top5/%d/%31s", name, &rank, leaf) != 3 &&
        sscanf(where, "images/%47[^/]/%31s", name, leaf) != 2)
        return;
    if (!p->count || strcmp(p->list[p->count - 1].name, name) != 0) {
        CHECK(p->count < PICTURES);
        snprintf(p->list[p->count++].name, sizeof name, "%s", name);
    }
    picture *last = &p->list[p->count - 1];
    CHECK(rank < 5);
    if (!strcmp(leaf, "path")) snprintf(last->path, sizeof last->path, "%.*s", (int)value->size, value->text);
    if (!strcmp(leaf, "class")) last->cls[rank] = atoi(value->text);
    if (!strcmp(leaf, "prob")) last->probability[rank] = strtod(value->text, NULL);
}

static pictures golden_pictures(void)
{
    pictures p = {.count = 0};
    t_json_each(t_shared("golden/mobilenet_v2_real_top5.json"), see_picture, &p);
    CHECK(p.count == PICTURES);
    return p;
}

static cam_net *real_net(const char *extension)
{
    char path[96];
    snprintf(path, sizeof path, "weights/mobilenet_v2_int8_dequantised.%s", extension);
    cam_net *net = t_net("mobilenet_v2", t_shared(path));
    CHECK(!cam_net_seeded(net));
    return net;
}

static cam_image *photo(const cam_net *net, const char *path)
{
    cam_image *image;
    cam_error e;
    CHECK_OK(cam_image_open(net, t_shared(path), "native", &image, &e), e);
    return image;
}

/* A golden file beside the pictures: NAME without its extension, then `suffix`. */
static const char *beside(const picture *p, const char *suffix)
{
    char path[160];
    snprintf(path, sizeof path, "golden/mobilenet_v2_real/%.*s%s", (int)strcspn(p->name, "."), p->name, suffix);
    return t_shared(path);
}

TEST(photographs_become_the_pixels_that_torchvision_sees)
{
    pictures p = golden_pictures();
    cam_net *net = t_net("mobilenet_v2", CAM_NO_WEIGHTS);
    for (int i = 0; i < PICTURES; i++) {
        cam_image *image = photo(net, p.list[i].path);
        size_t size;
        uint8_t *ppm = t_read_file(beside(&p.list[i], "_crop.ppm"), &size);
        img want;
        en_error e;
        CHECK_OK(img_decode(ppm, size, 0, &want, &e), e);
        CHECK(want.width == 224 && want.height == 224);
        CHECK_MSG(!memcmp(cam_image_pixels(image, NULL), want.rgb, 3 * 224 * 224), "%s", p.list[i].name);
        img_free(&want);
        free(ppm);
        cam_image_free(image);
    }
    cam_net_close(net);
}

/* Returns the largest error of a logit over the largest logit. */
static double check_logits(const picture *p, const float *got)
{
    wt_npy want;
    en_error e;
    double most = 0, error = 0, sum = 0;
    int32_t top[5];
    CHECK_OK(wt_npy_read(beside(p, ".npy"), &want, &e), e);
    for (int k = 0; k < CLASSES; k++) {
        most = fmax(most, fabs((double)want.data[k]));
        error = fmax(error, fabs((double)got[k] - (double)want.data[k]));
        sum += exp((double)got[k]);
    }
    wt_npy_free(&want);
    CHECK_MSG(error <= 1e-4 * most, "%s: logits err by %g, the largest is %g", p->name, error, most);
    cam_top(got, CLASSES, 5, top);
    for (int i = 0; i < 5; i++) {
        double probability = exp((double)got[top[i]]) / sum;
        CHECK_MSG(top[i] == p->cls[i], "%s: number %d is class %d, want %d", p->name, i + 1, top[i], p->cls[i]);
        CHECK_MSG(fabs(probability - p->probability[i]) <= 1e-4, "%s: probability %g, want %g", p->name, probability,
                  p->probability[i]);
    }
    return error / most;
}

static void check_classes(const char *extension)
{
    pictures p = golden_pictures();
    cam_net *net = real_net(extension);
    cam_ctx *ctx = t_ctx(net, 1);
    double worst = 0;
    for (int i = 0; i < PICTURES; i++) {
        cam_image *image = photo(net, p.list[i].path);
        float logits[CLASSES];
        cam_error e;
        CHECK_OK(cam_forward(ctx, cam_image_input(image), logits, &e), e);
        worst = fmax(worst, check_logits(&p.list[i], logits));
        cam_image_free(image);
    }
    fprintf(stderr, "  %s: logits err by at most %.2g of the largest\n", extension, worst);
    cam_ctx_free(ctx);
    cam_net_close(net);
}

TEST(the_real_network_from_safetensors_sees_what_is_in_the_photographs) { check_classes("safetensors"); }
TEST(the_real_network_from_a_torch_file_sees_what_is_in_the_photographs) { check_classes("pth"); }

/* ---- maps ---- */

enum { POSITIONS = 49, METHODS = 10 };

typedef struct photo_maps {
    cam_net *net;
    cam_ctx *ctx;
    const char *layer;
    char image[48], method[24]; /* of the row that is being read */
    int cls, values, rows;
    double raw[POSITIONS];
    char explained[48]; /* the image that the context has explained */
    double worst[2];    /* of all but, and of, the methods that divide by a channel's sum */
} photo_maps;

/* All methods of one photograph at once, when the first row of it comes. */
static void explain_photo(photo_maps *m)
{
    char path[96];
    cam_request want[METHODS];
    cam_result got[METHODS];
    snprintf(path, sizeof path, "images/imagenet_val/%s", m->image);
    cam_image *image = photo(m->net, path);
    for (int i = 0; i < METHODS; i++) want[i] = t_request(cam_list("methods", i), "rest", m->layer, CAM_TOP1);
    t_explain(m->ctx, cam_image_input(image), want, METHODS, got);
    CHECK_MSG(got[0].cls == m->cls, "%s: class %d, want %d", m->image, got[0].cls, m->cls);
    cam_image_free(image);
    snprintf(m->explained, sizeof m->explained, "%s", m->image);
}

static void check_row(photo_maps *m)
{
    int number = 0;
    double error = 0, norm = 0;
    if (strcmp(m->explained, m->image) != 0) explain_photo(m);
    while (number < METHODS && strcmp(cam_list("methods", number), m->method) != 0) number++;
    CHECK_MSG(number < METHODS, "no method %s", m->method);
    /* Sums of channels that are not rectified may be near 0; PyTorch's float32 is off by up to 6e-3 there. */
    int divides = !strcmp(m->method, "xgradcam") || !strcmp(m->method, "shapleycam-x");
    /* At conv one ReLU6 of one photograph stands so near its kink that rounding decides. */
    double bound = strcmp(m->layer, "conv") ? 1e-4 : divides ? 1e-2 : 1e-3;
    const double *got = cam_raw_map(m->ctx, 0, number);
    for (int s = 0; s < POSITIONS; s++) {
        error += (got[s] - m->raw[s]) * (got[s] - m->raw[s]);
        norm += m->raw[s] * m->raw[s];
    }
    error = sqrt(error / norm);
    CHECK_MSG(error <= bound, "%s, %s at %s: L2 error of %g", m->image, m->method, m->layer, error);
    m->worst[divides] = fmax(m->worst[divides], error);
    m->rows++;
}

/* "rows/N/image", "/method", "/cls" and then "/raw/POSITION" */
static void see_row(void *arg, const char *where, const wt_json_token *value)
{
    photo_maps *m = arg;
    int row, position;
    char leaf[32] = "";
    if (sscanf(where, "rows/%d/%31s", &row, leaf) != 2) return;
    if (!strcmp(leaf, "image")) snprintf(m->image, sizeof m->image, "%.*s", (int)value->size, value->text);
    if (!strcmp(leaf, "method")) snprintf(m->method, sizeof m->method, "%.*s", (int)value->size, value->text);
    if (!strcmp(leaf, "cls")) m->cls = atoi(value->text);
    if (sscanf(leaf, "raw/%d", &position) != 1) return;
    CHECK(position < POSITIONS);
    m->raw[position] = strtod(value->text, NULL);
    if (position == POSITIONS - 1) check_row(m);
}

static void check_maps(const char *layer)
{
    char path[64];
    snprintf(path, sizeof path, "golden/metrics/mobilenet_v2.%s.rest.json", layer);
    const char *golden = t_shared(path);
    photo_maps m = {.net = real_net("safetensors"), .layer = layer};
    m.ctx = t_ctx(m.net, 1);
    t_json_each(golden, see_row, &m);
    CHECK(m.rows == 10 * METHODS);
    fprintf(stderr, "  %s: %d maps, L2 error at most %.2g, of xgradcam and shapleycam-x %.2g\n", layer, m.rows, m.worst[0],
            m.worst[1]);
    cam_ctx_free(m.ctx);
    cam_net_close(m.net);
}

TEST(maps_of_photographs_before_the_pool_are_the_golden_ones) { check_maps("pre_pool"); }
TEST(maps_of_photographs_at_the_convolution_are_the_golden_ones) { check_maps("conv"); }
