/*
 * map: chains in a table that doubles when there are as many nodes as slots. A quick hash that is
 * not keyed is enough here: the names are those of Kubernetes objects, pods and buckets, which only
 * people with access to the cluster choose, and a chain of equal hashes still works. What requests
 * can choose is looked up in lib/route, with a keyed hash.
 */
#include "lib/base/map.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

enum { SLOTS_FIRST = 16 };

/* Eight bytes at a time; the upper half of a product depends on all bits, so it goes to the lower,
 * which choose the slot. */
static uint64_t mix(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * UINT64_C(0x9E3779B97F4A7C15);
    return hash ^ (hash >> 32);
}

static uint64_t hash_of(struct str key)
{
    uint64_t hash = key.len, word;
    size_t at = 0;

    for (; at + sizeof(word) <= key.len; at += sizeof(word)) {
        memcpy(&word, key.ptr + at, sizeof(word));
        hash = mix(hash, word);
    }
    if (at == key.len)
        return hash;
    word = 0;
    memcpy(&word, key.ptr + at, key.len - at);
    return mix(hash, word);
}

static struct map_node **slot_of(const struct map *map, uint64_t hash)
{
    return &map->slots[hash & (map->slot_count - 1)];
}

void map_init(struct map *map)
{
    *map = (struct map){0};
}

void map_done(struct map *map)
{
    free(map->slots);
    map_init(map);
}

static struct map_node *find_hashed(const struct map *map, struct str key, uint64_t hash)
{
    struct map_node *node = map->slot_count ? *slot_of(map, hash) : NULL;

    while (node && !(node->hash == hash && str_equal(node->key, key)))
        node = node->next;
    return node;
}

struct map_node *map_find(const struct map *map, struct str key)
{
    return find_hashed(map, key, hash_of(key));
}

static int grow(struct map *map)
{
    struct map old = *map;
    size_t slot_count = old.slot_count ? 2 * old.slot_count : SLOTS_FIRST;
    struct map_node **slots = calloc(slot_count, sizeof(struct map_node *));

    if (!slots)
        return -ENOMEM;
    map->slots = slots;
    map->slot_count = slot_count;
    for (size_t i = 0; i < old.slot_count; i++)
        for (struct map_node *node = old.slots[i], *next; node; node = next) {
            struct map_node **slot = slot_of(map, node->hash);

            next = node->next;
            node->next = *slot;
            *slot = node;
        }
    free(old.slots);
    return 0;
}

int map_insert(struct map *map, struct map_node *node, struct str key)
{
    struct map_node **slot;

    node->hash = hash_of(key);
    node->key = key;
    assert(!find_hashed(map, key, node->hash));
    /* A full table that cannot grow still works, only slower. */
    if (map->count >= map->slot_count && grow(map) < 0 && !map->slot_count)
        return -ENOMEM;
    slot = slot_of(map, node->hash);
    node->next = *slot;
    *slot = node;
    map->count++;
    return 0;
}

void map_remove(struct map *map, struct map_node *node)
{
    struct map_node **link = slot_of(map, node->hash);

    while (*link != node) {
        assert(*link);
        link = &(*link)->next;
    }
    *link = node->next;
    node->next = NULL;
    map->count--;
}

struct map_node *map_next(const struct map *map, const struct map_node *node)
{
    size_t slot = 0;

    if (node) {
        if (node->next)
            return node->next;
        slot = (node->hash & (map->slot_count - 1)) + 1;
    }
    for (; slot < map->slot_count; slot++)
        if (map->slots[slot])
            return map->slots[slot];
    return NULL;
}
