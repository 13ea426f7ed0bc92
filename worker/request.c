/*
 * The request, as a handler sees it: look-ups in a NATS message.
 *
 * Nothing is decoded before it is asked for. What has to be decoded goes into strings that the
 * request owns until its handler returns. Only the thread that runs the handler comes here.
 *
 * cnats looks names up byte by byte, and other senders than gateways write them as they like, so
 * look-ups in any case go through the list of names. That list is also where a block that cnats
 * cannot read shows.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "worker/internal.h"

static const char *message_header(const natsMsg *message, const char *exact_name)
{
    const char *value = NULL;

    /* cnats parses the block at the first look-up, which is why it wants a message it may change.
     */
    if (natsMsgHeader_Get((natsMsg *)message, exact_name, &value) != NATS_OK)
        return NULL;
    return value;
}

int request_init(struct metropolis_request *request, struct metropolis_worker *worker,
                 natsMsg *message, int64_t arrived_ms)
{
    const char *timeout, *cancel;
    natsStatus status;

    request->worker = worker;
    request->message = message;
    request->keys = NULL;
    request->key_count = 0;
    request->deadline_ms = -1;
    request->cancel = 0;
    request->owned = NULL;
    request->replied = false;
    request->line_count = 0;
    request->line_bytes = 0;

    status = natsMsgHeader_Keys(message, &request->keys, &request->key_count);
    if (status == NATS_NO_MEMORY)
        return -ENOMEM;
    if (status != NATS_OK && status != NATS_NOT_FOUND)
        return -EBADMSG;
    timeout = message_header(message, "Metropolis-Timeout-Ms");
    if (timeout != NULL) {
        long long timeout_ms = strtoll(timeout, NULL, 10);

        if (timeout_ms >= 0 && timeout_ms < INT64_MAX - arrived_ms)
            request->deadline_ms = arrived_ms + timeout_ms;
    }
    cancel = message_header(message, "Metropolis-Cancel");
    if (cancel != NULL)
        request->cancel = cancels_expect(&worker->cancels, worker->connection, cancel);
    return 0;
}

void request_done(struct metropolis_request *request)
{
    struct owned_string *string;

    while ((string = request->owned) != NULL) {
        request->owned = string->next;
        free(string);
    }
    free(request->keys);
    natsMsg_Destroy(request->message);
}

const char *metropolis_request_method(const struct metropolis_request *request)
{
    return message_header(request->message, "Metropolis-Method");
}

const char *metropolis_request_path(const struct metropolis_request *request)
{
    return message_header(request->message, "Metropolis-Path");
}

const char *metropolis_request_query(const struct metropolis_request *request)
{
    return message_header(request->message, "Metropolis-Query");
}

const char *metropolis_request_subject(const struct metropolis_request *request)
{
    return natsMsg_GetSubject(request->message);
}

const void *metropolis_request_body(const struct metropolis_request *request, size_t *ret_len)
{
    const char *data = natsMsg_GetData(request->message);

    assert(ret_len != NULL);
    *ret_len = (size_t)natsMsg_GetDataLength(request->message);
    return data != NULL ? data : "";
}

const char *metropolis_request_header(const struct metropolis_request *request, const char *name)
{
    assert(name != NULL);
    for (int i = 0; i < request->key_count; i++) {
        if (strcasecmp(request->keys[i], name) == 0)
            return message_header(request->message, request->keys[i]);
    }
    return NULL;
}

bool metropolis_request_header_at(const struct metropolis_request *request, size_t index,
                                  const char **ret_name, const char **ret_value)
{
    const char *value;

    if (index >= (size_t)request->key_count)
        return false;
    value = message_header(request->message, request->keys[index]);
    *ret_name = request->keys[index];
    *ret_value = value != NULL ? value : "";
    return true;
}

int64_t metropolis_request_deadline_left_ms(const struct metropolis_request *request)
{
    int64_t left_ms;

    if (request->deadline_ms < 0)
        return -1;
    left_ms = request->deadline_ms - worker_now_ms();
    return left_ms > 0 ? left_ms : 0;
}

bool metropolis_request_cancelled(const struct metropolis_request *request)
{
    return metropolis_request_deadline_left_ms(request) == 0 ||
           cancels_have(&request->worker->cancels, request->cancel);
}

/* ---- decoding ---- */

static int hex_digit(char digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    digit |= 0x20;
    return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

/* Decodes the first byte and returns how many it was written in, 1 or 3; a "%" that starts no
 * escape stands for itself. */
static size_t percent_decode_byte(const char *text, size_t length, bool plus_is_space,
                                  char *ret_byte)
{
    int high = -1, low = -1;

    if (text[0] == '%' && length > 2) {
        high = hex_digit(text[1]);
        low = hex_digit(text[2]);
    }
    if (high >= 0 && low >= 0) {
        *ret_byte = (char)(high << 4 | low);
        return 3;
    }
    *ret_byte = plus_is_space && text[0] == '+' ? ' ' : text[0];
    return 1;
}

/* Writes at most length bytes to out. */
static size_t percent_decode(const char *text, size_t length, bool plus_is_space, char *out)
{
    size_t written = 0;

    for (size_t i = 0; i < length;)
        i += percent_decode_byte(text + i, length - i, plus_is_space, &out[written++]);
    return written;
}

/* A decoded copy that the request owns, ended by NUL; NULL without memory. */
static const char *request_decode(struct metropolis_request *request, const char *text,
                                  size_t length, bool plus_is_space, size_t *ret_len)
{
    struct owned_string *string = malloc(sizeof(*string) + length + 1);

    if (string == NULL)
        return NULL;
    *ret_len = percent_decode(text, length, plus_is_space, string->text);
    string->text[*ret_len] = '\0';
    string->next = request->owned;
    request->owned = string;
    return string->text;
}

/* Does the encoded name of a query parameter decode to name? Compares without a copy. */
static bool query_name_is(const char *encoded, size_t length, const char *name)
{
    size_t i = 0;

    for (; *name != '\0'; name++) {
        char byte;

        if (i == length)
            return false;
        i += percent_decode_byte(encoded + i, length - i, true, &byte);
        if (byte != *name)
            return false;
    }
    return i == length;
}

const char *metropolis_request_query_value(struct metropolis_request *request, const char *name,
                                           size_t index, size_t *ret_len)
{
    const char *rest = metropolis_request_query(request);
    size_t length;
    const char *value;

    assert(name != NULL);
    while (rest != NULL) {
        size_t pair_length = strcspn(rest, "&");
        const char *equals = memchr(rest, '=', pair_length);
        size_t name_length = equals != NULL ? (size_t)(equals - rest) : pair_length;

        if (pair_length > 0 && query_name_is(rest, name_length, name) && index-- == 0) {
            value = equals != NULL ? equals + 1 : rest + pair_length;
            value =
                request_decode(request, value, (size_t)(rest + pair_length - value), true, &length);
            if (value == NULL || (ret_len == NULL && strlen(value) != length))
                return NULL;
            if (ret_len != NULL)
                *ret_len = length;
            return value;
        }
        rest = rest[pair_length] == '&' ? rest + pair_length + 1 : NULL;
    }
    return NULL;
}

const char *metropolis_request_param(struct metropolis_request *request, const char *name,
                                     size_t segment)
{
    char header[sizeof("Metropolis-Param-") + 63];
    const char *token, *value;
    size_t length;
    int written;

    assert(name != NULL);
    written = snprintf(header, sizeof(header), "Metropolis-Param-%s", name);
    if (written < 0 || (size_t)written >= sizeof(header))
        return NULL;
    token = message_header(request->message, header);
    if (token == NULL)
        token = metropolis_request_header(request, header);
    for (; token != NULL && segment > 0; segment--) {
        token = strchr(token, '.');
        token = token != NULL ? token + 1 : NULL;
    }
    if (token == NULL)
        return NULL;
    length = strcspn(token, ".");
    if (length == 1 && *token == '~')
        length = 0;
    value = request_decode(request, token, length, false, &length);
    /* Gateways refuse a NUL in a path; from anybody else it must not cut the value. */
    return value != NULL && strlen(value) == length ? value : NULL;
}
