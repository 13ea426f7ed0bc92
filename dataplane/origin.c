/*
 * origin: see origin.h. On the hot path for every request; the parts for trusted proxies may take
 * longer. Unless told otherwise a new trace is not sampled: whether to sample is for the first
 * system behind that records spans to say, and a client must not be able to switch on tracing (NATS
 * servers act on it).
 */
#include "dataplane/origin.h"

#include <errno.h>

#include "lib/wire/http_field.h"

/* Eight digits, of numbers of which no digit means more than another. */
static void put_hex_half(char *to, uint32_t value)
{
    uint64_t nibbles = (value | (uint64_t)value << 28) & 0x0F0F0F0F0F0F0F0F;
    uint64_t letters = (nibbles + 0x0606060606060606) >> 4 & 0x0101010101010101;

    nibbles += 0x3030303030303030 + letters * ('a' - '0' - 10);
    memcpy(to, &nibbles, sizeof(nibbles));
}

static void put_hex(char *to, uint64_t value)
{
    put_hex_half(to, (uint32_t)value);
    put_hex_half(to + 8, (uint32_t)(value >> 32));
}

/* One half does not repeat in this process, the other nobody can predict. */
void origin_make_id(struct random_source *random, char *id)
{
    put_hex(id, random_weak(&random->weak));
    put_hex(id + 16, random_u64(random));
    id[ORIGIN_ID_BYTES] = '\0';
}

/* By the last 16 digits of the trace id, which are random also in ids of level 1 (W3C Trace Context
 * 2, 5.1). */
static void sample(char *trace, uint64_t sampled_below)
{
    uint64_t random = 0;

    for (int i = 19; i < 35; i++)
        random = random << 4 | (uint64_t)str_hex_value(trace[i]);
    trace[54] = random < sampled_below ? '1' : '0';
    trace[53] = '0';
}

/* The trace id is the request id, so that one search finds both; all zeros would be invalid. */
static void make_trace(struct random_source *random, const char *id, char *trace)
{
    memcpy(trace, "00-", 3);
    memcpy(trace + 3, id, 32);
    trace[35] = '-';
    put_hex(trace + 36, random_weak(&random->weak) | 1);
    memcpy(trace + 52, "-00", 4);
}

static bool is_hex(struct str text)
{
    for (size_t i = 0; i < text.len; i++)
        if (!((text.ptr[i] >= '0' && text.ptr[i] <= '9') ||
              (text.ptr[i] >= 'a' && text.ptr[i] <= 'f')))
            return false;
    return true;
}

/* W3C Trace Context 3.2, version 00. */
static bool is_trace(struct str text)
{
    return text.len == ORIGIN_TRACE_BYTES && text.ptr[2] == '-' && text.ptr[35] == '-' &&
           text.ptr[52] == '-' && str_starts_with(text, STR_LIT("00-")) &&
           is_hex(str_make(text.ptr + 3, 32)) && is_hex(str_make(text.ptr + 36, 16)) &&
           is_hex(str_make(text.ptr + 53, 2));
}

/* What needs no escape in JSON, headers or logs. */
static bool is_plain_id(struct str text)
{
    if (text.len == 0 || text.len > 128)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];

        if (c <= 0x20 || c >= 0x7F || c == '"' || c == '\\' || c == ',')
            return false;
    }
    return true;
}

/* Some proxies write a port behind the address: "192.0.2.1:80", "[2001:db8::1]:80". */
static struct str without_port(struct str address)
{
    bool bracket = str_starts_with(address, STR_LIT("["));
    const char *end = memchr(address.ptr, bracket ? ']' : ':', address.len);

    if (bracket)
        return end ? str_make(address.ptr + 1, (size_t)(end - address.ptr) - 1) : address;
    if (end && end == memrchr(address.ptr, ':', address.len))
        address.len = (size_t)(end - address.ptr);
    return address;
}

/* All lines of X-Forwarded-For and the peer, joined; remote_addr becomes the nearest address that
 * is not a trusted proxy's. */
static int read_forwarded_for(const struct http_request *request, const struct peers *trusted,
                              struct arena *scratch, struct origin *origin)
{
    struct str joined = {0}, list;

    for (size_t i = 0; i < request->header_count; i++) {
        const struct http_header *header = &request->headers[i];

        if (!str_equal_nocase(header->name, STR_LIT("x-forwarded-for")) || !header->value.len)
            continue;
        joined = joined.len ? arena_printf(scratch, STR_FMT ", " STR_FMT, STR_ARG(joined),
                                           STR_ARG(header->value))
                            : header->value;
        if (!joined.ptr)
            return -ENOMEM;
    }
    if (!joined.len)
        return 0;
    origin->forwarded_for =
        arena_printf(scratch, STR_FMT ", " STR_FMT, STR_ARG(joined), STR_ARG(origin->remote_addr));
    if (!origin->forwarded_for.ptr)
        return -ENOMEM;
    for (list = joined; list.len;) {
        const char *comma = memrchr(list.ptr, ',', list.len);
        size_t begin = comma ? (size_t)(comma - list.ptr) + 1 : 0;
        struct str address = without_port(http_field_trim(str_after(list, begin)));

        if (!peers_contain_text(trusted, address)) {
            if (address.len && address.len < INET6_ADDRSTRLEN)
                origin->remote_addr = address;
            break;
        }
        origin->remote_addr = address;
        list.len = comma ? begin - 1 : 0;
    }
    return 0;
}

static void read_trace(const struct http_request *request, const struct origin_rules *rules,
                       struct origin *origin)
{
    struct str value;

    if (!http_request_field(request, STR_LIT("traceparent"), &value) || !is_trace(value))
        return;
    memcpy(origin->trace, value.ptr, ORIGIN_TRACE_BYTES);
    if (rules->resample)
        sample(origin->trace, rules->sampled_below);
}

static int read_trusted(const struct http_request *request, const struct origin_rules *rules,
                        struct arena *scratch, struct origin *origin)
{
    struct str value;

    if (http_request_field(request, STR_LIT("x-request-id"), &value) && is_plain_id(value))
        origin->request_id = value;
    read_trace(request, rules, origin);
    if (http_request_field(request, STR_LIT("x-forwarded-host"), &value) && value.len)
        origin->forwarded_host = value;
    if (http_request_field(request, STR_LIT("x-forwarded-proto"), &value) &&
        (str_equal_nocase(value, STR_LIT("https")) || str_equal_nocase(value, STR_LIT("http"))))
        origin->scheme = value.len == 5 ? STR_LIT("https") : STR_LIT("http");
    return read_forwarded_for(request, &rules->trusted, scratch, origin);
}

static int read_host(const struct http_request *request, struct arena *scratch,
                     struct origin *origin)
{
    size_t length = request->authority.len;
    char *lower = arena_take(scratch, length + 1);

    if (!lower)
        return -ENOMEM;
    for (size_t i = 0; i < length; i++)
        lower[i] = str_lower_byte(request->authority.ptr[i]);
    origin->authority = str_make(lower, length);
    origin->host = str_make(lower, request->host.len); /* it begins the authority */
    return 0;
}

int origin_read(struct conn *conn, const struct http_request *request,
                const struct origin_rules *rules, struct random_source *random,
                struct arena *scratch, struct origin *ret_origin)
{
    struct origin *origin = ret_origin;
    int code = read_host(request, scratch, origin);

    if (code < 0)
        return code;
    if (!conn->peer_judged) {
        conn->peer_judged = true;
        conn->peer_trusted = peers_contain(&rules->trusted, conn->address, conn->address_length);
    }
    origin->trusted = conn->peer_trusted;
    origin->scheme = STR_LIT("http"); /* an absolute target with https: is only a claim */
    origin->remote_addr = origin->forwarded_for = conn_peer(conn);
    origin->forwarded_host = origin->authority;
    origin_make_id(random, origin->id);
    make_trace(random, origin->id, origin->trace);
    if (rules->sampled_below)
        sample(origin->trace, rules->sampled_below);
    origin->request_id = str_make(origin->id, ORIGIN_ID_BYTES);
    origin->traceparent = str_make(origin->trace, ORIGIN_TRACE_BYTES);
    if (origin->trusted)
        code = read_trusted(request, rules, scratch, origin);
    origin->forwarded_proto = origin->scheme;
    return code;
}
