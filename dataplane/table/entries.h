/*
 * entries: what the bucket holds, key by key, and what of it the loops serve. Changes gather until
 * a commit turns them into the next table. Pure: bytes in, tables out.
 *
 * A Route that is read again with equal bytes stays the same struct route, so a replay of the whole
 * bucket costs the tables nothing.
 *
 * One thread; who reads from another holds the same lock as that thread does for every call.
 */
#ifndef DATAPLANE_TABLE_ENTRIES_H
#define DATAPLANE_TABLE_ENTRIES_H

#include <stdint.h>

#include "lib/base/buffer.h"
#include "lib/route/route_table.h"
#include "lib/wire/table_codec.h"

struct entries;

/* gateway: whose bucket it is; entries for another are rejected. NULL: out of memory. */
struct entries *entries_new(struct str gateway);
void entries_free(struct entries *entries);

/* From here on the bucket is read anew from its start. What is served stays as it is. */
void entries_begin(struct entries *entries);
/* A value was written. What cannot be understood is rejected: the last good value of the same uid
 * stays in force, else there is none. 0 or -ENOMEM. */
int entries_put(struct entries *entries, struct str key, uint64_t sequence, struct str value);
void entries_delete(struct entries *entries, struct str key);
/* The end of the bucket: what was not seen since entries_begin is gone. */
void entries_sweep(struct entries *entries);

/*
 * The next table: base (NULL: the empty one) with what changed since the last settle. *ret_retired:
 * the Routes that it no longer has, valid until the next call. -ENOMEM: nothing happened.
 */
int entries_commit(struct entries *entries, const struct route_table *base,
                   struct route_table **ret_table, struct route *const **ret_retired,
                   size_t *ret_retired_count);
/* The committed table is published; the references to the retired Routes went with it. */
void entries_settle(struct entries *entries);
/* A retired Route is freed: its slot may be used again (swap_collect calls it). */
void entries_route_freed(void *entries, struct route *route);

/* The newest rejections, newest first, and how many there are. */
size_t entries_rejected(const struct entries *entries, struct table_rejection *ret_rejections,
                        size_t max);
uint64_t entries_rejected_total(const struct entries *entries);
/* Another number whenever the rejections changed. */
uint64_t entries_rejected_version(const struct entries *entries);

size_t entries_served(const struct entries *entries); /* Routes in the published table */
/* [{"key":...,"sequence":...,"value":{...}},...] of what is served, by key. */
int entries_dump(const struct entries *entries, struct buffer *out);

#endif
