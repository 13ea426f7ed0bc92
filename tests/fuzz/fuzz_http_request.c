/*
 * Properties: whatever a client's headers, path and query hold, the block is NATS/1.0, lines of
 * "Name: value" and one empty line, at its end; each name occurs once and is canonical; no value is
 * empty, is not UTF-8 or holds a control byte; the gateway's own lines come first and are what it
 * said; no name that may not cross is among the others. The block's own reader takes it for an
 * echo. A block that is refused leaves nothing behind.
 *
 * Input: one byte of flags, then lines: the path, the query, and headers "name:value".
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#include "lib/base/utf8.h"
#include "lib/wire/http_msg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds)
        abort();
}

static struct str next_line(struct str *text)
{
    const char *end = text->len ? memchr(text->ptr, '\n', text->len) : NULL;
    struct str line = str_make(text->ptr, end ? (size_t)(end - text->ptr) : text->len);

    *text = str_after(*text, line.len + (end ? 1 : 0));
    return line;
}

static size_t read_headers(struct str text, struct http_header *headers)
{
    size_t count = 0;

    while (text.len && count < HTTP_HEADERS_MAX + 1) {
        struct str line = next_line(&text);
        const char *colon = line.len ? memchr(line.ptr, ':', line.len) : NULL;
        size_t name = colon ? (size_t)(colon - line.ptr) : line.len;

        headers[count].name = str_make(line.ptr, name);
        headers[count++].value = colon ? str_after(line, name + 1) : str_make(NULL, 0);
    }
    return count;
}

static bool canonical(struct str name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i], before = i ? name.ptr[i - 1] : '-';
        bool upper = c >= 'A' && c <= 'Z', lower = c >= 'a' && c <= 'z';

        if (!upper && !lower && !(c >= '0' && c <= '9') && c != '-')
            return false;
        if (before == '-' ? lower : upper)
            return false;
    }
    return name.len > 0;
}

static void check_client_line(struct str name, bool trusted)
{
    static const struct str never[] = {STR_LIT("Connection"),
                                       STR_LIT("Keep-Alive"),
                                       STR_LIT("Te"),
                                       STR_LIT("Trailer"),
                                       STR_LIT("Transfer-Encoding"),
                                       STR_LIT("Upgrade"),
                                       STR_LIT("Host"),
                                       STR_LIT("Expect"),
                                       STR_LIT("Content-Length"),
                                       STR_LIT("Status"),
                                       STR_LIT("Description"),
                                       STR_LIT("Proxy-Authorization"),
                                       STR_LIT("Proxy-Connection"),
                                       STR_LIT("X-Request-Id")};
    static const struct str trusted_only[] = {STR_LIT("Forwarded"),
                                              STR_LIT("X-Real-Ip"),
                                              STR_LIT("X-Original-Url"),
                                              STR_LIT("X-Rewrite-Url"),
                                              STR_LIT("Traceparent"),
                                              STR_LIT("Tracestate"),
                                              STR_LIT("B3")};

    require(canonical(name));
    for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++)
        require(!str_equal(name, never[i]));
    require(!str_starts_with(name, STR_LIT("Nats-")));
    require(!str_starts_with(name, STR_LIT("Metropolis-")));
    for (size_t i = 0; i < sizeof(trusted_only) / sizeof(trusted_only[0]) && !trusted; i++)
        require(!str_equal(name, trusted_only[i]));
    require(trusted || !str_starts_with(name, STR_LIT("X-Forwarded-")));
}

static void check_value(struct str value)
{
    require(value.len > 0 && utf8_valid(value));
    require(value.ptr[0] != ' ' && value.ptr[value.len - 1] != ' ');
    for (size_t i = 0; i < value.len; i++)
        require((unsigned char)value.ptr[i] >= 0x20 && value.ptr[i] != 0x7F);
}

/* own: lines of the gateway's that must come first. */
static void check_block(struct str block, size_t own, bool trusted)
{
    struct str names[2 * HTTP_HEADERS_MAX];
    size_t count = 0;

    require(str_equal(next_line(&block), STR_LIT("NATS/1.0\r")));
    for (;;) {
        struct str line = next_line(&block), name;
        const char *colon;

        require(line.len > 0 && line.ptr[line.len - 1] == '\r');
        if (line.len == 1)
            break;
        colon = memchr(line.ptr, ':', line.len);
        require(colon && colon[1] == ' ');
        name = str_make(line.ptr, (size_t)(colon - line.ptr));
        check_value(str_make(colon + 2, line.len - name.len - 3));
        for (size_t i = 0; i < count; i++)
            require(!str_equal_nocase(names[i], name));
        if (count >= own)
            check_client_line(name, trusted);
        names[count++] = name;
    }
    require(block.len == 0 && count >= own);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct http_header params[] = {{STR_LIT("id"), STR_LIT("~")}};
    static struct http_field_names names;
    static struct http_reply reply;
    struct http_header headers[HTTP_HEADERS_MAX + 1];
    struct str text = str_make((const char *)data, size);
    struct http_request_meta meta = {.method = STR_LIT("GET"),
                                     .host = STR_LIT("h"),
                                     .scheme = STR_LIT("https"),
                                     .route = STR_LIT("a/b"),
                                     .remote_addr = STR_LIT("::1"),
                                     .request_id = STR_LIT("1"),
                                     .params = params,
                                     .param_count = 1};
    struct arena scratch;
    struct buffer out, again;
    const char *reason = NULL;
    unsigned dropped;
    size_t count, limit;
    int r;

    if (size == 0)
        return 0;
    meta.trusted = data[0] & 1;
    meta.cancel = data[0] & 4 ? STR_LIT("metropolis.cancel.x") : (struct str){0};
    limit = data[0] & 2 ? 400 : 1 << 20; /* some blocks do not fit */
    text = str_after(text, 1);
    meta.path = next_line(&text);
    meta.query = next_line(&text);
    count = read_headers(text, headers);
    arena_init(&scratch, 1 << 20);
    buffer_init(&out, limit);
    memset(&names, 0, sizeof(names));
    r = http_request_encode(&meta, headers, count, &names, &scratch, &out, &dropped, &reason);
    if (r == 0) {
        bool path = false, query = false; /* blank ones are left out */

        for (size_t i = 0; i < meta.path.len; i++)
            path |= meta.path.ptr[i] != ' ' && meta.path.ptr[i] != '\t';
        for (size_t i = 0; i < meta.query.len; i++)
            query |= meta.query.ptr[i] != ' ' && meta.query.ptr[i] != '\t';
        check_block(buffer_view(&out), 10u + path + query + (meta.cancel.len > 0), meta.trusted);
        require(http_reply_decode(buffer_view(&out), str_make(NULL, 0), &reply) == HTTP_REPLY_OK);
        require(reply.echo && dropped <= count);
    } else {
        require(buffer_length(&out) == 0);
        require(r == -EINVAL ? reason != NULL : r == -ENOBUFS);
    }
    /* Names that were met before change nothing. */
    buffer_init(&again, limit);
    require(http_request_encode(&meta, headers, count, &names, &scratch, &again, &dropped,
                                &reason) == r);
    require(str_equal(buffer_view(&again), buffer_view(&out)));
    buffer_done(&again);
    buffer_done(&out);
    arena_done(&scratch);
    return 0;
}
