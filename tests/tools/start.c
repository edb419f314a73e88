/* SPDX-License-Identifier: MIT */
/* Starts of the built program. */
#include "tests/tools/start.h"

#include "weights/json.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- starting the program ---- */

char folder[] = "/tmp/cam_run_XXXXXX"; /* where it runs; made by the first start */
char program[4096];
const char *weights_folder; /* CAM_WEIGHTS of the next starts; NULL: unset */

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st, (void)kind, (void)at;
    return remove(path);
}

static void clean_up(void) { nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS); }

void write_file(const char *name, const void *bytes, size_t size)
{
    FILE *f = fopen(name, "wb");
    CHECK_MSG(f != NULL, "cannot write %s", name);
    CHECK(fwrite(bytes, 1, size, f) == size);
    fclose(f);
}

void copy_file(const char *from, const char *to)
{
    size_t size;
    uint8_t *bytes = t_read_file(from, &size);
    write_file(to, bytes, size);
    free(bytes);
}

/* Moves into a new folder that holds the pictures of the tests, and finds the program beside the test runner. */
void enter(void)
{
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 32);
    CHECK(n > 0);
    program[n] = 0;
    strcpy(strrchr(program, '/'), "/tools/cam_run");
    CHECK_MSG(!access(program, X_OK), "%s is not built", program);
    CHECK(mkdtemp(folder) != NULL);
    atexit(clean_up);
    char path[64];
    static const char *const pictures[] = {"tiny", "wide", "tall"};
    for (size_t i = 0; i < sizeof pictures / sizeof *pictures; i++) {
        char from[64];
        snprintf(from, sizeof from, "tests/data/preprocess/%s.jpg", pictures[i]);
        snprintf(path, sizeof path, "%s/%s.jpg", folder, pictures[i]);
        copy_file(from, path);
    }
    CHECK(!chdir(folder));
}

/* Puts the program where no weights lie beside it: its own folder, and the one two above. */
void move_program(void)
{
    CHECK(!mkdir("p", 0777) && !mkdir("p/q", 0777) && !mkdir("p/q/r", 0777));
    copy_file(program, "p/q/r/cam_run");
    CHECK(!chmod("p/q/r/cam_run", 0755));
    snprintf(program, sizeof program, "%s/p/q/r/cam_run", folder);
}

/* The environment of the program: nothing that could point to weights, but what sanitizers read. */
static char **environment(void)
{
    static char home[128], ours[256], options[3][512];
    static char *variables[8], path[] = "PATH=/usr/bin:/bin";
    static const char *const kept[] = {"ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS"};
    int n = 0;
    snprintf(home, sizeof home, "HOME=%s/home", folder);
    variables[n++] = home;
    variables[n++] = path;
    for (int i = 0; i < 3; i++)
        if (getenv(kept[i])) {
            snprintf(options[i], sizeof options[i], "%s=%s", kept[i], getenv(kept[i]));
            variables[n++] = options[i];
        }
    snprintf(ours, sizeof ours, "CAM_WEIGHTS=%s", weights_folder ? weights_folder : "");
    if (weights_folder) variables[n++] = ours;
    variables[n] = NULL;
    return variables;
}

static void redirect(const char *path, int flags, int to)
{
    int fd = open(path, flags, 0666);
    if (fd < 0 || dup2(fd, to) < 0) _exit(99);
    close(fd);
}

/* Starts the program; `out` is where its stdout goes: a file's name, or NULL to close it. */
pid_t start(const char *out, const char *const *arguments)
{
    const char *argv[64] = {program};
    for (int i = 0; arguments[i]; i++) {
        CHECK(i < 62);
        argv[i + 1] = arguments[i];
    }
    fflush(NULL);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid) return pid;
    redirect(access(".in", R_OK) ? "/dev/null" : ".in", O_RDONLY, 0);
    redirect(".err", O_WRONLY | O_CREAT | O_TRUNC, 2);
    if (out) redirect(out, O_WRONLY | O_CREAT | O_TRUNC, 1);
    else close(1);
    execve(program, (char **)(uintptr_t)argv, environment());
    _exit(98);
}

int code_of(pid_t pid)
{
    int status;
    CHECK(waitpid(pid, &status, 0) == pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

char *text_of(const char *path, size_t *size)
{
    char *text = (char *)t_read_file(path, size);
    text[*size] = 0;
    return text;
}

outcome run(const char *const *arguments)
{
    outcome o = {.code = code_of(start(".out", arguments))};
    o.out = text_of(".out", &o.out_size);
    o.err = text_of(".err", &o.err_size);
    return o;
}

void forget(outcome *o)
{
    free(o->out);
    free(o->err);
}

/* Runs the program, which must refuse with this exit code, nothing on stdout, and one line on stderr that contains the text. */
void refuses(int code, const char *part, const char *const *arguments)
{
    outcome o = run(arguments);
    CHECK_MSG(o.code == code, "exit code %d, want %d; stderr: %s", o.code, code, o.err);
    CHECK_MSG(strstr(o.err, part), "'%s' lacks '%s'", o.err, part);
    CHECK_MSG(o.out_size == 0, "stdout: %s", o.out);
    const char *name = strrchr(program, '/') + 1;
    CHECK_MSG(!strncmp(o.err, name, strlen(name)) && !strncmp(o.err + strlen(name), ": ", 2) && strchr(o.err, '\n') == o.err + o.err_size - 1, "stderr: %s", o.err);
    forget(&o);
}

int exists(const char *path) { return !access(path, F_OK); }

/* How many files of the current folder have a name that begins and ends so. */
int count_files(const char *path, const char *begin, const char *end)
{
    DIR *d = opendir(path);
    struct dirent *entry;
    int count = 0;
    CHECK(d != NULL);
    while ((entry = readdir(d))) {
        size_t n = strlen(entry->d_name), m = strlen(end);
        count += entry->d_name[0] != '.' && !strncmp(entry->d_name, begin, strlen(begin)) && n >= m &&
                 !strcmp(entry->d_name + n - m, end);
    }
    closedir(d);
    return count;
}

int same_bytes(const char *a, const char *b)
{
    size_t n, m;
    uint8_t *x = t_read_file(a, &n), *y = t_read_file(b, &m);
    int same = n == m && !memcmp(x, y, n);
    free(x);
    free(y);
    return same;
}

/* ---- reading JSON ---- */

/* Reads the next token; the text is checked as it goes. */
static wt_json_token next(wt_json *json)
{
    wt_json_token token;
    en_error e;
    CHECK_OK(wt_json_next(json, &token, &e), e);
    return token;
}

/* Passes over the value that begins with this token. */
static void skip(wt_json *json, wt_json_token token)
{
    int depth = 0;
    for (;; token = next(json)) {
        depth += token.kind == WT_JSON_OBJECT || token.kind == WT_JSON_ARRAY;
        depth -= token.kind == WT_JSON_OBJECT_END || token.kind == WT_JSON_ARRAY_END;
        if (depth == 0 && token.kind != WT_JSON_KEY) return;
    }
}

/* Goes from a container's beginning to its member: a key's value, or an element by its number. 0 if there is none. */
static int descend(wt_json *json, wt_json_token *token, const char *step, size_t n)
{
    int array = token->kind == WT_JSON_ARRAY;
    CHECK(array || token->kind == WT_JSON_OBJECT);
    for (long i = 0;; i++) {
        *token = next(json);
        if (token->kind == WT_JSON_ARRAY_END || token->kind == WT_JSON_OBJECT_END) return 0;
        int here = array ? i == atol(step) : token->size == n && !memcmp(token->text, step, n);
        if (!array) *token = next(json);
        if (here) return 1;
        skip(json, *token);
    }
}

/* The scalar at a path such as "maps/0/status" as text, which lives until the eighth next call; NULL if there is none. */
const char *json_at(const char *text, size_t size, const char *path)
{
    static char values[8][512];
    static int turn;
    char *value = values[turn++ & 7];
    wt_json json = wt_json_text(text, size);
    wt_json_token token = next(&json);
    for (const char *step = path; *step;) {
        size_t n = strcspn(step, "/");
        if (!descend(&json, &token, step, n)) return NULL;
        step += n + (step[n] == '/');
    }
    en_error e;
    CHECK(token.size + 1 < sizeof values[0]);
    if (token.kind == WT_JSON_STRING) CHECK_OK(wt_json_string(&token, value, &e), e);
    else snprintf(value, sizeof values[0], "%.*s", (int)token.size, token.text);
    return value;
}

/* Every line must be one JSON object and nothing else; the number of lines. */
int check_lines(const char *text, size_t size)
{
    int lines = 0;
    CHECK(size > 0 && text[size - 1] == '\n');
    for (const char *line = text; line < text + size; lines++) {
        const char *end = strchr(line, '\n');
        wt_json json = wt_json_text(line, (size_t)(end - line));
        CHECK(*line == '{');
        while (next(&json).kind != WT_JSON_EOF) continue;
        line = end + 1;
    }
    return lines;
}
