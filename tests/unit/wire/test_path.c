#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the above first. */
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>

#include "lib/wire/path.h"

enum { MAX = 8 };

/* segments: each decoded one followed by "|". */
static void raw_paths_are_split_first_and_decoded_once(void **state)
{
    static const struct {
        struct str raw, segments;
    } cases[] = {
        {STR_LIT("/"), STR_LIT("|")},
        {STR_LIT("/foo"), STR_LIT("foo|")},
        {STR_LIT("/foo/"), STR_LIT("foo||")},
        {STR_LIT("//a"), STR_LIT("|a|")},
        {STR_LIT("/%61dmin"), STR_LIT("admin|")},
        {STR_LIT("/a%2Fb/c%2f"), STR_LIT("a/b|c/|")},
        {STR_LIT("/%252e"), STR_LIT("%2e|")},
        {STR_LIT("/a+b"), STR_LIT("a+b|")},
        {STR_LIT("/.../..a"), STR_LIT("...|..a|")},
        {STR_LIT("/%C3%A9/\xC3\xA9/\xC3%A9"), STR_LIT("\xC3\xA9|\xC3\xA9|\xC3\xA9|")},
        {STR_LIT("/%23%3F%20"), STR_LIT("#? |")},
        {STR_LIT("/1/2/3/4/5/6/7/8"), STR_LIT("1|2|3|4|5|6|7|8|")},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct str segments[MAX];
        char room[64], joined[128];
        size_t length = 0;
        int count = path_split(cases[i].raw, room, segments, MAX);

        for (int j = 0; j < count; j++) {
            memcpy(joined + length, segments[j].ptr, segments[j].len);
            length += segments[j].len;
            joined[length++] = '|';
        }
        if (!str_equal(str_make(joined, length), cases[i].segments))
            fail_msg(STR_FMT ": %d, " STR_FMT, STR_ARG(cases[i].raw), count, (int)length, joined);
    }
}

static void dangerous_and_malformed_paths_are_refused(void **state)
{
    static const struct str cases[] = {
        STR_LIT(""),           STR_LIT("foo"),         STR_LIT("*"),       STR_LIT("http://h/"),
        STR_LIT("/."),         STR_LIT("/a/../b"),     STR_LIT("/%2e%2E"), STR_LIT("/.%2e/x"),
        STR_LIT("/%"),         STR_LIT("/%4"),         STR_LIT("/%4g"),    STR_LIT("/%g4"),
        STR_LIT("/%00"),       STR_LIT("/a%0d%0aPUB"), STR_LIT("/%7F"),    STR_LIT("/%1f"),
        STR_LIT("/a\nb"),      STR_LIT("/a\0b"),       STR_LIT("/a#b"),    STR_LIT("/a?b"),
        STR_LIT("/%FF"),       STR_LIT("/%C0%AF"),     STR_LIT("/\xC3"),   STR_LIT("/%C3/%A9"),
        STR_LIT("/%ED%A0%80"),
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct str segments[MAX];
        char room[64];

        if (path_split(cases[i], room, segments, MAX) != -EINVAL)
            fail_msg("case %zu: " STR_FMT, i, STR_ARG(cases[i]));
    }
}

static void too_many_segments_are_told_apart(void **state)
{
    struct str segments[MAX];
    char room[64];

    (void)state;
    assert_int_equal(path_split(STR_LIT("/1/2/3/4/5/6/7/8/9"), room, segments, MAX), -E2BIG);
    assert_int_equal(path_split(STR_LIT("/1/2"), room, segments, 1), -E2BIG);
}

static void equal_segments_are_encoded_with_equal_bytes(void **state)
{
    static const struct {
        struct str raw, canonical;
    } cases[] = {
        {STR_LIT("/"), STR_LIT("/")},
        {STR_LIT("/a-._~Z9/"), STR_LIT("/a-._~Z9/")},
        {STR_LIT("/%61%2f%2F:@"), STR_LIT("/a%2F%2F%3A%40")},
        {STR_LIT("/\xC3\xA9"), STR_LIT("/%C3%A9")},
        {STR_LIT("/%25"), STR_LIT("/%25")},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct str segments[MAX];
        char room[64];
        struct buffer out;
        int count = path_split(cases[i].raw, room, segments, MAX);

        assert_true(count > 0);
        buffer_init(&out, 64);
        assert_int_equal(path_encode(segments, (size_t)count, &out), 0);
        if (!str_equal(buffer_view(&out), cases[i].canonical))
            fail_msg("case %zu: " STR_FMT, i, STR_ARG(buffer_view(&out)));
        buffer_done(&out);
        buffer_init(&out, cases[i].canonical.len - 1);
        assert_int_equal(path_encode(segments, (size_t)count, &out), -ENOBUFS);
        buffer_done(&out);
    }
}

static void the_first_query_parameter_of_a_name_is_found(void **state)
{
    static const struct {
        struct str query, name, value;
        int found;
    } cases[] = {
        {STR_LIT("a=1&b=2"), STR_LIT("b"), STR_LIT("2"), 1},
        {STR_LIT("a=1&a=2"), STR_LIT("a"), STR_LIT("1"), 1},
        {STR_LIT("a"), STR_LIT("a"), STR_LIT(""), 1},
        {STR_LIT("a="), STR_LIT("a"), STR_LIT(""), 1},
        {STR_LIT("a=b=c"), STR_LIT("a"), STR_LIT("b=c"), 1},
        {STR_LIT("x+%61=1%2B+2"), STR_LIT("x a"), STR_LIT("1+ 2"), 1},
        {STR_LIT("&&a=1"), STR_LIT("a"), STR_LIT("1"), 1},
        {STR_LIT("a=%zz&a=2"), STR_LIT("a"), STR_LIT("2"), 1},
        {STR_LIT("%zz=1&a=2"), STR_LIT("a"), STR_LIT("2"), 1},
        {STR_LIT("A=1"), STR_LIT("a"), STR_LIT(""), 0},
        {STR_LIT("ab=1"), STR_LIT("a"), STR_LIT(""), 0},
        {STR_LIT(""), STR_LIT("a"), STR_LIT(""), 0},
        {STR_LIT("b"), STR_LIT("a"), STR_LIT(""), 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct str value = str_make(NULL, 0);
        char room[32];
        int found = path_query_find(cases[i].query, cases[i].name, room, &value);

        if (found != cases[i].found || !str_equal(value, cases[i].value))
            fail_msg("case %zu: %d " STR_FMT, i, found, STR_ARG(value));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(raw_paths_are_split_first_and_decoded_once),
        cmocka_unit_test(dangerous_and_malformed_paths_are_refused),
        cmocka_unit_test(too_many_segments_are_told_apart),
        cmocka_unit_test(equal_segments_are_encoded_with_equal_bytes),
        cmocka_unit_test(the_first_query_parameter_of_a_name_is_found),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
