/*
 * fields: see fields.h. What stays refused: control bytes, and repeated lines of fields that decide
 * something (Host, Authorization, Content-Type, Content-Length). Pure but for the scratch memory.
 */
#include "dataplane/fields.h"

#include "lib/base/utf8.h"

static bool untab(struct str *value, struct arena *scratch)
{
    struct str copy;

    if (!value->len || !memchr(value->ptr, '\t', value->len))
        return false;
    copy = arena_copy(scratch, *value);
    if (!copy.ptr)
        return false;
    for (char *c = (char *)copy.ptr; c < copy.ptr + copy.len; c++)
        if (*c == '\t')
            *c = ' ';
    *value = copy;
    return true;
}

static bool transcode(struct str *value, struct arena *scratch)
{
    char *copy, *to;

    if (utf8_valid(*value))
        return false;
    copy = to = arena_take_array(scratch, value->len, 2);
    if (!copy)
        return false;
    for (size_t i = 0; i < value->len; i++) {
        unsigned char c = (unsigned char)value->ptr[i];

        if (c < 0x80) {
            *to++ = (char)c;
            continue;
        }
        *to++ = (char)(0xC0 | c >> 6);
        *to++ = (char)(0x80 | (c & 0x3F));
    }
    *value = str_make(copy, (size_t)(to - copy));
    return true;
}

/* A name that is empty crosses to nobody, and counts as dropped. */
static bool drop_repeated(struct http_header *headers, size_t count, struct str name)
{
    size_t lines = 0;

    for (size_t i = 0; i < count; i++)
        lines += str_equal_nocase(headers[i].name, name);
    for (size_t i = 0; lines > 1 && i < count; i++)
        if (str_equal_nocase(headers[i].name, name))
            headers[i].name.len = 0;
    return lines > 1;
}

struct http_header *fields_fit(const struct http_request *request, struct arena *scratch)
{
    size_t count = request->header_count;
    struct http_header *headers = arena_take_array(scratch, count, sizeof(*headers));
    bool changed;

    if (!headers || count == 0)
        return NULL;
    memcpy(headers, request->headers, count * sizeof(*headers));
    changed = drop_repeated(headers, count, STR_LIT("range"));
    for (size_t i = 0; i < count; i++) {
        changed |= untab(&headers[i].value, scratch);
        changed |= transcode(&headers[i].value, scratch);
    }
    return changed ? headers : NULL;
}
