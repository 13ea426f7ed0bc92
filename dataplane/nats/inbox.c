/*
 * inbox: slots and tokens of requests in flight.
 *
 * The slot in the token makes finding a request one array access; the rest of the token, compared
 * as a whole with what the slot holds, makes sure that it is this request and that the sender was
 * told. Free slots form a stack: the slot used last is the one whose cache lines are warm. Slots
 * that no request has needed yet are not touched, so that a high limit costs no memory.
 */
#include "dataplane/nats/inbox.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { SLOT_CHARS = 3, GENERATION_CHARS = 5, SECRET_CHARS = 11, NO_SLOT = UINT32_MAX };

static const char alphabet[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_";

static char *put_bits(char *at, uint64_t bits, int chars)
{
    for (int i = 0; i < chars; i++, bits >>= 6)
        *at++ = alphabet[bits & 63];
    return at;
}

static int char_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'A' && c <= 'Z')
        return c - 'A' + 10;
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 36;
    return c == '-' ? 62 : c == '_' ? 63 : -1;
}

static bool prefix_is_subject(struct str prefix)
{
    if (prefix.len == 0 || prefix.len > INBOX_PREFIX_MAX || prefix.ptr[0] == '.' ||
        prefix.ptr[prefix.len - 1] == '.')
        return false;
    for (size_t i = 0; i < prefix.len; i++) {
        char c = prefix.ptr[i];

        if (c <= ' ' || c > '~' || c == '*' || c == '>' || (c == '.' && prefix.ptr[i - 1] == '.'))
            return false;
    }
    return true;
}

int inbox_init(struct inbox *inbox, struct str prefix, uint32_t count)
{
    char *at = inbox->prefix;

    assert(count > 0 && count <= INBOX_SLOTS_MAX);
    if (!prefix_is_subject(prefix))
        return -EINVAL;
    inbox->slots = calloc(count, sizeof(*inbox->slots));
    if (!inbox->slots)
        return -ENOMEM;
    inbox->count = count;
    inbox->used = inbox->touched = 0;
    inbox->first_free = NO_SLOT;
    random_init(&inbox->random);
    inbox->hash_key = random_u64(&inbox->random);
    memcpy(at, prefix.ptr, prefix.len);
    at += prefix.len;
    *at++ = '.';
    at = put_bits(at, random_u64(&inbox->random), SECRET_CHARS);
    at = put_bits(at, random_u64(&inbox->random), SECRET_CHARS);
    *at++ = '.';
    inbox->prefix_len = (size_t)(at - inbox->prefix);
    assert(inbox->prefix_len <= sizeof(inbox->prefix));
    return 0;
}

void inbox_done(struct inbox *inbox)
{
    free(inbox->slots);
    inbox->slots = NULL;
}

int inbox_take(struct inbox *inbox, void *owner)
{
    uint32_t index = inbox->first_free;
    struct inbox_slot *slot;
    char *at;

    if (index != NO_SLOT) {
        slot = &inbox->slots[index];
        inbox->first_free = slot->next_free;
    } else if (inbox->touched < inbox->count) {
        index = inbox->touched++;
        slot = &inbox->slots[index];
        put_bits(slot->token, index, SLOT_CHARS);
    } else {
        return -EBUSY;
    }
    assert(!slot->used);
    inbox->used++;
    slot->used = true;
    slot->owner = owner;
    slot->generation++;
    at = put_bits(slot->token + SLOT_CHARS, slot->generation, GENERATION_CHARS);
    put_bits(at, random_u64(&inbox->random), SECRET_CHARS);
    return (int)index;
}

void inbox_give(struct inbox *inbox, int index)
{
    struct inbox_slot *slot = &inbox->slots[index];

    assert(index >= 0 && (uint32_t)index < inbox->count && slot->used && inbox->used > 0);
    slot->used = false;
    slot->owner = NULL;
    slot->next_free = inbox->first_free;
    inbox->first_free = (uint32_t)index;
    inbox->used--;
}

int inbox_find(const struct inbox *inbox, struct str subject)
{
    uint32_t index = 0;
    struct str token;

    if (subject.len != inbox->prefix_len + INBOX_TOKEN_LEN ||
        memcmp(subject.ptr, inbox->prefix, inbox->prefix_len) != 0)
        return -ENOENT;
    token = str_after(subject, inbox->prefix_len);
    for (int i = SLOT_CHARS - 1; i >= 0; i--) {
        int value = char_value(token.ptr[i]);

        if (value < 0)
            return -ENOENT;
        index = index << 6 | (uint32_t)value;
    }
    if (index >= inbox->count || !inbox->slots[index].used ||
        memcmp(token.ptr, inbox->slots[index].token, INBOX_TOKEN_LEN) != 0)
        return -ENOENT;
    return (int)index;
}

uint64_t inbox_hash(const struct inbox *inbox, struct str subject)
{
    uint64_t hash = inbox->hash_key ^ subject.len;

    for (size_t i = 0; i < subject.len; i += 8) {
        uint64_t word = 0;
        unsigned __int128 product;

        memcpy(&word, subject.ptr + i, subject.len - i < 8 ? subject.len - i : 8);
        product = (unsigned __int128)(hash ^ word) * (inbox->hash_key | 1);
        hash = (uint64_t)product ^ (uint64_t)(product >> 64) ^ word;
    }
    return hash;
}
