/*
 * entries: one entry per key, found by a hash map.
 *
 *   served   what the published table holds for the key
 *   wanted   what the next one shall hold
 *
 * An entry whose two differ is in the list of changes. A commit hands the pairs to
 * route_table_apply; settling makes wanted served. So a replay that is broken off leaves only
 * wanted values behind, which the next one overwrites or sweeps away, and the loops never see them.
 *
 * Slots: each Route carries a small number for whoever keeps something per Route. All Routes of a
 * key that are alive at the same time share it; it is free again when the last of them is.
 */
#include "dataplane/table/entries.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yyjson.h>

#include "lib/base/map.h"

enum { NO_SLOT = UINT32_MAX };

struct rejection {
    struct rejection *newer, *older; /* all of them */
    struct entry *entry;
    uint64_t sequence;
    char reason[TABLE_ACK_REASON_MAX + 1];
};

struct entry {
    struct map_node node;
    struct entry *next_changed;
    struct route *served, *wanted; /* a reference each */
    struct rejection *rejection;   /* NULL: its value is in force */
    uint64_t sequence, round;
    bool changed;
    char key[];
};

struct slots {
    uint32_t *users; /* Routes alive with this slot */
    uint32_t *free;  /* a stack */
    size_t count, capacity, free_count;
};

struct entries {
    struct map map;
    struct entry *changed;
    struct rejection *newest;
    uint64_t rejected_total, rejected_version;
    uint64_t round; /* counts entries_begin */
    size_t served;
    struct slots slots;
    struct route **retired;
    struct str gateway;
    char gateway_name[];
};

struct entries *entries_new(struct str gateway)
{
    struct entries *entries = calloc(1, sizeof(*entries) + gateway.len + 1);

    if (!entries)
        return NULL;
    map_init(&entries->map);
    memcpy(entries->gateway_name, gateway.ptr, gateway.len);
    entries->gateway = str_make(entries->gateway_name, gateway.len);
    return entries;
}

void entries_free(struct entries *entries)
{
    struct map_node *node, *next;

    if (!entries)
        return;
    for (node = map_next(&entries->map, NULL); node; node = next) {
        struct entry *entry = MAP_ELEMENT(node, struct entry, node);

        next = map_next(&entries->map, node);
        if (entry->wanted != entry->served)
            route_unref(entry->wanted);
        route_unref(entry->served);
        free(entry->rejection);
        free(entry);
    }
    map_done(&entries->map);
    free(entries->slots.users);
    free(entries->slots.free);
    free(entries->retired);
    free(entries);
}

/* ---- slots ---- */

/* Room for one more, also on the stack of free ones, so that giving back cannot fail. */
static int slots_grow(struct slots *slots)
{
    size_t capacity = slots->capacity ? 2 * slots->capacity : 64;
    uint32_t *users = realloc(slots->users, capacity * sizeof(*users)), *unused;

    if (!users)
        return -ENOMEM;
    slots->users = users;
    unused = realloc(slots->free, capacity * sizeof(*unused));
    if (!unused)
        return -ENOMEM;
    slots->free = unused;
    slots->capacity = capacity;
    return 0;
}

static int slot_take(struct slots *slots, uint32_t *ret_slot)
{
    if (slots->free_count > 0) {
        *ret_slot = slots->free[--slots->free_count];
        return 0;
    }
    if (slots->count == slots->capacity && slots_grow(slots))
        return -ENOMEM;
    slots->users[slots->count] = 0;
    *ret_slot = (uint32_t)slots->count++;
    return 0;
}

void entries_route_freed(void *context, struct route *route)
{
    struct slots *slots = &((struct entries *)context)->slots;

    if (route->slot == NO_SLOT)
        return;
    assert(route->slot < slots->count && slots->users[route->slot] > 0);
    if (--slots->users[route->slot] == 0)
        slots->free[slots->free_count++] = route->slot;
}

/* A Route that no table ever held. */
static void discard(struct entries *entries, struct route *route)
{
    if (!route)
        return;
    entries_route_freed(entries, route);
    route_unref(route);
}

/* ---- rejections ---- */

static void unreject(struct entries *entries, struct entry *entry)
{
    struct rejection *rejection = entry->rejection;

    if (!rejection)
        return;
    if (rejection->newer)
        rejection->newer->older = rejection->older;
    else
        entries->newest = rejection->older;
    if (rejection->older)
        rejection->older->newer = rejection->newer;
    entry->rejection = NULL;
    free(rejection);
    entries->rejected_total--;
    entries->rejected_version++;
}

static int reject(struct entries *entries, struct entry *entry, uint64_t sequence,
                  const char *reason)
{
    struct rejection *rejection = calloc(1, sizeof(*rejection));

    if (!rejection)
        return -ENOMEM;
    unreject(entries, entry);
    rejection->entry = entry;
    rejection->sequence = sequence;
    snprintf(rejection->reason, sizeof(rejection->reason), "%s", reason);
    rejection->older = entries->newest;
    if (entries->newest)
        entries->newest->newer = rejection;
    entries->newest = rejection;
    entry->rejection = rejection;
    entries->rejected_total++;
    entries->rejected_version++;
    return 0;
}

size_t entries_rejected(const struct entries *entries, struct table_rejection *ret_rejections,
                        size_t max)
{
    size_t count = 0;

    for (const struct rejection *each = entries->newest; each && count < max; each = each->older) {
        struct table_rejection *out = &ret_rejections[count++];

        *out = (struct table_rejection){.sequence = each->sequence};
        snprintf(out->key, sizeof(out->key), "%s", each->entry->key);
        memcpy(out->reason, each->reason, sizeof(out->reason));
    }
    return count;
}

uint64_t entries_rejected_total(const struct entries *entries)
{
    return entries->rejected_total;
}

uint64_t entries_rejected_version(const struct entries *entries)
{
    return entries->rejected_version;
}

/* ---- reading ---- */

static struct entry *entry_get(struct entries *entries, struct str key)
{
    struct map_node *node = map_find(&entries->map, key);
    struct entry *entry;

    if (node)
        return MAP_ELEMENT(node, struct entry, node);
    entry = calloc(1, sizeof(*entry) + key.len + 1);
    if (!entry)
        return NULL;
    memcpy(entry->key, key.ptr, key.len);
    if (map_insert(&entries->map, &entry->node, str_make(entry->key, key.len))) {
        free(entry);
        return NULL;
    }
    return entry;
}

static void note_change(struct entries *entries, struct entry *entry)
{
    if (entry->changed)
        return;
    entry->changed = true;
    entry->next_changed = entries->changed;
    entries->changed = entry;
}

/* Takes over the reference to route. */
static void want(struct entries *entries, struct entry *entry, struct route *route)
{
    if (entry->wanted != entry->served)
        discard(entries, entry->wanted);
    entry->wanted = route;
    note_change(entries, entry);
}

static bool same_value(const struct route *route, struct str value)
{
    struct buffer own;
    bool same;

    buffer_init(&own, ROUTE_SOURCE_MAX);
    same = table_entry_write(route, &own) == 0 && str_equal(buffer_view(&own), value);
    buffer_done(&own);
    return same;
}

/* Of a value that may be of a version to come, or no JSON at all: whether it says that it is the
 * route's. 1, 0 or -ENOMEM. */
static int same_uid(const struct route *route, struct str value)
{
    yyjson_read_err error;
    yyjson_doc *doc = yyjson_read_opts((char *)value.ptr, value.len, 0, NULL, &error);
    yyjson_val *uid = yyjson_obj_get(yyjson_doc_get_root(doc), "uid");
    int same = yyjson_is_str(uid) &&
               str_equal(str_make(yyjson_get_str(uid), yyjson_get_len(uid)), route->uid);

    if (!doc && error.code == YYJSON_READ_ERROR_MEMORY_ALLOCATION)
        return -ENOMEM;
    yyjson_doc_free(doc);
    return same;
}

static int put_rejected(struct entries *entries, struct entry *entry, uint64_t sequence,
                        struct str value, const char *reason)
{
    int same = entry->wanted ? same_uid(entry->wanted, value) : 1;

    if (same < 0)
        return same;
    if (!same)
        want(entries, entry, NULL);
    return reject(entries, entry, sequence, reason);
}

void entries_begin(struct entries *entries)
{
    entries->round++;
}

int entries_put(struct entries *entries, struct str key, uint64_t sequence, struct str value)
{
    struct route_spec_error error = {""};
    struct entry *entry = entry_get(entries, key);
    struct route *route = NULL;
    int result;

    if (!entry)
        return -ENOMEM;
    entry->round = entries->round;
    note_change(entries, entry); /* also so that an entry of nothing is freed by the next settle */
    /* A replay: what it is already. But a value after which others were rejected counts anew. */
    if (entry->wanted && same_value(entry->wanted, value)) {
        unreject(entries, entry);
        entry->sequence = sequence;
        return 0;
    }
    result = table_entry_read(key, value, &route, &error);
    if (result == -ENOMEM)
        return result;
    if (result)
        return put_rejected(entries, entry, sequence, value, error.text);
    route->slot = NO_SLOT;
    if (!str_equal(route->gateway, entries->gateway)) {
        route_unref(route);
        return put_rejected(entries, entry, sequence, value, "is for another gateway");
    }
    unreject(entries, entry);
    entry->sequence = sequence;
    want(entries, entry, route);
    return 0;
}

static void entry_delete(struct entries *entries, struct entry *entry)
{
    unreject(entries, entry);
    want(entries, entry, NULL);
}

void entries_delete(struct entries *entries, struct str key)
{
    struct map_node *node = map_find(&entries->map, key);

    if (node)
        entry_delete(entries, MAP_ELEMENT(node, struct entry, node));
}

void entries_sweep(struct entries *entries)
{
    for (struct map_node *node = map_next(&entries->map, NULL); node;
         node = map_next(&entries->map, node)) {
        struct entry *entry = MAP_ELEMENT(node, struct entry, node);

        if (entry->round != entries->round)
            entry_delete(entries, entry);
    }
}

/* ---- the next table ---- */

static int give_slot(struct slots *slots, struct entry *entry)
{
    uint32_t slot;

    if (entry->served)
        slot = entry->served->slot;
    else if (slot_take(slots, &slot))
        return -ENOMEM;
    entry->wanted->slot = slot;
    slots->users[slot]++;
    return 0;
}

int entries_commit(struct entries *entries, const struct route_table *base,
                   struct route_table **ret_table, struct route *const **ret_retired,
                   size_t *ret_retired_count)
{
    struct route_table *empty = base ? NULL : route_table_new();
    struct route_change *changes = NULL;
    size_t most = 1, count = 0, retired_count = 0;
    struct route **retired;
    int result = -ENOMEM;

    if (!base && !empty)
        return -ENOMEM;
    for (const struct entry *entry = entries->changed; entry; entry = entry->next_changed)
        most++;
    changes = calloc(most, sizeof(*changes));
    retired = realloc(entries->retired, most * sizeof(*retired));
    if (retired)
        entries->retired = retired;
    if (!changes || !retired)
        goto out;
    for (struct entry *entry = entries->changed; entry; entry = entry->next_changed) {
        if (entry->wanted == entry->served)
            continue;
        if (entry->wanted && entry->wanted->slot == NO_SLOT && give_slot(&entries->slots, entry))
            goto out;
        changes[count++] = (struct route_change){entry->served, entry->wanted};
        if (entry->served)
            retired[retired_count++] = entry->served;
    }
    result = route_table_apply(base ? base : empty, changes, count, ret_table);
    *ret_retired = retired;
    *ret_retired_count = retired_count;
out:
    free(changes);
    route_table_unref(empty);
    return result;
}

void entries_settle(struct entries *entries)
{
    struct entry *next;

    for (struct entry *entry = entries->changed; entry; entry = next) {
        next = entry->next_changed;
        entry->changed = false;
        entries->served += (entry->wanted != NULL) - (size_t)(entry->served != NULL);
        entry->served = entry->wanted;
        if (entry->served || entry->rejection)
            continue;
        map_remove(&entries->map, &entry->node);
        free(entry);
    }
    entries->changed = NULL;
}

size_t entries_served(const struct entries *entries)
{
    return entries->served;
}

/* ---- showing ---- */

static int compare_keys(const void *a, const void *b)
{
    return strcmp((*(const struct entry *const *)a)->key, (*(const struct entry *const *)b)->key);
}

int entries_dump(const struct entries *entries, struct buffer *out)
{
    const struct entry **list = malloc((entries->served + 1) * sizeof(*list));
    size_t count = 0;
    int result;

    if (!list)
        return -ENOMEM;
    for (struct map_node *node = map_next(&entries->map, NULL); node;
         node = map_next(&entries->map, node)) {
        const struct entry *entry = MAP_ELEMENT(node, struct entry, node);

        if (entry->served)
            list[count++] = entry;
    }
    assert(count == entries->served);
    qsort(list, count, sizeof(*list), compare_keys);
    result = buffer_append_byte(out, '[');
    for (size_t i = 0; i < count && !result; i++) {
        /* The key of a Route in force holds nothing that JSON would escape. */
        result = buffer_printf(out, "%s{\"key\":\"%s\",\"sequence\":%llu,\"value\":", i ? "," : "",
                               list[i]->key, (unsigned long long)list[i]->sequence);
        if (!result)
            result = table_entry_write(list[i]->served, out);
        if (!result)
            result = buffer_append_byte(out, '}');
    }
    if (!result)
        result = buffer_append_byte(out, ']');
    free(list);
    return result;
}
