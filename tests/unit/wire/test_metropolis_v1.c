/* metropolis_v1: what metropolis 0.1 was seen to send and take. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after those */
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>

#include "lib/wire/metropolis_v1.h"

static struct metropolis_v1 *translator;

static int set_up(void **state)
{
    (void)state;
    translator = metropolis_v1_new();
    return translator ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    metropolis_v1_free(translator);
    return 0;
}

static void queries_become_payloads(void **state)
{
    static const struct {
        const char *query, *payload, *worker;
    } cases[] = {
        {"", "{}", ""},
        {"data=asdf", "{\"data\":[\"asdf\"]}", ""},
        {"b=1&a=2&b=3", "{\"b\":[\"1\",\"3\"],\"a\":[\"2\"]}", ""},
        {"blank=&none&x=1&&=y", "{\"x\":[\"1\"],\"\":[\"y\"]}", ""},
        {"a+b=c%20d&e=f=g", "{\"a b\":[\"c d\"],\"e\":[\"f=g\"]}", ""},
        {"q=%22%5C%0a%C3%A9%00", "{\"q\":[\"\\\"\\\\\\u000a\xC3\xA9\\u0000\"]}", ""},
        {"_worker=Seven&x=1&_worker=8", "{\"_worker\":[\"Seven\",\"8\"],\"x\":[\"1\"]}", "Seven"},
        {"_worker=&_worker=a.b%20*", "{\"_worker\":[\"a.b *\"]}", "a.b *"},
        {"%5Fworker=x", "{\"_worker\":[\"x\"]}", "x"},
    };
    struct str payload, worker;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int r = metropolis_v1_request(translator, str_from(cases[i].query), &payload, &worker);

        if (r || !str_equal(payload, str_from(cases[i].payload)) ||
            !str_equal(worker, str_from(cases[i].worker)))
            fail_msg("%s: %d " STR_FMT " " STR_FMT, cases[i].query, r, STR_ARG(payload),
                     STR_ARG(worker));
    }
}

static void queries_that_cannot_be_read_are_refused(void **state)
{
    static const char *const bad[] = {"a=%", "a=%zz", "%c3=1", "a=%ff", "_worker=%0d%0aPUB"};
    struct str payload, worker;
    char many[4 * (METROPOLIS_V1_PARAMS_MAX + 1)];

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(metropolis_v1_request(translator, str_from(bad[i]), &payload, &worker),
                         -EINVAL);
    for (size_t i = 0; i <= METROPOLIS_V1_PARAMS_MAX; i++)
        memcpy(many + 4 * i, "a=b&", 4);
    assert_int_equal(
        metropolis_v1_request(translator, str_make(many, sizeof(many)), &payload, &worker), -E2BIG);
    assert_int_equal(
        metropolis_v1_request(translator, str_make(many, sizeof(many) - 4), &payload, &worker), 0);
}

static void replies_become_status_and_body(void **state)
{
    static const struct {
        const char *payload;
        unsigned status;
        const char *body;
    } cases[] = {
        {"{\"code\":200,\"data\":\"fdsa\"}", 200, "\"fdsa\""},
        {" {\"data\": {\"a\" : [1, 2.50, null]}, \"code\": 404, \"more\": 1}\n", 404,
         "{\"a\":[1,2.50,null]}"},
        {"{\"code\":599,\"data\":12345678901234567890123456789}", 599,
         "12345678901234567890123456789"},
        {"{\"code\":204}", 204, ""},
        {"{\"code\":200,\"data\":null}", 200, "null"},
    };
    struct str body;
    unsigned status;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(
            metropolis_v1_reply(translator, str_from(cases[i].payload), &status, &body), 0);
        assert_int_equal(status, cases[i].status);
        if (!str_equal(body, str_from(cases[i].body)))
            fail_msg("%s: " STR_FMT, cases[i].payload, STR_ARG(body));
    }
}

static void other_replies_are_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "fdsa",
        "[]",
        "\"code\"",
        "{}",
        "{\"data\":1}",
        "{\"code\":\"200\",\"data\":1}",
        "{\"code\":100,\"data\":1}",
        "{\"code\":600,\"data\":1}",
        "{\"code\":200.0,\"data\":1}",
        "{\"code\":2e2,\"data\":1}",
        "{\"code\":-20,\"data\":1}",
        "{\"code\":200,\"code\":500,\"data\":1}",
        "{\"code\":200,\"data\":1,\"data\":2}",
        "{\"code\":200,\"data\":NaN}",
        "{\"code\":200,\"data\":\"\xFF\"}",
        "{\"code\":200,\"data\":1}x",
        "{\"code\":200,\"data\":",
    };
    struct str body;
    unsigned status;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (metropolis_v1_reply(translator, str_from(bad[i]), &status, &body) != -EINVAL)
            fail_msg("taken: %s", bad[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(queries_become_payloads),
        cmocka_unit_test(queries_that_cannot_be_read_are_refused),
        cmocka_unit_test(replies_become_status_and_body),
        cmocka_unit_test(other_replies_are_refused),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
