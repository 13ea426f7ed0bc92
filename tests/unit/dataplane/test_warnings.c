/* warnings: what keeps a worker that fails all the time from filling the log. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the above first. */
#include <cmocka.h>

#include "dataplane/warnings.h"

static void a_trouble_is_due_once_a_minute(void **state)
{
    struct warnings warnings = {0};
    struct str uid = STR_LIT("a");

    (void)state;
    assert_true(warnings_due(&warnings, uid, 1, 5));
    assert_false(warnings_due(&warnings, uid, 1, 5));
    assert_false(warnings_due(&warnings, uid, 1, 60004));
    assert_true(warnings_due(&warnings, uid, 1, 60005));
    assert_false(warnings_due(&warnings, uid, 1, 60006));
}

static void routes_and_kinds_do_not_silence_each_other(void **state)
{
    struct warnings warnings = {0};

    (void)state;
    assert_true(warnings_due(&warnings, STR_LIT("a"), 1, 5));
    assert_true(warnings_due(&warnings, STR_LIT("a"), 2, 5));
    assert_true(warnings_due(&warnings, STR_LIT("b"), 1, 5));
    assert_false(warnings_due(&warnings, STR_LIT("a"), 1, 5));
    assert_false(warnings_due(&warnings, STR_LIT("a"), 2, 5));
    assert_false(warnings_due(&warnings, STR_LIT("b"), 1, 5));
}

static void only_the_oldest_makes_room_for_one_more(void **state)
{
    struct warnings warnings = {0};

    (void)state;
    for (unsigned kind = 0; kind <= WARNINGS_MAX; kind++)
        assert_true(warnings_due(&warnings, STR_LIT("a"), kind, 5));
    for (unsigned kind = 1; kind <= WARNINGS_MAX; kind++)
        assert_false(warnings_due(&warnings, STR_LIT("a"), kind, 6));
    assert_true(warnings_due(&warnings, STR_LIT("a"), 0, 6));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_trouble_is_due_once_a_minute),
        cmocka_unit_test(routes_and_kinds_do_not_silence_each_other),
        cmocka_unit_test(only_the_oldest_makes_room_for_one_more),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
