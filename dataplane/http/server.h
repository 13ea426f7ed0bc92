/*
 * server: what the client connections of one loop share: limits, pools, the timer wheel, counters,
 * and who answers requests. A loop of the gateway has one, the admin port has another. One loop's
 * thread; nothing here is shared between loops.
 */
#ifndef DATAPLANE_HTTP_SERVER_H
#define DATAPLANE_HTTP_SERVER_H

#include <sys/socket.h>

#include "dataplane/http/parse.h"
#include "dataplane/http/wheel.h"
#include "lib/base/buffer.h"

struct conn;

/* Immutable, shared by all loops; maxima are per server. */
struct http_settings {
    struct http_limits limits;
    size_t connections_max;
    size_t buffered_max; /* bytes of requests that are being received or answered */
    size_t unsent_max;   /* bytes of responses that wait for slow clients */
    uint32_t idle_timeout_ms, head_timeout_ms, body_timeout_ms, write_timeout_ms;
    struct str server_header; /* empty: no Server field */
};

/*
 * Called on the loop's thread. request is borrowed until the answer, conn_respond, which may come
 * from inside the call or later.
 */
struct http_handler {
    void (*request)(void *context, struct conn *conn, const struct http_request *request);
    /* The client waits for 100 Continue. True: the body is wanted. False: it was answered now. */
    bool (*expect)(void *context, struct conn *conn, const struct http_request *request);
    /* The request is refused: must be answered from inside the call. Of request, what was read
     * before is set. detail: static, or NULL. */
    void (*refuse)(void *context, struct conn *conn, const struct http_request *request,
                   enum problem problem, const char *detail);
    /* What conn_wait asked for: still no answer. */
    void (*expired)(void *context, struct conn *conn);
    /* The client ended its side, and may still wait for its answer, or have closed: nobody can
     * tell. True: it counts as gone, and gone follows. */
    bool (*ended)(void *context, struct conn *conn);
    /* The client is gone, nobody waits for the answer any more; conn_respond must not follow. */
    void (*gone)(void *context, struct conn *conn);
    void *context;
};

struct http_counters {
    uint64_t accepted, refused; /* refused: at connections_max or buffered_max, nothing was read */
    uint64_t vanished;          /* clients that went with an answer under way */
    uint64_t timeouts_idle, timeouts_head, timeouts_body, timeouts_write;
    uint64_t cut; /* slowest clients, cut off at unsent_max */
    uint64_t bytes_in, bytes_out;
};

struct inbuf;

struct http_server {
    uv_loop_t *loop;
    const struct http_settings *settings;
    struct http_handler handler;
    struct http_counters counters;
    size_t open;             /* connections */
    size_t buffered, unsent; /* bytes, of the maxima above */
    bool draining;           /* every response says Connection: close */
    bool stopping;           /* idle connections close after a moment, too */

    /* private to server.c and conn.c */
    struct wheel wheel;
    struct conn *first, *free;           /* open ones; closed ones for reuse */
    struct conn *stalled, *stalled_last; /* with unsent bytes, longest first */
    struct inbuf *spare;
    size_t free_count, spare_count;
    struct buffer out; /* head of the response that is being written */
    int64_t wall_offset_ms, date_s;
    char date[30];
    char discard[16 * 1024]; /* where lingering connections are read to */
    void (*emptied)(void *context);
    void *emptied_context;
};

void http_server_init(struct http_server *server, uv_loop_t *loop,
                      const struct http_settings *settings, const struct http_handler *handler);
/* After the last connection is gone; the loop must run once more to close the wheel. */
void http_server_done(struct http_server *server);

/* Takes over the accepted socket. At connections_max it gets a 503 and is closed. */
void http_server_accept(struct http_server *server, int fd, const struct sockaddr *peer);

/* From now on every response closes its connection. */
void http_server_drain(struct http_server *server);
/* Idle connections get a moment for a last request, then close; emptied is called once none is
 * open, maybe from inside. */
void http_server_stop(struct http_server *server, void (*emptied)(void *context), void *context);
/* Closes all connections at once. */
void http_server_abort(struct http_server *server);

/* Wall clock of this loop iteration, Unix milliseconds. */
int64_t http_server_now_ms(struct http_server *server);
/* The answer to a client of which nothing is read, at a limit. */
extern const struct str http_overloaded;
/* Value of Date. */
struct str http_server_date(struct http_server *server);

#endif
