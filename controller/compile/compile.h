/*
 * compile: Routes in; per gateway what its table shall hold, and a verdict on every Route, out.
 * Pure: no I/O, no clock, no threads; what it does follows from what it was told alone. DESIGN: The
 * Route (Accepted), Table.
 *
 * Incremental: a change costs that Route and those that share a match with it. Until the first
 * compile_synced no verdict comes out (an incomplete list would give wrong ones), though entries
 * may (they depend on their own Route only); then everything known, and from then on each change at
 * once.
 */
#ifndef CONTROLLER_COMPILE_COMPILE_H
#define CONTROLLER_COMPILE_COMPILE_H

#include "controller/compile/policy.h"
#include "controller/source.h"
#include "lib/base/buffer.h"

enum { COMPILE_GATEWAYS_MAX = 64 };

struct compile;

/* What a Route's stored status says of Programmed; in a verdict, when the Route was first seen. */
struct compile_memory {
    int64_t generation; /* that was True; -1: none */
    unsigned ready, total;
    uint64_t revision;
};

/* As it is stored; status may be anything. */
struct compile_memory compile_memory_read(yyjson_val *status);

/* Borrowed for the call. */
struct compile_verdict {
    struct str namespace_name, name, uid;
    int64_t generation;
    int gateway;     /* whose table holds an entry of this Route; -1: none does */
    int64_t serving; /* the generation of that entry */
    const struct condition *accepted;
    struct compile_memory memory;
};

struct compile_handler {
    /* The entry of a key (wire/table_codec.h) from now on; value.ptr is NULL: there shall be none.
     * Borrowed for the call. */
    void (*entry)(void *context, unsigned gateway, struct str key, int64_t generation,
                  struct str value);
    /* A verdict that is new or differs from the last one for this Route. After its entry. */
    void (*verdict)(void *context, const struct compile_verdict *verdict);
    /* The Route is gone; its entry went before. */
    void (*forgotten)(void *context, struct str namespace_name, struct str name);
    /*
     * Asked when a Route is invalid or denied, for its last good generation: what the gateway's
     * bucket holds under this key. 0 with the value appended; -ENOENT: nothing; -EAGAIN: not known
     * yet (compile_recover asks again); -ENOMEM.
     */
    int (*stored)(void *context, unsigned gateway, struct str key, struct buffer *value);
    void *context;
};

/* Gateways are numbered by their place in names, which is copied. NULL: no memory. */
struct compile *compile_new(const char *const *names, unsigned count,
                            const struct compile_handler *handler);
void compile_free(struct compile *compile);

/* All: 0, or -ENOMEM: what is known may be incomplete; the caller ends the program. */
int compile_upsert(struct compile *compile, const struct source_route *route);
int compile_remove(struct compile *compile, struct str namespace_name, struct str name);
int compile_synced(struct compile *compile);
/* stored() knows more than before: Routes that are invalid or denied ask again. */
int compile_recover(struct compile *compile);
/* From now on this policy holds, for what is known too. Takes ownership; NULL: all is allowed. */
int compile_set_policy(struct compile *compile, struct policy *policy);

struct compile_counts {
    uint64_t routes, accepted, invalid, no_such_gateway, denied, shadowed;
};
struct compile_counts compile_count(const struct compile *compile);

#endif
