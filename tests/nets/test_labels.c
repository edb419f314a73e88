/* SPDX-License-Identifier: MIT */
/* Class names: the embedded table line by line, and the ways to name a class. */
#include "nets/labels.h"
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int find(const char *text)
{
    int index = -1;
    en_error e;
    CHECK_OK(net_class_find(text, &index, &e), e);
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
    CHECK_FAILS(net_class_find("CARDIGAN", &index, &e), e, EN_E_ARG, "any of 2 classes: \"Cardigan\" (264), \"cardigan\" (474)");
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
    CHECK_FAILS(net_class_find("dog", &index, &e), e, EN_E_ARG, "could be any of 10 classes: \"hotdog\" (934), \"dogsled\" (537)");
    CHECK_FAILS(net_class_find("golden retreiver", &index, &e), e, EN_E_ARG,
                "does not exist; the nearest: \"golden retriever\" (207)");
    CHECK_FAILS(net_class_find("tench\xc3\xa9", &index, &e), e, EN_E_ARG, "does not exist");
    CHECK_FAILS(net_class_find("", &index, &e), e, EN_E_ARG, "is no name");
    CHECK_FAILS(net_class_find(" - _", &index, &e), e, EN_E_ARG, "is no name");
    CHECK_FAILS(net_class_find("1000", &index, &e), e, EN_E_ARG, "wanted 0 to 999");
    CHECK_FAILS(net_class_find("99999999999999999999999999", &index, &e), e, EN_E_ARG, "wanted 0 to 999");
    memset(endless, 'x', sizeof endless);
    endless[sizeof endless - 1] = 0;
    CHECK_FAILS(net_class_find(endless, &index, &e), e, EN_E_ARG, "does not exist");
    CHECK(index == -7);
}
