#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the above first. */
#include <cmocka.h>

#include "lib/base/utf8.h"

static void bytes_are_judged_as_rfc_3629_does(void **state)
{
    static const struct {
        struct str text;
        bool valid;
    } cases[] = {
        {STR_LIT(""), true},
        {STR_LIT("ascii\x01\x7F"), true},
        {STR_LIT("\xC2\x80 \xDF\xBF"), true},
        {STR_LIT("\xE0\xA0\x80 \xED\x9F\xBF \xEE\x80\x80 \xEF\xBF\xBF"), true},
        {STR_LIT("\xF0\x90\x80\x80 \xF4\x8F\xBF\xBF"), true},
        {STR_LIT("\x80"), false},              /* a tail alone */
        {STR_LIT("\xC3"), false},              /* cut */
        {STR_LIT("\xE2\x82"), false},          /* cut */
        {STR_LIT("\xC0\xAF"), false},          /* an overlong slash */
        {STR_LIT("\xC1\xBF"), false},          /* overlong */
        {STR_LIT("\xE0\x9F\xBF"), false},      /* overlong */
        {STR_LIT("\xF0\x8F\xBF\xBF"), false},  /* overlong */
        {STR_LIT("\xED\xA0\x80"), false},      /* a surrogate */
        {STR_LIT("\xF4\x90\x80\x80"), false},  /* above U+10FFFF */
        {STR_LIT("\xF5\x80\x80\x80"), false},  /* above U+10FFFF */
        {STR_LIT("\xE2\x28\xA1"), false},      /* no tail */
        {STR_LIT("\xF0\x90\x28\xBC"), false},  /* no tail */
        {STR_LIT("\xF0\x90\x80\xC0 "), false}, /* no tail */
        {STR_LIT("a\xFF"), false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        if (utf8_valid(cases[i].text) != cases[i].valid)
            fail_msg("case %zu", i);
}

static void a_cut_never_divides_a_character(void **state)
{
    struct str text = STR_LIT("a\xE2\x82\xAC z");

    (void)state;
    assert_int_equal(utf8_cut(text, 100).len, 6);
    assert_int_equal(utf8_cut(text, 4).len, 4);
    assert_int_equal(utf8_cut(text, 3).len, 1);
    assert_int_equal(utf8_cut(text, 2).len, 1);
    assert_int_equal(utf8_cut(text, 0).len, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_are_judged_as_rfc_3629_does),
        cmocka_unit_test(a_cut_never_divides_a_character),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
