/*
 * reach: goes through a target token by token and takes the pattern apart beside it.
 *
 *      exact ──">"──▶ held                     nothing that follows can leave the pattern
 *        │ └────many──▶ tail                   only "*" and a last ">" hold any number of any
 * tokens └──another token, or none──▶ outside
 *
 * A token is known bytes (of the subject), a known value (of the path; the subject will have its
 * encoded form), any one value, or many: any number of any values, at least so many. After many the
 * place of a token is not known any more, so the pattern may have "*" only; what is left to check
 * is that the shortest subject has a token for each.
 */
#include "controller/compile/reach.h"

#include "lib/wire/subject.h"

enum state { STATE_EXACT, STATE_TAIL, STATE_HELD, STATE_OUTSIDE };

struct reach {
    enum state state;
    struct str rest; /* EXACT: of the pattern */
    bool at_end;     /* EXACT: nothing is left of it */
    size_t wanted;   /* TAIL: tokens that the pattern still wants */
};

bool reach_pattern_valid(struct str pattern)
{
    size_t begin = 0;

    if (pattern.len > REACH_PATTERN_MAX)
        return false;
    for (size_t i = 0; i <= pattern.len; i++) {
        struct str token = str_make(pattern.ptr + begin, i - begin);

        if (i < pattern.len && (pattern.ptr[i] < 0x21 || pattern.ptr[i] > 0x7E))
            return false;
        if (i < pattern.len && pattern.ptr[i] != '.')
            continue;
        if (token.len == 0)
            return false;
        if (token.len > 1 &&
            (memchr(token.ptr, '*', token.len) || memchr(token.ptr, '>', token.len)))
            return false;
        if (token.ptr[0] == '>' && i < pattern.len)
            return false;
        begin = i + 1;
    }
    return true;
}

/* The next token of the pattern; false at its end. */
static bool take(struct reach *reach, struct str *ret_token)
{
    const char *dot = reach->rest.len ? memchr(reach->rest.ptr, '.', reach->rest.len) : NULL;

    if (reach->at_end)
        return false;
    *ret_token = str_make(reach->rest.ptr, dot ? (size_t)(dot - reach->rest.ptr) : reach->rest.len);
    reach->at_end = !dot;
    reach->rest = str_after(reach->rest, ret_token->len + !reach->at_end);
    return true;
}

static bool is_value(struct str token, struct str value)
{
    char room[REACH_PATTERN_MAX];
    int length = subject_decode_token(token, room);

    return length >= 0 && str_equal(str_make(room, (size_t)length), value);
}

enum token_kind { TOKEN_BYTES, TOKEN_VALUE, TOKEN_ANY };

static void add_token(struct reach *reach, enum token_kind kind, struct str text)
{
    struct str token;

    if (reach->state == STATE_TAIL)
        reach->wanted -= reach->wanted > 0;
    if (reach->state != STATE_EXACT)
        return;
    if (!take(reach, &token))
        reach->state = STATE_OUTSIDE;
    else if (str_equal(token, STR_LIT(">")))
        reach->state = STATE_HELD;
    else if (!str_equal(token, STR_LIT("*")) && !(kind == TOKEN_BYTES && str_equal(token, text)) &&
             !(kind == TOKEN_VALUE && is_value(token, text)))
        reach->state = STATE_OUTSIDE;
}

static void add_many(struct reach *reach, size_t least)
{
    bool open = false;
    struct str token;

    if (reach->state == STATE_EXACT) {
        reach->state = STATE_TAIL;
        reach->wanted = 0;
        while (take(reach, &token)) {
            reach->wanted++;
            open = str_equal(token, STR_LIT(">"));
            if (!open && !str_equal(token, STR_LIT("*")))
                reach->state = STATE_OUTSIDE;
        }
        if (!open)
            reach->state = STATE_OUTSIDE;
    }
    if (reach->state == STATE_TAIL)
        reach->wanted -= reach->wanted < least ? reach->wanted : least;
}

/* The segments of the match from first on, a token each, and those it does not name. */
static void add_path(struct reach *reach, const struct route_match *match, size_t first)
{
    for (size_t i = first; i < match->segment_count; i++)
        switch (match->segments[i].kind) {
        case ROUTE_SEGMENT_LITERAL:
            add_token(reach, TOKEN_VALUE, match->segments[i].text);
            break;
        case ROUTE_SEGMENT_PARAM:
            add_token(reach, TOKEN_ANY, str_make(NULL, 0));
            break;
        case ROUTE_SEGMENT_REST:
            add_many(reach, 1);
            break;
        }
    /* Every path has a segment, also one that the Prefix "/" or a regular expression takes. */
    if (match->path_type == ROUTE_PATH_PREFIX || match->path_type == ROUTE_PATH_REGEX)
        add_many(reach, match->segment_count > first ? 0 : 1);
}

/* Literal tokens, dots between them included. */
static void add_text(struct reach *reach, struct str text)
{
    for (bool more = true; more;) {
        const char *dot = text.len ? memchr(text.ptr, '.', text.len) : NULL;
        size_t length = dot ? (size_t)(dot - text.ptr) : text.len;

        add_token(reach, TOKEN_BYTES, str_make(text.ptr, length));
        more = dot != NULL;
        text = str_after(text, length + more);
    }
}

bool reach_within(const struct route_rule *rule, const struct route_match *match, size_t backend,
                  struct str pattern)
{
    const struct route_target *target = &match->targets[backend];
    struct reach reach = {.state = STATE_EXACT, .rest = pattern, .at_end = pattern.len == 0};

    for (size_t i = 0; i < target->part_count; i++) {
        const struct route_part *part = &target->parts[i];

        switch (part->kind) {
        case ROUTE_PART_LITERAL:
            add_text(&reach, part->text);
            break;
        case ROUTE_PART_SEGMENT:
            add_token(&reach, TOKEN_ANY, str_make(NULL, 0));
            break;
        case ROUTE_PART_REST:
            add_path(&reach, match, part->first);
            break;
        case ROUTE_PART_METHOD:
            if (match->method == ROUTE_METHOD_ANY)
                add_token(&reach, TOKEN_ANY, str_make(NULL, 0));
            else
                add_token(&reach, TOKEN_BYTES, route_method_name(match->method));
            break;
        }
    }
    /* The query's _worker may add a token; no pattern without ">" holds two lengths. */
    if (rule->codec == ROUTE_CODEC_METROPOLIS_V1)
        add_many(&reach, 0);
    return reach.state == STATE_HELD || (reach.state == STATE_EXACT && reach.at_end) ||
           (reach.state == STATE_TAIL && reach.wanted == 0);
}
