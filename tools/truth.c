/* SPDX-License-Identifier: MIT */
/* The truth beside the maps. */
#include "tools/truth.h"

#include "cam/methods.h"
#include "engine/status.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WIDEST = 16 /* cells that are printed in a row */ };

static const char *const measures[4] = {"distance", "pearson", "spearman", "kendall"};

cam_status truth_parse(const char *word, truth *t, cam_error *e)
{
    char rest;
    int n;
    t->wanted = 1;
    if (!strcmp(word, "all")) return CAM_OK;
    if (sscanf(word, "%dx%d%c", &t->rows, &t->columns, &rest) == 2 && t->rows > 0 && t->columns > 0) return CAM_OK;
    if (sscanf(word, "%d%c", &n, &rest) != 1 || n < 1)
        return en_fail((en_error *)e, EN_E_ARG, "--shapley '%s': want a number of regions, ROWSxCOLUMNS, or all", word);
    t->rows = (int)sqrt(n);
    while (n % t->rows) t->rows--;
    t->columns = n / t->rows;
    return CAM_OK;
}

void truth_free(truth *t) { free(t->means); }

/* ---- means ---- */

static cam_status row_of(truth *t, const cam_request *q, truth_row **out, cam_error *e)
{
    for (int i = 0; i < t->count; i++) {
        *out = &t->means[i];
        if (!strcmp((*out)->method, q->method) && !strcmp((*out)->utility, q->utility) && !strcmp((*out)->layer, q->layer)) return CAM_OK;
    }
    if (t->count == t->room) {
        int room = t->room ? 2 * t->room : 32;
        truth_row *grown = realloc(t->means, (size_t)room * sizeof *grown);
        if (!grown) return en_fail((en_error *)e, EN_E_NOMEM, "shapley: out of memory");
        t->means = grown;
        t->room = room;
    }
    *out = &t->means[t->count++];
    **out = (truth_row){.method = q->method, .utility = q->utility};
    snprintf((*out)->layer, sizeof(*out)->layer, "%s", q->layer);
    return CAM_OK;
}

static void list_measures(const cam_agreement *a, double out[4])
{
    out[0] = a->distance;
    out[1] = a->pearson;
    out[2] = a->spearman;
    out[3] = a->kendall;
}

static void print_measures(FILE *out, const char *name, const double x[4])
{
    fprintf(out, "    %-19s", name);
    for (int i = 0; i < 4; i++) isnan(x[i]) ? fprintf(out, "         -") : fprintf(out, " %9.4g", x[i]);
    fprintf(out, "\n");
}

static void print_heading(FILE *out)
{
    fprintf(out, "    %-19s", "method");
    for (int i = 0; i < 4; i++) fprintf(out, " %9s", measures[i]);
    fprintf(out, "\n");
}

void truth_summary(const truth *t, FILE *out)
{
    if (!t->wanted || t->pictures < 2) return;
    for (int i = 0; i < t->count; i++) {
        const truth_row *r = &t->means[i], *before = i ? r - 1 : r;
        double mean[4];
        if (!i || strcmp(r->layer, before->layer) || strcmp(r->utility, before->utility)) {
            fprintf(out, "\nmeans over %d pictures: utility %s at %s\n", t->pictures, r->utility, r->layer);
            print_heading(out);
        }
        for (int k = 0; k < 4; k++) mean[k] = r->count[k] ? r->sum[k] / r->count[k] : NAN;
        print_measures(out, r->method, mean);
    }
}

/* ---- one game ---- */

/* The requests of one layer, class and utility, and their game. */
typedef struct game {
    truth *t;
    cam_ctx *ctx;
    int image, first;
    const request_list *list;
    const cam_result *results;
    cam_shapley_result r;
    double *values, *errors;
    int32_t *regions;
    FILE *out;
    wt_json_writer *json;
} game;

static int belongs(const game *g, int i)
{
    const cam_request *q = &g->list->request[i], *first = &g->list->request[g->first];
    return !strcmp(q->layer, first->layer) && g->results[i].cls == g->results[g->first].cls && !strcmp(q->utility, first->utility) &&
           request_has_positions(q, &g->results[i], g->r.height, g->r.width);
}

static double sum_of(const game *g)
{
    double sum = 0;
    for (int i = 0; i < g->r.players; i++) sum += g->values[i];
    return sum;
}

/* The grid of regions, row by row. */
static void print_values(const game *g)
{
    int columns = g->regions[g->r.width - 1] + 1; /* the first row's regions are numbered from 0 on */
    if (columns > WIDEST) return;
    for (int i = 0; i < g->r.players; i++) fprintf(g->out, "%s%9.4g%s", i % columns ? "" : "    ", g->values[i], (i + 1) % columns ? "" : "\n");
}

static void print_game(const game *g)
{
    const cam_shapley_result *r = &g->r;
    const cam_request *q = &g->list->request[g->first];
    double worst = 0;
    for (int i = 0; i < r->players; i++) worst = fmax(worst, g->errors[i]);
    fprintf(g->out, "\n  Shapley values of %d regions at %s, class %d, %s: ", r->players, q->layer, r->cls, q->utility);
    if (r->exact) fprintf(g->out, "exact\n");
    else fprintf(g->out, "%lld orders, standard errors up to %.2g\n", (long long)r->permutations, worst);
    fprintf(g->out, "    u(all) - u(none) = %.6g; they add up to %.6g\n", r->full - r->empty, sum_of(g));
    print_values(g);
    print_heading(g->out);
}

static void put_numbers(wt_json_writer *w, const char *key, const double *x, int n)
{
    wt_json_put_key(w, key);
    wt_json_open(w, '[');
    for (int i = 0; i < n; i++) wt_json_put_double(w, x[i]);
    wt_json_close(w, ']');
}

static void put_game(const game *g)
{
    wt_json_writer *w = g->json;
    const cam_shapley_result *r = &g->r;
    const cam_request *q = &g->list->request[g->first];
    wt_json_put_key(w, "layer"), wt_json_put_string(w, q->layer);
    wt_json_put_key(w, "class"), wt_json_put_integer(w, r->cls);
    wt_json_put_key(w, "utility"), wt_json_put_string(w, q->utility);
    wt_json_put_key(w, "players"), wt_json_put_integer(w, r->players);
    wt_json_put_key(w, "exact"), wt_json_put_bool(w, r->exact);
    wt_json_put_key(w, "additive"), wt_json_put_bool(w, r->additive);
    wt_json_put_key(w, "permutations"), wt_json_put_integer(w, r->permutations);
    wt_json_put_key(w, "tail_runs"), wt_json_put_integer(w, r->tail_runs);
    wt_json_put_key(w, "empty"), wt_json_put_double(w, r->empty);
    wt_json_put_key(w, "full"), wt_json_put_double(w, r->full);
    wt_json_put_key(w, "sum"), wt_json_put_double(w, sum_of(g));
    put_numbers(w, "values", g->values, r->players);
    put_numbers(w, "errors", g->errors, r->players);
    wt_json_put_key(w, "regions");
    wt_json_open(w, '[');
    for (int i = 0; i < r->height * r->width; i++) wt_json_put_integer(w, g->regions[i]);
    wt_json_close(w, ']');
}

static void put_agreement(wt_json_writer *w, const char *method, const double x[4])
{
    wt_json_open(w, '{');
    wt_json_put_key(w, "method"), wt_json_put_string(w, method);
    for (int k = 0; k < 4; k++) wt_json_put_key(w, measures[k]), wt_json_put_double(w, x[k]);
    wt_json_close(w, '}');
}

static cam_status compare(const game *g, cam_error *e)
{
    if (g->json) wt_json_put_key(g->json, "agreement"), wt_json_open(g->json, '[');
    for (int i = g->first; i < g->list->count; i++) {
        cam_agreement a;
        truth_row *mean = NULL;
        double x[4];
        if (!belongs(g, i)) continue;
        const cam_request *q = &g->list->request[i];
        EN_TRY(cam_shapley_agreement(g->ctx, g->image, i, &g->r, &a, e));
        EN_TRY(row_of(g->t, q, &mean, e));
        list_measures(&a, x);
        for (int k = 0; k < 4; k++)
            if (!isnan(x[k])) mean->sum[k] += x[k], mean->count[k]++;
        if (g->out) print_measures(g->out, q->method, x);
        if (g->json) put_agreement(g->json, q->method, x);
    }
    if (g->json) wt_json_close(g->json, ']');
    return CAM_OK;
}

static cam_status solve(game *g, cam_error *e)
{
    const cam_request *q = &g->list->request[g->first];
    cam_shapley_request want = g->t->like;
    int32_t chw[3] = {0};
    cam_activation(g->ctx, g->image, g->first, chw);
    size_t n = (size_t)chw[1] * (size_t)chw[2];
    want.size = sizeof want;
    want.layer = q->layer;
    want.utility = q->utility;
    want.cls = g->results[g->first].cls;
    want.rows = g->t->rows;
    want.columns = g->t->columns;
    want.seed = q->seed;
    want.flags = q->flags & CAM_AGAINST;
    want.rival = q->rival;
    g->values = malloc(n * sizeof *g->values);
    g->errors = malloc(n * sizeof *g->errors);
    g->regions = malloc(n * sizeof *g->regions);
    if (!g->values || !g->errors || !g->regions) return en_fail((en_error *)e, EN_E_NOMEM, "shapley: out of memory");
    g->r = (cam_shapley_result){.size = sizeof g->r, .room = (int32_t)n, .values = g->values, .errors = g->errors, .regions = g->regions};
    EN_TRY(cam_shapley(g->ctx, g->image, &want, &g->r, e));
    if (g->out) print_game(g);
    if (g->json) wt_json_open(g->json, '{'), put_game(g);
    cam_status status = compare(g, e);
    if (g->json) wt_json_close(g->json, '}');
    return status;
}

/* Whether an earlier request has the same game. */
static int is_later(const request_list *list, const cam_result *results, int i)
{
    const cam_request *q = &list->request[i];
    for (int k = 0; k < i; k++)
        if (!strcmp(list->request[k].layer, q->layer) && results[k].cls == results[i].cls && !strcmp(list->request[k].utility, q->utility)) return 1;
    return 0;
}

cam_status truth_show(truth *t, cam_ctx *ctx, int image, const request_list *list, const cam_result *results, FILE *out, wt_json_writer *json, cam_error *e)
{
    cam_status status = CAM_OK;
    if (json) wt_json_open(json, '[');
    for (int i = 0; i < list->count && !status; i++) {
        const cam_request *q = &list->request[i];
        if (strchr(q->layer, '+') || cam_method_is_whole(cam_method_find(q->method)) || is_later(list, results, i)) continue;
        game g = {.t = t, .ctx = ctx, .image = image, .first = i, .list = list, .results = results, .out = out, .json = json};
        status = solve(&g, e);
        free(g.values);
        free(g.errors);
        free(g.regions);
    }
    if (json) wt_json_close(json, ']');
    t->pictures++;
    return status;
}
