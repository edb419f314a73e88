/* SPDX-License-Identifier: MIT */
/* Errors as values. */
#include "engine/status.h"
#include "tests/test.h"

#include <string.h>

static en_status forward(en_status status, int *after)
{
    EN_TRY(status);
    *after = 1;
    return EN_OK;
}

TEST(a_failure_leaves_its_status_and_message)
{
    en_error e = {0};
    CHECK(en_fail(&e, EN_E_FORMAT, "chunk %d, want %s", 7, "IEND") == EN_E_FORMAT);
    CHECK(e.status == EN_E_FORMAT && !strcmp(e.text, "chunk 7, want IEND"));
}

TEST(a_failure_can_be_reported_to_nobody)
{
    CHECK(en_fail(NULL, EN_E_IO, "%d", 1) == EN_E_IO);
    CHECK(en_wrap(NULL, EN_E_IO, "%d", 1) == EN_E_IO);
}

TEST(a_wrapped_message_begins_with_the_new_words)
{
    en_error e = {0};
    en_fail(&e, EN_E_FORMAT, "bad chunk");
    CHECK(en_wrap(&e, EN_E_IO, "%s.png", "cat") == EN_E_IO);
    CHECK(e.status == EN_E_IO && !strcmp(e.text, "cat.png: bad chunk"));
}

TEST(messages_that_are_too_long_are_cut_and_terminated)
{
    en_error e;
    char text[2000];
    for (int n = 0; n < 1999; n += 37) { /* every length around the room of 512 */
        memset(text, 'x', sizeof text);
        text[n] = 0;
        memset(&e, 1, sizeof e);
        en_fail(&e, EN_E_ARG, "%s", text);
        CHECK(strlen(e.text) == (size_t)(n < 511 ? n : 511) && !strncmp(e.text, text, strlen(e.text)));
        en_wrap(&e, EN_E_ARG, "%s", "file");
        CHECK(memchr(e.text, 0, sizeof e.text) && !strncmp(e.text, "file: ", 6));
        en_wrap(&e, EN_E_ARG, "%s", text);
        CHECK(memchr(e.text, 0, sizeof e.text) && !strncmp(e.text, text, (size_t)(n < 511 ? n : 511)));
    }
}

TEST(every_status_has_a_meaning_of_its_own)
{
    for (int a = 0; a >= EN_E_CANCELLED; a--) {
        CHECK(strcmp(en_status_text((en_status)a), "unknown status"));
        for (int b = 0; b > a; b--) CHECK(strcmp(en_status_text((en_status)a), en_status_text((en_status)b)));
    }
    CHECK(!strcmp(en_status_text((en_status)1), "unknown status"));
}

TEST(a_failed_call_is_forwarded_at_once)
{
    int after = 0;
    CHECK(forward(EN_E_LIMIT, &after) == EN_E_LIMIT && !after);
    CHECK(forward(EN_OK, &after) == EN_OK && after);
}
