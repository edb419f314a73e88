/* SPDX-License-Identifier: MIT */
/* Checkpoints for tests. */
#include "tests/nets/checkpoint.h"

#include "nets/nets.h"
#include "tests/test.h"
#include "weights/seeded.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void t_checkpoint_make(const char *net, t_checkpoint *out)
{
    net_model m;
    en_error e;
    *out = (t_checkpoint){.count = 0};
    CHECK_OK(net_model_build(net_arch_find(net), 1000, 1, 224, 224, NULL, &m, &e), e);
    for (en_ref x = 0; x < en_nodes(m.graph); x++) {
        const char *key = en_key_of(m.graph, x);
        if (!key) continue;
        const en_shape *s = en_shape_of(m.graph, x);
        float *data = malloc(en_count(s) * sizeof *data);
        CHECK(out->count < T_MAX_TENSORS);
        wt_array *a = &out->array[out->count++];
        *a = (wt_array){.name = strdup(key), .dtype = WT_F32, .rank = s->rank, .data = data};
        for (int i = 0; i < s->rank; i++) a->dim[i] = s->dim[i];
        CHECK_OK(wt_seeded_read(net, 1, key, s->rank, a->dim, 0, en_count(s), data, &e), e);
    }
    net_model_free(&m);
}

void t_checkpoint_free(t_checkpoint *c)
{
    for (size_t i = 0; i < c->count; i++) {
        free((void *)(uintptr_t)c->array[i].name);
        free((void *)(uintptr_t)c->array[i].data);
    }
}

void t_temporary(char path[128])
{
    const char *folder = getenv("TMPDIR");
    snprintf(path, 128, "%.96s/shapleycam-test-XXXXXX", folder && *folder ? folder : "/tmp");
    int fd = mkstemp(path);
    CHECK_MSG(fd >= 0, "cannot make %s", path);
    close(fd);
}

void t_checkpoint_save(const char *net, char path[128])
{
    t_checkpoint c;
    en_error e;
    t_temporary(path);
    t_checkpoint_make(net, &c);
    CHECK_OK(wt_save_safetensors(path, c.array, c.count, NULL, &e), e);
    t_checkpoint_free(&c);
}
