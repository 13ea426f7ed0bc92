/*
 * ack: what this pod says of itself (DESIGN: Acks), and when. When something changed at once, but
 * no more than 20 times a second; every 5 s in any case; one at a time, each awaited. Pure: the
 * caller sends and tells the time.
 */
#ifndef DATAPLANE_TABLE_ACK_H
#define DATAPLANE_TABLE_ACK_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/table/entries.h"
#include "lib/wire/table_codec.h"

struct ack {
    struct table_ack value;
    uint64_t rejected_version;
    bool started, changed;
    uint32_t asked;              /* id of the one that awaits its answer; 0: none */
    uint64_t asked_ms, retry_ms; /* retry_ms: not before, after a failure */
    uint64_t stored, failed;     /* counters */
};

/* boot: random per process. */
void ack_init(struct ack *ack, const char *boot);

/* What is true now. The first call starts the acks. */
void ack_update(struct ack *ack, const char *lineage, uint64_t applied,
                const struct entries *entries);

/* When to look again: to send (ack_due) or to give up waiting; UINT64_MAX: never. */
uint64_t ack_deadline_ms(const struct ack *ack);
/* Whether to send now. Gives up an answer that does not come. */
bool ack_due(struct ack *ack, uint64_t now_ms);
/* It was sent as id, 0: it could not be. */
void ack_sent(struct ack *ack, uint32_t id, uint64_t now_ms);
/* The answer to id; others are passed over. */
void ack_answered(struct ack *ack, uint32_t id, bool stored, uint64_t now_ms);
/* The connection that it was sent on is gone. */
void ack_lost(struct ack *ack);

#endif
