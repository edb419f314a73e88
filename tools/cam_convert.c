/* SPDX-License-Identifier: MIT */
/* cam_convert: checkpoints into .camw, without Python and without running anything that stands in them. */
#include "nets/labels.h"
#include "tools/convert.h"
#include "tools/inspect.h"
#include "tools/options.h"
#include "weights/file.h"

#include <ctype.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EXIT_DONE, EXIT_SOME_FAILED, EXIT_USAGE, EXIT_WEIGHTS, EXIT_NONFINITE = 5, EXIT_MEMORY, EXIT_INTERRUPTED = 130 };
enum { MAX_ORIGINS = 1025 }; /* a sharded checkpoint has at most 1024 files and an index */

typedef struct options {
    const char *net, *out, *to, *dtype, *map, *strip, *allow_missing, *classes, *preprocess, *sha256;
    int ema, fold, inspect, verify, keys, json, quiet, help;
} options;

/* clang-format off */
#define AT(member) offsetof(options, member)
static const opt_row rows[] = {
    {OPT_HEADING, 0,   NULL,            NULL,          "conversion", 0},
    {OPT_TEXT,    'n', "net",           "NAME|auto",   "the network; auto: found by names and shapes of the tensors", AT(net)},
    {OPT_TEXT,    'o', "out",           "OUT",         "the file to write", AT(out)},
    {OPT_TEXT,    0,   "to",            "FORMAT",      "camw (default), or safetensors; without --net all tensors as they are", AT(to)},
    {OPT_TEXT,    0,   "dtype",         "f32|f16|bf16", "of tensors with two axes or more; others are float32 (f32)", AT(dtype)},
    {OPT_FLAG,    0,   "fold-bn",       NULL,          "multiply the scales of batch norms into the convolutions before them", AT(fold)},
    {OPT_TEXT,    0,   "classes",       "FILE",        "class names, a line each: NAME or ID<tab>NAME (ImageNet's if there are 1000)", AT(classes)},
    {OPT_TEXT,    0,   "preprocess",    "P",           "what to store: native (default), paper, or WxH:bilinear|bicubic|none", AT(preprocess)},
    {OPT_HEADING, 0,   NULL,            NULL,          "reading", 0},
    {OPT_FLAG,    0,   "ema",           NULL,          "the moving average of the weights (model_ema) of a training checkpoint", AT(ema)},
    {OPT_TEXT,    0,   "map",           "FILE",        "renames: a line OLD NEW for each tensor, or PREFIX. NEW. for many", AT(map)},
    {OPT_TEXT,    0,   "strip",         "PREFIX",      "take this off the names that begin with it", AT(strip)},
    {OPT_TEXT,    0,   "allow-missing", "LIST",        "parameters that become zero if the file has none", AT(allow_missing)},
    {OPT_TEXT,    0,   "sha256",        "HEX",         "refuse a file whose SHA-256 begins otherwise (8 digits or more)", AT(sha256)},
    {OPT_HEADING, 0,   NULL,            NULL,          "looking", 0},
    {OPT_FLAG,    0,   "inspect",       NULL,          "network, tensors with dtype, shape and SHA-256; nothing is written", AT(inspect)},
    {OPT_FLAG,    0,   "list-keys",     NULL,          "the tensors' names", AT(keys)},
    {OPT_FLAG,    0,   "verify",        NULL,          "compare all checksums of .camw files", AT(verify)},
    {OPT_FLAG,    0,   "json",          NULL,          "one JSON object on stdout instead of text", AT(json)},
    {OPT_FLAG,    'q', "quiet",         NULL,          "only say what was written", AT(quiet)},
    {OPT_FLAG,    'h', "help",          NULL,          "this text", AT(help)},
};
/* clang-format on */
enum { ROWS = sizeof rows / sizeof *rows };

typedef struct conversion {
    const options *o;
    const char *const *paths;
    size_t count;
    wt_store *store;
    convert_plan plan;
    wt_metadata metadata;
    wt_preprocess preprocess;
    wt_origin origins[MAX_ORIGINS]; /* 90 kB on the stack of main */
    char sha256[MAX_ORIGINS][65];
    wt_class *classes; /* metadata.class_count of them */
    char *labels;      /* the texts in them */
} conversion;

static volatile sig_atomic_t interrupted;
static void interrupt(int signal_number) { interrupted = signal_number; }

static void print_help(void)
{
    printf("cam_convert - turn checkpoints into .camw, without Python and without running anything that stands in them\n"
           "usage: cam_convert --net NAME|auto -o OUT.camw FILE...\n"
           "       cam_convert --inspect|--list-keys|--verify FILE...\n"
           "FILE: .pth .pt .bin of torch.save, also before torch 1.6; .safetensors, sharded by its index; .npz; .camw. Several are one\n"
           "checkpoint in parts.\n");
    opt_print(rows, ROWS);
    printf("\nEvery key that was used, unused or missing is told on stdout. Pickle is read by a list of what is allowed; anything else is\n"
           "named with its offset and refused. Nothing is ever called.\n"
           "Exit codes: 0 done, 1 the result could not be written, 2 usage, 3 weights rejected, 5 numbers too large for --dtype, 6 out of\n"
           "memory or over a limit, 130 interrupted (nothing is left behind).\n\n"
           "examples  cam_convert --net auto -o resnet18.camw resnet18-f37072fd.pth --sha256 f37072fd\n"
           "          cam_convert --inspect swin_tiny.safetensors\n");
}

static int fail(int code, const char *text)
{
    fflush(stdout); /* so that both appear in their order */
    fprintf(stderr, "cam_convert: %s\n", text);
    return code;
}

static int exit_code(en_status status)
{
    if (status == EN_E_NOMEM || status == EN_E_LIMIT) return EXIT_MEMORY;
    if (status == EN_E_CANCELLED) return EXIT_INTERRUPTED;
    return status == EN_E_NONFINITE ? EXIT_NONFINITE : EXIT_WEIGHTS;
}

/* ---- what goes into the file beside the weights ---- */

static int hex_prefix(const char *digits, const char *prefix)
{
    while (*prefix && tolower((unsigned char)*prefix) == *digits) prefix++, digits++;
    return !*prefix;
}

/* The files that were read, and whether they are the ones that were meant. */
static en_status note_origins(conversion *c, en_error *e)
{
    const char *path;
    uint64_t bytes;
    char sha256[65];
    int n = 0;
    for (; (path = wt_file_at(c->store, (size_t)n, &bytes, sha256)); n++) {
        const char *slash = strrchr(path, '/');
        if (n == MAX_ORIGINS) return en_fail(e, EN_E_LIMIT, "%s: more than %d files", c->paths[0], MAX_ORIGINS);
        memcpy(c->sha256[n], sha256, sizeof sha256);
        c->origins[n] = (wt_origin){slash ? slash + 1 : path, bytes, c->sha256[n]};
    }
    c->metadata.origins = c->origins;
    c->metadata.origin_count = n;
    if (!c->o->sha256 || hex_prefix(c->sha256[0], c->o->sha256)) return EN_OK;
    return en_fail(e, EN_E_FORMAT, "%s: its SHA-256 is %s, want %s", c->paths[0], c->sha256[0], c->o->sha256);
}

/* As the user says; or as the .camw says that is converted; or as the network is known to be trained. */
static en_status note_preprocess(conversion *c, en_error *e)
{
    const wt_metadata *before = wt_metadata_of(c->store);
    if (!c->o->preprocess && before && before->preprocess) return c->metadata.preprocess = before->preprocess, EN_OK;
    net_recipe native = c->plan.arch->recipe(), r;
    EN_TRY(net_recipe_parse(c->o->preprocess ? c->o->preprocess : "native", &native, &r, e));
    wt_preprocess *p = &c->preprocess;
    *p = (wt_preprocess){.width = r.crop_width, .height = r.crop_height, .shorter = r.shorter};
    p->sizing = r.sizing == NET_SHORTER ? "shorter" : r.sizing == NET_WHOLE ? "whole" : "as-is";
    p->filter = r.sizing == NET_AS_IS ? "none" : r.filter == IMG_BICUBIC ? "bicubic" : "bilinear";
    memcpy(p->mean, r.mean, sizeof p->mean);
    memcpy(p->std, r.std, sizeof p->std);
    c->metadata.preprocess = p;
    return EN_OK;
}

/* ImageNet's classes, which are compiled in. */
static void known_classes(conversion *c)
{
    net_class *known = (net_class *)(void *)c->labels;
    for (int i = 0; i < NET_CLASSES; i++) {
        known[i] = net_class_at(i);
        c->classes[i] = (wt_class){known[i].wnid, known[i].name};
    }
}

/* Cuts c->labels, the text of a file, into lines. */
static en_status parse_classes(conversion *c, en_error *e)
{
    int n = 0;
    for (char *line = c->labels, *next; *line; line = next) {
        next = line + strcspn(line, "\n");
        if (*next) *next++ = 0;
        line[strcspn(line, "\r")] = 0;
        char *tab = strchr(line, '\t');
        if (tab) *tab = 0;
        if (n < c->plan.classes) c->classes[n] = (wt_class){tab ? line : "", tab ? tab + 1 : line};
        n++;
    }
    if (n == c->plan.classes) return EN_OK;
    return en_fail(e, EN_E_ARG, "%s: %d lines, want one for each of the %d classes", c->o->classes, n, c->plan.classes);
}

static en_status read_classes(conversion *c, en_error *e)
{
    uint8_t *bytes;
    size_t size;
    EN_TRY(wt_file_read(c->o->classes, 1 << 24, &bytes, &size, e));
    if (!memchr(bytes, 0, size)) c->labels = calloc(1, size + 1);
    if (c->labels) memcpy(c->labels, bytes, size);
    en_status status = c->labels ? EN_OK : en_fail(e, EN_E_ARG, "%s: not a text, or out of memory", c->o->classes);
    free(bytes);
    return status == EN_OK ? parse_classes(c, e) : status;
}

/* From the same places. */
static en_status note_classes(conversion *c, en_error *e)
{
    const wt_metadata *before = wt_metadata_of(c->store);
    int count = c->plan.classes;
    if (!c->o->classes && before && before->class_count == count) {
        c->metadata.classes = before->classes;
        c->metadata.class_count = count;
        return EN_OK;
    }
    if (!c->o->classes && count != NET_CLASSES) return EN_OK;
    c->classes = calloc((size_t)count + 1, sizeof *c->classes);
    if (!c->o->classes) c->labels = malloc(NET_CLASSES * sizeof(net_class));
    if (!c->classes || (!c->o->classes && !c->labels)) return en_fail(e, EN_E_NOMEM, "out of memory");
    if (!c->o->classes)
        known_classes(c);
    else
        EN_TRY(read_classes(c, e));
    c->metadata.classes = c->classes;
    c->metadata.class_count = count;
    return EN_OK;
}

/* ---- conversion ---- */

static int wanted_dtype(const options *o)
{
    if (!o->dtype) return o->to ? -1 : WT_F32;
    return !strcmp(o->dtype, "f16") ? WT_F16 : !strcmp(o->dtype, "bf16") ? WT_BF16 : WT_F32;
}

static en_status make_plan(conversion *c, en_error *e)
{
    const options *o = c->o;
    const net_remap remap = {o->map, o->strip};
    const convert_options wanted = {o->net, &remap, o->allow_missing, wanted_dtype(o), &interrupted};
    EN_TRY(wt_open_all(c->paths, c->count, o->ema, &c->store, e));
    EN_TRY(convert_plan_make(c->store, &wanted, &c->plan, e));
    c->metadata.net = c->plan.arch ? c->plan.arch->name : "";
    EN_TRY(note_origins(c, e));
    if (!c->plan.arch) return EN_OK;
    EN_TRY(note_preprocess(c, e));
    EN_TRY(note_classes(c, e));
    return o->fold && !c->plan.forbidden ? convert_fold(&c->plan, e) : EN_OK;
}

static en_status write_result(conversion *c, en_error *e)
{
    const convert_plan *p = &c->plan;
    static const char *const metadata[] = {"format", "pt", NULL};
    return c->o->to ? wt_write_safetensors(c->o->out, p->output, p->count, metadata, e)
                    : wt_camw_write(c->o->out, &c->metadata, p->output, p->count, e);
}

static int convert(conversion *c)
{
    en_error e;
    en_status status = make_plan(c, &e);
    if (status != EN_OK) return fail(status == EN_E_ARG ? EXIT_USAGE : exit_code(status), e.text);
    if (!c->plan.forbidden) status = write_result(c, &e);
    int code = c->plan.forbidden ? EXIT_WEIGHTS : status == EN_E_IO ? EXIT_SOME_FAILED : status == EN_OK ? EXIT_DONE : exit_code(status);
    if (status != EN_OK) return fail(code, e.text);
    const char *written = c->plan.forbidden ? NULL : c->o->out;
    if (inspect_plan(&c->plan, &c->metadata, written, c->o->json, c->o->quiet, &e) != EN_OK) return fail(EXIT_MEMORY, e.text);
    if (!c->plan.forbidden) return EXIT_DONE;
    fprintf(stderr, "cam_convert: %s: %zu parameters of %s are missing, the first is '%s'; nothing was written\n", c->paths[0],
            c->plan.forbidden, c->metadata.net, c->plan.missing[0]);
    return code;
}

static void free_conversion(conversion *c)
{
    convert_plan_free(&c->plan);
    wt_close(c->store);
    free(c->classes);
    free(c->labels);
}

/* ---- looking ---- */

static en_status look(const options *o, const char *path, en_error *e)
{
    wt_store *store;
    const net_remap remap = {o->map, o->strip};
    EN_TRY(wt_open_all(&path, 1, o->ema, &store, e));
    en_status status = o->inspect  ? inspect_show(store, &remap, o->json, e)
                       : o->verify ? wt_camw_verify(store, e)
                                   : inspect_keys(store, o->json, e);
    if (status == EN_OK && o->verify) printf("%s: all %zu checksums are right\n", path, wt_count(store));
    wt_close(store);
    return status;
}

/* Every file; a bad one does not keep the others from being looked at. */
static int look_at_all(const options *o, char *const *paths, int count)
{
    en_error e;
    int code = EXIT_DONE, failed = 0;
    for (int i = 0; i < count && !interrupted; i++) {
        en_status status = look(o, paths[i], &e);
        if (status == EN_OK) continue;
        code = fail(exit_code(status), e.text);
        failed++;
    }
    return interrupted ? EXIT_INTERRUPTED : failed > 0 && failed < count ? EXIT_SOME_FAILED : code;
}

/* ---- the story ---- */

static const char *net_name(const void *unused, int i) { return (void)unused, net_arch_at(i) ? net_arch_at(i)->name : NULL; }

static int check_net(const options *o)
{
    if (!o->net) return o->to ? EXIT_DONE : fail(EXIT_USAGE, "want --net NAME, or --net auto (see --help)");
    if (net_same_name(o->net, "auto") || net_arch_find(o->net)) return EXIT_DONE;
    const char *near = opt_nearest(o->net, net_name, NULL);
    fprintf(stderr, "cam_convert: no network is called '%s'%s%s\n", o->net, near ? "; did you mean " : "", near ? near : "");
    return EXIT_USAGE;
}

static int check_usage(options *o, int files)
{
    int looking = o->inspect + o->verify + o->keys;
    if (!files) return fail(EXIT_USAGE, "want a FILE (see --help)");
    if (looking > 1) return fail(EXIT_USAGE, "want one of --inspect, --list-keys and --verify");
    if (looking) return o->out ? fail(EXIT_USAGE, "--out: nothing is written when looking") : EXIT_DONE;
    if (!o->out) return fail(EXIT_USAGE, "want -o OUT, or --inspect, --list-keys, --verify");
    if (o->to && strcmp(o->to, "safetensors") && strcmp(o->to, "camw")) return fail(EXIT_USAGE, "--to: want camw or safetensors");
    if (o->to && !strcmp(o->to, "camw")) o->to = NULL;
    if (o->dtype && strcmp(o->dtype, "f32") && strcmp(o->dtype, "f16") && strcmp(o->dtype, "bf16"))
        return fail(EXIT_USAGE, "--dtype: want f32, f16 or bf16");
    if (o->sha256 && (strlen(o->sha256) < 8 || strlen(o->sha256) > 64 || strspn(o->sha256, "0123456789abcdefABCDEF") != strlen(o->sha256)))
        return fail(EXIT_USAGE, "--sha256: want 8 to 64 hexadecimal digits");
    if (o->sha256 && files > 1) return fail(EXIT_USAGE, "--sha256: want one FILE");
    if (!o->net && (o->fold || o->map || o->strip || o->classes || o->preprocess || o->allow_missing))
        return fail(EXIT_USAGE, "--fold-bn, --map, --strip, --classes, --preprocess, --allow-missing: want --net");
    return check_net(o);
}

int main(int argc, char **argv)
{
    options o = {0};
    en_error e;
    int files;
    if (opt_parse(rows, ROWS, argc, argv, &o, &files, &e) != EN_OK) return fail(EXIT_USAGE, e.text);
    if (o.help) return print_help(), EXIT_DONE;
    int code = check_usage(&o, files);
    if (code) return code;
    sigaction(SIGINT, &(struct sigaction){.sa_handler = interrupt}, NULL);
    sigaction(SIGTERM, &(struct sigaction){.sa_handler = interrupt}, NULL);
    if (o.inspect || o.verify || o.keys) {
        code = look_at_all(&o, argv + 1, files);
    } else {
        conversion c = {.o = &o, .paths = (const char *const *)(argv + 1), .count = (size_t)files};
        code = convert(&c);
        free_conversion(&c);
    }
    return fflush(stdout) || ferror(stdout) ? fail(EXIT_SOME_FAILED, "cannot write to standard output") : code;
}
