/*
 * plain: see plain.h. What it takes llhttp would take, too, and read the same: fuzz_http_parse.c
 * holds one against the other.
 */
#include "dataplane/http/plain.h"

#include "lib/wire/http_field.h"

bool plain_is_token_byte(char c)
{
    static const bool tokens[256] = {
        ['!'] = true,         ['#' ... '\''] = true, ['*'] = true, ['+'] = true,
        ['-'] = true,         ['.'] = true,          ['^'] = true, ['_'] = true,
        ['`'] = true,         ['|'] = true,          ['~'] = true, ['0' ... '9'] = true,
        ['A' ... 'Z'] = true, ['a' ... 'z'] = true,
    };

    return tokens[(unsigned char)c];
}

/* The length of the token that text begins with. */
static size_t count_token(struct str text)
{
    size_t length = http_field_count_name(text); /* mostly that is all */

    while (length < text.len && plain_is_token_byte(text.ptr[length]))
        length++;
    return length;
}

static bool begins_line_end(struct str text)
{
    return text.len >= 2 && text.ptr[0] == '\r' && text.ptr[1] == '\n';
}

size_t plain_read_fields(struct str text, struct http_header *headers, size_t *ret_count)
{
    struct str rest = text;
    size_t count = 0;

    while (!begins_line_end(rest)) {
        struct str name = str_make(rest.ptr, count_token(rest)), value;

        rest = str_after(rest, name.len);
        if (name.len == 0 || rest.len == 0 || rest.ptr[0] != ':' || count == HTTP_HEADERS_MAX)
            return 0;
        rest = str_after(rest, 1);
        value = str_make(rest.ptr, http_field_count_ascii(rest));
        rest = str_after(rest, value.len);
        if (!begins_line_end(rest))
            return 0;
        rest = str_after(rest, 2);
        if (value.len && value.ptr[0] == ' ')
            value = str_after(value, 1);
        headers[count++] = (struct http_header){name, value};
    }
    *ret_count = count;
    return text.len - rest.len + 2;
}
