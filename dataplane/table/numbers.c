/*
 * numbers: one table of families, so that a number and its name, type and help stand together.
 */
#include "dataplane/table/numbers.h"

#include <stddef.h>
#include <string.h>

#include "lib/base/metrics.h"

int numbers_write(const struct numbers *numbers, struct buffer *page)
{
    static const struct {
        const char *name, *help;
        enum metrics_type type;
        size_t offset;
    } families[] = {
        {"metropolis_table_watch_live", "1 while changes of the table are followed.", METRICS_GAUGE,
         offsetof(struct numbers, live)},
        {"metropolis_table_read_revision", "Stream sequence that was read last.", METRICS_GAUGE,
         offsetof(struct numbers, revision)},
        {"metropolis_table_applied_revision", "Stream sequence that every loop serves.",
         METRICS_GAUGE, offsetof(struct numbers, applied)},
        {"metropolis_table_routes", "Routes in the table.", METRICS_GAUGE,
         offsetof(struct numbers, routes)},
        {"metropolis_table_rejected_entries", "Entries of the table that could not be understood.",
         METRICS_GAUGE, offsetof(struct numbers, rejected)},
        {"metropolis_table_replays_total", "Times that the whole table was read.", METRICS_COUNTER,
         offsetof(struct numbers, replays)},
        {"metropolis_table_acks_total", "Acks that were stored.", METRICS_COUNTER,
         offsetof(struct numbers, acks)},
        {"metropolis_table_ack_failures_total", "Acks that were not stored.", METRICS_COUNTER,
         offsetof(struct numbers, ack_failures)},
    };
    int result = 0;

    for (size_t i = 0; i < sizeof(families) / sizeof(families[0]) && !result; i++) {
        uint64_t value;

        memcpy(&value, (const char *)numbers + families[i].offset, sizeof(value));
        result = metrics_family(page, families[i].name, families[i].type, families[i].help);
        if (!result)
            result = metrics_sample(page, families[i].name, "", (double)value);
    }
    return result;
}
