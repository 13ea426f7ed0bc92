/*
 * admin: the controller's own HTTP port: /healthz, /readyz, /metrics, and for loopback peers
 * /fleet. GET only, one request per connection, small limits. On the loop's thread.
 */
#ifndef CONTROLLER_ADMIN_ADMIN_H
#define CONTROLLER_ADMIN_ADMIN_H

#include <stdbool.h>
#include <uv.h>

#include "lib/base/buffer.h"

struct admin;

enum { ADMIN_PAGE_MAX = 16 * 1024 * 1024, ADMIN_REASON_MAX = 256 };

/* Each appends a page: 0, or a negative errno: 500. ready: 0, or -EAGAIN with what is missing. */
struct admin_handler {
    int (*ready)(void *context, struct buffer *page);
    int (*metrics)(void *context, struct buffer *page);
    int (*fleet)(void *context, struct buffer *page);
    void *context;
};

/* address: "ADDR:PORT", "[ADDR]:PORT". 0; -errno with a reason. */
int admin_new(uv_loop_t *loop, const char *address, const struct admin_handler *handler,
              struct admin **ret_admin, char reason[ADMIN_REASON_MAX]);
/* Where it listens, "127.0.0.1:8081"; valid until freed. */
const char *admin_address(const struct admin *admin);
/* Closes all; the memory goes once the loop has let go of its handles. NULL is fine. */
void admin_free(struct admin *admin);

#endif
