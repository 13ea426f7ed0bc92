/*
 * route_metrics: what is counted per Route, when --route-metrics asks for it. A loop has one set
 * and counts in it; the page is made of copies. A Route's slot (lib/route/route.h) is its place, so
 * that counting costs no search, and how many Routes are counted has a bound.
 */
#ifndef DATAPLANE_ROUTE_METRICS_H
#define DATAPLANE_ROUTE_METRICS_H

#include "lib/base/metrics.h"
#include "lib/route/route.h"

struct route_series;

struct route_metrics {
    struct route_series *series; /* max of them */
    size_t max;                  /* 0: nothing is counted */
    uint64_t uncounted;          /* requests of Routes beyond */
};

/* -ENOMEM. */
int route_metrics_init(struct route_metrics *metrics, size_t max);
void route_metrics_done(struct route_metrics *metrics);

void route_metrics_count(struct route_metrics *metrics, const struct route *route, unsigned status,
                         uint64_t duration_ns);
/* Both have the same max. */
void route_metrics_copy(struct route_metrics *to, const struct route_metrics *from);
/* Adds what is counted to sum, by the Routes' names: no name may stand on a page twice, and loops
 * may know different Routes by the same slot. What sum has no room for is uncounted. */
void route_metrics_merge(struct route_metrics *sum, const struct route_metrics *from);
/* The families, of a sum. 0, or as buffers fail. */
int route_metrics_write(const struct route_metrics *sum, struct buffer *page);

#endif
