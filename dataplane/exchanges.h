/*
 * exchanges: what the requests under way on one loop share, and their order: who began when, and
 * under which table. Everything happens on that loop's thread.
 *
 * An exchange pins the table version that it began under, so that its Route stays until its log
 * line is written; the oldest version in use is reported to swap.
 */
#ifndef DATAPLANE_EXCHANGES_H
#define DATAPLANE_EXCHANGES_H

#include "dataplane/http/conn.h"
#include "dataplane/load.h"
#include "dataplane/loop/access_log.h"
#include "dataplane/nats/lanes.h"
#include "dataplane/plan.h"
#include "dataplane/route_metrics.h"
#include "dataplane/table/swap.h"
#include "dataplane/warnings.h"
#include "lib/base/metrics.h"

/* A request on its way from a client to a worker and back. */
struct exchange {
    struct exchanges *all;
    struct exchange *next, *previous; /* in start order; next alone: free list */
    struct conn *conn;
    const struct http_request *request;
    struct route_hit hit; /* its route is NULL until matched */
    uint64_t version;     /* of the table it began under */
    uint64_t started_ns, deadline_ms;
    uint64_t load; /* key of the load that it counts in; 0: not matched, or refused */
    uint64_t sent_ns, upstream_ns; /* for the access log: last published; until its end, in all */
    uint32_t retries, waits;       /* for another connection */
    bool soon;                     /* the next one of these is worth it */
    int ticket;                    /* of nats_lanes; -1: none */
    uint32_t sent;                 /* bytes, with that ticket */
    struct str request_id;
    char id[129], trace[ORIGIN_TRACE_BYTES]; /* trace: for retries */
    char cancel[41];                         /* subject; empty: the worker is not told */
    struct buffer subject;                   /* for the access log */
};

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

struct exchanges {
    struct exchange_wiring wiring;
    struct exchange_counters counters; /* to be read through exchanges_counters */
    struct swap_view view;
    uint64_t reported; /* version, to swap */
    struct exchange *oldest, *newest, *free;
    size_t free_count;
    struct random_source random;
    struct loads loads;
    struct warnings warnings;

    /* of the request, or reply, in work */
    struct planner planner;
    struct http_reply reply;
    struct buffer body; /* where the gateway writes one */
};

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

/* The newest one, conn's owner until exchanges_end; conn and request are borrowed until then. The
 * planner is ready for it. NULL: no memory. */
struct exchange *exchanges_begin(struct exchanges *all, struct conn *conn,
                                 const struct http_request *request);
/* Without a word to the client; it must have no ticket. It may be used again at once. */
void exchanges_end(struct exchange *exchange);

/* The loop's time, which never goes back. */
static inline uint64_t exchanges_now_ms(const struct exchanges *exchanges)
{
    return uv_now(exchanges->wiring.server->loop);
}

#endif
