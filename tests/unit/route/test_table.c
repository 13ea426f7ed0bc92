/*
 * route_table as its users see it: tables built by changes answer like tables built at once and
 * like the naive matcher; tables that others were made from go on answering as they did; without
 * memory nothing happens; a change costs what it changes; rivals are found.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/unit/route/generate.h"
#include "tests/unit/route/naive.h"

/* The linker sends the library's allocations here (tests.cmake). */
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);

static size_t allocations;    /* since the start */
static size_t failing_number; /* which of them fails; 0: none */

static bool allocation_fails(void)
{
    return ++allocations == failing_number;
}

void *__wrap_malloc(size_t size)
{
    return allocation_fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return allocation_fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *memory, size_t size)
{
    return allocation_fails() ? NULL : __real_realloc(memory, size);
}

enum { SLOTS = 24, BATCH_MAX = 6, SCRATCH_LIMIT = 1 << 20 };

/* A table and the Routes that it must consist of, referenced. */
struct model {
    struct route_table *table;
    struct route *routes[SLOTS];
};

static void model_init(struct model *model)
{
    *model = (struct model){.table = route_table_new()};
    assert_non_null(model->table);
}

static void model_done(struct model *model)
{
    route_table_unref(model->table);
    for (size_t i = 0; i < SLOTS; i++)
        route_unref(model->routes[i]);
    *model = (struct model){0};
}

static size_t model_count(const struct model *model)
{
    size_t count = 0;

    for (size_t i = 0; i < SLOTS; i++)
        count += model->routes[i] != NULL;
    return count;
}

/* Changes a few slots: new Routes, other versions, Routes gone; a slot more than once, too. */
static void model_change(const struct model *base, struct choices *choices,
                         struct model *ret_changed)
{
    struct route_change changes[BATCH_MAX];
    struct route *replaced[BATCH_MAX];
    size_t count = 1 + choose(choices, BATCH_MAX);

    *ret_changed = *base;
    for (size_t i = 0; i < SLOTS; i++)
        if (base->routes[i])
            route_ref(base->routes[i]);
    for (size_t i = 0; i < count; i++) {
        unsigned slot = choose(choices, SLOTS);
        struct route **route = &ret_changed->routes[slot];

        replaced[i] = *route;
        *route = *route && choose(choices, 3) == 0 ? NULL : generate_route(choices, slot);
        changes[i] = (struct route_change){replaced[i], *route};
    }
    assert_int_equal(route_table_apply(base->table, changes, count, &ret_changed->table), 0);
    assert_int_equal(route_table_count(ret_changed->table), model_count(ret_changed));
    for (size_t i = 0; i < count; i++)
        route_unref(replaced[i]);
}

static void model_rebuild(const struct model *model, struct route_table **ret_table)
{
    struct route_table *empty = route_table_new();
    struct route_change changes[SLOTS] = {{NULL, NULL}};

    assert_non_null(empty);
    for (size_t i = 0; i < SLOTS; i++)
        changes[SLOTS - 1 - i].after = model->routes[i];
    assert_int_equal(route_table_apply(empty, changes, SLOTS, ret_table), 0);
    route_table_unref(empty);
}

static void check_hit(const struct route_table *table, const struct built_request *built,
                      enum route_outcome expected_outcome, const struct route_hit *expected)
{
    struct route_hit hit;
    struct arena scratch;
    enum route_outcome outcome;
    bool trouble;

    arena_init(&scratch, SCRATCH_LIMIT);
    outcome = route_table_match(table, &built->request, &scratch, &hit, &trouble);
    arena_done(&scratch);
    assert_false(trouble);
    assert_int_equal(outcome, expected_outcome);
    assert_ptr_equal(hit.match, expected->match);
    assert_ptr_equal(hit.rule, expected->rule);
    assert_ptr_equal(hit.route, expected->route);
    assert_int_equal(hit.method, expected->method);
    assert_int_equal(hit.allowed, expected->allowed);
}

static void check_model(const struct model *model, struct choices *choices, size_t requests)
{
    struct route_table *rebuilt;
    struct built_request built;
    struct route_hit hit;
    enum route_outcome outcome;
    struct line line;

    model_rebuild(model, &rebuilt);
    for (size_t i = 0; i < requests; i++) {
        generate_request(choices, &line, &built);
        outcome = naive_match(model->routes, SLOTS, &built.request, &hit);
        check_hit(model->table, &built, outcome, &hit);
        check_hit(rebuilt, &built, outcome, &hit);
    }
    route_table_unref(rebuilt);
}

static void random_choices(struct choices *ret_choices, unsigned number)
{
    static uint8_t bytes[64 * 1024];
    uint64_t state = number;

    for (size_t i = 0; i < sizeof(bytes); i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        bytes[i] = (uint8_t)(state >> 56);
    }
    *ret_choices = (struct choices){bytes, sizeof(bytes), 0};
}

static void tables_answer_like_the_naive_matcher_while_others_are_made_from_them(void **state)
{
    enum { ROUNDS = 30, MODELS = 25 };
    struct model models[MODELS];
    struct choices choices;

    (void)state;
    for (unsigned round = 0; round < ROUNDS; round++) {
        random_choices(&choices, round);
        model_init(&models[0]);
        for (unsigned i = 1; i < MODELS; i++) {
            /* Mostly the next of the last, sometimes another branch. */
            unsigned from = choose(&choices, 4) ? i - 1 : choose(&choices, i);

            model_change(&models[from], &choices, &models[i]);
            check_model(&models[i], &choices, 20);
            check_model(&models[from], &choices, 5);
        }
        assert_true(choices.used < choices.size);
        for (unsigned left = MODELS; left > 0; left--) {
            unsigned gone = choose(&choices, left);

            model_done(&models[gone]);
            models[gone] = models[left - 1];
            if (left > 1)
                check_model(&models[choose(&choices, left - 1)], &choices, 5);
        }
    }
}

static void without_memory_nothing_happens_whichever_allocation_fails(void **state)
{
    struct choices choices;
    struct model model, changed;
    struct route_change changes[SLOTS];
    struct route_table *table, *untouched = (void *)&choices;
    uint32_t references[SLOTS];
    int rc = -ENOMEM;

    (void)state;
    random_choices(&choices, 1);
    model_init(&model);
    for (int i = 0; i < 8; i++) {
        model_change(&model, &choices, &changed);
        model_done(&model);
        model = changed;
    }
    for (size_t i = 0; i < SLOTS; i++) {
        changes[i].before = model.routes[i];
        changes[i].after = i % 4 ? generate_route(&choices, (unsigned)i) : NULL;
        references[i] = model.routes[i] ? model.routes[i]->references : 0;
    }
    for (size_t number = 1; rc == -ENOMEM; number++) {
        table = untouched;
        failing_number = allocations + number;
        rc = route_table_apply(model.table, changes, SLOTS, &table);
        failing_number = 0;
        if (rc == 0)
            assert_true(number > 50); /* or what was it that failed? */
        for (size_t i = 0; rc < 0 && i < SLOTS; i++) {
            assert_true(!changes[i].after || changes[i].after->references == 1);
            assert_true(!model.routes[i] || model.routes[i]->references == references[i]);
        }
        assert_true(rc == 0 || (rc == -ENOMEM && table == untouched));
        choices.used = 0;
        check_model(&model, &choices, 20);
    }
    assert_int_equal(rc, 0);
    route_table_unref(table);
    for (size_t i = 0; i < SLOTS; i++)
        route_unref(changes[i].after);
    model_done(&model);
}

static void without_memory_a_route_stays_unpacked(void **state)
{
    struct route *route = build_loose_route("a/b 1 - GET exact:/p | GET regex:/a.*"), *packed;

    (void)state;
    failing_number = allocations + 1;
    packed = route_pack(route);
    failing_number = 0;
    assert_ptr_equal(packed, route);
    assert_true(str_equal(packed->rules[0].matches[0].path, STR_LIT("/p")));
    route_unref(packed);
}

static struct route *numbered_route(unsigned number)
{
    char line[128];

    snprintf(line, sizeof(line), "ns/r%u 1 h%u.example.com GET template:/r%u/{id}", number,
             number % 97, number);
    return build_route(line);
}

/* Counted, not timed: a path of nodes is copied and nothing else. */
static void one_change_of_many_routes_takes_few_allocations(void **state)
{
    enum { ROUTES = 20000, FEW = 40 };
    struct route_change *changes = calloc(ROUTES, sizeof(*changes)), change;
    struct route_table *empty = route_table_new(), *table, *changed;
    size_t before;

    (void)state;
    assert_true(changes && empty);
    for (unsigned i = 0; i < ROUTES; i++)
        changes[i].after = numbered_route(i);
    assert_int_equal(route_table_apply(empty, changes, ROUTES, &table), 0);
    assert_int_equal(route_table_count(table), ROUTES);
    for (unsigned i = 0; i < ROUTES; i += ROUTES / 50) {
        change = (struct route_change){changes[i].after, numbered_route(i)};
        before = allocations;
        assert_int_equal(route_table_apply(table, &change, 1, &changed), 0);
        assert_true(allocations - before <= FEW);
        route_unref(change.after);
        route_table_unref(changed);
    }
    for (unsigned i = 0; i < ROUTES; i++)
        route_unref(changes[i].after);
    route_table_unref(table);
    route_table_unref(empty);
    free(changes);
}

static struct route_table *apply(const struct route_table *base, const struct route_change *changes,
                                 size_t count, size_t *ret_allocations)
{
    size_t before = allocations;
    struct route_table *table;

    assert_int_equal(route_table_apply(base, changes, count, &table), 0);
    *ret_allocations = allocations - before;
    return table;
}

/* A table that had many Routes and lost all, or all but one, is copied with as few allocations as
 * one that never had more: no node was left behind. */
static void removing_routes_leaves_nothing_behind(void **state)
{
    struct choices choices;
    struct route_table *tables[7];
    struct route_change add[SLOTS], drop[SLOTS], replace;
    size_t costs[7];

    (void)state;
    random_choices(&choices, 7);
    for (unsigned i = 0; i < SLOTS; i++) {
        add[i] = (struct route_change){NULL, generate_route(&choices, i)};
        drop[i] = (struct route_change){add[i].after, NULL};
    }
    replace = (struct route_change){add[0].after, add[0].after};
    tables[0] = route_table_new();
    assert_non_null(tables[0]);
    tables[1] = apply(tables[0], add, SLOTS, &costs[1]);
    tables[2] = apply(tables[1], drop + 1, SLOTS - 1, &costs[2]); /* one is left */
    tables[3] = apply(tables[2], &replace, 1, &costs[3]);
    tables[4] = apply(tables[2], drop, 1, &costs[4]); /* none is left */
    assert_int_equal(route_table_count(tables[4]), 0);
    tables[5] = apply(tables[4], add, 1, &costs[5]); /* always had one */
    tables[6] = apply(tables[5], &replace, 1, &costs[6]);
    assert_int_equal(costs[3], costs[6]);
    route_table_unref(tables[6]);
    tables[6] = apply(tables[4], add, SLOTS, &costs[6]);
    assert_int_equal(costs[1], costs[6]);
    for (size_t i = 0; i < 7; i++)
        route_table_unref(tables[i]);
    for (unsigned i = 0; i < SLOTS; i++)
        route_unref(add[i].after);
}

static bool note_rival(void *context, const struct route *rival, bool wins)
{
    struct line *line = context;

    line_add(line, "%s" STR_FMT "%s", line->used ? " " : "", STR_ARG(rival->label),
             wins ? "+" : "");
    return line->used < 20;
}

/* Who else asks exactly what the first match of the Route asks, best first. */
static void rivals_ask_exactly_the_same(void **state)
{
    static const char *const lines[] = {
        "a/1 3 h.com GET exact:/p",
        "a/2 2 h.com,*.com GET exact:/p",
        "a/3 1 h.com GET template:/p",
        "a/4 1 *.com GET exact:/p",
        "a/5 1 h.com ANY exact:/p",
        "a/6 1 h.com GET exact:/p h:a=1",
        "a/7 1 h.com GET exact:/p q:a=1",
        "a/8 1 h.com GET template:/p/{x}",
        "a/9 1 h.com GET exact:/q | GET template:/p/{y}",
        "b/1 1 h.com GET prefix:/p",
        "b/2 1 h.com GET template:/p/{rest...}",
        "b/3 1 - GET prefix:/",
        "b/4 1 - GET template:/{rest...}",
        "b/5 1 - GET regex:/a.",
        "b/6 2 - GET regex:/a.",
        "b/7 1 - GET regex:/b.",
    };
    static const struct {
        const char *line, *rivals;
    } questions[] = {
        {"a/1 3 h.com GET exact:/p", "a/3+ a/2+"},
        {"a/2 2 h.com GET exact:/p", "a/3+ a/1"},
        {"a/3 1 h.com GET template:/p", "a/2 a/1"},
        {"a/2 2 *.com GET exact:/p", "a/4+"},
        {"x/x 1 h.com ANY exact:/p", "a/5+"},
        {"x/x 1 h.com GET exact:/p h:a=1", "a/6+"},
        {"x/x 1 h.com GET exact:/p h:a=2", ""},
        {"x/x 1 h.com GET exact:/p h:b=1", ""},
        {"x/x 1 h.com GET exact:/p q:a=1", "a/7+"},
        {"x/x 1 h.com GET template:/p/{z}", "a/8+ a/9+"},
        {"b/1 1 h.com GET prefix:/p", ""},
        {"b/2 1 h.com GET template:/p/{rest...}", ""},
        {"b/3 1 - GET prefix:/", "b/4+"},
        {"x/x 1 - GET template:/{all...}", "b/4+ b/3"},
        {"x/x 9 - ANY template:/{all...}", "b/3"},
        {"x/x 1 - ANY prefix:/", ""},
        {"x/x 1 - HEAD prefix:/ h:a=1", "b/4+"},
        {"x/x 1 - GET template:/{all...} h:a=1", ""},
        {"x/x 1 - GET regex:/a.", "b/5+ b/6"},
        {"x/x 1 - GET exact:/nowhere", ""},
        {"x/x 1 i.com GET exact:/p", ""},
        {"x/x 1 h.com GET template:/p/{z} q:a=1", ""},
    };
    enum { LINES = sizeof(lines) / sizeof(lines[0]) };
    struct route_change changes[LINES];
    struct route_table *empty = route_table_new(), *table;
    struct line found;

    (void)state;
    assert_non_null(empty);
    for (size_t i = 0; i < LINES; i++)
        changes[i] = (struct route_change){NULL, build_route(lines[i])};
    assert_int_equal(route_table_apply(empty, changes, LINES, &table), 0);
    for (size_t i = 0; i < sizeof(questions) / sizeof(questions[0]); i++) {
        struct route *route = build_route(questions[i].line);

        found = (struct line){.used = 0};
        route_table_each_rival(table, route, &route->rules[0].matches[0],
                               route->hostname_count ? route->hostnames[0] : STR_LIT(""),
                               note_rival, &found);
        assert_string_equal(found.text, questions[i].rivals);
        route_unref(route);
    }
    route_table_unref(table);
    route_table_unref(empty);
    for (size_t i = 0; i < LINES; i++)
        route_unref(changes[i].after);
}

static bool stop_at_once(void *context, const struct route *rival, bool wins)
{
    (void)rival, (void)wins;
    ++*(int *)context;
    return false;
}

static void the_search_for_rivals_stops_when_told(void **state)
{
    struct route_change changes[] = {
        {NULL, build_route("a/1 1 - GET exact:/p")},
        {NULL, build_route("a/2 1 - GET exact:/p")},
        {NULL, build_route("a/3 1 - GET exact:/p")},
    };
    struct route_table *empty = route_table_new(), *table;
    int visits = 0;

    (void)state;
    assert_non_null(empty);
    assert_int_equal(route_table_apply(empty, changes, 3, &table), 0);
    route_table_each_rival(table, changes[0].after, &changes[0].after->rules[0].matches[0],
                           STR_LIT(""), stop_at_once, &visits);
    assert_int_equal(visits, 1);
    route_table_unref(table);
    route_table_unref(empty);
    for (int i = 0; i < 3; i++)
        route_unref(changes[i].after);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_answer_like_the_naive_matcher_while_others_are_made_from_them),
        cmocka_unit_test(without_memory_nothing_happens_whichever_allocation_fails),
        cmocka_unit_test(without_memory_a_route_stays_unpacked),
        cmocka_unit_test(one_change_of_many_routes_takes_few_allocations),
        cmocka_unit_test(removing_routes_leaves_nothing_behind),
        cmocka_unit_test(rivals_ask_exactly_the_same),
        cmocka_unit_test(the_search_for_rivals_stops_when_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
