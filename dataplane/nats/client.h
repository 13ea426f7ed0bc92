/*
 * client: a non-blocking NATS core connection, for request and reply only. Everything
 * happens on the loop's thread; no call blocks, none allocates per request in steady state.
 *
 * A request takes a slot; its reply subject is <prefix>.<random of this client>.<token>, where
 * token is the slot, its generation and 64 unpredictable bits, compared whole: a wrong, late or
 * second reply is dropped and counted. Publishes gather in one buffer and leave with one write per
 * loop iteration. Nothing is kept for a reconnect: a request that was not sent fails at once.
 *
 * Exactly one of reply or failed is called for each accepted request, never from inside
 * nats_client_request, unless nats_client_forget was called before.
 */
#ifndef DATAPLANE_NATS_CLIENT_H
#define DATAPLANE_NATS_CLIENT_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "lib/base/str.h"

struct nats_client;

enum nats_failure {
    NATS_FAILURE_NOT_SENT, /* the connection went before the request left: nothing ran (503) */
    NATS_FAILURE_LOST,     /* sent, then the connection went: outcome unknown (502) */
    NATS_FAILURE_DENIED,   /* the server refused the subject by permission (502) */
};

/* A reply; borrowed for the call. */
struct nats_reply {
    struct str block; /* NATS header block with "NATS/1.0..." and the empty line; empty: none */
    struct str payload;
    bool has_reply_subject; /* a reply subject on a reply is reserved */
};

struct nats_client_handler {
    void (*reply)(void *owner, const struct nats_reply *reply);
    void (*failed)(void *owner, enum nats_failure failure);
    /* The connection came up or went down; for readiness and logs. NULL: nobody asks. */
    void (*changed)(void *context, bool connected, struct str detail);
    /* A publish was refused by permission that no request in flight belongs to. True: it is a
     * cancel, and counts; else its requests have failed already, or were forgotten. NULL: as if
     * false. */
    bool (*denied)(void *context, struct str subject);
    void *context;
};

struct nats_client_options {
    struct str servers;      /* "nats://host:port,..." or tls://, as given with --nats */
    struct str name;         /* shown by the server */
    struct str inbox_prefix; /* "_METROPOLIS" */
    struct str creds_file;   /* empty: none */
    /*
     * PEM files; empty: the system's authorities, no client certificate, a key within cert_file.
     * They and creds_file are read anew for each connection. TLS is demanded of every server when
     * one of them or tls_first is given, else where its URL or its INFO demands it.
     */
    struct str ca_file, cert_file, key_file;
    bool tls_first;           /* the handshake before INFO (a server's handshake_first) */
    uint32_t in_flight_max;   /* requests */
    size_t pending_bytes_max; /* bytes waiting for the socket */
    size_t reply_bytes_max;   /* bytes that the replies to all requests in flight may have */
    uint32_t connect_timeout_ms, ping_interval_ms;
    uint32_t reconnect_min_ms, reconnect_max_ms; /* back-off, doubled, with jitter */
};

struct nats_client_counters {
    uint64_t sent, replies, late, connects, disconnects, denied, in_flight, pending_bytes;
    uint64_t bytes_in, bytes_out, reserved_bytes, cancels;
    uint64_t connections; /* 1 when connected */
};

struct nats_request {
    struct str subject; /* must have passed subject_validate */
    struct str block;   /* a whole NATS header block; empty: none */
    struct str payload;
    uint32_t reply_bytes; /* to be expected; counts against reply_bytes_max */
    void *owner;
};

/* Starts to connect and goes on trying for ever. -EINVAL: bad servers (the message says which). */
int nats_client_new(uv_loop_t *loop, const struct nats_client_options *options,
                    const struct nats_client_handler *handler, struct nats_client **ret_client,
                    char *ret_error, size_t error_size);
/* Fails what is in flight, flushes nothing, closes; closed is called when the loop holds nothing of
 * it any more. */
void nats_client_close(struct nats_client *client, void (*closed)(void *context), void *context);

bool nats_client_connected(const struct nats_client *client);
/* Of the current server's INFO: block and payload of a message together; bytes. */
size_t nats_client_max_payload(const struct nats_client *client);

/*
 * Queues a request; everything but owner is copied. Returns the slot (>= 0), or
 *   -ENOTCONN  not connected
 *   -ENOBUFS   reply_bytes_max reached; not when nothing is in flight
 *   -EBUSY     in_flight_max or pending_bytes_max reached
 *   -EMSGSIZE  over max_payload
 */
int nats_client_request(struct nats_client *client, const struct nats_request *request);
/* The owner is no longer interested (timeout, client gone): its reply will count as late. cancel: a
 * subject on which who got the request is told, as well as may be; empty: nobody is. */
void nats_client_forget(struct nats_client *client, int slot, struct str cancel);

uint32_t nats_client_in_flight(const struct nats_client *client); /* requests */
size_t nats_client_reserved(const struct nats_client *client);    /* bytes for their replies */
void nats_client_count(const struct nats_client *client, struct nats_client_counters *ret_counters);

#endif
