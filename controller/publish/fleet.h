/*
 * fleet: the pods of one gateway: which are live, and how far they are. DESIGN: Programmed. Pure;
 * times are a monotonic clock in nanoseconds.
 *
 * Live, with a Service: its ready endpoints, and pods that ack but are not listed (15 s). Without:
 * pods that acked within 60 s. Never one that said goodbye.
 */
#ifndef CONTROLLER_PUBLISH_FLEET_H
#define CONTROLLER_PUBLISH_FLEET_H

#include <stdbool.h>
#include <stdint.h>
#include <yyjson.h>

#include "controller/source.h"
#include "lib/base/map.h"
#include "lib/wire/table_codec.h"

struct fleet {
    struct map pods;
    bool has_service;
    bool listed_known; /* has_service: the endpoints have been told */
    char lineage[TABLE_ID_MAX + 1];
    /* Of the live pods, kept by recounting. */
    unsigned live;
    uint64_t floor;     /* what each of them has applied of this lineage */
    unsigned rejecting; /* how many reject something */
    uint64_t expiry_ns; /* when the next one may cease to be live by silence; UINT64_MAX: none */
};

void fleet_init(struct fleet *fleet, bool has_service);
void fleet_done(struct fleet *fleet);

void fleet_set_lineage(struct fleet *fleet, struct str lineage, uint64_t now_ns);

enum fleet_change {
    FLEET_SAME = 0,
    FLEET_MOVED = 1,    /* live, or how far a pod is, is other than before */
    FLEET_REJECTED = 2, /* somebody's rejections are */
};

/* A set of fleet_change; -ENOMEM: also for more pods than anyone has. */
int fleet_ack(struct fleet *fleet, struct str pod, const struct table_ack *ack, uint64_t now_ns);
/* All ready pods of the Service. The same. */
int fleet_endpoints(struct fleet *fleet, const struct str *pods, size_t count, uint64_t now_ns);
/* Lets go of pods that were silent for too long. The same. */
int fleet_expire(struct fleet *fleet, uint64_t now_ns);

/* Have all live pods (at least one) applied this? */
bool fleet_applied(const struct fleet *fleet, uint64_t sequence);
unsigned fleet_ready(const struct fleet *fleet, uint64_t sequence);
/* Does a live pod reject the entry, or reject more than it can list? Then says who and why. */
bool fleet_rejects(const struct fleet *fleet, struct str key, uint64_t sequence,
                   struct condition *ret_programmed);
/* "waiting for 1 of 3 pods: gw-2 (at 811, needs 812)" */
void fleet_describe_lag(const struct fleet *fleet, uint64_t sequence, uint64_t now_ns,
                        struct condition *ret_programmed);

/* Its pods as a JSON array; NULL: no memory. */
yyjson_mut_val *fleet_dump(const struct fleet *fleet, uint64_t now_ns, yyjson_mut_doc *doc);

#endif
