/*
 * inbox: the requests in flight of one connection. Each has a slot and a reply subject
 * <prefix>.<random>.<token>; the token is the slot, how often it was used, and 64 bits that nobody
 * can predict, so only who saw the request can answer it, once. One thread.
 */
#ifndef DATAPLANE_NATS_INBOX_H
#define DATAPLANE_NATS_INBOX_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/random.h"
#include "lib/base/str.h"

enum {
    INBOX_SLOTS_MAX = 1 << 18,
    INBOX_PREFIX_MAX = 128, /* as given in the options */
    INBOX_TOKEN_LEN = 19,   /* 3 + 5 + 11 characters of six bits */
};

struct inbox_slot {
    void *owner;
    const void *connection; /* that it was written to; the owner of the inbox sets it */
    uint64_t end;           /* position in the stream to the server where the request ends */
    uint64_t subject_hash;  /* inbox_hash of its subject */
    uint32_t reply_bytes;   /* that its reply is expected to have */
    uint32_t generation, next_free;
    bool used;
    char token[INBOX_TOKEN_LEN];
};

struct inbox {
    struct inbox_slot *slots;
    uint32_t count, used, touched, first_free; /* touched: slots that were ever used */
    uint64_t hash_key;
    size_t prefix_len; /* with the dot before the token */
    char prefix[INBOX_PREFIX_MAX + 32];
    struct random_source random;
};

/* 0; -EINVAL: prefix is no subject or too long; -ENOMEM. count: slots, at most INBOX_SLOTS_MAX. */
int inbox_init(struct inbox *inbox, struct str prefix, uint32_t count);
void inbox_done(struct inbox *inbox);

/* A new slot with a new token, or -EBUSY. */
int inbox_take(struct inbox *inbox, void *owner);
/* The slot must be used; its token is worth nothing from now on. */
void inbox_give(struct inbox *inbox, int slot);
/* The slot that a reply's subject belongs to; -ENOENT: nobody's, or no longer. */
int inbox_find(const struct inbox *inbox, struct str subject);

static inline struct str inbox_prefix(const struct inbox *inbox)
{
    return str_make(inbox->prefix, inbox->prefix_len);
}

static inline struct str inbox_token(const struct inbox *inbox, int slot)
{
    return str_make(inbox->slots[slot].token, INBOX_TOKEN_LEN);
}

/* Keyed, so that no client can find two subjects of equal hash. */
uint64_t inbox_hash(const struct inbox *inbox, struct str subject);

#endif
