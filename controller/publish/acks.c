/*
 * acks: a thread with a connection of its own, so that acks never wait behind writes. It reads the
 * bucket through an ordered consumer and hands each ack's bytes to the loop, which decodes them.
 *
 * A bucket that was recreated under a consumer shows nothing and says nothing, so every 5 s the
 * thread asks whether the bucket is still the one it reads, and begins anew when it is not. Losing
 * acks loses nothing for long: every pod repeats its own every 5 s.
 */
#include "controller/publish/acks.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "controller/publish/jetstream.h"
#include "lib/base/log.h"

#define CHECK_NS 5000000000ull

enum {
    NEXT_TIMEOUT_MS = 500,
    RETRY_MS = 500,
    WAITING_MAX = 20000,
    MAX_AGE_S = 15,
    COMPLAIN_EVERY_MS = 10000,
};

static const char bucket_name[] = "metropolis_acks";

struct event {
    struct event *next;
    size_t key_length, value_length; /* key_length 0: synced */
    char bytes[];
};

struct acks {
    uv_async_t async;
    struct acks_handler handler;
    struct jetstream jetstream;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool stop;                          /* lock */
    struct event *events, **events_end; /* lock */
    size_t waiting;                     /* lock */
    struct acks_counts counts;          /* lock */
    uint64_t complain_ms;               /* the loop's: from then on, of the next bad ack */
    /* The thread's own. */
    natsSubscription *subscription;
    char created[JETSTREAM_CREATED_MAX];
    uint64_t check_ns;
    bool synced; /* told of this subscription */
    char said[KV_PUBLISH_REASON_MAX];
};

/* ---- thread -> loop ---- */

static void send_event(struct acks *acks, struct str key, struct str value)
{
    struct event *event = malloc(sizeof(*event) + key.len + value.len);

    pthread_mutex_lock(&acks->lock);
    if (!event || (key.len && acks->waiting >= WAITING_MAX)) {
        acks->counts.dropped++;
        free(event);
    } else {
        *event = (struct event){.key_length = key.len, .value_length = value.len};
        if (key.len) {
            memcpy(event->bytes, key.ptr, key.len);
            memcpy(event->bytes + key.len, value.ptr, value.len);
        }
        *acks->events_end = event;
        acks->events_end = &event->next;
        acks->waiting++;
    }
    pthread_mutex_unlock(&acks->lock);
    uv_async_send(&acks->async);
}

static void deliver(struct acks *acks, const struct event *event)
{
    struct str key = str_make(event->bytes, event->key_length);
    struct str value = str_make(event->bytes + event->key_length, event->value_length);
    const char *dot = key.len ? memchr(key.ptr, '.', key.len) : NULL;
    uint64_t now_ms = uv_now(acks->async.loop);
    struct table_ack ack;
    bool good = false;

    if (!key.len) {
        acks->handler.synced(acks->handler.context);
        return;
    }
    if (dot && table_ack_read(value, &ack) == 0) {
        size_t length = (size_t)(dot - key.ptr);

        good = true;
        acks->handler.ack(acks->handler.context, str_make(key.ptr, length),
                          str_after(key, length + 1), &ack);
    }
    pthread_mutex_lock(&acks->lock);
    acks->counts.received++;
    acks->counts.malformed += !good;
    pthread_mutex_unlock(&acks->lock);
    if (!good && now_ms >= acks->complain_ms) {
        acks->complain_ms = now_ms + COMPLAIN_EVERY_MS;
        log_warn("an ack cannot be read; its pod counts as silent", LOG_STR("key", key));
    }
}

static void on_async(uv_async_t *async)
{
    struct acks *acks = async->data;
    struct event *event;

    pthread_mutex_lock(&acks->lock);
    event = acks->events;
    acks->events = NULL;
    acks->events_end = &acks->events;
    acks->waiting = 0;
    pthread_mutex_unlock(&acks->lock);
    while (event) {
        struct event *next = event->next;

        deliver(acks, event);
        free(event);
        event = next;
    }
}

/* ---- the thread ---- */

/* Once per reason. */
static void say(struct acks *acks, const char *reason)
{
    if (strcmp(acks->said, reason) == 0)
        return;
    snprintf(acks->said, sizeof(acks->said), "%s", reason);
    if (*reason)
        log_warn("cannot read acks", LOG_TEXT("reason", reason));
}

static void tell_synced(struct acks *acks)
{
    if (acks->synced)
        return;
    acks->synced = true;
    send_event(acks, str_make(NULL, 0), str_make(NULL, 0));
}

static int find_or_create(struct acks *acks, struct jetstream_stream *ret_stream)
{
    const struct jetstream_bucket options = {.memory = true, .replicas = 1, .max_age_s = MAX_AGE_S};
    int error = jetstream_find_bucket(&acks->jetstream, bucket_name, ret_stream);

    if (error == -ENOENT)
        error = jetstream_create_bucket(&acks->jetstream, bucket_name, &options, ret_stream);
    return error;
}

static void unsubscribe(struct acks *acks)
{
    jetstream_unsubscribe(acks->subscription);
    acks->subscription = NULL;
}

static int subscribe(struct acks *acks)
{
    struct jetstream_stream stream;
    int error = find_or_create(acks, &stream);

    if (!error)
        error = jetstream_subscribe(&acks->jetstream, bucket_name, &acks->subscription);
    if (error)
        return error;
    memcpy(acks->created, stream.created, sizeof(acks->created));
    acks->check_ns = uv_hrtime() + CHECK_NS;
    acks->synced = false;
    if (!stream.messages)
        tell_synced(acks);
    return 0;
}

/* Is the bucket still the one that we read? */
static int check(struct acks *acks)
{
    struct jetstream_stream stream;
    int error = jetstream_find_bucket(&acks->jetstream, bucket_name, &stream);

    acks->check_ns = uv_hrtime() + CHECK_NS;
    if (!error && strcmp(stream.created, acks->created) != 0)
        error = -ENOENT;
    return error;
}

static int take_ack(void *context, const struct jetstream_entry *entry)
{
    struct acks *acks = context;

    if (!entry->deleted && entry->value.len <= TABLE_ACK_MAX)
        send_event(acks, entry->key, entry->value);
    if (!entry->pending)
        tell_synced(acks);
    return 0;
}

/* Nothing comes: late, or has what was there expired before it was read? */
static int look_for_end(struct acks *acks)
{
    struct jetstream_stream stream;
    int error = jetstream_find_bucket(&acks->jetstream, bucket_name, &stream);

    if (!error && !stream.messages)
        tell_synced(acks);
    return error;
}

static int next(struct acks *acks)
{
    int error = jetstream_next(&acks->jetstream, bucket_name, acks->subscription, NEXT_TIMEOUT_MS,
                               take_ack, acks);

    if (error == -ETIMEDOUT && !acks->synced)
        return look_for_end(acks);
    return error == -ETIMEDOUT || error == -EBADMSG ? 0 : error;
}

static void pause_for(struct acks *acks, unsigned milliseconds)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += milliseconds * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    pthread_mutex_lock(&acks->lock);
    if (!acks->stop)
        pthread_cond_timedwait(&acks->wake, &acks->lock, &until);
    pthread_mutex_unlock(&acks->lock);
}

static bool stopped(struct acks *acks)
{
    bool stop;

    pthread_mutex_lock(&acks->lock);
    stop = acks->stop;
    pthread_mutex_unlock(&acks->lock);
    return stop;
}

static void *run(void *context)
{
    struct acks *acks = context;

    while (!stopped(acks)) {
        int error = acks->subscription ? 0 : subscribe(acks);

        if (!error)
            error = next(acks);
        if (!error && uv_hrtime() >= acks->check_ns)
            error = check(acks);
        say(acks, error && error != -ENOENT ? acks->jetstream.reason : "");
        if (error) {
            unsubscribe(acks);
            pause_for(acks, RETRY_MS);
        }
    }
    unsubscribe(acks);
    return NULL;
}

/* ---- the loop's side ---- */

static void free_all(struct acks *acks)
{
    while (acks->events) {
        struct event *following = acks->events->next;

        free(acks->events);
        acks->events = following;
    }
    jetstream_done(&acks->jetstream);
    pthread_cond_destroy(&acks->wake);
    pthread_mutex_destroy(&acks->lock);
    free(acks);
}

static void on_closed(uv_handle_t *handle)
{
    free_all(handle->data);
}

int acks_new(uv_loop_t *loop, const struct kv_publish_options *options,
             const struct acks_handler *handler, struct acks **ret_acks,
             char reason[KV_PUBLISH_REASON_MAX])
{
    struct acks *acks = calloc(1, sizeof(*acks));
    pthread_condattr_t attributes;
    int error;

    snprintf(reason, KV_PUBLISH_REASON_MAX, "out of memory");
    if (!acks)
        return -ENOMEM;
    acks->handler = *handler;
    acks->events_end = &acks->events;
    pthread_mutex_init(&acks->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&acks->wake, &attributes);
    pthread_condattr_destroy(&attributes);
    error = jetstream_init(&acks->jetstream, options, "metropolis-controller-acks");
    if (error == -EINVAL)
        snprintf(reason, KV_PUBLISH_REASON_MAX, "%s", acks->jetstream.reason);
    if (!error)
        error = uv_async_init(loop, &acks->async, on_async);
    if (error) {
        free_all(acks);
        return error;
    }
    acks->async.data = acks;
    error = -pthread_create(&acks->thread, NULL, run, acks);
    if (error) {
        uv_close((uv_handle_t *)&acks->async, on_closed);
        return error;
    }
    *ret_acks = acks;
    return 0;
}

void acks_free(struct acks *acks)
{
    if (!acks)
        return;
    pthread_mutex_lock(&acks->lock);
    acks->stop = true;
    pthread_cond_signal(&acks->wake);
    pthread_mutex_unlock(&acks->lock);
    pthread_join(acks->thread, NULL);
    uv_close((uv_handle_t *)&acks->async, on_closed);
}

void acks_count(struct acks *acks, struct acks_counts *ret_counts)
{
    pthread_mutex_lock(&acks->lock);
    *ret_counts = acks->counts;
    pthread_mutex_unlock(&acks->lock);
}
