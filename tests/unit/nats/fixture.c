/* A client under test and its workers; see fixture.h. */
#include "tests/unit/nats/fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- the client's side ---- */

static void on_reply(void *owner, const struct nats_reply *reply)
{
    struct call *call = owner;

    call->replies++;
    call->fixture->ended++;
    call->has_reply_subject = reply->has_reply_subject;
    snprintf(call->block, sizeof(call->block), STR_FMT, STR_ARG(reply->block));
    free(call->payload);
    call->payload = malloc(reply->payload.len + 1);
    memcpy(call->payload, reply->payload.ptr, reply->payload.len);
    call->payload_len = reply->payload.len;
}

static void on_failed(void *owner, enum nats_failure failure)
{
    struct call *call = owner;

    call->failures++;
    call->fixture->ended++;
    call->failure = failure;
}

static void on_changed(void *context, bool connected, struct str detail)
{
    struct fixture *fixture = context;

    fixture->connected = connected;
    fixture->ups += connected;
    fixture->downs += !connected;
    snprintf(fixture->detail, sizeof(fixture->detail), STR_FMT, STR_ARG(detail));
}

static bool on_denied(void *context, struct str subject)
{
    struct fixture *fixture = context;

    if (!str_equal(subject, STR_LIT("secret.cancel")))
        return false;
    fixture->denials++;
    return true;
}

static void on_tick(uv_timer_t *timer)
{
    (void)timer;
}

const struct nats_client_options default_options = {
    .name = {"test", 4},
    .inbox_prefix = {"_METROPOLIS", 11},
    .in_flight_max = CALLS_MAX,
    .pending_bytes_max = 4 * 1024 * 1024,
    .reply_bytes_max = 1024 * 1024,
    .connect_timeout_ms = 5000,
    .ping_interval_ms = 10000,
    .reconnect_min_ms = 10,
    .reconnect_max_ms = 100,
};

struct fixture *open_client(const char *servers, const struct nats_client_options *given)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    struct nats_client_options options = *given;
    char error[256];

    assert_non_null(fixture);
    fixture->handler =
        (struct nats_client_handler){on_reply, on_failed, on_changed, on_denied, fixture};
    options.servers = str_from(servers);
    uv_loop_init(&fixture->loop);
    uv_timer_init(&fixture->loop, &fixture->tick);
    uv_timer_start(&fixture->tick, on_tick, 2, 2);
    for (int i = 0; i < CALLS_MAX; i++)
        fixture->calls[i].fixture = fixture;
    if (nats_client_new(&fixture->loop, &options, &fixture->handler, &fixture->client, error,
                        sizeof(error)))
        fail_msg("%s", error);
    return fixture;
}

void run_for(struct fixture *fixture, unsigned ms)
{
    uint64_t end = uv_hrtime() + ms * 1000000ull;

    while (uv_hrtime() < end)
        uv_run(&fixture->loop, UV_RUN_ONCE);
}

struct fixture *connect_client(const char *servers, const struct nats_client_options *options)
{
    struct fixture *fixture = open_client(servers, options);

    RUN_UNTIL(fixture, fixture->connected);
    assert_true(nats_client_connected(fixture->client));
    return fixture;
}

static void on_closed(void *context)
{
    ((struct fixture *)context)->closed = true;
}

void close_client(struct fixture *fixture)
{
    nats_client_close(fixture->client, on_closed, fixture);
    uv_close((uv_handle_t *)&fixture->tick, NULL);
    RUN_UNTIL(fixture, fixture->closed);
    uv_run(&fixture->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&fixture->loop), 0); /* nothing was left on the loop */
    for (int i = 0; i < CALLS_MAX; i++)
        free(fixture->calls[i].payload);
    free(fixture);
}

int request(struct fixture *fixture, int call, const char *subject, struct str payload)
{
    int slot = nats_client_request(fixture->client,
                                   &(struct nats_request){.subject = str_from(subject),
                                                          .block = BLOCK,
                                                          .payload = payload,
                                                          .owner = &fixture->calls[call]});

    fixture->calls[call].slot = slot;
    return slot;
}

struct nats_client_counters counters(const struct fixture *fixture)
{
    struct nats_client_counters result;

    nats_client_count(fixture->client, &result);
    return result;
}

/* ---- the worker's side ---- */

void echo(natsConnection *connection, natsSubscription *subscription, natsMsg *message,
          void *closure)
{
    struct worker *worker = closure;

    (void)subscription;
    snprintf(worker->inbox, sizeof(worker->inbox), "%s", natsMsg_GetReply(message));
    atomic_fetch_add(&worker->seen, 1);
    natsConnection_Publish(connection, natsMsg_GetReply(message), natsMsg_GetData(message),
                           natsMsg_GetDataLength(message));
    natsConnection_Flush(connection);
    natsMsg_Destroy(message);
}

void keep_silent(natsConnection *connection, natsSubscription *subscription, natsMsg *message,
                 void *closure)
{
    struct worker *worker = closure;

    (void)connection, (void)subscription;
    snprintf(worker->inbox, sizeof(worker->inbox), "%s", natsMsg_GetReply(message));
    atomic_fetch_add(&worker->seen, 1);
    natsMsg_Destroy(message);
}

void start_worker(struct worker *worker, const char *url, const char *subject,
                  natsMsgHandler handler)
{
    *worker = (struct worker){0};
    assert_int_equal(natsConnection_ConnectTo(&worker->connection, url), NATS_OK);
    assert_int_equal(natsConnection_Subscribe(&worker->subscription, worker->connection, subject,
                                              handler, worker),
                     NATS_OK);
    assert_int_equal(natsConnection_Flush(worker->connection), NATS_OK);
}

void stop_worker(struct worker *worker)
{
    natsSubscription_Destroy(worker->subscription);
    natsConnection_Destroy(worker->connection);
}
