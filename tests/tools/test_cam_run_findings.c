/* SPDX-License-Identifier: MIT */
/* cam_run beyond single maps: Shapley values beside them, checks, layers joined, several utilities, contrast, smoothing. mobilenet_v2 with made-up
 * weights, small pictures. */
#include "tests/tools/start.h"
#include "weights/store.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TINY NET, "--preprocess", "64x64:bilinear", "-q"
#define SMALL NET, "--preprocess", "96x96:bilinear", "-q"

static double number_at(const outcome *o, const char *path)
{
    const char *text = json_at(o->out, o->out_size, path);
    CHECK_MSG(text, "no %s", path);
    return strtod(text, NULL);
}

TEST(shapley_values_stand_beside_the_maps_and_add_up)
{
    enter();
    RUN(o, 0, SMALL, "-m", "gradcam,shapleycam", "--shapley", "9", "--json");
    CHECK(check_lines(o.out, o.out_size) == 1);
    CHECK_TEXT(json_at(o.out, o.out_size, "shapley/0/exact"), "true");
    CHECK_TEXT(json_at(o.out, o.out_size, "shapley/0/players"), "9");
    CHECK_TEXT(json_at(o.out, o.out_size, "shapley/0/layer"), "features.18");
    CHECK_TEXT(json_at(o.out, o.out_size, "shapley/0/agreement/1/method"), "shapleycam");
    double sum = 0;
    for (int i = 0; i < 9; i++) {
        char path[40];
        snprintf(path, sizeof path, "shapley/0/values/%d", i);
        sum += number_at(&o, path);
    }
    CHECK(fabs(sum - (number_at(&o, "shapley/0/full") - number_at(&o, "shapley/0/empty"))) <= 1e-9 * fabs(sum));
    CHECK(number_at(&o, "shapley/0/agreement/1/distance") < number_at(&o, "shapley/0/agreement/0/distance")); /* the second order helps here */
    forget(&o);
    RUN(text, 0, SMALL, "-m", "gradcam,shapleycam", "--shapley", "3x3");
    CHECK(strstr(text.out, "Shapley values of 9 regions at features.18") && strstr(text.out, "exact") && strstr(text.out, "kendall"));
    forget(&text);
}

TEST(sampled_values_say_how_sure_they_are)
{
    enter();
    RUN(o, 0, TINY, "-l", "features.10", "--shapley", "all", "--samples", "40", "--budget", "900", "--json");
    CHECK_TEXT(json_at(o.out, o.out_size, "shapley/0/exact"), "false");
    CHECK(number_at(&o, "shapley/0/tail_runs") <= 900 && number_at(&o, "shapley/0/permutations") <= 40 && number_at(&o, "shapley/0/errors/0") > 0);
    forget(&o);
    RUN(stops, 0, TINY, "-l", "features.10", "--shapley", "all", "--budget", "30000", "--error", "1000", "--json");
    CHECK(number_at(&stops, "shapley/0/permutations") < 1000); /* what the budget would allow */
    forget(&stops);
}

TEST(means_over_pictures_follow_the_last_one)
{
    enter();
    RUN(o, 0, SMALL, "--shapley", "2x2", "-m", "gradcam,hirescam", "wide.jpg", "tall.jpg");
    const char *means = strstr(o.out, "means over 2 pictures: utility rest at features.18");
    CHECK(means && strstr(means, "hirescam") && !strstr(o.out, "means over 1"));
    forget(&o);
}

TEST(checks_report_and_count)
{
    enter();
    RUN(o, 0, SMALL, "--check", "hvp,repro", "--json", "-t", "2");
    CHECK_TEXT(json_at(o.out, o.out_size, "checks/repro/different"), "0");
    CHECK_TEXT(json_at(o.out, o.out_size, "checks/repro/threads"), "1");
    CHECK(number_at(&o, "checks/repro/arrays") == 6 && number_at(&o, "checks/hvp/0/closed_form") < 1e-5 && number_at(&o, "checks/hvp/0/differences") < 1e-2);
    forget(&o);
    RUN(flat, 0, SMALL, "--check", "hvp", "-m", "gradcam", "-u", "logit");
    CHECK_MSG(strstr(flat.out, "check hvp, logit at features.18") && strstr(flat.out, "|HA| 0,"), "%s", flat.out);
    forget(&flat);
}

TEST(layers_joined_make_one_map)
{
    enter();
    RUN(o, 0, SMALL, "-m", "gradcam,refinecam", "-l", "pre_pool+conv", "--json");
    CHECK_TEXT(json_at(o.out, o.out_size, "maps/0/layer"), "features.18+features.18.0");
    CHECK_TEXT(json_at(o.out, o.out_size, "maps/1/method"), "refinecam");
    CHECK_TEXT(json_at(o.out, o.out_size, "maps/1/height"), "96");
    CHECK(!json_at(o.out, o.out_size, "maps/2/method"));
    forget(&o);
    REFUSES(2, "want one layer", SMALL, "-l", "pre_pool+conv", "--dump", "x.safetensors");
    REFUSES(2, "features.19", SMALL, "-l", "pre_pool+features.19");
}

TEST(methods_of_the_whole_network_stand_at_the_input_once)
{
    enter();
    RUN(o, 0, SMALL, "-m", "fullgrad,gradcam", "-l", "pre_pool,conv", "--json");
    CHECK_TEXT(json_at(o.out, o.out_size, "maps/2/layer"), "input");
    CHECK(!json_at(o.out, o.out_size, "maps/3/layer"));
    forget(&o);
    RUN(dumped, 0, SMALL, "-m", "guidedbackprop,gradcam", "--dump", "x.safetensors");
    forget(&dumped);
    wt_store *s;
    en_error e;
    CHECK_OK(wt_open("x.safetensors", &s, &e), e);
    int found = 0;
    for (size_t i = 0; i < wt_count(s); i++) {
        const wt_tensor *t = wt_at(s, i);
        if (strstr(t->name, "guidedbackprop/gradient")) found += t->rank == 3 && t->dim[0] == 3 && t->dim[1] == 96;
        if (!strcmp(t->name, "activation")) found += t->dim[0] == 1280;
    }
    wt_close(s);
    CHECK(found == 2);
}

TEST(several_utilities_make_a_map_each_under_names_of_their_own)
{
    enter();
    RUN(o, 0, SMALL, "-u", "rest,softmax", "-m", "gradcam,eigencam,finercam", "-o", "out", "--json");
    CHECK_TEXT(json_at(o.out, o.out_size, "maps/0/utility"), "rest");
    CHECK_TEXT(json_at(o.out, o.out_size, "maps/2/utility"), "finer");
    CHECK_TEXT(json_at(o.out, o.out_size, "maps/3/utility"), "softmax");
    CHECK(!json_at(o.out, o.out_size, "maps/4/utility")); /* eigencam and finercam stand there once */
    forget(&o);
    CHECK(count_files("out", "sample-features.18-gradcam-rest-", ".png") == 1 && count_files("out", "sample-features.18-gradcam-softmax-", ".png") == 1);
    REFUSES(2, "want one utility", SMALL, "-u", "rest,softmax", "--dump", "x.safetensors");
    REFUSES(2, "did you mean logit", SMALL, "-u", "rest,logits");
}

TEST(contrast_names_the_other_class)
{
    enter();
    RUN(o, 0, SMALL, "-c", "7", "--contrast", "9", "-m", "hirescam", "--json", "-k", "1000");
    CHECK_TEXT(json_at(o.out, o.out_size, "maps/0/utility"), "contrast");
    double c = number_at(&o, "maps/0/logit"), other = NAN;
    for (int i = 0; i < 1000; i++) {
        char path[40];
        snprintf(path, sizeof path, "top/%d/index", i);
        if (number_at(&o, path) != 9) continue;
        snprintf(path, sizeof path, "top/%d/logit", i);
        other = number_at(&o, path);
    }
    CHECK(fabs(number_at(&o, "maps/0/value") - (c - other)) <= 1e-5);
    forget(&o);
    REFUSES(2, "nosuchclass", SMALL, "--contrast", "nosuchclass");
}

TEST(smoothing_is_by_name)
{
    enter();
    RUN(o, 0, SMALL, "-m", "gradcam", "--smooth", "aug", "--json");
    CHECK_TEXT(json_at(o.out, o.out_size, "maps/0/height"), "96");
    forget(&o);
    RUN(eigen, 0, SMALL, "-m", "gradcam", "--smooth", "eigen", "--json");
    CHECK_TEXT(json_at(eigen.out, eigen.out_size, "maps/0/height"), "3");
    forget(&eigen);
    REFUSES(2, "none, aug or eigen", SMALL, "--smooth", "more");
}

TEST(findings_refuse_what_cannot_be)
{
    enter();
    REFUSES(2, "number of regions", SMALL, "--shapley", "few");
    REFUSES(2, "number of regions", SMALL, "--shapley", "0x3");
    REFUSES(2, "go with --shapley", SMALL, "--samples", "3");
    REFUSES(2, "not negative", SMALL, "--shapley", "4", "--error", "-1");
    REFUSES(2, "hvp or repro", SMALL, "--check", "hvp,nothing");
}

TEST(a_map_that_says_nothing_is_a_failure_where_strict)
{
    enter();
    RUN(o, 5, NET, "--preprocess", "32x32:bilinear", "-m", "fem,gradcam", "--strict", "--json"); /* one position: constant or blank */
    CHECK(strstr(o.err, "say nothing"));
    forget(&o);
}
