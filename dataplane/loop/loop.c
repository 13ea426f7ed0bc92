/*
 * loop: see loop.h. main makes loops and joins them; between loop_start and loop_join everything
 * but the fields marked shared belongs to the loop's own thread.
 *
 * Leaving: listeners close, then connections as they finish, then the connection to NATS, then the
 * wheel and the async handle; uv_run returns when nothing is left.
 */
#include "dataplane/loop/loop.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "dataplane/exchange.h"
#include "dataplane/loop/listener.h"
#include "lib/base/log.h"

enum {
    /* A server cuts off a connection for which 64 MB wait. */
    NATS_REPLY_BYTES_MAX = 32 * 1024 * 1024,
    SPARE_IDLE_MS = 60000,
};

struct loop {
    const struct settings *settings;
    struct swap *swap;
    unsigned index;
    pthread_t thread;
    bool thread_runs;
    uv_loop_t uv;
    struct http_server server;
    struct exchanges *exchanges;
    struct nats_lanes *nats;
    struct access_log access_log;
    struct route_metrics routes;
    struct listener listeners[SETTINGS_LISTEN_MAX];
    size_t listener_count;
    enum loop_stage stage;
    void (*left)(void *context);
    void *left_context;

    /* shared */
    uv_async_t async;
    _Atomic int told; /* enum loop_stage */
    _Atomic bool was_connected;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t copied;
    bool reachable;         /* async is open */
    uint64_t wanted, given; /* numbers of snapshots */
    struct loop_snapshot snapshot;
    struct route_metrics route_snapshot;
};

/* ---- leaving ---- */

static void on_nats_closed(void *context)
{
    struct loop *loop = context;

    loop->nats = NULL;
    pthread_mutex_lock(&loop->lock);
    loop->reachable = false;
    pthread_cond_broadcast(&loop->copied);
    pthread_mutex_unlock(&loop->lock);
    uv_close((uv_handle_t *)&loop->async, NULL);
    access_log_done(&loop->access_log);
    http_server_done(&loop->server);
}

static void on_emptied(void *context)
{
    struct loop *loop = context;

    if (loop->nats)
        nats_lanes_close(loop->nats, on_nats_closed, loop);
    loop->server.emptied = NULL;
}

static void enter(struct loop *loop, enum loop_stage stage)
{
    while (loop->stage < stage) {
        loop->stage++;
        switch (loop->stage) {
        case LOOP_SERVING:
            break;
        case LOOP_DRAINING:
            http_server_drain(&loop->server);
            break;
        case LOOP_CLOSING:
            for (size_t i = 0; i < loop->listener_count; i++)
                listener_stop(&loop->listeners[i]);
            http_server_stop(&loop->server, on_emptied, loop);
            break;
        case LOOP_LEAVING:
            http_server_abort(&loop->server);
            break;
        }
    }
}

/* ---- messages of other threads ---- */

static void give_snapshot(struct loop *loop)
{
    struct loop_snapshot *snapshot = &loop->snapshot;

    pthread_mutex_lock(&loop->lock);
    if (loop->given != loop->wanted) {
        snapshot->http = loop->server.counters;
        snapshot->open = loop->server.open;
        snapshot->buffered = loop->server.buffered;
        snapshot->unsent = loop->server.unsent;
        snapshot->exchanges = *exchanges_counters(loop->exchanges);
        snapshot->access_log_lost = loop->access_log.lost;
        route_metrics_copy(&loop->route_snapshot, &loop->routes);
        if (loop->nats) {
            nats_lanes_count(loop->nats, &snapshot->nats);
            snapshot->nats_connected = nats_lanes_connected(loop->nats);
        }
        exchanges_version(loop->exchanges, &snapshot->table_number, &snapshot->table_revision);
        loop->given = loop->wanted;
        pthread_cond_broadcast(&loop->copied);
    }
    pthread_mutex_unlock(&loop->lock);
}

static void on_async(uv_async_t *async)
{
    struct loop *loop = async->data;

    exchanges_adopt(loop->exchanges);
    give_snapshot(loop);
    enter(loop, (enum loop_stage)atomic_load(&loop->told));
}

static void on_nats_changed(void *context, bool connected, struct str detail)
{
    struct loop *loop = context;

    if (connected) {
        atomic_store(&loop->was_connected, true);
        log_info("connected to NATS", LOG_U64("loop", loop->index), LOG_STR("server", detail));
    } else {
        log_warn("not connected to NATS", LOG_U64("loop", loop->index), LOG_STR("reason", detail));
    }
}

static bool on_nats_denied(void *context, struct str subject)
{
    struct loop *loop = context;

    return exchange_on_denied(loop->exchanges, subject);
}

static void on_accepted(void *context, int fd, const struct sockaddr *peer)
{
    struct loop *loop = context;

    http_server_accept(&loop->server, fd, peer);
}

/* ---- life ---- */

static int start_nats(struct loop *loop, char *ret_error, size_t error_size)
{
    const struct settings *settings = loop->settings;
    const struct nats_client_handler handler = {
        .reply = exchange_on_reply,
        .failed = exchange_on_failure,
        .changed = on_nats_changed,
        .denied = on_nats_denied,
        .context = loop,
    };
    char name[256];
    const struct nats_client_options options = {
        .servers = str_from(settings->nats),
        .name = str_make(name,
                         (size_t)snprintf(name, sizeof(name), "metropolis-gateway %.100s/%.100s %u",
                                          settings->gateway, settings->pod, loop->index)),
        .inbox_prefix = str_from(settings->nats_inbox_prefix),
        .creds_file = str_from(settings->nats_creds),
        .ca_file = str_from(settings->nats_ca),
        .cert_file = str_from(settings->nats_cert),
        .key_file = str_from(settings->nats_key),
        .tls_first = settings->nats_tls_first,
        .in_flight_max = (uint32_t)settings->in_flight_max,
        .pending_bytes_max = (size_t)settings->nats_pending_max,
        .reply_bytes_max = NATS_REPLY_BYTES_MAX,
        .connect_timeout_ms = 2000,
        .ping_interval_ms = 10000,
        .reconnect_min_ms = 50,
        .reconnect_max_ms = 2000,
    };

    return nats_lanes_new(&loop->uv, &options, &handler, SPARE_IDLE_MS, &loop->nats, ret_error,
                          error_size);
}

int loop_new(const struct settings *settings, struct swap *swap, unsigned index, const int *fds,
             struct loop **ret_loop, char *ret_error, size_t error_size)
{
    struct loop *loop = calloc(1, sizeof(*loop));
    struct http_handler handler = exchange_handler;
    int code;

    snprintf(ret_error, error_size, "no memory or descriptors for a loop");
    if (!loop)
        return -ENOMEM;
    loop->settings = settings;
    loop->swap = swap;
    loop->index = index;
    pthread_mutex_init(&loop->lock, NULL);
    pthread_cond_init(&loop->copied, NULL);
    loop->exchanges = exchanges_new();
    code = loop->exchanges ? uv_loop_init(&loop->uv) : -ENOMEM;
    if (code < 0) {
        exchanges_free(loop->exchanges);
        free(loop);
        return code;
    }
    /* From here on the loop's own way of leaving undoes everything. */
    uv_async_init(&loop->uv, &loop->async, on_async);
    loop->async.data = loop;
    loop->reachable = true;
    handler.context = loop->exchanges;
    http_server_init(&loop->server, &loop->uv, &settings->http, &handler);
    code =
        access_log_init(&loop->access_log, &loop->uv, (enum access_log_format)settings->access_log);
    if (!code)
        code = route_metrics_init(&loop->routes, settings->route_metrics);
    if (!code)
        code = route_metrics_init(&loop->route_snapshot, settings->route_metrics);
    if (!code)
        code = start_nats(loop, ret_error, error_size);
    exchanges_wire(loop->exchanges,
                   &(struct exchange_wiring){.server = &loop->server,
                                             .nats = loop->nats,
                                             .swap = swap,
                                             .loop = index,
                                             .loop_count = (unsigned)settings->loops,
                                             .origin = &settings->origin,
                                             .routes = &loop->routes,
                                             .log = &loop->access_log});
    for (size_t i = 0; !code && i < settings->listen_count; i++)
        code = listener_start(&loop->listeners[loop->listener_count++], &loop->uv, fds[i],
                              on_accepted, loop);
    if (code) {
        loop_free(loop);
        return code;
    }
    *ret_loop = loop;
    return 0;
}

static void *run(void *argument)
{
    struct loop *loop = argument;

    exchanges_adopt(loop->exchanges);
    uv_run(&loop->uv, UV_RUN_DEFAULT);
    loop->left(loop->left_context);
    return NULL;
}

int loop_start(struct loop *loop, void (*left)(void *context), void *context)
{
    int code;

    loop->left = left;
    loop->left_context = context;
    code = -pthread_create(&loop->thread, NULL, run, loop);

    loop->thread_runs = code == 0;
    return code;
}

void loop_join(struct loop *loop)
{
    if (loop->thread_runs)
        pthread_join(loop->thread, NULL);
    loop->thread_runs = false;
}

void loop_free(struct loop *loop)
{
    if (!loop)
        return;
    assert(!loop->thread_runs);
    if (loop->reachable) {
        /* It never ran: leave in the same way, on this thread. */
        enter(loop, LOOP_LEAVING);
        if (!loop->nats)
            on_nats_closed(loop);
        uv_run(&loop->uv, UV_RUN_DEFAULT);
    }
    uv_loop_close(&loop->uv);
    exchanges_free(loop->exchanges);
    route_metrics_done(&loop->routes);
    route_metrics_done(&loop->route_snapshot);
    pthread_mutex_destroy(&loop->lock);
    pthread_cond_destroy(&loop->copied);
    free(loop);
}

/* ---- any thread ---- */

void loop_merge_routes(struct loop *loop, struct route_metrics *sum)
{
    pthread_mutex_lock(&loop->lock);
    route_metrics_merge(sum, &loop->route_snapshot);
    pthread_mutex_unlock(&loop->lock);
}

static void wake(struct loop *loop)
{
    if (loop->reachable)
        uv_async_send(&loop->async);
}

void loop_wake(struct loop *loop)
{
    pthread_mutex_lock(&loop->lock);
    wake(loop);
    pthread_mutex_unlock(&loop->lock);
}

void loop_tell(struct loop *loop, enum loop_stage stage)
{
    atomic_store(&loop->told, (int)stage);
    loop_wake(loop);
}

bool loop_was_connected(const struct loop *loop)
{
    return atomic_load(&loop->was_connected);
}

bool loop_snapshot(struct loop *loop, uint64_t timeout_ms, struct loop_snapshot *ret_snapshot)
{
    struct timespec until;
    uint64_t number;
    bool fresh;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    until.tv_sec += (time_t)(timeout_ms / 1000) + until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&loop->lock);
    number = ++loop->wanted;
    wake(loop);
    while (loop->given < number && loop->reachable &&
           pthread_cond_timedwait(&loop->copied, &loop->lock, &until) == 0)
        ;
    fresh = loop->given >= number;
    *ret_snapshot = loop->snapshot;
    pthread_mutex_unlock(&loop->lock);
    return fresh;
}
