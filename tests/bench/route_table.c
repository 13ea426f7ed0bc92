/*
 * What a table costs, for 100, 10,000 and 100,000 Routes: nanoseconds per match, when requests go
 * to 100 Routes of them, to all alike (then what a request touches is in no cache), and to none;
 * milliseconds to build it at once, microseconds per single change; bytes per Route with everything
 * that the Route itself keeps. Routes are what a spec becomes: a hostname of many Routes, a
 * Template path, a method, one backend with a derived target of three parts.
 *
 *      bench_route_table [COUNT...]        at least 100 each
 */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "lib/route/route_match.h"

enum { HOSTS = 50, MATCHES = 1000000, CHANGES = 2000, SEGMENTS = 3 };

static double now_s(void)
{
    struct timespec now;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now); /* others may run meanwhile */
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void *must(void *memory)
{
    if (!memory)
        abort();
    return memory;
}

static const struct route_target *make_target(struct arena *arena, struct str path)
{
    struct route_part *parts = must(arena_take_array(arena, 3, sizeof(*parts)));
    struct route_target *target = must(arena_take(arena, sizeof(*target)));

    parts[0] = (struct route_part){.kind = ROUTE_PART_LITERAL, .text = arena_copy(arena, path)};
    parts[1] = (struct route_part){.kind = ROUTE_PART_SEGMENT, .first = 2};
    parts[2] = (struct route_part){.kind = ROUTE_PART_METHOD};
    *target = (struct route_target){parts, 3};
    return target;
}

/* /v1/r<number>/{id} */
static const struct route_match *make_match(struct arena *arena, unsigned number)
{
    struct route_match *match = must(arena_take(arena, sizeof(*match)));
    struct route_segment *segments = must(arena_take_array(arena, SEGMENTS, sizeof(*segments)));

    segments[0] = (struct route_segment){ROUTE_SEGMENT_LITERAL, arena_copy(arena, STR_LIT("v1"))};
    segments[1] = (struct route_segment){ROUTE_SEGMENT_LITERAL, arena_printf(arena, "r%u", number)};
    segments[2] = (struct route_segment){ROUTE_SEGMENT_PARAM, arena_copy(arena, STR_LIT("id"))};
    match->path_type = ROUTE_PATH_TEMPLATE;
    match->path = arena_printf(arena, "/v1/r%u/{id}", number);
    match->segments = segments;
    match->segment_count = SEGMENTS;
    match->method = ROUTE_METHOD_GET;
    match->targets = make_target(arena, match->path);
    return match;
}

static struct route *make_route(unsigned number)
{
    struct route *route = must(route_new());
    struct arena *arena = route->arena;
    struct str *hostname = must(arena_take(arena, sizeof(*hostname)));
    struct route_rule *rule = must(arena_take(arena, sizeof(*rule)));
    struct route_backend *backend = must(arena_take(arena, sizeof(*backend)));

    route->label = arena_printf(arena, "team-%u/orders-%u", number % 100, number);
    route->uid = arena_printf(arena, "6fb0a8c2-0000-4000-8000-%012u", number);
    route->gateway = arena_copy(arena, STR_LIT("default"));
    route->created_s = number;
    *hostname = arena_printf(arena, "h%u.api.example.com", number % HOSTS);
    route->hostnames = hostname;
    route->hostname_count = 1;
    *backend = (struct route_backend){.weight = 1};
    *rule = (struct route_rule){.matches = make_match(arena, number),
                                .match_count = 1,
                                .backends = backend,
                                .backend_count = 1,
                                .weight_total = 1,
                                .timeout_ms = ROUTE_TIMEOUT_DEFAULT_MS};
    route->rules = rule;
    route->rule_count = 1;
    return route_pack(route);
}

/* What requests ask for: the first Routes so many, spread over the table. */
struct asked {
    unsigned count, step;
    bool miss;
};

/* ns per match, and per request's making without a table. */
static double match_ns(const struct route_table *table, struct asked asked)
{
    struct arena scratch;
    struct route_hit hit;
    unsigned random = 1, found = 0;
    bool trouble;
    double began = now_s();

    arena_init(&scratch, 1 << 16);
    for (unsigned i = 0; i < MATCHES; i++) {
        char host[64], name[32];
        unsigned number;

        random = random * 1103515245 + 12345;
        number = (random >> 8) % asked.count * asked.step;
        struct str segments[SEGMENTS] = {
            STR_LIT("v1"),
            str_make(name,
                     (size_t)snprintf(name, sizeof(name), "%c%u", asked.miss ? 'm' : 'r', number)),
            STR_LIT("4711"),
        };
        struct route_request request = {
            .host = str_make(
                host, (size_t)snprintf(host, sizeof(host), "h%u.api.example.com", number % HOSTS)),
            .segments = segments,
            .segment_count = SEGMENTS,
            .method = ROUTE_METHOD_GET,
        };
        if (table)
            found += route_table_match(table, &request, &scratch, &hit, &trouble) == ROUTE_FOUND;
        arena_reset(&scratch);
    }
    arena_done(&scratch);
    if (table && found != (asked.miss ? 0 : MATCHES))
        abort();
    return (now_s() - began) * 1e9 / MATCHES;
}

static double match_only_ns(const struct route_table *table, struct asked asked)
{
    return match_ns(table, asked) - match_ns(NULL, asked);
}

/* us to replace one Route, in a new table, and to free the old table. */
static double change_us(struct route_table **table, struct route **routes, unsigned count)
{
    double took = 0;

    for (unsigned i = 0; i < CHANGES; i++) {
        unsigned number = (unsigned)((uint64_t)i * 2654435761u % count);
        struct route_change change = {routes[number], make_route(number)};
        struct route_table *changed;
        double began = now_s();

        if (route_table_apply(*table, &change, 1, &changed) < 0)
            abort();
        route_table_unref(*table);
        took += now_s() - began;
        route_unref(change.before);
        routes[number] = change.after;
        *table = changed;
    }
    return took * 1e6 / CHANGES;
}

static size_t heap_bytes(void)
{
    struct mallinfo2 info = mallinfo2();

    return info.uordblks + info.hblkhd;
}

static void measure(unsigned count)
{
    struct route_change *changes = must(calloc(count, sizeof(*changes)));
    struct route **routes = must(calloc(count, sizeof(*routes)));
    struct route_table *empty = must(route_table_new()), *table;
    size_t before = heap_bytes(), alone, with_table;
    double began, built_ms;

    for (unsigned i = 0; i < count; i++)
        changes[i].after = routes[i] = make_route(i);
    alone = heap_bytes();
    began = now_s();
    if (route_table_apply(empty, changes, count, &table) < 0)
        abort();
    built_ms = (now_s() - began) * 1e3;
    with_table = heap_bytes();
    printf("%7u Routes: match %4.0f ns of 100, %4.0f ns of all, %4.0f ns of none; ", count,
           match_only_ns(table, (struct asked){100, ((count - 1) / 99 - 1) | 1, false}),
           match_only_ns(table, (struct asked){count, 1, false}),
           match_only_ns(table, (struct asked){count, 1, true}));
    printf("build %6.1f ms, change %5.1f us; ", built_ms, change_us(&table, routes, count));
    printf("%4zu bytes per Route (%zu the Route, %zu the table)\n", (with_table - before) / count,
           (alone - before) / count, (with_table - alone) / count);
    route_table_unref(table);
    route_table_unref(empty);
    for (unsigned i = 0; i < count; i++)
        route_unref(routes[i]);
    free(routes);
    free(changes);
    malloc_trim(0);
}

int main(int argc, char **argv)
{
    static const unsigned usual[] = {100, 10000, 100000};

    for (int i = 1; i < argc; i++) {
        unsigned long count = strtoul(argv[i], NULL, 10);

        if (count < 100 || count > 10000000)
            return fprintf(stderr, "not a number of Routes from 100 on: %s\n", argv[i]), 2;
        measure((unsigned)count);
    }
    for (size_t i = 0; argc == 1 && i < sizeof(usual) / sizeof(usual[0]); i++)
        measure(usual[i]);
    return 0;
}
