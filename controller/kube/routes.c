/*
 * routes: Route objects for the pipeline. Each watch syncs on its own; only when all namespaces
 * have a complete list is the whole one complete, because what the pipeline deletes on `synced`
 * must be missing everywhere.
 *
 * The status sink sees every object first: it knows what it wrote, and thereby which events are
 * only the echo of that.
 */
#include "controller/kube/routes.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define GROUP_VERSION "/apis/metropolis.dev/v1alpha1"

struct kube_routes {
    struct kube_status *status;
    struct source_handler handler;
    struct metrics_histogram times;
    uint64_t wait_ms;
    size_t count;
    struct kube_watch *watches[KUBE_NAMESPACES_MAX];
};

static void on_upsert(void *context, const struct kube_object *object)
{
    static yyjson_val none; /* is news, too: somebody may have removed it */
    struct kube_routes *routes = context;
    yyjson_val *status = yyjson_obj_get(object->value, "status");
    uint64_t began_ns;

    if (!kube_status_observe(routes->status, object))
        return;
    began_ns = uv_hrtime();
    routes->handler.upsert(routes->handler.context,
                           &(struct source_route){
                               .namespace_name = object->namespace_name,
                               .name = object->name,
                               .uid = object->uid,
                               .generation = object->generation,
                               .created_s = object->created_s,
                               .spec = yyjson_obj_get(object->value, "spec"),
                               .status = status ? status : &none,
                           });
    metrics_histogram_add(&routes->times, uv_hrtime() - began_ns);
}

static void on_removed(void *context, struct str namespace_name, struct str name)
{
    struct kube_routes *routes = context;
    uint64_t began_ns = uv_hrtime();

    kube_status_forget(routes->status, namespace_name, name);
    routes->handler.removed(routes->handler.context, namespace_name, name);
    metrics_histogram_add(&routes->times, uv_hrtime() - began_ns);
}

static void on_synced(void *context)
{
    struct kube_routes *routes = context;

    if (!kube_routes_synced(routes))
        return;
    kube_status_synced(routes->status);
    routes->handler.synced(routes->handler.context);
}

/* A DNS label (RFC 1123), as Kubernetes wants namespaces; so nothing in it needs escaping. */
static bool is_label(struct str name)
{
    if (!name.len || name.len > KUBE_NAMESPACE_MAX || name.ptr[0] == '-' ||
        name.ptr[name.len - 1] == '-')
        return false;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];

        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'))
            return false;
    }
    return true;
}

/* namespace_name: empty for all. */
static int add_watch(struct kube_routes *routes, uv_loop_t *loop, struct kube_client *client,
                     struct str namespace_name)
{
    struct kube_watch_options options = {
        .handler = {on_upsert, on_removed, on_synced, routes},
        .wait_ms = routes->wait_ms,
    };
    char path[256];
    int error;

    if (namespace_name.len && !is_label(namespace_name))
        return -EINVAL;
    if (namespace_name.len)
        snprintf(path, sizeof(path), GROUP_VERSION "/namespaces/" STR_FMT "/routes",
                 STR_ARG(namespace_name));
    else
        snprintf(path, sizeof(path), GROUP_VERSION "/routes");
    options.path = path;
    error = kube_watch_new(loop, client, &options, &routes->watches[routes->count]);
    routes->count += !error;
    return error;
}

/* Is the word at `at` also in the list before it? */
static bool is_repeated(const char *list, const char *at, size_t length)
{
    while (list < at) {
        size_t other = strcspn(list, ",");

        if (str_equal(str_make(list, other), str_make(at, length)))
            return true;
        list += other + 1;
    }
    return false;
}

static int add_watches(struct kube_routes *routes, uv_loop_t *loop, struct kube_client *client,
                       const char *namespaces)
{
    const char *at = namespaces;
    int error = 0;

    if (!namespaces || !*namespaces)
        return add_watch(routes, loop, client, str_make(NULL, 0));
    while (*at && !error) {
        size_t length = strcspn(at, ",");

        if (!length || routes->count == KUBE_NAMESPACES_MAX || is_repeated(namespaces, at, length))
            return -EINVAL;
        error = add_watch(routes, loop, client, str_make(at, length));
        at += length + (at[length] == ',');
    }
    return error;
}

int kube_routes_new(uv_loop_t *loop, struct kube_client *client, const char *namespaces,
                    uint64_t wait_ms, struct kube_status *status,
                    const struct source_handler *handler, struct kube_routes **ret_routes)
{
    struct kube_routes *routes = calloc(1, sizeof(*routes));
    int error;

    assert(handler->upsert && handler->removed && handler->synced && handler->stale);
    if (!routes)
        return -ENOMEM;
    routes->status = status;
    routes->handler = *handler;
    routes->wait_ms = wait_ms;
    error = add_watches(routes, loop, client, namespaces);
    if (error) {
        kube_routes_free(routes);
        return error;
    }
    *ret_routes = routes;
    return 0;
}

void kube_routes_free(struct kube_routes *routes)
{
    if (!routes)
        return;
    for (size_t i = 0; i < routes->count; i++)
        kube_watch_free(routes->watches[i]);
    free(routes);
}

void kube_routes_relist(struct kube_routes *routes)
{
    routes->handler.stale(routes->handler.context);
    for (size_t i = 0; i < routes->count; i++)
        kube_watch_relist(routes->watches[i]);
}

bool kube_routes_synced(const struct kube_routes *routes)
{
    for (size_t i = 0; i < routes->count; i++)
        if (!kube_watch_synced(routes->watches[i]))
            return false;
    return routes->count > 0;
}

const char *kube_routes_trouble(const struct kube_routes *routes)
{
    for (size_t i = 0; i < routes->count; i++)
        if (kube_watch_trouble(routes->watches[i]))
            return kube_watch_trouble(routes->watches[i]);
    return NULL;
}

const struct metrics_histogram *kube_routes_times(const struct kube_routes *routes)
{
    return &routes->times;
}

void kube_routes_count(const struct kube_routes *routes, struct kube_watch_counters *ret_counters)
{
    *ret_counters = (struct kube_watch_counters){0};
    for (size_t i = 0; i < routes->count; i++) {
        struct kube_watch_counters one;

        kube_watch_count(routes->watches[i], &one);
        ret_counters->items += one.items;
        ret_counters->events += one.events;
        ret_counters->lists += one.lists;
        ret_counters->watches += one.watches;
        ret_counters->failures += one.failures;
        ret_counters->skipped += one.skipped;
    }
}
