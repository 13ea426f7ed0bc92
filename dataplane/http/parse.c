/*
 * parse: see parse.h. The request line is judged here, whole, before llhttp sees it, because
 * statuses (501, 505, 414) and refusals must not depend on where reads happened to cut it. A
 * request that lies there whole, with plain fields, is then read at once. Of any other llhttp,
 * strict as it comes, takes line, fields and body. What the fields mean for framing is decided
 * here, and must agree with llhttp's own view.
 *
 * Invariants: bytes before `parsed` were given to llhttp, or were empty lines, or are a request
 * that was read without it. All strings of `request` point into base. One connection's thread.
 */
#include "dataplane/http/parse.h"

#include <assert.h>
#include <errno.h>

#include "dataplane/http/plain.h"
#include "dataplane/http/target.h"
#include "lib/wire/http_field.h"

enum {
    EMPTY_LINES_MAX = 4,       /* before a request line (RFC 9112 2.2) */
    METHOD_BYTES_MAX = 32,     /* of an unknown one, still answered 501 */
    LINE_REST_MAX = 48,        /* request line without target: method, blanks, version, CRLF */
    EXTENSION_BYTES_MAX = 4096 /* of all chunk extensions of a request */
};

static struct http_parser *parser_of(llhttp_t *llhttp)
{
    return llhttp->data;
}

static int fail(struct http_parser *parser, enum problem problem, const char *detail)
{
    if (parser->problem == PROBLEM_NONE) {
        parser->problem = problem;
        parser->detail = detail;
    }
    return -1;
}

/* Takes the next member off a comma-separated list; false at its end. Members may be empty, the
 * last one, too, unlike in http_field_list_next: "chunked," has two, and is refused. */
static bool next_member(struct str *list, struct str *ret_member)
{
    const char *comma;

    if (!list->ptr)
        return false;
    comma = list->len ? memchr(list->ptr, ',', list->len) : NULL;
    if (comma) {
        size_t length = (size_t)(comma - list->ptr);

        *ret_member = http_field_trim(str_make(list->ptr, length));
        *list = str_after(*list, length + 1);
    } else {
        *ret_member = http_field_trim(*list);
        list->ptr = NULL;
    }
    return true;
}

bool http_request_field(const struct http_request *request, struct str name, struct str *ret_value)
{
    for (size_t i = 0; i < request->header_count; i++)
        if (str_equal_nocase(request->headers[i].name, name)) {
            *ret_value = request->headers[i].value;
            return true;
        }
    return false;
}

/* ---- request line ---- */

static int judge_version(struct http_parser *parser, struct str version)
{
    if (version.len != 8 || memcmp(version.ptr, "HTTP/", 5) != 0 || version.ptr[6] != '.' ||
        version.ptr[5] < '0' || version.ptr[5] > '9' || version.ptr[7] < '0' ||
        version.ptr[7] > '9')
        return fail(parser, PROBLEM_BAD_REQUEST, NULL);
    if (version.ptr[5] != '1' || version.ptr[7] > '1')
        return fail(parser, PROBLEM_BAD_VERSION, NULL);
    parser->request.minor = (unsigned)(version.ptr[7] - '0');
    return 0;
}

static int judge_method(struct http_parser *parser, struct str method)
{
    int known = route_method_parse(method);

    if (known >= 0) {
        parser->request.method = (enum route_method)known;
        return 0;
    }
    for (size_t i = 0; i < method.len; i++)
        if (!plain_is_token_byte(method.ptr[i]))
            return fail(parser, PROBLEM_BAD_REQUEST, NULL);
    return fail(parser, method.len ? PROBLEM_UNKNOWN_METHOD : PROBLEM_BAD_REQUEST, NULL);
}

static int judge_target(struct http_parser *parser, struct str raw)
{
    struct http_request *request = &parser->request;
    struct target target;

    if (raw.len > parser->limits->target_max)
        return fail(parser, PROBLEM_TARGET_TOO_LONG, NULL);
    if (target_split(raw, &target) < 0 ||
        (target.asterisk && request->method != ROUTE_METHOD_OPTIONS))
        return fail(parser, PROBLEM_BAD_TARGET, NULL);
    request->target = raw;
    request->path = target.path;
    request->query = target.query;
    request->authority = target.authority;
    request->asterisk = target.asterisk;
    return 0;
}

/* line: without its CRLF. method SP target SP version, nothing else (RFC 9112 3). */
static int judge_line(struct http_parser *parser, struct str line)
{
    const char *first = memchr(line.ptr, ' ', line.len);
    size_t method_length = first ? (size_t)(first - line.ptr) : line.len;
    struct str rest, target;
    const char *second;

    if (!first)
        return fail(parser, PROBLEM_BAD_REQUEST, NULL);
    rest = str_after(line, method_length + 1);
    second = rest.len ? memchr(rest.ptr, ' ', rest.len) : NULL;
    if (!second)
        return fail(parser, PROBLEM_BAD_REQUEST, NULL);
    target = str_make(rest.ptr, (size_t)(second - rest.ptr));
    if (judge_version(parser, str_after(rest, target.len + 1)) < 0)
        return -1;
    if (judge_method(parser, str_make(line.ptr, method_length)) < 0)
        return -1;
    return judge_target(parser, target);
}

/* Passes over empty lines; false: more bytes are needed, or it failed. */
static bool skip_empty_lines(struct http_parser *parser, const char *bytes, size_t length)
{
    while (parser->parsed < length && bytes[parser->parsed] == '\r') {
        if (parser->parsed + 1 == length)
            return false;
        if (bytes[parser->parsed + 1] != '\n' || parser->parsed >= 2 * EMPTY_LINES_MAX) {
            fail(parser, PROBLEM_BAD_REQUEST, NULL);
            return false;
        }
        parser->parsed += 2;
    }
    return parser->parsed < length;
}

/* True once the request line is whole and right. */
static bool take_line(struct http_parser *parser, const char *bytes, size_t length)
{
    size_t start, limit = parser->limits->target_max + LINE_REST_MAX;
    const char *end;

    if (!skip_empty_lines(parser, bytes, length))
        return false;
    start = parser->parsed;
    if (parser->scanned < start)
        parser->scanned = start;
    if (!plain_is_token_byte(bytes[start])) {
        fail(parser, PROBLEM_BAD_REQUEST, NULL); /* TLS, HTTP/0.9 noise: do not wait for a line */
        return false;
    }
    end = memchr(bytes + parser->scanned, '\n', length - parser->scanned);
    if ((end ? (size_t)(end - bytes) : length) - start > limit) {
        const char *blank = memchr(bytes + start, ' ', METHOD_BYTES_MAX + 1);

        fail(parser, blank ? PROBLEM_TARGET_TOO_LONG : PROBLEM_BAD_REQUEST, NULL);
        return false;
    }
    if (!end) {
        parser->scanned = length;
        return false;
    }
    if (end[-1] != '\r' || memchr(bytes + start, '\r', (size_t)(end - bytes) - 1 - start)) {
        fail(parser, PROBLEM_BAD_REQUEST, NULL);
        return false;
    }
    parser->line_done = true;
    parser->scanned = (size_t)(end - bytes) + 1;
    return judge_line(parser, str_make(bytes + start, (size_t)(end - bytes) - 1 - start)) == 0;
}

/* ---- fields ---- */

static int count_overhead(struct http_parser *parser, size_t length, size_t limit,
                          enum problem problem)
{
    parser->overhead += length;
    return parser->overhead > limit ? fail(parser, problem, NULL) : 0;
}

/* llhttp gives a name or value in pieces when reads cut it; the pieces lie side by side. */
static int on_field(llhttp_t *llhttp, const char *at, size_t length)
{
    struct http_parser *parser = parser_of(llhttp);
    struct http_request *request = &parser->request;
    struct http_header *header;

    if (parser->head_done) /* a trailer: passed over (RFC 9110 6.5.1) */
        return count_overhead(parser, length, parser->limits->head_max, PROBLEM_HEAD_TOO_LARGE);
    if (request->header_count && !parser->value_begun) {
        request->headers[request->header_count - 1].name.len += length;
        return 0;
    }
    if (request->header_count == HTTP_HEADERS_MAX)
        return fail(parser, PROBLEM_HEAD_TOO_LARGE, NULL);
    header = &request->headers[request->header_count++];
    header->name = str_make(at, length);
    header->value = (struct str){0};
    parser->value_begun = false;
    return 0;
}

static int on_field_complete(llhttp_t *llhttp)
{
    parser_of(llhttp)->value_begun = true;
    return 0;
}

static int on_value(llhttp_t *llhttp, const char *at, size_t length)
{
    struct http_parser *parser = parser_of(llhttp);
    struct str *value;

    if (parser->head_done)
        return count_overhead(parser, length, parser->limits->head_max, PROBLEM_HEAD_TOO_LARGE);
    value = &parser->request.headers[parser->request.header_count - 1].value;
    if (!value->ptr)
        value->ptr = at;
    value->len = (size_t)(at + length - value->ptr);
    return 0;
}

static int judge_host(struct http_parser *parser, const struct http_header *host, unsigned hosts)
{
    struct http_request *request = &parser->request;
    struct str field_host;

    if (hosts > 1 || (hosts == 0 && request->minor > 0))
        return fail(parser, PROBLEM_BAD_HOST, NULL);
    if (hosts && target_split_authority(host->value, &field_host) < 0)
        return fail(parser, PROBLEM_BAD_HOST, NULL);
    if (request->authority.ptr) {
        /* The target wins over Host (RFC 9112 3.2.2). */
        if (target_split_authority(request->authority, &request->host) < 0)
            return fail(parser, PROBLEM_BAD_HOST, NULL);
    } else if (hosts) {
        request->authority = host->value;
        request->host = field_host;
    }
    return 0;
}

static int judge_content_length(struct http_parser *parser, struct str value)
{
    uint64_t length = 0;

    if (value.len == 0 || value.len > 19)
        return fail(parser, PROBLEM_BAD_FRAMING, NULL);
    for (size_t i = 0; i < value.len; i++) {
        if (value.ptr[i] < '0' || value.ptr[i] > '9')
            return fail(parser, PROBLEM_BAD_FRAMING, NULL);
        length = length * 10 + (uint64_t)(value.ptr[i] - '0');
    }
    parser->request.content_length = length;
    parser->request.has_body = length > 0;
    return 0;
}

/* Exactly "chunked", once. Ending in anything else has no defined end: 400; codings under a final
 * chunked that we do not know: 501 (RFC 9112 6.1, 6.3). */
static int judge_coding(struct http_parser *parser, struct str value, unsigned codings)
{
    struct http_request *request = &parser->request;
    struct str member = {0}, list = value;
    unsigned members = 0, chunked = 0;
    bool last_is_chunked = false;

    if (request->minor == 0)
        return fail(parser, PROBLEM_BAD_FRAMING, NULL);
    while (next_member(&list, &member)) {
        members++;
        last_is_chunked = str_equal_nocase(member, STR_LIT("chunked"));
        chunked += last_is_chunked;
    }
    if (codings == 1 && members == 1 && last_is_chunked) {
        request->chunked = request->has_body = true;
        return 0;
    }
    return fail(parser,
                last_is_chunked && chunked == 1 ? PROBLEM_UNKNOWN_CODING : PROBLEM_BAD_FRAMING,
                NULL);
}

static void read_connection(struct http_request *request, struct str list, bool *ret_close)
{
    struct str member;

    while (next_member(&list, &member)) {
        if (str_equal_nocase(member, STR_LIT("close")))
            *ret_close = true;
        else if (str_equal_nocase(member, STR_LIT("keep-alive")))
            request->keep_alive = true;
    }
}

static int judge_expect(struct http_parser *parser, struct str value)
{
    if (!str_equal_nocase(value, STR_LIT("100-continue")))
        return fail(parser, PROBLEM_BAD_EXPECTATION, NULL);
    parser->request.expect_continue = parser->request.minor > 0; /* RFC 9110 10.1.1 */
    return 0;
}

/* What decides about a header's name, by its length first: most names end there. */
enum field { FIELD_OTHER, FIELD_HOST, FIELD_LENGTH, FIELD_CODING, FIELD_CONNECTION, FIELD_EXPECT };

static enum field field_of(struct str name)
{
    switch (name.len) {
    case 4:
        return str_equal_nocase(name, STR_LIT("host")) ? FIELD_HOST : FIELD_OTHER;
    case 6:
        return str_equal_nocase(name, STR_LIT("expect")) ? FIELD_EXPECT : FIELD_OTHER;
    case 10:
        return str_equal_nocase(name, STR_LIT("connection")) ? FIELD_CONNECTION : FIELD_OTHER;
    case 14:
        return str_equal_nocase(name, STR_LIT("content-length")) ? FIELD_LENGTH : FIELD_OTHER;
    case 17:
        return str_equal_nocase(name, STR_LIT("transfer-encoding")) ? FIELD_CODING : FIELD_OTHER;
    default:
        return FIELD_OTHER;
    }
}

/* One pass over the fields: everything that framing, routing and persistence depend on. */
static int judge_fields(struct http_parser *parser)
{
    struct http_request *request = &parser->request;
    const struct http_header *host = NULL;
    unsigned hosts = 0, lengths = 0, codings = 0;
    struct str coding = {0};
    bool close = false;

    for (size_t i = 0; i < request->header_count; i++) {
        struct http_header *header = &request->headers[i];
        int code = 0;

        header->value = http_field_trim(header->value);
        switch (field_of(header->name)) {
        case FIELD_OTHER:
            break;
        case FIELD_HOST:
            host = header, hosts++;
            break;
        case FIELD_LENGTH:
            code = judge_content_length(parser, header->value);
            lengths++;
            break;
        case FIELD_CODING:
            coding = header->value, codings++;
            break;
        case FIELD_CONNECTION:
            read_connection(request, header->value, &close);
            break;
        case FIELD_EXPECT:
            code = judge_expect(parser, header->value);
            break;
        }
        if (code < 0)
            return code;
    }
    if (lengths > 1 || (lengths && codings))
        return fail(parser, PROBLEM_BAD_FRAMING, NULL);
    if (codings && judge_coding(parser, coding.ptr ? coding : STR_LIT(""), codings) < 0)
        return -1;
    request->keep_alive = !close && (request->minor > 0 || request->keep_alive);
    if (judge_host(parser, host, hosts) < 0)
        return -1;
    return request->content_length > parser->limits->body_max
               ? fail(parser, PROBLEM_BODY_TOO_LARGE, NULL)
               : 0;
}

static int on_head(llhttp_t *llhttp)
{
    struct http_parser *parser = parser_of(llhttp);
    struct http_request *request = &parser->request;

    llhttp->upgrade = 0; /* we may ignore Upgrade (RFC 9110 7.8), and llhttp must, too */
    parser->head_done = true;
    if (judge_fields(parser) < 0)
        return -1;
    /* Both views of the framing must be one. */
    if (request->chunked != !!(llhttp->flags & F_CHUNKED) ||
        (!request->chunked && request->has_body &&
         llhttp->content_length != request->content_length))
        return fail(parser, PROBLEM_BAD_FRAMING, NULL);
    return 0;
}

/* ---- body ---- */

static int on_body(llhttp_t *llhttp, const char *at, size_t length)
{
    struct http_parser *parser = parser_of(llhttp);
    struct str *body = &parser->request.body;

    if (!body->ptr)
        body->ptr = at;
    if (length > parser->limits->body_max - body->len)
        return fail(parser, PROBLEM_BODY_TOO_LARGE, NULL);
    if (at != body->ptr + body->len) /* over the chunk framing; both lie in the caller's bytes */
        memmove((char *)body->ptr + body->len, at, length);
    body->len += length;
    return 0;
}

static int on_extension(llhttp_t *llhttp, const char *at, size_t length)
{
    (void)at;
    return count_overhead(parser_of(llhttp), length, EXTENSION_BYTES_MAX, PROBLEM_BAD_FRAMING);
}

static int on_done(llhttp_t *llhttp)
{
    (void)llhttp;
    return HPE_PAUSED;
}

/* ---- a whole request ---- */

/*
 * Most requests come in one piece, with nothing odd about them, and llhttp would take a third of
 * all that the gateway does for them. Here such a request is read without it. False: it is not like
 * that, nothing has happened, and llhttp is to judge.
 */
static bool take_whole(struct http_parser *parser, const char *bytes, size_t length)
{
    struct http_request *request = &parser->request, line = *request;
    struct str rest = str_make(bytes + parser->scanned, length - parser->scanned);
    size_t fields = plain_read_fields(rest, request->headers, &request->header_count);
    size_t head = parser->scanned - parser->parsed + fields;

    if (fields == 0 || line.target.ptr[0] != '/' || head > parser->limits->head_max ||
        judge_fields(parser) < 0 || request->chunked ||
        request->content_length > rest.len - fields) {
        *request = line;
        parser->problem = PROBLEM_NONE;
        parser->detail = NULL;
        return false;
    }
    request->body = str_make(rest.ptr + fields, (size_t)request->content_length);
    parser->head_done = true;
    parser->received = head + request->body.len;
    parser->parsed += head + request->body.len;
    return true;
}

/* ---- feeding ---- */

static void move(struct str *text, const char *from, const char *to)
{
    if (text->ptr && text->ptr >= from)
        text->ptr = to + (text->ptr - from);
}

/* The bytes lie elsewhere now. A path of "/" that the target left out is a literal, not of them. */
static void rebase(struct http_parser *parser, const char *to, size_t length)
{
    struct http_request *request = &parser->request;
    const char *from = parser->base;
    struct str *all[] = {&request->target,    &request->path, &request->query,
                         &request->authority, &request->host, &request->body};

    for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
        if (all[i]->ptr >= from && all[i]->ptr <= from + length)
            move(all[i], from, to);
    for (size_t i = 0; i < request->header_count; i++) {
        move(&request->headers[i].name, from, to);
        move(&request->headers[i].value, from, to);
    }
    parser->base = to;
}

static const llhttp_settings_t settings = {
    .on_header_field = on_field,
    .on_header_field_complete = on_field_complete,
    .on_header_value = on_value,
    .on_headers_complete = on_head,
    .on_body = on_body,
    .on_chunk_extension_name = on_extension,
    .on_chunk_extension_value = on_extension,
    .on_message_complete = on_done,
};

void http_parser_begin(struct http_parser *parser, const struct http_limits *limits,
                       struct http_header *headers)
{
    llhttp_init(&parser->llhttp, HTTP_REQUEST, &settings);
    parser->llhttp.data = parser;
    parser->limits = limits;
    memset(&parser->request, 0, sizeof(parser->request));
    parser->request.headers = headers;
    parser->base = NULL;
    parser->parsed = parser->scanned = parser->overhead = 0;
    parser->received = 0;
    parser->line_done = parser->head_done = parser->value_begun = false;
    parser->problem = PROBLEM_NONE;
    parser->detail = NULL;
}

/* llhttp's verdict on what our own checks let pass. */
static void judge_error(struct http_parser *parser, llhttp_errno_t error)
{
    switch (error) {
    case HPE_UNEXPECTED_CONTENT_LENGTH:
    case HPE_INVALID_CONTENT_LENGTH:
    case HPE_INVALID_TRANSFER_ENCODING:
    case HPE_INVALID_CHUNK_SIZE:
        fail(parser, PROBLEM_BAD_FRAMING, NULL);
        break;
    default:
        fail(parser, parser->head_done ? PROBLEM_BAD_FRAMING : PROBLEM_BAD_REQUEST, NULL);
    }
}

/* How many more bytes of this request may be looked at. Chunk framing must not outweigh what it
 * frames: one byte a chunk is 6 for 1. */
static size_t budget(const struct http_parser *parser)
{
    const struct http_limits *limits = parser->limits;
    uint64_t most = parser->head_done ? limits->head_max * 2 + (uint64_t)limits->body_max * 8
                                      : limits->head_max;

    return (size_t)(most - parser->received);
}

/* Gives llhttp what it may see, up to bytes + length. Where the budget ends does not depend on how
 * reads cut the bytes, so the verdict does not either. */
static enum http_parse_result execute(struct http_parser *parser, char *bytes, size_t length)
{
    while (parser->parsed < length) {
        size_t before = parser->parsed, left = budget(parser), count = length - before;
        llhttp_errno_t error;

        if (left == 0) {
            fail(parser, parser->head_done ? PROBLEM_BAD_FRAMING : PROBLEM_HEAD_TOO_LARGE, NULL);
            return HTTP_PARSE_FAILED;
        }
        if (count > left)
            count = left;
        error = llhttp_execute(&parser->llhttp, bytes + before, count);
        if (error == HPE_PAUSED) {
            parser->parsed = (size_t)(llhttp_get_error_pos(&parser->llhttp) - bytes);
            parser->received += parser->parsed - before;
            return HTTP_PARSE_DONE;
        }
        if (error != HPE_OK) {
            judge_error(parser, error);
            return HTTP_PARSE_FAILED;
        }
        parser->parsed += count;
        parser->received += count;
    }
    return HTTP_PARSE_MORE;
}

enum http_parse_result http_parser_feed(struct http_parser *parser, char *bytes, size_t length,
                                        size_t *ret_length)
{
    enum http_parse_result result;

    assert(parser->problem == PROBLEM_NONE && length >= parser->parsed);
    if (parser->base != bytes) {
        if (parser->base)
            rebase(parser, bytes, parser->parsed);
        parser->base = bytes;
    }
    *ret_length = length;
    if (!parser->line_done) {
        if (!take_line(parser, bytes, length))
            return parser->problem == PROBLEM_NONE ? HTTP_PARSE_MORE : HTTP_PARSE_FAILED;
        if (take_whole(parser, bytes, length))
            return HTTP_PARSE_DONE;
    }
    result = execute(parser, bytes, length);
    if (result != HTTP_PARSE_MORE)
        return result;
    if (parser->request.chunked && parser->request.body.ptr)
        parser->parsed = *ret_length =
            (size_t)(parser->request.body.ptr + parser->request.body.len - bytes);
    return HTTP_PARSE_MORE;
}
