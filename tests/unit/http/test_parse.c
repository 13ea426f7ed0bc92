#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the above first. */
#include <cmocka.h>

#include "tests/unit/http/feed.h"

struct line {
    const char *bytes, *expected;
};

#define HOST "Host: a.test\r\n"
#define GET "GET / HTTP/1.1\r\n" HOST
#define POST "POST /p HTTP/1.1\r\n" HOST
#define GOT "GET path=/ query= authority=a.test host=a.test 1.1 keep [Host=a.test]"
#define POSTED "POST path=/p query= authority=a.test host=a.test 1.1 keep"

static const struct line requests[] = {
    {GET "\r\n", GOT " body= rest=0"},
    {"\r\n" GET "\r\n", GOT " body= rest=0"},
    {"\r\n\r\n" GET "X: y\r\n\r\n", GOT " [X=y] body= rest=0"},
    {"\r\nGET / HTTP/1.0\r\nX: y\r\n\r\n",
     "GET path=/ query= authority= host= 1.0 close [X=y] body= rest=0"},
    {GET "\r\nGET /next HTTP/1.1\r\n", GOT " body= rest=20"},
    {"GET /a%2Fb?x=1&y=?2 HTTP/1.1\r\nhost:\tA.Test:80 \t\r\nX-E:\r\nX-T:a\tb\r\n\r\n",
     "GET path=/a%2Fb query=x=1&y=?2 authority=A.Test:80 host=A.Test 1.1 keep [host=A.Test:80] "
     "[X-E=] [X-T=a\tb] body= rest=0"},
    {"GET http://b.test:8?q HTTP/1.1\r\n" HOST "\r\n",
     "GET path=/ query=q authority=b.test:8 host=b.test 1.1 keep [Host=a.test] body= rest=0"},
    {"OPTIONS * HTTP/1.1\r\n" HOST "\r\n",
     "OPTIONS path=* query= authority=a.test host=a.test 1.1 keep [Host=a.test] body= rest=0"},
    {"GET / HTTP/1.0\r\n\r\n", "GET path=/ query= authority= host= 1.0 close body= rest=0"},
    {"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n",
     "GET path=/ query= authority= host= 1.0 keep [Connection=Keep-Alive] body= rest=0"},
    {GET "Connection: x, close\t\r\n\r\nmore",
     "GET path=/ query= authority=a.test host=a.test 1.1 close [Host=a.test] [Connection=x, close] "
     "body= rest=4"},
    {GET "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\nnext",
     GOT " [Connection=Upgrade] [Upgrade=websocket] body= rest=4"},
    {POST "Content-Length: 5\r\n\r\nhello!",
     POSTED " [Host=a.test] [Content-Length=5] body=hello rest=1"},
    {POST "Content-Length: 0\r\n\r\n", POSTED " [Host=a.test] [Content-Length=0] body= rest=0"},
    {POST "Expect: 100-Continue\r\nContent-Length: 1\r\n\r\nx",
     POSTED " expect [Host=a.test] [Expect=100-Continue] [Content-Length=1] body=x rest=0"},
    {POST "Transfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n00A;x=\"y;\"\r\n0123456789\r\n0\r\n\r\n!",
     POSTED " chunked [Host=a.test] [Transfer-Encoding=Chunked] body=abc0123456789 rest=1"},
    {POST "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Trailer: 1\r\nY: 2\r\n\r\n",
     POSTED " chunked [Host=a.test] [Transfer-Encoding=chunked] body=a rest=0"},
    {POST "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
     POSTED " chunked [Host=a.test] [Transfer-Encoding=chunked] body= rest=0"},
};

static const struct line refusals[] = {
    /* request line (RFC 9112 3) */
    {"\x16\x03\x01", "bad-request"},
    {"\n" GET "\r\n", "bad-request"},
    {"GET / HTTP/1.1\n" HOST "\r\n", "bad-request"},
    {"GET /\r HTTP/1.1\r\n" HOST "\r\n", "bad-request"},
    {"GET  / HTTP/1.1\r\n" HOST "\r\n", "bad-request"},
    {"GET / HTTP/1.1 \r\n" HOST "\r\n", "bad-request"},
    {"GET /\r\n\r\n", "bad-request"},
    {"GET / http/1.1\r\n" HOST "\r\n", "bad-request"},
    {"GET / HTTP/1.10\r\n" HOST "\r\n", "bad-request"},
    {"GET / HTTP/2.0\r\n\r\n", "bad-version"},
    {"GET / HTTP/1.2\r\n\r\n", "bad-version"},
    {"PRI * HTTP/2.0\r\n\r\n", "bad-version"},
    {"G@T / HTTP/1.1\r\n" HOST "\r\n", "bad-request"},
    {"get / HTTP/1.1\r\n" HOST "\r\n", "unknown-method"},
    {"BREW / HTTP/1.1\r\n" HOST "\r\n", "unknown-method"},
    {"CONNECT a.test:1 HTTP/1.1\r\n" HOST "\r\n", "unknown-method"},
    {"GET a HTTP/1.1\r\n" HOST "\r\n", "bad-target"},
    {"GET * HTTP/1.1\r\n" HOST "\r\n", "bad-target"},
    {"GET /#f HTTP/1.1\r\n" HOST "\r\n", "bad-target"},
    {"GET /\xC3\xBC HTTP/1.1\r\n" HOST "\r\n", "bad-target"},
    {"GET ftp://a.test/ HTTP/1.1\r\n" HOST "\r\n", "bad-target"},
    {"GET /012345678901234567890123456789012345678901234567890123456789012345 HTTP/1.1\r\n\r\n",
     "target-too-long"},
    /* Host (RFC 9112 3.2) */
    {"GET / HTTP/1.1\r\n\r\n", "bad-host"},
    {"GET / HTTP/1.1\r\nHost:\r\n\r\n", "bad-host"},
    {"GET http://a.test/ HTTP/1.1\r\n\r\n", "bad-host"},
    {GET HOST "\r\n", "bad-host"},
    {"GET / HTTP/1.0\r\n" HOST "Host: b\r\n\r\n", "bad-host"},
    {"GET / HTTP/1.1\r\nHost: u@a.test\r\n\r\n", "bad-host"},
    {"GET http://u@a.test/ HTTP/1.1\r\n" HOST "\r\n", "bad-host"},
    /* fields (RFC 9112 5) */
    {"GET / HTTP/1.1\r\nHost : a.test\r\n\r\n", "bad-request"},
    {"GET / HTTP/1.1\r\n Host: a.test\r\n\r\n", "bad-request"},
    {GET "X: a\r\n b\r\n\r\n", "bad-request"},
    {GET "X: a\nY: b\r\n\r\n", "bad-request"},
    {GET "X: a\rY: b\r\n\r\n", "bad-request"},
    {GET "X\r\n\r\n", "bad-request"},
    {GET ": a\r\n\r\n", "bad-request"},
    {GET "X\x01: a\r\n\r\n", "bad-request"},
    {GET "X: a\x01\r\n\r\n", "bad-request"},
    {GET "X: a\x7F\r\n\r\n", "bad-request"},
    {GET "Expect: 200-ok\r\n\r\n", "bad-expectation"},
    /* framing (RFC 9112 6) */
    {POST "Content-Length: 1\r\nContent-Length: 1\r\n\r\na", "bad-framing"},
    {POST "Content-Length: 1, 1\r\n\r\na", "bad-framing"},
    {POST "Content-Length: +1\r\n\r\na", "bad-framing"},
    {POST "Content-Length: 0x1\r\n\r\na", "bad-framing"},
    {POST "Content-Length:\r\n\r\n", "bad-framing"},
    {POST "Content-Length: 18446744073709551617\r\n\r\na", "bad-framing"},
    {POST "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
     "bad-framing"},
    {POST "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n1\r\na\r\n0\r\n\r\n",
     "bad-framing"},
    {POST "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "unknown-transfer-coding"},
    {POST "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", "bad-framing"},
    {POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
     "bad-framing"},
    {POST "Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", "bad-framing"},
    {POST "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", "bad-framing"},
    {POST "Transfer-Encoding:\r\n\r\n0\r\n\r\n", "bad-framing"},
    {"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "bad-framing"},
    {POST "Content-Length: 257\r\n\r\n", "body-too-large"},
    /* chunks (RFC 9112 7.1) */
    {POST "Transfer-Encoding: chunked\r\n\r\n\r\n", "bad-framing"},
    {POST "Transfer-Encoding: chunked\r\n\r\n-1\r\n", "bad-framing"},
    {POST "Transfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n", "bad-framing"},
    {POST "Transfer-Encoding: chunked\r\n\r\n1\na\r\n", "bad-framing"},
    {POST "Transfer-Encoding: chunked\r\n\r\n1\r\na\n0\r\n\r\n", "bad-framing"},
    {POST "Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n", "bad-framing"},
    {POST "Transfer-Encoding: chunked\r\n\r\n1 \r\na\r\n0\r\n\r\n", "bad-framing"},
    {POST "Transfer-Encoding: chunked\r\n\r\n1;\na\r\n0\r\n\r\n", "bad-framing"},
    {POST "Transfer-Encoding: chunked\r\n\r\n10000000000000001\r\na\r\n", "bad-framing"},
    {POST "Transfer-Encoding: chunked\r\n\r\n0\r\nX : 1\r\n\r\n", "bad-framing"},
};

static void expect_however_cut(const struct line *lines, size_t count)
{
    static char text[FEED_TEXT_MAX];

    for (size_t i = 0; i < count; i++) {
        size_t length = strlen(lines[i].bytes);

        for (size_t cut = 0; cut < length; cut++) {
            feed(lines[i].bytes, length, cut, 0, &feed_limits, text);
            assert_string_equal(text, lines[i].expected);
        }
        for (size_t step = 1; step < 4; step++) {
            feed(lines[i].bytes, length, 0, step, &feed_limits, text);
            assert_string_equal(text, lines[i].expected);
        }
    }
}

static void requests_are_the_same_however_the_bytes_were_cut(void **state)
{
    (void)state;
    expect_however_cut(requests, sizeof(requests) / sizeof(*requests));
}

static void refusals_are_the_same_however_the_bytes_were_cut(void **state)
{
    (void)state;
    expect_however_cut(refusals, sizeof(refusals) / sizeof(*refusals));
}

/* Appends count times piece. */
static size_t repeat(char *to, const char *piece, size_t count)
{
    size_t length = strlen(piece);

    for (size_t i = 0; i < count; i++)
        memcpy(to + i * length, piece, length);
    return count * length;
}

static void every_part_has_its_limit(void **state)
{
    static char bytes[FEED_TEXT_MAX], text[FEED_TEXT_MAX];
    const struct {
        const char *head, *piece;
        size_t count;
        const char *tail, *expected;
    } cases[] = {
        {GET, "X: 1\r\n", HTTP_HEADERS_MAX, "\r\n", "head-too-large"},
        {GET "X: ", "0123456789", 110, "\r\n\r\n", "head-too-large"},
        {GET, "0123456789", 110, ": 1\r\n\r\n", "head-too-large"},
        {"GET /", "0123456789", 20, " HTTP/1.1\r\n\r\n", "target-too-long"},
        {"", "A", 200, " / HTTP/1.1\r\n\r\n", "bad-request"},
        {"", "\r\n", 8, "GET / HTTP/1.1\r\n\r\n", "bad-request"},
        {POST "Content-Length: 257\r\n\r\n", "a", 257, "", "body-too-large"},
        {POST "Transfer-Encoding: chunked\r\n\r\n", "1\r\na\r\n", 257, "", "body-too-large"},
        {POST "Transfer-Encoding: chunked\r\n\r\n1", ";aaaaaaaaa=bbbbbbbbbb", 300, "\r\na\r\n",
         "bad-framing"},
        {POST "Transfer-Encoding: chunked\r\n\r\n", "0", 5000, "1\r\na\r\n0\r\n\r\n",
         "bad-framing"},
        {POST "Transfer-Encoding: chunked\r\n\r\n0\r\n", "Trailer: 0123456789\r\n", 100, "\r\n",
         "head-too-large"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        size_t length = strlen(cases[i].head);

        memcpy(bytes, cases[i].head, length);
        length += repeat(bytes + length, cases[i].piece, cases[i].count);
        memcpy(bytes + length, cases[i].tail, strlen(cases[i].tail));
        length += strlen(cases[i].tail);
        for (size_t step = 1; step < 2000; step += 997) {
            feed(bytes, length, 0, step, &feed_limits, text);
            assert_string_equal(text, cases[i].expected);
        }
    }
}

/* Whole, byte by byte, cut behind the request line: what reads it differs, the limit does not. */
static void a_head_has_its_limit_to_the_byte(void **state)
{
    static char bytes[FEED_TEXT_MAX], text[FEED_TEXT_MAX];
    const size_t steps[] = {0, 1, sizeof("GET / HTTP/1.1\r\n") - 1};

    (void)state;
    for (size_t size = feed_limits.head_max - 2; size <= feed_limits.head_max + 2; size++) {
        size_t length = (size_t)sprintf(bytes, GET "X: ");

        length += repeat(bytes + length, "a", size - length - 4);
        length += (size_t)sprintf(bytes + length, "\r\n\r\n");
        assert_int_equal(length, size);
        for (size_t i = 0; i < sizeof(steps) / sizeof(*steps); i++) {
            feed(bytes, length, 0, steps[i], &feed_limits, text);
            assert_int_equal(strcmp(text, "head-too-large") == 0, size > feed_limits.head_max);
        }
    }
}

static void the_largest_allowed_request_passes(void **state)
{
    static char bytes[FEED_TEXT_MAX], text[FEED_TEXT_MAX], expected[FEED_TEXT_MAX];
    size_t length;

    (void)state;
    length =
        (size_t)sprintf(bytes, "POST /p HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n");
    length += repeat(bytes + length, "1\r\na\r\n", feed_limits.body_max);
    length += (size_t)sprintf(bytes + length, "0\r\n\r\n");
    sprintf(expected, POSTED " chunked [Host=a.test] [Transfer-Encoding=chunked] body=");
    repeat(expected + strlen(expected), "a", feed_limits.body_max);
    strcat(expected, " rest=0");
    for (size_t step = 1; step < 1000; step += 7) {
        feed(bytes, length, 0, step, &feed_limits, text);
        assert_string_equal(text, expected);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_are_the_same_however_the_bytes_were_cut),
        cmocka_unit_test(refusals_are_the_same_however_the_bytes_were_cut),
        cmocka_unit_test(every_part_has_its_limit),
        cmocka_unit_test(a_head_has_its_limit_to_the_byte),
        cmocka_unit_test(the_largest_allowed_request_passes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
