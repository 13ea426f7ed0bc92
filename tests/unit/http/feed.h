/*
 * feed: gives a parser bytes in pieces, as reads would, and writes down what came out of it. Each
 * piece lies in memory of its own that is just large enough, so a stale pointer or a read past the
 * end is seen by AddressSanitizer.
 */
#ifndef TESTS_UNIT_HTTP_FEED_H
#define TESTS_UNIT_HTTP_FEED_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/http/parse.h"
#include "dataplane/http/target.h"

enum { FEED_TEXT_MAX = 1 << 16 };

static const struct http_limits feed_limits = {.target_max = 64, .head_max = 1024, .body_max = 256};

/* What is not described follows from what is. */
static void feed_check(const struct http_request *request)
{
    struct target target;

    if (target_split(request->target, &target) < 0 || !str_equal(target.path, request->path) ||
        request->asterisk != str_equal(request->path, STR_LIT("*")) ||
        request->has_body != (request->chunked || request->content_length > 0) ||
        (!request->chunked && request->content_length != request->body.len))
        abort();
}

static void feed_describe(const struct http_parser *parser, enum http_parse_result result,
                          size_t rest, char *text)
{
    const struct http_request *r = &parser->request;
    size_t at = 0;

    if (result == HTTP_PARSE_MORE) {
        snprintf(text, FEED_TEXT_MAX, "more");
        return;
    }
    if (result == HTTP_PARSE_FAILED) {
        snprintf(text, FEED_TEXT_MAX, "%s", problem_describe(parser->problem)->reason);
        return;
    }
    feed_check(r);
    at += (size_t)snprintf(text, FEED_TEXT_MAX,
                           STR_FMT " path=" STR_FMT " query=" STR_FMT " authority=" STR_FMT
                                   " host=" STR_FMT " 1.%u%s%s%s",
                           STR_ARG(route_method_name(r->method)), STR_ARG(r->path),
                           STR_ARG(r->query), STR_ARG(r->authority), STR_ARG(r->host), r->minor,
                           r->keep_alive ? " keep" : " close", r->expect_continue ? " expect" : "",
                           r->chunked ? " chunked" : "");
    for (size_t i = 0; i < r->header_count; i++)
        at += (size_t)snprintf(text + at, FEED_TEXT_MAX - at, " [" STR_FMT "=" STR_FMT "]",
                               STR_ARG(r->headers[i].name), STR_ARG(r->headers[i].value));
    snprintf(text + at, FEED_TEXT_MAX - at, " body=" STR_FMT " rest=%zu", STR_ARG(r->body), rest);
}

/*
 * Feeds bytes: the first piece ends at cut, then step bytes each (0: all that is left). text: at
 * least FEED_TEXT_MAX; gets the request and how many bytes follow it, the refusal, or "more".
 */
static inline void feed(const char *bytes, size_t length, size_t cut, size_t step,
                        const struct http_limits *limits, char *text)
{
    struct http_header headers[HTTP_HEADERS_MAX];
    struct http_parser parser;
    enum http_parse_result result = HTTP_PARSE_MORE;
    size_t fed = 0, held = 0;
    char *memory = NULL;

    http_parser_begin(&parser, limits, headers);
    while (result == HTTP_PARSE_MORE && fed < length) {
        size_t take = fed == 0 && cut ? cut : step ? step : length - fed;
        char *moved;

        if (take > length - fed)
            take = length - fed;
        moved = malloc(held + take);
        if (!moved)
            abort();
        if (held)
            memcpy(moved, memory, held);
        memcpy(moved + held, bytes + fed, take);
        free(memory);
        memory = moved;
        fed += take;
        result = http_parser_feed(&parser, memory, held + take, &held);
    }
    feed_describe(&parser, result,
                  result == HTTP_PARSE_DONE ? held - parser.parsed + (length - fed) : 0, text);
    free(memory);
}

#endif
