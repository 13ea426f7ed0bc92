/*
 * ack: the pace of acks.
 *
 * One that is not stored (no bucket, JetStream down) is tried again every second with what is true
 * then; nothing is queued, since the newest ack says all.
 */
#include "dataplane/table/ack.h"

#include <stdio.h>
#include <string.h>

enum {
    INTERVAL_LEAST_MS = 50,
    INTERVAL_MOST_MS = 5000,
    ANSWER_MS = 2000,
    RETRY_MS = 1000,
};

void ack_init(struct ack *ack, const char *boot)
{
    *ack = (struct ack){0};
    snprintf(ack->value.boot, sizeof(ack->value.boot), "%s", boot);
    snprintf(ack->value.version, sizeof(ack->value.version), "%s", METROPOLIS_VERSION);
}

void ack_update(struct ack *ack, const char *lineage, uint64_t applied,
                const struct entries *entries)
{
    struct table_ack *value = &ack->value;
    uint64_t rejected_version = entries_rejected_version(entries);

    if (ack->started && value->applied == applied && strcmp(value->lineage, lineage) == 0 &&
        ack->rejected_version == rejected_version)
        return;
    ack->started = ack->changed = true;
    ack->rejected_version = rejected_version;
    value->applied = applied;
    snprintf(value->lineage, sizeof(value->lineage), "%s", lineage);
    value->rejected_total = entries_rejected_total(entries);
    value->rejected_count = entries_rejected(entries, value->rejected, TABLE_ACK_REJECTED_MAX);
}

uint64_t ack_deadline_ms(const struct ack *ack)
{
    uint64_t due_ms = ack->asked_ms + (ack->changed ? INTERVAL_LEAST_MS : INTERVAL_MOST_MS);

    if (!ack->started)
        return UINT64_MAX;
    if (ack->asked)
        return ack->asked_ms + ANSWER_MS;
    if (ack->asked_ms == 0 || due_ms < ack->retry_ms)
        return ack->retry_ms;
    return due_ms;
}

bool ack_due(struct ack *ack, uint64_t now_ms)
{
    if (now_ms < ack_deadline_ms(ack))
        return false;
    if (!ack->asked)
        return true;
    ack_answered(ack, ack->asked, false, now_ms);
    return false;
}

void ack_sent(struct ack *ack, uint32_t id, uint64_t now_ms)
{
    ack->asked = id;
    ack->asked_ms = now_ms;
    ack->changed = false;
    if (!id)
        ack_answered(ack, id, false, now_ms);
}

void ack_answered(struct ack *ack, uint32_t id, bool stored, uint64_t now_ms)
{
    if (id != ack->asked)
        return;
    ack->asked = 0;
    ack->stored += stored;
    ack->failed += !stored;
    if (stored)
        return;
    ack->changed = true;
    ack->retry_ms = now_ms + RETRY_MS;
}

void ack_lost(struct ack *ack)
{
    ack->asked = 0;
    ack->changed = ack->started;
}
