/*
 * wheel: see wheel.h. A timer whose deadline is more than one turn away lies in the slot of its
 * tick modulo WHEEL_SLOTS and is passed over until that tick has come.
 *
 * The libuv timer below is armed for the next slot that holds anything, and never pulled later: it
 * fires, finds nothing due, and is armed again. That costs at most one wake-up per tick when there
 * are timers, and none when there are none.
 */
#include "dataplane/http/wheel.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

static void on_timer(uv_timer_t *handle);

static uint64_t tick_of(uint64_t deadline_ms)
{
    return (deadline_ms + WHEEL_TICK_MS - 1) / WHEEL_TICK_MS;
}

static void arm(struct wheel *wheel, uint64_t tick)
{
    uint64_t now_ms = uv_now(wheel->timer.loop), due_ms = tick * WHEEL_TICK_MS;

    wheel->armed_tick = tick;
    uv_timer_start(&wheel->timer, on_timer, due_ms > now_ms ? due_ms - now_ms : 0, 0);
}

static void insert(struct wheel *wheel, struct wheel_timer *timer, uint64_t tick)
{
    struct wheel_timer **slot;

    if (tick <= wheel->tick)
        tick = wheel->tick + 1;
    slot = &wheel->slots[tick % WHEEL_SLOTS];
    timer->tick = tick;
    timer->next = *slot;
    if (timer->next)
        timer->next->back = &timer->next;
    timer->back = slot;
    *slot = timer;
    wheel->count++;
    if (tick < wheel->armed_tick)
        arm(wheel, tick);
}

static void unlink_timer(struct wheel *wheel, struct wheel_timer *timer)
{
    *timer->back = timer->next;
    if (timer->next)
        timer->next->back = timer->back;
    timer->next = NULL;
    timer->back = NULL;
    assert(wheel->count > 0);
    wheel->count--;
}

static void run_slot(struct wheel *wheel, uint64_t tick, uint64_t now_ms)
{
    struct wheel_timer *due = wheel->slots[tick % WHEEL_SLOTS], *timer;

    /* The slot is emptied onto a list of its own first: a callback may remove any timer of it. */
    wheel->slots[tick % WHEEL_SLOTS] = NULL;
    if (due)
        due->back = &due;
    while ((timer = due)) {
        unlink_timer(wheel, timer);
        if (timer->tick > tick || timer->deadline_ms > now_ms)
            insert(wheel, timer, timer->tick > tick ? timer->tick : tick_of(timer->deadline_ms));
        else
            wheel->expired(timer);
    }
}

static void on_timer(uv_timer_t *handle)
{
    struct wheel *wheel = (struct wheel *)((char *)handle - offsetof(struct wheel, timer));
    uint64_t now_ms = uv_now(handle->loop), now_tick = now_ms / WHEEL_TICK_MS;
    uint64_t first = wheel->tick + 1;

    /* After a pause longer than a turn each slot needs to be looked at once only. */
    if (now_tick >= first + WHEEL_SLOTS)
        first = now_tick - WHEEL_SLOTS + 1;
    wheel->armed_tick = 0; /* insert must not arm while slots are run */
    for (uint64_t tick = first; tick <= now_tick; tick++) {
        wheel->tick = tick;
        run_slot(wheel, tick, now_ms);
    }
    wheel->armed_tick = UINT64_MAX;
    for (uint64_t ahead = 1; wheel->count && ahead <= WHEEL_SLOTS; ahead++)
        if (wheel->slots[(wheel->tick + ahead) % WHEEL_SLOTS]) {
            arm(wheel, wheel->tick + ahead);
            break;
        }
}

void wheel_init(struct wheel *wheel, uv_loop_t *loop, void (*expired)(struct wheel_timer *timer))
{
    memset(wheel, 0, sizeof(*wheel));
    uv_timer_init(loop, &wheel->timer);
    uv_unref((uv_handle_t *)&wheel->timer);
    wheel->tick = uv_now(loop) / WHEEL_TICK_MS;
    wheel->armed_tick = UINT64_MAX;
    wheel->expired = expired;
}

void wheel_close(struct wheel *wheel)
{
    assert(wheel->count == 0);
    uv_close((uv_handle_t *)&wheel->timer, NULL);
}

void wheel_set(struct wheel *wheel, struct wheel_timer *timer, uint64_t deadline_ms)
{
    timer->deadline_ms = deadline_ms;
    if (timer->back) {
        if (timer->tick <= tick_of(deadline_ms))
            return; /* looked at in time, and put off then */
        unlink_timer(wheel, timer);
    }
    insert(wheel, timer, tick_of(deadline_ms));
}

void wheel_remove(struct wheel *wheel, struct wheel_timer *timer)
{
    if (timer->back)
        unlink_timer(wheel, timer);
    timer->deadline_ms = 0;
}
