/*
 * creds: a NATS credentials file (a user JWT and its NKey seed) as proof towards a server: the JWT
 * and the server's nonce signed with the seed. NATS ADR-14.
 */
#ifndef DATAPLANE_NATS_CREDS_H
#define DATAPLANE_NATS_CREDS_H

#include <stddef.h>

#include "lib/base/str.h"

enum {
    CREDS_FILE_MAX = 64 * 1024,
    CREDS_SIGNATURE_LEN = 86, /* 64 bytes in base64url without padding */
};

/* Read anew for each connection, since credentials rotate; small and local, so it may block. */
struct creds {
    char text[CREDS_FILE_MAX];
    struct str jwt, seed; /* within text */
};

/* 0; -errno of reading; -E2BIG; -EINVAL: not a credentials file, or its seed is damaged. */
int creds_read(const char *path, struct creds *ret_creds);
/* Overwrites the secret. */
void creds_done(struct creds *creds);

/* Signs nonce; signature: base64url and a NUL. 0 or -EINVAL. */
int creds_sign(const struct creds *creds, struct str nonce,
               char ret_signature[CREDS_SIGNATURE_LEN + 1]);

#endif
