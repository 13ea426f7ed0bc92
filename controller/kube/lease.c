/*
 * lease: three states, and one request at a time that proceed() chooses from what is known:
 *
 *      STANDBY ── free, ours, or not renewed for too long; and our patch was taken ──▶ LEADING
 *         ▲  └───────────────────────── released ───────────────────────────▶ LEAVING    │
 *         └── not renewed in time, somebody else's, resigned ────────────────────────────┘
 *
 * Every write is a merge patch with the resourceVersion that it changes, so that of two who want
 * the Lease one gets it, and what others put into it (labels) stays. A conflict means: look again.
 *
 * Clocks of other hosts count for nothing: a Lease has expired when we have seen no change of it
 * for as long as it says. A standby watches it, so a Lease that is given back is taken at once;
 * when the watch is in trouble it looks every few seconds instead. How long we lead ourselves
 * counts from when the renewal was sent, by CLOCK_BOOTTIME.
 */
#include "controller/kube/lease.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include <yyjson.h>

#include "controller/kube/event.h"
#include "controller/kube/watch.h"
#include "lib/base/buffer.h"
#include "lib/base/log.h"
#include "lib/base/random.h"

enum {
    CONFLICT_MS = 100,
    ALOOF_MS = 15 * 1000, /* and up to as much again, after it has resigned */
    DURATION_MOST_S = 3600,
    VERSION_SIZE = 129,
    TIME_SIZE = 40,
    BODY_MAX = 2048,
    RANDOM_LENGTH = 12,
};

enum lease_state { LEASE_STANDBY, LEASE_LEADING, LEASE_LEAVING, LEASE_CLOSED };

enum lease_request { LEASE_READ, LEASE_CREATE, LEASE_TAKE, LEASE_RENEW, LEASE_RELEASE };

struct kube_lease {
    struct kube_client *client;
    struct kube_lease_options options;
    uv_timer_t tick,
        deadline;    /* the next look or renewal; when we must stop to lead, or to leave */
    unsigned timers; /* not closed yet */
    struct kube_watch *watch;
    struct kube_request *request;
    enum lease_request asked; /* by request */
    uint64_t asked_ms;        /* and when */
    enum lease_state state;
    uint64_t renewed_ms;     /* LEADING: when the last renewal that was taken was sent */
    uint64_t aloof_until_ms; /* lets others go first */
    void (*left)(void *context);
    void *left_context;
    char *collection, *path;
    char identity[KUBE_LEASE_HOLDER_SIZE];
    struct random_source random;

    /* The Lease as it was seen last. */
    char version[VERSION_SIZE]; /* empty: not known, look */
    char holder[KUBE_LEASE_HOLDER_SIZE];
    char renewed[TIME_SIZE]; /* what its holder's clock said; only ever compared */
    int64_t transitions;
    uint64_t duration_ms;
    uint64_t changed_ms; /* when we saw it change */

    int trouble_code;
    char trouble[KUBE_MESSAGE_MAX + 32];
};

static bool may_take(const struct kube_lease *lease);
static void proceed(struct kube_lease *lease);

/* ---- time ---- */

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void on_tick(uv_timer_t *timer)
{
    struct kube_lease *lease = timer->data;

    /* What went wrong with a request is known to be over only by the next one. */
    if (lease->state == LEASE_STANDBY &&
        (!kube_watch_synced(lease->watch) || kube_watch_trouble(lease->watch) ||
         (lease->trouble_code && !may_take(lease))))
        lease->version[0] = '\0';
    proceed(lease);
}

static void wait_for(struct kube_lease *lease, uint64_t wait_ms)
{
    uint64_t jitter = random_u64(&lease->random) % (wait_ms / 4 + 1);

    uv_timer_start(&lease->tick, on_tick, wait_ms - wait_ms / 8 + jitter, 0);
}

/* ---- who leads ---- */

static bool is_ours(const struct kube_lease *lease)
{
    return strcmp(lease->holder, lease->identity) == 0;
}

bool kube_lease_held(const struct kube_lease *lease)
{
    return lease->state == LEASE_LEADING &&
           now_ms() - lease->renewed_ms < lease->options.deadline_ms;
}

static bool may_take(const struct kube_lease *lease)
{
    uint64_t now = now_ms();

    return now >= lease->aloof_until_ms &&
           (!lease->holder[0] || is_ours(lease) || now - lease->changed_ms >= lease->duration_ms);
}

static void stand_down(struct kube_lease *lease, const char *why)
{
    lease->state = LEASE_STANDBY;
    uv_timer_stop(&lease->deadline);
    log_info("no longer the leader", LOG_TEXT("lease", lease->path), LOG_TEXT("reason", why));
    lease->options.changed(lease->options.context, false);
}

static void on_deadline(uv_timer_t *timer)
{
    struct kube_lease *lease = timer->data;

    stand_down(lease, lease->trouble_code ? lease->trouble : "it could not be renewed in time");
    if (lease->state == LEASE_STANDBY)
        wait_for(lease, lease->options.retry_ms);
}

/* The API server has stored that we hold it, as of asked_ms. False: that was too long ago. */
static bool take_hold(struct kube_lease *lease)
{
    uint64_t age_ms = now_ms() - lease->asked_ms;

    if (age_ms >= lease->options.deadline_ms)
        return false;
    lease->renewed_ms = lease->asked_ms;
    uv_update_time(lease->tick.loop);
    uv_timer_start(&lease->deadline, on_deadline, lease->options.deadline_ms - age_ms, 0);
    wait_for(lease, lease->options.retry_ms);
    if (lease->state == LEASE_LEADING)
        return true;
    lease->state = LEASE_LEADING;
    log_info("leading", LOG_TEXT("lease", lease->path), LOG_TEXT("identity", lease->identity));
    lease->options.changed(lease->options.context, true);
    return true;
}

/* Nothing of it is ours any more, or can be helped. */
static void leave(struct kube_lease *lease)
{
    uv_timer_stop(&lease->tick);
    uv_timer_stop(&lease->deadline);
    if (lease->left) {
        lease->left(lease->left_context);
        return;
    }
    lease->state = LEASE_STANDBY;
    wait_for(lease, lease->options.retry_ms);
}

/* ---- what is known of the Lease ---- */

static void copy_text(yyjson_val *object, const char *key, char *out, size_t size)
{
    const char *text = yyjson_get_str(yyjson_obj_get(object, key));

    snprintf(out, size, "%s", text ? text : "");
}

static void observe(struct kube_lease *lease, const struct kube_object *object)
{
    uint64_t version = kube_version_number(object->resource_version);
    yyjson_val *spec = yyjson_obj_get(object->value, "spec");
    int64_t transitions = yyjson_get_sint(yyjson_obj_get(spec, "leaseTransitions"));
    int64_t duration_s = yyjson_get_sint(yyjson_obj_get(spec, "leaseDurationSeconds"));
    char holder[sizeof(lease->holder)], renewed[sizeof(lease->renewed)];

    if (version && version < kube_version_number(str_from(lease->version)))
        return; /* an event that an answer has overtaken, or the other way round */
    copy_text(spec, "holderIdentity", holder, sizeof(holder));
    copy_text(spec, "renewTime", renewed, sizeof(renewed));
    if (holder[0] && strcmp(holder, lease->holder) != 0 && strcmp(holder, lease->identity) != 0)
        log_info("another leads", LOG_TEXT("lease", lease->path), LOG_TEXT("identity", holder));
    if (strcmp(holder, lease->holder) != 0 || strcmp(renewed, lease->renewed) != 0 ||
        transitions != lease->transitions)
        lease->changed_ms = now_ms();
    memcpy(lease->holder, holder, sizeof(holder));
    memcpy(lease->renewed, renewed, sizeof(renewed));
    lease->transitions = transitions;
    if (duration_s < 1 || duration_s > DURATION_MOST_S)
        duration_s = lease->options.duration_s;
    lease->duration_ms = (uint64_t)duration_s * 1000;
    snprintf(lease->version, sizeof(lease->version), STR_FMT, STR_ARG(object->resource_version));
}

static void forget(struct kube_lease *lease)
{
    lease->version[0] = lease->holder[0] = lease->renewed[0] = '\0';
    lease->transitions = 0;
}

/* A leader knows better than its watch, whose events are the echo of its own renewals. */
static void on_upsert(void *context, const struct kube_object *object)
{
    struct kube_lease *lease = context;

    if (lease->state != LEASE_STANDBY)
        return;
    observe(lease, object);
    if (may_take(lease))
        proceed(lease);
}

static void on_removed(void *context, struct str namespace_name, struct str name)
{
    struct kube_lease *lease = context;

    (void)namespace_name, (void)name;
    if (lease->state != LEASE_STANDBY)
        return;
    forget(lease);
    proceed(lease);
}

static void on_synced(void *context)
{
    (void)context;
}

/* ---- answers ---- */

static void set_trouble(struct kube_lease *lease, int code, const char *message)
{
    snprintf(lease->trouble, sizeof(lease->trouble), "%d: %s", code, message);
    if (code && code != lease->trouble_code)
        log_warn("cannot use the Lease, retrying", LOG_TEXT("lease", lease->path),
                 LOG_TEXT("error", lease->trouble));
    lease->trouble_code = code;
}

static void on_object(struct kube_lease *lease, const struct kube_response *response)
{
    yyjson_doc *document = yyjson_read(response->body.ptr, response->body.len, 0);
    struct kube_object object;

    set_trouble(lease, 0, "");
    if (!document || kube_object_read(yyjson_doc_get_root(document), &object) < 0) {
        yyjson_doc_free(document);
        set_trouble(lease, -EBADMSG, "the API server's answer is no Lease");
        wait_for(lease, lease->options.retry_ms);
        return;
    }
    observe(lease, &object);
    yyjson_doc_free(document);
    if (lease->state == LEASE_LEAVING || lease->asked == LEASE_READ || !is_ours(lease) ||
        !take_hold(lease))
        proceed(lease);
}

static void ask(struct kube_lease *lease, enum lease_request what);

static void on_done(void *context, const struct kube_response *response)
{
    struct kube_lease *lease = context;
    int code = response->error ? response->error : response->status;

    lease->request = NULL;
    if (code >= 200 && code <= 299) {
        on_object(lease, response);
    } else if (code == 404 && lease->asked == LEASE_READ) {
        forget(lease);
        if (lease->state == LEASE_LEAVING)
            leave(lease);
        else
            ask(lease, LEASE_CREATE);
    } else if (code == 404 || code == 409) {
        lease->version[0] = '\0';
        wait_for(lease, CONFLICT_MS);
    } else {
        set_trouble(lease, code, response->message);
        if (lease->state == LEASE_LEAVING)
            leave(lease);
        else
            wait_for(lease, lease->options.retry_ms);
    }
}

/* ---- requests ---- */

static void write_now(char text[TIME_SIZE])
{
    char seconds[KUBE_TIME_SIZE];
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    kube_time_write(now.tv_sec, seconds);
    snprintf(text, TIME_SIZE, "%.19s.%06ldZ", seconds, now.tv_nsec / 1000);
}

static int write_body(struct kube_lease *lease, enum lease_request what, struct buffer *body)
{
    bool release = what == LEASE_RELEASE, begins = what != LEASE_RENEW;
    char now[TIME_SIZE];
    int error;

    write_now(now);
    if (what == LEASE_CREATE)
        error = buffer_printf(body,
                              "{\"apiVersion\":\"coordination.k8s.io/v1\",\"kind\":\"Lease\","
                              "\"metadata\":{\"name\":\"%s\"}",
                              lease->options.name);
    else
        error = buffer_printf(body, "{\"metadata\":{\"resourceVersion\":\"%s\"}", lease->version);
    if (!error)
        error = buffer_printf(body,
                              ",\"spec\":{\"holderIdentity\":\"%s\",\"leaseDurationSeconds\":%u,"
                              "\"renewTime\":\"%s\"",
                              release ? "" : lease->identity,
                              release ? 1 : lease->options.duration_s, now);
    if (!error && begins)
        error = buffer_printf(body, ",\"acquireTime\":\"%s\"", now);
    if (!error && begins && !release)
        error =
            buffer_printf(body, ",\"leaseTransitions\":%lld",
                          (long long)lease->transitions + (what == LEASE_TAKE && !is_ours(lease)));
    return error ? error : buffer_printf(body, "}}");
}

static void ask(struct kube_lease *lease, enum lease_request what)
{
    bool create = what == LEASE_CREATE, read = what == LEASE_READ;
    struct kube_request_options options = {
        .method = read     ? "GET"
                  : create ? "POST"
                           : "PATCH",
        .path = create ? lease->collection : lease->path,
        .content_type = read     ? NULL
                        : create ? "application/json"
                                 : "application/merge-patch+json",
        .timeout_ms = lease->options.deadline_ms / 2,
        .done = on_done,
        .context = lease,
    };
    struct buffer body;
    int error = 0;

    lease->asked = what;
    lease->asked_ms = now_ms();
    buffer_init(&body, BODY_MAX);
    if (!read)
        error = write_body(lease, what, &body);
    options.body = buffer_view(&body);
    if (!error)
        error = kube_request_start(lease->client, &options, &lease->request);
    buffer_done(&body);
    if (error) {
        set_trouble(lease, error, strerror(-error));
        wait_for(lease, lease->options.retry_ms);
    }
}

/* The next request, or none for now. */
static void proceed(struct kube_lease *lease)
{
    if (lease->request || lease->state == LEASE_CLOSED)
        return;
    if (!lease->version[0])
        ask(lease, LEASE_READ);
    else if (lease->state == LEASE_LEAVING && is_ours(lease))
        ask(lease, LEASE_RELEASE);
    else if (lease->state == LEASE_LEAVING)
        leave(lease);
    else if (lease->state == LEASE_LEADING && is_ours(lease))
        ask(lease, LEASE_RENEW);
    else if (lease->state == LEASE_STANDBY && may_take(lease))
        ask(lease, LEASE_TAKE);
    else {
        if (lease->state == LEASE_LEADING)
            stand_down(lease, "another holds it");
        if (lease->state == LEASE_STANDBY)
            wait_for(lease, lease->options.retry_ms);
    }
}

/* ---- the end ---- */

static void on_late(uv_timer_t *timer)
{
    leave(timer->data);
}

/* Gives it back if it is ours, or will be by what is in flight. */
static void start_leaving(struct kube_lease *lease, const char *why)
{
    if (lease->state == LEASE_LEADING)
        stand_down(lease, why);
    lease->state = LEASE_LEAVING;
    uv_timer_start(&lease->deadline, on_late, KUBE_LEASE_RELEASE_MS, 0);
    uv_timer_start(&lease->tick, on_tick, 0, 0);
}

void kube_lease_resign(struct kube_lease *lease)
{
    if (lease->state != LEASE_LEADING)
        return;
    lease->aloof_until_ms = now_ms() + ALOOF_MS + random_u64(&lease->random) % ALOOF_MS;
    start_leaving(lease, "another writes");
}

void kube_lease_release(struct kube_lease *lease, void (*done)(void *context), void *context)
{
    lease->left = done;
    lease->left_context = context;
    start_leaving(lease, "the program ends");
}

static void on_closed(uv_handle_t *handle)
{
    struct kube_lease *lease = handle->data;

    if (--lease->timers)
        return;
    free(lease->collection);
    free(lease->path);
    free((char *)lease->options.namespace_name);
    free((char *)lease->options.name);
    free(lease);
}

void kube_lease_free(struct kube_lease *lease)
{
    if (!lease)
        return;
    assert(lease->state != LEASE_CLOSED);
    lease->state = LEASE_CLOSED;
    kube_request_cancel(lease->request);
    lease->request = NULL;
    kube_watch_free(lease->watch);
    uv_close((uv_handle_t *)&lease->tick, on_closed);
    uv_close((uv_handle_t *)&lease->deadline, on_closed);
}

/* ---- the beginning ---- */

/* The pod's name and something random: what was before in a pod of this name is somebody else. */
static void name_ourselves(struct kube_lease *lease)
{
    char host[64] = "", random[RANDOM_LENGTH + 1];

    gethostname(host, sizeof(host) - 1);
    for (char *at = host; *at; at++)
        if (*at <= ' ' || *at > '~' || *at == '"' || *at == '\\')
            *at = '-';
    random_text(&lease->random, random, sizeof(random));
    snprintf(lease->identity, sizeof(lease->identity), "%s_%s", *host ? host : "unknown", random);
}

static int start_watch(struct kube_lease *lease, uv_loop_t *loop)
{
    struct kube_watch_options options = {
        .path = lease->collection,
        .handler = {on_upsert, on_removed, on_synced, lease},
    };
    char query[320];

    snprintf(query, sizeof(query), "fieldSelector=metadata.name%%3D%s", lease->options.name);
    options.query = query;
    return kube_watch_new(loop, lease->client, &options, &lease->watch);
}

int kube_lease_new(uv_loop_t *loop, struct kube_client *client,
                   const struct kube_lease_options *options, struct kube_lease **ret_lease)
{
    struct kube_lease *lease = calloc(1, sizeof(*lease));
    int error = 0;

    if (!lease)
        return -ENOMEM;
    lease->client = client;
    lease->options = *options;
    lease->options.namespace_name = strdup(options->namespace_name);
    lease->options.name = strdup(options->name);
    random_init(&lease->random);
    name_ourselves(lease);
    uv_timer_init(loop, &lease->tick);
    uv_timer_init(loop, &lease->deadline);
    lease->tick.data = lease->deadline.data = lease;
    lease->timers = 2;
    if (asprintf(&lease->collection, "/apis/coordination.k8s.io/v1/namespaces/%s/leases",
                 options->namespace_name) < 0)
        lease->collection = NULL;
    if (lease->collection && asprintf(&lease->path, "%s/%s", lease->collection, options->name) < 0)
        lease->path = NULL;
    if (!lease->path || !lease->options.namespace_name || !lease->options.name)
        error = -ENOMEM;
    if (!error)
        error = start_watch(lease, loop);
    if (error) {
        kube_lease_free(lease);
        return error;
    }
    uv_timer_start(&lease->tick, on_tick, 0, 0);
    *ret_lease = lease;
    return 0;
}

/* ---- for people ---- */

const char *kube_lease_name(const struct kube_lease *lease)
{
    return lease->options.name;
}

const char *kube_lease_identity(const struct kube_lease *lease)
{
    return lease->identity;
}

const char *kube_lease_holder(const struct kube_lease *lease)
{
    return lease->holder;
}

const char *kube_lease_trouble(const struct kube_lease *lease)
{
    return lease->trouble_code ? lease->trouble : NULL;
}
