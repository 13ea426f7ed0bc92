/*
 * feed: cnats callbacks on one side, a queue in the middle, the table thread on the other.
 *
 * Inboxes: <prefix>.<random>.a.<id> for answers, one subscription as long as the connection lives;
 * <prefix>.<random>.m.<id> for the messages of one consumer, subscribed per consumer, so that the
 * server sees an abandoned one without interest and deletes it. What still comes for an old id is
 * told from the new by the id.
 *
 * The queue needs no limit of its own for slow readers: a consumer's flow control is answered by
 * the taker, so the server stops at its window. QUEUE_MAX guards against a server that does not.
 *
 * Lifetime: the library may call back until it says that a subscription is complete. The feed
 * counts those and waits before it lets go. That the connection is closed shows by the answers'
 * subscription being complete: it says so on a thread that is there already, while the library's
 * own word, the closed callback, may come before connecting has returned, and never comes without
 * memory for it.
 */
#include "dataplane/table/feed.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/base/log.h"
#include "lib/base/random.h"

enum {
    CONNECT_TIMEOUT_MS = 2000,
    PING_INTERVAL_MS = 5000,
    PINGS_MAX = 2,
    SERVERS_MAX = 64,
    INBOX_MAX = 192,
    QUEUE_MAX = 1 << 20,
};

struct feed {
    struct feed_options options;
    natsConnection *connection;
    natsSubscription *answers, *messages;
    char inbox[INBOX_MAX];
    uint32_t last_id;
    struct random_source random;

    pthread_mutex_t lock; /* of all that follows */
    pthread_cond_t changed;
    struct feed_item *items; /* a ring */
    size_t first, count, capacity;
    unsigned callers; /* subscriptions that may still call back */
    bool connected, woken;
};

/* Of one subscription; freed when the library says that it is complete. */
struct follower {
    struct feed *feed;
    uint32_t id; /* 0: of answers */
};

uint64_t feed_now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

struct feed *feed_new(const struct feed_options *options)
{
    struct feed *feed = calloc(1, sizeof(*feed));
    pthread_condattr_t monotonic;

    if (!feed)
        return NULL;
    feed->options = *options;
    random_init(&feed->random);
    pthread_mutex_init(&feed->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&feed->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return feed;
}

void feed_free(struct feed *feed)
{
    if (!feed)
        return;
    feed_disconnect(feed);
    pthread_cond_destroy(&feed->changed);
    pthread_mutex_destroy(&feed->lock);
    free(feed->items);
    free(feed);
}

/* ---- threads of the library ---- */

/* Both with the lock held. */
static int queue_grow(struct feed *feed)
{
    size_t capacity = feed->capacity ? 2 * feed->capacity : 256;
    struct feed_item *items;

    if (capacity > QUEUE_MAX)
        return -ENOBUFS;
    items = malloc(capacity * sizeof(*items));
    if (!items)
        return -ENOMEM;
    for (size_t i = 0; i < feed->count; i++)
        items[i] = feed->items[(feed->first + i) % feed->capacity];
    free(feed->items);
    feed->items = items;
    feed->capacity = capacity;
    feed->first = 0;
    return 0;
}

static int queue_add(struct feed *feed, const struct feed_item *item)
{
    int result = feed->count == feed->capacity ? queue_grow(feed) : 0;

    if (!result)
        feed->items[(feed->first + feed->count++) % feed->capacity] = *item;
    return result;
}

/*
 * An answer comes with the subject that it was asked for; a consumer's messages come with those
 * that they were published with, so there the subscription tells. A message that cannot be kept is
 * a gap, and a gap shows by the consumer's numbers (watch).
 */
static void on_message(natsConnection *connection, natsSubscription *subscription, natsMsg *message,
                       void *context)
{
    const struct follower *follower = context;
    struct feed *feed = follower->feed;
    struct feed_item item = {FEED_MESSAGE, follower->id, message};
    const char *dot = strrchr(natsMsg_GetSubject(message), '.');

    (void)connection, (void)subscription;
    if (!item.id) {
        item.kind = FEED_ANSWER;
        item.id = dot ? (uint32_t)strtoul(dot + 1, NULL, 10) : 0;
    }
    pthread_mutex_lock(&feed->lock);
    if (queue_add(feed, &item))
        natsMsg_Destroy(message);
    else if (feed->count == 1) /* else the taker knows: it waits only for an empty queue */
        pthread_cond_signal(&feed->changed);
    pthread_mutex_unlock(&feed->lock);
}

/* After the last message. The answers' subscription ends with its connection. */
static void on_subscription_complete(void *context)
{
    struct follower *follower = context;
    struct feed *feed = follower->feed;

    pthread_mutex_lock(&feed->lock);
    assert(feed->callers > 0);
    feed->callers--;
    if (!follower->id)
        feed->connected = false;
    pthread_cond_signal(&feed->changed);
    pthread_mutex_unlock(&feed->lock);
    free(follower);
}

/* What the library noticed: a permission that is missing, a slow consumer. */
static void on_error(natsConnection *connection, natsSubscription *subscription, natsStatus status,
                     void *context)
{
    const char *text = NULL;

    (void)subscription, (void)context;
    natsConnection_GetLastError(connection, &text);
    log_warn("the table's connection to NATS", LOG_TEXT("error", natsStatus_GetText(status)),
             LOG_TEXT("detail", text));
}

/* ---- the table thread: the connection ---- */

static natsStatus set_servers(natsOptions *options, const char *servers)
{
    const char *list[SERVERS_MAX];
    char *copy = strdup(servers), *rest = copy, *server;
    natsStatus status = copy ? NATS_OK : NATS_NO_MEMORY;
    int count = 0;

    while (copy && (server = strsep(&rest, ",")) && count < SERVERS_MAX) {
        server += strspn(server, " ");
        server[strcspn(server, " ")] = '\0';
        list[count++] = server;
    }
    if (status == NATS_OK)
        status = natsOptions_SetServers(options, list, count);
    free(copy);
    return status;
}

static natsStatus set_tls(natsOptions *options, const struct feed_options *given)
{
    natsStatus s = NATS_OK;

    if (given->ca_file || given->cert_file || given->tls_first || strstr(given->servers, "tls://"))
        s = natsOptions_SetSecure(options, true);
    if (s == NATS_OK && given->ca_file)
        s = natsOptions_LoadCATrustedCertificates(options, given->ca_file);
    if (s == NATS_OK && given->cert_file)
        s = natsOptions_LoadCertificatesChain(options, given->cert_file,
                                              given->key_file ? given->key_file : given->cert_file);
#if NATS_VERSION_NUMBER >= 0x030800
    if (s == NATS_OK && given->tls_first)
        s = natsOptions_TLSHandshakeFirst(options);
#endif
    return s;
}

static natsStatus set_options(natsOptions *options, struct feed *feed)
{
    const struct feed_options *given = &feed->options;
    natsStatus s = set_servers(options, given->servers);

    if (s == NATS_OK)
        s = natsOptions_SetName(options, given->name);
    if (s == NATS_OK)
        s = natsOptions_SetAllowReconnect(options, false);
    if (s == NATS_OK)
        s = natsOptions_SetTimeout(options, CONNECT_TIMEOUT_MS);
    if (s == NATS_OK)
        s = natsOptions_SetPingInterval(options, PING_INTERVAL_MS);
    if (s == NATS_OK)
        s = natsOptions_SetMaxPingsOut(options, PINGS_MAX);
    if (s == NATS_OK) /* an ack shall not wait for the flusher's next round */
        s = natsOptions_SetSendAsap(options, true);
    if (s == NATS_OK)
        s = natsOptions_SetErrorHandler(options, on_error, NULL);
    if (s == NATS_OK && given->creds_file)
        s = natsOptions_SetUserCredentialsFromFiles(options, given->creds_file, NULL);
    return s == NATS_OK ? set_tls(options, given) : s;
}

/* id: of its items; 0: they are answers. */
static int subscribe(struct feed *feed, const char *subject, uint32_t id,
                     natsSubscription **ret_sub)
{
    struct follower *follower = malloc(sizeof(*follower));
    natsSubscription *sub = NULL;

    if (!follower)
        return -ENOTCONN;
    *follower = (struct follower){feed, id};
    if (natsConnection_Subscribe(&sub, feed->connection, subject, on_message, follower)) {
        free(follower);
        return -ENOTCONN;
    }
    pthread_mutex_lock(&feed->lock);
    feed->callers++;
    feed->connected |= !id;
    pthread_mutex_unlock(&feed->lock);
    if (natsSubscription_SetOnCompleteCB(sub, on_subscription_complete, follower) != NATS_OK) {
        on_subscription_complete(follower); /* closed already; nobody was told of this inbox yet */
        natsSubscription_Destroy(sub);
        return -ENOTCONN;
    }
    *ret_sub = sub;
    return natsSubscription_SetPendingLimits(sub, -1, -1) == NATS_OK ? 0 : -ENOTCONN;
}

static void new_inbox(struct feed *feed)
{
    const char *prefix = feed->options.inbox_prefix ? feed->options.inbox_prefix : "_INBOX";
    char name[23];

    random_text(&feed->random, name, sizeof(name));
    snprintf(feed->inbox, sizeof(feed->inbox), "%.128s.%s", prefix, name);
}

int feed_connect(struct feed *feed, const char **ret_reason)
{
    natsOptions *options = NULL;
    char subject[INBOX_MAX + 8];
    natsStatus s = natsOptions_Create(&options);

    assert(!feed->connection);
    new_inbox(feed);
    if (s == NATS_OK)
        s = set_options(options, feed);
    if (s == NATS_OK)
        s = natsConnection_Connect(&feed->connection, options);
    natsOptions_Destroy(options);
    if (s == NATS_OK) {
        snprintf(subject, sizeof(subject), "%s.a.*", feed->inbox);
        if (subscribe(feed, subject, 0, &feed->answers))
            s = NATS_CONNECTION_CLOSED;
    }
    if (s == NATS_OK)
        return 0;
    feed_disconnect(feed);
    *ret_reason = natsStatus_GetText(s);
    return -ENOTCONN;
}

static void destroy(natsSubscription **subscription)
{
    natsSubscription_Destroy(*subscription);
    *subscription = NULL;
}

void feed_disconnect(struct feed *feed)
{
    struct feed_item item;

    if (!feed->connection)
        return;
    destroy(&feed->messages);
    destroy(&feed->answers);
    natsConnection_Close(feed->connection);
    pthread_mutex_lock(&feed->lock);
    while (feed->callers > 0)
        pthread_cond_wait(&feed->changed, &feed->lock);
    pthread_mutex_unlock(&feed->lock);
    natsConnection_Destroy(feed->connection);
    feed->connection = NULL;
    while (feed_take(feed, &item, 1))
        natsMsg_Destroy(item.message);
}

bool feed_connected(struct feed *feed)
{
    bool connected;

    pthread_mutex_lock(&feed->lock);
    connected = feed->connected;
    pthread_mutex_unlock(&feed->lock);
    return connected;
}

/* ---- the table thread: messages ---- */

int feed_follow(struct feed *feed, uint32_t *ret_id, char *ret_subject, size_t size)
{
    assert(feed->connection);
    destroy(&feed->messages);
    *ret_id = ++feed->last_id;
    snprintf(ret_subject, size, "%s.m.%u", feed->inbox, *ret_id);
    return subscribe(feed, ret_subject, *ret_id, &feed->messages);
}

void feed_unfollow(struct feed *feed)
{
    destroy(&feed->messages);
}

int feed_ask(struct feed *feed, const char *subject, struct str data, uint32_t *ret_id)
{
    char reply[INBOX_MAX + 16];

    assert(feed->connection);
    *ret_id = ++feed->last_id;
    snprintf(reply, sizeof(reply), "%s.a.%u", feed->inbox, *ret_id);
    return natsConnection_PublishRequest(feed->connection, subject, reply, data.ptr,
                                         (int)data.len) == NATS_OK
               ? 0
               : -ENOTCONN;
}

int feed_publish(struct feed *feed, const char *subject)
{
    assert(feed->connection);
    return natsConnection_Publish(feed->connection, subject, NULL, 0) == NATS_OK ? 0 : -ENOTCONN;
}

void feed_wait(struct feed *feed, uint64_t deadline_ms)
{
    struct timespec until = {.tv_sec = (time_t)(deadline_ms / 1000),
                             .tv_nsec = (long)(deadline_ms % 1000) * 1000000};
    bool had_connection = feed->connection != NULL;
    int result = 0;

    pthread_mutex_lock(&feed->lock);
    while (!feed->woken && feed->count == 0 && result == 0 && feed->connected == had_connection)
        result = pthread_cond_timedwait(&feed->changed, &feed->lock, &until);
    feed->woken = false;
    pthread_mutex_unlock(&feed->lock);
}

size_t feed_take(struct feed *feed, struct feed_item *items, size_t max)
{
    size_t count;

    pthread_mutex_lock(&feed->lock);
    count = feed->count < max ? feed->count : max;
    for (size_t i = 0; i < count; i++)
        items[i] = feed->items[(feed->first + i) % feed->capacity];
    feed->first = feed->capacity ? (feed->first + count) % feed->capacity : 0;
    feed->count -= count;
    pthread_mutex_unlock(&feed->lock);
    return count;
}

void feed_wake(struct feed *feed)
{
    pthread_mutex_lock(&feed->lock);
    feed->woken = true;
    pthread_cond_signal(&feed->changed);
    pthread_mutex_unlock(&feed->lock);
}
