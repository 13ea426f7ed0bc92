/*
 * problem: every way in which the gateway itself answers a request, and its body (RFC 9457,
 * application/problem+json). A problem is static: nothing of a request, a reply or this machine
 * gets into one but the request's id. `reason` and `type` are stable, for programs; title and
 * detail are for people: what it is and what to do.
 */
#ifndef DATAPLANE_HTTP_PROBLEM_H
#define DATAPLANE_HTTP_PROBLEM_H

#include "lib/base/buffer.h"
#include "lib/base/str.h"
#include "lib/wire/http_msg.h"

enum { PROBLEM_BYTES_MAX = 4096 }; /* for the buffer of a body: none is larger */

extern const struct http_header problem_type; /* Content-Type of the bodies */

enum problem {
    PROBLEM_NONE,
    PROBLEM_BAD_REQUEST,       /* 400 syntax of the request line or of a field */
    PROBLEM_BAD_FRAMING,       /* 400 where the body ends could be read in two ways */
    PROBLEM_BAD_HOST,          /* 400 */
    PROBLEM_BAD_TARGET,        /* 400 */
    PROBLEM_BAD_FIELD,         /* 400 a field's value cannot cross to a worker */
    PROBLEM_NO_ROUTE,          /* 404 */
    PROBLEM_BAD_METHOD,        /* 405 */
    PROBLEM_SLOW_CLIENT,       /* 408 */
    PROBLEM_BODY_TOO_LARGE,    /* 413 */
    PROBLEM_TARGET_TOO_LONG,   /* 414 */
    PROBLEM_BAD_EXPECTATION,   /* 417 */
    PROBLEM_LIMITED,           /* 429 the rule's limit of requests in flight */
    PROBLEM_HEAD_TOO_LARGE,    /* 431 */
    PROBLEM_INTERNAL,          /* 500 no memory, or matching takes too long */
    PROBLEM_UNKNOWN_METHOD,    /* 501 */
    PROBLEM_UNKNOWN_CODING,    /* 501 */
    PROBLEM_BAD_REPLY,         /* 502 */
    PROBLEM_UNSUPPORTED_REPLY, /* 502 a marker that version 1 reserves */
    PROBLEM_STREAM_ACK,        /* 502 JetStream answered instead of a worker */
    PROBLEM_DENIED,            /* 502 the gateway may not publish there */
    PROBLEM_OUTCOME_UNKNOWN,   /* 502 */
    PROBLEM_NO_RESPONDERS,     /* 503 */
    PROBLEM_NATS_DOWN,         /* 503 */
    PROBLEM_OVERLOADED,        /* 503 */
    PROBLEM_NOT_READY,         /* 503 no table yet */
    PROBLEM_TIMEOUT,           /* 504 */
    PROBLEM_BAD_VERSION,       /* 505 */
    PROBLEM_COUNT,
};

struct problem_text {
    unsigned status;
    const char *reason; /* "no-route": also a label of metrics and the end of the type URN */
    const char *title, *detail;
    unsigned retry_after_s; /* 0: no Retry-After */
};

/* Static; problem is not PROBLEM_NONE. */
const struct problem_text *problem_describe(enum problem problem);

/* Appends the body. detail: a static sentence instead of the usual one, or NULL. request_id: of
 * [0-9A-Za-z_.-] or already checked to need no escape in JSON; empty: left out. */
int problem_write(enum problem problem, const char *detail, struct str request_id,
                  struct buffer *out);

/* The body of a worker's own error, which says no more than its text. -EINVAL: it is no text. */
int problem_write_service(unsigned status, struct str text, struct str request_id,
                          struct buffer *out);

#endif
