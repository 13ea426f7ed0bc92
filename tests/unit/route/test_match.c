/*
 * What serves which request: one case per rule of docs/ROUTE.md, each a few Routes and a few
 * requests with their answers (build.h says how they are written). Answers:
 *
 *      "shop/orders"        that Route            "shop/orders#1.0"  its rule 1, match 0
 *      "shop/orders as GET" for a HEAD request, {method} becomes GET
 *      "404"                nothing for the path  "405 GET HEAD"     another method only
 *
 * Every answer is also checked against the naive matcher.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "tests/unit/route/build.h"
#include "tests/unit/route/naive.h"

enum { ROUTES_MAX = 12, REQUESTS_MAX = 16, SCRATCH_LIMIT = 1 << 20 };

struct match_case {
    const char *name;
    const char *routes[ROUTES_MAX];
    struct {
        const char *request, *answer;
    } requests[REQUESTS_MAX];
};

static const struct match_case cases[] = {
    {
        "an empty table has nothing for anybody",
        {0},
        {{"GET a.com /", "404"}, {"GET - /", "404"}},
    },
    {
        "an exact hostname goes before wildcards, long ones before short, and any host comes last",
        {
            "x/any 1 - ANY prefix:/",
            "x/com 2 *.com ANY prefix:/",
            "x/wild 3 *.a.com ANY prefix:/",
            "x/exact 4 b.a.com ANY prefix:/",
        },
        {
            {"GET b.a.com /", "x/exact"},
            {"GET c.a.com /", "x/wild"},
            {"GET d.c.a.com /", "x/wild"},
            {"GET a.com /", "x/com"},
            {"GET .a.com /", "x/com"},
            {"GET com /", "x/any"},
            {"GET .com /", "x/any"},
            {"GET b.a.com.org /", "x/any"},
            {"GET xb.a.com /", "x/wild"},
            {"GET - /", "x/any"},
        },
    },
    {
        "a Route serves all of its hostnames and no other",
        {"x/two 1 a.com,*.b.com GET exact:/p"},
        {{"GET a.com /p", "x/two"}, {"GET z.b.com /p", "x/two"}, {"GET b.com /p", "404"}},
    },
    {
        "a less specific hostname serves what a more specific one has no rule for",
        {
            "x/exact 1 b.a.com GET exact:/only",
            "x/wild 1 *.a.com GET prefix:/wild",
            "x/any 1 - GET prefix:/",
        },
        {
            {"GET b.a.com /only", "x/exact"},
            {"GET b.a.com /wild/1", "x/wild"},
            {"GET b.a.com /else", "x/any"},
        },
    },
    {
        "an Exact path is compared whole, its last slash too",
        {"x/e 1 - GET exact:/a/b", "x/s 1 - GET exact:/c/", "x/root 1 - GET exact:/"},
        {
            {"GET - /a/b", "x/e"},
            {"GET - /a/b/", "404"},
            {"GET - /a", "404"},
            {"GET - /a/B", "404"},
            {"GET - /c/", "x/s"},
            {"GET - /c", "404"},
            {"GET - /", "x/root"},
            {"GET - //", "404"},
        },
    },
    {
        "a Prefix holds for whole segments, with and without more of them",
        {"x/p 1 - GET prefix:/a/b", "x/q 1 - GET prefix:/c/"},
        {
            {"GET - /a/b", "x/p"},
            {"GET - /a/b/", "x/p"},
            {"GET - /a/b/c/d", "x/p"},
            {"GET - /a/bc", "404"},
            {"GET - /a", "404"},
            {"GET - /c", "x/q"},
            {"GET - /c/d", "x/q"},
        },
    },
    {
        "the Prefix / holds for every path",
        {"x/all 1 - GET prefix:/"},
        {{"GET - /", "x/all"}, {"GET - /a", "x/all"}, {"GET - //", "x/all"}},
    },
    {
        "a parameter is exactly one segment, maybe an empty one",
        {"x/t 1 - GET template:/a/{id}"},
        {
            {"GET - /a/1", "x/t"},
            {"GET - /a/", "x/t"},
            {"GET - /a", "404"},
            {"GET - /a/1/2", "404"},
            {"GET - /a/1/", "404"},
        },
    },
    {
        "{rest...} is one or more segments, maybe empty ones",
        {"x/r 1 - GET template:/a/{rest...}"},
        {
            {"GET - /a/1", "x/r"},
            {"GET - /a/", "x/r"},
            {"GET - /a/1/2/", "x/r"},
            {"GET - /a", "404"},
            {"GET - /b/1", "404"},
        },
    },
    {
        "{rest...} alone holds for every path",
        {"x/r 1 - GET template:/{rest...}", "x/p 1 - GET prefix:/"},
        {{"GET - /", "x/r"}, {"GET - /a/b", "x/r"}},
    },
    {
        "Exact goes before RegularExpression, and that before Template and Prefix",
        {
            "x/prefix 1 - GET prefix:/a/b",
            "x/template 1 - GET template:/a/{x}",
            "x/regex 2 - GET regex:/a/.",
            "x/exact 3 - GET exact:/a/b",
        },
        {
            {"GET - /a/b", "x/exact"},
            {"GET - /a/c", "x/regex"},
            {"GET - /a/cc", "x/template"},
            {"GET - /a/b/c", "x/prefix"},
        },
    },
    {
        "a Template without placeholders counts as Exact",
        {
            "x/exact 2 - GET exact:/a/b",
            "x/template 1 - GET template:/a/b",
            "x/regex 1 - GET regex:/a/.",
            "x/placeholder 1 - GET template:/a/{x}",
        },
        {{"GET - /a/b", "x/template"}, {"GET - /a/c", "x/regex"}},
    },
    {
        "a longer regular expression goes before a shorter one",
        {"x/short 1 - GET regex:/a.*", "x/long 2 - GET regex:/a[b-d]+"},
        {{"GET - /abc", "x/long"}, {"GET - /axe", "x/short"}, {"GET - /b", "404"}},
    },
    {
        "a regular expression holds for the whole path",
        {"x/r 1 - GET regex:/v[0-9]+/x"},
        {{"GET - /v12/x", "x/r"}, {"GET - /v12/xy", "404"}, {"GET - /p/v1/x", "404"}},
    },
    {
        "more segments go before fewer, whatever they are",
        {
            "x/one 1 - GET prefix:/a",
            "x/two 2 - GET template:/{x}/{rest...}",
            "x/three 3 - GET template:/{x}/{y}/{z}",
        },
        {{"GET - /a/b/c", "x/three"}, {"GET - /a/b", "x/one"}, {"GET - /b/b", "x/two"}},
    },
    {
        "of as many segments the leftmost literal decides",
        {
            "x/pl 1 - GET template:/{x}/b",
            "x/lp 2 - GET template:/a/{y}",
            "x/pp 3 - GET template:/{x}/{y}",
        },
        {
            {"GET - /a/b", "x/lp"},
            {"GET - /a/c", "x/lp"},
            {"GET - /c/b", "x/pl"},
            {"GET - /c/d", "x/pp"},
        },
    },
    {
        "of equal segments {rest...} goes before Prefix",
        {"x/p 1 - GET prefix:/a/b", "x/r 2 - GET template:/a/b/{rest...}"},
        {{"GET - /a/b", "x/p"}, {"GET - /a/b/c", "x/r"}},
    },
    {
        "{rest...} counts no segment: what precedes it does",
        {"x/r 1 - GET template:/a/{rest...}", "x/t 2 - GET template:/{x}/{y}"},
        {{"GET - /a/b", "x/t"}, {"GET - /a/b/c", "x/r"}},
    },
    {
        "a literal in a Prefix goes before a parameter in a Template",
        {"x/t 1 - GET template:/a/{y}", "x/p 2 - GET prefix:/a/b"},
        {{"GET - /a/b", "x/p"}, {"GET - /a/c", "x/t"}},
    },
    {
        "a more specific rule whose conditions do not hold hides nothing",
        {
            "x/gold 1 a.com GET exact:/p h:x-tier=gold",
            "x/post 1 a.com POST template:/{x}",
            "x/debug 1 *.com GET prefix:/p q:debug=1",
            "x/rest 1 - GET prefix:/",
        },
        {
            {"GET a.com /p h:x-tier=gold", "x/gold"},
            {"GET a.com /p h:x-tier=gold q:debug=1", "x/gold"},
            {"GET a.com /p h:x-tier=silver q:debug=1", "x/debug"},
            {"GET a.com /p", "x/rest"},
            {"POST a.com /p", "x/post"},
        },
    },
    {
        "of equal paths a method goes first, then headers, then query parameters by number",
        {
            "x/none 1 - ANY exact:/p",
            "x/headers 1 - ANY exact:/p h:a=1 h:b=2",
            "x/params 1 - ANY exact:/p h:a=1 q:c=3 q:d=4",
            "x/param 1 - ANY exact:/p h:a=1 q:c=3",
            "x/method 1 - GET exact:/p",
            "x/both 1 - GET exact:/p q:c=3",
        },
        {
            {"GET - /p h:a=1 h:b=2 q:c=3 q:d=4", "x/both"},
            {"GET - /p h:a=1 h:b=2", "x/method"},
            {"POST - /p h:a=1 h:b=2 q:c=3 q:d=4", "x/headers"},
            {"POST - /p h:a=1 q:c=3 q:d=4", "x/params"},
            {"POST - /p h:a=1 q:c=3", "x/param"},
            {"POST - /p h:a=1", "x/none"},
        },
    },
    {
        "all conditions of a match must hold, byte for byte",
        {"x/c 1 - GET exact:/p h:a=1 h:b=2 q:c=3"},
        {
            {"GET - /p h:a=1 h:b=2 q:c=3", "x/c"},
            {"GET - /p h:a=1 q:c=3", "404"},
            {"GET - /p h:a=1 h:b=2", "404"},
            {"GET - /p h:a=1 h:b=2 q:c=33", "404"},
            {"GET - /p h:a=1 h:b= q:c=3", "404"},
            {"POST - /p h:a=1", "404"},
            {"POST - /p h:a=1 h:b=2 q:c=3", "405 GET HEAD"},
        },
    },
    {
        "the older Route wins a tie",
        {"a/young 20 - GET exact:/p", "z/old 10 - GET exact:/p"},
        {{"GET - /p", "z/old"}},
    },
    {
        "of equal age the first of namespace/name in byte order wins",
        {"b/a 1 - GET exact:/p", "a/z 1 - GET exact:/p", "a-b/a 1 - GET exact:/p"},
        {{"GET - /p", "a-b/a"}}, /* "-" sorts before "/" */
    },
    {
        "within a Route the first rule, and in it the first match, wins a tie",
        {"x/r 1 - GET exact:/q | GET exact:/p ; GET exact:/p | GET exact:/p"},
        {{"GET - /p", "x/r#1.0"}},
    },
    {
        "matches of a rule are alternatives",
        {"x/r 1 - GET exact:/p ; POST exact:/q | ANY prefix:/p"},
        {
            {"GET - /p", "x/r#0.0"},
            {"POST - /q", "x/r#0.1"},
            {"POST - /p", "x/r#1.0"},
            {"GET - /q", "405 POST"},
        },
    },
    {
        "405 lists the methods of all rules that hold but for the method, on every hostname",
        {
            "x/a 1 a.com GET exact:/p",
            "x/b 1 *.com PUT template:/{x}",
            "x/c 1 - DELETE prefix:/",
            "x/d 1 - PATCH exact:/p h:a=1",
            "x/e 1 - OPTIONS exact:/q",
            "x/f 1 - TRACE regex:/.",
        },
        {
            {"POST a.com /p", "405 GET HEAD PUT DELETE TRACE"},
            {"POST a.com /p h:a=1", "405 GET HEAD PUT PATCH DELETE TRACE"},
            {"POST b.org /z/z", "405 DELETE"},
        },
    },
    {
        "HEAD is served by the GET rule, and that is what {method} becomes",
        {"x/get 1 - GET exact:/p", "x/any 1 - ANY exact:/q"},
        {
            {"HEAD - /p", "x/get as GET"},
            {"HEAD - /q", "x/any as GET"},
            {"GET - /p", "x/get"},
        },
    },
    {
        "a HEAD rule goes before a GET rule of the same path, and both before any method",
        {
            "x/head 9 - HEAD exact:/p",
            "x/get 1 - GET exact:/p h:a=1",
            "x/any 1 - ANY exact:/p",
        },
        {
            {"HEAD - /p h:a=1", "x/head"},
            {"GET - /p h:a=1", "x/get"},
            {"GET - /p", "x/any"},
        },
    },
    {
        "a GET rule of a better path goes before a HEAD rule",
        {
            "x/head 1 - HEAD prefix:/",
            "x/get 1 - GET exact:/p",
            "x/short 1 - HEAD regex:/q.*",
            "x/long 1 - GET regex:/q[a-z]*",
        },
        {
            {"HEAD - /p", "x/get as GET"},
            {"HEAD - /r", "x/head"},
            {"HEAD - /qq", "x/long as GET"},
            {"HEAD - /q9", "x/short"},
        },
    },
    {
        "HEAD allows no GET",
        {"x/head 1 - HEAD exact:/p"},
        {{"GET - /p", "405 HEAD"}},
    },
    {
        "a path longer than any pattern finds what holds for its beginning",
        {"x/p 1 - GET prefix:/a", "x/t 1 - GET template:/{a}/{b}/{c}/{rest...}"},
        {
            {"GET - /a/2/3/4/5/6/7/8/9/0/1/2/3/4/5/6/7/8/9/0/1/2/3/4/5/6/7/8/9/0/1/2/3/4/5", "x/t"},
            {"GET - /a/2", "x/p"},
        },
    },
    {
        "a pattern of the most segments holds",
        {
            "x/t 1 - GET "
            "template:/1/2/3/4/5/6/7/8/9/0/1/2/3/4/5/6/7/8/9/0/1/2/3/4/5/6/7/8/9/0/1/{x}",
            "x/p 1 - GET prefix:/1/2/3/4/5/6/7/8/9/0/1/2/3/4/5/6/7/8/9/0/1/2/3/4/5/6/7/8/9/0/1/2",
        },
        {
            {"GET - /1/2/3/4/5/6/7/8/9/0/1/2/3/4/5/6/7/8/9/0/1/2/3/4/5/6/7/8/9/0/1/x", "x/t"},
            {"GET - /1/2/3/4/5/6/7/8/9/0/1/2/3/4/5/6/7/8/9/0/1/2/3/4/5/6/7/8/9/0/1/2/3", "x/p"},
        },
    },
};

/* The answer in the words of the table; with the place in the Route when the table names one. */
static void print_answer(char *text, size_t size, enum route_outcome outcome,
                         const struct route_hit *hit, enum route_method asked, bool place)
{
    size_t used;

    if (outcome == ROUTE_FOUND) {
        used = (size_t)snprintf(text, size, STR_FMT, STR_ARG(hit->route->label));
        if (place)
            used += (size_t)snprintf(text + used, size - used, "#%u.%td", hit->rule->index,
                                     hit->match - hit->rule->matches);
        if (hit->method != asked)
            snprintf(text + used, size - used, " as %s", route_method_name(hit->method).ptr);
        return;
    }
    used = (size_t)snprintf(text, size, outcome == ROUTE_NOT_FOUND ? "404" : "405");
    for (unsigned method = 0; method < ROUTE_METHOD_COUNT; method++)
        if (hit->allowed & 1u << method)
            used += (size_t)snprintf(text + used, size - used, " %s",
                                     route_method_name((enum route_method)method).ptr);
}

static void check_request(const struct route_table *table, struct route *const *routes,
                          const char *line, const char *expected)
{
    struct built_request built;
    struct arena scratch;
    struct route_hit hit, naive_hit;
    enum route_outcome outcome, naive_outcome;
    char answer[256], naive_answer[256];
    bool trouble = true, place = strchr(expected, '#');

    build_request(&built, line);
    arena_init(&scratch, SCRATCH_LIMIT);
    outcome = route_table_match(table, &built.request, &scratch, &hit, &trouble);
    naive_outcome = naive_match(routes, ROUTES_MAX, &built.request, &naive_hit);
    arena_done(&scratch);
    print_answer(answer, sizeof(answer), outcome, &hit, built.request.method, place);
    print_answer(naive_answer, sizeof(naive_answer), naive_outcome, &naive_hit,
                 built.request.method, place);
    if (strcmp(answer, expected) != 0 || strcmp(naive_answer, expected) != 0 || trouble)
        fail_msg("%s: expected \"%s\", got \"%s\"; the naive matcher says \"%s\"%s", line, expected,
                 answer, naive_answer, trouble ? "; trouble" : "");
}

/* The Routes are added in order and, for a second table, in reverse: it must not matter. */
static void answers_as_written(void **state)
{
    const struct match_case *match_case = *state;
    struct route *routes[ROUTES_MAX] = {0};
    struct route_change changes[2][ROUTES_MAX] = {0};
    struct route_table *empty = route_table_new(), *table;

    assert_non_null(empty);
    for (size_t i = 0; i < ROUTES_MAX && match_case->routes[i]; i++) {
        routes[i] = build_route(match_case->routes[i]);
        changes[0][i].after = changes[1][ROUTES_MAX - 1 - i].after = routes[i];
    }
    for (size_t order = 0; order < 2; order++) {
        assert_int_equal(route_table_apply(empty, changes[order], ROUTES_MAX, &table), 0);
        for (size_t i = 0; i < REQUESTS_MAX && match_case->requests[i].request; i++)
            check_request(table, routes, match_case->requests[i].request,
                          match_case->requests[i].answer);
        route_table_unref(table);
    }
    route_table_unref(empty);
    for (size_t i = 0; i < ROUTES_MAX; i++)
        route_unref(routes[i]);
}

/* What the answer is when a candidate cannot be judged, and that the caller is told. */
static void match_one(const char *route_line, const char *request_line, size_t scratch_limit,
                      enum route_outcome *ret_outcome, bool *ret_trouble)
{
    struct route_change change = {NULL, build_route(route_line)};
    struct route_table *empty = route_table_new(), *table;
    struct built_request built;
    struct route_hit hit;
    struct arena scratch;

    assert_non_null(empty);
    assert_int_equal(route_table_apply(empty, &change, 1, &table), 0);
    build_request(&built, request_line);
    arena_init(&scratch, scratch_limit);
    *ret_outcome = route_table_match(table, &built.request, &scratch, &hit, ret_trouble);
    arena_done(&scratch);
    route_table_unref(table);
    route_table_unref(empty);
    route_unref(change.after);
}

/* So many steps that the limit stops it, and so few that PCRE2's own would not. */
static void a_regular_expression_over_its_limit_is_no_match_and_trouble(void **state)
{
    enum route_outcome outcome;
    bool trouble = false;

    (void)state;
    match_one("x/r 1 - GET regex:/(a+)+[bc]", "GET - /aaaaaaaaaaaaaaaaaa", SCRATCH_LIMIT, &outcome,
              &trouble);
    assert_int_equal(outcome, ROUTE_NOT_FOUND);
    assert_true(trouble);
}

static void without_scratch_memory_it_gives_up(void **state)
{
    static const char *const lines[] = {"x/r 1 - GET regex:/a", "x/e 1 - GET exact:/a"};
    enum route_outcome outcome;
    bool trouble;

    (void)state;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        trouble = false;
        match_one(lines[i], "GET - /a", 0, &outcome, &trouble);
        assert_int_equal(outcome, ROUTE_GAVE_UP);
        assert_true(trouble);
    }
}

/* ---- Routes and requests that are made to cost; the bound is for sanitized builds, too ---- */

enum { COST_MAX_MS = 60, COSTLY_ROUTES = 4096, LINE_MAX_BYTES = 16384 };

static double thread_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

/* The outcome when count Routes that write() writes are there. */
static enum route_outcome match_costly(unsigned count, void (*write)(char *line, unsigned number),
                                       const char *request_line, bool *ret_trouble)
{
    struct route_change *changes = calloc(count, sizeof(*changes));
    struct route_table *empty = route_table_new(), *table;
    char *line = malloc(LINE_MAX_BYTES);
    enum route_outcome outcome;
    struct built_request built;
    struct arena scratch;
    struct route_hit hit;
    double began_ms;

    assert_non_null(changes);
    assert_non_null(line);
    assert_non_null(empty);
    for (unsigned i = 0; i < count; i++) {
        write(line, i);
        changes[i].after = build_route(line);
    }
    assert_int_equal(route_table_apply(empty, changes, count, &table), 0);
    build_request(&built, request_line);
    arena_init(&scratch, SCRATCH_LIMIT);
    began_ms = thread_ms();
    outcome = route_table_match(table, &built.request, &scratch, &hit, ret_trouble);
    assert_true(thread_ms() - began_ms < COST_MAX_MS);
    arena_done(&scratch);
    route_table_unref(table);
    route_table_unref(empty);
    for (unsigned i = 0; i < count; i++)
        route_unref(changes[i].after);
    free(changes);
    free(line);
    return outcome;
}

/* Look-aheads are what compiled code would not count. */
static void write_look_aheads(char *line, unsigned number)
{
    int used = sprintf(line, "x/r%u %u - GET regex:(?:", number, number);

    for (unsigned i = 0; i < 100; i++)
        used += sprintf(line + used, "(?!.*z)");
    sprintf(line + used, ".)*");
}

/* Each way through a tree of 12 segments that are a literal or a parameter. */
static void write_way(char *line, unsigned number)
{
    int used = sprintf(line, "x/r%u %u - GET template:", number, number);

    for (unsigned i = 0; i < 12; i++)
        used += number >> i & 1 ? sprintf(line + used, "/a") : sprintf(line + used, "/{p%u}", i);
    for (unsigned i = 0; i < 18; i++)
        used += sprintf(line + used, "/b");
    sprintf(line + used, "/c%u", number);
}

static void write_conditions(char *line, unsigned number)
{
    sprintf(line, "x/r%u %u - GET exact:/a h:x-a=1 h:x-b=%u q:c=1", number, number, number);
}

static void one_request_costs_little_whatever_the_routes(void **state)
{
    char path[LINE_MAX_BYTES] = "GET - /", *way = path + strlen(path) - 1;
    enum route_outcome outcome;
    bool trouble;

    (void)state;
    memset(path + strlen(path), 'a', 8000);
    trouble = false;
    assert_int_equal(match_costly(1, write_look_aheads, path, &trouble), ROUTE_NOT_FOUND);
    assert_true(trouble);
    assert_int_equal(match_costly(2048, write_look_aheads, path, &trouble), ROUTE_GAVE_UP);
    for (unsigned i = 0; i < 12; i++)
        way += sprintf(way, "/a");
    for (unsigned i = 0; i < 18; i++)
        way += sprintf(way, "/b");
    trouble = false;
    outcome = match_costly(COSTLY_ROUTES, write_way, path, &trouble);
    assert_int_equal(outcome, trouble ? ROUTE_GAVE_UP : ROUTE_NOT_FOUND);
    trouble = false;
    outcome = match_costly(COSTLY_ROUTES, write_conditions, "GET - /a h:x-a=1", &trouble);
    assert_int_equal(outcome, trouble ? ROUTE_GAVE_UP : ROUTE_NOT_FOUND);
}

enum { SHARED_ROUTES = 64 };

struct reader {
    const struct route_table *table;
    _Atomic bool stop;
    bool right; /* read once the thread has ended */
};

static void numbered_line(char *line, size_t size, unsigned number)
{
    snprintf(line, size, "x/%u 1 - GET template:/p/%u/{x}", number, number);
}

static void *read_on(void *argument)
{
    struct reader *reader = argument;
    struct built_request built;
    struct arena scratch;
    struct route_hit hit;
    char line[64], label[16];
    bool trouble;

    reader->right = true;
    arena_init(&scratch, SCRATCH_LIMIT);
    for (unsigned i = 0; !reader->stop; i++) {
        snprintf(line, sizeof(line), "GET a.com /p/%u/y", i % SHARED_ROUTES);
        snprintf(label, sizeof(label), "x/%u", i % SHARED_ROUTES);
        build_request(&built, line);
        if (route_table_match(reader->table, &built.request, &scratch, &hit, &trouble) !=
                ROUTE_FOUND ||
            !str_equal(hit.route->label, str_from(label)))
            reader->right = false;
        arena_reset(&scratch);
    }
    arena_done(&scratch);
    return NULL;
}

/* Whether anything shared is written meanwhile is for ThreadSanitizer to see. */
static void a_table_is_read_while_others_are_made_from_it(void **state)
{
    struct route_change changes[SHARED_ROUTES] = {{NULL, NULL}}, change;
    struct route_table *empty = route_table_new(), *table, *last, *next;
    struct reader reader = {.stop = false};
    pthread_t thread;
    char line[64];

    (void)state;
    for (unsigned i = 0; i < SHARED_ROUTES; i++) {
        numbered_line(line, sizeof(line), i);
        changes[i].after = build_route(line);
    }
    assert_int_equal(route_table_apply(empty, changes, SHARED_ROUTES, &table), 0);
    reader.table = table;
    last = route_table_ref(table);
    assert_int_equal(pthread_create(&thread, NULL, read_on, &reader), 0);
    for (unsigned i = 0; i < 5000; i++) {
        numbered_line(line, sizeof(line), i % SHARED_ROUTES);
        change = (struct route_change){changes[i % SHARED_ROUTES].after, build_route(line)};
        assert_int_equal(route_table_apply(last, &change, 1, &next), 0);
        route_table_unref(last);
        route_unref(change.before);
        changes[i % SHARED_ROUTES].after = change.after;
        last = next;
    }
    reader.stop = true;
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(reader.right);
    route_table_unref(last);
    route_table_unref(table);
    route_table_unref(empty);
    for (unsigned i = 0; i < SHARED_ROUTES; i++)
        route_unref(changes[i].after);
}

int main(void)
{
    enum { CASES = sizeof(cases) / sizeof(cases[0]) };
    const struct CMUnitTest others[] = {
        cmocka_unit_test(a_regular_expression_over_its_limit_is_no_match_and_trouble),
        cmocka_unit_test(without_scratch_memory_it_gives_up),
        cmocka_unit_test(one_request_costs_little_whatever_the_routes),
        cmocka_unit_test(a_table_is_read_while_others_are_made_from_it),
    };
    struct CMUnitTest answers[CASES];

    for (size_t i = 0; i < CASES; i++)
        answers[i] = (struct CMUnitTest){
            .name = cases[i].name,
            .test_func = answers_as_written,
            .initial_state = (void *)&cases[i],
        };
    return cmocka_run_group_tests(answers, NULL, NULL) + cmocka_run_group_tests(others, NULL, NULL);
}
