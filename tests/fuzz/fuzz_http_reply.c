/*
 * Properties: a reply that is accepted has a status of 200 to 599, and headers that can be written
 * into an HTTP response as they are: names of [A-Za-z0-9-], values without control bytes, none that
 * frames the response or belongs to requests; every string lies within the block. What a plain
 * reader of the format would call malformed is never accepted.
 *
 * Input: one byte, the length of a payload in front of the block.
 */
#include <stdint.h>
#include <stdlib.h>

#include "lib/wire/http_msg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds)
        abort();
}

static void check_within(struct str part, struct str whole)
{
    require(part.len == 0 ||
            (part.ptr >= whole.ptr && part.ptr + part.len <= whole.ptr + whole.len));
}

static void check_header(const struct http_header *header)
{
    static const struct str never[] = {STR_LIT("connection"),
                                       STR_LIT("keep-alive"),
                                       STR_LIT("te"),
                                       STR_LIT("trailer"),
                                       STR_LIT("transfer-encoding"),
                                       STR_LIT("upgrade"),
                                       STR_LIT("content-length"),
                                       STR_LIT("host"),
                                       STR_LIT("status"),
                                       STR_LIT("description"),
                                       STR_LIT("cookie"),
                                       STR_LIT("authorization"),
                                       STR_LIT("proxy-authenticate")};
    static const struct str families[] = {STR_LIT("nats-"), STR_LIT("metropolis-"), STR_LIT("if-"),
                                          STR_LIT("x-forwarded-")};
    struct str name = header->name, value = header->value;

    require(name.len > 0);
    for (size_t i = 0; i < name.len; i++) {
        char c = str_lower_byte(name.ptr[i]);

        require((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-');
    }
    for (size_t i = 0; i < value.len; i++)
        require((unsigned char)value.ptr[i] >= 0x20 && value.ptr[i] != 0x7F);
    require(value.len == 0 || (value.ptr[0] != ' ' && value.ptr[value.len - 1] != ' '));
    for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++)
        require(!str_equal_nocase(name, never[i]));
    for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++)
        require(name.len < families[i].len ||
                !str_equal_nocase(str_make(name.ptr, families[i].len), families[i]));
}

/* "NATS/1.0", lines with a colon, an empty line at the very end, CR and LF only as line ends. */
static bool well_formed(struct str block)
{
    if (!str_starts_with(block, STR_LIT("NATS/1.0")))
        return false;
    for (bool first = true;; first = false) {
        const char *end = memmem(block.ptr, block.len, "\r\n", 2);
        size_t length = end ? (size_t)(end - block.ptr) : 0;

        if (!end)
            return false;
        if (length == 0)
            return block.len == 2;
        if (!first && !memchr(block.ptr, ':', length))
            return false;
        for (size_t i = 0; i < length; i++)
            if (block.ptr[i] == '\r' || block.ptr[i] == '\n' || block.ptr[i] == '\0')
                return false;
        block = str_after(block, length + 2);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct http_reply reply;
    struct str block = str_make((const char *)data, size), payload;
    enum http_reply_fault fault;

    if (size == 0)
        return 0;
    payload = str_make(block.ptr + 1, data[0] < size ? data[0] : size - 1);
    block = str_after(block, 1 + payload.len);
    fault = http_reply_decode(block, payload, &reply);
    if (block.len == 0)
        require(fault == HTTP_REPLY_OK || fault == HTTP_REPLY_JETSTREAM_ACK);
    if (fault == HTTP_REPLY_NO_RESPONDERS)
        require(payload.len == 0 && str_starts_with(block, STR_LIT("NATS/1.0 ")));
    if (fault != HTTP_REPLY_OK)
        return 0;
    require(block.len == 0 || well_formed(block));
    require(reply.status >= 200 && reply.status <= 599);
    require(reply.header_count <= HTTP_HEADERS_MAX);
    require(!reply.echo || (reply.header_count == 0 && reply.status == 200));
    for (size_t i = 0; i < reply.header_count; i++) {
        check_header(&reply.headers[i]);
        check_within(reply.headers[i].name, block);
        check_within(reply.headers[i].value, block);
    }
    check_within(reply.service_error_text, block);
    check_within(reply.content_length, block);
    for (size_t i = 0; i < reply.content_length.len; i++)
        require(reply.content_length.ptr[i] >= '0' && reply.content_length.ptr[i] <= '9');
    return 0;
}
