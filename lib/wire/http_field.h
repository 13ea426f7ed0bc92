/*
 * http_field: what HTTP over NATS knows of header names and values, the same for both directions
 * (docs/WIRE.md). Pure.
 */
#ifndef LIB_WIRE_HTTP_FIELD_H
#define LIB_WIRE_HTTP_FIELD_H

#include <stdint.h>

#include "lib/base/str.h"

enum {
    HTTP_FIELD_INVALID = 1 << 0,    /* not [A-Za-z0-9-], or empty: crosses in no direction */
    HTTP_FIELD_CONNECTION = 1 << 1, /* Connection: names others that do not cross */
    HTTP_FIELD_NOT_REQUEST = 1 << 2,
    HTTP_FIELD_NOT_REPLY = 1 << 3,
    HTTP_FIELD_UNTRUSTED = 1 << 4, /* in requests: only trusted peers may send it */
    HTTP_FIELD_ONCE = 1 << 5,      /* repeated in a request: refused */
    HTTP_FIELD_COOKIE = 1 << 6,
    HTTP_FIELD_LENGTH = 1 << 7,     /* Content-Length */
    HTTP_FIELD_NATS = 1 << 8,       /* Nats-* */
    HTTP_FIELD_METROPOLIS = 1 << 9, /* Metropolis-* */
    /* Those of which the gateway sets one value itself. */
    HTTP_FIELD_REQUEST_ID = 1 << 10,
    HTTP_FIELD_TRACEPARENT = 1 << 11,
    HTTP_FIELD_FORWARDED_FOR = 1 << 12,
    HTTP_FIELD_FORWARDED_PROTO = 1 << 13,
    HTTP_FIELD_FORWARDED_HOST = 1 << 14,
};

/* The flags of a name in any case. *ret_hash is equal for names that differ in case only; it is not
 * keyed, so whoever uses it bounds how many names he compares. */
unsigned http_field_classify(struct str name, uint32_t *ret_hash);

/* Writes a name that is not INVALID as it crosses: the first letter and each after "-" in upper
 * case, all others in lower. Returns its end; up to seven bytes behind it are overwritten. */
enum { HTTP_FIELD_CANONICAL_SLACK = 7 };
char *http_field_put_canonical(char *to, struct str name);

static inline bool http_field_is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* Without spaces and tabs at both ends. */
static inline struct str http_field_trim(struct str value)
{
    while (value.len && http_field_is_blank(value.ptr[0]))
        value = str_after(value, 1);
    while (value.len && http_field_is_blank(value.ptr[value.len - 1]))
        value.len--;
    return value;
}

enum http_field_value { HTTP_FIELD_ASCII, HTTP_FIELD_OTHER, HTTP_FIELD_CONTROL };
/* ASCII: 0x20-0x7E only. OTHER: bytes from 0x80 on, too. CONTROL: any control byte, tab too. */
enum http_field_value http_field_judge(struct str value);

/* Takes the next item off a comma-separated list; false: none is left. Items may be empty. */
bool http_field_list_next(struct str *list, struct str *ret_item);

#endif
