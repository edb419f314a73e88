/* SPDX-License-Identifier: MIT */
/* Networks of a user's own: another number of classes, other names, a file that says how it wants to be used. */
#include "cam/shapleycam.h"
#include "tests/nets/checkpoint.h"
#include "tests/test.h"
#include "weights/camw.h"
#include "weights/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OWN = 3 };

static const cam_net_options plain = {.size = sizeof plain, .defer = 1};

static wt_array *find(t_checkpoint *c, const char *name)
{
    for (size_t i = 0; i < c->count; i++)
        if (!strcmp(c->array[i].name, name)) return &c->array[i];
    t_fail(__FILE__, __LINE__, "no %s", name);
}

/* A mobilenet_v2 with the first rows of the classifier alone, as fine-tuning leaves one. */
static void fine_tuned(t_checkpoint *c, int classes)
{
    t_checkpoint_make("mobilenet_v2", c);
    find(c, "classifier.1.weight")->dim[0] = classes;
    find(c, "classifier.1.bias")->dim[0] = classes;
}

static void save(const t_checkpoint *c, char path[128])
{
    en_error e;
    t_temporary(path);
    CHECK_OK(wt_save_safetensors(path, c->array, c->count, NULL, &e), e);
}

static void text_file(const char *text, char path[128])
{
    t_temporary(path);
    FILE *f = fopen(path, "w");
    CHECK(f && fputs(text, f) >= 0 && !fclose(f));
}

static cam_net *opened(const char *name, const char *path, const cam_net_options *o)
{
    cam_net *net;
    cam_error e;
    CHECK_MSG(cam_net_open_with(name, path, o, &net, &e) == CAM_OK, "%s", e.text);
    return net;
}

static void refused(const char *name, const char *path, const cam_net_options *o, cam_status want, const char *part)
{
    cam_net *net;
    cam_error e;
    cam_status got = cam_net_open_with(name, path, o, &net, &e);
    CHECK_MSG(got == want && !net && strstr(e.text, part), "status %d, \"%s\" lacks \"%s\"", got, e.text, part);
}

TEST(a_fine_tuned_checkpoint_explains_its_own_classes)
{
    t_checkpoint c;
    char path[128], *json, *wide;
    cam_ctx *ctx;
    cam_image *image;
    cam_error e;
    cam_result r;
    const cam_request q = {.size = sizeof q, .method = "shapleycam", .utility = "rest", .layer = "pre_pool", .cls = 1};
    fine_tuned(&c, OWN);
    save(&c, path);
    cam_net *net = opened("auto", path, NULL);
    CHECK(!strcmp(cam_net_name(net), "mobilenet_v2") && cam_net_classes(net) == OWN);
    CHECK(!strcmp(cam_net_class_name(net, 2), "class 2") && !*cam_net_class_id(net, 2) && !*cam_net_class_name(net, OWN));
    CHECK_MSG(!cam_ctx_new(net, NULL, &ctx, &e) && !cam_image_tensor(net, "seeded-image:1", &image, &e), "%s", e.text);
    CHECK_MSG(!cam_explain(ctx, cam_image_input(image), &q, 1, &r, &e) && !cam_report(ctx, "x", 0, 5, &json, &e), "%s", e.text);
    CHECK_MSG(strstr(json, "\"wnid\":\"\",\"name\":\"class 1\"") && !strstr(json, "n0144"), "%s", json);
    CHECK(cam_logits(ctx, 0) != NULL);
    float own[OWN];
    memcpy(own, cam_logits(ctx, 0), sizeof own);
    cam_ctx_free(ctx);
    cam_net_close(net);
    net = opened("mobilenet_v2", "seeded", NULL); /* the same network with all 1000 rows: the first logits are the same numbers */
    CHECK_MSG(!cam_ctx_new(net, NULL, &ctx, &e) && !cam_explain(ctx, cam_image_input(image), &q, 1, &r, &e), "%s", e.text);
    CHECK(!memcmp(own, cam_logits(ctx, 0), sizeof own));
    CHECK_MSG(!cam_report(ctx, "x", 0, 1, &wide, &e) && strstr(wide, "\"wnid\":\"n"), "%s", wide);
    free(json);
    free(wide);
    cam_image_free(image);
    cam_ctx_free(ctx);
    cam_net_close(net);
    t_checkpoint_free(&c);
    unlink(path);
}

TEST(a_file_with_names_names_the_classes)
{
    t_checkpoint c;
    char path[128], names[128], few[128];
    int32_t index = -1;
    cam_error e;
    fine_tuned(&c, OWN);
    save(&c, path);
    text_file("cat\nX1\tdog\nhorse\n", names);
    text_file("cat\n", few);
    cam_net_options o = plain;
    o.classes = names;
    cam_net *net = opened("mobilenet-v2", path, &o);
    CHECK(!strcmp(cam_net_class_name(net, 1), "dog") && !strcmp(cam_net_class_id(net, 1), "X1"));
    CHECK(cam_net_class_find(net, "Horse", &index, &e) == CAM_OK && index == 2);
    CHECK(cam_net_class_find(net, "goldfish", &index, &e) == CAM_E_ARG && index == 2);
    CHECK(cam_net_class_find(net, "3", &index, &e) == CAM_E_ARG);
    cam_net_close(net);
    o.classes = few;
    refused("auto", path, &o, CAM_E_ARG, "1 lines, want one for each of the 3 classes");
    t_checkpoint_free(&c);
    unlink(path), unlink(names), unlink(few);
}

TEST(a_thousand_classes_have_imagenets_names_unless_told_otherwise)
{
    cam_net *net = opened("mobilenet_v2", CAM_NO_WEIGHTS, NULL);
    CHECK(cam_net_classes(net) == 1000 && !strcmp(cam_net_class_name(net, 948), "Granny Smith") && !strcmp(cam_net_class_id(net, 0), "n01440764"));
    cam_net_close(net);
}

/* A .camw of the fine-tuned network, which says what it is. */
static void save_camw(const t_checkpoint *c, char path[128])
{
    static const wt_class classes[OWN] = {{"", "cat"}, {"", "dog"}, {"H", "horse"}};
    static const wt_preprocess preprocess = {"whole", 0, "bicubic", 96, 64, {0.5f, 0.25f, 0.125f}, {0.5f, 1, 2}};
    const wt_metadata metadata = {.net = "mobilenet_v2", .classes = classes, .class_count = OWN, .preprocess = &preprocess};
    char plain_path[128];
    en_error e;
    wt_store *store;
    wt_output out[T_MAX_TENSORS];
    save(c, plain_path);
    t_temporary(path);
    CHECK_OK(wt_open(plain_path, &store, &e), e);
    for (size_t i = 0; i < wt_count(store); i++) out[i] = wt_output_of(store, wt_at(store, i), wt_at(store, i)->name, WT_F32);
    CHECK_OK(wt_camw_write(path, &metadata, out, wt_count(store), &e), e);
    wt_close(store);
    unlink(plain_path);
}

TEST(a_camw_brings_its_names_and_its_preprocessing)
{
    t_checkpoint c;
    char path[128];
    cam_image *image;
    cam_error e;
    int32_t size[2];
    fine_tuned(&c, OWN);
    save_camw(&c, path);
    cam_net *net = opened("auto", path, &plain);
    CHECK(!strcmp(cam_net_class_name(net, 1), "dog") && !strcmp(cam_net_class_id(net, 2), "H"));
    CHECK_MSG(cam_image_sample(net, "native", &image, &e) == CAM_OK, "%s", e.text);
    cam_input in = cam_image_input(image);
    CHECK(in.width == 96 && in.height == 64);
    const uint8_t *pixel = cam_image_pixels(image, size);
    for (int k = 0; k < 3; k++) {
        static const float mean[] = {0.5f, 0.25f, 0.125f}, std[] = {0.5f, 1, 2};
        CHECK(in.nchw[k * 96 * 64 + 7] == ((float)pixel[3 * 7 + k] / 255.0f - mean[k]) / std[k]);
    }
    cam_image_free(image);
    cam_net_close(net);
    t_checkpoint_free(&c);
    unlink(path);
}

TEST(foreign_names_open_with_a_map_and_a_prefix)
{
    t_checkpoint c;
    char path[128], map[128], name[160];
    fine_tuned(&c, OWN);
    for (size_t i = 0; i < c.count; i++) {
        int own = !strcmp(c.array[i].name, "classifier.1.bias");
        snprintf(name, sizeof name, "%s%s", own ? "own." : "net.", own ? "bias" : c.array[i].name);
        free((void *)(uintptr_t)c.array[i].name);
        c.array[i].name = strdup(name);
    }
    save(&c, path);
    text_file("own.bias classifier.1.bias\n", map);
    cam_net_options o = plain;
    refused("mobilenet_v2", path, &o, CAM_E_FORMAT, "no tensor 'classifier.1.weight'");
    o.map = map;
    o.strip = "net.";
    cam_net_close(opened("mobilenet_v2", path, &o));
    refused("mobilenet_v2", "seeded", &o, CAM_E_ARG, "in a file only");
    t_checkpoint_free(&c);
    unlink(path), unlink(map);
}

TEST(what_cannot_be_opened_is_told)
{
    t_checkpoint c;
    char path[128];
    fine_tuned(&c, OWN);
    save(&c, path);
    refused("auto", NULL, NULL, CAM_E_ARG, "want a file");
    refused("auto", "seeded", NULL, CAM_E_ARG, "want a file");
    refused("auto", CAM_NO_WEIGHTS, NULL, CAM_E_ARG, "want a file");
    refused("resnet18", path, &plain, CAM_E_FORMAT, "no tensor 'fc.weight', the classifier of resnet18");
    refused("mobilenet_v2", path, &(cam_net_options){.size = 1}, CAM_E_ARG, "size 1");
    unlink(path);
    c.count--;
    save(&c, path);
    refused("mobilenet_v2", path, &plain, CAM_E_FORMAT, c.array[c.count].name); /* without reading any numbers */
    c.count++;
    t_checkpoint_free(&c);
    unlink(path);
}

/* Deferred weights are the same weights. */
TEST(weights_that_are_read_later_give_the_same_bits)
{
    t_checkpoint c;
    char path[128];
    float logits[2][OWN];
    cam_error e;
    fine_tuned(&c, OWN);
    save(&c, path);
    for (int defer = 0; defer < 2; defer++) {
        cam_net_options o = {.size = sizeof o, .defer = defer};
        cam_net *net = opened("auto", path, &o);
        cam_ctx *ctx;
        cam_image *image;
        CHECK((cam_net_bytes(net) == 0) == defer);
        CHECK_MSG(!cam_ctx_new(net, NULL, &ctx, &e) && !cam_image_sample(net, "native", &image, &e), "%s", e.text);
        CHECK_MSG(!cam_forward(ctx, cam_image_input(image), logits[defer], &e), "%s", e.text);
        CHECK(cam_net_bytes(net) > 0);
        cam_image_free(image);
        cam_ctx_free(ctx);
        cam_net_close(net);
    }
    CHECK(!memcmp(logits[0], logits[1], sizeof logits[0]));
    t_checkpoint_free(&c);
    unlink(path);
}
