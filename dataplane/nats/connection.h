/*
 * connection: one login to one NATS server, from dialing to its end: INFO, TLS, CONNECT, the
 * subscription of the inbox, pings, errors. Which server, and what becomes of requests, is the
 * client's business. Everything happens on the loop's thread and nothing blocks.
 */
#ifndef DATAPLANE_NATS_CONNECTION_H
#define DATAPLANE_NATS_CONNECTION_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "dataplane/nats/handshake.h"
#include "dataplane/nats/link.h"
#include "dataplane/nats/proto.h"
#include "dataplane/nats/servers.h"

struct connection;

/* The same for all connections of a client; borrowed until each is closed. */
struct connection_options {
    const char *name, *creds_file; /* creds_file NULL: the user of the URL */
    /* One of these given: TLS also where neither URL nor server ask for it. */
    struct tls_options tls;
    bool tls_first; /* before INFO, as a server with handshake_first wants it */
    struct str inbox_prefix;
    size_t pending_bytes_max;    /* besides CONNECT, SUB, PING and PONG */
    size_t message_least;        /* taken in, even where the server's max_payload is less */
    uint32_t connect_timeout_ms; /* from when the host's address is known */
    uint32_t ping_interval_ms;
};

/* Any of them may call connection_close; none is called after that. */
struct connection_handler {
    /* The server let us in and gave us our inbox. */
    void (*ready)(void *context, struct connection *connection);
    /* believed: it came over TLS. The INFO that begins a connection is told too, before ready. */
    void (*info)(void *context, struct connection *connection, const struct handshake_info *info,
                 bool believed);
    void (*message)(void *context, const struct proto_operation *message);
    /* Refused by permission: to publish to the subject, or with it as reply subject. */
    void (*denied)(void *context, struct connection *connection, struct str subject, bool is_reply);
    /* It could not be made, or is gone; call connection_close. reason: "host:port: why", borrowed.
     */
    void (*down)(void *context, struct connection *connection, const char *reason);
    void *context;
};

enum connection_state {
    CONNECTION_DIALING,
    CONNECTION_GREETING,
    CONNECTION_PROVING,
    CONNECTION_READY,
    CONNECTION_CLOSED,
};

/* link, server, max_payload, lame_duck and bytes_in are there to read. */
struct connection {
    enum connection_state state; /* see connection.c */
    struct link *link;
    struct server server;
    size_t max_payload;
    uint64_t bytes_in;
    size_t message_max;
    bool lame_duck;         /* it said that it is about to shut down */
    unsigned pings;         /* unanswered */
    unsigned lookups;       /* times that the name was waited for */
    char server_error[512]; /* what -ERR said last */
    const struct connection_options *options;
    const struct connection_handler *handler;
    uv_timer_t timer;
    unsigned holds; /* of the loop: the timer, the link */
    void (*closed)(void *context);
    void *closed_context;
};

/* Begins one; server is copied, handler borrowed until it is closed. NULL: out of memory, or not
 * the name of a host. */
struct connection *connection_open(uv_loop_t *loop, const struct connection_options *options,
                                   const struct server *server, uint64_t random,
                                   const struct connection_handler *handler);
/* Frees it once the loop holds nothing of it, then calls closed, never before this returns. */
void connection_close(struct connection *connection, void (*closed)(void *context), void *context);

/* Sends what was appended to link_out; call it before the loop waits. May call down. */
void connection_flush(struct connection *connection);

#endif
