/* SPDX-License-Identifier: MIT */
/* cam_run: explain what an image classifier saw. */
#include "cam/shapleycam.h"
#include "nets/nets.h"
#include "tools/advice.h"
#include "tools/bundle.h"
#include "tools/checks.h"
#include "tools/dump.h"
#include "tools/options.h"
#include "tools/progress.h"
#include "tools/requests.h"
#include "tools/show.h"
#include "tools/stems.h"
#include "tools/truth.h"
#include "weights/file.h"

#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { EXIT_DONE, EXIT_SOME_FAILED, EXIT_USAGE, EXIT_WEIGHTS, EXIT_INPUT, EXIT_NONFINITE, EXIT_MEMORY, EXIT_INTERRUPTED = 130 };

typedef struct options {
    const char *net, *weights, *names, *map, *strip, *tensor, *methods, *utility, *layers, *classes, *out, *json, *dump, *preprocess, *colormap;
    const char *smooth, *contrast, *shapley, *error, *check;
    long topk, threads, seed, samples, budget;
    int exact, force, strict, quiet, list_nets, list_methods, list_utilities, list_layers, help, version;
} options;

/* clang-format off */
#define AT(member) offsetof(options, member)
static const opt_row rows[] = {
    {OPT_HEADING,  0,   NULL,           NULL,            "input", 0},
    {OPT_TEXT,     'n', "net",          "NAME|auto",     "the network (--list-nets); auto: the one whose tensors the file has", AT(net)},
    {OPT_TEXT,     'w', "weights",      "FILE|seeded[:N]", ".camw, .safetensors, .pth; or made-up weights number N", AT(weights)},
    {OPT_TEXT,     0,   "classes",      "FILE",          "names of the classes, a line each: NAME or ID<tab>NAME", AT(names)},
    {OPT_TEXT,     0,   "map",          "FILE",          "renames of tensors: a line OLD NEW for each, or PREFIX. NEW. for many", AT(map)},
    {OPT_TEXT,     0,   "strip",        "PREFIX",        "take this off the names of tensors that begin with it", AT(strip)},
    {OPT_TEXT,     0,   "input-tensor", "FILE.npy",      "a ready input: float32 [3,H,W] or [N,3,H,W]; seeded-image:N", AT(tensor)},
    {OPT_TEXT,     0,   "preprocess",   "P",             "native (default), paper, or [S/]WxH:bilinear|bicubic|none; @MEAN/STD", AT(preprocess)},
    {OPT_HEADING,  0,   NULL,           NULL,            "explanation", 0},
    {OPT_TEXT,     'm', "method",       "LIST",          "shapleycam (default), others of --list-methods, fast, or all", AT(methods)},
    {OPT_TEXT,     'u', "utility",      "LIST",          "rest (default), logit, softmax, logsoftmax, contrast, finer", AT(utility)},
    {OPT_TEXT,     'l', "layer",        "LIST",          "pre_pool (default), conv, or names of --list-layers; A+B: one map of both", AT(layers)},
    {OPT_TEXT,     'c', "class",        "LIST",          "top1 (default), topN, index, WordNet id, or name", AT(classes)},
    {OPT_TEXT,     0,   "contrast",     "CLASS",         "what speaks for a class and against this one", AT(contrast)},
    {OPT_TEXT,     0,   "smooth",       "KIND",          "none (default); aug: six variants of the picture; eigen", AT(smooth)},
    {OPT_COUNT,    's', "seed",         "N",             "for methods that draw random numbers (0)", AT(seed)},
    {OPT_TEXT,     0,   "shapley",      "N|RxC|all",     "the Shapley values of so many regions, and how near each map is", AT(shapley)},
    {OPT_COUNT,    0,   "samples",      "N",             "orders at most, where they are sampled (2000)", AT(samples)},
    {OPT_TEXT,     0,   "error",        "E",             "standard error at which sampling stops", AT(error)},
    {OPT_COUNT,    0,   "budget",       "N",             "runs of the network's tail at most (65536)", AT(budget)},
    {OPT_TEXT,     0,   "check",        "LIST",          "hvp: H A found in other ways; repro: the same bits from other threads", AT(check)},
    {OPT_HEADING,  0,   NULL,           NULL,            "output", 0},
    {OPT_COUNT,    'k', "topk",         "K",             "how many classes to list (5)", AT(topk)},
    {OPT_TEXT,     'o', "out",          "DIR",           "a new folder for pictures, maps (.npy), report and manifest", AT(out)},
    {OPT_OPTIONAL, 0,   "json",         "FILE",          "one JSON object per image and line, on stdout or in FILE", AT(json)},
    {OPT_TEXT,     0,   "dump",         "FILE.safetensors", "exact numbers of one picture and one layer", AT(dump)},
    {OPT_TEXT,     0,   "colormap",     "C",             "viridis (default), jet", AT(colormap)},
    {OPT_HEADING,  0,   NULL,           NULL,            "running", 0},
    {OPT_COUNT,    't', "threads",      "N",             "default: one per processor", AT(threads)},
    {OPT_FLAG,     0,   "exact",        NULL,            "no convolution with fewer multiplications and larger rounding errors", AT(exact)},
    {OPT_FLAG,     0,   "force",        NULL,            "write into a folder that is not empty", AT(force)},
    {OPT_FLAG,     0,   "strict",       NULL,            "a map that is blank or constant is a failure (exit 5)", AT(strict)},
    {OPT_FLAG,     'q', "quiet",        NULL,            "nothing on stderr but errors", AT(quiet)},
    {OPT_HEADING,  0,   NULL,           NULL,            "information", 0},
    {OPT_FLAG,     0,   "list-nets",    NULL,            "networks", AT(list_nets)},
    {OPT_FLAG,     0,   "list-methods", NULL,            "methods", AT(list_methods)},
    {OPT_FLAG,     0,   "list-utilities", NULL,          "utilities", AT(list_utilities)},
    {OPT_FLAG,     0,   "list-layers",  NULL,            "layers of --net, with the shape of their output", AT(list_layers)},
    {OPT_FLAG,     'h', "help",         NULL,            "this text", AT(help)},
    {OPT_FLAG,     'V', "version",      NULL,            "version and compiler", AT(version)},
};
/* clang-format on */
enum { ROWS = sizeof rows / sizeof *rows };
_Static_assert((int)ROWS <= (int)OPT_MAX_ROWS, "the parser remembers the options given in one word");

typedef struct run {
    options o;
    char *const *command;  /* argv as it was                                            */
    cam_net *net;          /* its weights are read when the first image is explained    */
    cam_ctx *ctx;
    request_list requests;
    truth truth;
    checks checks;
    bundle bundle;
    progress progress;
    FILE *json;            /* where JSON lines go, NULL for nowhere                     */
    int inputs, done;      /* images asked for, and tried                               */
    int failed, code;      /* failed ones; their exit code, EXIT_SOME_FAILED if several */
    int doubtful;          /* maps that are not finite, or say nothing where that is refused */
    int shown, drawn;      /* reports on stdout, pictures in the current folder         */
} run;

static volatile sig_atomic_t interrupted;
static void interrupt(int signal_number) { interrupted = signal_number; }

static const char *net_name(const void *unused, int i) { return (void)unused, cam_list("nets", i); }

static int fail(int code, const char *text)
{
    fprintf(stderr, "cam_run: %s\n", text);
    return code;
}

static int exit_code(cam_status status, int otherwise)
{
    if (status == CAM_E_NOMEM || status == CAM_E_LIMIT) return EXIT_MEMORY;
    return status == CAM_E_NONFINITE ? EXIT_NONFINITE : status == CAM_E_ARG ? EXIT_USAGE : otherwise;
}

/* Whether all that was printed has reached stdout. */
static int flush_results(void)
{
    return fflush(stdout) || ferror(stdout) ? fail(EXIT_SOME_FAILED, "cannot write to standard output") : EXIT_DONE;
}

/* ---- information ---- */

static void print_help(void)
{
    printf("cam_run - explain what an image classifier saw\n"
           "usage: cam_run --net NAME [options] IMAGE...     JPEG, PNG, BMP, PNM; - is standard input\n"
           "       cam_run --net NAME                        the built-in sample picture\n");
    opt_print(rows, ROWS);
    printf("\nNames match without regard to case, '-' and '_'; lists are separated by commas. Without --out, --json and --dump,\n"
           "pictures are drawn as cam-IMAGE-LAYER-METHOD-CLASS.png into the current folder. Results go to stdout, all else to "
           "stderr.\n"
           "Exit codes: 0 done, 1 some inputs failed or results could not be written, 2 usage, 3 weights missing or rejected, 4 input\n"
           "unreadable, 5 numbers that are not finite (with --strict also a map that says nothing), 6 out of memory or over a limit,\n"
           "130 interrupted (finished images are kept).\n\n"
           "examples  cam_run --net mobilenet_v2 --weights mobilenet_v2-b0353104.pth --class top2 dog.jpg\n"
           "          cam_run -n vgg16 -m gradcam,shapleycam -l pre_pool,conv -o out *.jpg\n");
}

static void print_list(const char *kind)
{
    const char *name;
    for (int32_t i = 0; (name = cam_list(kind, i)); i++) puts(name);
}

static void print_layers(const cam_net *net)
{
    int32_t chw[3];
    const char *name;
    for (int32_t i = 0; (name = cam_net_layer(net, i, chw)); i++) {
        printf("%-24s %4d x %3d x %3d", name, chw[0], chw[1], chw[2]);
        if (!strcmp(name, cam_net_layer_name(net, "pre_pool"))) printf("  pre_pool");
        if (!strcmp(name, cam_net_layer_name(net, "conv"))) printf("  conv");
        printf("\n");
    }
}

/* ---- one image ---- */

/* Writes a file into the bundle, or without one into the current folder. */
static cam_status save(run *r, const char *name, const void *bytes, size_t size, cam_error *e)
{
    if (r->o.out) return bundle_write(&r->bundle, name, bytes, size, e);
    EN_TRY(wt_file_write(name, &(wt_part){bytes, size}, 1, (en_error *)e));
    if (r->drawn++ < 20 && !r->o.quiet) fprintf(stderr, "cam_run: drew %s\n", name);
    return CAM_OK;
}

static cam_status save_picture(run *r, const cam_image *image, const char *base, int i, cam_error *e)
{
    char name[320];
    uint8_t *png;
    size_t size;
    EN_TRY(cam_render(r->ctx, image, i, r->o.colormap, &png, &size, e));
    snprintf(name, sizeof name, "%s%s.png", r->o.out ? "" : "cam-", base);
    cam_status status = save(r, name, png, size, e);
    free(png);
    return status;
}

/* The final map as NAME.npy, the one before ReLU, scaling and enlargement as NAME.raw.npy. */
static cam_status save_arrays(run *r, const char *base, int n, int i, const cam_result *result, cam_input in, cam_error *e)
{
    char name[320];
    size_t cells = (size_t)result->height * (size_t)result->width;
    float *raw = malloc(cells * sizeof *raw);
    if (!raw) return en_fail((en_error *)e, EN_E_NOMEM, "%s: out of memory", base);
    for (size_t k = 0; k < cells; k++) raw[k] = (float)cam_raw_map(r->ctx, n, i)[k];
    snprintf(name, sizeof name, "%s.npy", base);
    cam_status status = bundle_write_npy(&r->bundle, name, in.height, in.width, cam_map(r->ctx, n, i), e);
    snprintf(name, sizeof name, "%s.raw.npy", base);
    if (!status) status = bundle_write_npy(&r->bundle, name, result->height, result->width, raw, e);
    free(raw);
    return status;
}

/* Pictures and arrays of image n of a batch. Of a batch of ready inputs only arrays: the library draws the first image alone. */
static cam_status save_maps(run *r, const cam_image *image, const char *prefix, int n, const cam_result *results, cam_error *e)
{
    cam_input in = cam_image_input(image);
    cam_status status = CAM_OK;
    for (int i = 0; i < r->requests.count && !status; i++) {
        const cam_request *q = &r->requests.request[i];
        char base[300], number[16] = "", utility[24] = "";
        if (request_repeats(&r->requests, results, i)) continue;
        if (in.n > 1) snprintf(number, sizeof number, "-%d", n);
        if (r->requests.utilities > 1) snprintf(utility, sizeof utility, "-%s", q->utility);
        snprintf(base, sizeof base, "%s%s-%.120s-%s%s-%d", prefix, number, q->layer, q->method, utility, results[i].cls);
        if (in.n == 1) status = save_picture(r, image, base, i, e);
        if (!status && r->o.out) status = save_arrays(r, base, n, i, &results[i], in, e);
    }
    return status;
}

/* Appends a member to a JSON object, and frees its value. */
static cam_status add_member(char **object, const char *key, wt_json_writer *value, cam_error *e)
{
    char *text, *grown;
    size_t size, length = strlen(*object);
    EN_TRY(wt_json_take(value, &text, &size, (en_error *)e));
    grown = realloc(*object, length + strlen(key) + size + 8);
    if (grown) sprintf(grown + length - 1, ",\"%s\":%s}", key, text);
    free(text);
    if (!grown) return en_fail((en_error *)e, EN_E_NOMEM, "report: out of memory");
    *object = grown;
    return CAM_OK;
}

/* What was found beside the maps of image n: Shapley values and checks, on stdout where the report is, and in the JSON line. */
static cam_status add_findings(run *r, cam_input in, int n, const cam_result *results, char **line, cam_error *e)
{
    FILE *out = r->json == stdout ? NULL : stdout;
    wt_json_writer shapley = {0}, checked = {0};
    if (r->truth.wanted) {
        EN_TRY(truth_show(&r->truth, r->ctx, n, &r->requests, results, out, line ? &shapley : NULL, e));
        if (line) EN_TRY(add_member(line, "shapley", &shapley, e));
    }
    if (!r->o.check) return CAM_OK;
    EN_TRY(checks_show(&r->checks, r->net, r->ctx, in, n, &r->requests, results, out, line ? &checked : NULL, e));
    return line ? add_member(line, "checks", &checked, e) : CAM_OK;
}

static cam_status write_line(run *r, const char *line, cam_error *e)
{
    if (r->o.out) EN_TRY(bundle_report(&r->bundle, line, e));
    if (r->json) fprintf(r->json, "%s\n", line);
    if (r->json && r->json != stdout && (fflush(r->json) || ferror(r->json))) return en_fail((en_error *)e, EN_E_IO, "%s: cannot write", r->o.json);
    return CAM_OK;
}

/* The report of image n: for people on stdout, unless JSON goes there, and as a line of JSON where that is wanted. */
static cam_status write_report(run *r, cam_input in, const char *name, int n, const cam_result *results, cam_error *e)
{
    char *line = NULL;
    int32_t classes = cam_net_classes(r->net);
    int wanted = r->json || r->o.out;
    if (r->json != stdout && r->shown++) printf("\n");
    if (r->json != stdout) show_report(r->ctx, r->net, name, n, r->o.topk, &r->requests, results);
    if (wanted) EN_TRY(cam_report(r->ctx, name, n, r->o.topk < classes ? (int32_t)r->o.topk : classes, &line, e));
    cam_status status = add_findings(r, in, n, results, wanted ? &line : NULL, e);
    if (!status && wanted) status = write_line(r, line, e);
    free(line);
    return status;
}

/* Everything that is wanted of image n of a batch. */
static cam_status write_results(run *r, const cam_image *image, const char *name, const char *prefix, int n,
                                const cam_result *results, cam_error *e)
{
    cam_input in = cam_image_input(image);
    for (int i = 0; i < r->requests.count; i++) {
        int s = results[i].status;
        r->doubtful += s == CAM_STATUS_NONFINITE || (r->o.strict && (s == CAM_STATUS_BLANK || s == CAM_STATUS_CONSTANT));
    }
    cam_status status = write_report(r, in, name, n, results, e);
    if (!status && (r->o.out || (!r->o.json && !r->o.dump))) status = save_maps(r, image, prefix, n, results, e);
    if (!status && r->o.dump) status = dump_write(r->o.dump, r->ctx, r->net, &r->requests, results, in, e);
    return status;
}

static cam_status write_batch(run *r, const cam_image *image, const char *name, const char *prefix, cam_result *results,
                              cam_error *e)
{
    cam_input in = cam_image_input(image);
    cam_status status = CAM_OK;
    char *numbered = malloc(strlen(name) + 16);
    if (!numbered) return en_fail((en_error *)e, EN_E_NOMEM, "%s: out of memory", name);
    for (int n = 0; n < in.n && !status; n++) {
        sprintf(numbered, in.n > 1 ? "%s[%d]" : "%s", name, n);
        status = write_results(r, image, numbered, prefix, n, results + (size_t)n * (size_t)r->requests.count, e);
    }
    free(numbered);
    return status;
}

/* What was asked for has been checked before, so a status of CAM_E_ARG is about the input: its size, its number of images. */
static cam_status read_image(run *r, const char *path, cam_image **image, cam_error *e)
{
    if (r->o.tensor) return cam_image_tensor(r->net, path, image, e);
    if (!r->inputs) return cam_image_sample(r->net, r->o.preprocess, image, e);
    return cam_image_open(r->net, strcmp(path, "-") ? path : "/dev/stdin", r->o.preprocess, image, e);
}

/* An infinity may not reach the logits (relu6 makes 6 of it), so it is looked for here. */
static cam_status check_finite(cam_input in, const char *name, cam_error *e)
{
    size_t count = (size_t)in.n * 3 * (size_t)in.height * (size_t)in.width;
    for (size_t i = 0; i < count; i++)
        if (!isfinite(in.nchw[i]))
            return en_fail((en_error *)e, EN_E_NONFINITE, "%s: element %zu is %g, want a finite number", name, i,
                           (double)in.nchw[i]);
    return CAM_OK;
}

/* Says what a method costs that runs the network again and again, before it does. */
static void announce_cost(run *r, cam_input in)
{
    enum { MANY = 50 };
    struct timespec from, to;
    long passes = requests_passes(&r->requests, r->net);
    float *logits = passes < MANY || r->o.quiet || r->done ? NULL : malloc((size_t)in.n * (size_t)cam_net_classes(r->net) * sizeof *logits);
    if (!logits) return;
    clock_gettime(CLOCK_MONOTONIC, &from);
    cam_status status = cam_forward(r->ctx, in, logits, NULL);
    clock_gettime(CLOCK_MONOTONIC, &to);
    double seconds = (double)(to.tv_sec - from.tv_sec) + 1e-9 * (double)(to.tv_nsec - from.tv_nsec);
    if (!status) fprintf(stderr, "cam_run: %ld forward passes for each picture, about %.0f s (--method fast leaves such methods out)\n", passes, (double)passes * seconds / in.n);
    free(logits);
}

/* Runs the network on what was read and writes what was asked for. Returns an exit code. */
static int explain_input(run *r, const cam_image *image, const char *name, const char *prefix, cam_error *e)
{
    cam_input in = cam_image_input(image);
    if (r->o.dump && in.n > 1) return en_fail((en_error *)e, EN_E_ARG, "%s: %d inputs; --dump wants one", name, in.n), EXIT_USAGE;
    cam_result *results = calloc((size_t)in.n * (size_t)r->requests.count, sizeof *results);
    cam_status status = results ? check_finite(in, name, e) : en_fail((en_error *)e, EN_E_NOMEM, "%s: out of memory", name);
    if (!status) announce_cost(r, in);
    if (!status) status = cam_explain(r->ctx, in, r->requests.request, r->requests.count, results, e);
    int code = status == CAM_E_ARG ? EXIT_INPUT : exit_code(status, EXIT_SOME_FAILED);
    progress_clear(&r->progress);
    if (!status) {
        status = write_batch(r, image, name, prefix, results, e);
        code = exit_code(status, EXIT_SOME_FAILED);
    }
    free(results);
    return status ? code : EXIT_DONE;
}

/* Explains one picture, or one batch of ready inputs. Returns an exit code. */
static int explain_image(run *r, const char *path, const char *prefix)
{
    cam_image *image = NULL;
    cam_error e = {0};
    cam_status status = read_image(r, path, &image, &e);
    int code = status == CAM_E_ARG ? EXIT_INPUT : exit_code(status, EXIT_INPUT);
    if (!status) code = explain_input(r, image, path, prefix, &e);
    cam_image_free(image);
    progress_clear(&r->progress);
    return code ? fail(code, e.text) : EXIT_DONE;
}

/* ---- the story ---- */

/* The options of --shapley and --check. */
static int read_findings(run *r)
{
    cam_error e = {0};
    char *end = NULL;
    r->truth.like.permutations = r->o.samples;
    r->truth.like.tail_runs = r->o.budget;
    r->checks.threads = (int)r->o.threads;
    if (r->o.error) r->truth.like.error = strtod(r->o.error, &end);
    if (r->o.error && (end == r->o.error || *end || !(r->truth.like.error >= 0))) return fail(EXIT_USAGE, "--error: want a number that is not negative");
    if ((r->o.samples || r->o.budget || r->o.error) && !r->o.shapley) return fail(EXIT_USAGE, "--samples, --budget and --error go with --shapley");
    if (r->o.shapley && truth_parse(r->o.shapley, &r->truth, &e)) return fail(EXIT_USAGE, e.text);
    if (r->o.check && checks_parse(r->o.check, &r->checks, &e)) return fail(EXIT_USAGE, e.text);
    return EXIT_DONE;
}

static int check_net(const char *net)
{
    if (!net) return fail(EXIT_USAGE, "want --net NAME (see --list-nets, --help)");
    if (net_same_name(net, "auto") || net_arch_find(net)) return EXIT_DONE;
    const char *near = opt_nearest(net, net_name, NULL);
    fprintf(stderr, "cam_run: no network is called '%s'%s%s\n", net, near ? "; did you mean " : " (see --list-nets)", near ? near : "");
    return EXIT_USAGE;
}

/* Opens the network, without reading a weight yet. Where there are none at hand and no picture to explain, the demonstration runs on
 * made-up ones; with a picture, nothing runs, but what was asked for can be checked. */
static int open_net(run *r)
{
    cam_error e = {0};
    const options *o = &r->o;
    const cam_net_options no = {sizeof no, o->names, o->map, o->strip, 1};
    const char *weights = o->list_layers && !o->weights && net_arch_find(o->net) ? CAM_NO_WEIGHTS : o->weights;
    cam_status status = cam_net_open_with(o->net, weights, &no, &r->net, &e);
    if (status == CAM_E_IO && !weights && !weights_are_there(o->net))
        status = cam_net_open(o->net, r->inputs || o->tensor ? CAM_NO_WEIGHTS : "seeded", &r->net, &e);
    return status ? fail(status == CAM_E_ARG ? EXIT_USAGE : exit_code(status, EXIT_WEIGHTS), e.text) : EXIT_DONE;
}

/* What can be refused without reading a single weight. */
static int check_usage(run *r)
{
    cam_error e = {0};
    int findings = read_findings(r);
    if (findings) return findings;
    net_recipe native = net_recipe_paper(), recipe;
    int code = check_net(r->o.net);
    if (!code) code = open_net(r);
    if (code || r->o.list_layers) return code;
    if (r->o.tensor && r->inputs) return fail(EXIT_USAGE, "want pictures or --input-tensor, not both");
    if (r->o.dump && r->inputs > 1) return fail(EXIT_USAGE, "--dump: want one picture");
    if (!net_same_name(r->o.colormap, "viridis") && !net_same_name(r->o.colormap, "jet"))
        return fail(EXIT_USAGE, "--colormap: want viridis or jet");
    if (net_recipe_parse(r->o.preprocess, &native, &recipe, (en_error *)&e)) return fail(EXIT_USAGE, e.text);
    if (recipe.crop_width < NET_MIN_SIDE || recipe.crop_height < NET_MIN_SIDE) {
        fprintf(stderr, "cam_run: --preprocess %s: want at least %d on each side\n", r->o.preprocess, NET_MIN_SIDE);
        return EXIT_USAGE;
    }
    const options *o = &r->o;
    const request_words words = {o->methods, o->utility, o->layers, o->classes, o->contrast, o->smooth, (uint64_t)o->seed,
                                 o->dump || r->checks.hvp || r->checks.repro ? CAM_WITH_HVP : 0};
    cam_status status = requests_make(r->net, &words, &r->requests, &e);
    if (status) return fail(exit_code(status, EXIT_USAGE), e.text);
    if (o->dump && (r->requests.layers > 1 || r->requests.joined)) return fail(EXIT_USAGE, "--dump: want one layer");
    return o->dump && r->requests.utilities > 1 ? fail(EXIT_USAGE, "--dump: want one utility") : EXIT_DONE;
}

/* Says what weights there are, where that is not what a user would expect. */
static int tell_weights(const run *r)
{
    const char *name = cam_net_name(r->net);
    int has_input = r->inputs || r->o.tensor;
    if (!r->o.weights && !strcmp(cam_net_weights(r->net), CAM_NO_WEIGHTS)) return advise_missing(name), EXIT_WEIGHTS;
    if (!r->o.quiet && !has_input) fprintf(stderr, "cam_run: no picture given: explaining the built-in sample\n");
    if (!r->o.quiet && cam_net_seeded(r->net)) {
        fprintf(stderr, "cam_run: SEEDED WEIGHTS: made up, not a finding. This only shows the machinery. To get real ones:\n");
        advise_download(name);
    }
    return EXIT_DONE;
}

/* Everything that can go wrong once for all images does so here. */
static int prepare(run *r)
{
    cam_error e = {0};
    int code = tell_weights(r);
    if (code) return code;
    cam_options co = {sizeof co, r->o.threads < INT32_MAX ? (int32_t)r->o.threads : INT32_MAX, r->o.exact ? CAM_EXACT : 0};
    r->checks.flags = co.flags;
    cam_status status = cam_ctx_new(r->net, &co, &r->ctx, &e);
    if (status) return fail(status == CAM_E_ARG ? EXIT_WEIGHTS : exit_code(status, EXIT_SOME_FAILED), e.text);
    if (r->o.out) status = bundle_open(r->o.out, r->o.force, &r->bundle, &e);
    if (status) return fail(exit_code(status, EXIT_USAGE), e.text);
    if (r->o.json) r->json = *r->o.json && strcmp(r->o.json, "-") ? fopen(r->o.json, "w") : stdout;
    if (r->o.json && !r->json) return fprintf(stderr, "cam_run: %s: cannot write\n", r->o.json), EXIT_USAGE;
    return EXIT_DONE;
}

static int explain_all(run *r, char *const *inputs)
{
    static char sample[] = "sample.png";
    char *single[] = {r->o.tensor ? (char *)(uintptr_t)r->o.tensor : sample};
    char *const *paths = r->inputs ? inputs : single;
    int count = r->inputs ? r->inputs : 1, code = EXIT_DONE;
    stem *stems = stems_make(paths, count);
    if (!stems) return fail(EXIT_MEMORY, "out of memory");
    r->progress = progress_start(count, r->o.quiet);
    for (; r->done < count && !interrupted && !code; r->done++) {
        progress_show(&r->progress, r->done + 1, paths[r->done]);
        int failure = explain_image(r, paths[r->done], stems[r->done]);
        if (failure) r->code = r->failed++ && r->code != failure ? EXIT_SOME_FAILED : failure;
        code = flush_results();
    }
    if (r->drawn > 20 && !r->o.quiet) fprintf(stderr, "cam_run: drew %d pictures\n", r->drawn);
    free(stems);
    if (r->json != stdout) truth_summary(&r->truth, stdout);
    return code;
}

static int finish(run *r)
{
    cam_error e;
    const bundle_facts facts = {r->net, r->command, r->done, r->failed, interrupted != 0};
    if (r->o.out && bundle_close(&r->bundle, &facts, &e)) return fail(EXIT_SOME_FAILED, e.text);
    if (interrupted) return fprintf(stderr, "cam_run: interrupted after %d images\n", r->done), EXIT_INTERRUPTED;
    if (r->failed) return r->failed == r->done ? r->code : EXIT_SOME_FAILED;
    if (r->checks.failed) return fail(EXIT_SOME_FAILED, "a check failed");
    if (r->doubtful) return fail(EXIT_NONFINITE, r->o.strict ? "some maps say nothing or are not finite" : "some maps are not finite");
    return EXIT_DONE;
}

static void free_run(run *r)
{
    if (r->json && r->json != stdout) fclose(r->json);
    bundle_free(&r->bundle);
    requests_free(&r->requests);
    truth_free(&r->truth);
    checks_free(&r->checks);
    cam_ctx_free(r->ctx);
    cam_net_close(r->net);
}

/* A closed standard file is replaced by one that cannot be used either; else the first file that is opened would take its place. */
static void keep_standard_files(void)
{
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0) (void)!open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY);
}

int main(int argc, char **argv)
{
    run r = {.command = argv, .o = {.methods = "shapleycam", .utility = "rest", .layers = "pre_pool", .classes = "top1",
                                    .smooth = "none", .preprocess = "native", .colormap = "viridis", .topk = 5}};
    en_error e;
    keep_standard_files();
    char **words = calloc((size_t)argc + 1, sizeof *words);
    if (!words) return fail(EXIT_MEMORY, "out of memory");
    for (int i = 0; i < argc; i++) words[i] = argv[i];
    int code = opt_parse(rows, ROWS, argc, words, &r.o, &r.inputs, &e) ? fail(EXIT_USAGE, e.text) : EXIT_DONE;
    int information = r.o.help || r.o.version || r.o.list_nets || r.o.list_methods || r.o.list_utilities;
    if (!code && information) {
        if (r.o.help) print_help();
        else if (r.o.version) printf("cam_run %s (%s, %s)\n", cam_version(), cam_build(), cam_instruction_set());
        else print_list(r.o.list_nets ? "nets" : r.o.list_methods ? "methods" : "utilities");
    } else if (!code && !(code = check_usage(&r)) && r.o.list_layers) {
        print_layers(r.net);
    } else if (!code) {
        /* The first interrupt lets the picture at hand finish, the second ends the program. */
        sigaction(SIGINT, &(struct sigaction){.sa_handler = interrupt, .sa_flags = (int)SA_RESETHAND | SA_RESTART}, NULL);
        code = prepare(&r);
        if (!code) code = explain_all(&r, words + 1);
        if (!code) code = finish(&r);
    }
    if (!code) code = flush_results();
    free_run(&r);
    free(words);
    return code;
}
