/*
 * numbers: what the table thread lets others see of its work, and the page that shows it.
 */
#ifndef DATAPLANE_TABLE_NUMBERS_H
#define DATAPLANE_TABLE_NUMBERS_H

#include <stdint.h>

#include "lib/base/buffer.h"

struct numbers {
    uint64_t live; /* changes are followed: 1 */
    uint64_t revision, applied;
    uint64_t routes, rejected; /* in the table */
    uint64_t replays, acks, ack_failures;
};

/* In the Prometheus text format. 0, or the error of buffer_append. */
int numbers_write(const struct numbers *numbers, struct buffer *page);

#endif
