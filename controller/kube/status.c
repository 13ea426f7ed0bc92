/*
 * status: what is stored and what is wanted, per Route, and a queue between them.
 *
 *      SETTLED ── write, differs ─▶ QUEUED ── turn ─▶ WRITING ── 2xx, 404, refused ─▶ SETTLED
 *                                     ▲                  └── else, or newer wanted ─▶ QUEUED
 *
 * Of what is stored a digest is enough, and a little of each condition, so a settled Route costs
 * some 300 bytes. It is learnt from the watch and from the answers to our own writes, whichever has
 * the newer resourceVersion (numbers, comparable: KEP-5504); the echo of a write then equals what
 * is known and is no news, however it is interleaved with changes by others.
 *
 * What the first list has brought waits in a backlog behind what changed since, so that after an
 * upgrade, which may change every Route's status, users still see at once what they do now.
 *
 * What a change leads to first, Accepted, waits a moment among the fresh for Programmed: so both
 * mostly become one write, at once when the Route is served, and the table goes first. After a
 * failure the whole queue pauses, and the Route that failed goes to its end. But what is forbidden
 * (403) is so in one namespace, whose Routes must not hold up the others': they go aside, a few are
 * tried now and then, and when one of these passes all are queued again.
 */
#include "controller/kube/status.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "controller/kube/status_doc.h"
#include "lib/base/log.h"
#include "lib/base/map.h"

enum {
    IN_FLIGHT_MAX = 8,
    GATHER_MS = 20,
    REQUEST_TIMEOUT_MS = 30 * 1000,
    BODY_MAX = 64 * 1024,
    PAUSE_FIRST_MS = 500,
    PAUSE_MOST_MS = 30 * 1000,
    PAUSE_RETRY_AFTER_MOST_MS = 2 * 60 * 1000,
    GUARD_MS = 500,
    ASIDE_MS = 5 * 1000,
    ASIDE_TRIES = 50, /* at once */
};

enum entry_state { ENTRY_SETTLED, ENTRY_QUEUED, ENTRY_WRITING };

struct entry_queue {
    struct entry *first, *last;
    size_t count;
};

struct entry {
    struct map_node node;
    struct kube_status *status;
    enum entry_state state;
    struct entry_queue *queue; /* QUEUED: the one that it is in */
    struct entry *next, *previous;
    struct kube_request *request; /* WRITING */
    struct status_doc *wanted;    /* unless SETTLED */
    uint64_t wanted_digest, sent_digest;

    uint64_t version;   /* of what is known to be stored */
    bool seen;          /* by the watch, that version or a later one */
    int64_t generation; /* of the spec that was seen last */
    uint64_t stored_digest;
    struct status_memory stored;
    bool was_aside;
    bool is_old;        /* of the first list; neither changed nor written since */
    unsigned notices;   /* what people will be told when what was sent is stored */
    uint64_t wanted_ns; /* since when, unless SETTLED */

    struct str namespace_name, name, uid; /* in text */
    char text[];
};

struct kube_status {
    struct kube_client *client;
    struct kube_notices *notices;
    uv_timer_t timer; /* runs while the queue waits for its turn */
    struct map entries;
    struct entry_queue queue, fresh, backlog, aside;
    bool synced;
    uint64_t aside_due_ms;
    size_t in_flight;
    bool (*may_write)(void *context);
    void *may_write_context;
    bool paused;
    uint64_t pause_ms; /* the next one; 0: all is well */
    int trouble_code;
    struct kube_status_counters counters;
    struct metrics_histogram times;
};

static void on_turn(uv_timer_t *timer);

/* The queue. */

static void schedule(struct kube_status *status, uint64_t wait_ms)
{
    if (status->paused)
        return;
    if (!uv_is_active((uv_handle_t *)&status->timer) ||
        uv_timer_get_due_in(&status->timer) > wait_ms)
        uv_timer_start(&status->timer, on_turn, wait_ms, 0);
}

static size_t count_waiting(const struct kube_status *status)
{
    return status->queue.count + status->fresh.count + status->backlog.count + status->aside.count;
}

static void enqueue_in(struct entry_queue *queue, struct entry *entry)
{
    assert(entry->state != ENTRY_QUEUED && entry->wanted);
    entry->state = ENTRY_QUEUED;
    entry->queue = queue;
    entry->next = NULL;
    entry->previous = queue->last;
    if (queue->last)
        queue->last->next = entry;
    else
        queue->first = entry;
    queue->last = entry;
    queue->count++;
}

static void enqueue(struct entry *entry)
{
    enqueue_in(entry->is_old ? &entry->status->backlog : &entry->status->queue, entry);
}

/* To SETTLED, still wanted. */
static void dequeue(struct entry *entry)
{
    struct entry_queue *queue = entry->queue;

    assert(entry->state == ENTRY_QUEUED);
    if (entry->previous)
        entry->previous->next = entry->next;
    else
        queue->first = entry->next;
    if (entry->next)
        entry->next->previous = entry->previous;
    else
        queue->last = entry->previous;
    queue->count--;
    entry->state = ENTRY_SETTLED;
}

/* In ms, as uv_now has it. */
static uint64_t fresh_until(const struct entry *entry)
{
    return entry->wanted_ns / 1000000 + GATHER_MS;
}

/* They do not wait while the backlog would use the time. */
static void take_fresh(struct kube_status *status, uint64_t now_ms)
{
    struct entry *entry;

    while ((entry = status->fresh.first) &&
           (status->backlog.first || fresh_until(entry) <= now_ms)) {
        dequeue(entry);
        enqueue(entry);
    }
}

/* The first of those aside have their turn. */
static void try_aside(struct kube_status *status, size_t count)
{
    for (size_t i = 0; i < count && status->aside.first; i++) {
        struct entry *entry = status->aside.first;

        dequeue(entry);
        enqueue(entry);
    }
}

static void set_aside(struct kube_status *status, struct entry *entry)
{
    if (!status->aside.first)
        status->aside_due_ms = uv_now(status->timer.loop) + ASIDE_MS;
    enqueue_in(&status->aside, entry);
    entry->was_aside = true;
}

/* From any state; what was wanted is forgotten. */
static void settle(struct entry *entry)
{
    if (entry->state == ENTRY_QUEUED)
        dequeue(entry);
    else if (entry->state == ENTRY_WRITING)
        entry->status->in_flight--;
    kube_request_cancel(entry->request);
    entry->request = NULL;
    free(entry->wanted);
    entry->wanted = NULL;
    entry->state = ENTRY_SETTLED;
}

static void entry_free(struct entry *entry)
{
    settle(entry);
    map_remove(&entry->status->entries, &entry->node);
    free(entry);
}

/* What is stored. */

static struct entry *entry_find(const struct kube_status *status, struct str namespace_name,
                                struct str name)
{
    char key[KUBE_KEY_MAX];
    struct map_node *node = map_find(&status->entries, kube_key(namespace_name, name, key));

    return node ? MAP_ELEMENT(node, struct entry, node) : NULL;
}

static struct entry *entry_new(struct kube_status *status, const struct kube_object *route)
{
    char key_text[KUBE_KEY_MAX];
    struct str key = kube_key(route->namespace_name, route->name, key_text);
    struct entry *entry = calloc(1, sizeof(*entry) + key.len + route->uid.len);

    if (!entry)
        return NULL;
    entry->status = status;
    entry->is_old = !status->synced;
    memcpy(entry->text, key.ptr, key.len);
    memcpy(entry->text + key.len, route->uid.ptr, route->uid.len);
    entry->namespace_name = str_make(entry->text, route->namespace_name.len);
    entry->name = str_make(entry->text + route->namespace_name.len + 1, route->name.len);
    entry->uid = str_make(entry->text + key.len, route->uid.len);
    if (map_insert(&status->entries, &entry->node, str_make(entry->text, key.len))) {
        free(entry);
        return NULL;
    }
    return entry;
}

static void remember(struct entry *entry, const struct status_doc *doc, uint64_t digest,
                     uint64_t version)
{
    entry->version = version;
    entry->stored_digest = digest;
    entry->stored = status_doc_remember(doc);
}

/* The watch hears from the API server: what a lost connection made us wait for is over. */
static void resume_if_cut(struct kube_status *status)
{
    if (!status->paused || status->trouble_code >= 0)
        return;
    status->paused = false;
    status->pause_ms = 0;
    schedule(status, 0);
}

bool kube_status_observe(struct kube_status *status, const struct kube_object *route)
{
    struct entry *entry = entry_find(status, route->namespace_name, route->name);
    struct status_doc doc = status_doc_read(yyjson_obj_get(route->value, "status"));
    uint64_t digest = status_doc_digest(&doc),
             version = kube_version_number(route->resource_version);
    bool news;

    resume_if_cut(status);
    if (entry && !str_equal(entry->uid, route->uid)) {
        entry_free(entry);
        entry = NULL;
    }
    news = !entry || entry->generation != route->generation;
    if (entry && news)
        entry->is_old = false;
    if (!entry)
        entry = entry_new(status, route);
    if (!entry)
        return true; /* out of memory: its status will not be written */
    entry->generation = route->generation;
    /* Older than the answer to our last write. But a watch that has seen that goes back only when
     * the server does: etcd was restored, and what we wrote since the backup is lost. */
    if (version && version <= entry->version && !(entry->seen && version < entry->version)) {
        entry->seen = version == entry->version;
        return news;
    }
    entry->seen = true;
    if (digest != entry->stored_digest) /* the echo may come before the answer */
        news = news || entry->state != ENTRY_WRITING || digest != entry->sent_digest;
    remember(entry, &doc, digest, version);
    return news;
}

void kube_status_synced(struct kube_status *status)
{
    status->synced = true;
}

void kube_status_forget(struct kube_status *status, struct str namespace_name, struct str name)
{
    struct entry *entry = entry_find(status, namespace_name, name);

    if (entry)
        entry_free(entry);
}

/* Writing. */

/* Once per kind of trouble, not per Route. */
static void set_trouble(struct kube_status *status, const struct entry *entry, int code,
                        const char *message)
{
    if (code && code != status->trouble_code)
        log_warn("cannot write a Route's status", LOG_STR("route", entry->node.key),
                 LOG_I64("code", code), LOG_TEXT("error", message));
    status->trouble_code = code;
}

static void pause_queue(struct kube_status *status, uint64_t retry_after_ms)
{
    uint64_t wait_ms = status->pause_ms ? status->pause_ms : PAUSE_FIRST_MS;

    if (status->paused) /* by another of those that were in flight */
        return;
    status->paused = true;
    status->pause_ms = wait_ms > PAUSE_MOST_MS / 2 ? PAUSE_MOST_MS : 2 * wait_ms;
    if (retry_after_ms > PAUSE_RETRY_AFTER_MOST_MS)
        retry_after_ms = PAUSE_RETRY_AFTER_MOST_MS;
    if (wait_ms < retry_after_ms)
        wait_ms = retry_after_ms;
    uv_timer_start(&status->timer, on_turn, wait_ms, 0);
}

static void on_written(struct entry *entry, const struct kube_response *response)
{
    struct kube_status *status = entry->status;
    yyjson_doc *document = yyjson_read(response->body.ptr, response->body.len, 0);
    struct kube_object object;

    status->counters.written++;
    status->pause_ms = 0;
    entry->is_old = false;
    set_trouble(status, entry, 0, "");
    if (entry->was_aside)
        try_aside(status, status->aside.count);
    entry->was_aside = false;
    if (document && kube_object_read(yyjson_doc_get_root(document), &object) == 0 &&
        str_equal(object.uid, entry->uid)) {
        struct status_doc doc = status_doc_read(yyjson_obj_get(object.value, "status"));
        uint64_t version = kube_version_number(object.resource_version);

        if (!version || version > entry->version) {
            remember(entry, &doc, status_doc_digest(&doc), version);
            entry->seen = false;
        }
        kube_notices_tell(status->notices, &object, &doc, entry->notices);
    }
    yyjson_doc_free(document);
    if (entry->wanted_digest == entry->sent_digest) {
        metrics_histogram_add(&status->times, uv_hrtime() - entry->wanted_ns);
        settle(entry);
    } else {
        enqueue(entry);
    }
}

/* 404: the Route is gone, and 4xx but for the few that pass: it would be refused for ever. */
static bool is_final(const struct kube_response *response)
{
    int code = response->status;

    return response->error == 0 && code >= 400 && code <= 499 && code != 401 && code != 403 &&
           code != 409 && code != 429;
}

static void on_done(void *context, const struct kube_response *response)
{
    struct entry *entry = context;
    struct kube_status *status = entry->status;

    assert(entry->state == ENTRY_WRITING);
    entry->request = NULL;
    status->in_flight--;
    entry->state = ENTRY_SETTLED;
    if (response->error == 0 && response->status >= 200 && response->status <= 299) {
        on_written(entry, response);
    } else if (is_final(response)) {
        if (response->status != 404)
            set_trouble(status, entry, response->status, response->message);
        status->counters.dropped++;
        settle(entry);
    } else if (response->status == 403) {
        if (!entry->was_aside) /* else it is known, and others' success has not ended it */
            set_trouble(status, entry, response->status, response->message);
        status->counters.retried++;
        set_aside(status, entry);
    } else {
        set_trouble(status, entry, response->error ? response->error : response->status,
                    response->message);
        status->counters.retried++;
        enqueue(entry);
        pause_queue(status, response->retry_after_ms);
    }
    schedule(status, 0);
}

/* False: it cannot be asked for now. */
static bool start(struct entry *entry)
{
    struct kube_status *status = entry->status;
    struct kube_request_options options = {.method = "PATCH",
                                           .content_type = "application/apply-patch+yaml",
                                           .timeout_ms = REQUEST_TIMEOUT_MS,
                                           .done = on_done,
                                           .context = entry};
    struct buffer body;
    char path[512];
    int error;

    snprintf(path, sizeof(path),
             "/apis/metropolis.dev/v1alpha1/namespaces/" STR_FMT "/routes/" STR_FMT
             "/status?fieldManager=metropolis-controller&force=true",
             STR_ARG(entry->namespace_name), STR_ARG(entry->name));
    buffer_init(&body, BODY_MAX);
    status_doc_set_times(entry->wanted, &entry->stored, time(NULL));
    entry->notices = kube_notices_choose(&entry->stored, entry->wanted);
    error = status_doc_write(entry->wanted, entry->namespace_name, entry->name, entry->uid, &body);
    options.path = path;
    options.body = buffer_view(&body);
    if (!error)
        error = kube_request_start(status->client, &options, &entry->request);
    buffer_done(&body);
    if (error) {
        set_trouble(status, entry, error, strerror(-error));
        return false;
    }
    entry->sent_digest = entry->wanted_digest;
    entry->state = ENTRY_WRITING;
    status->in_flight++;
    return true;
}

static void on_turn(uv_timer_t *timer)
{
    struct kube_status *status = timer->data;
    uint64_t now_ms = uv_now(timer->loop);

    status->paused = false;
    if (!status->may_write(status->may_write_context)) {
        if (count_waiting(status)) /* until we may, or they are dropped */
            schedule(status, GUARD_MS);
        return;
    }
    if (status->aside.first && status->aside_due_ms <= now_ms) {
        try_aside(status, ASIDE_TRIES);
        status->aside_due_ms = now_ms + ASIDE_MS;
    }
    take_fresh(status, now_ms);
    while (status->in_flight < IN_FLIGHT_MAX) {
        struct entry *entry = status->queue.first ? status->queue.first : status->backlog.first;

        if (!entry)
            break;
        if (entry->wanted_digest == entry->stored_digest) { /* it has come to be, meanwhile */
            status->counters.unchanged++;
            settle(entry);
            continue;
        }
        dequeue(entry);
        if (!start(entry)) {
            status->counters.dropped++;
            settle(entry);
        }
    }
    if (status->aside.first)
        schedule(status, status->aside_due_ms - now_ms);
    if (status->fresh.first)
        schedule(status, fresh_until(status->fresh.first) - now_ms);
}

/* Newly wanted, or wanted anew. last: of what a change leads to. */
static void queue_up(struct entry *entry, bool last)
{
    struct kube_status *status = entry->status;

    if (entry->state == ENTRY_SETTLED) {
        entry->wanted_ns = uv_hrtime();
        status->counters.added++;
        if (last || entry->is_old)
            enqueue(entry);
        else
            enqueue_in(&status->fresh, entry);
    } else if ((entry->queue == &status->fresh && last) ||
               (entry->queue == &status->backlog && !entry->is_old)) {
        dequeue(entry);
        enqueue(entry);
    }
    schedule(status, last ? 0 : GATHER_MS);
}

static void sink_write(void *context, struct str namespace_name, struct str name, struct str uid,
                       const struct route_status *wanted)
{
    struct kube_status *status = context;
    struct entry *entry = entry_find(status, namespace_name, name);
    char pods[STATUS_PODS_SIZE];
    struct status_doc doc = status_doc_of(wanted, pods), *copy;
    uint64_t digest = status_doc_digest(&doc);

    if (!entry || !str_equal(entry->uid, uid)) {
        status->counters.dropped++;
        return;
    }
    if (digest == (entry->wanted ? entry->wanted_digest : entry->stored_digest)) {
        status->counters.unchanged++;
        return;
    }
    copy = status_doc_copy(&doc);
    if (!copy) {
        status->counters.dropped++;
        return;
    }
    free(entry->wanted);
    entry->wanted = copy;
    entry->wanted_digest = digest;
    if (entry->state != ENTRY_WRITING)
        queue_up(entry, wanted->programmed.status == CONDITION_TRUE);
}

/* The whole. */

static bool always(void *context)
{
    (void)context;
    return true;
}

int kube_status_new(uv_loop_t *loop, struct kube_client *client, struct kube_notices *notices,
                    struct kube_status **ret_status)
{
    struct kube_status *status = calloc(1, sizeof(*status));
    int error;

    if (!status)
        return -ENOMEM;
    error = uv_timer_init(loop, &status->timer);
    if (error) {
        free(status);
        return error;
    }
    status->timer.data = status;
    status->client = client;
    status->notices = notices;
    status->may_write = always;
    map_init(&status->entries);
    *ret_status = status;
    return 0;
}

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void kube_status_free(struct kube_status *status)
{
    struct map_node *node, *next;

    if (!status)
        return;
    for (node = map_next(&status->entries, NULL); node; node = next) {
        next = map_next(&status->entries, node);
        entry_free(MAP_ELEMENT(node, struct entry, node));
    }
    map_done(&status->entries);
    uv_close((uv_handle_t *)&status->timer, on_closed);
}

void kube_status_guard(struct kube_status *status, bool (*may_write)(void *context), void *context)
{
    status->may_write = may_write;
    status->may_write_context = context;
}

void kube_status_drop(struct kube_status *status)
{
    for (struct map_node *node = map_next(&status->entries, NULL);
         node && (count_waiting(status) || status->in_flight);
         node = map_next(&status->entries, node))
        settle(MAP_ELEMENT(node, struct entry, node));
}

struct status_sink kube_status_sink(struct kube_status *status)
{
    return (struct status_sink){.write = sink_write, .context = status};
}

void kube_status_count(const struct kube_status *status, struct kube_status_counters *ret_counters)
{
    *ret_counters = status->counters;
    ret_counters->in_flight = status->in_flight;
    ret_counters->waiting = count_waiting(status);
}

const struct metrics_histogram *kube_status_times(const struct kube_status *status)
{
    return &status->times;
}
