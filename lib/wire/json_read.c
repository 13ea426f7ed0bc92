/*
 * json_read: see the header. Refusals are sentences for whoever wrote the value, so they quote what
 * stands there and say what should.
 */
#include "lib/wire/json_read.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "lib/base/utf8.h"

/* A text being written into a fixed size; what does not fit is left out. */
struct cut_text {
    char *bytes;
    size_t length, size;
};

static void __attribute__((format(printf, 2, 0)))
cut_text_vprintf(struct cut_text *text, const char *format, va_list args)
{
    int wanted = vsnprintf(text->bytes + text->length, text->size - text->length, format, args);

    assert(wanted >= 0);
    text->length += (size_t)wanted;
    if (text->length >= text->size)
        text->length = text->size - 1;
}

static void __attribute__((format(printf, 2, 3)))
cut_text_printf(struct cut_text *text, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    cut_text_vprintf(text, format, args);
    va_end(args);
}

static void place_write(const struct json_place *place, struct cut_text *text)
{
    if (place->parent)
        place_write(place->parent, text);
    if (place->name)
        cut_text_printf(text, "%s%s", text->length ? "." : "", place->name);
    else
        cut_text_printf(text, "[%zu]", place->index);
}

int json_refuse(const struct json_reader *reader, const struct json_place *place,
                const char *format, ...)
{
    struct cut_text text = {.bytes = reader->text, .size = reader->size};
    va_list args;

    if (!reader->text)
        return -EINVAL;
    place_write(place, &text);
    cut_text_printf(&text, ": ");
    va_start(args, format);
    cut_text_vprintf(&text, format, args);
    va_end(args);
    /* vsnprintf may have cut a character in two. */
    while (text.length && !utf8_valid(str_make(text.bytes, text.length)))
        text.length--;
    text.bytes[text.length] = '\0';
    return -EINVAL;
}

static int field_index(const char *const *names, size_t count, yyjson_val *key)
{
    for (size_t i = 0; i < count; i++)
        if (str_equal(str_from(names[i]), str_make(yyjson_get_str(key), yyjson_get_len(key))))
            return (int)i;
    return -ENOENT;
}

int json_object(const struct json_reader *reader, const struct json_place *place, yyjson_val *value,
                const char *const *names, size_t count, yyjson_val **ret_values)
{
    size_t at, size;
    yyjson_val *key, *field;

    if (!yyjson_is_obj(value))
        return json_refuse(reader, place, "must be an object, not %s", yyjson_get_type_desc(value));
    for (size_t i = 0; i < count; i++)
        ret_values[i] = NULL;
    yyjson_obj_foreach(value, at, size, key, field)
    {
        int index = field_index(names, count, key);
        struct str name = utf8_cut(str_make(yyjson_get_str(key), yyjson_get_len(key)), 64);

        if (index < 0)
            return json_refuse(reader, place, "unknown field \"" STR_FMT "\"", STR_ARG(name));
        if (ret_values[index])
            return json_refuse(reader, place, "the field \"" STR_FMT "\" occurs twice",
                               STR_ARG(name));
        ret_values[index] = field;
    }
    return 0;
}

int json_list(const struct json_reader *reader, const struct json_place *place, yyjson_val *value,
              size_t min, size_t max, size_t *ret_count)
{
    size_t count = yyjson_arr_size(value);

    if (!yyjson_is_arr(value))
        return json_refuse(reader, place, "must be a list, not %s", yyjson_get_type_desc(value));
    if (count < min)
        return json_refuse(reader, place, "has %zu items, must have at least %zu", count, min);
    if (count > max)
        return json_refuse(reader, place, "has %zu items, may have at most %zu", count, max);
    *ret_count = count;
    return 0;
}

/* Characters of valid UTF-8: every byte but those that continue one. */
static size_t count_characters(struct str text)
{
    size_t count = 0;

    for (size_t i = 0; i < text.len; i++)
        count += ((unsigned char)text.ptr[i] & 0xC0) != 0x80;
    return count;
}

int json_string(const struct json_reader *reader, const struct json_place *place, yyjson_val *value,
                size_t min, size_t max, struct str *ret_text)
{
    struct str text = str_make(yyjson_get_str(value), yyjson_get_len(value));
    size_t length;

    if (!yyjson_is_str(value))
        return json_refuse(reader, place, "must be a string, not %s", yyjson_get_type_desc(value));
    length = count_characters(text);
    if (length < min)
        return json_refuse(reader, place,
                           length ? "must have at least %zu characters" : "must not be empty", min);
    if (length > max)
        return json_refuse(reader, place, "has %zu characters, may have at most %zu", length, max);
    *ret_text = text;
    return 0;
}

int json_integer(const struct json_reader *reader, const struct json_place *place,
                 yyjson_val *value, int64_t min, int64_t max, int64_t *ret_number)
{
    bool huge = yyjson_is_uint(value) && yyjson_get_uint(value) > INT64_MAX;

    if (!yyjson_is_int(value))
        return json_refuse(reader, place, "must be an integer, not %s",
                           yyjson_get_type_desc(value));
    if (huge || yyjson_get_sint(value) < min || yyjson_get_sint(value) > max)
        return json_refuse(reader, place, "must be from %lld to %lld", (long long)min,
                           (long long)max);
    *ret_number = yyjson_get_sint(value);
    return 0;
}
