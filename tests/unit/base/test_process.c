/* The process's own figures: of the right size, and moving the right way. */
#include "lib/base/process.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static double value_of(const char *name)
{
    struct buffer page;
    const char *line;
    double value;

    buffer_init(&page, 64 * 1024);
    assert_int_equal(process_metrics(&page), 0);
    assert_int_equal(buffer_append_byte(&page, '\0'), 0);
    line = strstr(buffer_view(&page).ptr, name);
    while (line && line[-1] != '\n') /* not in HELP or TYPE */
        line = strstr(line + 1, name);
    if (!line)
        fail_msg("no %s in %s", name, buffer_view(&page).ptr);
    value = strtod(line + strlen(name), NULL);
    buffer_done(&page);
    return value;
}

static void test_memory_grows_with_what_is_touched(void **state)
{
    enum { SIZE = 64 * 1024 * 1024 };
    double before = value_of("process_resident_memory_bytes ");
    char *memory = malloc(SIZE);

    (void)state;
    assert_non_null(memory);
    memset(memory, 1, SIZE);
    assert_true(value_of("process_resident_memory_bytes ") - before > SIZE / 2);
    assert_true(value_of("process_virtual_memory_bytes ") > SIZE);
    free(memory);
}

static void test_a_descriptor_more_counts_as_one(void **state)
{
    double before = value_of("process_open_fds ");
    int fd = open("/dev/null", O_RDONLY);

    (void)state;
    assert_true(fd >= 0);
    assert_true(value_of("process_open_fds ") == before + 1);
    close(fd);
    assert_true(value_of("process_open_fds ") == before);
    assert_true(value_of("process_max_fds ") >= before);
}

static void test_time_passes(void **state)
{
    double before = value_of("process_cpu_seconds_total ");
    clock_t end = clock() + CLOCKS_PER_SEC / 10;
    double started = value_of("process_start_time_seconds "), now = (double)time(NULL);

    (void)state;
    while (clock() < end)
        ;
    assert_true(value_of("process_cpu_seconds_total ") - before > 0.05);
    assert_true(started > now - 600 && started < now + 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory_grows_with_what_is_touched),
        cmocka_unit_test(test_a_descriptor_more_counts_as_one),
        cmocka_unit_test(test_time_passes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
