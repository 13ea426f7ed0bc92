/*
 * watch: one resource, from the first list to the last event.
 *
 *      LISTING ──── complete ────▶ FOLLOWING ── ended by the server ─▶ FOLLOWING, same version
 *       ▲  ▲ └── failure ──▶ WAITING ◀── cut, 429, 5xx ──┘ │
 *       │  └─ version unknown ─┘ └─ version known ─▶ FOLLOWING
 *       └──────────────────────── 410 ─────────────────────┘ (after a wait, too)
 *
 * A list is asked for whole, which the API server answers from its cache (since 1.31), and read
 * item by item as it comes. Where it is cut off before its end, as what takes longer than a request
 * may, the next one is streamed: a watch that begins with what is there, says in a bookmark when
 * that was all, and goes on without a gap. (Streamed, an item costs the server half as much again:
 * it is encoded twice and sent alone.) A server that refuses to stream is listed in pages, which
 * come from etcd.
 *
 * Lists always ask for the most recent state (no resourceVersion): an older one, from a server that
 * lags, would make us take new objects for deleted.
 *
 * While nobody answers, others ask the same server, too (a Lease every 2 s): their first answer
 * ends the wait. A watch of which nothing was heard for longer than a bookmark takes is opened
 * anew.
 *
 * `version` is where to go on; empty, it is unknown and only a list helps. What a complete list has
 * not touched is gone (cache); one that fails at any point takes nothing away.
 *
 * Handlers may free the watch: after each call into one, `phase` says whether we still are.
 */
#include "controller/kube/watch.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "controller/kube/cache.h"
#include "lib/base/log.h"

enum {
    LINE_MAX_BYTES = 8 * 1024 * 1024, /* etcd stops at 1.5 MB, the API server at 3 MB */
    VERSION_SIZE = 129,
    PAGE_ITEMS = 2000,           /* of 500, a list takes the API server half as long again */
    PAGE_TIMEOUT_MS = 90 * 1000, /* the API server gives up after 60 s, and says so */
    WATCH_LEAST_S = 300,         /* a watch lasts this to twice this, so that reconnects spread */
    WATCH_SLACK_MS = 30 * 1000,
    WATCH_HEALTHY_MS = 1000,      /* one that ended sooner counts as failed */
    ANSWER_MOST_MS = 60 * 1000,   /* until the head of an answer */
    SILENCE_MOST_MS = 150 * 1000, /* the API server sends a bookmark a minute */
    WAIT_FIRST_MS = 800,
    WAIT_MOST_MS = 30 * 1000,
    WAIT_LOOK_MS = 500,              /* whether others are answered */
    WAIT_MISSING_MOST_MS = 5 * 1000, /* a CustomResourceDefinition comes any moment */
    WAIT_RETRY_AFTER_MOST_MS = 2 * 60 * 1000,
    WAIT_RESET_MS = 2 * 60 * 1000, /* of health */
    RETRY_AFTERS_MAX = 10,         /* in a row; then our own back-off has a say, too */
    REFUSALS_MAX = 5,              /* then the version itself may be the trouble: a restored etcd */
};

enum list_way { LIST_WHOLE, LIST_STREAMED, LIST_IN_PAGES };

enum watch_phase {
    WATCH_LISTING,
    WATCH_STREAMING_LIST,
    WATCH_FOLLOWING,
    WATCH_WAITING,
    WATCH_CLOSED
};

struct kube_watch {
    struct kube_client *client;
    struct kube_watch_handler handler;
    char *path, *query;
    uv_timer_t timer; /* of WAITING; of a stream: its silence */
    struct kube_request *request;
    enum watch_phase phase;
    struct kube_cache cache;
    struct kube_lines lines;
    struct kube_items page; /* a whole list is one page, too */

    char version[VERSION_SIZE];
    bool list_incomplete; /* an object of it could not be read */
    enum list_way way;    /* the first that has not failed here */
    char *page_token;     /* "continue"; NULL: the first page */
    bool synced;

    uint64_t silence_ms; /* most of a stream */
    uint64_t opened_ms;  /* when the request in flight was started */
    bool accepted;       /* it was answered */
    uint64_t healthy_ms; /* since when the server answers as it should; 0: it does not */
    uint64_t wait_ms;    /* the next back-off */
    uint64_t due_ms;     /* WAITING: its end */
    bool unreached;      /* WAITING: because nobody answered */
    uint64_t answers;    /* that the client had by then */
    unsigned refusals;   /* in a row */
    unsigned retry_afters;
    int trouble_code; /* HTTP status or negative errno; 0: none */
    char trouble[KUBE_MESSAGE_MAX + 32];
    struct kube_watch_counters counters;
};

/* Why a request did not do what it should. */
struct failure {
    int code; /* HTTP status, or a negative errno */
    const char *message;
    uint64_t retry_after_ms;
    bool unreached; /* nobody answered */
};

static void start(struct kube_watch *watch);

static uint64_t random_below(uint64_t bound)
{
    uint64_t number = 0;

    if (uv_random(NULL, NULL, &number, sizeof(number), 0, NULL))
        return bound / 2;
    return number % bound;
}

/* Waiting and what is wrong. */

static void on_look(uv_timer_t *timer);

static void look_within(struct kube_watch *watch, uint64_t wait_ms)
{
    if (watch->unreached && wait_ms > WAIT_LOOK_MS)
        wait_ms = WAIT_LOOK_MS;
    uv_timer_start(&watch->timer, on_look, wait_ms, 0);
}

static void on_look(uv_timer_t *timer)
{
    struct kube_watch *watch = timer->data;
    uint64_t now_ms = uv_now(timer->loop);
    bool answered = watch->unreached && kube_client_answers(watch->client) != watch->answers;

    if (answered || now_ms >= watch->due_ms)
        start(watch);
    else
        look_within(watch, watch->due_ms - now_ms);
}

static void wait_for(struct kube_watch *watch, uint64_t wait_ms)
{
    watch->phase = WATCH_WAITING;
    watch->answers = kube_client_answers(watch->client);
    watch->due_ms = uv_now(watch->timer.loop) + wait_ms;
    look_within(watch, wait_ms);
}

static void set_trouble(struct kube_watch *watch, const struct failure *failure)
{
    bool known = watch->trouble_code == failure->code;

    if (failure->code == 404)
        snprintf(watch->trouble, sizeof(watch->trouble),
                 "404: the API server does not know this resource: is its "
                 "CustomResourceDefinition applied?");
    else if (failure->code > 0)
        snprintf(watch->trouble, sizeof(watch->trouble), "%d: %s", failure->code, failure->message);
    else
        snprintf(watch->trouble, sizeof(watch->trouble), "%s", failure->message);
    watch->trouble_code = failure->code;
    if (!known)
        log_warn("cannot watch, retrying", LOG_TEXT("path", watch->path),
                 LOG_TEXT("error", watch->trouble));
}

/* The server does what it should. */
static void set_healthy(struct kube_watch *watch)
{
    if (!watch->healthy_ms)
        watch->healthy_ms = uv_now(watch->timer.loop);
    if (watch->trouble_code)
        log_info("watching again", LOG_TEXT("path", watch->path));
    watch->trouble_code = 0;
}

/* Full jitter: from nothing to the whole wait, so that many clients do not come back as one. What
 * the server itself asks for goes first. */
static uint64_t next_wait_ms(struct kube_watch *watch, const struct failure *failure)
{
    uint64_t now_ms = uv_now(watch->timer.loop), wait_ms;
    uint64_t asked_ms = failure->retry_after_ms;
    uint64_t most_ms = failure->code == 404 ? WAIT_MISSING_MOST_MS : WAIT_MOST_MS;

    if (asked_ms > WAIT_RETRY_AFTER_MOST_MS)
        asked_ms = WAIT_RETRY_AFTER_MOST_MS;
    watch->retry_afters = asked_ms ? watch->retry_afters + 1 : 0;
    if (asked_ms && watch->retry_afters <= RETRY_AFTERS_MAX)
        return asked_ms + random_below(WAIT_FIRST_MS);
    if (!watch->wait_ms || (watch->healthy_ms && now_ms - watch->healthy_ms >= WAIT_RESET_MS))
        watch->wait_ms = WAIT_FIRST_MS;
    wait_ms = watch->wait_ms < most_ms ? watch->wait_ms : most_ms;
    watch->wait_ms = wait_ms > most_ms / 2 ? most_ms : 2 * wait_ms;
    return 1 + asked_ms + random_below(wait_ms);
}

static void forget_page(struct kube_watch *watch)
{
    free(watch->page_token);
    watch->page_token = NULL;
}

/* The only way to WAITING. Decides whether to go on from the same version or page, or to list. */
static void fail(struct kube_watch *watch, const struct failure *failure)
{
    int code = failure->code;
    bool passing =
        code < 0 || code == 401 || code == 403 || code == 404 || code == 429 || code >= 500;

    kube_request_cancel(watch->request);
    watch->request = NULL;
    watch->counters.failures++;
    if (code > 0 && code != 429)
        watch->refusals++;
    if (!passing || watch->refusals >= REFUSALS_MAX) {
        watch->version[0] = '\0';
        forget_page(watch);
        watch->refusals = 0;
    }
    /* An expired version is nobody's trouble: the list that follows is. */
    if (code != 410)
        set_trouble(watch, failure);
    watch->unreached = failure->unreached;
    wait_for(watch, next_wait_ms(watch, failure));
    watch->healthy_ms = 0;
}

/* The trouble is ours: what of a list was read may not be all up to here. */
static void fail_with(struct kube_watch *watch, int code, const char *message)
{
    forget_page(watch);
    fail(watch, &(struct failure){.code = code, .message = message});
}

static void fail_response(struct kube_watch *watch, const struct kube_response *response)
{
    fail(watch, &(struct failure){.code = response->error ? response->error : response->status,
                                  .message = response->message,
                                  .retry_after_ms = response->retry_after_ms,
                                  .unreached = !response->status});
}

/* Objects. */

static bool is_open(const struct kube_watch *watch)
{
    return watch->phase != WATCH_WAITING && watch->phase != WATCH_CLOSED;
}

static void move_version(struct kube_watch *watch, struct str version)
{
    assert(version.len < sizeof(watch->version));
    snprintf(watch->version, sizeof(watch->version), STR_FMT, STR_ARG(version));
}

static void on_upsert(struct kube_watch *watch, const struct kube_object *object)
{
    int news = kube_cache_see(&watch->cache, object);

    if (news < 0) {
        watch->version[0] = '\0';
        fail_with(watch, news, "out of memory");
    } else if (news) {
        watch->handler.upsert(watch->handler.context, object);
    }
}

static void on_deleted(struct kube_watch *watch, const struct kube_object *object)
{
    if (kube_cache_remove(&watch->cache, object))
        watch->handler.removed(watch->handler.context, object->namespace_name, object->name);
}

static bool on_gone(void *context, struct str namespace_name, struct str name)
{
    struct kube_watch *watch = context;

    watch->handler.removed(watch->handler.context, namespace_name, name);
    return watch->phase != WATCH_CLOSED;
}

/* Everything that is there was delivered, at `version`. */
static void complete_list(struct kube_watch *watch)
{
    if (watch->list_incomplete) {
        watch->version[0] = '\0';
        fail_with(watch, -EMSGSIZE, "the list has an object that is too large to read");
        return;
    }
    kube_cache_sweep(&watch->cache, on_gone, watch);
    if (watch->phase == WATCH_CLOSED)
        return;
    watch->phase = WATCH_FOLLOWING;
    watch->synced = true;
    set_healthy(watch);
    watch->handler.synced(watch->handler.context);
}

/* The stream. */

static void on_event(struct kube_watch *watch, const struct kube_event *event)
{
    const struct kube_object *object = &event->object;
    char message[KUBE_MESSAGE_MAX];
    struct failure failure;

    watch->counters.events++;
    switch (event->type) {
    case KUBE_EVENT_ADDED:
    case KUBE_EVENT_MODIFIED:
        on_upsert(watch, object);
        break;
    case KUBE_EVENT_DELETED:
        on_deleted(watch, object);
        break;
    case KUBE_EVENT_BOOKMARK:
        break;
    case KUBE_EVENT_ERROR:
        snprintf(message, sizeof(message), STR_FMT, STR_ARG(event->failure.message));
        failure = (struct failure){.code = event->failure.code > 0 ? event->failure.code : 500,
                                   .message = message,
                                   .retry_after_ms = event->failure.retry_after_ms};
        fail(watch, &failure);
        return;
    }
    watch->refusals = 0;
    watch->retry_afters = 0;
    /* A list's objects come in no order of versions: only its end says where it stands. */
    if (watch->phase == WATCH_STREAMING_LIST && event->initial_end) {
        move_version(watch, object->resource_version);
        complete_list(watch);
    } else if (watch->phase == WATCH_FOLLOWING) {
        move_version(watch, object->resource_version);
    }
}

static void on_line(struct kube_watch *watch, struct str line)
{
    struct kube_event event;
    int error = kube_event_read(line, &event);

    if (error) {
        fail_with(watch, error,
                  error == -ENOMEM ? "out of memory" : "an event that makes no sense");
        return;
    }
    on_event(watch, &event);
    kube_event_done(&event);
}

static void on_skipped(struct kube_watch *watch)
{
    watch->counters.skipped++;
    watch->list_incomplete = true;
    log_error("an object is too large to read and was skipped", LOG_TEXT("path", watch->path),
              LOG_U64("limit", LINE_MAX_BYTES));
}

static void on_data(void *context, struct str bytes)
{
    struct kube_watch *watch = context;
    struct str line;
    enum kube_line kind;

    uv_timer_again(&watch->timer);
    while (is_open(watch) &&
           (kind = kube_lines_next(&watch->lines, &bytes, &line)) != KUBE_LINE_NONE) {
        if (kind == KUBE_LINE_WHOLE)
            on_line(watch, line);
        else
            on_skipped(watch);
    }
}

static void on_accepted(void *context)
{
    struct kube_watch *watch = context;

    watch->accepted = true;
    uv_timer_again(&watch->timer);
    if (watch->phase == WATCH_FOLLOWING)
        set_healthy(watch);
}

/* A peer that has forgotten the connection, or is stuck. A server without a watch cache sends no
 * bookmarks: that is nobody's trouble, as long as it takes up the next watch. */
static void on_silence(uv_timer_t *timer)
{
    struct kube_watch *watch = timer->data;

    if (watch->phase == WATCH_STREAMING_LIST || !watch->accepted) {
        fail_with(watch, -ETIMEDOUT, "the API server has fallen silent");
        return;
    }
    log_info("a watch is silent, opening it anew", LOG_TEXT("path", watch->path));
    kube_request_cancel(watch->request);
    watch->request = NULL;
    start(watch);
}

static void on_stream_done(void *context, const struct kube_response *response)
{
    struct kube_watch *watch = context;
    bool ended = response->error == 0 && response->status == 200;

    watch->request = NULL;
    if (watch->phase == WATCH_STREAMING_LIST &&
        (response->status == 400 || response->status == 422)) {
        watch->way = LIST_IN_PAGES; /* sendInitialEvents is forbidden or unknown there */
        start(watch);
    } else if (!ended) {
        fail_response(watch, response);
    } else if (watch->phase == WATCH_STREAMING_LIST) {
        fail_with(watch, -EIO, "the list was cut");
    } else if (uv_now(watch->timer.loop) - watch->opened_ms < WATCH_HEALTHY_MS) {
        fail_with(watch, -EIO, "the watch ended at once");
    } else {
        start(watch);
    }
}

/* Pages. */

static bool is_token(struct str text)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];

        if (!((c >= '0' && c <= '9') || (str_lower_byte(c) >= 'a' && str_lower_byte(c) <= 'z') ||
              c == '-' || c == '_' || c == '=' || c == '.'))
            return false;
    }
    return true;
}

/* What a page says of itself: its version and where the next one begins. */
static int read_page_head(struct kube_watch *watch, yyjson_val *root)
{
    yyjson_val *metadata = yyjson_obj_get(root, "metadata");
    yyjson_val *version = yyjson_obj_get(metadata, "resourceVersion");
    yyjson_val *items = yyjson_obj_get(root, "items");
    yyjson_val *more = yyjson_obj_get(metadata, "continue");
    struct str token = kube_text(more);

    if (!yyjson_is_str(version) || yyjson_get_len(version) == 0 ||
        yyjson_get_len(version) >= sizeof(watch->version) || !yyjson_is_arr(items) ||
        yyjson_arr_size(items) != watch->page.count ||
        (more && !yyjson_is_null(more) && !yyjson_is_str(more)) || !is_token(token))
        return -EBADMSG;
    forget_page(watch);
    if (token.len) {
        watch->page_token = strndup(token.ptr, token.len);
        return watch->page_token ? 0 : -ENOMEM;
    }
    move_version(watch, str_make(yyjson_get_str(version), yyjson_get_len(version)));
    return 0;
}

static void fail_page(struct kube_watch *watch, int error)
{
    watch->version[0] = '\0';
    fail_with(watch, error, error == -ENOMEM ? "out of memory" : "a list that makes no sense");
}

static void on_item(struct kube_watch *watch, struct str item)
{
    struct kube_event event;
    int error = kube_item_read(item, &event);

    if (error) {
        fail_page(watch, error);
        return;
    }
    watch->counters.events++;
    on_upsert(watch, &event.object);
    kube_event_done(&event);
}

static void on_page_data(void *context, struct str bytes)
{
    struct kube_watch *watch = context;
    struct str item;
    enum kube_line kind;

    while (is_open(watch) &&
           (kind = kube_items_next(&watch->page, &bytes, &item)) != KUBE_LINE_NONE) {
        if (kind == KUBE_LINE_WHOLE)
            on_item(watch, item);
        else
            on_skipped(watch);
    }
}

static void stop_listing_whole(struct kube_watch *watch)
{
    if (watch->way == LIST_WHOLE)
        watch->way = LIST_STREAMED;
}

static void on_page_end(struct kube_watch *watch)
{
    struct str rest = buffer_view(&watch->page.rest);
    yyjson_doc *document = yyjson_read(rest.ptr, rest.len, 0);
    int error = document ? read_page_head(watch, yyjson_doc_get_root(document)) : -EBADMSG;

    yyjson_doc_free(document);
    if (!kube_items_complete(&watch->page))
        stop_listing_whole(watch); /* whoever is in between has cut it off properly */
    kube_items_reset(&watch->page);
    if (error) {
        fail_page(watch, error);
        return;
    }
    watch->refusals = 0;
    if (!watch->page_token)
        complete_list(watch);
    if (is_open(watch))
        start(watch);
}

static void on_page_done(void *context, const struct kube_response *response)
{
    struct kube_watch *watch = context;

    watch->request = NULL;
    if (response->error == 0 && response->status == 200) {
        on_page_end(watch);
        return;
    }
    if (response->status == 200 || response->status == 504)
        stop_listing_whole(watch);
    fail_response(watch, response);
}

/* Requests. */

static void start_request(struct kube_watch *watch, char *path, struct kube_request_options options)
{
    int error = -ENOMEM;

    if (path) {
        options.method = "GET";
        options.path = path;
        options.context = watch;
        error = kube_request_start(watch->client, &options, &watch->request);
        free(path);
    }
    watch->opened_ms = uv_now(watch->timer.loop);
    if (error)
        fail_with(watch, error, "out of memory");
}

/* parameters: of the version to begin with. */
static void start_stream(struct kube_watch *watch, const char *parameters, const char *version)
{
    unsigned seconds = WATCH_LEAST_S + (unsigned)random_below(WATCH_LEAST_S);
    char *path;

    watch->counters.watches++;
    watch->accepted = false;
    uv_timer_start(&watch->timer, on_silence,
                   watch->silence_ms < ANSWER_MOST_MS ? watch->silence_ms : ANSWER_MOST_MS,
                   watch->silence_ms);
    kube_lines_reset(&watch->lines);
    if (asprintf(&path, "%s?watch=true&allowWatchBookmarks=true&timeoutSeconds=%u&%s%s%s%s",
                 watch->path, seconds, parameters, version, watch->query ? "&" : "",
                 watch->query ? watch->query : "") < 0)
        path = NULL;
    start_request(watch, path,
                  (struct kube_request_options){.timeout_ms = seconds * 1000 + WATCH_SLACK_MS,
                                                .accepted = on_accepted,
                                                .data = on_data,
                                                .done = on_stream_done});
}

static void start_page(struct kube_watch *watch)
{
    char *path;

    kube_items_reset(&watch->page);
    if (asprintf(&path, "%s?limit=%u%s%s%s%s", watch->path,
                 watch->way == LIST_WHOLE ? 0 : (unsigned)PAGE_ITEMS,
                 watch->page_token ? "&continue=" : "", watch->page_token ? watch->page_token : "",
                 watch->query ? "&" : "", watch->query ? watch->query : "") < 0)
        path = NULL;
    start_request(watch, path,
                  (struct kube_request_options){
                      .timeout_ms = PAGE_TIMEOUT_MS, .data = on_page_data, .done = on_page_done});
}

static void start_list(struct kube_watch *watch)
{
    forget_page(watch); /* of a list that is given up: its objects would count as missing */
    kube_cache_begin_list(&watch->cache);
    watch->list_incomplete = false;
    watch->counters.lists++;
}

/* The next request, from what is known. */
static void start(struct kube_watch *watch)
{
    assert(!watch->request && watch->phase != WATCH_CLOSED);
    uv_timer_stop(&watch->timer);
    if (watch->version[0]) {
        watch->phase = WATCH_FOLLOWING;
        start_stream(watch, "resourceVersion=", watch->version);
    } else if (watch->way == LIST_STREAMED) {
        watch->phase = WATCH_STREAMING_LIST;
        start_list(watch);
        start_stream(watch, "sendInitialEvents=true&resourceVersionMatch=NotOlderThan", "");
    } else {
        watch->phase = WATCH_LISTING;
        if (!watch->page_token)
            start_list(watch);
        start_page(watch);
    }
}

/* The whole. */

static void on_closed(uv_handle_t *handle)
{
    struct kube_watch *watch = handle->data;

    kube_cache_done(&watch->cache);
    kube_lines_done(&watch->lines);
    kube_items_done(&watch->page);
    forget_page(watch);
    free(watch->path);
    free(watch->query);
    free(watch);
}

int kube_watch_new(uv_loop_t *loop, struct kube_client *client,
                   const struct kube_watch_options *options, struct kube_watch **ret_watch)
{
    struct kube_watch *watch = calloc(1, sizeof(*watch));
    int error;

    assert(options->handler.upsert && options->handler.removed && options->handler.synced);
    if (!watch)
        return -ENOMEM;
    error = uv_timer_init(loop, &watch->timer);
    if (error) {
        free(watch);
        return error;
    }
    watch->timer.data = watch;
    watch->client = client;
    watch->handler = options->handler;
    watch->silence_ms = options->silence_ms ? options->silence_ms : SILENCE_MOST_MS;
    kube_cache_init(&watch->cache);
    kube_lines_init(&watch->lines, LINE_MAX_BYTES);
    kube_items_init(&watch->page, LINE_MAX_BYTES);
    watch->path = strdup(options->path);
    watch->query = options->query ? strdup(options->query) : NULL;
    if (!watch->path || (options->query && !watch->query)) {
        kube_watch_free(watch);
        return -ENOMEM;
    }
    if (options->wait_ms)
        wait_for(watch, options->wait_ms);
    else
        start(watch);
    *ret_watch = watch;
    return 0;
}

void kube_watch_free(struct kube_watch *watch)
{
    if (!watch)
        return;
    assert(watch->phase != WATCH_CLOSED);
    watch->phase = WATCH_CLOSED;
    kube_request_cancel(watch->request);
    watch->request = NULL;
    uv_close((uv_handle_t *)&watch->timer, on_closed);
}

void kube_watch_relist(struct kube_watch *watch)
{
    assert(watch->phase != WATCH_CLOSED);
    kube_request_cancel(watch->request);
    watch->request = NULL;
    forget_page(watch);
    watch->version[0] = '\0';
    watch->synced = false;
    uv_timer_stop(&watch->timer);
    start(watch);
}

bool kube_watch_synced(const struct kube_watch *watch)
{
    return watch->synced;
}

const char *kube_watch_trouble(const struct kube_watch *watch)
{
    return watch->trouble_code ? watch->trouble : NULL;
}

void kube_watch_count(const struct kube_watch *watch, struct kube_watch_counters *ret_counters)
{
    *ret_counters = watch->counters;
    ret_counters->items = watch->cache.items.count;
}
