/*
 * handshake: the JSON of a NATS connection's start: the server's INFO and our CONNECT.
 */
#ifndef DATAPLANE_NATS_HANDSHAKE_H
#define DATAPLANE_NATS_HANDSHAKE_H

#include <stdbool.h>

#include "dataplane/nats/creds.h"
#include "dataplane/nats/servers.h"
#include "lib/base/buffer.h"

/* What of an INFO matters here. The strings belong to doc. */
struct handshake_info {
    size_t max_payload;
    bool headers, tls_required, tls_available, lame_duck;
    struct str nonce;
    struct str connect_urls[SERVERS_MAX];
    size_t connect_url_count;
    void *doc;
};

/* 0, or -EPROTO. */
int handshake_read_info(struct str json, struct handshake_info *ret_info);
void handshake_info_done(struct handshake_info *info);

/*
 * Appends the CONNECT line for this server, over TLS if secure. creds: NULL, or what proves who we
 * are instead of the URL's user. 0, -EINVAL: the server asked for no signature, or it could not be
 * made; -ENOMEM; -ENOBUFS.
 */
int handshake_write_connect(struct buffer *out, const struct server *server,
                            const struct handshake_info *info, const struct creds *creds,
                            struct str name, bool secure);

#endif
