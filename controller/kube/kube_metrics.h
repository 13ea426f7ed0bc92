/*
 * kube_metrics: what kube/ counts, as Prometheus text, under the names of client-go and
 * controller-runtime where they have one. On the loop's thread.
 */
#ifndef CONTROLLER_KUBE_KUBE_METRICS_H
#define CONTROLLER_KUBE_KUBE_METRICS_H

#include "controller/kube/client.h"
#include "controller/kube/lease.h"
#include "controller/kube/routes.h"
#include "controller/kube/status.h"
#include "lib/base/buffer.h"

struct kube_metrics_sources {
    const struct kube_config *config;
    const struct kube_client *client;
    const struct kube_status *status;
    const struct kube_notices *notices;
    const struct kube_lease *lease;   /* NULL: none */
    const struct kube_routes *routes; /* NULL: not watched yet */
};

/* Appends to a page: 0, -ENOBUFS, -ENOMEM. */
int kube_metrics_write(const struct kube_metrics_sources *sources, struct buffer *page);

#endif
