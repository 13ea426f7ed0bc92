/*
 * proto: the reading and writing of NATS operations.
 *
 * The parser keeps no state: as long as an operation is incomplete it is read again from its start
 * when more has come. Only its control line is looked at again, some hundred bytes, and in return a
 * message split over reads is no special case, whatever the split.
 *
 * Single spaces and upper case are what every server writes; accepting less is less to get wrong.
 */
#include "dataplane/nats/proto.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

enum { FIELDS_MAX = 5, DIGITS_MAX = 10 };

/* Splits at single spaces; the number of fields, or -EPROTO: an empty field or too many. */
static int split(struct str line, struct str fields[FIELDS_MAX])
{
    int count = 0;

    for (;;) {
        const char *space = memchr(line.ptr, ' ', line.len);
        size_t len = space ? (size_t)(space - line.ptr) : line.len;

        if (len == 0 || count == FIELDS_MAX)
            return -EPROTO;
        fields[count++] = str_make(line.ptr, len);
        if (!space)
            return count;
        line = str_after(line, len + 1);
        if (line.len == 0)
            return -EPROTO;
    }
}

static int read_number(struct str text, uint64_t *ret_number)
{
    return text.len <= DIGITS_MAX && str_read_decimal(text, ret_number) ? 0 : -EPROTO;
}

/* MSG subject sid [reply] size; HMSG subject sid [reply] block-size size. */
static ssize_t parse_message(struct str input, size_t line_len, struct str arguments, bool headers,
                             size_t message_max, struct proto_operation *operation,
                             size_t *ret_need)
{
    struct str fields[FIELDS_MAX];
    int least = headers ? 4 : 3;
    int count = split(arguments, fields);
    uint64_t block_len = 0, len;
    const char *body = input.ptr + line_len;
    size_t total;

    if (count != least && count != least + 1)
        return -EPROTO;
    operation->kind = PROTO_MESSAGE;
    operation->subject = fields[0];
    operation->reply_subject = count > least ? fields[2] : STR_LIT("");
    if (read_number(fields[1], &operation->sid) || read_number(fields[count - 1], &len) ||
        (headers && read_number(fields[count - 2], &block_len)))
        return -EPROTO;
    if (len > message_max || block_len > len)
        return -EPROTO;
    total = line_len + len + 2;
    if (input.len < total) {
        *ret_need = total;
        return 0;
    }
    if (body[len] != '\r' || body[len + 1] != '\n')
        return -EPROTO;
    operation->block = str_make(body, block_len);
    operation->payload = str_make(body + block_len, len - block_len);
    return (ssize_t)total;
}

static bool read_name(struct str line, struct str name, struct str *ret_rest)
{
    if (!str_starts_with(line, name))
        return false;
    *ret_rest = str_after(line, name.len);
    return true;
}

/* The operations that are one line. */
static int parse_line(struct str line, struct proto_operation *operation)
{
    if (str_equal(line, STR_LIT("PING")))
        operation->kind = PROTO_PING;
    else if (str_equal(line, STR_LIT("PONG")))
        operation->kind = PROTO_PONG;
    else if (str_equal(line, STR_LIT("+OK")))
        operation->kind = PROTO_OK;
    else if (read_name(line, STR_LIT("INFO "), &operation->text))
        operation->kind = PROTO_INFO;
    else if (read_name(line, STR_LIT("-ERR "), &operation->text))
        operation->kind = PROTO_ERROR;
    else
        return -EPROTO;
    if (operation->kind == PROTO_ERROR && operation->text.len >= 2 &&
        operation->text.ptr[0] == '\'' && operation->text.ptr[operation->text.len - 1] == '\'')
        operation->text = str_make(operation->text.ptr + 1, operation->text.len - 2);
    return 0;
}

/* Whether bytes without a line's end may become an operation, so that garbage is not waited on. */
static bool may_begin(struct str input)
{
    static const struct str names[] = {
        {"MSG ", 4},   {"HMSG ", 5}, {"INFO ", 5}, {"PING\r", 5},
        {"PONG\r", 5}, {"+OK\r", 4}, {"-ERR ", 5},
    };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        size_t len = input.len < names[i].len ? input.len : names[i].len;

        if (memcmp(input.ptr, names[i].ptr, len) == 0)
            return true;
    }
    return false;
}

ssize_t proto_parse(struct str input, size_t message_max, struct proto_operation *ret_operation,
                    size_t *ret_need)
{
    size_t seen = input.len < PROTO_LINE_MAX ? input.len : PROTO_LINE_MAX;
    const char *end = seen ? memchr(input.ptr, '\n', seen) : NULL;
    struct str line, arguments;
    size_t line_len;

    if (!end) {
        if (input.len >= PROTO_LINE_MAX || (input.len > 0 && !may_begin(input)))
            return -EPROTO;
        *ret_need = input.len + 1;
        return 0;
    }
    line_len = (size_t)(end - input.ptr) + 1;
    if (line_len < 2 || end[-1] != '\r')
        return -EPROTO;
    line = str_make(input.ptr, line_len - 2);
    *ret_operation = (struct proto_operation){0};
    if (read_name(line, STR_LIT("HMSG "), &arguments))
        return parse_message(input, line_len, arguments, true, message_max, ret_operation,
                             ret_need);
    if (read_name(line, STR_LIT("MSG "), &arguments))
        return parse_message(input, line_len, arguments, false, message_max, ret_operation,
                             ret_need);
    return parse_line(line, ret_operation) ? -EPROTO : (ssize_t)line_len;
}

static char *put(char *at, struct str text)
{
    if (text.len == 0)
        return at;
    memcpy(at, text.ptr, text.len);
    return at + text.len;
}

static char *put_number(char *at, size_t number)
{
    char digits[STR_DECIMAL_MAX];

    return put(at, str_decimal(number, digits));
}

int proto_write_publish(struct buffer *out, struct str subject, struct str reply_prefix,
                        struct str reply_token, struct str block, struct str payload)
{
    size_t most = PROTO_PUBLISH_OVERHEAD + subject.len + reply_prefix.len + reply_token.len +
                  block.len + payload.len;
    char *start, *at;

    assert(block.len + payload.len <= UINT32_MAX);
    start = at = buffer_reserve(out, most);
    if (!at)
        return buffer_length(out) + most > out->limit ? -ENOBUFS : -ENOMEM;
    at = put(at, block.len ? STR_LIT("HPUB ") : STR_LIT("PUB "));
    at = put(at, subject);
    *at++ = ' ';
    if (reply_prefix.len) {
        at = put(at, reply_prefix);
        at = put(at, reply_token);
        *at++ = ' ';
    }
    if (block.len) {
        at = put_number(at, block.len);
        *at++ = ' ';
    }
    at = put_number(at, block.len + payload.len);
    at = put(at, STR_LIT("\r\n"));
    at = put(at, block);
    at = put(at, payload);
    at = put(at, STR_LIT("\r\n"));
    assert((size_t)(at - start) <= most);
    buffer_commit(out, (size_t)(at - start));
    return 0;
}
