/*
 * metrics: text format 0.0.4 of Prometheus, written append-only into a page.
 *
 * A histogram has one writer. It and its readers use relaxed atomics, which cost nothing on the
 * machines that we know and make a torn count impossible. A reader may see a count whose sum is not
 * there yet; scrapes are seconds apart and do not care.
 *
 * Each call appends all of what it has to say or nothing, so a page that met its limit still ends
 * with a whole line.
 */
#include "lib/base/metrics.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

const double metrics_bounds_s[METRICS_BOUNDS] = {
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
    0.25,   0.5,     1,      2.5,   5,      10,    15,   20,    30,   60,
};

static void count_add(uint64_t *count, uint64_t more)
{
    __atomic_store_n(count, __atomic_load_n(count, __ATOMIC_RELAXED) + more, __ATOMIC_RELAXED);
}

static uint64_t count_read(const uint64_t *count)
{
    return __atomic_load_n(count, __ATOMIC_RELAXED);
}

void metrics_histogram_add(struct metrics_histogram *histogram, uint64_t duration_ns)
{
    double duration_s = (double)duration_ns / 1e9; /* a division, so that bounds compare equal */
    size_t bucket = 0;

    while (bucket < METRICS_BOUNDS && duration_s > metrics_bounds_s[bucket])
        bucket++;
    count_add(&histogram->counts[bucket], 1);
    count_add(&histogram->sum_ns, duration_ns);
}

void metrics_histogram_merge(struct metrics_histogram *into, const struct metrics_histogram *from)
{
    for (size_t i = 0; i <= METRICS_BOUNDS; i++)
        into->counts[i] += count_read(&from->counts[i]);
    into->sum_ns += count_read(&from->sum_ns);
}

uint64_t metrics_histogram_count(const struct metrics_histogram *histogram)
{
    uint64_t count = 0;

    for (size_t i = 0; i <= METRICS_BOUNDS; i++)
        count += count_read(&histogram->counts[i]);
    return count;
}

/* Cuts the page back to length when result is an error; returns result. */
static int page_settle(struct buffer *page, size_t length, int result)
{
    if (result < 0)
        buffer_truncate(page, length);
    return result;
}

/* quotes: escape them too, as label values need it and help texts do not. */
static int escaped_append(struct buffer *page, struct str text, bool quotes)
{
    int r = 0;

    for (size_t i = 0; i < text.len && r >= 0; i++) {
        char c = text.ptr[i];

        if (c == '\n')
            r = buffer_append(page, "\\n", 2);
        else if (c == '\\' || (quotes && c == '"'))
            r = buffer_printf(page, "\\%c", c);
        else
            r = buffer_append_byte(page, c);
    }
    return r;
}

int metrics_family(struct buffer *page, const char *name, enum metrics_type type, const char *help)
{
    static const char *const types[] = {"counter", "gauge", "histogram"};
    size_t length = buffer_length(page);
    int r;

    r = buffer_printf(page, "# HELP %s ", name);
    if (r >= 0)
        r = escaped_append(page, str_from(help), false);
    if (r >= 0)
        r = buffer_printf(page, "\n# TYPE %s %s\n", name, types[type]);
    return page_settle(page, length, r);
}

/* The shortest text that reads back as the same number. */
static int value_append(struct buffer *page, double value)
{
    char text[32];

    if (isnan(value))
        return buffer_append(page, "NaN", 3);
    if (isinf(value))
        return buffer_append(page, value > 0 ? "+Inf" : "-Inf", 4);
    if (value > -1e15 && value < 1e15 && value == (double)(long long)value)
        return buffer_printf(page, "%.0f", value);
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    return buffer_append_str(page, str_from(text));
}

int metrics_sample(struct buffer *page, const char *name, const char *labels, double value)
{
    size_t length = buffer_length(page);
    int r;

    r = *labels ? buffer_printf(page, "%s{%s} ", name, labels) : buffer_printf(page, "%s ", name);
    if (r >= 0)
        r = value_append(page, value);
    if (r >= 0)
        r = buffer_append_byte(page, '\n');
    return page_settle(page, length, r);
}

static int bucket_append(struct buffer *page, const char *name, const char *labels, double bound_s,
                         uint64_t count)
{
    int r = buffer_printf(page, "%s_bucket{%s%sle=\"", name, labels, *labels ? "," : "");

    if (r >= 0)
        r = value_append(page, bound_s);
    return r < 0 ? r : buffer_printf(page, "\"} %llu\n", (unsigned long long)count);
}

int metrics_histogram_write(struct buffer *page, const char *name, const char *labels,
                            const struct metrics_histogram *histogram)
{
    size_t length = buffer_length(page);
    const char *open = *labels ? "{" : "", *close = *labels ? "}" : "";
    uint64_t count = 0;
    int r = 0;

    for (size_t i = 0; i <= METRICS_BOUNDS && r >= 0; i++) {
        count += count_read(&histogram->counts[i]);
        r = bucket_append(page, name, labels, i < METRICS_BOUNDS ? metrics_bounds_s[i] : INFINITY,
                          count);
    }
    if (r >= 0)
        r = buffer_printf(page, "%s_sum%s%s%s ", name, open, labels, close);
    if (r >= 0)
        r = value_append(page, (double)count_read(&histogram->sum_ns) / 1e9);
    if (r >= 0)
        r = buffer_printf(page, "\n%s_count%s%s%s %llu\n", name, open, labels, close,
                          (unsigned long long)count);
    return page_settle(page, length, r);
}

int metrics_label(struct buffer *labels, const char *name, struct str value)
{
    size_t length = buffer_length(labels);
    int r;

    r = buffer_printf(labels, "%s%s=\"", length ? "," : "", name);
    if (r >= 0)
        r = escaped_append(labels, value, true);
    if (r >= 0)
        r = buffer_append_byte(labels, '"');
    return page_settle(labels, length, r);
}
