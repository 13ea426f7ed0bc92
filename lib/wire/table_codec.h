/*
 * table_codec: the entries of a gateway's KV bucket (DESIGN: Table). Key route.<namespace>.<name>;
 * value: canonical JSON {"format":1,"uid":...,"generation":...,"created":...,"spec":{...}}. Key
 * _table: {"format":1,"owner":...,"lineage":...,"term":...,"complete":...}. Also the acks that pods
 * write.
 *
 * Equal input gives equal bytes: fixed key order, no white space. A format above ours, an unknown
 * field or anything malformed is refused as a whole.
 */
#ifndef LIB_WIRE_TABLE_CODEC_H
#define LIB_WIRE_TABLE_CODEC_H

#include "lib/base/buffer.h"
#include "lib/route/route.h"
#include "lib/wire/route_spec.h"

enum {
    TABLE_FORMAT = 1,
    TABLE_ID_MAX = 64, /* owner, lineage, term, boot: [A-Za-z0-9_.-] */
    TABLE_ACK_REJECTED_MAX = 32,
    TABLE_ACK_REASON_MAX = 256,
    TABLE_KEY_MAX = 6 + 63 + 1 + 253, /* "route." namespace "." name */
    TABLE_ACK_MAX = 32 * 1024,        /* bytes of an encoded ack */
};

/* "route.<namespace>.<name>" into out, at least TABLE_KEY_MAX + 1; its length, or -EINVAL. */
int table_key_write(struct str namespace_name, struct str name, char *out);
/* Both borrow key; -EINVAL: not a Route's key. The namespace ends at the first dot. */
int table_key_read(struct str key, struct str *ret_namespace, struct str *ret_name);

/* The value of a Route; -E2BIG over ROUTE_SOURCE_MAX, -ENOMEM. */
int table_entry_write(const struct route *route, struct buffer *out);
/* A new route with one reference; -EINVAL with *ret_error, -ENOMEM. */
int table_entry_read(struct str key, struct str value, struct route **ret_route,
                     struct route_spec_error *ret_error);

struct table_head {
    char owner[TABLE_ID_MAX + 1], lineage[TABLE_ID_MAX + 1], term[TABLE_ID_MAX + 1];
    bool complete;
};

int table_head_write(const struct table_head *head, struct buffer *out);
int table_head_read(struct str value, struct table_head *ret_head);

struct table_rejection {
    char key[TABLE_KEY_MAX + 1];
    uint64_t sequence;
    char reason[TABLE_ACK_REASON_MAX + 1];
};

/* What a pod says of itself. goodbye: it leaves, and counts no more. */
struct table_ack {
    char boot[TABLE_ID_MAX + 1], lineage[TABLE_ID_MAX + 1], version[TABLE_ID_MAX + 1];
    uint64_t applied; /* the stream sequence that every loop serves */
    uint64_t rejected_total;
    struct table_rejection rejected[TABLE_ACK_REJECTED_MAX]; /* the newest */
    size_t rejected_count;
    bool goodbye;
};

int table_ack_write(const struct table_ack *ack, struct buffer *out);
int table_ack_read(struct str value, struct table_ack *ret_ack);

#endif
