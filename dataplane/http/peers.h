/*
 * peers: which client addresses are trusted proxies. Immutable after parsing; any thread.
 */
#ifndef DATAPLANE_HTTP_PEERS_H
#define DATAPLANE_HTTP_PEERS_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/base/str.h"

enum { PEERS_MAX = 64 };

struct peers {
    struct {
        unsigned char address[16];
        unsigned length; /* bytes: 4 or 16 */
        unsigned prefix; /* bits */
    } nets[PEERS_MAX];
    size_t count;
};

/* "10.0.0.0/8,2001:db8::/32,192.0.2.7"; empty: none. -EINVAL with *ret_bad, a part of list. */
int peers_parse(struct str list, struct peers *ret_peers, struct str *ret_bad);
/* address: length bytes, 4 or 16; IPv4-mapped ones as 4. */
bool peers_contain(const struct peers *peers, const unsigned char *address, size_t length);
/* An address as text; false for anything else. */
bool peers_contain_text(const struct peers *peers, struct str text);

#endif
