/*
 * feed: the table thread's connection to NATS: questions with their answers, and the messages of
 * one consumer at a time. It owns the loop that the thread waits in: for messages, for time, and
 * for being woken by other threads. All that happens, happens in feed_wait.
 *
 * It never reconnects by itself: after a loss everything is begun anew, so nothing of the old
 * connection can be taken for the new one.
 */
#ifndef DATAPLANE_TABLE_FEED_H
#define DATAPLANE_TABLE_FEED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dataplane/nats/proto.h"
#include "lib/base/str.h"

struct feed;

struct feed_options {
    const char *servers;              /* "nats://host:port,..." */
    const char *creds_file, *ca_file; /* NULL: none */
    const char *cert_file, *key_file; /* mTLS; key_file NULL: in cert_file */
    bool tls_first;                   /* the handshake before INFO */
    const char *inbox_prefix;         /* at most 128 bytes */
    const char *name;
};

/* Called from feed_wait alone; messages are borrowed for the call. Each may call whatever is below
 * but feed_wait and feed_free. */
struct feed_handler {
    /* Of the inbox that is followed now. */
    void (*message)(void *context, const struct proto_operation *message);
    /* To the question with this id. */
    void (*answer)(void *context, uint32_t id, const struct proto_operation *message);
    /* This user may not publish to the subject: a question to it stays without answer. */
    void (*denied)(void *context, struct str subject);
    /* The connection is there, or could not be made, or is lost; why NULL: it is there. */
    void (*changed)(void *context, const char *why);
    void *context;
};

/* The strings of options are borrowed until feed_free. 0, -ENOMEM, or -EINVAL: servers, with a
 * sentence in ret_error. */
int feed_new(const struct feed_options *options, const struct feed_handler *handler,
             struct feed **ret_feed, char *ret_error, size_t error_size);
void feed_free(struct feed *feed);

/* Begins a connection, to the next server; changed tells how it went. 0 or -ENOMEM. */
int feed_connect(struct feed *feed);
/* At once; changed is not called. */
void feed_disconnect(struct feed *feed);

/* What follows needs a connection, and leaves with the next feed_wait. 0; -ENOBUFS, -ENOMEM. */

/* Subscribes a new inbox, in place of the last one, and writes its subject. */
int feed_follow(struct feed *feed, char *ret_subject, size_t size);
void feed_unfollow(struct feed *feed);
/* Publishes a question; its answer comes with the id. -EMSGSIZE: the server does not take it. */
int feed_ask(struct feed *feed, struct str subject, struct str data, uint32_t *ret_id);
int feed_publish(struct feed *feed, struct str subject);

/* Sends what was appended; then waits until something happens, a wake, or then (feed_now_ms). */
void feed_wait(struct feed *feed, uint64_t deadline_ms);
/* Any thread. */
void feed_wake(struct feed *feed);

uint64_t feed_now_ms(void);

#endif
