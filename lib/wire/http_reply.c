/*
 * http_reply: a worker's NATS header block as the head of an HTTP response. On the hot path; no
 * allocation, all strings borrow the block.
 *
 * A worker is not trusted with the connection to the client: what it sends can choose the status
 * and the headers that a response may have, not how the response is framed, and nothing that it
 * sends can begin a line of its own. A block that is not exactly lines that end in CR LF and an
 * empty line at its very end is refused as a whole.
 *
 * Lines are read once, in their order; Metropolis-Method anywhere turns the whole reply into an
 * echo, so what was gathered is judged at the end. Metropolis-Add lines come last, in the order of
 * their <n>: workers' headers may be a map, which keeps no order.
 */
#include <assert.h>
#include <yyjson.h>

#include "lib/wire/http_field.h"
#include "lib/wire/http_msg.h"

enum { CONNECTIONS_MAX = 4, STATUS_MIN = 200, STATUS_MAX = 599, ERROR_MIN = 400, ACK_MAX = 1024 };

/* Metropolis-Add-<n>: <line> */
struct added {
    struct str n, line;
};

/* What was read so far. */
struct reading {
    struct http_reply *reply;
    struct str connections[CONNECTIONS_MAX]; /* values of Connection lines */
    struct added *added;                     /* HTTP_HEADERS_MAX, sorted by n */
    size_t connection_count, line_count, added_count;
    unsigned status, service_status; /* 0: not said */
    bool bad_status, bad_headers, unsupported;
};

/* Exactly three digits, or 0. */
static unsigned status_parse(struct str text)
{
    unsigned status = 0;

    if (text.len != 3)
        return 0;
    for (size_t i = 0; i < 3; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9')
            return 0;
        status = status * 10 + (unsigned)(text.ptr[i] - '0');
    }
    return status;
}

static struct str after_prefix(struct str name, size_t length)
{
    return name.len > length ? str_after(name, length) : str_make(NULL, 0);
}

/* ---- lines ---- */

static void read_content_length(struct reading *reading, struct str value)
{
    struct str *length = &reading->reply->content_length;
    bool digits = value.len > 0 && value.len <= 18;

    for (size_t i = 0; i < value.len && digits; i++)
        digits = value.ptr[i] >= '0' && value.ptr[i] <= '9';
    if (!digits || (length->len && !str_equal(*length, value)))
        reading->bad_headers = true;
    *length = value;
}

/* A line that may become one of the response's. flags: of its name. */
static void read_plain(struct reading *reading, struct str name, struct str value, unsigned flags)
{
    struct http_reply *reply = reading->reply;

    if (flags & HTTP_FIELD_CONNECTION) {
        if (reading->connection_count == CONNECTIONS_MAX)
            reading->bad_headers = true;
        else
            reading->connections[reading->connection_count++] = value;
    }
    if (flags & HTTP_FIELD_LENGTH)
        read_content_length(reading, value);
    else if (flags & (HTTP_FIELD_INVALID | HTTP_FIELD_NOT_REPLY))
        reply->dropped++;
    else if (reply->header_count < HTTP_HEADERS_MAX)
        reply->headers[reply->header_count++] = (struct http_header){.name = name, .value = value};
}

/* Splits at the colon, value trimmed; false: there is none, or nothing before it. */
static bool split_line(struct str line, struct str *ret_name, struct str *ret_value)
{
    const char *colon = line.len ? memchr(line.ptr, ':', line.len) : NULL;

    if (!colon || colon == line.ptr)
        return false;
    *ret_name = str_make(line.ptr, (size_t)(colon - line.ptr));
    *ret_value = http_field_trim(str_after(line, ret_name->len + 1));
    return true;
}

/* 2 before 10: the shorter first, then by bytes. */
static bool comes_before(struct str a, struct str b)
{
    return a.len != b.len ? a.len < b.len : str_compare(a, b) < 0;
}

/* Metropolis-Add-<n>: Name: value. Too many lines are refused in the end. */
static void keep_added(struct reading *reading, struct str n, struct str line)
{
    struct added *added = reading->added;
    size_t i = reading->added_count;

    if (i == HTTP_HEADERS_MAX)
        return;
    for (; i > 0 && comes_before(n, added[i - 1].n); i--)
        added[i] = added[i - 1];
    added[i] = (struct added){n, line};
    reading->added_count++;
}

static void read_added(struct reading *reading)
{
    struct str name, value;
    uint32_t hash;

    for (size_t i = 0; i < reading->added_count; i++) {
        if (split_line(reading->added[i].line, &name, &value))
            read_plain(reading, name, value, http_field_classify(name, &hash));
        else
            reading->bad_headers = true;
    }
}

static bool starts_nocase(struct str text, struct str prefix)
{
    return text.len >= prefix.len && str_equal_nocase(str_make(text.ptr, prefix.len), prefix);
}

static void read_metropolis(struct reading *reading, struct str name, struct str value)
{
    struct str word = after_prefix(name, sizeof("Metropolis-") - 1);

    if (str_equal_nocase(word, STR_LIT("Status"))) {
        unsigned status = status_parse(value);

        if (status < STATUS_MIN || status > STATUS_MAX || reading->status)
            reading->bad_status = true;
        reading->status = status;
    } else if (starts_nocase(word, STR_LIT("Add-")) && word.len > 4) {
        keep_added(reading, str_after(word, 4), value);
    } else if (str_equal_nocase(word, STR_LIT("Method"))) {
        reading->reply->echo = true;
    } else if (str_equal_nocase(word, STR_LIT("Wire"))) {
        reading->unsupported |= !str_equal(value, STR_LIT("1"));
    } else if (str_equal_nocase(word, STR_LIT("More")) ||
               str_equal_nocase(word, STR_LIT("Stream")) ||
               str_equal_nocase(word, STR_LIT("Seq"))) {
        reading->unsupported = true; /* a part of something longer: never pass it off as a whole */
    } else {
        reading->reply->dropped++;
    }
}

static void read_nats(struct reading *reading, struct str name, struct str value)
{
    struct str word = after_prefix(name, sizeof("Nats-") - 1);

    if (str_equal_nocase(word, STR_LIT("Service-Error-Code"))) {
        unsigned status = status_parse(value);

        reading->service_status = status >= ERROR_MIN && status <= STATUS_MAX ? status : 500;
    } else if (str_equal_nocase(word, STR_LIT("Service-Error"))) {
        reading->reply->service_error_text = value;
    } else {
        reading->reply->dropped++;
    }
}

static void read_line(struct reading *reading, struct str line)
{
    struct str name, value;
    uint32_t hash;
    unsigned flags;

    if (!split_line(line, &name, &value) || http_field_judge(name) == HTTP_FIELD_CONTROL ||
        http_field_judge(value) == HTTP_FIELD_CONTROL) {
        reading->bad_headers = true;
        return;
    }
    flags = http_field_classify(name, &hash);
    reading->line_count++;
    if (flags & HTTP_FIELD_METROPOLIS)
        read_metropolis(reading, name, value);
    else if (flags & HTTP_FIELD_NATS)
        read_nats(reading, name, value);
    else
        read_plain(reading, name, value, flags);
}

/* ---- the block ---- */

/* Moves past one line, up to its CR LF; false: there is none. */
static bool next_line(struct str *block, struct str *ret_line)
{
    const char *end = block->len ? memchr(block->ptr, '\n', block->len) : NULL;
    size_t length = end ? (size_t)(end - block->ptr) : 0;

    if (length == 0 || block->ptr[length - 1] != '\r')
        return false;
    *ret_line = str_make(block->ptr, length - 1);
    *block = str_after(*block, length + 1);
    return true;
}

/* The inline status of the first line ("NATS/1.0 503 No Responders"): 0 if there is none, -1 if
 * the line is malformed. */
static int inline_status(struct str line)
{
    struct str version = STR_LIT("NATS/1.0"), rest;
    const char *space;
    unsigned status;

    if (!str_starts_with(line, version) || http_field_judge(line) == HTTP_FIELD_CONTROL)
        return -1;
    rest = str_after(line, version.len);
    if (rest.len && rest.ptr[0] != ' ')
        return -1;
    rest = http_field_trim(rest);
    if (rest.len == 0)
        return 0;
    space = memchr(rest.ptr, ' ', rest.len);
    status = status_parse(space ? str_make(rest.ptr, (size_t)(space - rest.ptr)) : rest);
    return status ? (int)status : -1;
}

/* Takes out what Connection lines name. */
static void drop_connection_names(struct reading *reading)
{
    struct http_reply *reply = reading->reply;
    struct str names, name;

    for (size_t i = 0; i < reading->connection_count; i++) {
        names = reading->connections[i];
        while (http_field_list_next(&names, &name)) {
            size_t kept = 0;

            for (size_t j = 0; j < reply->header_count; j++)
                if (!str_equal_nocase(reply->headers[j].name, name))
                    reply->headers[kept++] = reply->headers[j];
            reply->dropped += (unsigned)(reply->header_count - kept);
            reply->header_count = kept;
        }
    }
}

static enum http_reply_fault reading_finish(struct reading *reading)
{
    struct http_reply *reply = reading->reply;

    read_added(reading);
    if (reading->bad_headers)
        return HTTP_REPLY_BAD_HEADERS;
    if (reply->echo) {
        *reply = (struct http_reply){.status = 200, .echo = true};
        return HTTP_REPLY_OK;
    }
    if (reading->unsupported)
        return HTTP_REPLY_UNSUPPORTED;
    if (reading->line_count > HTTP_HEADERS_MAX)
        return HTTP_REPLY_BAD_HEADERS;
    if (reading->bad_status)
        return HTTP_REPLY_BAD_STATUS;
    drop_connection_names(reading);
    reply->service_error = !reading->status && reading->service_status;
    reply->status = reading->status           ? reading->status
                    : reading->service_status ? reading->service_status
                                              : 200;
    return HTTP_REPLY_OK;
}

/* ---- a stream's answer ---- */

/* Whether every field is one of an ack's, and those that it must have are there. Not inlined: its
 * stack is for the few payloads that begin like an ack. */
static bool __attribute__((noinline)) json_is_ack(struct str payload)
{
    static const char *const names[] = {"stream", "seq",   "domain", "duplicate",
                                        "val",    "batch", "count",  "error"};
    char room[32 * ACK_MAX];
    yyjson_alc memory;
    yyjson_doc *doc;
    yyjson_val *root, *key, *value;
    size_t at, size;
    bool ack;

    yyjson_alc_pool_init(&memory, room, sizeof(room));
    doc = yyjson_read_opts((char *)payload.ptr, payload.len, 0, &memory, NULL);
    root = yyjson_doc_get_root(doc);
    if (!yyjson_is_obj(root))
        return false;
    ack = yyjson_is_str(yyjson_obj_get(root, "stream")) &&
          yyjson_is_uint(yyjson_obj_get(root, "seq"));
    yyjson_obj_foreach(root, at, size, key, value)
    {
        bool known = false;

        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
            known |= yyjson_equals_str(key, names[i]);
        ack &= known;
    }
    return ack;
}

/*
 * Whether a plain message is a JetStream publish ack. What the server writes begins with one of two
 * fields; nothing else is parsed. So a worker's own {"stream":...} is in no danger until it looks
 * like an ack in all details.
 */
static bool payload_is_ack(struct str payload)
{
    return payload.len <= ACK_MAX &&
           (str_starts_with(payload, STR_LIT("{\"stream\"")) ||
            str_starts_with(payload, STR_LIT("{\"error\""))) &&
           json_is_ack(payload);
}

enum http_reply_fault http_reply_decode(struct str block, struct str payload,
                                        struct http_reply *ret_reply)
{
    struct added added[HTTP_HEADERS_MAX]; /* on purpose not cleared */
    struct reading reading = {.reply = ret_reply, .added = added};
    struct str line;
    int status;

    ret_reply->status = 200;
    ret_reply->echo = ret_reply->service_error = false;
    ret_reply->service_error_text = ret_reply->content_length = str_make(NULL, 0);
    ret_reply->header_count = 0;
    ret_reply->dropped = 0;
    if (block.len == 0)
        return payload_is_ack(payload) ? HTTP_REPLY_JETSTREAM_ACK : HTTP_REPLY_OK;
    status = next_line(&block, &line) ? inline_status(line) : -1;
    if (status < 0)
        return HTTP_REPLY_BAD_HEADERS;
    if (status > 0)
        return status == 503 && payload.len == 0 ? HTTP_REPLY_NO_RESPONDERS : HTTP_REPLY_BAD_STATUS;
    while (next_line(&block, &line)) {
        if (line.len == 0)
            return block.len ? HTTP_REPLY_BAD_HEADERS : reading_finish(&reading);
        read_line(&reading, line);
    }
    return HTTP_REPLY_BAD_HEADERS; /* it ends without an empty line */
}
