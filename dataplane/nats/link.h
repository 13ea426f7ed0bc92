/*
 * link: one TCP connection to one NATS server, from resolving its name to its end. It knows bytes,
 * not their meaning. Everything happens on the loop's thread and nothing blocks.
 *
 * It begins in the clear; link_secure puts TLS between the buffers and the socket.
 */
#ifndef DATAPLANE_NATS_LINK_H
#define DATAPLANE_NATS_LINK_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "dataplane/nats/tls.h"
#include "lib/base/buffer.h"
#include "lib/base/str.h"

struct link;

/* Any of them may call link_close; none is called after that. */
struct link_handler {
    void (*up)(void *context);
    /* Bytes to read, those that it left last time first. Returns how many it is done with; when
     * not all, *ret_need says how many bytes there must be before more can be done. */
    size_t (*data)(void *context, struct str bytes, size_t *ret_need);
    /* It could not be made, or is gone; call link_close. reason is borrowed for the call. */
    void (*down)(void *context, const char *reason);
    void *context;
};

/* out_max: bytes that may wait to be sent. random picks one of several addresses to try first.
 * NULL: out of memory. */
struct link *link_open(uv_loop_t *loop, const char *host, const char *port, size_t out_max,
                       uint64_t random, const struct link_handler *handler);
/* Frees it once the loop holds nothing of it, then calls closed, maybe before this returns. */
void link_close(struct link *link, void (*closed)(void *context), void *context);

/*
 * From within up or data: from now on everything goes through TLS with a server whose certificate
 * is for name; what link_out holds waits for the end of the handshake. NULL, or why not; borrowed
 * until link_close.
 */
const char *link_secure(struct link *link, const struct tls_options *options, const char *name);
/* The address of the host is being looked up. */
bool link_is_resolving(const struct link *link);
bool link_is_secure(const struct link *link);

/* Bytes to send: append, and call link_flush before the loop waits. */
struct buffer *link_out(struct link *link);
/* Sends what the socket takes now; the rest goes when it takes more. NULL, or why it is gone (then
 * down is not called); borrowed until link_close. */
const char *link_flush(struct link *link);
/* How many of the bytes appended the socket has taken, ever. What is appended next ends at this
 * plus the length of what waits. */
uint64_t link_sent(const struct link *link);

#endif
