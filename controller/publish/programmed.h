/*
 * programmed: verdicts, written entries and acks in; the status of each Route out. DESIGN:
 * Programmed. Pure: the time is an argument. A status goes to the sink only when it differs from
 * the last one, and not before it is known, or a second old.
 *
 * An ack costs the pod that sent it and the Routes that it completes, never a pass over Routes.
 */
#ifndef CONTROLLER_PUBLISH_PROGRAMMED_H
#define CONTROLLER_PUBLISH_PROGRAMMED_H

#include "controller/compile/compile.h"
#include "controller/publish/kv_publish.h"
#include "controller/source.h"
#include "lib/base/buffer.h"
#include "lib/base/metrics.h"
#include "lib/wire/table_codec.h"

struct programmed;

struct programmed_gateway {
    const char *name;
    bool has_service; /* live pods are those of a Service (programmed_endpoints) */
};

/* NULL: no memory. Copies everything. */
struct programmed *programmed_new(const struct programmed_gateway *gateways, unsigned count,
                                  const struct status_sink *sink);
void programmed_free(struct programmed *programmed);

/* Whether to tell the sink; at first not. To begin forgets what was told and written before. */
void programmed_lead(struct programmed *programmed, bool leads, uint64_t now_ns);
/*
 * What is stored as this Route's status is not what the sink was told. A leader tells it again,
 * at once, or later if it has just done so; a standby keeps what it says of Programmed, which the
 * next leader must not lower.
 */
void programmed_stored(struct programmed *programmed, struct str namespace_name, struct str name,
                       const struct compile_memory *memory, uint64_t now_ns);

/* All times: a monotonic clock in nanoseconds that never goes back (uv_hrtime). */

/* 0, -ENOMEM. */
int programmed_verdict(struct programmed *programmed, const struct compile_verdict *verdict,
                       uint64_t now_ns);
void programmed_forget(struct programmed *programmed, struct str namespace_name, struct str name);

void programmed_state(struct programmed *programmed, unsigned gateway, enum kv_publish_state state,
                      const char *reason);
void programmed_lineage(struct programmed *programmed, unsigned gateway, struct str lineage,
                        uint64_t now_ns);
void programmed_written(struct programmed *programmed, unsigned gateway, struct str key,
                        int64_t generation, uint64_t sequence, uint64_t now_ns);

/* 0; -ENOENT: no such gateway; -ENOMEM. */
int programmed_ack(struct programmed *programmed, struct str gateway, struct str pod,
                   const struct table_ack *ack, uint64_t now_ns);
/* All acks that were there at the start are told: from now on silence means something. */
void programmed_acks_synced(struct programmed *programmed, uint64_t now_ns);
/* All ready pods of the gateway's Service. 0, -ENOMEM. */
int programmed_endpoints(struct programmed *programmed, unsigned gateway, const struct str *pods,
                         size_t count, uint64_t now_ns);

/* When programmed_tick has something to do; UINT64_MAX: nothing waits. */
uint64_t programmed_next_ns(const struct programmed *programmed);
void programmed_tick(struct programmed *programmed, uint64_t now_ns);

/* Pods and watermarks as JSON, for /fleet; -ENOMEM, -ENOBUFS. */
int programmed_fleet(const struct programmed *programmed, uint64_t now_ns, struct buffer *out);
int programmed_metrics(const struct programmed *programmed, struct buffer *page);

#endif
