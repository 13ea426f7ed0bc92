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
 * Without a ticket an exchange waits for its turn to be sent, or sent again: only after "no
 * responders", which alone proves that nothing ran. Everything is then made anew from the request,
 * but what was found: the Route is pinned, the table need not be.
 */
#include "dataplane/exchange.h"

#include <assert.h>
#include <errno.h>

#include "dataplane/answer.h"
#include "dataplane/reply.h"
#include "lib/base/log.h"
#include "lib/wire/subject.h"

#define CANCEL_PREFIX "metropolis.cancel."

enum { CANCEL_PREFIX_BYTES = sizeof(CANCEL_PREFIX) - 1, CONNECTION_WAIT_MS = 10 };

/* ---- admission ---- */

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

/* ---- sending ---- */

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
    case -EAGAIN:
        exchange->soon = true;
        return PROBLEM_OVERLOADED;
    case -EBUSY:
        return PROBLEM_OVERLOADED;
    default:
        assert(exchange->ticket >= 0);
        exchange->sent = (uint32_t)(request.block.len + request.payload.len);
        load_sent(load, exchange->sent);
        return PROBLEM_NONE;
    }
}

static_assert(sizeof(((struct exchange *)0)->cancel) == CANCEL_PREFIX_BYTES + 22 + 1,
              "131 bits that nobody can predict");

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

    if (all->wiring.log->format != ACCESS_LOG_OFF) {
        buffer_clear(&exchange->subject, SUBJECT_MAX);
        (void)buffer_append_str(&exchange->subject, plan->subject);
        exchange->sent_ns = uv_hrtime();
    }
    return problem ? problem : send_request(exchange, plan);
}

/* ---- once more ---- */

static void prepare_retry(struct exchange *exchange, const struct origin *origin)
{
    assert(origin->traceparent.len == sizeof(exchange->trace));
    memcpy(exchange->trace, origin->traceparent.ptr, sizeof(exchange->trace));
    exchange->deadline_ms = exchanges_now_ms(exchange->all) + exchange->hit.rule->timeout_ms;
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
    if (exchanges_now_ms(exchange->all) + wait_ms >= exchange->deadline_ms)
        return false;
    exchange->retries++;
    conn_wait(exchange->conn, wait_ms);
    return true;
}

/* Whether it was not sent because a connection that can take it is still being made. That ends
 * within a moment, one way or the other. */
static bool wait_for_connection(struct exchange *exchange)
{
    uint64_t wait_ms = (uint64_t)CONNECTION_WAIT_MS << exchange->waits;

    if (!exchange->soon || exchanges_now_ms(exchange->all) + wait_ms >= exchange->deadline_ms)
        return false;
    exchange->waits++;
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
    uint64_t now = exchanges_now_ms(all);
    bool first = exchange->soon; /* that it is sent */

    exchange->soon = false;
    planner_reset(planner);
    if (now >= exchange->deadline_ms) { /* the loop was held up: still nothing ran */
        problem = first ? PROBLEM_OVERLOADED : PROBLEM_NO_RESPONDERS;
    } else if (origin_read(exchange->conn, exchange->request, all->wiring.origin, &all->random,
                           &planner->scratch, &origin) == 0) {
        origin.request_id = exchange->request_id;
        origin.traceparent = str_make(exchange->trace, sizeof(exchange->trace));
        problem = planner_recall(planner, exchange->request, &exchange->hit, &plan);
        plan.left_ms = exchange->deadline_ms - now;
        if (!problem)
            problem = publish(exchange, &origin, &plan);
    }
    if (problem && wait_for_connection(exchange))
        return;
    if (problem) {
        answer_problem(exchange, problem, plan.detail, (struct str){0});
        return;
    }
    all->counters.retries += !first;
    conn_wait(exchange->conn, plan.left_ms);
}

/* ---- the request ---- */

static void set_request_id(struct exchange *exchange, struct str id)
{
    assert(id.len < sizeof(exchange->id));
    memcpy(exchange->id, id.ptr, id.len);
    exchange->request_id = str_make(exchange->id, id.len);
}

static void on_request(void *context, struct conn *conn, const struct http_request *request)
{
    struct exchanges *all = context;
    struct planner *planner = &all->planner;
    struct exchange *exchange;
    struct origin origin;
    struct plan plan;
    enum problem problem;

    exchanges_adopt(all);
    exchange = exchanges_begin(all, conn, request);
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
        answer_response(
            exchange, &(struct http_response){.status = 204, .allow = planner_allow(planner, ~0u)},
            NULL);
        return;
    }
    problem = planner_match(planner, all->view.table, request, origin.host, &plan);
    if (!problem) {
        exchange->hit = plan.hit;
        problem = admit(exchange);
    }
    if (!problem)
        problem = publish(exchange, &origin, &plan);
    if (exchange->soon || (!problem && plan.hit.rule->retry_attempts))
        prepare_retry(exchange, &origin);
    if (problem && wait_for_connection(exchange))
        return;
    if (problem) {
        answer_problem(exchange, problem, plan.detail, planner_allow(planner, plan.allowed));
        return;
    }
    conn_wait(conn, plan.hit.rule->timeout_ms);
}

/* ---- the reply ---- */

/* From NATS: with a reply, or without one. */
static void came_back(struct exchange *exchange)
{
    exchange->ticket = -1;
    if (exchange->all->wiring.log->format != ACCESS_LOG_OFF)
        exchange->upstream_ns += uv_hrtime() - exchange->sent_ns;
}

/* What is left out of a reply. */
static void note_dropped(struct exchange *exchange, const struct http_reply *reply)
{
    struct exchanges *all = exchange->all;
    const struct route *route = exchange->hit.route;

    all->counters.reply_fields_dropped += reply->dropped;
    if (!reply->echo)
        return;
    all->counters.echoes++;
    if (warnings_due(&all->warnings, route->uid, PROBLEM_COUNT, exchanges_now_ms(all)))
        log_warn("a worker sends the request's headers back; all of them are ignored",
                 LOG_STR("route", route->label));
}

void exchange_on_reply(void *owner, const struct nats_reply *message)
{
    struct exchange *exchange = owner;
    struct exchanges *all = exchange->all;
    struct http_response response;
    enum problem problem;

    came_back(exchange);
    load_answered(load_of(exchange), exchange->sent, message->block.len + message->payload.len);
    problem = reply_read(message, &all->reply);
    if (problem == PROBLEM_NO_RESPONDERS && wait_for_retry(exchange))
        return;
    if (!problem) {
        note_dropped(exchange, &all->reply);
        problem = reply_render(message, &all->reply, exchange->hit.rule, all->planner.translator,
                               exchange->request_id, &all->body, &response);
    }
    if (problem)
        answer_failure(exchange, problem);
    else
        answer_response(exchange, &response, NULL);
}

/* ---- no reply ---- */

void exchange_on_failure(void *owner, enum nats_failure failure)
{
    struct exchange *exchange = owner;

    came_back(exchange);
    load_ended(load_of(exchange), exchange->sent);
    switch (failure) {
    case NATS_FAILURE_NOT_SENT:
        answer_failure(exchange, PROBLEM_NATS_DOWN);
        break;
    case NATS_FAILURE_LOST:
        answer_failure(exchange, PROBLEM_OUTCOME_UNKNOWN);
        break;
    case NATS_FAILURE_DENIED:
        answer_failure(exchange, PROBLEM_DENIED);
        break;
    }
}

bool exchange_on_denied(struct exchanges *all, struct str subject)
{
    if (!str_starts_with(subject, STR_LIT(CANCEL_PREFIX)))
        return false;
    if (warnings_due(&all->warnings, STR_LIT(CANCEL_PREFIX), PROBLEM_DENIED, exchanges_now_ms(all)))
        log_warn("workers are not told that nobody waits any more: the NATS server does not permit "
                 "this gateway to publish there. Correct its permissions.",
                 LOG_TEXT("subject", CANCEL_PREFIX "*"));
    return true;
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
    answer_nobody(exchange);
}

/*
 * Clients that leave close both sides, and those that only shut theirs look the same. So where a
 * worker wants to know that nobody waits, this is what says so; elsewhere the answer is awaited.
 */
static bool on_ended(void *context, struct conn *conn)
{
    const struct exchange *exchange = conn->owner;

    (void)context;
    return exchange && exchange->cancel[0];
}

/* ---- requests that are answered before they are complete ---- */

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

    exchanges_adopt(all);
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
    exchange = exchanges_begin(all, conn, request);
    if (exchange)
        answer_problem(exchange, problem, NULL, planner_allow(planner, plan.allowed));
    else
        conn_abort(conn);
    return false;
}

static void on_refuse(void *context, struct conn *conn, const struct http_request *request,
                      enum problem problem, const char *detail)
{
    struct exchange *exchange = exchanges_begin(context, conn, request);

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
    .ended = on_ended,
    .gone = on_gone,
};
