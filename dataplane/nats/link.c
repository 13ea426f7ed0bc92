/*
 * link: sockets, polling, TLS and the two buffers of a connection.
 *
 * Reading: bytes land in one buffer and are used where they lie; what is left of an unfinished
 * message moves to the front. Most reads end with nothing left, so most bytes are never copied. The
 * buffer grows only to hold one message that is larger, and shrinks when such a message has gone.
 *
 * With TLS either direction may wait for the other, so any event of the socket has both try. While
 * the handshake runs nothing is sent or delivered: what waits in the out buffer is behind it.
 *
 * Lifetime: counted references, one of the owner, one of a running name resolution, one of each
 * socket whose handle is not closed yet. Memory goes with the last, so every callback of libuv
 * finds it whole.
 */
#include "dataplane/nats/link.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    READ_SIZE = 64 * 1024,
    READ_KEEP = 2 * 1024 * 1024, /* a larger buffer is given back when it is empty */
    READS_PER_POLL = 8,          /* then others on the loop have their turn */
    OUT_KEEP = 1024 * 1024,
};

struct link_socket {
    uv_poll_t poll;
    struct link *link;
    int fd, events;
    bool connected;
};

struct link {
    struct link_handler handler;
    uv_loop_t *loop;
    uv_getaddrinfo_t resolve;
    struct addrinfo *addresses, *address; /* all; the one tried now */
    size_t address_left;                  /* not tried yet */
    struct link_socket *socket;           /* NULL: none */
    struct buffer out;
    uint64_t sent, random;
    char *in;
    size_t in_len, in_size;
    unsigned references;
    struct tls *tls; /* NULL: in the clear */
    bool resolving, securing, blocked, closed;
    char reason[512];
    void (*on_closed)(void *context);
    void *closed_context;
};

static void link_unref(struct link *link)
{
    assert(link->references > 0);
    if (--link->references > 0)
        return;
    assert(link->closed && !link->socket);
    if (link->addresses)
        uv_freeaddrinfo(link->addresses);
    buffer_done(&link->out);
    free(link->in);
    tls_free(link->tls);
    if (link->on_closed)
        link->on_closed(link->closed_context);
    free(link);
}

/* ---- bytes, -EAGAIN, or another -errno; 0 from reading: the end ---- */

static ssize_t read_bytes(struct link *link, char *bytes, size_t size)
{
    ssize_t got;

    if (link->tls)
        return tls_read(link->tls, bytes, size);
    do
        got = recv(link->socket->fd, bytes, size, 0);
    while (got < 0 && errno == EINTR);
    return got < 0 ? -errno : got;
}

static ssize_t write_bytes(struct link *link, const char *bytes, size_t size)
{
    ssize_t put;

    if (link->tls)
        return tls_write(link->tls, bytes, size);
    do
        put = send(link->socket->fd, bytes, size, MSG_NOSIGNAL);
    while (put < 0 && errno == EINTR);
    return put < 0 ? -errno : put;
}

static const char *why(const struct link *link, int error)
{
    return link->tls ? tls_reason(link->tls) : uv_strerror(error);
}

/* ---- a socket's life ---- */

static void on_socket_closed(uv_handle_t *handle)
{
    struct link_socket *socket = handle->data;
    struct link *link = socket->link;

    free(socket);
    link_unref(link);
}

static void socket_close(struct link *link)
{
    struct link_socket *socket = link->socket;

    if (!socket)
        return;
    link->socket = NULL;
    uv_poll_stop(&socket->poll);
    close(socket->fd);
    uv_close((uv_handle_t *)&socket->poll, on_socket_closed);
}

static void on_poll(uv_poll_t *poll, int status, int events);

static int socket_poll(struct link_socket *socket, int events)
{
    if (socket->events == events)
        return 0;
    socket->events = events;
    return uv_poll_start(&socket->poll, events, on_poll);
}

/* Begins a connection to the current address; 0 or -errno. */
static int socket_open(struct link *link)
{
    const struct addrinfo *address = link->address;
    int type = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, on = 1, result = -ENOMEM;
    struct link_socket *socket_new = calloc(1, sizeof(*socket_new));
    int fd = socket(address->ai_family, type, 0);

    if (fd < 0)
        result = -errno;
    if (!socket_new || fd < 0)
        goto fail;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (connect(fd, address->ai_addr, address->ai_addrlen) && errno != EINPROGRESS) {
        result = -errno;
        goto fail;
    }
    result = uv_poll_init_socket(link->loop, &socket_new->poll, fd);
    if (result)
        goto fail;
    socket_new->poll.data = socket_new;
    socket_new->link = link;
    socket_new->fd = fd;
    link->socket = socket_new;
    link->references++;
    return socket_poll(socket_new, UV_WRITABLE);
fail:
    if (fd >= 0)
        close(fd);
    free(socket_new);
    return result;
}

static void next_address(struct link *link)
{
    link->address = link->address->ai_next;
    if (!link->address)
        link->address = link->addresses;
}

/* Tries addresses from the current one on until one can be begun; the last failure is told. */
static void connect_some(struct link *link, int error)
{
    while (link->address_left > 0) {
        link->address_left--;
        error = socket_open(link);
        if (!error)
            return;
        socket_close(link);
        next_address(link);
    }
    link->handler.down(link->handler.context, uv_strerror(error));
}

static void on_resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *addresses)
{
    struct link *link = request->data;

    link->resolving = false;
    link->addresses = addresses;
    if (link->closed)
        goto out;
    if (status || !addresses) {
        link->handler.down(link->handler.context, status ? uv_strerror(status) : "no address");
        goto out;
    }
    for (struct addrinfo *each = addresses; each; each = each->ai_next)
        link->address_left++;
    link->address = addresses;
    for (uint64_t skip = link->random % link->address_left; skip > 0; skip--)
        next_address(link);
    connect_some(link, 0);
out:
    link_unref(link);
}

/* What the socket has to say of itself; 0, or -errno. */
static int socket_error(const struct link *link)
{
    int error = 0;
    socklen_t len = sizeof(error);

    if (getsockopt(link->socket->fd, SOL_SOCKET, SO_ERROR, &error, &len))
        error = errno;
    return -error;
}

/* error: what is known to be wrong; 0: nothing. */
static void finish_connect(struct link *link, int error)
{
    if (error) {
        socket_close(link);
        next_address(link);
        connect_some(link, error);
        return;
    }
    link->socket->connected = true;
    error = socket_poll(link->socket, UV_READABLE);
    if (error)
        link->handler.down(link->handler.context, uv_strerror(error));
    else
        link->handler.up(link->handler.context);
}

/* ---- bytes ---- */

/* Room for need bytes at least; gives a buffer for a rare large message back. */
static int resize_in(struct link *link, size_t need)
{
    size_t size = link->in_size;
    char *in;

    if (need > size)
        size = need + READ_SIZE;
    else if (link->in_len == 0 && size > READ_KEEP)
        size = READ_SIZE;
    if (size == link->in_size)
        return 0;
    in = realloc(link->in, size);
    if (!in)
        return -ENOMEM;
    link->in = in;
    link->in_size = size;
    return 0;
}

/* Hands what came to the owner; 0, or -ENOMEM. */
static int deliver(struct link *link)
{
    size_t need = 0;
    size_t used =
        link->handler.data(link->handler.context, str_make(link->in, link->in_len), &need);

    if (link->closed)
        return 0;
    assert(used <= link->in_len);
    link->in_len -= used;
    if (link->in_len > 0 && used > 0)
        memmove(link->in, link->in + used, link->in_len);
    return resize_in(link, need);
}

/* NULL, or why the link is gone. */
static const char *read_some(struct link *link)
{
    /* With TLS a read gives one record at most, and the socket does not tell of the rest of it. */
    for (int i = 0; i < READS_PER_POLL || (link->tls && tls_holds_bytes(link->tls)); i++) {
        size_t room = link->in_size - link->in_len;
        ssize_t got = read_bytes(link, link->in + link->in_len, room);

        if (got == -EAGAIN)
            return NULL;
        if (got <= 0)
            return got == 0 ? "closed by the server" : why(link, (int)got);
        link->in_len += (size_t)got;
        if (deliver(link))
            return "out of memory";
        if (link->closed || link->securing || (!link->tls && (size_t)got < room))
            return NULL;
    }
    return NULL;
}

/* Waits for what must happen before more can be read or sent; NULL, or why it cannot. */
static const char *wait_for_socket(struct link *link)
{
    bool writable = link->tls ? tls_wants_write(link->tls) : link->blocked;
    int result = socket_poll(link->socket, writable ? UV_READABLE | UV_WRITABLE : UV_READABLE);

    return result ? uv_strerror(result) : NULL;
}

const char *link_flush(struct link *link)
{
    struct buffer *out = &link->out;
    ssize_t put = 0;

    if (link->blocked || link->securing || buffer_length(out) == 0 || !link->socket)
        return NULL;
    do {
        put = write_bytes(link, buffer_view(out).ptr, buffer_length(out));
        if (put < 0)
            break;
        link->sent += (uint64_t)put;
        buffer_consume(out, (size_t)put);
    } while (link->tls && buffer_length(out) > 0);
    if (put < 0 && put != -EAGAIN)
        return why(link, (int)put);
    if (buffer_length(out) == 0) {
        buffer_clear(out, OUT_KEEP);
        return NULL;
    }
    link->blocked = true;
    return wait_for_socket(link);
}

static const char *secure_some(struct link *link)
{
    int result = tls_handshake(link->tls);

    if (result && result != -EAGAIN)
        return why(link, result);
    link->securing = result == -EAGAIN;
    return wait_for_socket(link);
}

static const char *serve(struct link *link, int events)
{
    const char *reason = NULL;

    if (link->securing)
        return secure_some(link);
    if (link->tls || (events & UV_READABLE))
        reason = read_some(link);
    if (reason || link->closed || link->securing)
        return reason;
    if (link->blocked && (link->tls || (events & UV_WRITABLE))) {
        link->blocked = false;
        reason = link_flush(link);
    }
    return reason || link->blocked ? reason : wait_for_socket(link);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct link_socket *socket = poll->data;
    struct link *link = socket->link;
    const char *reason;

    assert(link->socket == socket && !link->closed);
    /* libuv calls any error of a socket EBADF; the socket knows which it is. */
    if (status || !socket->connected) {
        int error = socket_error(link);

        status = error ? error : status;
    }
    if (!socket->connected) {
        finish_connect(link, status);
        return;
    }
    reason = status ? uv_strerror(status) : serve(link, events);
    if (reason && !link->closed)
        link->handler.down(link->handler.context, reason);
}

/* ---- from outside ---- */

struct link *link_open(uv_loop_t *loop, const char *host, const char *port, size_t out_max,
                       uint64_t random, const struct link_handler *handler)
{
    static const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct link *link = calloc(1, sizeof(*link));

    if (!link)
        return NULL;
    *link = (struct link){.handler = *handler, .loop = loop, .random = random, .references = 1};
    link->in_size = READ_SIZE;
    link->in = malloc(link->in_size);
    buffer_init(&link->out, out_max);
    link->resolve.data = link;
    if (!link->in || uv_getaddrinfo(loop, &link->resolve, on_resolved, host, port, &hints)) {
        link_close(link, NULL, NULL);
        return NULL;
    }
    link->resolving = true;
    link->references++;
    return link;
}

void link_close(struct link *link, void (*closed)(void *context), void *context)
{
    assert(!link->closed);
    link->closed = true;
    link->on_closed = closed;
    link->closed_context = context;
    if (link->resolving)
        uv_cancel((uv_req_t *)&link->resolve);
    socket_close(link);
    link_unref(link);
}

const char *link_secure(struct link *link, const struct tls_options *options, const char *name)
{
    int result;

    assert(!link->tls && link->socket && link->socket->connected);
    link->tls = tls_new(options, link->socket->fd, name, link->reason, sizeof(link->reason));
    if (!link->tls)
        return link->reason;
    link->securing = true;
    result = socket_poll(link->socket, UV_READABLE | UV_WRITABLE); /* we speak first */
    return result ? uv_strerror(result) : NULL;
}

bool link_is_resolving(const struct link *link)
{
    return link->resolving;
}

bool link_is_secure(const struct link *link)
{
    return link->tls != NULL;
}

struct buffer *link_out(struct link *link)
{
    return &link->out;
}

uint64_t link_sent(const struct link *link)
{
    return link->sent;
}
