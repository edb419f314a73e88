/* SPDX-License-Identifier: MIT */
/* cam_run as its users meet it: usage, results and weights, judged by exit code and the two streams. The network is mobilenet_v2
 * with made-up weights. */
#include "tests/tools/start.h"
#include "nets/image/image.h"
#include "weights/npy.h"
#include "weights/store.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- information ---- */

TEST(help_and_lists_go_to_stdout_and_nothing_else)
{
    enter();
    const char *const wanted[][2] = {{"--help", "--input-tensor FILE.npy"},
                                     {"-h", "130 interrupted"},
                                     {"--version", "cam_run "},
                                     {"--list-nets", "mobilenet_v2\n"},
                                     {"--list-methods", "shapleycam\n"}};
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        RUN(o, 0, wanted[i][0]);
        CHECK_MSG(strstr(o.out, wanted[i][1]) && o.err_size == 0, "%s: %s%s", wanted[i][0], o.out, o.err);
        forget(&o);
    }
}

TEST(the_help_names_every_option_of_the_contract)
{
    enter();
    RUN(o, 0, "--help");
    const char *const options[] = {"--net NAME",     "--weights",     "--input-tensor", "--method", "--utility", "--layer",
                                   "--class",        "--topk K",      "--out DIR",      "--json",   "--dump",    "--preprocess",
                                   "--threads N",    "--seed N",      "--quiet",        "--strict", "--force",   "--list-nets",
                                   "--list-methods", "--list-layers", "--help",         "--version"};
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) CHECK_MSG(strstr(o.out, options[i]), "no %s", options[i]);
    for (char *line = o.out, *end; (end = strchr(line, '\n')); line = end + 1) CHECK(end - line <= 132);
    forget(&o);
}

TEST(layers_are_listed_without_any_weights)
{
    enter();
    move_program();
    RUN(o, 0, "--list-layers", "--net", "MobileNet-V2");
    CHECK(strstr(o.out, "features.18 ") && strstr(o.out, "1280 x   7 x   7  pre_pool\n") && strstr(o.out, "  conv\n") &&
          o.err_size == 0);
    forget(&o);
}

TEST(output_that_cannot_be_written_is_a_failure)
{
    enter();
    if (access("/dev/full", W_OK)) t_skip("needs /dev/full");
    CHECK(code_of(start("/dev/full", ARGS("--help"))) == 1);
    CHECK(code_of(start("/dev/full", ARGS("--list-nets"))) == 1);
    CHECK(code_of(start("/dev/full", ARGS(NET, INPUT, "--json"))) == 1);
    CHECK(code_of(start("/dev/full", ARGS(NET, "tiny.jpg"))) == 1);
    CHECK(code_of(start(".out", ARGS(NET, INPUT, "--json=/dev/full"))) == 1);
    CHECK(code_of(start(".out", ARGS(NET, INPUT, "--dump", "none/x.safetensors"))) == 1);
}

TEST(a_closed_stdout_is_a_failure_and_no_file_takes_its_place)
{
    enter();
    CHECK(code_of(start(NULL, ARGS("--help"))) == 1);
    CHECK(code_of(start(NULL, ARGS(NET, INPUT, "--json=lines"))) == 1);
    size_t size;
    char *lines = text_of("lines", &size);
    CHECK(check_lines(lines, size) == 1); /* and not the report too */
    free(lines);
}

/* ---- usage ---- */

TEST(unknown_names_are_refused_with_the_nearest)
{
    enter();
    REFUSES(2, "want --net NAME", "tiny.jpg");
    REFUSES(2, "there is no option --metod; did you mean --method?", NET, "--metod", "gradcam");
    REFUSES(2, "no network is called 'mobilnet'; did you mean mobilenet_v2", "--net", "mobilnet", "-w", "seeded");
    REFUSES(2, "no network is called 'zzzzzz' (see --list-nets)", "--net", "zzzzzz");
    REFUSES(2, "no method is called 'shapely'; did you mean shapleycam?", NET, "-m", "gradcam,shapely", INPUT);
    REFUSES(2, "no method is called '' (see --list-methods)", NET, "-m", "gradcam,", INPUT);
    REFUSES(2, "no utility is called 'sotfmax'; did you mean softmax?", NET, "-u", "sotfmax", INPUT);
    REFUSES(2, "no layer is called 'features.19'; did you mean features.1", NET, "-l", "features.19", INPUT);
    REFUSES(2, "no layer is called 'x/y' (see --list-layers)", NET, "-l", "x/y", INPUT);
    REFUSES(2, "\"tench\" (0)", NET, "-c", "tensh", INPUT);
}

TEST(values_outside_their_range_are_refused)
{
    enter();
    REFUSES(2, "class index \"1000\" does not exist: wanted 0 to 999", NET, "-c", "1000", INPUT);
    REFUSES(2, "class 'top0': want top1 to top1000", NET, "-c", "top0", INPUT);
    REFUSES(2, "class 'top1001': want top1 to top1000", NET, "-c", "top1001", INPUT);
    REFUSES(2, "--threads 'two': want a whole number", NET, "-t", "two", INPUT);
    REFUSES(2, "--topk '-1': want a whole number", NET, "-k", "-1", INPUT);
    REFUSES(2, "--colormap: want viridis or jet", NET, "--colormap", "pink", INPUT);
    REFUSES(2, "weights 'seeded:x': want seeded or seeded:N", "-n", "mobilenet_v2", "-w", "seeded:x", INPUT);
    REFUSES(2, "preprocessing \"big\" is unknown", NET, "--preprocess", "big", "tiny.jpg");
    REFUSES(2, "preprocessing \"224:bilinear\" is unknown", NET, "--preprocess", "224:bilinear", "tiny.jpg");
    REFUSES(2, "between 1 and", NET, "--preprocess", "0x224:bilinear", "tiny.jpg");
    REFUSES(2, "--preprocess 8x8:bicubic: want at least 32 on each side", NET, "--preprocess", "8x8:bicubic", "tiny.jpg");
    REFUSES(6, "maps of each picture, want at most 1000", NET, "-m", "all", "-c", "top1000", INPUT);
}

TEST(options_given_twice_or_against_each_other_are_refused)
{
    enter();
    REFUSES(2, "--net is given twice", NET, "--net", "vgg16", INPUT);
    REFUSES(2, "want pictures or --input-tensor, not both", NET, INPUT, "tiny.jpg");
    REFUSES(2, "--quiet takes no value", NET, "--quiet=1", INPUT);
}

TEST(a_dump_of_two_pictures_or_layers_is_refused_before_any_work)
{
    enter();
    REFUSES(2, "--dump: want one picture", NET, "--dump", "d", "--out", "o", "missing.jpg", "tiny.jpg");
    REFUSES(2, "--dump: want one layer", NET, "--dump", "d", "--out", "o", "-l", "pre_pool,conv", "missing.jpg");
    CHECK(!exists("d") && !exists("o"));
    float two[2 * 3 * 32 * 32] = {0};
    en_error e;
    CHECK_OK(wt_npy_write("two.npy", 4, (int64_t[]){2, 3, 32, 32}, two, &e), e);
    REFUSES(2, "2 inputs; --dump wants one", NET, "-q", "--dump", "d", "--input-tensor", "two.npy");
    CHECK(!exists("d"));
    RUN(o, 0, NET, "--dump", "d", "-l", "pre_pool,features.18", INPUT); /* one layer by two names */
    forget(&o);
}

/* ---- results ---- */

TEST(json_on_stdout_is_complete_and_alone)
{
    enter();
    RUN(o, 0, NET, INPUT, "--json", "-m", "gradcam,shapleycam", "-c", "top2");
    CHECK(check_lines(o.out, o.out_size) == 1);
    CHECK_TEXT(json_at(o.out, o.out_size, "image"), "seeded-image:1");
    CHECK_TEXT(json_at(o.out, o.out_size, "net"), "mobilenet_v2");
    CHECK_TEXT(json_at(o.out, o.out_size, "weights"), "seeded:1");
    CHECK(json_at(o.out, o.out_size, "top/4/index") && !json_at(o.out, o.out_size, "top/5/index"));
    CHECK_TEXT(json_at(o.out, o.out_size, "top/0/index"), "899");
    CHECK_TEXT(json_at(o.out, o.out_size, "top/0/wnid"), "n04560804");
    CHECK_TEXT(json_at(o.out, o.out_size, "top/0/name"), "water jug");
    CHECK(fabs(atof(json_at(o.out, o.out_size, "top/0/probability")) - 0.10175857) < 1e-5);
    CHECK_TEXT(json_at(o.out, o.out_size, "maps/1/method"), "shapleycam");
    CHECK_TEXT(json_at(o.out, o.out_size, "maps/1/layer"), "features.18");
    CHECK_TEXT(json_at(o.out, o.out_size, "maps/1/utility"), "rest");
    CHECK_TEXT(json_at(o.out, o.out_size, "maps/1/class"), "899");
    CHECK_TEXT(json_at(o.out, o.out_size, "maps/1/status"), "ok");
    CHECK(json_at(o.out, o.out_size, "maps/3/class") && !json_at(o.out, o.out_size, "maps/4/class"));
    CHECK(count_files(".", "", ".png") == 0);
    forget(&o);
}

TEST(names_match_without_case_hyphens_and_underscores)
{
    enter();
    RUN(o, 0, "--net", "MobileNetV2", "-w", "seeded", INPUT, "--json", "-m", "GradCAMpp,SHAPLEY_CAM-H, x-gradcam ", "-u", "ReST",
        "-l", "Pre-Pool");
    CHECK_TEXT(json_at(o.out, o.out_size, "net"), "mobilenet_v2");
    CHECK_TEXT(json_at(o.out, o.out_size, "maps/0/method"), "gradcam++");
    CHECK_TEXT(json_at(o.out, o.out_size, "maps/1/method"), "shapleycam-h");
    CHECK_TEXT(json_at(o.out, o.out_size, "maps/2/method"), "xgradcam");
    CHECK_TEXT(json_at(o.out, o.out_size, "maps/0/layer"), "features.18");
    forget(&o);
}

TEST(classes_are_found_by_index_wordnet_id_name_and_rank)
{
    enter();
    RUN(o, 0, NET, INPUT, "--json", "-m", "gradcam", "-c", "281, n02127052,Granny Smith,top2,Water Jug");
    const char *const want[] = {"281", "287", "948", "899", "423", "899"};
    for (int i = 0; i < 6; i++) {
        char path[32];
        snprintf(path, sizeof path, "maps/%d/class", i);
        CHECK_TEXT(json_at(o.out, o.out_size, path), want[i]);
    }
    CHECK(!json_at(o.out, o.out_size, "maps/6/class"));
    forget(&o);
    RUN(none, 0, NET, INPUT, "--json", "-m", "randomcam", "-c", "1,2"); /* has no class: one map */
    CHECK(json_at(none.out, none.out_size, "maps/0/method") && !json_at(none.out, none.out_size, "maps/1/method"));
    forget(&none);
}

TEST(topk_says_how_many_classes_are_listed)
{
    enter();
    const char *const k[] = {"0", "3", "1000", "5000", "4294967297"};
    const int want[] = {0, 3, 1000, 1000, 1000};
    for (int i = 0; i < 5; i++) {
        char last[32], past[32];
        RUN(o, 0, NET, INPUT, "--json", "-m", "gradcam", "--topk", k[i]);
        snprintf(last, sizeof last, "top/%d/index", want[i] - 1);
        snprintf(past, sizeof past, "top/%d/index", want[i]);
        CHECK((want[i] == 0 || json_at(o.out, o.out_size, last)) && !json_at(o.out, o.out_size, past));
        forget(&o);
    }
    RUN(o, 0, NET, INPUT, "-k", "2", "--dump", "d");
    CHECK(strstr(o.out, "\n     2  ") && !strstr(o.out, "\n     3  "));
    forget(&o);
}

TEST(the_number_of_threads_may_be_anything_and_changes_no_bit)
{
    enter();
    const char *const threads[] = {"1", "0", "2", "5"};
    for (int i = 0; i < 4; i++) {
        RUN(o, 0, NET, INPUT, "-m", "fast", "--dump", i ? "other" : "first", "-t", threads[i]);
        CHECK(same_bytes("first", i ? "other" : "first"));
        forget(&o);
    }
    REFUSES(4, "missing.jpg", NET, "-q", "-t", "1000", "missing.jpg"); /* they are started and told to go again */
    REFUSES(4, "missing.jpg", NET, "-q", "-t", "4294967297", "missing.jpg");
}

TEST(the_report_shows_classes_a_table_and_maps_and_says_what_coincides)
{
    enter();
    RUN(o, 0, NET, INPUT, "--dump", "d", "-m", "gradcam,hirescam,shapleycam");
    CHECK(!strncmp(o.out, "seeded-image:1\n  mobilenet_v2, weights seeded:1\n  SEEDED WEIGHTS: made up, not a finding\n", 88));
    CHECK(strstr(o.out, "     1    899  n04560804       0.1018     7.433  water jug\n"));
    CHECK(strstr(o.out, "class 899 water jug, probability 0.1018: rest 5.148 at features.18\n"));
    CHECK(strstr(o.out, "= gradcam [1]\n") && strstr(o.out, "    [1] behind this layer comes only a global average"));
    CHECK(strstr(o.out, "\n    gradcam           shapleycam\n    |"));
    for (char *line = o.out, *end; (end = strchr(line, '\n')); line = end + 1)
        CHECK_MSG(end == line || end[-1] != ' ', "space at the end of: %.*s", (int)(end - line), line);
    forget(&o);
    RUN(zero, 0, NET, INPUT, "--dump", "d", "-u", "logit");
    CHECK(strstr(
        zero.out,
        "         0  = gradcam [1]\n    [1] behind this layer the logit is piecewise linear, so its Hessian is exactly zero\n"));
    forget(&zero);
}

TEST(a_class_asked_for_twice_by_rank_and_index_is_shown_once)
{
    enter();
    RUN(o, 0, NET, "tiny.jpg", "-c", "top1,825", "-m", "gradcam", "--out", "o");
    CHECK(strstr(o.out, "class 825 ") && !strstr(strstr(o.out, "class 825 ") + 1, "class 825 "));
    size_t size;
    char *text = text_of("o/manifest.json", &size);
    CHECK(json_at(text, size, "files/3/name") && !json_at(text, size, "files/4/name")); /* a picture, two arrays, the report */
    free(text);
    forget(&o);
}

TEST(without_output_options_pictures_are_drawn_into_the_current_folder)
{
    enter();
    RUN(o, 0, NET, "wide.jpg", "-m", "gradcam,shapleycam", "--colormap", "JET");
    CHECK(count_files(".", "", ".png") == 2 && count_files(".", "cam-wide-features.18-shapleycam-", ".png") == 1);
    CHECK(strstr(o.err, "drew cam-wide-features.18-gradcam-"));
    size_t size;
    img picture;
    en_error e;
    char name[64];
    snprintf(name, sizeof name, "cam-wide-features.18-gradcam-%d.png", atoi(strstr(o.out, "\n  class ") + 9));
    uint8_t *png = t_read_file(name, &size);
    CHECK_OK(img_decode(png, size, 0, &picture, &e), e);
    CHECK(picture.width > 480 && picture.height > 480);
    CHECK(picture.rgb[0] == 190 && picture.rgb[1] == 24 && picture.rgb[2] == 24); /* the stamp's band */
    img_free(&picture);
    free(png);
    forget(&o);
}

TEST(quiet_leaves_stderr_empty_but_for_errors)
{
    enter();
    RUN(o, 0, NET, "-q", "tiny.jpg", "wide.jpg");
    CHECK_MSG(o.err_size == 0, "stderr: %s", o.err);
    forget(&o);
    RUN(demo, 0, NET, "-q", "--json");
    CHECK(demo.err_size == 0 && check_lines(demo.out, demo.out_size) == 1);
    forget(&demo);
    REFUSES(4, "missing.jpg: cannot open", NET, "-q", "missing.jpg");
}

TEST(several_pictures_give_a_line_each_and_no_progress_outside_a_terminal)
{
    enter();
    RUN(o, 0, NET, "--json", "tiny.jpg", "wide.jpg", "tall.jpg");
    CHECK(check_lines(o.out, o.out_size) == 3);
    CHECK(!strstr(o.err, "[1/3]") && !strchr(o.err, '\r'));
    forget(&o);
}

/* ---- weights ---- */

TEST(a_picture_without_weights_is_refused_with_places_names_and_the_command)
{
    enter();
    move_program();
    char place[160];
    RUN(o, 3, "-n", "mobilenet_v2", "tiny.jpg");
    snprintf(place, sizeof place,
             "  %s/home/.local/share/shapleycam/\n      mobilenet_v2.camw mobilenet_v2.safetensors mobilenet_v2.pth "
             "mobilenet_v2-b0353104.pth\n",
             folder);
    CHECK(strstr(o.err, "no weights for mobilenet_v2. Looked for") && strstr(o.err, place) && o.out_size == 0);
    snprintf(place, sizeof place, "curl --create-dirs -Lo '%s/home/.local/share/shapleycam/mobilenet_v2-b0353104.pth' https://",
             folder);
    CHECK_MSG(strstr(o.err, place), "%s", o.err);
    CHECK(count_files(".", "", ".png") == 0);
    forget(&o);
    RUN(tensor, 3, "-n", "mobilenet_v2", INPUT);
    forget(&tensor);
}

TEST(where_the_script_lies_beside_the_program_it_is_the_command)
{
    enter();
    RUN(o, 3, "-n", "resnext50", "tiny.jpg");
    const char *last = strstr(o.err, "To get the official one:\n");
    CHECK_MSG(last && strstr(last, "/weights/get' resnext50_32x4d\n") && !strstr(last, "curl"), "%s", o.err);
    forget(&o);
}

TEST(each_network_has_its_own_address)
{
    enter();
    move_program();
    RUN(o, 3, "-n", "swin_tiny", "tiny.jpg");
    CHECK_MSG(strstr(o.err, "/swin_tiny_patch4_window7_224.pth' https://github.com/SwinTransformer/storage/releases/download/v1.0.0/swin_tiny_patch4_window7_224.pth\n"),
              "%s", o.err);
    forget(&o);
}

TEST(the_demonstration_runs_without_weights_and_carries_its_stamp_everywhere)
{
    enter();
    move_program();
    RUN(o, 0, "-n", "mobilenet_v2", "--out", "o");
    CHECK(strstr(o.err, "no picture given: explaining the built-in sample") && strstr(o.err, "SEEDED WEIGHTS") &&
          strstr(o.err, "curl "));
    CHECK(!strncmp(o.out, "sample.png\n", 11) && strstr(o.out, "\n  SEEDED WEIGHTS: made up, not a finding\n"));
    CHECK(count_files("o", "sample-features.18-shapleycam-", ".png") == 1);
    size_t size;
    char *line = text_of("o/report.jsonl", &size);
    CHECK(check_lines(line, size) == 1);
    const char *warning = json_at(line, size, "warning");
    CHECK_MSG(warning && !strcasecmp(warning, "seeded weights: made up, not a finding"), "warning is %s",
              warning ? warning : "missing");
    free(line);
    char *manifest = text_of("o/manifest.json", &size);
    CHECK_TEXT(json_at(manifest, size, "warning"), "SEEDED WEIGHTS: made up, not a finding");
    free(manifest);
    forget(&o);
}

TEST(weights_that_are_no_weights_are_rejected)
{
    enter();
    write_file("junk.pth", "junk", 4);
    REFUSES(3, "junk.pth", "-n", "mobilenet_v2", "-w", "junk.pth", "tiny.jpg");
    REFUSES(3, "none.pth", "-n", "mobilenet_v2", "-w", "none.pth", "tiny.jpg");
    REFUSES(3, "junk.pth", "-n", "mobilenet_v2", "-w", "junk.pth"); /* nor is the demonstration an excuse */
    REFUSES(3, "without weights", "-n", "mobilenet_v2", "-w", "none", "tiny.jpg");
    float zero = 0;
    en_error e;
    CHECK_OK(wt_save_safetensors("other.safetensors", &(wt_array){"other", WT_F32, 1, {1}, &zero}, 1, NULL, &e), e);
    REFUSES(3, "other.safetensors", "-n", "mobilenet_v2", "-w", "other.safetensors", "tiny.jpg");
}

TEST(a_file_in_the_folder_of_CAM_WEIGHTS_is_found_and_a_broken_one_is_no_reason_to_make_weights_up)
{
    enter();
    move_program();
    CHECK(!mkdir("w", 0777));
    weights_folder = "w";
    write_file("w/mobilenet_v2.pth", "junk", 4);
    REFUSES(3, "w/mobilenet_v2.pth", "-n", "mobilenet_v2", "tiny.jpg");
    REFUSES(3, "w/mobilenet_v2.pth", "-n", "mobilenet_v2");
    if (!chmod("w/mobilenet_v2.pth", 0) && access("w/mobilenet_v2.pth", R_OK)) /* not so for root */
        REFUSES(3, "w/mobilenet_v2.pth: cannot open", "-n", "mobilenet_v2");
    CHECK(!unlink("w/mobilenet_v2.pth") && !mkdir("w/mobilenet_v2.pth", 0777)); /* not a file: as if it were not there */
    RUN(o, 0, "-n", "mobilenet_v2", "--json");
    CHECK_TEXT(json_at(o.out, o.out_size, "weights"), "seeded:1");
    forget(&o);
}

TEST(real_weights_are_found_by_CAM_WEIGHTS_and_carry_no_stamp)
{
    const char *real = t_shared("weights/mobilenet_v2_int8_dequantised.safetensors");
    char path[4096];
    CHECK(realpath(real, path) != NULL);
    enter();
    CHECK(!mkdir("w", 0777) && !symlink(path, "w/mobilenet_v2.safetensors"));
    weights_folder = "w";
    RUN(o, 0, "-n", "mobilenet_v2", "--dump", "d");
    CHECK(!strstr(o.out, "SEEDED") && !strstr(o.err, "SEEDED") && strstr(o.out, "weights w/mobilenet_v2.safetensors\n"));
    CHECK(strstr(o.out, "Granny Smith"));
    forget(&o);
}

TEST(seeds_of_weights_and_of_methods_change_what_they_should)
{
    enter();
    RUN(a, 0, NET, INPUT, "--dump", "a", "-m", "randomcam,gradcam");
    RUN(b, 0, NET, INPUT, "--dump", "b", "-m", "randomcam,gradcam", "--seed", "1");
    RUN(c, 0, "-n", "mobilenet_v2", "-w", "seeded:2", INPUT, "--dump", "c", "-m", "randomcam,gradcam");
    RUN(d, 0, "-n", "mobilenet_v2", "-w", "seeded:1", INPUT, "--dump", "d", "-m", "randomcam,gradcam");
    CHECK(!same_bytes("a", "b") && !same_bytes("a", "c") && same_bytes("a", "d"));
    forget(&a), forget(&b), forget(&c), forget(&d);
}
