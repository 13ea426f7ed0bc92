/*
 * The reply: what a handler says, checked, and sent as one NATS message.
 *
 * The rule of this file: what the gateway would refuse or drop is an error of the call that said
 * it, so that no worker wonders where its header went. docs/WIRE.md holds the rules; lib/wire is
 * the gateway's side of them.
 *
 * Repeated names go out as repeated lines, which cnats can write and a gateway reads; it turns CR
 * and LF into blanks without a word, so they are refused here first.
 */
#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "worker/internal.h"

enum {
    STATUS_MIN = 200,
    STATUS_ERROR_MIN = 400,
    STATUS_MAX = 599,
    PROBLEM_DETAIL_MAX = 4096,
    CONTENT_LENGTH_DIGITS_MAX = 18,
};

/* Lower case. A name that ends in "-" stands for all that begin so. */
static const char *const refused_names[] = {
    /* the connection's, not the answer's (RFC 9110 7.6.1) */
    "connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
    "proxy-authenticate", "proxy-authorization", "host", "expect",
    /* NATS' and the format's own */
    "status", "description", "nats-", "metropolis-",
    /* only requests have them: a reply that does is most likely an echo, with secrets in it */
    "authorization", "cookie", "forwarded", "from", "if-", "max-forwards", "origin", "range",
    "referer", "user-agent", "x-forwarded-", "x-original-url", "x-real-ip", "x-rewrite-url"};

static bool name_is_refused(const char *name)
{
    for (size_t i = 0; i < sizeof(refused_names) / sizeof(*refused_names); i++) {
        size_t length = strlen(refused_names[i]);
        bool is_prefix = refused_names[i][length - 1] == '-';

        if (strncasecmp(name, refused_names[i], length) == 0 && (is_prefix || name[length] == '\0'))
            return true;
    }
    return false;
}

static bool name_is_valid(const char *name)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-";

    return *name != '\0' && name[strspn(name, letters)] == '\0';
}

static bool value_is_valid(const char *value, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if ((unsigned char)value[i] < 0x20 || value[i] == 0x7f)
            return false;
    }
    return true;
}

static bool reply_has_header(const struct metropolis_request *request, const char *name)
{
    for (size_t i = 0; i < request->line_count; i++) {
        if (strcasecmp(request->lines[i].text->text, name) == 0)
            return true;
    }
    return false;
}

/* The payload's length speaks for itself, except for HEAD, where there may be none. */
static bool content_length_is_valid(const struct metropolis_request *request, const char *value,
                                    size_t length)
{
    const char *method = metropolis_request_method(request);

    return method != NULL && strcmp(method, "HEAD") == 0 && length > 0 &&
           length <= CONTENT_LENGTH_DIGITS_MAX && strspn(value, "0123456789") >= length &&
           !reply_has_header(request, "Content-Length");
}

int metropolis_reply_header(struct metropolis_request *request, const char *name, const char *value)
{
    size_t name_size, value_length, line_bytes;
    struct owned_string *text;

    assert(request != NULL && name != NULL && value != NULL);
    if (request->replied)
        return -EALREADY;
    value += strspn(value, " \t");
    value_length = strlen(value);
    while (value_length > 0 && strchr(" \t", value[value_length - 1]) != NULL)
        value_length--;
    if (!name_is_valid(name) || name_is_refused(name) || !value_is_valid(value, value_length))
        return -EINVAL;
    if (strcasecmp(name, "Content-Length") == 0 &&
        !content_length_is_valid(request, value, value_length))
        return -EINVAL;

    name_size = strlen(name) + 1;
    line_bytes = name_size + value_length + sizeof(": \r\n") - 2; /* without the two NULs */
    if (request->line_count == METROPOLIS_REPLY_HEADERS_MAX ||
        line_bytes > METROPOLIS_REPLY_HEADER_BYTES_MAX - request->line_bytes)
        return -E2BIG;
    text = malloc(sizeof(*text) + name_size + value_length + 1);
    if (text == NULL)
        return -ENOMEM;
    memcpy(text->text, name, name_size);
    memcpy(text->text + name_size, value, value_length);
    text->text[name_size + value_length] = '\0';
    text->next = request->owned;
    request->owned = text;
    request->lines[request->line_count++] =
        (struct reply_line){.text = text, .value = text->text + name_size};
    request->line_bytes += line_bytes;
    return 0;
}

/*
 * cnats keeps names apart that differ in case only, and its order across names is arbitrary; so a
 * line goes under the spelling of the first line of its name, which keeps their order.
 */
static const char *line_name(const struct metropolis_request *request, size_t index)
{
    const char *name = request->lines[index].text->text;

    for (size_t i = 0; i < index; i++) {
        if (strcasecmp(request->lines[i].text->text, name) == 0)
            return request->lines[i].text->text;
    }
    return name;
}

static int message_write(const struct metropolis_request *request, int status, const void *body,
                         size_t body_len, natsMsg **ret_message)
{
    natsMsg *message = NULL;
    char digits[sizeof("200")];
    natsStatus rc;

    if (body_len > INT_MAX)
        return -EMSGSIZE;
    rc = natsMsg_Create(&message, natsMsg_GetReply(request->message), NULL, body, (int)body_len);
    if (rc == NATS_OK && status != 200) {
        snprintf(digits, sizeof(digits), "%d", status);
        rc = natsMsgHeader_Set(message, "Metropolis-Status", digits);
    }
    for (size_t i = 0; rc == NATS_OK && i < request->line_count; i++)
        rc = natsMsgHeader_Add(message, line_name(request, i), request->lines[i].value);
    if (rc != NATS_OK) {
        natsMsg_Destroy(message);
        return worker_error(rc);
    }
    *ret_message = message;
    return 0;
}

int metropolis_reply(struct metropolis_request *request, int status, const void *body,
                     size_t body_len)
{
    natsMsg *message = NULL;
    int rc;

    assert(request != NULL && (body != NULL || body_len == 0));
    if (request->replied)
        return -EALREADY;
    if (status < STATUS_MIN || status > STATUS_MAX)
        return -EINVAL;
    if (body_len > 0 && (status == 204 || status == 304))
        return -EINVAL;
    if (natsMsg_GetReply(request->message) != NULL) {
        rc = message_write(request, status, body, body_len, &message);
        if (rc == 0)
            rc = worker_error(natsConnection_PublishMsg(request->worker->connection, message));
        natsMsg_Destroy(message);
        if (rc != 0)
            return rc;
    }
    request->replied = true;
    return 0;
}

/* Sends with one header of the library's own, and takes that back when sending fails. */
static int reply_as(struct metropolis_request *request, int status, const char *content_type,
                    const char *text)
{
    size_t line_count = request->line_count, line_bytes = request->line_bytes;
    int rc = 0;

    if (!reply_has_header(request, "Content-Type"))
        rc = metropolis_reply_header(request, "Content-Type", content_type);
    if (rc == 0)
        rc = metropolis_reply(request, status, text, strlen(text));
    if (rc != 0) {
        request->line_count = line_count;
        request->line_bytes = line_bytes;
    }
    return rc;
}

int metropolis_reply_text(struct metropolis_request *request, int status, const char *text)
{
    assert(request != NULL && text != NULL);
    return reply_as(request, status, "text/plain; charset=utf-8", text);
}

/* ---- errors ---- */

static const char *status_title(int status)
{
    static const struct {
        int status;
        const char *title;
    } titles[] = {
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {409, "Conflict"},
        {410, "Gone"},
        {412, "Precondition Failed"},
        {413, "Content Too Large"},
        {415, "Unsupported Media Type"},
        {422, "Unprocessable Content"},
        {429, "Too Many Requests"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
    };

    for (size_t i = 0; i < sizeof(titles) / sizeof(*titles); i++) {
        if (titles[i].status == status)
            return titles[i].title;
    }
    return "Error";
}

/* Length of the UTF-8 sequence at text (RFC 3629), or 0. The NUL at the end stops every read. */
static size_t utf8_sequence(const unsigned char *text)
{
    unsigned char low = 0x80, high = 0xbf;
    size_t more;

    if (text[0] < 0x80)
        return 1;
    if (text[0] < 0xc2 || text[0] > 0xf4)
        return 0;
    more = text[0] < 0xe0 ? 1 : text[0] < 0xf0 ? 2 : 3;
    if (text[0] == 0xe0)
        low = 0xa0; /* overlong */
    else if (text[0] == 0xed)
        high = 0x9f; /* surrogates */
    else if (text[0] == 0xf0)
        low = 0x90;
    else if (text[0] == 0xf4)
        high = 0x8f;
    if (text[1] < low || text[1] > high)
        return 0;
    for (size_t i = 2; i <= more; i++) {
        if (text[i] < 0x80 || text[i] > 0xbf)
            return 0;
    }
    return more + 1;
}

enum { JSON_ESCAPE_MAX = 6 }; /* bytes that one byte may become: "\\u0001" */

/* Writes text as the inside of a JSON string, without an end; its length, or -EINVAL: no UTF-8. */
static int json_escape(const char *text, char *out)
{
    static const char hex[] = "0123456789abcdef";
    char *start = out;
    size_t length;

    for (; *text != '\0'; text += length) {
        length = utf8_sequence((const unsigned char *)text);
        if (length == 0)
            return -EINVAL;
        if (length == 1 && (unsigned char)*text < 0x20) {
            const char escape[JSON_ESCAPE_MAX] = {'\\',           'u', '0', '0', hex[*text >> 4],
                                                  hex[*text & 15]};

            memcpy(out, escape, sizeof(escape));
            out += sizeof(escape);
        } else {
            if (*text == '"' || *text == '\\')
                *out++ = '\\';
            memcpy(out, text, length);
            out += length;
        }
    }
    return (int)(out - start);
}

int metropolis_reply_error(struct metropolis_request *request, int status, const char *detail)
{
    size_t detail_length = detail != NULL ? strlen(detail) : 0;
    char *escaped = NULL, *problem = NULL;
    int rc;

    assert(request != NULL);
    if (request->replied)
        return -EALREADY;
    if (status < STATUS_ERROR_MIN || status > STATUS_MAX || detail_length > PROBLEM_DETAIL_MAX)
        return -EINVAL;
    escaped = malloc(JSON_ESCAPE_MAX * detail_length + 1);
    if (escaped == NULL)
        return -ENOMEM;
    rc = json_escape(detail != NULL ? detail : "", escaped);
    if (rc >= 0) {
        rc = asprintf(&problem, "{\"title\":\"%s\",\"status\":%d%s%.*s%s}", status_title(status),
                      status, detail != NULL ? ",\"detail\":\"" : "", rc, escaped,
                      detail != NULL ? "\"" : "");
        rc = rc < 0 ? -ENOMEM : 0;
    }
    if (rc == 0) {
        request->line_count = 0;
        request->line_bytes = 0;
        rc = reply_as(request, status, "application/problem+json", problem);
        free(problem);
    }
    free(escaped);
    return rc;
}
