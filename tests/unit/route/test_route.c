/* route: methods by name, which of two Routes is older, and the end of a Route. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/unit/route/build.h"

static void every_method_is_read_back_from_its_name(void **state)
{
    (void)state;
    for (int method = ROUTE_METHOD_ANY + 1; method < ROUTE_METHOD_COUNT; method++)
        assert_int_equal(route_method_parse(route_method_name((enum route_method)method)), method);
}

static void methods_are_case_sensitive_and_any_is_not_one(void **state)
{
    static const char *const bad[] = {"", "get", "Get", "ANY", "GETT", "GE", "CONNECT", "PURGE"};

    (void)state;
    assert_int_equal(route_method_name(ROUTE_METHOD_ANY).len, 0);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(route_method_parse(str_from(bad[i])), -EINVAL);
}

static void age_is_creation_then_namespace_and_name(void **state)
{
    static const char *const oldest_first[] = {
        "z/z -5 - GET exact:/", "a-b/x 3 - GET exact:/", "a/b 3 - GET exact:/",
        "a/c 3 - GET exact:/",  "a/cc 3 - GET exact:/",  "a/a 4 - GET exact:/",
    };
    enum { COUNT = sizeof(oldest_first) / sizeof(oldest_first[0]) };
    struct route *routes[COUNT];

    (void)state;
    for (int i = 0; i < COUNT; i++)
        routes[i] = build_route(oldest_first[i]);
    for (int i = 0; i < COUNT; i++)
        for (int j = 0; j < COUNT; j++) {
            int order = route_compare_age(routes[i], routes[j]);

            assert_int_equal((order > 0) - (order < 0), (i > j) - (i < j));
        }
    for (int i = 0; i < COUNT; i++)
        route_unref(routes[i]);
}

/* Leaks and early frees are for the sanitizers to see. */
static void a_route_lives_until_its_last_reference(void **state)
{
    struct route *route = build_route("a/b 1 - GET regex:/a.* | GET regex:/b.* ; GET exact:/c");

    (void)state;
    assert_ptr_equal(route_ref(route), route);
    route_unref(route);
    assert_true(str_equal(route->label, STR_LIT("a/b")));
    route_unref(route);
    route_unref(NULL);
}

static void a_route_that_was_never_finished_is_freed_as_well(void **state)
{
    struct route *route = route_new();
    struct route_rule *rules;
    struct route_match *matches;

    (void)state;
    assert_non_null(route);
    route->rules = rules = arena_take_array(route->arena, 3, sizeof(*rules));
    route->rule_count = 3;
    rules[1].matches = matches = arena_take_array(route->arena, 2, sizeof(*matches));
    rules[1].match_count = 2;
    matches[0].path_type = ROUTE_PATH_REGEX;
    matches[0].path = STR_LIT("/a");
    build_regex(&matches[0]);
    route_unref(route);
}

static void assert_str_equal(struct str a, struct str b)
{
    assert_true(str_equal(a, b));
    assert_int_equal(b.ptr[b.len], 0);
    assert_true(a.ptr != b.ptr);
}

static void assert_match_equal(const struct route_match *a, const struct route_match *b)
{
    assert_int_equal(a->path_type, b->path_type);
    assert_int_equal(a->method, b->method);
    assert_str_equal(a->path, b->path);
    assert_int_equal(a->regex != NULL, b->regex != NULL);
    assert_int_equal(a->segment_count, b->segment_count);
    for (size_t i = 0; i < a->segment_count; i++) {
        assert_int_equal(a->segments[i].kind, b->segments[i].kind);
        assert_str_equal(a->segments[i].text, b->segments[i].text);
    }
    assert_int_equal(a->header_count, b->header_count);
    for (size_t i = 0; i < a->header_count; i++) {
        assert_str_equal(a->headers[i].name, b->headers[i].name);
        assert_str_equal(a->headers[i].value, b->headers[i].value);
    }
    assert_int_equal(a->param_count, b->param_count);
    for (size_t i = 0; i < a->param_count; i++) {
        assert_str_equal(a->params[i].name, b->params[i].name);
        assert_str_equal(a->params[i].value, b->params[i].value);
    }
    assert_int_equal(a->targets[0].part_count, b->targets[0].part_count);
    assert_str_equal(a->targets[0].parts[0].text, b->targets[0].parts[0].text);
    assert_int_equal(a->targets[0].parts[1].kind, b->targets[0].parts[1].kind);
}

static void a_packed_route_is_the_same_and_stands_alone(void **state)
{
    static const char line[] = "shop/orders 7 a.com,*.b.com GET template:/a/{x}/{r...} h:k=v h:l=w "
                               "q:p=1 ; ANY prefix:/ | POST regex:/a+ | PUT exact:/";
    struct route *loose = build_loose_route(line), *packed = build_loose_route(line);

    (void)state;
    packed->slot = 5;
    packed->generation = 6;
    packed = route_pack(packed);
    assert_int_equal(packed->references, 1);
    assert_int_equal(packed->slot, 5);
    assert_int_equal(packed->generation, 6);
    assert_int_equal(packed->created_s, 7);
    assert_str_equal(loose->label, packed->label);
    assert_int_equal(packed->hostname_count, 2);
    assert_str_equal(loose->hostnames[1], packed->hostnames[1]);
    assert_int_equal(packed->rule_count, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(packed->rules[i].index, i);
        assert_int_equal(packed->rules[i].backend_count, 1);
        assert_int_equal(packed->rules[i].backends[0].weight, 1);
        assert_str_equal(loose->rules[i].backends[0].subject, packed->rules[i].backends[0].subject);
        assert_int_equal(packed->rules[i].match_count, loose->rules[i].match_count);
        for (size_t j = 0; j < packed->rules[i].match_count; j++)
            assert_match_equal(&loose->rules[i].matches[j], &packed->rules[i].matches[j]);
    }
    route_unref(packed);
    route_unref(loose);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_method_is_read_back_from_its_name),
        cmocka_unit_test(methods_are_case_sensitive_and_any_is_not_one),
        cmocka_unit_test(age_is_creation_then_namespace_and_name),
        cmocka_unit_test(a_route_lives_until_its_last_reference),
        cmocka_unit_test(a_route_that_was_never_finished_is_freed_as_well),
        cmocka_unit_test(a_packed_route_is_the_same_and_stands_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
