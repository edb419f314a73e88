/* SPDX-License-Identifier: MIT */
/* The list of networks, and one of them written into a graph. */
#include "nets/build.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* What weights were trained with. torchvision's first weights: shorter side 256 bilinear, crop 224, as in the paper; EfficientNet-B0
 * bicubic; timm's Swin and DeiT: 248 bicubic. */
static net_recipe torchvision_bicubic(void)
{
    net_recipe r = net_recipe_paper();
    r.filter = IMG_BICUBIC;
    return r;
}

static net_recipe timm(void)
{
    net_recipe r = torchvision_bicubic();
    r.shorter = 248;
    return r;
}

#define TORCHVISION net_recipe_paper
#define TORCHVISION_BICUBIC torchvision_bicubic
#define TIMM timm

#define NET(name, aliases, family, ...) en_ref net_build_##family(net_builder *b, en_ref x);
#include "nets/nets.def"
#undef NET

#define NUMBERS(...) __VA_ARGS__
static const net_arch archs[] = {
#define NET(net, other, family, numbers, ...) {#net, other, net_build_##family, {NUMBERS numbers}, __VA_ARGS__},
#include "nets/nets.def"
#undef NET
};

const net_arch *net_arch_at(int i) { return i >= 0 && i < (int)(sizeof archs / sizeof *archs) ? &archs[i] : NULL; }

/* The next significant character of a name, 0 at its end. */
static int next_letter(const char **p)
{
    while (**p == '-' || **p == '_') ++*p;
    if (!strncasecmp(*p, "plus", 4)) return *p += 4, 'p';
    int c = **p ? *(*p)++ : 0;
    return c == '+' ? 'p' : tolower((unsigned char)c);
}

int net_same_name(const char *a, const char *b)
{
    for (;;) {
        int x = next_letter(&a), y = next_letter(&b);
        if (x != y) return 0;
        if (!x) return 1;
    }
}

const net_arch *net_arch_find(const char *name)
{
    const net_arch *a;
    for (int i = 0; (a = net_arch_at(i)); i++) {
        if (net_same_name(a->name, name)) return a;
        char word[64];
        for (const char *p = a->aliases; *p; p += strspn(p, " ")) {
            size_t n = strcspn(p, " ");
            if (n < sizeof word) {
                memcpy(word, p, n);
                word[n] = 0;
                if (net_same_name(word, name)) return a;
            }
            p += n;
        }
    }
    return NULL;
}

en_status net_model_build(const net_arch *arch, int classes, int n, int height, int width, en_params *params, net_model *out, en_error *e)
{
    *out = (net_model){0};
    if (height < NET_MIN_SIDE || width < NET_MIN_SIDE || height > NET_MAX_SIDE || width > NET_MAX_SIDE)
        return en_fail(e, EN_E_ARG, "%s: input of %d x %d (width x height), want %d to %d on each side", arch->name, width, height, NET_MIN_SIDE, NET_MAX_SIDE);
    if (n < 1 || classes < 1) return en_fail(e, EN_E_ARG, "%s: batch of %d, %d classes: want at least 1 of each", arch->name, n, classes);
    net_model m = {.arch = arch};
    EN_TRY(en_graph_new(params, &m.graph, e));
    net_builder b = {.g = m.graph, .arch = arch, .classes = classes};
    m.input = net_name(&b, "input", en_input(m.graph, en_nchw(n, 3, height, width)));
    m.logits = net_name(&b, "logits", arch->build(&b, m.input));
    en_output(m.graph, m.logits);
    m.layers = b.layers;
    m.count = b.count;
    en_status status = en_graph_status(m.graph, e);
    if (status != EN_OK) net_model_free(&m);
    *out = m;
    return status;
}

void net_model_free(net_model *m)
{
    en_graph_free(m->graph);
    free(m->layers);
    *m = (net_model){0};
}

en_ref net_model_layer(const net_model *m, const char *name, en_error *e)
{
    const char *wanted = net_same_name(name, "pre_pool") ? m->arch->pre_pool : net_same_name(name, "conv") ? m->arch->conv : name;
    for (int i = 0; i < m->count; i++)
        if (!strcmp(m->layers[i].name, wanted)) return m->layers[i].ref;
    en_fail(e, EN_E_ARG, "%s has no layer '%s': want pre_pool, conv, or a name of the list of layers, such as '%s'", m->arch->name, name, m->arch->pre_pool);
    return EN_NONE;
}

const net_layer *net_model_tokens(const net_model *m, en_ref ref)
{
    for (int i = 0; i < m->count; i++)
        if (m->layers[i].ref == ref && m->layers[i].rows) return &m->layers[i];
    return NULL;
}
