#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the above first. */
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>

#include "lib/wire/subject.h"

static void values_become_one_token_and_come_back(void **state)
{
    static const struct {
        struct str value, token;
    } cases[] = {
        {STR_LIT(""), STR_LIT("~")},
        {STR_LIT("~"), STR_LIT("%7E")},
        {STR_LIT("abcXYZ019_-"), STR_LIT("abcXYZ019_-")},
        {STR_LIT("a b"), STR_LIT("a%20b")},
        {STR_LIT("a.b"), STR_LIT("a%2Eb")},
        {STR_LIT("a/b"), STR_LIT("a%2Fb")},
        {STR_LIT("*"), STR_LIT("%2A")},
        {STR_LIT(">"), STR_LIT("%3E")},
        {STR_LIT("$JS"), STR_LIT("%24JS")},
        {STR_LIT("%2f"), STR_LIT("%252f")},
        {STR_LIT("\r\n\0\xFF"), STR_LIT("%0D%0A%00%FF")},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buffer out;
        char room[32];
        int length;

        buffer_init(&out, 64);
        assert_int_equal(subject_encode_token(cases[i].value, &out), 0);
        if (!str_equal(buffer_view(&out), cases[i].token))
            fail_msg("case %zu: " STR_FMT, i, STR_ARG(buffer_view(&out)));
        length = subject_decode_token(cases[i].token, room);
        assert_int_equal(length, cases[i].value.len);
        assert_true(str_equal(str_make(room, (size_t)length), cases[i].value));
        buffer_done(&out);
        buffer_init(&out, cases[i].token.len - 1);
        assert_int_equal(subject_encode_token(cases[i].value, &out), -ENOBUFS);
        buffer_done(&out);
    }
}

static void tokens_of_another_form_are_refused(void **state)
{
    static const struct str cases[] = {
        STR_LIT(""),    STR_LIT("%2f"), STR_LIT("%61"),      STR_LIT("%5F"),
        STR_LIT("%2D"), STR_LIT("%"),   STR_LIT("%2"),       STR_LIT("a.b"),
        STR_LIT("a b"), STR_LIT("~~"),  STR_LIT("a~"),       STR_LIT("%GG"),
        STR_LIT("*"),   STR_LIT("\0"),  STR_LIT("\xC3\xA9"), STR_LIT("%2 "),
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char room[8];

        if (subject_decode_token(cases[i], room) != -EINVAL)
            fail_msg("case %zu: " STR_FMT, i, STR_ARG(cases[i]));
    }
}

static void the_validator_refuses_what_could_do_harm(void **state)
{
    static const struct {
        struct str subject;
        bool valid;
    } cases[] = {
        {STR_LIT("foo"), true},
        {STR_LIT("foo.bar.GET"), true},
        {STR_LIT("~.GET"), true},
        {STR_LIT("a.$JS._x.metropolis"), true},
        {STR_LIT("metropolisx.a"), true},
        {STR_LIT("Metropolis.a"), true},
        {STR_LIT("!\"#%&'()+,-/09:;<=?@AZ[\\]^`az|"), true},
        {STR_LIT(""), false},
        {STR_LIT("."), false},
        {STR_LIT(".a"), false},
        {STR_LIT("a."), false},
        {STR_LIT("a..b"), false},
        {STR_LIT("*"), false},
        {STR_LIT("a.*.b"), false},
        {STR_LIT("a.>"), false},
        {STR_LIT("a*b"), false},
        {STR_LIT("$JS.API.STREAM.DELETE.X"), false},
        {STR_LIT("_INBOX.a"), false},
        {STR_LIT("_"), false},
        {STR_LIT("metropolis"), false},
        {STR_LIT("metropolis.ch.1"), false},
        {STR_LIT("a b"), false},
        {STR_LIT("a\tb"), false},
        {STR_LIT("a\r\nPUB x 0\r\n"), false},
        {STR_LIT("a\0b"), false},
        {STR_LIT("a\x7F"), false},
        {STR_LIT("a\x80"), false},
        {STR_LIT("\xC3\xA9"), false},
    };
    static char longest[SUBJECT_MAX + 1];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        if ((subject_validate(cases[i].subject) == 0) != cases[i].valid)
            fail_msg("case %zu: " STR_FMT, i, STR_ARG(cases[i].subject));
    memset(longest, 'a', sizeof(longest));
    assert_int_equal(subject_validate(str_make(longest, SUBJECT_MAX)), 0);
    assert_int_equal(subject_validate(str_make(longest, SUBJECT_MAX + 1)), -EINVAL);
}

/* ---- templates ---- */

#define LITERAL(t)                        \
    {                                     \
        ROUTE_SEGMENT_LITERAL, STR_LIT(t) \
    }
#define PARAM(t)                        \
    {                                   \
        ROUTE_SEGMENT_PARAM, STR_LIT(t) \
    }
#define REST(t)                        \
    {                                  \
        ROUTE_SEGMENT_REST, STR_LIT(t) \
    }

static const struct route_segment orders[] = {LITERAL("orders"), PARAM("id")};
static const struct route_segment files[] = {LITERAL("files"), PARAM("user"), REST("rest")};
static const struct route_segment any[] = {PARAM("tenant"), LITERAL("x")};
static const struct route_segment foo_bar[] = {LITERAL("foo"), LITERAL("b.r")};
static const struct route_segment root[] = {LITERAL("")};
static const struct route_segment inbox[] = {LITERAL("_INBOX"), LITERAL("x")};
static const struct route_segment reserved[] = {LITERAL("metropolis"), PARAM("id")};
static const struct route_segment dollar[] = {LITERAL("$JS"), LITERAL("API")};

#define MATCH(type, list)                                           \
    {                                                               \
        .path_type = type, .path = STR_LIT("/a"), .segments = list, \
        .segment_count = sizeof(list) / sizeof(list[0])             \
    }

static const struct route_match match_orders = MATCH(ROUTE_PATH_TEMPLATE, orders);
static const struct route_match match_files = MATCH(ROUTE_PATH_TEMPLATE, files);
static const struct route_match match_any = MATCH(ROUTE_PATH_TEMPLATE, any);
static const struct route_match match_exact = MATCH(ROUTE_PATH_EXACT, foo_bar);
static const struct route_match match_root = MATCH(ROUTE_PATH_EXACT, root);
static const struct route_match match_prefix = MATCH(ROUTE_PATH_PREFIX, foo_bar);
static const struct route_match match_inbox = MATCH(ROUTE_PATH_EXACT, inbox);
static const struct route_match match_reserved = MATCH(ROUTE_PATH_TEMPLATE, reserved);
static const struct route_match match_dollar = MATCH(ROUTE_PATH_EXACT, dollar);
static const struct route_match match_all = {.path_type = ROUTE_PATH_PREFIX, .path = STR_LIT("/")};
static const struct route_match match_regex = {.path_type = ROUTE_PATH_REGEX,
                                               .path = STR_LIT("/.*")};

static void templates_and_segments_make_subjects(void **state)
{
    static const struct {
        const struct route_match *match;
        const char *template;
        struct str segments[6];
        const char *subject; /* NULL: refused at run time */
    } cases[] = {
        {&match_exact, "", {STR_LIT("foo"), STR_LIT("b.r")}, "foo.b%2Er.GET"},
        {&match_root, "", {STR_LIT("")}, "~.GET"},
        {&match_prefix, "", {STR_LIT("foo"), STR_LIT("b.r"), STR_LIT("")}, "foo.b%2Er.~.GET"},
        {&match_orders, "", {STR_LIT("orders"), STR_LIT("a b")}, "orders.a%20b.GET"},
        {&match_dollar, "", {STR_LIT("$JS"), STR_LIT("API")}, "%24JS.API.GET"},
        {&match_orders,
         "shop.v1.{id}.{method}.x",
         {STR_LIT("orders"), STR_LIT("*")},
         "shop.v1.%2A.GET.x"},
        {&match_orders, "{method}.{id}.{id}", {STR_LIT("orders"), STR_LIT("")}, "GET.~.~"},
        {&match_files,
         "f.{rest...}.{user}",
         {STR_LIT("files"), STR_LIT("u"), STR_LIT("a"), STR_LIT("b")},
         "f.a.b.u"},
        {&match_any, "t.{tenant}", {STR_LIT("$SYS"), STR_LIT("x")}, "t.%24SYS"},
        {&match_any, "{path...}.{method}", {STR_LIT("a"), STR_LIT("x")}, "a.x.GET"},
        {&match_all, "{path...}.{method}", {STR_LIT("foo"), STR_LIT("bar")}, "foo.bar.GET"},
        {&match_all, "{path...}.{method}", {STR_LIT("$SYS"), STR_LIT("x")}, "%24SYS.x.GET"},
        {&match_all, "{path...}.{method}", {STR_LIT("_INBOX"), STR_LIT("x")}, NULL},
        {&match_all, "{path...}.{method}", {STR_LIT("metropolis"), STR_LIT("x")}, NULL},
        {&match_regex, "re.{path...}", {STR_LIT("_x"), STR_LIT(">")}, "re._x.%3E"},
        {&match_all, "a.$b._c.metropolis", {STR_LIT("x")}, "a.$b._c.metropolis"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct arena arena;
        struct route_target target;
        struct str error = STR_LIT("");
        char out[SUBJECT_MAX];
        size_t count = 0;
        int length;

        while (cases[i].segments[count].ptr)
            count++;
        arena_init(&arena, 65536);
        if (subject_compile(str_from(cases[i].template), cases[i].match, &arena, &target, &error))
            fail_msg("case %zu: " STR_FMT, i, STR_ARG(error));
        length = subject_build(&target, cases[i].segments, count, ROUTE_METHOD_GET, out);
        if (!cases[i].subject)
            assert_int_equal(length, -EINVAL);
        else if (length < 0 ||
                 !str_equal(str_make(out, (size_t)length), str_from(cases[i].subject)))
            fail_msg("case %zu: %d " STR_FMT, i, length, length > 0 ? length : 0, out);
        arena_done(&arena);
    }
}

static void bad_templates_are_refused_with_a_sentence(void **state)
{
    static const struct {
        const struct route_match *match;
        const char *template, *says;
    } cases[] = {
        {&match_all, "", "no subject can be derived"},
        {&match_regex, "", "no subject can be derived"},
        {&match_any, "", "clients would choose its first token"},
        {&match_inbox, "", "first segment \"_INBOX\""},
        {&match_reserved, "", "first segment \"metropolis\""},
        {&match_inbox, "{path...}.{method}", "first segment \"_INBOX\""},
        {&match_orders, "{id}.x", "may not begin with a placeholder"},
        {&match_files, "{rest...}", "may not begin with a placeholder"},
        {&match_orders, "$JS.API.{id}", "may not begin with \"$JS\""},
        {&match_orders, "_x.{id}", "may not begin with \"_x\""},
        {&match_orders, "metropolis.{id}", "reserved"},
        {&match_orders, "a.{nope}", "{nope} is not declared"},
        {&match_orders, "a.{id...}", "{id...} is not declared"},
        {&match_files, "a.{rest}", "{rest} is not declared"},
        {&match_orders, "a.{path}", "{path} is not declared"},
        {&match_orders, "a.{method...}", "{method...} is not declared"},
        {&match_exact, "a.{id}", "type: Template"},
        {&match_orders, "a..b", "token \"\""},
        {&match_orders, ".a", "token \"\""},
        {&match_orders, "a.", "token \"\""},
        {&match_orders, "a.*", "token \"*\""},
        {&match_orders, "a.>", "token \">\""},
        {&match_orders, "a.x{id}", "exactly one placeholder"},
        {&match_orders, "a.{id}x", "exactly one placeholder"},
        {&match_orders, "a.{id}{id}", "is not"},
        {&match_orders, "a.{id", "token \"{id\""},
        {&match_orders, "a.{}", "is not declared"},
        {&match_orders, "a b", "token \"a b\""},
        {&match_orders, "a.\xC3\xA9", "visible ASCII"},
        {&match_orders, "a.\x01", "visible ASCII"},
    };
    static char huge[ROUTE_TARGET_MAX + 2];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct arena arena;
        struct route_target target;
        struct str error = STR_LIT("");

        arena_init(&arena, 65536);
        if (subject_compile(str_from(cases[i].template), cases[i].match, &arena, &target, &error) !=
                -EINVAL ||
            !strstr(error.ptr, cases[i].says))
            fail_msg("case %zu: " STR_FMT, i, STR_ARG(error));
        arena_done(&arena);
    }
    memset(huge, 'a', sizeof(huge) - 1);
    for (size_t limit = 0; limit < 2; limit++) {
        struct arena arena;
        struct route_target target;
        struct str error;

        arena_init(&arena, limit ? 65536 : 0);
        assert_int_equal(subject_compile(str_from(huge), &match_orders, &arena, &target, &error),
                         limit ? -EINVAL : -ENOMEM);
        arena_done(&arena);
    }
}

static void no_memory_is_no_crash_at_any_point(void **state)
{
    int r = -ENOMEM;

    (void)state;
    for (size_t limit = 0; r == -ENOMEM; limit++) {
        struct arena arena;
        struct route_target target;
        struct str error;

        assert_true(limit < 4096);
        arena_init(&arena, limit);
        r = subject_compile(STR_LIT("a.{id}.b.{method}"), &match_orders, &arena, &target, &error);
        arena_done(&arena);
    }
    assert_int_equal(r, 0);
}

static void a_subject_over_the_limit_is_told_apart(void **state)
{
    static char value[SUBJECT_MAX];
    struct arena arena;
    struct route_target target;
    struct str error, segments[2] = {STR_LIT("orders")};
    char *out = malloc(SUBJECT_MAX); /* so that ASan sees the byte behind it */

    (void)state;
    memset(value, 'v', sizeof(value));
    arena_init(&arena, 65536);
    assert_int_equal(subject_compile(STR_LIT("o.{id}"), &match_orders, &arena, &target, &error), 0);
    segments[1] = str_make(value, SUBJECT_MAX - 2);
    assert_int_equal(subject_build(&target, segments, 2, ROUTE_METHOD_GET, out), SUBJECT_MAX);
    segments[1] = str_make(value, SUBJECT_MAX - 1);
    assert_int_equal(subject_build(&target, segments, 2, ROUTE_METHOD_GET, out), -E2BIG);
    memset(value, ' ', sizeof(value));
    assert_int_equal(subject_build(&target, segments, 2, ROUTE_METHOD_GET, out), -E2BIG);
    assert_int_equal(subject_build(&target, segments, 1, ROUTE_METHOD_GET, out), -EINVAL);
    arena_done(&arena);
    free(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_become_one_token_and_come_back),
        cmocka_unit_test(tokens_of_another_form_are_refused),
        cmocka_unit_test(the_validator_refuses_what_could_do_harm),
        cmocka_unit_test(templates_and_segments_make_subjects),
        cmocka_unit_test(bad_templates_are_refused_with_a_sentence),
        cmocka_unit_test(no_memory_is_no_crash_at_any_point),
        cmocka_unit_test(a_subject_over_the_limit_is_told_apart),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
