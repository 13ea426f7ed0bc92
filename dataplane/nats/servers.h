/*
 * servers: the NATS servers that a client may connect to: those given with --nats and those that
 * the cluster told us about, in random order, so that a fleet spreads over a cluster. One thread.
 */
#ifndef DATAPLANE_NATS_SERVERS_H
#define DATAPLANE_NATS_SERVERS_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/base/random.h"
#include "lib/base/str.h"

enum { SERVERS_MAX = 64 };

/* user and password as in the URL, decoded; user alone is a token. */
struct server {
    char host[256], port[6];
    char name[256]; /* what its certificate must be for: the host, or its teller's name */
    char user[256], password[512];
    bool has_password;
    bool tls; /* nothing but INFO is exchanged in the clear */
    bool discovered;
};

struct servers {
    struct server *list;
    size_t count, next;
};

/* urls: "nats://[user[:password]@]host[:port],...", or tls://. 0; -EINVAL with a sentence in
 * ret_error, which never holds a password; -ENOMEM. */
int servers_init(struct servers *servers, struct str urls, struct random_source *random,
                 char *ret_error, size_t error_size);
void servers_done(struct servers *servers);

/*
 * Forgets what was discovered before and takes these "host:port", with the credentials of the
 * server that told us. What is no address, known already or over SERVERS_MAX is passed over.
 *
 * A server told of by IP address must show the certificate of its teller's name, as nats.go has it.
 * So must one told of by name when the list came in the clear (believed false): else who can change
 * it on its way could name a host of their own, with a good certificate, and be given a password.
 */
void servers_discover(struct servers *servers, const struct server *teller, bool believed,
                      const struct str *urls, size_t count, struct random_source *random);

/* The next one to try, after the last the first. *ret_around: the last of a round. Borrowed until
 * the next servers_discover. */
const struct server *servers_next(struct servers *servers, bool *ret_around);

#endif
