#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the above first. */
#include <cmocka.h>

#include "dataplane/fields.h"

static struct http_header header(const char *name, const char *value)
{
    return (struct http_header){str_from(name), str_from(value)};
}

static void what_http_allows_is_made_fit_without_changing_its_meaning(void **state)
{
    struct http_header headers[] = {header("A", "x\ty\tz"), header("B", "D\xFCsseldorf"),
                                    header("C", "\xC3\xBC"), header("Range", "bytes=0-1"),
                                    header("range", "bytes=2-3")};
    struct http_request request = {.headers = headers, .header_count = 5};
    struct http_header *fitted;
    struct arena scratch;

    (void)state;
    arena_init(&scratch, 8192);
    fitted = fields_fit(&request, &scratch);
    assert_non_null(fitted);
    assert_true(str_equal(fitted[0].value, STR_LIT("x y z")));
    assert_true(str_equal(fitted[1].value, STR_LIT("D\xC3\xBCsseldorf")));
    assert_true(str_equal(fitted[2].value, STR_LIT("\xC3\xBC")));
    assert_int_equal(fitted[3].name.len, 0);
    assert_int_equal(fitted[4].name.len, 0);
    /* The request is read again, for retries and the access log, when scratch has gone. */
    assert_true(str_equal(headers[0].value, STR_LIT("x\ty\tz")));
    assert_true(str_equal(headers[1].value, STR_LIT("D\xFCsseldorf")));
    assert_true(str_equal(headers[3].name, STR_LIT("Range")));
    request.headers = fitted;
    assert_null(fields_fit(&request, &scratch)); /* there is no third try */
    arena_done(&scratch);
}

static void what_fits_is_left_alone(void **state)
{
    struct http_header headers[] = {header("Range", "bytes=0-1"), header("A", ""),
                                    header("Host", "a"), header("Host", "b")};
    struct http_request request = {.headers = headers, .header_count = 4};
    struct arena scratch;

    (void)state;
    arena_init(&scratch, 8192);
    assert_null(fields_fit(&request, &scratch));
    assert_true(str_equal(headers[0].name, STR_LIT("Range")));
    arena_done(&scratch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_http_allows_is_made_fit_without_changing_its_meaning),
        cmocka_unit_test(what_fits_is_left_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
