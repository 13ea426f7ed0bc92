#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the above first. */
#include <cmocka.h>

#include <stdalign.h>

#include "lib/base/arena.h"

static void what_is_taken_is_zeroed_aligned_and_apart(void **state)
{
    struct arena arena;
    unsigned char *taken[200];

    (void)state;
    arena_init(&arena, 1 << 20);
    for (size_t i = 0; i < 200; i++) {
        taken[i] = arena_take(&arena, i);
        assert_non_null(taken[i]);
        assert_int_equal((uintptr_t)taken[i] % alignof(max_align_t), 0);
        for (size_t j = 0; j < i; j++)
            assert_int_equal(taken[i][j], 0);
        memset(taken[i], 0xFF, i);
    }
    for (size_t i = 1; i < 200; i++)
        assert_ptr_not_equal(taken[i - 1], taken[i]);
    arena_done(&arena);
}

static void used_memory_is_zeroed_again_after_a_reset(void **state)
{
    struct arena arena;
    unsigned char *first, *again;

    (void)state;
    arena_init(&arena, 1 << 20);
    first = arena_take(&arena, 100);
    memset(first, 0xFF, 100);
    for (int i = 0; i < 50; i++)
        assert_non_null(arena_take(&arena, 1000));
    arena_reset(&arena);
    assert_int_equal(arena.used, 0);
    again = arena_take(&arena, 100);
    assert_ptr_equal(again, first); /* the first chunk was kept */
    assert_int_equal(again[0] | again[99], 0);
    arena_done(&arena);
}

static void the_limit_counts_every_byte_and_is_exact(void **state)
{
    struct arena arena;

    (void)state;
    arena_init(&arena, 3000);
    assert_null(arena_take(&arena, 3001));
    assert_non_null(arena_take(&arena, 2990));
    assert_null(arena_copy(&arena, STR_LIT("0123456789")).ptr);
    assert_string_equal(arena_copy(&arena, STR_LIT("012345678")).ptr, "012345678");
    assert_int_equal(arena.used, 3000);
    assert_null(arena_copy(&arena, STR_LIT("")).ptr);
    assert_null(arena_printf(&arena, "x").ptr);
    arena_done(&arena);
}

static void an_array_whose_size_overflows_is_refused(void **state)
{
    struct arena arena;

    (void)state;
    arena_init(&arena, SIZE_MAX);
    assert_null(arena_take_array(&arena, SIZE_MAX / 8 + 1, 16));
    assert_null(arena_take(&arena, SIZE_MAX));
    arena_done(&arena);
}

static void copies_end_in_nul_even_of_nothing(void **state)
{
    struct arena arena;
    struct str copy;

    (void)state;
    arena_init(&arena, 4096);
    copy = arena_copy(&arena, str_make(NULL, 0));
    assert_int_equal(copy.len, 0);
    assert_string_equal(copy.ptr, "");
    copy = arena_printf(&arena, "%s-%d", "a", 7);
    assert_int_equal(copy.len, 3);
    assert_string_equal(copy.ptr, "a-7");
    arena_done(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_taken_is_zeroed_aligned_and_apart),
        cmocka_unit_test(used_memory_is_zeroed_again_after_a_reset),
        cmocka_unit_test(the_limit_counts_every_byte_and_is_exact),
        cmocka_unit_test(an_array_whose_size_overflows_is_refused),
        cmocka_unit_test(copies_end_in_nul_even_of_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
