/* programmed: scripts of verdicts, writes and acks, and the status that comes of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "controller/publish/programmed.h"

#define MS 1000000ull
#define SECONDS 1000000000ull

/* The last status of the Route ns/a, and how many there were of all Routes. */
struct sink {
    struct route_status status;
    unsigned writes;
};

struct fixture {
    struct programmed *programmed;
    struct sink sink;
    uint64_t now_ns;
};

static void on_status(void *context, struct str namespace_name, struct str name, struct str uid,
                      const struct route_status *status)
{
    struct sink *sink = context;

    (void)namespace_name, (void)uid;
    sink->writes++;
    if (str_equal(name, STR_LIT("a")))
        sink->status = *status;
}

static void open_fixture(struct fixture *fixture, bool has_service)
{
    const struct programmed_gateway gateway = {"default", has_service};
    const struct status_sink sink = {on_status, &fixture->sink};

    *fixture = (struct fixture){.now_ns = 100 * SECONDS};
    fixture->programmed = programmed_new(&gateway, 1, &sink);
    assert_non_null(fixture->programmed);
    programmed_state(fixture->programmed, 0, KV_PUBLISH_IN_CHARGE, "");
    programmed_lead(fixture->programmed, true, fixture->now_ns);
    programmed_lineage(fixture->programmed, 0, STR_LIT("L1"), fixture->now_ns);
    programmed_acks_synced(fixture->programmed, fixture->now_ns);
}

/* ---- words of the scripts ---- */

static void verdict_of(struct fixture *fixture, const char *name, int64_t generation,
                       int64_t serving, enum condition_status accepted, int64_t remembered)
{
    struct condition condition = {.status = accepted, .reason = "Accepted"};
    const struct compile_verdict verdict = {
        .namespace_name = STR_LIT("ns"),
        .name = str_from(name),
        .uid = STR_LIT("u1"),
        .generation = generation,
        .gateway = serving >= 0 ? 0 : -1,
        .serving = serving,
        .accepted = &condition,
        .memory = {.generation = remembered, .ready = 3, .total = 3, .revision = 7},
    };

    assert_int_equal(programmed_verdict(fixture->programmed, &verdict, fixture->now_ns), 0);
}

static void accept_route(struct fixture *fixture, int64_t generation)
{
    verdict_of(fixture, "a", generation, generation, CONDITION_TRUE, -1);
}

static void write_route(struct fixture *fixture, int64_t generation, uint64_t sequence)
{
    programmed_written(fixture->programmed, 0, STR_LIT("route.ns.a"), generation, sequence,
                       fixture->now_ns);
}

static void send_ack(struct fixture *fixture, const char *pod, const struct table_ack *ack)
{
    assert_int_equal(programmed_ack(fixture->programmed, STR_LIT("default"), str_from(pod), ack,
                                    fixture->now_ns),
                     0);
}

static void ack(struct fixture *fixture, const char *pod, const char *lineage, uint64_t applied)
{
    struct table_ack sent = {.boot = "b", .version = "1", .applied = applied};

    snprintf(sent.lineage, sizeof(sent.lineage), "%s", lineage);
    send_ack(fixture, pod, &sent);
}

static void goodbye(struct fixture *fixture, const char *pod)
{
    const struct table_ack sent = {.boot = "b", .lineage = "L1", .goodbye = true};

    send_ack(fixture, pod, &sent);
}

static void reject(struct fixture *fixture, const char *pod, uint64_t applied, uint64_t sequence,
                   uint64_t total)
{
    struct table_ack sent = {.boot = "b",
                             .lineage = "L1",
                             .applied = applied,
                             .rejected_count = 1,
                             .rejected_total = total};

    snprintf(sent.rejected[0].key, sizeof(sent.rejected[0].key), "route.ns.a");
    snprintf(sent.rejected[0].reason, sizeof(sent.rejected[0].reason), "unknown field");
    sent.rejected[0].sequence = sequence;
    send_ack(fixture, pod, &sent);
}

static void list_pods(struct fixture *fixture, const char *first, const char *second)
{
    const struct str pods[] = {str_from(first), str_from(second)};

    assert_int_equal(programmed_endpoints(fixture->programmed, 0, pods,
                                          (first != NULL) + (second != NULL), fixture->now_ns),
                     0);
}

static void pass(struct fixture *fixture, uint64_t duration_ns)
{
    uint64_t until_ns = fixture->now_ns + duration_ns;

    while (programmed_next_ns(fixture->programmed) <= until_ns) {
        uint64_t next_ns = programmed_next_ns(fixture->programmed);

        fixture->now_ns = next_ns > fixture->now_ns ? next_ns : fixture->now_ns + 1;
        programmed_tick(fixture->programmed, fixture->now_ns);
    }
    fixture->now_ns = until_ns;
    programmed_tick(fixture->programmed, until_ns);
}

static void assert_programmed(const struct fixture *fixture, enum condition_status status,
                              const char *reason, const char *message)
{
    const struct condition *condition = &fixture->sink.status.programmed;

    assert_string_equal(condition->message, message);
    assert_string_equal(condition->reason, reason);
    assert_int_equal(condition->status, status);
}

/* A Route that two pods serve at 5, in one status write. */
static void program_route(struct fixture *fixture)
{
    ack(fixture, "gw-1", "L1", 4);
    ack(fixture, "gw-2", "L1", 4);
    accept_route(fixture, 1);
    write_route(fixture, 1, 5);
    ack(fixture, "gw-1", "L1", 5);
    assert_int_equal(fixture->sink.writes, 0);
    ack(fixture, "gw-2", "L1", 5);
    assert_int_equal(fixture->sink.writes, 1);
    assert_programmed(fixture, CONDITION_TRUE, "Programmed", "2/2 pods, revision 5");
}

/* ---- tests ---- */

static void test_true_only_when_every_pod_has_it_and_in_one_write(void **state)
{
    struct fixture f;

    (void)state;
    open_fixture(&f, false);
    program_route(&f);
    assert_int_equal(f.sink.status.ready, 2);
    assert_int_equal(f.sink.status.total, 2);
    assert_int_equal(f.sink.status.revision, 5);
    pass(&f, 10 * SECONDS);
    assert_int_equal(f.sink.writes, 1);
    programmed_free(f.programmed);
}

static void test_lag_shows_after_a_second_and_names_the_pods(void **state)
{
    struct fixture f;

    (void)state;
    open_fixture(&f, false);
    ack(&f, "gw-1", "L1", 812);
    ack(&f, "gw-2", "L1", 811);
    ack(&f, "gw-3", "L0", 900); /* of another lineage: has applied nothing of this one */
    accept_route(&f, 1);
    write_route(&f, 1, 812);
    pass(&f, 999 * MS);
    assert_int_equal(f.sink.writes, 0);
    pass(&f, 2 * MS);
    assert_int_equal(f.sink.writes, 1);
    assert_programmed(&f, CONDITION_FALSE, "Pending",
                      "waiting for 2 of 3 pods: gw-2 (at 811, needs 812), gw-3 (has not read the "
                      "new table)");
    assert_int_equal(f.sink.status.accepted.status, CONDITION_TRUE);
    assert_int_equal(f.sink.status.ready, 1);
    ack(&f, "gw-3", "L1", 812);
    pass(&f, 6 * SECONDS);
    assert_programmed(&f, CONDITION_FALSE, "Pending",
                      "waiting for 1 of 3 pods: gw-2 (at 811, needs 812)");
    ack(&f, "gw-2", "L1", 812);
    assert_programmed(&f, CONDITION_TRUE, "Programmed", "3/3 pods, revision 812");
    programmed_free(f.programmed);
}

static void test_a_laggard_that_is_replaced_by_another_is_named_no_more(void **state)
{
    struct fixture f;

    (void)state;
    open_fixture(&f, true);
    list_pods(&f, "gw-1", "gw-2");
    ack(&f, "gw-1", "L1", 5);
    accept_route(&f, 1);
    write_route(&f, 1, 5);
    pass(&f, 2 * SECONDS);
    assert_programmed(&f, CONDITION_FALSE, "Pending", "waiting for 1 of 2 pods: gw-2 (no ack yet)");
    list_pods(&f, "gw-1", "gw-3");
    pass(&f, 6 * SECONDS);
    assert_programmed(&f, CONDITION_FALSE, "Pending", "waiting for 1 of 2 pods: gw-3 (no ack yet)");
    programmed_free(f.programmed);
}

static void test_no_pod_is_not_programmed(void **state)
{
    struct fixture f;

    (void)state;
    open_fixture(&f, false);
    accept_route(&f, 1);
    write_route(&f, 1, 5);
    pass(&f, 2 * SECONDS);
    assert_programmed(&f, CONDITION_FALSE, "NoGatewayPods", "the gateway has no live pod");
    programmed_free(f.programmed);
}

static void test_a_true_is_not_lowered_by_what_pods_and_buckets_do(void **state)
{
    struct fixture f;

    (void)state;
    open_fixture(&f, false);
    program_route(&f);
    ack(&f, "gw-new", "L1", 0); /* joins */
    pass(&f, 70 * SECONDS);     /* all are silent, then gone */
    programmed_lineage(f.programmed, 0, STR_LIT("L2"), f.now_ns);
    write_route(&f, 1, 2); /* the equal value, in the new lineage */
    pass(&f, 10 * SECONDS);
    assert_int_equal(f.sink.writes, 1);
    accept_route(&f, 2); /* but another generation counts anew */
    pass(&f, 2 * SECONDS);
    assert_int_equal(f.sink.status.programmed.status, CONDITION_FALSE);
    programmed_free(f.programmed);
}

static void test_a_restarted_controller_believes_the_stored_true(void **state)
{
    struct fixture f;

    (void)state;
    open_fixture(&f, false);
    verdict_of(&f, "a", 4, 4, CONDITION_TRUE, 4);
    assert_programmed(&f, CONDITION_TRUE, "Programmed", "3/3 pods, revision 7");
    write_route(&f, 4, 7);
    pass(&f, 10 * SECONDS);
    assert_int_equal(f.sink.writes, 1);
    programmed_free(f.programmed);
    open_fixture(&f, false);
    verdict_of(&f, "a", 5, 5, CONDITION_TRUE, 4); /* what was stored is of an older generation */
    pass(&f, 2 * SECONDS);
    assert_int_equal(f.sink.status.programmed.status, CONDITION_FALSE);
    programmed_free(f.programmed);
}

static void test_a_rejection_is_named_and_its_end_is_seen(void **state)
{
    struct fixture f;

    (void)state;
    open_fixture(&f, false);
    program_route(&f);
    reject(&f, "gw-2", 5, 5, 1); /* lowers a True: that pod does not serve it */
    assert_programmed(&f, CONDITION_FALSE, "RejectedByGateway", "rejected by gw-2: unknown field");
    reject(&f, "gw-1", 5, 5, 1);
    goodbye(&f, "gw-2");
    assert_programmed(&f, CONDITION_FALSE, "RejectedByGateway", "rejected by gw-1: unknown field");
    ack(&f, "gw-1", "L1", 5);
    assert_int_equal(f.sink.status.programmed.status, CONDITION_TRUE);
    reject(&f, "gw-1", 6, 4, 1); /* of an older value of the same key: no matter */
    assert_int_equal(f.sink.status.programmed.status, CONDITION_TRUE);
    reject(&f, "gw-1", 9, 9, 40); /* more than it lists: nobody knows */
    assert_int_equal(f.sink.status.programmed.status, CONDITION_UNKNOWN);
    programmed_free(f.programmed);
}

static void test_a_pod_that_leaves_holds_nobody_up(void **state)
{
    struct fixture f;

    (void)state;
    open_fixture(&f, false);
    ack(&f, "gw-1", "L1", 5);
    ack(&f, "gw-2", "L1", 4);
    accept_route(&f, 1);
    write_route(&f, 1, 5);
    goodbye(&f, "gw-2");
    assert_programmed(&f, CONDITION_TRUE, "Programmed", "1/1 pods, revision 5");
    programmed_free(f.programmed);
}

static void test_a_silent_pod_lags_for_a_minute_and_is_called_silent(void **state)
{
    struct fixture f;

    (void)state;
    open_fixture(&f, false);
    ack(&f, "gw-2", "L1", 4);
    pass(&f, 20 * SECONDS);
    ack(&f, "gw-1", "L1", 5);
    accept_route(&f, 1);
    write_route(&f, 1, 5);
    pass(&f, 2 * SECONDS);
    assert_programmed(&f, CONDITION_FALSE, "Pending",
                      "waiting for 1 of 2 pods: gw-2 (silent, at 4, needs 5)");
    pass(&f, 37 * SECONDS);
    assert_int_equal(f.sink.status.programmed.status, CONDITION_FALSE);
    pass(&f, 2 * SECONDS);
    assert_programmed(&f, CONDITION_TRUE, "Programmed", "1/1 pods, revision 5");
    programmed_free(f.programmed);
}

static void test_with_a_service_its_ready_pods_count_even_before_they_ack(void **state)
{
    struct fixture f;

    (void)state;
    open_fixture(&f, true);
    ack(&f, "gw-1", "L1", 5);
    accept_route(&f, 1);
    write_route(&f, 1, 5);
    pass(&f, 2 * SECONDS);
    assert_programmed(&f, CONDITION_FALSE, "Pending",
                      "the endpoints of the gateway's Service are not known yet");
    list_pods(&f, "gw-1", "gw-2");
    pass(&f, 6 * SECONDS);
    assert_programmed(&f, CONDITION_FALSE, "Pending", "waiting for 1 of 2 pods: gw-2 (no ack yet)");
    pass(&f, 60 * SECONDS); /* listed pods never cease to count by silence */
    assert_int_equal(f.sink.status.programmed.status, CONDITION_FALSE);
    ack(&f, "gw-3", "L1", 5); /* acks, not listed yet: counts as well */
    ack(&f, "gw-2", "L1", 5);
    assert_programmed(&f, CONDITION_TRUE, "Programmed", "3/3 pods, revision 5");
    programmed_free(f.programmed);
}

static void test_an_invalid_update_says_what_still_serves(void **state)
{
    struct fixture f;

    (void)state;
    open_fixture(&f, false);
    program_route(&f);
    verdict_of(&f, "a", 2, 1, CONDITION_FALSE, -1);
    assert_programmed(&f, CONDITION_FALSE, "NotAccepted", "generation 1 is still in the table");
    assert_int_equal(f.sink.status.generation, 2);
    verdict_of(&f, "a", 3, -1, CONDITION_FALSE, -1);
    assert_programmed(&f, CONDITION_FALSE, "NotAccepted", "in no gateway's table");
    assert_false(f.sink.status.has_gateways);
    programmed_free(f.programmed);
}

static void test_what_was_taken_from_the_table_is_programmed_anew_when_it_comes_back(void **state)
{
    struct fixture f;

    (void)state;
    open_fixture(&f, false);
    program_route(&f);
    verdict_of(&f, "a", 1, -1, CONDITION_FALSE, -1); /* a policy denies it */
    assert_programmed(&f, CONDITION_FALSE, "NotAccepted", "in no gateway's table");
    accept_route(&f, 1); /* and another allows it: the same generation */
    pass(&f, 2 * SECONDS);
    assert_programmed(&f, CONDITION_FALSE, "Unpublished", "not in the gateway's table yet");
    write_route(&f, 1, 8);
    ack(&f, "gw-1", "L1", 8);
    pass(&f, 10 * SECONDS);
    assert_programmed(&f, CONDITION_FALSE, "Pending",
                      "waiting for 1 of 2 pods: gw-2 (at 5, needs 8)");
    ack(&f, "gw-2", "L1", 8);
    assert_programmed(&f, CONDITION_TRUE, "Programmed", "2/2 pods, revision 8");
    programmed_free(f.programmed);
}

static void test_what_keeps_an_entry_from_being_written_is_named(void **state)
{
    struct fixture f;

    (void)state;
    open_fixture(&f, false);
    programmed_state(f.programmed, 0, KV_PUBLISH_IN_CHARGE, "not connected to NATS");
    accept_route(&f, 1);
    pass(&f, 2 * SECONDS);
    assert_programmed(&f, CONDITION_FALSE, "Unpublished",
                      "not in the gateway's table yet: not connected to NATS");
    programmed_free(f.programmed);
}

static void test_a_standby_is_silent_and_tells_everything_once_it_leads(void **state)
{
    struct fixture f;

    (void)state;
    open_fixture(&f, false);
    programmed_lead(f.programmed, false, f.now_ns);
    ack(&f, "gw-1", "L1", 5);
    accept_route(&f, 1);
    verdict_of(&f, "b", 1, -1, CONDITION_FALSE, -1); /* in no table */
    pass(&f, 5 * SECONDS);
    assert_int_equal(f.sink.writes, 0);
    programmed_lead(f.programmed, true, f.now_ns);
    write_route(&f, 1, 5);
    assert_int_equal(f.sink.writes, 2);
    assert_int_equal(f.sink.status.programmed.status, CONDITION_TRUE);
    programmed_free(f.programmed);
}

static void store(struct fixture *fixture, int64_t generation)
{
    const struct compile_memory memory = {generation, 3, 3, 7};

    programmed_stored(fixture->programmed, STR_LIT("ns"), STR_LIT("a"), &memory, fixture->now_ns);
}

static void test_a_true_of_the_leader_before_is_not_lowered(void **state)
{
    struct fixture f;

    (void)state;
    open_fixture(&f, false);
    programmed_lead(f.programmed, false, f.now_ns);
    accept_route(&f, 1);
    accept_route(&f, 2);
    store(&f, 2); /* by the leader of then */
    pass(&f, 60 * SECONDS);
    programmed_lead(f.programmed, true, f.now_ns);
    assert_int_equal(f.sink.writes, 1);
    assert_programmed(&f, CONDITION_TRUE, "Programmed", "3/3 pods, revision 7");
    write_route(&f, 2, 9); /* no pod has acked yet */
    pass(&f, 10 * SECONDS);
    assert_int_equal(f.sink.writes, 1);
    programmed_free(f.programmed);
}

static void test_a_new_leader_waits_a_second_before_it_shows_lag(void **state)
{
    struct fixture f;

    (void)state;
    open_fixture(&f, false);
    programmed_lead(f.programmed, false, f.now_ns);
    ack(&f, "gw-1", "L1", 5);
    accept_route(&f, 1);
    pass(&f, 60 * SECONDS);
    ack(&f, "gw-1", "L1", 5);
    programmed_lead(f.programmed, true, f.now_ns);
    pass(&f, 500 * MS);
    assert_int_equal(f.sink.writes, 0);
    write_route(&f, 1, 5);
    assert_int_equal(f.sink.writes, 1);
    assert_int_equal(f.sink.status.programmed.status, CONDITION_TRUE);
    programmed_free(f.programmed);
}

static void test_a_status_that_another_wrote_is_told_again(void **state)
{
    struct fixture f;

    (void)state;
    open_fixture(&f, false);
    program_route(&f);
    assert_int_equal(f.sink.writes, 1);
    store(&f, -1);
    assert_int_equal(f.sink.writes, 2);
    assert_int_equal(f.sink.status.programmed.status, CONDITION_TRUE);
    store(&f, -1); /* again, at once: the two do not chase each other */
    assert_int_equal(f.sink.writes, 2);
    pass(&f, 60 * SECONDS); /* but what is right stands in the end */
    assert_int_equal(f.sink.writes, 3);
    pass(&f, 600 * SECONDS);
    assert_int_equal(f.sink.writes, 3);
    store(&f, -1);
    assert_int_equal(f.sink.writes, 4);
    programmed_free(f.programmed);
}

static void test_a_status_that_another_wrote_ends_no_silence(void **state)
{
    struct fixture f;

    (void)state;
    open_fixture(&f, false);
    ack(&f, "gw-1", "L1", 5);
    accept_route(&f, 1);
    store(&f, -1);
    pass(&f, 500 * MS);
    assert_int_equal(f.sink.writes, 0);
    pass(&f, SECONDS);
    assert_int_equal(f.sink.writes, 1);
    store(&f, -1); /* the first of those that another wrote over */
    assert_int_equal(f.sink.writes, 2);
    programmed_free(f.programmed);
}

static void test_two_who_write_the_same_status_do_so_less_and_less(void **state)
{
    unsigned seen = 0;
    struct fixture f;

    (void)state;
    open_fixture(&f, false);
    program_route(&f);
    for (int i = 0; i < 24 * 360; i++) { /* a day, in which another answers each of our writes */
        unsigned writes = f.sink.writes;

        if (writes > seen)
            store(&f, -1);
        seen = writes;
        pass(&f, 10 * SECONDS);
    }
    assert_in_range(f.sink.writes, 24, 40);
    assert_int_equal(f.sink.status.programmed.status, CONDITION_TRUE);
    programmed_free(f.programmed);
}

static void test_scaling_pods_writes_no_status(void **state)
{
    struct fixture f;
    char pod[32];

    (void)state;
    open_fixture(&f, false);
    program_route(&f);
    for (int i = 0; i < 50; i++) {
        snprintf(pod, sizeof(pod), "more-%d", i);
        ack(&f, pod, "L1", (uint64_t)i % 6);
    }
    for (int i = 0; i < 50; i++) {
        snprintf(pod, sizeof(pod), "more-%d", i);
        goodbye(&f, pod);
    }
    pass(&f, 10 * SECONDS);
    assert_int_equal(f.sink.writes, 1);
    programmed_free(f.programmed);
}

static void test_sequences_out_of_order_complete_in_order(void **state)
{
    struct fixture f;

    (void)state;
    open_fixture(&f, false);
    ack(&f, "gw-1", "L1", 1);
    verdict_of(&f, "b", 1, 1, CONDITION_TRUE, -1);
    accept_route(&f, 1);
    programmed_written(f.programmed, 0, STR_LIT("route.ns.b"), 1, 9, f.now_ns);
    write_route(&f, 1, 5); /* told later, earlier in the stream */
    ack(&f, "gw-1", "L1", 5);
    assert_int_equal(f.sink.writes, 1);
    assert_programmed(&f, CONDITION_TRUE, "Programmed", "1/1 pods, revision 5");
    ack(&f, "gw-1", "L1", 9);
    assert_int_equal(f.sink.writes, 2);
    programmed_free(f.programmed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_true_only_when_every_pod_has_it_and_in_one_write),
        cmocka_unit_test(test_lag_shows_after_a_second_and_names_the_pods),
        cmocka_unit_test(test_a_laggard_that_is_replaced_by_another_is_named_no_more),
        cmocka_unit_test(test_no_pod_is_not_programmed),
        cmocka_unit_test(test_a_true_is_not_lowered_by_what_pods_and_buckets_do),
        cmocka_unit_test(test_a_restarted_controller_believes_the_stored_true),
        cmocka_unit_test(test_a_rejection_is_named_and_its_end_is_seen),
        cmocka_unit_test(test_a_pod_that_leaves_holds_nobody_up),
        cmocka_unit_test(test_a_silent_pod_lags_for_a_minute_and_is_called_silent),
        cmocka_unit_test(test_with_a_service_its_ready_pods_count_even_before_they_ack),
        cmocka_unit_test(test_an_invalid_update_says_what_still_serves),
        cmocka_unit_test(test_what_was_taken_from_the_table_is_programmed_anew_when_it_comes_back),
        cmocka_unit_test(test_what_keeps_an_entry_from_being_written_is_named),
        cmocka_unit_test(test_a_standby_is_silent_and_tells_everything_once_it_leads),
        cmocka_unit_test(test_a_true_of_the_leader_before_is_not_lowered),
        cmocka_unit_test(test_a_new_leader_waits_a_second_before_it_shows_lag),
        cmocka_unit_test(test_a_status_that_another_wrote_is_told_again),
        cmocka_unit_test(test_a_status_that_another_wrote_ends_no_silence),
        cmocka_unit_test(test_two_who_write_the_same_status_do_so_less_and_less),
        cmocka_unit_test(test_scaling_pods_writes_no_status),
        cmocka_unit_test(test_sequences_out_of_order_complete_in_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
