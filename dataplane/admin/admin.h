/*
 * admin: the admin port: /healthz, /readyz, /metrics and, for loopback peers only, /table. It runs
 * on main's own event loop, so that no request can hold it up, and uses the same HTTP code.
 */
#ifndef DATAPLANE_ADMIN_ADMIN_H
#define DATAPLANE_ADMIN_ADMIN_H

#include "dataplane/loop/loop.h"
#include "dataplane/table/watch.h"

struct admin;

/* What it shows; borrowed. */
struct admin_sources {
    const struct settings *settings;
    struct loop *const *loops;
    size_t loop_count;
    struct watch *watch;
};

/* Takes over the listening socket fd, on success. */
int admin_new(uv_loop_t *uv, int fd, const struct admin_sources *sources, struct admin **ret_admin);
/* From now on /readyz says no. */
void admin_set_draining(struct admin *admin);
/* Closes at once; the loop must run once more, then admin_free. */
void admin_close(struct admin *admin);
void admin_free(struct admin *admin);

/* The /metrics page, of pages.c. */
int admin_write_metrics(const struct admin_sources *sources, struct loop_snapshot *room,
                        struct buffer *page);

#endif
