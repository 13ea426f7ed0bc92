/*
 * exchange: THE HOT PATH. on_request below is the page to read: match, subject, headers, send; then
 * exchange_on_reply. Everything before the wait runs in one go on memory of the loop that is reset
 * for the next request; what must outlive the wait is in struct exchange. The request itself stays
 * in its connection's buffer until it is answered.
 *
 * Each exchange ends exactly once: by its reply, by a failure of the connection to NATS, by its
 * time-out, or with its client. The last two tell nats_lanes to forget the ticket, so that no reply
 * can reach an exchange that has ended.
 *
 * Without a ticket an exchange waits for its turn to be sent again: only after "no responders",
 * which alone proves that nothing ran. Everything is then made anew from the request, but what was
 * found: the Route is pinned, the table need not be.
 */
#include "dataplane/exchange.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "dataplane/load.h"
#include "dataplane/plan.h"
#include "lib/base/digest.h"
#include "lib/base/log.h"
#include "lib/wire/subject.h"

#define CANCEL_PREFIX "metropolis.cancel."

enum {
    PROBLEM_BYTES_MAX = 4096,
    WARNINGS = 64,
    WARNING_PAUSE_MS = 60000,
    FREE_MAX = 4096, /* exchanges kept for reuse */
    CANCEL_PREFIX_BYTES = sizeof(CANCEL_PREFIX) - 1,
    CANCEL_BYTES = CANCEL_PREFIX_BYTES + 22, /* 131 bits that nobody can predict */
};

struct exchange {
    struct exchanges *all;
    struct exchange *next, *previous; /* in start order; next alone: free list */
    struct conn *conn;
    const struct http_request *request;
    struct route_hit hit; /* its route is NULL until matched */
    uint64_t version;     /* of the table it began under */
    uint64_t started_ns, deadline_ms;
    uint64_t load; /* key of the load that it counts in; 0: not matched, or refused */
    uint64_t sent_ns, upstream_ns; /* for the access log: last published; until its end, in all */
    uint32_t retries;
    int ticket;    /* of nats_lanes; -1: none */
    uint32_t sent; /* bytes, with that ticket */
    struct str request_id;
    char id[129], trace[ORIGIN_TRACE_BYTES]; /* trace: for retries */
    char cancel[CANCEL_BYTES + 1];           /* subject; empty: the worker is not told */
    struct buffer subject;                   /* for the access log */
};

struct warning {
    uint64_t key, at_ms;
};

struct exchanges {
    struct exchange_wiring wiring;
    struct exchange_counters counters;
    struct swap_view view;
    uint64_t reported; /* version, to swap */
    struct exchange *oldest, *newest, *free;
    size_t free_count;
    struct random_source random;
    struct loads loads;
    struct warning warnings[WARNINGS];
    unsigned warning_next;

    /* of the request, or reply, in work */
    struct planner planner;
    struct buffer problem;
    struct http_reply reply;
};

/* ---- beginning and ending ---- */

static void report(struct exchanges *all)
{
    uint64_t oldest = all->oldest ? all->oldest->version : all->view.number;

    if (oldest == all->reported)
        return;
    all->reported = oldest;
    swap_report(all->wiring.swap, all->wiring.loop, oldest);
}

static struct exchange *begin(struct exchanges *all, struct conn *conn,
                              const struct http_request *request)
{
    struct exchange *exchange = all->free;

    if (exchange) {
        all->free = exchange->next;
        all->free_count--;
    } else {
        exchange = calloc(1, sizeof(*exchange));
        if (!exchange)
            return NULL;
        exchange->all = all;
        buffer_init(&exchange->subject, SUBJECT_MAX);
    }
    exchange->next = NULL;
    exchange->previous = all->newest;
    if (all->newest)
        all->newest->next = exchange;
    else
        all->oldest = exchange;
    all->newest = exchange;
    all->counters.in_flight++;
    exchange->conn = conn;
    exchange->request = request;
    exchange->hit = (struct route_hit){0};
    exchange->version = all->view.number;
    exchange->started_ns = uv_hrtime();
    exchange->upstream_ns = 0;
    exchange->load = 0;
    exchange->retries = 0;
    exchange->cancel[0] = '\0';
    exchange->ticket = -1;
    exchange->request_id = (struct str){0};
    buffer_clear(&exchange->subject, SUBJECT_MAX);
    conn->owner = exchange;
    planner_reset(&all->planner);
    return exchange;
}

static void end(struct exchange *exchange)
{
    struct exchanges *all = exchange->all;

    if (exchange->previous)
        exchange->previous->next = exchange->next;
    else
        all->oldest = exchange->next;
    if (exchange->next)
        exchange->next->previous = exchange->previous;
    else
        all->newest = exchange->previous;
    all->counters.in_flight--;
    if (exchange->load)
        loads_get(&all->loads, exchange->load)->in_flight--;
    exchange->conn->owner = NULL;
    exchange->conn = NULL;
    if (all->free_count < FREE_MAX) {
        exchange->next = all->free;
        all->free = exchange;
        all->free_count++;
    } else {
        buffer_done(&exchange->subject);
        free(exchange);
    }
    report(all);
}

/* From NATS: with a reply, or without one. */
static void came_back(struct exchange *exchange)
{
    exchange->ticket = -1;
    if (exchange->all->wiring.log->format == ACCESS_LOG_JSON)
        exchange->upstream_ns += uv_hrtime() - exchange->sent_ns;
}

/* ---- answers ---- */

static void log_access(struct exchange *exchange, const struct http_response *response,
                       uint64_t duration_ns, const char *reason)
{
    struct exchanges *all = exchange->all;
    const struct http_request *request = exchange->request;
    bool bodiless = http_response_bodiless(response->status, request->method == ROUTE_METHOD_HEAD);
    struct access_entry entry = {
        .now_ms = http_server_now_ms(all->wiring.server),
        .peer = conn_peer(exchange->conn),
        .method =
            request->method == ROUTE_METHOD_ANY ? STR_LIT("-") : route_method_name(request->method),
        .target = request->target.len ? request->target : STR_LIT("-"),
        .request_id = exchange->request_id,
        .minor = request->minor,
        .status = response->status,
        .bytes = bodiless ? 0 : response->body.len,
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

/* The exchange is over when this returns, and so may be the next one of its connection. */
static void answer(struct exchange *exchange, struct http_response *response, const char *reason)
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
        log_access(exchange, response, duration_ns, reason);
    memcpy(id, exchange->id, exchange->request_id.len);
    response->request_id = str_make(id, exchange->request_id.len);
    end(exchange);
    conn_respond(conn, response);
}

static void set_request_id(struct exchange *exchange, struct str id)
{
    assert(id.len < sizeof(exchange->id));
    memcpy(exchange->id, id.ptr, id.len);
    exchange->request_id = str_make(exchange->id, id.len);
}

static void answer_problem(struct exchange *exchange, enum problem problem, const char *detail,
                           struct str allow)
{
    static const struct http_header type = {STR_LIT("Content-Type"),
                                            STR_LIT("application/problem+json")};
    struct exchanges *all = exchange->all;
    const struct problem_text *text = problem_describe(problem);
    struct http_response response = {
        .status = text->status,
        .headers = &type,
        .header_count = 1,
        .allow = allow,
        .retry_after_s = text->retry_after_s,
    };

    all->counters.problems[problem]++;
    if (!exchange->request_id.len) {
        origin_make_id(&all->random, exchange->id);
        exchange->request_id = str_make(exchange->id, ORIGIN_ID_BYTES);
    }
    buffer_clear(&all->problem, PROBLEM_BYTES_MAX);
    if (problem_write(problem, detail, exchange->request_id, &all->problem) == 0)
        response.body = buffer_view(&all->problem);
    answer(exchange, &response, text->reason);
}

/* ---- the page to read ---- */

static struct load *load_of(const struct exchange *exchange)
{
    return loads_get(&exchange->all->loads, exchange->load);
}

/* Limits are shared out evenly, as loops share nothing. */
static enum problem check_limit(struct exchanges *all, const struct route_hit *hit,
                                struct load **ret_load)
{
    unsigned loops = all->wiring.loop_count;
    uint32_t max = hit->rule->in_flight_max;
    struct load *load = loads_get(&all->loads, load_key(hit));

    *ret_load = load;
    if (!load)
        return PROBLEM_OVERLOADED;
    return max > 0 && load->in_flight >= (max + loops - 1) / loops ? PROBLEM_LIMITED : PROBLEM_NONE;
}

static enum problem admit(struct exchange *exchange)
{
    struct load *load;
    enum problem problem = check_limit(exchange->all, &exchange->hit, &load);

    if (problem)
        return problem;
    load->in_flight++;
    exchange->load = load->key;
    return PROBLEM_NONE;
}

static enum problem send_request(struct exchange *exchange, const struct plan *plan)
{
    struct nats_lanes *nats = exchange->all->wiring.nats;
    struct load *load = load_of(exchange);
    const struct nats_request request = {
        .subject = plan->subject,
        .block = plan->block,
        .payload = plan->body,
        .reply_bytes = load->reply_bytes,
        .owner = exchange,
    };

    /* The one check right before every publish (DESIGN, safety rule 4). */
    if (subject_validate(plan->subject) < 0)
        return PROBLEM_BAD_TARGET;
    exchange->ticket = nats_lanes_request(nats, &request, load->key, load_is_stuck(load));
    switch (exchange->ticket) {
    case -ENOTCONN:
        return PROBLEM_NATS_DOWN;
    case -EMSGSIZE:
        return plan->block.len > nats_lanes_max_payload(nats) ? PROBLEM_HEAD_TOO_LARGE
                                                              : PROBLEM_BODY_TOO_LARGE;
    case -EBUSY:
        return PROBLEM_OVERLOADED;
    default:
        assert(exchange->ticket >= 0);
        exchange->sent = (uint32_t)(request.block.len + request.payload.len);
        load_sent(load, exchange->sent);
        return PROBLEM_NONE;
    }
}

/* Its token is not the inbox's: all workers may read cancels, and none may forge replies. */
static void make_cancel(struct exchange *exchange)
{
    memcpy(exchange->cancel, CANCEL_PREFIX, CANCEL_PREFIX_BYTES);
    random_text(&exchange->all->random, exchange->cancel + CANCEL_PREFIX_BYTES,
                sizeof(exchange->cancel) - CANCEL_PREFIX_BYTES);
}

static enum problem publish(struct exchange *exchange, const struct origin *origin,
                            struct plan *plan)
{
    struct exchanges *all = exchange->all;
    int64_t now_ms = http_server_now_ms(all->wiring.server);
    enum problem problem;

    if (plan->hit.rule->cancel && !exchange->cancel[0])
        make_cancel(exchange);
    plan->cancel = str_from(exchange->cancel);
    problem = planner_fill(&all->planner, exchange->request, origin, now_ms, plan);

    if (all->wiring.log->format == ACCESS_LOG_JSON) {
        buffer_clear(&exchange->subject, SUBJECT_MAX);
        (void)buffer_append_str(&exchange->subject, plan->subject);
        exchange->sent_ns = uv_hrtime();
    }
    return problem ? problem : send_request(exchange, plan);
}

/* ---- once more ---- */

static uint64_t now_ms(const struct exchanges *all)
{
    return uv_now(all->wiring.server->loop);
}

static void prepare_retry(struct exchange *exchange, const struct origin *origin)
{
    assert(origin->traceparent.len == sizeof(exchange->trace));
    memcpy(exchange->trace, origin->traceparent.ptr, sizeof(exchange->trace));
    exchange->deadline_ms = now_ms(exchange->all) + exchange->hit.rule->timeout_ms;
}

/* Whether it is to be sent again: attempts and time are left. */
static bool wait_for_retry(struct exchange *exchange)
{
    const struct route_rule *rule = exchange->hit.rule;
    uint64_t wait_ms;

    if (exchange->retries == rule->retry_attempts)
        return false;
    wait_ms = (uint64_t)rule->retry_backoff_ms << exchange->retries;
    wait_ms += random_u64(&exchange->all->random) % (wait_ms / 2 + 1);
    if (now_ms(exchange->all) + wait_ms >= exchange->deadline_ms)
        return false;
    exchange->retries++;
    conn_wait(exchange->conn, wait_ms);
    return true;
}

static void retry(struct exchange *exchange)
{
    struct exchanges *all = exchange->all;
    struct planner *planner = &all->planner;
    struct plan plan = {0};
    struct origin origin;
    enum problem problem = PROBLEM_INTERNAL;
    uint64_t now = now_ms(all);

    planner_reset(planner);
    if (now >= exchange->deadline_ms) { /* the loop was held up: still nothing ran */
        problem = PROBLEM_NO_RESPONDERS;
    } else if (origin_read(exchange->conn, exchange->request, all->wiring.origin, &all->random,
                           &planner->scratch, &origin) == 0) {
        origin.request_id = exchange->request_id;
        origin.traceparent = str_make(exchange->trace, sizeof(exchange->trace));
        problem = planner_recall(planner, exchange->request, &exchange->hit, &plan);
        plan.left_ms = exchange->deadline_ms - now;
        if (!problem)
            problem = publish(exchange, &origin, &plan);
    }
    if (problem) {
        answer_problem(exchange, problem, plan.detail, (struct str){0});
        return;
    }
    all->counters.retries++;
    conn_wait(exchange->conn, plan.left_ms);
}

/* ---- the request ---- */

static void on_request(void *context, struct conn *conn, const struct http_request *request)
{
    struct exchanges *all = context;
    struct planner *planner = &all->planner;
    struct exchange *exchange = begin(all, conn, request);
    struct origin origin;
    struct plan plan;
    enum problem problem;

    if (!exchange) {
        conn_abort(conn); /* no memory for the smallest of things */
        return;
    }
    if (origin_read(conn, request, all->wiring.origin, &all->random, &planner->scratch, &origin) <
        0) {
        answer_problem(exchange, PROBLEM_INTERNAL, NULL, (struct str){0});
        return;
    }
    set_request_id(exchange, origin.request_id);
    if (request->asterisk) { /* asks the gateway itself (RFC 9110 9.3.7) */
        answer(exchange,
               &(struct http_response){.status = 204, .allow = planner_allow(planner, ~0u)}, NULL);
        return;
    }
    problem = planner_match(planner, all->view.table, request, origin.host, &plan);
    if (!problem) {
        exchange->hit = plan.hit;
        problem = admit(exchange);
    }
    if (!problem)
        problem = publish(exchange, &origin, &plan);
    if (problem) {
        answer_problem(exchange, problem, plan.detail, planner_allow(planner, plan.allowed));
        return;
    }
    if (plan.hit.rule->retry_attempts)
        prepare_retry(exchange, &origin);
    conn_wait(conn, plan.hit.rule->timeout_ms);
}

/* ---- what may come instead of, or with, a reply ---- */

/* At most once a minute for each Route and kind of trouble. */
static bool may_warn(struct exchanges *all, const struct route *route, unsigned kind)
{
    uint64_t now = now_ms(all);
    uint64_t key = digest_bytes(digest_empty + kind, route->uid.ptr, route->uid.len);
    struct warning *warning;

    for (unsigned i = 0; i < WARNINGS; i++) {
        warning = &all->warnings[i];
        if (warning->key != key)
            continue;
        if (now - warning->at_ms < WARNING_PAUSE_MS)
            return false;
        warning->at_ms = now;
        return true;
    }
    all->warnings[all->warning_next++ % WARNINGS] = (struct warning){key, now};
    return true;
}

static void fail(struct exchange *exchange, enum problem problem)
{
    if (may_warn(exchange->all, exchange->hit.route, problem))
        log_warn(problem_describe(problem)->detail, LOG_STR("route", exchange->hit.route->label),
                 LOG_TEXT("reason", problem_describe(problem)->reason),
                 LOG_STR("requestId", exchange->request_id));
    answer_problem(exchange, problem, NULL, (struct str){0});
}

static enum problem problem_of(enum http_reply_fault fault)
{
    switch (fault) {
    case HTTP_REPLY_OK:
        return PROBLEM_NONE;
    case HTTP_REPLY_NO_RESPONDERS:
        return PROBLEM_NO_RESPONDERS;
    case HTTP_REPLY_UNSUPPORTED:
        return PROBLEM_UNSUPPORTED_REPLY;
    case HTTP_REPLY_JETSTREAM_ACK:
        return PROBLEM_STREAM_ACK;
    case HTTP_REPLY_BAD_STATUS:
    case HTTP_REPLY_BAD_HEADERS:
        break;
    }
    return PROBLEM_BAD_REPLY;
}

/* The reply of a worker of metropolis 0.1, which has no headers to speak of. */
static enum problem translate(struct exchange *exchange, struct http_response *response)
{
    static const struct http_header type = {STR_LIT("Content-Type"), STR_LIT("application/json")};
    struct metropolis_v1 *translator = exchange->all->planner.translator;
    int code = metropolis_v1_reply(translator, response->body, &response->status, &response->body);

    response->headers = &type;
    response->header_count = response->body.len > 0;
    response->content_length = (struct str){0};
    return code == 0 ? PROBLEM_NONE : code == -ENOMEM ? PROBLEM_INTERNAL : PROBLEM_BAD_REPLY;
}

/* A micro service's error without a body: its text becomes one, where the Route allows it. */
static void show_error(struct exchange *exchange, struct http_response *response)
{
    static const struct http_header type = {STR_LIT("Content-Type"),
                                            STR_LIT("application/problem+json")};
    struct exchanges *all = exchange->all;

    buffer_clear(&all->problem, PROBLEM_BYTES_MAX);
    if (problem_write_service(response->status, all->reply.service_error_text, exchange->request_id,
                              &all->problem) < 0)
        return;
    response->headers = &type;
    response->header_count = 1;
    response->body = buffer_view(&all->problem);
}

void exchange_on_reply(void *owner, const struct nats_reply *message)
{
    struct exchange *exchange = owner;
    struct exchanges *all = exchange->all;
    struct http_reply *reply = &all->reply;
    enum problem problem;

    came_back(exchange);
    load_answered(load_of(exchange), exchange->sent, message->block.len + message->payload.len);
    problem = message->has_reply_subject
                  ? PROBLEM_UNSUPPORTED_REPLY
                  : problem_of(http_reply_decode(message->block, message->payload, reply));
    if (problem == PROBLEM_NO_RESPONDERS && wait_for_retry(exchange))
        return;
    if (problem) {
        fail(exchange, problem);
        return;
    }
    all->counters.reply_fields_dropped += reply->dropped;
    if (reply->echo) {
        all->counters.echoes++;
        if (may_warn(all, exchange->hit.route, PROBLEM_COUNT))
            log_warn("a worker sends the request's headers back; all of them are ignored",
                     LOG_STR("route", exchange->hit.route->label));
    }
    struct http_response response = {
        .status = reply->status,
        .headers = reply->headers,
        .header_count = reply->header_count,
        .body = message->payload,
        .content_length = reply->content_length,
    };

    if (exchange->hit.rule->codec == ROUTE_CODEC_METROPOLIS_V1)
        problem = translate(exchange, &response);
    else if (reply->service_error && exchange->hit.rule->shows_errors && !message->payload.len)
        show_error(exchange, &response);
    if (problem)
        fail(exchange, problem);
    else
        answer(exchange, &response, NULL);
}

void exchange_on_failure(void *owner, enum nats_failure failure)
{
    struct exchange *exchange = owner;

    came_back(exchange);
    load_ended(load_of(exchange), exchange->sent);
    switch (failure) {
    case NATS_FAILURE_NOT_SENT:
        fail(exchange, PROBLEM_NATS_DOWN);
        break;
    case NATS_FAILURE_LOST:
        fail(exchange, PROBLEM_OUTCOME_UNKNOWN);
        break;
    case NATS_FAILURE_DENIED:
        fail(exchange, PROBLEM_DENIED);
        break;
    }
}

/* Nobody waits for the reply any more. */
static void give_up(struct exchange *exchange)
{
    nats_lanes_forget(exchange->all->wiring.nats, exchange->ticket, str_from(exchange->cancel));
    came_back(exchange);
    load_given_up(load_of(exchange), exchange->sent);
}

static void on_expired(void *context, struct conn *conn)
{
    struct exchange *exchange = conn->owner;

    (void)context;
    if (exchange->ticket < 0) {
        retry(exchange);
        return;
    }
    give_up(exchange);
    answer_problem(exchange, PROBLEM_TIMEOUT, NULL, (struct str){0});
}

static void on_gone(void *context, struct conn *conn)
{
    struct exchange *exchange = conn->owner;

    (void)context;
    if (!exchange)
        return;
    if (exchange->ticket >= 0)
        give_up(exchange);
    end(exchange);
}

/* Before a client sends its body: is there a point? */
static bool on_expect(void *context, struct conn *conn, const struct http_request *request)
{
    struct exchanges *all = context;
    struct planner *planner = &all->planner;
    struct origin origin;
    struct plan plan;
    struct load *load;
    struct exchange *exchange;
    enum problem problem;

    planner_reset(planner);
    if (request->asterisk || origin_read(conn, request, all->wiring.origin, &all->random,
                                         &planner->scratch, &origin) < 0)
        return true; /* judged when it is complete */
    problem = planner_match(planner, all->view.table, request, origin.host, &plan);
    if (!problem)
        problem = check_limit(all, &plan.hit, &load);
    if (!problem && !nats_lanes_connected(all->wiring.nats))
        problem = PROBLEM_NATS_DOWN;
    if (!problem && !request->chunked &&
        request->content_length > nats_lanes_max_payload(all->wiring.nats))
        problem = PROBLEM_BODY_TOO_LARGE;
    if (!problem)
        return true;
    exchange = begin(all, conn, request);
    if (exchange)
        answer_problem(exchange, problem, NULL, planner_allow(planner, plan.allowed));
    else
        conn_abort(conn);
    return false;
}

static void on_refuse(void *context, struct conn *conn, const struct http_request *request,
                      enum problem problem, const char *detail)
{
    struct exchange *exchange = begin(context, conn, request);

    if (exchange)
        answer_problem(exchange, problem, detail, (struct str){0});
    else
        conn_abort(conn);
}

const struct http_handler exchange_handler = {
    .request = on_request,
    .expect = on_expect,
    .refuse = on_refuse,
    .expired = on_expired,
    .gone = on_gone,
};

/* ---- life ---- */

struct exchanges *exchanges_new(void)
{
    struct exchanges *all = calloc(1, sizeof(*all));

    if (!all || loads_init(&all->loads) < 0) {
        free(all);
        return NULL;
    }
    buffer_init(&all->problem, PROBLEM_BYTES_MAX);
    random_init(&all->random);
    planner_init(&all->planner, random_u64(&all->random));
    return all;
}

void exchanges_free(struct exchanges *exchanges)
{
    struct exchange *exchange;

    if (!exchanges)
        return;
    assert(!exchanges->oldest);
    while ((exchange = exchanges->free)) {
        exchanges->free = exchange->next;
        buffer_done(&exchange->subject);
        free(exchange);
    }
    planner_done(&exchanges->planner);
    loads_done(&exchanges->loads);
    buffer_done(&exchanges->problem);
    free(exchanges);
}

void exchanges_wire(struct exchanges *exchanges, const struct exchange_wiring *wiring)
{
    exchanges->wiring = *wiring;
}

void exchanges_adopt(struct exchanges *exchanges)
{
    exchanges->view = swap_adopt(exchanges->wiring.swap, exchanges->wiring.loop);
    report(exchanges);
}

void exchanges_version(const struct exchanges *exchanges, uint64_t *ret_number,
                       uint64_t *ret_revision)
{
    *ret_number = exchanges->view.number;
    *ret_revision = exchanges->view.revision;
}

const struct exchange_counters *exchanges_counters(struct exchanges *exchanges)
{
    exchanges->counters.request_fields_dropped = exchanges->planner.fields_dropped;
    exchanges->counters.match_troubles = exchanges->planner.match_troubles;
    return &exchanges->counters;
}
