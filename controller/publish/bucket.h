/*
 * bucket: what one gateway's KV bucket holds and what it shall hold, and so what is to be written
 * next. Pure; one thread at a time (kv_publish has a lock for it).
 *
 * stored says what the bucket held when it was last read, plus what was acknowledged since. An
 * entry is dirty while the bytes of wanted and stored differ; dirty entries wait in the order of
 * their change, puts before deletes.
 */
#ifndef CONTROLLER_PUBLISH_BUCKET_H
#define CONTROLLER_PUBLISH_BUCKET_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/map.h"
#include "lib/base/str.h"

enum bucket_queue { BUCKET_QUEUE_NONE, BUCKET_QUEUE_PUT, BUCKET_QUEUE_DELETE };

/* Bytes shared by wanted, stored and a write in flight. */
struct bucket_value {
    unsigned references;
    size_t length;
    char bytes[];
};

struct bucket_entry {
    struct map_node node; /* key */
    char *key;
    struct bucket_value *wanted, *stored; /* NULL: none */
    int64_t generation;                   /* of wanted */
    uint64_t sequence;     /* of what the bucket holds, a tombstone too; 0: nothing */
    uint64_t tombstone_ns; /* when it was deleted; 0: it is no tombstone */
    enum bucket_queue queue;
    struct bucket_entry *previous, *next; /* in that queue */
    bool in_flight;
};

struct bucket {
    struct map entries;
    struct bucket_entry *first[3], *last[3]; /* by enum bucket_queue */
    uint64_t dirty;
};

void bucket_init(struct bucket *bucket);
void bucket_done(struct bucket *bucket);

struct bucket_entry *bucket_find(const struct bucket *bucket, struct str key);
/* Every entry once, NULL starts and ends, as map_next. */
struct bucket_entry *bucket_next(const struct bucket *bucket, const struct bucket_entry *entry);

/* value.ptr NULL: nothing. 1: wanted changed; 0: it is wanted already; -ENOMEM. */
int bucket_want(struct bucket *bucket, struct str key, int64_t generation, struct str value);

/* The bucket is about to be read anew: nothing is known to be stored. */
void bucket_forget_stored(struct bucket *bucket);
/* What was read; value.ptr NULL: a tombstone since then. 0, -ENOMEM. */
int bucket_read(struct bucket *bucket, struct str key, struct str value, uint64_t sequence,
                uint64_t tombstone_ns);

/* The bytes that both sides have are kept once from now on. True: they are equal, so not dirty. */
bool bucket_settle(struct bucket *bucket, struct bucket_entry *entry);

/*
 * Takes up to max dirty entries of at most max_bytes in all (one always) out of the queues, puts
 * before deletes; ret_values holds a reference to each value, NULL: delete. They are in flight
 * until bucket_written or bucket_failed.
 */
size_t bucket_take(struct bucket *bucket, size_t max, size_t max_bytes,
                   struct bucket_entry **ret_entries, struct bucket_value **ret_values);
/* Takes over the reference. */
void bucket_written(struct bucket *bucket, struct bucket_entry *entry, struct bucket_value *value,
                    uint64_t sequence, uint64_t now_ns);
void bucket_failed(struct bucket *bucket, struct bucket_entry *entry, struct bucket_value *value);

/* A tombstone was purged: forgets the entry unless it is wanted. */
void bucket_purged(struct bucket *bucket, struct bucket_entry *entry);

#endif
