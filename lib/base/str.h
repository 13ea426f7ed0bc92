/*
 * str: a borrowed run of bytes. It owns nothing, need not end in NUL and may be empty; ptr may be
 * NULL only when len is 0. Whoever hands one out says how long the bytes live.
 */
#ifndef LIB_BASE_STR_H
#define LIB_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct str {
    const char *ptr;
    size_t len;
};

#define STR_LIT(literal) ((struct str){(literal), sizeof(literal) - 1})
#define STR_FMT "%.*s"
#define STR_ARG(s) (int)(s).len, (s).ptr ? (s).ptr : ""

static inline struct str str_make(const char *ptr, size_t len)
{
    return (struct str){ptr, len};
}

static inline struct str str_from(const char *text)
{
    return (struct str){text, text ? strlen(text) : 0};
}

static inline bool str_equal(struct str a, struct str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

/* Byte order; a prefix sorts before what it begins. Returns <0, 0 or >0. */
static inline int str_compare(struct str a, struct str b)
{
    size_t least = a.len < b.len ? a.len : b.len;
    int order = least ? memcmp(a.ptr, b.ptr, least) : 0;

    return order ? order : (a.len > b.len) - (a.len < b.len);
}

static inline char str_lower_byte(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

/* ASCII case only, as HTTP field names and host names are compared. */
static inline bool str_equal_nocase(struct str a, struct str b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        if (str_lower_byte(a.ptr[i]) != str_lower_byte(b.ptr[i]))
            return false;
    return true;
}

static inline bool str_starts_with(struct str s, struct str prefix)
{
    return s.len >= prefix.len && (prefix.len == 0 || memcmp(s.ptr, prefix.ptr, prefix.len) == 0);
}

/* 0-15, or -1. */
static inline int str_hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = str_lower_byte(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

enum { STR_DECIMAL_MAX = 20 }; /* digits of the largest number */

/* The number in decimal; borrows digits, where it stands at the end. */
static inline struct str str_decimal(uint64_t number, char digits[STR_DECIMAL_MAX])
{
    size_t at = STR_DECIMAL_MAX;

    do
        digits[--at] = (char)('0' + number % 10);
    while (number /= 10);
    return str_make(digits + at, STR_DECIMAL_MAX - at);
}

/* The number that text is in decimal; false: it is none, or too large. */
static inline bool str_read_decimal(struct str text, uint64_t *ret_number)
{
    uint64_t number = 0;

    if (text.len == 0 || text.len > STR_DECIMAL_MAX)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        uint64_t digit = (uint64_t)(text.ptr[i] - '0');

        if (text.ptr[i] < '0' || text.ptr[i] > '9' || number > (UINT64_MAX - digit) / 10)
            return false;
        number = number * 10 + digit;
    }
    *ret_number = number;
    return true;
}

static inline struct str str_after(struct str s, size_t skip)
{
    return (struct str){skip ? s.ptr + skip : s.ptr, s.len - skip};
}

#endif
