#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the above first. */
#include <cmocka.h>

#include <errno.h>

#include "dataplane/http/write.h"

static const struct http_header own[] = {{STR_LIT("X-A"), STR_LIT("1")},
                                         {STR_LIT("X-A"), STR_LIT("2")}};

static void expect(const struct http_response *response, struct http_response_context context,
                   const char *expected)
{
    struct buffer out;

    context.date = STR_LIT("D");
    buffer_init(&out, 4096);
    assert_int_equal(http_response_write(response, &context, &out), 0);
    assert_int_equal(buffer_append_byte(&out, '\0'), 0);
    assert_string_equal(buffer_view(&out).ptr, expected);
    buffer_done(&out);
}

static void a_response_has_its_headers_in_order_and_a_length(void **state)
{
    struct http_response response = {.status = 200,
                                     .headers = own,
                                     .header_count = 2,
                                     .request_id = STR_LIT("id"),
                                     .body = STR_LIT("hello")};

    (void)state;
    expect(&response, (struct http_response_context){.keep_alive = true, .minor = 1},
           "HTTP/1.1 200 OK\r\nX-A: 1\r\nX-A: 2\r\nDate: D\r\nX-Request-Id: id\r\n"
           "Content-Length: 5\r\n\r\n");
    response.body = (struct str){0};
    response.status = 299;
    expect(&response, (struct http_response_context){.minor = 1, .server = STR_LIT("s")},
           "HTTP/1.1 299 \r\nX-A: 1\r\nX-A: 2\r\nDate: D\r\nServer: s\r\nX-Request-Id: id\r\n"
           "Content-Length: 0\r\nConnection: close\r\n\r\n");
}

static void persistence_is_told_to_http_1_0_and_closing_to_all(void **state)
{
    const struct http_response response = {.status = 200};

    (void)state;
    expect(&response, (struct http_response_context){.keep_alive = true},
           "HTTP/1.1 200 OK\r\nDate: D\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n");
    expect(&response, (struct http_response_context){0},
           "HTTP/1.1 200 OK\r\nDate: D\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
}

static void responses_without_a_body_do_not_claim_one(void **state)
{
    struct http_response response = {.status = 204, .body = STR_LIT("x")};
    struct http_response_context context = {.keep_alive = true, .minor = 1};

    (void)state;
    expect(&response, context, "HTTP/1.1 204 No Content\r\nDate: D\r\n\r\n");
    response.status = 205;
    expect(&response, context,
           "HTTP/1.1 205 Reset Content\r\nDate: D\r\nContent-Length: 0\r\n\r\n");
    response.status = 304;
    response.body = (struct str){0};
    expect(&response, context, "HTTP/1.1 304 Not Modified\r\nDate: D\r\n\r\n");
    response.content_length = STR_LIT("77");
    expect(&response, context,
           "HTTP/1.1 304 Not Modified\r\nDate: D\r\nContent-Length: 77\r\n\r\n");
    response.status = 200;
    context.head = true;
    expect(&response, context, "HTTP/1.1 200 OK\r\nDate: D\r\nContent-Length: 77\r\n\r\n");
    response.content_length = (struct str){0};
    expect(&response, context, "HTTP/1.1 200 OK\r\nDate: D\r\n\r\n");
    response.body = STR_LIT("dropped");
    expect(&response, context, "HTTP/1.1 200 OK\r\nDate: D\r\nContent-Length: 7\r\n\r\n");
    /* A worker's Content-Length counts nowhere else. */
    context.head = false;
    response.content_length = STR_LIT("77");
    expect(&response, context, "HTTP/1.1 200 OK\r\nDate: D\r\nContent-Length: 7\r\n\r\n");
}

static void a_workers_date_and_server_stand_its_request_id_does_not(void **state)
{
    const struct http_header headers[] = {{STR_LIT("date"), STR_LIT("then")},
                                          {STR_LIT("SERVER"), STR_LIT("w")},
                                          {STR_LIT("x-request-id"), STR_LIT("forged")}};
    const struct http_response response = {
        .status = 200, .headers = headers, .header_count = 3, .request_id = STR_LIT("id")};

    (void)state;
    expect(&response,
           (struct http_response_context){.keep_alive = true, .minor = 1, .server = STR_LIT("s")},
           "HTTP/1.1 200 OK\r\ndate: then\r\nSERVER: w\r\nX-Request-Id: id\r\n"
           "Content-Length: 0\r\n\r\n");
}

static void past_the_limit_nothing_is_written(void **state)
{
    const struct http_response response = {.status = 200};
    const struct http_response_context context = {0};
    struct buffer out;

    (void)state;
    buffer_init(&out, 100);
    assert_int_equal(buffer_append_byte(&out, '!'), 0);
    assert_int_equal(http_response_write(&response, &context, &out), -ENOBUFS);
    assert_int_equal(buffer_length(&out), 1);
    buffer_done(&out);
}

static void dates_are_written_as_rfc_9110_says(void **state)
{
    char text[30];

    (void)state;
    http_date_write(784111777, text);
    assert_string_equal(text, "Sun, 06 Nov 1994 08:49:37 GMT");
    http_date_write(0, text);
    assert_string_equal(text, "Thu, 01 Jan 1970 00:00:00 GMT");
    http_date_write(4102444799, text);
    assert_string_equal(text, "Thu, 31 Dec 2099 23:59:59 GMT");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_response_has_its_headers_in_order_and_a_length),
        cmocka_unit_test(persistence_is_told_to_http_1_0_and_closing_to_all),
        cmocka_unit_test(responses_without_a_body_do_not_claim_one),
        cmocka_unit_test(a_workers_date_and_server_stand_its_request_id_does_not),
        cmocka_unit_test(past_the_limit_nothing_is_written),
        cmocka_unit_test(dates_are_written_as_rfc_9110_says),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
