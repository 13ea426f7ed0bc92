/*
 * hash_trie: a persistent map from bytes to items. Two maps share what they have in common: a map
 * is copied by sharing its root, and a change then copies only the few nodes on the way to what
 * changed. What nobody else shares is changed in place.
 *
 * Items are intrusive: whatever is kept begins with a struct hash_item and holds its key itself.
 * An item's references are counted here like those of the map's own nodes, without atomics: one
 * thread changes and frees maps; others may look things up in a map that this thread keeps alive.
 *
 * The hash is keyed, so whoever chooses the keys but does not know the seed cannot make them
 * collide. Keys that collide all the same are told apart by their bytes, always.
 */
#ifndef LIB_ROUTE_HASH_TRIE_H
#define LIB_ROUTE_HASH_TRIE_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/str.h"

/* Random and secret; the same for all maps that share anything. */
struct hash_seed {
    uint64_t key[2];
};

/* First member of whatever a map holds. The key stays as it is while the item is in a map. */
struct hash_item {
    uint32_t references;
    uint16_t key_offset, key_length; /* the key's place, from the item's first byte */
};

/* Zero is the empty map. Not to be copied by assignment: see hash_trie_share. */
struct hash_trie {
    uintptr_t root;
};

typedef void hash_item_free(struct hash_item *item);

uint32_t hash_bytes(const struct hash_seed *seed, struct str key);

static inline struct str hash_item_key(const struct hash_item *item)
{
    return str_make((const char *)item + item->key_offset, item->key_length);
}

/* The item with this key, or NULL; hash is hash_bytes of key. */
struct hash_item *hash_trie_find(const struct hash_trie *trie, uint32_t hash, struct str key);
/* The same, and whether it can be changed in place: neither it nor anything between the map and it
 * has another reference. False for NULL. */
struct hash_item *hash_trie_find_owned(const struct hash_trie *trie, uint32_t hash, struct str key,
                                       bool *ret_owned);
/* Adds the item, or puts it in the place of the one with the same key; takes over the caller's
 * reference. -ENOMEM: the map holds what it held, and the reference is still the caller's. */
int hash_trie_put(struct hash_trie *trie, const struct hash_seed *seed, struct hash_item *item,
                  hash_item_free *item_free);
/* Removes the item with this key, which must be there. -ENOMEM: the map holds what it held. */
int hash_trie_remove(struct hash_trie *trie, const struct hash_seed *seed, struct str key,
                     hash_item_free *item_free);

/* Another map with the same items; costs one reference. */
struct hash_trie hash_trie_share(const struct hash_trie *trie);
/* Frees what no other map shares, and leaves the empty map. */
void hash_trie_done(struct hash_trie *trie, hash_item_free *item_free);

#endif
