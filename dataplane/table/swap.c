/*
 * swap: versions of the table, from newest back to the oldest that a loop may still reach.
 *
 *   oldest ──▶ ... ──▶ newest        a list that only the table thread walks
 *                        ▲
 *                        └── loops load this pointer, acquire; nothing else of the list
 *
 * What a loop tells the table thread are two numbers, each written by that loop alone with release:
 * adopted (it reads no table below this one) and oldest (none of its exchanges began below this
 * one). So with the least of each over all loops:
 *   - a table goes when its number is below the least adopted;
 *   - the Routes that version n dropped go when n is at or below the least oldest, since whoever
 *     still knows them began under n - 1 or before.
 * A loop between loading the pointer and storing its number still counts as on the older one, so
 * what it is about to read cannot go.
 */
#include "dataplane/table/swap.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct version {
    struct version *next; /* the next newer one */
    struct route_table *table;
    uint64_t number, revision;
    size_t retired_count;
    struct route *retired[];
};

/* A loop's numbers, on a cache line of their own. */
struct loop_state {
    _Alignas(64) atomic_uint_fast64_t adopted;
    atomic_uint_fast64_t oldest;
};

struct swap {
    _Atomic(struct version *) newest;
    struct version *oldest;
    void (*wake)(void *context, unsigned loop);
    void (*adopted)(void *context);
    void *wake_context, *adopted_context;
    unsigned loop_count;
    struct loop_state loops[];
};

struct swap *swap_new(unsigned loops)
{
    size_t size = sizeof(struct swap) + loops * sizeof(struct loop_state);
    struct swap *swap;

    assert(loops > 0 && loops <= SWAP_LOOPS_MAX);
    swap = aligned_alloc(_Alignof(struct swap), size);
    if (!swap)
        return NULL;
    memset(swap, 0, size);
    swap->loop_count = loops;
    return swap;
}

static void retire(struct version *version, void (*freed)(void *context, struct route *route),
                   void *context)
{
    for (size_t i = 0; i < version->retired_count; i++) {
        if (freed)
            freed(context, version->retired[i]);
        route_unref(version->retired[i]);
    }
    version->retired_count = 0;
}

void swap_free(struct swap *swap)
{
    struct version *next;

    if (!swap)
        return;
    for (struct version *version = swap->oldest; version; version = next) {
        next = version->next;
        route_table_unref(version->table);
        retire(version, NULL, NULL);
        free(version);
    }
    free(swap);
}

void swap_on_wake(struct swap *swap, void (*wake)(void *context, unsigned loop), void *context)
{
    swap->wake = wake;
    swap->wake_context = context;
}

void swap_on_adopted(struct swap *swap, void (*adopted)(void *context), void *context)
{
    swap->adopted = adopted;
    swap->adopted_context = context;
}

int64_t swap_publish(struct swap *swap, struct route_table *table, uint64_t revision,
                     struct route *const *retired, size_t retired_count)
{
    struct version *last = atomic_load_explicit(&swap->newest, memory_order_relaxed);
    struct version *version = malloc(sizeof(*version) + retired_count * sizeof(*retired));

    if (!version)
        return -ENOMEM;
    *version = (struct version){.table = table,
                                .number = last ? last->number + 1 : 1,
                                .revision = revision,
                                .retired_count = retired_count};
    if (retired_count)
        memcpy(version->retired, retired, retired_count * sizeof(*retired));
    if (last)
        last->next = version;
    else
        swap->oldest = version;
    atomic_store_explicit(&swap->newest, version, memory_order_release);
    for (unsigned loop = 0; loop < swap->loop_count && swap->wake; loop++)
        swap->wake(swap->wake_context, loop);
    return (int64_t)version->number;
}

static uint64_t least_adopted(const struct swap *swap)
{
    uint64_t least = UINT64_MAX;

    for (unsigned i = 0; i < swap->loop_count; i++) {
        uint64_t number = atomic_load_explicit(&swap->loops[i].adopted, memory_order_acquire);

        least = number < least ? number : least;
    }
    return least;
}

static uint64_t least_oldest(const struct swap *swap)
{
    uint64_t least = UINT64_MAX;

    for (unsigned i = 0; i < swap->loop_count; i++) {
        uint64_t number = atomic_load_explicit(&swap->loops[i].oldest, memory_order_acquire);

        least = number < least ? number : least;
    }
    return least;
}

uint64_t swap_applied(const struct swap *swap, uint64_t *ret_number)
{
    uint64_t adopted = least_adopted(swap);
    const struct version *version = swap->oldest;

    while (version && version->number < adopted)
        version = version->next;
    if (ret_number)
        *ret_number = adopted;
    return adopted ? version->revision : 0;
}

void swap_collect(struct swap *swap, void (*freed)(void *context, struct route *route),
                  void *context)
{
    uint64_t adopted = least_adopted(swap), began = least_oldest(swap);
    struct version **link = &swap->oldest, *version;

    while ((version = *link) && version->number <= adopted) {
        if (version->number < adopted && version->table) {
            route_table_unref(version->table);
            version->table = NULL;
        }
        if (version->number <= began)
            retire(version, freed, context);
        if (version->table || version->retired_count > 0) {
            link = &version->next;
            continue;
        }
        *link = version->next;
        free(version);
    }
}

bool swap_adopt(struct swap *swap, unsigned loop, struct swap_view *view)
{
    const struct version *version = atomic_load_explicit(&swap->newest, memory_order_acquire);

    assert(loop < swap->loop_count);
    if (!version || version->number == view->number)
        return false;
    atomic_store_explicit(&swap->loops[loop].adopted, version->number, memory_order_release);
    if (swap->adopted)
        swap->adopted(swap->adopted_context);
    *view = (struct swap_view){version->table, version->number, version->revision};
    return true;
}

void swap_report(struct swap *swap, unsigned loop, uint64_t oldest)
{
    assert(loop < swap->loop_count);
    atomic_store_explicit(&swap->loops[loop].oldest, oldest, memory_order_release);
}
