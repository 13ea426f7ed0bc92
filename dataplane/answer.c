/*
 * answer: whatever ends an exchange with an answer passes answer_response, so every one is counted
 * and logged once; without one, answer_nobody. The exchange goes back before the connection gets
 * the response, which may begin the next one.
 */
#include "dataplane/answer.h"

#include "lib/base/log.h"

enum { STATUS_CLIENT_GONE = 499 }; /* for the log alone, as other servers have it */

static void log_access(struct exchange *exchange, unsigned status, size_t bytes,
                       uint64_t duration_ns, const char *reason)
{
    struct exchanges *all = exchange->all;
    const struct http_request *request = exchange->request;
    bool bodiless = http_response_bodiless(status, request->method == ROUTE_METHOD_HEAD);
    struct access_entry entry = {
        .now_ms = http_server_now_ms(all->wiring.server),
        .peer = conn_peer(exchange->conn),
        .method =
            request->method == ROUTE_METHOD_ANY ? STR_LIT("-") : route_method_name(request->method),
        .target = request->target.len ? request->target : STR_LIT("-"),
        .request_id = exchange->request_id,
        .minor = request->minor,
        .status = status,
        .bytes = bodiless ? 0 : bytes,
        .duration_us = duration_ns / 1000,
        .upstream_us = exchange->upstream_ns / 1000,
        .route = exchange->hit.route ? exchange->hit.route->label : (struct str){0},
        .subject = buffer_view(&exchange->subject),
        .reason = reason,
    };

    (void)http_request_field(request, STR_LIT("referer"), &entry.referer);
    (void)http_request_field(request, STR_LIT("user-agent"), &entry.user_agent);
    access_log_add(all->wiring.log, &entry);
}

void answer_response(struct exchange *exchange, struct http_response *response, const char *reason)
{
    struct exchanges *all = exchange->all;
    struct conn *conn = exchange->conn;
    char id[sizeof(exchange->id)];
    uint64_t duration_ns = uv_hrtime() - exchange->started_ns;

    all->counters.statuses[response->status]++;
    metrics_histogram_add(&all->counters.duration, duration_ns);
    if (all->wiring.routes->max && exchange->hit.route)
        route_metrics_count(all->wiring.routes, exchange->hit.route, response->status, duration_ns);
    if (all->wiring.log->format != ACCESS_LOG_OFF)
        log_access(exchange, response->status, response->body.len, duration_ns, reason);
    memcpy(id, exchange->id, exchange->request_id.len);
    response->request_id = str_make(id, exchange->request_id.len);
    exchanges_end(exchange);
    conn_respond(conn, response);
}

void answer_problem(struct exchange *exchange, enum problem problem, const char *detail,
                    struct str allow)
{
    struct exchanges *all = exchange->all;
    const struct problem_text *text = problem_describe(problem);
    struct http_response response = {
        .status = text->status,
        .headers = &problem_type,
        .header_count = 1,
        .allow = allow,
        .retry_after_s = text->retry_after_s,
    };

    all->counters.problems[problem]++;
    if (!exchange->request_id.len) {
        origin_make_id(&all->random, exchange->id);
        exchange->request_id = str_make(exchange->id, ORIGIN_ID_BYTES);
    }
    buffer_clear(&all->body, PROBLEM_BYTES_MAX);
    if (problem_write(problem, detail, exchange->request_id, &all->body) == 0)
        response.body = buffer_view(&all->body);
    answer_response(exchange, &response, text->reason);
}

void answer_failure(struct exchange *exchange, enum problem problem)
{
    struct exchanges *all = exchange->all;
    const struct route *route = exchange->hit.route;

    if (warnings_due(&all->warnings, route->uid, problem, exchanges_now_ms(all)))
        log_warn(problem_describe(problem)->detail, LOG_STR("route", route->label),
                 LOG_TEXT("reason", problem_describe(problem)->reason),
                 LOG_STR("requestId", exchange->request_id));
    answer_problem(exchange, problem, NULL, (struct str){0});
}

void answer_nobody(struct exchange *exchange)
{
    uint64_t duration_ns = uv_hrtime() - exchange->started_ns;

    if (exchange->all->wiring.log->format != ACCESS_LOG_OFF)
        log_access(exchange, STATUS_CLIENT_GONE, 0, duration_ns, "client-gone");
    exchanges_end(exchange);
}
