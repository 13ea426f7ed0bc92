/*
 * parse: bytes of a connection to requests; the only place that knows llhttp.
 *
 * The caller keeps the bytes of the current request together:
 *
 *      bytes                                      bytes + length
 *      | head | body so far | not yet parsed      |
 *
 * and calls http_parser_feed whenever there are more, or they moved. A chunked body is put together
 * in place, over its framing, so body and head borrow the same memory and nothing is copied twice.
 * What follows a complete request is not looked at.
 *
 * Refused here: whatever two parsers could read differently (RFC 9112 2.2, 3, 5, 6, 7), never
 * repaired. The same bytes give the same request, or the same refusal, however they were cut.
 */
#ifndef DATAPLANE_HTTP_PARSE_H
#define DATAPLANE_HTTP_PARSE_H

#include <llhttp.h>
#include <stdbool.h>

#include "dataplane/http/problem.h"
#include "lib/route/route.h"
#include "lib/wire/http_msg.h"

/* Bytes. A head is the request line and all fields. */
struct http_limits {
    size_t target_max, head_max, body_max;
};

/* All strings borrow the bytes given to http_parser_feed. */
struct http_request {
    enum route_method method;
    struct str target;      /* as sent */
    struct str path, query; /* raw; path is "*" for asterisk-form */
    struct str authority;   /* of the target or of Host; empty only in HTTP/1.0 */
    struct str host;        /* without port and trailing dot, in the client's case */
    bool asterisk;
    unsigned minor; /* HTTP/1.minor: 0 or 1 */
    bool keep_alive, expect_continue;
    struct http_header *headers;
    size_t header_count;
    bool has_body; /* Content-Length above 0, or chunked */
    bool chunked;
    uint64_t content_length; /* when it is not chunked */
    struct str body;         /* what has arrived */
};

enum http_parse_result { HTTP_PARSE_MORE, HTTP_PARSE_DONE, HTTP_PARSE_FAILED };

struct http_parser {
    llhttp_t llhttp;
    const struct http_limits *limits;
    struct http_request request;
    const char *base;  /* the bytes as of the last feed */
    size_t parsed;     /* of them */
    size_t scanned;    /* searched for the end of the request line; then it is there */
    size_t overhead;   /* bytes of trailers and chunk extensions */
    uint64_t received; /* bytes of this request ever parsed */
    bool line_done, head_done, value_begun;
    enum problem problem;
    const char *detail; /* static, or NULL */
};

/* headers: HTTP_HEADERS_MAX entries that stay until the request is done with. */
void http_parser_begin(struct http_parser *parser, const struct http_limits *limits,
                       struct http_header *headers);

/*
 * MORE: *ret_length is how many of the bytes are still needed (fewer than length when chunk framing
 * was dropped); the next call passes these, then new ones. DONE: parser->request is complete,
 * parser->parsed bytes belong to it. FAILED: parser->problem; the connection must be closed after
 * the answer.
 */
enum http_parse_result http_parser_feed(struct http_parser *parser, char *bytes, size_t length,
                                        size_t *ret_length);

/* The field's only or first value; false: absent. */
bool http_request_field(const struct http_request *request, struct str name, struct str *ret_value);

#endif
