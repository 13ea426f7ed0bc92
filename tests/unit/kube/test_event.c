/* Lines and events: what comes off a watch's stream, cut anywhere and of any size. */
#include "controller/kube/event.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The lines of text, or the items of a list (the other is NULL), fed in pieces of this size, as
 * "<line>" each, "!" for a skipped one. */
static void cut(struct kube_lines *lines, struct kube_items *items, const char *text, size_t piece,
                char *out, size_t size)
{
    size_t length = strlen(text), used = 0;

    out[0] = '\0';
    for (size_t at = 0; at < length; at += piece) {
        /* A copy of its own, so that reading past its end or after its time is an error. */
        size_t part = length - at < piece ? length - at : piece;
        char *copy = malloc(part);
        struct str bytes = str_make(memcpy(copy, text + at, part), part), line;
        enum kube_line kind;

        while ((kind = lines ? kube_lines_next(lines, &bytes, &line)
                             : kube_items_next(items, &bytes, &line)) != KUBE_LINE_NONE) {
            if (kind == KUBE_LINE_WHOLE)
                snprintf(out + used, size - used, "<" STR_FMT ">", STR_ARG(line));
            else
                snprintf(out + used, size - used, "!");
            used += strlen(out + used);
        }
        assert_int_equal(bytes.len, 0);
        free(copy);
    }
}

static void test_lines_are_the_same_however_the_stream_is_cut(void **state)
{
    const char *text = "one\ntwo and more\n\nxxxxxxxxxxxxxxxxxxxxxxx\nfour\n0123456789abcdef\nrest";
    struct kube_lines lines;
    char out[256];

    (void)state;
    for (size_t piece = 1; piece <= strlen(text); piece++) {
        kube_lines_init(&lines, 16);
        cut(&lines, NULL, text, piece, out, sizeof(out));
        assert_string_equal(out, "<one><two and more><>!<four><0123456789abcdef>");
        assert_true(kube_lines_pending(&lines));
        kube_lines_reset(&lines);
        assert_false(kube_lines_pending(&lines));
        cut(&lines, NULL, "a\n", piece, out, sizeof(out));
        assert_string_equal(out, "<a>");
        kube_lines_done(&lines);
    }
}

/* Behind the items "=" and what is around them. */
static void cut_items(struct kube_items *items, const char *text, size_t piece, char *out,
                      size_t size)
{
    size_t used;

    cut(NULL, items, text, piece, out, size);
    used = strlen(out);
    snprintf(out + used, size - used, "=" STR_FMT, STR_ARG(buffer_view(&items->rest)));
}

static void test_items_are_the_same_however_the_list_is_cut(void **state)
{
    static const struct {
        const char *list, *cut;
        size_t count;
        bool complete;
    } cases[] = {
        {"{\"a\":[], \"items\":[{\"b\":[{}]}, {},{\"c\":1}],\"m\":{\"n\":[{\"o\":{}}]}}\n",
         "<{\"b\":[{}]}><{}><{\"c\":1}>={\"a\":[], \"items\":[{}, "
         "{},{}],\"m\":{\"n\":[{\"o\":{}}]}}\n",
         3, true},
        {"{\"items\":[{\"}\":\"]\\\"}\"},{\"\\\\\":\"{\"}],\"]\":\"[{\"}",
         "<{\"}\":\"]\\\"}\"}><{\"\\\\\":\"{\"}>={\"items\":[{},{}],\"]\":\"[{\"}", 2, true},
        {"{\"items\":[{\"x\":\"more than the thirty-two bytes\"},{\"d\":2},7,[8]]}",
         "!<{\"d\":2}><[8]>={\"items\":[{},{},7,{}]}", 3, true},
        {"{\"items\":[{\"d\":2},{\"e\":", "<{\"d\":2}>={\"items\":[{},{}", 2, false},
        {"{\"items\":[1{\"d\":2}]}", "<{\"d\":2}>={\"items\":[1{}]}", 1, true},
        {"]}{}", "=]}{}", 0, true},
    };
    struct kube_items items;
    char out[256];

    (void)state;
    kube_items_init(&items, 32);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        for (size_t piece = 1; piece <= strlen(cases[i].list); piece++) {
            kube_items_reset(&items);
            cut_items(&items, cases[i].list, piece, out, sizeof(out));
            assert_string_equal(out, cases[i].cut);
            assert_int_equal(items.count, cases[i].count);
            assert_int_equal(kube_items_complete(&items), cases[i].complete);
        }
    kube_items_done(&items);
}

static void test_what_is_around_items_is_kept_whole_or_not_at_all(void **state)
{
    enum { SIZE = 20 * 1024 * 1024 };
    char *text = malloc(SIZE + 1), out[256];
    struct kube_items items;

    (void)state;
    memset(text, ' ', SIZE);
    memcpy(text, "{\"items\":[{}]", 13);
    memcpy(text + SIZE - 1, "}", 2);
    kube_items_init(&items, 32);
    cut_items(&items, text, SIZE / 16, out, sizeof(out));
    assert_string_equal(out, "<{}>=");
    assert_false(kube_items_complete(&items));
    kube_items_reset(&items);
    cut_items(&items, "{\"items\":[]}", 64, out, sizeof(out));
    assert_string_equal(out, "={\"items\":[]}");
    kube_items_done(&items);
    free(text);
}

static void test_an_event_is_read(void **state)
{
    struct kube_event event;

    (void)state;
    assert_int_equal(
        kube_event_read(
            STR_LIT("{\"type\":\"MODIFIED\",\"object\":{\"metadata\":{\"name\":\"orders\","
                    "\"namespace\":\"shop\",\"uid\":\"u\",\"resourceVersion\":\"12\","
                    "\"generation\":3,\"creationTimestamp\":\"2026-11-24T03:00:00Z\"},"
                    "\"spec\":{\"a\":1}}}"),
            &event),
        0);
    assert_int_equal(event.type, KUBE_EVENT_MODIFIED);
    assert_true(str_equal(event.object.namespace_name, STR_LIT("shop")));
    assert_true(str_equal(event.object.name, STR_LIT("orders")));
    assert_true(str_equal(event.object.resource_version, STR_LIT("12")));
    assert_int_equal(event.object.generation, 3);
    assert_int_equal(event.object.created_s, 1795489200);
    assert_non_null(yyjson_obj_get(event.object.value, "spec"));
    kube_event_done(&event);
}

static void test_what_is_no_event_is_refused(void **state)
{
    static const char *const lines[] = {
        "",
        "null",
        "{}",
        "[1]",
        "{\"type\":\"ADDED\"}",
        "{\"type\":\"ADDED\",\"object\":{}}",
        "{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"name\":\"a\",\"uid\":\"u\"}}}",
        "{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"name\":1,\"uid\":\"u\","
        "\"resourceVersion\":\"1\"}}}",
        "{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"name\":\"a\",\"uid\":\"u\","
        "\"resourceVersion\":\"1\",\"generation\":\"x\"}}}",
        "{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"name\":\"a\",\"uid\":\"u\","
        "\"resourceVersion\":\"1\",\"creationTimestamp\":\"today\"}}}",
        "{\"type\":\"added\",\"object\":{\"metadata\":{\"name\":\"a\",\"uid\":\"u\","
        "\"resourceVersion\":\"1\"}}}",
        "{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{}}}",
        "{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"name\":\"a\",\"uid\":\"u\","
        "\"resourceVersion\":\"1\"}}",
    };
    struct kube_event event;

    (void)state;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        assert_int_equal(kube_event_read(str_from(lines[i]), &event), -EBADMSG);
}

static void test_times_are_read_as_rfc_3339_has_them(void **state)
{
    static const struct {
        const char *text;
        int64_t unix_s;
    } times[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"2026-11-24T03:00:00.123456789Z", 1795489200},
        {"2026-11-24T04:30:00+01:30", 1795489200},
        {"2026-11-23T22:00:00-05:00", 1795489200},
    };
    static const char *const bad[] = {"",
                                      "2026-11-24",
                                      "2026-11-24T03:00:00",
                                      "2026-11-24T03:00:00Zx",
                                      "2026-11-24T03:00:00+1:00",
                                      "2026-13-24T03:00:00Z",
                                      "2026-11-24T03:00:00+99:00"};
    char text[KUBE_TIME_SIZE];
    int64_t unix_s;

    (void)state;
    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        assert_int_equal(kube_time_read(str_from(times[i].text), &unix_s), 0);
        assert_int_equal(unix_s, times[i].unix_s);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(kube_time_read(str_from(bad[i]), &unix_s), -EINVAL);
    kube_time_write(1795489200, text);
    assert_string_equal(text, "2026-11-24T03:00:00Z");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines_are_the_same_however_the_stream_is_cut),
        cmocka_unit_test(test_items_are_the_same_however_the_list_is_cut),
        cmocka_unit_test(test_what_is_around_items_is_kept_whole_or_not_at_all),
        cmocka_unit_test(test_an_event_is_read),
        cmocka_unit_test(test_what_is_no_event_is_refused),
        cmocka_unit_test(test_times_are_read_as_rfc_3339_has_them),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
