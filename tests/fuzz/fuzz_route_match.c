/*
 * Any Routes, any changes of them, any requests: the table that the changes led to, the one they
 * began with, and the naive matcher agree. Bytes become Routes and requests through generate.h.
 */
#include <stdlib.h>

#include "tests/unit/route/generate.h"
#include "tests/unit/route/naive.h"

enum { SLOTS = 12, REQUESTS = 8, SCRATCH_LIMIT = 1 << 20 };

static void agree(const struct route_table *table, struct route *const *routes,
                  const struct route_request *request)
{
    struct route_hit hit, expected;
    enum route_outcome outcome, expected_outcome;
    struct arena scratch;
    bool trouble;

    arena_init(&scratch, SCRATCH_LIMIT);
    outcome = route_table_match(table, request, &scratch, &hit, &trouble);
    arena_done(&scratch);
    expected_outcome = naive_match(routes, SLOTS, request, &expected);
    if (trouble || outcome != expected_outcome || hit.match != expected.match ||
        hit.rule != expected.rule || hit.route != expected.route || hit.method != expected.method ||
        hit.allowed != expected.allowed)
        abort();
}

static struct route_table *apply(const struct route_table *base, struct route *const *before,
                                 struct route *const *after)
{
    struct route_change changes[SLOTS];
    struct route_table *table;
    size_t count = 0;

    for (size_t i = 0; i < SLOTS; i++)
        if (before[i] != after[i])
            changes[count++] = (struct route_change){before[i], after[i]};
    if (route_table_apply(base, changes, count, &table) < 0)
        abort();
    return table;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct choices choices = {bytes, size, 0};
    struct route *none[SLOTS] = {NULL}, *first[SLOTS] = {NULL}, *second[SLOTS];
    struct route_table *tables[3] = {route_table_new()};
    struct built_request built;
    struct line line;
    unsigned count = choose(&choices, SLOTS + 1);

    for (unsigned i = 0; i < count; i++)
        first[i] = generate_route(&choices, i);
    for (unsigned i = 0; i < SLOTS; i++) {
        unsigned change = choose(&choices, 4);

        second[i] = first[i];
        if (change == 1)
            second[i] = NULL;
        else if (change == 2)
            second[i] = generate_route(&choices, i);
    }
    tables[1] = apply(tables[0], none, first);
    tables[2] = apply(tables[1], first, second);
    for (unsigned i = 0; i < REQUESTS; i++) {
        generate_request(&choices, &line, &built);
        agree(tables[0], none, &built.request);
        agree(tables[1], first, &built.request);
        agree(tables[2], second, &built.request);
    }
    for (unsigned i = 0; i < 3; i++)
        route_table_unref(tables[i]);
    for (unsigned i = 0; i < SLOTS; i++) {
        if (second[i] != first[i])
            route_unref(second[i]);
        route_unref(first[i]);
    }
    return 0;
}
