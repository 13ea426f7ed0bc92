/* YAML as kubectl makes JSON of it, and what is refused. */
#include "lib/wire/yaml.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { BYTES_MAX = 65536 };

static void reads_as(const char *yaml, const char *json)
{
    struct yaml_error error;
    yyjson_doc *documents;
    char *text;

    if (yaml_read(str_from(yaml), BYTES_MAX, &documents, &error))
        fail_msg("%s: %zu:%zu: %s", yaml, error.line, error.column, error.text);
    text = yyjson_write(documents, 0, NULL);
    assert_string_equal(text, json);
    free(text);
    yyjson_doc_free(documents);
}

static void refused(const char *yaml, size_t line, size_t column, const char *says)
{
    struct yaml_error error;
    yyjson_doc *documents;

    assert_int_equal(yaml_read(str_from(yaml), BYTES_MAX, &documents, &error), -EINVAL);
    if (!strstr(error.text, says) || error.line != line || error.column != column)
        fail_msg("%s: %zu:%zu: %s", yaml, error.line, error.column, error.text);
}

static void test_plain_scalars_mean_what_kubectl_takes_them_for(void **state)
{
    (void)state;
    reads_as("[yes, No, ON, off, y, n, true, False, yess]",
             "[[true,false,true,false,true,false,true,false,\"yess\"]]");
    reads_as("[~, null, '', \"null\"]", "[[null,null,\"\",\"null\"]]");
    reads_as("a:", "[{\"a\":null}]");
    reads_as("[0, -1, +2, 0x1F, 0o17, 017, 0b11, 1_000]", "[[0,-1,2,31,15,15,3,1000]]");
    reads_as("[18446744073709551615, -9223372036854775808]",
             "[[18446744073709551615,-9223372036854775808]]");
    reads_as("[1.5, 1.0, .5, 1e3, 089]", "[[1.5,1,0.5,1000,89]]");
    reads_as("[2s, 1.2.3, 0x, 0x-1, 0x0x1, 1e400, 2026-11-24, 12:30, -, .]",
             "[[\"2s\",\"1.2.3\",\"0x\",\"0x-1\",\"0x0x1\",\"1e400\",\"2026-11-24\",\"12:30\","
             "\"-\",\".\"]]");
    reads_as("['yes', \"1\", !!str 12]", "[[\"yes\",\"1\",\"12\"]]");
}

static void test_documents_come_in_order_and_empty_ones_not_at_all(void **state)
{
    (void)state;
    reads_as("", "[]");
    reads_as("# nothing\n", "[]");
    reads_as("---\na: 1\n---\n---\n# no\n---\n[b]\n...\n---\n{\"c\": [true, {}]}\n",
             "[{\"a\":1},[\"b\"],{\"c\":[true,{}]}]");
    reads_as("text: |\n  one\n  two\n", "[{\"text\":\"one\\ntwo\\n\"}]");
}

static void test_what_is_refused_says_where_and_why(void **state)
{
    char deep[2 * YAML_DEPTH_MAX + 3];

    (void)state;
    refused("a: 1\nb: *x\n", 2, 4, "aliases");
    refused("a: &x 1\n", 1, 4, "anchors");
    refused("a:\n  <<: {b: 1}\n", 2, 3, "merge keys");
    refused("a: 1\nb: 2\na: 3\n", 3, 1, "\"a\" is here a second time");
    refused("? [a]\n: b\n", 1, 3, "key");
    refused("a: !go x\n", 1, 4, "tag");
    refused("a: .inf\n", 1, 4, ".inf");
    refused("a: [\n", 2, 1, "expected");
    refused("ab: 1\nc: \xff\n", 2, 4, "UTF-8");
    memset(deep, '[', sizeof(deep));
    deep[YAML_DEPTH_MAX + 1] = '\0';
    refused(deep, 1, YAML_DEPTH_MAX + 1, "nested deeper");
}

static void test_a_text_over_the_limit_is_refused_unread(void **state)
{
    struct yaml_error error;
    yyjson_doc *documents;

    (void)state;
    assert_int_equal(yaml_read(STR_LIT("a: 12"), 4, &documents, &error), -E2BIG);
    assert_non_null(strstr(error.text, "4 bytes"));
}

static void test_a_place_is_found_again(void **state)
{
    static const char text[] = "a: 1\n---\n# none\n---\n\nb:\n- c: 1\n  d: 2\n- [e,\n  f]\nbc: 3\n";

    struct yaml_lines *lines = yaml_lines_new(str_from(text));

    (void)state;
    assert_non_null(lines);
    assert_int_equal(yaml_lines_find(lines, 0, "a: is wrong"), 1);
    assert_int_equal(yaml_lines_find(lines, 1, "b[0].d"), 8);
    assert_int_equal(yaml_lines_find(lines, 1, "b[1][1]: is: wrong"), 10);
    assert_int_equal(yaml_lines_find(lines, 1, "bc"), 11);
    assert_int_equal(yaml_lines_find(lines, 1, "b[0].x"), 7); /* what should hold it */
    assert_int_equal(yaml_lines_find(lines, 1, "policy: needs rules"), 6);
    assert_int_equal(yaml_lines_find(lines, 1, "b[7].c"), 7);
    assert_int_equal(yaml_lines_find(lines, 1, "b[x"), 7);
    assert_int_equal(yaml_lines_find(lines, 1, ""), 6);
    assert_int_equal(yaml_lines_find(lines, 2, "b"), 1);
    yaml_lines_free(lines);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain_scalars_mean_what_kubectl_takes_them_for),
        cmocka_unit_test(test_documents_come_in_order_and_empty_ones_not_at_all),
        cmocka_unit_test(test_what_is_refused_says_where_and_why),
        cmocka_unit_test(test_a_text_over_the_limit_is_refused_unread),
        cmocka_unit_test(test_a_place_is_found_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
