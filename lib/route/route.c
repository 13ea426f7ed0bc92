/*
 * route: the life of one compiled Route.
 *
 * The struct is allocated with an arena behind it and everything that it points to lives in that,
 * so a Route is freed in two steps whatever it holds. Compiled regular expressions are the
 * exception: PCRE2 allocates them, so the last reference goes through the matches and frees them. A
 * route that its builder gave up on is freed the same way; arrays come zeroed from the arena, so a
 * match that was never filled has no pattern.
 *
 * route_pack() goes through a Route twice with the same code. The first time it only adds up what
 * things take and leaves every pointer as it is; the second time it copies them behind the new
 * struct, arrays first and strings after them, so that nothing is padded:
 *
 *      | struct route | arrays ...        | strings ...      |
 *
 * References are counted without atomics: only the thread that builds tables counts.
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "lib/route/route.h"

#include <assert.h>
#include <errno.h>
#include <pcre2.h>
#include <stdalign.h>
#include <stdlib.h>

/* Far more than a Route of ROUTE_SOURCE_MAX bytes needs: each of its targets is kept once per
 * match, split into parts. */
enum { ROUTE_ARENA_MAX = 8 * 1024 * 1024 };

static const struct str method_names[ROUTE_METHOD_COUNT] = {
    [ROUTE_METHOD_ANY] = {"", 0},          [ROUTE_METHOD_GET] = {"GET", 3},
    [ROUTE_METHOD_HEAD] = {"HEAD", 4},     [ROUTE_METHOD_POST] = {"POST", 4},
    [ROUTE_METHOD_PUT] = {"PUT", 3},       [ROUTE_METHOD_PATCH] = {"PATCH", 5},
    [ROUTE_METHOD_DELETE] = {"DELETE", 6}, [ROUTE_METHOD_OPTIONS] = {"OPTIONS", 7},
    [ROUTE_METHOD_TRACE] = {"TRACE", 5},
};

struct str route_method_name(enum route_method method)
{
    assert(method < ROUTE_METHOD_COUNT);
    return method_names[method];
}

int route_method_parse(struct str name)
{
    for (int method = ROUTE_METHOD_ANY + 1; method < ROUTE_METHOD_COUNT; method++)
        if (str_equal(name, method_names[method]))
            return method;
    return -EINVAL;
}

struct route *route_new(void)
{
    struct route *route = calloc(1, sizeof(*route) + sizeof(*route->arena));

    if (!route)
        return NULL;
    route->arena = (struct arena *)(route + 1);
    arena_init(route->arena, ROUTE_ARENA_MAX);
    route->references = 1;
    return route;
}

int route_identify(struct route *route, struct str namespace_name, struct str name, struct str uid)
{
    size_t length = namespace_name.len + 1 + name.len;
    char *label = arena_take(route->arena, length + 1);

    route->uid = arena_copy(route->arena, uid);
    if (!label || !route->uid.ptr)
        return -ENOMEM;
    memcpy(label, namespace_name.ptr, namespace_name.len);
    label[namespace_name.len] = '/';
    memcpy(label + namespace_name.len + 1, name.ptr, name.len);
    route->label = str_make(label, length);
    return 0;
}

struct str route_namespace(const struct route *route)
{
    const char *slash = memchr(route->label.ptr, '/', route->label.len);

    assert(slash);
    return str_make(route->label.ptr, (size_t)(slash - route->label.ptr));
}

struct route *route_ref(struct route *route)
{
    assert(route->references > 0 && route->references < UINT32_MAX);
    route->references++;
    return route;
}

void route_unref(struct route *route)
{
    if (!route)
        return;
    assert(route->references > 0);
    if (--route->references > 0)
        return;
    for (size_t i = 0; i < route->rule_count; i++)
        for (size_t j = 0; j < route->rules[i].match_count; j++)
            pcre2_code_free(route->rules[i].matches[j].regex);
    if (route->arena)
        arena_done(route->arena);
    free(route);
}

/* Where the next thing goes. While counting: how much there is, with to NULL. */
struct pack {
    char *to;
    size_t arrays, strings; /* offsets from to */
};

static void *pack_array(struct pack *pack, const void *array, size_t count, size_t size)
{
    void *copy = (void *)array;

    assert(size % alignof(struct route) == 0);
    if (pack->to)
        copy = count ? memcpy(pack->to + pack->arrays, array, count * size) : NULL;
    pack->arrays += count * size;
    return copy;
}

static void pack_str(struct pack *pack, struct str *text)
{
    char *copy = pack->to ? pack->to + pack->strings : NULL;

    pack->strings += text->len + 1;
    if (!copy)
        return;
    if (text->len)
        memcpy(copy, text->ptr, text->len);
    copy[text->len] = '\0';
    text->ptr = copy;
}

static void *pack_conditions(struct pack *pack, const struct route_condition *from, size_t count)
{
    struct route_condition *conditions = pack_array(pack, from, count, sizeof(*conditions));

    for (size_t i = 0; i < count; i++) {
        pack_str(pack, &conditions[i].name);
        pack_str(pack, &conditions[i].value);
    }
    return conditions;
}

static void *pack_targets(struct pack *pack, const struct route_target *from, size_t count)
{
    struct route_target *targets = pack_array(pack, from, count, sizeof(*targets));
    struct route_part *parts;

    for (size_t i = 0; i < count; i++) {
        parts = pack_array(pack, targets[i].parts, targets[i].part_count, sizeof(*parts));
        for (size_t j = 0; j < targets[i].part_count; j++)
            pack_str(pack, &parts[j].text);
        targets[i].parts = parts;
    }
    return targets;
}

static void pack_match(struct pack *pack, struct route_match *match, size_t target_count)
{
    struct route_segment *segments =
        pack_array(pack, match->segments, match->segment_count, sizeof(*segments));

    pack_str(pack, &match->path);
    for (size_t i = 0; i < match->segment_count; i++)
        pack_str(pack, &segments[i].text);
    match->segments = segments;
    match->headers = pack_conditions(pack, match->headers, match->header_count);
    match->params = pack_conditions(pack, match->params, match->param_count);
    match->targets = pack_targets(pack, match->targets, match->targets ? target_count : 0);
}

static void pack_rule(struct pack *pack, struct route_rule *rule)
{
    struct route_match *matches =
        pack_array(pack, rule->matches, rule->match_count, sizeof(*matches));
    struct route_backend *backends =
        pack_array(pack, rule->backends, rule->backend_count, sizeof(*backends));

    pack_str(pack, &rule->name);
    for (size_t i = 0; i < rule->match_count; i++)
        pack_match(pack, &matches[i], rule->backend_count);
    for (size_t i = 0; i < rule->backend_count; i++)
        pack_str(pack, &backends[i].subject);
    rule->matches = matches;
    rule->backends = backends;
}

static void pack_route(struct pack *pack, struct route *route)
{
    struct route_rule *rules = pack_array(pack, route->rules, route->rule_count, sizeof(*rules));
    struct str *hostnames =
        pack_array(pack, route->hostnames, route->hostname_count, sizeof(*hostnames));

    for (size_t i = 0; i < route->rule_count; i++)
        pack_rule(pack, &rules[i]);
    for (size_t i = 0; i < route->hostname_count; i++)
        pack_str(pack, &hostnames[i]);
    pack_str(pack, &route->label);
    pack_str(pack, &route->uid);
    pack_str(pack, &route->gateway);
    route->rules = rules;
    route->hostnames = hostnames;
}

struct route *route_pack(struct route *route)
{
    struct pack pack = {.arrays = sizeof(*route)};
    struct route *packed;

    assert(route->references == 1);
    pack_route(&pack, route);
    packed = malloc(pack.arrays + pack.strings);
    if (!packed)
        return route;
    *packed = *route;
    pack = (struct pack){.to = (char *)packed, .arrays = sizeof(*route), .strings = pack.arrays};
    pack_route(&pack, packed);
    packed->arena = NULL;
    arena_done(route->arena); /* compiled patterns have moved with the matches */
    free(route);
    return packed;
}

int route_compare_age(const struct route *a, const struct route *b)
{
    if (a->created_s != b->created_s)
        return a->created_s < b->created_s ? -1 : 1;
    return str_compare(a->label, b->label);
}
