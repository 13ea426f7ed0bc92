/*
 * connection: the conversation with one NATS server.
 *
 *   DIALING ──TCP──▶ GREETING ──INFO──▶ PROVING ──PONG──▶ READY
 *   any ──connection_close──▶ CLOSED
 *
 * One timer serves the state: the limit on getting READY, then the interval of pings. PROVING ends
 * with the answer to a PING that was sent behind CONNECT and SUB, so READY means that the server
 * let us in and gave us our inbox.
 *
 * TLS begins before GREETING or at its end. CONNECT is appended at once in both cases: the link
 * holds it back until the handshake is done.
 *
 * Handlers may close the connection; it then lives on, CLOSED, until the loop comes round. So
 * whatever calls one looks at the state again before it goes on.
 */
#include "dataplane/nats/connection.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    CONTROL_ROOM = 128 * 1024, /* beyond pending_bytes_max, for CONNECT, SUB, PING and PONG */
    MESSAGE_SLACK = 64 * 1024, /* by which a cluster's other server may let messages be larger */
    PINGS_MAX = 2,             /* unanswered; then the connection is dead */
    LOOKUPS_MAX = 15,          /* times connect_timeout_ms for a name; dead name servers cost 5 s */
    SUBJECT_SHOWN_MAX = 4096,
    DETAIL_MAX = 1024,
};

/* ---- its end ---- */

static void release(struct connection *connection)
{
    assert(connection->holds > 0);
    if (--connection->holds > 0)
        return;
    connection->closed(connection->closed_context);
    explicit_bzero(&connection->server, sizeof(connection->server));
    free(connection);
}

static void on_timer_closed(uv_handle_t *handle)
{
    release(handle->data);
}

static void on_link_closed(void *context)
{
    release(context);
}

void connection_close(struct connection *connection, void (*closed)(void *context), void *context)
{
    assert(connection->state != CONNECTION_CLOSED);
    connection->state = CONNECTION_CLOSED;
    connection->closed = closed;
    connection->closed_context = context;
    uv_close((uv_handle_t *)&connection->timer, on_timer_closed);
    link_close(connection->link, on_link_closed, connection);
}

static void fail(struct connection *connection, const char *reason)
{
    const struct server *server = &connection->server;
    char detail[DETAIL_MAX];

    assert(connection->state != CONNECTION_CLOSED);
    if (connection->server_error[0])
        reason = connection->server_error;
    snprintf(detail, sizeof(detail), "%s:%s: %s", server->host, server->port, reason);
    connection->handler->down(connection->handler->context, connection, detail);
    assert(connection->state == CONNECTION_CLOSED);
}

/* ---- getting ready ---- */

/* NULL, or why it cannot be secured. */
static const char *secure(struct connection *connection)
{
    connection->server.tls = true; /* those that it tells of get nothing in the clear either */
    return link_secure(connection->link, &connection->options->tls, connection->server.name);
}

static void on_up(void *context)
{
    struct connection *connection = context;
    const char *wrong = NULL;

    assert(connection->state == CONNECTION_DIALING);
    connection->state = CONNECTION_GREETING;
    if (connection->options->tls_first)
        wrong = secure(connection);
    if (wrong)
        fail(connection, wrong);
}

static void on_down(void *context, const char *reason)
{
    fail(context, reason);
}

static const char *log_in(struct connection *connection, const struct handshake_info *info)
{
    const struct connection_options *options = connection->options;
    struct buffer *out = link_out(connection->link);
    struct creds *creds = NULL;
    const char *wrong = NULL;

    if (options->creds_file) {
        creds = malloc(sizeof(*creds));
        if (!creds || creds_read(options->creds_file, creds)) {
            free(creds);
            return "the credentials file cannot be read or holds no user JWT and seed";
        }
    }
    if (handshake_write_connect(out, &connection->server, info, creds, str_from(options->name),
                                link_is_secure(connection->link)) ||
        buffer_printf(out, "SUB " STR_FMT "* 1\r\nPING\r\n", STR_ARG(options->inbox_prefix)))
        wrong = "cannot answer the server's INFO with what there is to log in";
    if (creds)
        creds_done(creds);
    free(creds);
    return wrong;
}

/* NULL, or why this server will not do. */
static const char *greet(struct connection *connection, const struct handshake_info *info)
{
    const struct tls_options *tls = &connection->options->tls;
    const char *wrong = NULL;

    if (!info->headers)
        return "the server does not support headers";
    if (!link_is_secure(connection->link)) {
        bool wanted = connection->server.tls || tls->ca_file || tls->cert_file;

        if (wanted && !info->tls_required && !info->tls_available)
            return "the server does not offer TLS";
        if (wanted || info->tls_required)
            wrong = secure(connection);
    }
    return wrong ? wrong : log_in(connection, info);
}

static void on_info(struct connection *connection, struct str json)
{
    bool believed = link_is_secure(connection->link);
    struct handshake_info info;
    const char *wrong = NULL;

    if (handshake_read_info(json, &info)) {
        fail(connection, "the server's INFO cannot be understood");
        return;
    }
    connection->max_payload = info.max_payload;
    connection->lame_duck |= info.lame_duck;
    if (connection->message_max < info.max_payload + MESSAGE_SLACK)
        connection->message_max = info.max_payload + MESSAGE_SLACK;
    if (connection->state == CONNECTION_GREETING) {
        wrong = greet(connection, &info);
        connection->state = CONNECTION_PROVING;
    }
    if (wrong)
        fail(connection, wrong);
    else
        connection->handler->info(connection->handler->context, connection, &info, believed);
    handshake_info_done(&info);
}

static void on_timer(uv_timer_t *timer);

static void on_pong(struct connection *connection)
{
    connection->server_error[0] = '\0'; /* it was not about to close */
    if (connection->state != CONNECTION_PROVING)
        return;
    connection->state = CONNECTION_READY;
    uv_timer_start(&connection->timer, on_timer, connection->options->ping_interval_ms, 0);
    connection->handler->ready(connection->handler->context, connection);
}

/* ---- what the server says ---- */

/* The text between the first and the last quote, without the escapes that Go's %q adds. */
static size_t unquote(struct str text, char *out, size_t size)
{
    const char *first = memchr(text.ptr, '"', text.len);
    const char *last = first ? memrchr(text.ptr, '"', text.len) : NULL;
    size_t len = 0;

    for (const char *at = first ? first + 1 : last; at < last && len < size; at++) {
        if (*at == '\\' && at + 1 < last)
            at++;
        out[len++] = *at;
    }
    return len;
}

static void on_error(struct connection *connection, struct str text)
{
    bool is_reply =
        str_starts_with(text, STR_LIT("Permissions Violation for Publish with Reply of "));
    char subject[SUBJECT_SHOWN_MAX];

    if (is_reply || str_starts_with(text, STR_LIT("Permissions Violation for Publish to "))) {
        size_t len = unquote(text, subject, sizeof(subject));

        connection->handler->denied(connection->handler->context, connection,
                                    str_make(subject, len), is_reply);
        return;
    }
    snprintf(connection->server_error, sizeof(connection->server_error),
             "the server says: " STR_FMT, STR_ARG(text));
    /* Without our inbox nothing works; after any other error the server closes by itself. */
    if (str_starts_with(text, STR_LIT("Permissions Violation for Subscription")))
        fail(connection, connection->server_error);
}

/* All but messages. */
static void on_control(struct connection *connection, const struct proto_operation *operation)
{
    switch (operation->kind) {
    case PROTO_PING:
        if (buffer_append_str(link_out(connection->link), STR_LIT("PONG\r\n")))
            fail(connection, "no room to answer a ping");
        break;
    case PROTO_PONG:
        on_pong(connection);
        break;
    case PROTO_INFO:
        on_info(connection, operation->text);
        break;
    case PROTO_ERROR:
        on_error(connection, operation->text);
        break;
    case PROTO_OK:
    case PROTO_MESSAGE:
        break;
    }
}

static size_t on_data(void *context, struct str bytes, size_t *ret_need)
{
    struct connection *connection = context;
    bool was_secure = link_is_secure(connection->link);
    size_t used = 0;

    connection->pings = 0;
    while (connection->state != CONNECTION_CLOSED && used < bytes.len) {
        struct proto_operation operation;
        ssize_t len =
            proto_parse(str_after(bytes, used), connection->message_max, &operation, ret_need);

        if (len < 0)
            fail(connection, "not the NATS protocol, or a message over the limit");
        if (len <= 0)
            break;
        used += (size_t)len;
        if (operation.kind == PROTO_MESSAGE) {
            connection->handler->message(connection->handler->context, &operation);
            continue;
        }
        on_control(connection, &operation);
        /* What came in the clear must not be taken for something said over TLS. */
        if (connection->state == CONNECTION_PROVING && used < bytes.len && !was_secure &&
            link_is_secure(connection->link))
            fail(connection, "the server went on in the clear where TLS had to begin");
    }
    connection->bytes_in += used;
    return used;
}

/* ---- time ---- */

/* A lookup cannot be ended, and another would only wait behind it: it gets more time, and the limit
 * counts from its end. */
static bool looks_up(struct connection *connection)
{
    if (!link_is_resolving(connection->link)) {
        bool was = connection->lookups > 0;

        connection->lookups = 0;
        return was;
    }
    return ++connection->lookups < LOOKUPS_MAX;
}

static void on_timer(uv_timer_t *timer)
{
    struct connection *connection = timer->data;

    if (connection->state != CONNECTION_READY && looks_up(connection)) {
        uv_timer_start(timer, on_timer, connection->options->connect_timeout_ms, 0);
    } else if (link_is_resolving(connection->link)) {
        fail(connection, "its name is not found in time");
    } else if (connection->state == CONNECTION_GREETING && !link_is_secure(connection->link)) {
        fail(connection, "no INFO in time; a server may want TLS first");
    } else if (connection->state != CONNECTION_READY) {
        fail(connection, "no connection in time");
    } else if (connection->pings >= PINGS_MAX) {
        fail(connection, "the server does not answer pings");
    } else {
        connection->pings++;
        buffer_append_str(link_out(connection->link), STR_LIT("PING\r\n"));
        uv_timer_start(timer, on_timer, connection->options->ping_interval_ms, 0);
    }
}

void connection_flush(struct connection *connection)
{
    const char *reason = link_flush(connection->link);

    if (reason)
        fail(connection, reason);
}

struct connection *connection_open(uv_loop_t *loop, const struct connection_options *options,
                                   const struct server *server, uint64_t random,
                                   const struct connection_handler *handler)
{
    struct connection *connection = calloc(1, sizeof(*connection));
    const struct link_handler link_handler = {on_up, on_data, on_down, connection};

    if (!connection)
        return NULL;
    connection->link = link_open(loop, server->host, server->port,
                                 options->pending_bytes_max + CONTROL_ROOM, random, &link_handler);
    if (!connection->link) {
        free(connection);
        return NULL;
    }
    connection->server = *server;
    connection->options = options;
    connection->handler = handler;
    connection->message_max = options->message_least + MESSAGE_SLACK;
    connection->holds = 2;
    connection->timer.data = connection;
    uv_timer_init(loop, &connection->timer);
    uv_timer_start(&connection->timer, on_timer, options->connect_timeout_ms, 0);
    return connection;
}
