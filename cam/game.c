/* SPDX-License-Identifier: MIT */
/* Worths of coalitions come from the tail alone, in batches. Where no op mixes positions before the mean, what stands there at a position is
 * known once for its presence and once for its absence; the affine rest takes the difference to what each player adds to the logits, and
 * everything else is sums (additive.h). */
#include "cam/game.h"

#include "cam/additive.h"
#include "cam/agreement.h"
#include "cam/internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_BATCH = 64,
    NODES = 8 /* of a short tail, to guess its memory */,
    BATCH_BYTES = 128 << 20,
    USUAL_PERMUTATIONS = 2000,
    USUAL_TAIL_RUNS = 1 << 16
};

typedef struct region_game {
    cam_ctx *ctx;
    const cam_site_layer *layer;
    int image, players;
    cam_aim aim;
    int32_t *region; /* [h,w] */
    int batch;
    int64_t runs, permutations;
    int exact, additive;
    double *values, *errors; /* [players] */
    double ends[2];          /* worth of nobody and of all */
} region_game;

int cam_regions(int rows, int columns, int h, int w, int32_t *region)
{
    int r = rows && rows < h ? rows : h, c = columns && columns < w ? columns : w;
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++) region[y * w + x] = (int)((int64_t)y * r / h) * c + (int)((int64_t)x * c / w);
    return r * c;
}

/* ---- running the tail ---- */

/* As many activations at once as fit into BATCH_BYTES. */
static en_status fit_batch(region_game *r, en_error *e)
{
    EN_TRY(cam_fit_tail(r->ctx, r->layer, 1, e));
    size_t fit = BATCH_BYTES / (en_graph_bytes(r->ctx->tail.graph) + 1);
    r->batch = fit < 1 ? 1 : fit > MAX_BATCH ? MAX_BATCH : (int)fit;
    EN_TRY(cam_fit_tail(r->ctx, r->layer, r->batch, e));
    en_graph *g = r->ctx->tail.graph;
    en_copy_outside(g, 0, r->ctx->model.graph, r->image);
    memset(en_value(g, r->layer->ref), 0, en_floats(en_shape_of(g, r->layer->ref)) * sizeof(float));
    return EN_OK;
}

/* The activation, in stored layout. */
static const float *activation(const region_game *r)
{
    const en_graph *g = r->ctx->model.graph;
    return en_value(r->ctx->model.graph, r->layer->ref) + (size_t)r->image * en_image_floats(en_shape_of(g, r->layer->ref));
}

/* The activation with every position outside of the coalition at 0. */
static void silence(const region_game *r, const uint64_t *coalition, float *a)
{
    const en_shape *s = en_shape_of(r->ctx->model.graph, r->layer->ref);
    size_t floats = en_image_floats(s), block = en_block_floats(s);
    memcpy(a, activation(r), floats * sizeof *a);
    for (int i = 0; i < r->layer->h * r->layer->w; i++) {
        if (coalition[r->region[i] / 64] >> r->region[i] % 64 & 1) continue;
        size_t at = (size_t)(i + r->layer->skip) * EN_LANES;
        for (size_t b = 0; b < floats; b += block) memset(a + b + at, 0, EN_LANES * sizeof *a);
    }
}

/* Afterwards logits(r, i) are those of coalition i. */
static void run_tail(region_game *r, const uint64_t *coalitions, int count)
{
    en_graph *g = r->ctx->tail.graph;
    size_t floats = en_image_floats(en_shape_of(g, r->layer->ref)), words = (size_t)cam_coalition_words(r->players);
    for (size_t i = 0; i < (size_t)count; i++) silence(r, coalitions + i * words, en_value(g, r->layer->ref) + i * floats);
    en_forward_tail(g, 0, 0);
    r->runs += count;
}

static const float *logits(const region_game *r, int i)
{
    const net_model *tail = &r->ctx->tail; /* one position: classes lie in order */
    return en_value(tail->graph, tail->logits) + (size_t)i * en_image_floats(en_shape_of(tail->graph, tail->logits));
}

static en_status worths(void *self, const uint64_t *coalitions, int count, double *worth, en_error *e)
{
    region_game *r = self;
    run_tail(r, coalitions, count);
    for (int i = 0; i < count; i++) {
        worth[i] = cam_utility_at(r->aim, logits(r, i), r->ctx->net->classes, NULL, NULL, NULL);
        if (!isfinite(worth[i]))
            return en_fail(e, EN_E_NONFINITE, "layer %s: the worth of a coalition is %f, want a finite number", r->layer->name,
                           worth[i]);
    }
    return EN_OK;
}

/* ---- what players add ---- */

/* A graph with two cuts, the layer and the node from which on the tail is a sum; they may be the same. */
static en_status build_sum(region_game *r, en_ref sum, int n, net_model *model, en_error *e)
{
    cam_ctx *c = r->ctx;
    EN_TRY(net_model_build(c->net->arch, c->net->classes, n, c->height, c->width, c->net->params, model, e));
    en_cut(model->graph, &r->layer->ref, 1);
    en_cut(model->graph, &sum, 1);
    en_status status = en_graph_finish(model->graph, &(en_options){.pool = c->pool, .exact = c->exact, .tail_only = 1}, e);
    if (status != EN_OK) net_model_free(model);
    return status;
}

/* One run: image 0 with everybody, all others with nobody. `difference` becomes what presence adds at the sum's node. */
static en_status run_ends(region_game *r, const net_model *m, en_ref sum, float **difference, en_error *e)
{
    en_graph *g = m->graph;
    const en_shape *s = en_shape_of(g, r->layer->ref);
    size_t floats = en_image_floats(s), at_sum = en_image_floats(en_shape_of(g, sum));
    uint64_t *nobody = calloc((size_t)cam_coalition_words(r->players), sizeof *nobody);
    *difference = malloc(at_sum * sizeof **difference);
    if (nobody && *difference) {
        en_copy_outside(g, 0, r->ctx->model.graph, r->image);
        memcpy(en_value(g, r->layer->ref), activation(r), floats * sizeof(float));
        for (size_t i = 1; i < (size_t)s->dim[0]; i++) silence(r, nobody, en_value(g, r->layer->ref) + i * floats);
        en_forward_tail(g, 0, 0);
        const float *on = en_value(g, sum), *off = on + at_sum;
        for (size_t i = 0; i < at_sum; i++) (*difference)[i] = on[i] - off[i];
        r->runs += 2;
    }
    en_status status = nobody && *difference ? EN_OK : en_fail(e, EN_E_NOMEM, "shapley: out of memory");
    free(nobody);
    return status;
}

/* The difference at the positions of one player alone. */
static void keep_player(const region_game *r, const en_shape *s, const float *difference, int player, float *out)
{
    size_t floats = en_image_floats(s), block = en_block_floats(s);
    memset(out, 0, floats * sizeof *out);
    for (int i = 0; i < r->layer->h * r->layer->w; i++) {
        size_t at = (size_t)(i + r->layer->skip) * EN_LANES;
        for (size_t b = 0; b < floats && r->region[i] == player; b += block)
            memcpy(out + b + at, difference + b + at, EN_LANES * sizeof *out);
    }
}

static en_status read_logits(const region_game *r, const float *from, double *to, en_error *e)
{
    for (int k = 0; k < r->ctx->net->classes; k++) {
        if (!isfinite(from[k]))
            return en_fail(e, EN_E_NONFINITE, "layer %s: logit %d of a coalition is %f, want a finite number", r->layer->name, k,
                           (double)from[k]);
        to[k] = (double)from[k];
    }
    return EN_OK;
}

/* Tangents through the affine rest: the logits' constant terms never join in, so that a small player loses no digits. */
static en_status add_players(region_game *r, const net_model *m, en_ref sum, const float *difference, cam_additive *a, en_error *e)
{
    en_graph *g = m->graph;
    const en_shape *s = en_shape_of(g, sum);
    size_t row = en_image_floats(en_shape_of(g, m->logits)), classes = (size_t)a->classes;
    EN_TRY(read_logits(r, en_value(g, m->logits) + row, a->empty, e));
    for (int first = 0; first < r->players; first += s->dim[0]) {
        int count = r->players - first < s->dim[0] ? r->players - first : s->dim[0];
        for (int i = 0; i < s->dim[0]; i++) /* the last batch is filled up with its last player */
            keep_player(r, s, difference, first + (i < count ? i : count - 1), en_tangent(g, sum) + (size_t)i * en_image_floats(s));
        en_forward_tangents(g, 1);
        for (int i = 0; i < count; i++)
            EN_TRY(read_logits(r, en_tangent(g, m->logits) + (size_t)i * row, a->z + (size_t)(first + i) * classes, e));
    }
    return EN_OK;
}

/* Logits of nobody, and what each player adds to them. */
static en_status find_terms(region_game *r, en_ref sum, cam_additive *a, en_error *e)
{
    size_t fit = BATCH_BYTES / (NODES * sizeof(float) * en_image_floats(en_shape_of(r->ctx->model.graph, r->layer->ref)));
    int batch = fit > MAX_BATCH ? MAX_BATCH : (int)fit;
    if (batch > r->players) batch = r->players;
    net_model model;
    float *difference = NULL;
    EN_TRY(build_sum(r, sum, batch < 2 ? 2 : batch, &model, e));
    en_status status = run_ends(r, &model, sum, &difference, e);
    if (status == EN_OK) status = add_players(r, &model, sum, difference, a, e);
    free(difference);
    net_model_free(&model);
    return status;
}

/* ---- values ---- */

/* o_c of these logits, less o_d if that is the utility. */
static double linear_utility(const region_game *r, const double *o)
{
    return r->aim.utility == CAM_CONTRAST ? o[r->aim.cls] - o[r->aim.rival] : o[r->aim.cls];
}

/* A linear utility of an additive game: each player is worth what it adds. */
static void add_up(region_game *r, const cam_additive *a)
{
    r->ends[0] = r->ends[1] = linear_utility(r, a->empty);
    for (int p = 0; p < r->players; p++) {
        r->values[p] = linear_utility(r, a->z + (size_t)p * (size_t)a->classes);
        r->ends[1] += r->values[p];
    }
    r->exact = 1;
}

static int64_t most_runs(const cam_shapley_request *want) { return want->tail_runs ? want->tail_runs : USUAL_TAIL_RUNS; }

/* Orders in pairs; the tail's runs limit their number if each coalition costs one. */
static en_status sample(region_game *r, const cam_game *game, const cam_shapley_request *want, en_error *e)
{
    int64_t permutations = want->permutations ? want->permutations : USUAL_PERMUTATIONS, pair = 2 * ((int64_t)r->players - 1),
            pairs = permutations / 2;
    if (!r->additive && pairs > (most_runs(want) - 2) / pair) pairs = (most_runs(want) - 2) / pair;
    if (pairs < 2)
        return en_fail(e, EN_E_LIMIT,
                       "shapley: %lld permutations and %lld runs of the tail: want at least 4 and, for %d regions, %lld",
                       (long long)permutations, (long long)most_runs(want), r->players, (long long)(2 * pair + 2));
    cam_sampling sampling = {.pairs = pairs < INT32_MAX ? pairs : INT32_MAX, .error = want->error, .seed = want->seed};
    EN_TRY(cam_shapley_sampled(game, &sampling, r->values, r->errors, r->ends, &pairs, e));
    r->permutations = 2 * pairs;
    return EN_OK;
}

static en_status solve_additive(region_game *r, en_ref sum, const cam_shapley_request *want, cam_additive *a, en_error *e)
{
    EN_TRY(find_terms(r, sum, a, e));
    if (cam_utility_is_linear(r->aim.utility)) return add_up(r, a), EN_OK;
    cam_game game = cam_additive_game(a, r->aim);
    r->exact = r->players <= CAM_EXACT_PLAYERS;
    return r->exact ? cam_shapley_exact(&game, r->values, r->ends, e) : sample(r, &game, want, e);
}

static en_status solve(region_game *r, const cam_shapley_request *want, en_error *e)
{
    en_ref sum;
    EN_TRY(en_sum_over_positions(r->ctx->model.graph, r->layer->cut, &sum, e));
    r->additive = sum != EN_NONE;
    if (r->additive) {
        cam_additive a;
        en_status status = cam_additive_new(r->players, r->ctx->net->classes, r->ctx->pool, &a, e);
        if (status == EN_OK) status = solve_additive(r, sum, want, &a, e);
        cam_additive_free(&a);
        return status;
    }
    EN_TRY(fit_batch(r, e));
    cam_game game = {.players = r->players, .self = r, .worths = worths, .batch = r->batch};
    r->exact = r->players == 1 || (r->players <= CAM_EXACT_PLAYERS && (int64_t)1 << r->players <= most_runs(want));
    return r->exact ? cam_shapley_exact(&game, r->values, r->ends, e) : sample(r, &game, want, e);
}

/* ---- the public functions ---- */

/* The class of rank -cls, also where no request of the last cam_explain went down that far. */
static en_status find_class(const cam_ctx *c, int image, int cls, int *out, en_error *e)
{
    int classes = c->net->classes;
    if (cls >= classes || cls < -classes)
        return en_fail(e, EN_E_ARG, "class %d: want 0 to %d, or -1 for the best and so on", cls, classes - 1);
    *out = cls;
    if (cls >= 0) return EN_OK;
    int32_t *top = malloc((size_t)-cls * sizeof *top);
    if (!top) return en_fail(e, EN_E_NOMEM, "shapley: out of memory");
    cam_top(c->logits + (size_t)image * (size_t)classes, classes, -cls, top);
    *out = top[-cls - 1];
    free(top);
    return EN_OK;
}

static en_status read_request(region_game *r, const cam_shapley_request *want, en_error *e)
{
    cam_ctx *c = r->ctx;
    if (want->size < sizeof *want)
        return en_fail(e, EN_E_ARG, "shapley: size of the request is %u, want sizeof(cam_shapley_request)", want->size);
    if (want->rows < 0 || want->columns < 0 || !want->rows != !want->columns)
        return en_fail(e, EN_E_ARG, "shapley: a grid of %d x %d regions, want both above 0, or 0 x 0 for every position",
                       want->rows, want->columns);
    if (want->permutations < 0 || want->tail_runs < 0 || !(want->error >= 0))
        return en_fail(e, EN_E_ARG, "shapley: %lld permutations, %lld runs of the tail, standard error %g: want no negative number",
                       (long long)want->permutations, (long long)want->tail_runs, want->error);
    r->aim.utility = want->utility ? cam_utility_find(want->utility) : CAM_UTILITIES;
    if (r->aim.utility == CAM_UTILITIES)
        return en_fail(e, EN_E_ARG, "no utility is called '%s': cam_list has their names",
                       want->utility ? want->utility : "");
    en_ref ref = net_model_layer(&c->net->shape, want->layer ? want->layer : "", e);
    if (ref == EN_NONE) return EN_E_ARG;
    for (int i = 0; i < c->layer_count && c->explained; i++)
        if (c->layers[i].ref == ref) r->layer = &c->layers[i];
    if (!r->layer || r->image < 0 || r->image >= c->n)
        return en_fail(e, EN_E_ARG, "shapley: layer %s of image %d, want a layer and an image of the last cam_explain", want->layer,
                       r->image);
    EN_TRY(find_class(c, r->image, want->cls, &r->aim.cls, e));
    r->aim.rival = CAM_STRONGEST;
    if (want->flags & CAM_AGAINST) EN_TRY(find_class(c, r->image, want->rival, &r->aim.rival, e));
    /* The strongest of the whole picture is the rival in every coalition: one game, one utility. */
    r->aim.rival = cam_rival_of(c->logits + (size_t)r->image * (size_t)c->net->classes, c->net->classes, r->aim);
    return EN_OK;
}

static en_status make_players(region_game *r, const cam_shapley_request *want, en_error *e)
{
    size_t positions = (size_t)r->layer->h * (size_t)r->layer->w;
    r->region = malloc(positions * sizeof *r->region);
    if (!r->region) return en_fail(e, EN_E_NOMEM, "shapley: out of memory");
    r->players = cam_regions(want->rows, want->columns, r->layer->h, r->layer->w, r->region);
    if (r->players > CAM_MAX_PLAYERS)
        return en_fail(e, EN_E_LIMIT, "shapley: %d regions, want at most %d", r->players, CAM_MAX_PLAYERS);
    r->values = calloc((size_t)r->players, sizeof *r->values);
    r->errors = calloc((size_t)r->players, sizeof *r->errors);
    return r->values && r->errors ? EN_OK : en_fail(e, EN_E_NOMEM, "shapley: out of memory");
}

static void hand_out(const region_game *r, cam_shapley_result *got)
{
    size_t players = (size_t)r->players, positions = (size_t)r->layer->h * (size_t)r->layer->w;
    if (got->values) memcpy(got->values, r->values, players * sizeof *r->values);
    if (got->errors) memcpy(got->errors, r->errors, players * sizeof *r->errors);
    if (got->regions) memcpy(got->regions, r->region, positions * sizeof *r->region);
    got->height = r->layer->h;
    got->width = r->layer->w;
    got->players = r->players;
    got->cls = r->aim.cls;
    got->exact = r->exact;
    got->additive = r->additive;
    got->empty = r->ends[0];
    got->full = r->ends[1];
    got->permutations = r->permutations;
    got->tail_runs = r->runs;
}

cam_status cam_shapley(cam_ctx *c, int32_t image, const cam_shapley_request *want, cam_shapley_result *got, cam_error *error)
{
    en_error *e = cam_engine_error(error);
    region_game r = {.ctx = c, .image = image};
    if (got->size < sizeof *got)
        return en_fail(e, EN_E_ARG, "shapley: size of the result is %u, want sizeof(cam_shapley_result)", got->size);
    EN_TRY(read_request(&r, want, e));
    if (got->room < r.layer->h * r.layer->w)
        return en_fail(e, EN_E_ARG, "shapley: room for %d numbers, layer %s has %d x %d positions", got->room, r.layer->name,
                       r.layer->h, r.layer->w);
    en_status status = make_players(&r, want, e);
    if (status == EN_OK) status = solve(&r, want, e);
    if (status == EN_OK) hand_out(&r, got);
    free(r.region);
    free(r.values);
    free(r.errors);
    return status;
}

cam_status cam_shapley_agreement(const cam_ctx *c, int32_t image, int32_t request, const cam_shapley_result *truth,
                                 cam_agreement *out, cam_error *error)
{
    en_error *e = cam_engine_error(error);
    const double *raw = cam_raw_map(c, image, request);
    if (!raw) return en_fail(e, EN_E_ARG, "agreement: request %d of image %d, want one of the last cam_explain", request, image);
    const cam_job *j = &c->jobs[request];
    const cam_site_layer *l = &c->layers[j->layer[0]];
    if (j->h != l->h || j->w != l->w)
        return en_fail(e, EN_E_ARG, "agreement: the raw map of request %d is %d x %d, want one of its layer's %d x %d positions", request,
                       j->h, j->w, l->h, l->w);
    if (!truth->values || !truth->regions || truth->height != l->h || truth->width != l->w)
        return en_fail(e, EN_E_ARG, "agreement: values of %d x %d positions, want them with their regions, for a map of %d x %d",
                       truth->height, truth->width, l->h, l->w);
    double *sums = calloc((size_t)truth->players, sizeof *sums);
    if (!sums) return en_fail(e, EN_E_NOMEM, "agreement: out of memory");
    for (int i = 0; i < l->h * l->w; i++) sums[truth->regions[i]] += raw[i];
    en_status status = cam_agree(sums, truth->values, truth->players, out, e);
    free(sums);
    return status;
}
