/*
 * listener: the listening sockets of this pod. Each --listen address has one socket per loop, all
 * with SO_REUSEPORT, so that the kernel spreads connections and loops share nothing.
 */
#ifndef DATAPLANE_LOOP_LISTENER_H
#define DATAPLANE_LOOP_LISTENER_H

#include <stdbool.h>
#include <sys/socket.h>
#include <uv.h>

#include "lib/base/str.h"

/* "ADDR:PORT": an IPv4 address, "[IPv6]", or nothing for all addresses of both. -EINVAL. */
int listener_parse(struct str text, struct sockaddr_storage *ret_address);
/* A bound, listening, non-blocking socket; *address gets the port when it was 0. shared: others may
 * listen on the same address. Negative errno. */
int listener_open(struct sockaddr_storage *address, bool shared);
/* "127.0.0.1:8080", "[::]:8080" into text. */
void listener_format(const struct sockaddr_storage *address, char *text, size_t size);

/* One socket on one loop. */
struct listener {
    uv_poll_t poll;
    uv_timer_t pause;     /* after running out of descriptors */
    uint64_t complain_ms; /* from then on, of that */
    int fd;
    /* Takes over the accepted socket. */
    void (*accepted)(void *context, int fd, const struct sockaddr *peer);
    void *context;
};

/* Takes over fd. */
int listener_start(struct listener *listener, uv_loop_t *loop, int fd,
                   void (*accepted)(void *context, int fd, const struct sockaddr *peer),
                   void *context);
/* Accepts what waits, then closes at once: a socket that is closed with connections waiting in it
 * resets them. */
void listener_stop(struct listener *listener);

#endif
