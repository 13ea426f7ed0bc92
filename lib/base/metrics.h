/*
 * metrics: writes the Prometheus text format 0.0.4. Values live where they are counted (plain
 * fields of a loop, a connection, a cache); a page is written by asking each owner in turn, so
 * counting costs one add and no lock.
 */
#ifndef LIB_BASE_METRICS_H
#define LIB_BASE_METRICS_H

#include <stdint.h>

#include "lib/base/buffer.h"
#include "lib/base/str.h"

enum metrics_type { METRICS_COUNTER, METRICS_GAUGE, METRICS_HISTOGRAM };

/* Seconds-scaled latency histogram with fixed bounds; one writer thread, readers see stale counts.
 */
enum { METRICS_BOUNDS = 20 };
extern const double metrics_bounds_s[METRICS_BOUNDS]; /* 100 us .. 60 s, upper bounds, ascending */

struct metrics_histogram {
    uint64_t counts[METRICS_BOUNDS + 1]; /* the last: above every bound */
    uint64_t sum_ns;
};

void metrics_histogram_add(struct metrics_histogram *histogram, uint64_t duration_ns);
void metrics_histogram_merge(struct metrics_histogram *into, const struct metrics_histogram *from);

/* How many were added. */
uint64_t metrics_histogram_count(const struct metrics_histogram *histogram);

/* # HELP and # TYPE: once per family, before its samples. Errors stick in the buffer's length: past
 * its limit nothing more is written and metrics_* return -ENOBUFS. */
int metrics_family(struct buffer *page, const char *name, enum metrics_type type, const char *help);
/* labels: "" or name="value" pairs already escaped, joined by commas. */
int metrics_sample(struct buffer *page, const char *name, const char *labels, double value);
int metrics_histogram_write(struct buffer *page, const char *name, const char *labels,
                            const struct metrics_histogram *histogram);
/* Appends name="value" with value escaped as the format demands; adds a comma when not first. */
int metrics_label(struct buffer *labels, const char *name, struct str value);

#endif
