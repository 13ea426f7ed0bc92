/*
 * reach: the subjects that requests can reach through a match, whatever values clients choose, and
 * whether a NATS subject pattern ("shop.>", "shop.*.GET") holds all of them. Pure.
 */
#ifndef CONTROLLER_COMPILE_REACH_H
#define CONTROLLER_COMPILE_REACH_H

#include "lib/route/route.h"

enum { REACH_PATTERN_MAX = 2048 }; /* bytes */

/* Tokens of visible ASCII between dots, "*" and, last, ">" among them. */
bool reach_pattern_valid(struct str pattern);

/* match: of the rule; backend: its index there. pattern: a valid one. */
bool reach_within(const struct route_rule *rule, const struct route_match *match, size_t backend,
                  struct str pattern);

#endif
