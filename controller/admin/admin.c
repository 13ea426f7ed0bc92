/*
 * admin: so little HTTP/1.1 that it needs no parser: the request line is read, the rest of the
 * header is skipped, the answer is one page and the connection is closed. A connection lives at
 * most TIMEOUT_MS, at most CLIENTS_MAX at once are open, and a header has at most HEADER_MAX bytes:
 * whoever holds connections open can delay a probe, not the controller.
 *
 * A client's memory goes when the loop has closed both of its handles.
 */
#include "controller/admin/admin.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/str.h"

enum { CLIENTS_MAX = 64, HEADER_MAX = 8192, TIMEOUT_MS = 10000, BACKLOG = 64 };

struct admin {
    uv_tcp_t listener;
    struct admin_handler handler;
    struct client *clients;
    unsigned client_count;
    bool closing, listener_closed;
    char address[INET6_ADDRSTRLEN + 16];
};

struct client {
    struct admin *admin;
    uv_tcp_t socket;
    uv_timer_t timer;
    uv_write_t write;
    int handles; /* that the loop still holds */
    char header[HEADER_MAX];
    size_t header_length;
    bool answered;
    struct buffer answer;
    struct client *previous, *next;
};

/* ---- life of a client ---- */

static void free_admin_if_over(struct admin *admin)
{
    if (admin->closing && admin->listener_closed && !admin->clients)
        free(admin);
}

static void on_client_closed(uv_handle_t *handle)
{
    struct client *client = handle->data;
    struct admin *admin = client->admin;

    if (--client->handles > 0)
        return;
    *(client->previous ? &client->previous->next : &admin->clients) = client->next;
    if (client->next)
        client->next->previous = client->previous;
    admin->client_count--;
    buffer_done(&client->answer);
    free(client);
    free_admin_if_over(admin);
}

static void close_client(struct client *client)
{
    if (uv_is_closing((uv_handle_t *)&client->socket))
        return;
    uv_close((uv_handle_t *)&client->socket, on_client_closed);
    uv_close((uv_handle_t *)&client->timer, on_client_closed);
}

static void on_timeout(uv_timer_t *timer)
{
    close_client(timer->data);
}

static void on_written(uv_write_t *write, int status)
{
    (void)status;
    close_client(write->data);
}

/* ---- answers ---- */

static bool peer_is_loopback(const struct client *client)
{
    struct sockaddr_storage peer;
    int length = sizeof(peer);
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)&peer;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&peer;

    if (uv_tcp_getpeername(&client->socket, (struct sockaddr *)&peer, &length) < 0)
        return false;
    if (peer.ss_family == AF_INET)
        return (ntohl(v4->sin_addr.s_addr) >> 24) == 127;
    if (peer.ss_family != AF_INET6)
        return false;
    return IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr) ||
           (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr) && v6->sin6_addr.s6_addr[12] == 127);
}

/* Fills page; the status code. */
static int make_page(const struct client *client, struct str path, struct buffer *page,
                     const char **ret_type)
{
    const struct admin_handler *handler = &client->admin->handler;
    int error = 0;

    *ret_type = "text/plain; charset=utf-8";
    if (str_equal(path, STR_LIT("/healthz"))) {
        error = buffer_printf(page, "ok\n");
    } else if (str_equal(path, STR_LIT("/readyz"))) {
        error = handler->ready(handler->context, page);
        if (error == -EAGAIN)
            return 503;
    } else if (str_equal(path, STR_LIT("/metrics"))) {
        *ret_type = "text/plain; version=0.0.4; charset=utf-8";
        error = handler->metrics(handler->context, page);
    } else if (str_equal(path, STR_LIT("/fleet")) && peer_is_loopback(client)) {
        *ret_type = "application/json";
        error = handler->fleet(handler->context, page);
    } else {
        buffer_printf(page, "there are /healthz, /readyz, /metrics and, from this host, /fleet\n");
        return 404;
    }
    if (!error)
        return 200;
    buffer_clear(page, ADMIN_PAGE_MAX);
    buffer_printf(page, "%s\n", strerror(-error));
    return 500;
}

static const char *reason_of(int status)
{
    switch (status) {
    case 200:
        return "OK";
    case 400:
        return "Bad Request";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 431:
        return "Request Header Fields Too Large";
    case 503:
        return "Service Unavailable";
    default:
        return "Internal Server Error";
    }
}

static void send_answer(struct client *client, int status, const char *type,
                        const struct buffer *page)
{
    uv_buf_t bytes;
    int error;

    client->answered = true;
    uv_read_stop((uv_stream_t *)&client->socket);
    error = buffer_printf(&client->answer,
                          "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n%s"
                          "Cache-Control: no-store\r\nConnection: close\r\n\r\n",
                          status, reason_of(status), type, buffer_length(page),
                          status == 405 ? "Allow: GET\r\n" : "");
    if (!error)
        error = buffer_append_str(&client->answer, buffer_view(page));
    bytes = uv_buf_init(client->answer.data + client->answer.start,
                        (unsigned)buffer_length(&client->answer));
    client->write.data = client;
    if (error ||
        uv_write(&client->write, (uv_stream_t *)&client->socket, &bytes, 1, on_written) < 0)
        close_client(client);
}

/* line: the request line without its end. */
static void answer(struct client *client, struct str line)
{
    const char *type = "text/plain; charset=utf-8";
    struct buffer page;
    const char *space, *query;
    struct str path;
    int status = 400;

    buffer_init(&page, ADMIN_PAGE_MAX);
    if (!str_starts_with(line, STR_LIT("GET "))) {
        status = memchr(line.ptr, ' ', line.len) ? 405 : 400;
        buffer_printf(&page, "GET only\n");
        goto out;
    }
    path = str_after(line, 4);
    space = memchr(path.ptr, ' ', path.len);
    if (!space ||
        !str_starts_with(str_after(path, (size_t)(space - path.ptr)), STR_LIT(" HTTP/1."))) {
        buffer_printf(&page, "HTTP/1.1 only\n");
        goto out;
    }
    path.len = (size_t)(space - path.ptr);
    query = memchr(path.ptr, '?', path.len);
    if (query)
        path.len = (size_t)(query - path.ptr);
    status = make_page(client, path, &page, &type);
out:
    send_answer(client, status, type, &page);
    buffer_done(&page);
}

/* ---- reading ---- */

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *bytes)
{
    struct client *client = handle->data;

    (void)suggested;
    *bytes = uv_buf_init(client->header + client->header_length,
                         (unsigned)(HEADER_MAX - client->header_length));
}

static void on_read(uv_stream_t *stream, ssize_t got, const uv_buf_t *bytes)
{
    struct client *client = stream->data;
    const char *end;

    (void)bytes;
    if (got < 0 && got != UV_ENOBUFS) {
        close_client(client);
        return;
    }
    client->header_length += got > 0 ? (size_t)got : 0;
    if (memmem(client->header, client->header_length, "\r\n\r\n", 4)) {
        end = memchr(client->header, '\r', client->header_length);
        answer(client, str_make(client->header, (size_t)(end - client->header)));
    } else if (client->header_length == HEADER_MAX) {
        struct buffer none;

        buffer_init(&none, 1);
        send_answer(client, 431, "text/plain", &none);
    }
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct admin *admin = listener->data;
    struct client *client;

    if (status < 0)
        return;
    client = calloc(1, sizeof(*client));
    if (!client)
        return;
    client->admin = admin;
    client->handles = 2;
    client->socket.data = client->timer.data = client;
    buffer_init(&client->answer, ADMIN_PAGE_MAX + 4096);
    uv_tcp_init(listener->loop, &client->socket);
    uv_timer_init(listener->loop, &client->timer);
    client->next = admin->clients;
    if (client->next)
        client->next->previous = client;
    admin->clients = client;
    admin->client_count++;
    if (uv_accept(listener, (uv_stream_t *)&client->socket) < 0 ||
        admin->client_count > CLIENTS_MAX ||
        uv_read_start((uv_stream_t *)&client->socket, on_alloc, on_read) < 0)
        close_client(client);
    else
        uv_timer_start(&client->timer, on_timeout, TIMEOUT_MS, 0);
}

/* ---- life ---- */

static int parse_address(const char *text, struct sockaddr_storage *ret_address)
{
    const char *colon = strrchr(text, ':');
    char host[INET6_ADDRSTRLEN + 2];
    size_t length = colon ? (size_t)(colon - text) : 0;
    char *end;
    long port;

    if (!colon || length >= sizeof(host))
        return -EINVAL;
    port = strtol(colon + 1, &end, 10);
    if (*end || end == colon + 1 || port < 0 || port > 65535)
        return -EINVAL;
    memcpy(host, text, length);
    host[length] = '\0';
    if (host[0] == '[' && host[length - 1] == ']') {
        host[length - 1] = '\0';
        return uv_ip6_addr(host + 1, (int)port, (struct sockaddr_in6 *)ret_address);
    }
    return uv_ip4_addr(length ? host : "0.0.0.0", (int)port, (struct sockaddr_in *)ret_address);
}

/* Where it listens, with the port that the kernel chose for port 0. */
static void name_address(struct admin *admin)
{
    struct sockaddr_storage address = {0};
    int length = sizeof(address);
    char host[INET6_ADDRSTRLEN] = "";

    uv_tcp_getsockname(&admin->listener, (struct sockaddr *)&address, &length);
    if (address.ss_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&address;

        uv_ip6_name(v6, host, sizeof(host));
        snprintf(admin->address, sizeof(admin->address), "[%s]:%u", host, ntohs(v6->sin6_port));
    } else {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)&address;

        uv_ip4_name(v4, host, sizeof(host));
        snprintf(admin->address, sizeof(admin->address), "%s:%u", host, ntohs(v4->sin_port));
    }
}

int admin_new(uv_loop_t *loop, const char *address, const struct admin_handler *handler,
              struct admin **ret_admin, char reason[ADMIN_REASON_MAX])
{
    struct sockaddr_storage where;
    struct admin *admin;
    int error = parse_address(address, &where);

    if (error) {
        snprintf(reason, ADMIN_REASON_MAX, "--admin %s: write ADDR:PORT or [ADDR]:PORT", address);
        return -EINVAL;
    }
    admin = calloc(1, sizeof(*admin));
    if (!admin)
        return -ENOMEM;
    admin->handler = *handler;
    error = uv_tcp_init(loop, &admin->listener);
    if (error) {
        free(admin);
        return error;
    }
    admin->listener.data = admin;
    error = uv_tcp_bind(&admin->listener, (const struct sockaddr *)&where, 0);
    if (!error)
        error = uv_listen((uv_stream_t *)&admin->listener, BACKLOG, on_connection);
    if (error) {
        snprintf(reason, ADMIN_REASON_MAX, "--admin %s: %s", address, uv_strerror(error));
        admin_free(admin);
        return error;
    }
    name_address(admin);
    *ret_admin = admin;
    return 0;
}

const char *admin_address(const struct admin *admin)
{
    return admin->address;
}

static void on_listener_closed(uv_handle_t *handle)
{
    struct admin *admin = handle->data;

    admin->listener_closed = true;
    free_admin_if_over(admin);
}

void admin_free(struct admin *admin)
{
    if (!admin)
        return;
    admin->closing = true;
    uv_close((uv_handle_t *)&admin->listener, on_listener_closed);
    for (struct client *client = admin->clients; client; client = client->next)
        close_client(client);
}
