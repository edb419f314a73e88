/* SPDX-License-Identifier: MIT */
/* The table of methods, and what all of them share. */
#include "cam/methods.h"

#include "cam/eigen.h"
#include "cam/utility.h"
#include "nets/nets.h"
#include "weights/seeded.h"

#include <math.h>
#include <stdlib.h>

static const float *row_of(const float *x, const cam_site *c, size_t k) { return x + k * c->positions; }

/* ---- fields ---- */

static void gradient(const cam_site *c, size_t k, const cam_channel *h, double *out)
{
    (void)h;
    const float *g = row_of(c->g, c, k);
    for (size_t s = 0; s < c->positions; s++) out[s] = (double)g[s];
}

static void positive_gradient(const cam_site *c, size_t k, const cam_channel *h, double *out)
{
    gradient(c, k, h, out);
    for (size_t s = 0; s < c->positions; s++) out[s] = out[s] > 0 ? out[s] : 0;
}

/* max(g, 0) g^2 / (2 g^2 + g^3 sum A + 1e-6): the exponential of the utility cancels (arXiv:1710.11063, eq. 19 as implemented) */
static void plus_plus(const cam_site *c, size_t k, const cam_channel *h, double *out)
{
    const float *row = row_of(c->g, c, k);
    for (size_t s = 0; s < c->positions; s++) {
        double g = (double)row[s];
        out[s] = g > 0 ? g * (g * g / (2 * g * g + h->sum * g * g * g + 1e-6)) : 0;
    }
}

/* The channel's share of its sum falls to each position in proportion to the activation. */
static void share(const cam_site *c, size_t k, const cam_channel *h, double *out)
{
    const float *a = row_of(c->a, c, k);
    for (size_t s = 0; s < c->positions; s++) out[s] = out[s] * (double)a[s] / (h->sum + 1e-7);
}

static void share_of_gradient(const cam_site *c, size_t k, const cam_channel *h, double *out)
{
    gradient(c, k, h, out);
    share(c, k, h, out);
}

/* q = g - (H a) / 2: the Shapley value of the second-order expansion at the full coalition, divided by a (eq. * of the theory chapter) */
static void shapley(const cam_site *c, size_t k, const cam_channel *h, double *out)
{
    (void)h;
    const float *g = row_of(c->g, c, k), *ha = row_of(c->h, c, k);
    for (size_t s = 0; s < c->positions; s++) out[s] = (double)g[s] - 0.5 * (double)ha[s];
}

static void share_of_shapley(const cam_site *c, size_t k, const cam_channel *h, double *out)
{
    shapley(c, k, h, out);
    share(c, k, h, out);
}

static void magnitude(const cam_site *c, size_t k, const cam_channel *h, double *out)
{
    gradient(c, k, h, out);
    for (size_t s = 0; s < c->positions; s++) out[s] = fabs(out[s]);
}

static void fill(const cam_site *c, double value, double *out)
{
    for (size_t s = 0; s < c->positions; s++) out[s] = value;
}

static void one(const cam_site *c, size_t k, const cam_channel *h, double *out)
{
    (void)k, (void)h;
    fill(c, 1, out);
}

/* Its sum over positions is the share of them at which the channel stands out by more than two deviations (arXiv:2305.19147). */
static void outstanding(const cam_site *c, size_t k, const cam_channel *h, double *out)
{
    const float *a = row_of(c->a, c, k);
    for (size_t s = 0; s < c->positions; s++) out[s] = (double)a[s] > h->mean + 2 * h->deviation ? 1 / (double)c->positions : 0;
}

static void given(const cam_site *c, size_t k, const cam_channel *h, double *out)
{
    (void)h;
    fill(c, c->weights[k], out);
}

static void drawn(const cam_site *c, size_t k, const cam_channel *h, double *out)
{
    (void)h;
    fill(c, wt_uniform(c->stream, k), out);
}

/* clang-format off */
static const cam_method methods[] = {
/*   name                   kind          field              over space products      combination           needs                         utility    first order  where flat    source */
    {"gradcam",             CAM_LAYER,    gradient,          CAM_MEAN,  CAM_SIGNED,   CAM_ADD,              CAM_GRAD,                     -1,        NULL,        NULL,         "arXiv:1610.02391"},
    {"gradcam++",           CAM_LAYER,    plus_plus,         CAM_SUM,   CAM_SIGNED,   CAM_ADD,              CAM_GRAD,                     -1,        NULL,        NULL,         "arXiv:1710.11063"},
    {"xgradcam",            CAM_LAYER,    share_of_gradient, CAM_SUM,   CAM_SIGNED,   CAM_ADD,              CAM_GRAD,                     -1,        NULL,        "gradcam",    "arXiv:2008.02312"},
    {"hirescam",            CAM_LAYER,    gradient,          CAM_KEEP,  CAM_SIGNED,   CAM_ADD,              CAM_GRAD,                     -1,        NULL,        "gradcam",    "arXiv:2011.08891"},
    {"gradcam-e",           CAM_LAYER,    gradient,          CAM_KEEP,  CAM_POSITIVE, CAM_ADD,              CAM_GRAD,                     -1,        NULL,        NULL,         "arXiv:2501.06261"},
    {"layercam",            CAM_LAYER,    positive_gradient, CAM_KEEP,  CAM_SIGNED,   CAM_ADD,              CAM_GRAD,                     -1,        NULL,        NULL,         "doi:10.1109/TIP.2021.3089943"},
    {"shapleycam",          CAM_LAYER,    shapley,           CAM_MEAN,  CAM_SIGNED,   CAM_ADD,              CAM_GRAD | CAM_HVP,           -1,        "gradcam",   NULL,         "arXiv:2501.06261"},
    {"shapleycam-h",        CAM_LAYER,    shapley,           CAM_KEEP,  CAM_SIGNED,   CAM_ADD,              CAM_GRAD | CAM_HVP,           -1,        "hirescam",  "shapleycam", "arXiv:2501.06261"},
    {"shapleycam-e",        CAM_LAYER,    shapley,           CAM_KEEP,  CAM_POSITIVE, CAM_ADD,              CAM_GRAD | CAM_HVP,           -1,        "gradcam-e", NULL,         "arXiv:2501.06261"},
    {"shapleycam-x",        CAM_LAYER,    share_of_shapley,  CAM_SUM,   CAM_SIGNED,   CAM_ADD,              CAM_GRAD | CAM_HVP,           -1,        "xgradcam",  "shapleycam", "arXiv:2501.06261"},
    {"eigencam",            CAM_LAYER,    one,               CAM_KEEP,  CAM_SIGNED,   CAM_PRINCIPAL,        0,                            -1,        NULL,        NULL,         "arXiv:2008.00299"},
    {"eigengradcam",        CAM_LAYER,    gradient,          CAM_KEEP,  CAM_SIGNED,   CAM_PRINCIPAL,        CAM_GRAD,                     -1,        NULL,        NULL,         "eigencam of gradient times activation"},
    {"segeigencam",         CAM_LAYER,    magnitude,         CAM_KEEP,  CAM_SIGNED,   CAM_PRINCIPAL_TURNED, CAM_GRAD,                     -1,        NULL,        NULL,         "eigencam of |gradient| times activation"},
    {"kpcacam",             CAM_LAYER,    one,               CAM_KEEP,  CAM_SIGNED,   CAM_KERNEL,           0,                            -1,        NULL,        NULL,         "arXiv:2410.00267"},
    {"fem",                 CAM_LAYER,    outstanding,       CAM_SUM,   CAM_SIGNED,   CAM_ADD,              0,                            -1,        NULL,        NULL,         "arXiv:2305.19147"},
    {"scorecam",            CAM_LAYER,    given,             CAM_MEAN,  CAM_SIGNED,   CAM_ADD,              CAM_SCORE,                    -1,        NULL,        NULL,         "arXiv:1910.01279"},
    {"ablationcam",         CAM_LAYER,    given,             CAM_MEAN,  CAM_SIGNED,   CAM_ADD,              CAM_ABLATION,                 -1,        NULL,        NULL,         "doi:10.1109/WACV45572.2020.9093360"},
    {"ablationcam-library", CAM_LAYER,    given,             CAM_MEAN,  CAM_SIGNED,   CAM_ADD,              CAM_ABLATION | CAM_FAR_BELOW, -1,        NULL,        NULL,         "the same, as the grad-cam library ablates one channel"},
    {"finercam",            CAM_LAYER,    gradient,          CAM_MEAN,  CAM_SIGNED,   CAM_ADD,              CAM_GRAD,                     CAM_FINER, NULL,        NULL,         "arXiv:2501.11309"},
    {"refinecam",           CAM_REFINED,  plus_plus,         CAM_SUM,   CAM_SIGNED,   CAM_ADD,              CAM_GRAD,                     -1,        NULL,        NULL,         "the product of gradcam++ over layers"},
    {.name = "sess", .kind = CAM_SCALES, .utility = -1, .source = "gradcam at 12 scales, arXiv:2207.01769"},
    {.name = "dff", .kind = CAM_FACTORS, .utility = -1, .source = "arXiv:1806.10206"},
    {.name = "fullgrad", .kind = CAM_FULLGRAD, .utility = -1, .source = "arXiv:1905.00780"},
    {.name = "guidedbackprop", .kind = CAM_GUIDED, .utility = -1, .source = "arXiv:1412.6806"},
    {"randomcam",           CAM_LAYER,    drawn,             CAM_MEAN,  CAM_SIGNED,   CAM_ADD,              0,                            -1,        NULL,        NULL,         "a control: weights drawn from [-1, 1)"},
};
/* clang-format on */

const cam_method *cam_method_at(int i) { return i >= 0 && i < (int)(sizeof methods / sizeof *methods) ? &methods[i] : NULL; }

int cam_method_has_class(const cam_method *m) { return m->needs || m->kind != CAM_LAYER; }
int cam_method_is_whole(const cam_method *m) { return m->kind == CAM_FULLGRAD || m->kind == CAM_GUIDED; }

const cam_method *cam_method_find(const char *name)
{
    const cam_method *m;
    for (int i = 0; (m = cam_method_at(i)); i++)
        if (net_same_name(m->name, name)) return m;
    return NULL;
}

static cam_channel channel_of(const cam_site *c, size_t k)
{
    cam_channel h = {0};
    const float *a = row_of(c->a, c, k);
    double squares = 0;
    for (size_t s = 0; s < c->positions; s++) h.sum += (double)a[s];
    h.mean = h.sum / (double)c->positions;
    for (size_t s = 0; s < c->positions; s++) squares += ((double)a[s] - h.mean) * ((double)a[s] - h.mean);
    h.deviation = sqrt(squares / (double)c->positions);
    return h;
}

static int looks_at_channel(const cam_method *m)
{
    return m->field == plus_plus || m->field == share_of_gradient || m->field == share_of_shapley || m->field == outstanding;
}

/* The products P of channel k: the activation times the field at each position, or times its mean or sum over space. */
static void products_of(const cam_method *m, const cam_site *c, size_t k, double *p)
{
    cam_channel h = {0};
    const float *a = row_of(c->a, c, k);
    double weight = 0;
    if (looks_at_channel(m)) h = channel_of(c, k);
    if (m->pooling == CAM_MEAN) {
        cam_site means = {.g = c->g_mean, .h = c->h_mean, .positions = 1, .weights = c->weights, .stream = c->stream};
        m->field(&means, k, &h, &weight);
    } else {
        m->field(c, k, &h, p);
    }
    for (size_t s = 0; m->pooling == CAM_SUM && s < c->positions; s++) weight += p[s];
    for (size_t s = 0; s < c->positions; s++) p[s] = (m->pooling == CAM_KEEP ? p[s] : weight) * (double)a[s];
    for (size_t s = 0; m->products == CAM_POSITIVE && s < c->positions; s++) p[s] = p[s] < 0 ? 0 : p[s];
}

/* If the most negative value is larger than the most positive one, all change sign. */
static void turn(double *map, size_t n)
{
    double least = 0, most = 0;
    for (size_t s = 0; s < n; s++) {
        least = map[s] < least ? map[s] : least;
        most = map[s] > most ? map[s] : most;
    }
    for (size_t s = 0; -least > most && s < n; s++) map[s] = -map[s];
}

en_status cam_method_map(const cam_method *m, const cam_site *c, int smooth, double *map, en_error *e)
{
    cam_combination how = smooth && m->combination == CAM_ADD ? CAM_PRINCIPAL : m->combination;
    double *p = malloc((how == CAM_ADD ? 1 : c->channels) * c->positions * sizeof *p);
    if (!p) return en_fail(e, EN_E_NOMEM, "%s: out of memory", m->name);
    for (size_t s = 0; s < c->positions; s++) map[s] = 0;
    for (size_t k = 0; k < c->channels; k++) {
        double *row = how == CAM_ADD ? p : p + k * c->positions;
        products_of(m, c, k, row);
        for (size_t s = 0; how == CAM_ADD && s < c->positions; s++) map[s] += row[s];
    }
    en_status status = how == CAM_ADD      ? EN_OK
                       : how == CAM_KERNEL ? cam_project_kernel(p, c->channels, c->positions, map, e)
                                           : cam_project(p, c->channels, c->positions, map, e);
    if (how == CAM_PRINCIPAL_TURNED) turn(map, c->positions);
    free(p);
    return status;
}
