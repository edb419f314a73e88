/* SPDX-License-Identifier: MIT */
/* Checkpoints in several files, by an index or by a list of names. */
#include "tests/test.h"
#include "weights/file.h"
#include "weights/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[] = "/tmp/shards-XXXXXX";
static const char *const files[] = {"a.safetensors", "b.safetensors", "index.json", "c.safetensors", NULL};

static const char *in_folder(const char *name)
{
    static char path[4][128];
    static int made, turn;
    if (!made++) CHECK(mkdtemp(folder) != NULL);
    snprintf(path[turn = (turn + 1) % 4], sizeof path[0], "%s/%s", folder, name);
    return path[turn];
}

static void make_shards(void)
{
    static const float x[3] = {1, 2, 3};
    en_error e;
    const wt_array a[] = {{"first", WT_F32, 1, {1}, x}, {"second", WT_F32, 1, {2}, x + 1}}, b = {"third", WT_F32, 1, {3}, x};
    CHECK_OK(wt_save_safetensors(in_folder("a.safetensors"), a, 2, NULL, &e), e);
    CHECK_OK(wt_save_safetensors(in_folder("b.safetensors"), &b, 1, NULL, &e), e);
}

static void remove_all(void)
{
    for (int i = 0; files[i]; i++) unlink(in_folder(files[i]));
    CHECK(!rmdir(folder));
}

static en_status open_index(const char *text, wt_store **store, en_error *e)
{
    CHECK_OK(wt_file_write(in_folder("index.json"), &(wt_part){text, strlen(text)}, 1, e), *e);
    return wt_open(in_folder("index.json"), store, e);
}

#define MAP(text) "{\"metadata\": {\"total_size\": 24, \"x\": [1, {}]}, \"weight_map\": {" text "}}"
#define ALL "\"third\": \"b.safetensors\", \"first\": \"a.safetensors\", \"second\": \"a.safetensors\""

TEST(a_sharded_checkpoint_is_read_through_its_index)
{
    wt_store *store;
    en_error e;
    float got[3];
    uint64_t bytes;
    char sha[65];
    make_shards();
    CHECK_OK(open_index(MAP(ALL), &store, &e), e);
    CHECK(wt_count(store) == 3 && !strcmp(wt_at(store, 0)->name, "third"));
    CHECK_OK(wt_read(store, wt_find(store, "third"), 0, 3, got, &e), e);
    CHECK(got[0] == 1 && got[2] == 3);
    CHECK_OK(wt_read(store, wt_find(store, "second"), 0, 2, got, &e), e);
    CHECK(got[0] == 2 && got[1] == 3);
    CHECK(strstr(wt_file_at(store, 0, &bytes, sha), "/index.json") && bytes == strlen(MAP(ALL)) && strlen(sha) == 64);
    CHECK(strstr(wt_file_at(store, 1, &bytes, sha), "/b.safetensors") && strstr(wt_file_at(store, 2, &bytes, sha), "/a.safetensors"));
    CHECK(!wt_file_at(store, 3, &bytes, sha));
    wt_close(store);
    remove_all();
}

TEST(files_can_be_opened_together_without_an_index)
{
    wt_store *store;
    en_error e;
    uint64_t bytes;
    char sha[65];
    make_shards();
    const char *const both[] = {in_folder("a.safetensors"), in_folder("b.safetensors")};
    CHECK_OK(wt_open_all(both, 2, 0, &store, &e), e);
    CHECK(wt_count(store) == 3 && wt_find(store, "third") && wt_file_at(store, 1, &bytes, sha) && !wt_file_at(store, 2, &bytes, sha));
    wt_close(store);
    const char *const twice[] = {both[0], both[0]}, *const missing[] = {both[0], "/no/such"};
    CHECK_FAILS(wt_open_all(twice, 2, 0, &store, &e), e, EN_E_FORMAT, "the 2 files together: tensor 'first' is there twice");
    CHECK_FAILS(wt_open_all(missing, 2, 0, &store, &e), e, EN_E_IO, "/no/such: cannot open");
    CHECK(!store);
    remove_all();
}

TEST(an_index_that_does_not_fit_its_files_is_refused)
{
    wt_store *store;
    en_error e;
    make_shards();
#define REFUSED(text, status, why) CHECK_FAILS(open_index(text, &store, &e), e, status, why); CHECK(!store)
    REFUSED(MAP("\"fourth\": \"a.safetensors\""), EN_E_FORMAT, "tensor 'fourth' is not in a.safetensors");
    REFUSED(MAP("\"first\": \"a.safetensors\""), EN_E_FORMAT, "the index lists 1 tensors, its files hold 2");
    REFUSED(MAP("\"first\": \"a.safetensors\", \"first\": \"a.safetensors\""), EN_E_FORMAT, "tensor 'first' is there twice");
    REFUSED(MAP("\"first\": \"c.safetensors\""), EN_E_IO, "c.safetensors: cannot open");
    REFUSED(MAP("\"first\": 3"), EN_E_FORMAT, "want a file name");
    REFUSED("{\"a\": {}}", EN_E_FORMAT, "without a weight_map");
    REFUSED("{\"weight_map\": {}, \"weight_map\": {}}", EN_E_FORMAT, "weight_map is there twice");
    REFUSED("{\"weight_map\": []}", EN_E_FORMAT, "want an object");
    CHECK_OK(wt_file_write(in_folder("c.safetensors"), &(wt_part){MAP(ALL), strlen(MAP(ALL))}, 1, &e), e);
    REFUSED(MAP("\"first\": \"c.safetensors\""), EN_E_FORMAT, "shard 'c.safetensors' is no .safetensors file");
    CHECK_FAILS(wt_open_bytes("i", MAP(ALL), strlen(MAP(ALL)), &store, &e), e, EN_E_ARG, "has to be opened as a file");
    remove_all();
}

TEST(every_failed_allocation_while_opening_shards_is_reported)
{
    wt_store *store;
    en_error e;
    long n = 1;
    make_shards();
    CHECK_OK(open_index(MAP(ALL), &store, &e), e);
    wt_close(store);
    for (;; n++) {
        t_fail_allocation(n, 0);
        en_status status = wt_open(in_folder("index.json"), &store, &e);
        t_fail_allocation(0, 0);
        wt_close(store);
        if (status == EN_OK) break;
        CHECK_MSG(status == EN_E_NOMEM && !store, "allocation %ld: %s", n, e.text);
    }
    const char *const both[] = {in_folder("a.safetensors"), in_folder("b.safetensors")};
    for (n = 1;; n++) {
        t_fail_allocation(n, 0);
        en_status status = wt_open_all(both, 2, 0, &store, &e);
        t_fail_allocation(0, 0);
        wt_close(store);
        if (status == EN_OK) break;
        CHECK_MSG(status == EN_E_NOMEM && !store, "allocation %ld: %s", n, e.text);
    }
    remove_all();
}
