/*
 * route_spec_path: values such as "/orders/{id}" to segments.
 *
 * A value is judged before it is decoded (which bytes may stand in a URL, where placeholders are)
 * and split by path_split, as requests are, so a pattern and a request can only mean the same by
 * the same bytes. What no request can have ("..", control bytes) is refused here as there.
 *
 * Writing escapes only what cannot stand in a path as it is, so a value never gets longer by being
 * read and written: it is still within ROUTE_PATH_MAX.
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "lib/wire/route_spec_path.h"

#include <errno.h>
#include <pcre2.h>

#include "lib/wire/path.h"

enum { PLACEHOLDER_NAME_MAX = 63 };

static const char *const type_names[] = {
    [ROUTE_PATH_EXACT] = "Exact",
    [ROUTE_PATH_PREFIX] = "Prefix",
    [ROUTE_PATH_TEMPLATE] = "Template",
    [ROUTE_PATH_REGEX] = "RegularExpression",
};

const char *route_spec_path_type(enum route_path_type type)
{
    return type_names[type];
}

static bool letter(char c)
{
    c |= 0x20;
    return c >= 'a' && c <= 'z';
}

static bool letter_or_digit(char c)
{
    return letter(c) || (c >= '0' && c <= '9');
}

/* pchar of RFC 3986 3.3 without the escape */
static bool path_byte_plain(char c)
{
    return letter_or_digit(c) || (c && strchr("-._~!$&'()*+,;=:@", c));
}

static int read_type(const struct json_reader *reader, const struct json_place *place,
                     yyjson_val *value, uint8_t *ret_type)
{
    struct str text;
    int r = json_string(reader, place, value, 1, 32, &text);

    if (r < 0)
        return r;
    for (int type = ROUTE_PATH_EXACT; type <= ROUTE_PATH_REGEX; type++)
        if (str_equal(text, str_from(type_names[type]))) {
            *ret_type = (enum route_path_type)type;
            return 0;
        }
    return json_refuse(reader, place,
                       "\"" STR_FMT
                       "\" is no type: write Exact, Prefix, Template or RegularExpression",
                       STR_ARG(text));
}

/* ---- regular expressions ---- */

/* Whether the pattern has a \X outside \Q...\E: one step of it may look at all of a path several
 * times over, so the bound on steps bounds nothing; and in ASCII it is little but ".". */
static bool has_grapheme_escape(struct str pattern)
{
    for (size_t i = 0; i + 1 < pattern.len; i++) {
        if (pattern.ptr[i] != '\\')
            continue;
        i++;
        if (pattern.ptr[i] == 'X')
            return true;
        if (pattern.ptr[i] == 'Q') {
            const char *end = memmem(pattern.ptr + i, pattern.len - i, "\\E", 2);

            if (!end)
                return false;
            i = (size_t)(end - pattern.ptr) + 1;
        }
    }
    return false;
}

static int read_regex(const struct json_reader *reader, const struct json_place *place,
                      struct route_match *match)
{
    /* \C could stop within a character, which no other part expects. */
    uint32_t options = PCRE2_UTF | PCRE2_ANCHORED | PCRE2_ENDANCHORED | PCRE2_NEVER_BACKSLASH_C;
    PCRE2_UCHAR message[128];
    PCRE2_SIZE offset;
    int code;

    if (has_grapheme_escape(match->path))
        return json_refuse(reader, place,
                           "\\X may take too long: canonical paths are ASCII, so write \".\"");
    match->regex =
        pcre2_compile((PCRE2_SPTR)match->path.ptr, match->path.len, options, &code, &offset, NULL);
    if (!match->regex) {
        if (code == PCRE2_ERROR_NOMEMORY || code == PCRE2_ERROR_HEAP_FAILED)
            return -ENOMEM;
        pcre2_get_error_message(code, message, sizeof(message));
        return json_refuse(reader, place,
                           "the regular expression does not compile: %s at character %zu",
                           (const char *)message, (size_t)offset);
    }
    return 0;
}

/* ---- segments ---- */

/* Names are compared without case: each becomes a header, Metropolis-Param-<name>. */
static bool name_taken(const struct route_match *match, size_t count, struct str name)
{
    for (size_t i = 0; i < count; i++)
        if (match->segments[i].kind != ROUTE_SEGMENT_LITERAL &&
            str_equal_nocase(match->segments[i].text, name))
            return true;
    return false;
}

static bool name_valid(struct str name)
{
    if (name.len == 0 || name.len > PLACEHOLDER_NAME_MAX || !letter(name.ptr[0]))
        return false;
    for (size_t i = 1; i < name.len; i++)
        if (!letter_or_digit(name.ptr[i]) && name.ptr[i] != '_' && name.ptr[i] != '-')
            return false;
    return true;
}

/* raw: one segment that holds a brace. Fills segment, the index-th of match. */
static int read_placeholder(const struct json_reader *reader, const struct json_place *place,
                            struct str raw, struct route *route, const struct route_match *match,
                            size_t index, struct route_segment *segment)
{
    bool closed = raw.len >= 2 && raw.ptr[0] == '{' && raw.ptr[raw.len - 1] == '}';
    struct str name = closed ? str_make(raw.ptr + 1, raw.len - 2) : raw;
    bool rest = closed && name.len >= 3 && memcmp(name.ptr + name.len - 3, "...", 3) == 0;

    name.len -= rest ? 3 : 0;
    if (!closed || !name_valid(name))
        return json_refuse(reader, place,
                           "the segment \"" STR_FMT "\" is neither literal nor one placeholder: "
                           "write \"{id}\", its name a letter, then at most 62 letters, digits, "
                           "\"_\" or \"-\"; for a literal brace write %%7B or %%7D",
                           STR_ARG(raw));
    if (rest && index + 1 < match->segment_count)
        return json_refuse(reader, place, "\"" STR_FMT "\" may only be the last segment",
                           STR_ARG(raw));
    if (str_equal(name, STR_LIT("path")) || str_equal(name, STR_LIT("method")))
        return json_refuse(reader, place,
                           "the placeholder names \"path\" and \"method\" are reserved for "
                           "subjects: choose another name");
    if (name_taken(match, index, name))
        return json_refuse(reader, place,
                           "the placeholder \"" STR_FMT "\" is declared twice: choose another name "
                           "(their case does not count)",
                           STR_ARG(name));
    segment->kind = rest ? ROUTE_SEGMENT_REST : ROUTE_SEGMENT_PARAM;
    segment->text = arena_copy(route->arena, name);
    return segment->text.ptr ? 0 : -ENOMEM;
}

/* Which bytes may stand in a value at all. */
static int check_bytes(const struct json_reader *reader, const struct json_place *place,
                       const struct route_match *match)
{
    bool template = match->path_type == ROUTE_PATH_TEMPLATE;

    if (match->path.ptr[0] != '/')
        return json_refuse(reader, place, "a path starts with \"/\": write \"/orders\"");
    for (size_t i = 0; i < match->path.len; i++) {
        char c = match->path.ptr[i];

        if ((c == '{' || c == '}') && !template)
            return json_refuse(reader, place,
                               "placeholders need type: Template; for a literal brace write %%7B "
                               "or %%7D");
        if (!path_byte_plain(c) && !strchr("/%{}", c ? c : ' '))
            return json_refuse(reader, place,
                               "percent-encode what is not a letter, a digit or one of "
                               "-._~!$&'()*+,;=:@ (a space is %%20), and put what comes after "
                               "\"?\" into queryParams");
    }
    return 0;
}

/* texts: the decoded segments of match->path; segments: as many, to be filled. */
static int fill_segments(const struct json_reader *reader, const struct json_place *place,
                         struct route *route, const struct route_match *match,
                         const struct str *texts, struct route_segment *segments)
{
    struct str rest = match->path;

    for (size_t i = 0; i < match->segment_count; i++) {
        struct str raw;
        const char *slash;
        int r = 0;

        rest = str_after(rest, 1);
        slash = rest.len ? memchr(rest.ptr, '/', rest.len) : NULL;
        raw = str_make(rest.ptr, slash ? (size_t)(slash - rest.ptr) : rest.len);
        rest = str_after(rest, raw.len);
        if (raw.len && (memchr(raw.ptr, '{', raw.len) || memchr(raw.ptr, '}', raw.len))) {
            r = read_placeholder(reader, place, raw, route, match, i, &segments[i]);
        } else {
            segments[i].text = arena_copy(route->arena, texts[i]);
            r = segments[i].text.ptr ? 0 : -ENOMEM;
        }
        if (r < 0)
            return r;
    }
    return 0;
}

/* What has two spellings gets one: a Template without placeholders, a Prefix that ends in "/". */
static void normalise(struct route_match *match)
{
    bool placeholders = false;

    for (size_t i = 0; i < match->segment_count; i++)
        placeholders |= match->segments[i].kind != ROUTE_SEGMENT_LITERAL;
    if (match->path_type == ROUTE_PATH_TEMPLATE && !placeholders)
        match->path_type = ROUTE_PATH_EXACT;
    while (match->path_type == ROUTE_PATH_PREFIX && match->segment_count &&
           match->segments[match->segment_count - 1].text.len == 0)
        match->segment_count--;
}

static int read_segments(const struct json_reader *reader, const struct json_place *place,
                         struct route *route, struct route_match *match)
{
    struct str texts[ROUTE_SEGMENTS_MAX];
    char room[ROUTE_PATH_MAX];
    struct route_segment *segments;
    int count, r = check_bytes(reader, place, match);

    if (r < 0)
        return r;
    count = path_split(match->path, room, texts, ROUTE_SEGMENTS_MAX);
    if (count == -E2BIG)
        return json_refuse(reader, place,
                           "has more than %d segments: shorten it, or end it in a placeholder "
                           "such as \"{rest...}\"",
                           ROUTE_SEGMENTS_MAX);
    if (count < 0)
        return json_refuse(reader, place,
                           "no request has such a path: a \"%%\" is followed by two hexadecimal "
                           "digits, escapes are UTF-8 without control bytes, and no segment is "
                           "\".\" or \"..\"");
    segments = arena_take_array(route->arena, (size_t)count, sizeof(*segments));
    if (!segments)
        return -ENOMEM;
    match->segments = segments;
    match->segment_count = (uint8_t)count;
    r = fill_segments(reader, place, route, match, texts, segments);
    if (r >= 0)
        normalise(match);
    return r;
}

int route_spec_read_path(const struct json_reader *reader, const struct json_place *place,
                         yyjson_val *path, struct route *route, struct route_match *match)
{
    static const char *const names[] = {"type", "value"};
    struct json_place type_place = {.parent = place, .name = "type"};
    struct json_place value_place = {.parent = place, .name = "value"};
    struct str value = STR_LIT("/");
    yyjson_val *fields[2] = {NULL};
    int r = path ? json_object(reader, place, path, names, 2, fields) : 0;

    match->path_type = ROUTE_PATH_PREFIX;
    if (r >= 0 && fields[0])
        r = read_type(reader, &type_place, fields[0], &match->path_type);
    if (r >= 0 && fields[1])
        r = json_string(reader, &value_place, fields[1], 1, ROUTE_PATH_MAX, &value);
    if (r < 0)
        return r;
    if (value.len > ROUTE_PATH_MAX)
        return json_refuse(reader, &value_place, "has more than %d bytes", ROUTE_PATH_MAX);
    match->path = arena_copy(route->arena, value);
    if (!match->path.ptr)
        return -ENOMEM;
    return match->path_type == ROUTE_PATH_REGEX ? read_regex(reader, &value_place, match)
                                                : read_segments(reader, &value_place, route, match);
}

/* ---- writing ---- */

static int write_literal(struct str text, struct buffer *out)
{
    int r = 0;

    for (size_t i = 0; i < text.len && r >= 0; i++) {
        if (path_byte_plain(text.ptr[i]))
            r = buffer_append_byte(out, text.ptr[i]);
        else
            r = buffer_printf(out, "%%%02X", (unsigned char)text.ptr[i]);
    }
    return r;
}

int route_spec_write_path(const struct route_match *match, struct buffer *out)
{
    int r = 0;

    if (match->path_type == ROUTE_PATH_REGEX)
        return buffer_append_str(out, match->path);
    if (match->segment_count == 0)
        return buffer_append_byte(out, '/');
    for (size_t i = 0; i < match->segment_count && r >= 0; i++) {
        const struct route_segment *segment = &match->segments[i];

        r = buffer_append_byte(out, '/');
        if (r < 0)
            return r;
        if (segment->kind == ROUTE_SEGMENT_LITERAL)
            r = write_literal(segment->text, out);
        else
            r = buffer_printf(out, "{" STR_FMT "%s}", STR_ARG(segment->text),
                              segment->kind == ROUTE_SEGMENT_REST ? "..." : "");
    }
    return r;
}
