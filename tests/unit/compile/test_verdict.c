/*
 * Verdicts against what gateways do, with the same table: a rule that is said to be shadowed takes
 * no request, and of the rules that take none, those that ask what another asks are said to be.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "controller/compile/verdict.h"
#include "lib/base/random.h"
#include "tests/unit/route/generate.h"

enum { ROUNDS = 1000, ROUTES = 12, REQUESTS = 200 };

/* So few words that many ask the same, or nearly. */
static struct route *make_route(struct choices *choices, unsigned number)
{
    static const char *const paths[] = {"exact:/a",         "template:/a",        "template:/{p}",
                                        "template:/{q}",    "prefix:/",           "prefix:/a",
                                        "template:/{r...}", "template:/a/{r...}", "regex:/a.*"};
    static const char *const methods[] = {"ANY", "GET", "HEAD", "ANY"};
    static const char *const hosts[] = {"-", "a.com", "*.com", "a.com,*.com"};
    static const char *const conditions[] = {"", "", "", " h:k=1", " q:k=1", " h:k=1 q:k=1"};
    struct line line = {.used = 0};
    unsigned matches = 1 + choose(choices, 4);

    line_add(&line, "x/%u %u %s", number, choose(choices, 3), hosts[choose(choices, 4)]);
    for (unsigned i = 0; i < matches; i++)
        line_add(&line, "%s %s %s%s",
                 i == 0               ? ""
                 : choose(choices, 2) ? " ;"
                                      : " |",
                 methods[choose(choices, 4)], paths[choose(choices, 9)],
                 conditions[choose(choices, 6)]);
    return build_route(line.text);
}

/* Is rules[index] among the shadowed of the message? */
static bool is_shadowed(const struct condition *accepted, unsigned index)
{
    char text[64];

    snprintf(text, sizeof(text), "rules[%u] is shadowed by ", index);
    return strstr(accepted->message, text) != NULL;
}

static void request_all(struct choices *choices, const struct route_table *table,
                        struct route *const *routes, const struct condition *verdicts)
{
    struct arena scratch;

    arena_init(&scratch, 1 << 16);
    for (int i = 0; i < REQUESTS; i++) {
        struct built_request built;
        struct route_hit hit;
        struct line line;
        bool trouble;

        generate_request(choices, &line, &built);
        if (route_table_match(table, &built.request, &scratch, &hit, &trouble) == ROUTE_FOUND)
            for (int j = 0; j < ROUTES; j++)
                if (routes[j] == hit.route && is_shadowed(&verdicts[j], hit.rule->index))
                    fail_msg(STR_FMT " takes %s, but: %s", STR_ARG(hit.route->label), line.text,
                             verdicts[j].message);
        arena_reset(&scratch);
    }
    arena_done(&scratch);
}

static void a_rule_that_is_shadowed_takes_no_request(void **state)
{
    struct random_source random;
    size_t shadowed = 0;

    (void)state;
    random_init(&random);
    for (int round = 0; round < ROUNDS; round++) {
        struct route_table *empty = route_table_new(), *table;
        struct route_change changes[ROUTES] = {{NULL, NULL}};
        struct condition verdicts[ROUTES];
        struct route *routes[ROUTES];
        uint64_t bytes[640];
        struct choices choices = {(const uint8_t *)bytes, sizeof(bytes), 0};

        for (size_t i = 0; i < sizeof(bytes) / sizeof(bytes[0]); i++)
            bytes[i] = random_u64(&random);
        for (unsigned i = 0; i < ROUTES; i++)
            changes[i].after = routes[i] = make_route(&choices, i);
        assert_int_equal(route_table_apply(empty, changes, ROUTES, &table), 0);
        for (unsigned i = 0; i < ROUTES; i++) {
            verdict_judge(table, routes[i], &verdicts[i]);
            shadowed += strstr(verdicts[i].message, "shadowed") != NULL;
        }
        request_all(&choices, table, routes, verdicts);
        route_table_unref(table);
        route_table_unref(empty);
        for (unsigned i = 0; i < ROUTES; i++)
            route_unref(routes[i]);
    }
    assert_true(shadowed > ROUNDS);
}

struct seen {
    const struct route *routes[ROUTES];
    size_t count;
};

static void note(void *context, const struct route *touched)
{
    struct seen *seen = context;

    seen->routes[seen->count++ % ROUTES] = touched;
}

static bool was_touched(const struct seen *seen, const struct route *route)
{
    for (size_t i = 0; i < seen->count && i < ROUTES; i++)
        if (seen->routes[i] == route)
            return true;
    return false;
}

/* What is not touched by a Route that goes keeps its verdict to the letter. */
static void a_route_that_goes_changes_the_verdicts_of_those_it_touches_only(void **state)
{
    struct random_source random;

    (void)state;
    random_init(&random);
    for (int round = 0; round < ROUNDS; round++) {
        struct route_table *empty = route_table_new(), *table, *without;
        struct route_change changes[ROUTES] = {{NULL, NULL}}, change;
        struct route *routes[ROUTES];
        struct seen seen = {.count = 0};
        uint64_t bytes[256];
        struct choices choices = {(const uint8_t *)bytes, sizeof(bytes), 0};
        unsigned gone;

        for (size_t i = 0; i < sizeof(bytes) / sizeof(bytes[0]); i++)
            bytes[i] = random_u64(&random);
        for (unsigned i = 0; i < ROUTES; i++)
            changes[i].after = routes[i] = make_route(&choices, i);
        gone = choose(&choices, ROUTES);
        change = (struct route_change){routes[gone], NULL};
        assert_int_equal(route_table_apply(empty, changes, ROUTES, &table), 0);
        assert_int_equal(route_table_apply(table, &change, 1, &without), 0);
        verdict_each_touched(without, routes[gone], note, &seen);
        for (unsigned i = 0; i < ROUTES; i++) {
            struct condition before, after;

            if (i == gone || seen.count > ROUTES || was_touched(&seen, routes[i]))
                continue;
            verdict_judge(table, routes[i], &before);
            verdict_judge(without, routes[i], &after);
            assert_string_equal(before.message, after.message);
        }
        route_table_unref(table);
        route_table_unref(without);
        route_table_unref(empty);
        for (unsigned i = 0; i < ROUTES; i++)
            route_unref(routes[i]);
    }
}

static void rules_of_one_route_shadow_each_other(void **state)
{
    static const struct {
        const char *route, *message;
    } cases[] = {
        {"a/b 1 - GET exact:/a | GET template:/a", "rules[1] is shadowed by rules[0]"},
        {"a/b 1 - GET exact:/a | GET exact:/b ; GET exact:/a", "valid, on gateway \"\""},
        {"a/b 1 - ANY prefix:/ | ANY template:/{all...}", "rules[0] is shadowed by rules[1]"},
        {"a/b 1 - HEAD prefix:/ h:a=1 q:b=1 | GET template:/{all...} h:a=1",
         "rules[0] is shadowed by rules[1]"},
        {"a/b 1 - ANY prefix:/ | GET template:/{all...}", "valid, on gateway \"\""},
        {"a/b 1 - GET template:/{x}/b | GET template:/{y}/b | GET template:/a/{y}",
         "rules[1] is shadowed by rules[0]"},
        {"a/b 1 - GET exact:/a h:a=1 h:b=1 | GET exact:/a h:b=1 h:a=1 | GET exact:/a h:a=1",
         "rules[1] is shadowed by rules[0]"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct route_table *empty = route_table_new();
        struct route *route = build_route(cases[i].route);
        struct condition accepted;

        verdict_judge(empty, route, &accepted);
        assert_string_equal(accepted.message, cases[i].message);
        route_unref(route);
        route_table_unref(empty);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rule_that_is_shadowed_takes_no_request),
        cmocka_unit_test(a_route_that_goes_changes_the_verdicts_of_those_it_touches_only),
        cmocka_unit_test(rules_of_one_route_shadow_each_other),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
