#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the above first. */
#include <cmocka.h>

#include <errno.h>

#include "lib/base/buffer.h"

#define assert_holds(buffer, text)                                        \
    do {                                                                  \
        assert_int_equal(buffer_length(buffer), strlen(text));            \
        assert_memory_equal(buffer_view(buffer).ptr, text, strlen(text)); \
    } while (0)

static void appends_come_out_at_the_front_in_order(void **state)
{
    struct buffer buffer;

    (void)state;
    buffer_init(&buffer, 1000);
    assert_int_equal(buffer_append_str(&buffer, STR_LIT("one ")), 0);
    assert_int_equal(buffer_append(&buffer, "0", 1), 0);
    assert_int_equal(buffer_append_byte(&buffer, ' '), 0);
    assert_int_equal(buffer_printf(&buffer, "%s", "more end"), 0);
    assert_holds(&buffer, "one 0 more end");
    buffer_consume(&buffer, 4);
    assert_holds(&buffer, "0 more end");
    buffer_truncate(&buffer, 1);
    assert_holds(&buffer, "0");
    buffer_done(&buffer);
}

static void a_failed_append_changes_nothing_and_the_limit_is_exact(void **state)
{
    struct buffer buffer;

    (void)state;
    buffer_init(&buffer, 10);
    assert_int_equal(buffer_append(&buffer, "12345678", 8), 0);
    assert_int_equal(buffer_append(&buffer, "abc", 3), -ENOBUFS);
    assert_int_equal(buffer_printf(&buffer, "%d", 123), -ENOBUFS);
    assert_null(buffer_reserve(&buffer, 3));
    assert_holds(&buffer, "12345678");
    assert_int_equal(buffer_printf(&buffer, "%d", 90), 0);
    assert_holds(&buffer, "1234567890");
    assert_int_equal(buffer_append(&buffer, "x", 1), -ENOBUFS);
    buffer_consume(&buffer, 1); /* what was consumed no longer counts */
    assert_int_equal(buffer_append(&buffer, "x", 1), 0);
    assert_holds(&buffer, "234567890x");
    buffer_done(&buffer);
}

static void a_stream_through_a_small_buffer_stays_whole(void **state)
{
    struct buffer buffer;
    unsigned written = 0, read = 0;

    (void)state;
    buffer_init(&buffer, 1000);
    while (read < 100000) {
        for (int i = 0; i < 37 && buffer_append_byte(&buffer, (char)written) == 0; i++)
            written++;
        for (int i = 0; i < 31 && buffer_length(&buffer); i++) {
            assert_int_equal((unsigned char)*buffer_view(&buffer).ptr, (unsigned char)read);
            buffer_consume(&buffer, 1);
            read++;
        }
    }
    assert_true(buffer.capacity <= 1000);
    buffer_done(&buffer);
}

static void clearing_gives_back_what_is_more_than_to_keep(void **state)
{
    struct buffer buffer;

    (void)state;
    buffer_init(&buffer, 100000);
    assert_non_null(buffer_reserve(&buffer, 50000));
    buffer_clear(&buffer, 60000);
    assert_true(buffer.capacity >= 50000);
    buffer_clear(&buffer, 1000);
    assert_int_equal(buffer.capacity, 0);
    assert_int_equal(buffer_length(&buffer), 0);
    assert_int_equal(buffer_append(&buffer, "x", 1), 0);
    buffer_done(&buffer);
}

static void an_empty_buffer_has_an_empty_view(void **state)
{
    struct buffer buffer;

    (void)state;
    buffer_init(&buffer, 0);
    assert_int_equal(buffer_view(&buffer).len, 0);
    assert_int_equal(buffer_append(&buffer, NULL, 0), 0);
    assert_int_equal(buffer_append(&buffer, "x", 1), -ENOBUFS);
    assert_non_null(buffer_reserve(&buffer, 0));
    buffer_done(&buffer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(appends_come_out_at_the_front_in_order),
        cmocka_unit_test(a_failed_append_changes_nothing_and_the_limit_is_exact),
        cmocka_unit_test(a_stream_through_a_small_buffer_stays_whole),
        cmocka_unit_test(clearing_gives_back_what_is_more_than_to_keep),
        cmocka_unit_test(an_empty_buffer_has_an_empty_view),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
