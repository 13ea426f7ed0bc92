/*
 * swap: hands route tables from the table thread to the loops without a lock on the request path.
 *
 *   table thread: swap_publish ──▶ (uv_async per loop) ──▶ loop: swap_adopt ──▶ (signal) ──▶ table
 *   thread: swap_adopted says which revision every loop serves; swap_collect frees what none can
 *   reach any more.
 *
 * A loop also calls swap_adopt before each request, so that none that comes after a request which
 * saw a table sees an older one, on whichever loop.
 *
 * A loop reads its table only between swap_adopt calls, so the table itself is free once every loop
 * has adopted a newer one. An exchange may outlive that: it keeps a pointer to its Route. Routes
 * that a table dropped are therefore retired, not freed: each loop reports the number of the oldest
 * version that an exchange of it began under (swap_report), and a retired Route goes when every
 * loop is past it. So a request costs one atomic load, and a store when that number changes.
 */
#ifndef DATAPLANE_TABLE_SWAP_H
#define DATAPLANE_TABLE_SWAP_H

#include <stdint.h>

#include "lib/route/route_table.h"

struct swap;

enum { SWAP_LOOPS_MAX = 256 };

struct swap *swap_new(unsigned loops);
/* After every thread has stopped using it. Frees all tables and Routes left. */
void swap_free(struct swap *swap);
/* Both while no thread uses it; NULL: nobody is told. wake: on the table thread, makes the loop
 * call swap_adopt soon. adopted: on a loop's thread after it adopted, wakes the table thread. */
void swap_on_wake(struct swap *swap, void (*wake)(void *context, unsigned loop), void *context);
void swap_on_adopted(struct swap *swap, void (*adopted)(void *context), void *context);

/* ---- table thread ---- */

/*
 * Takes over the caller's reference to table, and to each of the retired routes (the ones this
 * version no longer has). revision: the stream sequence it includes. Returns its number, from 1.
 * -ENOMEM: nothing happened (the caller keeps its references).
 */
int64_t swap_publish(struct swap *swap, struct route_table *table, uint64_t revision,
                     struct route *const *retired, size_t retired_count);
/* The revision that every loop serves; 0: none yet. ret_number: of its version; NULL: not asked. */
uint64_t swap_applied(const struct swap *swap, uint64_t *ret_number);
/* Frees tables and Routes that nothing can reach. Calls freed for each Route before it goes. */
void swap_collect(struct swap *swap, void (*freed)(void *context, struct route *route),
                  void *context);

/* ---- a loop's thread ---- */

struct swap_view {
    const struct route_table *table; /* NULL before the first */
    uint64_t number, revision;
};

/* Puts the newest table into view, all zeros at first; the one before must no longer be read (its
 * Routes may). False: it is there already, which costs a load. */
bool swap_adopt(struct swap *swap, unsigned loop, struct swap_view *view);
/* oldest: number of the oldest version under which a live exchange of this loop began, or the
 * number last adopted when there is none. */
void swap_report(struct swap *swap, unsigned loop, uint64_t oldest);

#endif
