/*
 * client: requests, over one connection at a time, and the choice of the next one.
 *
 *   next ──ready──▶ current ──lame duck, and the next is ready──▶ retiring ──no request left──▶
 * gone └── down ──▶ gone    └── down ──▶ gone                         └── down ──▶ gone
 *
 * Requests go to current. While there is none, or it is about to shut down (lame duck mode), next
 * is being made, server after server with a back-off. A retiring connection takes no more requests
 * and is kept for those in flight, each of which has a deadline of its owner's. Both subscribe the
 * same inbox, so in a cluster a reply may come twice then; the second counts as late.
 *
 * When a connection goes, what each request may have done follows from positions in its stream: one
 * whose last byte the socket did not take cannot have run; of the others nobody knows. All fail at
 * once; nothing is sent again.
 *
 * Handlers may call back into the client, nats_client_close included; memory goes only when the
 * loop comes round. So whatever calls one looks at the roles again before it goes on.
 */
#include "dataplane/nats/client.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/nats/connection.h"
#include "dataplane/nats/inbox.h"
#include "dataplane/nats/proto.h"
#include "dataplane/nats/servers.h"

enum {
    PUBLISH_ROOM = 8 * 1024, /* of pending_bytes_max, for what comes before a payload */
    MAX_PAYLOAD_DEFAULT = 1024 * 1024,
    TELL_AGAIN_MS = 10000, /* failures to connect are told this often, if they change */
    DETAIL_MAX = 1024,
};

struct nats_client {
    uv_loop_t *loop;
    struct nats_client_options options; /* its strings: see those below */
    struct nats_client_handler handler;
    struct connection_options connection_options;
    struct connection_handler connection_handler;
    struct connection *next, *current, *retiring; /* NULL: none */
    uint32_t retiring_left;                       /* its requests in flight */
    bool leaving;                                 /* current is in lame duck mode */
    bool closing;
    struct servers servers;
    bool around; /* next is the last of a round */
    struct inbox inbox;
    size_t reserved;  /* bytes for replies to what is in flight */
    uv_timer_t timer; /* until the next attempt to connect */
    uv_prepare_t prepare;
    uint32_t backoff_ms;
    size_t max_payload;
    struct nats_client_counters counters;
    char told[DETAIL_MAX];
    uint64_t told_ms;
    bool told_connected;
    unsigned holds; /* handles and connections that are not closed yet */
    void (*closed)(void *context);
    void *closed_context;
    char *name, *creds_file, *ca_file, *cert_file, *key_file;
};

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* ---- closing ---- */

static void release(void *context)
{
    struct nats_client *client = context;
    void (*closed)(void *context) = client->closed;
    void *closed_context = client->closed_context;

    assert(client->holds > 0);
    if (--client->holds > 0)
        return;
    assert(client->closing);
    servers_done(&client->servers);
    inbox_done(&client->inbox);
    free(client->name);
    free(client->creds_file);
    free(client->ca_file);
    free(client->cert_file);
    free(client->key_file);
    free(client);
    if (closed)
        closed(closed_context);
}

static void on_handle_closed(uv_handle_t *handle)
{
    release(handle->data);
}

/* ---- requests that end ---- */

static void give(struct nats_client *client, int slot)
{
    const void *connection = client->inbox.slots[slot].connection;

    client->reserved -= client->inbox.slots[slot].reply_bytes;
    inbox_give(&client->inbox, slot);
    if (connection == client->retiring)
        client->retiring_left--;
}

static void finish(struct nats_client *client, int slot, enum nats_failure failure)
{
    void *owner = client->inbox.slots[slot].owner;

    give(client, slot);
    client->handler.failed(owner, failure);
}

/* Ends a connection. Returns how much of its stream the socket had taken, for fail_all. */
static uint64_t end_connection(struct nats_client *client, struct connection **role)
{
    struct connection *connection = *role;
    uint64_t sent = link_sent(connection->link);

    client->counters.bytes_in += connection->bytes_in;
    client->counters.bytes_out += sent;
    *role = NULL;
    connection_close(connection, release, client);
    return sent;
}

/* Its requests, after it ended: new ones cannot be on it. */
static void fail_all(struct nats_client *client, const struct connection *connection, uint64_t sent)
{
    for (uint32_t i = 0; i < client->inbox.count && client->inbox.used > 0; i++) {
        const struct inbox_slot *slot = &client->inbox.slots[i];

        if (slot->used && slot->connection == connection)
            finish(client, (int)i, slot->end > sent ? NATS_FAILURE_NOT_SENT : NATS_FAILURE_LOST);
    }
}

/* ---- connecting ---- */

static void tell(struct nats_client *client, bool connected, const char *detail)
{
    uint64_t now_ms = uv_now(client->loop);

    if (!connected && !client->told_connected && client->told[0] &&
        (strcmp(detail, client->told) == 0 || now_ms - client->told_ms < TELL_AGAIN_MS))
        return;
    client->told_connected = connected;
    client->told_ms = now_ms;
    snprintf(client->told, sizeof(client->told), "%s", detail);
    if (client->handler.changed)
        client->handler.changed(client->handler.context, connected, str_from(client->told));
}

static uint64_t random_below(struct nats_client *client, uint64_t limit)
{
    return limit ? random_u64(&client->inbox.random) % limit : 0;
}

static void on_timer(uv_timer_t *timer);

static void connect_in(struct nats_client *client, uint64_t delay_ms)
{
    uv_timer_start(&client->timer, on_timer, delay_ms, 0);
}

/* After a connection: soon, spread over the fleet. */
static void connect_soon(struct nats_client *client)
{
    if (!client->next)
        connect_in(client, random_below(client, client->options.reconnect_min_ms + 1));
}

/* After an attempt: at once, but after each round of all servers twice as long as before. */
static void connect_again(struct nats_client *client)
{
    uint64_t half = client->backoff_ms / 2;

    if (!client->around) {
        connect_in(client, 0);
        return;
    }
    client->backoff_ms = client->backoff_ms > client->options.reconnect_max_ms / 2
                             ? client->options.reconnect_max_ms
                             : client->backoff_ms * 2;
    connect_in(client, half + random_below(client, half + 1));
}

static void on_message(void *context, const struct proto_operation *message)
{
    struct nats_client *client = context;
    int slot = inbox_find(&client->inbox, message->subject);
    void *owner;

    if (slot < 0) {
        client->counters.late++;
        return;
    }
    owner = client->inbox.slots[slot].owner;
    give(client, slot);
    client->counters.replies++;
    client->handler.reply(owner, &(struct nats_reply){
                                     .block = message->block,
                                     .payload = message->payload,
                                     .has_reply_subject = message->reply_subject.len > 0,
                                 });
}

static void take_max_payload(struct nats_client *client, const struct connection *connection)
{
    client->max_payload =
        least(connection->max_payload, client->options.pending_bytes_max - PUBLISH_ROOM);
}

static void on_info(void *context, struct connection *connection, const struct handshake_info *info,
                    bool believed)
{
    struct nats_client *client = context;

    if (info->connect_url_count > 0)
        servers_discover(&client->servers, &connection->server, believed, info->connect_urls,
                         info->connect_url_count, &client->inbox.random);
    if (connection != client->current)
        return;
    take_max_payload(client, connection);
    /* Another one is looked for even when only one address is known: it may lead to several. */
    if (connection->lame_duck && !client->leaving) {
        client->leaving = true;
        connect_soon(client);
    }
}

static void on_ready(void *context, struct connection *connection)
{
    struct nats_client *client = context;
    char detail[sizeof(connection->server.host) + sizeof(connection->server.port)];

    assert(connection == client->next);
    if (client->current) {
        assert(!client->retiring);
        client->retiring = client->current;
        client->retiring_left = client->inbox.used;
        client->counters.disconnects++;
    }
    client->next = NULL;
    client->current = connection;
    client->leaving = connection->lame_duck; /* since it let us in */
    client->backoff_ms = client->options.reconnect_min_ms;
    client->counters.connects++;
    take_max_payload(client, connection);
    snprintf(detail, sizeof(detail), "%s:%s", connection->server.host, connection->server.port);
    tell(client, true, detail);
    if (client->leaving && !client->retiring)
        connect_soon(client);
}

/* Fails every request of that subject, or with it as reply subject, that is in flight there now. */
static void on_denied(void *context, struct connection *connection, struct str subject,
                      bool is_reply)
{
    struct nats_client *client = context;
    uint64_t hash = inbox_hash(&client->inbox, subject);
    uint64_t end = link_sent(connection->link); /* later ones cannot have been refused */
    int replied = is_reply ? inbox_find(&client->inbox, subject) : -ENOENT;
    bool known = false;

    if (replied >= 0) {
        client->counters.denied++;
        finish(client, replied, NATS_FAILURE_DENIED);
    }
    if (is_reply)
        return;
    for (uint32_t i = 0; i < client->inbox.count && connection->state != CONNECTION_CLOSED; i++) {
        const struct inbox_slot *slot = &client->inbox.slots[i];

        if (slot->used && slot->connection == connection && slot->subject_hash == hash &&
            slot->end <= end) {
            client->counters.denied++;
            known = true;
            finish(client, (int)i, NATS_FAILURE_DENIED);
        }
    }
    if (!known && client->handler.denied)
        client->counters.denied += client->handler.denied(client->handler.context, subject);
}

/* The last request of a retiring connection has its answer. */
static void retire(struct nats_client *client)
{
    end_connection(client, &client->retiring);
    if (client->leaving)
        connect_soon(client);
}

static void on_down(void *context, struct connection *connection, const char *reason)
{
    struct nats_client *client = context;
    uint64_t sent;

    if (connection == client->next) {
        end_connection(client, &client->next);
        connect_again(client);
        if (!client->current)
            tell(client, false, reason);
        return;
    }
    if (connection == client->retiring) {
        sent = link_sent(connection->link);
        retire(client);
    } else {
        sent = end_connection(client, &client->current);
        client->leaving = false;
        client->counters.disconnects++;
        connect_soon(client);
        tell(client, false, reason);
    }
    fail_all(client, connection, sent);
}

static void on_timer(uv_timer_t *timer)
{
    struct nats_client *client = timer->data;
    const struct server *server;
    char detail[DETAIL_MAX];

    /* A connection that goes makes room for the third first. */
    if (client->next || (client->current && (!client->leaving || client->retiring)))
        return;
    server = servers_next(&client->servers, &client->around);
    client->next = connection_open(client->loop, &client->connection_options, server,
                                   random_u64(&client->inbox.random), &client->connection_handler);
    if (client->next) {
        client->holds++;
        return;
    }
    snprintf(detail, sizeof(detail), "%s:%s: no memory, or not the name of a host", server->host,
             server->port);
    connect_again(client);
    if (!client->current)
        tell(client, false, detail);
}

/* Right before the loop waits: what was published in this iteration leaves with one write. */
static void on_prepare(uv_prepare_t *prepare)
{
    struct nats_client *client = prepare->data;

    if (client->current)
        connection_flush(client->current);
    if (client->next)
        connection_flush(client->next);
    if (client->retiring && client->retiring_left == 0)
        retire(client);
    if (client->retiring)
        connection_flush(client->retiring);
}

/* ---- the interface ---- */

static int check_options(const struct nats_client_options *options, char *ret_error, size_t size)
{
    assert(options->in_flight_max > 0 && options->pending_bytes_max > PUBLISH_ROOM);
    assert(options->connect_timeout_ms > 0 && options->ping_interval_ms > 0);
    assert(options->reconnect_min_ms > 0 && options->reconnect_min_ms <= options->reconnect_max_ms);
    if (options->in_flight_max > INBOX_SLOTS_MAX)
        snprintf(ret_error, size, "at most %d requests in flight per loop", INBOX_SLOTS_MAX);
    else if (options->key_file.len && !options->cert_file.len)
        snprintf(ret_error, size, "a client key without its certificate");
    else
        return 0;
    return -EINVAL;
}

/* NULL stays NULL for an empty text. */
static bool keep(struct str text, char **ret_kept)
{
    *ret_kept = text.len ? strndup(text.ptr, text.len) : NULL;
    return *ret_kept || !text.len;
}

static int keep_texts(struct nats_client *client, char *ret_error, size_t error_size)
{
    const struct nats_client_options *options = &client->options;

    if (keep(options->name, &client->name) && keep(options->creds_file, &client->creds_file) &&
        keep(options->ca_file, &client->ca_file) && keep(options->cert_file, &client->cert_file) &&
        keep(options->key_file, &client->key_file))
        return 0;
    snprintf(ret_error, error_size, "out of memory");
    return -ENOMEM;
}

static void set_up_connections(struct nats_client *client)
{
    const struct nats_client_options *options = &client->options;

    client->connection_options = (struct connection_options){
        .name = client->name ? client->name : "",
        .creds_file = client->creds_file,
        .tls = {client->ca_file, client->cert_file, client->key_file},
        .tls_first = options->tls_first,
        .inbox_prefix = inbox_prefix(&client->inbox),
        .pending_bytes_max = options->pending_bytes_max,
        .connect_timeout_ms = options->connect_timeout_ms,
        .ping_interval_ms = options->ping_interval_ms,
    };
    client->connection_handler = (struct connection_handler){
        .ready = on_ready,
        .info = on_info,
        .message = on_message,
        .denied = on_denied,
        .down = on_down,
        .context = client,
    };
}

static int init(struct nats_client *client, char *ret_error, size_t error_size)
{
    const struct nats_client_options *options = &client->options;
    int result = inbox_init(&client->inbox, options->inbox_prefix, options->in_flight_max);

    if (result) {
        snprintf(ret_error, error_size, "inbox prefix \"" STR_FMT "\": %s",
                 STR_ARG(options->inbox_prefix),
                 result == -EINVAL ? "not a subject, or too long" : "out of memory");
        return result;
    }
    result = servers_init(&client->servers, options->servers, &client->inbox.random, ret_error,
                          error_size);
    if (!result)
        result = keep_texts(client, ret_error, error_size);
    if (!result)
        set_up_connections(client);
    return result;
}

int nats_client_new(uv_loop_t *loop, const struct nats_client_options *options,
                    const struct nats_client_handler *handler, struct nats_client **ret_client,
                    char *ret_error, size_t error_size)
{
    struct nats_client *client;
    int result = check_options(options, ret_error, error_size);

    if (result)
        return result;
    client = calloc(1, sizeof(*client));
    if (!client) {
        snprintf(ret_error, error_size, "out of memory");
        return -ENOMEM;
    }
    client->loop = loop;
    client->options = *options;
    client->handler = *handler;
    client->max_payload = least(MAX_PAYLOAD_DEFAULT, options->pending_bytes_max - PUBLISH_ROOM);
    result = init(client, ret_error, error_size);
    if (result) {
        client->closing = true;
        client->holds = 1;
        release(client);
        return result;
    }
    client->holds = 2;
    client->timer.data = client->prepare.data = client;
    uv_timer_init(loop, &client->timer);
    uv_prepare_init(loop, &client->prepare);
    uv_prepare_start(&client->prepare, on_prepare);
    client->backoff_ms = options->reconnect_min_ms;
    connect_in(client, 0);
    *ret_client = client;
    return 0;
}

void nats_client_close(struct nats_client *client, void (*closed)(void *context), void *context)
{
    struct connection **const roles[] = {&client->current, &client->next, &client->retiring};

    assert(!client->closing);
    client->closing = true;
    client->closed = closed;
    client->closed_context = context;
    uv_close((uv_handle_t *)&client->timer, on_handle_closed);
    uv_close((uv_handle_t *)&client->prepare, on_handle_closed);
    for (size_t i = 0; i < sizeof(roles) / sizeof(roles[0]); i++) {
        const struct connection *connection = *roles[i];

        if (connection)
            fail_all(client, connection, end_connection(client, roles[i]));
    }
    /* Called from the midst of another fail_all: its caller's connection has gone already. */
    for (uint32_t i = 0; i < client->inbox.count && client->inbox.used > 0; i++)
        if (client->inbox.slots[i].used)
            finish(client, (int)i, NATS_FAILURE_LOST);
}

bool nats_client_connected(const struct nats_client *client)
{
    return client->current != NULL;
}

size_t nats_client_max_payload(const struct nats_client *client)
{
    return client->max_payload;
}

int nats_client_request(struct nats_client *client, const struct nats_request *request)
{
    size_t size = request->subject.len + request->block.len + request->payload.len +
                  client->inbox.prefix_len + INBOX_TOKEN_LEN + PROTO_PUBLISH_OVERHEAD;
    struct buffer *out;
    struct inbox_slot *slot;
    int index;

    if (!client->current)
        return -ENOTCONN;
    if (request->block.len + request->payload.len > client->max_payload)
        return -EMSGSIZE;
    if (client->reserved + request->reply_bytes > client->options.reply_bytes_max &&
        client->inbox.used > 0)
        return -ENOBUFS;
    out = link_out(client->current->link);
    if (buffer_length(out) + size > client->options.pending_bytes_max)
        return -EBUSY;
    index = inbox_take(&client->inbox, request->owner);
    if (index < 0)
        return index;
    if (proto_write_publish(out, request->subject, inbox_prefix(&client->inbox),
                            inbox_token(&client->inbox, index), request->block, request->payload)) {
        inbox_give(&client->inbox, index);
        return -EBUSY;
    }
    slot = &client->inbox.slots[index];
    slot->connection = client->current;
    slot->end = link_sent(client->current->link) + buffer_length(out);
    slot->subject_hash = inbox_hash(&client->inbox, request->subject);
    slot->reply_bytes = request->reply_bytes;
    client->reserved += request->reply_bytes;
    client->counters.sent++;
    return index;
}

/* An empty message, behind the request that it is about. */
static void publish_cancel(struct nats_client *client, const void *connection, struct str subject)
{
    struct connection *over = connection == client->current    ? client->current
                              : connection == client->retiring ? client->retiring
                                                               : NULL;
    const struct str none = {0};

    if (over && buffer_length(link_out(over->link)) < client->options.pending_bytes_max &&
        proto_write_publish(link_out(over->link), subject, none, none, none, none) == 0)
        client->counters.cancels++;
}

void nats_client_forget(struct nats_client *client, int slot, struct str cancel)
{
    if (cancel.len)
        publish_cancel(client, client->inbox.slots[slot].connection, cancel);
    give(client, slot);
}

uint32_t nats_client_in_flight(const struct nats_client *client)
{
    return client->inbox.used;
}

size_t nats_client_reserved(const struct nats_client *client)
{
    return client->reserved;
}

void nats_client_count(const struct nats_client *client, struct nats_client_counters *ret_counters)
{
    const struct connection *const all[] = {client->current, client->next, client->retiring};

    *ret_counters = client->counters;
    ret_counters->in_flight = client->inbox.used;
    ret_counters->reserved_bytes = client->reserved;
    ret_counters->connections = client->current != NULL;
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        if (!all[i])
            continue;
        ret_counters->pending_bytes += buffer_length(link_out(all[i]->link));
        ret_counters->bytes_out += link_sent(all[i]->link);
        ret_counters->bytes_in += all[i]->bytes_in;
    }
}
