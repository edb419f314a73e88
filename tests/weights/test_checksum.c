/* SPDX-License-Identifier: MIT */
/* Checksums against published values and against their definitions. */
#include "tests/test.h"
#include "weights/checksum.h"

#include <stdlib.h>
#include <string.h>

static uint8_t *random_bytes(size_t n)
{
    uint8_t *p = malloc(n + 1);
    CHECK(p != NULL);
    for (size_t i = 0; i < n; i++) p[i] = (uint8_t)t_random();
    return p;
}

static void sha256_of(const void *bytes, size_t n, size_t piece, char text[65])
{
    uint8_t digest[32];
    wt_sha256 s;
    wt_sha256_start(&s);
    for (size_t at = 0; at < n; at += piece) wt_sha256_add(&s, (const uint8_t *)bytes + at, n - at < piece ? n - at : piece);
    wt_sha256_end(&s, digest);
    wt_sha256_text(digest, text);
}

TEST(crc32_and_adler32_give_the_published_values)
{
    CHECK(wt_crc32(0, "", 0) == 0);
    CHECK(wt_crc32(0, "123456789", 9) == 0xCBF43926);
    CHECK(wt_crc32(0, "IEND", 4) == 0xAE426082); /* the last four bytes of every PNG */
    CHECK(wt_adler32(1, "", 0) == 1);
    CHECK(wt_adler32(1, "Wikipedia", 9) == 0x11E60398);
}

TEST(crc32_by_words_equals_the_definition_bit_by_bit)
{
    for (size_t n = 4090; n < 4110; n++) {
        uint8_t *p = random_bytes(n);
        uint32_t crc = 0xFFFFFFFF;
        for (size_t i = 0; i < n; i++) {
            crc ^= p[i];
            for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320 : 0);
        }
        CHECK(wt_crc32(0, p, n) == ~crc);
        free(p);
    }
}

TEST(checksums_of_pieces_join_to_that_of_the_whole)
{
    enum { N = 100000 };
    uint8_t *p = random_bytes(N);
    for (size_t cut = 0; cut <= N; cut += 1 + (size_t)(t_random() % 3000)) {
        CHECK(wt_crc32(wt_crc32(0, p, cut), p + cut, N - cut) == wt_crc32(0, p, N));
        CHECK(wt_adler32(wt_adler32(1, p, cut), p + cut, N - cut) == wt_adler32(1, p, N));
    }
    free(p);
}

TEST(adler32_does_not_overflow_on_the_largest_bytes)
{
    enum { N = 1000003 };
    uint8_t *p = random_bytes(N);
    memset(p, 255, N);
    uint64_t a = 65520, b = 65520;
    for (size_t i = 0; i < N; i++) {
        a = (a + 255) % 65521;
        b = (b + a) % 65521;
    }
    CHECK(wt_adler32(65520u << 16 | 65520u, p, N) == (b << 16 | a));
    free(p);
}

TEST(sha256_gives_the_published_digests)
{
    static const char *const cases[][2] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
        {"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
         "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"},
    };
    char text[65];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sha256_of(cases[i][0], strlen(cases[i][0]), 64, text);
        CHECK_MSG(!strcmp(text, cases[i][1]), "\"%s\": %s", cases[i][0], text);
    }
}

TEST(sha256_of_a_million_letters_a_is_the_published_one_in_pieces_of_any_size)
{
    enum { N = 1000000 };
    static const size_t pieces[] = {1, 3, 63, 64, 65, 127, 1000, N};
    char *a = malloc(N), text[65];
    CHECK(a != NULL);
    memset(a, 'a', N);
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        sha256_of(a, N, pieces[i], text);
        CHECK(!strcmp(text, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"));
    }
    free(a);
}

TEST(sha256_pads_messages_of_every_length_around_a_block)
{
    /* The digest of the digests of 0, 1, ... 199 letters "a", computed with Python's hashlib. */
    char a[200], text[65];
    uint8_t digest[32];
    wt_sha256 all, one;
    memset(a, 'a', sizeof a);
    wt_sha256_start(&all);
    for (size_t n = 0; n < sizeof a; n++) {
        wt_sha256_start(&one);
        wt_sha256_add(&one, a, n);
        wt_sha256_end(&one, digest);
        wt_sha256_add(&all, digest, sizeof digest);
    }
    wt_sha256_end(&all, digest);
    wt_sha256_text(digest, text);
    CHECK_MSG(!strcmp(text, "752c007f38611cfbf5fa42cb1cea3d8e086491c844d0cc4defd632cb81423506"), "%s", text);
}

TEST(sha256_by_the_processors_own_instructions_equals_the_definition)
{
    static uint8_t bytes[64 * 9];
    if (wt_sha256_fast() == wt_sha256_portable) t_skip("this processor has no instructions for SHA-256");
    for (int round = 0; round < 1000; round++) {
        uint32_t a[8], b[8];
        for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)t_random();
        for (int i = 0; i < 8; i++) a[i] = b[i] = (uint32_t)t_random();
        size_t count = t_random() % 10;
        wt_sha256_portable(a, bytes, count);
        wt_sha256_fast()(b, bytes, count);
        CHECK(!memcmp(a, b, sizeof a));
    }
}
