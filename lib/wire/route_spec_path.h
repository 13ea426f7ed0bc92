/*
 * route_spec_path: the path of a match, to and from the model. A part of route_spec, apart because
 * paths have a syntax of their own.
 */
#ifndef LIB_WIRE_ROUTE_SPEC_PATH_H
#define LIB_WIRE_ROUTE_SPEC_PATH_H

#include <yyjson.h>

#include "lib/base/buffer.h"
#include "lib/route/route.h"
#include "lib/wire/json_read.h"

/* Fills the path_type, path, segments and regex of match; path NULL: not given. 0, -EINVAL after
 * json_refuse, -ENOMEM. A pattern that was compiled is in match->regex even on failure. */
int route_spec_read_path(const struct json_reader *reader, const struct json_place *place,
                         yyjson_val *path, struct route *route, struct route_match *match);

/* The type as in a spec, "Prefix" etc. Static. */
const char *route_spec_path_type(enum route_path_type type);

/* The one spelling of all paths that mean the same, never longer than what was read. 0, -ENOBUFS,
 * -ENOMEM. */
int route_spec_write_path(const struct route_match *match, struct buffer *out);

#endif
