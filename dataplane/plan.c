/*
 * plan: see plan.h. Everything here is pure but for the planner's own memory: no sockets, no clock.
 * No client chooses a subject: only values of a template that a Route declares (DESIGN, safety
 * rules 1 to 3).
 */
#include "dataplane/plan.h"

#include <errno.h>

#include "dataplane/fields.h"
#include "lib/base/random.h"
#include "lib/wire/path.h"

enum {
    SCRATCH_MAX = 1024 * 1024,      /* bytes, per request */
    BLOCK_MAX = 256 * 1024,         /* bytes of a NATS header block */
    ENCODED_MAX_BYTES = 256 * 1024, /* of encoded parameters, and of a path */
};

void planner_init(struct planner *planner, uint64_t seed)
{
    *planner = (struct planner){.dice = seed};
    arena_init(&planner->scratch, SCRATCH_MAX);
    buffer_init(&planner->block, BLOCK_MAX);
    buffer_init(&planner->params, ENCODED_MAX_BYTES);
    buffer_init(&planner->canonical, ENCODED_MAX_BYTES);
}

void planner_done(struct planner *planner)
{
    arena_done(&planner->scratch);
    buffer_done(&planner->block);
    buffer_done(&planner->params);
    buffer_done(&planner->canonical);
    metropolis_v1_free(planner->translator);
}

void planner_reset(struct planner *planner)
{
    arena_reset(&planner->scratch);
}

struct str planner_allow(struct planner *planner, uint32_t methods)
{
    struct str list = {0};

    if (methods & 1u << ROUTE_METHOD_GET)
        methods |= 1u << ROUTE_METHOD_HEAD; /* HEAD is served by GET's rule */
    for (int method = ROUTE_METHOD_ANY + 1; method < ROUTE_METHOD_COUNT; method++) {
        struct str name = route_method_name((enum route_method)method);

        if (!(methods & 1u << method))
            continue;
        list = list.len ? arena_printf(&planner->scratch, STR_FMT ", " STR_FMT, STR_ARG(list),
                                       STR_ARG(name))
                        : name;
    }
    return list;
}

/* ---- match ---- */

struct conditions {
    const struct http_request *request;
    struct planner *planner;
    char *room;  /* for a decoded query parameter; made once, as a value is looked at only once */
    bool failed; /* no memory: whether a condition holds is not known */
};

static bool header_value(void *context, struct str name, struct str *ret_value)
{
    struct conditions *conditions = context;
    bool found = false;

    for (size_t i = 0; i < conditions->request->header_count; i++) {
        const struct http_header *header = &conditions->request->headers[i];
        struct str joined = header->value;

        if (!str_equal_nocase(header->name, name))
            continue;
        if (found) {
            joined = arena_printf(&conditions->planner->scratch, STR_FMT ", " STR_FMT,
                                  STR_ARG(*ret_value), STR_ARG(header->value));
            if (!joined.ptr) {
                conditions->failed = true;
                return false;
            }
        }
        *ret_value = joined;
        found = true;
    }
    return found;
}

static bool param_value(void *context, struct str name, struct str *ret_value)
{
    struct conditions *conditions = context;
    struct str query = conditions->request->query;

    if (!query.len)
        return false;
    if (!conditions->room)
        conditions->room = arena_take(&conditions->planner->scratch, query.len);
    conditions->failed |= !conditions->room;
    return conditions->room && path_query_find(query, name, conditions->room, ret_value) == 1;
}

static bool canonical_path(void *context, struct str *ret_path)
{
    struct conditions *conditions = context;
    struct planner *planner = conditions->planner;

    buffer_clear(&planner->canonical, SIZE_MAX);
    if (path_encode(planner->segments, planner->segment_count, &planner->canonical) < 0) {
        conditions->failed = true;
        return false;
    }
    *ret_path = buffer_view(&planner->canonical);
    return true;
}

/* The path's segments, which borrow scratch. */
static enum problem split_path(struct planner *planner, const struct http_request *request)
{
    char *room = arena_take(&planner->scratch, request->path.len);
    int count;

    if (!room)
        return PROBLEM_INTERNAL;
    count = path_split(request->path, room, planner->segments, PLAN_SEGMENTS_MAX);
    if (count < 0)
        return count == -E2BIG ? PROBLEM_TARGET_TOO_LONG : PROBLEM_BAD_TARGET;
    planner->segment_count = (size_t)count;
    return PROBLEM_NONE;
}

enum problem planner_match(struct planner *planner, const struct route_table *table,
                           const struct http_request *request, struct str host,
                           struct plan *ret_plan)
{
    struct conditions conditions = {.request = request, .planner = planner};
    struct route_request asked = {
        .host = host,
        .segments = planner->segments,
        .method = request->method,
        .canonical_path = canonical_path,
        .header = header_value,
        .param = param_value,
        .context = &conditions,
    };
    enum problem problem = split_path(planner, request);
    bool trouble = false;

    *ret_plan = (struct plan){0};
    if (problem)
        return problem;
    if (!table)
        return PROBLEM_NOT_READY;
    asked.segment_count = planner->segment_count;
    switch (route_table_match(table, &asked, &planner->scratch, &ret_plan->hit, &trouble)) {
    case ROUTE_FOUND:
        ret_plan->left_ms = ret_plan->hit.rule->timeout_ms;
        problem = PROBLEM_NONE;
        break;
    case ROUTE_METHOD_NOT_ALLOWED:
        ret_plan->allowed = ret_plan->hit.allowed;
        problem = PROBLEM_BAD_METHOD;
        break;
    case ROUTE_GAVE_UP:
        problem = PROBLEM_INTERNAL;
        break;
    default:
        problem = PROBLEM_NO_ROUTE;
        break;
    }
    planner->match_troubles += trouble;
    return conditions.failed ? PROBLEM_INTERNAL : problem;
}

enum problem planner_recall(struct planner *planner, const struct http_request *request,
                            const struct route_hit *hit, struct plan *ret_plan)
{
    *ret_plan = (struct plan){.hit = *hit, .left_ms = hit->rule->timeout_ms};
    return split_path(planner, request);
}

/* ---- request ---- */

static size_t choose_backend(struct planner *planner, const struct route_rule *rule)
{
    uint64_t left;

    if (rule->backend_count == 1)
        return 0;
    left = random_weak(&planner->dice) % rule->weight_total;
    for (size_t i = 0; i < rule->backend_count; i++) {
        if (left < rule->backends[i].weight)
            return i;
        left -= rule->backends[i].weight;
    }
    return rule->backend_count - 1;
}

/* Metropolis-Param-<name> for each placeholder of the path. */
static enum problem collect_params(struct planner *planner, const struct route_match *matched,
                                   struct http_header *params, size_t *ret_count)
{
    size_t count = 0, bytes = 0;

    *ret_count = 0;
    if (matched->path_type != ROUTE_PATH_TEMPLATE)
        return PROBLEM_NONE;
    for (size_t i = 0; i < planner->segment_count; i++)
        bytes += 3 * planner->segments[i].len + 2;
    buffer_clear(&planner->params, SIZE_MAX);
    if (!buffer_reserve(&planner->params, bytes)) /* now nothing moves while values are borrowed */
        return PROBLEM_INTERNAL;
    for (size_t i = 0; i < matched->segment_count; i++) {
        const struct route_segment *segment = &matched->segments[i];
        size_t last = segment->kind == ROUTE_SEGMENT_REST ? planner->segment_count : i + 1;
        size_t begun = buffer_length(&planner->params);
        int code = 0;

        if (segment->kind == ROUTE_SEGMENT_LITERAL)
            continue;
        for (size_t s = i; s < last && !code; s++) {
            if (s > i)
                code = buffer_append_byte(&planner->params, '.');
            if (!code)
                code = subject_encode_token(planner->segments[s], &planner->params);
        }
        if (code)
            return PROBLEM_INTERNAL;
        params[count].name = segment->text;
        params[count++].value = str_after(buffer_view(&planner->params), begun);
    }
    *ret_count = count;
    return PROBLEM_NONE;
}

static enum problem encode(struct planner *planner, const struct http_request *request,
                           const struct origin *origin, int64_t now_ms, struct plan *plan)
{
    struct http_header params[ROUTE_SEGMENTS_MAX];
    struct http_request_meta meta = {
        .method = route_method_name(request->method),
        .path = request->path,
        .query = request->query,
        .host = origin->authority,
        .scheme = origin->scheme,
        .route = plan->hit.route->label,
        .remote_addr = origin->remote_addr,
        .timeout_ms = plan->left_ms,
        .sent_ms = (uint64_t)now_ms,
        .request_id = origin->request_id,
        .traceparent = origin->traceparent,
        .forwarded_for = origin->forwarded_for,
        .forwarded_proto = origin->forwarded_proto,
        .forwarded_host = origin->forwarded_host,
        .cancel = plan->cancel,
        .params = params,
        .trusted = origin->trusted,
    };
    const struct http_header *headers = request->headers;
    unsigned dropped = 0;
    enum problem problem = collect_params(planner, plan->hit.match, params, &meta.param_count);

    if (problem)
        return problem;
    for (bool second = false;; second = true) {
        buffer_clear(&planner->block, SIZE_MAX);
        switch (http_request_encode(&meta, headers, request->header_count, &planner->names,
                                    &planner->scratch, &planner->block, &dropped, &plan->detail)) {
        case 0:
            planner->fields_dropped += dropped;
            return PROBLEM_NONE;
        case -ENOBUFS:
            return PROBLEM_HEAD_TOO_LARGE;
        case -ENOMEM:
            return PROBLEM_INTERNAL;
        default:
            break;
        }
        headers = second ? NULL : fields_fit(request, &planner->scratch);
        if (!headers)
            return PROBLEM_BAD_FIELD;
    }
}

static enum problem address(struct planner *planner, struct plan *plan)
{
    const struct route_hit *hit = &plan->hit;
    const struct route_target *target;
    int length;

    if (hit->rule->weight_total == 0)
        return PROBLEM_NO_RESPONDERS; /* its author takes all backends out */
    target = &hit->match->targets[choose_backend(planner, hit->rule)];
    length = subject_build(target, planner->segments, planner->segment_count, hit->method,
                           planner->subject);
    if (length < 0)
        return length == -E2BIG ? PROBLEM_TARGET_TOO_LONG : PROBLEM_BAD_TARGET;
    plan->subject = str_make(planner->subject, (size_t)length);
    return PROBLEM_NONE;
}

/* For a worker of metropolis 0.1: no block, the query as the payload, and one token more. */
static enum problem translate(struct planner *planner, struct str query, struct plan *plan)
{
    struct str worker;
    int code;

    if (!planner->translator)
        planner->translator = metropolis_v1_new();
    code = planner->translator
               ? metropolis_v1_request(planner->translator, query, &plan->body, &worker)
               : -ENOMEM;
    if (!code && worker.len) {
        code = subject_append_token(planner->subject, plan->subject.len, worker);
        plan->subject.len = code < 0 ? 0 : (size_t)code;
    }
    if (code == -EINVAL)
        plan->detail = "The query is not percent-encoded UTF-8, or its _worker holds a control "
                       "character.";
    return code >= 0         ? PROBLEM_NONE
           : code == -EINVAL ? PROBLEM_BAD_TARGET
           : code == -ENOMEM ? PROBLEM_INTERNAL
                             : PROBLEM_TARGET_TOO_LONG;
}

enum problem planner_fill(struct planner *planner, const struct http_request *request,
                          const struct origin *origin, int64_t now_ms, struct plan *plan)
{
    enum problem problem = address(planner, plan);

    if (problem)
        return problem;
    if (plan->hit.rule->codec == ROUTE_CODEC_METROPOLIS_V1)
        return translate(planner, request->query, plan);
    problem = encode(planner, request, origin, now_ms, plan);
    plan->block = buffer_view(&planner->block);
    plan->body = request->body;
    return problem;
}
