/*
 * Property: when a pattern is said to hold all that a match reaches, then it holds the subject of
 * whatever request the match takes. The subject is compared with the pattern token by token, as a
 * NATS server does it; this shares no code with what is tested.
 *
 * Input, with a zero byte between the parts: a pattern; the first letter of a path type and a path;
 * a subject template; a raw request path.
 */
#include <stdlib.h>
#include <yyjson.h>

#include "controller/compile/reach.h"
#include "lib/route/route_match.h"
#include "lib/wire/path.h"
#include "lib/wire/route_spec.h"
#include "lib/wire/subject.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SEGMENTS_MAX = 64 };

static struct str next_part(struct str *rest)
{
    const char *zero = rest->len ? memchr(rest->ptr, 0, rest->len) : NULL;
    struct str part = str_make(rest->ptr, zero ? (size_t)(zero - rest->ptr) : rest->len);

    *rest = str_after(*rest, part.len + (zero != NULL));
    return part;
}

static struct str token_of(struct str text)
{
    const char *dot = text.len ? memchr(text.ptr, '.', text.len) : NULL;

    return str_make(text.ptr, dot ? (size_t)(dot - text.ptr) : text.len);
}

static bool holds(struct str pattern, struct str subject)
{
    struct str wanted = token_of(pattern), token = token_of(subject);

    if (str_equal(wanted, STR_LIT(">")))
        return true;
    if (!str_equal(wanted, STR_LIT("*")) && !str_equal(wanted, token))
        return false;
    if (wanted.len == pattern.len || token.len == subject.len)
        return wanted.len == pattern.len && token.len == subject.len;
    return holds(str_after(pattern, wanted.len + 1), str_after(subject, token.len + 1));
}

/* A Route with this path and subject, or NULL. */
static struct route *make_route(struct str path, struct str subject)
{
    static const char *const types[] = {"Exact", "Prefix", "Template", "RegularExpression"};
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *spec = yyjson_mut_obj(doc), *rule, *match, *value, *backend;
    struct route *route = route_new();
    struct route_spec_error error;
    yyjson_doc *copy;
    const char *type = types[0];

    for (size_t i = 0; i < 4; i++)
        if (path.len && types[i][0] == path.ptr[0])
            type = types[i];
    yyjson_mut_doc_set_root(doc, spec);
    rule = yyjson_mut_arr_add_obj(doc, yyjson_mut_obj_add_arr(doc, spec, "rules"));
    match = yyjson_mut_arr_add_obj(doc, yyjson_mut_obj_add_arr(doc, rule, "matches"));
    value = yyjson_mut_obj_add_obj(doc, match, "path");
    yyjson_mut_obj_add_str(doc, value, "type", type);
    path = str_after(path, path.len > 0);
    yyjson_mut_obj_add_strncpy(doc, value, "value", path.ptr ? path.ptr : "", path.len);
    if (subject.len) {
        backend = yyjson_mut_arr_add_obj(doc, yyjson_mut_obj_add_arr(doc, rule, "backends"));
        yyjson_mut_obj_add_strncpy(doc, backend, "subject", subject.ptr, subject.len);
    }
    copy = yyjson_mut_doc_imut_copy(doc, NULL);
    yyjson_mut_doc_free(doc);
    if (!copy || !route)
        abort();
    if (route_spec_read(yyjson_doc_get_root(copy), route, &error) < 0) {
        route_unref(route);
        route = NULL;
    }
    yyjson_doc_free(copy);
    return route;
}

static bool canonical_path(void *context, struct str *ret_path)
{
    *ret_path = buffer_view(context);
    return true;
}

static void check_request(struct route *route, struct str pattern, struct str raw)
{
    struct str segments[SEGMENTS_MAX];
    struct route_table *empty = route_table_new(), *table;
    struct route_request request = {.segments = segments, .method = ROUTE_METHOD_PUT};
    struct route_hit hit;
    struct arena scratch;
    struct buffer canonical;
    char *room = malloc(raw.len + 1), out[SUBJECT_MAX];
    int count = path_split(raw, room, segments, SEGMENTS_MAX), length;
    bool trouble;

    route->label = STR_LIT("ns/name");
    arena_init(&scratch, 1024 * 1024);
    buffer_init(&canonical, 65536);
    if (!empty || route_table_apply(empty, &(struct route_change){NULL, route}, 1, &table) < 0)
        abort();
    if (count > 0 && path_encode(segments, (size_t)count, &canonical) == 0) {
        request.segment_count = (size_t)count;
        request.canonical_path = canonical_path;
        request.context = &canonical;
        if (route_table_match(table, &request, &scratch, &hit, &trouble) == ROUTE_FOUND) {
            length =
                subject_build(&hit.match->targets[0], segments, (size_t)count, hit.method, out);
            if (length > 0 && !holds(pattern, str_make(out, (size_t)length)))
                abort();
        }
    }
    buffer_done(&canonical);
    arena_done(&scratch);
    route_table_unref(table);
    route_table_unref(empty);
    free(room);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str rest = str_make((const char *)data, size);
    struct str pattern = next_part(&rest), path = next_part(&rest), subject = next_part(&rest);
    struct route *route;
    const struct route_match *match;

    if (size > 4096 || !reach_pattern_valid(pattern))
        return 0;
    route = make_route(path, subject);
    if (!route)
        return 0;
    match = &route->rules[0].matches[0];
    if (reach_within(&route->rules[0], match, 0, pattern))
        check_request(route, pattern, rest);
    route_unref(route);
    return 0;
}
