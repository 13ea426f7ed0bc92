/* The connections of a loop, with a real server and a worker that never answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the above first. */
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>

#include "dataplane/nats/lanes.h"
#include "tests/unit/nats/fixture.h"
#include "tests/unit/nats/server.h"

enum { BUDGET = 1000, IDLE_MS = 200 };

struct lanes_fixture {
    struct test_server server;
    struct worker worker;
    struct fixture loop; /* only its loop, for RUN_UNTIL */
    struct nats_lanes *lanes;
    unsigned failures;
    bool closed;
};

static void on_reply(void *owner, const struct nats_reply *reply)
{
    (void)owner;
    (void)reply;
}

static void on_failed(void *owner, enum nats_failure failure)
{
    (void)failure;
    ((struct lanes_fixture *)owner)->failures++;
}

static void on_closed(void *context)
{
    ((struct lanes_fixture *)context)->closed = true;
}

static void on_tick(uv_timer_t *timer)
{
    (void)timer;
}

static struct nats_client_counters count(const struct lanes_fixture *fixture)
{
    struct nats_client_counters counters;

    nats_lanes_count(fixture->lanes, &counters);
    return counters;
}

/* A ticket, or what nats_lanes_request returns else. */
static int ask(struct lanes_fixture *fixture, uint32_t reply_bytes, uint64_t key, bool aside)
{
    return nats_lanes_request(fixture->lanes,
                              &(struct nats_request){.subject = STR_LIT("work"),
                                                     .block = BLOCK,
                                                     .reply_bytes = reply_bytes,
                                                     .owner = fixture},
                              key, aside);
}

static int set_up(void **state)
{
    const struct nats_client_handler handler = {.reply = on_reply, .failed = on_failed};
    struct nats_client_options options = default_options;
    struct lanes_fixture *fixture = calloc(1, sizeof(*fixture));
    char error[256];

    test_server_start(&fixture->server, "");
    start_worker(&fixture->worker, fixture->server.url, "work", keep_silent);
    options.servers = str_from(fixture->server.url);
    options.reply_bytes_max = BUDGET;
    uv_loop_init(&fixture->loop.loop);
    uv_timer_init(&fixture->loop.loop, &fixture->loop.tick);
    uv_timer_start(&fixture->loop.tick, on_tick, 20, 20);
    assert_int_equal(nats_lanes_new(&fixture->loop.loop, &options, &handler, IDLE_MS,
                                    &fixture->lanes, error, sizeof(error)),
                     0);
    RUN_UNTIL(&fixture->loop, nats_lanes_connected(fixture->lanes));
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct lanes_fixture *fixture = *state;

    if (fixture->failures == 0)
        nats_lanes_close(fixture->lanes, on_closed, fixture);
    uv_close((uv_handle_t *)&fixture->loop.tick, NULL);
    RUN_UNTIL(&fixture->loop, fixture->closed);
    uv_run(&fixture->loop.loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&fixture->loop.loop), 0);
    stop_worker(&fixture->worker);
    test_server_stop(&fixture->server);
    free(fixture);
    return 0;
}

static void ordinary_requests_need_one_connection(void **state)
{
    struct lanes_fixture *fixture = *state;

    for (uint64_t key = 0; key < 100; key++)
        assert_true(ask(fixture, 1, key, false) >= 0);
    RUN_UNTIL(&fixture->loop, fixture->worker.seen == 100);
    assert_int_equal(count(fixture).connections, 1);
    assert_int_equal(count(fixture).in_flight, 100);
}

static void a_spare_connection_is_there_in_time_and_then_all_are_full(void **state)
{
    struct lanes_fixture *fixture = *state;
    unsigned sent = 2;
    int first = ask(fixture, BUDGET / 2, 0, false);

    assert_true(first >= 0 && count(fixture).connections == 1);
    assert_true(ask(fixture, BUDGET / 2, 0, false) >= 0); /* more than half: the next is made */
    for (int connections = 2; connections <= NATS_LANES_MAX; connections++) {
        RUN_UNTIL(&fixture->loop, count(fixture).connections == (uint64_t)connections);
        for (int i = 0; i < 2; i++, sent++)
            assert_true(ask(fixture, BUDGET / 2, 0, false) >= 0);
        /* The one after it, which was begun when this one was half full, is not there yet. */
        assert_int_equal(ask(fixture, BUDGET / 2, 0, false),
                         connections < NATS_LANES_MAX ? -EAGAIN : -EBUSY);
    }
    RUN_UNTIL(&fixture->loop, fixture->worker.seen == sent);
    assert_int_equal(count(fixture).reserved_bytes, NATS_LANES_MAX * BUDGET);
    assert_int_equal(ask(fixture, BUDGET / 2, 0, false), -EBUSY);

    nats_lanes_forget(fixture->lanes, first, (struct str){0}); /* makes room on the main one */
    first = ask(fixture, BUDGET / 2, 0, false);
    assert_true(first >= 0);
    assert_int_equal(first % NATS_LANES_MAX, 0);
}

static void what_may_be_stuck_goes_aside_and_leaves_the_main_one_free(void **state)
{
    struct lanes_fixture *fixture = *state;
    int ticket = ask(fixture, 1, 7, true), other;

    assert_int_equal(ticket % NATS_LANES_MAX, 0); /* there is no other yet */
    nats_lanes_forget(fixture->lanes, ticket, (struct str){0});
    RUN_UNTIL(&fixture->loop, count(fixture).connections == 2);
    ticket = ask(fixture, BUDGET, 7, true);
    other = ask(fixture, 1, 8, true);
    assert_true(ticket % NATS_LANES_MAX != 0);
    assert_int_equal(ask(fixture, BUDGET, 7, true), -EBUSY); /* it has its own room only */
    assert_int_equal(ask(fixture, BUDGET / 4, 1, false) % NATS_LANES_MAX, 0);
    RUN_UNTIL(&fixture->loop, count(fixture).connections == 3);
    assert_true(other % NATS_LANES_MAX == 0 &&
                ask(fixture, 1, 8, true) % NATS_LANES_MAX != ticket % NATS_LANES_MAX);
}

static void a_spare_connection_goes_when_nobody_wants_it(void **state)
{
    struct lanes_fixture *fixture = *state;
    int ticket;

    nats_lanes_forget(fixture->lanes, ask(fixture, 1, 7, true), (struct str){0});
    RUN_UNTIL(&fixture->loop, count(fixture).connections == 2);
    ticket = ask(fixture, 1, 7, true);
    run_for(&fixture->loop, 3 * IDLE_MS); /* not while a request is in flight */
    assert_int_equal(count(fixture).connections, 2);
    nats_lanes_forget(fixture->lanes, ticket, (struct str){0});
    RUN_UNTIL(&fixture->loop, count(fixture).connections == 1);
    assert_int_equal(count(fixture).sent, 2);
    assert_int_equal(fixture->failures, 0);
    nats_lanes_forget(fixture->lanes, ask(fixture, 1, 7, true),
                      (struct str){0}); /* and comes again */
    RUN_UNTIL(&fixture->loop, count(fixture).connections == 2);
}

static void a_lost_server_fails_what_is_in_flight_and_all_connections_come_back(void **state)
{
    struct lanes_fixture *fixture = *state;

    assert_true(ask(fixture, 1, 7, true) >= 0);
    RUN_UNTIL(&fixture->loop, count(fixture).connections == 2);
    assert_true(ask(fixture, BUDGET, 7, true) >= 0);
    RUN_UNTIL(&fixture->loop, fixture->worker.seen == 2);
    test_server_kill(&fixture->server);
    RUN_UNTIL(&fixture->loop, fixture->failures == 2);
    assert_int_equal(count(fixture).reserved_bytes, 0);
    RUN_UNTIL(&fixture->loop, count(fixture).connections == 0);
    assert_int_equal(ask(fixture, 1, 7, true), -ENOTCONN);
    assert_int_equal(ask(fixture, 1, 1, false), -ENOTCONN);
    test_server_restart(&fixture->server);
    /* The spare one is wanted for so long only; a request wants it anew. */
    RUN_UNTIL(&fixture->loop, nats_lanes_connected(fixture->lanes));
    RUN_UNTIL(&fixture->loop, ask(fixture, 1, 7, true) >= 0 && count(fixture).connections == 2);
    fixture->failures = 0; /* tear_down closes */
}

static void closing_fails_what_is_in_flight_on_every_connection(void **state)
{
    struct lanes_fixture *fixture = *state;

    assert_true(ask(fixture, 1, 7, true) >= 0);
    RUN_UNTIL(&fixture->loop, count(fixture).connections == 2);
    assert_true(ask(fixture, 1, 7, true) >= 0);
    assert_true(ask(fixture, 1, 8, true) >= 0); /* its connection is being made */
    nats_lanes_close(fixture->lanes, on_closed, fixture);
    assert_int_equal(fixture->failures, 3);
    assert_int_equal(ask(fixture, 1, 1, false), -ENOTCONN);
    assert_int_equal(count(fixture).in_flight, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(ordinary_requests_need_one_connection, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_spare_connection_is_there_in_time_and_then_all_are_full,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_may_be_stuck_goes_aside_and_leaves_the_main_one_free,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_spare_connection_goes_when_nobody_wants_it, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(
            a_lost_server_fails_what_is_in_flight_and_all_connections_come_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(closing_fails_what_is_in_flight_on_every_connection, set_up,
                                        tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
