/*
 * event: the bytes of a watch, read. The lines are cut here and not by the JSON parser because the
 * API server ends each event with a newline and writes none inside: memchr finds the end at memory
 * speed, each byte is parsed once, and a line that is too large or makes no sense costs itself
 * only, not the stream.
 *
 *      bytes of one read:   ...rest of a line\n | whole line\n | whole line\n | start of a li
 *      line handed out:     held + rest           in place       in place      (to held)
 *
 * A list is cut likewise, at the braces of its items: it is read while it comes and never held as
 * a whole. Only quotes, braces and brackets are looked at; whether the items and what is around
 * them make sense is for the JSON parser, which gets to see all of it.
 */
#include "controller/kube/event.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

enum {
    LINE_KEEP = 64 * 1024,       /* bytes that stay allocated between lines */
    REST_MAX = 16 * 1024 * 1024, /* three bytes for an item */
    UID_MAX = 128,
    VERSION_MAX = 128,
    TIME_TEXT_MAX = 64,
};

struct str kube_text(yyjson_val *value)
{
    return str_make(yyjson_get_str(value), yyjson_get_len(value) * yyjson_is_str(value));
}

/* A missing field is empty text. */
static bool read_text(yyjson_val *object, const char *key, size_t max, struct str *ret_text)
{
    yyjson_val *value = yyjson_obj_get(object, key);
    struct str text = kube_text(value);

    if ((value && !yyjson_is_str(value)) || text.len > max)
        return false;
    *ret_text = text;
    return true;
}

int kube_object_read(yyjson_val *value, struct kube_object *ret_object)
{
    struct kube_object object = {.value = value};
    yyjson_val *metadata = yyjson_obj_get(value, "metadata");
    yyjson_val *generation = yyjson_obj_get(metadata, "generation");
    struct str created;

    if (!read_text(metadata, "namespace", KUBE_NAMESPACE_MAX, &object.namespace_name) ||
        !read_text(metadata, "name", KUBE_NAME_MAX, &object.name) || !object.name.len ||
        !read_text(metadata, "uid", UID_MAX, &object.uid) || !object.uid.len ||
        !read_text(metadata, "resourceVersion", VERSION_MAX, &object.resource_version) ||
        !object.resource_version.len ||
        !read_text(metadata, "creationTimestamp", TIME_TEXT_MAX, &created))
        return -EBADMSG;
    if ((generation && !yyjson_is_int(generation)) ||
        (created.len && kube_time_read(created, &object.created_s)))
        return -EBADMSG;
    object.generation = yyjson_get_sint(generation);
    *ret_object = object;
    return 0;
}

struct str kube_key(struct str namespace_name, struct str name, char out[KUBE_KEY_MAX])
{
    size_t length;

    if (namespace_name.len > KUBE_NAMESPACE_MAX)
        namespace_name.len = KUBE_NAMESPACE_MAX;
    if (name.len > KUBE_NAME_MAX)
        name.len = KUBE_NAME_MAX;
    if (namespace_name.len)
        memcpy(out, namespace_name.ptr, namespace_name.len);
    length = namespace_name.len;
    out[length++] = '/';
    if (name.len)
        memcpy(out + length, name.ptr, name.len);
    length += name.len;
    return str_make(out, length);
}

uint64_t kube_version_number(struct str version)
{
    uint64_t number = 0;

    for (size_t i = 0; i < version.len; i++) {
        if (version.ptr[i] < '0' || version.ptr[i] > '9' || version.len > 19)
            return 0;
        number = number * 10 + (uint64_t)(version.ptr[i] - '0');
    }
    return number;
}

struct kube_failure kube_failure_read(yyjson_val *value)
{
    yyjson_val *retry_after_s =
        yyjson_obj_get(yyjson_obj_get(value, "details"), "retryAfterSeconds");

    return (struct kube_failure){
        .retry_after_ms =
            (uint64_t)(yyjson_get_int(retry_after_s) > 0 ? yyjson_get_int(retry_after_s) : 0) *
            1000,
        .code = yyjson_get_int(yyjson_obj_get(value, "code")),
        .reason = kube_text(yyjson_obj_get(value, "reason")),
        .message = kube_text(yyjson_obj_get(value, "message")),
    };
}

static int read_bookmark(yyjson_val *value, struct kube_event *event)
{
    yyjson_val *metadata = yyjson_obj_get(value, "metadata");
    yyjson_val *annotations = yyjson_obj_get(metadata, "annotations");
    yyjson_val *end = yyjson_obj_get(annotations, "k8s.io/initial-events-end");

    event->initial_end = yyjson_equals_str(end, "true");
    return read_text(metadata, "resourceVersion", VERSION_MAX, &event->object.resource_version) &&
                   event->object.resource_version.len
               ? 0
               : -EBADMSG;
}

static int read_typed(struct str type, yyjson_val *value, struct kube_event *event)
{
    static const char *const names[] = {
        [KUBE_EVENT_ADDED] = "ADDED",     [KUBE_EVENT_MODIFIED] = "MODIFIED",
        [KUBE_EVENT_DELETED] = "DELETED", [KUBE_EVENT_BOOKMARK] = "BOOKMARK",
        [KUBE_EVENT_ERROR] = "ERROR",
    };
    size_t i = 0;

    while (i < sizeof(names) / sizeof(names[0]) && !str_equal(type, str_from(names[i])))
        i++;
    event->type = (enum kube_event_type)i;
    switch (event->type) {
    case KUBE_EVENT_ADDED:
    case KUBE_EVENT_MODIFIED:
    case KUBE_EVENT_DELETED:
        return kube_object_read(value, &event->object);
    case KUBE_EVENT_BOOKMARK:
        return read_bookmark(value, event);
    case KUBE_EVENT_ERROR:
        event->failure = kube_failure_read(value);
        return 0;
    }
    return -EBADMSG;
}

static int read_document(struct str text, yyjson_doc **ret_document)
{
    yyjson_read_err why;

    *ret_document = yyjson_read_opts((char *)text.ptr, text.len, 0, NULL, &why);
    if (*ret_document)
        return 0;
    return why.code == YYJSON_READ_ERROR_MEMORY_ALLOCATION ? -ENOMEM : -EBADMSG;
}

int kube_item_read(struct str item, struct kube_event *ret_event)
{
    struct kube_event event = {.type = KUBE_EVENT_ADDED};
    int error = read_document(item, &event.document);

    if (!error)
        error = kube_object_read(yyjson_doc_get_root(event.document), &event.object);
    if (error) {
        kube_event_done(&event);
        return error;
    }
    *ret_event = event;
    return 0;
}

int kube_event_read(struct str line, struct kube_event *ret_event)
{
    struct kube_event event = {0};
    yyjson_val *root, *object;
    int error = read_document(line, &event.document);

    if (error)
        return error;
    root = yyjson_doc_get_root(event.document);
    object = yyjson_obj_get(root, "object");
    error = -EBADMSG;
    if (yyjson_is_obj(object))
        error = read_typed(kube_text(yyjson_obj_get(root, "type")), object, &event);
    if (error) {
        kube_event_done(&event);
        return error;
    }
    *ret_event = event;
    return 0;
}

void kube_event_done(struct kube_event *event)
{
    yyjson_doc_free(event->document);
    event->document = NULL;
}

/* "Z", "+01:00": seconds east of UTC. */
static bool read_offset(const char *text, int *ret_offset_s)
{
    unsigned hours, minutes;
    int used = 0;

    *ret_offset_s = 0;
    if (strcmp(text, "Z") == 0 || strcmp(text, "z") == 0)
        return true;
    if ((*text != '+' && *text != '-') ||
        sscanf(text + 1, "%2u:%2u%n", &hours, &minutes, &used) != 2 || used != 5 || text[6] ||
        hours > 23 || minutes > 59)
        return false;
    *ret_offset_s = (int)(hours * 3600 + minutes * 60) * (*text == '-' ? -1 : 1);
    return true;
}

int kube_time_read(struct str text, int64_t *ret_unix_s)
{
    char copy[TIME_TEXT_MAX + 1];
    struct tm tm = {0};
    const char *rest;
    int offset_s;

    if (text.len > TIME_TEXT_MAX || memchr(text.ptr ? text.ptr : "", '\0', text.len))
        return -EINVAL;
    snprintf(copy, sizeof(copy), STR_FMT, STR_ARG(text));
    rest = strptime(copy, "%Y-%m-%dT%H:%M:%S", &tm);
    if (!rest)
        return -EINVAL;
    if (*rest == '.')
        rest += 1 + strspn(rest + 1, "0123456789");
    if (!read_offset(rest, &offset_s))
        return -EINVAL;
    *ret_unix_s = (int64_t)timegm(&tm) - offset_s;
    return 0;
}

void kube_time_write(int64_t unix_s, char text[KUBE_TIME_SIZE])
{
    time_t time = (time_t)unix_s;
    struct tm tm = {0};

    gmtime_r(&time, &tm);
    if (!strftime(text, KUBE_TIME_SIZE, "%Y-%m-%dT%H:%M:%SZ", &tm)) /* past the year 9999 */
        snprintf(text, KUBE_TIME_SIZE, "9999-12-31T23:59:59Z");
}

void kube_lines_init(struct kube_lines *lines, size_t line_max)
{
    *lines = (struct kube_lines){0};
    buffer_init(&lines->held, line_max);
}

void kube_lines_done(struct kube_lines *lines)
{
    buffer_done(&lines->held);
}

void kube_lines_reset(struct kube_lines *lines)
{
    buffer_clear(&lines->held, LINE_KEEP);
    lines->skipping = false;
    lines->lent = false;
}

/* Adds to the line so far, unless it is too long already. */
static void hold(struct kube_lines *lines, const char *bytes, size_t size)
{
    if (size && !lines->skipping && buffer_append(&lines->held, bytes, size)) {
        buffer_clear(&lines->held, LINE_KEEP);
        lines->skipping = true;
    }
}

/* What ends with these bytes is whole, unless it was too long. */
static enum kube_line finish(struct kube_lines *lines, const char *bytes, size_t size,
                             struct str *ret_line)
{
    if (!lines->skipping && !buffer_length(&lines->held) && size <= lines->held.limit) {
        *ret_line = str_make(bytes, size);
        return KUBE_LINE_WHOLE;
    }
    hold(lines, bytes, size);
    if (lines->skipping) {
        lines->skipping = false;
        return KUBE_LINE_SKIPPED;
    }
    lines->lent = true;
    *ret_line = buffer_view(&lines->held);
    return KUBE_LINE_WHOLE;
}

enum kube_line kube_lines_next(struct kube_lines *lines, struct str *bytes, struct str *ret_line)
{
    const char *start = bytes->ptr, *end;
    size_t length;

    if (lines->lent)
        kube_lines_reset(lines);
    end = bytes->len ? memchr(start, '\n', bytes->len) : NULL;
    if (!end) {
        hold(lines, start, bytes->len);
        *bytes = str_make(NULL, 0);
        return KUBE_LINE_NONE;
    }
    length = (size_t)(end - start);
    *bytes = str_after(*bytes, length + 1);
    return finish(lines, start, length, ret_line);
}

bool kube_lines_pending(const struct kube_lines *lines)
{
    return lines->skipping || (!lines->lent && buffer_length(&lines->held) > 0);
}

void kube_items_init(struct kube_items *items, size_t item_max)
{
    *items = (struct kube_items){0};
    kube_lines_init(&items->item, item_max);
    buffer_init(&items->rest, REST_MAX);
}

void kube_items_done(struct kube_items *items)
{
    kube_lines_done(&items->item);
    buffer_done(&items->rest);
}

void kube_items_reset(struct kube_items *items)
{
    kube_lines_reset(&items->item);
    buffer_clear(&items->rest, LINE_KEEP);
    items->count = 0;
    items->depth = 0;
    items->rest_lost = items->in_array = items->in_string = items->escaped = false;
}

static bool in_item(const struct kube_items *items)
{
    return items->depth > 2 && items->in_array;
}

/* The end of the string that `at` is in, or end. */
static const char *cross_string(struct kube_items *items, const char *at, const char *end)
{
    for (; at < end; at++) {
        if (items->escaped) {
            items->escaped = false;
        } else if (*at == '\\') {
            items->escaped = true;
        } else if (*at == '"') {
            items->in_string = false;
            return at + 1;
        }
    }
    return end;
}

/* Moves on until an item begins or ends, to the byte behind that; or to the end. */
static const char *cross(struct kube_items *items, const char *at, const char *end)
{
    bool inside = in_item(items);

    while (at < end && in_item(items) == inside) {
        if (items->in_string) {
            at = cross_string(items, at, end);
            continue;
        }
        switch (*at++) {
        case '"':
            items->in_string = true;
            break;
        case '{':
        case '[':
            items->depth++;
            if (items->depth == 2)
                items->in_array = at[-1] == '[';
            break;
        case '}':
        case ']':
            items->depth -= items->depth > 0;
            break;
        default:
            break;
        }
    }
    return at;
}

static void keep_rest(struct kube_items *items, const char *bytes, size_t size)
{
    if (items->rest_lost || buffer_append(&items->rest, bytes, size) == 0)
        return;
    items->rest_lost = true;
    buffer_clear(&items->rest, 0);
}

enum kube_line kube_items_next(struct kube_items *items, struct str *bytes, struct str *ret_item)
{
    const char *begin = bytes->ptr, *end = begin + bytes->len, *at = begin;

    if (items->item.lent)
        kube_lines_reset(&items->item);
    if (!in_item(items)) {
        at = cross(items, begin, end);
        keep_rest(items, begin, (size_t)(at - begin) - in_item(items));
        begin = at;
        if (in_item(items)) {
            keep_rest(items, "{}", 2);
            items->count++;
            begin--;
        }
    }
    if (in_item(items))
        at = cross(items, at, end);
    *bytes = str_make(at, (size_t)(end - at));
    if (in_item(items))
        hold(&items->item, begin, (size_t)(at - begin));
    if (in_item(items) || at == begin)
        return KUBE_LINE_NONE;
    return finish(&items->item, begin, (size_t)(at - begin), ret_item);
}

bool kube_items_complete(const struct kube_items *items)
{
    return items->depth == 0 && !items->rest_lost;
}
