#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the above first. */
#include <cmocka.h>

#include "dataplane/load.h"

static void rules_and_routes_are_told_apart(void **state)
{
    struct route routes[2] = {{.slot = 0}, {.slot = 1}}, next_generation = {.slot = 1};
    struct route_rule rules[2] = {{.index = 0}, {.index = ROUTE_RULES_MAX - 1}};
    uint64_t keys[4];

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        keys[i] = load_key(&(struct route_hit){.route = &routes[i / 2], .rule = &rules[i % 2]});
        assert_true(keys[i] != 0);
        for (size_t j = 0; j < i; j++)
            assert_true(keys[i] != keys[j]);
    }
    assert_true(load_key(&(struct route_hit){.route = &next_generation, .rule = &rules[1]}) ==
                keys[3]);
}

static void a_load_is_found_again_and_begins_at_nothing(void **state)
{
    struct loads loads;

    (void)state;
    assert_int_equal(loads_init(&loads), 0);
    assert_int_equal(loads_get(&loads, 7)->in_flight, 0);
    loads_get(&loads, 7)->in_flight = 3;
    assert_int_equal(loads_get(&loads, 8)->in_flight, 0);
    assert_int_equal(loads_get(&loads, 7)->in_flight, 3);
    loads_done(&loads);
}

/* A hundred times as many rules as there is room for come by; a few stay busy all the time. */
static void busy_rules_outlive_any_number_of_idle_ones(void **state)
{
    enum { BUSY = 1000, IDLE = 100 * LOADS_MAX };
    struct loads loads;

    (void)state;
    assert_int_equal(loads_init(&loads), 0);
    for (uint64_t key = 1; key <= BUSY; key++)
        loads_get(&loads, key)->in_flight = (uint32_t)key;
    for (uint64_t key = BUSY + 1; key <= IDLE; key++)
        assert_non_null(loads_get(&loads, key));
    for (uint64_t key = 1; key <= BUSY; key++)
        assert_int_equal(loads_get(&loads, key)->in_flight, key);
    loads_done(&loads);
}

static void more_busy_rules_than_there_is_room_for_are_refused(void **state)
{
    struct loads loads;

    (void)state;
    assert_int_equal(loads_init(&loads), 0);
    for (uint64_t key = 1; key <= LOADS_MAX; key++)
        loads_get(&loads, key)->in_flight = 1;
    assert_null(loads_get(&loads, LOADS_MAX + 1));
    assert_int_equal(loads_get(&loads, LOADS_MAX)->in_flight, 1);
    loads_get(&loads, 1)->in_flight = 0;
    assert_non_null(loads_get(&loads, LOADS_MAX + 1));
    loads_done(&loads);
}

static void a_rule_is_stuck_until_what_it_owes_is_paid_back(void **state)
{
    struct load load = {.reply_bytes = 1};
    unsigned replies = 0;

    (void)state;
    for (int i = 0; i < 1000; i++)
        load_sent(&load, 1000);
    assert_false(load_is_stuck(&load)); /* a thousand requests at a time are no sign of it */
    for (int i = 0; i < 1000; i++)
        load_answered(&load, 1000, 1);
    for (int i = 0; i < 60; i++) {
        load_sent(&load, 1000000);
        load_given_up(&load, 1000000);
    }
    assert_true(load_is_stuck(&load));
    for (; load_is_stuck(&load); replies++) {
        load_sent(&load, 100000);
        load_answered(&load, 100000, 1);
    }
    assert_in_range(replies, 100, 1000);
    load_sent(&load, 1024 * 1024 + 1); /* or only what is on its way now */
    assert_true(load_is_stuck(&load));
    load_ended(&load, 1024 * 1024 + 1);
    assert_false(load_is_stuck(&load));
}

/* Of so many requests the last is given up: whether that tells of a stuck worker. */
static bool stuck_when_one_is_given_up_in(unsigned requests)
{
    struct load load = {.reply_bytes = 1};

    for (unsigned i = 1; i < 100000 && !load_is_stuck(&load); i++) {
        load_sent(&load, 1000);
        if (i % requests == 0)
            load_given_up(&load, 1000);
        else
            load_answered(&load, 1000, 1);
    }
    return load_is_stuck(&load);
}

static void one_stuck_worker_of_several_is_noticed_and_a_rare_timeout_is_not(void **state)
{
    (void)state;
    assert_true(stuck_when_one_is_given_up_in(2));
    assert_true(stuck_when_one_is_given_up_in(10));
    assert_false(stuck_when_one_is_given_up_in(100));
}

static void a_large_reply_is_expected_again_for_a_while(void **state)
{
    struct load load = {.reply_bytes = 4096};
    unsigned replies = 0;

    (void)state;
    load_sent(&load, 1);
    load_answered(&load, 1, 1000000);
    assert_int_equal(load.reply_bytes, 1000000);
    for (; load.reply_bytes > 2000; replies++) {
        load_sent(&load, 1);
        load_answered(&load, 1, 1000);
    }
    assert_in_range(replies, 100, 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rules_and_routes_are_told_apart),
        cmocka_unit_test(a_load_is_found_again_and_begins_at_nothing),
        cmocka_unit_test(busy_rules_outlive_any_number_of_idle_ones),
        cmocka_unit_test(a_rule_is_stuck_until_what_it_owes_is_paid_back),
        cmocka_unit_test(one_stuck_worker_of_several_is_noticed_and_a_rare_timeout_is_not),
        cmocka_unit_test(a_large_reply_is_expected_again_for_a_while),
        cmocka_unit_test(more_busy_rules_than_there_is_room_for_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
