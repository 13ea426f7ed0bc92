/* The client against a scripted server: logging in, answers, and users who cancel. */
#include "controller/kube/client.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/kube/script.h"

struct fixture {
    struct script script;
    struct kube_request *request;
    struct kube_response response;
    char body[64];
    unsigned pieces;
    bool done, cancels;
};

static void on_done(void *context, const struct kube_response *response)
{
    struct fixture *f = context;

    f->response = *response;
    snprintf(f->body, sizeof(f->body), STR_FMT, STR_ARG(response->body));
    f->done = true;
}

static void on_data(void *context, struct str bytes)
{
    struct fixture *f = context;

    f->pieces++;
    if (f->cancels) {
        kube_request_cancel(f->request);
        f->done = true;
    }
    snprintf(f->body, sizeof(f->body), STR_FMT, STR_ARG(bytes)); /* lent until we return */
}

static void start(struct fixture *f, const struct script_step *steps, size_t count)
{
    memset(f, 0, sizeof(*f));
    script_start(&f->script, steps, count);
}

static void ask(struct fixture *f, bool streams)
{
    struct kube_request_options options = {.method = "GET",
                                           .path = "/api",
                                           .timeout_ms = 500,
                                           .data = streams ? on_data : NULL,
                                           .done = on_done,
                                           .context = f};

    f->done = false;
    assert_int_equal(kube_request_start(f->script.client, &options, &f->request), 0);
    script_run(&f->script, &f->done);
}

static uint64_t count_of(const struct fixture *f, int status)
{
    size_t count;
    const struct kube_request_count *counts = kube_client_counts(f->script.client, &count);

    for (size_t i = 0; i < count; i++)
        if (counts[i].status == status && strcmp(counts[i].method, "GET") == 0)
            return counts[i].count;
    return 0;
}

static void put_token(const char *path, const char *token)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    fputs(token, file);
    fclose(file);
}

static void test_a_token_is_read_again_after_a_401(void **state)
{
    static const struct script_step steps[] = {
        {"Authorization: Bearer one\r\n", "200 OK", NULL, "", SCRIPT_ENDS},
        {"Authorization: Bearer one\r\n", "401 Unauthorized", NULL, "", SCRIPT_ENDS},
        {"Authorization: Bearer two\r\n", "200 OK", NULL, "", SCRIPT_ENDS},
    };
    char path[] = "/tmp/metropolis-token-XXXXXX";
    struct fixture f;
    int fd = mkstemp(path);

    (void)state;
    assert_true(fd >= 0);
    close(fd);
    put_token(path, "one\n");
    start(&f, steps, 3);
    f.script.config.token_file = path;
    ask(&f, false);
    put_token(path, "two\n");
    ask(&f, false); /* young enough to be taken from memory */
    assert_int_equal(f.response.status, 401);
    ask(&f, false);
    assert_int_equal(f.response.status, 200);
    script_stop(&f.script);
    unlink(path);
}

static void test_a_failure_says_what_the_server_said(void **state)
{
    static const struct script_step steps[] = {
        {"GET /api", "409 Conflict", NULL,
         "{\"kind\":\"Status\",\"reason\":\"Conflict\",\"message\":\"it has changed\"}",
         SCRIPT_ENDS},
        {"GET /api", "503 Service Unavailable", "Retry-After: 7\r\n", "<html>", SCRIPT_ENDS},
        {"GET /api", "200 OK", NULL, "half", SCRIPT_CUTS},
        {"GET /api", NULL, NULL, NULL, SCRIPT_STAYS},
    };
    struct fixture f;

    (void)state;
    start(&f, steps, 4);
    ask(&f, true); /* the body of a failure is not data */
    assert_int_equal(f.pieces, 0);
    assert_string_equal(f.response.reason, "Conflict");
    assert_string_equal(f.response.message, "it has changed");
    ask(&f, false);
    assert_int_equal(f.response.retry_after_ms, 7000);
    assert_string_equal(f.response.message, "HTTP status 503");
    ask(&f, false);
    assert_int_equal(f.response.error, -EIO);
    assert_int_not_equal(strlen(f.response.message), 0);
    ask(&f, false);
    assert_int_equal(f.response.error, -ETIMEDOUT);
    assert_int_equal(count_of(&f, 409), 1);
    assert_int_equal(count_of(&f, 200), 1); /* its head came */
    assert_int_equal(count_of(&f, 0), 1);
    script_stop(&f.script);
}

static void test_a_user_may_cancel_while_it_is_given_bytes(void **state)
{
    static const struct script_step steps[] = {
        {"GET /api", "200 OK", NULL, "bytes", SCRIPT_ENDS},
        {"GET /api", "200 OK", NULL, "more", SCRIPT_ENDS},
    };
    struct fixture f;

    (void)state;
    start(&f, steps, 2);
    f.cancels = true;
    ask(&f, true);
    script_run_for(&f.script, 50);
    assert_string_equal(f.body, "bytes");
    assert_int_equal(f.pieces, 1);
    assert_int_equal(f.response.status, 0); /* done was not called */
    ask(&f, false);
    assert_string_equal(f.body, "more");
    script_stop(&f.script);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_token_is_read_again_after_a_401),
        cmocka_unit_test(test_a_failure_says_what_the_server_said),
        cmocka_unit_test(test_a_user_may_cancel_while_it_is_given_bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
