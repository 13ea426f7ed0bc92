/*
 * Statuses against a scripted server: what is written, when, and what is not. The documents that a
 * real API server takes are tested in tests/integration.
 */
#include "controller/kube/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "controller/kube/status_doc.h"
#include "tests/unit/base/capture.h"
#include "tests/unit/kube/script.h"

#define PATCH "PATCH /apis/metropolis.dev/v1alpha1/namespaces/shop/routes/orders/status?"
#define ROUTE(version, generation, status)                                      \
    "{\"metadata\":{\"namespace\":\"shop\",\"name\":\"orders\",\"uid\":\"u1\"," \
    "\"resourceVersion\":\"" version "\",\"generation\":" generation "},\"status\":" status "}"
/* What wanted("Accepted", 1) becomes. */
#define STORED                                                                                     \
    "{\"observedGeneration\":1,\"conditions\":["                                                   \
    "{\"type\":\"Accepted\",\"status\":\"True\",\"observedGeneration\":1,\"reason\":\"Accepted\"," \
    "\"message\":\"fine\",\"lastTransitionTime\":\"2026-11-24T03:00:00Z\"},"                       \
    "{\"type\":\"Programmed\",\"status\":\"False\",\"observedGeneration\":1,"                      \
    "\"reason\":\"Pending\",\"message\":\"\",\"lastTransitionTime\":\"2026-11-24T03:00:00Z\"}]}"

struct fixture {
    struct script script;
    struct kube_notices *notices;
    struct kube_status *status;
    struct status_sink sink;
};

static struct route_status wanted(const char *reason, int64_t generation)
{
    struct route_status status = {
        .generation = generation,
        .accepted = {CONDITION_TRUE, "", "fine"},
        .programmed = {CONDITION_FALSE, "Pending", ""},
    };

    snprintf(status.accepted.reason, sizeof(status.accepted.reason), "%s", reason);
    return status;
}

static void start(struct fixture *f, const struct script_step *steps, size_t count)
{
    memset(f, 0, sizeof(*f));
    script_start(&f->script, steps, count);
    assert_int_equal(kube_notices_new(&f->script.loop, f->script.client, &f->notices), 0);
    assert_int_equal(kube_status_new(&f->script.loop, f->script.client, f->notices, &f->status), 0);
    f->sink = kube_status_sink(f->status);
}

static void stop(struct fixture *f)
{
    assert_int_equal(f->script.next, f->script.count); /* no request less */
    kube_status_free(f->status);
    kube_notices_free(f->notices);
    script_stop(&f->script);
}

static bool observe(struct fixture *f, const char *route)
{
    yyjson_doc *document = yyjson_read(route, strlen(route), 0);
    struct kube_object object;
    bool news;

    assert_non_null(document);
    assert_int_equal(kube_object_read(yyjson_doc_get_root(document), &object), 0);
    news = kube_status_observe(f->status, &object);
    yyjson_doc_free(document);
    return news;
}

static void write_status(struct fixture *f, const char *uid, struct route_status status)
{
    f->sink.write(f->sink.context, STR_LIT("shop"), STR_LIT("orders"), str_from(uid), &status);
}

static struct kube_status_counters counters(const struct fixture *f)
{
    struct kube_status_counters counters;

    kube_status_count(f->status, &counters);
    return counters;
}

/* Until so many were written or dropped. */
static void run_until_settled(struct fixture *f, unsigned count)
{
    for (int i = 0; i < 200 && counters(f).written + counters(f).dropped < count; i++)
        script_run_for(&f->script, 50);
    assert_int_equal(counters(f).written + counters(f).dropped, count);
}

static void test_the_newest_is_written_once_and_its_echo_is_no_news(void **state)
{
    static const struct script_step steps[] = {
        {PATCH "fieldManager=metropolis-controller&force=true", "200 OK", NULL,
         ROUTE("12", "1", STORED), SCRIPT_ENDS},
    };
    struct fixture f;

    (void)state;
    start(&f, steps, 1);
    assert_true(observe(&f, ROUTE("10", "1", "{}")));
    write_status(&f, "u1", wanted("Older", 1));
    write_status(&f, "u1", wanted("Accepted", 1));
    run_until_settled(&f, 1);
    assert_non_null(strstr(f.script.requests[0], "application/apply-patch+yaml"));
    assert_non_null(strstr(f.script.requests[0], "\"uid\":\"u1\""));
    assert_non_null(strstr(f.script.requests[0], "\"reason\":\"Accepted\""));
    assert_false(observe(&f, ROUTE("11", "1", "{}"))); /* late: the answer was newer */
    assert_false(observe(&f, ROUTE("12", "1", STORED)));
    write_status(&f, "u1", wanted("Accepted", 1)); /* is stored already */
    script_run_for(&f.script, 100);
    assert_true(observe(&f, ROUTE("13", "2", STORED))); /* the spec */
    assert_true(observe(&f, ROUTE("14", "2", "{}")));   /* somebody else wrote the status */
    stop(&f);
}

static void test_a_server_that_went_back_is_believed(void **state)
{
    static const struct script_step steps[] = {
        {PATCH, "200 OK", NULL, ROUTE("12", "1", STORED), SCRIPT_ENDS},
        {PATCH, "200 OK", NULL, ROUTE("11", "1", STORED), SCRIPT_ENDS},
    };
    struct fixture f;

    (void)state;
    start(&f, steps, 2);
    observe(&f, ROUTE("10", "1", "{}"));
    write_status(&f, "u1", wanted("Accepted", 1));
    run_until_settled(&f, 1);
    assert_false(observe(&f, ROUTE("12", "1", STORED)));
    /* etcd was restored from a backup that is older than the status, and listed. */
    assert_true(observe(&f, ROUTE("10", "1", "{}")));
    write_status(&f, "u1", wanted("Accepted", 1));
    run_until_settled(&f, 2);
    stop(&f);
}

static void test_an_echo_before_the_answer_is_no_news(void **state)
{
    static const struct script_step steps[] = {{PATCH, NULL, NULL, NULL, SCRIPT_STAYS}};
    struct fixture f;

    (void)state;
    start(&f, steps, 1);
    observe(&f, ROUTE("10", "1", "{}"));
    write_status(&f, "u1", wanted("Accepted", 1));
    script_run_for(&f.script, 100);
    assert_false(observe(&f, ROUTE("12", "1", STORED)));
    stop(&f);
}

static void test_what_is_stored_already_is_not_written(void **state)
{
    struct fixture f;

    (void)state;
    start(&f, NULL, 0);
    observe(&f, ROUTE("10", "1", STORED));
    write_status(&f, "u1", wanted("Accepted", 1));
    script_run_for(&f.script, 100);
    assert_int_equal(counters(&f).unchanged, 1);
    stop(&f);
}

static void test_what_changes_while_a_write_is_under_way_is_written_after_it(void **state)
{
    static const struct script_step steps[] = {
        {"\"reason\":\"First\"", "429 Too Many Requests", "Retry-After: 1\r\n", "", SCRIPT_ENDS},
        {"\"reason\":\"Accepted\"", "200 OK", NULL, ROUTE("12", "1", STORED), SCRIPT_ENDS},
    };
    struct fixture f;

    (void)state;
    start(&f, steps, 2);
    observe(&f, ROUTE("10", "1", "{}"));
    write_status(&f, "u1", wanted("First", 1));
    script_run_for(&f.script, 100);
    write_status(&f, "u1", wanted("Second", 1));
    write_status(&f, "u1", wanted("Accepted", 1));
    run_until_settled(&f, 1);
    assert_true(f.script.times_ms[1] - f.script.times_ms[0] >= 900);
    assert_int_equal(counters(&f).retried, 1);
    stop(&f);
}

static void test_what_is_gone_is_dropped(void **state)
{
    static const struct script_step steps[] = {
        {PATCH, "404 Not Found", NULL, "{\"code\":404}", SCRIPT_ENDS},
    };
    struct fixture f;

    (void)state;
    start(&f, steps, 1);
    observe(&f, ROUTE("10", "1", "{}"));
    write_status(&f, "another", wanted("Accepted", 1)); /* of a Route that was replaced */
    assert_int_equal(counters(&f).dropped, 1);
    write_status(&f, "u1", wanted("Accepted", 1));
    run_until_settled(&f, 2);
    write_status(&f, "u1", wanted("Next", 1));
    kube_status_forget(f.status, STR_LIT("shop"), STR_LIT("orders"));
    write_status(&f, "u1", wanted("Accepted", 1));
    script_run_for(&f.script, 100);
    stop(&f);
}

static void write_many(struct fixture *f, int first, int count)
{
    for (int i = first; i < first + count; i++) {
        char route[256], name[16];
        struct route_status status = wanted("Accepted", 1);

        snprintf(name, sizeof(name), "r%d", i);
        snprintf(route, sizeof(route),
                 "{\"metadata\":{\"namespace\":\"shop\",\"name\":\"%s\",\"uid\":\"u\","
                 "\"resourceVersion\":\"1\"}}",
                 name);
        observe(f, route);
        f->sink.write(f->sink.context, STR_LIT("shop"), str_from(name), STR_LIT("u"), &status);
    }
}

static void test_few_are_under_way_at_once(void **state)
{
    static const struct script_step hold = {"PATCH", NULL, NULL, NULL, SCRIPT_STAYS};
    struct script_step steps[8];
    struct fixture f;

    (void)state;
    for (size_t i = 0; i < 8; i++)
        steps[i] = hold;
    start(&f, steps, 8); /* a ninth request fails the test */
    write_many(&f, 0, 20);
    script_run_for(&f.script, 300);
    assert_int_equal(counters(&f).in_flight, 8);
    assert_int_equal(counters(&f).waiting, 12);
    stop(&f);
}

static void test_a_pause_for_a_lost_connection_ends_when_the_watch_hears_again(void **state)
{
    struct script_step steps[6];
    struct fixture f;

    (void)state;
    for (size_t i = 0; i < 5; i++) /* pauses of 0.5, 1, 2, 4 and then 8 s */
        steps[i] = (struct script_step){"PATCH", "200 OK", NULL, "{", SCRIPT_CUTS};
    steps[5] = (struct script_step){"PATCH", "200 OK", NULL, ROUTE("12", "1", STORED), SCRIPT_ENDS};
    start(&f, steps, 6);
    observe(&f, ROUTE("10", "1", "{}"));
    write_status(&f, "u1", wanted("Accepted", 1));
    for (int i = 0; i < 400 && counters(&f).retried < 5; i++)
        script_run_for(&f.script, 50);
    observe(&f, ROUTE("11", "1", "{\"observedGeneration\":9}"));
    run_until_settled(&f, 1);
    assert_true(f.script.times_ms[5] - f.script.times_ms[4] < 4000);
    stop(&f);
}

static void test_a_forbidden_namespace_holds_up_nobody_else(void **state)
{
    static const struct script_step steps[] = {
        {"namespaces/shop/routes/r", "403 Forbidden", NULL, "", SCRIPT_ENDS},
        {"namespaces/shop/routes/r", "403 Forbidden", NULL, "", SCRIPT_ENDS},
        {"namespaces/shop/routes/r2", "200 OK", NULL, "{}", SCRIPT_ENDS},
        {"namespaces/shop/routes/r", "200 OK", NULL, "{}", SCRIPT_ENDS},
        {"namespaces/shop/routes/r", "200 OK", NULL, "{}", SCRIPT_ENDS},
    };
    struct fixture f;

    (void)state;
    start(&f, steps, 5);
    write_many(&f, 0, 2);
    for (int i = 0; i < 100 && counters(&f).retried < 2; i++)
        script_run_for(&f.script, 20);
    write_many(&f, 2, 1);
    for (int i = 0; i < 100 && counters(&f).written < 1; i++)
        script_run_for(&f.script, 20);
    assert_true(f.script.times_ms[2] - f.script.times_ms[1] < 2000); /* no pause */
    assert_int_equal(counters(&f).waiting, 2);
    run_until_settled(&f, 3);
    assert_true(f.script.times_ms[3] - f.script.times_ms[1] > 4000);
    stop(&f);
}

static void test_what_stays_forbidden_is_logged_once(void **state)
{
    static const struct script_step steps[] = {
        {"namespaces/shop/routes/r0", "403 Forbidden", NULL, "", SCRIPT_ENDS},
        {"namespaces/shop/routes/r1", "200 OK", NULL, "{}", SCRIPT_ENDS},
        {"namespaces/shop/routes/r0", "403 Forbidden", NULL, "", SCRIPT_ENDS},
    };
    struct capture log;
    const char *text, *first;
    struct fixture f;

    (void)state;
    start(&f, steps, 3);
    capture_begin(&log, STDERR_FILENO);
    write_many(&f, 0, 1);
    for (int i = 0; i < 100 && counters(&f).retried < 1; i++)
        script_run_for(&f.script, 20);
    write_many(&f, 1, 1);
    for (int i = 0; i < 500 && counters(&f).retried < 2; i++)
        script_run_for(&f.script, 20);
    text = capture_end(&log);
    first = strstr(text, "cannot write a Route's status");
    assert_non_null(first);
    assert_null(strstr(first + 1, "cannot write a Route's status"));
    stop(&f);
}

static void test_what_changes_now_goes_before_what_the_first_list_brought(void **state)
{
    static const struct script_step answers = {"PATCH", "200 OK", NULL, "{}", SCRIPT_ENDS};
    static const char changed[] =
        "{\"metadata\":{\"namespace\":\"shop\",\"name\":\"r9\",\"uid\":\"u\","
        "\"resourceVersion\":\"2\",\"generation\":2}}";
    struct route_status status = wanted("Changed", 2);
    struct script_step steps[11];
    struct fixture f;

    (void)state;
    for (size_t i = 0; i < 11; i++)
        steps[i] = answers;
    start(&f, steps, 11);
    write_many(&f, 0, 10);
    kube_status_synced(f.status);
    write_many(&f, 10, 1); /* new */
    observe(&f, changed);
    f.sink.write(f.sink.context, STR_LIT("shop"), STR_LIT("r9"), STR_LIT("u"), &status);
    run_until_settled(&f, 11);
    for (size_t i = 8; i < 11; i++) { /* after the first that may be under way at once */
        assert_null(strstr(f.script.requests[i], "routes/r9/"));
        assert_null(strstr(f.script.requests[i], "routes/r10/"));
    }
    stop(&f);
}

static void test_what_is_served_is_written_before_what_may_soon_be(void **state)
{
    static const struct script_step answers = {"PATCH", "200 OK", NULL, "{}", SCRIPT_ENDS};
    struct route_status status = wanted("Accepted", 1);
    struct script_step steps[12];
    struct fixture f;

    (void)state;
    for (size_t i = 0; i < 12; i++)
        steps[i] = answers;
    start(&f, steps, 12); /* one more would fail the test */
    kube_status_synced(f.status);
    write_many(&f, 0, 12);
    status.programmed.status = CONDITION_TRUE;
    f.sink.write(f.sink.context, STR_LIT("shop"), STR_LIT("r11"), STR_LIT("u"), &status);
    run_until_settled(&f, 12);
    for (size_t i = 8; i < 12; i++) /* after the first that may be under way at once */
        assert_null(strstr(f.script.requests[i], "routes/r11/"));
    stop(&f);
}

static void test_many_failures_at_once_make_one_pause(void **state)
{
    static const struct script_step fails = {"PATCH", "500 Internal Server Error", NULL, "",
                                             SCRIPT_ENDS};
    static const struct script_step holds = {"PATCH", NULL, NULL, NULL, SCRIPT_STAYS};
    struct script_step steps[12];
    struct fixture f;

    (void)state;
    for (size_t i = 0; i < 12; i++)
        steps[i] = i < 6 ? fails : holds;
    start(&f, steps, 12);
    write_many(&f, 0, 6);
    script_run_for(&f.script, 1200); /* 0.5 s; twice that for each of them would be 16 s */
    assert_int_equal(counters(&f).retried, 6);
    assert_int_equal(counters(&f).in_flight, 6);
    stop(&f);
}

static void test_what_waits_or_is_under_way_when_another_leads_is_dropped(void **state)
{
    static const struct script_step hold = {"PATCH", NULL, NULL, NULL, SCRIPT_STAYS};
    struct script_step steps[9];
    struct fixture f;

    (void)state;
    for (int i = 0; i < 9; i++)
        steps[i] = hold;
    start(&f, steps, 9);
    write_many(&f, 0, 20);
    script_run_for(&f.script, 100);
    assert_int_equal(counters(&f).in_flight, 8);
    kube_status_drop(f.status);
    assert_int_equal(counters(&f).in_flight + counters(&f).waiting, 0);
    script_run_for(&f.script, 100);
    assert_int_equal(f.script.next, 8);
    write_many(&f, 0, 1); /* and can be asked for again */
    script_run_for(&f.script, 100);
    stop(&f);
}

static bool never(void *context)
{
    (*(unsigned *)context)++;
    return false;
}

static void test_whoever_does_not_lead_any_more_writes_nothing(void **state)
{
    unsigned times = 0;
    struct fixture f;

    (void)state;
    start(&f, NULL, 0);
    kube_status_guard(f.status, never, &times);
    observe(&f, ROUTE("10", "1", "{}"));
    write_status(&f, "u1", wanted("Accepted", 1));
    script_run_for(&f.script, 100);
    assert_int_equal(times, 1);
    stop(&f);
}

static bool at_the_second_time(void *context)
{
    return ++*(unsigned *)context >= 2;
}

/* The Lease was renewed late, but before anybody else took it. */
static void test_what_waited_while_we_might_not_write_is_written(void **state)
{
    static const struct script_step steps[] = {
        {PATCH, "200 OK", NULL, ROUTE("12", "1", STORED), SCRIPT_ENDS},
    };
    unsigned times = 0;
    struct fixture f;

    (void)state;
    start(&f, steps, 1);
    kube_status_guard(f.status, at_the_second_time, &times);
    observe(&f, ROUTE("10", "1", "{}"));
    write_status(&f, "u1", wanted("Accepted", 1));
    run_until_settled(&f, 1);
    stop(&f);
}

static void test_the_transition_time_moves_only_with_the_status(void **state)
{
    yyjson_doc *document = yyjson_read(STORED, strlen(STORED), 0);
    struct status_doc doc = status_doc_read(yyjson_doc_get_root(document));
    struct status_memory stored = status_doc_remember(&doc);
    struct route_status status = wanted("OtherReason", 2);
    char pods[STATUS_PODS_SIZE];

    (void)state;
    status.programmed = (struct condition){CONDITION_TRUE, "Programmed", "3/3 pods"};
    doc = status_doc_of(&status, pods);
    status_doc_set_times(&doc, &stored, 2000000000);
    assert_int_equal(doc.conditions[0].since_s, 1795489200);
    assert_int_equal(doc.conditions[1].since_s, 2000000000);
    yyjson_doc_free(document);
}

static void test_what_is_written_reads_back_as_the_same(void **state)
{
    struct route_status status = wanted("Accepted", 7);
    char pods[STATUS_PODS_SIZE];
    struct status_doc doc, read;
    struct buffer out;
    yyjson_doc *document;

    (void)state;
    status.has_gateways = true;
    status.ready = 2;
    status.total = 3;
    status.revision = 812;
    doc = status_doc_of(&status, pods);
    buffer_init(&out, 65536);
    assert_int_equal(status_doc_write(&doc, STR_LIT("shop"), STR_LIT("orders"), STR_LIT("u"), &out),
                     0);
    document = yyjson_read(buffer_view(&out).ptr, buffer_length(&out), 0);
    read = status_doc_read(yyjson_obj_get(yyjson_doc_get_root(document), "status"));
    assert_true(status_doc_digest(&doc) == status_doc_digest(&read));
    assert_true(str_equal(read.pods, STR_LIT("2/3")));
    status.ready = 3;
    doc = status_doc_of(&status, pods);
    assert_true(status_doc_digest(&doc) != status_doc_digest(&read));
    yyjson_doc_free(document);
    buffer_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_newest_is_written_once_and_its_echo_is_no_news),
        cmocka_unit_test(test_a_server_that_went_back_is_believed),
        cmocka_unit_test(test_an_echo_before_the_answer_is_no_news),
        cmocka_unit_test(test_what_is_stored_already_is_not_written),
        cmocka_unit_test(test_what_changes_while_a_write_is_under_way_is_written_after_it),
        cmocka_unit_test(test_what_is_gone_is_dropped),
        cmocka_unit_test(test_few_are_under_way_at_once),
        cmocka_unit_test(test_a_pause_for_a_lost_connection_ends_when_the_watch_hears_again),
        cmocka_unit_test(test_a_forbidden_namespace_holds_up_nobody_else),
        cmocka_unit_test(test_what_stays_forbidden_is_logged_once),
        cmocka_unit_test(test_what_changes_now_goes_before_what_the_first_list_brought),
        cmocka_unit_test(test_what_is_served_is_written_before_what_may_soon_be),
        cmocka_unit_test(test_many_failures_at_once_make_one_pause),
        cmocka_unit_test(test_what_waits_or_is_under_way_when_another_leads_is_dropped),
        cmocka_unit_test(test_whoever_does_not_lead_any_more_writes_nothing),
        cmocka_unit_test(test_what_waited_while_we_might_not_write_is_written),
        cmocka_unit_test(test_the_transition_time_moves_only_with_the_status),
        cmocka_unit_test(test_what_is_written_reads_back_as_the_same),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
