/*
 * route_spec_delivery: what a rule says of how its requests are delivered: timeout, retry, limits,
 * codec, serviceErrors.
 * Part of route_spec, apart from it for its size; read and written side by side.
 */
#ifndef LIB_WIRE_ROUTE_SPEC_DELIVERY_H
#define LIB_WIRE_ROUTE_SPEC_DELIVERY_H

#include "lib/route/route.h"
#include "lib/wire/json_read.h"

/* Each fills its fields of the rule from the value of its key. 0, or -EINVAL after json_refuse. */
int route_spec_read_timeout(const struct json_reader *reader, const struct json_place *place,
                            yyjson_val *value, struct route_rule *rule);
int route_spec_read_retry(const struct json_reader *reader, const struct json_place *place,
                          yyjson_val *value, struct route_rule *rule);
int route_spec_read_limits(const struct json_reader *reader, const struct json_place *place,
                           yyjson_val *value, struct route_rule *rule);
/* After the matches; a match without a method gets the only one that the codec has. */
int route_spec_read_codec(const struct json_reader *reader, const struct json_place *place,
                          yyjson_val *value, struct route_rule *rule);
int route_spec_read_errors(const struct json_reader *reader, const struct json_place *place,
                           yyjson_val *value, struct route_rule *rule);
int route_spec_read_cancel(const struct json_reader *reader, const struct json_place *place,
                           yyjson_val *value, struct route_rule *rule); /* after codec */

/* Adds all of them, but for defaults; false: no memory. */
bool route_spec_write_delivery(const struct route_rule *rule, yyjson_mut_doc *doc,
                               yyjson_mut_val *rule_value);

#endif
