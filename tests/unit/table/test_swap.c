/* Who may still reach what: tables and Routes go when no loop can, and not before. */
#include "dataplane/table/swap.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/wire/table_codec.h"

static struct route *make_route(const char *key, int number)
{
    struct route_spec_error error;
    struct route *route = NULL;
    char value[512];

    snprintf(value, sizeof(value),
             "{\"format\":1,\"uid\":\"u\",\"generation\":%d,\"created\":1,\"spec\":{\"rules\":"
             "[{\"matches\":[{\"path\":{\"type\":\"Exact\",\"value\":\"/r\"}}],"
             "\"backends\":[{\"subject\":\"r.v%d\"}]}]}}",
             number, number);
    if (table_entry_read(str_from(key), str_from(value), &route, &error))
        fail_msg("%s", error.text);
    return route;
}

/* The table in which after stands where before stood; and what the watcher does around it. */
static struct route_table *next_table(struct route_table *base, struct route *before,
                                      struct route *after)
{
    struct route_change change = {before, after};
    struct route_table *empty = base ? NULL : route_table_new(), *table = NULL;

    assert_int_equal(route_table_apply(base ? base : empty, &change, 1, &table), 0);
    route_table_unref(empty);
    return table;
}

static unsigned freed_count;
static struct route *freed_last;

static void on_freed(void *context, struct route *route)
{
    (void)context;
    freed_count++;
    freed_last = route;
}

static void a_route_goes_when_every_loop_is_past_it(void **state)
{
    struct swap *swap = swap_new(2);
    struct route *first = make_route("route.ns.r", 1), *second = make_route("route.ns.r", 2);
    struct route_table *table_one = next_table(NULL, NULL, first);
    struct route_table *table_two = next_table(table_one, first, second);
    struct swap_view views[2] = {{0}};
    uint64_t number;

    (void)state;
    freed_count = 0;
    assert_false(swap_adopt(swap, 0, &views[0]));
    assert_null(views[0].table);
    assert_int_equal(swap_applied(swap, NULL), 0);
    assert_int_equal(swap_publish(swap, table_one, 10, NULL, 0), 1);
    assert_true(swap_adopt(swap, 0, &views[0]));
    assert_int_equal(views[0].revision, 10);
    assert_int_equal(swap_applied(swap, &number), 0); /* loop 1 has nothing yet */
    assert_int_equal(number, 0);
    assert_true(swap_adopt(swap, 1, &views[1]));
    assert_ptr_equal(views[1].table, table_one);
    assert_int_equal(swap_applied(swap, &number), 10);
    assert_int_equal(number, 1);
    swap_report(swap, 0, 1);
    swap_report(swap, 1, 1);

    assert_int_equal(swap_publish(swap, table_two, 20, &first, 1), 2);
    swap_collect(swap, on_freed, NULL);
    assert_int_equal(freed_count, 0); /* both still read version 1 */
    assert_true(swap_adopt(swap, 0, &views[0]));
    swap_report(swap, 0, 2);
    /* But an exchange of loop 1 began under version 1. */
    assert_true(swap_adopt(swap, 1, &views[1]));
    assert_int_equal(swap_applied(swap, NULL), 20);
    swap_collect(swap, on_freed, NULL);
    assert_int_equal(freed_count, 0);
    assert_string_equal(first->rules[0].backends[0].subject.ptr, "r.v1"); /* it may be read */
    swap_report(swap, 1, 2);
    swap_collect(swap, on_freed, NULL);
    assert_int_equal(freed_count, 1);
    assert_ptr_equal(freed_last, first);
    route_unref(second); /* the watcher's */
    swap_free(swap);
}

static unsigned woken[3], adopted;

static void wake(void *context, unsigned loop)
{
    assert_ptr_equal(context, woken);
    woken[loop]++;
}

static void on_adopted(void *context)
{
    (*(unsigned *)context)++;
}

static void handlers_set_apart_are_both_called(void **state)
{
    struct swap *swap = swap_new(3);

    (void)state;
    swap_on_wake(swap, wake, woken);
    swap_on_adopted(swap, on_adopted, &adopted);
    swap_publish(swap, route_table_new(), 1, NULL, 0);
    for (unsigned loop = 0; loop < 3; loop++) {
        struct swap_view view = {0};

        assert_int_equal(woken[loop], 1);
        assert_true(swap_adopt(swap, loop, &view));
        assert_false(swap_adopt(swap, loop, &view)); /* and nobody is told again */
        assert_int_equal(view.revision, 1);
    }
    assert_int_equal(adopted, 3);
    swap_free(swap);
}

/* ---- several loops at once; for the sanitizers ---- */

enum { LOOPS = 3, VERSIONS = 3000, EXCHANGES = 8 };

struct reader {
    pthread_t thread;
    struct swap *swap;
    unsigned loop;
    atomic_bool *stop;
    unsigned long reads;
};

/* All Routes of a table: one. */
static bool keep_rival(void *context, const struct route *rival, bool wins)
{
    (void)wins;
    *(const struct route **)context = rival;
    return false;
}

/* Adopts, begins exchanges that outlive their table, and reads their Routes at the end. */
static void *reader_run(void *context)
{
    struct reader *reader = context;
    struct exchange {
        const struct route *route;
        uint64_t version;
    } exchanges[EXCHANGES] = {{0}};
    struct route *pattern = make_route("route.ns.other", 0);
    struct swap_view view = {0};
    uint64_t oldest;

    for (unsigned i = 0; !atomic_load(reader->stop); i++) {
        struct exchange *exchange = &exchanges[i % EXCHANGES];

        swap_adopt(reader->swap, reader->loop, &view);
        if (!view.table) {
            sched_yield();
            continue;
        }
        if (exchange->route)
            reader->reads += exchange->route->rules[0].backends[0].subject.len;
        exchange->version = view.number;
        exchange->route = NULL;
        route_table_each_rival(view.table, pattern, &pattern->rules[0].matches[0], STR_LIT(""),
                               keep_rival, &exchange->route);
        oldest = view.number;
        for (int j = 0; j < EXCHANGES; j++)
            if (exchanges[j].route && exchanges[j].version < oldest)
                oldest = exchanges[j].version;
        swap_report(reader->swap, reader->loop, oldest);
    }
    route_unref(pattern);
    return NULL;
}

static void loops_read_while_the_table_thread_frees(void **state)
{
    struct swap *swap = swap_new(LOOPS);
    struct route_table *table = NULL, *next;
    struct route *route = NULL, *after;
    struct reader readers[LOOPS];
    atomic_bool stop = false;

    (void)state;
    freed_count = 0;
    for (unsigned i = 0; i < LOOPS; i++) {
        readers[i] = (struct reader){.swap = swap, .loop = i, .stop = &stop};
        pthread_create(&readers[i].thread, NULL, reader_run, &readers[i]);
    }
    for (int i = 1; i <= VERSIONS; i++) {
        after = make_route("route.ns.r", i);
        next = next_table(table, route, after);
        assert_int_equal(swap_publish(swap, route_table_ref(next), (uint64_t)i, &route, i > 1), i);
        route_table_unref(table);
        table = next;
        route = after;
        swap_collect(swap, on_freed, NULL);
        if (i % 16 == 0)
            sched_yield();
    }
    while (freed_count < VERSIONS - 1) { /* in the end only the newest is left */
        swap_collect(swap, on_freed, NULL);
        sched_yield();
    }
    atomic_store(&stop, true);
    for (unsigned i = 0; i < LOOPS; i++) {
        pthread_join(readers[i].thread, NULL);
        assert_true(readers[i].reads > 0);
    }
    assert_int_equal(swap_applied(swap, NULL), VERSIONS);
    route_table_unref(table);
    route_unref(route);
    swap_free(swap);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_route_goes_when_every_loop_is_past_it),
        cmocka_unit_test(handlers_set_apart_are_both_called),
        cmocka_unit_test(loops_read_while_the_table_thread_frees),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
