/*
 * cluster: Kubernetes as the controller sees it: who it is, its Routes, the pods of its gateways,
 * and where statuses go. Connects what is in kube/; on the loop's thread.
 */
#ifndef CONTROLLER_CLUSTER_H
#define CONTROLLER_CLUSTER_H

#include <uv.h>

#include "controller/settings.h"
#include "controller/source.h"
#include "lib/base/buffer.h"

struct cluster;

enum { CLUSTER_REASON_MAX = 512 };

struct cluster_handler {
    /* The owner is known: --owner, or the uid of the namespace kube-system. Once. */
    void (*identified)(void *context, const char *owner);
    /* All ready pods of a gateway's Service, by the gateway's place in settings. */
    void (*endpoints)(void *context, unsigned gateway, const struct str *pods, size_t count);
    /* Whether this controller leads, by the Lease or because there is none. After cluster_watch. */
    void (*leads)(void *context, bool leads);
    void *context;
};

/* Borrows settings. identified is called from the loop. 0; -errno with a reason: the kubeconfig. */
int cluster_new(uv_loop_t *loop, const struct settings *settings,
                const struct cluster_handler *handler, struct cluster **ret_cluster,
                char reason[CLUSTER_REASON_MAX]);
/* No callback any more. The memory goes once the loop has let go of its handles. NULL is fine. */
void cluster_free(struct cluster *cluster);

/* Valid until freed. */
struct status_sink cluster_sink(struct cluster *cluster);
/* Starts to watch Routes and endpoints, and to ask for the Lease, once. 0; -EINVAL: --namespace;
 * -ENOMEM. */
int cluster_watch(struct cluster *cluster, const struct source_handler *handler);
/* Lists all Routes anew before anything is taken charge of; nothing before cluster_watch. */
void cluster_relist(struct cluster *cluster);
/* Another controller writes the tables: no status is written any more. True: the Lease says when to
 * lead again; false: there is none. */
bool cluster_resign(struct cluster *cluster);
/* Gives the Lease back; done is called once, from the loop, within a few seconds. */
void cluster_leave(struct cluster *cluster, void (*done)(void *context), void *context);

/* Each appends to a page. 0; -EAGAIN: something is wrong, with a line each; -ENOBUFS. */
int cluster_ready(const struct cluster *cluster, struct buffer *page);
int cluster_metrics(const struct cluster *cluster, struct buffer *page);

#endif
