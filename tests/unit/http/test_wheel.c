#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the above first. */
#include <cmocka.h>

#include <stdlib.h>

#include "dataplane/http/wheel.h"

enum { TIMERS = 400 };

struct probe {
    struct wheel_timer timer;
    uint64_t due_ms, fired_ms; /* due 0: must not fire */
    unsigned fired;
};

/* The wheel's callback has no context: the tests have one wheel at a time. */
static struct wheel wheel;

static void on_expired(struct wheel_timer *timer)
{
    struct probe *probe = (struct probe *)((char *)timer - offsetof(struct probe, timer));

    probe->fired++;
    probe->fired_ms = uv_now(wheel.timer.loop);
}

static void stop(uv_timer_t *timer)
{
    uv_close((uv_handle_t *)timer, NULL);
}

/* Runs the loop for a time; the wheel alone does not keep it. */
static void run_for(uv_loop_t *loop, uint64_t ms)
{
    uv_timer_t end;

    uv_timer_init(loop, &end);
    uv_timer_start(&end, stop, ms, 0);
    uv_run(loop, UV_RUN_DEFAULT);
}

static void timers_fire_once_not_early_and_not_much_later(void **state)
{
    static struct probe probes[TIMERS];
    uv_loop_t loop;
    uint64_t now;

    (void)state;
    uv_loop_init(&loop);
    wheel_init(&wheel, &loop, on_expired);
    now = uv_now(&loop);
    srandom(1);
    for (int i = 0; i < TIMERS; i++) {
        probes[i] = (struct probe){.due_ms = now + (uint64_t)random() % 300};
        wheel_set(&wheel, &probes[i].timer, probes[i].due_ms);
    }
    for (int i = 0; i < TIMERS; i += 3) { /* later, earlier, not at all */
        probes[i].due_ms = i % 2 ? now + 350 : now + (uint64_t)random() % 100;
        wheel_set(&wheel, &probes[i].timer, probes[i].due_ms);
    }
    for (int i = 0; i < TIMERS; i += 7) {
        probes[i].due_ms = 0;
        wheel_remove(&wheel, &probes[i].timer);
    }
    run_for(&loop, 600);
    for (int i = 0; i < TIMERS; i++) {
        assert_int_equal(probes[i].fired, probes[i].due_ms ? 1 : 0);
        if (probes[i].due_ms)
            assert_true(probes[i].fired_ms >= probes[i].due_ms);
    }
    assert_int_equal(wheel.count, 0);
    wheel_close(&wheel);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void a_deadline_moved_later_again_and_again_fires_after_the_last(void **state)
{
    struct probe probe = {0};
    uv_loop_t loop;

    (void)state;
    uv_loop_init(&loop);
    wheel_init(&wheel, &loop, on_expired);
    for (int i = 0; i < 60; i++) { /* past the first; a loaded machine may stall for long */
        probe.due_ms = uv_now(&loop) + 500;
        wheel_set(&wheel, &probe.timer, probe.due_ms);
        run_for(&loop, 10);
        assert_int_equal(probe.fired, 0);
    }
    run_for(&loop, 1000);
    assert_int_equal(probe.fired, 1);
    assert_true(probe.fired_ms >= probe.due_ms);
    wheel_close(&wheel);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
}

/* More than a turn of the wheel away: its slot comes up several times before. */
static void a_far_deadline_is_passed_over_until_its_turn(void **state)
{
    struct probe far = {0}, near = {0};
    uv_loop_t loop;

    (void)state;
    uv_loop_init(&loop);
    wheel_init(&wheel, &loop, on_expired);
    near.due_ms = uv_now(&loop) + 50;
    far.due_ms = near.due_ms + (uint64_t)WHEEL_SLOTS * WHEEL_TICK_MS;
    wheel_set(&wheel, &far.timer, far.due_ms);
    wheel_set(&wheel, &near.timer, near.due_ms);
    run_for(&loop, 200);
    assert_int_equal(near.fired, 1);
    assert_int_equal(far.fired, 0);
    run_for(&loop, (uint64_t)WHEEL_SLOTS * WHEEL_TICK_MS);
    assert_int_equal(far.fired, 1);
    assert_true(far.fired_ms >= far.due_ms);
    wheel_close(&wheel);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timers_fire_once_not_early_and_not_much_later),
        cmocka_unit_test(a_deadline_moved_later_again_and_again_fires_after_the_last),
        cmocka_unit_test(a_far_deadline_is_passed_over_until_its_turn),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
