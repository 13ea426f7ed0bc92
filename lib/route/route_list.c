/*
 * route_list: the entries that end at one node of a table, best first. Also what precedence means:
 * entry_compare() is the order of docs/ROUTE.md, below the hostname and the literal segments, which
 * the way to the node has settled.
 *
 * A list belongs to the nodes that point to it and counts them. Nodes of several tables share one
 * until either changes it: list_own() gives the changing one its own. Thread: the builder's.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "lib/route/route_node.h"

enum route_ending route_match_ending(const struct route_match *match)
{
    bool literal = true;

    switch (match->path_type) {
    case ROUTE_PATH_EXACT:
        return ROUTE_ENDING_EXACT;
    case ROUTE_PATH_REGEX:
        return ROUTE_ENDING_REGEX;
    case ROUTE_PATH_PREFIX:
        return ROUTE_ENDING_PREFIX;
    case ROUTE_PATH_TEMPLATE:
        break;
    }
    assert(match->path_type == ROUTE_PATH_TEMPLATE && match->segment_count > 0);
    if (match->segments[match->segment_count - 1].kind == ROUTE_SEGMENT_REST)
        return ROUTE_ENDING_REST;
    for (size_t i = 0; i < match->segment_count; i++)
        literal = literal && match->segments[i].kind == ROUTE_SEGMENT_LITERAL;
    return literal ? ROUTE_ENDING_EXACT : ROUTE_ENDING_TEMPLATE;
}

size_t route_match_depth(const struct route_match *match)
{
    return match->segment_count - (route_match_ending(match) == ROUTE_ENDING_REST);
}

const struct route_rule *route_entry_rule(const struct route_entry *entry)
{
    const struct route_rule *rule = entry->route->rules;

    for (size_t i = 0; i < entry->route->rule_count; i++, rule++)
        for (size_t j = 0; j < rule->match_count; j++)
            if (entry->match == &rule->matches[j])
                return rule;
    assert(!"a match of its route");
    return NULL;
}

/* More first. */
static int compare_count(size_t a, size_t b)
{
    return (a < b) - (a > b);
}

/* Precedence among entries that end at one node. <0: a first. */
static int entry_compare(const struct route_entry *a, const struct route_entry *b)
{
    const struct route_rule *rule_a, *rule_b;
    int order = (int)route_match_ending(a->match) - (int)route_match_ending(b->match);

    if (order == 0 && a->match->path_type == ROUTE_PATH_REGEX)
        order = compare_count(a->match->path.len, b->match->path.len);
    if (order == 0)
        order = compare_count(a->match->method != ROUTE_METHOD_ANY,
                              b->match->method != ROUTE_METHOD_ANY);
    if (order == 0)
        order = compare_count(a->match->header_count, b->match->header_count);
    if (order == 0)
        order = compare_count(a->match->param_count, b->match->param_count);
    if (order == 0)
        order = route_compare_age(a->route, b->route);
    if (order)
        return order;
    rule_a = route_entry_rule(a);
    rule_b = route_entry_rule(b);
    if (rule_a->index != rule_b->index)
        return rule_a->index < rule_b->index ? -1 : 1;
    return compare_count((size_t)(b->match - rule_b->matches),
                         (size_t)(a->match - rule_a->matches));
}

void route_list_unref(struct route_list *list)
{
    if (!list)
        return;
    assert(list->references > 0);
    if (--list->references > 0)
        return;
    for (uint32_t i = 0; i < route_list_count(list); i++)
        route_unref(list->entries[i].route);
    free(list);
}

/* Makes *list its holder's own, with room for so many entries more; NULL: no memory. */
static struct route_list *list_own(struct route_list **list, uint32_t room)
{
    struct route_list *shared = *list, *owned;
    uint32_t count = route_list_count(shared);
    size_t size = sizeof(*owned) + (count + room) * sizeof(owned->entries[0]);

    if (shared && shared->references == 1) {
        if (room == 0)
            return shared;
        owned = realloc(shared, size);
        if (owned)
            *list = owned;
        return owned;
    }
    owned = calloc(1, size);
    if (!owned)
        return NULL;
    if (shared) {
        memcpy(owned, shared, sizeof(*owned) + count * sizeof(owned->entries[0]));
        for (uint32_t i = 0; i < count; i++)
            route_ref(owned->entries[i].route);
        shared->references--; /* not the last: it was more than one */
    }
    owned->references = 1;
    *list = owned;
    return owned;
}

/* Index of the first entry that comes after this one (past equal ones too, when so told). */
static uint32_t list_search(const struct route_list *list, const struct route_entry *entry,
                            bool past_equal)
{
    uint32_t low = 0, high = route_list_count(list), middle;

    while (low < high) {
        middle = low + (high - low) / 2;
        if (entry_compare(&list->entries[middle], entry) < (past_equal ? 1 : 0))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

int route_list_insert(struct route_list **list, const struct route_entry *entry)
{
    struct route_list *owned = list_own(list, 1);
    uint32_t index;

    if (!owned)
        return -ENOMEM;
    index = list_search(owned, entry, true);
    memmove(&owned->entries[index + 1], &owned->entries[index],
            (route_list_count(owned) - index) * sizeof(*entry));
    owned->entries[index] = *entry;
    route_ref(entry->route);
    for (int i = route_match_ending(entry->match); i < ROUTE_ENDING_COUNT; i++)
        owned->ends[i]++;
    return 0;
}

int route_list_remove(struct route_list **list, const struct route_entry *entry)
{
    struct route_list *owned;
    uint32_t index;

    assert(*list);
    owned = list_own(list, 0);
    if (!owned)
        return -ENOMEM;
    /* Equal ones: another version of the Route may stand beside this one within a batch. */
    index = list_search(owned, entry, false);
    while (index < route_list_count(owned) && owned->entries[index].match != entry->match)
        index++;
    assert(index < route_list_count(owned) && owned->entries[index].route == entry->route);
    for (int i = route_match_ending(entry->match); i < ROUTE_ENDING_COUNT; i++)
        owned->ends[i]--;
    memmove(&owned->entries[index], &owned->entries[index + 1],
            (route_list_count(owned) - index) * sizeof(*entry));
    route_unref(entry->route);
    if (route_list_count(owned) == 0) {
        free(owned);
        *list = NULL;
    }
    return 0;
}
