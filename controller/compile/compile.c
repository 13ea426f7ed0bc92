/*
 * compile: one record per Route, and per gateway a route table (lib/route) of what it shall serve.
 *
 *      upsert: read the spec ──▶ record.next ──▶ changed, queue ─┐
 *      remove: nothing       ──▶ record.next ──▶ changed, queue ─┤ flush (at once, or at the first
 *                                                                ▼ synced):
 *          changed: entries out ─▶ tables changed, one batch per gateway ─▶ rivals queued
 *          queue: verdicts out
 *
 * So a later change is a batch of one. The verdicts on the first list have to wait for its end; but
 * while it comes, which takes the API server a while, what has changed is absorbed now and then, so
 * that little else is left to do when the last Route is known. Which Routes a
 * change can touch follows from the table: those that ask exactly what the changed Route asks or
 * asked (verdict_each_touched). A verdict is computed anew, never patched, and told when it differs
 * from what was last said.
 *
 * A Route that is invalid, or denied by the policy, keeps serving the last good generation of its
 * uid, if the policy allows that one. It is what the record still serves or, after a restart, what
 * the gateway's bucket holds (handler.stored). Another policy judges every Route anew (settle), but
 * only what that changes goes through the queue.
 */
#include "controller/compile/compile.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "controller/compile/verdict.h"
#include "lib/base/digest.h"
#include "lib/base/map.h"
#include "lib/wire/table_codec.h"

enum { CHANGED_MAX = 8192 }; /* Routes of the first list that may gather */

enum problem { PROBLEM_NONE, PROBLEM_INVALID, PROBLEM_NO_GATEWAY, PROBLEM_DENIED };

struct record {
    struct map_node node; /* key: label */
    char *label;          /* "namespace/name" */
    struct str namespace_name, name;
    char *uid;
    int64_t generation; /* the newest seen */
    struct compile_memory memory;

    enum problem problem; /* of the newest generation */
    char *problem_text;   /* NULL: none */

    struct route *newest;  /* the newest generation, when it is valid and its gateway is there */
    struct route *serving; /* in its gateway's table; NULL: nothing */
    int gateway;           /* of serving; -1 */
    struct route *next;    /* what shall serve once the queue is flushed */
    int next_gateway;
    bool removed;

    bool changed, queued; /* in the lists of what shall serve, and of whose verdict is due */
    struct record *changed_next, *queue_next;

    uint64_t said;        /* digest of the last verdict; 0: none yet */
    uint64_t *said_count; /* where that is counted */
};

struct gateway {
    char *name;
    struct route_table *table;
};

struct compile {
    struct compile_handler handler;
    unsigned gateway_count;
    struct gateway gateways[COMPILE_GATEWAYS_MAX];
    char *gateway_names; /* "default, edge" */
    struct map records;
    struct record *changed, **changed_end;
    size_t changed_count;
    struct record *queue, **queue_end;
    bool synced;
    struct compile_counts counts;
    struct policy *policy; /* NULL: there is none */
    struct buffer scratch; /* an entry's value, or a reason */
};

/* ---- life ---- */

struct compile *compile_new(const char *const *names, unsigned count,
                            const struct compile_handler *handler)
{
    struct compile *compile = calloc(1, sizeof(*compile));
    struct buffer list;
    int error = 0;

    assert(count > 0 && count <= COMPILE_GATEWAYS_MAX);
    if (!compile)
        return NULL;
    compile->handler = *handler;
    compile->changed_end = &compile->changed;
    compile->queue_end = &compile->queue;
    map_init(&compile->records);
    buffer_init(&compile->scratch, ROUTE_SOURCE_MAX);
    buffer_init(&list, 64 * 1024);
    for (; compile->gateway_count < count && !error; compile->gateway_count++) {
        struct gateway *gateway = &compile->gateways[compile->gateway_count];

        gateway->name = strdup(names[compile->gateway_count]);
        gateway->table = route_table_new();
        error =
            gateway->name && gateway->table
                ? buffer_printf(&list, "%s%s", compile->gateway_count ? ", " : "", gateway->name)
                : -ENOMEM;
    }
    compile->gateway_names = error ? NULL : strndup(list.data + list.start, buffer_length(&list));
    buffer_done(&list);
    if (compile->gateway_names)
        return compile;
    compile_free(compile);
    return NULL;
}

static void free_record(struct compile *compile, struct record *record)
{
    map_remove(&compile->records, &record->node);
    if (record->said_count)
        --*record->said_count;
    if (record->next != record->serving)
        route_unref(record->next);
    route_unref(record->serving);
    route_unref(record->newest);
    free(record->label);
    free(record->uid);
    free(record->problem_text);
    free(record);
}

void compile_free(struct compile *compile)
{
    struct map_node *node, *next;

    if (!compile)
        return;
    for (node = map_next(&compile->records, NULL); node; node = next) {
        next = map_next(&compile->records, node);
        free_record(compile, MAP_ELEMENT(node, struct record, node));
    }
    map_done(&compile->records);
    for (unsigned i = 0; i < compile->gateway_count; i++) {
        free(compile->gateways[i].name);
        route_table_unref(compile->gateways[i].table);
    }
    free(compile->gateway_names);
    policy_free(compile->policy);
    buffer_done(&compile->scratch);
    free(compile);
}

/* "namespace/name" into label, of namespace_name.len + name.len + 2 bytes. */
static struct str write_label(struct str namespace_name, struct str name, char *label)
{
    char *at = label;

    if (namespace_name.len)
        at = mempcpy(at, namespace_name.ptr, namespace_name.len);
    *at++ = '/';
    if (name.len)
        at = mempcpy(at, name.ptr, name.len);
    *at = '\0';
    return str_make(label, (size_t)(at - label));
}

static struct record *find_record(const struct compile *compile, struct str namespace_name,
                                  struct str name)
{
    char label[TABLE_KEY_MAX + 1];
    struct map_node *node = NULL;

    if (namespace_name.len + name.len + 2 <= sizeof(label))
        node = map_find(&compile->records, write_label(namespace_name, name, label));
    return node ? MAP_ELEMENT(node, struct record, node) : NULL;
}

static struct record *add_record(struct compile *compile, const struct source_route *route)
{
    struct record *record = calloc(1, sizeof(*record));
    struct str label;

    if (!record)
        return NULL;
    record->label = malloc(route->namespace_name.len + route->name.len + 2);
    if (!record->label) {
        free(record);
        return NULL;
    }
    label = write_label(route->namespace_name, route->name, record->label);
    record->namespace_name = str_make(record->label, route->namespace_name.len);
    record->name = str_make(record->label + route->namespace_name.len + 1, route->name.len);
    record->gateway = record->next_gateway = -1;
    record->generation = -1;
    record->memory.generation = -1;
    if (map_insert(&compile->records, &record->node, label) < 0) {
        free(record->label);
        free(record);
        return NULL;
    }
    return record;
}

static void enqueue(struct compile *compile, struct record *record)
{
    if (record->queued)
        return;
    record->queued = true;
    record->queue_next = NULL;
    *compile->queue_end = record;
    compile->queue_end = &record->queue_next;
}

/* Its next is to serve. */
static void enqueue_changed(struct compile *compile, struct record *record)
{
    enqueue(compile, record);
    if (record->changed)
        return;
    record->changed = true;
    record->changed_next = NULL;
    *compile->changed_end = record;
    compile->changed_end = &record->changed_next;
    compile->changed_count++;
}

static void enqueue_touched(void *context, const struct route *touched)
{
    struct compile *compile = context;
    struct map_node *node = map_find(&compile->records, touched->label);

    assert(node);
    enqueue(compile, MAP_ELEMENT(node, struct record, node));
}

/* ---- reading a Route ---- */

/* Takes over the caller's reference to route. next has a reference of its own unless it is what
 * serves. */
static void set_next(struct record *record, struct route *route, int gateway)
{
    if (record->next != record->serving)
        route_unref(record->next);
    if (route && route == record->serving)
        route_unref(route);
    record->next = route;
    record->next_gateway = route ? gateway : -1;
}

/* 1: today's policy allows it; 0: not, and scratch holds the reason; -ENOMEM. */
static int ask_policy(struct compile *compile, const struct route *route)
{
    buffer_clear(&compile->scratch, ROUTE_SOURCE_MAX);
    return policy_judge(compile->policy, route, &compile->scratch);
}

/* Goes on with what serves now, if that is of the same uid and allowed. */
static int keep_serving(struct compile *compile, struct record *record)
{
    struct route *good = record->serving;
    int allowed;

    if (good && !str_equal(good->uid, str_from(record->uid)))
        good = NULL;
    allowed = good ? ask_policy(compile, good) : 0;
    if (allowed < 0)
        return allowed;
    set_next(record, allowed ? route_ref(good) : NULL, record->gateway);
    return 0;
}

/* Leaves a text that is the same where it is. */
static int set_problem(struct record *record, enum problem problem, struct str text)
{
    char *copy = NULL;

    record->problem = problem;
    if (str_equal(str_from(record->problem_text), text))
        return 0;
    if (text.len && !(copy = strndup(text.ptr, text.len)))
        return -ENOMEM;
    free(record->problem_text);
    record->problem_text = copy;
    return 0;
}

static int find_gateway(const struct compile *compile, struct str name)
{
    for (unsigned i = 0; i < compile->gateway_count; i++)
        if (str_equal(str_from(compile->gateways[i].name), name))
            return (int)i;
    return -1;
}

/* What the bucket of a gateway holds of this uid, so that it goes on serving if it is allowed. */
static int recover(struct compile *compile, struct record *record)
{
    char key[TABLE_KEY_MAX + 1];
    int length = table_key_write(record->namespace_name, record->name, key);

    for (unsigned i = 0; length > 0 && i < compile->gateway_count; i++) {
        struct route_spec_error ignored;
        struct route *route;
        int error;

        buffer_clear(&compile->scratch, ROUTE_SOURCE_MAX);
        error = compile->handler.stored(compile->handler.context, i, str_make(key, (size_t)length),
                                        &compile->scratch);
        if (error == 0)
            error = table_entry_read(str_make(key, (size_t)length), buffer_view(&compile->scratch),
                                     &route, &ignored);
        if (error == -ENOMEM)
            return error;
        if (error < 0)
            continue;
        error = ask_policy(compile, route);
        if (error > 0 && str_equal(route->uid, str_from(record->uid)) &&
            (!record->next || route->generation > record->next->generation))
            set_next(record, route, (int)i);
        else
            route_unref(route);
        if (error == -ENOMEM)
            return error;
    }
    return 0;
}

static int identify(struct route *route, const struct source_route *source)
{
    route->generation = source->generation;
    route->created_s = source->created_s;
    return route_identify(route, source->namespace_name, source->name, source->uid);
}

/* Reads the whole Route; -EINVAL with *ret_error when gateways could not. */
static int read_route(struct compile *compile, const struct source_route *source,
                      struct route **ret_route, struct route_spec_error *ret_error)
{
    struct route *route = route_new();
    char key[TABLE_KEY_MAX + 1];
    int error = route ? identify(route, source) : -ENOMEM;

    if (!error)
        error = route_spec_read(source->spec, route, ret_error);
    if (error)
        goto out;
    if (table_key_write(source->namespace_name, source->name, key) < 0) {
        snprintf(ret_error->text, sizeof(ret_error->text),
                 "metadata: the namespace and name cannot be part of a key");
        error = -EINVAL;
        goto out;
    }
    buffer_clear(&compile->scratch, ROUTE_SOURCE_MAX);
    error = table_entry_write(route, &compile->scratch);
    if (error == -E2BIG) {
        snprintf(ret_error->text, sizeof(ret_error->text),
                 "spec: larger than %d bytes as JSON; split the Route", ROUTE_SOURCE_MAX);
        error = -EINVAL;
    }
out:
    if (error)
        route_unref(route);
    else
        *ret_route = route_pack(route);
    return error;
}

static void set_newest(struct record *record, struct route *route)
{
    route_unref(record->newest);
    record->newest = route;
}

/* Reads the newest generation: it is valid, or what its problem is. */
static int read_spec(struct compile *compile, struct record *record,
                     const struct source_route *source)
{
    struct route_spec_error spec_error = {""};
    struct route *route;
    char text[512];
    int error = read_route(compile, source, &route, &spec_error);

    set_newest(record, NULL);
    if (error == -EINVAL)
        return set_problem(record, PROBLEM_INVALID, str_from(spec_error.text));
    if (error)
        return error;
    if (find_gateway(compile, route->gateway) >= 0) {
        set_newest(record, route);
        return 0;
    }
    snprintf(text, sizeof(text), "spec.gateway: \"" STR_FMT "\" is no gateway of this controller",
             STR_ARG(route->gateway));
    route_unref(route);
    return set_problem(record, PROBLEM_NO_GATEWAY, str_from(text));
}

/* Decides what shall serve: the newest generation, or else the last good one, as far as today's
 * policy allows them. */
static int settle(struct compile *compile, struct record *record)
{
    struct route *newest = record->newest;
    int result = newest ? ask_policy(compile, newest) : 0;

    if (result < 0)
        return result;
    if (result > 0) {
        set_next(record, route_ref(newest), find_gateway(compile, newest->gateway));
        return set_problem(record, PROBLEM_NONE, STR_LIT(""));
    }
    if (newest)
        result = set_problem(record, PROBLEM_DENIED, buffer_view(&compile->scratch));
    if (record->problem == PROBLEM_NO_GATEWAY)
        set_next(record, NULL, -1);
    else if (!result)
        result = keep_serving(compile, record);
    if (!result && !record->next && record->problem != PROBLEM_NO_GATEWAY)
        result = recover(compile, record);
    return result;
}

/* ---- verdicts ---- */

static uint64_t *count_of(struct compile *compile, const struct record *record,
                          const struct condition *accepted)
{
    if (record->problem == PROBLEM_INVALID)
        return &compile->counts.invalid;
    if (record->problem == PROBLEM_NO_GATEWAY)
        return &compile->counts.no_such_gateway;
    if (record->problem == PROBLEM_DENIED)
        return &compile->counts.denied;
    return accepted->status == CONDITION_TRUE ? &compile->counts.accepted
                                              : &compile->counts.shadowed;
}

static void judge(const struct compile *compile, const struct record *record,
                  struct condition *ret_accepted)
{
    *ret_accepted = (struct condition){.status = CONDITION_FALSE};
    switch (record->problem) {
    case PROBLEM_NONE:
        verdict_judge(compile->gateways[record->gateway].table, record->serving, ret_accepted);
        break;
    case PROBLEM_INVALID:
    case PROBLEM_DENIED:
        snprintf(ret_accepted->reason, sizeof(ret_accepted->reason), "%s",
                 record->problem == PROBLEM_INVALID ? "Invalid" : "PolicyDenied");
        verdict_append(ret_accepted, "%s", record->problem_text);
        if (record->serving)
            verdict_append(ret_accepted, "; generation %lld keeps serving",
                           (long long)record->serving->generation);
        break;
    case PROBLEM_NO_GATEWAY:
        snprintf(ret_accepted->reason, sizeof(ret_accepted->reason), "NoSuchGateway");
        verdict_append(ret_accepted, "%s; it serves %s", record->problem_text,
                       compile->gateway_names);
        break;
    }
}

static uint64_t digest_verdict(const struct compile_verdict *verdict)
{
    const int64_t numbers[] = {verdict->generation, verdict->gateway, verdict->serving};
    const struct condition *accepted = verdict->accepted;
    uint64_t digest = digest_bytes(digest_empty, numbers, sizeof(numbers));

    digest = digest_bytes(digest, verdict->uid.ptr, verdict->uid.len + 1);
    digest = digest_bytes(digest, accepted->reason, strlen(accepted->reason) + 1);
    digest = digest_bytes(digest, accepted->message, strlen(accepted->message));
    return digest ? digest : 1;
}

/* Tells the verdict, unless it is what was said last. */
static void say(struct compile *compile, struct record *record)
{
    struct condition accepted;
    uint64_t said;
    struct compile_verdict verdict = {
        .namespace_name = record->namespace_name,
        .name = record->name,
        .uid = str_from(record->uid),
        .generation = record->generation,
        .gateway = record->gateway,
        .serving = record->serving ? record->serving->generation : -1,
        .accepted = &accepted,
        .memory = record->memory,
    };

    judge(compile, record, &accepted);
    said = digest_verdict(&verdict);
    if (said == record->said)
        return;
    record->said = said;
    if (record->said_count)
        --*record->said_count;
    record->said_count = count_of(compile, record, &accepted);
    ++*record->said_count;
    compile->handler.verdict(compile->handler.context, &verdict);
}

/* ---- the queue ---- */

/* Tells what changes in the buckets: puts before deletes. */
static int tell_entries(struct compile *compile, const struct record *record)
{
    const struct compile_handler *handler = &compile->handler;
    char key[TABLE_KEY_MAX + 1];
    int length;
    int error;

    if (record->next == record->serving)
        return 0;
    length = table_key_write(record->namespace_name, record->name, key);
    assert(length > 0); /* read_route saw to it */
    if (record->next) {
        buffer_clear(&compile->scratch, ROUTE_SOURCE_MAX);
        error = table_entry_write(record->next, &compile->scratch);
        if (error)
            return error;
        handler->entry(handler->context, (unsigned)record->next_gateway,
                       str_make(key, (size_t)length), record->next->generation,
                       buffer_view(&compile->scratch));
    }
    if (record->serving && record->gateway != record->next_gateway)
        handler->entry(handler->context, (unsigned)record->gateway, str_make(key, (size_t)length),
                       0, str_make(NULL, 0));
    return 0;
}

/* What has changed of one gateway's table, as one batch. */
static int change_table(struct compile *compile, int gateway, struct route_change *changes)
{
    struct gateway *its = &compile->gateways[gateway];
    struct route_table *table;
    size_t count = 0;
    int error;

    for (const struct record *record = compile->changed; record; record = record->changed_next) {
        struct route_change change = {
            .before = record->gateway == gateway ? record->serving : NULL,
            .after = record->next_gateway == gateway ? record->next : NULL,
        };

        if (change.before != change.after)
            changes[count++] = change;
    }
    if (!count)
        return 0;
    error = route_table_apply(its->table, changes, count, &table);
    if (error)
        return error;
    route_table_unref(its->table);
    its->table = table;
    return 0;
}

/* Makes next what serves; queues the Routes whose verdict that may change. Before the first list is
 * complete they are all queued. */
static void advance(struct compile *compile, struct record *record)
{
    struct route *before = record->serving;

    if (record->next == before)
        return;
    if (before && compile->synced)
        verdict_each_touched(compile->gateways[record->gateway].table, before, enqueue_touched,
                             compile);
    record->serving = record->next;
    record->gateway = record->next_gateway;
    if (record->serving && compile->synced)
        verdict_each_touched(compile->gateways[record->gateway].table, record->serving,
                             enqueue_touched, compile);
    route_unref(before);
}

static void finish(struct compile *compile, struct record *record)
{
    const struct compile_handler *handler = &compile->handler;

    if (!record->removed) {
        say(compile, record);
        return;
    }
    handler->forgotten(handler->context, record->namespace_name, record->name);
    free_record(compile, record);
}

/* Everything but the verdicts. */
static int absorb(struct compile *compile)
{
    struct route_change *changes;
    int error = 0;

    if (!compile->changed)
        return 0;
    changes = calloc(compile->changed_count, sizeof(*changes));
    if (!changes)
        return -ENOMEM;
    for (struct record *record = compile->changed; record && !error; record = record->changed_next)
        error = tell_entries(compile, record);
    for (unsigned i = 0; i < compile->gateway_count && !error; i++)
        error = change_table(compile, (int)i, changes);
    free(changes);
    if (error)
        return error;
    for (struct record *record = compile->changed; record; record = record->changed_next) {
        advance(compile, record);
        record->changed = false;
    }
    compile->changed = NULL;
    compile->changed_end = &compile->changed;
    compile->changed_count = 0;
    return 0;
}

static int flush(struct compile *compile)
{
    int error = absorb(compile);

    while (compile->queue && !error) {
        struct record *record = compile->queue;

        compile->queue = record->queue_next;
        record->queued = false;
        finish(compile, record);
    }
    if (!compile->queue)
        compile->queue_end = &compile->queue;
    return error;
}

/* After something was queued. */
static int proceed(struct compile *compile)
{
    if (compile->synced)
        return flush(compile);
    return compile->changed_count < CHANGED_MAX ? 0 : absorb(compile);
}

/* ---- what the source says ---- */

struct compile_memory compile_memory_read(yyjson_val *status)
{
    struct compile_memory memory = {.generation = -1};
    yyjson_val *gateways = yyjson_obj_get(status, "gateways");
    yyjson_val *condition;
    yyjson_arr_iter conditions;

    yyjson_arr_iter_init(yyjson_obj_get(status, "conditions"), &conditions);
    while ((condition = yyjson_arr_iter_next(&conditions))) {
        yyjson_val *generation = yyjson_obj_get(condition, "observedGeneration");

        if (!yyjson_equals_str(yyjson_obj_get(condition, "type"), "Programmed") ||
            !yyjson_equals_str(yyjson_obj_get(condition, "status"), "True"))
            continue;
        if (!generation)
            generation = yyjson_obj_get(status, "observedGeneration");
        if (!yyjson_is_int(generation))
            continue;
        memory.generation = yyjson_get_sint(generation);
        memory.ready = (unsigned)yyjson_get_uint(yyjson_obj_get(gateways, "ready"));
        memory.total = (unsigned)yyjson_get_uint(yyjson_obj_get(gateways, "total"));
        memory.revision = yyjson_get_uint(yyjson_obj_get(gateways, "revision"));
    }
    return memory;
}

int compile_upsert(struct compile *compile, const struct source_route *route)
{
    struct record *record = find_record(compile, route->namespace_name, route->name);
    int error;

    if (!record && !(record = add_record(compile, route)))
        return -ENOMEM;
    if (!record->uid || !str_equal(str_from(record->uid), route->uid)) {
        /* Another Route of the same name: nothing of the old one lives on. */
        free(record->uid);
        record->uid = strndup(route->uid.ptr ? route->uid.ptr : "", route->uid.len);
        if (!record->uid)
            return -ENOMEM;
        record->generation = -1;
        record->memory = compile_memory_read(route->status);
    }
    if (record->generation == route->generation)
        return 0;
    record->generation = route->generation;
    record->removed = false;
    error = read_spec(compile, record, route);
    if (!error)
        error = settle(compile, record);
    if (error)
        return error;
    enqueue_changed(compile, record);
    return proceed(compile);
}

int compile_remove(struct compile *compile, struct str namespace_name, struct str name)
{
    struct record *record = find_record(compile, namespace_name, name);

    if (!record)
        return 0;
    set_next(record, NULL, -1);
    set_newest(record, NULL);
    record->removed = true;
    record->generation = -1;
    enqueue_changed(compile, record);
    return proceed(compile);
}

int compile_synced(struct compile *compile)
{
    int error = flush(compile);

    compile->synced = true;
    return error;
}

int compile_recover(struct compile *compile)
{
    for (struct map_node *node = map_next(&compile->records, NULL); node;
         node = map_next(&compile->records, node)) {
        struct record *record = MAP_ELEMENT(node, struct record, node);
        const struct route *next = record->next;
        /* Also one that serves: a leader before may have seen a later good generation than we. */
        bool bad = record->problem == PROBLEM_INVALID || record->problem == PROBLEM_DENIED;
        int error = bad && !record->removed ? recover(compile, record) : 0;

        if (error)
            return error;
        if (record->next != next)
            enqueue_changed(compile, record);
    }
    return proceed(compile);
}

int compile_set_policy(struct compile *compile, struct policy *policy)
{
    policy_free(compile->policy);
    compile->policy = policy;
    for (struct map_node *node = map_next(&compile->records, NULL); node;
         node = map_next(&compile->records, node)) {
        struct record *record = MAP_ELEMENT(node, struct record, node);
        const struct route *next = record->next;
        const char *text = record->problem_text;
        int error = record->removed ? 0 : settle(compile, record);

        if (error)
            return error;
        if (record->next != next || record->problem_text != text)
            enqueue_changed(compile, record);
    }
    return proceed(compile);
}

struct compile_counts compile_count(const struct compile *compile)
{
    struct compile_counts counts = compile->counts;

    counts.routes = compile->records.count;
    return counts;
}
