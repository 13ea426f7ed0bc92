/*
 * path: the raw path of a URL, split at "/" and decoded once, and back. Everything that looks at a
 * path uses these segments: matching, subjects, parameters; so nothing can be read in two ways.
 *
 * "/" is one empty segment, "/foo/" is "foo" and an empty one. %2F inside a segment is data.
 */
#ifndef LIB_WIRE_PATH_H
#define LIB_WIRE_PATH_H

#include <stddef.h>

#include "lib/base/buffer.h"
#include "lib/base/str.h"

/*
 * Splits and decodes raw (without query; must begin with "/") into at most max segments. Segments
 * without an escape borrow raw; others are written to room, of at least raw.len bytes, and borrow
 * it. Returns their number, or
 *   -EINVAL  not beginning with "/", a bad escape, NUL or another control byte, invalid UTF-8, "#"
 *            or "?", or a segment that decodes to "." or ".."
 *   -E2BIG   more than max segments
 */
int path_split(struct str raw, char *room, struct str *segments, size_t max);

/* The same bytes for equal segments: unreserved characters (RFC 3986 2.3) stay, the rest is %XX. */
int path_encode(const struct str *segments, size_t count, struct buffer *ret_path);

/* Decodes %XX (and "+" as a space when plus is set) into room of at least text.len bytes; -EINVAL:
 * a bad escape. Returns the length. */
int path_decode(struct str text, bool plus, char *room);

/* The decoded value of the first parameter of that (decoded) name in a raw query, written to room
 * of at least query.len bytes. 1: found; 0: not there. Pairs with bad escapes are passed over. */
int path_query_find(struct str query, struct str name, char *room, struct str *ret_value);

#endif
