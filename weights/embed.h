/* SPDX-License-Identifier: MIT */
/* A file of the source tree inside the binary, so that an installed program needs no data folder. The assembler copies it, which
 * costs nothing at compile time. ELF only; the path counts from the top of the tree, where make runs. */
#ifndef WEIGHTS_EMBED_H
#define WEIGHTS_EMBED_H

#include <stdint.h>

/* Defines `symbol`, the file's bytes, and `symbol`_end behind the last one. At file scope. */
#define WT_EMBED(symbol, path)                                      \
    __asm__(".pushsection .rodata, \"a\"\n"                         \
            ".balign 64\n"                                          \
            ".hidden " #symbol "\n.hidden " #symbol "_end\n"        \
            ".globl " #symbol "\n.globl " #symbol "_end\n"          \
            #symbol ":\n.incbin \"" path "\"\n" #symbol "_end:\n"   \
            ".popsection\n");                                       \
    extern const uint8_t symbol[], symbol##_end[]

#endif
