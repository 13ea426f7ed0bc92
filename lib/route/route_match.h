/*
 * route_match: which rule serves a request. Precedence (docs/ROUTE.md): most specific hostname;
 * Exact; RegularExpression; then Template and Prefix by number of segments; method; number of
 * headers; number of query parameters; oldest Route; namespace/name; order in the Route. Among the
 * rules whose conditions hold, the first of that order wins; a more specific rule whose conditions
 * do not hold hides nothing.
 *
 * Cost: one hash look-up per path segment and host label, whatever the number of Routes, as long as
 * they do not overlap much. Where they do, a search gives up after about a millisecond.
 */
#ifndef LIB_ROUTE_ROUTE_MATCH_H
#define LIB_ROUTE_ROUTE_MATCH_H

#include "lib/base/arena.h"
#include "lib/route/route_table.h"

/* A request as the table sees it; all borrowed for the call. */
struct route_request {
    struct str host;            /* lower case, no port, no trailing dot */
    const struct str *segments; /* decoded path segments, at least one */
    size_t segment_count;
    enum route_method method; /* never ANY */
    /* The path, re-encoded (wire/path.h); false: no memory. Called at most once, for the first
     * regular expression. */
    bool (*canonical_path)(void *context, struct str *ret_path);
    /* The value of a header (name in lower case; repeats joined by ", ") or of the first query
     * parameter of that name, decoded; false: absent. Called only when a match asks for it. */
    bool (*header)(void *context, struct str name, struct str *ret_value);
    bool (*param)(void *context, struct str name, struct str *ret_value);
    void *context;
};

enum route_outcome {
    ROUTE_FOUND,
    ROUTE_NOT_FOUND,          /* no rule for this host and path */
    ROUTE_METHOD_NOT_ALLOWED, /* rules for them, but none for this method */
    ROUTE_GAVE_UP,            /* no memory in the scratch arena, or too much work */
};

struct route_hit {
    const struct route *route;
    const struct route_rule *rule;
    const struct route_match *match;
    enum route_method method; /* what {method} becomes: GET when a GET rule serves HEAD */
    uint32_t allowed;         /* ROUTE_METHOD_NOT_ALLOWED: bit 1 << method for the Allow header */
};

/*
 * scratch: the nodes that the walk visited go there; nothing in *ret_hit refers to it. The hit is
 * valid as long as the table. A regular expression over its limit counts as no match. That, and
 * ROUTE_GAVE_UP, set *ret_trouble (never NULL) to true.
 */
enum route_outcome route_table_match(const struct route_table *table,
                                     const struct route_request *request, struct arena *scratch,
                                     struct route_hit *ret_hit, bool *ret_trouble);

#endif
