#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the above first. */
#include <cmocka.h>

#include <string.h>

#include "lib/base/random.h"

static void numbers_do_not_repeat_across_refills(void **state)
{
    static uint64_t seen[2000];
    struct random_source source;

    (void)state;
    random_init(&source);
    for (size_t i = 0; i < 2000; i++) {
        seen[i] = random_u64(&source);
        for (size_t j = 0; j < i; j++)
            assert_true(seen[i] != seen[j]);
    }
}

static void weak_numbers_do_not_repeat_and_no_two_sources_have_the_same(void **state)
{
    static uint64_t seen[2000];
    struct random_source sources[2];

    (void)state;
    random_init(&sources[0]);
    random_init(&sources[1]);
    for (size_t i = 0; i < 2000; i++) {
        seen[i] = random_weak(&sources[i % 2].weak);
        for (size_t j = 0; j < i; j++)
            assert_true(seen[i] != seen[j]);
    }
}

static void text_has_letters_and_digits_only_and_ends_in_nul(void **state)
{
    struct random_source source;
    char text[10001];
    size_t counts[256] = {0}, used = 0;

    (void)state;
    random_init(&source);
    memset(text, '?', sizeof(text));
    random_text(&source, text, sizeof(text));
    assert_int_equal(strlen(text), 10000);
    for (size_t i = 0; i < 10000; i++)
        counts[(unsigned char)text[i]]++;
    for (int c = 0; c < 256; c++)
        used += counts[c] > 0;
    assert_int_equal(used, 62);
    assert_int_equal(strspn(text, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"),
                     10000);
    /* 161 of each are expected; 13 is the standard deviation. */
    for (int c = 'a'; c <= 'z'; c++)
        assert_in_range(counts[c], 60, 260);
}

static void what_was_handed_out_is_wiped(void **state)
{
    struct random_source source;
    uint64_t number;

    (void)state;
    random_init(&source);
    number = random_u64(&source);
    for (size_t i = 0; i + sizeof(number) <= sizeof(source.bytes); i++)
        assert_true(memcmp(source.bytes + i, &number, sizeof(number)) != 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_do_not_repeat_across_refills),
        cmocka_unit_test(weak_numbers_do_not_repeat_and_no_two_sources_have_the_same),
        cmocka_unit_test(text_has_letters_and_digits_only_and_ends_in_nul),
        cmocka_unit_test(what_was_handed_out_is_wiped),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
