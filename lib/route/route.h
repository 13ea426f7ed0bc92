/*
 * route: one Route, compiled: the internal model between every source of Routes (Kubernetes, files)
 * and whatever serves them. It is pure data; it knows nothing of where it came from, how requests
 * arrive or how they are sent on. A "target" is what a backend's template makes of a request.
 *
 * A struct route is immutable after it was built and lives in one arena, or block, of its own. It
 * is reference-counted without atomics: one thread (the builder of tables) counts; other threads
 * read it only while a table that they hold keeps it alive.
 *
 * All strings belong to the route, are valid as long as it is, and end in NUL.
 */
#ifndef LIB_ROUTE_ROUTE_H
#define LIB_ROUTE_ROUTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/arena.h"
#include "lib/base/str.h"

/* Limits, the same as in the CRD. A request may have more segments than a pattern. */
enum {
    ROUTE_HOSTNAMES_MAX = 16,
    ROUTE_RULES_MAX = 16,
    ROUTE_MATCHES_MAX = 8, /* of one rule */
    ROUTE_BACKENDS_MAX = 8,
    ROUTE_CONDITIONS_MAX = 8, /* headers, and as many query parameters, of one match */
    ROUTE_SEGMENTS_MAX = 32,  /* of one pattern */
    ROUTE_PATH_MAX = 1024,    /* bytes of a path value */
    ROUTE_TARGET_MAX = 256,   /* bytes of a target template */
    ROUTE_WEIGHT_MAX = 1000000,
    ROUTE_TIMEOUT_DEFAULT_MS = 30000,
    ROUTE_TIMEOUT_MAX_MS = 3600000,
    ROUTE_RETRY_ATTEMPTS_DEFAULT = 2,
    ROUTE_RETRY_ATTEMPTS_MAX = 10,
    ROUTE_RETRY_BACKOFF_DEFAULT_MS = 100,
    ROUTE_RETRY_BACKOFF_MAX_MS = 60000,
    ROUTE_IN_FLIGHT_MAX = 1000000,
    ROUTE_SOURCE_MAX = 256 * 1024, /* bytes of a Route's encoded source */
};

/* The request methods that can be routed (RFC 9110 9, RFC 5789). ANY only in a match. */
enum route_method {
    ROUTE_METHOD_ANY,
    ROUTE_METHOD_GET,
    ROUTE_METHOD_HEAD,
    ROUTE_METHOD_POST,
    ROUTE_METHOD_PUT,
    ROUTE_METHOD_PATCH,
    ROUTE_METHOD_DELETE,
    ROUTE_METHOD_OPTIONS,
    ROUTE_METHOD_TRACE,
    ROUTE_METHOD_COUNT,
};

/* "GET" etc; empty for ANY. Static. */
struct str route_method_name(enum route_method method);
/* Case-sensitive, as methods are: the method, or -EINVAL (ANY is never returned). */
int route_method_parse(struct str name);

enum route_path_type { ROUTE_PATH_EXACT, ROUTE_PATH_PREFIX, ROUTE_PATH_TEMPLATE, ROUTE_PATH_REGEX };

enum route_segment_kind {
    ROUTE_SEGMENT_LITERAL, /* text: the decoded segment, maybe empty */
    ROUTE_SEGMENT_PARAM,   /* text: its name; exactly one segment, maybe empty */
    ROUTE_SEGMENT_REST,    /* text: its name; last only; one or more segments */
};

struct route_segment {
    enum route_segment_kind kind;
    struct str text;
};

/* name: headers in lower case; query parameters as written. Equal to value, byte for byte. */
struct route_condition {
    struct str name, value;
};

enum route_part_kind {
    ROUTE_PART_LITERAL, /* text: bytes to copy, dots between its tokens included */
    ROUTE_PART_SEGMENT, /* first: the request's segment that becomes one token */
    ROUTE_PART_REST,    /* first: it and all that follow, a token each */
    ROUTE_PART_METHOD,
};

struct route_part {
    enum route_part_kind kind;
    uint16_t first;
    struct str text;
};

/* Parts are joined by one dot each. */
struct route_target {
    const struct route_part *parts;
    size_t part_count;
};

/* Counts are as wide as the limits above need: there may be 100,000 Routes. */
struct route_match {
    uint8_t path_type; /* enum route_path_type */
    uint8_t method;    /* enum route_method */
    uint8_t segment_count, header_count, param_count;
    struct str path;                       /* as in the source; for REGEX the pattern */
    const struct route_segment *segments;  /* none for REGEX; a PREFIX has no empty last one */
    const struct route_condition *headers; /* sorted by name */
    const struct route_condition *params;  /* query parameters, sorted by name */
    const struct route_target *targets;    /* one per backend of the rule, in their order */
    void *regex;                           /* pcre2_code * of REGEX; freed with the route */
};

struct route_backend {
    struct str subject; /* the template as in the source; empty: derived */
    uint32_t weight;
};

/* How what crosses to and from the backends is written. */
enum route_codec { ROUTE_CODEC_DEFAULT, ROUTE_CODEC_METROPOLIS_V1 };

struct route_rule {
    struct str name;
    const struct route_match *matches;    /* at least one */
    const struct route_backend *backends; /* at least one */
    uint8_t match_count, backend_count;
    uint32_t weight_total;
    uint32_t timeout_ms;
    uint32_t retry_attempts, retry_backoff_ms; /* after the first; 0: none */
    uint32_t in_flight_max;                    /* requests of one server; 0: no limit */
    uint16_t index;                            /* among its Route's rules */
    uint8_t codec;                             /* enum route_codec */
    bool cancel;       /* a worker is told when nobody waits for its reply any more */
    bool shows_errors; /* the texts of workers' errors reach whoever asked */
};

struct route {
    struct str label; /* "namespace/name" */
    struct str uid, gateway;
    int64_t generation;
    int64_t created_s;              /* Unix time of creation */
    const struct str *hostnames;    /* lower case, maybe with a leading "*."; none: any host */
    const struct route_rule *rules; /* at least one */
    uint8_t hostname_count, rule_count;
    /* Where the owner of tables keeps what it knows of this Route, e.g. an index of counters. */
    uint32_t slot;
    uint32_t references;
    struct arena *arena; /* holds what the above points to; NULL: it was packed */
};

/* A route with an empty arena and one reference, to be filled by its builder; NULL: no memory. */
struct route *route_new(void);
/* For a builder: label and uid. 0, -ENOMEM. */
int route_identify(struct route *route, struct str namespace_name, struct str name, struct str uid);
/* Borrows the label. */
struct str route_namespace(const struct route *route);
/*
 * For a builder that is done: the same Route in one block of just the size that it takes, half of
 * what the arena's chunks take; worth it where Routes are many. Takes over the only reference and
 * returns one; without memory, the route as it was. Strings need not have been in its arena.
 */
struct route *route_pack(struct route *route);
struct route *route_ref(struct route *route);
/* Frees it, compiled patterns too, at the last reference. NULL is fine. */
void route_unref(struct route *route);

/* Which of two Routes wins a tie: the older, then namespace/name in byte order. <0: a wins. */
int route_compare_age(const struct route *a, const struct route *b);

#endif
