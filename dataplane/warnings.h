/*
 * warnings: which troubles of which Routes were logged lately, so that a worker which fails all the
 * time does not fill the log. One per loop, that loop's thread; all zero is empty.
 */
#ifndef DATAPLANE_WARNINGS_H
#define DATAPLANE_WARNINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/str.h"

enum { WARNINGS_MAX = 64 }; /* remembered; the oldest makes room */

struct warning {
    uint64_t key, at_ms;
};

struct warnings {
    struct warning recent[WARNINGS_MAX];
    unsigned next;
};

/* Whether this trouble of a Route is to be logged now: at most once a minute for each uid and kind,
 * a number of the caller's. now_ms: of a clock that never goes back. */
bool warnings_due(struct warnings *warnings, struct str uid, unsigned kind, uint64_t now_ms);

#endif
