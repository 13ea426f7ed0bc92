#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "lib/wire/http_field.h"

enum { LENGTH_MAX = 40 };

static bool valid(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-';
}

/* The name in memory of exactly its size, so that a sanitizer sees a byte read beyond it. */
static unsigned classify(const char *bytes, size_t length, uint32_t *ret_hash)
{
    char *name = malloc(length ? length : 1);
    unsigned flags;

    assert_non_null(name);
    memcpy(name, bytes, length);
    flags = http_field_classify(str_make(name, length), ret_hash);
    free(name);
    return flags;
}

static void a_name_is_invalid_for_one_wrong_byte_wherever_it_stands(void **state)
{
    char name[LENGTH_MAX];
    uint32_t hash;

    (void)state;
    for (size_t length = 1; length <= LENGTH_MAX; length++)
        for (size_t at = 0; at < length; at++)
            for (unsigned c = 0; c < 256; c++) {
                memset(name, 'q', length);
                name[at] = (char)c;
                assert_int_equal((classify(name, length, &hash) & HTTP_FIELD_INVALID) != 0,
                                 !valid((unsigned char)c));
            }
    assert_int_equal(classify("", 0, &hash), HTTP_FIELD_INVALID);
}

static void the_hash_knows_letters_but_not_their_case(void **state)
{
    char name[LENGTH_MAX], other[LENGTH_MAX];
    uint32_t hash, other_hash;

    (void)state;
    for (size_t length = 1; length <= LENGTH_MAX; length++)
        for (size_t at = 0; at < length; at++)
            for (unsigned c = 0; c < 256; c++) {
                memset(name, 'q', length);
                memset(other, 'Q', length);
                name[at] = (char)c;
                other[at] = 'k';
                classify(name, length, &hash);
                classify(other, length, &other_hash);
                assert_int_equal(hash == other_hash, c == 'k' || c == 'K');
            }
}

static void known_names_are_known_in_any_case(void **state)
{
    uint32_t hash;

    (void)state;
    assert_true(classify("Te", 2, &hash) & HTTP_FIELD_NOT_REQUEST);
    assert_true(classify("HOST", 4, &hash) & HTTP_FIELD_ONCE);
    assert_true(classify("cOOKIE", 6, &hash) & HTTP_FIELD_COOKIE);
    assert_true(classify("X-Forwarded-Proto", 17, &hash) & HTTP_FIELD_FORWARDED_PROTO);
    assert_true(classify("x-cloud-trace-CONTEXT", 21, &hash) & HTTP_FIELD_UNTRUSTED);
    assert_true(classify("METROPOLIS-anything-of-any-length", 33, &hash) & HTTP_FIELD_METROPOLIS);
    assert_int_equal(classify("Accept-Language", 15, &hash), 0);
}

static void the_first_letter_and_each_after_a_dash_are_upper(void **state)
{
    static const char shape[] = "aB-cD0-9eF--gH-";

    (void)state;
    for (size_t length = 1; length <= LENGTH_MAX; length++)
        for (size_t start = 0; start < sizeof(shape) - 1; start++) {
            char name[LENGTH_MAX], expected[LENGTH_MAX];
            char written[LENGTH_MAX + HTTP_FIELD_SLACK];
            char before = '-';

            for (size_t i = 0; i < length; i++) {
                name[i] = shape[(start + i) % (sizeof(shape) - 1)];
                expected[i] = str_lower_byte(name[i]);
                if (before == '-' && expected[i] >= 'a')
                    expected[i] = (char)(expected[i] - ('a' - 'A'));
                before = name[i];
            }
            assert_ptr_equal(http_field_put_canonical(written, str_make(name, length)),
                             written + length);
            assert_memory_equal(written, expected, length);
        }
}

static void a_value_is_judged_by_its_worst_byte_wherever_it_stands(void **state)
{
    char value[LENGTH_MAX];

    (void)state;
    for (size_t length = 1; length <= LENGTH_MAX; length++)
        for (size_t at = 0; at < length; at++)
            for (unsigned c = 0; c < 256; c++) {
                enum http_field_value expected = c < 0x20 || c == 0x7F ? HTTP_FIELD_CONTROL
                                                 : c >= 0x80           ? HTTP_FIELD_OTHER
                                                                       : HTTP_FIELD_ASCII;

                memset(value, ' ', length);
                value[at] = (char)c;
                assert_int_equal(http_field_judge(str_make(value, length)), expected);
            }
}

static void a_value_is_copied_and_found_odd_by_any_byte_that_is_not_plain(void **state)
{
    char value[LENGTH_MAX], copy[LENGTH_MAX + HTTP_FIELD_SLACK];

    (void)state;
    for (size_t length = 0; length <= LENGTH_MAX; length++)
        for (size_t at = 0; at < length || at == 0; at++)
            for (unsigned c = 0; c < 256; c++) {
                bool plain = true;

                memset(value, '~', length);
                if (length)
                    value[at] = (char)c;
                assert_ptr_equal(http_field_put_value(copy, str_make(value, length), &plain),
                                 copy + length);
                assert_memory_equal(copy, value, length);
                assert_int_equal(plain, length == 0 || (c >= 0x20 && c < 0x7F));
            }
}

static void the_length_of_a_name_ends_at_the_first_other_byte_whatever_follows(void **state)
{
    char text[LENGTH_MAX];

    (void)state;
    for (size_t length = 0; length <= LENGTH_MAX; length++)
        for (size_t at = 0; at <= length; at++)
            for (unsigned c = 0; c < 256; c++) {
                char *exact = malloc(length ? length : 1);

                assert_non_null(exact);
                memset(text, 'q', sizeof(text));
                if (at < length)
                    text[at] = (char)c;
                memcpy(exact, text, length);
                assert_int_equal(http_field_count_name(str_make(exact, length)),
                                 at < length && !valid((unsigned char)c) ? at : length);
                free(exact);
            }
}

static void the_length_of_ascii_ends_at_the_first_other_byte_whatever_follows(void **state)
{
    const char others[] = {'\0', '\t', '\r', '\x1F', '\x7F', '\x80', '\xFF'};

    (void)state;
    for (size_t length = 0; length <= LENGTH_MAX; length++)
        for (size_t at = 0; at <= length; at++)
            for (size_t i = 0; i < sizeof(others); i++) {
                char *text = malloc(length ? length : 1); /* just as large */

                assert_non_null(text);
                memset(text, i % 2 ? ' ' : '~', length);
                memset(text + at, others[i], length - at);
                assert_int_equal(http_field_count_ascii(str_make(text, length)), at);
                free(text);
            }
}

static void a_name_met_before_is_known_by_all_its_bytes(void **state)
{
    static struct http_field_names names;
    const struct http_field_name *entry;
    char name[LENGTH_MAX], expected[LENGTH_MAX + HTTP_FIELD_SLACK];
    uint32_t hash;

    (void)state;
    for (int pass = 0; pass < 2; pass++)
        for (size_t length = 0; length <= LENGTH_MAX; length++)
            for (size_t at = 0; at < length || at == 0; at++) {
                memset(name, 'q', length);
                name[at] = 'K';
                http_field_names_renew(&names);
                entry = http_field_names_find(&names, str_make(name, length));
                if (length == 0 || length > HTTP_FIELD_NAME_MAX) {
                    assert_null(entry);
                    continue;
                }
                assert_int_equal(entry->flags, classify(name, length, &hash));
                assert_int_equal(entry->hash, hash);
                assert_int_equal(entry->length, length);
                memcpy(http_field_put_canonical(expected, str_make(name, length)), ": ", 2);
                assert_memory_equal(entry->canonical, expected, length + 2);
            }
}

static void a_name_stays_known_while_others_of_its_round_come(void **state)
{
    static struct http_field_names names;
    const struct http_field_name *entries[2 * HTTP_FIELD_NAMES];
    char text[2 * HTTP_FIELD_NAMES][8];
    size_t kept = 0;

    (void)state;
    http_field_names_renew(&names);
    for (size_t i = 0; i < 2 * HTTP_FIELD_NAMES; i++) {
        snprintf(text[i], sizeof(text[i]), "x-%03zu", i);
        entries[i] = http_field_names_find(&names, str_from(text[i]));
        kept += entries[i] != NULL;
    }
    for (size_t i = 0; i < 2 * HTTP_FIELD_NAMES; i++)
        if (entries[i])
            assert_memory_equal(entries[i]->sent, text[i], 6);
    assert_true(kept > HTTP_FIELD_NAMES / 2 && kept <= HTTP_FIELD_NAMES);
    http_field_names_renew(&names); /* now every name finds a place again */
    for (size_t i = 0; i < 2 * HTTP_FIELD_NAMES; i++, http_field_names_renew(&names))
        assert_non_null(http_field_names_find(&names, str_from(text[i])));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_is_invalid_for_one_wrong_byte_wherever_it_stands),
        cmocka_unit_test(the_hash_knows_letters_but_not_their_case),
        cmocka_unit_test(known_names_are_known_in_any_case),
        cmocka_unit_test(the_first_letter_and_each_after_a_dash_are_upper),
        cmocka_unit_test(a_value_is_judged_by_its_worst_byte_wherever_it_stands),
        cmocka_unit_test(a_value_is_copied_and_found_odd_by_any_byte_that_is_not_plain),
        cmocka_unit_test(the_length_of_a_name_ends_at_the_first_other_byte_whatever_follows),
        cmocka_unit_test(the_length_of_ascii_ends_at_the_first_other_byte_whatever_follows),
        cmocka_unit_test(a_name_met_before_is_known_by_all_its_bytes),
        cmocka_unit_test(a_name_stays_known_while_others_of_its_round_come),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
