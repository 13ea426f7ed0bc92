/*
 * conn: see conn.h for the states. Reading goes on while an answer is under way, so that a client
 * that vanishes is noticed and no system call is spent on pausing; it pauses only when the buffer
 * is full. The request's bytes stay where they are from the moment it is given to the handler until
 * the answer, so that the handler may borrow them.
 *
 * The socket is read and written here, by recv and send; libuv only says when. Its streams would
 * use read and write, which take a longer way through the kernel, and allocate what a socket
 * refuses.
 *
 * Memory: an idle connection holds no buffer. The first INBUF_BYTES come from a pool of the server;
 * what a larger request needs is allocated for it. Both count against buffered_max, so that many
 * clients who send a byte each are as bounded as few who send much.
 *
 * Closing: conn_close marks, takes the connection off every list and timer; the memory goes back to
 * the server when libuv has let go of the handle.
 */
#include "dataplane/http/conn.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    INBUF_BYTES = 12 * 1024 - 64, /* with the header array below: 16 KiB */
    SPARE_MAX = 256,              /* pooled buffers, and connections, of a server */
    READS_MAX = 32,               /* of one connection before others have their turn */
    LINGER_MS = 2000,
    LAST_REQUEST_MS = 500,
    BODY_RATE_MIN = 512,   /* bytes per second that keep a slow body alive */
    BODY_COPY_MAX = 4096,  /* copied behind its head: write costs less than writev */
    BODY_STEP = 64 * 1024, /* room for one that does not fit its first buffer */
};

struct inbuf {
    struct inbuf *next;
    size_t capacity;
    struct http_header headers[HTTP_HEADERS_MAX];
    char bytes[];
};

static void process(struct conn *conn);
static void conn_close(struct conn *conn);

/* ---- buffers ---- */

static size_t inbuf_size(size_t capacity)
{
    return sizeof(struct inbuf) + capacity;
}

static bool inbuf_take(struct conn *conn)
{
    struct http_server *server = conn->server;

    if (server->buffered + inbuf_size(INBUF_BYTES) > server->settings->buffered_max)
        return false;
    if (server->spare) {
        conn->in = server->spare;
        server->spare = conn->in->next;
        server->spare_count--;
    } else {
        conn->in = malloc(sizeof(*conn->in) + INBUF_BYTES);
        if (!conn->in)
            return false;
        conn->in->capacity = INBUF_BYTES;
    }
    server->buffered += inbuf_size(INBUF_BYTES);
    conn->start = conn->end = 0;
    return true;
}

static void inbuf_free(struct http_server *server, struct inbuf *in)
{
    server->buffered -= inbuf_size(in->capacity);
    if (in->capacity == INBUF_BYTES && server->spare_count < SPARE_MAX) {
        in->next = server->spare;
        server->spare = in;
        server->spare_count++;
        return;
    }
    free(in);
}

static void inbuf_give(struct conn *conn)
{
    if (conn->in)
        inbuf_free(conn->server, conn->in);
    conn->in = NULL;
    conn->start = conn->end = 0;
}

/* Gives the request in progress room for capacity bytes in all. */
static bool inbuf_grow(struct conn *conn, size_t capacity)
{
    struct http_server *server = conn->server;
    struct inbuf *old = conn->in, *grown;

    if (server->buffered + (capacity - old->capacity) > server->settings->buffered_max)
        return false;
    grown = malloc(sizeof(*grown) + capacity);
    if (!grown)
        return false;
    grown->capacity = capacity;
    memcpy(grown->headers, old->headers,
           conn->parser.request.header_count * sizeof(*grown->headers));
    memcpy(grown->bytes, old->bytes + conn->start, conn->end - conn->start);
    conn->end -= conn->start;
    conn->start = 0;
    conn->parser.request.headers = grown->headers;
    server->buffered += inbuf_size(capacity);
    inbuf_free(server, old);
    conn->in = grown;
    return true;
}

/* Makes room for more of a request that is not complete; false: at a limit. It grows with what has
 * come: what a client merely says of its length must not take room from others. */
static bool make_room(struct conn *conn)
{
    const struct http_request *request = &conn->parser.request;
    struct inbuf *in = conn->in;
    size_t need = (conn->end - conn->start) + 1, next = in->capacity * 2;
    bool known = conn->parser.head_done && !request->chunked;

    if (known)
        need = conn->parser.parsed - request->body.len + (size_t)request->content_length;
    if (need <= in->capacity && need > in->capacity - conn->start) {
        memmove(in->bytes, in->bytes + conn->start, conn->end - conn->start);
        conn->end -= conn->start;
        conn->start = 0;
    }
    if (conn->end < in->capacity)
        return true;
    if (known && next < BODY_STEP)
        next = BODY_STEP;
    return inbuf_grow(conn, known && need < next ? need : next);
}

/* ---- closing ---- */

static void set_deadline(struct conn *conn, uint64_t timeout_ms)
{
    wheel_set(&conn->server->wheel, &conn->timer, uv_now(conn->server->loop) + timeout_ms);
}

static void unstall(struct conn *conn)
{
    struct http_server *server = conn->server;

    if (!conn->stalled)
        return;
    conn->stalled = false;
    if (conn->stalled_previous)
        conn->stalled_previous->stalled_next = conn->stalled_next;
    else
        server->stalled = conn->stalled_next;
    if (conn->stalled_next)
        conn->stalled_next->stalled_previous = conn->stalled_previous;
    else
        server->stalled_last = conn->stalled_previous;
    server->unsent -= conn->unsent_size;
}

static void conn_free(struct http_server *server, struct conn *conn)
{
    if (server->free_count < SPARE_MAX) {
        conn->next = server->free;
        server->free = conn;
        server->free_count++;
    } else {
        free(conn);
    }
}

static void on_closed(uv_handle_t *handle)
{
    struct conn *conn = (struct conn *)((char *)handle - offsetof(struct conn, poll));
    struct http_server *server = conn->server;

    conn_free(server, conn);
    assert(server->open > 0);
    server->open--;
    if (server->open == 0 && server->emptied)
        server->emptied(server->emptied_context);
}

static void conn_close(struct conn *conn)
{
    if (conn->state == CONN_CLOSED)
        return;
    conn->state = CONN_CLOSED;
    *conn->back = conn->next;
    if (conn->next)
        conn->next->back = conn->back;
    unstall(conn);
    wheel_remove(&conn->server->wheel, &conn->timer);
    inbuf_give(conn);
    free(conn->unsent);
    uv_close((uv_handle_t *)&conn->poll, on_closed);
    close(conn->fd);
}

/* The client is gone, or must go: whoever prepares its answer is told. */
static void conn_drop(struct conn *conn)
{
    conn->server->counters.vanished += conn->state == CONN_ANSWERING || conn->state == CONN_WRITING;
    if (conn->state == CONN_ANSWERING) {
        conn->state = CONN_WRITING; /* the handler may not answer any more */
        conn->server->handler.gone(conn->server->handler.context, conn);
    }
    conn_close(conn);
}

void conn_abort(struct conn *conn)
{
    conn_drop(conn);
}

static void on_poll(uv_poll_t *poll, int status, int events);

/* Has libuv wait for what the connection waits for. */
static void watch(struct conn *conn)
{
    int events = (conn->ended || conn->paused ? 0 : UV_READABLE) | (conn->unsent ? UV_WRITABLE : 0);

    if (events == conn->events)
        return;
    conn->events = events;
    if (events)
        uv_poll_start(&conn->poll, events, on_poll);
    else
        uv_poll_stop(&conn->poll);
}

static void resume_reading(struct conn *conn)
{
    conn->paused = false;
    watch(conn);
}

/*
 * Our side ends, the client's may still be sending: closing at once would answer its bytes with a
 * reset, which can overtake the response (RFC 9112 9.6).
 */
static void linger(struct conn *conn)
{
    if (conn->ended || shutdown(conn->fd, SHUT_WR) < 0) {
        conn_close(conn);
        return;
    }
    conn->state = CONN_LINGERING;
    inbuf_give(conn);
    resume_reading(conn);
    set_deadline(conn, LINGER_MS);
}

/* What the socket takes of both parts at once: 0 when it is full, -1 when it is broken. */
static ssize_t send_now(struct conn *conn, struct str first, struct str second)
{
    struct iovec parts[] = {{(char *)first.ptr, first.len}, {(char *)second.ptr, second.len}};
    const struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    ssize_t sent;

    do
        sent = second.len ? sendmsg(conn->fd, &message, MSG_NOSIGNAL)
                          : send(conn->fd, first.ptr, first.len, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent < 0 && (errno == EAGAIN || errno == ENOBUFS) ? 0 : sent;
}

/* ---- requests ---- */

static void refuse(struct conn *conn, enum problem problem, const char *detail)
{
    struct http_server *server = conn->server;

    conn->state = CONN_ANSWERING;
    conn->keep_alive = false;
    server->handler.refuse(server->handler.context, conn, &conn->parser.request, problem, detail);
    assert(conn->state != CONN_ANSWERING);
}

static void begin_request(struct conn *conn)
{
    conn->state = CONN_READING;
    conn->body_begun = false;
    http_parser_begin(&conn->parser, &conn->server->settings->limits, conn->in->headers);
    set_deadline(conn, conn->server->settings->head_timeout_ms);
}

/* The head is whole and the body is not: does the client wait for leave to send it? */
static bool begin_body(struct conn *conn)
{
    static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
    struct http_server *server = conn->server;
    const struct http_request *request = &conn->parser.request;

    conn->body_begun = true;
    conn->body_begun_ms = uv_now(server->loop);
    if (!request->expect_continue || request->body.len > 0)
        return true;
    conn->state = CONN_ANSWERING;
    conn->keep_alive = false; /* whether the body follows all the same is the client's choice */
    if (!server->handler.expect(server->handler.context, conn, request)) {
        assert(conn->state != CONN_ANSWERING);
        return false;
    }
    conn->state = CONN_READING;
    if (send_now(conn, STR_LIT(go_on), (struct str){0}) != sizeof(go_on) - 1) {
        conn_drop(conn); /* a socket that takes no 25 bytes when nothing is unsent */
        return false;
    }
    server->counters.bytes_out += sizeof(go_on) - 1;
    return true;
}

/* Only empty lines so far: some clients send one after a body (RFC 9112 2.2). */
static bool nothing_begun(const struct conn *conn)
{
    return !conn->parser.line_done && conn->parser.parsed + 1 >= conn->end - conn->start &&
           conn->parser.scanned <= conn->parser.parsed;
}

static void refuse_cut(struct conn *conn)
{
    if (nothing_begun(conn))
        conn_close(conn);
    else
        refuse(conn, PROBLEM_BAD_REQUEST, "The connection ended in the middle of the request.");
}

/* Part of a request is here. */
static void await_more(struct conn *conn)
{
    const struct http_settings *settings = conn->server->settings;

    if (conn->ended) {
        refuse_cut(conn);
        return;
    }
    if (conn->parser.head_done) {
        if (!conn->body_begun && !begin_body(conn))
            return;
        wheel_set(&conn->server->wheel, &conn->timer,
                  conn->body_begun_ms + settings->body_timeout_ms +
                      conn->parser.received * 1000 / BODY_RATE_MIN);
    }
    if (!make_room(conn))
        refuse(conn, PROBLEM_OVERLOADED, NULL);
}

static void take_request(struct conn *conn)
{
    struct http_server *server = conn->server;

    conn->state = CONN_ANSWERING;
    conn->keep_alive = conn->parser.request.keep_alive;
    server->handler.request(server->handler.context, conn, &conn->parser.request);
}

/* Requests in the buffer, as far as they can be answered now. */
static void process(struct conn *conn)
{
    if (conn->processing)
        return;
    conn->processing = true;
    while ((conn->state == CONN_IDLE || conn->state == CONN_READING) && conn->in &&
           conn->start < conn->end) {
        enum http_parse_result result;
        size_t kept;

        if (conn->state == CONN_IDLE)
            begin_request(conn);
        result = http_parser_feed(&conn->parser, conn->in->bytes + conn->start,
                                  conn->end - conn->start, &kept);
        if (result == HTTP_PARSE_DONE) {
            take_request(conn);
        } else if (result == HTTP_PARSE_FAILED) {
            refuse(conn, conn->parser.problem, conn->parser.detail);
        } else {
            conn->end = conn->start + kept;
            await_more(conn);
            break;
        }
    }
    conn->processing = false;
    if (conn->ended && conn->state == CONN_IDLE)
        conn_close(conn);
}

/* The response is out. */
static void finish(struct conn *conn)
{
    if (!conn->keep_alive) {
        linger(conn);
        return;
    }
    conn->state = CONN_IDLE;
    conn->start += conn->parser.parsed;
    assert(conn->start <= conn->end);
    if (conn->start == conn->end)
        inbuf_give(conn);
    /* The response may have said keep-alive before it was time to leave. */
    set_deadline(conn, conn->server->stopping ? LAST_REQUEST_MS
                                              : conn->server->settings->idle_timeout_ms);
    resume_reading(conn);
    process(conn);
}

/* ---- writing ---- */

/* The socket takes more. */
static void on_writable(struct conn *conn)
{
    struct str rest =
        str_make(conn->unsent + conn->unsent_done, conn->unsent_size - conn->unsent_done);
    ssize_t sent = send_now(conn, rest, (struct str){0});

    if (sent < 0) {
        conn_drop(conn);
        return;
    }
    conn->unsent_done += (size_t)sent;
    if (conn->unsent_done < conn->unsent_size)
        return;
    unstall(conn);
    free(conn->unsent);
    conn->unsent = NULL;
    watch(conn);
    finish(conn);
}

static void stall(struct conn *conn, size_t size)
{
    struct http_server *server = conn->server;

    conn->stalled = true;
    conn->unsent_size = size;
    conn->unsent_done = conn->unsent_seen = 0;
    conn->stalled_next = NULL;
    conn->stalled_previous = server->stalled_last;
    if (server->stalled_last)
        server->stalled_last->stalled_next = conn;
    else
        server->stalled = conn;
    server->stalled_last = conn;
    server->unsent += size;
    while (server->unsent > server->settings->unsent_max && server->stalled) {
        server->counters.cut++;
        conn_close(server->stalled);
    }
}

/* Keeps what the socket did not take: skip bytes of both parts are out. */
static void queue_rest(struct conn *conn, struct str head, struct str body, size_t skip)
{
    size_t size = head.len + body.len - skip, from_head = skip < head.len ? head.len - skip : 0;

    conn->state = CONN_WRITING;
    conn->unsent = malloc(size);
    if (!conn->unsent) {
        conn_close(conn);
        return;
    }
    memcpy(conn->unsent, head.ptr + head.len - from_head, from_head);
    memcpy(conn->unsent + from_head, body.ptr + body.len - (size - from_head), size - from_head);
    watch(conn);
    set_deadline(conn, conn->server->settings->write_timeout_ms);
    stall(conn, size);
}

static void send_response(struct conn *conn, struct str head, struct str body)
{
    ssize_t sent = send_now(conn, head, body);

    if (sent < 0) {
        conn_drop(conn);
        return;
    }
    conn->server->counters.bytes_out += head.len + body.len;
    if ((size_t)sent < head.len + body.len)
        queue_rest(conn, head, body, (size_t)sent);
    else
        finish(conn);
}

void conn_respond(struct conn *conn, const struct http_response *response)
{
    struct http_server *server = conn->server;
    bool head = conn->parser.request.method == ROUTE_METHOD_HEAD;
    struct str body = response->body;

    assert(conn->state == CONN_ANSWERING);
    /* A client that ended its side may have pipelined more before. */
    if (server->draining || (conn->ended && conn->start + conn->parser.parsed == conn->end))
        conn->keep_alive = false;
    conn->state = CONN_WRITING;
    const struct http_response_context context = {
        .head = head,
        .minor = conn->parser.request.minor,
        .keep_alive = conn->keep_alive,
        .date = http_server_date(server),
        .server = server->settings->server_header,
    };

    buffer_clear(&server->out, SIZE_MAX);
    if (http_response_write(response, &context, &server->out) < 0) {
        conn_close(conn);
        return;
    }
    if (http_response_bodiless(response->status, head))
        body = (struct str){0};
    if (body.len && body.len <= BODY_COPY_MAX && buffer_append_str(&server->out, body) == 0)
        body = (struct str){0};
    send_response(conn, buffer_view(&server->out), body);
}

void conn_wait(struct conn *conn, uint64_t timeout_ms)
{
    assert(conn->state == CONN_ANSWERING);
    set_deadline(conn, timeout_ms);
}

/* ---- events ---- */

/* No room: pipelined requests fill the buffer while an answer is under way; or there is none for a
 * request that begins. */
static void on_full(struct conn *conn)
{
    if (!conn->in) {
        conn->server->counters.refused++;
        (void)send_now(conn, http_overloaded, (struct str){0});
        linger(conn);
        return;
    }
    conn->paused = true;
    watch(conn);
}

static void on_ended(struct conn *conn)
{
    const struct http_handler *handler = &conn->server->handler;

    conn->ended = true;
    watch(conn);
    switch (conn->state) {
    case CONN_IDLE:
        conn_close(conn);
        break;
    case CONN_READING:
        refuse_cut(conn);
        break;
    case CONN_LINGERING:
        conn_close(conn);
        break;
    case CONN_ANSWERING:
        if (handler->ended(handler->context, conn))
            conn_drop(conn);
        break;
    default:
        break; /* half-closed: it still gets its answer */
    }
}

static void on_end_or_error(struct conn *conn, ssize_t got)
{
    if (got < 0 && errno != EAGAIN) {
        conn_drop(conn);
        return;
    }
    if (conn->in && conn->start == conn->end && conn->state == CONN_IDLE)
        inbuf_give(conn); /* it was for nothing */
    if (got == 0)
        on_ended(conn);
}

/* True when there may be more to read. */
static bool read_some(struct conn *conn)
{
    struct http_server *server = conn->server;
    char *room = server->discard;
    size_t size = sizeof(server->discard);
    ssize_t got;

    if (conn->state != CONN_LINGERING) {
        bool taken = conn->in || inbuf_take(conn);

        size = taken ? conn->in->capacity - conn->end : 0;
        room = taken ? conn->in->bytes + conn->end : NULL;
    }
    if (size == 0) {
        on_full(conn);
        return false;
    }
    do
        got = recv(conn->fd, room, size, 0);
    while (got < 0 && errno == EINTR);
    if (got <= 0) {
        on_end_or_error(conn, got);
        return false;
    }
    server->counters.bytes_in += (uint64_t)got;
    if (conn->state != CONN_LINGERING) {
        conn->end += (size_t)got;
        process(conn);
    }
    return (size_t)got == size;
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct conn *conn = (struct conn *)((char *)poll - offsetof(struct conn, poll));
    int reads = events & UV_READABLE ? READS_MAX : 0;

    if (status < 0) {
        conn_drop(conn);
        return;
    }
    if (events & UV_WRITABLE)
        on_writable(conn);
    while (reads > 0 && conn->state != CONN_CLOSED && conn->events & UV_READABLE)
        reads = read_some(conn) ? reads - 1 : 0;
}

/* A client that takes a little now and then is slow, not stuck. */
static void check_progress(struct conn *conn)
{
    if (conn->unsent_seen < conn->unsent_done) {
        conn->unsent_seen = conn->unsent_done;
        set_deadline(conn, conn->server->settings->write_timeout_ms);
        return;
    }
    conn->server->counters.timeouts_write++;
    conn_close(conn);
}

void conn_expire(struct wheel_timer *timer)
{
    struct conn *conn = (struct conn *)((char *)timer - offsetof(struct conn, timer));
    struct http_server *server = conn->server;

    switch (conn->state) {
    case CONN_IDLE:
        server->counters.timeouts_idle += !server->stopping;
        linger(conn);
        break;
    case CONN_READING:
        if (conn->parser.head_done)
            server->counters.timeouts_body++;
        else
            server->counters.timeouts_head++;
        if (nothing_begun(conn))
            linger(conn);
        else
            refuse(conn, PROBLEM_SLOW_CLIENT, NULL);
        break;
    case CONN_ANSWERING:
        server->handler.expired(server->handler.context, conn);
        break;
    case CONN_WRITING:
        check_progress(conn);
        break;
    case CONN_LINGERING:
        conn_close(conn);
        break;
    case CONN_CLOSED:
        break;
    }
}

/* ---- opening ---- */

static void set_peer(struct conn *conn, const struct sockaddr *peer)
{
    const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)peer;
    int family = peer->sa_family;
    const void *address = &((const struct sockaddr_in *)peer)->sin_addr;

    if (family == AF_INET6) {
        address = &six->sin6_addr;
        if (IN6_IS_ADDR_V4MAPPED(&six->sin6_addr)) {
            family = AF_INET;
            address = &six->sin6_addr.s6_addr[12];
        }
    }
    conn->address_length = family == AF_INET ? 4 : 16;
    memcpy(conn->address, address, conn->address_length);
    if (inet_ntop(family, address, conn->peer, sizeof(conn->peer)))
        conn->peer_length = (uint8_t)strlen(conn->peer);
    conn->peer_loopback = family == AF_INET ? conn->address[0] == 127
                                            : memcmp(conn->address, &in6addr_loopback, 16) == 0;
}

void conn_open(struct http_server *server, int fd, const struct sockaddr *peer)
{
    struct conn *conn = server->free;

    if (conn) {
        server->free = conn->next;
        server->free_count--;
    } else {
        conn = malloc(sizeof(*conn));
    }
    if (!conn) {
        close(fd);
        return;
    }
    memset(conn, 0, sizeof(*conn));
    if (uv_poll_init(server->loop, &conn->poll, fd) < 0) {
        conn_free(server, conn);
        close(fd);
        return;
    }
    conn->fd = fd;
    conn->server = server;
    conn->next = server->first;
    if (conn->next)
        conn->next->back = &conn->next;
    conn->back = &server->first;
    server->first = conn;
    server->open++;
    set_peer(conn, peer);
    watch(conn);
    set_deadline(conn, server->settings->head_timeout_ms);
}

/* A client that was just accepted, or whose request is under way, must not lose it. */
void conn_stop(struct conn *conn)
{
    if (conn->state == CONN_IDLE)
        set_deadline(conn, LAST_REQUEST_MS);
}

void conn_free_all(struct http_server *server)
{
    struct conn *conn;
    struct inbuf *in;

    while ((conn = server->free)) {
        server->free = conn->next;
        free(conn);
    }
    while ((in = server->spare)) {
        server->spare = in->next;
        free(in);
    }
}
