/*
 * warnings: a ring that is searched from end to end: it is short, and asked only about requests
 * that failed.
 */
#include "dataplane/warnings.h"

#include "lib/base/digest.h"

enum { PAUSE_MS = 60000 };

bool warnings_due(struct warnings *warnings, struct str uid, unsigned kind, uint64_t now_ms)
{
    uint64_t key = digest_bytes(digest_empty + kind, uid.ptr, uid.len);

    for (unsigned i = 0; i < WARNINGS_MAX; i++) {
        struct warning *warning = &warnings->recent[i];

        if (warning->key != key)
            continue;
        if (now_ms - warning->at_ms < PAUSE_MS)
            return false;
        warning->at_ms = now_ms;
        return true;
    }
    warnings->recent[warnings->next++ % WARNINGS_MAX] = (struct warning){key, now_ms};
    return true;
}
