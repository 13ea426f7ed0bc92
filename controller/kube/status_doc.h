/*
 * status_doc: a Route's status as the API server stores it (crds/routes.metropolis.dev.yaml): read,
 * compared, written. Pure; no I/O.
 */
#ifndef CONTROLLER_KUBE_STATUS_DOC_H
#define CONTROLLER_KUBE_STATUS_DOC_H

#include <yyjson.h>

#include "controller/source.h"
#include "lib/base/buffer.h"
#include "lib/base/str.h"

/* "Accepted", "Programmed". */
enum { STATUS_CONDITIONS = 2, STATUS_PODS_SIZE = 32 };

struct status_condition {
    struct str status; /* "True", "False", "Unknown"; empty: the condition is not there */
    struct str reason, message;
    int64_t generation;
    int64_t since_s; /* lastTransitionTime; 0: not said. No part of comparisons. */
};

/* A status, its strings borrowed. */
struct status_doc {
    int64_t generation;
    struct status_condition conditions[STATUS_CONDITIONS];
    bool has_gateways;
    int64_t ready, total, revision;
    struct str pods; /* "2/3" */
};

/* What a sink is given; a condition without a reason is left out. Borrows both. */
struct status_doc status_doc_of(const struct route_status *status, char pods[STATUS_PODS_SIZE]);
/* What is stored; what is missing or of another type is empty. value may be NULL. */
struct status_doc status_doc_read(yyjson_val *value);

/* Equal for statuses that say the same, and but for one chance in 2^64 only for them. */
uint64_t status_doc_digest(const struct status_doc *doc);

/* A copy in one allocation, for free; NULL: no memory. */
struct status_doc *status_doc_copy(const struct status_doc *doc);

/* What of a stored status is still needed when its text is gone. */
struct status_memory {
    struct {
        int64_t since_s; /* lastTransitionTime; 0: not said */
        uint64_t said;   /* digest of reason and message */
        char status;     /* 'T', 'F', 'U'; 0: the condition is not there, or says something else */
    } conditions[STATUS_CONDITIONS];
};
struct status_memory status_doc_remember(const struct status_doc *doc);

/*
 * A condition's lastTransitionTime is that of stored while its status is the same, else now_s.
 * Fills since_s of doc.
 */
void status_doc_set_times(struct status_doc *doc, const struct status_memory *stored,
                          int64_t now_s);

/* The whole object to apply, as JSON, appended: 0; -EINVAL: invalid UTF-8; -ENOBUFS, -ENOMEM. */
int status_doc_write(const struct status_doc *doc, struct str namespace_name, struct str name,
                     struct str uid, struct buffer *out);

#endif
