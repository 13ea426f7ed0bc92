/*
 * plain: the fields of most requests, which nothing is odd about, read without a state for each
 * byte. Pure.
 */
#ifndef DATAPLANE_HTTP_PLAIN_H
#define DATAPLANE_HTTP_PLAIN_H

#include "lib/wire/http_msg.h"

/* A byte of a token (RFC 9110 5.6.2). */
bool plain_is_token_byte(char c);

/*
 * Reads field lines up to the empty line that ends a head: names are tokens, values 0x20-0x7E (of
 * blanks around them only the first is taken off), lines end in CR LF. headers: HTTP_HEADERS_MAX
 * entries, which borrow text and mean nothing after 0. Returns how many bytes the head's rest has;
 * 0 when something in it is not like that, or it is not whole: then a parser with a state must
 * judge.
 */
size_t plain_read_fields(struct str text, struct http_header *headers, size_t *ret_count);

#endif
