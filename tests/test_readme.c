/* SPDX-License-Identifier: MIT */
/* The chapters keep their word: tests/readme compiles and runs the programs in a README, looks up its quotations and repeats its commands.
 * Where the best instruction set rounds twice (base of x86-64), figures differ in their last digits and only running is tested. */
#include "engine/cpu.h"
#include "tests/test.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NO_COMPILER = 77 };

/* The folder of this program, which holds the library too. Sanitizers want flags of their own, which a reader's compiler call has not. */
static const char *build_folder(void)
{
    static char folder[1024];
    ssize_t n = readlink("/proc/self/exe", folder, sizeof folder - 1);
    CHECK(n > 0);
    folder[n] = 0;
    *strrchr(folder, '/') = 0;
    const char *name = strrchr(folder, '/') + 1;
    if (strstr(name, "-address") || strstr(name, "-undefined") || strstr(name, "-thread")) t_skip("this build needs the sanitizer's flags");
    return folder;
}

/* Exit status of tests/readme; what it says is in `said`. */
static int check_readme(const char *folder, const char *readme, char said[4096])
{
    char command[2560];
    snprintf(command, sizeof command, "sh tests/readme '%s' '%s' 2>&1", folder, readme);
    FILE *f = popen(command, "r");
    CHECK(f != NULL);
    said[fread(said, 1, 4095, f)] = 0;
    while (fgetc(f) != EOF) continue; /* the script must not die of a closed pipe */
    int status = pclose(f);
    CHECK(WIFEXITED(status));
    return WEXITSTATUS(status);
}

TEST(every_program_quotation_and_command_in_the_chapters_is_true)
{
    static char said[4096];
    const char *folder = build_folder();
    glob_t found;
    CHECK(!glob("*/README.md", 0, NULL, &found));
    CHECK(!glob("*/*/README.md", GLOB_APPEND, NULL, &found));
    glob("README.md", GLOB_APPEND, NULL, &found);
#if defined __x86_64__
    if (!strcmp(en_kernels()->name, "base")) setenv("ANY_OUTPUT", "1", 1);
#endif
    int failed = 0;
    for (size_t i = 0; i < found.gl_pathc; i++) {
        int status = check_readme(folder, found.gl_pathv[i], said);
        if (status == NO_COMPILER) t_skip("%s", said);
        failed |= status != 0;
        printf("%s", said);
    }
    globfree(&found);
    fflush(stdout);
    CHECK(!failed);
}

/* A README of one paragraph, and what tests/readme has to say of it. */
static void check_claim(const char *text, int status, const char *says)
{
    static char said[4096];
    const char *folder = build_folder();
    char path[] = "/tmp/readme-XXXXXX";
    int file = mkstemp(path);
    CHECK(file >= 0 && write(file, text, strlen(text)) == (ssize_t)strlen(text) && !close(file));
    int got = check_readme(folder, path, said);
    unlink(path);
    if (got == NO_COMPILER) t_skip("%s", said);
    CHECK_MSG(got == status && strstr(said, says), "exit %d, want %d and \"%s\":\n%s%s", got, status, says, text, said);
}

#define C_BLOCK(text) "```c\n" text "```\n"
#define SH_BLOCK(text) "```sh\n" text "```\n"
#define TEXT_BLOCK(text) "```text\n" text "```\n"
#define HELLO C_BLOCK("#include <stdio.h>\nint main(void) { return puts(\"hello\") < 0; }\n")

TEST(what_is_true_in_a_chapter_passes_and_is_counted)
{
    check_claim(HELLO "prints:\n" TEXT_BLOCK("hello\n") SH_BLOCK("echo a; echo b >&2\n") "\n" TEXT_BLOCK("a\n"), 0, "1 command, 1 program\n");
    check_claim("From `other` and `tests/main.c`:\n\n" C_BLOCK("#include <sys/wait.h>\n#include <time.h>\n"), 0, "1 quote\n");
    check_claim(SH_BLOCK("exit 1 # nobody says what it prints\n") "```\nanything\n```\n", 0, ": \n");
}

TEST(what_is_false_in_a_chapter_is_found)
{
    check_claim(HELLO TEXT_BLOCK("hallo\n"), 1, "-hallo\n+hello\n");
    check_claim(C_BLOCK("int main(void) { return 3; }\n"), 1, ":1: the program ends with 3");
    check_claim(C_BLOCK("int main(void) { return x; }\n"), 1, "does not compile");
    check_claim("`tests/main.c`:\n" C_BLOCK("#include <time.h>\n#include <sys/wait.h>\n"), 1, ":2: these lines do not stand in tests/main.c");
    check_claim("`tests/main.c`:\n" C_BLOCK("include <time.h>\n"), 1, "do not stand");
    check_claim("`tests/main.c`:\n" C_BLOCK("#include <time\n"), 1, "do not stand");
    check_claim("Somewhere:\n" C_BLOCK("#include <time.h>\n"), 1, "a quotation needs the name of its file");
    check_claim(SH_BLOCK("./cam_run --list-methods | head -n 1\n") TEXT_BLOCK("gradcam++\n"), 1, "+gradcam\n");
    check_claim(TEXT_BLOCK("hello\n"), 1, ":1: a text block is the output of a c or sh block before it");
    check_claim("`tests/main.c`:\n" C_BLOCK("#include <time.h>\n") TEXT_BLOCK("hello\n"), 1, "a text block is the output");
    check_claim(HELLO "```c\n", 1, "a block without an end");
}
