/*
 * source: what every source of Routes (the Kubernetes API, files) tells the pipeline, and what the
 * pipeline tells back. Calls come on the loop's thread.
 */
#ifndef CONTROLLER_SOURCE_H
#define CONTROLLER_SOURCE_H

#include <stdbool.h>
#include <stdint.h>
#include <yyjson.h>

#include "lib/base/str.h"

/* A Route as its source has it; borrowed for the call. */
struct source_route {
    struct str namespace_name, name, uid;
    int64_t generation;
    int64_t created_s;  /* Unix time */
    yyjson_val *spec;   /* may be anything: the pipeline validates */
    yyjson_val *status; /* what is stored now, may be anything; NULL: statuses are not stored */
};

struct source_handler {
    /* New or changed; also called again for Routes that did not change (a relist). */
    void (*upsert)(void *context, const struct source_route *route);
    void (*removed)(void *context, struct str namespace_name, struct str name);
    /* A complete list of every watched namespace was delivered; may come again after a relist. */
    void (*synced)(void *context);
    /* What was delivered may be old: nothing is taken charge of before the next synced. */
    void (*stale)(void *context);
    void *context;
};

enum condition_status { CONDITION_TRUE, CONDITION_FALSE, CONDITION_UNKNOWN };

struct condition {
    enum condition_status status;
    char reason[64]; /* CamelCase */
    char message[1024];
};

/* What users see in a Route's status; written only when it differs from what is stored. */
struct route_status {
    int64_t generation; /* observedGeneration of all of it */
    struct condition accepted, programmed;
    bool has_gateways;
    unsigned ready, total;
    uint64_t revision;
};

/* Where statuses go: the API server, or the log when there is none. Never awaited. The sink keeps
 * only the newest status of a Route and drops it when the Route is gone. */
struct status_sink {
    void (*write)(void *context, struct str namespace_name, struct str name, struct str uid,
                  const struct route_status *status);
    void *context;
};

#endif
