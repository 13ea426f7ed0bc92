/*
 * jetstream: what the controller asks of a NATS server: the streams behind KV buckets (ADR-8),
 * writes that only happen when nobody else wrote before (ADR-50 for batches). Every call blocks, a
 * few seconds at most; for threads that may. One thread per struct.
 */
#ifndef CONTROLLER_PUBLISH_JETSTREAM_H
#define CONTROLLER_PUBLISH_JETSTREAM_H

#include <nats/nats.h>
#include <stdbool.h>
#include <stdint.h>

#include "controller/publish/kv_publish.h"
#include "lib/base/str.h"

enum { JETSTREAM_BATCH_MAX = 1000, JETSTREAM_NAME_MAX = 96, JETSTREAM_CREATED_MAX = 40 };

struct jetstream {
    natsOptions *options;
    natsConnection *connection;
    jsCtx *context;
    char api[JETSTREAM_NAME_MAX];    /* "$JS.API." or that of a domain */
    char prefix[JETSTREAM_NAME_MAX]; /* before "$KV." in what is published */
    char domain[JETSTREAM_NAME_MAX];
    char reason[KV_PUBLISH_REASON_MAX]; /* why the last call failed, for people */
};

/*
 * Codes of all calls, with a reason:
 *   -ENOTCONN   no connection; nothing was sent
 *   -ETIMEDOUT  no answer came: whether it happened is not known
 *   -ENOENT     there is no such stream, or message
 *   -ESTALE     refused: somebody else wrote in between
 *   -EREMOTEIO  the server refused for another reason
 *   -EMSGSIZE   an entry is larger than a message may be
 *   -EBADMSG    an answer that makes no sense
 *   -ENOMEM
 */

/* Copies options; does not connect. -EINVAL with a reason: an option is wrong. */
int jetstream_init(struct jetstream *jetstream, const struct kv_publish_options *options,
                   const char *client_name);
void jetstream_done(struct jetstream *jetstream);
/* 0: connected. Else the connection is made, or made again, in the background. */
int jetstream_connect(struct jetstream *jetstream);

struct jetstream_stream {
    uint64_t last_sequence, messages;
    char created[JETSTREAM_CREATED_MAX]; /* tells a stream from one made anew */
    bool batches;                        /* takes atomic batches */
    const char *loses; /* the setting by which it drops entries on its own; NULL: it does not */
};

/* As the stream's leader has it. */
int jetstream_find_bucket(struct jetstream *jetstream, const char *bucket,
                          struct jetstream_stream *ret_stream);

struct jetstream_bucket {
    bool memory; /* else in files */
    bool batches;
    unsigned replicas, max_age_s; /* 0: entries stay */
};

int jetstream_create_bucket(struct jetstream *jetstream, const char *bucket,
                            const struct jetstream_bucket *options,
                            struct jetstream_stream *ret_stream);

struct jetstream_entry {
    struct str key, value; /* borrowed for the call */
    bool deleted;
    uint64_t sequence;
    int64_t age_ns;
    uint64_t pending; /* how many follow */
};

/* The newest entry of a key, from the stream's leader: 0, then take(); -ENOENT. */
int jetstream_get(struct jetstream *jetstream, const char *bucket, const char *key,
                  int (*take)(void *context, const struct jetstream_entry *entry), void *context);
/* Every key's newest entry, in order of sequence; stops when take returns an error. An entry may
 * come twice. */
int jetstream_read(struct jetstream *jetstream, const char *bucket,
                   int (*take)(void *context, const struct jetstream_entry *entry), void *context);

/* An ordered consumer of all entries, for jetstream_next. */
int jetstream_subscribe(struct jetstream *jetstream, const char *bucket,
                        natsSubscription **ret_subscription);
/* Its consumer goes, too, at once. NULL is fine. */
void jetstream_unsubscribe(natsSubscription *subscription);
/* 0, then take's result; -ETIMEDOUT: nothing came; else the subscription is of no more use. */
int jetstream_next(struct jetstream *jetstream, const char *bucket, natsSubscription *subscription,
                   int64_t timeout_ms,
                   int (*take)(void *context, const struct jetstream_entry *entry), void *context);

struct jetstream_write {
    struct str key, value; /* value.ptr NULL: delete */
};

/*
 * Writes all, or nothing: one message, or an atomic batch of at most JETSTREAM_BATCH_MAX, and only
 * if the stream's last sequence is expected. *ret_sequence: of the last one; the others' come right
 * before it, without a gap.
 */
int jetstream_write(struct jetstream *jetstream, const char *bucket,
                    const struct jetstream_write *writes, size_t count, uint64_t expected,
                    uint64_t *ret_sequence);
/* Removes what is left of a deleted key: its messages up to this sequence, no later one. */
int jetstream_purge(struct jetstream *jetstream, const char *bucket, const char *key,
                    uint64_t sequence);

#endif
