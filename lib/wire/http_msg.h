/*
 * http_msg: HTTP over NATS, version 1 (docs/WIRE.md): which headers cross and how, in both
 * directions. Pure functions over bytes; they know neither sockets nor routes.
 */
#ifndef LIB_WIRE_HTTP_MSG_H
#define LIB_WIRE_HTTP_MSG_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/arena.h"
#include "lib/base/buffer.h"
#include "lib/base/str.h"
#include "lib/wire/http_field.h"

enum { HTTP_HEADERS_MAX = 128 }; /* lines of one message, either way */

struct http_header {
    struct str name, value; /* value without surrounding white space */
};

/* What the gateway says of a request; empty strings are left out, where the format allows it. */
struct http_request_meta {
    struct str method, path, query, host, scheme, route, remote_addr; /* path, query: raw */
    uint64_t timeout_ms, sent_ms;
    struct str request_id, traceparent; /* of the gateway, or of a trusted peer */
    struct str forwarded_for, forwarded_proto, forwarded_host;
    struct str cancel; /* subject on which the worker is told that nobody waits any more */
    const struct http_header
        *params; /* name of a template parameter, its encoded token or tokens */
    size_t param_count;
    bool trusted; /* the peer may set X-Forwarded-*, X-Request-Id and trace headers of others itself
                   */
};

/*
 * Appends the NATS header block of a request, "NATS/1.0\r\n" to the empty line, ours first. Names
 * in canonical case, repeats joined, hop-by-hop and reserved names dropped, what Connection names
 * first of all. *ret_dropped: lines with names that cannot cross (not [A-Za-z0-9-]). 0; -EINVAL: a
 * value that must be refused (400), with *ret_reason static; -ENOBUFS: over the limit of out, or
 * more than HTTP_HEADERS_MAX lines (431); -ENOMEM. On failure out holds what it held. names: of
 * earlier requests, and then of this one, too. scratch: for a block that may turn out longer than
 * out takes; reset by the caller.
 */
int http_request_encode(const struct http_request_meta *meta, const struct http_header *headers,
                        size_t count, struct http_field_names *names, struct arena *scratch,
                        struct buffer *out, unsigned *ret_dropped, const char **ret_reason);

enum http_reply_fault {
    HTTP_REPLY_OK,
    HTTP_REPLY_NO_RESPONDERS, /* inline status 503 and no payload */
    HTTP_REPLY_BAD_STATUS,    /* Metropolis-Status not 200-599, or another inline status */
    HTTP_REPLY_BAD_HEADERS,   /* malformed block, forbidden byte in a value, too many lines */
    HTTP_REPLY_UNSUPPORTED, /* Metropolis-Wire above 1, Metropolis-More, another reserved marker */
    HTTP_REPLY_JETSTREAM_ACK, /* a stream's publish ack, not a worker */
};

struct http_reply {
    unsigned status;
    bool echo;          /* it carried the request's headers back: all were ignored */
    bool service_error; /* status is from Nats-Service-Error-Code */
    struct str service_error_text;
    struct str content_length; /* for HEAD and 304 only */
    struct http_header headers[HTTP_HEADERS_MAX];
    size_t header_count;
    unsigned dropped; /* lines that may not cross */
};

/*
 * Reads a reply: block is the NATS header block (empty for a plain message), payload its body. All
 * strings borrow block. On any fault but OK the rest of *ret_reply is not to be used.
 */
enum http_reply_fault http_reply_decode(struct str block, struct str payload,
                                        struct http_reply *ret_reply);

#endif
