/*
 * proto: what a NATS server sends, as operations. Pure functions over bytes that lie together in
 * memory; nothing is copied. Protocol: docs.nats.io, "NATS Client Protocol".
 *
 * Strict: what a server would not write is an error, after which the connection is of no use. Only
 * what a worker can choose (header block, payload, its reply subject) is passed on as it came.
 */
#ifndef DATAPLANE_NATS_PROTO_H
#define DATAPLANE_NATS_PROTO_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/base/buffer.h"
#include "lib/base/str.h"

enum {
    PROTO_LINE_MAX = 64 * 1024, /* bytes of a control line; INFO lists a cluster's servers */
};

enum proto_kind { PROTO_MESSAGE, PROTO_INFO, PROTO_PING, PROTO_PONG, PROTO_OK, PROTO_ERROR };

/* All strings borrow the input. */
struct proto_operation {
    enum proto_kind kind;
    /* PROTO_MESSAGE */
    struct str subject, reply_subject; /* reply_subject empty: none */
    uint64_t sid;
    struct str block, payload; /* block empty: a plain message */
    /* PROTO_INFO: the JSON; PROTO_ERROR: the text without its quotes */
    struct str text;
};

/*
 * Reads one operation from the start of input. Returns its length, or 0: incomplete, *ret_need is
 * the least length of input with which to ask again; or -EPROTO: not the NATS protocol, or a
 * message (block and payload) of more than message_max bytes.
 */
ssize_t proto_parse(struct str input, size_t message_max, struct proto_operation *ret_operation,
                    size_t *ret_need);

/* Appends one HPUB, or PUB without a block; all or nothing. prefix and token empty: no reply
 * subject. 0, -ENOBUFS, -ENOMEM. */
int proto_write_publish(struct buffer *out, struct str subject, struct str reply_prefix,
                        struct str reply_token, struct str block, struct str payload);

/* The most bytes that proto_write_publish adds to those of its arguments. */
enum { PROTO_PUBLISH_OVERHEAD = sizeof("HPUB   4294967295 4294967295\r\n\r\n") };

#endif
