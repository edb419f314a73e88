/* SPDX-License-Identifier: MIT */
/* The report in words and letters. */
#include "tools/show.h"

#include "cam/methods.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE = 100 /* columns to fill with maps */, WIDEST_MAP = 32 /* cells */ };

/* A name from outside, without what could move a terminal's cursor. */
static void print_name(const char *name)
{
    for (; *name; name++) putchar((unsigned char)*name < ' ' || *name == 127 ? '?' : *name);
}

static void print_top(const cam_ctx *ctx, const cam_net *net, int image, long topk)
{
    int32_t classes = cam_net_classes(net), k = topk < classes ? (int32_t)topk : classes;
    const float *logits = cam_logits(ctx, image);
    int32_t *top = malloc(((size_t)k + 1) * sizeof *top);
    if (!top || k == 0) {
        free(top);
        return;
    }
    cam_top(logits, classes, k, top);
    double sum = 0, most = (double)logits[top[0]];
    for (int32_t i = 0; i < classes; i++) sum += exp((double)logits[i] - most);
    printf("  rank  class  wnid       probability     logit  name\n");
    for (int32_t i = 0; i < k; i++) {
        cam_class c = cam_class_at(top[i]);
        double logit = (double)logits[top[i]];
        printf("  %4d  %5d  %-9s  %11.4f  %8.3f  %s\n", i + 1, top[i], c.wnid, exp(logit - most) / sum, logit, c.name);
    }
    free(top);
}

/* ---- the maps of one class at one layer ---- */

typedef struct group {
    const cam_ctx *ctx;
    const request_list *list;
    const cam_result *results;
    int image, first, end; /* requests first .. end - 1 */
} group;

/* Methods with a utility of their own stand among the others. */
static int in_group(const group *g, int i)
{
    const cam_request *q = &g->list->request[i], *first = &g->list->request[g->first];
    int same = !strcmp(q->utility, first->utility) || cam_method_find(q->method)->utility >= 0;
    return same && !strcmp(q->layer, first->layer) && g->results[i].cls == g->results[g->first].cls;
}

/* Whether the method that gives the same map is in the group too. */
static int shown_already(const group *g, int i)
{
    for (int k = g->first; g->results[i].same_as && k < g->end; k++)
        if (!strcmp(g->list->request[k].method, g->results[i].same_as)) return 1;
    return 0;
}

/* The number of a reason among those of the group, from 1 on; 0 if the request needs none. */
static int reason_number(const group *g, int i)
{
    int number = 0;
    if (!g->results[i].because) return 0;
    for (int k = g->first; k <= i; k++) {
        int earlier = !g->results[k].because;
        for (int j = g->first; j < k && !earlier; j++)
            earlier = g->results[j].because && !strcmp(g->results[j].because, g->results[k].because);
        number += !earlier;
        if (g->results[k].because && !strcmp(g->results[k].because, g->results[i].because)) break;
    }
    return number;
}

static void print_table(const group *g)
{
    static const char *const says[] = {"", "  BLANK: no position speaks for this class", "  CONSTANT: every position says the same",
                                       "  NOT FINITE"};
    int reasons = 0, widest = 13;
    for (int i = g->first; i < g->end; i++)
        if ((int)strlen(g->list->request[i].method) > widest) widest = (int)strlen(g->list->request[i].method);
    printf("    %-*s  positive   negative  |HA|/|G|\n", widest, "method");
    for (int i = g->first; i < g->end; i++) {
        const cam_result *r = &g->results[i];
        int reason = reason_number(g, i);
        printf("    %-*s %9.4g  %9.4g", widest, g->list->request[i].method, r->positive, r->negative);
        if (r->hvp_ratio >= 0) printf("  %8.4g", r->hvp_ratio);
        printf("%s", says[r->status]);
        if (r->same_as) printf("%*s= %s", r->hvp_ratio >= 0 ? 2 : 12, "", r->same_as);
        if (reason) printf(" [%d]", reason);
        printf("\n");
    }
    for (int i = g->first; i < g->end; i++)
        if (reason_number(g, i) > reasons) printf("    [%d] %s\n", ++reasons, g->results[i].because);
}

/* One row of cells, two letters each: the more ink, the more the position speaks for the class. */
static void print_row(const double *raw, int cells, int row, int width)
{
    static const char shades[] = " .:-=+*#%@";
    double most = 0;
    for (int i = 0; i < cells; i++) most = raw[i] > most ? raw[i] : most;
    putchar('|');
    for (int x = 0; x < width; x++) {
        double v = raw[row * width + x];
        char c = shades[v > 0 ? (int)(v / most * 9.999) : 0];
        putchar(c), putchar(c);
    }
    putchar('|');
}

/* Maps side by side, as many as fit a line; those that say nothing or repeat another are left out, and those of the input's size. */
static void print_maps(const group *g)
{
    int height = 0, width = 0;
    for (int i = g->first; i < g->end && !width; i++)
        if (g->results[i].width <= WIDEST_MAP) height = g->results[i].height, width = g->results[i].width;
    int column = 2 * width + 2 > 13 ? 2 * width + 2 : 13, fit = (LINE - 4) / (column + 2), next = g->first;
    if (!width) return;
    while (next < g->end) {
        int which[LINE], count = 0;
        for (; next < g->end && count < (fit ? fit : 1); next++)
            if (g->results[next].status == CAM_STATUS_OK && g->results[next].width == width && g->results[next].height == height && !shown_already(g, next)) which[count++] = next;
        if (!count) return;
        printf("\n   ");
        for (int k = 0; k < count; k++)
            printf(k + 1 < count ? " %-*s " : " %.*s", k + 1 < count ? column : LINE, g->list->request[which[k]].method);
        printf("\n");
        for (int y = 0; y < height; y++) {
            printf("   ");
            for (int k = 0; k < count; k++) {
                putchar(' ');
                print_row(cam_raw_map(g->ctx, g->image, which[k]), height * width, y, width);
                if (k + 1 < count) printf("%*s", column - 2 * width - 1, "");
            }
            printf("\n");
        }
    }
}

void show_report(const cam_ctx *ctx, const cam_net *net, const char *name, int image, long topk, const request_list *list,
                 const cam_result *results)
{
    group g = {.ctx = ctx, .list = list, .results = results, .image = image};
    print_name(name);
    printf("\n  %s, weights ", cam_net_name(net));
    print_name(cam_net_weights(net));
    printf("\n");
    if (cam_net_seeded(net)) printf("  SEEDED WEIGHTS: made up, not a finding\n");
    printf("\n");
    print_top(ctx, net, image, topk);
    for (g.first = 0; g.first < list->count; g.first = g.end) {
        const cam_result *r = &results[g.first];
        const cam_request *q = &list->request[g.first];
        for (g.end = g.first; g.end < list->count && in_group(&g, g.end);) g.end++;
        if (request_repeats(list, results, g.first)) continue;
        printf("\n  class %d %s, probability %.4f: %s %.4g at %s\n", r->cls, cam_class_at(r->cls).name, (double)r->probability,
               q->utility, r->utility, q->layer);
        print_table(&g);
        print_maps(&g);
    }
}
