/*
 * Properties: whatever a template that compiles makes of whatever path, the subject holds nothing
 * that could leave its place: no empty token, no wildcard, only visible ASCII, no reserved first
 * token; its tokens are as many as the template says; and each that stands for a segment decodes to
 * exactly that segment. Any bytes encode to one token that decodes to them; a token that decodes is
 * the one that its value encodes to.
 *
 * Input: one byte that chooses the match, a template, a zero byte, a raw path.
 */
#include <stdint.h>
#include <stdlib.h>

#include "lib/wire/path.h"
#include "lib/wire/subject.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX = 64 };

#define LITERAL(t)                        \
    {                                     \
        ROUTE_SEGMENT_LITERAL, STR_LIT(t) \
    }
#define PARAM(t)                        \
    {                                   \
        ROUTE_SEGMENT_PARAM, STR_LIT(t) \
    }
#define REST(t)                        \
    {                                  \
        ROUTE_SEGMENT_REST, STR_LIT(t) \
    }

static const struct route_segment orders[] = {LITERAL("a"), PARAM("id"), REST("rest")};
static const struct route_segment open[] = {PARAM("id"), PARAM("x")};
static const struct route_segment literal[] = {LITERAL("_x"), LITERAL("b")};
static const struct route_match matches[] = {
    {.path_type = ROUTE_PATH_TEMPLATE, .segments = orders, .segment_count = 3},
    {.path_type = ROUTE_PATH_TEMPLATE, .segments = open, .segment_count = 2},
    {.path_type = ROUTE_PATH_PREFIX, .segments = literal, .segment_count = 2},
    {.path_type = ROUTE_PATH_PREFIX},
    {.path_type = ROUTE_PATH_REGEX},
};

static void require(bool holds)
{
    if (!holds)
        abort();
}

static void check_token(struct str value)
{
    struct buffer token;
    char *room = malloc(3 * value.len + 1);
    int length;

    buffer_init(&token, 3 * value.len + 1);
    require(subject_encode_token(value, &token) == 0);
    length = subject_decode_token(buffer_view(&token), room);
    require(length >= 0 && str_equal(str_make(room, (size_t)length), value));
    for (size_t i = 0; i < buffer_length(&token); i++)
        require(buffer_view(&token).ptr[i] != '.');
    length = subject_decode_token(value, room);
    if (length >= 0) {
        buffer_clear(&token, 0);
        require(subject_encode_token(str_make(room, (size_t)length), &token) == 0);
        require(str_equal(buffer_view(&token), value));
    }
    buffer_done(&token);
    free(room);
}

/* Takes the next token off *subject. */
static struct str next_token(struct str *subject)
{
    const char *dot;
    struct str token;

    require(subject->len > 0);
    dot = memchr(subject->ptr, '.', subject->len);
    token = str_make(subject->ptr, dot ? (size_t)(dot - subject->ptr) : subject->len);
    *subject = str_after(*subject, token.len + (dot ? 1 : 0));
    require(token.len > 0 && (!dot || subject->len > 0));
    return token;
}

static void check_part(const struct route_part *part, const struct str *segments, size_t count,
                       struct str *subject)
{
    char room[SUBJECT_MAX];
    struct str literal_rest = part->text;

    switch (part->kind) {
    case ROUTE_PART_LITERAL:
        while (literal_rest.len) {
            struct str token = next_token(&literal_rest);

            require(str_equal(token, next_token(subject)));
        }
        break;
    case ROUTE_PART_METHOD:
        require(str_equal(next_token(subject), STR_LIT("GET")));
        break;
    case ROUTE_PART_SEGMENT:
    case ROUTE_PART_REST:
        for (size_t i = part->first; i < count; i++) {
            int length = subject_decode_token(next_token(subject), room);

            require(length >= 0 && str_equal(str_make(room, (size_t)length), segments[i]));
            if (part->kind == ROUTE_PART_SEGMENT)
                break;
        }
        break;
    }
}

static void check_subject(struct str subject, const struct route_target *target,
                          const struct str *segments, size_t count)
{
    require(subject.len > 0 && subject.len <= SUBJECT_MAX);
    require(subject.ptr[0] != '$' && subject.ptr[0] != '_');
    require(!str_equal(subject, STR_LIT("metropolis")) &&
            !str_starts_with(subject, STR_LIT("metropolis.")));
    for (size_t i = 0; i < subject.len; i++)
        require(subject.ptr[i] > 0x20 && subject.ptr[i] < 0x7F && subject.ptr[i] != '*' &&
                subject.ptr[i] != '>');
    for (size_t i = 0; i < target->part_count; i++)
        check_part(&target->parts[i], segments, count, &subject);
    require(subject.len == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str rest = str_make((const char *)data, size), template, error, segments[MAX];
    struct route_target target;
    struct arena arena;
    const char *zero;
    int count, length;

    if (size < 2)
        return 0;
    rest = str_after(rest, 1);
    check_token(rest);
    zero = memchr(rest.ptr, '\0', rest.len);
    template = str_make(rest.ptr, zero ? (size_t)(zero - rest.ptr) : rest.len);
    rest = str_after(rest, template.len + (zero ? 1 : 0));
    char *room = malloc(rest.len + 1), *out = malloc(SUBJECT_MAX);

    arena_init(&arena, 1 << 20);
    count = path_split(rest, room, segments, MAX);
    if (subject_compile(template, &matches[data[0] % 5], &arena, &target, &error) == 0 &&
        count > 0) {
        length = subject_build(&target, segments, (size_t)count, ROUTE_METHOD_GET, out);
        if (length >= 0)
            check_subject(str_make(out, (size_t)length), &target, segments, (size_t)count);
    }
    arena_done(&arena);
    free(room);
    free(out);
    return 0;
}
