/*
 * notices: tells people what happened to a Route: Events of core/v1, which `kubectl describe route`
 * and `kubectl get events` show. (An event in this folder's other files is a change that a watch
 * delivers.) Best effort: few at a time, limited in rate, one Event per Route and reason whose
 * count goes up, and what fails is dropped: the Route's status has it all. On the loop's thread.
 */
#ifndef CONTROLLER_KUBE_NOTICES_H
#define CONTROLLER_KUBE_NOTICES_H

#include <stdint.h>
#include <uv.h>

#include "controller/kube/client.h"
#include "controller/kube/event.h"
#include "controller/kube/status_doc.h"

struct kube_notices;

int kube_notices_new(uv_loop_t *loop, struct kube_client *client,
                     struct kube_notices **ret_notices);
/* What waits is dropped. NULL is fine. */
void kube_notices_free(struct kube_notices *notices);

/* What of a status that is stored in the place of another is worth telling: bits for
 * kube_notices_tell. Pure. */
unsigned kube_notices_choose(const struct status_memory *before, const struct status_doc *after);
/* Tells these of the status of the Route, as it is stored now. Copies. */
void kube_notices_tell(struct kube_notices *notices, const struct kube_object *route,
                       const struct status_doc *status, unsigned chosen);

struct kube_notices_counters {
    uint64_t written, dropped;
};
struct kube_notices_counters kube_notices_count(const struct kube_notices *notices);

#endif
