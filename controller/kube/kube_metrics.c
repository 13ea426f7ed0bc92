/*
 * kube_metrics: one table of single figures; what has labels of its own or is a histogram is
 * written by hand. Dashboards and alerts made for other controllers find what they look for:
 *
 *      reconcile     a Route that was new, changed or deleted, taken through the pipeline; an error
 *                    is one that could not be read
 *      workqueue     statuses on their way to the API server; adds are those that differ from what
 *                    is stored
 */
#include "controller/kube/kube_metrics.h"

#include <stdio.h>
#include <string.h>

#include "lib/base/metrics.h"

#define ROUTE "controller=\"route\""
#define QUEUE "name=\"route-status\"," ROUTE

struct figure {
    const char *name, *labels;
    enum metrics_type type;
    const char *help; /* NULL: another sample of the family before */
    uint64_t value;
};

static int write_figures(struct buffer *page, const struct figure *figures, size_t count)
{
    int error = 0;

    for (size_t i = 0; i < count && !error; i++) {
        const struct figure *figure = &figures[i];

        if (figure->help)
            error = metrics_family(page, figure->name, figure->type, figure->help);
        if (!error)
            error = metrics_sample(page, figure->name, figure->labels, (double)figure->value);
    }
    return error;
}

/* "host:port" of the API server. */
static struct str host_of(const struct kube_config *config)
{
    const char *host = strstr(config->server, "://");

    host = host ? host + 3 : config->server;
    return str_make(host, strcspn(host, "/"));
}

static int write_requests(const struct kube_metrics_sources *sources, struct buffer *page)
{
    static const char name[] = "rest_client_requests_total";
    size_t count;
    const struct kube_request_count *counts = kube_client_counts(sources->client, &count);
    int error = metrics_family(page, name, METRICS_COUNTER,
                               "Answers of the API server by status; <error>: none came.");

    for (size_t i = 0; i < count && !error; i++) {
        struct buffer labels;
        char code[16] = "<error>";

        if (counts[i].status)
            snprintf(code, sizeof(code), "%d", counts[i].status);
        buffer_init(&labels, 1024);
        error = metrics_label(&labels, "code", str_from(code));
        if (!error)
            error = metrics_label(&labels, "method", str_from(counts[i].method));
        if (!error)
            error = metrics_label(&labels, "host", host_of(sources->config));
        if (!error)
            error = buffer_append_byte(&labels, '\0');
        if (!error)
            error = metrics_sample(page, name, buffer_view(&labels).ptr, (double)counts[i].count);
        buffer_done(&labels);
    }
    return error;
}

static int write_reconciles(const struct kube_metrics_sources *sources, struct buffer *page)
{
    static const char name[] = "controller_runtime_reconcile_time_seconds";
    const struct metrics_histogram *times = kube_routes_times(sources->routes);
    struct kube_watch_counters watch;
    int error;

    kube_routes_count(sources->routes, &watch);

    const struct figure figures[] = {
        {"metropolis_kube_routes", "", METRICS_GAUGE, "Routes that are there.", watch.items},
        {"metropolis_kube_route_events_total", "", METRICS_COUNTER,
         "Events of the watch of Routes.", watch.events},
        {"metropolis_kube_route_lists_total", "", METRICS_COUNTER, "Lists of Routes.", watch.lists},
        {"metropolis_kube_route_watch_failures_total", "", METRICS_COUNTER,
         "Lists and watches of Routes that failed.", watch.failures},
        {"controller_runtime_reconcile_total", ROUTE ",result=\"success\"", METRICS_COUNTER,
         "Routes that were new, changed or deleted, by whether they could be read.",
         metrics_histogram_count(times)},
        {"controller_runtime_reconcile_total", ROUTE ",result=\"error\"", METRICS_COUNTER, NULL,
         watch.skipped},
    };

    error = write_figures(page, figures, sizeof(figures) / sizeof(*figures));
    if (!error)
        error = metrics_family(page, name, METRICS_HISTOGRAM,
                               "Time to compile one Route and to hand on what changed.");
    return error ? error : metrics_histogram_write(page, name, ROUTE, times);
}

static int write_statuses(const struct kube_metrics_sources *sources, struct buffer *page)
{
    static const char name[] = "workqueue_queue_duration_seconds";
    struct kube_notices_counters notices = kube_notices_count(sources->notices);
    struct kube_status_counters status;
    int error;

    kube_status_count(sources->status, &status);

    const struct figure figures[] = {
        {"workqueue_depth", QUEUE, METRICS_GAUGE, "Statuses still to be written.", status.waiting},
        {"workqueue_adds_total", QUEUE, METRICS_COUNTER, "Statuses that were to be written.",
         status.added},
        {"workqueue_retries_total", QUEUE, METRICS_COUNTER, "Statuses written again.",
         status.retried},
        {"metropolis_kube_status_written_total", "", METRICS_COUNTER, "Statuses written.",
         status.written},
        {"metropolis_kube_status_unchanged_total", "", METRICS_COUNTER,
         "Statuses that were stored already.", status.unchanged},
        {"metropolis_kube_status_dropped_total", "", METRICS_COUNTER,
         "Statuses of Routes that are gone, or that the API server refuses for good.",
         status.dropped},
        {"metropolis_kube_events_written_total", "", METRICS_COUNTER,
         "Events about Routes written.", notices.written},
        {"metropolis_kube_events_dropped_total", "", METRICS_COUNTER,
         "Events about Routes over the limit of their rate, or refused.", notices.dropped},
    };

    error = write_figures(page, figures, sizeof(figures) / sizeof(*figures));
    if (!error)
        error = metrics_family(page, name, METRICS_HISTOGRAM,
                               "From the first change of a status to its being stored.");
    return error ? error
                 : metrics_histogram_write(page, name, QUEUE, kube_status_times(sources->status));
}

static int write_leader(const struct kube_lease *lease, struct buffer *page)
{
    static const char name[] = "leader_election_master_status";
    char labels[KUBE_NAME_MAX + 16];
    int error = metrics_family(page, name, METRICS_GAUGE, "1: this controller leads; 0: another.");

    snprintf(labels, sizeof(labels), "name=\"%s\"", kube_lease_name(lease));
    return error ? error : metrics_sample(page, name, labels, kube_lease_held(lease));
}

int kube_metrics_write(const struct kube_metrics_sources *sources, struct buffer *page)
{
    int error = write_requests(sources, page);

    if (!error)
        error = write_statuses(sources, page);
    if (!error && sources->lease)
        error = write_leader(sources->lease, page);
    return error || !sources->routes ? error : write_reconciles(sources, page);
}
