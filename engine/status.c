/* SPDX-License-Identifier: MIT */
/* Errors as values: formatting and forwarding of messages. */
#include "engine/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

en_status en_fail(en_error *e, en_status status, const char *format, ...)
{
    if (e) {
        va_list args;
        va_start(args, format);
        vsnprintf(e->text, sizeof e->text, format, args);
        va_end(args);
        e->status = status;
    }
    return status;
}

en_status en_wrap(en_error *e, en_status status, const char *format, ...)
{
    if (e) {
        char inner[sizeof e->text];
        memcpy(inner, e->text, sizeof inner);
        va_list args;
        va_start(args, format);
        int n = vsnprintf(e->text, sizeof e->text, format, args);
        va_end(args);
        if (n >= 0 && (size_t)n < sizeof e->text) {
            int room = (int)(sizeof e->text - (size_t)n);
            snprintf(e->text + n, (size_t)room, ": %.*s", room > 3 ? room - 3 : 0, inner);
        }
        e->status = status;
    }
    return status;
}

const char *en_status_text(en_status status)
{
    switch (status) {
    case EN_OK: return "done";
    case EN_E_ARG: return "invalid argument";
    case EN_E_NOMEM: return "out of memory";
    case EN_E_IO: return "input or output failed";
    case EN_E_FORMAT: return "malformed data";
    case EN_E_UNSUPPORTED: return "not supported";
    case EN_E_NONFINITE: return "not a finite number";
    case EN_E_LIMIT: return "limit exceeded";
    case EN_E_CANCELLED: return "cancelled";
    }
    return "unknown status";
}
