/*
 * The client against a real nats-server, with responders on cnats. A scripted peer stands in only
 * for what no server would do on demand.
 */
#include "dataplane/nats/client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <malloc.h>
#include <nats/nats.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/nats/fixture.h"
#include "tests/unit/nats/server.h"

/* ---- more workers ---- */

/* Answers twice, and once to a token that it makes up. */
static void answer_too_much(natsConnection *connection, natsSubscription *subscription,
                            natsMsg *message, void *closure)
{
    char forged[128];

    (void)subscription, (void)closure;
    snprintf(forged, sizeof(forged), "%s", natsMsg_GetReply(message));
    forged[strlen(forged) - 1] ^= 1;
    natsConnection_PublishString(connection, forged, "forged");
    natsConnection_PublishString(connection, natsMsg_GetReply(message), "first");
    natsConnection_PublishString(connection, natsMsg_GetReply(message), "second");
    natsConnection_Flush(connection);
    natsMsg_Destroy(message);
}

static void answer_with_header(natsConnection *connection, natsSubscription *subscription,
                               natsMsg *message, void *closure)
{
    natsMsg *reply = NULL;

    (void)subscription, (void)closure;
    natsMsg_Create(&reply, natsMsg_GetReply(message), "and.back", "body", 4);
    natsMsgHeader_Set(reply, "Metropolis-Status", "201");
    natsConnection_PublishMsg(connection, reply);
    natsConnection_Flush(connection);
    natsMsg_Destroy(reply);
    natsMsg_Destroy(message);
}

/* ---- requests and replies ---- */

static void each_request_gets_its_own_reply(void **state)
{
    struct test_server server;
    struct worker worker;
    struct fixture *fixture;
    char text[32];

    (void)state;
    test_server_start(&server, "");
    start_worker(&worker, server.url, "echo.>", echo);
    fixture = connect_client(server.url, &default_options);
    for (int i = 0; i < 1000; i++) {
        snprintf(text, sizeof(text), "request %d", i);
        assert_true(request(fixture, i, "echo.me", str_from(text)) >= 0);
    }
    RUN_UNTIL(fixture, fixture->ended == 1000);
    for (int i = 0; i < 1000; i++) {
        snprintf(text, sizeof(text), "request %d", i);
        assert_int_equal(fixture->calls[i].replies, 1);
        assert_int_equal(fixture->calls[i].payload_len, strlen(text));
        assert_memory_equal(fixture->calls[i].payload, text, strlen(text));
        assert_false(fixture->calls[i].has_reply_subject);
    }
    assert_int_equal(counters(fixture).in_flight, 0);
    assert_int_equal(counters(fixture).replies, 1000);
    close_client(fixture);
    stop_worker(&worker);
    test_server_stop(&server);
}

static void headers_and_reply_subject_come_through(void **state)
{
    struct test_server server;
    struct worker worker;
    struct fixture *fixture;

    (void)state;
    test_server_start(&server, "");
    start_worker(&worker, server.url, "head", answer_with_header);
    fixture = connect_client(server.url, &default_options);
    assert_true(request(fixture, 0, "head", STR_LIT("")) >= 0);
    RUN_UNTIL(fixture, fixture->ended == 1);
    assert_string_equal(fixture->calls[0].block, "NATS/1.0\r\nMetropolis-Status: 201\r\n\r\n");
    assert_int_equal(fixture->calls[0].payload_len, 4);
    assert_true(fixture->calls[0].has_reply_subject);
    close_client(fixture);
    stop_worker(&worker);
    test_server_stop(&server);
}

/* Larger than the read buffer, and split over many reads. */
static void bodies_up_to_the_limit_of_the_server_pass(void **state)
{
    static const size_t sizes[] = {0, 1, 65535, 65536, 65537, 200000};
    enum { COUNT = sizeof(sizes) / sizeof(sizes[0]) };
    struct test_server server;
    struct worker worker;
    struct fixture *fixture;
    size_t most;
    char *body;

    (void)state;
    test_server_start(&server, "max_payload: 3145728");
    start_worker(&worker, server.url, "echo", echo);
    fixture = connect_client(server.url, &default_options);
    assert_int_equal(nats_client_max_payload(fixture->client), 3145728);
    most = 3145728 - BLOCK.len;
    body = malloc(most + 1);
    for (size_t i = 0; i <= most; i++)
        body[i] = (char)(i * 31 >> 3);
    for (int i = 0; i < COUNT; i++)
        assert_true(request(fixture, i, "echo", str_make(body + i, sizes[i])) >= 0);
    RUN_UNTIL(fixture, fixture->ended == COUNT);
    assert_int_equal(request(fixture, COUNT, "echo", str_make(body, most + 1)), -EMSGSIZE);
    assert_true(request(fixture, COUNT, "echo", str_make(body, most)) >= 0);
    RUN_UNTIL(fixture, fixture->ended == COUNT + 1);
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(fixture->calls[i].payload_len, sizes[i]);
        assert_memory_equal(fixture->calls[i].payload, body + i, sizes[i]);
    }
    assert_int_equal(fixture->calls[COUNT].payload_len, most);
    assert_memory_equal(fixture->calls[COUNT].payload, body, most);
    assert_int_equal(fixture->downs, 0);
    free(body);
    close_client(fixture);
    stop_worker(&worker);
    test_server_stop(&server);
}

static void no_responders_is_told_at_once_and_for_that_request(void **state)
{
    struct test_server server;
    struct worker worker;
    struct fixture *fixture;

    (void)state;
    test_server_start(&server, "");
    start_worker(&worker, server.url, "silent", keep_silent);
    fixture = connect_client(server.url, &default_options);
    assert_true(request(fixture, 0, "silent", STR_LIT("")) >= 0);
    assert_true(request(fixture, 1, "nobody.home", STR_LIT("")) >= 0);
    RUN_UNTIL(fixture, fixture->ended == 1);
    assert_int_equal(fixture->calls[1].replies, 1);
    assert_memory_equal(fixture->calls[1].block, "NATS/1.0 503", 12);
    assert_int_equal(fixture->calls[1].payload_len, 0);
    assert_int_equal(fixture->calls[0].replies, 0);
    close_client(fixture);
    stop_worker(&worker);
    test_server_stop(&server);
}

static void only_the_first_true_reply_counts(void **state)
{
    struct test_server server;
    struct worker worker, silent;
    struct fixture *fixture;

    (void)state;
    test_server_start(&server, "");
    start_worker(&worker, server.url, "much", answer_too_much);
    start_worker(&silent, server.url, "silent", keep_silent);
    fixture = connect_client(server.url, &default_options);
    assert_true(request(fixture, 0, "much", STR_LIT("")) >= 0);
    RUN_UNTIL(fixture, counters(fixture).late == 2);
    assert_int_equal(fixture->calls[0].replies, 1);
    assert_memory_equal(fixture->calls[0].payload, "first", 5);

    /* A reply after the owner has gone, though the slot serves another request by now. */
    assert_true(request(fixture, 1, "silent", STR_LIT("")) >= 0);
    RUN_UNTIL(fixture, atomic_load(&silent.seen) == 1);
    nats_client_forget(fixture->client, fixture->calls[1].slot, (struct str){0});
    assert_int_equal(request(fixture, 2, "silent", STR_LIT("")), fixture->calls[1].slot);
    natsConnection_PublishString(silent.connection, silent.inbox, "late");
    natsConnection_Flush(silent.connection);
    RUN_UNTIL(fixture, counters(fixture).late == 3);
    assert_int_equal(fixture->calls[1].replies, 0);
    assert_int_equal(fixture->calls[2].replies, 0);
    close_client(fixture);
    assert_int_equal(atomic_load(&silent.seen) >= 1, 1);
    stop_worker(&silent);
    stop_worker(&worker);
    test_server_stop(&server);
}

static void past_the_limit_of_requests_is_busy(void **state)
{
    struct nats_client_options options = default_options;
    struct test_server server;
    struct worker worker;
    struct fixture *fixture;

    (void)state;
    options.in_flight_max = 2;
    test_server_start(&server, "");
    start_worker(&worker, server.url, "silent", keep_silent);
    fixture = connect_client(server.url, &options);
    assert_true(request(fixture, 0, "silent", STR_LIT("")) >= 0);
    assert_true(request(fixture, 1, "silent", STR_LIT("")) >= 0);
    assert_int_equal(request(fixture, 2, "silent", STR_LIT("")), -EBUSY);
    nats_client_forget(fixture->client, fixture->calls[0].slot, (struct str){0});
    assert_true(request(fixture, 2, "silent", STR_LIT("")) >= 0);
    close_client(fixture);
    stop_worker(&worker);
    test_server_stop(&server);
}

/* ---- when the server goes ---- */

static void a_killed_server_leaves_no_request_behind_and_nothing_is_replayed(void **state)
{
    struct test_server server;
    struct worker worker;
    struct fixture *fixture;

    (void)state;
    test_server_start(&server, "");
    start_worker(&worker, server.url, "silent", keep_silent);
    fixture = connect_client(server.url, &default_options);
    for (int i = 0; i < 10; i++)
        assert_true(request(fixture, i, "silent", STR_LIT("")) >= 0);
    RUN_UNTIL(fixture, atomic_load(&worker.seen) == 10);
    test_server_kill(&server);
    RUN_UNTIL(fixture, fixture->ended == 10);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(fixture->calls[i].failures, 1);
        assert_int_equal(fixture->calls[i].failure, NATS_FAILURE_LOST);
    }
    assert_false(fixture->connected);
    assert_int_equal(request(fixture, 10, "silent", STR_LIT("")), -ENOTCONN);
    stop_worker(&worker);

    test_server_restart(&server);
    start_worker(&worker, server.url, "silent", keep_silent);
    RUN_UNTIL(fixture, fixture->connected);
    run_for(fixture, 100);
    assert_int_equal(atomic_load(&worker.seen), 0);
    assert_true(request(fixture, 11, "silent", STR_LIT("")) >= 0);
    RUN_UNTIL(fixture, atomic_load(&worker.seen) == 1);
    assert_int_equal(counters(fixture).connects, 2);
    assert_int_equal(counters(fixture).disconnects, 1);
    close_client(fixture);
    stop_worker(&worker);
    test_server_stop(&server);
}

/* What the kernel took may have run; what was still here cannot have. */
static void a_stalled_server_meets_a_limit_and_unsent_requests_are_known(void **state)
{
    struct nats_client_options options = default_options;
    struct test_server server;
    struct fixture *fixture;
    static char body[32 * 1024];
    unsigned accepted = 0, not_sent = 0, lost = 0;
    size_t allocated;

    (void)state;
    options.pending_bytes_max = 1024 * 1024;
    test_server_start(&server, "");
    fixture = connect_client(server.url, &options);
    test_server_signal(&server, SIGSTOP);
    for (int i = 0; i < CALLS_MAX; i++) {
        if (request(fixture, (int)accepted, "any", str_make(body, sizeof(body))) == -EBUSY)
            break;
        accepted++;
        uv_run(&fixture->loop, UV_RUN_NOWAIT);
    }
    assert_true(accepted < CALLS_MAX - 1);
    assert_true(counters(fixture).pending_bytes <= options.pending_bytes_max);
    assert_true(counters(fixture).pending_bytes > options.pending_bytes_max / 2);
    allocated = mallinfo2().uordblks + mallinfo2().hblkhd;
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(request(fixture, CALLS_MAX - 1, "any", str_make(body, sizeof(body))),
                         -EBUSY);
        uv_run(&fixture->loop, UV_RUN_NOWAIT);
    }
    assert_true(mallinfo2().uordblks + mallinfo2().hblkhd <= allocated + 4096);

    test_server_kill(&server);
    RUN_UNTIL(fixture, fixture->ended == accepted);
    for (unsigned i = 0; i < accepted; i++) {
        assert_int_equal(fixture->calls[i].failures, 1);
        not_sent += fixture->calls[i].failure == NATS_FAILURE_NOT_SENT;
        lost += fixture->calls[i].failure == NATS_FAILURE_LOST;
    }
    assert_int_equal(not_sent + lost, accepted);
    assert_true(not_sent >= options.pending_bytes_max / sizeof(body) / 2);
    assert_true(lost >= 1);
    /* In order: nothing that left after something that did not. */
    assert_int_equal(fixture->calls[0].failure, NATS_FAILURE_LOST);
    assert_int_equal(fixture->calls[accepted - 1].failure, NATS_FAILURE_NOT_SENT);
    close_client(fixture);
    test_server_stop(&server);
}

static void a_server_that_answers_no_ping_is_left(void **state)
{
    struct nats_client_options options = default_options;
    struct test_server server;
    struct fixture *fixture;

    (void)state;
    options.ping_interval_ms = 50;
    test_server_start(&server, "");
    fixture = connect_client(server.url, &options);
    run_for(fixture, 300);
    assert_int_equal(fixture->downs, 0); /* it does answer */
    test_server_signal(&server, SIGSTOP);
    RUN_UNTIL(fixture, fixture->downs == 1);
    assert_non_null(strstr(fixture->detail, "ping"));
    test_server_signal(&server, SIGCONT);
    RUN_UNTIL(fixture, fixture->connected);
    close_client(fixture);
    test_server_stop(&server);
}

static void another_server_of_the_list_takes_over(void **state)
{
    struct test_server servers[2];
    struct fixture *fixture;
    char urls[160];

    (void)state;
    test_server_start(&servers[0], "");
    test_server_start(&servers[1], "");
    snprintf(urls, sizeof(urls), "%s, %s", servers[0].url, servers[1].url);
    fixture = connect_client(urls, &default_options);
    for (int i = 0; i < 4; i++) {
        int on = strstr(fixture->detail, servers[0].url + strlen("nats://")) ? 0 : 1;

        assert_non_null(strstr(fixture->detail, servers[on].url + strlen("nats://")));
        test_server_kill(&servers[on]);
        RUN_UNTIL(fixture, !fixture->connected);
        RUN_UNTIL(fixture, fixture->connected);
        assert_non_null(strstr(fixture->detail, servers[!on].url + strlen("nats://")));
        test_server_restart(&servers[on]);
    }
    close_client(fixture);
    test_server_stop(&servers[0]);
    test_server_stop(&servers[1]);
}

/* SIGUSR2 puts a server into lame duck mode. */
static void a_server_in_lame_duck_mode_is_left_without_a_lost_request(void **state)
{
    static const char config[] = "lame_duck_duration: \"30s\"\nlame_duck_grace_period: \"10s\"\n";
    struct test_server servers[2];
    struct worker workers[2];
    struct fixture *fixture;
    char urls[160];
    int on;

    (void)state;
    test_server_start(&servers[0], config);
    test_server_start(&servers[1], config);
    snprintf(urls, sizeof(urls), "%s,%s", servers[0].url, servers[1].url);
    fixture = connect_client(urls, &default_options);
    on = strstr(fixture->detail, servers[0].url + strlen("nats://")) ? 0 : 1;
    start_worker(&workers[on], servers[on].url, "work", keep_silent);
    start_worker(&workers[!on], servers[!on].url, "work", echo);
    for (int i = 0; i < 3; i++)
        assert_true(request(fixture, i, "work", STR_LIT("")) >= 0);
    RUN_UNTIL(fixture, atomic_load(&workers[on].seen) == 3);
    test_server_signal(&servers[on], SIGUSR2);

    /* Never without a connection: the next one is there before the last one goes. */
    RUN_UNTIL(fixture, fixture->ups == 2 || !nats_client_connected(fixture->client));
    assert_int_equal(fixture->ups, 2);
    assert_non_null(strstr(fixture->detail, servers[!on].url + strlen("nats://")));
    assert_true(request(fixture, 3, "work", STR_LIT("new")) >= 0);
    RUN_UNTIL(fixture, fixture->calls[3].replies == 1);

    /* A reply, a request that nobody waits for any more, and one that its server takes along. */
    assert_int_equal(fixture->ended, 1);
    natsConnection_PublishString(workers[on].connection, workers[on].inbox, "in time");
    natsConnection_Flush(workers[on].connection);
    RUN_UNTIL(fixture, fixture->calls[2].replies == 1);
    nats_client_forget(fixture->client, fixture->calls[1].slot, (struct str){0});
    test_server_kill(&servers[on]);
    RUN_UNTIL(fixture, fixture->calls[0].failures == 1);
    assert_int_equal(fixture->calls[0].failure, NATS_FAILURE_LOST);
    assert_true(request(fixture, 4, "work", STR_LIT("")) >= 0);
    RUN_UNTIL(fixture, fixture->calls[4].replies == 1);
    assert_int_equal(fixture->downs, 0);
    assert_int_equal(counters(fixture).disconnects, 1);
    assert_int_equal(counters(fixture).in_flight, 0);
    close_client(fixture);
    stop_worker(&workers[0]);
    stop_worker(&workers[1]);
    test_server_stop(&servers[0]);
    test_server_stop(&servers[1]);
}

/* After the grace period a server without clients ends at once, else it spreads their closing. */
static void a_server_in_lame_duck_mode_is_hung_up_on_when_nothing_is_in_flight(void **state)
{
    static const char config[] = "lame_duck_duration: \"99s\"\nlame_duck_grace_period: \"1s\"\n";
    struct test_server servers[2];
    struct fixture *fixture;
    char urls[160];
    int on;

    (void)state;
    test_server_start(&servers[0], config);
    test_server_start(&servers[1], config);
    snprintf(urls, sizeof(urls), "%s,%s", servers[0].url, servers[1].url);
    fixture = connect_client(urls, &default_options);
    on = strstr(fixture->detail, servers[0].url + strlen("nats://")) ? 0 : 1;
    test_server_signal(&servers[on], SIGUSR2);
    RUN_UNTIL(fixture, waitpid(servers[on].pid, NULL, WNOHANG) == servers[on].pid);
    servers[on].pid = 0;
    assert_true(fixture->connected);
    assert_int_equal(fixture->downs, 0);
    close_client(fixture);
    test_server_stop(&servers[0]);
    test_server_stop(&servers[1]);
}

/* ---- permissions and logging in ---- */

static void a_denied_subject_fails_its_requests_and_no_others(void **state)
{
    struct test_server server;
    struct worker worker;
    struct fixture *fixture;
    char url[96];
    int slot;

    (void)state;
    test_server_start(&server, "authorization { users = [\n"
                               " {user: w, password: w}\n"
                               " {user: \"g w\", password: \"p@:/,\", permissions: {\n"
                               "   publish: [\"orders.>\"], subscribe: [\"_METROPOLIS.>\"]}}\n"
                               "]}\n");
    snprintf(url, sizeof(url), "nats://w:w@127.0.0.1:%d", server.port);
    start_worker(&worker, url, "orders.get", keep_silent);
    snprintf(url, sizeof(url), "nats://g%%20w:p%%40%%3a%%2F%%2C@127.0.0.1:%d", server.port);
    fixture = connect_client(url, &default_options);
    assert_true(request(fixture, 0, "orders.get", STR_LIT("")) >= 0);
    assert_true(request(fixture, 1, "secret.\"quoted\\\"", STR_LIT("")) >= 0);
    assert_true(request(fixture, 2, "secret.\"quoted\\\"", STR_LIT("")) >= 0);
    assert_true(request(fixture, 3, "secret.thing", STR_LIT("")) >= 0);
    RUN_UNTIL(fixture, fixture->ended == 3);
    for (int i = 1; i <= 3; i++) {
        assert_int_equal(fixture->calls[i].failures, 1);
        assert_int_equal(fixture->calls[i].failure, NATS_FAILURE_DENIED);
    }
    RUN_UNTIL(fixture, atomic_load(&worker.seen) == 1);
    natsConnection_PublishString(worker.connection, worker.inbox, "fine");
    natsConnection_Flush(worker.connection);
    RUN_UNTIL(fixture, fixture->calls[0].replies == 1);
    assert_int_equal(counters(fixture).denied, 3);
    assert_int_equal(fixture->downs, 0);
    assert_int_equal(fixture->denials, 0);
    assert_true((slot = request(fixture, 4, "orders.get", STR_LIT(""))) >= 0);
    nats_client_forget(fixture->client, slot, STR_LIT("secret.cancel"));
    RUN_UNTIL(fixture, fixture->denials == 1);
    assert_int_equal(counters(fixture).denied, 4);
    close_client(fixture);
    stop_worker(&worker);
    test_server_stop(&server);
}

static void a_forbidden_inbox_is_not_connected_and_says_so(void **state)
{
    struct test_server server;
    struct fixture *fixture;
    char url[96];

    (void)state;
    test_server_start(&server, "authorization { users = [ {user: g, password: g, permissions: {\n"
                               "   publish: [\">\"], subscribe: [\"_INBOX.>\"]}} ]}\n");
    snprintf(url, sizeof(url), "nats://g:g@127.0.0.1:%d", server.port);
    fixture = open_client(url, &default_options);
    RUN_UNTIL(fixture, fixture->downs > 0);
    run_for(fixture, 300);
    assert_int_equal(fixture->ups, 0);
    assert_int_equal(fixture->downs, 1); /* told once, not with every attempt */
    assert_non_null(strstr(fixture->detail, "Permissions Violation for Subscription"));
    close_client(fixture);
    test_server_stop(&server);
}

static void count_message(natsConnection *connection, natsSubscription *subscription,
                          natsMsg *message, void *closure)
{
    struct worker *worker = closure;

    (void)connection;
    (void)subscription;
    if (natsMsg_GetDataLength(message) == 0 && !natsMsg_GetReply(message))
        worker->seen++;
    natsMsg_Destroy(message);
}

static void who_got_a_request_is_told_when_it_is_forgotten(void **state)
{
    struct test_server server;
    struct worker worker, listener;
    struct fixture *fixture;

    (void)state;
    test_server_start(&server, "");
    start_worker(&worker, server.url, "work", keep_silent);
    start_worker(&listener, server.url, "metropolis.cancel.*", count_message);
    fixture = connect_client(server.url, &default_options);
    for (int i = 0; i < 3; i++)
        assert_true(request(fixture, i, "work", STR_LIT("x")) >= 0);
    RUN_UNTIL(fixture, worker.seen == 3);
    nats_client_forget(fixture->client, fixture->calls[0].slot, STR_LIT("metropolis.cancel.a"));
    nats_client_forget(fixture->client, fixture->calls[1].slot, (struct str){0});
    nats_client_forget(fixture->client, fixture->calls[2].slot, STR_LIT("metropolis.cancel.b"));
    RUN_UNTIL(fixture, listener.seen == 2);
    assert_int_equal(counters(fixture).cancels, 2);
    stop_worker(&listener);
    stop_worker(&worker);
    close_client(fixture);
    test_server_stop(&server);
}

static void replies_have_a_budget(void **state)
{
    struct nats_request large = {.subject = STR_LIT("work"), .block = BLOCK};
    struct nats_client_options options = default_options;
    struct test_server server;
    struct worker worker;
    struct fixture *fixture;
    int slot;

    (void)state;
    test_server_start(&server, "");
    start_worker(&worker, server.url, "work", keep_silent);
    options.reply_bytes_max = 1000;
    fixture = connect_client(server.url, &options);
    large.owner = &fixture->calls[0];
    large.reply_bytes = 5000;
    slot = nats_client_request(fixture->client, &large); /* alone, it may be larger than all */
    assert_true(slot >= 0);
    large.reply_bytes = 1;
    assert_int_equal(nats_client_request(fixture->client, &large), -ENOBUFS);
    assert_int_equal(counters(fixture).reserved_bytes, 5000);
    nats_client_forget(fixture->client, slot, (struct str){0});
    assert_int_equal(nats_client_reserved(fixture->client), 0);
    large.reply_bytes = 500;
    for (int i = 0; i < 2; i++)
        assert_true(nats_client_request(fixture->client, &large) >= 0);
    assert_int_equal(nats_client_request(fixture->client, &large), -ENOBUFS);
    test_server_kill(&server);
    RUN_UNTIL(fixture, fixture->calls[0].failures == 2);
    assert_int_equal(nats_client_reserved(fixture->client), 0);
    stop_worker(&worker);
    close_client(fixture);
    test_server_stop(&server);
}

static void a_refused_connection_is_called_so(void **state)
{
    struct test_server server;
    struct fixture *fixture;

    (void)state;
    test_server_start(&server, "");
    test_server_kill(&server);
    fixture = open_client(server.url, &default_options);
    RUN_UNTIL(fixture, fixture->downs > 0);
    assert_non_null(strstr(fixture->detail, "connection refused"));
    close_client(fixture);
    test_server_stop(&server);
}

static void a_refused_login_says_so_without_the_password(void **state)
{
    struct test_server server;
    struct fixture *fixture;
    char url[96];

    (void)state;
    test_server_start(&server, "authorization { token: \"s3cret\" }\n");
    snprintf(url, sizeof(url), "nats://wr0ng@127.0.0.1:%d", server.port);
    fixture = open_client(url, &default_options);
    RUN_UNTIL(fixture, fixture->downs > 0);
    assert_non_null(strstr(fixture->detail, "Authorization Violation"));
    assert_null(strstr(fixture->detail, "wr0ng"));
    close_client(fixture);
    snprintf(url, sizeof(url), "nats://s3cret@127.0.0.1:%d", server.port);
    fixture = connect_client(url, &default_options);
    close_client(fixture);
    test_server_stop(&server);
}

static void a_credentials_file_logs_in(void **state)
{
    struct nats_client_options options = default_options;
    struct test_server server;
    struct fixture *fixture;
    char config[4096] = "";
    FILE *file = fopen(TEST_DATA "/operator.conf", "r");

    (void)state;
    assert_non_null(file);
    config[fread(config, 1, sizeof(config) - 1, file)] = '\0';
    fclose(file);
    test_server_start(&server, config);
    options.creds_file = STR_LIT(TEST_DATA "/gateway.creds");
    fixture = connect_client(server.url, &options);
    assert_true(request(fixture, 0, "nobody", STR_LIT("")) >= 0);
    RUN_UNTIL(fixture, fixture->ended == 1);
    close_client(fixture);
    options.creds_file = STR_LIT("/nonexistent");
    fixture = open_client(server.url, &options);
    RUN_UNTIL(fixture, fixture->downs == 1);
    assert_non_null(strstr(fixture->detail, "credentials file"));
    close_client(fixture);
    test_server_stop(&server);
}

static void copy_file(const char *from, const char *to)
{
    char text[8192];
    FILE *in = fopen(from, "r"), *out = fopen(to, "w");
    size_t len;

    assert_true(in && out);
    len = fread(text, 1, sizeof(text), in);
    assert_int_equal(fwrite(text, 1, len, out), len);
    fclose(in);
    fclose(out);
}

static void credentials_that_were_renewed_count_at_the_next_connection(void **state)
{
    struct nats_client_options options = default_options;
    struct test_server server;
    struct fixture *fixture;
    char config[4096] = "", creds[128];
    FILE *file = fopen(TEST_DATA "/operator.conf", "r");

    (void)state;
    assert_non_null(file);
    config[fread(config, 1, sizeof(config) - 1, file)] = '\0';
    fclose(file);
    test_server_start(&server, config);
    snprintf(creds, sizeof(creds), "%s/user.creds", server.directory);
    copy_file(TEST_DATA "/gateway.creds", creds);
    options.creds_file = str_from(creds);
    fixture = connect_client(server.url, &options);
    copy_file(TEST_DATA "/operator.conf", creds); /* no credentials at all */
    test_server_kill(&server);
    test_server_restart(&server);
    run_for(fixture, 500); /* several attempts */
    assert_int_equal(fixture->ups, 1);
    assert_false(fixture->connected);
    copy_file(TEST_DATA "/gateway.creds", creds);
    RUN_UNTIL(fixture, fixture->ups == 2);
    close_client(fixture);
    test_server_stop(&server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_request_gets_its_own_reply),
        cmocka_unit_test(headers_and_reply_subject_come_through),
        cmocka_unit_test(bodies_up_to_the_limit_of_the_server_pass),
        cmocka_unit_test(no_responders_is_told_at_once_and_for_that_request),
        cmocka_unit_test(only_the_first_true_reply_counts),
        cmocka_unit_test(past_the_limit_of_requests_is_busy),
        cmocka_unit_test(a_killed_server_leaves_no_request_behind_and_nothing_is_replayed),
        cmocka_unit_test(a_stalled_server_meets_a_limit_and_unsent_requests_are_known),
        cmocka_unit_test(a_server_that_answers_no_ping_is_left),
        cmocka_unit_test(another_server_of_the_list_takes_over),
        cmocka_unit_test(a_server_in_lame_duck_mode_is_left_without_a_lost_request),
        cmocka_unit_test(a_server_in_lame_duck_mode_is_hung_up_on_when_nothing_is_in_flight),
        cmocka_unit_test(a_denied_subject_fails_its_requests_and_no_others),
        cmocka_unit_test(a_forbidden_inbox_is_not_connected_and_says_so),
        cmocka_unit_test(who_got_a_request_is_told_when_it_is_forgotten),
        cmocka_unit_test(replies_have_a_budget),
        cmocka_unit_test(a_refused_connection_is_called_so),
        cmocka_unit_test(a_refused_login_says_so_without_the_password),
        cmocka_unit_test(a_credentials_file_logs_in),
        cmocka_unit_test(credentials_that_were_renewed_count_at_the_next_connection),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
