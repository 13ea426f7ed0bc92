#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the above first. */
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>

#include "lib/wire/table_codec.h"

static void keys_hold_namespace_and_name(void **state)
{
    static const struct {
        struct str namespace_name, name, key;
    } cases[] = {
        {STR_LIT("shop"), STR_LIT("orders"), STR_LIT("route.shop.orders")},
        {STR_LIT("a-1"), STR_LIT("api.example.com"), STR_LIT("route.a-1.api.example.com")},
    };
    static const struct str bad[] = {
        STR_LIT(""),
        STR_LIT("route."),
        STR_LIT("route.a"),
        STR_LIT("route.a."),
        STR_LIT("route..b"),
        STR_LIT("route.a..b"),
        STR_LIT("route.a.b."),
        STR_LIT("route.A.b"),
        STR_LIT("_table"),
        STR_LIT("Route.a.b"),
        STR_LIT("route.a.b*"),
        STR_LIT("route.a.b\0"),
        STR_LIT("route.a b.c"),
    };
    char out[TABLE_KEY_MAX + 1], label[64];
    struct str namespace_name, name;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int length = table_key_write(cases[i].namespace_name, cases[i].name, out);

        assert_int_equal(length, cases[i].key.len);
        assert_string_equal(out, cases[i].key.ptr);
        assert_int_equal(table_key_read(cases[i].key, &namespace_name, &name), 0);
        assert_true(str_equal(namespace_name, cases[i].namespace_name));
        assert_true(str_equal(name, cases[i].name));
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (table_key_read(bad[i], &namespace_name, &name) != -EINVAL)
            fail_msg("accepted: " STR_FMT, STR_ARG(bad[i]));
    memset(label, 'a', sizeof(label));
    assert_int_equal(table_key_write(str_make(label, 64), STR_LIT("b"), out), -EINVAL);
    assert_int_equal(table_key_write(STR_LIT("a.b"), STR_LIT("c"), out), -EINVAL);
    assert_int_equal(table_key_write(STR_LIT("a"), STR_LIT("C"), out), -EINVAL);
    assert_true(table_key_write(str_make(label, 63), str_make(label, 64), out) > 0);
}

static const struct str entry = STR_LIT(
    "{\"format\":1,\"uid\":\"0a-1\",\"generation\":4,\"created\":1790000000,\"spec\":{\"rules\":"
    "[{\"matches\":[{\"path\":{\"type\":\"Template\",\"value\":\"/a/{id}\"}}]}]}}");

static void an_entry_is_read_and_written_with_the_same_bytes(void **state)
{
    struct route_spec_error error;
    struct route *route;
    struct buffer out;

    (void)state;
    assert_int_equal(table_entry_read(STR_LIT("route.ns.a.b"), entry, &route, &error), 0);
    assert_true(str_equal(route_namespace(route), STR_LIT("ns")));
    assert_string_equal(route->label.ptr, "ns/a.b");
    assert_string_equal(route->uid.ptr, "0a-1");
    assert_int_equal(route->generation, 4);
    assert_int_equal(route->created_s, 1790000000);
    buffer_init(&out, ROUTE_SOURCE_MAX);
    assert_int_equal(table_entry_write(route, &out), 0);
    assert_true(str_equal(buffer_view(&out), entry));
    buffer_done(&out);
    buffer_init(&out, 10);
    assert_int_equal(table_entry_write(route, &out), -ENOBUFS);
    buffer_done(&out);
    route_unref(route);
}

#define SPEC "\"spec\":{\"rules\":[{\"backends\":[{\"subject\":\"a\"}]}]}"

static void entries_not_fully_understood_are_refused(void **state)
{
    static const char *const cases[][2] = {
        {"", "entry: is empty"},
        {"{", "entry: is no JSON"},
        {"[]", "no valid format"},
        {"{\"format\":1,\"uid\":\"u\",\"generation\":1,\"created\":1," SPEC "} x", "is no JSON"},
        {"{\"uid\":\"u\",\"generation\":1,\"created\":1," SPEC "}", "no valid format"},
        {"{\"format\":0,\"uid\":\"u\",\"generation\":1,\"created\":1," SPEC "}", "no valid format"},
        {"{\"format\":\"1\",\"uid\":\"u\",\"generation\":1,\"created\":1," SPEC "}",
         "no valid format"},
        {"{\"format\":2,\"novelty\":1}", "format 2, and this version knows up to 1"},
        {"{\"format\":1,\"uid\":\"u\",\"generation\":1,\"created\":1}", "needs spec"},
        {"{\"format\":1,\"uid\":\"\",\"generation\":1,\"created\":1," SPEC "}", "entry.uid: "},
        {"{\"format\":1,\"uid\":\"u\",\"generation\":-1,\"created\":1," SPEC "}",
         "entry.generation: "},
        {"{\"format\":1,\"uid\":\"u\",\"generation\":1,\"created\":\"x\"," SPEC "}",
         "entry.created: "},
        {"{\"format\":1,\"uid\":\"u\",\"generation\":1,\"created\":1,\"x\":1," SPEC "}",
         "unknown field \"x\""},
        {"{\"format\":1,\"uid\":\"u\",\"generation\":1,\"created\":1,\"spec\":{}}",
         "spec: needs rules"},
    };
    struct route_spec_error error;
    struct route *route = NULL;
    char *huge;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (table_entry_read(STR_LIT("route.a.b"), str_from(cases[i][0]), &route, &error) !=
                -EINVAL ||
            !strstr(error.text, cases[i][1]))
            fail_msg("%s: %s", cases[i][0], error.text);
    }
    assert_int_equal(table_entry_read(STR_LIT("route.b"), entry, &route, &error), -EINVAL);
    assert_non_null(strstr(error.text, "key: \"route.b\""));
    huge = calloc(1, ROUTE_SOURCE_MAX + 1);
    memset(huge, ' ', ROUTE_SOURCE_MAX + 1);
    memcpy(huge, entry.ptr, entry.len);
    assert_int_equal(table_entry_read(STR_LIT("route.a.b"), str_make(huge, ROUTE_SOURCE_MAX + 1),
                                      &route, &error),
                     -EINVAL);
    assert_null(route);
    assert_int_equal(
        table_entry_read(STR_LIT("route.a.b"), str_make(huge, ROUTE_SOURCE_MAX), &route, &error),
        0);
    route_unref(route);
    free(huge);
}

static void the_head_comes_back_as_it_was_written(void **state)
{
    static const char *const bad[] = {
        "{\"format\":1,\"owner\":\"\",\"lineage\":\"b\",\"term\":\"c\",\"complete\":true}",
        "{\"format\":1,\"owner\":\"a b\",\"lineage\":\"b\",\"term\":\"c\",\"complete\":true}",
        "{\"format\":1,\"owner\":\"a\",\"lineage\":\"b\",\"term\":\"c\",\"complete\":1}",
        "{\"format\":1,\"owner\":\"a\",\"lineage\":\"b\",\"complete\":true}",
        "{\"format\":1,\"owner\":\"a\",\"lineage\":\"b\",\"term\":\"c\",\"complete\":true,\"x\":1}",
        "{\"format\":2,\"owner\":\"a\",\"lineage\":\"b\",\"term\":\"c\",\"complete\":true}",
        ("{\"format\":1,\"owner\":"
         "\"0123456789012345678901234567890123456789012345678901234567890123"
         "4\",\"lineage\":\"b\",\"term\":\"c\",\"complete\":true}"),
        "true",
    };
    struct table_head head = {"cluster.1", "L-1_x", "T", true}, again;
    struct buffer out;

    (void)state;
    buffer_init(&out, 4096);
    assert_int_equal(table_head_write(&head, &out), 0);
    assert_true(str_equal(buffer_view(&out),
                          STR_LIT("{\"format\":1,\"owner\":\"cluster.1\",\"lineage\":\"L-1_x\","
                                  "\"term\":\"T\",\"complete\":true}")));
    assert_int_equal(table_head_read(buffer_view(&out), &again), 0);
    assert_memory_equal(&head, &again, sizeof(head));
    buffer_done(&out);
    head.term[0] = '\0';
    assert_int_equal(table_head_write(&head, &out), -EINVAL);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (table_head_read(str_from(bad[i]), &again) != -EINVAL)
            fail_msg("accepted: %s", bad[i]);
    assert_string_equal(again.owner, "cluster.1"); /* outputs are untouched on failure */
}

static void an_ack_comes_back_as_it_was_written(void **state)
{
    static struct table_ack ack = {.boot = "B",
                                   .lineage = "",
                                   .version = "0.2.0",
                                   .applied = 812,
                                   .rejected_total = 40,
                                   .rejected_count = 2};
    static struct table_ack again;
    struct buffer out;

    (void)state;
    ack.rejected[0] = (struct table_rejection){"route.a.b", 7, "spec: \"quoted\"\n"};
    ack.rejected[1] = (struct table_rejection){"what ever", 9, ""};
    buffer_init(&out, TABLE_ACK_MAX);
    assert_int_equal(table_ack_write(&ack, &out), 0);
    assert_true(str_equal(
        buffer_view(&out),
        STR_LIT("{\"format\":1,\"boot\":\"B\",\"lineage\":\"\",\"applied\":812,\"rejected\":["
                "{\"key\":\"route.a.b\",\"seq\":7,\"reason\":\"spec: \\\"quoted\\\"\\n\"},"
                "{\"key\":\"what ever\",\"seq\":9,\"reason\":\"\"}],\"rejectedTotal\":40,"
                "\"version\":\"0.2.0\"}")));
    assert_int_equal(table_ack_read(buffer_view(&out), &again), 0);
    assert_memory_equal(&ack, &again, sizeof(ack));
    buffer_clear(&out, 0);
    ack.goodbye = true;
    assert_int_equal(table_ack_write(&ack, &out), 0);
    assert_int_equal(table_ack_read(buffer_view(&out), &again), 0);
    assert_true(again.goodbye);
    buffer_done(&out);
}

static void an_ack_is_written_however_bad_its_reasons_are(void **state)
{
    static struct table_ack ack = {.boot = "B", .rejected_total = 32, .rejected_count = 32}, again;
    struct buffer out;

    (void)state;
    for (size_t i = 0; i < 32; i++) {
        memset(ack.rejected[i].key, 'k', TABLE_KEY_MAX);
        memset(ack.rejected[i].reason, 1, TABLE_ACK_REASON_MAX); /* six bytes each as JSON */
    }
    buffer_init(&out, TABLE_ACK_MAX);
    assert_int_equal(table_ack_write(&ack, &out), 0);
    assert_int_equal(table_ack_read(buffer_view(&out), &again), 0);
    assert_int_equal(again.rejected_total, 32);
    assert_in_range(again.rejected_count, 8, 31);
    buffer_clear(&out, 0);
    ack.rejected_count = 1;
    memcpy(ack.rejected[0].reason, "cut \xE2\x82", 7);
    assert_int_equal(table_ack_write(&ack, &out), 0);
    assert_int_equal(table_ack_read(buffer_view(&out), &again), 0);
    assert_string_equal(again.rejected[0].reason, "cut ");
    buffer_done(&out);
}

static void a_reason_longer_than_ours_is_cut(void **state)
{
    static struct table_ack ack;
    struct buffer text;

    (void)state;
    buffer_init(&text, TABLE_ACK_MAX);
    buffer_append_str(&text,
                      STR_LIT("{\"format\":1,\"boot\":\"B\",\"lineage\":\"L\",\"applied\":5,"
                              "\"rejected\":[{\"key\":\"route.a.b\",\"seq\":7,\"reason\":\""));
    for (int i = 0; i < 300; i++)
        buffer_append_str(&text, STR_LIT("\xC3\xA9")); /* two bytes each: the cut is between them */
    buffer_append_str(&text, STR_LIT("\"}],\"rejectedTotal\":1,\"version\":\"9\"}"));
    assert_int_equal(table_ack_read(buffer_view(&text), &ack), 0);
    assert_int_equal(ack.applied, 5);
    assert_int_equal(strlen(ack.rejected[0].reason), TABLE_ACK_REASON_MAX);
    assert_string_equal(ack.rejected[0].reason + TABLE_ACK_REASON_MAX - 2, "\xC3\xA9");
    buffer_done(&text);
}

static void malformed_acks_are_refused(void **state)
{
    static const char *const bad[] = {
        "{}",
        "{\"format\":1,\"boot\":\"\",\"lineage\":\"\",\"applied\":1,\"rejected\":[],"
        "\"rejectedTotal\":0,\"version\":\"\"}",
        "{\"format\":1,\"boot\":\"b\",\"lineage\":\"\",\"applied\":-1,\"rejected\":[],"
        "\"rejectedTotal\":0,\"version\":\"\"}",
        "{\"format\":1,\"boot\":\"b\",\"lineage\":\"\",\"applied\":1,\"rejected\":{},"
        "\"rejectedTotal\":0,\"version\":\"\"}",
        "{\"format\":1,\"boot\":\"b\",\"lineage\":\"\",\"applied\":1,\"rejected\":[{}],"
        "\"rejectedTotal\":0,\"version\":\"\"}",
        "{\"format\":1,\"boot\":\"b\",\"lineage\":\"\",\"applied\":1,\"rejected\":[],"
        "\"rejectedTotal\":0,\"version\":\"\",\"goodbye\":\"yes\"}",
        "{\"format\":1,\"boot\":\"b\",\"lineage\":\"\",\"applied\":1,\"rejected\":[],"
        "\"version\":\"\"}",
    };
    static struct table_ack ack;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (table_ack_read(str_from(bad[i]), &ack) != -EINVAL)
            fail_msg("accepted: %s", bad[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_hold_namespace_and_name),
        cmocka_unit_test(an_entry_is_read_and_written_with_the_same_bytes),
        cmocka_unit_test(entries_not_fully_understood_are_refused),
        cmocka_unit_test(the_head_comes_back_as_it_was_written),
        cmocka_unit_test(an_ack_comes_back_as_it_was_written),
        cmocka_unit_test(an_ack_is_written_however_bad_its_reasons_are),
        cmocka_unit_test(a_reason_longer_than_ours_is_cut),
        cmocka_unit_test(malformed_acks_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
