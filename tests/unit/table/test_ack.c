/* When acks are written. */
#include "dataplane/table/ack.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct ack ack;
static struct entries *entries;

static int set_up(void **state)
{
    (void)state;
    entries = entries_new(STR_LIT("default"));
    ack_init(&ack, "boot-1");
    return entries ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    entries_free(entries);
    return 0;
}

/* Sends if due, and has it stored at once. */
static bool step(uint64_t now_ms)
{
    if (!ack_due(&ack, now_ms))
        return false;
    ack_sent(&ack, 7, now_ms);
    ack_answered(&ack, 7, true, now_ms);
    return true;
}

static void the_first_change_goes_at_once_then_twenty_a_second(void **state)
{
    unsigned sent = 0;

    (void)state;
    assert_int_equal(ack_deadline_ms(&ack), UINT64_MAX);
    assert_false(step(1000)); /* nothing to say yet */
    for (uint64_t ms = 10000; ms < 11000; ms++) {
        ack_update(&ack, "life-1", ms, entries);
        if (step(ms))
            sent++;
        if (ms == 10000)
            assert_int_equal(sent, 1);
    }
    assert_int_equal(sent, 20);
    assert_true(step(11049)); /* what was true last is said, too */
    assert_int_equal(ack.value.applied, 10999);
    assert_string_equal(ack.value.lineage, "life-1");
    /* After a while of silence a change goes at once again. */
    ack_update(&ack, "life-2", 3, entries);
    assert_false(step(11060));
    assert_true(step(11099));
    ack_update(&ack, "life-2", 4, entries);
    assert_true(step(13000));
}

static void without_a_change_every_five_seconds(void **state)
{
    unsigned sent = 0;

    (void)state;
    for (uint64_t ms = 1; ms <= 20001; ms++) {
        ack_update(&ack, "life", 5, entries);
        sent += step(ms);
    }
    assert_int_equal(sent, 5);
}

static void one_at_a_time_and_a_lost_one_is_said_again(void **state)
{
    (void)state;
    ack_update(&ack, "life", 5, entries);
    assert_true(ack_due(&ack, 100));
    ack_sent(&ack, 1, 100);
    ack_update(&ack, "life", 6, entries);
    assert_false(ack_due(&ack, 1000));
    assert_int_equal(ack_deadline_ms(&ack), 2100);
    ack_answered(&ack, 9, true, 1000); /* nobody's */
    assert_false(ack_due(&ack, 1000));
    assert_false(ack_due(&ack, 2100)); /* gives up, and pauses */
    assert_int_equal(ack.failed, 1);
    assert_false(ack_due(&ack, 3099));
    assert_true(step(3100));
    assert_int_equal(ack.stored, 1);
    assert_int_equal(ack.value.applied, 6);

    /* The connection goes while one is under way. */
    ack_update(&ack, "life", 7, entries);
    assert_true(ack_due(&ack, 4000));
    ack_sent(&ack, 2, 4000);
    ack_lost(&ack);
    assert_true(step(4050));
}

static void a_refused_one_is_tried_every_second(void **state)
{
    unsigned sent = 0;

    (void)state;
    ack_update(&ack, "life", 5, entries);
    for (uint64_t ms = 1; ms <= 5000; ms++) {
        if (!ack_due(&ack, ms))
            continue;
        sent++;
        ack_sent(&ack, (uint32_t)ms, ms);
        ack_answered(&ack, (uint32_t)ms, false, ms);
    }
    assert_int_equal(sent, 5);
    assert_int_equal(ack.stored, 0);
    assert_true(ack_due(&ack, 6001));
    ack_sent(&ack, 0, 6001); /* could not even be sent */
    assert_false(ack_due(&ack, 7000));
    assert_true(ack_due(&ack, 7001));
}

static void rejections_are_said(void **state)
{
    (void)state;
    ack_update(&ack, "life", 5, entries);
    assert_true(step(100));
    assert_int_equal(entries_put(entries, STR_LIT("route.a.b"), 6, STR_LIT("{}")), 0);
    ack_update(&ack, "life", 5, entries);
    assert_true(step(200));
    assert_int_equal(ack.value.rejected_count, 1);
    assert_int_equal(ack.value.rejected_total, 1);
    assert_string_equal(ack.value.rejected[0].key, "route.a.b");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_first_change_goes_at_once_then_twenty_a_second, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(without_a_change_every_five_seconds, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_at_a_time_and_a_lost_one_is_said_again, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_refused_one_is_tried_every_second, set_up, tear_down),
        cmocka_unit_test_setup_teardown(rejections_are_said, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
