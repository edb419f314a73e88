/* SPDX-License-Identifier: MIT */
/* cam_run: explain what an image classifier saw. */
#include "cam/shapleycam.h"
#include "tools/bundle.h"
#include "tools/options.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { EXIT_DONE, EXIT_SOME_FAILED, EXIT_USAGE, EXIT_WEIGHTS, EXIT_INPUT, EXIT_NONFINITE, EXIT_MEMORY, EXIT_INTERRUPTED = 130 };

typedef struct options {
    const char *net, *weights, *tensor, *methods, *utility, *layers, *classes, *out, *json, *dump, *preprocess, *colormap;
    long topk, threads, seed;
    int force, strict, quiet, list_nets, list_methods, list_layers, help, version;
} options;

/* clang-format off */
#define AT(member) offsetof(options, member)
static const opt_row rows[] = {
    {OPT_HEADING,  0,   NULL,           NULL,            "input", 0},
    {OPT_TEXT,     'n', "net",          "NAME",          "the network (--list-nets)", AT(net)},
    {OPT_TEXT,     'w', "weights",      "FILE|seeded[:N]", ".safetensors, .pth; or made-up weights number N", AT(weights)},
    {OPT_TEXT,     0,   "input-tensor", "FILE.npy",      "a ready input, float32 [3,H,W] or [N,3,H,W], or seeded-image:N", AT(tensor)},
    {OPT_TEXT,     0,   "preprocess",   "P",             "native (default), paper, or WxH:bilinear|bicubic|none", AT(preprocess)},
    {OPT_HEADING,  0,   NULL,           NULL,            "explanation", 0},
    {OPT_TEXT,     'm', "method",       "LIST",          "shapleycam (default), others of --list-methods, or all", AT(methods)},
    {OPT_TEXT,     'u', "utility",      "U",             "rest (default), logit, softmax, logsoftmax", AT(utility)},
    {OPT_TEXT,     'l', "layer",        "LIST",          "pre_pool (default), conv, or names of --list-layers", AT(layers)},
    {OPT_TEXT,     'c', "class",        "LIST",          "top1 (default), topN, index, WordNet id, or name", AT(classes)},
    {OPT_COUNT,    's', "seed",         "N",             "for methods that draw random numbers (0)", AT(seed)},
    {OPT_HEADING,  0,   NULL,           NULL,            "output", 0},
    {OPT_COUNT,    'k', "topk",         "K",             "how many classes to list (5)", AT(topk)},
    {OPT_TEXT,     'o', "out",          "DIR",           "a new folder for pictures, maps (.npy), report and manifest", AT(out)},
    {OPT_OPTIONAL, 0,   "json",         "FILE",          "one JSON object per image and line, on stdout or in FILE", AT(json)},
    {OPT_TEXT,     0,   "dump",         "FILE.safetensors", "exact numbers of one picture and one layer", AT(dump)},
    {OPT_TEXT,     0,   "colormap",     "C",             "viridis (default), jet", AT(colormap)},
    {OPT_HEADING,  0,   NULL,           NULL,            "running", 0},
    {OPT_COUNT,    't', "threads",      "N",             "default: one per processor", AT(threads)},
    {OPT_FLAG,     0,   "force",        NULL,            "write into a folder that is not empty", AT(force)},
    {OPT_FLAG,     0,   "strict",       NULL,            "a blank map is a failure (exit 5)", AT(strict)},
    {OPT_FLAG,     'q', "quiet",        NULL,            "nothing on stderr but errors", AT(quiet)},
    {OPT_HEADING,  0,   NULL,           NULL,            "information", 0},
    {OPT_FLAG,     0,   "list-nets",    NULL,            "networks", AT(list_nets)},
    {OPT_FLAG,     0,   "list-methods", NULL,            "methods", AT(list_methods)},
    {OPT_FLAG,     0,   "list-layers",  NULL,            "layers of --net, with the shape of their output", AT(list_layers)},
    {OPT_FLAG,     'h', "help",         NULL,            "this text", AT(help)},
    {OPT_FLAG,     'V', "version",      NULL,            "version and compiler", AT(version)},
};
/* clang-format on */
enum { ROWS = sizeof rows / sizeof *rows };

typedef struct run {
    options o;
    int argc;
    char **argv;
    cam_net *net;
    cam_ctx *ctx;
    cam_request *requests;
    int count;
    bundle bundle;
    FILE *json;          /* where JSON lines go, NULL for none            */
    char *report;        /* the lines again, for the bundle               */
    size_t report_size;
    int done, failed;    /* images                                        */
    int worst;           /* exit code of the last failure                 */
    int suspicious;      /* maps that --strict or nonfinite numbers refuse */
} run;

static volatile sig_atomic_t interrupted;
static void interrupt(int signal_number) { interrupted = signal_number; }

static const char *method_name(int i) { return cam_list("methods", i); }
static const char *net_name(int i) { return cam_list("nets", i); }

/* ---- information ---- */

static int print_help(void)
{
    printf("cam_run - explain what an image classifier saw\n"
           "usage: cam_run --net NAME [options] IMAGE...     JPEG, PNG, BMP, PNM; - is standard input\n"
           "       cam_run --net NAME                        the built-in sample picture\n");
    opt_print(rows, ROWS);
    printf("\nWithout --out, --json and --dump, pictures are written as cam-IMAGE-*.png into the current folder. Results go to stdout, all else\n"
           "to stderr. Exit codes: 0 done, 1 some inputs failed, 2 usage, 3 weights missing or rejected, 4 input unreadable, 5 numbers that are\n"
           "not finite (or a blank map with --strict), 6 out of memory or over a limit, 130 interrupted (finished images are kept).\n\n"
           "examples  cam_run --net mobilenet_v2 --weights mobilenet_v2-b0353104.pth --class top2 dog.jpg\n"
           "          cam_run -n vgg16 -m gradcam,shapleycam -l pre_pool,conv -o out *.jpg\n");
    return EXIT_DONE;
}

static int print_list(const char *kind)
{
    const char *name;
    for (int32_t i = 0; (name = cam_list(kind, i)); i++) puts(name);
    return EXIT_DONE;
}

static int fail(int code, const char *text)
{
    fprintf(stderr, "cam_run: %s\n", text);
    return code;
}

static int print_layers(const char *net_name_given)
{
    cam_net *net;
    cam_error e;
    int32_t chw[3];
    const char *name;
    if (cam_net_open(net_name_given, CAM_NO_WEIGHTS, &net, &e)) return fail(EXIT_USAGE, e.text);
    for (int32_t i = 0; (name = cam_net_layer(net, i, chw)); i++) {
        const char *preset = !strcmp(name, cam_net_layer_name(net, "pre_pool")) ? "  pre_pool" : !strcmp(name, cam_net_layer_name(net, "conv")) ? "  conv" : "";
        printf("%-24s %4d x %3d x %3d%s\n", name, chw[0], chw[1], chw[2], preset);
    }
    cam_net_close(net);
    return EXIT_DONE;
}

/* ---- what is asked for ---- */

/* Cuts the next item off a comma-separated list; NULL at its end. */
static char *next_item(char **list)
{
    char *item = *list, *comma;
    if (!item) return NULL;
    comma = strchr(item, ',');
    if (comma) *comma = 0;
    *list = comma ? comma + 1 : NULL;
    return item + strspn(item, " ");
}

/* A list turned into names or numbers, without repetitions. */
typedef struct choices {
    const char **name;
    int32_t *number;
    int count, room;
} choices;

static void choose(choices *c, const char *name, int32_t number)
{
    for (int i = 0; i < c->count; i++)
        if (c->number[i] == number && (name == c->name[i] || (name && c->name[i] && !strcmp(name, c->name[i])))) return;
    if (c->count == c->room) return; /* room is for every item that a list can have */
    c->name[c->count] = name;
    c->number[c->count++] = number;
}

enum { MAX_CHOICES = 1000 };

static int make_room(choices *c)
{
    *c = (choices){malloc(MAX_CHOICES * sizeof *c->name), malloc(MAX_CHOICES * sizeof *c->number), 0, MAX_CHOICES};
    return c->name && c->number;
}

static int same_letters(const char *a, const char *b) /* without regard to case, '-' and '_'; '+' reads as p */
{
    for (;; a++, b++) {
        while (*a == '-' || *a == '_') a++;
        while (*b == '-' || *b == '_') b++;
        int x = *a == '+' ? 'p' : *a | 32, y = *b == '+' ? 'p' : *b | 32;
        if (!*a || !*b) return !*a && !*b;
        if (x != y) return 0;
    }
}

static int choose_methods(choices *c, char *list, cam_error *e)
{
    const char *name;
    for (char *item; (item = next_item(&list));) {
        int found = 0;
        for (int i = 0; (name = method_name(i)); i++)
            if (same_letters(item, "all") || same_letters(item, name)) choose(c, name, 0), found = 1;
        if (found) continue;
        const char *near = opt_nearest(item, method_name);
        snprintf(e->text, sizeof e->text, near ? "no method is called '%s'; did you mean %s?" : "no method is called '%s' (see --list-methods)", item, near ? near : "");
        return 0;
    }
    return 1;
}

static int choose_classes(choices *c, char *list, cam_error *e)
{
    for (char *item; (item = next_item(&list));) {
        int32_t index;
        char *end;
        long n = strncmp(item, "top", 3) ? 0 : strtol(item + 3, &end, 10);
        if (n > 0 && !*end && n <= MAX_CHOICES) {
            for (long i = 1; i <= n; i++) choose(c, NULL, (int32_t)-i);
        } else {
            if (cam_class_find(item, &index, e)) return 0;
            choose(c, NULL, index);
        }
    }
    return 1;
}

/* Whether a method's map depends on a class: those that need derivatives do. */
static int needs_class(const char *method) { return strcmp(method, "randomcam") != 0; }

/* Every method for every class at every layer. */
static int make_requests(run *r, cam_error *e)
{
    choices methods = {0}, classes = {0}, layers = {0};
    char *lists[3] = {strdup(r->o.methods), strdup(r->o.classes), strdup(r->o.layers)};
    int ok = lists[0] && lists[1] && lists[2] && make_room(&methods) && make_room(&classes) && make_room(&layers);
    if (!ok) snprintf(e->text, sizeof e->text, "out of memory"), e->status = CAM_E_NOMEM;
    char *rest = lists[2];
    ok = ok && choose_methods(&methods, lists[0], e) && choose_classes(&classes, lists[1], e);
    for (char *item; ok && (item = next_item(&rest));) choose(&layers, cam_net_layer_name(r->net, item), 0);
    if (ok) r->requests = calloc((size_t)methods.count * (size_t)classes.count * (size_t)layers.count, sizeof *r->requests);
    ok = ok && r->requests;
    for (int l = 0; ok && l < layers.count; l++)
        for (int k = 0; k < classes.count; k++)
            for (int m = 0; m < methods.count; m++) {
                if (k && !needs_class(methods.name[m])) continue;
                cam_request *q = &r->requests[r->count++];
                *q = (cam_request){.size = sizeof *q, .method = methods.name[m], .utility = r->o.utility, .cls = classes.number[k],
                                   .seed = (uint64_t)r->o.seed, .flags = r->o.dump ? CAM_WITH_HVP : 0};
                q->layer = strdup(layers.name[l]);
                ok = q->layer != NULL;
            }
    if (ok && r->o.dump && layers.count > 1) snprintf(e->text, sizeof e->text, "--dump: %d layers, want one", layers.count), ok = 0;
    for (int i = 0; i < 3; i++) free(lists[i]);
    free(methods.name), free(methods.number), free(classes.name), free(classes.number), free(layers.name), free(layers.number);
    return ok;
}

/* ---- one image ---- */

static void print_top(const run *r, const char *name, int image)
{
    int32_t top[MAX_CHOICES], k = r->o.topk > MAX_CHOICES ? MAX_CHOICES : (int32_t)r->o.topk;
    const float *logits = cam_logits(r->ctx, image);
    double sum = 0;
    cam_top(logits, cam_net_classes(r->net), k, top);
    int32_t best;
    cam_top(logits, cam_net_classes(r->net), 1, &best);
    for (int32_t i = 0; i < cam_net_classes(r->net); i++) sum += exp((double)logits[i] - (double)logits[best]);
    printf("%s  (%s, %s)\n", name, cam_net_name(r->net), cam_net_weights(r->net));
    if (k) printf("  rank  class  wnid       probability     logit  name\n");
    for (int32_t i = 0; i < k; i++) {
        cam_class c = cam_class_at(top[i]);
        printf("  %4d  %5d  %-9s  %11.4f  %8.3f  %s\n", i + 1, top[i], c.wnid, exp((double)logits[top[i]] - (double)logits[best]) / sum, (double)logits[top[i]], c.name);
    }
}

/* The raw map's cells in shades, darkest where there is nothing. */
static void print_cells(const double *raw, int height, int width)
{
    static const char shades[] = " .:-=+*#%@";
    double most = 0;
    for (int i = 0; i < height * width; i++) most = raw[i] > most ? raw[i] : most;
    for (int y = 0; y < height; y++) {
        printf("    |");
        for (int x = 0; x < width; x++) {
            double v = most > 0 && raw[y * width + x] > 0 ? raw[y * width + x] / most : 0;
            char c = shades[(int)(v * 9.999)];
            printf("%c%c", c, c);
        }
        printf("|\n");
    }
}

static void print_map(const run *r, int image, int i, const cam_result *result)
{
    static const char *const says[] = {"", "  BLANK: no position speaks for this class", "  CONSTANT: every position says the same", "  NOT FINITE"};
    const cam_request *q = &r->requests[i];
    printf("\n  %s of %s at %s, class %d %s (probability %.4f)%s\n", q->method, q->utility, q->layer, result->cls, cam_class_at(result->cls).name,
           (double)result->probability, says[result->status]);
    printf("    positive %.4g, negative %.4g", result->positive, result->negative);
    if (result->hvp_ratio >= 0) printf(", |H A| / |G| %.4g", result->hvp_ratio);
    printf("\n");
    if (result->hvp_zero) printf("    H A is exactly zero by construction: %s\n", result->because);
    if (result->same_as) printf("    the same map as %s by construction%s%s\n", result->same_as, result->hvp_zero ? "" : ": ", result->hvp_zero ? "" : result->because);
    if (result->status == CAM_STATUS_OK && result->width <= 32) print_cells(cam_raw_map(r->ctx, image, i), result->height, result->width);
}

/* The last part of a path without its ending, letters that file systems dislike replaced. */
static void stem_of(const char *path, char out[64])
{
    const char *slash = strrchr(path, '/'), *from = slash ? slash + 1 : path, *dot = strrchr(from, '.');
    size_t n = dot && dot > from ? (size_t)(dot - from) : strlen(from), i = 0;
    for (; i < n && i < 63; i++) out[i] = strchr(" :*?\"<>|\\", from[i]) ? '_' : from[i];
    out[i] = 0;
}

static cam_status write_picture(run *r, const cam_image *image, const char *stem, int i, const cam_result *result, cam_error *e)
{
    uint8_t *png;
    size_t size;
    char name[512];
    const cam_request *q = &r->requests[i];
    cam_status status = cam_render(r->ctx, image, i, r->o.colormap, &png, &size, e);
    if (status) return status;
    snprintf(name, sizeof name, "%s%s-%s-%s-%d.png", r->o.out ? "" : "cam-", stem, q->layer, q->method, result->cls);
    if (r->o.out) {
        status = bundle_write(&r->bundle, name, png, size, (en_error *)e);
    } else {
        bundle here = {.folder = "."};
        status = bundle_write(&here, name, png, size, (en_error *)e);
        bundle_free(&here);
        if (!status && !r->o.quiet) fprintf(stderr, "cam_run: drew %s\n", name);
    }
    free(png);
    return status;
}

static cam_status write_maps(run *r, const cam_image *image, const char *name, const cam_result *results, cam_error *e)
{
    char stem[64];
    cam_status status = CAM_OK;
    stem_of(name, stem);
    for (int i = 0; i < r->count && !status; i++) {
        status = write_picture(r, image, stem, i, &results[i], e);
        if (!status && r->o.out) status = bundle_write_map(&r->bundle, r->ctx, stem, &r->requests[i], i, &results[i], cam_image_input(image), (en_error *)e);
    }
    return status;
}

static cam_status write_json(run *r, const char *name, int image, cam_error *e)
{
    char *line;
    cam_status status = cam_report(r->ctx, name, image, (int32_t)r->o.topk, &line, e);
    if (status) return status;
    size_t n = strlen(line);
    if (r->json && (fprintf(r->json, "%s\n", line) < 0 || fflush(r->json))) {
        snprintf(e->text, sizeof e->text, "%s: cannot write the report", *r->o.json ? r->o.json : "stdout");
        status = e->status = CAM_E_IO;
    }
    char *grown = realloc(r->report, r->report_size + n + 2);
    if (grown) {
        memcpy(grown + r->report_size, line, n);
        grown[r->report_size + n] = '\n';
        r->report = grown;
        r->report_size += n + 1;
    } else {
        snprintf(e->text, sizeof e->text, "report: out of memory");
        status = e->status = CAM_E_NOMEM;
    }
    free(line);
    return status;
}

/* Explains one picture, or one batch of ready inputs, and writes what was asked for. */
static cam_status explain_image(run *r, const cam_image *image, const char *name, cam_error *e)
{
    cam_input in = cam_image_input(image);
    cam_result *results = calloc((size_t)in.n * (size_t)r->count, sizeof *results);
    cam_status status = results ? cam_explain(r->ctx, in, r->requests, r->count, results, e) : CAM_E_NOMEM;
    for (int n = 0; n < in.n && !status; n++) {
        const cam_result *mine = results + (size_t)n * (size_t)r->count;
        char numbered[4200];
        snprintf(numbered, sizeof numbered, in.n > 1 ? "%s[%d]" : "%s", name, n);
        for (int i = 0; i < r->count; i++)
            if (mine[i].status == CAM_STATUS_NONFINITE || (r->o.strict && mine[i].status == CAM_STATUS_BLANK)) r->suspicious++;
        if (!r->o.json || *r->o.json) {
            print_top(r, numbered, n);
            for (int i = 0; i < r->count; i++) print_map(r, n, i, &mine[i]);
        }
        if (r->o.json || r->o.out) status = write_json(r, numbered, n, e);
    }
    if (!status && in.n == 1 && (r->o.out || (!r->o.json && !r->o.dump))) status = write_maps(r, image, name, results, e);
    if (!status && r->o.dump) {
        if (in.n > 1) snprintf(e->text, sizeof e->text, "--dump: %d inputs, want one", in.n), status = e->status = CAM_E_ARG;
        else status = dump_write(r->o.dump, r->ctx, r->net, r->requests, results, r->count, in.height, in.width, (en_error *)e);
    }
    free(results);
    return status;
}

static int exit_code_of(cam_status status, int reading)
{
    if (status == CAM_E_NOMEM) return EXIT_MEMORY;
    if (status == CAM_E_ARG) return EXIT_USAGE;
    if (status == CAM_E_NONFINITE) return EXIT_NONFINITE;
    return reading ? EXIT_INPUT : status == CAM_E_LIMIT ? EXIT_MEMORY : EXIT_SOME_FAILED;
}

static void one_image(run *r, const char *path, int tensor)
{
    cam_image *image = NULL;
    cam_error e = {0};
    cam_status status = tensor ? cam_image_tensor(r->net, path, &image, &e)
                        : path ? cam_image_open(r->net, strcmp(path, "-") ? path : "/dev/stdin", r->o.preprocess, &image, &e)
                               : cam_image_sample(r->net, r->o.preprocess, &image, &e);
    int reading = status != CAM_OK;
    if (!status) status = explain_image(r, image, path ? path : "sample.png", &e);
    cam_image_free(image);
    r->done++;
    if (!status) return;
    r->failed++;
    r->worst = exit_code_of(status, reading && status != CAM_E_ARG);
    fail(r->worst, e.text);
}

/* ---- the story ---- */

/* Opens the network. Without weights at hand and without a picture to explain, the demonstration runs on made-up ones. */
static int open_net(run *r, int has_input)
{
    cam_error e;
    cam_status status = cam_net_open(r->o.net, r->o.weights, &r->net, &e);
    if (status == CAM_E_IO && !r->o.weights) {
        char *wanted = cam_weights_wanted(r->o.net);
        if (has_input) {
            fprintf(stderr, "cam_run: no weights for %s. Looked for:\n%s\nGet them with PyTorch (torchvision.models.%s(weights=\"DEFAULT\") fills its cache), copy a "
                            ".pth or .safetensors file to one of these places, or give --weights FILE.\n", r->o.net, wanted ? wanted : "", r->o.net);
            free(wanted);
            return EXIT_WEIGHTS;
        }
        free(wanted);
        status = cam_net_open(r->o.net, "seeded", &r->net, &e);
    }
    if (status == CAM_E_ARG && !r->o.weights) {
        const char *near = opt_nearest(r->o.net, net_name);
        fprintf(stderr, "cam_run: %s%s%s\n", e.text, near ? "; did you mean " : " (see --list-nets)", near ? near : "");
        return EXIT_USAGE;
    }
    if (status) return fail(status == CAM_E_NOMEM ? EXIT_MEMORY : status == CAM_E_ARG ? EXIT_USAGE : EXIT_WEIGHTS, e.text);
    if (!r->o.quiet && !has_input) fprintf(stderr, "cam_run: no picture given: explaining the built-in sample\n");
    if (!r->o.quiet && cam_net_seeded(r->net))
        fprintf(stderr, "cam_run: SEEDED WEIGHTS: they are made up and know nothing; what follows shows the machinery, not a finding.\n"
                        "         For real ones: cam_run --net %s --weights FILE.pth IMAGE\n", cam_net_name(r->net));
    return EXIT_DONE;
}

static int prepare(run *r, int inputs)
{
    cam_error e = {0};
    int code = open_net(r, inputs > 0);
    if (code) return code;
    if (!make_requests(r, &e)) return fail(e.status == CAM_E_NOMEM ? EXIT_MEMORY : EXIT_USAGE, e.text);
    cam_options co = {sizeof co, (int32_t)r->o.threads};
    if (cam_ctx_new(r->net, &co, &r->ctx, &e)) return fail(EXIT_MEMORY, e.text);
    if (r->o.out && bundle_open(r->o.out, r->o.force, &r->bundle, (en_error *)&e)) return fail(e.status == CAM_E_ARG ? EXIT_USAGE : EXIT_SOME_FAILED, e.text);
    if (r->o.json) r->json = *r->o.json ? fopen(r->o.json, "w") : stdout;
    if (r->o.json && !r->json) return fprintf(stderr, "cam_run: %s: cannot write\n", r->o.json), EXIT_SOME_FAILED;
    return EXIT_DONE;
}

static void explain_all(run *r, int inputs)
{
    const char *term = getenv("TERM");
    int progress = inputs > 1 && !r->o.quiet && isatty(2) && !(term && !strcmp(term, "dumb"));
    if (r->o.tensor) one_image(r, r->o.tensor, 1);
    else if (!inputs) one_image(r, NULL, 0);
    for (int i = 0; i < inputs && !r->o.tensor && !interrupted; i++) {
        if (progress) fprintf(stderr, "\r\033[K[%d/%d] %s", i + 1, inputs, r->argv[i + 1]);
        one_image(r, r->argv[i + 1], 0);
        if (progress) fprintf(stderr, "\r\033[K");
    }
}

static int finish(run *r)
{
    cam_error e = {0};
    int broken = 0;
    if (r->o.out) {
        broken = bundle_write(&r->bundle, "report.jsonl", r->report ? r->report : "", r->report_size, (en_error *)&e) ||
                 bundle_close(&r->bundle, r->net, r->argc, r->argv, (en_error *)&e);
    }
    if (!broken && (fflush(stdout) || ferror(stdout))) broken = 1, snprintf(e.text, sizeof e.text, "cannot write to stdout");
    if (broken) return fail(EXIT_SOME_FAILED, e.text);
    if (interrupted) return fprintf(stderr, "cam_run: interrupted after %d images\n", r->done), EXIT_INTERRUPTED;
    if (r->failed) return r->failed == r->done ? r->worst : EXIT_SOME_FAILED;
    return r->suspicious ? fail(EXIT_NONFINITE, "some maps are blank or not finite") : EXIT_DONE;
}

static int check_usage(const run *r, int inputs)
{
    if (!r->o.net) return fail(EXIT_USAGE, "want --net NAME (see --list-nets, --help)");
    if (r->o.tensor && inputs) return fail(EXIT_USAGE, "want pictures or --input-tensor, not both");
    if (r->o.dump && inputs > 1) return fail(EXIT_USAGE, "--dump: want one picture");
    if (!same_letters(r->o.colormap, "viridis") && !same_letters(r->o.colormap, "jet")) return fail(EXIT_USAGE, "--colormap: want viridis or jet");
    return EXIT_DONE;
}

int main(int argc, char **argv)
{
    run r = {.o = {.methods = "shapleycam", .utility = "rest", .layers = "pre_pool", .classes = "top1", .preprocess = "native", .colormap = "viridis", .topk = 5},
             .argc = argc, .argv = argv};
    cam_error e;
    int inputs;
    if (opt_parse(rows, ROWS, argc, argv, &r.o, &inputs, (en_error *)&e)) return fail(EXIT_USAGE, e.text);
    if (r.o.help) return print_help();
    if (r.o.version) return printf("cam_run %s (%s)\n", cam_version(), cam_build()), EXIT_DONE;
    if (r.o.list_nets) return print_list("nets");
    if (r.o.list_methods) return print_list("methods");
    int code = check_usage(&r, inputs);
    if (!code && r.o.list_layers) return print_layers(r.o.net);
    signal(SIGINT, interrupt);
    if (!code) code = prepare(&r, r.o.tensor ? 1 : inputs);
    if (!code) {
        explain_all(&r, inputs);
        code = finish(&r);
    }
    if (r.json && r.json != stdout) fclose(r.json);
    for (int i = 0; i < r.count; i++) free((void *)(uintptr_t)r.requests[i].layer);
    free(r.requests);
    free(r.report);
    bundle_free(&r.bundle);
    cam_ctx_free(r.ctx);
    cam_net_close(r.net);
    return code;
}
