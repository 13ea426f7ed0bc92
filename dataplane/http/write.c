/*
 * write: see write.h. On the hot path: the size is bounded first, room is reserved once, and the
 * rest is copying. Any thread; pure.
 */
#include "dataplane/http/write.h"

#include <assert.h>
#include <errno.h>
#include <time.h>

struct phrase {
    unsigned status;
    struct str text; /* " 200 OK" */
};

/* Of the IANA registry what workers are likely to send; a phrase may be empty (RFC 9112 4). */
static const struct phrase phrases[] = {
    {200, STR_LIT("OK")},
    {201, STR_LIT("Created")},
    {202, STR_LIT("Accepted")},
    {203, STR_LIT("Non-Authoritative Information")},
    {204, STR_LIT("No Content")},
    {205, STR_LIT("Reset Content")},
    {206, STR_LIT("Partial Content")},
    {207, STR_LIT("Multi-Status")},
    {300, STR_LIT("Multiple Choices")},
    {301, STR_LIT("Moved Permanently")},
    {302, STR_LIT("Found")},
    {303, STR_LIT("See Other")},
    {304, STR_LIT("Not Modified")},
    {307, STR_LIT("Temporary Redirect")},
    {308, STR_LIT("Permanent Redirect")},
    {400, STR_LIT("Bad Request")},
    {401, STR_LIT("Unauthorized")},
    {402, STR_LIT("Payment Required")},
    {403, STR_LIT("Forbidden")},
    {404, STR_LIT("Not Found")},
    {405, STR_LIT("Method Not Allowed")},
    {406, STR_LIT("Not Acceptable")},
    {408, STR_LIT("Request Timeout")},
    {409, STR_LIT("Conflict")},
    {410, STR_LIT("Gone")},
    {411, STR_LIT("Length Required")},
    {412, STR_LIT("Precondition Failed")},
    {413, STR_LIT("Content Too Large")},
    {414, STR_LIT("URI Too Long")},
    {415, STR_LIT("Unsupported Media Type")},
    {416, STR_LIT("Range Not Satisfiable")},
    {417, STR_LIT("Expectation Failed")},
    {421, STR_LIT("Misdirected Request")},
    {422, STR_LIT("Unprocessable Content")},
    {423, STR_LIT("Locked")},
    {424, STR_LIT("Failed Dependency")},
    {425, STR_LIT("Too Early")},
    {426, STR_LIT("Upgrade Required")},
    {428, STR_LIT("Precondition Required")},
    {429, STR_LIT("Too Many Requests")},
    {431, STR_LIT("Request Header Fields Too Large")},
    {451, STR_LIT("Unavailable For Legal Reasons")},
    {500, STR_LIT("Internal Server Error")},
    {501, STR_LIT("Not Implemented")},
    {502, STR_LIT("Bad Gateway")},
    {503, STR_LIT("Service Unavailable")},
    {504, STR_LIT("Gateway Timeout")},
    {505, STR_LIT("HTTP Version Not Supported")},
    {507, STR_LIT("Insufficient Storage")},
    {511, STR_LIT("Network Authentication Required")},
};

static struct str phrase_of(unsigned status)
{
    for (size_t i = 0; i < sizeof(phrases) / sizeof(*phrases); i++)
        if (phrases[i].status == status)
            return phrases[i].text;
    return STR_LIT("");
}

bool http_response_bodiless(unsigned status, bool head)
{
    return head || status == 204 || status == 205 || status == 304;
}

static char *put(char *to, struct str text)
{
    if (text.len)
        memcpy(to, text.ptr, text.len);
    return to + text.len;
}

static char *put_number(char *to, uint64_t number)
{
    char digits[STR_DECIMAL_MAX];

    return put(to, str_decimal(number, digits));
}

static char *put_field(char *to, struct str name, struct str value)
{
    to = put(to, name);
    to = put(to, STR_LIT(": "));
    to = put(to, value);
    return put(to, STR_LIT("\r\n"));
}

/* RFC 9110 8.6, RFC 9112 6.3. */
static char *put_length(char *to, const struct http_response *response, bool head)
{
    bool as_get = head || response->status == 304; /* what a GET would have told */
    struct str length = as_get ? response->content_length : (struct str){0};

    if (response->status == 204)
        return to;
    if (length.len)
        return put_field(to, STR_LIT("Content-Length"), length);
    if (as_get && response->body.len == 0)
        return to; /* unknown: better nothing than 0 */
    to = put(to, STR_LIT("Content-Length: "));
    to = put_number(to, response->status == 205 ? 0 : response->body.len);
    return put(to, STR_LIT("\r\n"));
}

static size_t bound(const struct http_response *response,
                    const struct http_response_context *context)
{
    size_t size = 512 + response->request_id.len + response->allow.len +
                  response->content_length.len + context->date.len + context->server.len;

    for (size_t i = 0; i < response->header_count; i++)
        size += response->headers[i].name.len + response->headers[i].value.len + 4;
    return size;
}

int http_response_write(const struct http_response *response,
                        const struct http_response_context *context, struct buffer *out)
{
    bool has_date = false, has_server = false;
    size_t size = bound(response, context);
    char *begin = buffer_reserve(out, size), *to = begin;

    assert(response->status >= 200 && response->status <= 599);
    if (!to)
        return -ENOBUFS;
    to = put(to, STR_LIT("HTTP/1.1 "));
    to = put_number(to, response->status);
    *to++ = ' ';
    to = put(to, phrase_of(response->status));
    to = put(to, STR_LIT("\r\n"));
    for (size_t i = 0; i < response->header_count; i++) {
        struct str name = response->headers[i].name;

        if (response->request_id.len && str_equal_nocase(name, STR_LIT("x-request-id")))
            continue; /* ours, the one in the logs, stands alone */
        has_date |= name.len == 4 && str_equal_nocase(name, STR_LIT("date"));
        has_server |= name.len == 6 && str_equal_nocase(name, STR_LIT("server"));
        to = put_field(to, name, response->headers[i].value);
    }
    if (!has_date)
        to = put_field(to, STR_LIT("Date"), context->date);
    if (!has_server && context->server.len)
        to = put_field(to, STR_LIT("Server"), context->server);
    if (response->request_id.len)
        to = put_field(to, STR_LIT("X-Request-Id"), response->request_id);
    if (response->allow.len)
        to = put_field(to, STR_LIT("Allow"), response->allow);
    if (response->retry_after_s) {
        to = put(to, STR_LIT("Retry-After: "));
        to = put_number(to, response->retry_after_s);
        to = put(to, STR_LIT("\r\n"));
    }
    to = put_length(to, response, context->head);
    if (!context->keep_alive)
        to = put(to, STR_LIT("Connection: close\r\n"));
    else if (context->minor == 0)
        to = put(to, STR_LIT("Connection: keep-alive\r\n"));
    to = put(to, STR_LIT("\r\n"));
    assert((size_t)(to - begin) <= size);
    buffer_commit(out, (size_t)(to - begin));
    return 0;
}

void http_date_write(int64_t unix_s, char *text)
{
    static const char days[] = "SunMonTueWedThuFriSat";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    static const char shape[] = "Sun, 06 Nov 1994 08:49:37 GMT";
    time_t seconds = (time_t)unix_s;
    struct tm tm;

    gmtime_r(&seconds, &tm);
    memcpy(text, shape, sizeof(shape));
    memcpy(text, days + 3 * tm.tm_wday, 3);
    memcpy(text + 8, months + 3 * tm.tm_mon, 3);
    const struct {
        int at, value;
    } pairs[] = {{5, tm.tm_mday},        {12, (tm.tm_year + 1900) / 100},
                 {14, tm.tm_year % 100}, {17, tm.tm_hour},
                 {20, tm.tm_min},        {23, tm.tm_sec}};

    for (size_t i = 0; i < sizeof(pairs) / sizeof(*pairs); i++) {
        text[pairs[i].at] = (char)('0' + pairs[i].value / 10 % 10);
        text[pairs[i].at + 1] = (char)('0' + pairs[i].value % 10);
    }
}
