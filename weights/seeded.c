/* SPDX-License-Identifier: MIT */
/* Seeded weights and inputs (seeded.h has the formulas): FNV-1a names a stream, splitmix64 (Steele, Lea, Flood 2014) numbers it.
 * Everything is computed in double in the order written and rounded once, without fused multiply-adds. */
#include "weights/seeded.h"
#include "weights/embed.h"
#include "weights/formats.h"

#include <math.h>
#include <string.h>

#define GOLDEN 0x9E3779B97F4A7C15u

WT_EMBED(wt_statistics_resnet18, "weights/seeded_statistics/resnet18.safetensors");
WT_EMBED(wt_statistics_resnet50, "weights/seeded_statistics/resnet50.safetensors");
WT_EMBED(wt_statistics_resnet101, "weights/seeded_statistics/resnet101.safetensors");
WT_EMBED(wt_statistics_resnet152, "weights/seeded_statistics/resnet152.safetensors");
WT_EMBED(wt_statistics_resnext50, "weights/seeded_statistics/resnext50_32x4d.safetensors");
WT_EMBED(wt_statistics_mobilenet_v2, "weights/seeded_statistics/mobilenet_v2.safetensors");
WT_EMBED(wt_statistics_efficientnet_b0, "weights/seeded_statistics/efficientnet_b0.safetensors");

static const struct {
    const char *net;
    const uint8_t *bytes, *end;
} statistics[] = {
    {"resnet18", wt_statistics_resnet18, wt_statistics_resnet18_end},
    {"resnet50", wt_statistics_resnet50, wt_statistics_resnet50_end},
    {"resnet101", wt_statistics_resnet101, wt_statistics_resnet101_end},
    {"resnet152", wt_statistics_resnet152, wt_statistics_resnet152_end},
    {"resnext50_32x4d", wt_statistics_resnext50, wt_statistics_resnext50_end},
    {"mobilenet_v2", wt_statistics_mobilenet_v2, wt_statistics_mobilenet_v2_end},
    {"efficientnet_b0", wt_statistics_efficientnet_b0, wt_statistics_efficientnet_b0_end},
};

static uint64_t fnv1a(uint64_t h, const char *text)
{
    for (; *text; text++) h = (h ^ (uint8_t)*text) * 0x100000001B3u;
    return h;
}

static uint64_t stream_of(uint64_t hash, uint64_t seed) { return hash ^ seed * GOLDEN; }

uint64_t wt_seeded_stream(const char *name, uint64_t seed) { return stream_of(fnv1a(0xCBF29CE484222325u, name), seed); }

/* The conversion goes through int32_t, for which every instruction set has one. */
static inline double uniform(uint64_t stream, uint64_t i)
{
    uint64_t z = stream + (i + 1) * GOLDEN;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    z = z ^ (z >> 31);
    return (double)(int32_t)(z >> 40) * 0x1p-23 - 1.0;
}

double wt_uniform(uint64_t stream, uint64_t i) { return uniform(stream, i); }

en_status wt_seeded_statistics(const char *net, wt_store **out, en_error *e)
{
    *out = NULL;
    for (size_t i = 0; i < sizeof statistics / sizeof *statistics; i++)
        if (!strcmp(statistics[i].net, net))
            return wt_open_bytes(net, statistics[i].bytes, (size_t)(statistics[i].end - statistics[i].bytes), out, e);
    return EN_OK;
}

static en_status read_statistics(const char *net, const char *key, int rank, const int64_t *dim, size_t first, size_t count,
                                 float *out, en_error *e)
{
    wt_store *store;
    EN_TRY(wt_seeded_statistics(net, &store, e));
    const wt_tensor *t = store ? wt_find(store, key) : NULL;
    en_status status;
    if (!t)
        status = en_fail(e, EN_E_ARG, "seeded %s: no statistics for '%s'", net, key);
    else if (t->rank != rank || memcmp(t->dim, dim, (size_t)rank * sizeof *dim) != 0)
        status = en_fail(e, EN_E_ARG, "seeded %s: '%s' has %zu values, another shape was asked for", net, key, wt_elements(t));
    else
        status = wt_read(store, t, first, count, out, e);
    wt_close(store);
    return status;
}

/* value = outer * (offset + inner * u); a factor of 1 and an offset of 0 change no bit. */
typedef struct rule {
    double outer, offset, inner;
} rule;

static int ends_with(const char *text, const char *tail)
{
    size_t n = strlen(text), m = strlen(tail);
    return n >= m && !strcmp(text + n - m, tail);
}

static int find_rule(const char *key, const char *leaf, int rank, const int64_t *dim, rule *out)
{
    *out = (rule){1, 0, 1};
    if (!strcmp(leaf, "relative_position_bias_table") || !strcmp(leaf, "cls_token") || !strcmp(leaf, "pos_embed")) return 1;
    if (!strcmp(leaf, "num_batches_tracked")) return out->inner = 0, 1;
    if (rank >= 2) {
        int64_t fan_in = wt_shape_elements(dim + 1, rank - 1);
        double gain = rank == 4 ? 2 : dim[0] == 1000 ? 36 : 1;
        return out->inner = sqrt(3.0 * gain / (double)fan_in), 1;
    }
    if (!strcmp(leaf, "weight")) return *out = (rule){ends_with(key, "bn3.weight") ? 0.25 : 1, 1, 0.25}, 1;
    if (!strcmp(leaf, "bias")) return out->inner = 0.2, 1;
    return 0;
}

en_status wt_seeded_read(const char *net, uint64_t seed, const char *key, int rank, const int64_t *dim, size_t first, size_t count,
                         float *out, en_error *e)
{
    const char *dot = strrchr(key, '.'), *leaf = dot ? dot + 1 : key;
    int64_t elements = rank < 0 || rank > WT_MAX_RANK ? -1 : wt_shape_elements(dim, rank);
    if (elements < 0 || first > (uint64_t)elements || count > (uint64_t)elements - first)
        return en_fail(e, EN_E_ARG, "seeded %s: '%s' has %lld values, want %zu from %zu on", net, key, (long long)elements, count,
                       first);
    if (!strcmp(leaf, "running_mean") || !strcmp(leaf, "running_var"))
        return read_statistics(net, key, rank, dim, first, count, out, e);
    rule r;
    if (!find_rule(key, leaf, rank, dim, &r)) return en_fail(e, EN_E_ARG, "seeded %s: no rule for '%s'", net, key);
    uint64_t hash = fnv1a(fnv1a(fnv1a(0xCBF29CE484222325u, net), "/"), key), stream = stream_of(hash, seed);
    for (size_t i = 0; i < count; i++) out[i] = (float)(r.outer * (r.offset + r.inner * uniform(stream, first + i)));
    return EN_OK;
}

/* One channel; grid and noise are streams. */
static void paint(uint64_t grid, uint64_t noise, int height, int width, float *out)
{
    double node[8][8];
    for (int i = 0; i < 64; i++) node[i / 8][i % 8] = uniform(grid, (uint64_t)i);
    for (int row = 0; row < height; row++) {
        double y = row * 7.0 / (height - 1), fi = fmin(floor(y), 6.0), fy = y - fi;
        int i = (int)fi;
        for (int column = 0; column < width; column++) {
            double x = column * 7.0 / (width - 1), fj = fmin(floor(x), 6.0), fx = x - fj;
            int j = (int)fj;
            double top = node[i][j] * (1.0 - fx) + node[i][j + 1] * fx;
            double bottom = node[i + 1][j] * (1.0 - fx) + node[i + 1][j + 1] * fx;
            double smooth = top * (1.0 - fy) + bottom * fy;
            size_t at = (size_t)row * (size_t)width + (size_t)column;
            out[at] = (float)(1.5 * smooth + 0.3 * uniform(noise, at));
        }
    }
}

en_status wt_seeded_image(uint64_t seed, int height, int width, float *chw, en_error *e)
{
    static const char *const grid[] = {"input/grid/0", "input/grid/1", "input/grid/2"};
    static const char *const noise[] = {"input/noise/0", "input/noise/1", "input/noise/2"};
    if (height < 2 || width < 2) return en_fail(e, EN_E_ARG, "seeded image of %d x %d, want sides of at least 2", width, height);
    for (size_t c = 0; c < 3; c++)
        paint(wt_seeded_stream(grid[c], seed), wt_seeded_stream(noise[c], seed), height, width,
              chw + c * (size_t)height * (size_t)width);
    return EN_OK;
}
