/*
 * access_log: a line per request on standard output, in the combined format or as JSON. Lines
 * gather in a buffer that is written at most once per loop iteration. A reader that is too slow
 * loses lines, which are counted; it never holds up requests (where standard output is a pipe, a
 * file or a terminal). One per loop, that loop's thread.
 */
#ifndef DATAPLANE_LOOP_ACCESS_LOG_H
#define DATAPLANE_LOOP_ACCESS_LOG_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "lib/base/buffer.h"

enum access_log_format { ACCESS_LOG_OFF, ACCESS_LOG_COMBINED, ACCESS_LOG_JSON };

struct access_log {
    enum access_log_format format;
    int fd;
    uint64_t lost; /* lines */
    struct buffer lines;
    uv_prepare_t prepare; /* flushes before the loop waits, whatever made the lines */
    int64_t second;       /* of the formatted time */
    char time[32];
};

/* All borrowed; empty strings are shown as "-" or left out. */
struct access_entry {
    int64_t now_ms; /* Unix time */
    struct str peer, method, target, referer, user_agent, request_id;
    unsigned minor, status;
    uint64_t bytes, duration_us;
    uint64_t upstream_us; /* of it, with the worker */
    struct str route, subject;
    const char *reason; /* what failed; NULL: nothing */
};

int access_log_init(struct access_log *log, uv_loop_t *loop, enum access_log_format format);
/* Writes what is left, closes; the loop must run once more. */
void access_log_done(struct access_log *log);
void access_log_add(struct access_log *log, const struct access_entry *entry);

#endif
