/*
 * listener: see listener.h. accept4 is called directly rather than through libuv: it gives the
 * peer's address without another system call, and draining needs "accept until EAGAIN".
 *
 * A loop accepts at most ACCEPTS_MAX connections per round, so that a flood of new ones does not
 * starve those it has. Without descriptors it pauses a little: the event would repeat at once.
 */
#include "dataplane/loop/listener.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>

#include "lib/base/log.h"

enum { ACCEPTS_MAX = 64, BACKLOG = 4096, PAUSE_MS = 100, COMPLAIN_EVERY_MS = 10000 };

static int parse_port(struct str text)
{
    int port = 0;

    if (text.len == 0 || text.len > 5)
        return -EINVAL;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9')
            return -EINVAL;
        port = port * 10 + (text.ptr[i] - '0');
    }
    return port <= 65535 ? port : -EINVAL;
}

int listener_parse(struct str text, struct sockaddr_storage *ret_address)
{
    const char *colon = text.len ? memrchr(text.ptr, ':', text.len) : NULL;
    struct sockaddr_in *four = (struct sockaddr_in *)ret_address;
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)ret_address;
    char host[INET6_ADDRSTRLEN];
    size_t length = colon ? (size_t)(colon - text.ptr) : 0;
    int port = colon ? parse_port(str_after(text, length + 1)) : -EINVAL;
    bool bracketed = length >= 2 && text.ptr[0] == '[' && text.ptr[length - 1] == ']';

    if (port < 0 || length >= sizeof(host))
        return -EINVAL;
    memcpy(host, text.ptr + bracketed, length - 2 * bracketed);
    host[length - 2 * bracketed] = '\0';
    memset(ret_address, 0, sizeof(*ret_address));
    if (length == 0 || (bracketed && inet_pton(AF_INET6, host, &six->sin6_addr) == 1)) {
        six->sin6_family = AF_INET6;
        six->sin6_port = htons((uint16_t)port);
        return 0;
    }
    if (bracketed || inet_pton(AF_INET, host, &four->sin_addr) != 1)
        return -EINVAL;
    four->sin_family = AF_INET;
    four->sin_port = htons((uint16_t)port);
    return 0;
}

static int set_up(int fd, struct sockaddr_storage *address, bool shared)
{
    int on = 1, off = 0, share = shared;
    socklen_t size =
        address->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);

    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &share, sizeof(share)) < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) <
            0) /* accepted ones inherit it */
        return -errno;
    if (address->ss_family == AF_INET6 &&
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) < 0)
        return -errno;
    if (bind(fd, (struct sockaddr *)address, size) < 0 || listen(fd, BACKLOG) < 0 ||
        getsockname(fd, (struct sockaddr *)address, &size) < 0)
        return -errno;
    return 0;
}

int listener_open(struct sockaddr_storage *address, bool shared)
{
    int fd = socket(address->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), code;

    if (fd < 0)
        return -errno;
    code = set_up(fd, address, shared);
    if (code < 0) {
        close(fd);
        return code;
    }
    return fd;
}

void listener_format(const struct sockaddr_storage *address, char *text, size_t size)
{
    const struct sockaddr_in *four = (const struct sockaddr_in *)address;
    const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)address;
    char host[INET6_ADDRSTRLEN] = "";

    if (address->ss_family == AF_INET6) {
        inet_ntop(AF_INET6, &six->sin6_addr, host, sizeof(host));
        snprintf(text, size, "[%s]:%u", host, ntohs(six->sin6_port));
    } else {
        inet_ntop(AF_INET, &four->sin_addr, host, sizeof(host));
        snprintf(text, size, "%s:%u", host, ntohs(four->sin_port));
    }
}

static void on_ready(uv_poll_t *poll, int status, int events);

static void on_pause_over(uv_timer_t *timer)
{
    struct listener *listener =
        (struct listener *)((char *)timer - offsetof(struct listener, pause));

    uv_poll_start(&listener->poll, UV_READABLE, on_ready);
}

/* It is tried again several times a second, and may go on for long. */
static void complain(struct listener *listener, int error)
{
    uint64_t now_ms = uv_now(listener->poll.loop);

    if (now_ms < listener->complain_ms)
        return;
    listener->complain_ms = now_ms + COMPLAIN_EVERY_MS;
    log_warn("cannot accept connections: allow more descriptors (ulimit -n), or lower "
             "--connections-max",
             LOG_TEXT("error", strerror(error)));
}

/* False: nothing waits any more, or nothing can be accepted now. */
static bool accept_one(struct listener *listener)
{
    struct sockaddr_storage peer;
    socklen_t size = sizeof(peer);
    int fd = accept4(listener->fd, (struct sockaddr *)&peer, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd >= 0) {
        listener->accepted(listener->context, fd, (struct sockaddr *)&peer);
        return true;
    }
    if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        complain(listener, errno);
        uv_poll_stop(&listener->poll);
        uv_timer_start(&listener->pause, on_pause_over, PAUSE_MS, 0);
        return false;
    }
    return errno == EINTR || errno == ECONNABORTED || errno == EPROTO;
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
    struct listener *listener = (struct listener *)((char *)poll - offsetof(struct listener, poll));

    (void)status, (void)events;
    for (unsigned i = 0; i < ACCEPTS_MAX && accept_one(listener); i++)
        ;
}

int listener_start(struct listener *listener, uv_loop_t *loop, int fd,
                   void (*accepted)(void *context, int fd, const struct sockaddr *peer),
                   void *context)
{
    int code;

    listener->fd = fd;
    listener->accepted = accepted;
    listener->context = context;
    listener->complain_ms = 0;
    uv_timer_init(loop, &listener->pause);
    code = uv_poll_init(loop, &listener->poll, fd);
    if (code == 0)
        code = uv_poll_start(&listener->poll, UV_READABLE, on_ready);
    return code;
}

void listener_stop(struct listener *listener)
{
    if (listener->fd < 0)
        return;
    while (accept_one(listener))
        ;
    uv_poll_stop(&listener->poll);
    uv_timer_stop(&listener->pause);
    uv_close((uv_handle_t *)&listener->poll, NULL);
    uv_close((uv_handle_t *)&listener->pause, NULL);
    close(listener->fd);
    listener->fd = -1;
}
