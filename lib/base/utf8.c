/*
 * utf8: the table of RFC 3629 4 (UTF8-octets) as code. The second byte decides everything that the
 * first one leaves open: overlong forms, surrogates, above U+10FFFF.
 */
#include "lib/base/utf8.h"

static bool tail(unsigned char byte)
{
    return (byte & 0xC0) == 0x80;
}

static bool second_fits(unsigned char first, unsigned char second)
{
    switch (first) {
    case 0xE0:
        return second >= 0xA0 && second <= 0xBF;
    case 0xED:
        return second >= 0x80 && second <= 0x9F;
    case 0xF0:
        return second >= 0x90 && second <= 0xBF;
    case 0xF4:
        return second >= 0x80 && second <= 0x8F;
    default:
        return tail(second);
    }
}

size_t utf8_char_length(struct str text)
{
    const unsigned char *at = (const unsigned char *)text.ptr;
    size_t length;

    if (text.len == 0)
        return 0;
    if (at[0] < 0x80)
        return 1;
    if (at[0] < 0xC2 || at[0] > 0xF4)
        return 0;
    length = at[0] < 0xE0 ? 2 : at[0] < 0xF0 ? 3 : 4;
    if (text.len < length || !second_fits(at[0], at[1]))
        return 0;
    for (size_t i = 2; i < length; i++)
        if (!tail(at[i]))
            return 0;
    return length;
}

bool utf8_valid(struct str text)
{
    while (text.len) {
        size_t length = utf8_char_length(text);

        if (length == 0)
            return false;
        text = str_after(text, length);
    }
    return true;
}

struct str utf8_cut(struct str text, size_t max)
{
    if (text.len <= max)
        return text;
    while (max > 0 && tail((unsigned char)text.ptr[max]))
        max--;
    return str_make(text.ptr, max);
}
