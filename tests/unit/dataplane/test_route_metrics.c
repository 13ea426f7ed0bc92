/* route_metrics: counting by slot, one series per name on the page. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after those */
#include <cmocka.h>
#include <stdlib.h>

#include "dataplane/route_metrics.h"

static struct route_metrics one, two, sum;
static struct buffer page;

static int set_up(void **state)
{
    (void)state;
    buffer_init(&page, 1 << 20);
    return route_metrics_init(&one, 3) || route_metrics_init(&two, 3) ||
           route_metrics_init(&sum, 6);
}

static int tear_down(void **state)
{
    (void)state;
    route_metrics_done(&one);
    route_metrics_done(&two);
    route_metrics_done(&sum);
    buffer_done(&page);
    return 0;
}

static void count(struct route_metrics *metrics, uint32_t slot, const char *label, unsigned status)
{
    const struct route route = {.slot = slot, .label = str_from(label)};

    route_metrics_count(metrics, &route, status, 2000000);
}

/* The value of the sample that begins so on the page of both; -1: it is not there, or twice. */
static long sample(const char *start)
{
    const char *at, *text;

    if (!buffer_length(&page)) {
        route_metrics_merge(&sum, &one);
        route_metrics_merge(&sum, &two);
        assert_int_equal(route_metrics_write(&sum, &page), 0);
        assert_int_equal(buffer_append_byte(&page, '\0'), 0);
    }
    text = buffer_view(&page).ptr;
    at = strstr(text, start);
    if (!at || strstr(at + 1, start))
        return -1;
    return strtol(at + strlen(start), NULL, 10);
}

#define REQUESTS(ns, name, class)                                               \
    sample("metropolis_route_requests_total{namespace=\"" ns "\",route=\"" name \
           "\",status=\"" class "\"} ")

static void loops_add_up_by_name(void **state)
{
    (void)state;
    count(&one, 0, "shop/orders", 200);
    count(&one, 0, "shop/orders", 204);
    count(&two, 0, "shop/orders", 503);
    count(&two, 0, "shop/orders", 200);
    count(&one, 1, "a/b.c", 302);
    assert_int_equal(REQUESTS("shop", "orders", "2xx"), 3);
    assert_int_equal(REQUESTS("shop", "orders", "5xx"), 1);
    assert_int_equal(REQUESTS("a", "b.c", "3xx"), 1);
    assert_int_equal(REQUESTS("shop", "orders", "4xx"), -1);
    assert_int_equal(sample("metropolis_route_duration_seconds_count{namespace=\"shop\",route="
                            "\"orders\"} "),
                     4);
    assert_int_equal(sample("metropolis_route_duration_seconds_bucket{namespace=\"shop\",route="
                            "\"orders\",le=\"0.001\"} "),
                     0);
    assert_int_equal(sample("\nmetropolis_route_uncounted_total "), 0);
}

static void a_slot_that_another_route_takes_over_begins_anew(void **state)
{
    (void)state;
    count(&one, 0, "n/old", 200);
    count(&two, 0, "n/old", 200);
    count(&one, 0, "n/new", 200); /* the other loop has not seen it yet */
    count(&one, 2, "n/old", 200); /* and the old one is back, elsewhere */
    assert_int_equal(REQUESTS("n", "old", "2xx"), 2);
    assert_int_equal(REQUESTS("n", "new", "2xx"), 1);
}

static void routes_beyond_the_bound_are_counted_together(void **state)
{
    (void)state;
    count(&one, 3, "n/a", 200);
    count(&two, UINT32_MAX, "n/b", 200);
    assert_int_equal(sample("\nmetropolis_route_uncounted_total "), 2);
    assert_int_equal(REQUESTS("n", "a", "2xx"), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(loops_add_up_by_name, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_slot_that_another_route_takes_over_begins_anew, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(routes_beyond_the_bound_are_counted_together, set_up,
                                        tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
