/*
 * origin: where a request comes from and how it is known: client address, scheme, host, request id,
 * trace. From peers that are not trusted proxies nothing is believed but the connection itself
 * (DESIGN, safety rule 6).
 */
#ifndef DATAPLANE_ORIGIN_H
#define DATAPLANE_ORIGIN_H

#include "dataplane/http/conn.h"
#include "dataplane/http/peers.h"
#include "lib/base/random.h"

enum { ORIGIN_ID_BYTES = 32, ORIGIN_TRACE_BYTES = 55 };

/* Of the command line. */
struct origin_rules {
    struct peers trusted;
    /* Of the traces that begin here those are sampled whose random part is below this, so that all
     * gateways agree on a trace; with resample also of those that trusted proxies began. */
    uint64_t sampled_below;
    bool resample;
};

struct origin {
    bool trusted;               /* the peer is a trusted proxy */
    struct str authority, host; /* lower case; empty only in HTTP/1.0 */
    struct str scheme;          /* "http" or "https" */
    struct str remote_addr;     /* the client's, as far as it can be believed */
    struct str request_id, traceparent;
    struct str forwarded_for, forwarded_proto, forwarded_host;
    char id[ORIGIN_ID_BYTES + 1], trace[ORIGIN_TRACE_BYTES + 1]; /* made here */
};

/* Fills *ret_origin, whose strings borrow itself, conn, request and scratch. -ENOMEM. */
int origin_read(struct conn *conn, const struct http_request *request,
                const struct origin_rules *rules, struct random_source *random,
                struct arena *scratch, struct origin *ret_origin);

/* A new request id: ORIGIN_ID_BYTES of lower-case hex and NUL. */
void origin_make_id(struct random_source *random, char *id);

#endif
