/*
 * exchange: a request on its way from a client to a worker and back. exchanges is what those of one
 * loop share. Everything happens on that loop's thread.
 *
 * An exchange pins the table version that it began under, so that its Route stays until its log
 * line is written; the oldest version in use is reported to swap.
 */
#ifndef DATAPLANE_EXCHANGE_H
#define DATAPLANE_EXCHANGE_H

#include "dataplane/http/conn.h"
#include "dataplane/loop/access_log.h"
#include "dataplane/nats/lanes.h"
#include "dataplane/origin.h"
#include "dataplane/route_metrics.h"
#include "dataplane/table/swap.h"
#include "lib/base/metrics.h"

struct exchanges;

struct exchange_counters {
    uint64_t statuses[600];           /* answers by status */
    uint64_t problems[PROBLEM_COUNT]; /* answers of the gateway's own */
    uint64_t in_flight;
    uint64_t echoes, request_fields_dropped, reply_fields_dropped, match_troubles, retries;
    struct metrics_histogram duration;
};

/* All borrowed, for as long as the exchanges. */
struct exchange_wiring {
    struct http_server *server;
    struct nats_lanes *nats;
    struct swap *swap;
    unsigned loop, loop_count;
    const struct origin_rules *origin;
    struct route_metrics *routes;
    struct access_log *log;
};

/* The handler that an http_server needs; its context is set to the exchanges by the caller. */
extern const struct http_handler exchange_handler;

struct exchanges *exchanges_new(void);
void exchanges_free(struct exchanges *exchanges); /* none may be in flight */
/* Before the first request. */
void exchanges_wire(struct exchanges *exchanges, const struct exchange_wiring *wiring);
/* Takes the newest table. */
void exchanges_adopt(struct exchanges *exchanges);
/* Of the table that new requests are matched with; 0: none yet. */
void exchanges_version(const struct exchanges *exchanges, uint64_t *ret_number,
                       uint64_t *ret_revision);
const struct exchange_counters *exchanges_counters(struct exchanges *exchanges);

/* For nats_lanes: owner is an exchange. */
void exchange_on_reply(void *owner, const struct nats_reply *reply);
void exchange_on_failure(void *owner, enum nats_failure failure);

#endif
