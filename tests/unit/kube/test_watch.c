/*
 * The watch against a scripted server: what a real API server does only when things go wrong. What
 * handlers hear is one line of text per test.
 */
#include "controller/kube/watch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/kube/script.h"

#define PATH "/apis/metropolis.dev/v1alpha1/routes"
#define OBJECT(name, version)                                                       \
    "{\"metadata\":{\"namespace\":\"shop\",\"name\":\"" name "\",\"uid\":\"u-" name \
    "\",\"resourceVersion\":\"" version "\",\"generation\":1}}"
#define EVENT(type, name, version) "{\"type\":\"" type "\",\"object\":" OBJECT(name, version) "}\n"
#define END(version)                                                                  \
    "{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"resourceVersion\":\"" version \
    "\",\"annotations\":{\"k8s.io/initial-events-end\":\"true\"}}}}\n"
#define BOOKMARK(version) \
    "{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"resourceVersion\":\"" version "\"}}}\n"
#define EXPIRED                                                                                \
    "{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"code\":410,\"reason\":\"Expired\"," \
    "\"message\":\"too old\"}}\n"
#define LISTED(version, items) \
    "{\"metadata\":{\"resourceVersion\":\"" version "\"},\"items\":[" items "]}\n"
#define LIST "GET " PATH "?limit=0 HTTP"
#define STREAM "sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
#define COUNT(steps) (sizeof(steps) / sizeof((steps)[0]))
/* A list that makes the watch stream the next ones. */
#define CUT                                                                      \
    {                                                                            \
        LIST, "200 OK", NULL, "{\"metadata\":{\"resourceVersion\":", SCRIPT_CUTS \
    }

struct fixture {
    struct script script;
    struct kube_watch *watch;
    char heard[4096]; /* "+a@5 " for an upsert, "-a " for a removal, "synced " */
    const char *until;
    bool done, frees;
};

static void hear(struct fixture *fixture, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void hear(struct fixture *fixture, const char *format, ...)
{
    size_t length = strlen(fixture->heard);
    va_list args;

    va_start(args, format);
    vsnprintf(fixture->heard + length, sizeof(fixture->heard) - length, format, args);
    va_end(args);
    if (fixture->until && strstr(fixture->heard, fixture->until))
        fixture->done = true;
    if (fixture->frees) {
        kube_watch_free(fixture->watch);
        fixture->watch = NULL;
        fixture->done = true;
    }
}

static void on_upsert(void *context, const struct kube_object *object)
{
    hear(context, "+" STR_FMT "@" STR_FMT " ", STR_ARG(object->name),
         STR_ARG(object->resource_version));
}

static void on_removed(void *context, struct str namespace_name, struct str name)
{
    assert_true(str_equal(namespace_name, STR_LIT("shop")));
    hear(context, "-" STR_FMT " ", STR_ARG(name));
}

static void on_synced(void *context)
{
    hear(context, "synced ");
}

static void start_timed(struct fixture *fixture, const struct script_step *steps, size_t count,
                        uint64_t wait_ms, uint64_t silence_ms)
{
    struct kube_watch_options options = {.path = PATH,
                                         .handler = {on_upsert, on_removed, on_synced, fixture},
                                         .wait_ms = wait_ms,
                                         .silence_ms = silence_ms};

    memset(fixture, 0, sizeof(*fixture));
    script_start(&fixture->script, steps, count);
    assert_int_equal(
        kube_watch_new(&fixture->script.loop, fixture->script.client, &options, &fixture->watch),
        0);
}

static void start(struct fixture *fixture, const struct script_step *steps, size_t count)
{
    start_timed(fixture, steps, count, 0, 0);
}

/* Runs until the handlers have heard this as the latest. */
static void run_until(struct fixture *fixture, const char *heard)
{
    fixture->until = heard;
    fixture->done = strstr(fixture->heard, heard);
    script_run(&fixture->script, &fixture->done);
}

static void stop(struct fixture *fixture)
{
    kube_watch_free(fixture->watch);
    script_stop(&fixture->script);
}

/* That this is all they hear of such a script, up to the latest. */
static void expect(const struct script_step *steps, size_t count, const char *latest,
                   const char *heard)
{
    struct fixture f;

    start(&f, steps, count);
    run_until(&f, latest);
    assert_string_equal(f.heard, heard);
    stop(&f);
}

static void test_a_list_is_read_whole_and_then_watched(void **state)
{
    static const struct script_step steps[] = {
        {LIST, "200 OK", NULL, LISTED("10", OBJECT("b", "9") "," OBJECT("a", "3")), SCRIPT_ENDS},
        {"&resourceVersion=10", "200 OK", NULL,
         EVENT("MODIFIED", "a", "11") BOOKMARK("20") EVENT("DELETED", "b", "21"), SCRIPT_STAYS},
    };
    struct fixture f;

    (void)state;
    start(&f, steps, COUNT(steps));
    assert_false(kube_watch_synced(f.watch));
    run_until(&f, "-b ");
    assert_string_equal(f.heard, "+b@9 +a@3 synced +a@11 -b ");
    assert_true(kube_watch_synced(f.watch));
    assert_null(kube_watch_trouble(f.watch));
    assert_non_null(strstr(f.script.requests[1], "?watch=true&"));
    assert_non_null(strstr(f.script.requests[1], "allowWatchBookmarks=true"));
    stop(&f);
}

static void test_a_list_that_took_too_long_is_streamed_and_goes_on_as_the_watch(void **state)
{
    static const struct script_step steps[] = {
        {LIST, "504 Gateway Timeout", NULL, "", SCRIPT_ENDS},
        {"?watch=true", "200 OK", NULL,
         EVENT("ADDED", "b", "9") EVENT("ADDED", "a", "3") END("10") EVENT("MODIFIED", "a", "11")
             BOOKMARK("20") EVENT("DELETED", "b", "21"),
         SCRIPT_STAYS},
    };
    struct fixture f;

    (void)state;
    start(&f, steps, COUNT(steps));
    run_until(&f, "-b ");
    assert_string_equal(f.heard, "+b@9 +a@3 synced +a@11 -b ");
    assert_true(kube_watch_synced(f.watch));
    assert_null(kube_watch_trouble(f.watch));
    assert_non_null(strstr(f.script.requests[1], STREAM));
    assert_non_null(strstr(f.script.requests[1], "allowWatchBookmarks=true"));
    stop(&f);
}

static void test_an_expired_version_is_listed_anew_and_what_is_missing_is_removed(void **state)
{
    static const struct script_step steps[] = {
        {LIST, "200 OK", NULL,
         LISTED("5", OBJECT("a", "1") "," OBJECT("b", "2") "," OBJECT("c", "3")), SCRIPT_ENDS},
        {"&resourceVersion=5", "200 OK", NULL, EXPIRED, SCRIPT_ENDS},
        {LIST, "200 OK", NULL, LISTED("9", OBJECT("a", "1") "," OBJECT("c", "8")), SCRIPT_ENDS},
        {"&resourceVersion=9", "200 OK", NULL, "", SCRIPT_STAYS},
    };
    struct fixture f;

    (void)state;
    start(&f, steps, COUNT(steps));
    run_until(&f, "-b synced ");
    /* a has not changed, so nothing is said of it. */
    assert_string_equal(f.heard, "+a@1 +b@2 +c@3 synced +c@8 -b synced ");
    stop(&f);
}

static void test_410_as_the_answer_is_listed_anew(void **state)
{
    static const struct script_step steps[] = {
        {LIST, "200 OK", NULL, LISTED("5", OBJECT("a", "1")), SCRIPT_ENDS},
        {"resourceVersion=5", "410 Gone", NULL, "{\"kind\":\"Status\",\"code\":410}", SCRIPT_ENDS},
        {LIST, "200 OK", NULL, LISTED("9", ""), SCRIPT_ENDS},
        {"&resourceVersion=9", "200 OK", NULL, "", SCRIPT_STAYS},
    };
    struct fixture f;

    (void)state;
    start(&f, steps, COUNT(steps));
    run_until(&f, "-a synced ");
    stop(&f);
}

static void test_a_list_that_is_not_complete_removes_nothing(void **state)
{
    static const struct script_step steps[] = {
        {LIST, "200 OK", NULL, LISTED("5", OBJECT("a", "1") "," OBJECT("b", "2")), SCRIPT_ENDS},
        {"&resourceVersion=5", "200 OK", NULL, EXPIRED, SCRIPT_ENDS},
        {LIST, "403 Forbidden", NULL,
         "{\"kind\":\"Status\",\"code\":403,\"message\":\"routes is forbidden\"}", SCRIPT_ENDS},
        {LIST, "404 Not Found", NULL, "404 page not found", SCRIPT_ENDS},
        {LIST, "200 OK", NULL,
         "{\"metadata\":{\"resourceVersion\":\"8\"},\"items\":[" OBJECT("b", "2") ",", SCRIPT_CUTS},
        {STREAM, "200 OK", NULL, EVENT("ADDED", "b", "2"), SCRIPT_CUTS},
        {STREAM, "200 OK", NULL, EVENT("ADDED", "b", "2"), SCRIPT_ENDS},
        {STREAM, "200 OK", NULL, EVENT("ADDED", "a", "1") EVENT("ADDED", "b", "2") END("9"),
         SCRIPT_STAYS},
    };

    (void)state;
    expect(steps, COUNT(steps), "synced synced ", "+a@1 +b@2 synced synced ");
}

static void test_a_list_that_makes_no_sense_removes_nothing(void **state)
{
    static const struct script_step steps[] = {
        {LIST, "200 OK", NULL, LISTED("5", OBJECT("a", "1")), SCRIPT_ENDS},
        {"&resourceVersion=5", "200 OK", NULL, EXPIRED, SCRIPT_ENDS},
        {LIST, "200 OK", NULL, LISTED("", ""), SCRIPT_ENDS},
        {LIST, "200 OK", NULL, LISTED("7", "1" OBJECT("b", "2")), SCRIPT_ENDS},
        {LIST, "200 OK", NULL, LISTED("7", "],\"more\":[" OBJECT("a", "1")), SCRIPT_ENDS},
        {LIST, "200 OK", NULL,
         "{\"metadata\":{\"resourceVersion\":\"7\",\"continue\":7},\"items\":[]}", SCRIPT_ENDS},
        {LIST, "200 OK", NULL, LISTED("9", OBJECT("a", "1")), SCRIPT_ENDS},
        {"&resourceVersion=9", "200 OK", NULL, "", SCRIPT_STAYS},
    };

    (void)state;
    expect(steps, COUNT(steps), "-b synced ", "+a@1 synced +b@2 -b synced ");
}

static void test_a_list_that_was_cut_off_properly_is_streamed(void **state)
{
    static const struct script_step steps[] = {
        {LIST, "200 OK", NULL, "{\"metadata\":{\"resourceVersion\":\"7\"},\"items\":[",
         SCRIPT_ENDS},
        {STREAM, "200 OK", NULL, EVENT("ADDED", "a", "1") END("9"), SCRIPT_STAYS},
    };

    (void)state;
    expect(steps, COUNT(steps), "synced ", "+a@1 synced ");
}

static void test_pages_of_a_list_that_was_given_up_are_not_gone_on_from(void **state)
{
    static const struct script_step steps[] = {
        {LIST, "200 OK", NULL,
         "{\"metadata\":{\"resourceVersion\":\"5\",\"continue\":\"abc\"},\"items\":[" OBJECT(
             "a", "1") "]}",
         SCRIPT_ENDS},
        {"?limit=0&continue=abc HTTP", "200 OK", NULL, "{\"items\":[", SCRIPT_CUTS},
        {STREAM, "422 Unprocessable Entity", NULL, "", SCRIPT_ENDS},
        {"?limit=2000 HTTP", "200 OK", NULL, LISTED("9", OBJECT("a", "1") "," OBJECT("b", "2")),
         SCRIPT_ENDS},
        {"&resourceVersion=9", "200 OK", NULL, "", SCRIPT_STAYS},
    };

    (void)state;
    expect(steps, COUNT(steps), "synced ", "+a@1 +b@2 synced ");
}

static void test_the_trouble_says_what_the_server_said(void **state)
{
    static const struct script_step steps[] = {
        {LIST, "403 Forbidden", NULL,
         "{\"kind\":\"Status\",\"code\":403,\"message\":\"routes is forbidden\"}", SCRIPT_ENDS},
        {LIST, "200 OK", NULL, LISTED("9", ""), SCRIPT_ENDS},
        {"&resourceVersion=9", "200 OK", NULL, "", SCRIPT_STAYS},
    };
    struct fixture f;

    (void)state;
    start(&f, steps, COUNT(steps));
    while (!kube_watch_trouble(f.watch))
        uv_run(&f.script.loop, UV_RUN_ONCE);
    assert_string_equal(kube_watch_trouble(f.watch), "403: routes is forbidden");
    assert_false(kube_watch_synced(f.watch));
    run_until(&f, "synced ");
    assert_null(kube_watch_trouble(f.watch));
    stop(&f);
}

static void test_after_a_cut_in_an_event_the_watch_goes_on_before_it(void **state)
{
    static const struct script_step steps[] = {
        {LIST, "200 OK", NULL, LISTED("5", OBJECT("a", "1")), SCRIPT_ENDS},
        {"&resourceVersion=5", "200 OK", NULL,
         EVENT("MODIFIED", "a", "6") "{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"na",
         SCRIPT_CUTS},
        {"&resourceVersion=6", "200 OK", NULL, EVENT("ADDED", "b", "7"), SCRIPT_STAYS},
    };

    (void)state;
    expect(steps, COUNT(steps), "+b@7 ", "+a@1 synced +a@6 +b@7 ");
}

static void test_a_bookmark_moves_the_version(void **state)
{
    static const struct script_step steps[] = {
        {LIST, "200 OK", NULL, LISTED("5", ""), SCRIPT_ENDS},
        {"&resourceVersion=5", "200 OK", NULL, BOOKMARK("77"), SCRIPT_CUTS},
        {"&resourceVersion=77", "200 OK", NULL, EVENT("ADDED", "b", "78"), SCRIPT_STAYS},
    };
    struct fixture f;

    (void)state;
    start(&f, steps, COUNT(steps));
    run_until(&f, "+b@78 ");
    stop(&f);
}

static void test_garbage_is_asked_for_again(void **state)
{
    static const struct script_step steps[] = {
        {LIST, "200 OK", NULL, LISTED("5", ""), SCRIPT_ENDS},
        {"&resourceVersion=5", "200 OK", NULL, EVENT("ADDED", "a", "6") "<html>502</html>\n",
         SCRIPT_STAYS},
        {"&resourceVersion=6", "200 OK", NULL,
         EVENT("ADDED", "b", "7") "{\"type\":\"ADDED\",\"object\":{\"metadata\":7}}\n",
         SCRIPT_STAYS},
        {"&resourceVersion=7", "200 OK", NULL, EVENT("ADDED", "c", "8"), SCRIPT_STAYS},
    };

    (void)state;
    expect(steps, COUNT(steps), "+c@8 ", "synced +a@6 +b@7 +c@8 ");
}

static void test_retry_after_is_waited_for(void **state)
{
    static const struct script_step steps[] = {
        {LIST, "429 Too Many Requests", "Retry-After: 2\r\n", "slow down", SCRIPT_ENDS},
        {LIST, "200 OK", NULL, LISTED("9", ""), SCRIPT_ENDS},
        {"&resourceVersion=9", "200 OK", NULL, "", SCRIPT_STAYS},
    };
    struct fixture f;

    (void)state;
    start(&f, steps, COUNT(steps));
    run_until(&f, "synced ");
    assert_true(f.script.times_ms[1] - f.script.times_ms[0] >= 1900);
    stop(&f);
}

static void test_429_in_the_stream_waits_and_goes_on_from_the_same_version(void **state)
{
    static const struct script_step steps[] = {
        {LIST, "200 OK", NULL, LISTED("5", OBJECT("a", "1")), SCRIPT_ENDS},
        {"&resourceVersion=5", "200 OK", NULL,
         "{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"code\":429,\"reason\":"
         "\"TooManyRequests\",\"details\":{\"retryAfterSeconds\":2}}}\n",
         SCRIPT_ENDS},
        {"&resourceVersion=5", "200 OK", NULL, EVENT("ADDED", "b", "7"), SCRIPT_STAYS},
    };
    struct fixture f;

    (void)state;
    start(&f, steps, COUNT(steps));
    run_until(&f, "+b@7 ");
    assert_string_equal(f.heard, "+a@1 synced +b@7 ");
    assert_true(f.script.times_ms[2] - f.script.times_ms[1] >= 1900);
    stop(&f);
}

static void test_a_server_that_streams_no_lists_is_listed_in_pages(void **state)
{
    static const struct script_step steps[] = {
        CUT,
        {STREAM, "422 Unprocessable Entity", NULL,
         "{\"kind\":\"Status\",\"code\":422,\"reason\":\"Invalid\"}", SCRIPT_ENDS},
        {"GET " PATH "?limit=2000 HTTP", "200 OK", NULL,
         "{\"metadata\":{\"resourceVersion\":\"50\",\"continue\":\"abc\"},\"items\":[" OBJECT(
             "a", "1") "," OBJECT("b", "2") "]}",
         SCRIPT_ENDS},
        {"GET " PATH "?limit=2000&continue=abc HTTP", "200 OK", NULL,
         "{\"metadata\":{\"resourceVersion\":\"50\"},\"items\":[" OBJECT("c", "3") "]}",
         SCRIPT_ENDS},
        {"&resourceVersion=50", "200 OK", NULL, EVENT("DELETED", "c", "51"), SCRIPT_STAYS},
    };

    (void)state;
    expect(steps, COUNT(steps), "-c ", "+a@1 +b@2 +c@3 synced -c ");
}

static void test_pages_that_expire_are_begun_again(void **state)
{
    static const struct script_step steps[] = {
        CUT,
        {STREAM, "400 Bad Request", NULL, "", SCRIPT_ENDS},
        {"?limit=2000 HTTP", "200 OK", NULL,
         "{\"metadata\":{\"resourceVersion\":\"50\",\"continue\":\"abc\"},\"items\":[" OBJECT(
             "a", "1") "]}",
         SCRIPT_ENDS},
        {"&continue=abc", "410 Gone", NULL, "", SCRIPT_ENDS},
        {"?limit=2000 HTTP", "200 OK", NULL,
         "{\"metadata\":{\"resourceVersion\":\"60\"},\"items\":[" OBJECT("b", "55") "]}",
         SCRIPT_ENDS},
        {"&resourceVersion=60", "200 OK", NULL, "", SCRIPT_STAYS},
    };

    (void)state;
    expect(steps, COUNT(steps), "synced ", "+a@1 +b@55 -a synced ");
}

static void test_pages_go_on_where_the_server_was_too_busy(void **state)
{
    static const struct script_step steps[] = {
        CUT,
        {STREAM, "400 Bad Request", NULL, "", SCRIPT_ENDS},
        {"?limit=2000 HTTP", "200 OK", NULL,
         "{\"metadata\":{\"resourceVersion\":\"50\",\"continue\":\"abc\"},\"items\":[" OBJECT(
             "a", "1") "]}",
         SCRIPT_ENDS},
        {"&continue=abc", "429 Too Many Requests", "Retry-After: 1\r\n", "", SCRIPT_ENDS},
        {"&continue=abc", "200 OK", NULL, "{\"metadata\":{\"resourceVersion\":\"50\"},",
         SCRIPT_CUTS},
        {"&continue=abc", "200 OK", NULL,
         "{\"metadata\":{\"resourceVersion\":\"50\"},\"items\":[" OBJECT("b", "2") "]}",
         SCRIPT_ENDS},
        {"&resourceVersion=50", "200 OK", NULL, "", SCRIPT_STAYS},
    };
    struct kube_watch_counters counters;
    struct fixture f;

    (void)state;
    start(&f, steps, COUNT(steps));
    run_until(&f, "synced ");
    assert_string_equal(f.heard, "+a@1 +b@2 synced ");
    assert_true(f.script.times_ms[4] - f.script.times_ms[3] >= 900);
    kube_watch_count(f.watch, &counters);
    assert_int_equal(counters.lists, 3); /* one was cut, one refused */
    stop(&f);
}

static void test_a_page_that_makes_no_sense_is_not_gone_on_from(void **state)
{
    static const struct script_step steps[] = {
        CUT,
        {STREAM, "400 Bad Request", NULL, "", SCRIPT_ENDS},
        {"?limit=2000 HTTP", "200 OK", NULL,
         "{\"metadata\":{\"resourceVersion\":\"50\",\"continue\":\"abc\"},\"items\":[" OBJECT(
             "a", "1") ",{}]}",
         SCRIPT_ENDS},
        {"?limit=2000 HTTP", "200 OK", NULL,
         "{\"metadata\":{\"resourceVersion\":\"60\"},\"items\":[" OBJECT("b", "55") "]}",
         SCRIPT_ENDS},
        {"&resourceVersion=60", "200 OK", NULL, "", SCRIPT_STAYS},
    };

    (void)state;
    expect(steps, COUNT(steps), "synced ", "+a@1 +b@55 -a synced ");
}

static void test_a_version_that_is_refused_again_and_again_is_given_up(void **state)
{
    static const char retry[] = "Retry-After: 1\r\n";
    static const struct script_step steps[] = {
        {LIST, "200 OK", NULL, LISTED("900", ""), SCRIPT_ENDS},
        {"&resourceVersion=900", "504 Gateway Timeout", retry, "", SCRIPT_ENDS},
        {"&resourceVersion=900", "504 Gateway Timeout", retry, "", SCRIPT_ENDS},
        {"&resourceVersion=900", "504 Gateway Timeout", retry, "", SCRIPT_ENDS},
        {"&resourceVersion=900", "504 Gateway Timeout", retry, "", SCRIPT_ENDS},
        {"&resourceVersion=900", "504 Gateway Timeout", retry, "", SCRIPT_ENDS},
        {LIST, "200 OK", NULL, LISTED("5", OBJECT("a", "1")), SCRIPT_ENDS},
        {"&resourceVersion=5", "200 OK", NULL, "", SCRIPT_STAYS},
    };
    struct fixture f;

    (void)state;
    start(&f, steps, COUNT(steps));
    run_until(&f, "+a@1 synced ");
    stop(&f);
}

static char *large_event(size_t size, const char *before, const char *after)
{
    char *text = malloc(strlen(before) + size + strlen(after) + 2);

    assert_non_null(text);
    strcpy(text, before);
    memset(text + strlen(before), 'x', size);
    text[strlen(before) + size] = '\n';
    strcpy(text + strlen(before) + size + 1, after);
    return text;
}

static void test_an_object_too_large_is_skipped_and_the_watch_goes_on(void **state)
{
    char *body = large_event(9 * 1024 * 1024, "", EVENT("ADDED", "b", "7"));
    struct script_step steps[] = {
        {LIST, "200 OK", NULL, LISTED("5", OBJECT("a", "1")), SCRIPT_ENDS},
        {"&resourceVersion=5", "200 OK", NULL, body, SCRIPT_STAYS},
    };
    struct kube_watch_counters counters;
    struct fixture f;

    (void)state;
    start(&f, steps, COUNT(steps));
    run_until(&f, "+b@7 ");
    kube_watch_count(f.watch, &counters);
    assert_int_equal(counters.skipped, 1);
    assert_int_equal(counters.items, 2);
    stop(&f);
    free(body);
}

static void test_a_list_with_an_object_too_large_is_not_complete(void **state)
{
    char *body = large_event(
        9 * 1024 * 1024,
        "{\"metadata\":{\"resourceVersion\":\"5\"},\"items\":[" OBJECT("a", "1") ",{\"", "\":1}]}");
    struct script_step steps[] = {
        {LIST, "200 OK", NULL, body, SCRIPT_ENDS},
        {LIST, "200 OK", NULL, LISTED("9", OBJECT("b", "2")), SCRIPT_ENDS},
        {"&resourceVersion=9", "200 OK", NULL, "", SCRIPT_STAYS},
    };
    struct fixture f;

    (void)state;
    start(&f, steps, COUNT(steps));
    run_until(&f, "synced ");
    assert_string_equal(f.heard, "+a@1 +b@2 -a synced ");
    stop(&f);
    free(body);
}

static void test_a_streamed_list_with_an_object_too_large_is_not_complete(void **state)
{
    char *body = large_event(9 * 1024 * 1024, EVENT("ADDED", "a", "1"), END("5"));
    struct script_step steps[] = {
        CUT,
        {STREAM, "200 OK", NULL, body, SCRIPT_STAYS},
        {STREAM, "200 OK", NULL, EVENT("ADDED", "b", "2") END("9"), SCRIPT_STAYS},
    };
    struct fixture f;

    (void)state;
    start(&f, steps, COUNT(steps));
    run_until(&f, "synced ");
    assert_string_equal(f.heard, "+a@1 +b@2 -a synced ");
    stop(&f);
    free(body);
}

static void test_asked_to_list_anew_it_drops_the_stream_and_is_not_synced_until_the_end(
    void **state)
{
    static const struct script_step steps[] = {
        {LIST, "200 OK", NULL, LISTED("5", OBJECT("a", "1") "," OBJECT("b", "2")), SCRIPT_ENDS},
        {"&resourceVersion=5", "200 OK", NULL, "", SCRIPT_STAYS},
        {LIST, "200 OK", NULL, LISTED("9", OBJECT("a", "1") "," OBJECT("c", "7")), SCRIPT_ENDS},
        {"&resourceVersion=9", "200 OK", NULL, "", SCRIPT_STAYS},
    };
    struct fixture f;

    (void)state;
    start(&f, steps, COUNT(steps));
    run_until(&f, "synced");
    script_run_for(&f.script, 100); /* until it watches */
    kube_watch_relist(f.watch);
    assert_false(kube_watch_synced(f.watch));
    f.done = false;
    run_until(&f, "-b synced");
    assert_string_equal(f.heard, "+a@1 +b@2 synced +c@7 -b synced ");
    assert_true(kube_watch_synced(f.watch));
    stop(&f);
}

static void on_other_done(void *context, const struct kube_response *response)
{
    (void)response;
    *(bool *)context = true;
}

/* Somebody else asks the same server, and is answered. */
static void ask_something_else(struct fixture *f)
{
    const struct kube_request_options options = {.method = "GET",
                                                 .path = "/other",
                                                 .timeout_ms = 10 * 1000,
                                                 .done = on_other_done,
                                                 .context = &f->done};
    struct kube_request *request;

    f->done = false;
    f->until = NULL;
    assert_int_equal(kube_request_start(f->script.client, &options, &request), 0);
    script_run(&f->script, &f->done);
}

static void test_an_answer_to_somebody_else_ends_the_wait_for_a_server_that_was_away(void **state)
{
    /* Half of them are libcurl's own second tries. The waits would add up to 50 s in the mean. */
    enum { AWAY = 14 };
    static const struct script_step other = {"GET /other", "403 Forbidden", NULL, "", SCRIPT_ENDS};
    static struct script_step steps[AWAY + 2] = {
        {LIST, "200 OK", NULL, LISTED("5", OBJECT("a", "1")), SCRIPT_ENDS}};
    struct fixture f;

    (void)state;
    for (size_t i = 1; i <= AWAY; i++)
        steps[i] = (struct script_step){"&resourceVersion=5", NULL, NULL, NULL, SCRIPT_CUTS};
    steps[AWAY + 1] = (struct script_step){"&resourceVersion=5", "200 OK", NULL,
                                           EVENT("ADDED", "b", "7"), SCRIPT_STAYS};
    start(&f, steps, COUNT(steps));
    f.script.aside[0] = &other;
    run_until(&f, "synced ");
    while (f.script.next < AWAY + 2) {
        ask_something_else(&f);
        script_run_for(&f.script, 50);
    }
    run_until(&f, "+b@7 ");
    assert_null(kube_watch_trouble(f.watch));
    assert_true(f.script.times_ms[AWAY + 1] - f.script.times_ms[0] < 20 * 1000);
    stop(&f);
}

static void test_a_watch_that_falls_silent_is_opened_anew_and_without_trouble(void **state)
{
    static const struct script_step steps[] = {
        {LIST, "200 OK", NULL, LISTED("5", OBJECT("a", "1")), SCRIPT_ENDS},
        {"&resourceVersion=5", "200 OK", NULL, "", SCRIPT_STAYS},
        {"&resourceVersion=5", "200 OK", NULL, BOOKMARK("6"), SCRIPT_STAYS},
        {"&resourceVersion=6", "200 OK", NULL, EVENT("ADDED", "b", "7"), SCRIPT_STAYS},
    };
    struct kube_watch_counters counters;
    struct fixture f;

    (void)state;
    start_timed(&f, steps, COUNT(steps), 0, 300);
    run_until(&f, "+b@7 ");
    kube_watch_count(f.watch, &counters);
    assert_int_equal(counters.failures, 0);
    assert_int_equal(counters.lists, 1);
    stop(&f);
}

static void test_a_server_that_takes_a_watch_and_never_answers_is_a_trouble(void **state)
{
    static const struct script_step steps[] = {
        {LIST, "200 OK", NULL, LISTED("5", OBJECT("a", "1")), SCRIPT_ENDS},
        {"&resourceVersion=5", "200 OK", NULL, "", SCRIPT_STAYS},
        {"&resourceVersion=5", NULL, NULL, NULL, SCRIPT_STAYS},
        {"&resourceVersion=5", "200 OK", NULL, EVENT("ADDED", "b", "7"), SCRIPT_STAYS},
    };
    struct fixture f;

    (void)state;
    start_timed(&f, steps, COUNT(steps), 0, 300);
    run_until(&f, "synced ");
    for (int i = 0; i < 2000 && !kube_watch_trouble(f.watch); i++)
        script_run_for(&f.script, 10);
    assert_string_equal(kube_watch_trouble(f.watch), "the API server has fallen silent");
    run_until(&f, "+b@7 ");
    assert_null(kube_watch_trouble(f.watch));
    stop(&f);
}

static void test_a_list_that_falls_silent_is_begun_again(void **state)
{
    static const struct script_step steps[] = {
        CUT,
        {STREAM, "200 OK", NULL, EVENT("ADDED", "a", "1"), SCRIPT_STAYS},
        {STREAM, "200 OK", NULL, EVENT("ADDED", "b", "2") END("5"), SCRIPT_STAYS},
    };
    struct fixture f;

    (void)state;
    start_timed(&f, steps, COUNT(steps), 0, 300);
    run_until(&f, "synced ");
    assert_string_equal(f.heard, "+a@1 +b@2 -a synced ");
    stop(&f);
}

static void test_the_first_list_waits_as_it_was_told(void **state)
{
    static const struct script_step steps[] = {
        {LIST, "200 OK", NULL, LISTED("5", OBJECT("a", "1")), SCRIPT_ENDS},
        {"&resourceVersion=5", "200 OK", NULL, "", SCRIPT_STAYS},
    };
    struct kube_watch_counters counters;
    struct fixture f;

    (void)state;
    start_timed(&f, steps, COUNT(steps), 50, 0);
    kube_watch_count(f.watch, &counters);
    assert_int_equal(counters.lists, 0);
    assert_null(kube_watch_trouble(f.watch));
    run_until(&f, "synced");
    assert_string_equal(f.heard, "+a@1 synced ");
    stop(&f);
}

static void test_asked_to_list_anew_while_it_waits_it_lists_once(void **state)
{
    static const struct script_step steps[] = {
        {LIST, "200 OK", NULL, LISTED("5", OBJECT("a", "1")), SCRIPT_ENDS},
        {"&resourceVersion=5", "200 OK", NULL, "", SCRIPT_STAYS},
    };
    struct kube_watch_counters counters;
    struct fixture f;

    (void)state;
    start_timed(&f, steps, COUNT(steps), 3600 * 1000, 0);
    kube_watch_relist(f.watch);
    run_until(&f, "synced");
    kube_watch_count(f.watch, &counters);
    assert_int_equal(counters.lists, 1);
    stop(&f);
}

static void test_a_handler_may_free_the_watch(void **state)
{
    static const struct script_step steps[] = {
        {LIST, "200 OK", NULL, LISTED("5", OBJECT("a", "1") "," OBJECT("b", "2")), SCRIPT_ENDS},
        {"&resourceVersion=5", "200 OK", NULL, "", SCRIPT_STAYS},
    };
    struct fixture f;

    (void)state;
    start(&f, steps, COUNT(steps));
    f.frees = true;
    script_run(&f.script, &f.done);
    assert_string_equal(f.heard, "+a@1 ");
    stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_list_is_read_whole_and_then_watched),
        cmocka_unit_test(test_a_list_that_took_too_long_is_streamed_and_goes_on_as_the_watch),
        cmocka_unit_test(test_an_expired_version_is_listed_anew_and_what_is_missing_is_removed),
        cmocka_unit_test(test_410_as_the_answer_is_listed_anew),
        cmocka_unit_test(test_a_list_that_is_not_complete_removes_nothing),
        cmocka_unit_test(test_a_list_that_makes_no_sense_removes_nothing),
        cmocka_unit_test(test_a_list_that_was_cut_off_properly_is_streamed),
        cmocka_unit_test(test_pages_of_a_list_that_was_given_up_are_not_gone_on_from),
        cmocka_unit_test(test_the_trouble_says_what_the_server_said),
        cmocka_unit_test(test_after_a_cut_in_an_event_the_watch_goes_on_before_it),
        cmocka_unit_test(test_a_bookmark_moves_the_version),
        cmocka_unit_test(test_garbage_is_asked_for_again),
        cmocka_unit_test(test_retry_after_is_waited_for),
        cmocka_unit_test(test_429_in_the_stream_waits_and_goes_on_from_the_same_version),
        cmocka_unit_test(test_a_server_that_streams_no_lists_is_listed_in_pages),
        cmocka_unit_test(test_pages_that_expire_are_begun_again),
        cmocka_unit_test(test_pages_go_on_where_the_server_was_too_busy),
        cmocka_unit_test(test_a_page_that_makes_no_sense_is_not_gone_on_from),
        cmocka_unit_test(test_a_version_that_is_refused_again_and_again_is_given_up),
        cmocka_unit_test(test_an_object_too_large_is_skipped_and_the_watch_goes_on),
        cmocka_unit_test(test_a_list_with_an_object_too_large_is_not_complete),
        cmocka_unit_test(test_a_streamed_list_with_an_object_too_large_is_not_complete),
        cmocka_unit_test(
            test_asked_to_list_anew_it_drops_the_stream_and_is_not_synced_until_the_end),
        cmocka_unit_test(test_an_answer_to_somebody_else_ends_the_wait_for_a_server_that_was_away),
        cmocka_unit_test(test_a_watch_that_falls_silent_is_opened_anew_and_without_trouble),
        cmocka_unit_test(test_a_server_that_takes_a_watch_and_never_answers_is_a_trouble),
        cmocka_unit_test(test_a_list_that_falls_silent_is_begun_again),
        cmocka_unit_test(test_the_first_list_waits_as_it_was_told),
        cmocka_unit_test(test_asked_to_list_anew_while_it_waits_it_lists_once),
        cmocka_unit_test(test_a_handler_may_free_the_watch),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
