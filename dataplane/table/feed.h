/*
 * feed: the table thread's connection to NATS (cnats). What arrives on threads of the library waits
 * here, in order, for the one thread that takes it; that thread waits in one place for messages,
 * for the end of the connection, and for being woken by other threads.
 *
 * The library never reconnects by itself: after a loss everything is begun anew, so nothing of the
 * old connection can be taken for the new one.
 */
#ifndef DATAPLANE_TABLE_FEED_H
#define DATAPLANE_TABLE_FEED_H

#include <nats/nats.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/str.h"

struct feed;

struct feed_options {
    const char *servers;              /* "nats://host:port,..." */
    const char *creds_file, *ca_file; /* NULL: none */
    const char *cert_file, *key_file; /* mTLS; key_file NULL: in cert_file */
    bool tls_first;                   /* the handshake before INFO; needs cnats 3.8 */
    const char *inbox_prefix;         /* NULL: the default */
    const char *name;
};

enum feed_kind {
    FEED_MESSAGE, /* id: of the feed_follow that it belongs to */
    FEED_ANSWER,  /* id: of the feed_ask that it answers */
};

struct feed_item {
    enum feed_kind kind;
    uint32_t id;
    natsMsg *message; /* the taker destroys it */
};

/* Options are borrowed until feed_free. NULL: out of memory. */
struct feed *feed_new(const struct feed_options *options);
void feed_free(struct feed *feed);

/* Blocks, at most some seconds. 0, or -ENOTCONN with the reason, a static text. */
int feed_connect(struct feed *feed, const char **ret_reason);
void feed_disconnect(struct feed *feed);
/* Not since it was lost. */
bool feed_connected(struct feed *feed);

/* Subscribes a new inbox, in place of the last one, and writes its subject. 0 or -ENOTCONN. */
int feed_follow(struct feed *feed, uint32_t *ret_id, char *ret_subject, size_t size);
void feed_unfollow(struct feed *feed);
/* Publishes a message whose answer will come as an item. 0 or -ENOTCONN. */
int feed_ask(struct feed *feed, const char *subject, struct str data, uint32_t *ret_id);
int feed_publish(struct feed *feed, const char *subject);

/* Waits for an item, a loss or a wake, at most until then (feed_now_ms). */
void feed_wait(struct feed *feed, uint64_t deadline_ms);
/* Up to max items in the order of their arrival. */
size_t feed_take(struct feed *feed, struct feed_item *items, size_t max);
/* Any thread. */
void feed_wake(struct feed *feed);

uint64_t feed_now_ms(void);

#endif
