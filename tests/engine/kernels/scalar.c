/* SPDX-License-Identifier: MIT */
/* Buffers, arithmetic and the epilogue of the sweeps. */
#include "tests/engine/kernels/scalar.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

buffer buffer_new(size_t n)
{
    buffer b = {malloc((n + 2 * GUARD) * sizeof(float)), NULL, n};
    CHECK(b.memory != NULL);
    for (size_t i = 0; i < n + 2 * GUARD; i++) b.memory[i] = NAN;
    b.at = b.memory + GUARD;
    return b;
}

buffer buffer_random(size_t n)
{
    buffer b = buffer_new(n);
    for (size_t i = 0; i < n; i++) b.at[i] = (float)t_uniform(-1, 1);
    return b;
}

buffer buffer_copy(const buffer *from)
{
    buffer b = buffer_new(from->n);
    memcpy(b.memory, from->memory, (b.n + 2 * GUARD) * sizeof(float));
    return b;
}

void check_same(const char *what, buffer got, buffer want)
{
    for (size_t i = 0; i < got.n + 2 * GUARD; i++)
        CHECK_MSG(!memcmp(&got.memory[i], &want.memory[i], sizeof(float)), "%s: float %td is %.9g, want %.9g", what,
                  (ptrdiff_t)i - GUARD, (double)got.memory[i], (double)want.memory[i]);
    free(got.memory);
    free(want.memory);
}

float multiply_add(const kn_table *k, float a, float b, float c)
{
#if defined __x86_64__
    if (!strcmp(k->name, "base")) return a * b + c;
#endif
    (void)k;
    return fmaf(a, b, c);
}

float sum16(const float *x)
{
    float t[8];
    for (int i = 0; i < 8; i++) t[i] = x[i] + x[i + 8];
    return ((t[0] + t[4]) + (t[2] + t[6])) + ((t[1] + t[5]) + (t[3] + t[7]));
}

float act(const kn_table *k, kn_act a, float x)
{
    if (a > KN_RELU6) {
        float lanes[16] = {x};
        k->activate(a, 16, lanes, lanes, NULL, NULL);
        return lanes[0];
    }
    if (a != KN_NONE && x < 0) return 0;
    return a == KN_RELU6 && x > 6 ? 6 : x;
}

float finish(const kn_table *k, const kn_epilogue *e, float sum, size_t o, ptrdiff_t at, int biased)
{
    if (e->bias && biased) sum += e->bias[o];
    if (e->scale) sum = multiply_add(k, sum, e->scale[o], e->shift[o]);
    if (e->residual) sum += e->residual[at];
    return act(k, e->act, sum);
}

ending ending_of(const steps *s, size_t channels, const buffer *out)
{
    ending x = {buffer_random(channels), buffer_random(channels), buffer_random(channels), buffer_random(out->n), {0}};
    x.e = (kn_epilogue){.bias = s->bias ? x.bias.at : NULL, .biased = s->biased, .act = s->act};
    for (size_t i = 0; i < channels && s->act == KN_RELU6; i++) x.scale.at[i] *= 40; /* far enough to be cut off at 6 */
    if (s->affine) x.e.scale = x.scale.at, x.e.shift = x.shift.at;
    if (s->residual) x.e.residual = s->residual == RESIDUAL ? x.residual.at : out->at;
    for (size_t i = 0; s->residual == IN_PLACE && i < out->n; i++) out->at[i] = x.residual.at[i];
    return x;
}

void ending_free(ending *x)
{
    free(x->bias.memory);
    free(x->scale.memory);
    free(x->shift.memory);
    free(x->residual.memory);
}

void each_epilogue(const kn_table *k, int rows, void (*try)(const kn_table *, const steps *))
{
    for (int bits = 0; bits < 4; bits++)
        for (int residual = NO_RESIDUAL; residual <= IN_PLACE; residual++)
            for (kn_act a = KN_NONE; a <= KN_GELU; a++)
                for (int biased = 0; biased <= rows; biased++) try(k, &(steps){bits & 1, biased, bits >> 1, residual, a});
}
