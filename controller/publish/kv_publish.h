/*
 * kv_publish: makes each gateway's KV bucket hold what it was told to, as its only writer. DESIGN:
 * Table, One writer. A thread of its own does all the talking; the functions here are called on the
 * loop's thread, never block on the network, and what happened comes back on the loop.
 *
 *      STANDBY ──kv_publish_lead──▶ OPENING ──read to its end──▶ LOADED ──kv_publish_begin──▶
 * IN_CHARGE ▲                                                      │    │ └──── bucket unreachable,
 * lost, written by others ─────┘    │ DEPOSED ◀── another term in _table ──────┘
 *
 *      DEPOSED: until told not to lead, and then to lead again.
 *      FOREIGN: the bucket is another owner's; looked at again now and then, never written.
 *      Told not to lead, each becomes STANDBY.
 */
#ifndef CONTROLLER_PUBLISH_KV_PUBLISH_H
#define CONTROLLER_PUBLISH_KV_PUBLISH_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "lib/base/buffer.h"
#include "lib/base/str.h"

struct kv_publish;

enum { KV_PUBLISH_REASON_MAX = 256 };

enum kv_publish_state {
    KV_PUBLISH_STANDBY,   /* not ours to write: not even looked at */
    KV_PUBLISH_OPENING,   /* nothing is known of the bucket, or not any more */
    KV_PUBLISH_LOADED,    /* read to its end; waits for kv_publish_begin */
    KV_PUBLISH_IN_CHARGE, /* its writer */
    KV_PUBLISH_DEPOSED,   /* another controller is */
    KV_PUBLISH_FOREIGN,   /* another owner's, or one that drops entries */
};

struct kv_publish_options {
    const char *servers, *creds_file, *ca_file, *js_domain, *inbox_prefix; /* NULL: not set */
    const char *owner;
    unsigned replicas; /* of buckets that it creates */
    const char *const *gateways;
    unsigned gateway_count;
};

/* Called on the loop's thread. */
struct kv_publish_handler {
    /* reason: what is wrong, for people; empty when nothing is. */
    void (*state)(void *context, unsigned gateway, enum kv_publish_state state, const char *reason);
    /* The bucket holds this generation of the key, at sequence; also told for entries that were
     * there already. A lineage's entries come after its lineage. */
    void (*lineage)(void *context, unsigned gateway, struct str lineage);
    void (*written)(void *context, unsigned gateway, struct str key, int64_t generation,
                    uint64_t sequence);
    void *context;
};

/* Copies options. 0, -ENOMEM, -EINVAL with a reason: an option that cnats refuses. */
int kv_publish_new(uv_loop_t *loop, const struct kv_publish_options *options,
                   const struct kv_publish_handler *handler, struct kv_publish **ret_publish,
                   char reason[KV_PUBLISH_REASON_MAX]);
/* Ends the thread (what is in flight is waited for, at most a few seconds); no callback any more.
 * The memory goes once the loop has let go of its handle. NULL is fine. */
void kv_publish_free(struct kv_publish *publish);

/* Whether to take charge of the buckets; at first not. */
void kv_publish_lead(struct kv_publish *publish, bool leads);

/* What the key shall hold; value.ptr NULL: nothing. Copied. 0, -ENOMEM. */
int kv_publish_set(struct kv_publish *publish, unsigned gateway, struct str key, int64_t generation,
                   struct str value);
/* What the bucket holds: 0 and the value appended, -ENOENT, -EAGAIN: not read yet, -ENOMEM. */
int kv_publish_stored(struct kv_publish *publish, unsigned gateway, struct str key,
                      struct buffer *value);
/* LOADED, and all that the bucket shall hold was set: take charge. */
void kv_publish_begin(struct kv_publish *publish, unsigned gateway);
/* A pod says that it applied this sequence of this lineage: a stream that ends before it has lost
 * something. */
void kv_publish_seen(struct kv_publish *publish, unsigned gateway, struct str lineage,
                     uint64_t sequence);

struct kv_publish_counts {
    uint64_t writes, entries;     /* acknowledged messages or batches; entries in them */
    uint64_t refused, unanswered; /* writes */
    uint64_t takeovers;           /* terms begun */
    uint64_t lineages;            /* begun */
    uint64_t purged;              /* tombstones */
    uint64_t batches[4];          /* by entries: 1, up to 10, up to 100, more */
    uint64_t waiting;             /* entries to be written now */
};
void kv_publish_count(struct kv_publish *publish, unsigned gateway,
                      struct kv_publish_counts *ret_counts);

#endif
