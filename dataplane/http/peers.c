/*
 * peers: networks as address and prefix length, searched one by one: lists are short, and a
 * connection asks once.
 */
#include "dataplane/http/peers.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>

/* 4 or 16, 0: not an address. */
static size_t parse_address(struct str text, unsigned char *address)
{
    char copy[INET6_ADDRSTRLEN];

    if (text.len == 0 || text.len >= sizeof(copy))
        return 0;
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    if (inet_pton(AF_INET, copy, address) == 1)
        return 4;
    return inet_pton(AF_INET6, copy, address) == 1 ? 16 : 0;
}

static int parse_net(struct str text, struct peers *peers)
{
    const char *slash = memchr(text.ptr, '/', text.len);
    struct str address = text, prefix = {0};
    unsigned bits = 0;
    size_t at = peers->count;

    if (at == PEERS_MAX)
        return -EINVAL;
    if (slash) {
        address.len = (size_t)(slash - text.ptr);
        prefix = str_after(text, address.len + 1);
    }
    peers->nets[at].length = (unsigned)parse_address(address, peers->nets[at].address);
    if (peers->nets[at].length == 0 || (slash && (prefix.len == 0 || prefix.len > 3)))
        return -EINVAL;
    for (size_t i = 0; i < prefix.len; i++) {
        if (prefix.ptr[i] < '0' || prefix.ptr[i] > '9')
            return -EINVAL;
        bits = bits * 10 + (unsigned)(prefix.ptr[i] - '0');
    }
    if (bits > peers->nets[at].length * 8)
        return -EINVAL;
    peers->nets[at].prefix = slash ? bits : peers->nets[at].length * 8;
    peers->count++;
    return 0;
}

int peers_parse(struct str list, struct peers *ret_peers, struct str *ret_bad)
{
    ret_peers->count = 0;
    while (list.len) {
        const char *comma = memchr(list.ptr, ',', list.len);
        struct str part = {list.ptr, comma ? (size_t)(comma - list.ptr) : list.len};

        *ret_bad = part;
        if (part.len == 0 || parse_net(part, ret_peers) < 0)
            return -EINVAL;
        list = str_after(list, part.len + (comma ? 1 : 0));
    }
    return 0;
}

bool peers_contain(const struct peers *peers, const unsigned char *address, size_t length)
{
    for (size_t i = 0; i < peers->count; i++) {
        unsigned bytes = peers->nets[i].prefix / 8, bits = peers->nets[i].prefix % 8;
        unsigned mask = 0xFF00u >> bits & 0xFF;

        if (peers->nets[i].length == length &&
            memcmp(peers->nets[i].address, address, bytes) == 0 &&
            (bits == 0 || ((peers->nets[i].address[bytes] ^ address[bytes]) & mask) == 0))
            return true;
    }
    return false;
}

bool peers_contain_text(const struct peers *peers, struct str text)
{
    unsigned char address[16];
    size_t length = parse_address(text, address);

    return length && peers_contain(peers, address, length);
}
