/* SPDX-License-Identifier: MIT */
/* Names of output files: from each input's path a short stem that any file system takes, different for every input. */
#ifndef TOOLS_STEMS_H
#define TOOLS_STEMS_H

enum { STEM_SIZE = 76 };
typedef char stem[STEM_SIZE];

/* One stem for each path, in their order: the file's name without folder and ending, unwelcome letters replaced by '_'; where that
 * is the same as that of an earlier one, "~2", "~3", ... follow. "-" becomes "stdin". The caller frees; NULL: out of memory. */
stem *stems_make(char *const *paths, int count);

#endif
