/*
 * path: percent-coding of paths and queries.
 *
 * A path is split first and decoded second, exactly once (RFC 3986 2.4, 3.3), so an encoded slash
 * can never become a separator and an encoded percent sign never an escape. What decodes to "." or
 * ".." is refused rather than removed: whoever stands behind us might remove it, too, or not.
 *
 * The bytes that a request may have in its raw path are not narrowed to RFC 3986's beyond what the
 * header says: the HTTP parser has judged the request line, and data in a segment is harmless here.
 */
#include "lib/wire/path.h"

#include <assert.h>
#include <errno.h>

#include "lib/base/utf8.h"

/* The byte that the escape at the start of text stands for, or -EINVAL. */
static int escape_read(struct str text)
{
    int high = text.len >= 3 ? str_hex_value(text.ptr[1]) : -1;
    int low = text.len >= 3 ? str_hex_value(text.ptr[2]) : -1;

    return high < 0 || low < 0 ? -EINVAL : high << 4 | low;
}

int path_decode(struct str text, bool plus, char *room)
{
    size_t length = 0;

    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];

        if (c == '%') {
            int byte = escape_read(str_after(text, i));

            if (byte < 0)
                return -EINVAL;
            room[length++] = (char)byte;
            i += 2;
        } else {
            room[length++] = plus && c == '+' ? ' ' : c;
        }
    }
    return (int)length;
}

static bool control(unsigned char c)
{
    return c < 0x20 || c == 0x7F;
}

/* What no request may ask for, looked at after decoding. */
static bool segment_refused(struct str segment)
{
    bool ascii = true;

    for (size_t i = 0; i < segment.len; i++) {
        unsigned char c = (unsigned char)segment.ptr[i];

        if (control(c))
            return true;
        ascii &= c < 0x80;
    }
    if (str_equal(segment, STR_LIT(".")) || str_equal(segment, STR_LIT("..")))
        return true;
    return !ascii && !utf8_valid(segment);
}

/* Moves *rest past one segment and decodes it; *room moves past what was written. -EINVAL. */
static int segment_read(struct str *rest, char **room, struct str *ret_segment)
{
    bool escaped = false;
    size_t length = 0;

    for (; length < rest->len && rest->ptr[length] != '/'; length++) {
        char c = rest->ptr[length];

        if (c == '#' || c == '?')
            return -EINVAL;
        escaped |= c == '%';
    }
    *ret_segment = str_make(rest->ptr, length);
    if (escaped) {
        int decoded = path_decode(*ret_segment, false, *room);

        if (decoded < 0)
            return decoded;
        *ret_segment = str_make(*room, (size_t)decoded);
        *room += decoded;
    }
    *rest = str_after(*rest, length);
    return segment_refused(*ret_segment) ? -EINVAL : 0;
}

int path_split(struct str raw, char *room, struct str *segments, size_t max)
{
    size_t count = 0;

    if (raw.len == 0 || raw.ptr[0] != '/')
        return -EINVAL;
    while (raw.len) {
        if (count == max)
            return -E2BIG;
        raw = str_after(raw, 1);
        if (segment_read(&raw, &room, &segments[count]) < 0)
            return -EINVAL;
        count++;
    }
    return (int)count;
}

/* RFC 3986 2.3 */
static bool unreserved(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

int path_encode(const struct str *segments, size_t count, struct buffer *ret_path)
{
    static const char digits[] = "0123456789ABCDEF";
    int r = 0;

    assert(count > 0); /* even "/" is one segment; none would look the same */
    for (size_t i = 0; i < count && r >= 0; i++) {
        r = buffer_append_byte(ret_path, '/');
        for (size_t j = 0; j < segments[i].len && r >= 0; j++) {
            unsigned char c = (unsigned char)segments[i].ptr[j];

            if (unreserved((char)c))
                r = buffer_append_byte(ret_path, (char)c);
            else
                r = buffer_append(ret_path, (char[]){'%', digits[c >> 4], digits[c & 15]}, 3);
        }
    }
    return r;
}

int path_query_find(struct str query, struct str name, char *room, struct str *ret_value)
{
    while (query.len) {
        const char *end = memchr(query.ptr, '&', query.len);
        struct str pair = str_make(query.ptr, end ? (size_t)(end - query.ptr) : query.len);
        const char *equals = memchr(pair.ptr, '=', pair.len);
        struct str key = str_make(pair.ptr, equals ? (size_t)(equals - pair.ptr) : pair.len);
        struct str value = equals ? str_after(pair, key.len + 1) : str_make(NULL, 0);
        int length = path_decode(key, true, room);

        if (length >= 0 && str_equal(str_make(room, (size_t)length), name)) {
            length = path_decode(value, true, room);
            if (length >= 0) {
                *ret_value = str_make(room, (size_t)length);
                return 1;
            }
        }
        query = str_after(query, pair.len + (end ? 1 : 0));
    }
    return 0;
}
