/*
 * kv_writer: the thread's half of kv_publish: what one bucket's writer does next. Shared by
 * kv_writer.c and kv_publish.c; nobody else includes it.
 */
#ifndef CONTROLLER_PUBLISH_KV_WRITER_H
#define CONTROLLER_PUBLISH_KV_WRITER_H

#include <pthread.h>

#include "controller/publish/bucket.h"
#include "controller/publish/jetstream.h"
#include "controller/publish/kv_publish.h"
#include "lib/base/random.h"
#include "lib/wire/table_codec.h"

#define SECOND_NS 1000000000ull
#define RETRY_FIRST_NS (SECOND_NS / 10)

enum event_kind { EVENT_STATE, EVENT_LINEAGE, EVENT_WRITTEN };

struct event {
    struct event *next;
    enum event_kind kind;
    unsigned gateway;
    enum kv_publish_state state;
    int64_t generation;
    uint64_t sequence;
    char text[]; /* reason, lineage or key */
};

/* One gateway's bucket. What is not marked is the thread's own. */
struct table {
    unsigned index;
    char *name;           /* of the bucket */
    struct bucket bucket; /* lock */
    bool loaded, begun;   /* lock: read to its end; kv_publish_begin was called since */
    char seen_lineage[TABLE_ID_MAX + 1]; /* lock */
    uint64_t seen;                       /* lock: the highest sequence that a pod applied of it */
    struct kv_publish_counts counts;     /* lock */

    uint64_t leadership; /* that state is of */
    enum kv_publish_state state;
    char reason[KV_PUBLISH_REASON_MAX];
    struct jetstream_stream stream; /* as last seen; created empty: never */
    uint64_t last_sequence;         /* of the stream, as far as we know */
    struct table_head head;         /* as the bucket holds it; lineage empty: none */
    bool head_malformed, odd_keys;  /* found while reading */
    char lineage[TABLE_ID_MAX + 1], term[TABLE_ID_MAX + 1]; /* ours; term empty: not in charge */
    bool new_lineage;                                       /* the next _table begins one */
    bool unsure; /* a write was refused or not answered: check first */
    /* Writes in a row that had an entry too large. Above 0 there are no batches, which such an
     * entry would take down, until it is gone. */
    uint64_t too_large;
    uint64_t due_ns, check_ns, sweep_ns, retry_ns;
};

struct kv_publish {
    uv_async_t async;
    struct kv_publish_handler handler;
    struct jetstream jetstream;
    char *owner;
    unsigned replicas;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool stop;                        /* lock */
    uint64_t leadership, leaderships; /* lock: which one we are in, 0: none; how many there were */
    struct event *events, **events_end; /* lock */
    bool out_of_memory;                 /* lock: an event was lost */
    struct random_source random;        /* the thread's */
    unsigned table_count;
    struct table tables[];
};

/* Does what is due for one bucket, on the thread; true: there may be more to do at once. */
bool kv_writer_step(struct kv_publish *publish, struct table *table);
/* Under the lock: tells of the entry if the bucket holds it as it shall be. */
void kv_writer_tell(struct kv_publish *publish, const struct table *table,
                    const struct bucket_entry *entry);

/* Queues an event for the loop; under the lock. A call of uv_async_send must follow. */
void kv_publish_add_event(struct kv_publish *publish, const struct event *what, const char *text);

#endif
