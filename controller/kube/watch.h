/*
 * watch: keeps up with every object of one resource, in one namespace or all of them: list, then
 * watch, again and again (KEP-3157, "Efficient detection of changes" in the API concepts). It
 * remembers of each object only its name and resourceVersion.
 *
 * Nothing is taken for deleted unless the API server says so, in an event or by leaving it out of a
 * list that was complete. On the loop's thread.
 */
#ifndef CONTROLLER_KUBE_WATCH_H
#define CONTROLLER_KUBE_WATCH_H

#include <stdbool.h>
#include <uv.h>

#include "controller/kube/client.h"
#include "controller/kube/event.h"

struct kube_watch;

struct kube_watch_handler {
    /* New or changed; borrowed for the call. An object that was replaced by another of the same
     * name while nobody looked comes as one call with the other uid. */
    void (*upsert)(void *context, const struct kube_object *object);
    void (*removed)(void *context, struct str namespace_name, struct str name);
    /* A complete list was delivered, its deletions too. Again after each relist. */
    void (*synced)(void *context);
    void *context;
};

struct kube_watch_options {
    const char *path; /* "/apis/GROUP/VERSION/[namespaces/NS/]PLURAL"; copied */
    const char
        *query; /* more parameters, escaped, such as "labelSelector=..."; NULL: none; copied */
    struct kube_watch_handler handler;
    uint64_t silence_ms; /* a watch that is silent for so long is opened anew; 0: the default */
    uint64_t wait_ms;    /* before the first list, unless kube_watch_relist comes first */
};

/* Starts; failures to reach the server are retried for ever. Borrows client until freed. */
int kube_watch_new(uv_loop_t *loop, struct kube_client *client,
                   const struct kube_watch_options *options, struct kube_watch **ret_watch);
/* No callback any more; the memory goes once the loop has let go of its timer. NULL is fine. May be
 * called from a callback. */
void kube_watch_free(struct kube_watch *watch);

/* Lists anew, at once: what comes until the next `synced` is as of now or later. Not from a handler
 * of this watch. */
void kube_watch_relist(struct kube_watch *watch);

/* Has a complete list been delivered, since it was asked to list anew? */
bool kube_watch_synced(const struct kube_watch *watch);
/* What is wrong now, "403: routes.metropolis.dev is forbidden ..."; NULL: nothing. Borrowed until
 * the loop turns. Also logged, once per change. */
const char *kube_watch_trouble(const struct kube_watch *watch);

struct kube_watch_counters {
    uint64_t items;  /* objects known now */
    uint64_t events; /* of all kinds */
    uint64_t lists, watches, failures, skipped;
};
void kube_watch_count(const struct kube_watch *watch, struct kube_watch_counters *ret_counters);

#endif
