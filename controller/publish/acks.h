/*
 * acks: what the pods say they have applied: watches the bucket metropolis_acks, which it creates
 * when it is not there. A thread of its own; callbacks come on the loop's thread.
 */
#ifndef CONTROLLER_PUBLISH_ACKS_H
#define CONTROLLER_PUBLISH_ACKS_H

#include <uv.h>

#include "controller/publish/kv_publish.h"
#include "lib/wire/table_codec.h"

struct acks;

struct acks_handler {
    /* gateway and pod as in the key; borrowed for the call. */
    void (*ack)(void *context, struct str gateway, struct str pod, const struct table_ack *ack);
    /* Every ack that the bucket held when it was opened has been told; again after a gap. */
    void (*synced)(void *context);
    void *context;
};

/* Of options only the connection is used. 0, -ENOMEM, -EINVAL with a reason. */
int acks_new(uv_loop_t *loop, const struct kv_publish_options *options,
             const struct acks_handler *handler, struct acks **ret_acks,
             char reason[KV_PUBLISH_REASON_MAX]);
/* Ends the thread; no callback any more. NULL is fine. */
void acks_free(struct acks *acks);

struct acks_counts {
    uint64_t received, malformed, dropped;
};
void acks_count(struct acks *acks, struct acks_counts *ret_counts);

#endif
