/*
 * tls: one TLS session, as a client, over a socket that does not block. It never waits: whatever
 * cannot be done now is -EAGAIN, and the caller asks again when the socket is ready. TLS 1.2 or
 * later; the server's certificate must be trusted and bear the server's name or IP address.
 */
#ifndef DATAPLANE_NATS_TLS_H
#define DATAPLANE_NATS_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct tls;

/* PEM files. They are read anew for each session, since certificates rotate; small and local. */
struct tls_options {
    const char *ca_file;              /* NULL: the authorities that this system trusts */
    const char *cert_file, *key_file; /* NULL: no client certificate; a key within cert_file */
};

/* fd is borrowed. host: what the certificate must be for. NULL, with a sentence in ret_error: a
 * file cannot be used, or there is no memory. */
struct tls *tls_new(const struct tls_options *options, int fd, const char *host, char *ret_error,
                    size_t error_size);
/* Says nothing to the server; fd stays open. */
void tls_free(struct tls *tls);

/* 0: done; -EAGAIN; -EPROTO: see tls_reason. */
int tls_handshake(struct tls *tls);

/*
 * Bytes; 0 from reading: the end; -EAGAIN; or another -errno: see tls_reason. A write takes all of
 * its bytes, or some, or none; bytes count as written when the socket has the whole of their
 * record, so no server ever acts on others. After -EAGAIN the next write must begin with the same
 * bytes.
 */
ssize_t tls_read(struct tls *tls, char *bytes, size_t size);
ssize_t tls_write(struct tls *tls, const char *bytes, size_t size);

/* Whether what was -EAGAIN needs the socket to be writable; it may always need it to be readable.
 */
bool tls_wants_write(const struct tls *tls);
/* Whether bytes wait here, of which the socket would not tell. */
bool tls_holds_bytes(const struct tls *tls);
/* Why the last call failed; lives as long as tls. */
const char *tls_reason(const struct tls *tls);

#endif
