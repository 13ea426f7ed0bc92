/*
 * status: writes the status of Routes to the API server (the status_sink of controller/source.h):
 * server-side apply on /status as field manager "metropolis-controller", asynchronous, few at a
 * time, the newest per Route only, and only when it differs from what is stored. Nobody waits for
 * it. On the loop's thread.
 */
#ifndef CONTROLLER_KUBE_STATUS_H
#define CONTROLLER_KUBE_STATUS_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "controller/kube/client.h"
#include "controller/kube/event.h"
#include "controller/kube/notices.h"
#include "controller/source.h"
#include "lib/base/metrics.h"

struct kube_status;

/* Borrows client and notices until freed. */
int kube_status_new(uv_loop_t *loop, struct kube_client *client, struct kube_notices *notices,
                    struct kube_status **ret_status);
/* What waits is dropped. NULL is fine. */
void kube_status_free(struct kube_status *status);
/* Asked before each write, from then on: a program that was stopped may not lead any more. */
void kube_status_guard(struct kube_status *status, bool (*may_write)(void *context), void *context);
/* Drops what waits and what is under way: another writes the statuses. */
void kube_status_drop(struct kube_status *status);
/* Valid until freed. */
struct status_sink kube_status_sink(struct kube_status *status);

/*
 * What is stored, as the watch of Routes sees it. True: it is news, in spec or status, and not
 * merely the echo of a write of ours.
 */
bool kube_status_observe(struct kube_status *status, const struct kube_object *route);
/* The first list is complete: what comes from now on goes first. */
void kube_status_synced(struct kube_status *status);
/* The Route is gone, and what waits for it. */
void kube_status_forget(struct kube_status *status, struct str namespace_name, struct str name);

struct kube_status_counters {
    uint64_t waiting, in_flight; /* now */
    uint64_t added, written, unchanged, retried, dropped;
};
void kube_status_count(const struct kube_status *status, struct kube_status_counters *ret_counters);
/* From the first change that was not stored yet to its being stored. */
const struct metrics_histogram *kube_status_times(const struct kube_status *status);

#endif
