/*
 * route_table: builds tables. A new table begins as its base, sharing everything; each change then
 * walks from the host's node to the node where its pattern ends, makes the nodes on that way its
 * own (a copy where another table shares them), and inserts into or removes from the list there.
 * Nodes that have become empty go on the way back. When memory runs out half-way the new table is
 * dropped: what it does not share is freed, and the base never noticed.
 *
 * Owned: a node is owned when it and everything between it and the table has one reference. The
 * walk goes top down and owns every level before it touches the next, so below that a reference
 * count of one is enough to know.
 *
 * Thread: the builder's. Others read what it has built meanwhile: of what is shared nothing is ever
 * written but reference counts, and those no reader looks at.
 */
#include "lib/route/route_table.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#include "lib/base/random.h"
#include "lib/route/route_node.h"

/* One entry on its way into or out of a table. */
struct edit {
    const struct hash_seed *seed;
    struct route_entry entry;
    size_t depth; /* segments before the pattern's ending */
    bool insert;
};

/* The host map's key: see route_node.h. */
static struct str host_key(struct str hostname)
{
    return str_starts_with(hostname, STR_LIT("*.")) ? str_after(hostname, 1) : hostname;
}

static struct route_node *node_new(struct str key)
{
    struct route_node *node;

    assert(key.len <= UINT16_MAX);
    node = calloc(1, sizeof(*node) + key.len);
    if (!node)
        return NULL;
    node->item.references = 1;
    node->item.key_offset = offsetof(struct route_node, key);
    node->item.key_length = (uint16_t)key.len;
    if (key.len)
        memcpy(node->key, key.ptr, key.len);
    return node;
}

static void node_free(struct hash_item *item);

static void node_unref(struct route_node *node)
{
    if (!node)
        return;
    assert(node->item.references > 0);
    if (--node->item.references == 0)
        node_free(&node->item);
}

static void node_free(struct hash_item *item)
{
    struct route_node *node = (struct route_node *)item;

    hash_trie_done(&node->literals, node_free);
    node_unref(node->param);
    route_list_unref(node->list);
    free(node);
}

/* A node of its own with the same children and list. */
static struct route_node *node_copy(const struct route_node *node)
{
    struct route_node *copy = node_new(hash_item_key(&node->item));

    if (!copy)
        return NULL;
    copy->literals = hash_trie_share(&node->literals);
    copy->param = node->param;
    if (copy->param)
        copy->param->item.references++;
    copy->list = node->list;
    if (copy->list)
        copy->list->references++;
    return copy;
}

static bool node_is_empty(const struct route_node *node)
{
    return !node->literals.root && !node->param && !node->list;
}

/* The owned map's node with this key, made its own, or new; NULL: no memory. */
static struct route_node *own_literal(struct hash_trie *map, const struct hash_seed *seed,
                                      struct str key)
{
    bool owned;
    struct hash_item *item = hash_trie_find_owned(map, hash_bytes(seed, key), key, &owned);
    struct route_node *node = (struct route_node *)item;

    if (owned)
        return node;
    node = node ? node_copy(node) : node_new(key);
    if (!node)
        return NULL;
    if (hash_trie_put(map, seed, &node->item, node_free) < 0) {
        node_unref(node);
        return NULL;
    }
    return node;
}

/* The owned node's parameter child, made its own, or new; NULL: no memory. */
static struct route_node *own_param(struct route_node *parent)
{
    struct route_node *node = parent->param;

    if (node && node->item.references == 1)
        return node;
    node = node ? node_copy(node) : node_new(STR_LIT(""));
    if (!node)
        return NULL;
    node_unref(parent->param);
    parent->param = node;
    return node;
}

/* From an owned node, after so many segments, to where the pattern ends. As deep as the pattern. */
static int node_edit(struct route_node *node, size_t depth, const struct edit *edit)
{
    const struct route_segment *segment;
    struct route_node *child;
    int rc;

    if (depth == edit->depth)
        return edit->insert ? route_list_insert(&node->list, &edit->entry)
                            : route_list_remove(&node->list, &edit->entry);
    segment = &edit->entry.match->segments[depth];
    assert(segment->kind != ROUTE_SEGMENT_REST);
    child = segment->kind == ROUTE_SEGMENT_PARAM
                ? own_param(node)
                : own_literal(&node->literals, edit->seed, segment->text);
    if (!child)
        return -ENOMEM;
    rc = node_edit(child, depth + 1, edit);
    if (rc < 0 || !node_is_empty(child))
        return rc;
    if (segment->kind == ROUTE_SEGMENT_LITERAL)
        return hash_trie_remove(&node->literals, edit->seed, segment->text, node_free);
    node_unref(child);
    node->param = NULL;
    return 0;
}

static int table_edit_host(struct route_table *table, struct str hostname, const struct edit *edit)
{
    struct str key = host_key(hostname);
    struct route_node *node = own_literal(&table->hosts, &table->seed, key);
    int rc;

    if (!node)
        return -ENOMEM;
    rc = node_edit(node, 0, edit);
    if (rc < 0 || !node_is_empty(node))
        return rc;
    return hash_trie_remove(&table->hosts, &table->seed, key, node_free);
}

static int table_edit_match(struct route_table *table, struct route *route,
                            const struct route_match *match, bool insert)
{
    struct edit edit = {
        .seed = &table->seed,
        .entry = {route, match},
        .depth = route_match_depth(match),
        .insert = insert,
    };
    int rc = 0;

    assert(match->segment_count <= ROUTE_SEGMENTS_MAX);
    if (route->hostname_count == 0)
        return table_edit_host(table, STR_LIT(""), &edit);
    for (size_t i = 0; rc == 0 && i < route->hostname_count; i++)
        rc = table_edit_host(table, route->hostnames[i], &edit);
    return rc;
}

static int table_edit_route(struct route_table *table, struct route *route, bool insert)
{
    int rc = 0;

    for (size_t i = 0; i < route->rule_count; i++)
        for (size_t j = 0; rc == 0 && j < route->rules[i].match_count; j++)
            rc = table_edit_match(table, route, &route->rules[i].matches[j], insert);
    if (insert)
        table->route_count++;
    else
        table->route_count--;
    return rc;
}

struct route_table *route_table_new(void)
{
    struct route_table *table = calloc(1, sizeof(*table));
    struct random_source random;

    if (!table)
        return NULL;
    random_init(&random);
    table->references = 1;
    for (int i = 0; i < 2; i++)
        table->seed.key[i] = random_u64(&random);
    return table;
}

struct route_table *route_table_ref(struct route_table *table)
{
    assert(table->references > 0 && table->references < UINT32_MAX);
    table->references++;
    return table;
}

void route_table_unref(struct route_table *table)
{
    if (!table)
        return;
    assert(table->references > 0);
    if (--table->references > 0)
        return;
    hash_trie_done(&table->hosts, node_free);
    free(table);
}

int route_table_apply(const struct route_table *base, const struct route_change *changes,
                      size_t count, struct route_table **ret_table)
{
    struct route_table *table = malloc(sizeof(*table));
    int rc = 0;

    if (!table)
        return -ENOMEM;
    *table = *base;
    table->references = 1;
    table->hosts = hash_trie_share(&base->hosts);
    /* Added before the other is removed, so that nodes both use are not freed in between. */
    for (size_t i = 0; rc == 0 && i < count; i++) {
        if (changes[i].after)
            rc = table_edit_route(table, changes[i].after, true);
        if (rc == 0 && changes[i].before)
            rc = table_edit_route(table, changes[i].before, false);
    }
    if (rc < 0) {
        route_table_unref(table);
        return rc;
    }
    *ret_table = table;
    return 0;
}

size_t route_table_count(const struct route_table *table)
{
    return table->route_count;
}

static bool conditions_equal(const struct route_condition *a, size_t a_count,
                             const struct route_condition *b, size_t b_count)
{
    if (a_count != b_count)
        return false;
    for (size_t i = 0; i < a_count; i++)
        if (!str_equal(a[i].name, b[i].name) || !str_equal(a[i].value, b[i].value))
            return false;
    return true;
}

/* Of two that end at one node: do they hold for the same paths? Every path has a segment, so
 * "/{rest...}" takes what the Prefix "/" takes. */
static bool paths_equal(const struct route_match *a, const struct route_match *b)
{
    enum route_ending one = route_match_ending(a), other = route_match_ending(b);

    if (one == other)
        return one != ROUTE_ENDING_REGEX || str_equal(a->path, b->path);
    return route_match_depth(a) == 0 && (one == ROUTE_ENDING_REST || one == ROUTE_ENDING_PREFIX) &&
           (other == ROUTE_ENDING_REST || other == ROUTE_ENDING_PREFIX);
}

/* Are all of some among others? Both are sorted. */
static bool conditions_among(const struct route_condition *some, size_t count,
                             const struct route_condition *others, size_t other_count)
{
    size_t found = 0;

    for (size_t i = 0; i < other_count && found < count; i++)
        found += str_equal(some[found].name, others[i].name) &&
                 str_equal(some[found].value, others[i].value);
    return found == count;
}

/* Does wide hold, its path aside, for every request that narrow holds for? */
static bool holds_where(const struct route_match *wide, const struct route_match *narrow)
{
    bool method = wide->method == ROUTE_METHOD_ANY || wide->method == narrow->method ||
                  (wide->method == ROUTE_METHOD_GET && narrow->method == ROUTE_METHOD_HEAD);

    return method &&
           conditions_among(wide->headers, wide->header_count, narrow->headers,
                            narrow->header_count) &&
           conditions_among(wide->params, wide->param_count, narrow->params, narrow->param_count);
}

/* Of two that end at one node. Of those with one ending the one that asks for more goes first, so
 * only equals are rivals. */
static enum route_rivalry rivalry_at_node(const struct route_match *first,
                                          const struct route_match *second)
{
    enum route_ending one = route_match_ending(first), other = route_match_ending(second);

    if (!paths_equal(first, second))
        return ROUTE_NO_RIVALS;
    if (one == other)
        return first->method == second->method &&
                       conditions_equal(first->headers, first->header_count, second->headers,
                                        second->header_count) &&
                       conditions_equal(first->params, first->param_count, second->params,
                                        second->param_count)
                   ? ROUTE_RIVALS_EQUAL
                   : ROUTE_NO_RIVALS;
    if (one < other)
        return holds_where(first, second) ? ROUTE_RIVAL_FIRST : ROUTE_NO_RIVALS;
    return holds_where(second, first) ? ROUTE_RIVAL_SECOND : ROUTE_NO_RIVALS;
}

enum route_rivalry route_match_rivalry(const struct route_match *first,
                                       const struct route_match *second)
{
    size_t depth = route_match_depth(first);

    if (depth != route_match_depth(second))
        return ROUTE_NO_RIVALS;
    for (size_t i = 0; i < depth; i++) {
        const struct route_segment *one = &first->segments[i], *other = &second->segments[i];

        if (one->kind != other->kind ||
            (one->kind == ROUTE_SEGMENT_LITERAL && !str_equal(one->text, other->text)))
            return ROUTE_NO_RIVALS;
    }
    return rivalry_at_node(first, second);
}

/* The node where the match ends under this hostname, or NULL. */
static const struct route_node *table_find_node(const struct route_table *table,
                                                struct str hostname,
                                                const struct route_match *match)
{
    struct str key = host_key(hostname);
    const struct hash_item *item =
        hash_trie_find(&table->hosts, hash_bytes(&table->seed, key), key);
    const struct route_node *node = route_node_of(item);

    for (size_t i = 0; node && i < route_match_depth(match); i++) {
        key = match->segments[i].text;
        if (match->segments[i].kind == ROUTE_SEGMENT_PARAM)
            node = node->param;
        else
            node =
                route_node_of(hash_trie_find(&node->literals, hash_bytes(&table->seed, key), key));
    }
    return node;
}

void route_table_each_rival(const struct route_table *table, const struct route *route,
                            const struct route_match *match, struct str hostname,
                            bool (*visit)(void *context, const struct route *rival, bool wins),
                            void *context)
{
    const struct route_node *node = table_find_node(table, hostname, match);
    const struct route_list *list = node ? node->list : NULL;

    for (uint32_t i = 0; i < route_list_count(list); i++) {
        const struct route_entry *entry = &list->entries[i];
        enum route_rivalry rivalry = rivalry_at_node(entry->match, match);
        bool wins = rivalry == ROUTE_RIVAL_FIRST ||
                    (rivalry == ROUTE_RIVALS_EQUAL && route_compare_age(entry->route, route) < 0);

        if (rivalry != ROUTE_NO_RIVALS && !str_equal(entry->route->label, route->label) &&
            !visit(context, entry->route, wins))
            return;
    }
}
