/* SPDX-License-Identifier: MIT */
/* Seeded weights against bit patterns from the reference program of the recipe. */
#include "tests/test.h"
#include "weights/seeded.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static const struct {
    const char *net, *key;
    int rank;
    int64_t dim[4];
    uint64_t seed;
    size_t first;
    uint32_t want[3];
} cases[] = {
    {"resnet18", "conv1.weight", 4, {64, 3, 7, 7}, 1, 0, {0xBC19CF8B, 0xBE09810D, 0xBE1EFEC2}},
    {"resnet18", "fc.weight", 2, {1000, 512}, 1, 511998, {0xBE9D47E2, 0xBE8AD58E}},
    {"resnet18", "fc.bias", 1, {1000}, 2, 5, {0x3E473AB5, 0xBD6B3FBA, 0x3DC6E70D}},
    {"resnet50", "layer1.0.bn3.weight", 1, {256}, 1, 100, {0x3E4F2DA2, 0x3E8E8963, 0x3E4A6976}},
    {"resnet50", "layer1.0.bn1.weight", 1, {64}, 1, 61, {0x3F7F2CEA, 0x3F9A5CEF, 0x3F7E51DE}},
    {"swin_tiny", "layers.0.blocks.0.attn.relative_position_bias_table", 2, {169, 3}, 1, 0, {0x3EC60A10, 0x3F0F3C7E, 0x3F2CDAB2}},
    {"deit_base", "cls_token", 3, {1, 1, 768}, 1, 765, {0x3F47807A, 0x3E49D0F8, 0xBF6C49C6}},
    {"deit_base", "pos_embed", 3, {1, 197, 768}, 0, 151293, {0xBDA872B0, 0x3DE95440, 0xBF73271E}},
    {"swin_tiny", "layers.0.blocks.0.mlp.fc1.weight", 2, {384, 96}, UINT64_MAX, 7, {0xBD37D87F, 0xBC6CF74F, 0xBDAD1928}},
    {"resnet18", "bn1.running_mean", 1, {64}, 1, 62, {0xBDBBA24A, 0x3D370FF5}},
    {"resnet18", "layer4.1.bn2.running_var", 1, {512}, 7, 510, {0x3F14E5DA, 0x3F0D9099}},
    {"resnext50_32x4d", "layer4.1.bn2.running_var", 1, {1024}, 1, 1022, {0x3F07D45D, 0x3F130885}},
    {"resnet18", "bn1.num_batches_tracked", 0, {0}, 1, 0, {0}},
};

TEST(seeded_values_have_the_bits_of_the_reference)
{
    en_error e;
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        size_t count = 1;
        float got[3];
        for (int i = 0; i < cases[c].rank; i++) count *= (size_t)cases[c].dim[i];
        count = count - cases[c].first < 3 ? count - cases[c].first : 3;
        CHECK_OK(
            wt_seeded_read(cases[c].net, cases[c].seed, cases[c].key, cases[c].rank, cases[c].dim, cases[c].first, count, got, &e),
            e);
        for (size_t i = 0; i < count; i++)
            CHECK_MSG(bits_of(got[i]) == cases[c].want[i], "%s %s [%zu]: %08X, want %08X", cases[c].net, cases[c].key,
                      cases[c].first + i, bits_of(got[i]), cases[c].want[i]);
    }
}

TEST(any_slice_of_a_seeded_entry_equals_that_part_of_the_whole)
{
    static const char *const keys[] = {"conv.weight", "x.bias", "bn1.running_mean"};
    static const int64_t dims[][4] = {{4, 4, 2, 2}, {64}, {64}};
    static const int ranks[] = {4, 1, 1};
    en_error e;
    float whole[64], part[64];
    for (int k = 0; k < 3; k++) {
        CHECK_OK(wt_seeded_read("resnet18", 1, keys[k], ranks[k], dims[k], 0, 64, whole, &e), e);
        for (size_t first = 0; first <= 64; first++) {
            CHECK_OK(wt_seeded_read("resnet18", 1, keys[k], ranks[k], dims[k], first, 64 - first, part, &e), e);
            CHECK(!memcmp(part, whole + first, (64 - first) * sizeof *part));
        }
    }
}

TEST(a_stream_is_a_number_sequence_in_minus_one_to_one)
{
    uint64_t stream = wt_seeded_stream("resnet18/conv1.weight", 1);
    double low = 1, high = -1;
    CHECK(wt_seeded_stream("", 0) == 0xCBF29CE484222325u);
    CHECK(wt_seeded_stream("resnet18/conv1.weight", 0) == 0x312479D1D43F244Fu);
    for (uint64_t i = 0; i < 100000; i++) {
        double u = wt_uniform(stream, i);
        if (u < low) low = u;
        if (u > high) high = u;
    }
    CHECK(low >= -1 && low < -0.999 && high < 1 && high > 0.999);
}

TEST(entries_without_a_rule_and_ranges_outside_are_refused)
{
    en_error e;
    float out[4];
    CHECK_FAILS(wt_seeded_read("resnet18", 1, "gamma", 1, (int64_t[]){4}, 0, 4, out, &e), e, EN_E_ARG,
                "resnet18: no rule for 'gamma'");
    CHECK_FAILS(wt_seeded_read("resnet18", 1, "x.bias", 1, (int64_t[]){4}, 3, 2, out, &e), e, EN_E_ARG,
                "'x.bias' has 4 values, want 2");
    CHECK_FAILS(wt_seeded_read("resnet18", 1, "x.bias", 1, (int64_t[]){4}, SIZE_MAX, 2, out, &e), e, EN_E_ARG, "has 4 values");
    CHECK_FAILS(wt_seeded_read("resnet18", 1, "x.bias", 1, (int64_t[]){-4}, 0, 0, out, &e), e, EN_E_ARG, "has -1 values");
    CHECK_FAILS(wt_seeded_read("swin_tiny", 1, "n.running_var", 1, (int64_t[]){4}, 0, 4, out, &e), e, EN_E_ARG,
                "no statistics for 'n.running_var'");
    CHECK_FAILS(wt_seeded_read("resnet18", 1, "bn1.running_mean", 1, (int64_t[]){4}, 0, 4, out, &e), e, EN_E_ARG,
                "has 64 values, another shape");
}

TEST(the_statistics_inside_the_program_are_the_files)
{
    static const struct {
        const char *net;
        size_t tensors;
    } nets[] = {{"resnet18", 40},         {"resnet50", 106},     {"resnet101", 208},     {"resnet152", 310},
                {"resnext50_32x4d", 106}, {"mobilenet_v2", 104}, {"efficientnet_b0", 98}};
    en_error e;
    wt_store *store, *file;
    for (size_t i = 0; i < sizeof nets / sizeof *nets; i++) {
        char path[128];
        snprintf(path, sizeof path, "weights/seeded_statistics/%s.safetensors", nets[i].net);
        CHECK_OK(wt_seeded_statistics(nets[i].net, &store, &e), e);
        CHECK_OK(wt_open(path, &file, &e), e);
        CHECK_MSG(wt_count(store) == nets[i].tensors && wt_count(file) == nets[i].tensors, "%s: %zu", nets[i].net, wt_count(store));
        for (size_t k = 0; k < nets[i].tensors; k++) {
            const wt_tensor *a = wt_at(store, k), *b = wt_find(file, a->name);
            CHECK(b && wt_elements(a) == wt_elements(b) && !memcmp(a->data, b->data, 4 * wt_elements(a)));
        }
        wt_close(store);
        wt_close(file);
    }
    CHECK_OK(wt_seeded_statistics("vgg16", &store, &e), e);
    CHECK(!store);
}

/* FNV-1a-64 over the bytes of an image. */
static uint64_t hash_of(const float *x, size_t n)
{
    uint64_t h = 0xCBF29CE484222325u;
    for (size_t i = 0; i < n * sizeof *x; i++) h = (h ^ ((const uint8_t *)x)[i]) * 0x100000001B3u;
    return h;
}

TEST(seeded_images_have_the_bits_of_the_reference)
{
    static const struct {
        uint64_t seed;
        int height, width;
        uint64_t hash;
        uint32_t first, last;
    } images[] = {{1, 224, 224, 0x4961F8207444632C, 0x3F8D6684, 0x3F408C66},
                  {1, 5, 9, 0xCAFB1066516756F6, 0x3F8D6684, 0x3F571B35},
                  {7, 2, 3, 0xA486F5FAFE1381D0, 0x3F44A6B3, 0x3FBE8278},
                  {101, 31, 97, 0xF0CA482E594C5885, 0xBF3C6914, 0xBF17CA47}};
    en_error e;
    for (size_t i = 0; i < sizeof images / sizeof *images; i++) {
        size_t n = 3 * (size_t)images[i].height * (size_t)images[i].width;
        float *chw = malloc(n * sizeof *chw);
        CHECK(chw != NULL);
        CHECK_OK(wt_seeded_image(images[i].seed, images[i].height, images[i].width, chw, &e), e);
        CHECK(bits_of(chw[0]) == images[i].first && bits_of(chw[n - 1]) == images[i].last);
        CHECK_MSG(hash_of(chw, n) == images[i].hash, "image(%llu) %d x %d", (unsigned long long)images[i].seed, images[i].height,
                  images[i].width);
        free(chw);
    }
    float none[1];
    CHECK_FAILS(wt_seeded_image(1, 1, 9, none, &e), e, EN_E_ARG, "seeded image of 9 x 1");
}

TEST(failed_allocations_while_reading_statistics_are_reported)
{
    en_error e;
    float out[64];
    long n = 1;
    for (;; n++) {
        t_fail_allocation(n, 0);
        en_status status = wt_seeded_read("resnet18", 1, "bn1.running_var", 1, (int64_t[]){64}, 0, 64, out, &e);
        t_fail_allocation(0, 0);
        if (status == EN_OK) break;
        CHECK_MSG(status == EN_E_NOMEM, "allocation %ld: %s", n, e.text);
    }
    CHECK(n > 40);
}
