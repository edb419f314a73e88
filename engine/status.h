/* SPDX-License-Identifier: MIT */
/* Errors are values. A function that can fail returns an en_status and, where the caller passes an en_error, leaves there
 * one line saying what failed, where, and what was wanted instead. Nothing in the library prints, exits or aborts. */
#ifndef ENGINE_STATUS_H
#define ENGINE_STATUS_H

typedef enum en_status {
    EN_OK = 0,
    EN_E_ARG = -1,         /* the caller asked for something that does not exist or does not fit      */
    EN_E_NOMEM = -2,       /* an allocation failed                                                    */
    EN_E_IO = -3,          /* the system could not open, read, write or map a file                    */
    EN_E_FORMAT = -4,      /* bytes that are not what they claim to be                                */
    EN_E_UNSUPPORTED = -5, /* well-formed, but a feature this program does not have                   */
    EN_E_NONFINITE = -6,   /* NaN or infinity where a number was needed                               */
    EN_E_LIMIT = -7,       /* a cap on size, count or depth was exceeded                              */
    EN_E_CANCELLED = -8    /* the caller's progress function asked to stop                            */
} en_status;

typedef struct en_error {
    en_status status;
    char text[512]; /* one line, no newline, always terminated */
} en_error;

/* Records the failure in *e (if e is not NULL) and returns status, so that `return en_fail(e, ...)` reads as one step. */
en_status en_fail(en_error *e, en_status status, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Puts "format: " before the message that *e already holds, and returns its status: a file adds its name on the way up. */
en_status en_wrap(en_error *e, en_status status, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Forwards a failure to the caller. */
#define EN_TRY(call)                        \
    do {                                    \
        en_status status_ = (call);         \
        if (status_ != EN_OK) return status_; \
    } while (0)

/* The general meaning of a status, a string literal. */
const char *en_status_text(en_status status);

#endif
