/*
 * route_node: what a table is made of, shared by the file that builds tables and the one that
 * matches; no business of anybody else.
 *
 *      hosts ─▶ node "api.example.com" ─▶ node "orders" ─▶ node (parameter) ─▶ list
 *
 * A host's key is the hostname; ".example.com" for "*.example.com"; empty for any host. Its node
 * stands for the path before the first segment. Nodes and lists are shared between tables and
 * counted; one with a single reference, below owned ones only, may be changed in place.
 */
#ifndef LIB_ROUTE_ROUTE_NODE_H
#define LIB_ROUTE_ROUTE_NODE_H

#include "lib/route/hash_trie.h"
#include "lib/route/route_table.h"

/* How a pattern ends at its node; in order of precedence. */
enum route_ending {
    ROUTE_ENDING_EXACT, /* a Template without parameters, too */
    ROUTE_ENDING_REGEX, /* at the host's node only */
    ROUTE_ENDING_TEMPLATE,
    ROUTE_ENDING_REST, /* the node stands for what precedes {rest...} */
    ROUTE_ENDING_PREFIX,
    ROUTE_ENDING_COUNT,
};

/* One match of a Route under one hostname. The rule is found when needed: memory counts here. */
struct route_entry {
    struct route *route; /* referenced */
    const struct route_match *match;
};

/* Sorted by precedence, so by ending first; never empty. */
struct route_list {
    uint32_t references;
    uint32_t ends[ROUTE_ENDING_COUNT]; /* per ending: index after its last entry */
    struct route_entry entries[];
};

struct route_node {
    struct hash_item item; /* key: the segment or hostname; empty for a parameter */
    struct hash_trie literals;
    struct route_node *param;
    struct route_list *list;
    char key[];
};

struct route_table {
    uint32_t references;
    size_t route_count;
    struct hash_seed seed;
    struct hash_trie hosts;
};

/* The entries with this ending: from the returned index to *ret_end. */
static inline uint32_t route_list_range(const struct route_list *list, enum route_ending ending,
                                        uint32_t *ret_end)
{
    *ret_end = list->ends[ending];
    return ending ? list->ends[ending - 1] : 0;
}

static inline uint32_t route_list_count(const struct route_list *list)
{
    return list ? list->ends[ROUTE_ENDING_COUNT - 1] : 0;
}

/* NULL stays NULL. */
static inline const struct route_node *route_node_of(const struct hash_item *item)
{
    return (const struct route_node *)item;
}

enum route_ending route_match_ending(const struct route_match *match);
/* Segments on the way to the node where the pattern ends. */
size_t route_match_depth(const struct route_match *match);

/* *list: NULL, or the caller's reference; both may move it. -ENOMEM: it holds what it held. */
int route_list_insert(struct route_list **list, const struct route_entry *entry);
/* The entry must be there. Leaves NULL after the last. */
int route_list_remove(struct route_list **list, const struct route_entry *entry);
/* NULL is fine. */
void route_list_unref(struct route_list *list);

/* The rule that a match of the route belongs to. */
const struct route_rule *route_entry_rule(const struct route_entry *entry);

#endif
