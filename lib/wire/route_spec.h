/*
 * route_spec: a Route's spec as JSON, to and from the model. The only reader of specs: the
 * controller uses it on what users wrote, the gateway on what the controller published, so both
 * understand the same thing or refuse the same thing.
 *
 * Reading is strict: an unknown field, a wrong type, a value out of bounds is an error that names
 * the field ("spec.rules[0].matches[1].path.value: ..."), never half a Route.
 */
#ifndef LIB_WIRE_ROUTE_SPEC_H
#define LIB_WIRE_ROUTE_SPEC_H

#include <yyjson.h>

#include "lib/route/route.h"

enum { ROUTE_SPEC_ERROR_MAX = 512 };

/* Where an error goes: what, where, what to write; cut at its size, valid UTF-8. */
struct route_spec_error {
    char text[ROUTE_SPEC_ERROR_MAX];
};

/*
 * Fills a new route (route_new; identity fields set by the caller before or after) from spec, with
 * defaults applied, lists sorted where order means nothing, hostnames in lower case, targets and
 * regular expressions compiled. 0, -EINVAL with *ret_error, -ENOMEM. On failure the route is only
 * good for route_unref.
 */
int route_spec_read(yyjson_val *spec, struct route *route, struct route_spec_error *ret_error);

/*
 * The normalised spec as a JSON value of doc: defaults left out, keys in a fixed order. Two specs
 * that mean the same are written with the same bytes; reading it back gives an equal route. NULL:
 * -ENOMEM.
 */
yyjson_mut_val *route_spec_write(const struct route *route, yyjson_mut_doc *doc);

#endif
