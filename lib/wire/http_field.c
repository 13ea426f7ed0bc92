/*
 * http_field: the lists of names of docs/WIRE.md, as one switch.
 *
 * It runs once per header of every request and every reply, so a name is gone through once, in
 * words (case folded, bytes judged, hashed), and then compared with the few names of its length:
 * each compare is of a constant size, a load or two. There is no table to keep sorted.
 */
#include "lib/wire/http_field.h"

#include <assert.h>

enum { KNOWN_NAME_MAX = 24 };

/* What no message takes with it from one connection to the next (RFC 9110 7.6.1), in either
 * direction. */
enum { NEITHER = HTTP_FIELD_NOT_REQUEST | HTTP_FIELD_NOT_REPLY };
/* What proxies say of a request: believed from those that are trusted, nonsense in a reply. */
enum { PROXY = HTTP_FIELD_UNTRUSTED | HTTP_FIELD_NOT_REPLY };

/* ---- names, eight bytes at a time ---- */

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "a word's lowest byte is its first");

#define EACH(byte) (UINT64_MAX / 255 * (byte))

/* The next eight bytes, or what is left of them with zeros behind. at < text.len. */
static inline uint64_t word_load(struct str text, size_t at)
{
    const char *from = text.ptr + at;
    size_t left = text.len - at;
    uint64_t word = 0;
    uint32_t head, tail;

    if (left >= sizeof(word)) {
        memcpy(&word, from, sizeof(word));
    } else if (text.len >= sizeof(word)) {
        memcpy(&word, from + left - sizeof(word), sizeof(word));
        word >>= 8 * (sizeof(word) - left);
    } else if (left >= sizeof(head)) {
        memcpy(&head, from, sizeof(head));
        memcpy(&tail, from + left - sizeof(tail), sizeof(tail));
        word = head | (uint64_t)tail << 8 * (left - sizeof(tail));
    } else {
        for (size_t i = 0; i < left; i++)
            word |= (uint64_t)(unsigned char)from[i] << 8 * i;
    }
    return word;
}

/* The highest bit of each byte that is one of first to last, of 0x01-0x7F. */
static inline uint64_t word_within(uint64_t word, unsigned first, unsigned last)
{
    uint64_t low = word & EACH(0x7F); /* so no sum carries into the next byte */

    return (low + EACH(0x80 - first)) & ~(low + EACH(0x7F - last)) & ~word & EACH(0x80);
}

static inline uint64_t word_letters(uint64_t word)
{
    return word_within(word | EACH(0x20), 'a', 'z');
}

#define IS(literal) (memcmp(lower, literal, sizeof(literal) - 1) == 0)

/* Whole families of names. */
static unsigned classify_prefix(const char *lower, size_t length)
{
#define BEGINS(literal) (length >= sizeof(literal) - 1 && IS(literal))
    switch (lower[0]) {
    case 'i':
        return BEGINS("if-") ? HTTP_FIELD_NOT_REPLY : 0;
    case 'm':
        return BEGINS("metropolis-") ? NEITHER | HTTP_FIELD_METROPOLIS : 0;
    case 'n':
        return BEGINS("nats-") ? NEITHER | HTTP_FIELD_NATS : 0;
    case 'x':
        if (BEGINS("x-forwarded-"))
            return PROXY;
        return BEGINS("x-b3-") ? HTTP_FIELD_UNTRUSTED : 0;
    default:
        return 0;
    }
#undef BEGINS
}

/* lower: the first KNOWN_NAME_MAX bytes of the name, in lower case. */
static unsigned classify_lower(const char *lower, size_t length)
{
    switch (length) {
    case 2:
        if (IS("te"))
            return NEITHER;
        if (IS("b3"))
            return HTTP_FIELD_UNTRUSTED;
        break;
    case 4:
        if (IS("host"))
            return NEITHER | HTTP_FIELD_ONCE;
        if (IS("from"))
            return HTTP_FIELD_NOT_REPLY;
        break;
    case 5:
        if (IS("range"))
            return HTTP_FIELD_NOT_REPLY | HTTP_FIELD_ONCE;
        break;
    case 6:
        if (IS("cookie"))
            return HTTP_FIELD_NOT_REPLY | HTTP_FIELD_COOKIE;
        if (IS("origin"))
            return HTTP_FIELD_NOT_REPLY;
        if (IS("expect") || IS("status"))
            return NEITHER;
        break;
    case 7:
        if (IS("upgrade") || IS("trailer"))
            return NEITHER;
        if (IS("referer"))
            return HTTP_FIELD_NOT_REPLY;
        break;
    case 9:
        if (IS("forwarded") || IS("x-real-ip"))
            return PROXY;
        break;
    case 10:
        if (IS("connection"))
            return NEITHER | HTTP_FIELD_CONNECTION;
        if (IS("keep-alive"))
            return NEITHER;
        if (IS("user-agent"))
            return HTTP_FIELD_NOT_REPLY;
        if (IS("tracestate"))
            return HTTP_FIELD_UNTRUSTED;
        break;
    case 11:
        if (IS("description"))
            return NEITHER;
        if (IS("traceparent"))
            return HTTP_FIELD_UNTRUSTED | HTTP_FIELD_TRACEPARENT;
        break;
    case 12:
        if (IS("content-type"))
            return HTTP_FIELD_ONCE;
        if (IS("max-forwards"))
            return HTTP_FIELD_NOT_REPLY;
        if (IS("x-request-id"))
            return HTTP_FIELD_UNTRUSTED | HTTP_FIELD_REQUEST_ID;
        break;
    case 13:
        if (IS("authorization"))
            return HTTP_FIELD_NOT_REPLY | HTTP_FIELD_ONCE;
        if (IS("x-rewrite-url"))
            return PROXY;
        if (IS("uber-trace-id"))
            return HTTP_FIELD_UNTRUSTED;
        break;
    case 14:
        if (IS("content-length"))
            return HTTP_FIELD_NOT_REQUEST | HTTP_FIELD_ONCE | HTTP_FIELD_LENGTH;
        if (IS("x-original-url"))
            return PROXY;
        break;
    case 15:
        if (IS("x-forwarded-for"))
            return PROXY | HTTP_FIELD_FORWARDED_FOR;
        if (IS("x-amzn-trace-id"))
            return HTTP_FIELD_UNTRUSTED;
        break;
    case 16:
        if (IS("proxy-connection"))
            return NEITHER;
        if (IS("x-forwarded-host"))
            return PROXY | HTTP_FIELD_FORWARDED_HOST;
        break;
    case 17:
        if (IS("transfer-encoding"))
            return NEITHER;
        if (IS("x-forwarded-proto"))
            return PROXY | HTTP_FIELD_FORWARDED_PROTO;
        break;
    case 18:
        if (IS("proxy-authenticate"))
            return NEITHER;
        break;
    case 19:
        if (IS("proxy-authorization"))
            return NEITHER;
        break;
    case 21:
        if (IS("x-cloud-trace-context"))
            return HTTP_FIELD_UNTRUSTED;
        break;
    default:
        break;
    }
    return classify_prefix(lower, length);
}

unsigned http_field_classify(struct str name, uint32_t *ret_hash)
{
    uint64_t hash = name.len, bad = 0;
    char lower[KNOWN_NAME_MAX] = {0};

    for (size_t at = 0; at < name.len; at += sizeof(uint64_t)) {
        size_t left = name.len - at;
        uint64_t word = word_load(name, at), letters = word_letters(word);
        uint64_t ends = left < sizeof(word) ? EACH(0x80) >> 8 * (sizeof(word) - left) : EACH(0x80);

        bad |= ends & ~(letters | word_within(word, '0', '9') | word_within(word, '-', '-'));
        word |= letters >> 2; /* 0x20 makes them lower case */
        if (at < sizeof(lower))
            memcpy(lower + at, &word, sizeof(word));
        hash = (hash ^ word) * UINT64_C(0x9E3779B97F4A7C15); /* 2^64 / golden ratio */
        hash ^= hash >> 32;
    }
    *ret_hash = (uint32_t)(hash >> 32); /* every byte reaches the upper half */
    return name.len && !bad ? classify_lower(lower, name.len) : HTTP_FIELD_INVALID;
}

char *http_field_put_canonical(char *to, struct str name)
{
    uint64_t begins = 0x80; /* the highest bit of each byte that begins a part of the name */

    for (size_t at = 0; at < name.len; at += sizeof(uint64_t)) {
        uint64_t word = word_load(name, at), letters = word_letters(word);
        uint64_t dashes = word_within(word, '-', '-');

        begins |= dashes << 8;
        word |= letters >> 2;
        word ^= (letters & begins) >> 2;
        memcpy(to + at, &word, sizeof(word));
        begins = dashes >> 56;
    }
    return to + name.len;
}

const struct http_field_name *http_field_names_find(struct http_field_names *names, struct str name)
{
    uint64_t words[HTTP_FIELD_NAME_MAX / sizeof(uint64_t)] = {0}, key = name.len;
    struct http_field_name *entry;
    char *end;

    if (name.len == 0 || name.len > HTTP_FIELD_NAME_MAX)
        return NULL;
    for (size_t at = 0; at < name.len; at += sizeof(uint64_t)) {
        uint64_t word = word_load(name, at);

        words[at / sizeof(word)] = word;
        key = (key ^ word) * UINT64_C(0x9E3779B97F4A7C15);
    }
    static_assert(HTTP_FIELD_NAMES == 1 << 6, "six bits of the key");
    entry = &names->names[key >> (64 - 6)];
    if (entry->length != name.len || memcmp(entry->sent, words, sizeof(words)) != 0) {
        if (entry->round == names->round && entry->length)
            return NULL;
        entry->length = (uint16_t)name.len;
        memcpy(entry->sent, words, sizeof(words));
        entry->flags = (uint16_t)http_field_classify(name, &entry->hash);
        end = http_field_put_canonical(entry->canonical, name);
        memcpy(end, ": ", 2);
    }
    entry->round = names->round;
    return entry;
}

/* The highest bit of some byte is set unless all are 0x20-0x7E. A borrow may accuse the wrong byte,
 * but it only comes from a byte that is guilty. */
static inline uint64_t word_odd(uint64_t word)
{
    return word | (word - EACH(0x20)) | ((word ^ EACH(0x7F)) - EACH(1));
}

typedef signed char vector __attribute__((vector_size(16)));

static inline vector vector_load(const char *from)
{
    vector bytes;

    memcpy(&bytes, from, sizeof(bytes));
    return bytes;
}

/* Those of the result that are not 0 stand where a byte is not 0x20-0x7E. */
static inline vector vector_odd(vector bytes)
{
    return (bytes < 0x20) | (bytes == 0x7F); /* from 0x80 on they are negative */
}

/* The same where a byte may not stand in a name. */
static inline vector vector_odd_name(vector bytes)
{
    vector lower = bytes | 0x20;

    return ~(((lower >= 'a') & (lower <= 'z')) | ((bytes >= '0') & (bytes <= '9')) |
             (bytes == '-'));
}

/* The index of the first byte that is not 0; 16: none. */
static inline size_t vector_first(vector bytes)
{
    uint64_t halves[2];

    memcpy(halves, &bytes, sizeof(halves));
    if (halves[0])
        return (size_t)__builtin_ctzll(halves[0]) / 8;
    return halves[1] ? 8 + (size_t)__builtin_ctzll(halves[1]) / 8 : sizeof(bytes);
}

static inline vector vector_copy(char *to, const char *from)
{
    vector bytes = vector_load(from);

    memcpy(to, &bytes, sizeof(bytes));
    return bytes;
}

/* Of sixteen bytes or more; the last ones may be copied twice. */
static bool put_long(char *to, struct str value)
{
    vector odd = vector_odd(vector_copy(to + value.len - 16, value.ptr + value.len - 16));

    for (size_t at = 0; at + 16 < value.len; at += 16)
        odd |= vector_odd(vector_copy(to + at, value.ptr + at));
    return vector_first(odd) == sizeof(odd);
}

char *http_field_put_value(char *to, struct str value, bool *ret_plain)
{
    uint64_t odd = 0;

    if (value.len >= 16) {
        *ret_plain &= put_long(to, value);
        return to + value.len;
    }
    for (size_t at = 0; at < value.len; at += sizeof(uint64_t)) {
        uint64_t word = word_load(value, at);
        size_t left = value.len - at;

        memcpy(to + at, &word, sizeof(word));
        odd |= word_odd(left < sizeof(word) ? word | EACH(0x20) << 8 * left : word);
    }
    *ret_plain &= (odd & EACH(0x80)) == 0;
    return to + value.len;
}

/* How many bytes a text begins with that odd does not object to. It does to 0. */
static inline __attribute__((always_inline)) size_t count(struct str text, vector (*odd)(vector))
{
    char tail[sizeof(vector)] = {0};
    size_t at = 0;

    for (; text.len - at >= sizeof(vector); at += sizeof(vector)) {
        size_t first = vector_first(odd(vector_load(text.ptr + at)));

        if (first < sizeof(vector))
            return at + first;
    }
    if (at < text.len)
        memcpy(tail, text.ptr + at, text.len - at);
    return at + vector_first(odd(vector_load(tail)));
}

size_t http_field_count_ascii(struct str text)
{
    return count(text, vector_odd);
}

size_t http_field_count_name(struct str text)
{
    return count(text, vector_odd_name);
}

enum http_field_value http_field_judge(struct str value)
{
    bool other = false;

    for (size_t at = http_field_count_ascii(value); at < value.len; at++) {
        unsigned char c = (unsigned char)value.ptr[at];

        if (c < 0x20 || c == 0x7F)
            return HTTP_FIELD_CONTROL;
        other |= c >= 0x80;
    }
    return other ? HTTP_FIELD_OTHER : HTTP_FIELD_ASCII;
}

bool http_field_list_next(struct str *list, struct str *ret_item)
{
    const char *comma;

    if (list->len == 0)
        return false;
    comma = memchr(list->ptr, ',', list->len);
    *ret_item = str_make(list->ptr, comma ? (size_t)(comma - list->ptr) : list->len);
    *list = str_after(*list, ret_item->len + (comma ? 1 : 0));
    *ret_item = http_field_trim(*ret_item);
    return true;
}
