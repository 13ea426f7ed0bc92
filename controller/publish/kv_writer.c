/*
 * kv_writer: the states of one bucket's writer (drawn in kv_publish.h). What it shares with the
 * loop it touches under the lock, which it never holds while it talks to NATS.
 *
 * Why this is safe with two controllers on one bucket: every write says which sequence must be the
 * last, one write is in flight at a time, and a sequence is only ever learned by reading the bucket
 * to its end or from the server's answer to a write. So whoever wrote last knows the bucket, and
 * everybody else is refused. A refused or unanswered write means "look again" (check): another term
 * in _table: deposed; anything else that does not fit: read it all anew.
 *
 * Who shall write is decided elsewhere (kv_publish_lead). A new leadership begins from nothing: a
 * term of its own, and the bucket read anew, for another may have written since the last one.
 *
 * A write that JetStream will not take for another reason (limits, no leader) is tried again, with
 * a growing pause, and its reason shown; the Routes' statuses name it.
 */
#include "controller/publish/kv_writer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/log.h"

#define CHECK_NS (5 * SECOND_NS)
#define RETRY_MOST_NS (5 * SECOND_NS)
#define FOREIGN_NS (30 * SECOND_NS)
#define TOMBSTONE_NS (3600 * SECOND_NS)
#define SWEEP_NS (60 * SECOND_NS)

enum { BATCH_BYTES_MAX = 4 * 1024 * 1024, SWEEP_MAX = 100, ID_LENGTH = 22 };

static uint64_t now_ns(void)
{
    return uv_hrtime();
}

static void send_event(struct kv_publish *publish, const struct event *what, const char *text)
{
    pthread_mutex_lock(&publish->lock);
    kv_publish_add_event(publish, what, text);
    pthread_mutex_unlock(&publish->lock);
    uv_async_send(&publish->async);
}

/* ---- state ---- */

static void log_state(const struct table *table)
{
    switch (table->state) {
    case KV_PUBLISH_IN_CHARGE:
        if (table->reason[0])
            log_warn("bucket trouble", LOG_TEXT("bucket", table->name),
                     LOG_TEXT("reason", table->reason));
        else
            log_info("in charge of bucket", LOG_TEXT("bucket", table->name),
                     LOG_TEXT("lineage", table->lineage), LOG_TEXT("term", table->term),
                     LOG_U64("revision", table->last_sequence));
        break;
    case KV_PUBLISH_STANDBY:
    case KV_PUBLISH_LOADED:
        break;
    case KV_PUBLISH_OPENING:
        if (table->reason[0])
            log_warn("bucket not available", LOG_TEXT("bucket", table->name),
                     LOG_TEXT("reason", table->reason));
        break;
    case KV_PUBLISH_DEPOSED:
    case KV_PUBLISH_FOREIGN:
        log_error("not the writer of bucket", LOG_TEXT("bucket", table->name),
                  LOG_TEXT("reason", table->reason));
        break;
    }
}

/* The one place that changes a table's state; told and logged when it, or the reason, is new. */
static void set_state(struct kv_publish *publish, struct table *table, enum kv_publish_state state,
                      const char *reason)
{
    struct event event = {.kind = EVENT_STATE, .gateway = table->index, .state = state};
    bool same = table->state == state && strcmp(table->reason, reason) == 0;

    table->state = state;
    if (reason != table->reason)
        snprintf(table->reason, sizeof(table->reason), "%s", reason);
    if (same)
        return;
    log_state(table);
    send_event(publish, &event, table->reason);
}

static void grow_retry(struct table *table)
{
    table->retry_ns = table->retry_ns ? 2 * table->retry_ns : RETRY_FIRST_NS;
    if (table->retry_ns > RETRY_MOST_NS)
        table->retry_ns = RETRY_MOST_NS;
    table->due_ns = now_ns() + table->retry_ns;
}

/* Reads the bucket anew, soon; new_lineage: what we know of it is not what it was. */
static void reopen(struct kv_publish *publish, struct table *table, const char *reason)
{
    pthread_mutex_lock(&publish->lock);
    table->loaded = table->begun = false;
    pthread_mutex_unlock(&publish->lock);
    table->due_ns = 0;
    table->unsure = false;
    set_state(publish, table, KV_PUBLISH_OPENING, reason);
}

/* Forgets what another may change from now on. */
static void retire(struct kv_publish *publish, struct table *table, enum kv_publish_state state,
                   const char *reason)
{
    pthread_mutex_lock(&publish->lock);
    table->loaded = table->begun = false;
    pthread_mutex_unlock(&publish->lock);
    table->term[0] = table->stream.created[0] = '\0';
    table->last_sequence = table->retry_ns = table->too_large = 0;
    table->unsure = table->new_lineage = false;
    set_state(publish, table, state, reason);
}

static void depose(struct kv_publish *publish, struct table *table)
{
    retire(publish, table, KV_PUBLISH_DEPOSED, "another controller writes this bucket now");
}

/* A leadership has begun, or ended, or both. */
static void follow_leadership(struct kv_publish *publish, struct table *table, uint64_t leadership)
{
    table->leadership = leadership;
    retire(publish, table, KV_PUBLISH_STANDBY, "");
    if (leadership)
        reopen(publish, table, "");
}

/* ---- OPENING: read the bucket to its end ---- */

struct opening {
    struct kv_publish *publish;
    struct table *table;
    uint64_t highest;
};

static int take_entry(void *context, const struct jetstream_entry *entry)
{
    struct opening *opening = context;
    struct kv_publish *publish = opening->publish;
    struct table *table = opening->table;
    uint64_t now = now_ns();
    uint64_t age_ns = entry->age_ns > 0 ? (uint64_t)entry->age_ns : 0;
    struct str ignored;
    int error;

    if (entry->sequence > opening->highest)
        opening->highest = entry->sequence;
    if (str_equal(entry->key, STR_LIT("_table"))) {
        if (!entry->deleted && table_head_read(entry->value, &table->head) < 0)
            table->head_malformed = true;
        return 0;
    }
    if (!entry->deleted && table_key_read(entry->key, &ignored, &ignored) < 0)
        table->odd_keys = true;
    pthread_mutex_lock(&publish->lock);
    error =
        bucket_read(&table->bucket, entry->key, entry->deleted ? str_make(NULL, 0) : entry->value,
                    entry->sequence, age_ns < now ? now - age_ns : 1);
    pthread_mutex_unlock(&publish->lock);
    return error;
}

static int find_or_create(struct kv_publish *publish, struct table *table,
                          struct jetstream_stream *ret_stream)
{
    const struct jetstream_bucket options = {.batches = true, .replicas = publish->replicas};
    int error = jetstream_find_bucket(&publish->jetstream, table->name, ret_stream);

    if (error == -ENOENT) {
        error = jetstream_create_bucket(&publish->jetstream, table->name, &options, ret_stream);
        if (!error)
            log_info("created bucket", LOG_TEXT("bucket", table->name),
                     LOG_U64("replicas", publish->replicas));
    }
    return error;
}

static int read_bucket(struct kv_publish *publish, struct table *table, uint64_t *ret_last)
{
    struct opening opening = {.publish = publish, .table = table};
    struct jetstream_stream stream;
    int error = find_or_create(publish, table, &stream);

    if (error)
        return error;
    /* What was acknowledged in an earlier life of the stream, or is no longer in this one. */
    if (table->stream.created[0] && (strcmp(table->stream.created, stream.created) != 0 ||
                                     stream.last_sequence < table->last_sequence))
        table->new_lineage = true;
    pthread_mutex_lock(&publish->lock);
    bucket_forget_stored(&table->bucket);
    pthread_mutex_unlock(&publish->lock);
    table->head = (struct table_head){0};
    table->head_malformed = table->odd_keys = false;
    error = jetstream_read(&publish->jetstream, table->name, take_entry, &opening);
    if (error)
        return error;
    table->stream = stream;
    *ret_last = opening.highest > stream.last_sequence ? opening.highest : stream.last_sequence;
    return 0;
}

/* May we write it? Empty: yes. */
static void judge(const struct kv_publish *publish, const struct table *table,
                  char reason[KV_PUBLISH_REASON_MAX])
{
    reason[0] = '\0';
    if (table->head_malformed)
        snprintf(reason, KV_PUBLISH_REASON_MAX,
                 "bucket %s: its _table is not of a format that this version knows", table->name);
    else if (table->head.owner[0] && strcmp(table->head.owner, publish->owner) != 0)
        snprintf(reason, KV_PUBLISH_REASON_MAX,
                 "bucket %s belongs to owner \"%s\", this controller is \"%s\": use another "
                 "gateway name or NATS account, or --owner",
                 table->name, table->head.owner, publish->owner);
    else if (!table->head.owner[0] && table->odd_keys)
        snprintf(reason, KV_PUBLISH_REASON_MAX,
                 "bucket %s holds keys that are no Routes: it is not a route table", table->name);
    else if (table->stream.loses)
        snprintf(reason, KV_PUBLISH_REASON_MAX,
                 "bucket %s would lose Routes: somebody has set its %s; unset that, or delete the "
                 "bucket and the controller makes it anew",
                 table->name, table->stream.loses);
}

static void open_table(struct kv_publish *publish, struct table *table)
{
    char reason[KV_PUBLISH_REASON_MAX];
    uint64_t last;
    int error = read_bucket(publish, table, &last);

    if (error) {
        grow_retry(table);
        set_state(publish, table, KV_PUBLISH_OPENING, publish->jetstream.reason);
        return;
    }
    table->retry_ns = 0;
    judge(publish, table, reason);
    if (reason[0]) {
        table->term[0] = '\0';
        table->due_ns = now_ns() + FOREIGN_NS;
        set_state(publish, table, KV_PUBLISH_FOREIGN, reason);
        return;
    }
    /* In charge until now, and the stream is not a shorter or another one: somebody took over. */
    if (table->term[0] && !table->new_lineage && table->head.term[0] &&
        strcmp(table->head.term, table->term) != 0) {
        depose(publish, table);
        return;
    }
    table->last_sequence = last;
    pthread_mutex_lock(&publish->lock);
    table->loaded = true;
    pthread_mutex_unlock(&publish->lock);
    set_state(publish, table, KV_PUBLISH_LOADED, "");
}

/* ---- LOADED: take charge ---- */

static int compare_sequence(const void *a, const void *b)
{
    uint64_t left = (*(struct bucket_entry *const *)a)->sequence;
    uint64_t right = (*(struct bucket_entry *const *)b)->sequence;

    return (left > right) - (left < right);
}

/* Tells of all entries that the bucket holds as they shall be, in order of sequence. */
static void tell_settled(struct kv_publish *publish, struct table *table)
{
    struct bucket_entry **settled;
    size_t count = 0;

    pthread_mutex_lock(&publish->lock);
    settled = calloc(table->bucket.entries.count + 1, sizeof(*settled));
    if (!settled)
        publish->out_of_memory = true;
    for (struct bucket_entry *entry = bucket_next(&table->bucket, NULL); entry && settled;
         entry = bucket_next(&table->bucket, entry))
        if (entry->wanted && entry->wanted == entry->stored)
            settled[count++] = entry;
    if (settled)
        qsort(settled, count, sizeof(*settled), compare_sequence);
    for (size_t i = 0; i < count; i++) {
        struct event event = {.kind = EVENT_WRITTEN,
                              .gateway = table->index,
                              .generation = settled[i]->generation,
                              .sequence = settled[i]->sequence};

        kv_publish_add_event(publish, &event, settled[i]->key);
    }
    free(settled);
    pthread_mutex_unlock(&publish->lock);
    uv_async_send(&publish->async);
}

/* One write; what it means when it is not taken is found out by check or reopen. */
static int write_head(struct kv_publish *publish, struct table *table,
                      const struct table_head *head)
{
    struct jetstream_write write = {.key = STR_LIT("_table")};
    struct buffer value;
    uint64_t sequence;
    int error;

    buffer_init(&value, 4096);
    error = table_head_write(head, &value);
    write.value = buffer_view(&value);
    if (!error)
        error = jetstream_write(&publish->jetstream, table->name, &write, 1, table->last_sequence,
                                &sequence);
    buffer_done(&value);
    if (error)
        return error;
    table->last_sequence = sequence;
    table->head = *head;
    return 0;
}

/* Have the pods applied more of this lineage than the stream has? */
static bool pods_are_ahead(struct kv_publish *publish, const struct table *table,
                           const char *lineage)
{
    bool ahead;

    pthread_mutex_lock(&publish->lock);
    ahead = strcmp(table->seen_lineage, lineage) == 0 && table->seen > table->last_sequence;
    pthread_mutex_unlock(&publish->lock);
    return ahead;
}

/* What the bucket's _table shall be once we are in charge. */
static void make_head(struct kv_publish *publish, struct table *table, struct table_head *ret_head)
{
    bool fresh = table->new_lineage || !table->head.lineage[0] ||
                 pods_are_ahead(publish, table, table->head.lineage);

    if (!table->term[0])
        random_text(&publish->random, table->term, ID_LENGTH + 1);
    if (fresh)
        random_text(&publish->random, table->lineage, ID_LENGTH + 1);
    else
        memcpy(table->lineage, table->head.lineage, sizeof(table->lineage));
    *ret_head = (struct table_head){.complete = !fresh && table->head.complete};
    snprintf(ret_head->owner, sizeof(ret_head->owner), "%s", publish->owner);
    memcpy(ret_head->lineage, table->lineage, sizeof(ret_head->lineage));
    memcpy(ret_head->term, table->term, sizeof(ret_head->term));
}

static void take_charge(struct kv_publish *publish, struct table *table)
{
    struct event event = {.kind = EVENT_LINEAGE, .gateway = table->index};
    bool new_term = !table->term[0];
    struct table_head head;
    bool new_lineage;
    int error = 0;

    make_head(publish, table, &head);
    new_lineage = strcmp(head.lineage, table->head.lineage) != 0;
    if (new_lineage || strcmp(head.term, table->head.term) != 0)
        error = write_head(publish, table, &head);
    if (error) {
        if (new_term)
            table->term[0] = '\0';
        grow_retry(table);
        reopen(publish, table, publish->jetstream.reason);
        table->due_ns = now_ns() + table->retry_ns;
        return;
    }
    table->new_lineage = false;
    table->retry_ns = 0;
    table->check_ns = now_ns() + CHECK_NS;
    pthread_mutex_lock(&publish->lock);
    table->counts.takeovers += new_term;
    table->counts.lineages += new_lineage;
    pthread_mutex_unlock(&publish->lock);
    set_state(publish, table, KV_PUBLISH_IN_CHARGE, "");
    send_event(publish, &event, table->lineage);
    tell_settled(publish, table);
}

/* ---- IN_CHARGE ---- */

static int take_head(void *context, const struct jetstream_entry *entry)
{
    return entry->deleted ? -ENOENT : table_head_read(entry->value, context);
}

static uint64_t count_dirty(struct kv_publish *publish, const struct table *table)
{
    uint64_t dirty;

    pthread_mutex_lock(&publish->lock);
    dirty = table->bucket.dirty;
    pthread_mutex_unlock(&publish->lock);
    return dirty;
}

/* A write was taken, or the bucket answers: all is well, unless what was refused still waits. */
static void set_well(struct kv_publish *publish, struct table *table)
{
    if ((table->unsure || table->too_large) && count_dirty(publish, table))
        return;
    table->too_large = 0;
    set_state(publish, table, KV_PUBLISH_IN_CHARGE, "");
}

/* Is the bucket what we think it is? True: we go on writing. */
static bool check(struct kv_publish *publish, struct table *table)
{
    struct jetstream_stream stream;
    struct table_head head = {0};
    /* Asked before the stream is: what another writes meanwhile is no loss. */
    bool ahead = pods_are_ahead(publish, table, table->lineage);
    int error = jetstream_find_bucket(&publish->jetstream, table->name, &stream);

    if (!error)
        error = jetstream_get(&publish->jetstream, table->name, "_table", take_head, &head);
    if (error && error != -ENOENT && error != -EINVAL) {
        grow_retry(table);
        table->check_ns = table->due_ns;
        set_state(publish, table, KV_PUBLISH_IN_CHARGE, publish->jetstream.reason);
        return false;
    }
    table->check_ns = now_ns() + CHECK_NS;
    if (error || strcmp(stream.created, table->stream.created) != 0 ||
        stream.last_sequence < table->last_sequence) {
        reopen(publish, table, "the bucket was lost or went back");
        return false;
    }
    if (strcmp(head.term, table->term) != 0) {
        depose(publish, table);
        return false;
    }
    if (stream.last_sequence > table->last_sequence) {
        reopen(publish, table, "somebody else wrote into the bucket");
        return false;
    }
    if (stream.loses) {
        reopen(publish, table, "the bucket's settings have changed");
        return false;
    }
    if (ahead) {
        table->new_lineage = true;
        reopen(publish, table, "the bucket lost what pods have applied");
        return false;
    }
    set_well(publish, table);
    table->unsure = false;
    return true;
}

static void count_write(struct table *table, size_t count)
{
    table->counts.writes++;
    table->counts.entries += count;
    table->counts.batches[count == 1 ? 0 : count <= 10 ? 1 : count <= 100 ? 2 : 3]++;
}

void kv_writer_tell(struct kv_publish *publish, const struct table *table,
                    const struct bucket_entry *entry)
{
    struct event event = {.kind = EVENT_WRITTEN,
                          .gateway = table->index,
                          .generation = entry->generation,
                          .sequence = entry->sequence};

    if (entry->wanted && entry->wanted == entry->stored)
        kv_publish_add_event(publish, &event, entry->key);
}

static void write_failed(struct kv_publish *publish, struct table *table, int error)
{
    pthread_mutex_lock(&publish->lock);
    table->counts.refused += error != -ETIMEDOUT && error != -ENOTCONN;
    table->counts.unanswered += error == -ETIMEDOUT;
    pthread_mutex_unlock(&publish->lock);
    table->unsure = true;
    table->too_large += error == -EMSGSIZE;
    if (error == -ESTALE || error == -ENOENT) {
        table->due_ns = 0; /* look at once */
        return;
    }
    grow_retry(table);
    set_state(publish, table, KV_PUBLISH_IN_CHARGE, publish->jetstream.reason);
}

/* The next message or batch. Blocks until the server has answered. */
static void write_some(struct kv_publish *publish, struct table *table)
{
    struct bucket_entry *entries[JETSTREAM_BATCH_MAX];
    struct bucket_value *values[JETSTREAM_BATCH_MAX];
    struct jetstream_write writes[JETSTREAM_BATCH_MAX];
    size_t most = table->stream.batches && !table->too_large ? JETSTREAM_BATCH_MAX : 1;
    uint64_t sequence = 0;
    size_t count;
    int error;

    pthread_mutex_lock(&publish->lock);
    count = bucket_take(&table->bucket, most, BATCH_BYTES_MAX, entries, values);
    pthread_mutex_unlock(&publish->lock);
    for (size_t i = 0; i < count; i++)
        writes[i] = (struct jetstream_write){
            .key = str_from(entries[i]->key),
            .value = values[i] ? str_make(values[i]->bytes, values[i]->length) : str_make(NULL, 0),
        };
    error = jetstream_write(&publish->jetstream, table->name, writes, count, table->last_sequence,
                            &sequence);
    pthread_mutex_lock(&publish->lock);
    for (size_t i = 0; i < count; i++) {
        if (error) {
            bucket_failed(&table->bucket, entries[i], values[i]);
            continue;
        }
        bucket_written(&table->bucket, entries[i], values[i], sequence - (count - 1 - i), now_ns());
        kv_writer_tell(publish, table, entries[i]);
    }
    if (!error)
        count_write(table, count);
    pthread_mutex_unlock(&publish->lock);
    if (error) {
        write_failed(publish, table, error);
        return;
    }
    table->last_sequence = sequence;
    table->retry_ns = 0;
    table->too_large = table->too_large > 0;
    set_well(publish, table);
    uv_async_send(&publish->async);
}

static void write_complete(struct kv_publish *publish, struct table *table)
{
    struct table_head head = table->head;
    int error;

    head.complete = true;
    error = write_head(publish, table, &head);
    if (error)
        write_failed(publish, table, error);
}

struct tombstone {
    char key[TABLE_KEY_MAX + 1];
    uint64_t sequence;
};

/* Up to SWEEP_MAX tombstones that every gateway has read long ago. */
static size_t find_tombstones(struct kv_publish *publish, struct table *table, uint64_t now,
                              struct tombstone *ret_tombstones)
{
    size_t count = 0;

    pthread_mutex_lock(&publish->lock);
    for (struct bucket_entry *entry = bucket_next(&table->bucket, NULL); entry && count < SWEEP_MAX;
         entry = bucket_next(&table->bucket, entry)) {
        /* A key too long for a Route's was not ours, and a cut one would be another's. */
        if (!entry->tombstone_ns || entry->queue != BUCKET_QUEUE_NONE ||
            entry->tombstone_ns + TOMBSTONE_NS > now || entry->node.key.len > TABLE_KEY_MAX)
            continue;
        snprintf(ret_tombstones[count].key, sizeof(ret_tombstones->key), "%s", entry->key);
        ret_tombstones[count++].sequence = entry->sequence;
    }
    pthread_mutex_unlock(&publish->lock);
    return count;
}

/* Tombstones do no harm, and a purge that nobody answers, as one that this user may not make, holds
 * up changes until it times out: so not again soon. */
static void give_up_sweeping(struct kv_publish *publish, struct table *table)
{
    table->sweep_ns = now_ns() + TOMBSTONE_NS;
    log_warn("cannot purge a bucket's old tombstones, trying again in an hour",
             LOG_TEXT("bucket", table->name), LOG_TEXT("reason", publish->jetstream.reason));
}

/* Some at a time, so that a change never waits long; the next ones soon. */
static void sweep(struct kv_publish *publish, struct table *table)
{
    struct tombstone tombstones[SWEEP_MAX];
    uint64_t now = now_ns();
    size_t count = find_tombstones(publish, table, now, tombstones);

    table->sweep_ns = now + (count < SWEEP_MAX ? SWEEP_NS : SECOND_NS);
    for (size_t i = 0; i < count; i++) {
        const struct tombstone *tombstone = &tombstones[i];
        struct bucket_entry *entry;

        if (jetstream_purge(&publish->jetstream, table->name, tombstone->key, tombstone->sequence) <
            0) {
            give_up_sweeping(publish, table);
            return;
        }
        pthread_mutex_lock(&publish->lock);
        entry = bucket_find(&table->bucket, str_from(tombstone->key));
        if (entry && entry->sequence == tombstone->sequence)
            bucket_purged(&table->bucket, entry);
        table->counts.purged++;
        pthread_mutex_unlock(&publish->lock);
    }
}

static bool lead(struct kv_publish *publish, struct table *table)
{
    uint64_t now = now_ns(), dirty;

    if (now < table->due_ns)
        return false;
    if (table->unsure || now >= table->check_ns) {
        if (!check(publish, table))
            return table->state != KV_PUBLISH_IN_CHARGE;
    }
    dirty = count_dirty(publish, table);
    /* Pods shall not wait for ever for what no server takes. */
    if (dirty && (table->head.complete || table->too_large <= dirty)) {
        write_some(publish, table);
        return true;
    }
    if (!table->head.complete) {
        write_complete(publish, table);
        return true;
    }
    if (now >= table->sweep_ns)
        sweep(publish, table);
    return false;
}

/* ---- what is due ---- */

bool kv_writer_step(struct kv_publish *publish, struct table *table)
{
    uint64_t now = now_ns(), leadership;
    bool begun;

    pthread_mutex_lock(&publish->lock);
    leadership = publish->leadership;
    begun = table->begun;
    pthread_mutex_unlock(&publish->lock);
    if (leadership != table->leadership) {
        follow_leadership(publish, table, leadership);
        return true;
    }
    switch (table->state) {
    case KV_PUBLISH_STANDBY:
    case KV_PUBLISH_DEPOSED:
        return false;
    case KV_PUBLISH_OPENING:
        if (now < table->due_ns)
            return false;
        open_table(publish, table);
        return table->state != KV_PUBLISH_OPENING;
    case KV_PUBLISH_LOADED:
        if (!begun)
            return false;
        take_charge(publish, table);
        return true;
    case KV_PUBLISH_IN_CHARGE:
        return lead(publish, table);
    case KV_PUBLISH_FOREIGN:
        if (now >= table->due_ns)
            reopen(publish, table, table->reason);
        return table->state != KV_PUBLISH_FOREIGN;
    }
    return false;
}
