/*
 * feed: one connection (dataplane/nats) on a loop of its own.
 *
 * Inboxes: <prefix>.<random>.a.<id> for answers, one subscription as long as the connection lives;
 * <prefix>.<random>.m.<id> for the messages of one consumer, subscribed per consumer, so that the
 * server sees an abandoned one without interest and deletes it. What still comes for an old one is
 * told from the new by the subscription's number.
 *
 * Messages are handed on where they lie in the connection's buffer. There is no queue, so nothing
 * here needs a limit for a slow reader: the socket is not read before its messages are done with.
 */
#include "dataplane/table/feed.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <uv.h>

#include "dataplane/nats/connection.h"
#include "dataplane/nats/servers.h"
#include "lib/base/log.h"
#include "lib/base/random.h"

enum {
    CONNECT_TIMEOUT_MS = 2000,
    PING_INTERVAL_MS = 5000,
    PENDING_BYTES_MAX = 4 * 1024 * 1024, /* an ack has many rejections, a question few bytes */
    MESSAGE_LEAST = 64 * 1024 * 1024,    /* no server takes more, so none stores more */
    INBOX_MAX = 192,
};

struct feed {
    uv_loop_t loop;
    uv_timer_t timer;
    uv_async_t wake;
    struct feed_handler handler;
    struct servers servers;
    struct connection_options connection_options;
    struct connection_handler connection_handler;
    struct connection *connection; /* NULL: none */
    char inbox[INBOX_MAX], answers[INBOX_MAX];
    uint32_t last_id;
    uint64_t followed; /* number of the consumer's subscription; 0: none */
    struct random_source random;
};

uint64_t feed_now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- what the connection tells ---- */

/* An answer comes with the subject that it was asked for; a consumer's messages come with those
 * that they were published with, so there the subscription tells. */
static void on_message(void *context, const struct proto_operation *message)
{
    struct feed *feed = context;
    struct str answers = str_from(feed->answers);
    uint64_t id;

    if (feed->followed && message->sid == feed->followed) {
        feed->handler.message(feed->handler.context, message);
        return;
    }
    if (str_starts_with(message->subject, answers) &&
        str_read_decimal(str_after(message->subject, answers.len), &id))
        feed->handler.answer(feed->handler.context, (uint32_t)id, message);
}

static void on_ready(void *context, struct connection *connection)
{
    struct feed *feed = context;

    (void)connection;
    feed->handler.changed(feed->handler.context, NULL);
}

static void on_info(void *context, struct connection *connection, const struct handshake_info *info,
                    bool believed)
{
    struct feed *feed = context;

    if (info->connect_url_count > 0)
        servers_discover(&feed->servers, &connection->server, believed, info->connect_urls,
                         info->connect_url_count, &feed->random);
}

static void on_denied(void *context, struct connection *connection, struct str subject,
                      bool is_reply)
{
    struct feed *feed = context;

    (void)connection, (void)is_reply;
    log_warn("the table's user may not publish in NATS", LOG_STR("subject", subject));
    feed->handler.denied(feed->handler.context, subject);
}

static void on_down(void *context, struct connection *connection, const char *reason)
{
    struct feed *feed = context;

    assert(connection == feed->connection);
    feed_disconnect(feed);
    feed->handler.changed(feed->handler.context, reason);
}

/* ---- its life ---- */

static void set_options(struct feed *feed, const struct feed_options *options)
{
    char name[23];

    random_text(&feed->random, name, sizeof(name));
    snprintf(feed->inbox, sizeof(feed->inbox), "%.128s.%s", options->inbox_prefix, name);
    snprintf(feed->answers, sizeof(feed->answers), "%.160s.a.", feed->inbox);
    feed->connection_options = (struct connection_options){
        .name = options->name,
        .creds_file = options->creds_file,
        .tls = {options->ca_file, options->cert_file, options->key_file},
        .tls_first = options->tls_first,
        .inbox_prefix = str_from(feed->answers),
        .pending_bytes_max = PENDING_BYTES_MAX,
        .message_least = MESSAGE_LEAST,
        .connect_timeout_ms = CONNECT_TIMEOUT_MS,
        .ping_interval_ms = PING_INTERVAL_MS,
    };
    feed->connection_handler = (struct connection_handler){
        .ready = on_ready,
        .info = on_info,
        .message = on_message,
        .denied = on_denied,
        .down = on_down,
        .context = feed,
    };
}

/* The wait is over. libuv before 1.45 runs timers that are due before it polls, and would then wait
 * for the next event. */
static void on_time(uv_timer_t *timer)
{
    uv_stop(timer->loop);
}

int feed_new(const struct feed_options *options, const struct feed_handler *handler,
             struct feed **ret_feed, char *ret_error, size_t error_size)
{
    struct feed *feed = calloc(1, sizeof(*feed));
    int result = -ENOMEM;

    if (!feed)
        return -ENOMEM;
    random_init(&feed->random);
    feed->handler = *handler;
    set_options(feed, options);
    result = servers_init(&feed->servers, str_from(options->servers), &feed->random, ret_error,
                          error_size);
    if (result)
        goto fail;
    result = uv_loop_init(&feed->loop);
    if (result)
        goto fail_servers;
    result = uv_async_init(&feed->loop, &feed->wake, NULL);
    if (result)
        goto fail_loop;
    uv_timer_init(&feed->loop, &feed->timer);
    *ret_feed = feed;
    return 0;
fail_loop:
    uv_loop_close(&feed->loop);
fail_servers:
    servers_done(&feed->servers);
fail:
    free(feed);
    return result;
}

void feed_free(struct feed *feed)
{
    if (!feed)
        return;
    feed_disconnect(feed);
    uv_close((uv_handle_t *)&feed->timer, NULL);
    uv_close((uv_handle_t *)&feed->wake, NULL);
    uv_run(&feed->loop, UV_RUN_DEFAULT);
    uv_loop_close(&feed->loop);
    servers_done(&feed->servers);
    free(feed);
}

int feed_connect(struct feed *feed)
{
    const struct server *server;
    bool around;

    assert(!feed->connection);
    server = servers_next(&feed->servers, &around);
    feed->connection = connection_open(&feed->loop, &feed->connection_options, server,
                                       random_u64(&feed->random), &feed->connection_handler);
    return feed->connection ? 0 : -ENOMEM;
}

static void on_closed(void *context)
{
    (void)context; /* the loop no longer holds anything of it */
}

void feed_disconnect(struct feed *feed)
{
    struct connection *connection = feed->connection;

    feed->connection = NULL;
    feed->followed = 0;
    if (connection)
        connection_close(connection, on_closed, NULL);
}

/* ---- messages ---- */

int feed_follow(struct feed *feed, char *ret_subject, size_t size)
{
    uint32_t id = ++feed->last_id;
    int result;

    feed_unfollow(feed);
    snprintf(ret_subject, size, "%s.m.%u", feed->inbox, id);
    /* Number 1 is the answers' subscription. */
    result = buffer_printf(link_out(feed->connection->link), "SUB %s %u\r\n", ret_subject, id + 1);
    if (!result)
        feed->followed = id + 1;
    return result;
}

void feed_unfollow(struct feed *feed)
{
    /* Without room for it the server goes on telling, and is not listened to. */
    if (feed->followed)
        buffer_printf(link_out(feed->connection->link), "UNSUB %llu\r\n",
                      (unsigned long long)feed->followed);
    feed->followed = 0;
}

int feed_ask(struct feed *feed, struct str subject, struct str data, uint32_t *ret_id)
{
    char digits[STR_DECIMAL_MAX];

    /* Else the server would hang up. */
    if (data.len > feed->connection->max_payload)
        return -EMSGSIZE;
    *ret_id = ++feed->last_id;
    return proto_write_publish(link_out(feed->connection->link), subject, str_from(feed->answers),
                               str_decimal(*ret_id, digits), (struct str){0}, data);
}

int feed_publish(struct feed *feed, struct str subject)
{
    const struct str none = {0};

    return proto_write_publish(link_out(feed->connection->link), subject, none, none, none, none);
}

/* ---- the thread's one place to wait ---- */

void feed_wait(struct feed *feed, uint64_t deadline_ms)
{
    const struct connection *connection = feed->connection;
    uint64_t now_ms = feed_now_ms();

    if (connection)
        connection_flush(feed->connection);
    if (feed->connection != connection)
        return; /* gone, and told so */
    uv_update_time(&feed->loop);
    uv_timer_start(&feed->timer, on_time, deadline_ms > now_ms ? deadline_ms - now_ms : 0, 0);
    uv_run(&feed->loop, UV_RUN_ONCE);
}

void feed_wake(struct feed *feed)
{
    uv_async_send(&feed->wake);
}
