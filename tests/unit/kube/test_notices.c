/* Events about Routes: which changes make one, and what a scripted server is asked. */
#include "controller/kube/notices.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/kube/script.h"

#define POST "POST /api/v1/namespaces/shop/events HTTP"

struct fixture {
    struct script script;
    struct kube_notices *notices;
};

static void start(struct fixture *f, const struct script_step *steps, size_t count)
{
    memset(f, 0, sizeof(*f));
    script_start(&f->script, steps, count);
    assert_int_equal(kube_notices_new(&f->script.loop, f->script.client, &f->notices), 0);
}

static void stop(struct fixture *f)
{
    assert_int_equal(f->script.next, f->script.count); /* no request less */
    kube_notices_free(f->notices);
    script_stop(&f->script);
}

static struct status_doc status(const char *accepted, const char *accepted_reason,
                                const char *programmed, const char *programmed_reason)
{
    return (struct status_doc){
        .conditions = {{.status = str_from(accepted),
                        .reason = str_from(accepted_reason),
                        .message = STR_LIT("says \"a\"")},
                       {.status = str_from(programmed),
                        .reason = str_from(programmed_reason),
                        .message = STR_LIT("3/3 pods")}},
    };
}

static void tell(struct fixture *f, const char *name, struct status_doc doc)
{
    const struct kube_object route = {.namespace_name = STR_LIT("shop"),
                                      .name = str_from(name),
                                      .uid = str_from(name),
                                      .resource_version = STR_LIT("7")};

    kube_notices_tell(f->notices, &route, &doc,
                      kube_notices_choose(&(struct status_memory){0}, &doc));
}

static void run_until_told(struct fixture *f, uint64_t count)
{
    struct kube_notices_counters counters = {0};

    for (int i = 0; i < 400 && counters.written + counters.dropped < count; i++) {
        script_run_for(&f->script, 20);
        counters = kube_notices_count(f->notices);
    }
    assert_int_equal(counters.written + counters.dropped, count);
}

static bool is_told(struct status_doc before, struct status_doc after)
{
    struct status_memory memory = status_doc_remember(&before);

    return kube_notices_choose(&memory, &after) != 0;
}

static void test_what_a_user_should_notice_is_told_and_nothing_else(void **state)
{
    struct status_doc none = {0};
    struct status_doc pending = status("True", "Accepted", "False", "Pending");
    struct status_doc good = status("True", "Accepted", "True", "Programmed");
    struct status_doc better = status("True", "Accepted", "True", "Programmed");
    struct status_doc bad = status("False", "Invalid", "False", "NotAccepted");
    struct status_doc worse = status("False", "NoSuchGateway", "False", "NotAccepted");
    struct status_doc rejected = status("True", "Accepted", "False", "RejectedByGateway");

    (void)state;
    better.conditions[1].message = STR_LIT("3/3 pods, another revision");
    assert_false(is_told(none, pending));
    assert_true(is_told(none, good));
    assert_true(is_told(pending, good));
    assert_false(is_told(good, better)); /* the next generation */
    assert_false(is_told(good, pending));
    assert_true(is_told(good, bad));
    assert_true(is_told(none, bad));
    assert_true(is_told(bad, worse));
    assert_false(is_told(bad, bad)); /* a controller that starts again */
    assert_true(is_told(bad, pending));
    assert_true(is_told(good, rejected));
    assert_false(is_told(rejected, rejected));
}

static void test_an_event_names_the_route_and_is_what_kubectl_shows(void **state)
{
    static const char *const parts[] = {
        "\"name\":\"orders.",
        ("\"involvedObject\":{\"apiVersion\":\"metropolis.dev/v1alpha1\",\"kind\":\"Route\","
         "\"namespace\":\"shop\",\"name\":\"orders\",\"uid\":\"orders\",\"resourceVersion\":"
         "\"7\"}"),
        "\"type\":\"Warning\",\"reason\":\"Invalid\"",
        "\"source\":{\"component\":\"metropolis-controller\",",
        "\"message\":\"says \\\"a\\\"\"",
        "\"count\":1",
    };
    static const struct script_step steps[] = {{POST, "201 Created", NULL, "{}", SCRIPT_ENDS}};
    struct fixture f;

    (void)state;
    start(&f, steps, 1);
    tell(&f, "orders", status("False", "Invalid", "False", "NotAccepted"));
    run_until_told(&f, 1);
    for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++)
        if (!strstr(f.script.requests[0], parts[i]))
            fail_msg("no %s in %s", parts[i], f.script.requests[0]);
    stop(&f);
}

static void test_the_same_again_counts_up(void **state)
{
    static const struct script_step steps[] = {
        {POST, "201 Created", NULL, "{}", SCRIPT_ENDS},
        {"PATCH /api/v1/namespaces/shop/events/orders.", "200 OK", NULL, "{}", SCRIPT_ENDS},
    };
    struct fixture f;

    (void)state;
    start(&f, steps, 2);
    for (int i = 0; i < 3; i++) /* within a second */
        tell(&f, "orders", status("False", "Invalid", "False", "NotAccepted"));
    run_until_told(&f, 1);
    script_run_for(&f.script, 1100);
    tell(&f, "orders", status("False", "Invalid", "False", "NotAccepted"));
    run_until_told(&f, 2);
    assert_non_null(strstr(f.script.requests[1], "application/merge-patch+json"));
    assert_non_null(strstr(f.script.requests[1], "\"count\":4}"));
    stop(&f);
}

static void test_after_a_failure_the_next_is_a_new_one(void **state)
{
    static const struct script_step steps[] = {
        {POST, "403 Forbidden", NULL, "", SCRIPT_ENDS},
        {POST, "201 Created", NULL, "{}", SCRIPT_ENDS},
    };
    struct fixture f;

    (void)state;
    start(&f, steps, 2);
    tell(&f, "orders", status("False", "Invalid", "False", "NotAccepted"));
    run_until_told(&f, 1);
    tell(&f, "orders", status("False", "Invalid", "False", "NotAccepted"));
    run_until_told(&f, 2);
    assert_int_equal(kube_notices_count(f.notices).written, 1);
    stop(&f);
}

static void test_many_that_work_leave_room_for_one_that_does_not(void **state)
{
    static const struct script_step answers = {POST, "201 Created", NULL, "{}", SCRIPT_ENDS};
    struct script_step steps[33];
    struct fixture f;

    (void)state;
    for (size_t i = 0; i < 33; i++)
        steps[i] = answers;
    start(&f, steps, 33); /* one more fails the test */
    for (int i = 0; i < 1000; i++) {
        char name[16];

        snprintf(name, sizeof(name), "r%d", i);
        tell(&f, name, status("True", "Accepted", "True", "Programmed"));
    }
    tell(&f, "bad", status("False", "Invalid", "False", "NotAccepted"));
    run_until_told(&f, 1001);
    assert_int_equal(kube_notices_count(f.notices).written, 33);
    assert_non_null(strstr(f.script.requests[32], "\"name\":\"bad."));
    stop(&f);
}

static void test_a_long_name_is_cut_to_a_valid_one(void **state)
{
    static const struct script_step steps[] = {{POST, "201 Created", NULL, "{}", SCRIPT_ENDS}};
    char name[KUBE_NAME_MAX + 1];
    const char *found;
    struct fixture f;

    (void)state;
    memset(name, 'a', KUBE_NAME_MAX);
    name[KUBE_NAME_MAX] = '\0';
    name[235] = '-'; /* where it is cut */
    start(&f, steps, 1);
    tell(&f, name, status("False", "Invalid", "False", "NotAccepted"));
    run_until_told(&f, 1);
    found = strstr(f.script.requests[0], "{\"name\":\"");
    assert_non_null(found);
    assert_int_equal(strcspn(found + 9, "\""), 235 + 17);
    assert_int_equal(found[9 + 235], '.');
    stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_a_user_should_notice_is_told_and_nothing_else),
        cmocka_unit_test(test_an_event_names_the_route_and_is_what_kubectl_shows),
        cmocka_unit_test(test_the_same_again_counts_up),
        cmocka_unit_test(test_after_a_failure_the_next_is_a_new_one),
        cmocka_unit_test(test_many_that_work_leave_room_for_one_that_does_not),
        cmocka_unit_test(test_a_long_name_is_cut_to_a_valid_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
