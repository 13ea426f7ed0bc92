/*
 * The Lease against a scripted server: who leads, what is asked, and what is written. Two real
 * controllers on a real API server are in tests/integration.
 */
#include "controller/kube/lease.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/kube/script.h"

#define LEASES "/apis/coordination.k8s.io/v1/namespaces/edge/leases"
#define LIST "GET " LEASES "?limit=0"
#define READ "GET " LEASES "/metropolis HTTP"
#define CREATE "POST " LEASES " HTTP"
#define PATCH "PATCH " LEASES "/metropolis HTTP"
#define LEASE(version, holder, duration, renewed)                                              \
    "{\"metadata\":{\"namespace\":\"edge\",\"name\":\"metropolis\",\"uid\":\"u\","             \
    "\"resourceVersion\":\"" version "\"},\"spec\":{\"holderIdentity\":\"" holder              \
    "\",\"leaseDurationSeconds\":" duration ",\"leaseTransitions\":4,\"renewTime\":\"" renewed \
    "\"}}"
/* The watch after it hears nothing. */
#define LISTED(items) \
    "200 OK", NULL, "{\"metadata\":{\"resourceVersion\":\"1\"},\"items\":[" items "]}", SCRIPT_ENDS
#define NOT_FOUND "404 Not Found", NULL, "{\"code\":404}", SCRIPT_ENDS
#define CONFLICT "409 Conflict", NULL, "{\"code\":409}", SCRIPT_ENDS
/* The server's answer to what we asked: the holder is who asked. */
#define OURS(version) \
    "200 OK", NULL, LEASE(version, "@", "1", "2026-11-24T03:00:00.000000Z"), SCRIPT_ENDS

struct fixture {
    struct script script;
    struct script_step steps[SCRIPT_STEPS_MAX];
    char *bodies[SCRIPT_STEPS_MAX];
    struct kube_lease *lease;
    unsigned begun, ended;
    bool leads, left, changed;
};

static void on_changed(void *context, bool leads)
{
    struct fixture *f = context;

    f->leads = leads;
    f->begun += leads;
    f->ended += !leads;
    f->changed = true;
}

/* "@" in a body stands for the identity, which is random. */
static char *fill(const char *body, const char *identity)
{
    const char *at = strchr(body, '@');
    char *filled;

    if (!at)
        return strdup(body);
    assert_true(asprintf(&filled, "%.*s%s%s", (int)(at - body), body, identity, at + 1) > 0);
    return filled;
}

static const struct script_step quiet_watch = {"GET " LEASES "?watch=true", "200 OK", NULL, "",
                                               SCRIPT_STAYS};

static void start(struct fixture *f, const struct script_step *steps, size_t count)
{
    struct kube_lease_options options = {.namespace_name = "edge",
                                         .name = "metropolis",
                                         .changed = on_changed,
                                         .context = f,
                                         .duration_s = 1,
                                         .deadline_ms = 600,
                                         .retry_ms = 150};

    memset(f, 0, sizeof(*f));
    script_start(&f->script, f->steps, count);
    f->script.aside[0] = &quiet_watch;
    assert_int_equal(kube_lease_new(&f->script.loop, f->script.client, &options, &f->lease), 0);
    for (size_t i = 0; i < count; i++) {
        f->steps[i] = steps[i];
        f->bodies[i] = steps[i].body ? fill(steps[i].body, kube_lease_identity(f->lease)) : NULL;
        f->steps[i].body = f->bodies[i];
    }
}

#define START(f, steps) start(f, steps, sizeof(steps) / sizeof(*(steps)))

static void stop(struct fixture *f)
{
    kube_lease_free(f->lease);
    script_stop(&f->script);
    for (size_t i = 0; i < SCRIPT_STEPS_MAX; i++)
        free(f->bodies[i]);
}

/* Until it has begun or ceased to lead. */
static void run_until_changed(struct fixture *f)
{
    f->changed = false;
    script_run(&f->script, &f->changed);
}

/* Until so many requests have come. */
static void run_until_asked(struct fixture *f, size_t count)
{
    for (int i = 0; i < 400 && f->script.next < count; i++)
        script_run_for(&f->script, 10);
    assert_int_equal(f->script.next, count);
}

static bool asked(const struct fixture *f, size_t request, const char *format)
{
    char text[512];

    snprintf(text, sizeof(text), format, kube_lease_identity(f->lease));
    return strstr(f->script.requests[request], text) != NULL;
}

static void on_left(void *context)
{
    ((struct fixture *)context)->left = true;
}

static void test_a_lease_that_is_not_there_is_made_and_renewed(void **state)
{
    static const struct script_step steps[] = {
        {LIST, LISTED("")}, {READ, NOT_FOUND},  {CREATE, OURS("2")},
        {PATCH, OURS("3")}, {PATCH, OURS("4")},
    };
    struct fixture f;

    (void)state;
    START(&f, steps);
    run_until_changed(&f);
    assert_true(f.leads && kube_lease_held(f.lease));
    assert_true(asked(&f, 0, "fieldSelector=metadata.name%%3Dmetropolis"));
    assert_true(asked(&f, 2, "\"name\":\"metropolis\""));
    assert_true(asked(&f, 2, "\"holderIdentity\":\"%s\""));
    assert_true(asked(&f, 2, "\"leaseTransitions\":0"));
    run_until_asked(&f, 5);
    assert_true(asked(&f, 3, "\"resourceVersion\":\"2\""));
    assert_true(asked(&f, 4, "\"resourceVersion\":\"3\""));
    assert_false(asked(&f, 4, "acquireTime")); /* that of when it began stays */
    assert_int_equal(f.begun, 1);
    stop(&f);
}

static void test_a_lease_that_another_renews_is_left_alone(void **state)
{
    static const struct script_step steps[] = {
        {LIST, LISTED(LEASE("5", "other", "1", "2026-11-24T03:00:00.000000Z"))},
        {READ, "200 OK", NULL, LEASE("5", "other", "1", "2026-11-24T03:00:00.000000Z"),
         SCRIPT_ENDS},
        /* It has not been renewed for a second, we think. But it has: */
        {PATCH, CONFLICT},
        {READ, "200 OK", NULL, LEASE("6", "other", "1", "2026-11-24T03:00:01.000000Z"),
         SCRIPT_ENDS},
        {PATCH, OURS("7")},
    };
    struct fixture f;

    (void)state;
    START(&f, steps);
    run_until_asked(&f, 2);
    assert_string_equal(kube_lease_holder(f.lease), "other");
    run_until_asked(&f, 4);
    assert_true(f.script.times_ms[2] - f.script.times_ms[1] >= 1000);
    assert_int_equal(f.begun, 0);
    run_until_changed(&f);
    assert_true(f.leads);
    assert_true(f.script.times_ms[4] - f.script.times_ms[3] >= 1000);
    assert_true(asked(&f, 4, "\"leaseTransitions\":5"));
    assert_true(asked(&f, 4, "\"resourceVersion\":\"6\""));
    stop(&f);
}

static void test_a_lease_that_is_given_back_is_taken_at_once(void **state)
{
    static const struct script_step steps[] = {
        {LIST, LISTED(LEASE("5", "other", "3600", "2026-11-24T03:00:00.000000Z") "," LEASE(
                   "6", "", "1", "2026-11-24T03:00:01.000000Z"))},
        /* The answer is older than the event. */
        {READ, "200 OK", NULL, LEASE("5", "other", "3600", "2026-11-24T03:00:00.000000Z"),
         SCRIPT_ENDS},
        {PATCH, OURS("7")},
    };
    struct fixture f;

    (void)state;
    START(&f, steps);
    run_until_changed(&f);
    assert_true(f.leads);
    assert_true(f.script.times_ms[2] - f.script.times_ms[0] < 1000);
    assert_true(asked(&f, 2, "\"resourceVersion\":\"6\""));
    stop(&f);
}

static void test_a_leader_that_cannot_renew_stops_before_the_others_may_begin(void **state)
{
    static const struct script_step steps[] = {
        {LIST, LISTED("")},
        {READ, "200 OK", NULL, LEASE("5", "", "1", ""), SCRIPT_ENDS},
        {PATCH, OURS("6")},
        {PATCH, NULL, NULL, NULL, SCRIPT_STAYS}, /* no answer */
        {PATCH, "503 Service Unavailable", NULL, "", SCRIPT_ENDS},
        {PATCH, OURS("7")},
        {PATCH, OURS("8")},
    };
    struct fixture f;

    (void)state;
    START(&f, steps);
    run_until_changed(&f);
    run_until_changed(&f);
    assert_false(f.leads || kube_lease_held(f.lease));
    assert_true(uv_now(&f.script.loop) - f.script.times_ms[2] < 1000); /* what it promised */
    assert_non_null(kube_lease_trouble(f.lease));
    run_until_changed(&f); /* nobody else has taken it */
    assert_true(f.leads);
    assert_null(kube_lease_trouble(f.lease));
    stop(&f);
}

static void test_a_leader_whose_lease_another_took_stands_by(void **state)
{
    static const struct script_step steps[] = {
        {LIST, LISTED("")},
        {READ, "200 OK", NULL, LEASE("5", "", "1", ""), SCRIPT_ENDS},
        {PATCH, OURS("6")},
        {PATCH, CONFLICT},
        {READ, "200 OK", NULL, LEASE("9", "other", "3600", "2026-11-24T03:00:09.000000Z"),
         SCRIPT_ENDS},
    };
    struct fixture f;

    (void)state;
    START(&f, steps);
    run_until_changed(&f);
    run_until_changed(&f);
    assert_false(f.leads);
    assert_string_equal(kube_lease_holder(f.lease), "other");
    script_run_for(&f.script, 500); /* and asks for nothing more */
    stop(&f);
}

static void test_a_leader_keeps_a_lease_that_somebody_labelled(void **state)
{
    static const struct script_step steps[] = {
        {LIST, LISTED("")},  {READ, "200 OK", NULL, LEASE("5", "", "1", ""), SCRIPT_ENDS},
        {PATCH, OURS("6")},  {PATCH, CONFLICT},
        {READ, OURS("8")},   {PATCH, OURS("9")},
        {PATCH, NOT_FOUND}, /* or deleted */
        {READ, NOT_FOUND},   {CREATE, OURS("11")},
        {PATCH, OURS("12")},
    };
    struct fixture f;

    (void)state;
    START(&f, steps);
    run_until_asked(&f, 10);
    assert_true(f.leads);
    assert_int_equal(f.begun, 1);
    stop(&f);
}

static void test_at_the_end_the_lease_is_given_back(void **state)
{
    static const struct script_step steps[] = {
        {LIST, LISTED("")},
        {READ, "200 OK", NULL, LEASE("5", "", "1", ""), SCRIPT_ENDS},
        {PATCH, OURS("6")},
        {PATCH, "200 OK", NULL, LEASE("7", "", "1", "2026-11-24T03:00:09.000000Z"), SCRIPT_ENDS},
    };
    struct fixture f;

    (void)state;
    START(&f, steps);
    run_until_changed(&f);
    kube_lease_release(f.lease, on_left, &f);
    assert_false(f.leads);
    script_run(&f.script, &f.left);
    assert_true(asked(&f, 3, "\"holderIdentity\":\"\""));
    assert_true(asked(&f, 3, "\"resourceVersion\":\"6\""));
    assert_int_equal(f.script.next, 4);
    stop(&f);
}

static void test_the_end_does_not_wait_for_an_api_server_that_is_away(void **state)
{
    static const struct script_step steps[] = {
        {LIST, LISTED("")},
        {READ, "200 OK", NULL, LEASE("5", "", "1", ""), SCRIPT_ENDS},
        {PATCH, OURS("6")},
        {PATCH, "503 Service Unavailable", NULL, "", SCRIPT_ENDS},
    };
    struct fixture f;

    (void)state;
    START(&f, steps);
    run_until_changed(&f);
    kube_lease_release(f.lease, on_left, &f);
    script_run(&f.script, &f.left);
    stop(&f);
}

static void test_a_standby_ends_without_touching_the_lease(void **state)
{
    static const struct script_step steps[] = {
        {LIST, LISTED(LEASE("5", "other", "3600", "2026-11-24T03:00:00.000000Z"))},
        {READ, "200 OK", NULL, LEASE("5", "other", "3600", "2026-11-24T03:00:00.000000Z"),
         SCRIPT_ENDS},
    };
    struct fixture f;

    (void)state;
    START(&f, steps);
    run_until_asked(&f, 2);
    script_run_for(&f.script, 50);
    kube_lease_release(f.lease, on_left, &f);
    script_run(&f.script, &f.left);
    assert_int_equal(f.begun + f.ended, 0);
    stop(&f);
}

static void test_who_resigns_gives_the_lease_back_and_lets_another_go_first(void **state)
{
    static const struct script_step steps[] = {
        {LIST, LISTED("")},
        {READ, "200 OK", NULL, LEASE("5", "", "1", ""), SCRIPT_ENDS},
        {PATCH, OURS("6")},
        {PATCH, "200 OK", NULL, LEASE("7", "", "1", "2026-11-24T03:00:09.000000Z"), SCRIPT_ENDS},
    };
    struct fixture f;

    (void)state;
    START(&f, steps);
    run_until_changed(&f);
    kube_lease_resign(f.lease);
    assert_false(f.leads);
    run_until_asked(&f, 4);
    script_run_for(&f.script, 1500); /* it could have it, but asks for nothing */
    assert_int_equal(f.begun, 1);
    stop(&f);
}

static void test_without_a_watch_it_looks_every_now_and_then(void **state)
{
    static const struct script_step steps[] = {
        {LIST, "403 Forbidden", "Retry-After: 60\r\n", "{\"code\":403}", SCRIPT_ENDS},
        {READ, "200 OK", NULL, LEASE("5", "other", "3600", ""), SCRIPT_ENDS},
        {READ, "200 OK", NULL, LEASE("5", "other", "3600", ""), SCRIPT_ENDS},
        {READ, "200 OK", NULL, LEASE("6", "", "1", ""), SCRIPT_ENDS},
        {PATCH, OURS("7")},
    };
    struct fixture f;

    (void)state;
    START(&f, steps);
    run_until_changed(&f);
    assert_true(f.leads);
    stop(&f);
}

static void test_a_lease_that_may_not_be_read_is_a_trouble_with_a_name(void **state)
{
    static const struct script_step steps[] = {
        {LIST, LISTED("")},
        {READ, "403 Forbidden", NULL,
         "{\"kind\":\"Status\",\"code\":403,\"message\":\"leases is forbidden\"}", SCRIPT_ENDS},
        {READ, "403 Forbidden", NULL,
         "{\"kind\":\"Status\",\"code\":403,\"message\":\"leases is forbidden\"}", SCRIPT_ENDS},
    };
    struct fixture f;

    (void)state;
    START(&f, steps);
    run_until_asked(&f, 3);
    assert_non_null(strstr(kube_lease_trouble(f.lease), "leases is forbidden"));
    assert_int_equal(f.begun, 0);
    stop(&f);
}

static void test_a_trouble_is_over_though_the_watch_was_there_again_first(void **state)
{
    static const struct script_step refuses = {LEASES "/metropolis HTTP", "500 Not now", NULL, "",
                                               SCRIPT_ENDS};
    static const struct script_step steps[] = {
        {LIST, "429 Too Many Requests", "Retry-After: 2\r\n", "", SCRIPT_ENDS},
        {READ, NOT_FOUND},
        {CREATE, OURS("2")},
        {LIST, LISTED(LEASE("9", "other", "60", ""))},
        {READ, "200 OK", NULL, LEASE("9", "other", "60", ""), SCRIPT_ENDS},
    };
    struct fixture f;

    (void)state;
    START(&f, steps);
    run_until_changed(&f);
    f.script.aside[1] = &refuses;
    run_until_changed(&f);
    assert_false(f.leads);
    run_until_asked(&f, 4);
    assert_non_null(strstr(kube_lease_trouble(f.lease), "500"));
    f.script.aside[1] = NULL;
    run_until_asked(&f, 5);
    for (int i = 0; i < 1000 && kube_lease_trouble(f.lease); i++)
        script_run_for(&f.script, 10);
    assert_null(kube_lease_trouble(f.lease));
    assert_string_equal(kube_lease_holder(f.lease), "other");
    stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_lease_that_is_not_there_is_made_and_renewed),
        cmocka_unit_test(test_a_lease_that_another_renews_is_left_alone),
        cmocka_unit_test(test_a_lease_that_is_given_back_is_taken_at_once),
        cmocka_unit_test(test_a_leader_that_cannot_renew_stops_before_the_others_may_begin),
        cmocka_unit_test(test_a_leader_whose_lease_another_took_stands_by),
        cmocka_unit_test(test_a_leader_keeps_a_lease_that_somebody_labelled),
        cmocka_unit_test(test_at_the_end_the_lease_is_given_back),
        cmocka_unit_test(test_the_end_does_not_wait_for_an_api_server_that_is_away),
        cmocka_unit_test(test_a_standby_ends_without_touching_the_lease),
        cmocka_unit_test(test_who_resigns_gives_the_lease_back_and_lets_another_go_first),
        cmocka_unit_test(test_without_a_watch_it_looks_every_now_and_then),
        cmocka_unit_test(test_a_lease_that_may_not_be_read_is_a_trouble_with_a_name),
        cmocka_unit_test(test_a_trouble_is_over_though_the_watch_was_there_again_first),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
