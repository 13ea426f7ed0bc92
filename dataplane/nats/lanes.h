/*
 * lanes: a loop's connections to NATS: the main one, and spare ones for what could hold others up.
 *
 * A server that has more for a connection than that takes cuts it off, with every request in
 * flight; so each connection has a budget for replies, and past it requests go over a spare one. A
 * server also stalls whoever publishes to a worker that does not keep up; so a request that its
 * caller expects to be stalled, the rule's last ones being unanswered, goes over a spare one aside,
 * where it holds up none but its like.
 *
 * Spare connections are made when they are first wanted, and closed when they are no longer.
 * Handlers and limits are a client's (client.h), of each connection. One loop's thread.
 */
#ifndef DATAPLANE_NATS_LANES_H
#define DATAPLANE_NATS_LANES_H

#include "dataplane/nats/client.h"

enum { NATS_LANES_MAX = 4 }; /* connections of a loop */

struct nats_lanes;

/* As nats_client_new; options and handler are the main connection's, the spare ones change nothing
 * of which handler->changed tells. spare_idle_ms: after which one is closed. */
int nats_lanes_new(uv_loop_t *loop, const struct nats_client_options *options,
                   const struct nats_client_handler *handler, uint64_t spare_idle_ms,
                   struct nats_lanes **ret_lanes, char *ret_error, size_t error_size);
/* As nats_client_close. */
void nats_lanes_close(struct nats_lanes *lanes, void (*closed)(void *context), void *context);

/* Of the main connection. */
bool nats_lanes_connected(const struct nats_lanes *lanes);
size_t nats_lanes_max_payload(const struct nats_lanes *lanes);

/* As nats_client_request, but a ticket instead of a slot, and -EBUSY also when all connections that
 * may take it are at their budget; -EAGAIN: so they are, and another one may be there in a moment;
 * it comes for a second at most. key: of what shares the fate of the request; aside: see above.
 */
int nats_lanes_request(struct nats_lanes *lanes, const struct nats_request *request, uint64_t key,
                       bool aside);
void nats_lanes_forget(struct nats_lanes *lanes, int ticket, struct str cancel);

/* Sums over all, those that are closed included. */
void nats_lanes_count(const struct nats_lanes *lanes, struct nats_client_counters *ret_counters);

#endif
