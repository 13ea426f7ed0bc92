/*
 * wheel: one deadline per connection, thousands of connections, no system call and almost no work
 * per change. A hashed timing wheel: slots of WHEEL_TICK_MS; a timer lies in the slot in which it
 * is looked at next. Moving a deadline later only stores it; the timer is moved when its old slot
 * comes up. So keep-alive traffic, which moves every deadline with every request, touches no list.
 *
 * Deadlines are uv_now() milliseconds and fire up to one tick late, never early. One loop's thread.
 */
#ifndef DATAPLANE_HTTP_WHEEL_H
#define DATAPLANE_HTTP_WHEEL_H

#include <stdint.h>
#include <uv.h>

enum { WHEEL_SLOTS = 1024, WHEEL_TICK_MS = 8 };

struct wheel_timer {
    struct wheel_timer *next, **back; /* back: NULL when it is in no slot */
    uint64_t deadline_ms;             /* 0: not set */
    uint64_t tick;                    /* of its slot; at most that of its deadline */
};

struct wheel {
    uv_timer_t timer;
    struct wheel_timer *slots[WHEEL_SLOTS];
    uint64_t tick;       /* all up to this one were looked at */
    uint64_t armed_tick; /* when timer fires; UINT64_MAX: it does not run */
    uint64_t count;      /* timers in slots */
    void (*expired)(struct wheel_timer *timer);
};

/* expired is called after the timer was taken out; it may set it again. */
void wheel_init(struct wheel *wheel, uv_loop_t *loop, void (*expired)(struct wheel_timer *timer));
/* No timer may be left in it; the loop must run once more. */
void wheel_close(struct wheel *wheel);

void wheel_set(struct wheel *wheel, struct wheel_timer *timer, uint64_t deadline_ms);
/* Takes the timer out; its memory may go. */
void wheel_remove(struct wheel *wheel, struct wheel_timer *timer);

#endif
