/*
 * endpoints: one watch of a Service's EndpointSlices; of each slice the names of its ready pods.
 * The set is computed anew from all slices after each change and told when it differs: there are
 * few slices, dual-stack Services list each pod in two, and a pod may move between slices in either
 * order of events.
 */
#include "controller/kube/endpoints.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "controller/kube/watch.h"
#include "lib/base/map.h"

enum { SLICE_ENDPOINTS_MAX = 1000 }; /* as in the API */

struct slice {
    struct map_node node;
    struct str *pods; /* names, in text */
    size_t count;
    char *text;
    char name[KUBE_NAME_MAX];
};

struct kube_endpoints {
    struct kube_watch *watch;
    struct kube_endpoints_handler handler;
    struct map slices;
    bool told;        /* has the handler ever been called? */
    char *told_names; /* what it was told: names, each with a NUL */
    size_t told_size;
};

static void slice_clear(struct slice *slice)
{
    free(slice->pods);
    free(slice->text);
    slice->pods = NULL;
    slice->text = NULL;
    slice->count = 0;
}

static struct slice *slice_find(const struct kube_endpoints *endpoints, struct str name)
{
    struct map_node *node = map_find(&endpoints->slices, name);

    return node ? MAP_ELEMENT(node, struct slice, node) : NULL;
}

static struct slice *slice_new(struct kube_endpoints *endpoints, struct str name)
{
    struct slice *slice = calloc(1, sizeof(*slice));

    if (!slice)
        return NULL;
    memcpy(slice->name, name.ptr, name.len);
    if (map_insert(&endpoints->slices, &slice->node, str_make(slice->name, name.len))) {
        free(slice);
        return NULL;
    }
    return slice;
}

static void slice_free(struct kube_endpoints *endpoints, struct slice *slice)
{
    map_remove(&endpoints->slices, &slice->node);
    slice_clear(slice);
    free(slice);
}

/* The pod of an endpoint that is ready ("nil should be interpreted as true"); else NULL. Slices
 * that somebody writes by hand name no pod: then the hostname. */
static yyjson_val *ready_pod(yyjson_val *endpoint)
{
    yyjson_val *ready = yyjson_obj_get(yyjson_obj_get(endpoint, "conditions"), "ready");
    yyjson_val *target = yyjson_obj_get(endpoint, "targetRef");
    yyjson_val *name = yyjson_obj_get(endpoint, "hostname");

    if (yyjson_is_false(ready))
        return NULL;
    if (yyjson_equals_str(yyjson_obj_get(target, "kind"), "Pod"))
        name = yyjson_obj_get(target, "name");
    return yyjson_is_str(name) && yyjson_get_len(name) <= KUBE_NAME_MAX ? name : NULL;
}

static int slice_read(struct slice *slice, yyjson_val *value)
{
    yyjson_val *endpoints = yyjson_obj_get(value, "endpoints"), *endpoint;
    size_t most = yyjson_arr_size(endpoints), size = 0;
    yyjson_arr_iter iter;

    slice_clear(slice);
    if (most > SLICE_ENDPOINTS_MAX)
        most = SLICE_ENDPOINTS_MAX;
    if (!most)
        return 0;
    slice->pods = calloc(most, sizeof(*slice->pods));
    slice->text = malloc(most * KUBE_NAME_MAX);
    if (!slice->pods || !slice->text)
        return -ENOMEM;
    yyjson_arr_iter_init(endpoints, &iter);
    while (slice->count < most && (endpoint = yyjson_arr_iter_next(&iter))) {
        yyjson_val *name = ready_pod(endpoint);

        if (!name)
            continue;
        memcpy(slice->text + size, yyjson_get_str(name), yyjson_get_len(name));
        slice->pods[slice->count++] = str_make(slice->text + size, yyjson_get_len(name));
        size += yyjson_get_len(name);
    }
    return 0;
}

static int compare_names(const void *a, const void *b)
{
    return str_compare(*(const struct str *)a, *(const struct str *)b);
}

/* All names, sorted, each once; *ret_names is the caller's. */
static int gather(const struct kube_endpoints *endpoints, struct str **ret_names, size_t *ret_count)
{
    size_t total = 0, count = 0;
    struct map_node *node = NULL;
    struct str *names;

    while ((node = map_next(&endpoints->slices, node)))
        total += MAP_ELEMENT(node, struct slice, node)->count;
    names = calloc(total + 1, sizeof(*names));
    if (!names)
        return -ENOMEM;
    while ((node = map_next(&endpoints->slices, node))) {
        const struct slice *slice = MAP_ELEMENT(node, struct slice, node);

        for (size_t i = 0; i < slice->count; i++)
            names[count++] = slice->pods[i];
    }
    qsort(names, count, sizeof(*names), compare_names);
    total = count;
    count = 0;
    for (size_t i = 0; i < total; i++)
        if (!count || !str_equal(names[count - 1], names[i]))
            names[count++] = names[i];
    *ret_names = names;
    *ret_count = count;
    return 0;
}

/* Remembers what is told now. False: it was told before. */
static bool is_news(struct kube_endpoints *endpoints, const struct str *names, size_t count)
{
    size_t size = 0;
    char *text, *at;

    for (size_t i = 0; i < count; i++)
        size += names[i].len + 1;
    text = at = malloc(size + 1);
    if (!text)
        return true;
    for (size_t i = 0; i < count; i++) {
        memcpy(at, names[i].ptr, names[i].len);
        at[names[i].len] = '\0';
        at += names[i].len + 1;
    }
    if (endpoints->told && size == endpoints->told_size &&
        memcmp(text, endpoints->told_names, size) == 0) {
        free(text);
        return false;
    }
    free(endpoints->told_names);
    endpoints->told_names = text;
    endpoints->told_size = size;
    return true;
}

static void tell(struct kube_endpoints *endpoints)
{
    struct str *names;
    size_t count;

    /* Without memory now: the next event tries again. */
    if (!kube_watch_synced(endpoints->watch) || gather(endpoints, &names, &count))
        return;
    if (is_news(endpoints, names, count)) {
        endpoints->told = true;
        endpoints->handler.changed(endpoints->handler.context, names, count);
    }
    free(names);
}

static void on_upsert(void *context, const struct kube_object *object)
{
    struct kube_endpoints *endpoints = context;
    struct slice *slice = slice_find(endpoints, object->name);

    if (!slice)
        slice = slice_new(endpoints, object->name);
    if (slice && slice_read(slice, object->value))
        slice_free(endpoints, slice);
    tell(endpoints);
}

static void on_removed(void *context, struct str namespace_name, struct str name)
{
    struct kube_endpoints *endpoints = context;
    struct slice *slice = slice_find(endpoints, name);

    (void)namespace_name;
    if (slice)
        slice_free(endpoints, slice);
    tell(endpoints);
}

static void on_synced(void *context)
{
    tell(context);
}

/* So that it needs no escaping; namespaces and Services have the same rule but for the dot. */
static bool is_name(struct str name, size_t max)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];

        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'))
            return false;
    }
    return name.len > 0 && name.len <= max;
}

int kube_endpoints_new(uv_loop_t *loop, struct kube_client *client, struct str namespace_name,
                       struct str service, const struct kube_endpoints_handler *handler,
                       struct kube_endpoints **ret_endpoints)
{
    struct kube_watch_options options = {.handler = {on_upsert, on_removed, on_synced, NULL}};
    char path[256], query[256];
    struct kube_endpoints *endpoints;
    int error;

    assert(handler->changed);
    if (!is_name(namespace_name, KUBE_NAMESPACE_MAX) || !is_name(service, KUBE_NAMESPACE_MAX))
        return -EINVAL;
    endpoints = calloc(1, sizeof(*endpoints));
    if (!endpoints)
        return -ENOMEM;
    map_init(&endpoints->slices);
    endpoints->handler = *handler;
    snprintf(path, sizeof(path), "/apis/discovery.k8s.io/v1/namespaces/" STR_FMT "/endpointslices",
             STR_ARG(namespace_name));
    snprintf(query, sizeof(query), "labelSelector=kubernetes.io%%2Fservice-name%%3D" STR_FMT,
             STR_ARG(service));
    options.path = path;
    options.query = query;
    options.handler.context = endpoints;
    error = kube_watch_new(loop, client, &options, &endpoints->watch);
    if (error) {
        free(endpoints);
        return error;
    }
    *ret_endpoints = endpoints;
    return 0;
}

void kube_endpoints_free(struct kube_endpoints *endpoints)
{
    struct map_node *node;

    if (!endpoints)
        return;
    kube_watch_free(endpoints->watch);
    while ((node = map_next(&endpoints->slices, NULL)))
        slice_free(endpoints, MAP_ELEMENT(node, struct slice, node));
    map_done(&endpoints->slices);
    free(endpoints->told_names);
    free(endpoints);
}

const char *kube_endpoints_trouble(const struct kube_endpoints *endpoints)
{
    return kube_watch_trouble(endpoints->watch);
}
