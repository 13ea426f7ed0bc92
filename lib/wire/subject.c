/*
 * subject: the only way from a request to a NATS subject.
 *
 * Nobody behind us checks a subject: neither nats-server nor its clients. A space, a CR LF, a
 * wildcard or "$JS.API..." in one would be an injection, so the subject is safe twice over: values
 * are encoded so that they cannot hold such a byte, and subject_validate looks at the finished
 * bytes without knowing how they were made. The two share no code on purpose.
 *
 * A client chooses values, never the shape: which tokens a subject has was decided when the Route
 * was compiled, and its first token is literal, or the Route's author has said "{path...}" (or
 * "{method}", a closed list) in so many words.
 */
#include "lib/wire/subject.h"

#include <assert.h>
#include <errno.h>

/* ---- tokens ---- */

static bool token_byte_plain(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
}

static size_t token_length(struct str value)
{
    size_t length = value.len;

    for (size_t i = 0; i < value.len; i++)
        length += token_byte_plain(value.ptr[i]) ? 0 : 2;
    return length ? length : 1;
}

/* Writes token_length bytes and returns where they end. */
static char *token_write(struct str value, char *out)
{
    static const char digits[] = "0123456789ABCDEF";

    if (value.len == 0)
        *out++ = '~';
    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)value.ptr[i];

        if (token_byte_plain((char)c)) {
            *out++ = (char)c;
        } else {
            *out++ = '%';
            *out++ = digits[c >> 4];
            *out++ = digits[c & 15];
        }
    }
    return out;
}

int subject_encode_token(struct str value, struct buffer *out)
{
    size_t length = token_length(value);
    char *room = buffer_reserve(out, length);

    if (!room)
        return length > out->limit - buffer_length(out) ? -ENOBUFS : -ENOMEM;
    token_write(value, room);
    buffer_commit(out, length);
    return 0;
}

static int upper_hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

int subject_decode_token(struct str token, char *room)
{
    size_t length = 0;

    if (str_equal(token, STR_LIT("~")))
        return 0;
    if (token.len == 0)
        return -EINVAL;
    for (size_t i = 0; i < token.len; i++) {
        char c = token.ptr[i];

        if (c == '%') {
            int high = i + 2 < token.len ? upper_hex_value(token.ptr[i + 1]) : -1;
            int low = i + 2 < token.len ? upper_hex_value(token.ptr[i + 2]) : -1;

            if (high < 0 || low < 0 || token_byte_plain((char)(high << 4 | low)))
                return -EINVAL;
            c = (char)(high << 4 | low);
            i += 2;
        } else if (!token_byte_plain(c)) {
            return -EINVAL;
        }
        room[length++] = c;
    }
    return (int)length;
}

/* ---- a request's subject ---- */

int subject_validate(struct str subject)
{
    size_t token = 0; /* where the present one begins */

    if (subject.len == 0 || subject.len > SUBJECT_MAX)
        return -EINVAL;
    if (subject.ptr[0] == '$' || subject.ptr[0] == '_')
        return -EINVAL;
    if (str_starts_with(subject, STR_LIT("metropolis")) &&
        (subject.len == 10 || subject.ptr[10] == '.'))
        return -EINVAL;
    for (size_t i = 0; i < subject.len; i++) {
        char c = subject.ptr[i];

        if (c < 0x21 || c > 0x7E || c == '*' || c == '>')
            return -EINVAL;
        if (c != '.')
            continue;
        if (i == token)
            return -EINVAL;
        token = i + 1;
    }
    return token == subject.len ? -EINVAL : 0;
}

/* A subject being written: at most SUBJECT_MAX bytes. */
struct writer {
    char *out;
    size_t length;
    bool full;
};

/* Where length more bytes go, after a dot if they are not the first; NULL when full. */
static char *writer_token(struct writer *writer, size_t length)
{
    size_t dot = writer->length > 0;

    if (length > SUBJECT_MAX - dot || writer->length > SUBJECT_MAX - dot - length) {
        writer->full = true;
        return NULL;
    }
    if (dot)
        writer->out[writer->length++] = '.';
    writer->length += length;
    return writer->out + writer->length - length;
}

static void writer_text(struct writer *writer, struct str text)
{
    char *room = writer_token(writer, text.len);

    if (room)
        memcpy(room, text.ptr, text.len);
}

static void writer_values(struct writer *writer, const struct str *values, size_t count)
{
    for (size_t i = 0; i < count && !writer->full; i++) {
        char *room = writer_token(writer, token_length(values[i]));

        if (room)
            token_write(values[i], room);
    }
}

int subject_build(const struct route_target *target, const struct str *segments,
                  size_t segment_count, enum route_method method, char *out)
{
    struct writer writer = {.out = out};

    for (size_t i = 0; i < target->part_count && !writer.full; i++) {
        const struct route_part *part = &target->parts[i];

        switch (part->kind) {
        case ROUTE_PART_LITERAL:
            writer_text(&writer, part->text);
            break;
        case ROUTE_PART_METHOD:
            writer_text(&writer, route_method_name(method));
            break;
        case ROUTE_PART_SEGMENT:
        case ROUTE_PART_REST:
            if (part->first >= segment_count)
                return -EINVAL; /* the target of another match */
            writer_values(&writer, segments + part->first,
                          part->kind == ROUTE_PART_SEGMENT ? 1 : segment_count - part->first);
            break;
        }
    }
    if (writer.full)
        return -E2BIG;
    return subject_validate(str_make(out, writer.length)) < 0 ? -EINVAL : (int)writer.length;
}

int subject_append_token(char *subject, size_t length, struct str value)
{
    struct writer writer = {.out = subject, .length = length};

    writer_values(&writer, &value, 1);
    return writer.full ? -E2BIG : (int)writer.length;
}

/* ---- templates ---- */

struct compiler {
    const struct route_match *match;
    struct arena *arena;
    struct route_part *parts;
    size_t part_count;
    struct str *ret_error;
};

#define refuse(compiler, ...)                                               \
    (*(compiler)->ret_error = arena_printf((compiler)->arena, __VA_ARGS__), \
     (compiler)->ret_error->ptr ? -EINVAL : -ENOMEM)

/* The first token of template, placeholders as a whole: "{rest...}" is one. */
static struct str token_first(struct str template)
{
    size_t length = 0;

    if (template.len && template.ptr[0] == '{')
        while (length < template.len && template.ptr[length] != '}')
            length++;
    while (length < template.len && template.ptr[length] != '.')
        length++;
    return str_make(template.ptr, length);
}

static bool token_literal(struct str token)
{
    for (size_t i = 0; i < token.len; i++) {
        char c = token.ptr[i];

        if (c < 0x21 || c > 0x7E || c == '*' || c == '>' || c == '{' || c == '}')
            return false;
    }
    return token.len > 0;
}

static bool token_reserved(struct str token)
{
    return token.ptr[0] == '$' || token.ptr[0] == '_' || str_equal(token, STR_LIT("metropolis"));
}

/* The first segment of every path that the match takes, when there is only one such segment. */
static const struct str *first_segment_known(const struct route_match *match)
{
    if (match->path_type == ROUTE_PATH_REGEX || match->segment_count == 0 ||
        match->segments[0].kind != ROUTE_SEGMENT_LITERAL)
        return NULL;
    return &match->segments[0].text;
}

/* A path that leads the subject must not lead it to where no request may be sent. */
static int path_leads(struct compiler *compiler)
{
    const struct str *first = first_segment_known(compiler->match);
    size_t length;
    char *token;

    if (!first)
        return 0;
    length = token_length(*first);
    token = arena_take(compiler->arena, length);
    if (!token)
        return -ENOMEM;
    token_write(*first, token);
    if (!token_reserved(str_make(token, length)))
        return 0;
    return refuse(compiler,
                  "the subject would begin with the path's first segment \"" STR_FMT
                  "\", and first tokens that begin with \"_\" or are \"metropolis\" are reserved; "
                  "write a subject that begins with another token",
                  STR_ARG(*first));
}

static int compile_literal(struct compiler *compiler, struct str token)
{
    struct route_part *last =
        compiler->part_count ? &compiler->parts[compiler->part_count - 1] : NULL;

    if (!token_literal(token))
        return refuse(compiler,
                      "the subject's token \"" STR_FMT "\" is not valid; a token is visible ASCII "
                      "without * > { }, or exactly one placeholder such as {id}",
                      STR_ARG(token));
    if (!last && token_reserved(token))
        return refuse(
            compiler,
            "a subject may not begin with \"" STR_FMT "\": first tokens that begin with "
            "\"$\" or \"_\" or are \"metropolis\" are reserved; write another first token",
            STR_ARG(token));
    if (last && last->kind == ROUTE_PART_LITERAL) {
        last->text.len += 1 + token.len; /* they stand side by side in the template */
        return 0;
    }
    compiler->parts[compiler->part_count++] =
        (struct route_part){.kind = ROUTE_PART_LITERAL, .text = token};
    return 0;
}

/* name: without braces and dots. Finds the segment of the match's Template that declares it. */
static int compile_parameter(struct compiler *compiler, struct str name, bool rest)
{
    enum route_segment_kind kind = rest ? ROUTE_SEGMENT_REST : ROUTE_SEGMENT_PARAM;
    const struct route_match *match = compiler->match;

    if (compiler->part_count == 0)
        return refuse(
            compiler,
            "a subject may not begin with a placeholder, because clients would choose its "
            "first token; begin with a literal token, or with {path...} to pass the whole "
            "path on");
    for (size_t i = 0; i < match->segment_count; i++) {
        if (match->segments[i].kind != kind || !str_equal(match->segments[i].text, name))
            continue;
        compiler->parts[compiler->part_count++] = (struct route_part){
            .kind = rest ? ROUTE_PART_REST : ROUTE_PART_SEGMENT, .first = (uint16_t)i};
        return 0;
    }
    return refuse(compiler,
                  "the subject's placeholder {" STR_FMT "%s} is not declared by the path \"" STR_FMT
                  "\"; use type: Template and write it, spelled alike, into the path",
                  STR_ARG(name), rest ? "..." : "", STR_ARG(match->path));
}

static int compile_token(struct compiler *compiler, struct str token)
{
    struct str name;
    bool rest;

    if (token.len < 2 || token.ptr[0] != '{' || token.ptr[token.len - 1] != '}')
        return compile_literal(compiler, token);
    name = str_make(token.ptr + 1, token.len - 2);
    rest = name.len >= 3 && memcmp(name.ptr + name.len - 3, "...", 3) == 0;
    name.len -= rest ? 3 : 0;
    if (!rest && str_equal(name, STR_LIT("method"))) {
        compiler->parts[compiler->part_count++] = (struct route_part){.kind = ROUTE_PART_METHOD};
        return 0;
    }
    if (!rest || !str_equal(name, STR_LIT("path")))
        return compile_parameter(compiler, name, rest);
    int r = compiler->part_count == 0 ? path_leads(compiler) : 0;

    if (r >= 0)
        compiler->parts[compiler->part_count++] = (struct route_part){.kind = ROUTE_PART_REST};
    return r;
}

/* Whether a subject can be derived from the path: its first token must not be the client's. */
static int check_derived(struct compiler *compiler)
{
    if (first_segment_known(compiler->match))
        return 0;
    return refuse(compiler,
                  "no subject can be derived from the path \"" STR_FMT
                  "\", because clients would choose its first token; begin the path with a literal "
                  "segment, or write a subject, such as \"orders.{method}\", or "
                  "\"{path...}.{method}\" to pass the whole path on",
                  STR_ARG(compiler->match->path));
}

/* Literals leave the template, which is the caller's. */
static int copy_literals(struct compiler *compiler)
{
    for (size_t i = 0; i < compiler->part_count; i++) {
        struct route_part *part = &compiler->parts[i];

        if (part->kind != ROUTE_PART_LITERAL)
            continue;
        part->text = arena_copy(compiler->arena, part->text);
        if (!part->text.ptr)
            return -ENOMEM;
    }
    return 0;
}

int subject_compile(struct str subject_template, const struct route_match *match,
                    struct arena *arena, struct route_target *ret_target, struct str *ret_error)
{
    struct compiler compiler = {.match = match, .arena = arena, .ret_error = ret_error};
    struct str rest = subject_template;
    size_t tokens = 1;
    int r = 0;

    if (subject_template.len == 0) {
        rest = STR_LIT("{path...}.{method}");
        r = check_derived(&compiler);
    } else if (subject_template.len > ROUTE_TARGET_MAX) {
        r = refuse(&compiler, "a subject has at most %d bytes", ROUTE_TARGET_MAX);
    }
    if (r < 0)
        return r;
    for (size_t i = 0; i < rest.len; i++)
        tokens += rest.ptr[i] == '.';
    compiler.parts = arena_take_array(arena, tokens, sizeof(*compiler.parts));
    if (!compiler.parts)
        return -ENOMEM;
    for (bool more = true; more && r >= 0;) {
        struct str token = token_first(rest);

        r = compile_token(&compiler, token);
        more = token.len < rest.len;
        rest = str_after(rest, token.len + more);
    }
    if (r >= 0)
        r = copy_literals(&compiler);
    if (r < 0)
        return r;
    *ret_target = (struct route_target){.parts = compiler.parts, .part_count = compiler.part_count};
    return 0;
}
