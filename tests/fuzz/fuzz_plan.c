/*
 * Any bytes as a request, to a table with every kind of path: whatever the parser accepts and a
 * Route takes becomes a subject that passes the validator and stays below what the Route declares,
 * and a header block that no value broke out of, or none where the Route's codec has none.
 */
#include <stdlib.h>

#include "dataplane/plan.h"
#include "lib/wire/table_codec.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static const struct http_limits limits = {.target_max = 1024, .head_max = 8192, .body_max = 1024};

static const char *const specs[] = {
    "{\"rules\":[{\"matches\":[{\"path\":{\"type\":\"Prefix\",\"value\":\"/\"}}],"
    "\"backends\":[{\"subject\":\"open.{path...}.{method}\"}]}]}",
    "{\"rules\":[{\"matches\":[{\"path\":{\"type\":\"Template\",\"value\":\"/t/{id}/{rest...}\"}}],"
    "\"backends\":[{\"subject\":\"tmpl.{rest...}.{id}\"}]}]}",
    "{\"rules\":[{\"matches\":[{\"path\":{\"type\":\"Exact\",\"value\":\"/e\"},\"headers\":"
    "[{\"name\":\"x\",\"value\":\"1\"}],\"queryParams\":[{\"name\":\"q\",\"value\":\"a b\"}]}]}]}",
    "{\"rules\":[{\"matches\":[{\"path\":{\"type\":\"RegularExpression\",\"value\":\"/r/"
    "[a-z%]+\"}}],"
    "\"backends\":[{\"subject\":\"re.{path...}\",\"weight\":2},{\"subject\":\"re2.{path...}\"}]}]}",
    "{\"rules\":[{\"matches\":[{\"path\":{\"value\":\"/old\"}}],\"codec\":\"metropolis/v1\"}]}",
};

static struct route_table *make_table(void)
{
    struct route_table *table = route_table_new(), *next;
    struct route_spec_error error;
    struct route *route;
    struct buffer value;

    for (size_t i = 0; i < sizeof(specs) / sizeof(*specs); i++) {
        char key[32];

        snprintf(key, sizeof(key), "route.ns.r%zu", i);
        buffer_init(&value, 4096);
        if (buffer_printf(&value,
                          "{\"format\":1,\"uid\":\"u\",\"generation\":1,\"created\":1,\"spec\":%s}",
                          specs[i]) < 0 ||
            table_entry_read(str_from(key), buffer_view(&value), &route, &error) < 0 ||
            route_table_apply(table, &(struct route_change){NULL, route}, 1, &next) < 0)
            abort();
        buffer_done(&value);
        route_unref(route);
        route_table_unref(table);
        table = next;
    }
    return table;
}

/* Lines of "Name: value" between the version line and the empty line, and no line end besides. */
static void check_block(struct str block)
{
    const char *at = block.ptr, *end = block.ptr + block.len;

    if (!str_starts_with(block, STR_LIT("NATS/1.0\r\n")))
        abort();
    at += strlen("NATS/1.0\r\n");
    for (;;) {
        const char *line_end = memchr(at, '\r', (size_t)(end - at));
        const char *colon;

        if (!line_end || line_end + 1 >= end || line_end[1] != '\n')
            abort();
        if (line_end == at) {
            if (line_end + 2 != end)
                abort();
            return;
        }
        colon = memchr(at, ':', (size_t)(line_end - at));
        if (!colon || colon == at || colon + 2 >= line_end || colon[1] != ' ' ||
            memchr(at, '\n', (size_t)(line_end - at)) || memchr(at, '\0', (size_t)(line_end - at)))
            abort();
        at = line_end + 2;
    }
}

static void check_subject(struct str subject)
{
    static const char *const leads[] = {"open.", "tmpl.", "e.", "re.", "re2.", "old."};
    bool known = false;

    for (size_t i = 0; i < sizeof(leads) / sizeof(*leads); i++)
        known |= str_starts_with(subject, str_from(leads[i]));
    if (!known || subject_validate(subject) < 0)
        abort();
}

static void check_plan(const struct plan *plan)
{
    check_subject(plan->subject);
    if (plan->hit.rule->codec == ROUTE_CODEC_DEFAULT)
        check_block(plan->block);
    else if (plan->block.len || plan->body.ptr[plan->body.len - 1] != '}')
        abort();
}

static void plan_request(struct planner *planner, const struct route_table *table,
                         const struct http_request *request)
{
    static struct random_source random;
    static bool seeded;
    struct origin_rules rules = {.resample = true, .sampled_below = 1};
    struct conn conn = {.peer = "192.0.2.1", .peer_length = 9, .address_length = 4};
    struct origin origin;
    struct plan plan, again;
    struct str bad;

    if (!seeded)
        random_init(&random);
    seeded = true;
    conn.address[0] = request->target.len % 2 ? 10 : 11;
    if (peers_parse(STR_LIT("10.0.0.0/8"), &rules.trusted, &bad) < 0)
        abort();
    planner_reset(planner);
    if (request->asterisk ||
        origin_read(&conn, request, &rules, &random, &planner->scratch, &origin) < 0)
        return;
    if (planner_match(planner, table, request, origin.host, &plan) != PROBLEM_NONE ||
        planner_fill(planner, request, &origin, 1, &plan) != PROBLEM_NONE)
        return;
    check_plan(&plan);

    /* Once more, as for a retry, which may go to another backend of the rule. */
    planner_reset(planner);
    if (origin_read(&conn, request, &rules, &random, &planner->scratch, &origin) < 0 ||
        planner_recall(planner, request, &plan.hit, &again) != PROBLEM_NONE)
        abort();
    again.left_ms = 1;
    again.cancel = STR_LIT("metropolis.cancel.x");
    if (planner_fill(planner, request, &origin, 1, &again) != PROBLEM_NONE)
        abort();
    check_plan(&again);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    static struct route_table *table;
    static struct planner planner;
    struct http_header headers[HTTP_HEADERS_MAX];
    struct http_parser parser;
    size_t kept;
    char *bytes;

    if (!table) {
        table = make_table();
        planner_init(&planner, 1);
    }
    if (size == 0 || size > 16384)
        return 0;
    bytes = malloc(size);
    if (!bytes)
        abort();
    memcpy(bytes, data, size);
    http_parser_begin(&parser, &limits, headers);
    if (http_parser_feed(&parser, bytes, size, &kept) == HTTP_PARSE_DONE)
        plan_request(&planner, table, &parser.request);
    free(bytes);
    return 0;
}
