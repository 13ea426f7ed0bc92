/*
 * bucket: two doubly linked queues through the entries. settle is the one place that decides
 * whether an entry is dirty, called after anything that may change it; entries in flight are looked
 * at when they are back.
 *
 * An entry that is neither wanted nor in the bucket is freed at once.
 */
#include "controller/publish/bucket.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

static struct bucket_value *value_new(struct str bytes)
{
    struct bucket_value *value = malloc(sizeof(*value) + bytes.len);

    if (!value)
        return NULL;
    value->references = 1;
    value->length = bytes.len;
    memcpy(value->bytes, bytes.ptr, bytes.len);
    return value;
}

static struct bucket_value *value_ref(struct bucket_value *value)
{
    if (value)
        value->references++;
    return value;
}

static void value_unref(struct bucket_value *value)
{
    if (value && --value->references == 0)
        free(value);
}

static bool value_equal(const struct bucket_value *a, const struct bucket_value *b)
{
    if (a == b || !a || !b)
        return a == b;
    return str_equal(str_make(a->bytes, a->length), str_make(b->bytes, b->length));
}

/* ---- queues ---- */

static void dequeue(struct bucket *bucket, struct bucket_entry *entry)
{
    enum bucket_queue queue = entry->queue;

    if (queue == BUCKET_QUEUE_NONE)
        return;
    *(entry->previous ? &entry->previous->next : &bucket->first[queue]) = entry->next;
    *(entry->next ? &entry->next->previous : &bucket->last[queue]) = entry->previous;
    entry->previous = entry->next = NULL;
    entry->queue = BUCKET_QUEUE_NONE;
    bucket->dirty--;
}

static void enqueue(struct bucket *bucket, struct bucket_entry *entry, enum bucket_queue queue)
{
    if (entry->queue == queue)
        return;
    dequeue(bucket, entry);
    entry->queue = queue;
    entry->previous = bucket->last[queue];
    *(entry->previous ? &entry->previous->next : &bucket->first[queue]) = entry;
    bucket->last[queue] = entry;
    bucket->dirty++;
}

/* ---- entries ---- */

void bucket_init(struct bucket *bucket)
{
    *bucket = (struct bucket){0};
    map_init(&bucket->entries);
}

struct bucket_entry *bucket_next(const struct bucket *bucket, const struct bucket_entry *entry)
{
    struct map_node *node = map_next(&bucket->entries, entry ? &entry->node : NULL);

    return node ? MAP_ELEMENT(node, struct bucket_entry, node) : NULL;
}

static void free_entry(struct bucket *bucket, struct bucket_entry *entry)
{
    dequeue(bucket, entry);
    map_remove(&bucket->entries, &entry->node);
    value_unref(entry->wanted);
    value_unref(entry->stored);
    free(entry->key);
    free(entry);
}

void bucket_done(struct bucket *bucket)
{
    struct bucket_entry *next;

    for (struct bucket_entry *entry = bucket_next(bucket, NULL); entry; entry = next) {
        next = bucket_next(bucket, entry);
        free_entry(bucket, entry);
    }
    map_done(&bucket->entries);
}

struct bucket_entry *bucket_find(const struct bucket *bucket, struct str key)
{
    struct map_node *node = map_find(&bucket->entries, key);

    return node ? MAP_ELEMENT(node, struct bucket_entry, node) : NULL;
}

static struct bucket_entry *find_or_add(struct bucket *bucket, struct str key)
{
    struct bucket_entry *entry = bucket_find(bucket, key);

    if (entry)
        return entry;
    entry = calloc(1, sizeof(*entry));
    if (!entry || !(entry->key = strndup(key.ptr, key.len)) ||
        map_insert(&bucket->entries, &entry->node, str_from(entry->key)) < 0) {
        if (entry)
            free(entry->key);
        free(entry);
        return NULL;
    }
    return entry;
}

bool bucket_settle(struct bucket *bucket, struct bucket_entry *entry)
{
    if (entry->in_flight)
        return false;
    if (!value_equal(entry->wanted, entry->stored)) {
        enqueue(bucket, entry, entry->wanted ? BUCKET_QUEUE_PUT : BUCKET_QUEUE_DELETE);
        return false;
    }
    dequeue(bucket, entry);
    if (entry->wanted != entry->stored) {
        value_unref(entry->stored);
        entry->stored = value_ref(entry->wanted);
    }
    if (!entry->wanted && !entry->sequence)
        free_entry(bucket, entry);
    return true;
}

int bucket_want(struct bucket *bucket, struct str key, int64_t generation, struct str value)
{
    struct bucket_entry *entry = value.ptr ? find_or_add(bucket, key) : bucket_find(bucket, key);
    struct bucket_value *wanted = NULL;

    if (!entry)
        return value.ptr ? -ENOMEM : 0;
    if (value.ptr && !(wanted = value_new(value)))
        return -ENOMEM;
    entry->generation = generation;
    if (value_equal(entry->wanted, wanted)) {
        value_unref(wanted);
        return 0;
    }
    value_unref(entry->wanted);
    entry->wanted = wanted;
    bucket_settle(bucket, entry);
    return 1;
}

void bucket_forget_stored(struct bucket *bucket)
{
    struct bucket_entry *next;

    for (struct bucket_entry *entry = bucket_next(bucket, NULL); entry; entry = next) {
        next = bucket_next(bucket, entry);
        assert(!entry->in_flight);
        value_unref(entry->stored);
        entry->stored = NULL;
        entry->sequence = entry->tombstone_ns = 0;
        bucket_settle(bucket, entry);
    }
}

int bucket_read(struct bucket *bucket, struct str key, struct str value, uint64_t sequence,
                uint64_t tombstone_ns)
{
    struct bucket_entry *entry = find_or_add(bucket, key);
    struct bucket_value *stored = NULL;

    if (!entry || (value.ptr && !(stored = value_new(value))))
        return -ENOMEM;
    value_unref(entry->stored);
    entry->stored = stored;
    entry->sequence = sequence;
    entry->tombstone_ns = stored ? 0 : tombstone_ns;
    bucket_settle(bucket, entry);
    return 0;
}

/* ---- writes ---- */

size_t bucket_take(struct bucket *bucket, size_t max, size_t max_bytes,
                   struct bucket_entry **ret_entries, struct bucket_value **ret_values)
{
    size_t count = 0, bytes = 0;

    for (int queue = BUCKET_QUEUE_PUT; queue <= BUCKET_QUEUE_DELETE; queue++)
        while (bucket->first[queue] && count < max) {
            struct bucket_entry *entry = bucket->first[queue];

            bytes += entry->wanted ? entry->wanted->length : 0;
            if (count && bytes > max_bytes)
                return count;
            dequeue(bucket, entry);
            entry->in_flight = true;
            ret_entries[count] = entry;
            ret_values[count++] = value_ref(entry->wanted);
        }
    return count;
}

void bucket_written(struct bucket *bucket, struct bucket_entry *entry, struct bucket_value *value,
                    uint64_t sequence, uint64_t now_ns)
{
    assert(entry->in_flight);
    entry->in_flight = false;
    value_unref(entry->stored);
    entry->stored = value;
    entry->sequence = sequence;
    entry->tombstone_ns = value ? 0 : now_ns;
    bucket_settle(bucket, entry);
}

void bucket_failed(struct bucket *bucket, struct bucket_entry *entry, struct bucket_value *value)
{
    assert(entry->in_flight);
    entry->in_flight = false;
    value_unref(value);
    bucket_settle(bucket, entry);
}

void bucket_purged(struct bucket *bucket, struct bucket_entry *entry)
{
    if (entry->stored || entry->in_flight)
        return;
    entry->sequence = entry->tombstone_ns = 0;
    bucket_settle(bucket, entry);
}
