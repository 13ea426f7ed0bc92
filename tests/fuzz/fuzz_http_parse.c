/*
 * Any bytes, cut in any way: the parser gives the same request or the same refusal, and what it
 * accepts keeps the promises that the rest relies on: one valid Host, a target without a byte
 * that could mean something else, one framing, values without line ends.
 */
#include "tests/unit/http/feed.h"

#include "dataplane/http/target.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static void check_values(const struct http_request *request)
{
    for (size_t i = 0; i < request->header_count; i++) {
        const struct http_header *header = &request->headers[i];

        if (!header->name.len || memchr(header->name.ptr, ':', header->name.len))
            abort();
        for (size_t b = 0; b < header->value.len; b++)
            if (strchr("\r\n", header->value.ptr[b])) /* NUL included */
                abort();
    }
}

static void check_accepted(char *bytes, size_t size, const struct http_limits *limits)
{
    struct http_header headers[HTTP_HEADERS_MAX];
    struct http_parser parser;
    const struct http_request *request = &parser.request;
    struct str host;
    size_t kept;

    http_parser_begin(&parser, limits, headers);
    if (http_parser_feed(&parser, bytes, size, &kept) != HTTP_PARSE_DONE)
        return;
    if (parser.parsed > size || request->body.len > limits->body_max)
        abort();
    if (request->minor == 1 && !request->host.len)
        abort();
    if (request->authority.len && target_split_authority(request->authority, &host) < 0)
        abort();
    check_values(request);
}

/* The first piece ends at cut, the others have step bytes. */
static void check_cut(const char *bytes, size_t size, size_t cut, size_t step,
                      const struct http_limits *limits, const char *whole)
{
    static char text[FEED_TEXT_MAX];

    feed(bytes, size, cut, step, limits, text);
    if (strcmp(whole, text) != 0) {
        fprintf(stderr, "whole: %s\ncut:   %s\n", whole, text);
        abort();
    }
}

/* Where the request line ends, so that no request comes whole and llhttp judges. */
static size_t after_line(const char *bytes, size_t size)
{
    const char *line;
    size_t at = 0;

    while (size - at >= 2 && memcmp(bytes + at, "\r\n", 2) == 0)
        at += 2;
    line = memchr(bytes + at, '\n', size - at);
    return line ? (size_t)(line - bytes) + 1 : size;
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    static char whole[FEED_TEXT_MAX];
    const char *bytes = (const char *)data + 2;
    struct http_limits limits = feed_limits;
    char *copy;

    if (size < 3 || size > 16384)
        return 0;
    size -= 2; /* the first two bytes say where to cut, and whether limits are small */
    limits.head_max = data[0] % 4 ? limits.head_max : 64;
    limits.body_max = data[1] % 4 ? limits.body_max : 8;
    feed(bytes, size, 0, 0, &limits, whole);
    check_cut(bytes, size, 1 + data[0], data[1], &limits, whole);
    check_cut(bytes, size, after_line(bytes, size), 0, &limits, whole);
    copy = malloc(size);
    if (!copy)
        abort();
    memcpy(copy, bytes, size);
    check_accepted(copy, size, &limits);
    free(copy);
    return 0;
}
