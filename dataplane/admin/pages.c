/*
 * pages: the /metrics page. Sums over loops where loops are alike; a label where one loop's trouble
 * must not vanish in a sum. Series per Route only when asked. On main's thread.
 */
#include <errno.h>
#include <stdlib.h>

#include "dataplane/admin/admin.h"
#include "lib/base/process.h"

enum { SNAPSHOT_TIMEOUT_MS = 250 };

static void add_up(struct loop_snapshot *sum, const struct loop_snapshot *one)
{
    const uint64_t *from = (const uint64_t *)&one->http;
    uint64_t *into = (uint64_t *)&sum->http;

    for (size_t i = 0; i < sizeof(sum->http) / sizeof(uint64_t); i++)
        into[i] += from[i];
    from = (const uint64_t *)&one->nats;
    into = (uint64_t *)&sum->nats;
    for (size_t i = 0; i < sizeof(sum->nats) / sizeof(uint64_t); i++)
        into[i] += from[i];
    for (size_t i = 0; i < sizeof(sum->exchanges.statuses) / sizeof(uint64_t); i++)
        sum->exchanges.statuses[i] += one->exchanges.statuses[i];
    for (size_t i = 0; i < PROBLEM_COUNT; i++)
        sum->exchanges.problems[i] += one->exchanges.problems[i];
    sum->exchanges.in_flight += one->exchanges.in_flight;
    sum->exchanges.echoes += one->exchanges.echoes;
    sum->exchanges.request_fields_dropped += one->exchanges.request_fields_dropped;
    sum->exchanges.reply_fields_dropped += one->exchanges.reply_fields_dropped;
    sum->exchanges.match_troubles += one->exchanges.match_troubles;
    sum->exchanges.retries += one->exchanges.retries;
    metrics_histogram_merge(&sum->exchanges.duration, &one->exchanges.duration);
    sum->open += one->open;
    sum->buffered += one->buffered;
    sum->unsent += one->unsent;
    sum->access_log_lost += one->access_log_lost;
}

static int write_requests(const struct exchange_counters *counters, struct buffer *page)
{
    char labels[64];
    int code = metrics_family(page, "metropolis_requests_total", METRICS_COUNTER,
                              "Requests answered, by status.");

    for (unsigned status = 200; !code && status < 600; status++) {
        if (!counters->statuses[status])
            continue;
        snprintf(labels, sizeof(labels), "status=\"%u\"", status);
        code = metrics_sample(page, "metropolis_requests_total", labels,
                              (double)counters->statuses[status]);
    }
    if (!code)
        code = metrics_family(page, "metropolis_problems_total", METRICS_COUNTER,
                              "Requests that the gateway itself answered, by reason.");
    for (enum problem problem = PROBLEM_NONE + 1; !code && problem < PROBLEM_COUNT; problem++) {
        snprintf(labels, sizeof(labels), "reason=\"%s\"", problem_describe(problem)->reason);
        code = metrics_sample(page, "metropolis_problems_total", labels,
                              (double)counters->problems[problem]);
    }
    if (!code)
        code = metrics_family(page, "metropolis_request_duration_seconds", METRICS_HISTOGRAM,
                              "From a request's last byte to its answer.");
    return code ? code
                : metrics_histogram_write(page, "metropolis_request_duration_seconds", "",
                                          &counters->duration);
}

static int write_sums(const struct loop_snapshot *sum, struct buffer *page)
{
    const struct {
        const char *name, *labels;
        enum metrics_type type;
        uint64_t value;
        const char *help; /* NULL: another sample of the family before */
    } samples[] = {
        {"metropolis_requests_in_flight", "", METRICS_GAUGE, sum->exchanges.in_flight,
         "Requests without an answer yet."},
        {"metropolis_echo_replies_total", "", METRICS_COUNTER, sum->exchanges.echoes,
         "Replies that carried the request's headers back."},
        {"metropolis_request_fields_dropped_total", "", METRICS_COUNTER,
         sum->exchanges.request_fields_dropped, "Request headers whose names cannot cross."},
        {"metropolis_reply_fields_dropped_total", "", METRICS_COUNTER,
         sum->exchanges.reply_fields_dropped, "Reply headers that may not cross."},
        {"metropolis_match_troubles_total", "", METRICS_COUNTER, sum->exchanges.match_troubles,
         "Requests for which a regular expression, or matching as a whole, exceeded its limit."},
        {"metropolis_retries_total", "", METRICS_COUNTER, sum->exchanges.retries,
         "Requests sent again after \"no responders\"."},
        {"metropolis_http_connections", "", METRICS_GAUGE, sum->open, "Client connections."},
        {"metropolis_http_connections_total", "", METRICS_COUNTER, sum->http.accepted,
         "Client connections accepted."},
        {"metropolis_http_connections_refused_total", "", METRICS_COUNTER, sum->http.refused,
         "Client connections at a limit, of which nothing was read."},
        {"metropolis_http_clients_vanished_total", "", METRICS_COUNTER, sum->http.vanished,
         "Clients that went with an answer under way."},
        {"metropolis_http_clients_cut_total", "", METRICS_COUNTER, sum->http.cut,
         "Clients that were too slow to take their answer."},
        {"metropolis_http_timeouts_total", "phase=\"idle\"", METRICS_COUNTER,
         sum->http.timeouts_idle, "Client connections closed for being too slow."},
        {"metropolis_http_timeouts_total", "phase=\"head\"", METRICS_COUNTER,
         sum->http.timeouts_head, NULL},
        {"metropolis_http_timeouts_total", "phase=\"body\"", METRICS_COUNTER,
         sum->http.timeouts_body, NULL},
        {"metropolis_http_timeouts_total", "phase=\"write\"", METRICS_COUNTER,
         sum->http.timeouts_write, NULL},
        {"metropolis_http_received_bytes_total", "", METRICS_COUNTER, sum->http.bytes_in,
         "From clients."},
        {"metropolis_http_sent_bytes_total", "", METRICS_COUNTER, sum->http.bytes_out,
         "To clients."},
        {"metropolis_http_buffered_bytes", "", METRICS_GAUGE, sum->buffered,
         "Of requests being received or answered."},
        {"metropolis_http_unsent_bytes", "", METRICS_GAUGE, sum->unsent,
         "Of answers that clients are slow to take."},
        {"metropolis_access_log_lost_total", "", METRICS_COUNTER, sum->access_log_lost,
         "Lines of the access log that nobody took."},
        {"metropolis_nats_requests_total", "", METRICS_COUNTER, sum->nats.sent,
         "Requests published."},
        {"metropolis_nats_replies_total", "", METRICS_COUNTER, sum->nats.replies, "Replies taken."},
        {"metropolis_nats_late_replies_total", "", METRICS_COUNTER, sum->nats.late,
         "Replies that nobody waited for any more, or that were never asked for."},
        {"metropolis_nats_cancels_total", "", METRICS_COUNTER, sum->nats.cancels,
         "Workers told that nobody waits for their reply any more."},
        {"metropolis_nats_connects_total", "", METRICS_COUNTER, sum->nats.connects,
         "Connections made."},
        {"metropolis_nats_disconnects_total", "", METRICS_COUNTER, sum->nats.disconnects,
         "Connections lost."},
        {"metropolis_nats_denied_total", "", METRICS_COUNTER, sum->nats.denied,
         "Publishes that the server refused by permission."},
        {"metropolis_nats_pending_bytes", "", METRICS_GAUGE, sum->nats.pending_bytes,
         "Waiting for the socket."},
        {"metropolis_nats_connections", "", METRICS_GAUGE, sum->nats.connections,
         "Connections that requests go over, spare ones included."},
        {"metropolis_nats_reserved_bytes", "", METRICS_GAUGE, sum->nats.reserved_bytes,
         "Expected of the replies to all requests in flight."},
        {"metropolis_nats_received_bytes_total", "", METRICS_COUNTER, sum->nats.bytes_in,
         "From NATS."},
        {"metropolis_nats_sent_bytes_total", "", METRICS_COUNTER, sum->nats.bytes_out, "To NATS."},
    };
    int code = 0;

    for (size_t i = 0; !code && i < sizeof(samples) / sizeof(*samples); i++) {
        if (samples[i].help)
            code = metrics_family(page, samples[i].name, samples[i].type, samples[i].help);
        if (!code)
            code =
                metrics_sample(page, samples[i].name, samples[i].labels, (double)samples[i].value);
    }
    return code;
}

/* After the snapshots. Room for twice as many, as loops may not agree on which Routes there are. */
static int write_routes(const struct admin_sources *sources, struct buffer *page)
{
    struct route_metrics sum;
    int code;

    if (!sources->settings->route_metrics)
        return 0;
    code = route_metrics_init(&sum, 2 * sources->settings->route_metrics);
    for (size_t i = 0; !code && i < sources->loop_count; i++)
        loop_merge_routes(sources->loops[i], &sum);
    if (!code)
        code = route_metrics_write(&sum, page);
    route_metrics_done(&sum);
    return code;
}

int admin_write_metrics(const struct admin_sources *sources, struct loop_snapshot *room,
                        struct buffer *page)
{
    struct loop_snapshot *sum = calloc(1, sizeof(*sum));
    struct buffer connected, revisions;
    char labels[32];
    int code;

    if (!sum)
        return -ENOMEM;
    buffer_init(&connected, 64 * 1024);
    buffer_init(&revisions, 64 * 1024);
    code = metrics_family(&connected, "metropolis_nats_connected", METRICS_GAUGE,
                          "1 while the loop is connected to NATS.");
    if (!code)
        code = metrics_family(&revisions, "metropolis_table_revision", METRICS_GAUGE,
                              "Stream sequence of the table that the loop serves.");
    for (size_t i = 0; !code && i < sources->loop_count; i++) {
        (void)loop_snapshot(sources->loops[i], SNAPSHOT_TIMEOUT_MS, room);
        add_up(sum, room);
        snprintf(labels, sizeof(labels), "loop=\"%zu\"", i);
        code =
            metrics_sample(&connected, "metropolis_nats_connected", labels, room->nats_connected);
        if (!code)
            code = metrics_sample(&revisions, "metropolis_table_revision", labels,
                                  (double)room->table_revision);
    }
    if (!code)
        code = write_requests(&sum->exchanges, page);
    if (!code)
        code = write_routes(sources, page);
    if (!code)
        code = write_sums(sum, page);
    if (!code)
        code = buffer_append_str(page, buffer_view(&connected));
    if (!code)
        code = buffer_append_str(page, buffer_view(&revisions));
    if (!code)
        code = watch_metrics(sources->watch, page);
    if (!code)
        code = process_metrics(page);
    buffer_done(&connected);
    buffer_done(&revisions);
    free(sum);
    return code;
}
