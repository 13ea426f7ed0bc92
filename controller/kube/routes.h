/*
 * routes: Route objects of the API server as a source of Routes (controller/source.h). One watch
 * per namespace, or one for all. On the loop's thread.
 *
 * An event that changes neither a Route's spec (its generation) nor its status from what our own
 * sink stored there is not passed on: our own status writes cause no work.
 */
#ifndef CONTROLLER_KUBE_ROUTES_H
#define CONTROLLER_KUBE_ROUTES_H

#include <stdbool.h>
#include <uv.h>

#include "controller/kube/client.h"
#include "controller/kube/status.h"
#include "controller/kube/watch.h"
#include "controller/source.h"
#include "lib/base/metrics.h"

enum { KUBE_NAMESPACES_MAX = 256 };

struct kube_routes;

/*
 * namespaces: "shop,billing", or NULL or "": all of them. status learns what is stored from what
 * the watch sees; borrowed, as the client, until freed. wait_ms: before the first list, unless
 * kube_routes_relist comes first. -EINVAL: a namespace that cannot be one, one twice, or too many;
 * -ENOMEM.
 */
int kube_routes_new(uv_loop_t *loop, struct kube_client *client, const char *namespaces,
                    uint64_t wait_ms, struct kube_status *status,
                    const struct source_handler *handler, struct kube_routes **ret_routes);
/* No callback any more. NULL is fine. */
void kube_routes_free(struct kube_routes *routes);

/* Lists all anew: the handler's stale at once, then synced when everything that comes is as of now
 * or later. */
void kube_routes_relist(struct kube_routes *routes);
bool kube_routes_synced(const struct kube_routes *routes);
/* What is wrong now, for readiness; NULL: nothing. Borrowed until the loop turns. */
const char *kube_routes_trouble(const struct kube_routes *routes);
/* How long the handler took for each Route that it was told of. */
const struct metrics_histogram *kube_routes_times(const struct kube_routes *routes);
/* The sum of all its watches. */
void kube_routes_count(const struct kube_routes *routes, struct kube_watch_counters *ret_counters);

#endif
