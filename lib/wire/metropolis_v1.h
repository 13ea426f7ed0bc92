/*
 * metropolis_v1: what workers of metropolis 0.1 speak, for rules with `codec: metropolis/v1`
 * (docs/WIRE.md). A request is its query as JSON, {"data":["asdf"]}; a reply
 * {"code":200,"data":...} is a status and, as JSON, a body. There are no headers in either
 * direction.
 *
 * A translator keeps its memory from one message to the next. One per thread.
 */
#ifndef LIB_WIRE_METROPOLIS_V1_H
#define LIB_WIRE_METROPOLIS_V1_H

#include "lib/base/str.h"

enum { METROPOLIS_V1_PARAMS_MAX = 256 }; /* that have a value, of one query */

struct metropolis_v1;

/* NULL: no memory. */
struct metropolis_v1 *metropolis_v1_new(void);
void metropolis_v1_free(struct metropolis_v1 *translator);

/*
 * The payload of a raw query: each value in a list under its name, names in the order in which they
 * first occur, names without a value left out; and the first value of `_worker`, empty if there is
 * none, which becomes the subject's last token. Both are good until the next call. 0; -EINVAL: a
 * bad escape, not UTF-8, or a control byte in that value; -E2BIG: too many parameters; -ENOMEM.
 */
int metropolis_v1_request(struct metropolis_v1 *translator, struct str query,
                          struct str *ret_payload, struct str *ret_worker);

/*
 * The status, 200 to 599, and the body, good until the next call; empty without "data". 0; -EINVAL:
 * not such a reply; -ENOMEM.
 */
int metropolis_v1_reply(struct metropolis_v1 *translator, struct str payload, unsigned *ret_status,
                        struct str *ret_body);

#endif
