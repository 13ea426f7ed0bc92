/*
 * jetstream: requests and answers of JetStream's API, and reply subjects of deliveries:
 *
 *   $JS.ACK.<stream>.<consumer>.<delivered>.<sseq>.<cseq>.<time>.<pending>
 *   $JS.ACK.<domain>.<account>.<stream>.<consumer>.<delivered>.<sseq>.<cseq>.<time>.<pending>[...]
 */
#include "dataplane/table/jetstream.h"

#include <errno.h>
#include <openssl/evp.h>
#include <string.h>
#include <yyjson.h>

enum { TOKENS_SHORT = 9, TOKENS_LONG = 11, TOKENS_MAX = 16 };

int jetstream_read_delivery(struct str reply_subject, struct jetstream_delivery *ret_delivery)
{
    struct str tokens[TOKENS_MAX], rest = reply_subject;
    struct jetstream_delivery delivery;
    size_t count = 0, first;

    if (!str_starts_with(reply_subject, STR_LIT("$JS.ACK.")))
        return -EINVAL;
    for (const char *dot = rest.ptr; dot && count < TOKENS_MAX;) {
        dot = memchr(rest.ptr, '.', rest.len);
        tokens[count++] = str_make(rest.ptr, dot ? (size_t)(dot - rest.ptr) : rest.len);
        if (dot)
            rest = str_after(rest, (size_t)(dot - rest.ptr) + 1);
    }
    if (count != TOKENS_SHORT && count < TOKENS_LONG)
        return -EINVAL;
    first = count == TOKENS_SHORT ? 5 : 7;
    if (!str_read_decimal(tokens[first], &delivery.stream_sequence) ||
        !str_read_decimal(tokens[first + 1], &delivery.consumer_sequence) ||
        !str_read_decimal(tokens[first + 3], &delivery.pending))
        return -EINVAL;
    *ret_delivery = delivery;
    return 0;
}

bool jetstream_header(struct str block, struct str name, struct str *ret_value)
{
    const char *end;

    for (struct str line = block; line.len && (end = memmem(line.ptr, line.len, "\r\n", 2));
         line = str_after(line, (size_t)(end - line.ptr) + 2)) {
        struct str value = str_make(line.ptr, (size_t)(end - line.ptr));

        if (!str_starts_with(value, name) || value.len == name.len || value.ptr[name.len] != ':')
            continue;
        value = str_after(value, name.len + 1);
        while (value.len > 0 && value.ptr[0] == ' ')
            value = str_after(value, 1);
        *ret_value = value;
        return true;
    }
    return false;
}

bool jetstream_is_no_responders(struct str block)
{
    return str_starts_with(block, STR_LIT("NATS/1.0 503"));
}

/* Names and subjects of ours hold nothing that JSON would escape. */
int jetstream_write_consumer(struct buffer *out, const char *stream, const char *filter,
                             const char *deliver_subject, unsigned heartbeat_ms)
{
    return buffer_printf(out,
                         "{\"stream_name\":\"%s\",\"config\":{\"deliver_subject\":\"%s\","
                         "\"filter_subject\":\"%s\",\"deliver_policy\":\"all\","
                         "\"ack_policy\":\"none\",\"replay_policy\":\"instant\",\"max_deliver\":1,"
                         "\"flow_control\":true,\"idle_heartbeat\":%llu,\"mem_storage\":true,"
                         "\"num_replicas\":1}}",
                         stream, deliver_subject, filter, heartbeat_ms * 1000000ull);
}

int jetstream_write_get_last(struct buffer *out, const char *subject)
{
    return buffer_printf(out, "{\"last_by_subj\":\"%s\"}", subject);
}

/* The answer's document, for the caller to free, unless it is an error. */
static int open_answer(struct str answer, yyjson_doc **ret_doc)
{
    yyjson_doc *doc = yyjson_read(answer.ptr, answer.len, 0);
    yyjson_val *root = yyjson_doc_get_root(doc), *error = yyjson_obj_get(root, "error");
    int result = 0;

    if (!yyjson_is_obj(root))
        result = -EPROTO;
    else if (error)
        result = yyjson_get_int(yyjson_obj_get(error, "code")) == 404 ? -ENOENT : -EREMOTEIO;
    if (result)
        yyjson_doc_free(doc);
    else
        *ret_doc = doc;
    return result;
}

int jetstream_read_created(struct str answer, uint64_t *ret_pending)
{
    yyjson_doc *doc;
    yyjson_val *pending;
    int result = open_answer(answer, &doc);

    if (result)
        return result;
    pending = yyjson_obj_get(yyjson_doc_get_root(doc), "num_pending");
    if (yyjson_is_uint(pending))
        *ret_pending = yyjson_get_uint(pending);
    else
        result = -EPROTO;
    yyjson_doc_free(doc);
    return result;
}

static int decode_base64(const char *text, size_t len, struct buffer *out)
{
    char *room = buffer_reserve(out, len / 4 * 3 + 1);
    int decoded;

    if (!room)
        return -ENOMEM;
    decoded = EVP_DecodeBlock((unsigned char *)room, (const unsigned char *)text, (int)len);
    if (decoded < 0)
        return -EPROTO;
    for (size_t i = len; i > 0 && text[i - 1] == '=' && decoded > 0; i--)
        decoded--;
    buffer_commit(out, (size_t)decoded);
    return 0;
}

int jetstream_read_stored(struct str answer, uint64_t *ret_sequence, struct buffer *out)
{
    yyjson_doc *doc;
    yyjson_val *message, *sequence, *data;
    int result = open_answer(answer, &doc);

    if (result)
        return result;
    message = yyjson_obj_get(yyjson_doc_get_root(doc), "message");
    sequence = yyjson_obj_get(message, "seq");
    data = yyjson_obj_get(message, "data");
    if (!yyjson_is_uint(sequence))
        result = -EPROTO;
    else if (yyjson_is_str(data))
        result = decode_base64(yyjson_get_str(data), yyjson_get_len(data), out);
    if (!result)
        *ret_sequence = yyjson_get_uint(sequence);
    yyjson_doc_free(doc);
    return result;
}

int jetstream_read_published(struct str answer)
{
    yyjson_doc *doc;
    int result = open_answer(answer, &doc);

    if (result)
        return result;
    if (!yyjson_is_uint(yyjson_obj_get(yyjson_doc_get_root(doc), "seq")))
        result = -EPROTO;
    yyjson_doc_free(doc);
    return result;
}

int jetstream_read_end(struct str answer, uint64_t *ret_sequence)
{
    yyjson_doc *doc;
    yyjson_val *last;
    int result = open_answer(answer, &doc);

    if (result)
        return result;
    last = yyjson_obj_get(yyjson_obj_get(yyjson_doc_get_root(doc), "state"), "last_seq");
    if (yyjson_is_uint(last))
        *ret_sequence = yyjson_get_uint(last);
    else
        result = -EPROTO;
    yyjson_doc_free(doc);
    return result;
}
