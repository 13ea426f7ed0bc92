/*
 * naive: the matcher that docs/ROUTE.md describes, written down as it reads: look at every match of
 * every Route, keep those that hold, take the best. Slow and obviously right; the table must give
 * the same answers. It shares no code with lib/route.
 */
#ifndef TESTS_UNIT_ROUTE_NAIVE_H
#define TESTS_UNIT_ROUTE_NAIVE_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "lib/route/route_match.h"

struct naive_candidate {
    const struct route *route;
    const struct route_rule *rule;
    const struct route_match *match;
    struct str hostname; /* empty: any */
};

/* 0: does not cover the host; else the larger the more specific. */
static inline size_t naive_hostname_rank(struct str hostname, struct str host)
{
    if (hostname.len == 0)
        return 1;
    if (hostname.ptr[0] != '*')
        return str_equal(hostname, host) ? 1000000 : 0;
    if (host.len < hostname.len) /* at least one byte for the "*" */
        return 0;
    if (memcmp(host.ptr + host.len - (hostname.len - 1), hostname.ptr + 1, hostname.len - 1) != 0)
        return 0;
    return 1 + hostname.len;
}

static inline bool naive_segments_hold(const struct route_match *match,
                                       const struct route_request *request)
{
    size_t i;

    for (i = 0; i < match->segment_count; i++) {
        if (i == request->segment_count)
            return false;
        if (match->segments[i].kind == ROUTE_SEGMENT_REST)
            return true;
        if (match->segments[i].kind == ROUTE_SEGMENT_LITERAL &&
            !str_equal(match->segments[i].text, request->segments[i]))
            return false;
    }
    return match->path_type == ROUTE_PATH_PREFIX || i == request->segment_count;
}

static inline bool naive_path_holds(const struct route_match *match,
                                    const struct route_request *request)
{
    pcre2_match_data *data;
    struct str path;
    int rc;

    if (match->path_type != ROUTE_PATH_REGEX)
        return naive_segments_hold(match, request);
    if (!request->canonical_path(request->context, &path))
        return false;
    data = pcre2_match_data_create(1, NULL);
    rc = pcre2_match(match->regex, (PCRE2_SPTR)path.ptr, path.len, 0, 0, data, NULL);
    pcre2_match_data_free(data);
    return rc >= 0;
}

static inline bool naive_conditions_hold(const struct route_match *match,
                                         const struct route_request *request)
{
    struct str value;

    for (size_t i = 0; i < match->header_count; i++)
        if (!request->header(request->context, match->headers[i].name, &value) ||
            !str_equal(value, match->headers[i].value))
            return false;
    for (size_t i = 0; i < match->param_count; i++)
        if (!request->param(request->context, match->params[i].name, &value) ||
            !str_equal(value, match->params[i].value))
            return false;
    return true;
}

static inline bool naive_method_holds(enum route_method method, enum route_method asked)
{
    if (method == ROUTE_METHOD_ANY || method == asked)
        return true;
    return asked == ROUTE_METHOD_HEAD && method == ROUTE_METHOD_GET;
}

/* Positive: a is better, as a number of something is larger. */
static inline int naive_more(size_t a, size_t b)
{
    return a > b ? 1 : a < b ? -1 : 0;
}

/* Exact, or a Template without placeholders; RegularExpression; Template and Prefix. */
static inline size_t naive_class(const struct route_match *match)
{
    if (match->path_type == ROUTE_PATH_REGEX)
        return 1;
    if (match->path_type == ROUTE_PATH_PREFIX)
        return 0;
    for (size_t i = 0; i < match->segment_count; i++)
        if (match->segments[i].kind != ROUTE_SEGMENT_LITERAL)
            return 0;
    return 2;
}

/* {rest...} is no segment here: it is what follows them. */
static inline size_t naive_segment_count(const struct route_match *match)
{
    size_t count = 0;

    for (size_t i = 0; i < match->segment_count; i++)
        count += match->segments[i].kind != ROUTE_SEGMENT_REST;
    return count;
}

/* Template over {rest...} over Prefix. */
static inline size_t naive_ending(const struct route_match *match)
{
    if (match->path_type == ROUTE_PATH_PREFIX)
        return 0;
    return naive_segment_count(match) == match->segment_count ? 2 : 1;
}

static inline int naive_compare_paths(const struct route_match *a, const struct route_match *b)
{
    int order = naive_more(naive_class(a), naive_class(b));

    if (order || naive_class(a) == 2)
        return order;
    if (a->path_type == ROUTE_PATH_REGEX)
        return naive_more(a->path.len, b->path.len);
    order = naive_more(naive_segment_count(a), naive_segment_count(b));
    for (size_t i = 0; order == 0 && i < naive_segment_count(a); i++)
        order = naive_more(a->segments[i].kind == ROUTE_SEGMENT_LITERAL,
                           b->segments[i].kind == ROUTE_SEGMENT_LITERAL);
    return order ? order : naive_more(naive_ending(a), naive_ending(b));
}

/* Which of two candidates that hold serves the request; positive: a. */
static inline int naive_compare(const struct naive_candidate *a, const struct naive_candidate *b,
                                const struct route_request *request)
{
    int order = naive_more(naive_hostname_rank(a->hostname, request->host),
                           naive_hostname_rank(b->hostname, request->host));

    if (order == 0)
        order = naive_compare_paths(a->match, b->match);
    if (order == 0 && request->method == ROUTE_METHOD_HEAD)
        order = naive_more(a->match->method == ROUTE_METHOD_HEAD,
                           b->match->method == ROUTE_METHOD_HEAD);
    if (order == 0)
        order =
            naive_more(a->match->method != ROUTE_METHOD_ANY, b->match->method != ROUTE_METHOD_ANY);
    if (order == 0)
        order = naive_more(a->match->header_count, b->match->header_count);
    if (order == 0)
        order = naive_more(a->match->param_count, b->match->param_count);
    if (order == 0 && a->route->created_s != b->route->created_s)
        order = a->route->created_s < b->route->created_s ? 1 : -1;
    if (order == 0)
        order = -str_compare(a->route->label, b->route->label);
    if (order == 0)
        order = naive_more(b->rule->index, a->rule->index);
    if (order == 0) /* then both are of one rule */
        order = naive_more((size_t)(b->match - b->rule->matches),
                           (size_t)(a->match - a->rule->matches));
    return order;
}

struct naive_answer {
    struct naive_candidate best; /* route NULL: none */
    uint32_t allowed;
};

static inline void naive_look(const struct naive_candidate *candidate,
                              const struct route_request *request, struct naive_answer *answer)
{
    const struct route_match *match = candidate->match;

    if (!naive_hostname_rank(candidate->hostname, request->host) ||
        !naive_path_holds(match, request) || !naive_conditions_hold(match, request))
        return;
    if (!naive_method_holds(match->method, request->method)) {
        answer->allowed |= 1u << match->method;
        if (match->method == ROUTE_METHOD_GET)
            answer->allowed |= 1u << ROUTE_METHOD_HEAD;
        return;
    }
    if (!answer->best.route || naive_compare(candidate, &answer->best, request) > 0)
        answer->best = *candidate;
}

/* routes may hold NULLs. */
static inline enum route_outcome naive_match(struct route *const *routes, size_t count,
                                             const struct route_request *request,
                                             struct route_hit *ret_hit)
{
    struct naive_answer answer = {0};
    struct naive_candidate candidate;

    for (size_t i = 0; i < count; i++) {
        candidate.route = routes[i];
        for (size_t j = 0; candidate.route && j < candidate.route->rule_count; j++) {
            candidate.rule = &candidate.route->rules[j];
            for (size_t k = 0; k < candidate.rule->match_count; k++) {
                candidate.match = &candidate.rule->matches[k];
                candidate.hostname = STR_LIT("");
                if (candidate.route->hostname_count == 0)
                    naive_look(&candidate, request, &answer);
                for (size_t h = 0; h < candidate.route->hostname_count; h++) {
                    candidate.hostname = candidate.route->hostnames[h];
                    naive_look(&candidate, request, &answer);
                }
            }
        }
    }
    *ret_hit = (struct route_hit){0};
    if (!answer.best.route) {
        ret_hit->allowed = answer.allowed;
        return answer.allowed ? ROUTE_METHOD_NOT_ALLOWED : ROUTE_NOT_FOUND;
    }
    ret_hit->route = answer.best.route;
    ret_hit->rule = answer.best.rule;
    ret_hit->match = answer.best.match;
    ret_hit->method =
        request->method == ROUTE_METHOD_HEAD && answer.best.match->method != ROUTE_METHOD_HEAD
            ? ROUTE_METHOD_GET
            : request->method;
    return ROUTE_FOUND;
}

#endif
