/*
 * target: the request target and the Host field, judged strictly (RFC 9112 3.2, RFC 3986 3.2.2):
 * whatever two parties could read differently is refused. Pure.
 */
#ifndef DATAPLANE_HTTP_TARGET_H
#define DATAPLANE_HTTP_TARGET_H

#include <stdbool.h>

#include "lib/base/str.h"

enum { HOST_NAME_MAX_BYTES = 253 };

struct target {
    struct str path;      /* raw, begins with "/"; "*" for asterisk-form */
    struct str query;     /* raw, what follows "?" */
    struct str authority; /* of absolute-form; else empty */
    bool asterisk;
};

/* Splits origin-form, absolute-form (http, https) and asterisk-form; all borrow raw. -EINVAL. */
int target_split(struct str raw, struct target *ret_target);

/*
 * Judges uri-host [ ":" port ]. *ret_host: the host without port and trailing dot, brackets kept;
 * borrows authority. Refused, -EINVAL: empty, userinfo, empty labels, characters outside letters,
 * digits, "-", "_" in a name, a last label of digits that makes no IPv4 address, a bad port.
 */
int target_split_authority(struct str authority, struct str *ret_host);

#endif
