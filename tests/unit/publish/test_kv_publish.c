/* kv_publish against a real nats-server: one writer, whatever happens to the bucket. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "controller/publish/jetstream.h"
#include "controller/publish/kv_publish.h"
#include "lib/wire/table_codec.h"
#include "tests/unit/nats/server.h"

enum { PATIENCE_MS = 20000 };

static const char bucket[] = "metropolis-default";
static const char *const gateway_names[] = {"default"};

/* A leader's half: takes charge whenever the bucket is loaded, as with a complete list. */
struct writer {
    uv_loop_t loop;
    struct kv_publish *publish;
    enum kv_publish_state state;
    char reason[KV_PUBLISH_REASON_MAX];
    char lineage[TABLE_ID_MAX + 1];
    unsigned lineages, written;
    uint64_t sequence; /* of the last written */
    unsigned states;   /* that were told */
    bool holds;        /* does not take charge */
};

static void on_state(void *context, unsigned gateway, enum kv_publish_state state,
                     const char *reason)
{
    struct writer *writer = context;

    writer->states++;
    writer->state = state;
    snprintf(writer->reason, sizeof(writer->reason), "%s", reason);
    if (state == KV_PUBLISH_LOADED && !writer->holds)
        kv_publish_begin(writer->publish, gateway);
}

static void on_lineage(void *context, unsigned gateway, struct str lineage)
{
    struct writer *writer = context;

    (void)gateway;
    writer->lineages += !str_equal(str_from(writer->lineage), lineage);
    snprintf(writer->lineage, sizeof(writer->lineage), STR_FMT, STR_ARG(lineage));
}

static void on_written(void *context, unsigned gateway, struct str key, int64_t generation,
                       uint64_t sequence)
{
    struct writer *writer = context;

    (void)gateway, (void)key, (void)generation;
    writer->written++;
    writer->sequence = sequence;
}

static void open_writer(struct writer *writer, const struct test_server *server, const char *owner)
{
    const struct kv_publish_options options = {.servers = server->url,
                                               .owner = owner,
                                               .replicas = 1,
                                               .gateways = gateway_names,
                                               .gateway_count = 1};
    const struct kv_publish_handler handler = {
        .state = on_state, .lineage = on_lineage, .written = on_written, .context = writer};
    char reason[KV_PUBLISH_REASON_MAX];

    *writer = (struct writer){0};
    assert_int_equal(uv_loop_init(&writer->loop), 0);
    assert_int_equal(kv_publish_new(&writer->loop, &options, &handler, &writer->publish, reason),
                     0);
    kv_publish_lead(writer->publish, true);
}

static void close_writer(struct writer *writer)
{
    kv_publish_free(writer->publish);
    uv_run(&writer->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&writer->loop), 0);
}

static void turn(struct writer *writer)
{
    uv_run(&writer->loop, UV_RUN_NOWAIT);
    uv_sleep(1);
}

#define WAIT_FOR(writer, condition)                                                          \
    do {                                                                                     \
        uint64_t until_ns = uv_hrtime() + PATIENCE_MS * 1000000ull;                          \
        while (!(condition)) {                                                               \
            turn(writer);                                                                    \
            if (uv_hrtime() > until_ns)                                                      \
                fail_msg("%s did not happen; state %d, \"%s\"", #condition, (writer)->state, \
                         (writer)->reason);                                                  \
        }                                                                                    \
    } while (0)

static void set(struct writer *writer, const char *name, const char *value)
{
    char key[128];

    snprintf(key, sizeof(key), "route.test.%s", name);
    assert_int_equal(kv_publish_set(writer->publish, 0, str_from(key), 1,
                                    value ? str_from(value) : str_make(NULL, 0)),
                     0);
}

static struct kv_publish_counts counts_of(struct writer *writer)
{
    struct kv_publish_counts counts;

    kv_publish_count(writer->publish, 0, &counts);
    return counts;
}

/* ---- what the bucket holds, seen by somebody else ---- */

struct look {
    const char *name;
    char value[64]; /* empty: not there */
    unsigned entries;
    bool complete; /* says _table */
};

static int take(void *context, const struct jetstream_entry *entry)
{
    struct look *look = context;
    char key[128];

    snprintf(key, sizeof(key), "route.test.%s", look->name);
    if (str_equal(entry->key, STR_LIT("_table")))
        look->complete =
            memmem(entry->value.ptr, entry->value.len, "\"complete\":true", 15) != NULL;
    if (!str_starts_with(entry->key, STR_LIT("route.")) || entry->deleted)
        return 0;
    look->entries++;
    if (str_equal(entry->key, str_from(key)))
        snprintf(look->value, sizeof(look->value), STR_FMT, STR_ARG(entry->value));
    return 0;
}

static void connect_observer(const struct test_server *server, struct jetstream *observer)
{
    const struct kv_publish_options options = {.servers = server->url};

    assert_int_equal(jetstream_init(observer, &options, "observer"), 0);
    for (int i = 0; jetstream_connect(observer) < 0; i++) {
        assert_true(i < 1000);
        uv_sleep(5);
    }
}

static struct look look_at(const struct test_server *server, const char *name)
{
    struct look look = {.name = name};
    struct jetstream observer;
    int error;

    connect_observer(server, &observer);
    error = jetstream_read(&observer, bucket, take, &look);
    if (error && error != -ENOENT) /* a bucket that is gone holds nothing */
        fail_msg("%s", observer.reason);
    jetstream_done(&observer);
    return look;
}

static void delete_bucket(const struct test_server *server)
{
    struct jetstream observer;

    connect_observer(server, &observer);
    assert_int_equal(js_DeleteStream(observer.context, "KV_metropolis-default", NULL, NULL),
                     NATS_OK);
    jetstream_done(&observer);
}

/* ---- tests ---- */

/* A clock that can be put on, for what takes an hour. */
static uint64_t skipped_ns;

uint64_t __real_uv_hrtime(void);
uint64_t __wrap_uv_hrtime(void);

uint64_t __wrap_uv_hrtime(void)
{
    return __real_uv_hrtime() + __atomic_load_n(&skipped_ns, __ATOMIC_RELAXED);
}

static void skip_s(uint64_t seconds)
{
    __atomic_add_fetch(&skipped_ns, seconds * 1000000000, __ATOMIC_RELAXED);
}

/* A server that lets nobody purge answers nothing. */
static _Atomic bool refuses_purges;
static _Atomic unsigned refused_purges;

int __real_jetstream_purge(struct jetstream *jetstream, const char *name, const char *key,
                           uint64_t sequence);
int __wrap_jetstream_purge(struct jetstream *jetstream, const char *name, const char *key,
                           uint64_t sequence);

int __wrap_jetstream_purge(struct jetstream *jetstream, const char *name, const char *key,
                           uint64_t sequence)
{
    if (!refuses_purges)
        return __real_jetstream_purge(jetstream, name, key, sequence);
    refused_purges++;
    return -ETIMEDOUT;
}

static const char jetstream_config[] = "jetstream { store_dir: $TEST_DIRECTORY }";

static int start_server(void **state)
{
    struct test_server *server = calloc(1, sizeof(*server));

    assert_non_null(server);
    test_server_start(server, jetstream_config);
    *state = server;
    return 0;
}

static int stop_server(void **state)
{
    test_server_stop(*state);
    free(*state);
    return 0;
}

static void test_a_bucket_is_made_and_holds_what_was_set(void **state)
{
    struct test_server *server = *state;
    struct writer writer;

    open_writer(&writer, server, "me");
    set(&writer, "a", "one");
    set(&writer, "b", "two");
    WAIT_FOR(&writer, writer.written == 2);
    assert_string_equal(look_at(server, "a").value, "one");
    set(&writer, "a", "three");
    WAIT_FOR(&writer, writer.written == 3);
    assert_string_equal(look_at(server, "a").value, "three");
    set(&writer, "b", NULL);
    WAIT_FOR(&writer, counts_of(&writer).entries == 4);
    assert_int_equal(look_at(server, "b").entries, 1);
    close_writer(&writer);
}

static void test_equal_values_are_not_written_again(void **state)
{
    struct writer first, second;

    open_writer(&first, *state, "me");
    set(&first, "a", "one");
    set(&first, "gone", "two");
    WAIT_FOR(&first, first.written == 2);
    set(&first, "a", "one");
    close_writer(&first);

    open_writer(&second, *state, "me");
    set(&second, "a", "one");
    WAIT_FOR(&second, second.written == 1);
    WAIT_FOR(&second, counts_of(&second).entries == 1); /* the deletion of "gone" */
    assert_int_equal(look_at(*state, "gone").entries, 1);
    assert_string_equal(first.lineage, second.lineage);
    close_writer(&second);
}

static void test_nothing_is_written_or_deleted_before_the_list_is_complete(void **state)
{
    struct writer first, second;
    char stored[64] = "";
    struct buffer value;

    open_writer(&first, *state, "me");
    set(&first, "a", "one");
    WAIT_FOR(&first, first.written == 1);
    close_writer(&first);

    open_writer(&second, *state, "me");
    second.holds = true;
    WAIT_FOR(&second, second.state == KV_PUBLISH_LOADED);
    for (int i = 0; i < 300; i++)
        turn(&second);
    assert_string_equal(look_at(*state, "a").value, "one");
    buffer_init(&value, sizeof(stored));
    assert_int_equal(kv_publish_stored(second.publish, 0, STR_LIT("route.test.a"), &value), 0);
    assert_true(str_equal(buffer_view(&value), STR_LIT("one")));
    assert_int_equal(kv_publish_stored(second.publish, 0, STR_LIT("route.test.b"), &value),
                     -ENOENT);
    buffer_done(&value);
    close_writer(&second);
}

static void test_a_deposed_writer_is_refused_and_steps_down(void **state)
{
    struct writer first, second;

    open_writer(&first, *state, "me");
    set(&first, "a", "one");
    WAIT_FOR(&first, first.written == 1);
    open_writer(&second, *state, "me");
    set(&second, "a", "one");
    set(&second, "b", "by the second");
    WAIT_FOR(&second, second.written == 2);

    set(&first, "a", "stale");
    WAIT_FOR(&first, first.state == KV_PUBLISH_DEPOSED);
    assert_true(counts_of(&first).refused >= 1);
    assert_string_equal(look_at(*state, "a").value, "one");
    set(&second, "b", "still");
    WAIT_FOR(&second, second.written == 3);
    assert_int_equal(second.state, KV_PUBLISH_IN_CHARGE);
    assert_string_equal(look_at(*state, "b").value, "still");
    assert_string_equal(first.lineage, second.lineage);
    for (int i = 0; i < 300; i++)
        turn(&first);
    assert_int_equal(first.state, KV_PUBLISH_DEPOSED); /* until it is told to lead again */
    kv_publish_lead(first.publish, false);
    kv_publish_lead(first.publish, true);
    WAIT_FOR(&first, strcmp(look_at(*state, "a").value, "stale") == 0); /* it is the latest now */
    assert_int_equal(look_at(*state, "b").entries, 1);
    WAIT_FOR(&second, second.state == KV_PUBLISH_DEPOSED);
    close_writer(&first);
    close_writer(&second);
}

static void test_a_standby_does_not_touch_the_bucket_and_takes_over_when_told(void **state)
{
    struct writer leader, standby;
    uint64_t before;

    open_writer(&leader, *state, "me");
    open_writer(&standby, *state, "me");
    kv_publish_lead(standby.publish, false);
    WAIT_FOR(&standby, standby.state == KV_PUBLISH_STANDBY);
    set(&leader, "a", "one");
    WAIT_FOR(&leader, leader.written == 1);
    set(&standby, "a", "two");
    for (int i = 0; i < 300; i++)
        turn(&standby);
    assert_int_equal(standby.state, KV_PUBLISH_STANDBY);
    assert_int_equal(counts_of(&standby).waiting, 0);
    assert_string_equal(look_at(*state, "a").value, "one");

    kv_publish_lead(leader.publish, false);
    WAIT_FOR(&leader, leader.state == KV_PUBLISH_STANDBY);
    before = counts_of(&leader).writes;
    kv_publish_lead(standby.publish, true);
    WAIT_FOR(&standby, standby.written == 1);
    assert_string_equal(look_at(*state, "a").value, "two");
    assert_string_equal(leader.lineage, standby.lineage);
    set(&leader, "a", "three");
    for (int i = 0; i < 300; i++)
        turn(&leader);
    assert_int_equal(counts_of(&leader).writes, before);
    assert_string_equal(look_at(*state, "a").value, "two");
    close_writer(&leader);
    close_writer(&standby);
}

static void test_a_leadership_that_ends_and_begins_at_once_reads_the_bucket_anew(void **state)
{
    struct writer writer;

    open_writer(&writer, *state, "me");
    set(&writer, "a", "one");
    WAIT_FOR(&writer, writer.written == 1);
    kv_publish_lead(writer.publish, false);
    kv_publish_lead(writer.publish, true);
    WAIT_FOR(&writer, writer.written == 2); /* told again, for the new leadership */
    assert_int_equal(counts_of(&writer).takeovers, 2);
    assert_int_equal(counts_of(&writer).entries, 1);
    close_writer(&writer);
}

static void test_an_idle_deposed_writer_finds_out(void **state)
{
    struct writer first, second;

    open_writer(&first, *state, "me");
    WAIT_FOR(&first, first.state == KV_PUBLISH_IN_CHARGE);
    open_writer(&second, *state, "me");
    WAIT_FOR(&second, second.state == KV_PUBLISH_IN_CHARGE);
    WAIT_FOR(&first, first.state == KV_PUBLISH_DEPOSED); /* at its next check */
    close_writer(&first);
    close_writer(&second);
}

static void test_a_bucket_of_another_owner_is_never_written(void **state)
{
    struct writer theirs, ours;

    open_writer(&theirs, *state, "them");
    set(&theirs, "a", "theirs");
    WAIT_FOR(&theirs, theirs.written == 1);
    open_writer(&ours, *state, "us");
    set(&ours, "a", "ours");
    WAIT_FOR(&ours, ours.state == KV_PUBLISH_FOREIGN);
    assert_non_null(strstr(ours.reason, "\"them\""));
    assert_string_equal(look_at(*state, "a").value, "theirs");
    assert_int_equal(counts_of(&ours).writes, 0);
    close_writer(&ours);
    close_writer(&theirs);
}

/* The bucket as somebody else has made it, or has changed it: entries go after an hour, or stay. */
static void set_max_age(const struct test_server *server, uint64_t max_age_s)
{
    struct jetstream observer;
    jsStreamInfo *info = NULL;
    natsStatus status;

    connect_observer(server, &observer);
    status = js_GetStreamInfo(&info, observer.context, "KV_metropolis-default", NULL, NULL);
    assert_int_equal(status, NATS_OK);
    info->Config->MaxAge = (int64_t)max_age_s * 1000000000;
    status = js_UpdateStream(NULL, observer.context, info->Config, NULL, NULL);
    assert_int_equal(status, NATS_OK);
    jsStreamInfo_Destroy(info);
    jetstream_done(&observer);
}

static void test_a_bucket_that_forgets_entries_is_refused_until_it_does_not(void **state)
{
    const struct jetstream_bucket forgets = {.replicas = 1, .max_age_s = 3600};
    struct jetstream_stream stream;
    struct jetstream observer;
    struct writer writer;

    connect_observer(*state, &observer);
    assert_int_equal(jetstream_create_bucket(&observer, bucket, &forgets, &stream), 0);
    jetstream_done(&observer);
    open_writer(&writer, *state, "me");
    set(&writer, "a", "one");
    WAIT_FOR(&writer, writer.state == KV_PUBLISH_FOREIGN);
    assert_non_null(strstr(writer.reason, "max_age"));
    assert_int_equal(counts_of(&writer).writes, 0);
    set_max_age(*state, 0);
    skip_s(31); /* when it looks again */
    set(&writer, "b", "two");
    WAIT_FOR(&writer, writer.written == 2);
    set_max_age(*state, 3600); /* while it is in charge */
    WAIT_FOR(&writer, writer.state == KV_PUBLISH_FOREIGN);
    assert_non_null(strstr(writer.reason, "max_age"));
    close_writer(&writer);
}

static void test_old_tombstones_are_purged_and_a_refusal_holds_up_no_change(void **state)
{
    struct writer writer;
    char value[16];

    open_writer(&writer, *state, "me");
    set(&writer, "a", "one");
    WAIT_FOR(&writer, writer.written == 1);
    set(&writer, "a", NULL);
    WAIT_FOR(&writer, counts_of(&writer).entries == 2);
    skip_s(2 * 3600);
    set(&writer, "b", "one");
    WAIT_FOR(&writer, writer.written == 2 && counts_of(&writer).purged == 1);
    refuses_purges = true;
    set(&writer, "b", NULL);
    WAIT_FOR(&writer, counts_of(&writer).entries == 4);
    skip_s(2 * 3600);
    for (unsigned i = 1; i <= 5; i++) {
        snprintf(value, sizeof(value), "%u", i);
        set(&writer, "c", value);
        WAIT_FOR(&writer, writer.written == 2 + i);
        WAIT_FOR(&writer, refused_purges == 1);
        skip_s(70);
    }
    refuses_purges = false;
    skip_s(3600);
    set(&writer, "c", "last");
    WAIT_FOR(&writer, counts_of(&writer).purged == 2);
    assert_int_equal(refused_purges, 1);
    close_writer(&writer);
}

static void test_a_deleted_bucket_comes_back_whole_in_a_new_lineage(void **state)
{
    struct writer writer;
    char before[TABLE_ID_MAX + 1];

    open_writer(&writer, *state, "me");
    set(&writer, "a", "one");
    set(&writer, "b", "two");
    WAIT_FOR(&writer, writer.written == 2);
    memcpy(before, writer.lineage, sizeof(before));
    delete_bucket(*state);
    WAIT_FOR(&writer, writer.written == 4); /* nobody changed anything: the check found out */
    assert_string_not_equal(before, writer.lineage);
    assert_int_equal(look_at(*state, "a").entries, 2);
    delete_bucket(*state);
    set(&writer, "c", "three"); /* the refused write found out */
    WAIT_FOR(&writer, look_at(*state, "c").entries == 3);
    close_writer(&writer);
}

static void test_what_a_stranger_wrote_is_undone(void **state)
{
    const struct jetstream_write write = {STR_LIT("route.test.a"), STR_LIT("strange")};
    struct jetstream stranger;
    struct jetstream_stream stream;
    struct writer writer;
    uint64_t sequence;

    open_writer(&writer, *state, "me");
    set(&writer, "a", "one");
    WAIT_FOR(&writer, writer.written == 1);
    connect_observer(*state, &stranger);
    assert_int_equal(jetstream_find_bucket(&stranger, bucket, &stream), 0);
    assert_int_equal(jetstream_write(&stranger, bucket, &write, 1, stream.last_sequence, &sequence),
                     0);
    assert_int_equal(jetstream_write(&stranger, bucket, &write, 1, stream.last_sequence, &sequence),
                     -ESTALE);
    jetstream_done(&stranger);
    WAIT_FOR(&writer, strcmp(look_at(*state, "a").value, "one") == 0);
    assert_int_equal(writer.lineages, 1);
    close_writer(&writer);
}

static void test_a_bucket_that_went_back_gets_a_new_lineage_and_what_it_lost(void **state)
{
    struct test_server *server = *state;
    char command[512], before[TABLE_ID_MAX + 1];
    struct writer writer;

    open_writer(&writer, server, "me");
    set(&writer, "a", "one");
    WAIT_FOR(&writer, writer.written == 1);
    test_server_kill(server);
    snprintf(command, sizeof(command), "cp -r %s/jetstream %s/backup", server->directory,
             server->directory);
    assert_int_equal(system(command), 0);
    test_server_restart(server);
    set(&writer, "b", "two");
    WAIT_FOR(&writer, writer.written >= 2);
    memcpy(before, writer.lineage, sizeof(before));
    test_server_kill(server);
    snprintf(command, sizeof(command), "rm -rf %s/jetstream && mv %s/backup %s/jetstream",
             server->directory, server->directory, server->directory);
    assert_int_equal(system(command), 0);
    test_server_restart(server);
    WAIT_FOR(&writer, strcmp(before, writer.lineage) != 0);
    WAIT_FOR(&writer, look_at(server, "b").entries == 2);
    close_writer(&writer);
}

static void test_pods_that_are_ahead_of_the_stream_begin_a_new_lineage(void **state)
{
    struct writer writer;
    char before[TABLE_ID_MAX + 1];

    open_writer(&writer, *state, "me");
    set(&writer, "a", "one");
    WAIT_FOR(&writer, writer.written == 1);
    memcpy(before, writer.lineage, sizeof(before));
    kv_publish_seen(writer.publish, 0, str_from(before), writer.sequence + 100);
    WAIT_FOR(&writer, strcmp(before, writer.lineage) != 0);
    close_writer(&writer);
}

static void test_without_jetstream_the_reason_says_so(void **state)
{
    struct test_server server;
    struct writer writer;

    (void)state;
    test_server_start(&server, "");
    open_writer(&writer, &server, "me");
    WAIT_FOR(&writer, strstr(writer.reason, "JetStream") != NULL);
    assert_int_equal(writer.state, KV_PUBLISH_OPENING);
    test_server_stop(&server);
    WAIT_FOR(&writer, strstr(writer.reason, "NATS") != NULL);
    close_writer(&writer);
}

static void test_a_route_too_large_for_the_server_holds_up_no_other(void **state)
{
    enum { LARGE = 40 * 1024 };
    char *large = malloc(LARGE + 1);
    struct test_server server;
    struct writer writer;
    unsigned states;

    (void)state;
    assert_non_null(large);
    memset(large, 'x', LARGE);
    large[LARGE] = '\0';
    test_server_start(&server, "jetstream { store_dir: $TEST_DIRECTORY }\nmax_payload: 32KB");
    open_writer(&writer, &server, "me");
    writer.holds = true;
    WAIT_FOR(&writer, writer.state == KV_PUBLISH_LOADED);
    set(&writer, "large", large);
    set(&writer, "a", "one");
    set(&writer, "b", "two");
    kv_publish_begin(writer.publish, 0);
    WAIT_FOR(&writer, writer.written == 2);
    WAIT_FOR(&writer, strstr(writer.reason, "max_payload") != NULL);
    set(&writer, "c", "three");
    WAIT_FOR(&writer, writer.written == 3);
    WAIT_FOR(&writer, look_at(&server, "a").complete);
    /* The trouble stays, and is told of once. */
    WAIT_FOR(&writer, strstr(writer.reason, "max_payload") != NULL);
    states = writer.states;
    for (int i = 0; i < 3000; i++)
        turn(&writer);
    assert_int_equal(writer.states, states);
    set(&writer, "large", NULL);
    WAIT_FOR(&writer, writer.reason[0] == '\0');
    close_writer(&writer);
    test_server_stop(&server);
    free(large);
}

static void test_ten_thousand_routes_fill_an_empty_bucket(void **state)
{
    enum { ROUTES = 10000 };
    struct writer writer;
    char value[500], name[32];
    uint64_t start_ns;

    memset(value, 'x', sizeof(value));
    value[sizeof(value) - 1] = '\0';
    open_writer(&writer, *state, "me");
    start_ns = uv_hrtime();
    for (int i = 0; i < ROUTES; i++) {
        snprintf(name, sizeof(name), "r%d", i);
        set(&writer, name, value);
    }
    WAIT_FOR(&writer, writer.written == ROUTES);
    print_message("10,000 routes: %.0f ms in %llu writes\n", (double)(uv_hrtime() - start_ns) / 1e6,
                  (unsigned long long)counts_of(&writer).writes);
    assert_int_equal(look_at(*state, "r9999").entries, ROUTES);
    assert_true(counts_of(&writer).writes < 100);
    close_writer(&writer);
}

#define SERVER_TEST(name) cmocka_unit_test_setup_teardown(name, start_server, stop_server)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SERVER_TEST(test_a_bucket_is_made_and_holds_what_was_set),
        SERVER_TEST(test_equal_values_are_not_written_again),
        SERVER_TEST(test_nothing_is_written_or_deleted_before_the_list_is_complete),
        SERVER_TEST(test_a_deposed_writer_is_refused_and_steps_down),
        SERVER_TEST(test_a_standby_does_not_touch_the_bucket_and_takes_over_when_told),
        SERVER_TEST(test_a_leadership_that_ends_and_begins_at_once_reads_the_bucket_anew),
        SERVER_TEST(test_an_idle_deposed_writer_finds_out),
        SERVER_TEST(test_a_bucket_of_another_owner_is_never_written),
        SERVER_TEST(test_a_bucket_that_forgets_entries_is_refused_until_it_does_not),
        SERVER_TEST(test_old_tombstones_are_purged_and_a_refusal_holds_up_no_change),
        SERVER_TEST(test_a_deleted_bucket_comes_back_whole_in_a_new_lineage),
        SERVER_TEST(test_what_a_stranger_wrote_is_undone),
        SERVER_TEST(test_a_bucket_that_went_back_gets_a_new_lineage_and_what_it_lost),
        SERVER_TEST(test_pods_that_are_ahead_of_the_stream_begin_a_new_lineage),
        cmocka_unit_test(test_without_jetstream_the_reason_says_so),
        cmocka_unit_test(test_a_route_too_large_for_the_server_holds_up_no_other),
        SERVER_TEST(test_ten_thousand_routes_fill_an_empty_bucket),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
