/*
 * utf8: whether bytes are UTF-8 as RFC 3629 defines it: shortest form, no surrogates, at most
 * U+10FFFF. Pure.
 */
#ifndef LIB_BASE_UTF8_H
#define LIB_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/base/str.h"

/* The length in bytes of the character that text begins with; 0: text is empty, or its first bytes
 * are no character. */
size_t utf8_char_length(struct str text);
bool utf8_valid(struct str text);
/* The longest beginning of text of at most max bytes that does not cut a character in two. */
struct str utf8_cut(struct str text, size_t max);

#endif
