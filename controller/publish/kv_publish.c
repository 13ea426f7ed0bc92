/*
 * kv_publish: one thread goes round the gateways' buckets and does the next step of each
 * (kv_writer); all that it shares with the loop is behind one lock, which it never holds while it
 * talks to NATS. What it has to say goes into a queue of events that the loop empties.
 */
#include "controller/publish/kv_publish.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "controller/publish/kv_writer.h"
#include "lib/base/log.h"

/* ---- events: thread -> loop ---- */

/* Under the lock. */
void kv_publish_add_event(struct kv_publish *publish, const struct event *what, const char *text)
{
    size_t length = strlen(text) + 1;
    struct event *event = malloc(sizeof(*event) + length);

    if (!event) {
        publish->out_of_memory = true;
        return;
    }
    *event = *what;
    event->next = NULL;
    memcpy(event->text, text, length);
    *publish->events_end = event;
    publish->events_end = &event->next;
}

static void deliver(const struct kv_publish *publish, const struct event *event)
{
    const struct kv_publish_handler *handler = &publish->handler;

    switch (event->kind) {
    case EVENT_STATE:
        handler->state(handler->context, event->gateway, event->state, event->text);
        break;
    case EVENT_LINEAGE:
        handler->lineage(handler->context, event->gateway, str_from(event->text));
        break;
    case EVENT_WRITTEN:
        handler->written(handler->context, event->gateway, str_from(event->text), event->generation,
                         event->sequence);
        break;
    }
}

static void on_async(uv_async_t *async)
{
    struct kv_publish *publish = async->data;
    struct event *event;

    pthread_mutex_lock(&publish->lock);
    event = publish->events;
    publish->events = NULL;
    publish->events_end = &publish->events;
    if (publish->out_of_memory) {
        log_error("out of memory");
        abort();
    }
    pthread_mutex_unlock(&publish->lock);
    while (event) {
        struct event *next = event->next;

        deliver(publish, event);
        free(event);
        event = next;
    }
}

/* ---- the thread ---- */

/* Under the lock: is there something that the writer would do now? */
static bool has_work(const struct kv_publish *publish, const struct table *table)
{
    if (table->leadership != publish->leadership)
        return true;
    switch (table->state) {
    case KV_PUBLISH_LOADED:
        return table->begun;
    case KV_PUBLISH_IN_CHARGE:
        return (table->bucket.dirty || !table->head.complete) && uv_hrtime() >= table->due_ns;
    default:
        return false;
    }
}

static void wait_for_work(struct kv_publish *publish)
{
    struct timespec until;
    bool work = false;

    for (unsigned i = 0; i < publish->table_count; i++)
        work |= has_work(publish, &publish->tables[i]);
    if (work || publish->stop)
        return;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += RETRY_FIRST_NS;
    until.tv_sec += until.tv_nsec / (long)SECOND_NS;
    until.tv_nsec %= (long)SECOND_NS;
    pthread_cond_timedwait(&publish->wake, &publish->lock, &until);
}

static void *run(void *context)
{
    struct kv_publish *publish = context;
    bool stop = false;

    while (!stop) {
        bool busy = false;

        for (unsigned i = 0; i < publish->table_count; i++)
            busy |= kv_writer_step(publish, &publish->tables[i]);
        pthread_mutex_lock(&publish->lock);
        if (!busy)
            wait_for_work(publish);
        stop = publish->stop;
        pthread_mutex_unlock(&publish->lock);
    }
    return NULL;
}

/* ---- the loop's side ---- */

static void free_all(struct kv_publish *publish)
{
    for (unsigned i = 0; i < publish->table_count; i++) {
        bucket_done(&publish->tables[i].bucket);
        free(publish->tables[i].name);
    }
    while (publish->events) {
        struct event *next = publish->events->next;

        free(publish->events);
        publish->events = next;
    }
    jetstream_done(&publish->jetstream);
    pthread_cond_destroy(&publish->wake);
    pthread_mutex_destroy(&publish->lock);
    free(publish->owner);
    free(publish);
}

static void on_closed(uv_handle_t *handle)
{
    free_all(handle->data);
}

static void init_lock(struct kv_publish *publish)
{
    pthread_condattr_t attributes;

    pthread_mutex_init(&publish->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&publish->wake, &attributes);
    pthread_condattr_destroy(&attributes);
}

int kv_publish_new(uv_loop_t *loop, const struct kv_publish_options *options,
                   const struct kv_publish_handler *handler, struct kv_publish **ret_publish,
                   char reason[KV_PUBLISH_REASON_MAX])
{
    struct kv_publish *publish =
        calloc(1, sizeof(*publish) + options->gateway_count * sizeof(struct table));
    int error;

    snprintf(reason, KV_PUBLISH_REASON_MAX, "out of memory");
    if (!publish)
        return -ENOMEM;
    assert(strlen(options->owner) <= TABLE_ID_MAX);
    publish->handler = *handler;
    publish->replicas = options->replicas;
    publish->events_end = &publish->events;
    init_lock(publish);
    random_init(&publish->random);
    publish->owner = strdup(options->owner);
    error = publish->owner ? 0 : -ENOMEM;
    for (unsigned i = 0; i < options->gateway_count && !error; i++) {
        struct table *table = &publish->tables[i];

        publish->table_count++;
        table->index = i;
        bucket_init(&table->bucket);
        if (asprintf(&table->name, "metropolis-%s", options->gateways[i]) < 0) {
            table->name = NULL;
            error = -ENOMEM;
        }
    }
    if (!error)
        error = jetstream_init(&publish->jetstream, options, "metropolis-controller");
    if (error == -EINVAL)
        snprintf(reason, KV_PUBLISH_REASON_MAX, "%s", publish->jetstream.reason);
    if (!error)
        error = uv_async_init(loop, &publish->async, on_async);
    if (error) {
        free_all(publish);
        return error;
    }
    publish->async.data = publish;
    error = -pthread_create(&publish->thread, NULL, run, publish);
    if (error) {
        uv_close((uv_handle_t *)&publish->async, on_closed);
        return error;
    }
    *ret_publish = publish;
    return 0;
}

void kv_publish_free(struct kv_publish *publish)
{
    if (!publish)
        return;
    pthread_mutex_lock(&publish->lock);
    publish->stop = true;
    pthread_cond_signal(&publish->wake);
    pthread_mutex_unlock(&publish->lock);
    pthread_join(publish->thread, NULL);
    uv_close((uv_handle_t *)&publish->async, on_closed);
}

void kv_publish_lead(struct kv_publish *publish, bool leads)
{
    pthread_mutex_lock(&publish->lock);
    publish->leadership = leads ? ++publish->leaderships : 0;
    for (unsigned i = 0; i < publish->table_count; i++)
        publish->tables[i].loaded = publish->tables[i].begun = false;
    pthread_cond_signal(&publish->wake);
    pthread_mutex_unlock(&publish->lock);
}

int kv_publish_set(struct kv_publish *publish, unsigned gateway, struct str key, int64_t generation,
                   struct str value)
{
    struct table *table = &publish->tables[gateway];
    struct bucket_entry *entry;
    int changed;
    bool wake;

    pthread_mutex_lock(&publish->lock);
    changed = bucket_want(&table->bucket, key, generation, value);
    /* Back to what the bucket holds before it was written: nothing else will tell. */
    entry = changed > 0 ? bucket_find(&table->bucket, key) : NULL;
    if (entry && !entry->in_flight && entry->queue == BUCKET_QUEUE_NONE) {
        kv_writer_tell(publish, table, entry);
        uv_async_send(&publish->async);
    }
    wake = changed > 0 && table->begun; /* else the writer is woken when it is */
    pthread_mutex_unlock(&publish->lock);
    if (wake)
        pthread_cond_signal(&publish->wake); /* who wakes up shall find the lock free */
    return changed < 0 ? changed : 0;
}

int kv_publish_stored(struct kv_publish *publish, unsigned gateway, struct str key,
                      struct buffer *value)
{
    struct table *table = &publish->tables[gateway];
    const struct bucket_entry *entry;
    int error;

    pthread_mutex_lock(&publish->lock);
    entry = bucket_find(&table->bucket, key);
    if (!table->loaded)
        error = -EAGAIN;
    else if (!entry || !entry->stored)
        error = -ENOENT;
    else
        error = buffer_append(value, entry->stored->bytes, entry->stored->length);
    pthread_mutex_unlock(&publish->lock);
    return error;
}

void kv_publish_begin(struct kv_publish *publish, unsigned gateway)
{
    pthread_mutex_lock(&publish->lock);
    if (publish->tables[gateway].loaded)
        publish->tables[gateway].begun = true;
    pthread_cond_signal(&publish->wake);
    pthread_mutex_unlock(&publish->lock);
}

void kv_publish_seen(struct kv_publish *publish, unsigned gateway, struct str lineage,
                     uint64_t sequence)
{
    struct table *table = &publish->tables[gateway];

    pthread_mutex_lock(&publish->lock);
    if (!str_equal(str_from(table->seen_lineage), lineage)) {
        snprintf(table->seen_lineage, sizeof(table->seen_lineage), STR_FMT, STR_ARG(lineage));
        table->seen = 0;
    }
    if (sequence > table->seen)
        table->seen = sequence;
    pthread_mutex_unlock(&publish->lock);
}

void kv_publish_count(struct kv_publish *publish, unsigned gateway,
                      struct kv_publish_counts *ret_counts)
{
    struct table *table = &publish->tables[gateway];

    pthread_mutex_lock(&publish->lock);
    *ret_counts = table->counts;
    ret_counts->waiting = publish->leadership ? table->bucket.dirty : 0;
    pthread_mutex_unlock(&publish->lock);
}
