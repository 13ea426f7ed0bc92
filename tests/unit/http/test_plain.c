#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "dataplane/http/plain.h"

/* What was read, as "[name=value]...", and its bytes. The text lies in memory just as large. */
static const char *read_fields(const char *bytes, size_t length)
{
    static char said[4096];
    struct http_header headers[HTTP_HEADERS_MAX];
    size_t count = 0, at = 0, size;
    char *text = malloc(length ? length : 1);

    assert_non_null(text);
    memcpy(text, bytes, length);
    size = plain_read_fields(str_make(text, length), headers, &count);
    for (size_t i = 0; i < count; i++)
        at += (size_t)snprintf(said + at, sizeof(said) - at, "[" STR_FMT "=" STR_FMT "]",
                               STR_ARG(headers[i].name), STR_ARG(headers[i].value));
    snprintf(said + at, sizeof(said) - at, " %zu", size);
    free(text);
    return said;
}

static void plain_fields_are_read(void **state)
{
    static const struct {
        const char *text, *expected;
    } cases[] = {
        {"\r\n", " 2"},
        {"\r\nbody", " 2"},
        {"Host: a.test\r\n\r\n", "[Host=a.test] 16"},
        {"A:b\r\nC: d\r\n\r\nE: f\r\n", "[A=b][C=d] 13"},
        {"A:\r\nB: \r\nC:  d \r\n\r\n", "[A=][B=][C= d ] 19"},
        {"!#$%&'*+-.^_`|~09AZaz: :;\"\r\n\r\n", "[!#$%&'*+-.^_`|~09AZaz=:;\"] 30"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        assert_string_equal(read_fields(cases[i].text, strlen(cases[i].text)), cases[i].expected);
}

static void what_is_odd_or_not_whole_is_left_alone(void **state)
{
    static const char *const odd[] = {
        "",
        "\r",
        "\n",
        "\rX",
        "A",
        "A: b",
        "A: b\r",
        "A: b\r\n",
        "A: b\r\n\r",
        "A: b\n\n",
        "A: b\r\n\n",
        "A : b\r\n\r\n",
        " A: b\r\n\r\n",
        ": b\r\n\r\n",
        "A\r\n\r\n",
        "A: b\r\n c\r\n\r\n",
        "A: b\tc\r\n\r\n",
        "A: b\rC: d\r\n\r\n",
        "A: \x7F\r\n\r\n",
        "A: \xC3\xBC\r\n\r\n",
        "A(: b\r\n\r\n",
        "\xC3: b\r\n\r\n",
        "A: b\t\n\r\n",
        "A: b\n\n\n\n",
        "A: b\r\nC: d\n\r\n\r\n",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(odd) / sizeof(*odd); i++)
        assert_string_equal(read_fields(odd[i], strlen(odd[i])), " 0");
    assert_string_equal(read_fields("A: b\0c\r\n\r\n", 10), " 0");
    assert_string_equal(read_fields("A\0: b\r\n\r\n", 9), " 0");
}

static void there_are_no_more_fields_than_fit(void **state)
{
    static char text[6 * HTTP_HEADERS_MAX + 9];
    struct http_header headers[HTTP_HEADERS_MAX + 1];
    size_t count = 0, length = 0;

    (void)state;
    headers[HTTP_HEADERS_MAX] = (struct http_header){0};
    for (int i = 0; i < HTTP_HEADERS_MAX; i++, length += 6)
        memcpy(text + length, "A: b\r\n", 6);
    memcpy(text + length, "\r\n", 2);
    assert_int_equal(plain_read_fields(str_make(text, length + 2), headers, &count), length + 2);
    assert_int_equal(count, HTTP_HEADERS_MAX);
    memcpy(text + length, "A: b\r\n\r\n", 8);
    assert_int_equal(plain_read_fields(str_make(text, length + 8), headers, &count), 0);
    assert_null(headers[HTTP_HEADERS_MAX].name.ptr);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_fields_are_read),
        cmocka_unit_test(what_is_odd_or_not_whole_is_left_alone),
        cmocka_unit_test(there_are_no_more_fields_than_fit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
