/*
 * http_request: an HTTP request's headers as a NATS header block. On the hot path.
 *
 * Two passes over the client's lines. The first looks at names only: what may cross, which lines
 * have the same name (linked into chains), what Connection forbids. The second writes, chain by
 * chain, with canonical names and joined values. Between them the most that can be written is
 * known, so room is made once and nothing is checked byte by byte.
 *
 * That bound counts what turns out empty, too. When it exceeds what out may still take, the block
 * is written to scratch first, so the limit is judged by the true length.
 *
 * Every value, the gateway's own not excepted, goes through the one function that refuses control
 * bytes and what is not UTF-8: no CR LF can reach the block whatever the HTTP parser let through.
 */
#include <assert.h>
#include <errno.h>

#include "lib/base/utf8.h"
#include "lib/wire/http_field.h"
#include "lib/wire/http_msg.h"

/* A client's line; next, last: indexes in the chain of lines of its name, 0: none. */
struct line {
    const struct http_field_name *known; /* of its name; NULL: only hash and flags */
    uint32_t hash;
    bool crosses; /* it, and begins its chain */
    uint8_t next, last;
    uint16_t flags;
};

struct lines {
    struct http_field_names *names;
    const struct http_header *headers;
    size_t count;
    uint64_t seen;         /* one bit for each value of six bits of the hash */
    unsigned not_crossing; /* flags that keep a line back */
    unsigned dropped;
    struct line line[HTTP_HEADERS_MAX];
};

static_assert(HTTP_HEADERS_MAX <= UINT8_MAX, "indexes are bytes");

struct writer {
    char *at;
    bool refused; /* a value was */
};

/* ---- the first pass ---- */

/* The first line of the same name before the index-th, or count. */
static size_t lines_find(const struct lines *lines, size_t index)
{
    uint32_t hash = lines->line[index].hash;

    for (size_t i = 0; i < index; i++)
        if (lines->line[i].hash == hash &&
            str_equal_nocase(lines->headers[i].name, lines->headers[index].name))
            return i;
    return lines->count;
}

/* Links a line to those of its name. -EINVAL: there may be only one. */
static int lines_link(struct lines *lines, size_t index)
{
    struct line *line = &lines->line[index], *first;
    uint64_t bit = UINT64_C(1) << (line->hash >> 26);
    size_t found = lines->seen & bit ? lines_find(lines, index) : lines->count;

    lines->seen |= bit;
    if (found == lines->count)
        return 0;
    if (line->flags & HTTP_FIELD_ONCE)
        return -EINVAL;
    first = &lines->line[found];
    if (first->next)
        lines->line[first->last].next = (uint8_t)index;
    else
        first->next = (uint8_t)index;
    first->last = (uint8_t)index;
    line->crosses = false;
    return 0;
}

/* Keeps back what one Connection line names. */
static void lines_forbid(struct lines *lines, struct str names)
{
    struct str name;
    uint32_t hash;

    while (http_field_list_next(&names, &name)) {
        http_field_classify(name, &hash);
        for (size_t i = 0; i < lines->count; i++)
            if (lines->line[i].hash == hash && str_equal_nocase(lines->headers[i].name, name))
                lines->line[i].crosses = false;
    }
}

static void line_look(struct line *line, struct http_field_names *names, struct str name)
{
    line->known = http_field_names_find(names, name);
    if (line->known) {
        line->flags = line->known->flags;
        line->hash = line->known->hash;
    } else {
        line->flags = (uint16_t)http_field_classify(name, &line->hash);
    }
}

/* 0, or -EINVAL: a line is repeated that must not be. */
static int lines_read(struct lines *lines)
{
    bool connection = false;

    http_field_names_renew(lines->names);
    for (size_t i = 0; i < lines->count; i++) {
        struct line *line = &lines->line[i];

        line_look(line, lines->names, lines->headers[i].name);
        line->crosses = !(line->flags & lines->not_crossing);
        line->next = line->last = 0;
        lines->dropped += line->flags & HTTP_FIELD_INVALID ? 1 : 0;
        connection |= (line->flags & HTTP_FIELD_CONNECTION) != 0;
        if (!(line->flags & HTTP_FIELD_INVALID) && lines_link(lines, i) < 0)
            return -EINVAL;
    }
    for (size_t i = 0; i < lines->count && connection; i++)
        if (lines->line[i].flags & HTTP_FIELD_CONNECTION)
            lines_forbid(lines, lines->headers[i].value);
    return 0;
}

/* ---- the second pass ---- */

static inline void put(struct writer *writer, struct str text)
{
    if (text.len)
        memcpy(writer->at, text.ptr, text.len);
    writer->at += text.len;
}

static void put_value(struct writer *writer, struct str value)
{
    bool plain = true;

    writer->at = http_field_put_value(writer->at, value, &plain);
    if (!plain && (http_field_judge(value) == HTTP_FIELD_CONTROL || !utf8_valid(value)))
        writer->refused = true;
}

/* With ": " behind it. */
static void put_name(struct writer *writer, const struct line *line, struct str name)
{
    if (line->known) {
        memcpy(writer->at, line->known->canonical, sizeof(line->known->canonical));
        writer->at += line->known->length + 2;
    } else {
        writer->at = http_field_put_canonical(writer->at, name);
        put(writer, STR_LIT(": "));
    }
}

/* One line of all values of a chain; none if all are empty. */
static void put_chain(struct writer *writer, const struct lines *lines, size_t first)
{
    const struct str separator =
        lines->line[first].flags & HTTP_FIELD_COOKIE ? STR_LIT("; ") : STR_LIT(", ");
    char *begin = writer->at, *values;
    size_t i = first;

    put_name(writer, &lines->line[first], lines->headers[first].name);
    values = writer->at;
    do {
        struct str value = http_field_trim(lines->headers[i].value);

        if (value.len && writer->at != values)
            put(writer, separator);
        put_value(writer, value);
        i = lines->line[i].next;
    } while (i);
    if (writer->at == values)
        writer->at = begin;
    else
        put(writer, STR_LIT("\r\n"));
}

/* ---- the gateway's own lines ---- */

/* name: a literal, with ": " behind it */
static inline __attribute__((always_inline)) void put_own(struct writer *writer, struct str name,
                                                          struct str value)
{
    value = http_field_trim(value);
    if (value.len == 0)
        return;
    put(writer, name);
    put_value(writer, value);
    put(writer, STR_LIT("\r\n"));
}

static void put_own_number(struct writer *writer, struct str name, uint64_t number)
{
    char digits[STR_DECIMAL_MAX];

    put(writer, name);
    put(writer, str_decimal(number, digits));
    put(writer, STR_LIT("\r\n"));
}

static void put_all_own(struct writer *writer, const struct http_request_meta *meta)
{
    put(writer, STR_LIT("NATS/1.0\r\nMetropolis-Wire: 1\r\n"));
    put_own(writer, STR_LIT("Metropolis-Method: "), meta->method);
    put_own(writer, STR_LIT("Metropolis-Path: "), meta->path);
    put_own(writer, STR_LIT("Metropolis-Query: "), meta->query);
    for (size_t i = 0; i < meta->param_count; i++) {
        assert(meta->params[i].value.len > 0); /* an empty value is "~" */
        put(writer, STR_LIT("Metropolis-Param-"));
        put(writer, meta->params[i].name);
        put(writer, STR_LIT(": "));
        put_value(writer, meta->params[i].value);
        put(writer, STR_LIT("\r\n"));
    }
    put_own(writer, STR_LIT("Metropolis-Host: "), meta->host);
    put_own(writer, STR_LIT("Metropolis-Scheme: "), meta->scheme);
    put_own(writer, STR_LIT("Metropolis-Route: "), meta->route);
    put_own_number(writer, STR_LIT("Metropolis-Timeout-Ms: "), meta->timeout_ms);
    put_own_number(writer, STR_LIT("Metropolis-Sent-Ms: "), meta->sent_ms);
    put_own(writer, STR_LIT("Metropolis-Remote-Addr: "), meta->remote_addr);
    put_own(writer, STR_LIT("Metropolis-Cancel: "), meta->cancel);
    put_own(writer, STR_LIT("X-Request-Id: "), meta->request_id);
    put_own(writer, STR_LIT("Traceparent: "), meta->traceparent);
    put_own(writer, STR_LIT("X-Forwarded-For: "), meta->forwarded_for);
    put_own(writer, STR_LIT("X-Forwarded-Proto: "), meta->forwarded_proto);
    put_own(writer, STR_LIT("X-Forwarded-Host: "), meta->forwarded_host);
}

/* ---- both ---- */

/* The flags of names of which the gateway has said what stands there. */
static unsigned own_flags(const struct http_request_meta *meta)
{
    return (meta->request_id.len ? HTTP_FIELD_REQUEST_ID : 0) |
           (meta->traceparent.len ? HTTP_FIELD_TRACEPARENT : 0) |
           (meta->forwarded_for.len ? HTTP_FIELD_FORWARDED_FOR : 0) |
           (meta->forwarded_proto.len ? HTTP_FIELD_FORWARDED_PROTO : 0) |
           (meta->forwarded_host.len ? HTTP_FIELD_FORWARDED_HOST : 0);
}

/* The most bytes that the block can have. */
static size_t bound(const struct http_request_meta *meta, const struct lines *lines)
{
    enum { OWN_NAMES = 512, LINE = 4, PARAM = 32 }; /* names and numbers; ": " and CR LF */
    size_t size = OWN_NAMES + HTTP_FIELD_SLACK + meta->method.len + meta->path.len +
                  meta->query.len + meta->host.len + meta->scheme.len + meta->route.len +
                  meta->remote_addr.len + meta->request_id.len + meta->traceparent.len +
                  meta->forwarded_for.len + meta->forwarded_proto.len + meta->forwarded_host.len +
                  meta->cancel.len;

    for (size_t i = 0; i < meta->param_count; i++)
        size += PARAM + meta->params[i].name.len + meta->params[i].value.len;
    for (size_t i = 0; i < lines->count; i++)
        size += LINE + lines->headers[i].name.len + lines->headers[i].value.len;
    return size;
}

int http_request_encode(const struct http_request_meta *meta, const struct http_header *headers,
                        size_t count, struct http_field_names *names, struct arena *scratch,
                        struct buffer *out, unsigned *ret_dropped, const char **ret_reason)
{
    struct lines lines;
    struct writer writer = {.refused = false};
    size_t most;
    char *begin;
    bool direct;

    if (count > HTTP_HEADERS_MAX)
        return -ENOBUFS;
    lines.names = names;
    lines.headers = headers;
    lines.count = count;
    lines.seen = 0;
    lines.dropped = 0;
    lines.not_crossing = HTTP_FIELD_INVALID | HTTP_FIELD_NOT_REQUEST | own_flags(meta) |
                         (meta->trusted ? 0 : HTTP_FIELD_UNTRUSTED);
    if (lines_read(&lines) < 0) {
        *ret_reason = "Host, Content-Type, Authorization, Content-Length or Range occurs twice";
        return -EINVAL;
    }
    most = bound(meta, &lines);
    direct = most <= out->limit - buffer_length(out);
    begin = direct ? buffer_reserve(out, most) : arena_take(scratch, most);
    if (!begin)
        return -ENOMEM;
    writer.at = begin;
    put_all_own(&writer, meta);
    for (size_t i = 0; i < count; i++)
        if (lines.line[i].crosses)
            put_chain(&writer, &lines, i);
    put(&writer, STR_LIT("\r\n"));
    assert((size_t)(writer.at - begin) <= most);
    if (writer.refused) {
        *ret_reason = "the path, the query or a header is not UTF-8, or holds a control character";
        return -EINVAL;
    }
    *ret_dropped = lines.dropped;
    if (!direct)
        return buffer_append(out, begin, (size_t)(writer.at - begin));
    buffer_commit(out, (size_t)(writer.at - begin));
    return 0;
}
