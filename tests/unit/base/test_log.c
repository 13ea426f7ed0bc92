#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the above first. */
#include <cmocka.h>

#include <math.h>
#include <string.h>
#include <yyjson.h>

#include "lib/base/log.h"
#include "lib/base/utf8.h"
#include "tests/unit/base/capture.h"

static struct capture output;

static void text_lines_quote_what_is_not_plain(void **state)
{
    (void)state;
    log_setup("test", LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    capture_begin(&output, 2);
    log_warn("table swapped", LOG_U64("revision", 812), LOG_I64("delta", -3), LOG_F64("s", 0.25),
             LOG_TEXT("gateway", "default"), LOG_TEXT("reason", "a b"), LOG_TEXT("none", ""),
             LOG_STR("pair", STR_LIT("a=b")));
    capture_end(&output);
    assert_int_equal(output.text[23], 'Z'); /* 2026-11-24T03:59:50.123Z */
    assert_string_equal(output.text + 24,
                        " warn  test: table swapped revision=812 delta=-3 s=0.25 "
                        "gateway=default reason=\"a b\" none=\"\" pair=\"a=b\"\n");
}

static void what_is_below_the_level_is_not_written(void **state)
{
    (void)state;
    log_setup("test", LOG_LEVEL_WARN, LOG_FORMAT_TEXT);
    capture_begin(&output, 2);
    log_debug("no");
    log_info("no");
    assert_false(log_enabled(LOG_LEVEL_INFO));
    log_error("yes");
    capture_end(&output);
    assert_non_null(strstr(output.text, "error test: yes\n"));
    assert_null(strstr(output.text, "no"));
}

/* Neither ends the line, speaks to a terminal nor breaks JSON. */
static const struct str evil =
    STR_LIT("a\nb\r\x1b[31m\x7f\"\\\xff\xc3(\xc2\x9b\xe2\x80\xa8\xe2\x82\xac\t\0.");

static void values_cannot_begin_a_line_or_reach_the_terminal(void **state)
{
    size_t length;

    (void)state;
    log_setup("test", LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    capture_begin(&output, 2);
    log_info("m\nessage", LOG_STR("value", evil));
    capture_end(&output);
    length = strlen(output.text);
    assert_true(utf8_valid(str_make(output.text, length)));
    assert_int_equal(strcspn(output.text, "\n"), length - 1);
    for (size_t i = 0; i + 1 < length; i++)
        assert_true((unsigned char)output.text[i] >= 0x20 && output.text[i] != 0x7F);
    assert_non_null(strstr(output.text, "value=\"a\\u000ab\\u000d\\u001b[31m\\u007f\\\"\\\\"
                                        "\xEF\xBF\xBD\xEF\xBF\xBD(\\u009b\\u2028\xE2\x82\xAC"
                                        "\\u0009\\u0000.\"\n"));
}

static void json_lines_are_json_and_hold_the_values(void **state)
{
    yyjson_doc *doc;
    yyjson_val *root, *value;

    (void)state;
    log_setup("te\"st", LOG_LEVEL_INFO, LOG_FORMAT_JSON);
    capture_begin(&output, 2);
    log_error("message", LOG_STR("value", evil), LOG_U64("big", UINT64_MAX), LOG_F64("nan", NAN),
              LOG_STR("nothing", str_make(NULL, 0)));
    capture_end(&output);
    doc = yyjson_read(output.text, strlen(output.text), 0);
    assert_non_null(doc);
    root = yyjson_doc_get_root(doc);
    assert_string_equal(yyjson_get_str(yyjson_obj_get(root, "level")), "error");
    assert_string_equal(yyjson_get_str(yyjson_obj_get(root, "program")), "te\"st");
    assert_string_equal(yyjson_get_str(yyjson_obj_get(root, "message")), "message");
    assert_true(yyjson_get_uint(yyjson_obj_get(root, "big")) == UINT64_MAX);
    assert_true(yyjson_is_null(yyjson_obj_get(root, "nan")));
    assert_int_equal(yyjson_get_len(yyjson_obj_get(root, "nothing")), 0);
    value = yyjson_obj_get(root, "value");
    assert_true(str_equal(str_make(yyjson_get_str(value), yyjson_get_len(value)),
                          STR_LIT("a\nb\r\x1b[31m\x7f\"\\\xEF\xBF\xBD\xEF\xBF\xBD(\xc2\x9b"
                                  "\xe2\x80\xa8\xe2\x82\xac\t\0.")));
    yyjson_doc_free(doc);
}

static void a_line_too_long_is_cut_and_says_so(void **state)
{
    static char huge[20000];

    (void)state;
    memset(huge, '\n', sizeof(huge) - 1);
    for (int json = 0; json < 2; json++) {
        yyjson_doc *doc;

        log_setup("test", LOG_LEVEL_INFO, json ? LOG_FORMAT_JSON : LOG_FORMAT_TEXT);
        capture_begin(&output, 2);
        log_info("message", LOG_U64("before", 1), LOG_TEXT("huge", huge), LOG_TEXT("more", huge),
                 LOG_U64("after", 2));
        capture_end(&output);
        assert_true(strlen(output.text) <= 8192);
        assert_int_equal(output.text[strlen(output.text) - 1], '\n');
        assert_non_null(strstr(output.text, "truncated"));
        assert_non_null(strstr(output.text, "before"));
        if (!json)
            continue;
        doc = yyjson_read(output.text, strlen(output.text), 0);
        assert_non_null(doc);
        yyjson_doc_free(doc);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_lines_quote_what_is_not_plain),
        cmocka_unit_test(what_is_below_the_level_is_not_written),
        cmocka_unit_test(values_cannot_begin_a_line_or_reach_the_terminal),
        cmocka_unit_test(json_lines_are_json_and_hold_the_values),
        cmocka_unit_test(a_line_too_long_is_cut_and_says_so),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
