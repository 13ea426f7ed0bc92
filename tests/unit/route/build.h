/*
 * build: Routes and requests from one line of text each, so that tests are tables.
 *
 *   Route:   LABEL CREATED HOSTS MATCH [; MATCH]... [| MATCH...]...     "|" begins a rule
 *            HOSTS: "-" for any, or a comma-separated list
 *            MATCH: METHOD TYPE:PATH [h:NAME=VALUE]... [q:NAME=VALUE]...
 *            METHOD: "ANY" or a method; TYPE: exact prefix template regex
 *   Request: METHOD HOST PATH [h:NAME=VALUE]... [q:NAME=VALUE]...       "-": no host
 *
 *   "shop/orders 10 api.example.com GET template:/orders/{id} h:x-tier=gold | ANY prefix:/"
 *
 * Nothing is decoded. Text that does not parse ends the test: it is the test that is wrong.
 */
#ifndef TESTS_UNIT_ROUTE_BUILD_H
#define TESTS_UNIT_ROUTE_BUILD_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <assert.h>
#include <pcre2.h>
#include <stdlib.h>

#include "lib/route/route_match.h"

/* Cuts the next word off *text, up to the separator; false, and an empty word: nothing left. */
static inline bool build_word(struct str *text, char separator, struct str *ret_word)
{
    size_t length = 0;

    while (text->len && separator == ' ' && text->ptr[0] == ' ')
        *text = str_after(*text, 1);
    *ret_word = STR_LIT("");
    if (!text->len)
        return false;
    while (length < text->len && text->ptr[length] != separator)
        length++;
    *ret_word = str_make(text->ptr, length);
    *text = str_after(*text, length < text->len ? length + 1 : length);
    return true;
}

static inline size_t build_count(struct str text, char byte)
{
    size_t count = 0;

    for (size_t i = 0; i < text.len; i++)
        count += text.ptr[i] == byte;
    return count;
}

static inline struct route_segment build_segment(struct arena *arena, struct str text)
{
    struct route_segment segment = {ROUTE_SEGMENT_LITERAL, text};

    if (text.len > 2 && text.ptr[0] == '{' && text.ptr[text.len - 1] == '}') {
        segment.kind = ROUTE_SEGMENT_PARAM;
        segment.text = str_make(text.ptr + 1, text.len - 2);
        if (text.len > 5 && memcmp(text.ptr + text.len - 4, "...", 3) == 0) {
            segment.kind = ROUTE_SEGMENT_REST;
            segment.text.len -= 3;
        }
    }
    segment.text = arena_copy(arena, segment.text);
    return segment;
}

static inline void build_segments(struct arena *arena, struct route_match *match)
{
    struct str rest = str_after(match->path, 1), text;
    size_t count = build_count(match->path, '/');
    struct route_segment *segments = arena_take_array(arena, count, sizeof(*segments));

    assert(match->path.ptr[0] == '/');
    for (size_t i = 0; i < count; i++) {
        build_word(&rest, '/', &text);
        segments[i] = build_segment(arena, text);
    }
    if (match->path_type == ROUTE_PATH_PREFIX && segments[count - 1].text.len == 0)
        count--;
    match->segments = segments;
    match->segment_count = count;
}

static inline void build_regex(struct route_match *match)
{
    PCRE2_SIZE offset;
    int error;

    match->regex = pcre2_compile((PCRE2_SPTR)match->path.ptr, match->path.len,
                                 PCRE2_ANCHORED | PCRE2_ENDANCHORED, &error, &offset, NULL);
    assert(match->regex);
}

static inline void build_path(struct arena *arena, struct route_match *match, struct str text)
{
    static const struct str types[] = {
        [ROUTE_PATH_EXACT] = {"exact", 5},
        [ROUTE_PATH_PREFIX] = {"prefix", 6},
        [ROUTE_PATH_TEMPLATE] = {"template", 8},
        [ROUTE_PATH_REGEX] = {"regex", 5},
    };
    size_t type = 0;
    struct str word;
    bool typed = build_word(&text, ':', &word);

    while (type < sizeof(types) / sizeof(types[0]) && !str_equal(word, types[type]))
        type++;
    assert(typed && type < sizeof(types) / sizeof(types[0]));
    match->path_type = (enum route_path_type)type;
    match->path = arena_copy(arena, text);
    if (match->path_type == ROUTE_PATH_REGEX)
        build_regex(match);
    else
        build_segments(arena, match);
}

static inline enum route_method build_method(struct str word)
{
    int method = str_equal(word, STR_LIT("ANY")) ? ROUTE_METHOD_ANY : route_method_parse(word);

    assert(method >= 0);
    return (enum route_method)method;
}

/* Adds the condition where it sorts. */
static inline void build_condition(struct arena *arena, const struct route_condition **conditions,
                                   uint8_t *count, struct str text)
{
    struct route_condition *sorted = arena_take_array(arena, *count + 1, sizeof(*sorted));
    struct route_condition added;
    size_t place = *count;

    build_word(&text, '=', &added.name);
    added.name = arena_copy(arena, added.name);
    added.value = arena_copy(arena, text);
    if (*count)
        memcpy(sorted, *conditions, *count * sizeof(*sorted));
    for (; place && str_compare(sorted[place - 1].name, added.name) > 0; place--)
        sorted[place] = sorted[place - 1];
    sorted[place] = added;
    *conditions = sorted;
    ++*count;
}

static inline void build_match(struct arena *arena, struct str text, struct route_match *match)
{
    struct str word;
    bool found = build_word(&text, ' ', &word);

    assert(found);
    match->method = build_method(word);
    found = build_word(&text, ' ', &word);
    assert(found);
    build_path(arena, match, word);
    while (build_word(&text, ' ', &word)) {
        assert(str_starts_with(word, STR_LIT("h:")) || str_starts_with(word, STR_LIT("q:")));
        if (word.ptr[0] == 'h')
            build_condition(arena, &match->headers, &match->header_count, str_after(word, 2));
        else
            build_condition(arena, &match->params, &match->param_count, str_after(word, 2));
    }
}

/* One backend, whose target is the path as it is written and the method. */
static inline void build_backend(struct arena *arena, struct route_rule *rule,
                                 struct route_match *matches)
{
    struct route_backend *backend = arena_take(arena, sizeof(*backend));

    backend->weight = 1;
    backend->subject = matches[0].path;
    rule->backends = backend;
    rule->backend_count = 1;
    rule->weight_total = 1;
    for (size_t i = 0; i < rule->match_count; i++) {
        struct route_target *target = arena_take(arena, sizeof(*target));
        struct route_part *parts = arena_take_array(arena, 2, sizeof(*parts));

        parts[0] = (struct route_part){.kind = ROUTE_PART_LITERAL, .text = matches[i].path};
        parts[1] = (struct route_part){.kind = ROUTE_PART_METHOD};
        *target = (struct route_target){parts, 2};
        matches[i].targets = target;
    }
}

static inline void build_rule(struct arena *arena, struct str text, struct route_rule *rule)
{
    size_t count = build_count(text, ';') + 1;
    struct route_match *matches = arena_take_array(arena, count, sizeof(*matches));
    struct str word;

    rule->matches = matches;
    rule->match_count = count;
    for (size_t i = 0; build_word(&text, ';', &word); i++)
        build_match(arena, word, &matches[i]);
    build_backend(arena, rule, matches);
}

static inline void build_hosts(struct route *route, struct str text)
{
    size_t count = build_count(text, ',') + 1;
    struct str *hosts = arena_take_array(route->arena, count, sizeof(*hosts));
    struct str word;

    if (str_equal(text, STR_LIT("-")))
        return;
    route->hostnames = hosts;
    for (; build_word(&text, ',', &word); route->hostname_count++)
        hosts[route->hostname_count] = arena_copy(route->arena, word);
}

/* Not packed. The caller's reference. */
static inline struct route *build_loose_route(const char *line)
{
    struct route *route = route_new();
    struct str text = str_from(line), word;
    struct route_rule *rules;

    assert(route);
    build_word(&text, ' ', &word);
    route->label = arena_copy(route->arena, word);
    build_word(&text, ' ', &word);
    route->created_s = strtoll(word.ptr, NULL, 10);
    build_word(&text, ' ', &word);
    build_hosts(route, word);
    route->rule_count = build_count(text, '|') + 1;
    rules = arena_take_array(route->arena, route->rule_count, sizeof(*rules));
    route->rules = rules;
    for (uint16_t i = 0; build_word(&text, '|', &word); i++) {
        rules[i].index = i;
        build_rule(route->arena, word, &rules[i]);
    }
    return route;
}

/* Packed, as in a gateway. The caller's reference. */
static inline struct route *build_route(const char *line)
{
    return route_pack(build_loose_route(line));
}

enum { BUILD_SEGMENTS_MAX = 64 };

/* A request and what it refers to. Borrows the line. */
struct built_request {
    struct route_request request;
    struct str segments[BUILD_SEGMENTS_MAX];
    struct str path, conditions;
};

static inline bool build_lookup(void *context, char kind, struct str name, struct str *ret_value)
{
    struct str left = ((struct built_request *)context)->conditions, word, key;

    while (build_word(&left, ' ', &word)) {
        if (word.ptr[0] != kind)
            continue;
        word = str_after(word, 2);
        build_word(&word, '=', &key);
        if (str_equal(key, name)) {
            *ret_value = word;
            return true;
        }
    }
    return false;
}

static inline bool build_header(void *context, struct str name, struct str *ret_value)
{
    return build_lookup(context, 'h', name, ret_value);
}

static inline bool build_param(void *context, struct str name, struct str *ret_value)
{
    return build_lookup(context, 'q', name, ret_value);
}

static inline bool build_canonical_path(void *context, struct str *ret_path)
{
    *ret_path = ((struct built_request *)context)->path;
    return true;
}

static inline void build_request(struct built_request *built, const char *line)
{
    struct route_request *request = &built->request;
    struct str text = str_from(line), word;

    build_word(&text, ' ', &word);
    *request = (struct route_request){.method = build_method(word), .segments = built->segments};
    build_word(&text, ' ', &word);
    request->host = str_equal(word, STR_LIT("-")) ? STR_LIT("") : word;
    build_word(&text, ' ', &word);
    assert(word.len && word.ptr[0] == '/');
    built->path = word;
    request->segment_count = build_count(word, '/');
    assert(request->segment_count <= BUILD_SEGMENTS_MAX);
    word = str_after(word, 1);
    for (size_t i = 0; i < request->segment_count; i++)
        build_word(&word, '/', &built->segments[i]);
    built->conditions = text;
    request->canonical_path = build_canonical_path;
    request->header = build_header;
    request->param = build_param;
    request->context = built;
}

#endif
