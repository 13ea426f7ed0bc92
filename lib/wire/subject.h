/*
 * subject: from decoded segments to a NATS subject, and the one check before every publish.
 *
 * Tokens: A-Z a-z 0-9 _ - stay, every other byte becomes upper-case %XX, an empty value is "~". The
 * code is lossless, and each value has exactly one form, because server permissions compare bytes.
 */
#ifndef LIB_WIRE_SUBJECT_H
#define LIB_WIRE_SUBJECT_H

#include "lib/base/buffer.h"
#include "lib/base/str.h"
#include "lib/route/route.h"

/* nats-server refuses a control line over 4,096 bytes; the reply subject and counts need the rest.
 */
enum { SUBJECT_MAX = 3072 };

/* Appends the token of a value: 0, -ENOBUFS, -ENOMEM. */
int subject_encode_token(struct str value, struct buffer *out);
/* The value of a token, into room of token.len bytes; its length, or -EINVAL: not canonical. */
int subject_decode_token(struct str token, char *room);

/*
 * Writes the subject of a request into out (capacity at least SUBJECT_MAX). Its length, or -E2BIG:
 * longer than SUBJECT_MAX. The result has passed subject_validate, or -EINVAL.
 */
int subject_build(const struct route_target *target, const struct str *segments,
                  size_t segment_count, enum route_method method, char *out);

/* Writes a dot and the token of value behind a subject of length bytes that subject_build wrote.
 * The new length, or -E2BIG. */
int subject_append_token(char *subject, size_t length, struct str value);

/*
 * The one check right before a publish. 0 if the subject is safe to send, else -EINVAL: an empty
 * token, "*" or ">" anywhere, a byte outside 0x21-0x7E, a first token that begins with "$" or "_",
 * or that is "metropolis" (reserved), or longer than SUBJECT_MAX.
 */
int subject_validate(struct str subject);

/*
 * Compiles a subject template ("orders.{id}.GET"; empty: derived) for one match of a rule. Literal
 * tokens are copied, placeholders resolved to the match's segments. Memory from arena. 0, -ENOMEM,
 * or -EINVAL with *ret_error: a sentence, from arena, that says what is wrong and what to write.
 */
int subject_compile(struct str subject_template, const struct route_match *match,
                    struct arena *arena, struct route_target *ret_target, struct str *ret_error);

#endif
