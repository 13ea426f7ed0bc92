/*
 * hash_trie: a hash array mapped trie (Bagwell, "Ideal Hash Trees", 2001).
 *
 * A node looks at five bits of the hash: its bitmap says which of the 32 places are taken, and its
 * slots hold those only, in order. A slot is an item (lowest bit set) or another node that looks at
 * the next five bits. A map of one item is that item, without a node. When the bits are used up,
 * seven levels down, what is left are keys with equal hashes: such a node is a bucket, its bitmap
 * is the number of its slots, and they are searched one by one.
 *
 *      root ──▶ node 00..04 ──▶ node 05..09 ──▶ item
 *                    └──▶ item
 *
 * Invariants: no node is empty; no node has an item as its only slot (it would stand in the node's
 * own place). The second may be broken after a change that ran out of memory, which costs a little
 * and harms nothing.
 *
 * References: a node or item counts the slots that point to it. To change a node it must be owned:
 * one reference, and the same for all nodes above it. slot_own() makes it so on the way down by
 * copying, which gives everything below one reference more; so what is below a copied node is
 * copied in its turn when the change goes there, and only there.
 *
 * The hash is SipHash-1-3 (Aumasson and Bernstein), folded to 32 bits: enough for tables of a
 * million keys to have a handful of collisions, and small enough that tests meet them.
 */
#include "lib/route/hash_trie.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

enum { LEVEL_BITS = 5, LEVEL_MASK = (1 << LEVEL_BITS) - 1, HASH_BITS = 32 };

struct hash_node {
    uint32_t references;
    uint32_t bitmap; /* of a bucket: number of slots */
    uintptr_t slots[];
};

/* What a change needs on its way down. */
struct change {
    const struct hash_seed *seed;
    hash_item_free *item_free;
    uint32_t hash;
    struct str key;
};

static inline uint64_t rotate(uint64_t word, int bits)
{
    return word << bits | word >> (64 - bits);
}

static inline void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[2] += v[3];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] = rotate(v[0], 32);
    v[2] += v[1];
    v[0] += v[3];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] = rotate(v[2], 32);
}

static inline void sip_word(uint64_t v[4], uint64_t word)
{
    v[3] ^= word;
    sip_round(v);
    v[0] ^= word;
}

/* Words are read in the machine's byte order: the value never leaves the process. */
uint32_t hash_bytes(const struct hash_seed *seed, struct str key)
{
    uint64_t v[4] = {seed->key[0] ^ 0x736f6d6570736575, seed->key[1] ^ 0x646f72616e646f6d,
                     seed->key[0] ^ 0x6c7967656e657261, seed->key[1] ^ 0x7465646279746573};
    uint64_t word, last = (uint64_t)key.len << 56;
    size_t done = 0;

    for (; key.len - done >= sizeof(word); done += sizeof(word)) {
        memcpy(&word, key.ptr + done, sizeof(word));
        sip_word(v, word);
    }
    for (int shift = 0; done < key.len; done++, shift += 8)
        last |= (uint64_t)(unsigned char)key.ptr[done] << shift;
    sip_word(v, last);
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++)
        sip_round(v);
    word = v[0] ^ v[1] ^ v[2] ^ v[3];
    return (uint32_t)(word ^ word >> 32);
}

static inline bool slot_is_item(uintptr_t slot)
{
    return slot & 1;
}

static inline struct hash_item *slot_item(uintptr_t slot)
{
    return (struct hash_item *)(slot & ~(uintptr_t)1);
}

static inline struct hash_node *slot_node(uintptr_t slot)
{
    return (struct hash_node *)slot;
}

static inline uintptr_t slot_of_item(struct hash_item *item)
{
    return (uintptr_t)item | 1;
}

static inline uint32_t place_bit(uint32_t hash, int shift)
{
    return (uint32_t)1 << (hash >> shift & LEVEL_MASK);
}

static inline uint32_t node_count(const struct hash_node *node, int shift)
{
    return shift >= HASH_BITS ? node->bitmap : (uint32_t)__builtin_popcount(node->bitmap);
}

/* Where the hash and key lead in this node. False: nowhere, and a new slot would go there. */
static inline bool node_find(const struct hash_node *node, int shift, uint32_t hash, struct str key,
                             uint32_t *ret_index)
{
    uint32_t bit;

    if (shift < HASH_BITS) {
        bit = place_bit(hash, shift);
        *ret_index = (uint32_t)__builtin_popcount(node->bitmap & (bit - 1));
        return node->bitmap & bit;
    }
    for (*ret_index = 0; *ret_index < node->bitmap; ++*ret_index)
        if (str_equal(hash_item_key(slot_item(node->slots[*ret_index])), key))
            return true;
    return false;
}

/* A reader of a shared map passes no ret_owned: it must not look at references, which the thread
 * that makes other maps is changing. */
static inline struct hash_item *trie_find(const struct hash_trie *trie, uint32_t hash,
                                          struct str key, bool *ret_owned)
{
    uintptr_t slot = trie->root;
    bool owned = true;
    uint32_t index;

    for (int shift = 0; slot && !slot_is_item(slot); shift += LEVEL_BITS) {
        if (ret_owned && slot_node(slot)->references > 1)
            owned = false;
        if (!node_find(slot_node(slot), shift, hash, key, &index))
            return NULL;
        slot = slot_node(slot)->slots[index];
    }
    if (!slot || !str_equal(hash_item_key(slot_item(slot)), key))
        return NULL;
    if (ret_owned)
        *ret_owned = owned && slot_item(slot)->references == 1;
    return slot_item(slot);
}

struct hash_item *hash_trie_find(const struct hash_trie *trie, uint32_t hash, struct str key)
{
    return trie_find(trie, hash, key, NULL);
}

struct hash_item *hash_trie_find_owned(const struct hash_trie *trie, uint32_t hash, struct str key,
                                       bool *ret_owned)
{
    *ret_owned = false;
    return trie_find(trie, hash, key, ret_owned);
}

static void slot_ref(uintptr_t slot)
{
    uint32_t *references =
        slot_is_item(slot) ? &slot_item(slot)->references : &slot_node(slot)->references;

    assert(*references > 0 && *references < UINT32_MAX);
    ++*references;
}

static void slot_unref(uintptr_t slot, int shift, hash_item_free *item_free)
{
    struct hash_node *node = slot_node(slot);

    if (slot_is_item(slot)) {
        assert(slot_item(slot)->references > 0);
        if (--slot_item(slot)->references == 0)
            item_free(slot_item(slot));
        return;
    }
    assert(node->references > 0);
    if (--node->references > 0)
        return;
    for (uint32_t i = 0; i < node_count(node, shift); i++)
        slot_unref(node->slots[i], shift + LEVEL_BITS, item_free);
    free(node);
}

/* Makes the slot's node owned, with room for so many slots more. */
static struct hash_node *slot_own(uintptr_t *slot, int shift, uint32_t room)
{
    struct hash_node *node = slot_node(*slot), *owned;
    uint32_t count = node_count(node, shift);
    size_t size = sizeof(*node) + (count + room) * sizeof(node->slots[0]);

    if (node->references == 1) {
        if (room == 0)
            return node;
        owned = realloc(node, size);
        if (owned)
            *slot = (uintptr_t)owned;
        return owned;
    }
    owned = malloc(size);
    if (!owned)
        return NULL;
    owned->references = 1;
    owned->bitmap = node->bitmap;
    for (uint32_t i = 0; i < count; i++) {
        owned->slots[i] = node->slots[i];
        slot_ref(owned->slots[i]);
    }
    node->references--; /* not the last: it was more than one */
    *slot = (uintptr_t)owned;
    return owned;
}

/* Puts an item's slot into a node of its own, so that there is room beside it. */
static int slot_wrap(uintptr_t *slot, int shift, const struct hash_seed *seed)
{
    struct hash_node *node = malloc(sizeof(*node) + sizeof(node->slots[0]));

    if (!node)
        return -ENOMEM;
    node->references = 1;
    node->bitmap = 1;
    if (shift < HASH_BITS)
        node->bitmap = place_bit(hash_bytes(seed, hash_item_key(slot_item(*slot))), shift);
    node->slots[0] = *slot;
    *slot = (uintptr_t)node;
    return 0;
}

static int slot_put(uintptr_t *slot, int shift, const struct change *change, struct hash_item *item)
{
    struct hash_node *node;
    uint32_t index, count;
    int rc;

    if (slot_is_item(*slot)) {
        if (str_equal(hash_item_key(slot_item(*slot)), change->key)) {
            slot_unref(*slot, shift, change->item_free);
            *slot = slot_of_item(item);
            return 0;
        }
        rc = slot_wrap(slot, shift, change->seed);
        if (rc < 0)
            return rc;
    }
    if (node_find(slot_node(*slot), shift, change->hash, change->key, &index)) {
        node = slot_own(slot, shift, 0);
        if (!node)
            return -ENOMEM;
        return slot_put(&node->slots[index], shift + LEVEL_BITS, change, item);
    }
    node = slot_own(slot, shift, 1);
    if (!node)
        return -ENOMEM;
    count = node_count(node, shift);
    memmove(&node->slots[index + 1], &node->slots[index], (count - index) * sizeof(*slot));
    node->slots[index] = slot_of_item(item);
    node->bitmap =
        shift < HASH_BITS ? node->bitmap | place_bit(change->hash, shift) : node->bitmap + 1;
    return 0;
}

int hash_trie_put(struct hash_trie *trie, const struct hash_seed *seed, struct hash_item *item,
                  hash_item_free *item_free)
{
    struct str key = hash_item_key(item);
    struct change change = {seed, item_free, hash_bytes(seed, key), key};

    assert(item->references > 0);
    if (trie->root)
        return slot_put(&trie->root, 0, &change, item);
    trie->root = slot_of_item(item);
    return 0;
}

/* Memory is not given back when a node shrinks: the next copy of it is as small as it can be. */
static int slot_remove(uintptr_t *slot, int shift, const struct change *change)
{
    struct hash_node *node;
    uint32_t index, count;
    bool found;
    int rc;

    if (slot_is_item(*slot)) {
        assert(str_equal(hash_item_key(slot_item(*slot)), change->key));
        slot_unref(*slot, shift, change->item_free);
        *slot = 0;
        return 0;
    }
    found = node_find(slot_node(*slot), shift, change->hash, change->key, &index);
    assert(found);
    node = slot_own(slot, shift, 0);
    if (!node)
        return -ENOMEM;
    rc = slot_remove(&node->slots[index], shift + LEVEL_BITS, change);
    if (rc < 0)
        return rc;
    count = node_count(node, shift);
    if (!node->slots[index]) {
        count--;
        memmove(&node->slots[index], &node->slots[index + 1], (count - index) * sizeof(*slot));
        node->bitmap = shift < HASH_BITS ? node->bitmap & ~place_bit(change->hash, shift) : count;
    }
    if (count > 1 || (count == 1 && !slot_is_item(node->slots[0])))
        return 0;
    *slot = count ? node->slots[0] : 0;
    free(node);
    return 0;
}

int hash_trie_remove(struct hash_trie *trie, const struct hash_seed *seed, struct str key,
                     hash_item_free *item_free)
{
    struct change change = {seed, item_free, hash_bytes(seed, key), key};

    assert(trie->root);
    return slot_remove(&trie->root, 0, &change);
}

struct hash_trie hash_trie_share(const struct hash_trie *trie)
{
    if (trie->root)
        slot_ref(trie->root);
    return *trie;
}

void hash_trie_done(struct hash_trie *trie, hash_item_free *item_free)
{
    if (trie->root)
        slot_unref(trie->root, 0, item_free);
    trie->root = 0;
}
