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
static bool drop_repeated(const struct http_request *request, struct str name)
{
    size_t count = 0;

    for (size_t i = 0; i < request->header_count; i++)
        count += str_equal_nocase(request->headers[i].name, name);
    for (size_t i = 0; count > 1 && i < request->header_count; i++)
        if (str_equal_nocase(request->headers[i].name, name))
            request->headers[i].name.len = 0;
    return count > 1;
}

bool fields_fit(const struct http_request *request, struct arena *scratch)
{
    bool changed = drop_repeated(request, STR_LIT("range"));

    for (size_t i = 0; i < request->header_count; i++) {
        changed |= untab(&request->headers[i].value, scratch);
        changed |= transcode(&request->headers[i].value, scratch);
    }
    return changed;
}
