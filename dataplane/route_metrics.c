/*
 * route_metrics: see route_metrics.h. A series belongs to a name, not to a Route: a Route that is
 * changed goes on counting; one that takes over a slot begins at zero, under its own name.
 */
#include "dataplane/route_metrics.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/digest.h"

enum {
    LABEL_MAX = 63 + 1 + 253,
    LABELS_MAX = LABEL_MAX + 64, /* of a sample */
    CLASSES = 4,                 /* 2xx to 5xx */
};

struct route_series {
    uint16_t label_len; /* 0: free */
    char label[LABEL_MAX];
    uint64_t classes[CLASSES];
    struct metrics_histogram duration;
};

int route_metrics_init(struct route_metrics *metrics, size_t max)
{
    *metrics = (struct route_metrics){.max = max};
    if (max == 0)
        return 0;
    metrics->series = calloc(max, sizeof(*metrics->series));
    return metrics->series ? 0 : -ENOMEM;
}

void route_metrics_done(struct route_metrics *metrics)
{
    free(metrics->series);
    *metrics = (struct route_metrics){0};
}

static struct str label_of(const struct route_series *series)
{
    return str_make(series->label, series->label_len);
}

static void begin(struct route_series *series, struct str label)
{
    *series = (struct route_series){.label_len = (uint16_t)label.len};
    memcpy(series->label, label.ptr, label.len);
}

void route_metrics_count(struct route_metrics *metrics, const struct route *route, unsigned status,
                         uint64_t duration_ns)
{
    struct route_series *series;

    if (route->slot >= metrics->max || route->label.len > LABEL_MAX) {
        metrics->uncounted += metrics->max > 0;
        return;
    }
    series = &metrics->series[route->slot];
    if (!str_equal(label_of(series), route->label))
        begin(series, route->label);
    series->classes[status / 100 - 2]++;
    metrics_histogram_add(&series->duration, duration_ns);
}

void route_metrics_copy(struct route_metrics *to, const struct route_metrics *from)
{
    if (from->max)
        memcpy(to->series, from->series, from->max * sizeof(*from->series));
    to->uncounted = from->uncounted;
}

/* The series of that name, or a free one that gets it; NULL: there is no room. By hash, not by
 * slot: loops may disagree on slots. */
static struct route_series *find(struct route_metrics *sum, struct str label)
{
    size_t start = sum->max ? digest_bytes(digest_empty, label.ptr, label.len) % sum->max : 0;

    for (size_t i = 0; i < sum->max; i++) {
        struct route_series *series = &sum->series[(start + i) % sum->max];

        if (!series->label_len)
            begin(series, label);
        if (str_equal(label_of(series), label))
            return series;
    }
    return NULL;
}

static uint64_t total(const struct route_series *series)
{
    uint64_t count = 0;

    for (size_t i = 0; i < CLASSES; i++)
        count += series->classes[i];
    return count;
}

void route_metrics_merge(struct route_metrics *sum, const struct route_metrics *from)
{
    sum->uncounted += from->uncounted;
    for (size_t i = 0; i < from->max; i++) {
        const struct route_series *one = &from->series[i];
        struct route_series *all = one->label_len ? find(sum, label_of(one)) : NULL;

        if (!all) {
            sum->uncounted += total(one);
            continue;
        }
        for (size_t j = 0; j < CLASSES; j++)
            all->classes[j] += one->classes[j];
        metrics_histogram_merge(&all->duration, &one->duration);
    }
}

/* ---- the page ---- */

/* namespace="shop",route="orders": names of Kubernetes, nothing to escape; the namespace has no
 * "/". */
static void write_labels(const struct route_series *series, char *text, size_t size)
{
    int dash = (int)((const char *)memchr(series->label, '/', series->label_len) - series->label);

    snprintf(text, size, "namespace=\"%.*s\",route=\"%.*s\"", dash, series->label,
             series->label_len - dash - 1, series->label + dash + 1);
}

static int write_classes(const struct route_series *series, const char *labels, struct buffer *page)
{
    char with_class[LABELS_MAX + 32];
    int code = 0;

    for (unsigned i = 0; i < CLASSES && !code; i++) {
        if (!series->classes[i])
            continue;
        snprintf(with_class, sizeof(with_class), "%s,status=\"%uxx\"", labels, i + 2);
        code = metrics_sample(page, "metropolis_route_requests_total", with_class,
                              (double)series->classes[i]);
    }
    return code;
}

static int write_family(const struct route_metrics *sum, bool durations, struct buffer *page)
{
    char labels[LABELS_MAX];
    int code = 0;

    for (size_t i = 0; i < sum->max && !code; i++) {
        const struct route_series *series = &sum->series[i];

        if (!series->label_len)
            continue;
        write_labels(series, labels, sizeof(labels));
        code = durations ? metrics_histogram_write(page, "metropolis_route_duration_seconds",
                                                   labels, &series->duration)
                         : write_classes(series, labels, page);
    }
    return code;
}

int route_metrics_write(const struct route_metrics *sum, struct buffer *page)
{
    int code = metrics_family(page, "metropolis_route_requests_total", METRICS_COUNTER,
                              "Requests answered, by Route and class of status.");

    if (!code)
        code = write_family(sum, false, page);
    if (!code)
        code = metrics_family(page, "metropolis_route_duration_seconds", METRICS_HISTOGRAM,
                              "From a request's last byte to its answer, by Route.");
    if (!code)
        code = write_family(sum, true, page);
    if (!code)
        code = metrics_family(page, "metropolis_route_uncounted_total", METRICS_COUNTER,
                              "Requests of Routes beyond --route-metrics.");
    return code ? code
                : metrics_sample(page, "metropolis_route_uncounted_total", "",
                                 (double)sum->uncounted);
}
