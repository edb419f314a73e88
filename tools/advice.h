/* SPDX-License-Identifier: MIT */
/* What to do about missing weights, on stderr. */
#ifndef TOOLS_ADVICE_H
#define TOOLS_ADVICE_H

/* The command that gets the official weights of a network to where cam_net_open finds them; nothing if there is no such file. */
void advise_download(const char *net);

/* The files that cam_net_open looked for, by folder, and the command. */
void advise_missing(const char *net);

/* Whether one of these files is there after all, so that weights are not missing but broken. */
int weights_are_there(const char *net);

#endif
