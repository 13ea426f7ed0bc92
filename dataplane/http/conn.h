/*
 * conn: one client connection. One request is in progress at a time; pipelined ones wait in the
 * connection's buffer, and when that is full, in the kernel's.
 *
 *      IDLE ──▶ READING ──▶ ANSWERING ──▶ WRITING ──▶ IDLE, or LINGERING ──▶ CLOSED
 *        └─────────┴── any state ── error, limit, time-out ──────────────────▶ CLOSED
 */
#ifndef DATAPLANE_HTTP_CONN_H
#define DATAPLANE_HTTP_CONN_H

#include <netinet/in.h>

#include "dataplane/http/server.h"
#include "dataplane/http/write.h"

enum conn_state {
    CONN_IDLE,      /* between requests */
    CONN_READING,   /* part of a request is here */
    CONN_ANSWERING, /* the handler has it */
    CONN_WRITING,   /* the socket took only part of the response */
    CONN_LINGERING, /* our side is closed; what still comes is thrown away (RFC 9112 9.6) */
    CONN_CLOSED,
};

struct conn {
    uv_poll_t poll;
    int fd, events;           /* events: what poll waits for */
    struct wheel_timer timer; /* of the state's deadline */
    struct http_server *server;
    struct conn *next, **back; /* all open ones of the server; next alone: free list */
    struct conn *stalled_next, *stalled_previous;
    enum conn_state state;
    bool keep_alive, ended /* the client's side */, paused /* reading */;
    bool processing, body_begun, stalled;

    /* in->bytes: | done with | start: the current request .. end | room | */
    struct inbuf *in;
    size_t start, end;
    struct http_parser parser;
    uint64_t body_begun_ms;

    char *unsent; /* of a response; NULL: none */
    size_t unsent_size, unsent_done;
    size_t unsent_seen; /* done when the write deadline was last set */

    void *owner;                 /* of the handler: its exchange */
    char peer[INET6_ADDRSTRLEN]; /* address without port; IPv4-mapped ones as IPv4 */
    uint8_t peer_length;
    uint8_t address_length; /* 4 or 16 */
    unsigned char address[16];
    bool peer_loopback, peer_trusted; /* trusted: for the handler to use; false at first */
    bool peer_judged;
};

static inline struct str conn_peer(const struct conn *conn)
{
    return str_make(conn->peer, conn->peer_length);
}

/*
 * Answers the request in progress: one write when the socket takes it all. Everything in response
 * is borrowed for the call. Afterwards the next pipelined request may already have been given to
 * the handler, so the caller must be done with the request.
 */
void conn_respond(struct conn *conn, const struct http_response *response);

/* The handler's expired is called unless conn_respond comes within so many milliseconds. */
void conn_wait(struct conn *conn, uint64_t timeout_ms);

/* For server.c: a connection over an accepted socket; closes fd when it fails. */
void conn_open(struct http_server *server, int fd, const struct sockaddr *peer);
/* For server.c: closes after the answer in progress, or to a request that comes within half a
 * second. */
void conn_stop(struct conn *conn);
/* For server.c: closes now. */
void conn_abort(struct conn *conn);
void conn_expire(struct wheel_timer *timer);
void conn_free_all(struct http_server *server);

#endif
