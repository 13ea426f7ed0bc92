#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the above first. */
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>

#include "lib/wire/http_msg.h"

#define HEADER(n, v)           \
    {                          \
        STR_LIT(n), STR_LIT(v) \
    }

static const struct http_request_meta plain_meta = {
    .method = STR_LIT("GET"),
    .path = STR_LIT("/a"),
    .host = STR_LIT("h"),
    .scheme = STR_LIT("http"),
    .route = STR_LIT("ns/n"),
    .remote_addr = STR_LIT("::1"),
    .timeout_ms = 1,
    .sent_ms = 2,
};

#define PLAIN_HEAD                                                                        \
    "NATS/1.0\r\nMetropolis-Wire: 1\r\nMetropolis-Method: GET\r\nMetropolis-Path: /a\r\n" \
    "Metropolis-Host: h\r\nMetropolis-Scheme: http\r\nMetropolis-Route: ns/n\r\n"         \
    "Metropolis-Timeout-Ms: 1\r\nMetropolis-Sent-Ms: 2\r\nMetropolis-Remote-Addr: ::1\r\n"

struct result {
    struct buffer out;
    unsigned dropped;
    const char *reason;
    int code;
};

static void encode(const struct http_request_meta *meta, const struct http_header *headers,
                   size_t limit, struct result *ret_result)
{
    struct http_field_names names = {.round = 0};
    struct arena scratch;
    size_t count = 0;

    while (headers && headers[count].name.ptr)
        count++;
    arena_init(&scratch, 65536);
    buffer_init(&ret_result->out, limit);
    ret_result->dropped = 0;
    ret_result->reason = NULL;
    ret_result->code = http_request_encode(meta, headers, count, &names, &scratch, &ret_result->out,
                                           &ret_result->dropped, &ret_result->reason);
    arena_done(&scratch);
}

static void assert_block(const struct http_request_meta *meta, const struct http_header *headers,
                         const char *expected)
{
    struct result result;

    encode(meta, headers, 65536, &result);
    assert_int_equal(result.code, 0);
    assert_int_equal(buffer_append_byte(&result.out, '\0'), 0);
    assert_string_equal(buffer_view(&result.out).ptr, expected);
    buffer_done(&result.out);
}

static void the_gateways_own_lines_come_first(void **state)
{
    static const struct http_header params[] = {HEADER("id", "a%20b"), HEADER("Rest_2", "~.x")};
    static const struct http_header headers[] = {HEADER("accept", "*/*"), {{NULL, 0}, {NULL, 0}}};
    struct http_request_meta meta = plain_meta;

    (void)state;
    meta.query = STR_LIT("v=1");
    meta.params = params;
    meta.param_count = 2;
    meta.timeout_ms = 3600000;
    meta.sent_ms = UINT64_MAX;
    meta.request_id = STR_LIT("id1");
    meta.traceparent = STR_LIT("00-1");
    meta.forwarded_for = STR_LIT("::1");
    meta.forwarded_proto = STR_LIT("http");
    meta.forwarded_host = STR_LIT("h");
    assert_block(&meta, headers,
                 "NATS/1.0\r\nMetropolis-Wire: 1\r\nMetropolis-Method: GET\r\n"
                 "Metropolis-Path: /a\r\nMetropolis-Query: v=1\r\nMetropolis-Param-id: a%20b\r\n"
                 "Metropolis-Param-Rest_2: ~.x\r\nMetropolis-Host: h\r\nMetropolis-Scheme: http\r\n"
                 "Metropolis-Route: ns/n\r\nMetropolis-Timeout-Ms: 3600000\r\n"
                 "Metropolis-Sent-Ms: 18446744073709551615\r\nMetropolis-Remote-Addr: ::1\r\n"
                 "X-Request-Id: id1\r\nTraceparent: 00-1\r\nX-Forwarded-For: ::1\r\n"
                 "X-Forwarded-Proto: http\r\nX-Forwarded-Host: h\r\nAccept: */*\r\n\r\n");
}

static void names_are_canonical_and_repeats_joined(void **state)
{
    static const struct http_header headers[] = {
        HEADER("x-A", "1"),
        HEADER("ETAG", " \t2\t "),
        HEADER("cookie", "a=1"),
        HEADER("X-a", ""),
        HEADER("www-authenticate-2X", "\xC3\xA9"),
        HEADER("X-A", "3"),
        HEADER("COOKIE", "b=2"),
        HEADER("x-a", "1"),
        HEADER("X-Empty", " \t"),
        HEADER("x-empty", ""),
        HEADER("x-late", ""),
        HEADER("x-late", "4"),
        {{NULL, 0}, {NULL, 0}},
    };

    (void)state;
    assert_block(&plain_meta, headers,
                 PLAIN_HEAD "X-A: 1, 3, 1\r\nEtag: 2\r\nCookie: a=1; b=2\r\n"
                            "Www-Authenticate-2x: \xC3\xA9\r\nX-Late: 4\r\n\r\n");
}

static void names_that_may_not_cross_are_dropped(void **state)
{
    static const struct http_header headers[] = {
        HEADER("Host", "x"),
        HEADER("Keep-Alive", "x"),
        HEADER("Proxy-Connection", "x"),
        HEADER("TE", "x"),
        HEADER("Trailer", "x"),
        HEADER("Transfer-Encoding", "x"),
        HEADER("Upgrade", "x"),
        HEADER("Proxy-Authenticate", "x"),
        HEADER("Proxy-Authorization", "x"),
        HEADER("Expect", "x"),
        HEADER("Content-Length", "1"),
        HEADER("Status", "x"),
        HEADER("description", "x"),
        HEADER("nats-Rollup", "all"),
        HEADER("Nats-", "x"),
        HEADER("METROPOLIS-Route", "a/b"),
        HEADER("metropolis-param-id", "x"),
        HEADER("Forwarded", "x"),
        HEADER("X-Forwarded-For", "x"),
        HEADER("x-forwarded-anything", "x"),
        HEADER("X-Real-IP", "x"),
        HEADER("X-Original-URL", "x"),
        HEADER("X-Rewrite-Url", "x"),
        HEADER("X-Request-ID", "x"),
        HEADER("Traceparent", "x"),
        HEADER("tracestate", "x"),
        HEADER("b3", "x"),
        HEADER("X-B3-TraceId", "x"),
        HEADER("Uber-Trace-Id", "x"),
        HEADER("Natsx", "stays"),
        HEADER("Hosts", "stays"),
        {{NULL, 0}, {NULL, 0}},
    };

    (void)state;
    assert_block(&plain_meta, headers, PLAIN_HEAD "Natsx: stays\r\nHosts: stays\r\n\r\n");
}

static void what_connection_names_goes_first_and_ours_stays(void **state)
{
    static const struct http_header headers[] = {
        HEADER("X-Hop", "1"),
        HEADER("Connection", "close, x-HOP ,,Authorization"),
        HEADER("x-hop", "2"),
        HEADER("Authorization", "secret"),
        HEADER("connection", "X-Request-Id, Metropolis-Route, x-later"),
        HEADER("X-Later", "3"),
        HEADER("X-Hops", "stays"),
        {{NULL, 0}, {NULL, 0}},
    };
    struct http_request_meta meta = plain_meta;

    (void)state;
    meta.request_id = STR_LIT("ours");
    assert_block(&meta, headers, PLAIN_HEAD "X-Request-Id: ours\r\nX-Hops: stays\r\n\r\n");
}

static void a_trusted_peer_may_say_what_the_gateway_does_not(void **state)
{
    static const struct http_header headers[] = {
        HEADER("X-Forwarded-For", "theirs"), HEADER("X-Forwarded-Port", "443"),
        HEADER("Traceparent", "theirs"),     HEADER("Tracestate", "a=1"),
        HEADER("Forwarded", "for=x"),        HEADER("Metropolis-Host", "x"),
        HEADER("X-Forwarded-Port", "444"),   {{NULL, 0}, {NULL, 0}},
    };
    struct http_request_meta meta = plain_meta;

    (void)state;
    meta.trusted = true;
    meta.forwarded_for = STR_LIT("ours");
    assert_block(&meta, headers,
                 PLAIN_HEAD "X-Forwarded-For: ours\r\nX-Forwarded-Port: 443, 444\r\n"
                            "Traceparent: theirs\r\nTracestate: a=1\r\nForwarded: for=x\r\n\r\n");
}

static void names_with_other_bytes_are_dropped_and_counted(void **state)
{
    static const struct http_header headers[] = {
        HEADER("X_Under", "1"), HEADER("X Space", "\n"), HEADER("", "1"),
        HEADER("X\r\nY", "1"),  HEADER("X:", "1"),       HEADER("H\xC3\xA9", "1"),
        HEADER("X_Under", "2"), HEADER("X-Ok", "1"),     {{NULL, 0}, {NULL, 0}},
    };
    struct result result;

    (void)state;
    encode(&plain_meta, headers, 65536, &result);
    assert_int_equal(result.code, 0);
    assert_int_equal(result.dropped, 7);
    assert_true(str_equal(buffer_view(&result.out), STR_LIT(PLAIN_HEAD "X-Ok: 1\r\n\r\n")));
    buffer_done(&result.out);
}

static void values_that_could_be_misread_are_refused(void **state)
{
    static const struct str values[] = {
        STR_LIT("a\r\nX-Inj: 1"),
        STR_LIT("a\nb"),
        STR_LIT("a\rb"),
        STR_LIT("a\0b"),
        STR_LIT("a\tb"),
        STR_LIT("\x7F"),
        STR_LIT("\xE9"),
        STR_LIT("\xC0\xAF"),
        STR_LIT("12345678\x1F"),
        STR_LIT("\x01"
                "2345678"),
        STR_LIT("1234567\xFF"
                "89012345"),
    };

    (void)state;
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        struct http_request_meta metas[4] = {plain_meta, plain_meta, plain_meta, plain_meta};
        const struct http_header headers[] = {{STR_LIT("X-A"), values[i]}, {{NULL, 0}, {NULL, 0}}};
        struct result result;

        metas[1].path = values[i];
        metas[2].query = values[i];
        metas[3].forwarded_host = values[i];
        for (size_t j = 0; j < 4; j++) {
            encode(&metas[j], j ? NULL : headers, 65536, &result);
            if (result.code != -EINVAL || !result.reason || buffer_length(&result.out))
                fail_msg("value %zu, place %zu: %d", i, j, result.code);
            buffer_done(&result.out);
        }
    }
}

static void headers_that_must_be_single_are_refused_when_repeated(void **state)
{
    static const struct str names[] = {STR_LIT("Host"), STR_LIT("content-type"),
                                       STR_LIT("Authorization"), STR_LIT("CONTENT-LENGTH"),
                                       STR_LIT("Range")};

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const struct http_header headers[] = {{names[i], STR_LIT("1")},
                                              HEADER("Accept", "x"),
                                              {names[i], STR_LIT("")},
                                              {{NULL, 0}, {NULL, 0}}};
        struct result result;

        encode(&plain_meta, headers, 65536, &result);
        assert_int_equal(result.code, -EINVAL);
        assert_non_null(strstr(result.reason, "twice"));
        buffer_done(&result.out);
    }
}

static void the_limit_is_of_the_true_length(void **state)
{
    static const struct http_header headers[] = {HEADER("X-Long-Name-That-Is-Joined", "1"),
                                                 HEADER("x-long-name-that-is-joined", "2"),
                                                 HEADER("X-Empty-Name-That-Is-Left-Out", ""),
                                                 HEADER("Host", "dropped.example"),
                                                 {{NULL, 0}, {NULL, 0}}};
    static const char expected[] = PLAIN_HEAD "X-Long-Name-That-Is-Joined: 1, 2\r\n\r\n";
    struct result result;

    (void)state;
    encode(&plain_meta, headers, sizeof(expected) - 1, &result);
    assert_int_equal(result.code, 0);
    assert_true(str_equal(buffer_view(&result.out), STR_LIT(expected)));
    buffer_done(&result.out);
    encode(&plain_meta, headers, sizeof(expected) - 2, &result);
    assert_int_equal(result.code, -ENOBUFS);
    assert_int_equal(buffer_length(&result.out), 0);
    buffer_done(&result.out);
}

static void as_many_lines_as_allowed_are_joined_in_order(void **state)
{
    static struct http_header headers[HTTP_HEADERS_MAX + 2];
    static char values[HTTP_HEADERS_MAX + 1][8];
    char expected[2048] = PLAIN_HEAD "X: ";
    struct result result;
    size_t length = strlen(expected);

    (void)state;
    for (size_t i = 0; i < HTTP_HEADERS_MAX + 1; i++) {
        snprintf(values[i], sizeof(values[i]), "%zu", i);
        headers[i] = (struct http_header){STR_LIT("x"), str_from(values[i])};
        if (i < HTTP_HEADERS_MAX)
            length += (size_t)snprintf(expected + length, sizeof(expected) - length, "%s%zu",
                                       i ? ", " : "", i);
    }
    snprintf(expected + length, sizeof(expected) - length, "\r\n\r\n");
    encode(&plain_meta, headers, 65536, &result);
    assert_int_equal(result.code, -ENOBUFS);
    buffer_done(&result.out);
    headers[HTTP_HEADERS_MAX].name = str_make(NULL, 0);
    assert_block(&plain_meta, headers, expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_gateways_own_lines_come_first),
        cmocka_unit_test(names_are_canonical_and_repeats_joined),
        cmocka_unit_test(names_that_may_not_cross_are_dropped),
        cmocka_unit_test(what_connection_names_goes_first_and_ours_stays),
        cmocka_unit_test(a_trusted_peer_may_say_what_the_gateway_does_not),
        cmocka_unit_test(names_with_other_bytes_are_dropped_and_counted),
        cmocka_unit_test(values_that_could_be_misread_are_refused),
        cmocka_unit_test(headers_that_must_be_single_are_refused_when_repeated),
        cmocka_unit_test(the_limit_is_of_the_true_length),
        cmocka_unit_test(as_many_lines_as_allowed_are_joined_in_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
