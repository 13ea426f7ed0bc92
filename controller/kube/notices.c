/*
 * notices: a short queue, one request in flight, and a memory of the last Events. Core/v1 and not
 * events.k8s.io: both are the same objects in the API server, but only the older form has the count
 * and the two times that kubectl shows for repeated ones.
 *
 * Two limits: a bucket for all of them, whose second half is for warnings only, so that a thousand
 * Routes that work do not hide the one that does not; and a second between two of the same Route
 * and reason, which then count as one more when the next comes.
 */
#include "controller/kube/notices.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "lib/base/digest.h"
#include "lib/base/log.h"

enum {
    BUCKET = 64,
    REFILL_MS = 200,
    SAME_GAP_MS = 1000,
    SAME_FOR_MS = 10 * 60 * 1000, /* the API server forgets Events after an hour */
    QUEUE_MAX = 64,
    KNOWN_MAX = 256,
    BODY_MAX = 16 * 1024,
    REQUEST_TIMEOUT_MS = 10 * 1000,
    HOST_SIZE = 128,
    ID_SIZE = 17,
    SUFFIX_MAX = 1 + ID_SIZE - 1,
};

#define COMPONENT "metropolis-controller"

/* An Event that we wrote. */
struct known {
    uint64_t what; /* digest of uid and reason; 0: free */
    uint64_t last_ms;
    int64_t first_s;
    unsigned count;
    char id[ID_SIZE]; /* of its name */
};

struct notice {
    struct notice *next;
    struct known *known;
    uint64_t what; /* known may have been given to another meanwhile */
    bool warning, again;
    struct str namespace_name, name, uid, version, reason, message; /* in text */
    char text[];
};

struct kube_notices {
    struct kube_client *client;
    uv_timer_t timer; /* runs the queue outside of its users' calls */
    struct kube_request *request;
    struct notice *first, *last; /* first: the one in flight, while there is a request */
    size_t waiting;
    struct known known[KNOWN_MAX];
    size_t oldest; /* the next to be replaced */
    unsigned tokens;
    uint64_t filled_ms;
    int trouble;
    struct kube_notices_counters counters;
    char host[HOST_SIZE];
};

static void on_turn(uv_timer_t *timer);

/* ---- what is worth telling ---- */

enum { ACCEPTED, PROGRAMMED };

static const struct rule {
    int condition;
    char status;        /* as in status_memory */
    const char *reason; /* NULL: any */
    const char *before; /* the statuses that it must have had; NULL: any, but said otherwise */
    bool warning;
} rules[] = {
    {ACCEPTED, 'F', NULL, NULL, true},
    {ACCEPTED, 'T', NULL, "F", false},
    {PROGRAMMED, 'F', "RejectedByGateway", NULL, true},
    {PROGRAMMED, 'T', NULL, "FU-", false},
};

enum { RULES = sizeof(rules) / sizeof(rules[0]) };

static bool is_news(const struct rule *rule, const struct status_memory *before,
                    const struct status_memory *after)
{
    char was = before->conditions[rule->condition].status;

    if (after->conditions[rule->condition].status != rule->status)
        return false;
    if (rule->before)
        return strchr(rule->before, was ? was : '-');
    return was != rule->status ||
           before->conditions[rule->condition].said != after->conditions[rule->condition].said;
}

unsigned kube_notices_choose(const struct status_memory *before, const struct status_doc *after)
{
    struct status_memory memory = status_doc_remember(after);
    unsigned chosen = 0;

    for (size_t i = 0; i < RULES; i++) {
        struct str reason = after->conditions[rules[i].condition].reason;

        if (is_news(&rules[i], before, &memory) &&
            (!rules[i].reason || str_equal(reason, str_from(rules[i].reason))))
            chosen |= 1U << i;
    }
    return chosen;
}

/* ---- limits ---- */

static bool take_token(struct kube_notices *notices, bool warning)
{
    uint64_t now_ms = uv_now(notices->timer.loop);
    uint64_t gained = (now_ms - notices->filled_ms) / REFILL_MS;

    notices->filled_ms += gained * REFILL_MS;
    notices->tokens =
        gained > BUCKET - notices->tokens ? BUCKET : notices->tokens + (unsigned)gained;
    if (notices->tokens <= (warning ? 0 : BUCKET / 2))
        return false;
    notices->tokens--;
    return true;
}

static struct known *find_known(struct kube_notices *notices, uint64_t what)
{
    uint64_t now_ms = uv_now(notices->timer.loop);

    for (size_t i = 0; i < KNOWN_MAX; i++)
        if (notices->known[i].what == what && now_ms - notices->known[i].last_ms < SAME_FOR_MS)
            return &notices->known[i];
    return NULL;
}

static struct known *add_known(struct kube_notices *notices, uint64_t what)
{
    struct known *known = &notices->known[notices->oldest];
    uint64_t id = 0;

    notices->oldest = (notices->oldest + 1) % KNOWN_MAX;
    if (uv_random(NULL, NULL, &id, sizeof(id), 0, NULL))
        id = uv_hrtime();
    *known = (struct known){.what = what, .first_s = time(NULL)};
    snprintf(known->id, sizeof(known->id), "%016llx", (unsigned long long)id);
    return known;
}

/* ---- the queue ---- */

static struct str keep(struct str text, char **room)
{
    struct str kept = str_make(*room, text.len);

    memcpy(*room, text.ptr ? text.ptr : "", text.len);
    *room += text.len;
    return kept;
}

static struct notice *notice_new(const struct kube_object *route,
                                 const struct status_condition *condition)
{
    struct notice *notice =
        malloc(sizeof(*notice) + route->namespace_name.len + route->name.len + route->uid.len +
               route->resource_version.len + condition->reason.len + condition->message.len);
    char *room;

    if (!notice)
        return NULL;
    room = notice->text;
    *notice = (struct notice){0};
    notice->namespace_name = keep(route->namespace_name, &room);
    notice->name = keep(route->name, &room);
    notice->uid = keep(route->uid, &room);
    notice->version = keep(route->resource_version, &room);
    notice->reason = keep(condition->reason, &room);
    notice->message = keep(condition->message, &room);
    return notice;
}

static void drop_first(struct kube_notices *notices)
{
    struct notice *notice = notices->first;

    notices->first = notice->next;
    if (!notices->first)
        notices->last = NULL;
    notices->waiting--;
    free(notice);
}

static void tell_one(struct kube_notices *notices, const struct kube_object *route,
                     const struct status_condition *condition, bool warning)
{
    uint64_t what = digest_bytes(digest_empty, route->uid.ptr, route->uid.len);
    struct known *known;
    struct notice *notice = NULL;
    bool again;

    what = digest_bytes(what, condition->reason.ptr, condition->reason.len);
    known = find_known(notices, what);
    again = known;
    if (again)
        known->count++;
    if (again && uv_now(notices->timer.loop) - known->last_ms < SAME_GAP_MS)
        return;
    if (notices->waiting < QUEUE_MAX && take_token(notices, warning))
        notice = notice_new(route, condition);
    if (!notice) {
        notices->counters.dropped++;
        return;
    }
    if (!again) {
        known = add_known(notices, what);
        known->count = 1;
    }
    known->last_ms = uv_now(notices->timer.loop);
    notice->known = known;
    notice->what = what;
    notice->warning = warning;
    notice->again = again;
    if (notices->last)
        notices->last->next = notice;
    else
        notices->first = notice;
    notices->last = notice;
    notices->waiting++;
    if (!notices->request)
        uv_timer_start(&notices->timer, on_turn, 0, 0);
}

void kube_notices_tell(struct kube_notices *notices, const struct kube_object *route,
                       const struct status_doc *status, unsigned chosen)
{
    for (size_t i = 0; i < RULES; i++)
        if (chosen & 1U << i)
            tell_one(notices, route, &status->conditions[rules[i].condition], rules[i].warning);
}

/* ---- the Event ---- */

static bool add(yyjson_mut_doc *json, yyjson_mut_val *object, const char *key, struct str text)
{
    return yyjson_mut_obj_add_strn(json, object, key, text.ptr ? text.ptr : "", text.len);
}

static bool add_time(yyjson_mut_doc *json, yyjson_mut_val *object, const char *key, int64_t unix_s)
{
    char text[KUBE_TIME_SIZE];

    kube_time_write(unix_s, text);
    return yyjson_mut_obj_add_strcpy(json, object, key, text);
}

/* What changes when it happens again. */
static bool add_news(yyjson_mut_doc *json, yyjson_mut_val *root, const struct notice *notice)
{
    return add(json, root, "message", notice->message) &&
           add_time(json, root, "lastTimestamp", time(NULL)) &&
           yyjson_mut_obj_add_uint(json, root, "count", notice->known->count);
}

/* The Route's name, cut to leave room, and an id: unique, and a name as Kubernetes wants it. */
static void name_event(const struct notice *notice, char name[KUBE_NAME_MAX + 1])
{
    size_t length = notice->name.len;

    if (length > KUBE_NAME_MAX - SUFFIX_MAX)
        length = KUBE_NAME_MAX - SUFFIX_MAX;
    while (length && (notice->name.ptr[length - 1] == '.' || notice->name.ptr[length - 1] == '-'))
        length--;
    snprintf(name, KUBE_NAME_MAX + 1, "%.*s.%s", (int)length, notice->name.ptr, notice->known->id);
}

static bool add_event(const struct kube_notices *notices, const struct notice *notice,
                      yyjson_mut_doc *json, yyjson_mut_val *root)
{
    yyjson_mut_val *metadata = yyjson_mut_obj(json), *route = yyjson_mut_obj(json);
    yyjson_mut_val *source = yyjson_mut_obj(json);
    char name[KUBE_NAME_MAX + 1];

    name_event(notice, name);
    return yyjson_mut_obj_add_val(json, root, "metadata", metadata) &&
           yyjson_mut_obj_add_strcpy(json, metadata, "name", name) &&
           add(json, metadata, "namespace", notice->namespace_name) &&
           yyjson_mut_obj_add_val(json, root, "involvedObject", route) &&
           add(json, route, "apiVersion", STR_LIT("metropolis.dev/v1alpha1")) &&
           add(json, route, "kind", STR_LIT("Route")) &&
           add(json, route, "namespace", notice->namespace_name) &&
           add(json, route, "name", notice->name) && add(json, route, "uid", notice->uid) &&
           add(json, route, "resourceVersion", notice->version) &&
           add(json, root, "type", notice->warning ? STR_LIT("Warning") : STR_LIT("Normal")) &&
           add(json, root, "reason", notice->reason) &&
           yyjson_mut_obj_add_val(json, root, "source", source) &&
           add(json, source, "component", STR_LIT(COMPONENT)) &&
           add(json, source, "host", str_from(notices->host)) &&
           add(json, root, "reportingComponent", STR_LIT(COMPONENT)) &&
           add(json, root, "reportingInstance", str_from(notices->host)) &&
           add_time(json, root, "firstTimestamp", notice->known->first_s);
}

static int write_body(const struct kube_notices *notices, const struct notice *notice,
                      struct buffer *body)
{
    yyjson_mut_doc *json = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *root = yyjson_mut_obj(json);
    char *text = NULL;
    size_t length;
    int error = -ENOMEM;

    yyjson_mut_doc_set_root(json, root);
    if ((notice->again || add_event(notices, notice, json, root)) && add_news(json, root, notice))
        text = yyjson_mut_write(json, 0, &length);
    if (text)
        error = buffer_append(body, text, length);
    free(text);
    yyjson_mut_doc_free(json);
    return error;
}

/* ---- requests ---- */

static void on_done(void *context, const struct kube_response *response)
{
    struct kube_notices *notices = context;
    struct notice *notice = notices->first;
    int code = response->error ? response->error : response->status;

    notices->request = NULL;
    if (code >= 200 && code <= 299) {
        notices->counters.written++;
        notices->trouble = 0;
    } else {
        notices->counters.dropped++;
        if (notice->known->what == notice->what)
            notice->known->what = 0; /* it may not be there: the next one is new */
        if (code != notices->trouble)
            log_warn("cannot write an Event", LOG_STR("route", notice->name), LOG_I64("code", code),
                     LOG_TEXT("error", response->message));
        notices->trouble = code;
    }
    drop_first(notices);
    if (notices->first)
        uv_timer_start(&notices->timer, on_turn, 0, 0);
}

static int start(struct kube_notices *notices)
{
    const struct notice *notice = notices->first;
    struct kube_request_options options = {
        .method = notice->again ? "PATCH" : "POST",
        .content_type = notice->again ? "application/merge-patch+json" : "application/json",
        .timeout_ms = REQUEST_TIMEOUT_MS,
        .done = on_done,
        .context = notices};
    char path[128 + KUBE_NAMESPACE_MAX + KUBE_NAME_MAX], name[KUBE_NAME_MAX + 1];
    struct buffer body;
    int error;

    if (notice->known->what != notice->what)
        return -ENOENT;
    name_event(notice, name);
    snprintf(path, sizeof(path), "/api/v1/namespaces/" STR_FMT "/events%s%s",
             STR_ARG(notice->namespace_name), notice->again ? "/" : "", notice->again ? name : "");
    buffer_init(&body, BODY_MAX);
    error = write_body(notices, notice, &body);
    options.path = path;
    options.body = buffer_view(&body);
    if (!error)
        error = kube_request_start(notices->client, &options, &notices->request);
    buffer_done(&body);
    return error;
}

static void on_turn(uv_timer_t *timer)
{
    struct kube_notices *notices = timer->data;

    while (notices->first && !notices->request)
        if (start(notices)) {
            notices->counters.dropped++;
            drop_first(notices);
        }
}

/* ---- the whole ---- */

int kube_notices_new(uv_loop_t *loop, struct kube_client *client, struct kube_notices **ret_notices)
{
    struct kube_notices *notices = calloc(1, sizeof(*notices));
    size_t size = HOST_SIZE;
    int error;

    if (!notices)
        return -ENOMEM;
    error = uv_timer_init(loop, &notices->timer);
    if (error) {
        free(notices);
        return error;
    }
    notices->timer.data = notices;
    notices->client = client;
    notices->tokens = BUCKET;
    notices->filled_ms = uv_now(loop);
    if (uv_os_gethostname(notices->host, &size))
        snprintf(notices->host, sizeof(notices->host), "unknown");
    *ret_notices = notices;
    return 0;
}

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void kube_notices_free(struct kube_notices *notices)
{
    if (!notices)
        return;
    kube_request_cancel(notices->request);
    while (notices->first)
        drop_first(notices);
    uv_close((uv_handle_t *)&notices->timer, on_closed);
}

struct kube_notices_counters kube_notices_count(const struct kube_notices *notices)
{
    return notices->counters;
}
