/*
 * watch: the table thread.
 *
 *   AWAY ──▶ CONNECTING ──▶ PAUSED ──▶ ASKED ──consumer──▶ REPLAYING ──complete──▶ LIVE
 *     ▲                       ▲          │                     │                    │
 *     │                       └── gap ───┴─────────────────────┴────────────────────┘
 *     └── connection lost ── any
 *
 * The consumer is ordered in JetStream's sense: no acks, one delivery, flow control, heartbeats;
 * but a gap never makes it go on from where it was. A library's ordered consumer would, and after
 * the bucket was recreated it would miss what was written before. So the consumer is a plain
 * subscription here, its numbers are checked here, and any doubt leads to a replay from the start.
 *
 * A replay goes into the entries' wanted side; the loops serve the last table until its end, and
 * only if the head says `complete` does it become the next table. One that ends before what is
 * served, in the same lineage, is of a stream that lost its end (an older backup): it is followed,
 * but not served before the controller has begun a new lineage. LIVE, each batch of messages that
 * waited becomes one table: the first change goes out at once, and what gathers while a table is
 * made goes out with the next.
 *
 * The thread waits in one place (feed_wait) and blocks nowhere else. What other threads may ask for
 * lies under one lock, held while entries change.
 */
#include "dataplane/table/watch.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/table/ack.h"
#include "dataplane/table/entries.h"
#include "dataplane/table/feed.h"
#include "dataplane/table/jetstream.h"
#include "dataplane/table/names.h"
#include "dataplane/table/numbers.h"
#include "lib/base/log.h"
#include "lib/base/random.h"

enum {
    HEARTBEAT_MS = 1000,
    SILENCE_MS = 3 * HEARTBEAT_MS, /* then the consumer counts as lost */
    ASK_MS = 2000,
    HEAD_INTERVAL_MS = 5000,
    BACKOFF_LEAST_MS = 250,
    BACKOFF_MOST_MS = 2000,
    UNANSWERED_MAX = 5, /* then the next server's turn has come */
    WAIT_MOST_MS = 1000,
    READY_WITHOUT_ACK_MS = 2000,
    GOODBYE_MS = 500,
    UNADOPTED_MAX = 64, /* versions that loops have not taken yet; then changes gather */
};

static const char out_of_memory[] = "out of memory while reading the table",
                  cannot_connect[] = "cannot connect to NATS",
                  connection_lost[] = "the connection to NATS is lost";

enum reading { AWAY, CONNECTING, PAUSED, ASKED, REPLAYING, LIVE };

struct watch {
    struct feed *feed;
    struct swap *swap;
    pthread_t thread;
    char *strings[7]; /* copies of what the options named */
    struct names names;

    /* of the thread */
    enum reading reading;
    uint64_t retry_ms, backoff_ms;
    unsigned unanswered; /* times that JetStream could not be asked on this connection */
    uint64_t heard_ms, asked_ms, head_ms; /* last message; creation asked; head to be asked */
    uint32_t create_ask, head_ask, end_ask;
    uint64_t sequence, consumer_sequence; /* of the last message of this consumer */
    bool caught_up, advanced;             /* to the bucket's end; since the last publish */
    struct table_head head;               /* as this consumer told it */
    bool has_head;
    uint64_t head_sequence;
    uint64_t stream_end; /* in doubt, as the stream's leader says; 0: not known */
    uint64_t end_ms;     /* how long to wait for that */
    struct route_table *table;
    char lineage[TABLE_ID_MAX + 1], lineage_before[TABLE_ID_MAX + 1];
    uint64_t lineage_number; /* the first version of lineage */
    uint64_t published;      /* number of the newest version */
    uint64_t published_sequence;
    uint64_t applied_ms; /* when the loops first served a table; 0: not yet */
    struct ack ack;
    struct buffer text; /* scratch */
    struct random_source random;

    atomic_bool stopping, ready;
    _Atomic(const char *) reason;

    pthread_mutex_t lock;
    struct entries *entries; /* written with the lock held, by the thread alone */
    struct numbers numbers;  /* as last shown */
};

/* ---- what others see ---- */

static void set_reason(struct watch *watch, const char *reason)
{
    if (atomic_exchange(&watch->reason, reason) == reason)
        return;
    log_info("table", LOG_TEXT("state", reason), LOG_TEXT("bucket", watch->names.stream));
}

static void show_numbers(struct watch *watch, uint64_t revision, uint64_t applied)
{
    pthread_mutex_lock(&watch->lock);
    watch->numbers.revision = revision;
    watch->numbers.applied = applied;
    watch->numbers.routes = entries_served(watch->entries);
    watch->numbers.rejected = entries_rejected_total(watch->entries);
    watch->numbers.acks = watch->ack.stored;
    watch->numbers.ack_failures = watch->ack.failed;
    watch->numbers.live = watch->reading == LIVE;
    pthread_mutex_unlock(&watch->lock);
}

/* ---- beginning anew ---- */

static void pause_for(struct watch *watch, uint64_t delay_ms)
{
    feed_unfollow(watch->feed);
    watch->reading = PAUSED;
    watch->retry_ms = feed_now_ms() + delay_ms;
}

static uint64_t next_backoff_ms(struct watch *watch)
{
    uint64_t half = watch->backoff_ms / 2;

    watch->backoff_ms *= 2;
    if (watch->backoff_ms > BACKOFF_MOST_MS)
        watch->backoff_ms = BACKOFF_MOST_MS;
    return half + random_u64(&watch->random) % (half + 1);
}

/* After a while, longer each time until a replay was complete. */
static void pause_on(struct watch *watch, const char *reason)
{
    set_reason(watch, reason);
    pause_for(watch, next_backoff_ms(watch));
}

static void go_away(struct watch *watch, const char *reason)
{
    set_reason(watch, reason);
    feed_disconnect(watch->feed);
    ack_lost(&watch->ack);
    watch->reading = AWAY;
    watch->retry_ms = feed_now_ms() + next_backoff_ms(watch);
}

/* This server may be cut off from JetStream, or have none: another may not. */
static void miss_jetstream(struct watch *watch, const char *reason)
{
    if (++watch->unanswered < UNANSWERED_MAX)
        pause_on(watch, reason);
    else
        go_away(watch, reason);
}

static void on_denied(void *context, struct str subject)
{
    struct watch *watch = context;
    const struct names_subject asked = names_request(&watch->names, "CONSUMER.CREATE");

    if (watch->reading == ASKED && str_equal(subject, str_from(asked.text)))
        pause_on(watch, "the NATS user may not create a consumer of the table's stream ($JS.API."
                        "CONSUMER.CREATE): correct its permissions");
}

static void on_changed(void *context, const char *why)
{
    struct watch *watch = context;
    const char *reason = watch->reading == CONNECTING ? cannot_connect : connection_lost;

    if (!why) {
        watch->unanswered = 0;
        pause_for(watch, 0);
        return;
    }
    if (atomic_load(&watch->reason) != reason)
        log_warn("the table's connection to NATS", LOG_TEXT("state", reason),
                 LOG_TEXT("reason", why));
    go_away(watch, reason);
}

static void ask_consumer(struct watch *watch)
{
    struct names_subject subject = names_request(&watch->names, "CONSUMER.CREATE");
    char deliver[NAMES_BYTES], filter[NAMES_BYTES + 1];

    entries_begin(watch->entries);
    watch->sequence = watch->consumer_sequence = 0;
    watch->caught_up = watch->has_head = false;
    watch->head_ask = watch->end_ask = 0;
    watch->stream_end = 0;
    snprintf(filter, sizeof(filter), "%s>", watch->names.prefix);
    buffer_clear(&watch->text, SIZE_MAX);
    if (feed_follow(watch->feed, deliver, sizeof(deliver)) ||
        jetstream_write_consumer(&watch->text, watch->names.stream, filter, deliver,
                                 HEARTBEAT_MS) ||
        feed_ask(watch->feed, str_from(subject.text), buffer_view(&watch->text),
                 &watch->create_ask)) {
        go_away(watch, connection_lost);
        return;
    }
    watch->reading = ASKED;
    watch->asked_ms = feed_now_ms();
}

static void begin_replay(struct watch *watch)
{
    if (watch->reading != ASKED)
        return;
    watch->reading = REPLAYING;
    watch->unanswered = 0;
    watch->heard_ms = feed_now_ms();
    watch->head_ms = watch->heard_ms + HEAD_INTERVAL_MS;
    set_reason(watch, "reading the table");
}

/* ---- the head ---- */

/* Another lineage, or an older head of the same: whatever was read is of another life. */
static bool head_differs(const struct watch *watch, const struct table_head *head,
                         uint64_t sequence)
{
    return !watch->has_head || strcmp(head->lineage, watch->head.lineage) != 0 ||
           sequence < watch->head_sequence;
}

static void on_head(struct watch *watch, uint64_t sequence, struct str value, bool deleted)
{
    struct table_head head = {0};
    int result = deleted ? -ENOENT : table_head_read(value, &head);
    bool good = result == 0;

    if (result == -ENOMEM) { /* nothing would ask for it again */
        pause_on(watch, out_of_memory);
        return;
    }
    if (watch->reading == LIVE && (!good || strcmp(head.lineage, watch->head.lineage) != 0)) {
        log_info("the table begins a new life", LOG_TEXT("bucket", watch->names.stream));
        pause_for(watch, 0);
        return;
    }
    watch->has_head = good;
    watch->head = head;
    watch->head_sequence = sequence;
}

static void ask_head(struct watch *watch)
{
    struct names_subject subject = names_request(&watch->names, "STREAM.MSG.GET");
    char key[NAMES_BYTES + 8];

    watch->head_ms = feed_now_ms() + HEAD_INTERVAL_MS;
    snprintf(key, sizeof(key), "%s_table", watch->names.prefix);
    buffer_clear(&watch->text, SIZE_MAX);
    if (jetstream_write_get_last(&watch->text, key) ||
        feed_ask(watch->feed, str_from(subject.text), buffer_view(&watch->text), &watch->head_ask))
        go_away(watch, connection_lost);
}

/* No answer is no news: JetStream may be down, and what is served stays right. */
static void on_head_answer(struct watch *watch, struct str answer)
{
    struct table_head head;
    uint64_t sequence;
    int result;

    if (watch->reading != LIVE)
        return;
    buffer_clear(&watch->text, SIZE_MAX);
    result = jetstream_read_stored(answer, &sequence, &watch->text);
    if (!result)
        result = table_head_read(buffer_view(&watch->text), &head);
    if (result == -ENOENT || result == -EINVAL ||
        (!result && head_differs(watch, &head, sequence))) {
        log_info("the table is not the one that was read", LOG_TEXT("bucket", watch->names.stream));
        pause_for(watch, 0);
    }
}

/* ---- a stream that went back ---- */

/* Whoever may not ask, or gets no answer, goes by what was read. */
static void ask_end(struct watch *watch)
{
    struct names_subject subject = names_request(&watch->names, "STREAM.INFO");

    watch->end_ms = feed_now_ms() + ASK_MS;
    if (feed_ask(watch->feed, str_from(subject.text), str_make("", 0), &watch->end_ask))
        go_away(watch, connection_lost);
}

static void on_end_answer(struct watch *watch, const struct proto_operation *message)
{
    uint64_t end;

    watch->end_ask = 0;
    watch->end_ms = 0;
    if (jetstream_is_no_responders(message->block) || jetstream_read_end(message->payload, &end))
        end = UINT64_MAX;
    watch->stream_end = end;
}

/*
 * A replay that ends before what is served, in the same lineage. Mostly the end was a deletion,
 * whose mark was purged since; the stream's last sequence tells that from a loss.
 */
static bool is_doubtful(struct watch *watch)
{
    if (strcmp(watch->lineage, watch->head.lineage) != 0 ||
        watch->sequence >= watch->published_sequence ||
        watch->stream_end >= watch->published_sequence)
        return false;
    if (!watch->stream_end && !watch->end_ask)
        ask_end(watch);
    else if (!watch->stream_end && feed_now_ms() >= watch->end_ms)
        watch->stream_end = UINT64_MAX;
    if (watch->stream_end)
        set_reason(watch, "the table's stream went back: a controller is to begin it anew");
    return true;
}

/* ---- messages ---- */

/* A write without a value: by a key's deletion, or a marker that the server left. */
static bool is_deletion(const struct proto_operation *message)
{
    struct str value;

    if (message->payload.len > 0)
        return false;
    if (jetstream_header(message->block, STR_LIT("KV-Operation"), &value))
        return !str_equal(value, STR_LIT("PUT"));
    return jetstream_header(message->block, STR_LIT("Nats-Marker-Reason"), &value);
}

static void on_entry(struct watch *watch, const struct proto_operation *message, struct str key,
                     uint64_t sequence)
{
    uint64_t rejected = entries_rejected_version(watch->entries);
    struct table_rejection newest;
    int result = 0;

    pthread_mutex_lock(&watch->lock);
    if (is_deletion(message))
        entries_delete(watch->entries, key);
    else
        result = entries_put(watch->entries, key, sequence, message->payload);
    pthread_mutex_unlock(&watch->lock);
    if (result)
        pause_on(watch, out_of_memory);
    if (entries_rejected_version(watch->entries) != rejected &&
        entries_rejected(watch->entries, &newest, 1) && newest.sequence == sequence)
        log_warn("entry rejected", LOG_TEXT("key", newest.key), LOG_U64("sequence", sequence),
                 LOG_TEXT("reason", newest.reason));
}

static void on_delivery(struct watch *watch, const struct proto_operation *message,
                        const struct jetstream_delivery *delivery)
{
    struct str prefix = str_from(watch->names.prefix), key;

    if (delivery->consumer_sequence != watch->consumer_sequence + 1 ||
        delivery->stream_sequence <= watch->sequence ||
        !str_starts_with(message->subject, prefix)) {
        pause_on(watch, "a gap in the table's stream: reading it anew");
        return;
    }
    watch->consumer_sequence = delivery->consumer_sequence;
    watch->sequence = delivery->stream_sequence;
    watch->caught_up |= delivery->pending == 0;
    watch->advanced = true;
    key = str_after(message->subject, prefix.len);
    if (str_equal(key, STR_LIT("_table")))
        on_head(watch, watch->sequence, message->payload, is_deletion(message));
    else if (key.len > 0 && key.ptr[0] != '_') /* other such keys are for versions to come */
        on_entry(watch, message, key, watch->sequence);
}

/* Heartbeats say which message was the last; flow control waits for an answer. */
static void on_control(struct watch *watch, const struct proto_operation *message)
{
    struct str reply = message->reply_subject, last;
    uint64_t sequence;

    if (jetstream_header(message->block, STR_LIT("Nats-Last-Consumer"), &last) &&
        (!str_read_decimal(last, &sequence) || sequence != watch->consumer_sequence)) {
        pause_on(watch, "a gap in the table's stream: reading it anew");
        return;
    }
    if (!reply.len)
        jetstream_header(message->block, STR_LIT("Nats-Consumer-Stalled"), &reply);
    if (str_starts_with(reply, STR_LIT("$JS.FC.")) && feed_publish(watch->feed, reply))
        go_away(watch, connection_lost);
}

static void on_message(void *context, const struct proto_operation *message)
{
    struct watch *watch = context;
    struct jetstream_delivery delivery;

    begin_replay(watch);
    watch->heard_ms = feed_now_ms();
    if (jetstream_read_delivery(message->reply_subject, &delivery) == 0)
        on_delivery(watch, message, &delivery);
    else
        on_control(watch, message);
}

static void on_created(struct watch *watch, const struct proto_operation *message)
{
    uint64_t pending = 0;
    int result = jetstream_is_no_responders(message->block)
                     ? -EREMOTEIO
                     : jetstream_read_created(message->payload, &pending);

    if (result == -ENOENT)
        pause_on(watch, "the table's bucket does not exist yet: a controller creates it");
    else if (result)
        miss_jetstream(watch, "JetStream is not available");
    else
        begin_replay(watch);
    if (!result && pending == 0 && watch->consumer_sequence == 0)
        watch->caught_up = true; /* an empty bucket sends no last message */
}

static void on_answer(void *context, uint32_t id, const struct proto_operation *message)
{
    struct watch *watch = context;
    bool stored;

    if (id == watch->create_ask && (watch->reading == ASKED || watch->reading == REPLAYING))
        on_created(watch, message);
    else if (id == watch->head_ask && !jetstream_is_no_responders(message->block))
        on_head_answer(watch, message->payload);
    else if (id == watch->end_ask)
        on_end_answer(watch, message);
    else if (id == watch->ack.asked) {
        stored = !jetstream_is_no_responders(message->block) &&
                 jetstream_read_published(message->payload) == 0;
        ack_answered(&watch->ack, id, stored, feed_now_ms());
    }
}

/* ---- the next table ---- */

static int publish(struct watch *watch)
{
    struct route *const *retired;
    struct route_table *table;
    size_t retired_count;
    int64_t number;

    if (entries_commit(watch->entries, watch->table, &table, &retired, &retired_count))
        return -ENOMEM;
    number =
        swap_publish(watch->swap, route_table_ref(table), watch->sequence, retired, retired_count);
    if (number < 0) {
        route_table_unref(table);
        route_table_unref(table);
        return -ENOMEM;
    }
    entries_settle(watch->entries);
    route_table_unref(watch->table);
    watch->table = table;
    watch->published = (uint64_t)number;
    watch->published_sequence = watch->sequence;
    watch->advanced = false;
    return 0;
}

static int publish_replay(struct watch *watch)
{
    int result;

    entries_sweep(watch->entries);
    result = publish(watch);
    if (result)
        return result;
    if (strcmp(watch->lineage, watch->head.lineage) != 0) {
        memcpy(watch->lineage_before, watch->lineage, sizeof(watch->lineage));
        memcpy(watch->lineage, watch->head.lineage, sizeof(watch->lineage));
        watch->lineage_number = watch->published;
    }
    watch->reading = LIVE;
    watch->backoff_ms = BACKOFF_LEAST_MS;
    watch->numbers.replays++;
    return 0;
}

static void publish_what_is_new(struct watch *watch)
{
    bool whole =
        watch->reading == REPLAYING && watch->caught_up && watch->has_head && watch->head.complete;
    uint64_t adopted;
    int result = 0;

    if (whole && is_doubtful(watch))
        return;
    swap_applied(watch->swap, &adopted);
    pthread_mutex_lock(&watch->lock);
    if (whole)
        result = publish_replay(watch);
    else if (watch->reading == LIVE && watch->advanced &&
             watch->published - adopted < UNADOPTED_MAX)
        result = publish(watch);
    pthread_mutex_unlock(&watch->lock);
    if (result)
        pause_on(watch, "out of memory while making the table");
    else if (watch->reading == LIVE)
        set_reason(watch, "serving the table");
    else if (watch->reading == REPLAYING && watch->caught_up)
        set_reason(watch, "the table is not complete yet: a controller is to write it");
}

/* ---- acks and readiness ---- */

/* Names fewer of the rejected where the server does not take all. */
static uint32_t send_ack(struct watch *watch)
{
    struct table_ack *ack = &watch->ack.value;
    uint32_t id;
    int result;

    for (;; ack->rejected_count /= 2) {
        buffer_clear(&watch->text, SIZE_MAX);
        result = table_ack_write(ack, &watch->text);
        if (!result)
            result = feed_ask(watch->feed, str_from(watch->names.ack_subject),
                              buffer_view(&watch->text), &id);
        if (result != -EMSGSIZE || ack->rejected_count == 0)
            return result ? 0 : id;
    }
}

static void tell_applied(struct watch *watch)
{
    uint64_t number, revision = swap_applied(watch->swap, &number), now_ms = feed_now_ms();

    swap_collect(watch->swap, entries_route_freed, watch->entries);
    if (number > 0) {
        if (!watch->applied_ms)
            watch->applied_ms = now_ms;
        ack_update(&watch->ack,
                   number >= watch->lineage_number ? watch->lineage : watch->lineage_before,
                   revision, watch->entries);
    }
    if (watch->reading >= PAUSED && ack_due(&watch->ack, now_ms))
        ack_sent(&watch->ack, send_ack(watch), now_ms);
    if (watch->applied_ms &&
        (watch->ack.stored > 0 || now_ms - watch->applied_ms >= READY_WITHOUT_ACK_MS))
        atomic_store(&watch->ready, true);
    show_numbers(watch, watch->reading == LIVE ? watch->sequence : watch->numbers.revision,
                 revision);
}

/* ---- the thread ---- */

static void act_on_time(struct watch *watch)
{
    uint64_t now_ms = feed_now_ms();

    if (watch->reading == AWAY && now_ms >= watch->retry_ms) {
        watch->reading = CONNECTING;
        if (feed_connect(watch->feed))
            go_away(watch, cannot_connect);
    }
    if (watch->reading == PAUSED && now_ms >= watch->retry_ms)
        ask_consumer(watch);
    if (watch->reading == ASKED && now_ms >= watch->asked_ms + ASK_MS)
        miss_jetstream(watch, "JetStream does not answer");
    if ((watch->reading == REPLAYING || watch->reading == LIVE) &&
        now_ms > watch->heard_ms + SILENCE_MS)
        pause_on(watch, "no heartbeat of the table's stream: reading it anew");
    if (watch->reading == LIVE && now_ms >= watch->head_ms)
        ask_head(watch);
}

static uint64_t next_deadline_ms(const struct watch *watch)
{
    uint64_t deadline_ms = feed_now_ms() + WAIT_MOST_MS;
    uint64_t ack_ms = watch->reading >= PAUSED ? ack_deadline_ms(&watch->ack) : UINT64_MAX;

    if ((watch->reading == AWAY || watch->reading == PAUSED) && watch->retry_ms < deadline_ms)
        deadline_ms = watch->retry_ms;
    if (watch->reading == LIVE && watch->head_ms < deadline_ms)
        deadline_ms = watch->head_ms;
    return ack_ms < deadline_ms ? ack_ms : deadline_ms;
}

/* One last word, so that nobody waits for this pod. */
static void say_goodbye(struct watch *watch)
{
    uint64_t end_ms = feed_now_ms() + GOODBYE_MS;

    if (watch->reading < PAUSED || !watch->ack.started)
        return;
    pause_for(watch, 0);
    watch->ack.value.goodbye = true;
    ack_sent(&watch->ack, send_ack(watch), feed_now_ms());
    while (watch->reading == PAUSED && watch->ack.asked && feed_now_ms() < end_ms)
        feed_wait(watch->feed, end_ms);
}

static void *run(void *context)
{
    struct watch *watch = context;

    while (!atomic_load(&watch->stopping)) {
        act_on_time(watch);
        publish_what_is_new(watch);
        tell_applied(watch);
        feed_wait(watch->feed, next_deadline_ms(watch));
    }
    say_goodbye(watch);
    return NULL;
}

/* ---- the interface ---- */

/* A loop has adopted a table. */
static void on_adopted(void *context)
{
    feed_wake(context);
}

static const char *copy(struct watch *watch, size_t index, const char *text)
{
    if (text)
        watch->strings[index] = strdup(text);
    return watch->strings[index];
}

static void watch_free(struct watch *watch)
{
    feed_free(watch->feed);
    route_table_unref(watch->table);
    entries_free(watch->entries);
    buffer_done(&watch->text);
    pthread_mutex_destroy(&watch->lock);
    for (size_t i = 0; i < sizeof(watch->strings) / sizeof(watch->strings[0]); i++)
        free(watch->strings[i]);
    free(watch);
}

int watch_start(const struct watch_options *options, struct swap *swap, struct watch **ret_watch,
                char *ret_error, size_t error_size)
{
    struct watch *watch = calloc(1, sizeof(*watch));
    const struct feed_handler feed_handler = {on_message, on_answer, on_denied, on_changed, watch};
    struct feed_options feed_options;
    char boot[23];
    int result = -ENOMEM;

    snprintf(ret_error, error_size, "out of memory");
    if (!watch)
        return -ENOMEM;
    pthread_mutex_init(&watch->lock, NULL);
    random_init(&watch->random);
    buffer_init(&watch->text, TABLE_ACK_MAX + ROUTE_SOURCE_MAX);
    random_text(&watch->random, boot, sizeof(boot));
    ack_init(&watch->ack, boot);
    watch->swap = swap;
    watch->backoff_ms = BACKOFF_LEAST_MS;
    atomic_store(&watch->reason, "not connected to NATS yet");
    feed_options = (struct feed_options){
        .servers = copy(watch, 0, options->servers),
        .creds_file = copy(watch, 1, options->creds_file),
        .ca_file = copy(watch, 2, options->ca_file),
        .inbox_prefix = copy(watch, 3, options->inbox_prefix),
        .name = copy(watch, 4, options->pod),
        .cert_file = copy(watch, 5, options->cert_file),
        .key_file = copy(watch, 6, options->key_file),
        .tls_first = options->tls_first,
    };
    watch->entries = entries_new(str_from(options->gateway));
    if (!watch->entries || !feed_options.servers || !feed_options.inbox_prefix ||
        !feed_options.name)
        goto fail;
    result = names_init(&watch->names, options->gateway, options->pod, options->js_domain);
    if (result) {
        snprintf(ret_error, error_size,
                 "the gateway's, the pod's or the domain's name is too long");
        goto fail;
    }
    result = feed_new(&feed_options, &feed_handler, &watch->feed, ret_error, error_size);
    if (result)
        goto fail;
    swap_on_adopted(swap, on_adopted, watch->feed);
    result = -pthread_create(&watch->thread, NULL, run, watch);
    if (result) {
        snprintf(ret_error, error_size, "no thread: %s", strerror(-result));
        goto fail;
    }
    *ret_watch = watch;
    return 0;
fail:
    watch_free(watch);
    return result;
}

void watch_stop(struct watch *watch)
{
    atomic_store(&watch->stopping, true);
    feed_wake(watch->feed);
    pthread_join(watch->thread, NULL);
    /* A loop that never ran does what it was woken for when it is freed, which is later. */
    swap_on_adopted(watch->swap, NULL, NULL);
    watch_free(watch);
}

bool watch_ready(const struct watch *watch)
{
    return atomic_load(&watch->ready);
}

const char *watch_reason(const struct watch *watch)
{
    return atomic_load(&watch->reason);
}

int watch_dump(struct watch *watch, struct buffer *out)
{
    int result;

    pthread_mutex_lock(&watch->lock);
    result = buffer_printf(out, "{\"bucket\":\"%s\",\"revision\":%llu,\"routes\":",
                           names_bucket(&watch->names), (unsigned long long)watch->numbers.applied);
    if (!result)
        result = entries_dump(watch->entries, out);
    pthread_mutex_unlock(&watch->lock);
    return result ? result : buffer_append_str(out, STR_LIT("}\n"));
}

int watch_metrics(const struct watch *watch, struct buffer *page)
{
    struct numbers numbers;

    pthread_mutex_lock((pthread_mutex_t *)&watch->lock);
    numbers = watch->numbers;
    pthread_mutex_unlock((pthread_mutex_t *)&watch->lock);
    return numbers_write(&numbers, page);
}
