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

/* How many bytes of [A-Za-z0-9-] a text begins with. */
size_t http_field_count_name(struct str text);

/* What http_field_put_* may overwrite behind the end that they return. */
enum { HTTP_FIELD_SLACK = 40 };

/* Writes a name that is not INVALID as it crosses: the first letter and each after "-" in upper
 * case, all others in lower. Returns its end. */
char *http_field_put_canonical(char *to, struct str name);

/*
 * Names that were met lately, for clients send the same ones again and again: what there is to know
 * of each, under its bytes as they were sent. All zeros: none yet. An entry stays as it is until
 * http_field_names_renew says that nobody looks at any more.
 */
enum { HTTP_FIELD_NAMES = 64, HTTP_FIELD_NAME_MAX = 32 };

struct http_field_name {
    char sent[HTTP_FIELD_NAME_MAX];          /* zeros behind it */
    char canonical[HTTP_FIELD_NAME_MAX + 8]; /* ": " behind it; of one that is not INVALID */
    uint64_t round;                          /* in which it was last asked for */
    uint32_t hash;
    uint16_t flags, length;
};

struct http_field_names {
    struct http_field_name names[HTTP_FIELD_NAMES];
    uint64_t round;
};

static inline void http_field_names_renew(struct http_field_names *names)
{
    names->round++;
}

/* The entry of a name, made if need be; NULL: it is longer than what is kept, or another one of
 * this round has its place. */
const struct http_field_name *http_field_names_find(struct http_field_names *names,
                                                    struct str name);

static inline bool http_field_is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* Without spaces and tabs at both ends. */
static inline struct str http_field_trim(struct str value)
{
    if (value.len && value.ptr[0] > ' ' && value.ptr[value.len - 1] > ' ')
        return value; /* nearly always */
    while (value.len && http_field_is_blank(value.ptr[0]))
        value = str_after(value, 1);
    while (value.len && http_field_is_blank(value.ptr[value.len - 1]))
        value.len--;
    return value;
}

/* How many bytes of 0x20-0x7E a text begins with. */
size_t http_field_count_ascii(struct str text);

enum http_field_value { HTTP_FIELD_ASCII, HTTP_FIELD_OTHER, HTTP_FIELD_CONTROL };
/* ASCII: 0x20-0x7E only. OTHER: bytes from 0x80 on, too. CONTROL: any control byte, tab too. */
enum http_field_value http_field_judge(struct str value);

/* Copies a value and returns its end. *ret_plain becomes false when it is not ASCII, and is left
 * alone otherwise. */
char *http_field_put_value(char *to, struct str value, bool *ret_plain);

/* Takes the next item off a comma-separated list; false: none is left. Items may be empty. */
bool http_field_list_next(struct str *list, struct str *ret_item);

#endif
