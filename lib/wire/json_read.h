/*
 * json_read: strict reading of JSON values: known fields only, each at most once, right types,
 * lengths within bounds; every refusal names the place ("spec.rules[0].name: ...").
 */
#ifndef LIB_WIRE_JSON_READ_H
#define LIB_WIRE_JSON_READ_H

#include <stdint.h>
#include <yyjson.h>

#include "lib/base/str.h"

/* Where refusals are written: text of size bytes; NULL: nobody asks. */
struct json_reader {
    char *text;
    size_t size;
};

/* A value's place, linked to what holds it; lives on the reading function's stack. */
struct json_place {
    const struct json_place *parent; /* NULL: the root */
    const char *name;                /* of a field; NULL: an item of a list */
    size_t index;                    /* of an item */
};

/* Writes "place: sentence", cut at the size without cutting a character. Returns -EINVAL. */
int json_refuse(const struct json_reader *reader, const struct json_place *place,
                const char *format, ...) __attribute__((format(printf, 3, 4)));

/*
 * All of these return 0, or -EINVAL after json_refuse; *ret_... is untouched then.
 *
 * json_object: ret_values[i] becomes the value of names[i], NULL when it is not there.
 * json_string: max counts characters; the string may hold any byte, NUL too.
 */
int json_object(const struct json_reader *reader, const struct json_place *place, yyjson_val *value,
                const char *const *names, size_t count, yyjson_val **ret_values);
int json_list(const struct json_reader *reader, const struct json_place *place, yyjson_val *value,
              size_t min, size_t max, size_t *ret_count);
int json_string(const struct json_reader *reader, const struct json_place *place, yyjson_val *value,
                size_t min, size_t max, struct str *ret_text);
int json_integer(const struct json_reader *reader, const struct json_place *place,
                 yyjson_val *value, int64_t min, int64_t max, int64_t *ret_number);

#endif
