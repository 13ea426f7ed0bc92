/*
 * plan: what becomes of a request: which Route takes it, to which subject, with which header block.
 * One planner per loop; its memory is that of the request in work and is used again for the next,
 * so a plan is good until the next one is made.
 */
#ifndef DATAPLANE_PLAN_H
#define DATAPLANE_PLAN_H

#include "dataplane/http/parse.h"
#include "dataplane/origin.h"
#include "lib/route/route_match.h"
#include "lib/wire/metropolis_v1.h"
#include "lib/wire/subject.h"

enum {
    PLAN_SEGMENTS_MAX = 256, /* of a path; subjects have a limit of their own */
};

struct plan {
    struct route_hit hit;
    struct str subject, block, body;
    uint64_t
        left_ms; /* until the client gets 504: the rule's timeout, unless the caller says less */
    struct str cancel;  /* for the caller to set before planner_fill; empty: none */
    uint32_t allowed;   /* with PROBLEM_BAD_METHOD: bit 1 << method */
    const char *detail; /* of a problem: static, or NULL */
};

struct planner {
    struct arena scratch; /* for the caller, too; planner_reset before each request */
    struct buffer block, params, canonical;
    struct http_field_names names; /* of headers */
    struct str segments[PLAN_SEGMENTS_MAX];
    size_t segment_count;
    char subject[SUBJECT_MAX];
    struct metropolis_v1 *translator;        /* made for the first rule that asks for it */
    uint64_t dice;                           /* state of random_weak, which weighs backends */
    uint64_t fields_dropped, match_troubles; /* counters */
};

void planner_init(struct planner *planner, uint64_t seed);
void planner_done(struct planner *planner);
void planner_reset(struct planner *planner);

/* Only ret_plan->hit, or why there is none. table may be NULL: not loaded yet. */
enum problem planner_match(struct planner *planner, const struct route_table *table,
                           const struct http_request *request, struct str host,
                           struct plan *ret_plan);
/* The same for a request that was matched before, by a table that may have gone; its Route has not.
 */
enum problem planner_recall(struct planner *planner, const struct http_request *request,
                            const struct route_hit *hit, struct plan *ret_plan);
/* The rest of a plan that was matched. now_ms: Unix time. */
enum problem planner_fill(struct planner *planner, const struct http_request *request,
                          const struct origin *origin, int64_t now_ms, struct plan *plan);

/* "GET, HEAD" of a set of methods, from scratch or static. */
struct str planner_allow(struct planner *planner, uint32_t methods);

#endif
