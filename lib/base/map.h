/*
 * map: finds elements by name. Intrusive: the element holds the node, the node borrows the name
 * from the element, and the map owns neither. One look-up costs one hash and, nearly always, one
 * comparison; the whole name is always compared. Not thread-safe.
 */
#ifndef LIB_BASE_MAP_H
#define LIB_BASE_MAP_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/str.h"

struct map_node {
    struct map_node *next; /* in the same slot */
    uint64_t hash;
    struct str key; /* stays as it is while the node is in a map */
};

struct map {
    struct map_node **slots;
    size_t slot_count; /* a power of two, or 0 */
    size_t count;
};

/* The element of type that holds node as member; NULL stays NULL when member comes first. */
#define MAP_ELEMENT(node, type, member) ((type *)((char *)(node)-offsetof(type, member)))

void map_init(struct map *map);
/* Frees the slots; the elements are the caller's. */
void map_done(struct map *map);

struct map_node *map_find(const struct map *map, struct str key);
/* No node with this key may be in the map. 0; -ENOMEM: it is not in. */
int map_insert(struct map *map, struct map_node *node, struct str key);
/* The node must be in the map. */
void map_remove(struct map *map, struct map_node *node);
/* Every node once, in no order; NULL starts and ends. The map must not change meanwhile, but for
 * the removal of the node that was returned before, once its successor is known. (To start anew
 * after each removal takes quadratic time: the search passes all empty slots again.) */
struct map_node *map_next(const struct map *map, const struct map_node *node);

#endif
