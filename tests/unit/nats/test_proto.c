/* The NATS protocol, one line per case: what is read, what is refused, what is written. */
#include "dataplane/nats/proto.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MESSAGE_MAX = 1000 };

/* A copy of exactly that size, so that a sanitizer sees one byte too many. */
static ssize_t parse(struct str text, struct proto_operation *ret_operation, size_t *ret_need)
{
    static char *copy;

    free(copy);
    copy = malloc(text.len + !text.len);
    memcpy(copy, text.ptr, text.len);
    return proto_parse(str_make(copy, text.len), MESSAGE_MAX, ret_operation, ret_need);
}

static void assert_str(struct str got, const char *want)
{
    assert_int_equal(got.len, strlen(want));
    assert_memory_equal(got.ptr, want, got.len);
}

static void operations_are_read(void **state)
{
    static const struct {
        const char *text;
        enum proto_kind kind;
        const char *subject, *reply_subject, *block, *payload, *line;
    } cases[] = {
        {"MSG a.b 1 5\r\nhello\r\n", PROTO_MESSAGE, "a.b", "", "", "hello", ""},
        {"MSG a.b 1 0\r\n\r\n", PROTO_MESSAGE, "a.b", "", "", "", ""},
        {"MSG a.b 1 re.ply 2\r\n\r\n\r\n", PROTO_MESSAGE, "a.b", "re.ply", "", "\r\n", ""},
        {"HMSG a 1 12 14\r\nNATS/1.0\r\n\r\nhi\r\n", PROTO_MESSAGE, "a", "", "NATS/1.0\r\n\r\n",
         "hi", ""},
        {"HMSG a 1 r 12 12\r\nNATS/1.0\r\n\r\n\r\n", PROTO_MESSAGE, "a", "r", "NATS/1.0\r\n\r\n",
         "", ""},
        /* What a worker calls its header block is for others to judge. */
        {"HMSG a 1 0 2\r\nhi\r\n", PROTO_MESSAGE, "a", "", "", "hi", ""},
        {"HMSG a 1 2 2\r\nhi\r\n", PROTO_MESSAGE, "a", "", "hi", "", ""},
        {"PING\r\n", PROTO_PING, "", "", "", "", ""},
        {"PONG\r\n", PROTO_PONG, "", "", "", "", ""},
        {"+OK\r\n", PROTO_OK, "", "", "", "", ""},
        {"INFO {\"a\":1}\r\n", PROTO_INFO, "", "", "", "", "{\"a\":1}"},
        {"-ERR 'Stale Connection'\r\n", PROTO_ERROR, "", "", "", "", "Stale Connection"},
        {"-ERR it's\r\n", PROTO_ERROR, "", "", "", "", "it's"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct str text = str_from(cases[i].text);
        struct proto_operation operation;
        size_t need = 0;

        assert_int_equal(parse(text, &operation, &need), text.len);
        assert_int_equal(operation.kind, cases[i].kind);
        assert_str(operation.subject, cases[i].subject);
        assert_str(operation.reply_subject, cases[i].reply_subject);
        assert_str(operation.block, cases[i].block);
        assert_str(operation.payload, cases[i].payload);
        assert_str(operation.text, cases[i].line);
        /* Every beginning of it is incomplete, and asks for more than there is, not too much. */
        for (size_t len = 0; len < text.len; len++) {
            assert_int_equal(parse(str_make(text.ptr, len), &operation, &need), 0);
            assert_in_range(need, len + 1, text.len);
        }
    }
}

static void garbage_is_refused(void **state)
{
    static const char *const cases[] = {
        "X",
        "\r\n",
        "\n",
        "PIN\r\n",
        "PING\n",
        "PING \r\n",
        "ping\r\n",
        "HTTP/1.1 400\r\n",
        "MSG a 1\r\n",
        "MSG a 1 r 5 5\r\nhello\r\n",
        "MSG a  1 5\r\nhello\r\n",
        "MSG a 1 5 \r\nhello\r\n",
        "MSG a 1 -1\r\n",
        "MSG a 1 5x\r\nhello\r\n",
        "MSG a 1 5\r\nhello!\n",
        "MSG a 1 5\r\nhelloXY",
        "MSG a 1 1001\r\n",
        "MSG a 1 99999999999\r\n",
        "MSG a 1 18446744073709551617\r\n",
        "MSG a x 5\r\nhello\r\n",
        "HMSG a 1 5\r\nhello\r\n",
        "HMSG a 1 6 5\r\nhello\r\n",
        "HMSG a 1 r q 5 5\r\nhello\r\n",
        "HMSG a 1 1 1001\r\n",
        "MSG  1 5\r\nhello\r\n",
        "INFO\r\n",
        "-ERR\r\n",
        "+OKAY\r\n",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct proto_operation operation;
        size_t need;

        if (parse(str_from(cases[i]), &operation, &need) != -EPROTO)
            fail_msg("accepted: %s", cases[i]);
    }
}

static void an_endless_line_is_refused(void **state)
{
    char *line = malloc(PROTO_LINE_MAX);
    struct proto_operation operation;
    size_t need;

    (void)state;
    memset(line, 'x', PROTO_LINE_MAX);
    memcpy(line, "INFO ", 5);
    assert_int_equal(parse(str_make(line, PROTO_LINE_MAX - 1), &operation, &need), 0);
    assert_int_equal(parse(str_make(line, PROTO_LINE_MAX), &operation, &need), -EPROTO);
    free(line);
}

static void a_publish_is_written_as_a_whole_or_not_at_all(void **state)
{
    static const char want[] = "before HPUB a.b _M.x.tok 12 17\r\nNATS/1.0\r\n\r\nhello\r\n";
    struct buffer out;

    (void)state;
    for (size_t limit = 7; limit < 200; limit++) {
        int result;

        buffer_init(&out, limit);
        assert_int_equal(buffer_append(&out, "before ", 7), 0);
        result = proto_write_publish(&out, STR_LIT("a.b"), STR_LIT("_M.x."), STR_LIT("tok"),
                                     STR_LIT("NATS/1.0\r\n\r\n"), STR_LIT("hello"));
        assert_str(buffer_view(&out), result ? "before " : want);
        if (result)
            assert_int_equal(result, -ENOBUFS);
        if (limit > sizeof(want) + PROTO_PUBLISH_OVERHEAD)
            assert_int_equal(result, 0);
        buffer_done(&out);
    }
}

static void a_publish_without_a_block_is_a_plain_one(void **state)
{
    struct buffer out;

    (void)state;
    buffer_init(&out, 200);
    assert_int_equal(proto_write_publish(&out, STR_LIT("a.b"), STR_LIT("_M.x."), STR_LIT("tok"),
                                         (struct str){0}, STR_LIT("{}")),
                     0);
    assert_str(buffer_view(&out), "PUB a.b _M.x.tok 2\r\n{}\r\n");
    buffer_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(operations_are_read),
        cmocka_unit_test(garbage_is_refused),
        cmocka_unit_test(an_endless_line_is_refused),
        cmocka_unit_test(a_publish_is_written_as_a_whole_or_not_at_all),
        cmocka_unit_test(a_publish_without_a_block_is_a_plain_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
