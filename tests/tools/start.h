/* SPDX-License-Identifier: MIT */
/* Starts the built cam_run as its users do: in a folder of its own, in an environment without weights. Reads what came of it. */
#ifndef TESTS_TOOLS_START_H
#define TESTS_TOOLS_START_H

#include "tests/test.h"

#include <sys/types.h>

extern char folder[];              /* where the program runs                               */
extern char program[4096];         /* its path                                             */
extern const char *weights_folder; /* CAM_WEIGHTS of the next starts; NULL: unset          */

/* First call of a test: moves into a new folder with the tests' pictures, and finds the program beside the test runner. */
void enter(void);

/* Puts the program where no weights lie beside it. */
void move_program(void);

typedef struct outcome {
    int code; /* exit code, or minus the signal */
    char *out, *err;
    size_t out_size, err_size;
} outcome;

/* Starts the program; `out` is where its stdout goes: a file's name, or NULL to close it. A file named .in is its stdin. */
pid_t start(const char *out, const char *const *arguments);

/* Waits for its end: the exit code, or minus the signal. */
int code_of(pid_t pid);

outcome run(const char *const *arguments);
void forget(outcome *o);

/* Runs the program, which must refuse with this exit code, nothing on stdout, and one line on stderr that contains the text. */
void refuses(int code, const char *part, const char *const *arguments);

#define ARGS(...) (const char *const[]) { __VA_ARGS__, NULL }
#define NET "-n", "mobilenet_v2", "-w", "seeded"
#define INPUT "--input-tensor", "seeded-image:1"

/* Runs the program and checks its exit code; the message shows what it said. */
#define RUN(o, want, ...)                                                                                                          \
    outcome o = run(ARGS(__VA_ARGS__));                                                                                            \
    CHECK_MSG(o.code == (want), "exit code %d, want %d; stderr: %s; stdout: %.300s", o.code, (want), o.err, o.out)

#define REFUSES(code, part, ...) refuses((code), (part), ARGS(__VA_ARGS__))

/* ---- files ---- */

void write_file(const char *name, const void *bytes, size_t size);
void copy_file(const char *from, const char *to);
char *text_of(const char *path, size_t *size); /* ended by a NUL; the caller frees */
int exists(const char *path);
int same_bytes(const char *a, const char *b);

/* How many files of a folder have a name that begins and ends so. */
int count_files(const char *path, const char *begin, const char *end);

/* ---- JSON ---- */

/* Every line must be one JSON object and nothing else; the number of lines. */
int check_lines(const char *text, size_t size);

/* The scalar at a path such as "maps/0/status" as text, which lives until the eighth next call; NULL if there is none. */
const char *json_at(const char *text, size_t size, const char *path);

#define CHECK_TEXT(got, want)                                                           \
    do {                                                                                \
        const char *got_ = (got);                                                       \
        CHECK_MSG(got_ && !strcmp(got_, (want)), "%s is %s, want %s", #got, got_ ? got_ : "missing", (want)); \
    } while (0)

#endif
