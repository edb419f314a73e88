/* SPDX-License-Identifier: MIT */
/* Command lines: what is taken, what is refused and in which words. */
#include "tests/test.h"
#include "tools/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct values {
    const char *net, *json;
    long topk;
    int quiet;
} values;

static const opt_row rows[] = {
    {OPT_HEADING, 0, NULL, NULL, "everything", 0},
    {OPT_TEXT, 'n', "net", "NAME", "the network", offsetof(values, net)},
    {OPT_OPTIONAL, 0, "json", "FILE", "lines", offsetof(values, json)},
    {OPT_COUNT, 'k', "top-k", "K", "classes", offsetof(values, topk)},
    {OPT_FLAG, 'q', "quiet", NULL, "no words", offsetof(values, quiet)},
};

static en_error error;
static int operands;

/* Parses the words, ended by NULL; words[0] stands for the program. */
static en_status parse(const char **words, values *v)
{
    int count = 0;
    while (words[count]) count++;
    *v = (values){.topk = 5};
    return opt_parse(rows, sizeof rows / sizeof *rows, count, (char **)(uintptr_t)words, v, &operands, &error);
}

#define WORDS(...) (const char *[]) { "tool", __VA_ARGS__, NULL }

TEST(a_value_comes_after_equals_or_as_the_next_word_or_behind_the_letter)
{
    values v;
    CHECK_OK(parse(WORDS("--net=vgg16"), &v), error);
    CHECK(!strcmp(v.net, "vgg16"));
    CHECK_OK(parse(WORDS("--net", "vgg16"), &v), error);
    CHECK(!strcmp(v.net, "vgg16"));
    CHECK_OK(parse(WORDS("-nvgg16", "-k", "0"), &v), error);
    CHECK(!strcmp(v.net, "vgg16") && v.topk == 0);
    CHECK_OK(parse(WORDS("--net=a=b"), &v), error);
    CHECK(!strcmp(v.net, "a=b"));
}

TEST(an_underscore_may_stand_for_a_hyphen_in_options)
{
    values v;
    CHECK_OK(parse(WORDS("--top_k", "7"), &v), error);
    CHECK(v.topk == 7);
}

TEST(an_optional_value_is_only_taken_after_equals)
{
    values v;
    const char **words = WORDS("--json", "dog.jpg");
    CHECK_OK(parse(words, &v), error);
    CHECK(v.json && !*v.json && operands == 1 && !strcmp(words[1], "dog.jpg"));
    CHECK_OK(parse(WORDS("--json=x"), &v), error);
    CHECK(!strcmp(v.json, "x"));
}

TEST(operands_keep_their_order_and_two_hyphens_end_the_options)
{
    values v;
    const char **words = WORDS("a", "-q", "-", "--", "--net", "-q");
    CHECK_OK(parse(words, &v), error);
    CHECK(operands == 4 && v.quiet == 1 && !v.net);
    CHECK(!strcmp(words[1], "a") && !strcmp(words[2], "-") && !strcmp(words[3], "--net") && !strcmp(words[4], "-q"));
}

TEST(an_option_given_twice_is_refused_also_by_its_letter)
{
    values v;
    CHECK_FAILS(parse(WORDS("--net", "a", "-n", "b"), &v), error, EN_E_ARG, "--net is given twice");
    CHECK_FAILS(parse(WORDS("-q", "--quiet"), &v), error, EN_E_ARG, "--quiet is given twice");
}

TEST(an_option_that_does_not_exist_is_refused_with_the_nearest)
{
    values v;
    CHECK_FAILS(parse(WORDS("--quite"), &v), error, EN_E_ARG, "did you mean --quiet?");
    CHECK_FAILS(parse(WORDS("--Net=x"), &v), error, EN_E_ARG, "did you mean --net?");
    CHECK_FAILS(parse(WORDS("--unheard-of"), &v), error, EN_E_ARG, "there is no option --unheard-of (see --help)");
    CHECK_FAILS(parse(WORDS("--=x"), &v), error, EN_E_ARG, "there is no option -- (see --help)");
    CHECK_FAILS(parse(WORDS("-x"), &v), error, EN_E_ARG, "there is no option -x");
}

TEST(values_that_are_missing_or_wrong_or_not_wanted_are_refused)
{
    values v;
    CHECK_FAILS(parse(WORDS("--net"), &v), error, EN_E_ARG, "--net wants a value: NAME");
    CHECK_FAILS(parse(WORDS("--quiet=yes"), &v), error, EN_E_ARG, "--quiet takes no value");
    const char *const bad[] = {"", "-1", "+1", "1.5", "0x10", "ten", " 1", "1 ", "99999999999999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_FAILS(parse(WORDS("--top-k", bad[i]), &v), error, EN_E_ARG, "want a whole number");
}

static const char *name_at(const void *list, int i) { return ((const char *const *)list)[i]; }

TEST(the_nearest_name_forgives_case_hyphens_abbreviation_and_few_letters)
{
    static const char *const names[] = {"gradcam", "gradcam++", "shapleycam", "shapleycam-h", "rest", NULL};
    CHECK(!strcmp(opt_nearest("shap", name_at, names), "shapleycam"));
    CHECK(!strcmp(opt_nearest("Shapely_CAM", name_at, names), "shapleycam"));
    CHECK(!strcmp(opt_nearest("GradCAM+++", name_at, names), "gradcam++"));
    CHECK(!strcmp(opt_nearest("ReSTS", name_at, names), "rest"));
    CHECK(!opt_nearest("", name_at, names));
    CHECK(!opt_nearest("x", name_at, names));
    CHECK(!opt_nearest("entirely-different", name_at, names));
}

TEST(a_very_long_name_has_no_nearest_and_does_no_harm)
{
    static char text[5000];
    static const char *const names[] = {"gradcam", NULL};
    values v;
    memset(text, '-', 2);
    memset(text + 2, 'x', sizeof text - 3);
    CHECK(!opt_nearest(text, name_at, names));
    CHECK_FAILS(parse(WORDS(text), &v), error, EN_E_ARG, "there is no option --xxx");
}

TEST(the_help_shows_every_row_and_fits_its_columns)
{
    char path[] = "/tmp/cam_options_XXXXXX", line[256];
    int fd = mkstemp(path), lines = 0;
    CHECK(fd >= 0 && dup2(fd, 1) >= 0);
    opt_print(rows, sizeof rows / sizeof *rows);
    fflush(stdout);
    FILE *f = fopen(path, "r");
    unlink(path);
    CHECK(f != NULL);
    while (fgets(line, sizeof line, f)) lines++;
    CHECK(lines == 6 && strstr(line, "-q, --quiet") && strstr(line, "no words"));
    fclose(f);
}
