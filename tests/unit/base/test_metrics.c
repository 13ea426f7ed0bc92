#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the above first. */
#include <cmocka.h>

#include <errno.h>
#include <math.h>

#include "lib/base/metrics.h"

static void assert_page(struct buffer *page, const char *text)
{
    assert_int_equal(buffer_append_byte(page, '\0'), 0);
    assert_string_equal(buffer_view(page).ptr, text);
    buffer_done(page);
}

static void a_page_is_written_as_the_text_format_wants_it(void **state)
{
    struct buffer page, labels;

    (void)state;
    buffer_init(&page, 4096);
    buffer_init(&labels, 256);
    assert_int_equal(metrics_label(&labels, "route", STR_LIT("shop/\"a\\b\"\n")), 0);
    assert_int_equal(metrics_label(&labels, "code", STR_LIT("200")), 0);
    assert_int_equal(buffer_append_byte(&labels, '\0'), 0);
    metrics_family(&page, "metropolis_requests_total", METRICS_COUNTER,
                   "Requests.\nA \\ and \"q\".");
    metrics_sample(&page, "metropolis_requests_total", buffer_view(&labels).ptr,
                   9007199254740991.0);
    metrics_sample(&page, "metropolis_requests_total", "", 0);
    metrics_family(&page, "metropolis_share", METRICS_GAUGE, "Share.");
    metrics_sample(&page, "metropolis_share", "", 0.1);
    metrics_sample(&page, "metropolis_share", "", -2.5e-7);
    metrics_sample(&page, "metropolis_share", "", 1.0 / 3);
    metrics_sample(&page, "metropolis_share", "", NAN);
    metrics_sample(&page, "metropolis_share", "", -INFINITY);
    buffer_done(&labels);
    assert_page(&page, "# HELP metropolis_requests_total Requests.\\nA \\\\ and \"q\".\n"
                       "# TYPE metropolis_requests_total counter\n"
                       "metropolis_requests_total{route=\"shop/\\\"a\\\\b\\\"\\n\",code=\"200\"} "
                       "9007199254740991\n"
                       "metropolis_requests_total 0\n"
                       "# HELP metropolis_share Share.\n"
                       "# TYPE metropolis_share gauge\n"
                       "metropolis_share 0.1\n"
                       "metropolis_share -2.5e-07\n"
                       "metropolis_share 0.3333333333333333\n"
                       "metropolis_share NaN\n"
                       "metropolis_share -Inf\n");
}

static void a_duration_equal_to_a_bound_counts_below_it(void **state)
{
    (void)state;
    for (size_t i = 0; i < METRICS_BOUNDS; i++) {
        struct metrics_histogram histogram = {0};
        uint64_t bound_ns = (uint64_t)(metrics_bounds_s[i] * 1e9 + 0.5);

        metrics_histogram_add(&histogram, bound_ns);
        metrics_histogram_add(&histogram, bound_ns + 1);
        assert_int_equal(histogram.counts[i], 1);
        assert_int_equal(histogram.counts[i + 1], 1);
    }
}

static void a_histogram_is_cumulative_and_ends_in_inf_sum_and_count(void **state)
{
    struct metrics_histogram one = {0}, sum = {0};
    struct buffer page;
    struct str text;

    (void)state;
    metrics_histogram_add(&one, 50000);
    metrics_histogram_add(&one, 2000000000);
    metrics_histogram_add(&one, 100000000000);
    metrics_histogram_merge(&sum, &one);
    metrics_histogram_merge(&sum, &one);
    buffer_init(&page, 65536);
    assert_int_equal(metrics_histogram_write(&page, "d_seconds", "a=\"b\"", &sum), 0);
    assert_int_equal(buffer_append_byte(&page, '\0'), 0);
    text = buffer_view(&page);
    assert_true(str_starts_with(text, STR_LIT("d_seconds_bucket{a=\"b\",le=\"0.0001\"} 2\n")));
    assert_non_null(strstr(text.ptr, "d_seconds_bucket{a=\"b\",le=\"1\"} 2\n"));
    assert_non_null(strstr(text.ptr, "d_seconds_bucket{a=\"b\",le=\"2.5\"} 4\n"));
    assert_non_null(strstr(text.ptr, "d_seconds_bucket{a=\"b\",le=\"60\"} 4\n"
                                     "d_seconds_bucket{a=\"b\",le=\"+Inf\"} 6\n"
                                     "d_seconds_sum{a=\"b\"} 204.0001\n"
                                     "d_seconds_count{a=\"b\"} 6\n"));
    buffer_clear(&page, 0);
    assert_int_equal(metrics_histogram_write(&page, "d", "", &sum), 0);
    assert_int_equal(buffer_append_byte(&page, '\0'), 0);
    assert_non_null(strstr(buffer_view(&page).ptr, "d_bucket{le=\"+Inf\"} 6\nd_sum 204.0001\n"
                                                   "d_count 6\n"));
    buffer_done(&page);
}

static void a_full_page_ends_with_a_whole_line(void **state)
{
    struct metrics_histogram histogram = {0};

    (void)state;
    for (size_t limit = 0; limit < 300; limit++) {
        struct buffer page;
        struct str text;
        int r;

        buffer_init(&page, limit);
        r = metrics_family(&page, "name", METRICS_COUNTER, "Help.");
        assert_true(r == 0 || r == -ENOBUFS);
        r = metrics_sample(&page, "name", "a=\"b\"", 0.25);
        assert_true(r == 0 || r == -ENOBUFS);
        assert_int_equal(metrics_histogram_write(&page, "histogram", "", &histogram), -ENOBUFS);
        text = buffer_view(&page);
        assert_true(text.len == 0 || text.ptr[text.len - 1] == '\n');
        buffer_done(&page);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_page_is_written_as_the_text_format_wants_it),
        cmocka_unit_test(a_duration_equal_to_a_bound_counts_below_it),
        cmocka_unit_test(a_histogram_is_cumulative_and_ends_in_inf_sum_and_count),
        cmocka_unit_test(a_full_page_ends_with_a_whole_line),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
