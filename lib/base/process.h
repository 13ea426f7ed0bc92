/*
 * process: what the kernel says of this process, as the metrics that every Prometheus client has
 * (process_cpu_seconds_total, process_resident_memory_bytes ...). Any thread.
 */
#ifndef LIB_BASE_PROCESS_H
#define LIB_BASE_PROCESS_H

#include "lib/base/buffer.h"

/* Appends to a page; what /proc does not tell is left out. 0, or what metrics_sample says. */
int process_metrics(struct buffer *page);

#endif
