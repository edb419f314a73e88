/* SPDX-License-Identifier: MIT */
/* The laws of calculus, for every op, every example of cases.c, every choice of differentiated inputs and every instruction set:
 *
 *     1  fwd    equals the naive double-precision value
 *     2  jvp    equals differences of that value
 *     3  vjp    is the adjoint of jvp, <gy, J dx> = <J' gy, dx>, and equals differences, <gx, e> = d/ds <gy, f(x + s e)>
 *     4  dvjp   equals differences, <dgx, e> = d/dt d/ds <gy + t dgy, f(x + t dx + s e)>
 *     5  H      of a scalar utility is symmetric, <v, H u> = <u, H v>
 *
 * Differences are taken of the naive double value, with five points (an error of h^4), where fp32 would have no digits left. The
 * second half of the file proves that bits do not depend on seeds, order, tangents, batch, threads and vector width. */
#include "engine/cpu.h"
#include "engine/memory.h"
#include "engine/ops.h"
#include "tests/engine/cases.h"
#include "tests/naive.h"
#include "tests/test.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { SEEDS = 3, DIRECTIONS = 2 };
static const double H = 2e-3; /* smaller than a tenth of the distance to kinks */

/* An example with numbers: inputs, the directions in which it is differentiated, adjoints. All row-major. */
typedef struct trial {
    const t_case *c;
    unsigned active; /* bit k: input k is differentiated */
    en_shape out;
    size_t count[EN_MAX_INPUTS], outputs;
    float *x[EN_MAX_INPUTS], *dx[EN_MAX_INPUTS], *e[DIRECTIONS][EN_MAX_INPUTS];
    float *gy[SEEDS], *dgy[SEEDS];
    en_arena arena; /* of everything here and of the results */
} trial;

static int is_active(const trial *t, int k) { return (int)(t->active >> k & 1); }

static float *draw(trial *t, t_draw how, size_t count)
{
    float *x = en_arena_alloc(&t->arena, count * sizeof *x);
    CHECK(x != NULL);
    t_draw_floats(how, count, x);
    return x;
}

static trial trial_of(const t_case *c, unsigned active)
{
    trial t = {.c = c, .active = active};
    naive_call shape = {.attr = &c->attr, .inputs = c->inputs};
    memcpy(shape.in, c->in, sizeof shape.in);
    naive_find(c->op)(&shape);
    t.out = shape.out;
    t.outputs = en_count(&t.out);
    for (int k = 0; k < c->inputs; k++) {
        t.count[k] = en_count(&c->in[k]);
        t.x[k] = draw(&t, c->draw[k], t.count[k]);
        t.dx[k] = draw(&t, T_PLAIN, t.count[k]);
        for (int j = 0; j < DIRECTIONS; j++) t.e[j][k] = draw(&t, T_PLAIN, t.count[k]);
    }
    for (int s = 0; s < SEEDS; s++) t.gy[s] = draw(&t, T_PLAIN, t.outputs), t.dgy[s] = draw(&t, T_PLAIN, t.outputs);
    return t;
}

/* Each example of an op with its first input differentiated and the others constant, as explaining a network does; with all inputs;
 * and with each of the other inputs alone. */
static void sweep_op(const char *op, void (*check)(trial *t, void *arg), void *arg)
{
    for (const t_case *c = t_cases; c->op; c++) {
        if (strcmp(c->op, op)) continue;
        unsigned all = (1u << c->inputs) - 1;
        for (int mode = 0; mode <= (c->inputs > 1 ? c->inputs : 0); mode++) {
            trial t = trial_of(c, mode == c->inputs ? all : 1u << mode);
            check(&t, arg);
            en_arena_free(&t.arena);
        }
    }
}

static void sweep(void (*check)(trial *t, void *arg), void *arg)
{
    for (int i = 0; en_ops[i]; i++) sweep_op(en_ops[i]->name, check, arg);
}

/* ---- the engine's answer ---- */

/* How a trial is run. With `utility`, the adjoints are those of u(y) = sum gy y + dgy y^2 / 2 instead of gy and dgy themselves,
 * and those of the second readers zero instead of e. */
typedef struct setup {
    const char *isa;
    en_pool *pool;
    int first_seed, seeds, order, utility, exact;
    float *const *direction; /* NULL: dx of the trial */
} setup;

/* Row-major numbers: y and dy, then for each seed gx and dgx of the differentiated inputs one after another. */
typedef struct answer {
    float *y, *dy, *gx[SEEDS], *dgx[SEEDS];
    size_t inputs; /* numbers in one gx */
} answer;

typedef struct machine {
    en_params *params;
    en_graph *g;
    en_ref in[EN_MAX_INPUTS], y;
    en_ref twice[EN_MAX_INPUTS]; /* x + x of each differentiated input: a second reader, so that rules have something to add to */
} machine;

/* Constants come from a source, where input k is called "input k". */
static en_status read_input(void *self, const char *key, const en_shape *shape, size_t first, size_t count, float *out, en_error *e)
{
    const trial *t = self;
    int k = key[6] - '0';
    if (!en_same_shape(shape, &t->c->in[k]) || first + count > t->count[k])
        return en_fail(e, EN_E_ARG, "%s: read out of range", key);
    memcpy(out, t->x[k] + first, count * sizeof *out);
    return EN_OK;
}

static machine machine_of(trial *t, const setup *o)
{
    en_error e = {0};
    machine m;
    char key[32];
    CHECK_OK(en_params_new((en_source){.self = t, .read = read_input}, &m.params, &e), e);
    CHECK_OK(en_graph_new(m.params, &m.g, &e), e);
    for (int k = 0; k < t->c->inputs; k++) {
        const en_shape *s = &t->c->in[k];
        snprintf(key, sizeof key, "input %d", k);
        m.in[k] = s->layout == EN_PLAIN && !is_active(t, k) ? en_param(m.g, key, s->rank, s->dim) : en_input(m.g, *s);
    }
    m.y = en_apply(m.g, t_op(t->c), m.in, t->c->inputs, &t->c->attr);
    en_ref cut[EN_MAX_INPUTS];
    int members = 0;
    for (int k = 0; k < t->c->inputs; k++) {
        if (!is_active(t, k)) continue;
        cut[members++] = m.in[k];
        m.twice[k] = en_add(m.g, m.in[k], m.in[k]);
        en_output(m.g, m.twice[k]);
    }
    CHECK(en_cut(m.g, cut, members) == 0);
    en_output(m.g, m.y);
    CHECK_OK(en_graph_finish(m.g, &(en_options){.isa = o->isa, .pool = o->pool, .seeds = SEEDS, .exact = o->exact}, &e), e);
    CHECK_MSG(en_same_shape(en_shape_of(m.g, m.y), &t->out), "%s: wrong output shape %s", t_case_text(t->c),
              en_shape_text(en_shape_of(m.g, m.y), (char[64]){0}));
    t_poison(m.g);
    for (int k = 0; k < t->c->inputs; k++)
        if (en_value(m.g, m.in[k])) en_store(&t->c->in[k], t->x[k], en_value(m.g, m.in[k]));
    return m;
}

static void machine_free(machine *m)
{
    en_graph_free(m->g);
    en_params_free(m->params);
}

/* Row-major copy of a tensor whose padding must be zero. */
static float *load(trial *t, const en_shape *s, const float *stored, const char *what, float *out)
{
    float *again = en_arena_alloc(&t->arena, en_floats(s) * sizeof *again);
    CHECK(again != NULL);
    en_load(s, stored, out);
    en_store(s, out, again);
    for (size_t i = 0; i < en_floats(s); i++)
        CHECK_MSG(again[i] == stored[i] || (isnan(again[i]) && isnan(stored[i])), "%s: padding of %s holds %g", t_case_text(t->c),
                  what, (double)stored[i]);
    return out + en_count(s);
}

static void load_adjoints(trial *t, const machine *m, int seed, int order, float *out)
{
    for (int k = 0; k < t->c->inputs; k++)
        if (is_active(t, k)) out = load(t, &t->c->in[k], en_adjoint(m->g, m->in[k], seed, order), order == 1 ? "gx" : "dgx", out);
}

static void seed_adjoints(trial *t, const machine *m, const setup *o, const answer *a)
{
    en_seed(m->g, 0, o->seeds, o->order);
    float *numbers = en_arena_alloc(&t->arena, t->outputs * sizeof *numbers);
    CHECK(numbers != NULL);
    for (int s = 0; s < o->seeds; s++) {
        const float *gy = t->gy[o->first_seed + s], *dgy = t->dgy[o->first_seed + s];
        for (size_t i = 0; i < t->outputs; i++) numbers[i] = o->utility ? gy[i] + dgy[i] * a->y[i] : gy[i];
        en_store(&t->out, numbers, en_adjoint(m->g, m->y, s, 1));
        for (size_t i = 0; i < t->outputs; i++) numbers[i] = o->utility ? dgy[i] * a->dy[i] : dgy[i];
        if (o->order == 2) en_store(&t->out, numbers, en_adjoint(m->g, m->y, s, 2));
        for (int k = 0; k < t->c->inputs; k++) {
            if (!is_active(t, k) || o->utility) continue;
            en_store(&t->c->in[k], t->e[0][k], en_adjoint(m->g, m->twice[k], s, 1));
            if (o->order == 2) en_store(&t->c->in[k], t->e[1][k], en_adjoint(m->g, m->twice[k], s, 2));
        }
    }
}

static answer run(trial *t, const setup *o)
{
    machine m = machine_of(t, o);
    answer a = {0};
    en_forward(m.g, -1, NULL);
    for (int k = 0; k < t->c->inputs; k++) {
        if (!is_active(t, k)) continue;
        a.inputs += t->count[k];
        en_store(&t->c->in[k], o->direction ? o->direction[k] : t->dx[k], en_tangent(m.g, m.in[k]));
    }
    en_forward_tail(m.g, 0, 1);
    float *numbers = en_arena_alloc(&t->arena, (2 * t->outputs + 2 * SEEDS * a.inputs) * sizeof *numbers);
    CHECK(numbers != NULL);
    a.y = numbers;
    a.dy = numbers + t->outputs;
    load(t, &t->out, en_value(m.g, m.y), "y", a.y);
    load(t, &t->out, en_tangent(m.g, m.y), "dy", a.dy);
    seed_adjoints(t, &m, o, &a);
    en_reverse(m.g);
    for (int s = 0; s < o->seeds; s++) {
        a.gx[s] = numbers + 2 * t->outputs + 2 * (size_t)s * a.inputs;
        a.dgx[s] = a.gx[s] + a.inputs;
        load_adjoints(t, &m, s, 1, a.gx[s]);
        if (o->order == 2) load_adjoints(t, &m, s, 2, a.dgx[s]);
    }
    machine_free(&m);
    return a;
}

/* The n-th usable instruction set, NULL past the last. */
static const char *isa_name(int n)
{
    int usable;
    const kn_table *table;
    for (int i = 0; (table = en_isa(i, &usable)); i++)
        if (usable && n-- == 0) return table->name;
    return NULL;
}

/* ---- the truth ---- */

/* f(x + s e + t dx) in double; e may be NULL. */
static double *value(trial *t, double s, float *const e[], double along)
{
    naive_call c = {.attr = &t->c->attr, .inputs = t->c->inputs};
    memcpy(c.in, t->c->in, sizeof c.in);
    for (int k = 0; k < c.inputs; k++) {
        double *x = en_arena_alloc(&t->arena, t->count[k] * sizeof *x);
        CHECK(x != NULL);
        for (size_t i = 0; i < t->count[k]; i++)
            x[i] = (double)t->x[k][i] + (is_active(t, k) ? (e ? s * (double)e[k][i] : 0) + along * (double)t->dx[k][i] : 0);
        c.x[k] = x;
    }
    c.y = en_arena_alloc(&t->arena, t->outputs * sizeof *c.y);
    CHECK(c.y != NULL);
    naive_find(t->c->op)(&c);
    return c.y;
}

/* The first derivative along e from f at +h, -h, +2h, -2h. */
static double *slope(trial *t, float *const e[])
{
    double *a = value(t, H, e, 0), *b = value(t, -H, e, 0), *c = value(t, 2 * H, e, 0), *d = value(t, -2 * H, e, 0);
    for (size_t i = 0; i < t->outputs; i++) a[i] = (8 * (a[i] - b[i]) - (c[i] - d[i])) / (12 * H);
    return a;
}

/* The mixed second derivative along e and dx, with steps of h. */
static double *mixed(trial *t, float *const e[], double h)
{
    double *a = value(t, h, e, h), *b = value(t, h, e, -h), *c = value(t, -h, e, h), *d = value(t, -h, e, -h);
    for (size_t i = 0; i < t->outputs; i++) a[i] = (a[i] - b[i] - c[i] + d[i]) / (4 * h * h);
    return a;
}

/* ---- comparing ---- */

static double largest(size_t n, const float *x)
{
    double most = 1;
    for (size_t i = 0; i < n; i++) most = fmax(most, fabs((double)x[i]));
    return most;
}

/* The rounding error to expect of a chain of `terms` fp32 operations on numbers up to `size`: each is off by at most half an
 * epsilon of a partial sum, signs are random, and partial sums grow like a random walk; eight times that is never seen. */
static double rounding(double terms, double size) { return 8 * (double)FLT_EPSILON * sqrt(terms + 4) * size; }

static void check_near(const trial *t, const char *isa, const char *law, double got, double want, double tolerance)
{
    CHECK_MSG(fabs(got - want) <= tolerance, "%s, %s, inputs %#x: %s: %.9g, want %.9g within %.2g", t_case_text(t->c), isa,
              t->active, law, got, want, tolerance);
}

static double dot_f(size_t n, const float *a, const float *b)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)a[i] * (double)b[i];
    return sum;
}

static double dot_d(size_t n, const float *a, const double *b)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)a[i] * b[i];
    return sum;
}

/* <gx, e> over all differentiated inputs. */
static double dot_inputs(const trial *t, const float *gx, float *const e[])
{
    double sum = 0;
    for (int k = 0; k < t->c->inputs; k++) {
        if (!is_active(t, k)) continue;
        sum += dot_f(t->count[k], gx, e[k]);
        gx += t->count[k];
    }
    return sum;
}

/* What the second readers add to <gx, e>: <2 r, e>. */
static double doubled(const trial *t, float *const r[], float *const e[])
{
    double sum = 0;
    for (int k = 0; k < t->c->inputs; k++)
        if (is_active(t, k)) sum += 2 * dot_f(t->count[k], r[k], e[k]);
    return sum;
}

typedef struct truth {
    double *y, *dy, by_gx[DIRECTIONS], by_dgx[DIRECTIONS];
} truth;

static truth truth_of(trial *t)
{
    truth w = {.y = value(t, 0, NULL, 0), .dy = slope(t, t->dx)};
    for (int j = 0; j < DIRECTIONS; j++) {
        double *first = slope(t, t->e[j]), *near = mixed(t, t->e[j], H), *far = mixed(t, t->e[j], 2 * H);
        for (size_t i = 0; i < t->outputs; i++) near[i] = (4 * near[i] - far[i]) / 3; /* removes the error of h^2 */
        w.by_gx[j] = dot_d(t->outputs, t->gy[0], first) + doubled(t, t->e[0], t->e[j]);
        w.by_dgx[j] = dot_d(t->outputs, t->dgy[0], first) + dot_d(t->outputs, t->gy[0], near) + doubled(t, t->e[1], t->e[j]);
    }
    return w;
}

/* Laws 1 to 4. A dot product of n rounded numbers is off by sqrt(n) times one of them. */
static void check_derivatives(trial *t, const truth *want, const char *isa)
{
    answer a = run(t, &(setup){.isa = isa, .seeds = 1, .order = 2});
    double terms = t->c->terms * 2.0, back = terms + (double)t->outputs;
    double y_error = rounding(terms, largest(t->outputs, a.y)), dy_error = rounding(terms, largest(t->outputs, a.dy));
    for (size_t i = 0; i < t->outputs; i++) {
        check_near(t, isa, "y", (double)a.y[i], want->y[i], y_error);
        check_near(t, isa, "dy", (double)a.dy[i], want->dy[i], dy_error + 1e-8);
    }
    double gx_error = rounding(back, largest(a.inputs, a.gx[0])) * sqrt((double)a.inputs);
    double dgx_error = rounding(back, largest(a.inputs, a.dgx[0])) * sqrt((double)a.inputs);
    check_near(t, isa, "<J' gy, dx> = <gy, J dx>", dot_inputs(t, a.gx[0], t->dx),
               dot_f(t->outputs, t->gy[0], a.dy) + doubled(t, t->e[0], t->dx), gx_error + dy_error * sqrt((double)t->outputs));
    for (int j = 0; j < DIRECTIONS; j++) {
        check_near(t, isa, "<gx, e>", dot_inputs(t, a.gx[0], t->e[j]), want->by_gx[j], gx_error + 1e-8);
        check_near(t, isa, "<dgx, e>", dot_inputs(t, a.dgx[0], t->e[j]), want->by_dgx[j], dgx_error + 1e-7);
    }
}

/* Law 5. */
static void check_symmetry(trial *t, const char *isa)
{
    answer v = run(t, &(setup){.isa = isa, .seeds = 1, .order = 2, .utility = 1});
    answer u = run(t, &(setup){.isa = isa, .seeds = 1, .order = 2, .utility = 1, .direction = t->e[0]});
    double terms = t->c->terms * 2.0 + (double)t->outputs, size = fmax(largest(v.inputs, v.dgx[0]), largest(u.inputs, u.dgx[0]));
    check_near(t, isa, "<v, H u> = <u, H v>", dot_inputs(t, u.dgx[0], t->dx), dot_inputs(t, v.dgx[0], t->e[0]),
               2 * rounding(terms, size) * sqrt((double)v.inputs));
}

static void check_laws(trial *t, void *arg)
{
    (void)arg;
    truth want = truth_of(t);
    const char *isa;
    for (int i = 0; (isa = isa_name(i)); i++) {
        check_derivatives(t, &want, isa);
        check_symmetry(t, isa);
    }
}

TEST(every_op_has_a_naive_version_and_an_example)
{
    for (int i = 0; en_ops[i]; i++) {
        int examples = 0;
        for (const t_case *c = t_cases; c->op; c++) examples += !strcmp(c->op, en_ops[i]->name);
        CHECK_MSG(naive_find(en_ops[i]->name), "%s: no naive version in tests/naive.c", en_ops[i]->name);
        CHECK_MSG(examples > 0, "%s: no example in tests/engine/cases.c", en_ops[i]->name);
    }
    for (const t_case *c = t_cases; c->op; c++) CHECK_MSG(t_op(c), "tests/engine/cases.c: there is no op %s", c->op);
}

#define OP(name, arguments, shapes, formula)                                                                                       \
    TEST(name##_obeys_the_five_laws_on_every_instruction_set) { sweep_op(#name, check_laws, NULL); }
#include "engine/ops.def"
#undef OP

/* ---- the same bits ---- */

static void check_same(const trial *t, const char *what, size_t n, const float *a, const float *b)
{
    for (size_t i = 0; i < n; i++)
        CHECK_MSG(!memcmp(&a[i], &b[i], sizeof *a), "%s, inputs %#x: %s %zu: %.9g and %.9g", t_case_text(t->c), t->active, what, i,
                  (double)a[i], (double)b[i]);
}

/* Seed `i` of a, seed `j` of b. */
static void check_same_answer(const trial *t, const answer *a, int i, const answer *b, int j, int order)
{
    check_same(t, "y", t->outputs, a->y, b->y);
    check_same(t, "dy", t->outputs, a->dy, b->dy);
    check_same(t, "gx", a->inputs, a->gx[i], b->gx[j]);
    if (order == 2) check_same(t, "dgx", a->inputs, a->dgx[i], b->dgx[j]);
}

static void check_seeds_and_orders(trial *t, void *arg)
{
    (void)arg;
    answer several = run(t, &(setup){.seeds = SEEDS, .order = 2}), gradients = run(t, &(setup){.seeds = SEEDS, .order = 1});
    for (int s = 0; s < SEEDS; s++) {
        answer alone = run(t, &(setup){.first_seed = s, .seeds = 1, .order = 2});
        check_same_answer(t, &several, s, &alone, 0, 2);
        check_same_answer(t, &several, s, &gradients, s, 1);
    }
}

TEST(adjoints_are_the_same_bits_with_other_seeds_and_without_second_order) { sweep(check_seeds_and_orders, NULL); }

/* A value computed with its tangent, in one pass or afterwards, and without. */
static void check_tangents(trial *t, void *arg)
{
    (void)arg;
    answer together = run(t, &(setup){.seeds = 1, .order = 1});
    machine m = machine_of(t, &(setup){.seeds = 1});
    float *got = en_arena_alloc(&t->arena, t->outputs * sizeof *got);
    CHECK(got != NULL);
    en_forward(m.g, -1, NULL);
    load(t, &t->out, en_value(m.g, m.y), "y", got);
    check_same(t, "y alone", t->outputs, got, together.y);
    for (int k = 0; k < t->c->inputs; k++)
        if (is_active(t, k)) en_store(&t->c->in[k], t->dx[k], en_tangent(m.g, m.in[k]));
    en_forward_tangents(m.g, 0);
    load(t, &t->out, en_tangent(m.g, m.y), "dy", got);
    check_same(t, "dy alone", t->outputs, got, together.dy);
    load(t, &t->out, en_value(m.g, m.y), "y", got);
    check_same(t, "y after its tangent", t->outputs, got, together.y);
    machine_free(&m);
}

TEST(a_value_and_its_tangent_are_the_same_bits_together_and_apart) { sweep(check_tangents, NULL); }

static void check_threads(trial *t, void *arg)
{
    en_pool **pools = arg;
    answer alone = run(t, &(setup){.seeds = SEEDS, .order = 2});
    for (int i = 0; i < 4; i++) {
        answer shared = run(t, &(setup){.pool = pools[i], .seeds = SEEDS, .order = 2});
        for (int s = 0; s < SEEDS; s++) check_same_answer(t, &alone, s, &shared, s, 2);
    }
}

/* Winograd's convolution rounds otherwise than the direct one, to about the same value; and nothing else has two ways. */
static void check_exact(trial *t, void *arg)
{
    int *differ = arg, winograd = 0;
    answer fast = run(t, &(setup){.seeds = 1, .order = 1}), exact = run(t, &(setup){.seeds = 1, .order = 1, .exact = 1});
    check_same(t, "gx", fast.inputs, fast.gx[0], exact.gx[0]);
    double tolerance = rounding(t->c->terms * 2.0, largest(t->outputs, exact.y));
    for (size_t i = 0; i < t->outputs; i++) {
        check_near(t, "default", "exact y", (double)fast.y[i], (double)exact.y[i], tolerance);
        winograd |= fast.y[i] != exact.y[i];
    }
    const en_shape *w = &t->c->in[1];
    int suits = !strcmp(t->c->op, "conv2d") && w->rank == 4 && w->dim[2] == 3 && w->dim[3] == 3 && t->c->attr.groups == 1 && w->dim[0] >= 32 &&
                w->dim[1] >= 32 && t->out.dim[2] >= 7 && t->out.dim[3] >= 7 && t->c->attr.stride[0] == 1 && t->c->attr.stride[1] == 1;
    CHECK_MSG(winograd == suits, "%s: the default %s exact", t_case_text(t->c), winograd ? "is not" : "is");
    *differ += winograd;
}

TEST(exact_convolutions_differ_where_winograd_is_the_default_and_nowhere_else)
{
    int differ = 0;
    sweep(check_exact, &differ);
    CHECK(differ > 0);
}

TEST(any_number_of_threads_gives_the_same_bits)
{
    static const int threads[4] = {1, 2, 3, 8};
    en_pool *pools[4];
    en_error e = {0};
    for (int i = 0; i < 4; i++) CHECK_OK(en_pool_new(threads[i], &pools[i], &e), e);
    sweep(check_threads, pools);
    for (int i = 0; i < 4; i++) en_pool_free(pools[i]);
}

/* base of x86-64 has no fused multiply-add and rounds twice. */
static void check_widths(trial *t, void *arg)
{
    (void)arg;
    const char *isa;
    answer first = run(t, &(setup){.isa = isa_name(0), .seeds = SEEDS, .order = 2});
    for (int i = 1; (isa = isa_name(i)) && strcmp(isa, "base"); i++) {
        answer other = run(t, &(setup){.isa = isa, .seeds = SEEDS, .order = 2});
        for (int s = 0; s < SEEDS; s++) check_same_answer(t, &first, s, &other, s, 2);
    }
}

TEST(all_instruction_sets_with_fused_multiply_add_give_the_same_bits) { sweep(check_widths, NULL); }

/* Image n of a trial by itself; parameters stay. */
static trial image_of(const trial *t, int n, t_case *alone)
{
    trial one = *t;
    *alone = *t->c;
    one.c = alone;
    one.arena = (en_arena){0};
    one.out.dim[0] = 1;
    one.outputs = t->outputs / (size_t)t->out.dim[0];
    for (int k = 0; k < t->c->inputs; k++) {
        if (t->c->in[k].layout != EN_BLOCKED) continue;
        alone->in[k].dim[0] = 1;
        one.count[k] = en_count(&alone->in[k]);
        one.x[k] = t->x[k] + (size_t)n * one.count[k];
        one.dx[k] = t->dx[k] + (size_t)n * one.count[k];
        for (int j = 0; j < DIRECTIONS; j++) one.e[j][k] = t->e[j][k] + (size_t)n * one.count[k];
    }
    for (int s = 0; s < SEEDS; s++)
        one.gy[s] = t->gy[s] + (size_t)n * one.outputs, one.dgy[s] = t->dgy[s] + (size_t)n * one.outputs;
    return one;
}

static void check_images(trial *t, void *arg)
{
    (void)arg;
    int images = t->out.dim[0];
    if (images == 1 || t->active != 1) return;
    answer batch = run(t, &(setup){.seeds = SEEDS, .order = 2});
    for (int n = 0; n < images; n++) {
        t_case c;
        trial one = image_of(t, n, &c);
        answer a = run(&one, &(setup){.seeds = SEEDS, .order = 2});
        answer part = {batch.y + (size_t)n * one.outputs, batch.dy + (size_t)n * one.outputs, {0}, {0}, a.inputs};
        for (int s = 0; s < SEEDS; s++) {
            part.gx[s] = batch.gx[s] + (size_t)n * a.inputs;
            part.dgx[s] = batch.dgx[s] + (size_t)n * a.inputs;
            check_same_answer(&one, &part, s, &a, s, 2);
        }
        en_arena_free(&one.arena);
    }
}

TEST(an_image_gives_the_same_bits_alone_and_anywhere_in_a_batch) { sweep(check_images, NULL); }
