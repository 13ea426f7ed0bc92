#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the above first. */
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "lib/wire/http_msg.h"

#define N "NATS/1.0\r\n"

static struct http_reply reply;

/* Decodes copies of exactly the size, so that ASan sees every byte read beyond them. */
static enum http_reply_fault decode(struct str block, struct str payload)
{
    static char *block_copy, *payload_copy; /* what the last reply borrows */

    free(block_copy);
    free(payload_copy);
    block_copy = malloc(block.len + !block.len);
    payload_copy = malloc(payload.len + !payload.len);
    memcpy(block_copy, block.ptr, block.len);
    memcpy(payload_copy, payload.ptr, payload.len);
    return http_reply_decode(str_make(block_copy, block.len), str_make(payload_copy, payload.len),
                             &reply);
}

/* The headers of the last reply as "name=value|". */
static const char *headers(void)
{
    static char text[4096];
    size_t length = 0;

    text[0] = '\0';
    for (size_t i = 0; i < reply.header_count; i++)
        length += (size_t)snprintf(text + length, sizeof(text) - length, STR_FMT "=" STR_FMT "|",
                                   STR_ARG(reply.headers[i].name), STR_ARG(reply.headers[i].value));
    return text;
}

static void good_replies_give_status_and_headers(void **state)
{
    static const struct {
        const char *block, *headers;
        unsigned status, dropped;
    } cases[] = {
        {"", "", 200, 0},
        {N "\r\n", "", 200, 0},
        {"NATS/1.0 \r\n\r\n", "", 200, 0},
        {N "Metropolis-Status: 201\r\nContent-Type: a/b\r\n\r\n", "Content-Type=a/b|", 201, 0},
        {N "metropolis-STATUS:\t599 \r\n\r\n", "", 599, 0},
        {N "Set-Cookie: a\r\nX-A:  v w \t\r\nset-cookie: b\r\n\r\n",
         "Set-Cookie=a|X-A=v w|set-cookie=b|", 200, 0},
        {N "Metropolis-Add-1: Set-Cookie: a=1\r\nSet-Cookie: b\r\nmetropolis-add-x9:set-cookie:c:d"
           "\r\n\r\n",
         "Set-Cookie=b|Set-Cookie=a=1|set-cookie=c:d|", 200, 0},
        {N
         "Metropolis-Add-10: A: 10\r\nMetropolis-Add-2: A: 2\r\nMetropolis-Add-b: A: b\r\nA: 0\r\n"
         "metropolis-add-a: A: a\r\nMetropolis-Add-2: A: 2 again\r\n\r\n",
         "A=0|A=2|A=2 again|A=a|A=b|A=10|", 200, 0},
        {N "X-Empty:\r\nX-Latin: \xE9\r\n\r\n", "X-Empty=|X-Latin=\xE9|", 200, 0},
        /* what may not cross */
        {N "Connection: X-Hop , close\r\nX-Hop: 1\r\nx-hop: 2\r\nX-Hops: 3\r\n\r\n", "X-Hops=3|",
         200, 3},
        {N "Keep-Alive: x\r\nProxy-Connection: x\r\nTE: x\r\nTrailer: x\r\nTransfer-Encoding: "
           "chunked\r\nUpgrade: x\r\nProxy-Authenticate: x\r\nProxy-Authorization: x\r\nHost: x\r\n"
           "Expect: x\r\nStatus: 503\r\nDescription: x\r\nNats-Rollup: all\r\n"
           "Metropolis-Future: x\r\n\r\n",
         "", 200, 14},
        {N "Authorization: x\r\nCookie: x\r\nForwarded: x\r\nFrom: x\r\nIf-Match: x\r\n"
           "If-None-Match: x\r\nMax-Forwards: x\r\nOrigin: x\r\nRange: x\r\nReferer: x\r\n"
           "User-Agent: x\r\nX-Forwarded-For: x\r\nX-Real-Ip: x\r\nEtag: y\r\n\r\n",
         "Etag=y|", 200, 13},
        {N "Metropolis-Add-1: Connection: close\r\nMetropolis-Add-2: Metropolis-Status: 500\r\n"
           "Metropolis-Add-3: Transfer-Encoding: chunked\r\nMetropolis-Add-: A: b\r\n\r\n",
         "", 200, 4},
        {N "X_Under: 1\r\nX : 1\r\n folded: 1\r\nX-Ok: 1\r\n\r\n", "X-Ok=1|", 200, 3},
        {N "Metropolis-Wire: 1\r\n\r\n", "", 200, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (decode(str_from(cases[i].block), STR_LIT("body")) != HTTP_REPLY_OK ||
            reply.status != cases[i].status || reply.dropped != cases[i].dropped || reply.echo ||
            strcmp(headers(), cases[i].headers) != 0)
            fail_msg("case %zu: %u, %u dropped, %s", i, reply.status, reply.dropped, headers());
    }
}

static void faults_are_told_apart(void **state)
{
    static const struct {
        struct str block;
        const char *payload;
        enum http_reply_fault fault;
    } cases[] = {
        {STR_LIT("NATS/1.0 503\r\n\r\n"), "", HTTP_REPLY_NO_RESPONDERS},
        {STR_LIT("NATS/1.0 503 No Responders\r\n\r\n"), "", HTTP_REPLY_NO_RESPONDERS},
        {STR_LIT("NATS/1.0 503\r\nNats-Subject: foo.GET\r\n\r\n"), "", HTTP_REPLY_NO_RESPONDERS},
        {STR_LIT("NATS/1.0 503\r\n\r\n"), "x", HTTP_REPLY_BAD_STATUS},
        {STR_LIT("NATS/1.0 408 Request Timeout\r\n\r\n"), "", HTTP_REPLY_BAD_STATUS},
        {STR_LIT("NATS/1.0 100 Idle Heartbeat\r\n\r\n"), "", HTTP_REPLY_BAD_STATUS},
        {STR_LIT("NATS/1.0 5030\r\n\r\n"), "", HTTP_REPLY_BAD_HEADERS},
        {STR_LIT("NATS/1.0 abc\r\n\r\n"), "", HTTP_REPLY_BAD_HEADERS},
        {STR_LIT("NATS/1.0503\r\n\r\n"), "", HTTP_REPLY_BAD_HEADERS},
        {STR_LIT("NATS/2.0\r\n\r\n"), "", HTTP_REPLY_BAD_HEADERS},
        {STR_LIT("NATS/1.0"), "", HTTP_REPLY_BAD_HEADERS},
        {STR_LIT("NATS/1.0\r\n"), "", HTTP_REPLY_BAD_HEADERS},
        {STR_LIT("\r\n"), "", HTTP_REPLY_BAD_HEADERS},
        {STR_LIT(N "Metropolis-Status: 199\r\n\r\n"), "", HTTP_REPLY_BAD_STATUS},
        {STR_LIT(N "Metropolis-Status: 101\r\n\r\n"), "", HTTP_REPLY_BAD_STATUS},
        {STR_LIT(N "Metropolis-Status: 600\r\n\r\n"), "", HTTP_REPLY_BAD_STATUS},
        {STR_LIT(N "Metropolis-Status: 2000\r\n\r\n"), "", HTTP_REPLY_BAD_STATUS},
        {STR_LIT(N "Metropolis-Status: +20\r\n\r\n"), "", HTTP_REPLY_BAD_STATUS},
        {STR_LIT(N "Metropolis-Status:\r\n\r\n"), "", HTTP_REPLY_BAD_STATUS},
        {STR_LIT(N "Metropolis-Status: 200\r\nMetropolis-Status: 204\r\n\r\n"), "",
         HTTP_REPLY_BAD_STATUS},
        {STR_LIT(N "Metropolis-Wire: 2\r\n\r\n"), "", HTTP_REPLY_UNSUPPORTED},
        {STR_LIT(N "Metropolis-More: 1\r\n\r\n"), "", HTTP_REPLY_UNSUPPORTED},
        {STR_LIT(N "Metropolis-Stream: x\r\nMetropolis-Status: 999\r\n\r\n"), "",
         HTTP_REPLY_UNSUPPORTED},
        {STR_LIT(N "X-A: b\rc\r\n\r\n"), "", HTTP_REPLY_BAD_HEADERS},
        {STR_LIT(N "X-A: b\nX-Inj: c\r\n\r\n"), "", HTTP_REPLY_BAD_HEADERS},
        {STR_LIT(N "X-A: b\0c\r\n\r\n"), "", HTTP_REPLY_BAD_HEADERS},
        {STR_LIT(N "X-A: b\tc\r\n\r\n"), "", HTTP_REPLY_BAD_HEADERS},
        {STR_LIT(N "X-A\0: b\r\n\r\n"), "", HTTP_REPLY_BAD_HEADERS},
        {STR_LIT(N "X-A: b\x7F\r\n\r\n"), "", HTTP_REPLY_BAD_HEADERS},
        {STR_LIT(N "no colon\r\n\r\n"), "", HTTP_REPLY_BAD_HEADERS},
        {STR_LIT(N ": b\r\n\r\n"), "", HTTP_REPLY_BAD_HEADERS},
        {STR_LIT(N "Metropolis-Add-1: nothing\r\n\r\n"), "", HTTP_REPLY_BAD_HEADERS},
        {STR_LIT(N "X-A: b\r\n"), "", HTTP_REPLY_BAD_HEADERS},
        {STR_LIT(N "X-A: b\r\n\r\njunk"), "", HTTP_REPLY_BAD_HEADERS},
        {STR_LIT(N "\r\nX-A: b\r\n\r\n"), "", HTTP_REPLY_BAD_HEADERS},
        {STR_LIT(N "Content-Length: 1, 2\r\n\r\n"), "", HTTP_REPLY_BAD_HEADERS},
        {STR_LIT(N "Content-Length: 1\r\nContent-Length: 2\r\n\r\n"), "", HTTP_REPLY_BAD_HEADERS},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        enum http_reply_fault fault = decode(cases[i].block, str_from(cases[i].payload));

        if (fault != cases[i].fault)
            fail_msg("case %zu: %d: " STR_FMT, i, fault, STR_ARG(cases[i].block));
    }
}

static void an_echo_is_a_200_without_any_header(void **state)
{
    (void)state;
    assert_int_equal(decode(STR_LIT(N "Metropolis-Wire: 1\r\nCookie: a\r\nX-A: b\r\n"
                                      "Metropolis-Status: 999\r\nMetropolis-Method: GET\r\n"
                                      "Accept: x\r\n\r\n"),
                            STR_LIT("body")),
                     HTTP_REPLY_OK);
    assert_true(reply.echo);
    assert_int_equal(reply.status, 200);
    assert_int_equal(reply.header_count, 0);
    assert_int_equal(reply.content_length.len, 0);
}

static void errors_of_micro_services_become_a_status(void **state)
{
    static const struct {
        const char *block;
        unsigned status;
        bool service_error;
    } cases[] = {
        {N "Nats-Service-Error-Code: 404\r\nNats-Service-Error: no such\r\n\r\n", 404, true},
        {N "Nats-Service-Error-Code: 200\r\nNats-Service-Error: no such\r\n\r\n", 500, true},
        {N "Nats-Service-Error-Code: E17\r\nNats-Service-Error: no such\r\n\r\n", 500, true},
        {N "Nats-Service-Error: no such\r\nMetropolis-Status: 418\r\nNats-Service-Error-Code: 404"
           "\r\n\r\n",
         418, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(decode(str_from(cases[i].block), STR_LIT("")), HTTP_REPLY_OK);
        assert_int_equal(reply.status, cases[i].status);
        assert_int_equal(reply.service_error, cases[i].service_error);
        assert_true(str_equal(reply.service_error_text, STR_LIT("no such")));
        assert_int_equal(reply.header_count + reply.dropped, 0);
    }
}

static void content_length_is_kept_apart(void **state)
{
    (void)state;
    assert_int_equal(
        decode(STR_LIT(N "content-length: 17\r\nContent-Length: 17\r\n\r\n"), STR_LIT("")),
        HTTP_REPLY_OK);
    assert_true(str_equal(reply.content_length, STR_LIT("17")));
    assert_int_equal(reply.header_count, 0);
}

static void more_lines_than_allowed_are_refused(void **state)
{
    struct buffer block;

    (void)state;
    buffer_init(&block, 65536);
    buffer_append_str(&block, STR_LIT(N));
    for (size_t i = 0; i < HTTP_HEADERS_MAX; i++)
        buffer_printf(&block, "X-%zu: v\r\n", i);
    buffer_append_str(&block, STR_LIT("\r\n"));
    assert_int_equal(decode(buffer_view(&block), STR_LIT("")), HTTP_REPLY_OK);
    assert_int_equal(reply.header_count, HTTP_HEADERS_MAX);
    buffer_truncate(&block, buffer_length(&block) - 2);
    buffer_append_str(&block, STR_LIT("Last: v\r\n\r\n"));
    assert_int_equal(decode(buffer_view(&block), STR_LIT("")), HTTP_REPLY_BAD_HEADERS);
    buffer_truncate(&block, buffer_length(&block) - 2);
    buffer_append_str(&block, STR_LIT("Metropolis-Method: GET\r\n\r\n"));
    assert_int_equal(decode(buffer_view(&block), STR_LIT("")), HTTP_REPLY_OK);
    assert_true(reply.echo); /* a request with many headers, sent back */
    buffer_done(&block);
}

static void a_streams_ack_is_known_and_nothing_else(void **state)
{
    static const struct {
        struct str payload;
        bool ack;
    } cases[] = {
        {STR_LIT("{\"stream\":\"ORD\", \"seq\":1}"), true},
        {STR_LIT("{\"stream\":\"ORD\",\"domain\":\"hub\",\"seq\":18446744073709551615,"
                 "\"duplicate\": true}"),
         true},
        {STR_LIT("{\"stream\":\"ORD\",\"seq\":1,\"batch\":\"b\",\"count\":2,\"val\":\"7\"}"), true},
        {STR_LIT("{\"error\":{\"code\":503,\"err_code\":10077,\"description\":\"maximum messages "
                 "exceeded\"},\"stream\":\"ORD\",\"seq\":0}"),
         true},
        {STR_LIT("{\"stream\":\"ORD\",\"seq\":1,\"title\":\"x\"}"), false},
        {STR_LIT("{\"stream\":\"ORD\",\"seq\":-1}"), false},
        {STR_LIT("{\"stream\":\"ORD\",\"seq\":1.5}"), false},
        {STR_LIT("{\"stream\":\"ORD\",\"seq\":\"1\"}"), false},
        {STR_LIT("{\"stream\":7,\"seq\":1}"), false},
        {STR_LIT("{\"stream\":\"ORD\"}"), false},
        {STR_LIT("{\"error\":{\"code\":503}}"), false},
        {STR_LIT("{\"stream\":\"ORD\",\"seq\":1} x"), false},
        {STR_LIT("{\"stream\":\"ORD\",\"seq\":1"), false},
        {STR_LIT("{\"stream\""), false},
        {STR_LIT("[{\"stream\":\"ORD\",\"seq\":1}]"), false},
        {STR_LIT(""), false},
    };
    char large[2000];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        enum http_reply_fault fault = decode(STR_LIT(""), cases[i].payload);

        if (fault != (cases[i].ack ? HTTP_REPLY_JETSTREAM_ACK : HTTP_REPLY_OK))
            fail_msg("case %zu: %d", i, fault);
        /* With a header block it is a worker's. */
        assert_int_equal(decode(STR_LIT(N "\r\n"), cases[i].payload), HTTP_REPLY_OK);
    }
    for (size_t padding = 990; padding < 1010; padding++) {
        int length =
            snprintf(large, sizeof(large), "{\"stream\":\"O\",\"seq\":1%*s}", (int)padding, "");

        assert_int_equal(decode(STR_LIT(""), str_make(large, (size_t)length)),
                         length <= 1024 ? HTTP_REPLY_JETSTREAM_ACK : HTTP_REPLY_OK);
    }
    /* As many values as a payload of that size can hold. */
    snprintf(large, sizeof(large), "{\"stream\":[");
    for (size_t i = strlen(large); i < 1022; i += 2)
        memcpy(large + i, "1,", 3);
    memcpy(large + 1020, "1]}", 4);
    assert_int_equal(decode(STR_LIT(""), str_make(large, 1023)), HTTP_REPLY_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_replies_give_status_and_headers),
        cmocka_unit_test(faults_are_told_apart),
        cmocka_unit_test(an_echo_is_a_200_without_any_header),
        cmocka_unit_test(errors_of_micro_services_become_a_status),
        cmocka_unit_test(content_length_is_kept_apart),
        cmocka_unit_test(more_lines_than_allowed_are_refused),
        cmocka_unit_test(a_streams_ack_is_known_and_nothing_else),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
