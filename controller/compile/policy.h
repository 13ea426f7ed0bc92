/*
 * policy: which hosts, subjects and gateways the Routes of a namespace may use; docs/SECURITY.md
 * (Tenants) explains it. Pure.
 *
 *      rules:
 *      - namespaces: [shop, "team-*"]
 *        hostnames: ["*.shop.example.com"]        "*": any, also none
 *        subjects: ["shop.>", "{namespace}.>"]    NATS patterns; {namespace}: the Route's own
 *        gateways: [default]                      left out: any
 *
 * A Route is allowed when one rule that names its namespace allows all of it: its gateway, each
 * hostname, and every subject that a request could reach through it. What no rule allows is denied.
 */
#ifndef CONTROLLER_COMPILE_POLICY_H
#define CONTROLLER_COMPILE_POLICY_H

#include "lib/base/buffer.h"
#include "lib/route/route.h"

enum {
    POLICY_FILE_MAX = 1024 * 1024, /* bytes: more does not fit a ConfigMap */
    POLICY_RULES_MAX = 1000,
    POLICY_PATTERNS_MAX = 256, /* of one kind in a rule */
    POLICY_ERROR_MAX = 512,
};

struct policy;

/* Reads YAML. 0; -EINVAL with the line and what is wrong there ("12: rules[0].subjects[1]: ...", or
 * with a column "12:3: ..."); -ENOMEM. */
int policy_read(struct str text, struct policy **ret_policy, char error[POLICY_ERROR_MAX]);
/* NULL is fine. */
void policy_free(struct policy *policy);

/*
 * 1: allowed; 0: denied, and what is not allowed and what would be is appended to reason, cut at
 * its limit; -ENOMEM. policy NULL: there is none, and everything is allowed.
 */
int policy_judge(const struct policy *policy, const struct route *route, struct buffer *reason);

#endif
