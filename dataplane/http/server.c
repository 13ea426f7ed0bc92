/*
 * server: see server.h. Owns no sockets: the loop's listener gives them, and each connection owns
 * its own.
 */
#include "dataplane/http/server.h"

#include <assert.h>
#include <time.h>
#include <unistd.h>

#include "dataplane/http/conn.h"

enum { HEAD_BYTES_MAX = 2 * 1024 * 1024 }; /* of a response */

#define HTTP_OVERLOADED                                      \
    "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n" \
    "Content-Length: 0\r\nConnection: close\r\n\r\n"

void http_server_init(struct http_server *server, uv_loop_t *loop,
                      const struct http_settings *settings, const struct http_handler *handler)
{
    memset(server, 0, sizeof(*server));
    server->loop = loop;
    server->settings = settings;
    server->handler = *handler;
    server->date_s = -1;
    buffer_init(&server->out, HEAD_BYTES_MAX);
    wheel_init(&server->wheel, loop, conn_expire);
}

void http_server_done(struct http_server *server)
{
    assert(server->open == 0 && server->buffered == 0 && server->unsent == 0);
    conn_free_all(server);
    buffer_done(&server->out);
    wheel_close(&server->wheel);
}

const struct str http_overloaded = {HTTP_OVERLOADED, sizeof(HTTP_OVERLOADED) - 1};

/* Not parsed, not timed: at the limit a connection must cost next to nothing. */
static void turn_away(struct http_server *server, int fd)
{
    server->counters.refused++;
    (void)send(fd, http_overloaded.ptr, http_overloaded.len, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)shutdown(fd, SHUT_WR);
    /* Unread bytes would turn the close into a reset, which may overtake the answer. */
    (void)recv(fd, server->discard, sizeof(server->discard), MSG_DONTWAIT);
    close(fd);
}

void http_server_accept(struct http_server *server, int fd, const struct sockaddr *peer)
{
    if (server->open >= server->settings->connections_max) {
        turn_away(server, fd);
        return;
    }
    server->counters.accepted++;
    conn_open(server, fd, peer);
}

void http_server_drain(struct http_server *server)
{
    server->draining = true;
}

void http_server_stop(struct http_server *server, void (*emptied)(void *context), void *context)
{
    server->draining = server->stopping = true;
    server->emptied = emptied;
    server->emptied_context = context;
    for (struct conn *conn = server->first, *next; conn; conn = next) {
        next = conn->next;
        conn_stop(conn);
    }
    if (server->open == 0)
        emptied(context);
}

void http_server_abort(struct http_server *server)
{
    for (struct conn *conn = server->first, *next; conn; conn = next) {
        next = conn->next;
        conn_abort(conn);
    }
}

static void refresh_clock(struct http_server *server, uint64_t loop_ms)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    server->wall_offset_ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000 - (int64_t)loop_ms;
    server->date_s = now.tv_sec;
    http_date_write(now.tv_sec, server->date);
}

int64_t http_server_now_ms(struct http_server *server)
{
    uint64_t loop_ms = uv_now(server->loop);

    if (server->date_s < 0 || ((int64_t)loop_ms + server->wall_offset_ms) / 1000 != server->date_s)
        refresh_clock(server, loop_ms);
    return (int64_t)loop_ms + server->wall_offset_ms;
}

struct str http_server_date(struct http_server *server)
{
    (void)http_server_now_ms(server);
    return str_make(server->date, sizeof(server->date) - 1);
}
