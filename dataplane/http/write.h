/*
 * write: a response's head as bytes (RFC 9112 4, 5). Framing is decided here, and only here:
 * Content-Length or no body at all; chunked is never needed, as NATS messages have a length.
 */
#ifndef DATAPLANE_HTTP_WRITE_H
#define DATAPLANE_HTTP_WRITE_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/buffer.h"
#include "lib/wire/http_msg.h"

struct http_response {
    unsigned status; /* 200-599 */
    const struct http_header *headers;
    size_t header_count;
    struct str request_id;     /* X-Request-Id; empty: none */
    struct str allow;          /* Allow; empty: none */
    unsigned retry_after_s;    /* Retry-After; 0: none */
    struct str body;           /* dropped when the request or the status has none */
    struct str content_length; /* of HEAD and 304: what a GET would have sent; empty: unknown */
};

/* What the connection adds. */
struct http_response_context {
    bool head;               /* the request was HEAD */
    unsigned minor;          /* of the request: HTTP/1.minor */
    bool keep_alive;         /* false: Connection: close */
    struct str date, server; /* values; server empty: no Server field */
};

/* True when a response with this status to this request has no body, whatever was given. */
bool http_response_bodiless(unsigned status, bool head);

/* Appends status line and fields to the empty line. Names and values of headers must have been
 * checked (http_reply_decode). 0, -ENOBUFS, -ENOMEM; on failure out is as it was. */
int http_response_write(const struct http_response *response,
                        const struct http_response_context *context, struct buffer *out);

/* "Sun, 06 Nov 1994 08:49:37 GMT" into text, of 30 bytes; NUL-terminated. */
void http_date_write(int64_t unix_s, char *text);

#endif
