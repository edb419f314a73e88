/* SPDX-License-Identifier: MIT */
/* Class names: the embedded table line by line, and the ways to name a class. */
#include "nets/labels.h"
#include "tests/nets/checkpoint.h"
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static en_status look_for(const char *text, int *index, en_error *e)
{
    net_labels labels;
    CHECK_OK(net_labels_imagenet(&labels, e), *e);
    CHECK(labels.count == NET_CLASSES);
    en_status status = net_class_find(&labels, text, index, e);
    net_labels_free(&labels);
    return status;
}

static int find(const char *text)
{
    int index = -1;
    en_error e;
    CHECK_OK(look_for(text, &index, &e), e);
    return index;
}

TEST(the_embedded_table_is_the_file)
{
    size_t size;
    char *text = (char *)t_read_file("nets/imagenet_classes.tsv", &size), *rest = NULL;
    text[size] = 0;
    CHECK(!strcmp(strtok_r(text, "\n", &rest), "index\twnid\tname"));
    for (int i = 0; i < NET_CLASSES; i++) {
        char line[128];
        net_class c = net_class_at(i);
        snprintf(line, sizeof line, "%d\t%s\t%s", i, c.wnid, c.name);
        char *want = strtok_r(NULL, "\n", &rest);
        CHECK_MSG(want && !strcmp(line, want), "line %d is \"%s\"", i, line);
    }
    CHECK(!strtok_r(NULL, "\n", &rest));
    free(text);
}

TEST(every_class_is_found_by_index_wnid_and_name)
{
    for (int i = 0; i < NET_CLASSES; i++) {
        char index[16];
        net_class c = net_class_at(i);
        snprintf(index, sizeof index, "%d", i);
        CHECK_MSG(find(index) == i && find(c.wnid) == i && find(c.name) == i, "class %d, %s, %s", i, c.wnid, c.name);
    }
}

TEST(an_index_outside_has_no_name)
{
    CHECK(!*net_class_at(-1).name && !*net_class_at(NET_CLASSES).name && !*net_class_at(NET_CLASSES).wnid);
}

TEST(only_letters_and_digits_count_in_either_case)
{
    CHECK(find("granny-smith") == 948);
    CHECK(find("GRANNY_SMITH") == 948);
    CHECK(find("grannysmith") == 948);
    CHECK(find("N02099712") == 208);
    CHECK(find("jack o lantern") == 607);
}

TEST(a_whole_name_wins_over_names_that_contain_it)
{
    CHECK(find("sunglass") == 836);
    CHECK(find("sunglasses") == 837);
    CHECK(find("crane") == 517);
    CHECK(find("crane bird") == 134);
}

TEST(case_decides_where_nothing_else_does)
{
    int index = -7;
    en_error e;
    CHECK(find("Cardigan") == 264);
    CHECK(find("cardigan") == 474);
    CHECK_FAILS(look_for("CARDIGAN", &index, &e), e, EN_E_ARG, "any of 2 classes: \"Cardigan\" (264), \"cardigan\" (474)");
}

TEST(part_of_a_name_will_do_if_it_is_unique)
{
    CHECK(find("labrador") == 208);
    CHECK(find("american staf") == 180);
}

TEST(what_is_ambiguous_or_unknown_is_refused_with_candidates)
{
    char endless[2000];
    int index = -7;
    en_error e;
    CHECK_FAILS(look_for("dog", &index, &e), e, EN_E_ARG, "could be any of 10 classes: \"hotdog\" (934), \"dogsled\" (537)");
    CHECK_FAILS(look_for("golden retreiver", &index, &e), e, EN_E_ARG,
                "does not exist; the nearest: \"golden retriever\" (207)");
    CHECK_FAILS(look_for("tench\xc3\xa9", &index, &e), e, EN_E_ARG, "does not exist");
    CHECK_FAILS(look_for("", &index, &e), e, EN_E_ARG, "is no name");
    CHECK_FAILS(look_for(" - _", &index, &e), e, EN_E_ARG, "is no name");
    CHECK_FAILS(look_for("1000", &index, &e), e, EN_E_ARG, "wanted 0 to 999");
    CHECK_FAILS(look_for("99999999999999999999999999", &index, &e), e, EN_E_ARG, "wanted 0 to 999");
    memset(endless, 'x', sizeof endless);
    endless[sizeof endless - 1] = 0;
    CHECK_FAILS(look_for(endless, &index, &e), e, EN_E_ARG, "does not exist");
    CHECK(index == -7);
}

/* ---- a network's own ---- */

static en_status read_text(const char *text, size_t size, int count, net_labels *out, en_error *e)
{
    char path[128];
    t_temporary(path);
    FILE *f = fopen(path, "wb");
    CHECK(f && fwrite(text, 1, size, f) == size && !fclose(f));
    en_status status = net_labels_read(path, count, out, e);
    unlink(path);
    return status;
}

TEST(names_of_a_file_are_lines_with_or_without_an_id)
{
    static const char text[] = "tabby\r\nX9\tSiamese cat\nS\xc3\xa4ule";
    net_labels l;
    en_error e;
    int index = -1;
    CHECK_OK(read_text(text, sizeof text - 1, 3, &l, &e), e);
    CHECK(!strcmp(l.of[0].name, "tabby") && !*l.of[0].id);
    CHECK(!strcmp(l.of[1].name, "Siamese cat") && !strcmp(l.of[1].id, "X9"));
    CHECK(!strcmp(l.of[2].name, "S\xc3\xa4ule"));
    CHECK_OK(net_class_find(&l, "siamese", &index, &e), e);
    CHECK(index == 1);
    CHECK_OK(net_class_find(&l, "x9", &index, &e), e);
    CHECK(index == 1);
    CHECK_OK(net_class_find(&l, "2", &index, &e), e);
    CHECK(index == 2);
    CHECK_FAILS(net_class_find(&l, "3", &index, &e), e, EN_E_ARG, "wanted 0 to 2");
    CHECK_FAILS(net_class_find(&l, "goldfish", &index, &e), e, EN_E_ARG, "\"tabby\" (0)");
    net_labels_free(&l);
}

TEST(files_with_another_number_of_lines_are_refused)
{
    net_labels l;
    en_error e;
    CHECK_FAILS(read_text("a\nb\n", 4, 3, &l, &e), e, EN_E_ARG, "2 lines, want one for each of the 3 classes");
    CHECK_FAILS(read_text("a\nb\nc\nd", 7, 3, &l, &e), e, EN_E_ARG, "4 lines, want one for each of the 3 classes");
    CHECK_FAILS(read_text("a\nb\nc\0d", 7, 3, &l, &e), e, EN_E_FORMAT, "NUL");
    CHECK_FAILS(net_labels_read("no/such/file", 3, &l, &e), e, EN_E_IO, "no/such/file");
    CHECK(!l.of && !l.count);
}

TEST(classes_that_nobody_named_have_numbers)
{
    net_labels l;
    en_error e;
    int index = -1;
    CHECK_OK(net_labels_numbered(12, &l, &e), e);
    CHECK(l.count == 12 && !strcmp(l.of[0].name, "class 0") && !strcmp(l.of[11].name, "class 11") && !*l.of[11].id);
    CHECK_OK(net_class_find(&l, "class 11", &index, &e), e);
    CHECK(index == 11);
    net_labels_free(&l);
}
