/*
 * jetstream: cnats carries the messages; the requests of the JetStream API are JSON of our own,
 * because cnats 3.4 knows neither allow_atomic nor batches.
 *
 * While the connection is down nothing is kept for later (reconnect buffer 0): a write that is
 * replayed when nobody waits for it any more is the one thing that a single writer must not send.
 * cnats gives up on a connection for good after some errors (authorization); it is then made anew.
 */
#include "controller/publish/jetstream.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include <yyjson.h>

enum {
    REQUEST_TIMEOUT_MS = 5000,
    READ_TIMEOUT_MS = 10000, /* between two entries */
    RECONNECT_WAIT_MS = 250,
    PING_MS = 10000,
    SERVERS_MAX = 32,
    SUBJECT_SIZE = 512,
};

/* Error codes of the JetStream API (nats-server, errors.json). */
enum {
    API_STREAM_NOT_FOUND = 10059,
    API_WRONG_LAST_SEQUENCE = 10071,
    API_NO_MESSAGE_FOUND = 10037,
    API_NOT_ENABLED = 10076,
    API_NOT_ENABLED_FOR_ACCOUNT = 10039,
};

static int fail(struct jetstream *jetstream, int error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static int fail(struct jetstream *jetstream, int error, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(jetstream->reason, sizeof(jetstream->reason), format, arguments);
    va_end(arguments);
    return error;
}

/* What a failed call of cnats means. */
static int fail_status(struct jetstream *jetstream, natsStatus status, const char *what)
{
    const char *text = NULL;

    switch (status) {
    case NATS_OK:
        return 0;
    case NATS_NO_MEMORY:
        return fail(jetstream, -ENOMEM, "%s: out of memory", what);
    case NATS_NO_RESPONDERS:
        return fail(jetstream, -EREMOTEIO,
                    "%s: nothing answers: the NATS server has no JetStream (nats-server -js), or "
                    "this user may not use it",
                    what);
    case NATS_TIMEOUT:
        /* A server that forbids a request says so on the side, and answers nothing. */
        natsConnection_GetLastError(jetstream->connection, &text);
        return fail(jetstream, -ETIMEDOUT, "%s: no answer from JetStream%s%.120s", what,
                    text && *text ? ": " : "", text ? text : "");
    case NATS_INSUFFICIENT_BUFFER:
    case NATS_NOT_YET_CONNECTED:
    case NATS_CONNECTION_CLOSED:
    case NATS_CONNECTION_DISCONNECTED:
    case NATS_STALE_CONNECTION:
    case NATS_NO_SERVER:
        return fail(jetstream, -ETIMEDOUT, "%s: the connection to NATS was lost", what);
    default:
        text = nats_GetLastError(NULL);
        return fail(jetstream, -EREMOTEIO, "%s: %s", what,
                    text && *text ? text : natsStatus_GetText(status));
    }
}

/* ---- connection ---- */

/* cnats only connects in the background when somebody wants to know that it has. */
static void on_connected(natsConnection *connection, void *closure)
{
    (void)connection, (void)closure;
}

static bool is_server(const char *url)
{
    return !strstr(url, "://") || strncmp(url, "nats://", 7) == 0 || strncmp(url, "tls://", 6) == 0;
}

static natsStatus set_servers(natsOptions *options, const char *servers)
{
    const char *list[SERVERS_MAX];
    char *copy = strdup(servers), *rest = copy, *server;
    int count = 0;
    natsStatus status = copy ? NATS_OK : NATS_NO_MEMORY;

    while (copy && count < SERVERS_MAX && (server = strsep(&rest, ","))) {
        if (!is_server(server))
            status = NATS_ADDRESS_MISSING;
        if (*server)
            list[count++] = server;
    }
    if (status == NATS_OK)
        status = count ? natsOptions_SetServers(options, list, count) : NATS_INVALID_ARG;
    free(copy);
    return status;
}

static natsStatus set_options(natsOptions *o, const struct kv_publish_options *options,
                              const char *client_name)
{
    natsStatus status = set_servers(o, options->servers);

    if (status == NATS_OK)
        status = natsOptions_SetName(o, client_name);
    if (status == NATS_OK)
        status = natsOptions_SetMaxReconnect(o, -1);
    if (status == NATS_OK)
        status = natsOptions_SetReconnectWait(o, RECONNECT_WAIT_MS);
    if (status == NATS_OK)
        status = natsOptions_SetReconnectBufSize(o, 0);
    if (status == NATS_OK)
        status = natsOptions_SetPingInterval(o, PING_MS);
    if (status == NATS_OK)
        status = natsOptions_SetRetryOnFailedConnect(o, true, on_connected, NULL);
    if (status == NATS_OK && options->creds_file)
        status = natsOptions_SetUserCredentialsFromFiles(o, options->creds_file, NULL);
    if (status == NATS_OK && options->ca_file)
        status = natsOptions_LoadCATrustedCertificates(o, options->ca_file);
    if (status == NATS_OK && options->inbox_prefix)
        status = natsOptions_SetCustomInboxPrefix(o, options->inbox_prefix);
    return status;
}

int jetstream_init(struct jetstream *jetstream, const struct kv_publish_options *options,
                   const char *client_name)
{
    const char *domain = options->js_domain ? options->js_domain : "";
    natsStatus status;

    *jetstream = (struct jetstream){0};
    if (strlen(domain) >= JETSTREAM_NAME_MAX - sizeof("$JS..API."))
        return fail(jetstream, -EINVAL, "--nats-js-domain: too long");
    if (*domain)
        snprintf(jetstream->api, sizeof(jetstream->api), "$JS.%s.API.", domain);
    else
        snprintf(jetstream->api, sizeof(jetstream->api), "$JS.API.");
    /* Servers of a domain take what is published below their API as if it came from inside. */
    snprintf(jetstream->prefix, sizeof(jetstream->prefix), "%s", *domain ? jetstream->api : "");
    snprintf(jetstream->domain, sizeof(jetstream->domain), "%s", domain);
    /* cnats reads them when it connects, and keeps to itself what is wrong with them. */
    if (options->creds_file && access(options->creds_file, R_OK) < 0)
        return fail(jetstream, -EINVAL, "--nats-creds %s: %s", options->creds_file,
                    strerror(errno));
    if (options->ca_file && access(options->ca_file, R_OK) < 0)
        return fail(jetstream, -EINVAL, "--nats-ca %s: %s", options->ca_file, strerror(errno));
    status = natsOptions_Create(&jetstream->options);
    if (status == NATS_OK)
        status = set_options(jetstream->options, options, client_name);
    if (status == NATS_OK)
        return 0;
    if (status == NATS_ADDRESS_MISSING)
        fail(jetstream, -EINVAL, "--nats: the scheme of a server is nats:// or tls://");
    else
        fail(jetstream, -EINVAL, "--nats, --nats-creds, --nats-ca or --nats-inbox-prefix: %s",
             natsStatus_GetText(status));
    natsOptions_Destroy(jetstream->options);
    jetstream->options = NULL;
    return status == NATS_NO_MEMORY ? -ENOMEM : -EINVAL;
}

static void disconnect(struct jetstream *jetstream)
{
    jsCtx_Destroy(jetstream->context);
    natsConnection_Destroy(jetstream->connection);
    jetstream->context = NULL;
    jetstream->connection = NULL;
}

void jetstream_done(struct jetstream *jetstream)
{
    disconnect(jetstream);
    natsOptions_Destroy(jetstream->options);
    jetstream->options = NULL;
}

static int connect_new(struct jetstream *jetstream)
{
    jsOptions options;
    natsStatus status = natsConnection_Connect(&jetstream->connection, jetstream->options);

    if (status == NATS_OK || status == NATS_NOT_YET_CONNECTED)
        status = jsOptions_Init(&options);
    if (status == NATS_OK) {
        options.Wait = REQUEST_TIMEOUT_MS;
        options.Domain = jetstream->domain[0] ? jetstream->domain : NULL;
        status = natsConnection_JetStream(&jetstream->context, jetstream->connection, &options);
    }
    if (status == NATS_OK)
        return 0;
    disconnect(jetstream);
    return fail(jetstream, -ENOTCONN, "cannot connect to NATS: %s", natsStatus_GetText(status));
}

int jetstream_connect(struct jetstream *jetstream)
{
    const char *text = NULL;
    natsStatus status;
    int error = 0;

    if (jetstream->connection && natsConnection_IsClosed(jetstream->connection))
        disconnect(jetstream);
    if (!jetstream->connection)
        error = connect_new(jetstream);
    if (error)
        return error;
    if (natsConnection_Status(jetstream->connection) == NATS_CONN_STATUS_CONNECTED)
        return 0;
    status = natsConnection_GetLastError(jetstream->connection, &text);
    if ((!text || !*text) && status != NATS_OK)
        text = natsStatus_GetText(status);
    return fail(jetstream, -ENOTCONN, "not connected to NATS: %s",
                text && *text ? text : "no server answers: is one running, and is --nats right?");
}

/* ---- requests ---- */

/* The API's error in an answer: 0 when there is none. */
static int read_error(struct jetstream *jetstream, yyjson_val *root, const char *what)
{
    yyjson_val *error = yyjson_obj_get(root, "error");
    const char *description = yyjson_get_str(yyjson_obj_get(error, "description"));
    uint64_t code = yyjson_get_uint(yyjson_obj_get(error, "err_code"));

    if (!error)
        return 0;
    if (!description)
        description = "refused";
    switch (code) {
    case API_STREAM_NOT_FOUND:
    case API_NO_MESSAGE_FOUND:
        return fail(jetstream, -ENOENT, "%s: %s", what, description);
    case API_WRONG_LAST_SEQUENCE:
        return fail(jetstream, -ESTALE, "%s: %s", what, description);
    case API_NOT_ENABLED:
    case API_NOT_ENABLED_FOR_ACCOUNT:
        return fail(jetstream, -EREMOTEIO, "%s: JetStream is not enabled for this NATS account",
                    what);
    default:
        return fail(jetstream, -EREMOTEIO, "%s: %s (%" PRIu64 ")", what, description, code);
    }
}

/* Reads an answer into *ret_doc, to be freed by the caller; not on failure. */
static int read_answer(struct jetstream *jetstream, natsMsg *reply, const char *what,
                       yyjson_doc **ret_doc)
{
    yyjson_doc *doc = yyjson_read(natsMsg_GetData(reply), (size_t)natsMsg_GetDataLength(reply),
                                  YYJSON_READ_NOFLAG);
    yyjson_val *root = yyjson_doc_get_root(doc);
    int error = yyjson_is_obj(root) ? read_error(jetstream, root, what)
                                    : fail(jetstream, -EBADMSG, "%s: no JSON came back", what);

    if (error)
        yyjson_doc_free(doc);
    else
        *ret_doc = doc;
    return error;
}

static int request(struct jetstream *jetstream, const char *what, const char *operation,
                   const char *bucket, const char *body, yyjson_doc **ret_doc)
{
    char subject[SUBJECT_SIZE];
    natsMsg *reply = NULL;
    natsStatus status;
    int error = jetstream_connect(jetstream);

    if (error)
        return error;
    snprintf(subject, sizeof(subject), "%s%s.KV_%s", jetstream->api, operation, bucket);
    status = natsConnection_RequestString(&reply, jetstream->connection, subject, body,
                                          REQUEST_TIMEOUT_MS);
    error = fail_status(jetstream, status, what);
    if (!error)
        error = read_answer(jetstream, reply, what, ret_doc);
    natsMsg_Destroy(reply);
    return error;
}

/* What does not fit may be refused (discard new), for that is heard of. */
static const char *find_loss(yyjson_val *config)
{
    const char *discard = yyjson_get_str(yyjson_obj_get(config, "discard"));
    const char *retention = yyjson_get_str(yyjson_obj_get(config, "retention"));
    bool drops = !discard || strcmp(discard, "new") != 0;

    if (yyjson_get_sint(yyjson_obj_get(config, "max_age")) > 0)
        return "max_age (TTL)";
    if (drops && yyjson_get_sint(yyjson_obj_get(config, "max_bytes")) > 0)
        return "max_bytes, with discard \"old\"";
    if (drops && yyjson_get_sint(yyjson_obj_get(config, "max_msgs")) > 0)
        return "max_msgs, with discard \"old\"";
    if (retention && strcmp(retention, "limits") != 0)
        return "retention, which is not \"limits\"";
    return NULL;
}

static int read_stream(struct jetstream *jetstream, yyjson_val *root,
                       struct jetstream_stream *ret_stream)
{
    yyjson_val *config = yyjson_obj_get(root, "config");
    yyjson_val *state = yyjson_obj_get(root, "state");
    const char *created = yyjson_get_str(yyjson_obj_get(root, "created"));

    if (!config || !state || !created || strlen(created) >= sizeof(ret_stream->created))
        return fail(jetstream, -EBADMSG, "JetStream says nothing of its stream");
    memcpy(ret_stream->created, created, strlen(created) + 1);
    ret_stream->last_sequence = yyjson_get_uint(yyjson_obj_get(state, "last_seq"));
    ret_stream->messages = yyjson_get_uint(yyjson_obj_get(state, "messages"));
    /* A server that does not know the setting does not repeat it. */
    ret_stream->batches = yyjson_get_bool(yyjson_obj_get(config, "allow_atomic"));
    ret_stream->loses = find_loss(config);
    return 0;
}

int jetstream_find_bucket(struct jetstream *jetstream, const char *bucket,
                          struct jetstream_stream *ret_stream)
{
    yyjson_doc *doc;
    int error = request(jetstream, "asking for the bucket", "STREAM.INFO", bucket, "", &doc);

    if (error)
        return error;
    error = read_stream(jetstream, yyjson_doc_get_root(doc), ret_stream);
    yyjson_doc_free(doc);
    return error;
}

int jetstream_create_bucket(struct jetstream *jetstream, const char *bucket,
                            const struct jetstream_bucket *options,
                            struct jetstream_stream *ret_stream)
{
    char body[1024];
    yyjson_doc *doc;
    int error;

    snprintf(body, sizeof(body),
             "{\"name\":\"KV_%s\",\"subjects\":[\"$KV.%s.>\"],\"max_msgs_per_subject\":1,"
             "\"storage\":\"%s\",\"num_replicas\":%u,\"max_age\":%" PRIu64
             ",\"discard\":\"new\",\"allow_rollup_hdrs\":true,\"deny_delete\":true,"
             "\"allow_direct\":true%s}",
             bucket, bucket, options->memory ? "memory" : "file", options->replicas,
             (uint64_t)options->max_age_s * 1000000000u,
             options->batches ? ",\"allow_atomic\":true" : "");
    error = request(jetstream, "creating the bucket", "STREAM.CREATE", bucket, body, &doc);
    if (error)
        return error;
    error = read_stream(jetstream, yyjson_doc_get_root(doc), ret_stream);
    yyjson_doc_free(doc);
    return error;
}

int jetstream_purge(struct jetstream *jetstream, const char *bucket, const char *key,
                    uint64_t sequence)
{
    char body[SUBJECT_SIZE];
    yyjson_doc *doc;
    int error;

    /* "seq" is the first that stays. */
    snprintf(body, sizeof(body), "{\"filter\":\"$KV.%s.%s\",\"seq\":%" PRIu64 "}", bucket, key,
             sequence + 1);
    error = request(jetstream, "purging a tombstone", "STREAM.PURGE", bucket, body, &doc);
    if (!error)
        yyjson_doc_free(doc);
    return error;
}

/* ---- reading ---- */

static int64_t now_unix_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

/* The library copies all headers when it is asked for one: so only when there is no value. */
static bool is_deletion(natsMsg *message)
{
    const char *operation = NULL;

    if (natsMsg_GetDataLength(message) > 0)
        return false;
    return natsMsgHeader_Get(message, "KV-Operation", &operation) == NATS_OK && operation &&
           (strcmp(operation, "DEL") == 0 || strcmp(operation, "PURGE") == 0);
}

/* The part of an entry that its message itself says; false: not of this bucket. */
static bool read_entry(natsMsg *message, const char *bucket, struct jetstream_entry *ret_entry)
{
    char prefix[JETSTREAM_NAME_MAX + 8];
    struct str subject = str_from(natsMsg_GetSubject(message));
    int length = snprintf(prefix, sizeof(prefix), "$KV.%s.", bucket);

    if (!str_starts_with(subject, str_make(prefix, (size_t)length)))
        return false;
    *ret_entry = (struct jetstream_entry){
        .key = str_after(subject, (size_t)length),
        .value = str_make(natsMsg_GetData(message), (size_t)natsMsg_GetDataLength(message)),
        .deleted = is_deletion(message),
    };
    return true;
}

int jetstream_get(struct jetstream *jetstream, const char *bucket, const char *key,
                  int (*take)(void *context, const struct jetstream_entry *entry), void *context)
{
    char stream[JETSTREAM_NAME_MAX + 4], subject[SUBJECT_SIZE];
    struct jetstream_entry entry;
    natsMsg *message = NULL;
    jsErrCode code = 0;
    natsStatus status;
    int error = jetstream_connect(jetstream);

    if (error)
        return error;
    snprintf(stream, sizeof(stream), "KV_%s", bucket);
    snprintf(subject, sizeof(subject), "$KV.%s.%s", bucket, key);
    status = js_GetLastMsg(&message, jetstream->context, stream, subject, NULL, &code);
    if (code == JSNoMessageFoundErr || code == JSStreamNotFoundErr || status == NATS_NOT_FOUND)
        return fail(jetstream, -ENOENT, "reading %s: not there", key);
    error = fail_status(jetstream, status, "reading an entry");
    if (error)
        return error;
    error = -EBADMSG;
    if (read_entry(message, bucket, &entry)) {
        entry.sequence = natsMsg_GetSequence(message);
        entry.age_ns = now_unix_ns() - natsMsg_GetTime(message);
        error = take(context, &entry);
    }
    natsMsg_Destroy(message);
    return error;
}

int jetstream_subscribe(struct jetstream *jetstream, const char *bucket,
                        natsSubscription **ret_subscription)
{
    char stream[JETSTREAM_NAME_MAX + 4], subject[SUBJECT_SIZE];
    jsSubOptions options;
    jsErrCode code = 0;
    natsStatus status;
    int error = jetstream_connect(jetstream);

    if (error)
        return error;
    snprintf(stream, sizeof(stream), "KV_%s", bucket);
    snprintf(subject, sizeof(subject), "$KV.%s.>", bucket);
    jsSubOptions_Init(&options);
    options.Stream = stream;
    options.Ordered = true;
    options.Config.DeliverPolicy = js_DeliverLastPerSubject;
    options.Config.Heartbeat = INT64_C(1000000000);
    status = js_SubscribeSync(ret_subscription, jetstream->context, subject, NULL, &options, &code);
    if (code == JSStreamNotFoundErr)
        return fail(jetstream, -ENOENT, "reading the bucket: it is not there");
    return fail_status(jetstream, status, "reading the bucket");
}

/* Destroying alone would leave the consumer to the server until it times out. */
void jetstream_unsubscribe(natsSubscription *subscription)
{
    natsSubscription_Unsubscribe(subscription);
    natsSubscription_Destroy(subscription);
}

int jetstream_next(struct jetstream *jetstream, const char *bucket, natsSubscription *subscription,
                   int64_t timeout_ms,
                   int (*take)(void *context, const struct jetstream_entry *entry), void *context)
{
    struct jetstream_entry entry;
    jsMsgMetaData *meta = NULL;
    natsMsg *message = NULL;
    natsStatus status = natsSubscription_NextMsg(&message, subscription, timeout_ms);
    int error = -EBADMSG;

    if (status != NATS_OK)
        return fail_status(jetstream, status, "reading the bucket");
    status = natsMsg_GetMetaData(&meta, message);
    if (status == NATS_OK && read_entry(message, bucket, &entry)) {
        entry.sequence = meta->Sequence.Stream;
        entry.pending = meta->NumPending;
        entry.age_ns = now_unix_ns() - meta->Timestamp;
        error = take(context, &entry);
    }
    jsMsgMetaData_Destroy(meta);
    natsMsg_Destroy(message);
    return error;
}

struct reading {
    int (*take)(void *context, const struct jetstream_entry *entry);
    void *context;
    uint64_t pending;
};

static int take_counted(void *context, const struct jetstream_entry *entry)
{
    struct reading *reading = context;

    reading->pending = entry->pending;
    return reading->take(reading->context, entry);
}

int jetstream_read(struct jetstream *jetstream, const char *bucket,
                   int (*take)(void *context, const struct jetstream_entry *entry), void *context)
{
    struct reading reading = {.take = take, .context = context, .pending = 1};
    struct jetstream_stream stream;
    natsSubscription *subscription = NULL;
    int error = jetstream_find_bucket(jetstream, bucket, &stream);

    if (error || stream.messages == 0)
        return error;
    error = jetstream_subscribe(jetstream, bucket, &subscription);
    while (!error && reading.pending)
        error = jetstream_next(jetstream, bucket, subscription, READ_TIMEOUT_MS, take_counted,
                               &reading);
    jetstream_unsubscribe(subscription);
    return error;
}

/* ---- writing ---- */

static natsStatus set_number(natsMsg *message, const char *name, uint64_t number)
{
    char text[24];

    snprintf(text, sizeof(text), "%" PRIu64, number);
    return natsMsgHeader_Set(message, name, text);
}

struct batch {
    const char *bucket;
    char id[32]; /* empty: a single message */
    size_t count;
    uint64_t expected;
};

static natsStatus make_message(const struct jetstream *jetstream, const struct batch *batch,
                               const struct jetstream_write *write, size_t index,
                               natsMsg **ret_message)
{
    char subject[SUBJECT_SIZE];
    natsMsg *message = NULL;
    natsStatus status;

    snprintf(subject, sizeof(subject), "%s$KV.%s." STR_FMT, jetstream->prefix, batch->bucket,
             STR_ARG(write->key));
    status = natsMsg_Create(&message, subject, NULL, write->value.ptr, (int)write->value.len);
    if (status == NATS_OK && !write->value.ptr)
        status = natsMsgHeader_Set(message, "KV-Operation", "DEL");
    if (status == NATS_OK && index == 0)
        status = set_number(message, "Nats-Expected-Last-Sequence", batch->expected);
    if (status == NATS_OK && batch->id[0])
        status = natsMsgHeader_Set(message, "Nats-Batch-Id", batch->id);
    if (status == NATS_OK && batch->id[0])
        status = set_number(message, "Nats-Batch-Sequence", index + 1);
    if (status == NATS_OK && batch->id[0] && index + 1 == batch->count)
        status = natsMsgHeader_Set(message, "Nats-Batch-Commit", "1");
    if (status == NATS_OK)
        *ret_message = message;
    else
        natsMsg_Destroy(message);
    return status;
}

/* All but the last, whose answer is that of the whole batch. */
static natsStatus send_first(struct jetstream *jetstream, const struct batch *batch,
                             const struct jetstream_write *writes)
{
    natsStatus status = NATS_OK;

    for (size_t i = 0; i + 1 < batch->count && status == NATS_OK; i++) {
        natsMsg *message = NULL;

        status = make_message(jetstream, batch, &writes[i], i, &message);
        if (status == NATS_OK)
            status = natsConnection_PublishMsg(jetstream->connection, message);
        natsMsg_Destroy(message);
    }
    return status;
}

static int read_write_answer(struct jetstream *jetstream, natsMsg *reply, uint64_t *ret_sequence)
{
    yyjson_doc *doc;
    uint64_t sequence;
    int error = read_answer(jetstream, reply, "writing to the bucket", &doc);

    if (error)
        return error;
    sequence = yyjson_get_uint(yyjson_obj_get(yyjson_doc_get_root(doc), "seq"));
    yyjson_doc_free(doc);
    if (!sequence)
        return fail(jetstream, -EBADMSG, "writing to the bucket: the answer has no sequence");
    *ret_sequence = sequence;
    return 0;
}

int jetstream_write(struct jetstream *jetstream, const char *bucket,
                    const struct jetstream_write *writes, size_t count, uint64_t expected,
                    uint64_t *ret_sequence)
{
    struct batch batch = {.bucket = bucket, .count = count, .expected = expected};
    natsMsg *last = NULL, *reply = NULL;
    natsStatus status;
    int error = jetstream_connect(jetstream);

    assert(count > 0 && count <= JETSTREAM_BATCH_MAX);
    if (error)
        return error;
    if (count > 1)
        snprintf(batch.id, sizeof(batch.id), "%" PRIx64 "-%" PRIu64, (uint64_t)now_unix_ns(),
                 expected);
    status = send_first(jetstream, &batch, writes);
    if (status == NATS_OK)
        status = make_message(jetstream, &batch, &writes[count - 1], count - 1, &last);
    if (status == NATS_OK)
        status = natsConnection_RequestMsg(&reply, jetstream->connection, last, REQUEST_TIMEOUT_MS);
    if (status == NATS_MAX_PAYLOAD)
        error = fail(jetstream, -EMSGSIZE, "a Route is larger than the server's max_payload");
    else if (status == NATS_NO_RESPONDERS)
        error = fail(jetstream, -ENOENT, "writing to the bucket: it is not there");
    else
        error = fail_status(jetstream, status, "writing to the bucket");
    if (!error)
        error = read_write_answer(jetstream, reply, ret_sequence);
    natsMsg_Destroy(last);
    natsMsg_Destroy(reply);
    return error;
}
