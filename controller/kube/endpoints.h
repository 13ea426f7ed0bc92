/*
 * endpoints: the pods that are ready behind a Service, from its EndpointSlices. On the loop's
 * thread.
 */
#ifndef CONTROLLER_KUBE_ENDPOINTS_H
#define CONTROLLER_KUBE_ENDPOINTS_H

#include <stddef.h>
#include <uv.h>

#include "controller/kube/client.h"
#include "lib/base/str.h"

struct kube_endpoints;

struct kube_endpoints_handler {
    /* All pods that are ready now, by name, sorted, each once; borrowed for the call. First when a
     * complete list is there (also an empty one), then whenever the set changes. Not while it is
     * unknown. */
    void (*changed)(void *context, const struct str *pods, size_t count);
    void *context;
};

/* Copies the names; borrows client until freed. -EINVAL: not a Service's name; -ENOMEM. */
int kube_endpoints_new(uv_loop_t *loop, struct kube_client *client, struct str namespace_name,
                       struct str service, const struct kube_endpoints_handler *handler,
                       struct kube_endpoints **ret_endpoints);
/* No callback any more. NULL is fine. */
void kube_endpoints_free(struct kube_endpoints *endpoints);
/* What is wrong now, for readiness; NULL: nothing. Borrowed until the loop turns. */
const char *kube_endpoints_trouble(const struct kube_endpoints *endpoints);

#endif
