/*
 * loop: one event loop on a thread of its own, with everything that serves a request: sockets,
 * connections, its connection to NATS, its view of the table. Loops share nothing but immutable
 * settings and swap.
 *
 * Other threads talk to a loop through loop_tell, and read it through loop_snapshot.
 */
#ifndef DATAPLANE_LOOP_LOOP_H
#define DATAPLANE_LOOP_LOOP_H

#include "dataplane/exchanges.h"
#include "dataplane/settings.h"

struct loop;

/* In this order; a loop takes what it was told last, and does all that stands before it. */
enum loop_stage {
    LOOP_SERVING,
    LOOP_DRAINING, /* go on accepting; every response closes its connection */
    LOOP_CLOSING,  /* accept what waits, close the listeners and idle connections, finish, leave */
    LOOP_LEAVING,  /* close everything at once, leave */
};

/* What a loop counts, copied at one moment. */
struct loop_snapshot {
    struct http_counters http;
    size_t open, buffered, unsent;
    struct exchange_counters exchanges;
    struct nats_client_counters nats;
    bool nats_connected;
    uint64_t access_log_lost;
    uint64_t table_number, table_revision;
};

/* fds: a listening socket per address, taken over on success. -EINVAL with *ret_error (bad --nats),
 * or another negative errno. */
int loop_new(const struct settings *settings, struct swap *swap, unsigned index, const int *fds,
             struct loop **ret_loop, char *ret_error, size_t error_size);
/* left is called on the loop's thread, as the last thing. */
int loop_start(struct loop *loop, void (*left)(void *context), void *context);
/* Waits until it left. */
void loop_join(struct loop *loop);
/* After loop_join, or without loop_start. NULL is fine. */
void loop_free(struct loop *loop);

/* ---- any thread ---- */

void loop_tell(struct loop *loop, enum loop_stage stage);
/* A new table is there. */
void loop_wake(struct loop *loop);
/* Was it ever connected to NATS? */
bool loop_was_connected(const struct loop *loop);
/* Adds what the last snapshot counted per Route to sum. */
void loop_merge_routes(struct loop *loop, struct route_metrics *sum);
/* False when the loop did not answer in time: *ret_snapshot is an old one. */
bool loop_snapshot(struct loop *loop, uint64_t timeout_ms, struct loop_snapshot *ret_snapshot);

#endif
