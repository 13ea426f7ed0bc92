/* acks against a real nats-server: what is told when the bucket was read to its end. */
#include "controller/publish/acks.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "controller/publish/jetstream.h"
#include "tests/unit/nats/server.h"

enum { PATIENCE_MS = 20000, PODS = 3 };

/* How many times more nothing comes, though something is there: a server that takes its time. */
static _Atomic unsigned late;

natsStatus __real_natsSubscription_NextMsg(natsMsg **message, natsSubscription *subscription,
                                           int64_t timeout_ms);
natsStatus __wrap_natsSubscription_NextMsg(natsMsg **message, natsSubscription *subscription,
                                           int64_t timeout_ms);

natsStatus __wrap_natsSubscription_NextMsg(natsMsg **message, natsSubscription *subscription,
                                           int64_t timeout_ms)
{
    if (late) {
        late--;
        return NATS_TIMEOUT;
    }
    return __real_natsSubscription_NextMsg(message, subscription, timeout_ms);
}

struct reader {
    uv_loop_t loop;
    struct acks *acks;
    unsigned heard, heard_before_synced;
    bool synced;
};

static void on_ack(void *context, struct str gateway, struct str pod, const struct table_ack *ack)
{
    (void)gateway, (void)pod, (void)ack;
    ((struct reader *)context)->heard++;
}

static void on_synced(void *context)
{
    struct reader *reader = context;

    if (!reader->synced)
        reader->heard_before_synced = reader->heard;
    reader->synced = true;
}

static void open_reader(struct reader *reader, const struct test_server *server)
{
    const struct kv_publish_options options = {.servers = server->url};
    const struct acks_handler handler = {on_ack, on_synced, reader};
    char reason[KV_PUBLISH_REASON_MAX];

    *reader = (struct reader){0};
    assert_int_equal(uv_loop_init(&reader->loop), 0);
    assert_int_equal(acks_new(&reader->loop, &options, &handler, &reader->acks, reason), 0);
}

static void run_until_synced(struct reader *reader)
{
    uint64_t until_ns = uv_hrtime() + PATIENCE_MS * 1000000ull;

    while (!reader->synced) {
        uv_run(&reader->loop, UV_RUN_NOWAIT);
        uv_sleep(1);
        assert_true(uv_hrtime() < until_ns);
    }
}

static void close_reader(struct reader *reader)
{
    acks_free(reader->acks);
    uv_run(&reader->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&reader->loop), 0);
}

/* The bucket, as a controller made it, with an ack of each pod. */
static void write_acks(const struct test_server *server)
{
    const struct jetstream_bucket bucket = {.memory = true, .replicas = 1, .max_age_s = 600};
    const struct kv_publish_options options = {.servers = server->url};
    const struct table_ack ack = {.boot = "b", .lineage = "l", .applied = 7, .version = "1"};
    struct jetstream_stream stream;
    struct jetstream pods;
    struct buffer value;

    assert_int_equal(jetstream_init(&pods, &options, "pods"), 0);
    while (jetstream_connect(&pods) < 0)
        uv_sleep(5);
    assert_int_equal(jetstream_create_bucket(&pods, "metropolis_acks", &bucket, &stream), 0);
    buffer_init(&value, TABLE_ACK_MAX);
    assert_int_equal(table_ack_write(&ack, &value), 0);
    for (unsigned i = 0; i < PODS; i++) {
        char key[32];
        struct jetstream_write write = {.value = buffer_view(&value)};
        uint64_t sequence;

        snprintf(key, sizeof(key), "default.pod-%u", i);
        write.key = str_from(key);
        assert_int_equal(jetstream_write(&pods, "metropolis_acks", &write, 1, i, &sequence), 0);
    }
    buffer_done(&value);
    jetstream_done(&pods);
}

/* ---- tests ---- */

static int start_server(void **state)
{
    struct test_server *server = calloc(1, sizeof(*server));

    assert_non_null(server);
    test_server_start(server, "jetstream { store_dir: $TEST_DIRECTORY }");
    *state = server;
    return 0;
}

static int stop_server(void **state)
{
    test_server_stop(*state);
    free(*state);
    return 0;
}

static void test_without_any_ack_it_is_read_at_once(void **state)
{
    struct reader reader;

    open_reader(&reader, *state);
    run_until_synced(&reader);
    assert_int_equal(reader.heard, 0);
    close_reader(&reader);
}

static void test_a_server_that_takes_its_time_is_waited_for(void **state)
{
    struct reader reader;

    write_acks(*state);
    late = 3;
    open_reader(&reader, *state);
    run_until_synced(&reader);
    assert_int_equal(reader.heard_before_synced, PODS);
    close_reader(&reader);
}

#define SERVER_TEST(test) cmocka_unit_test_setup_teardown(test, start_server, stop_server)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SERVER_TEST(test_without_any_ack_it_is_read_at_once),
        SERVER_TEST(test_a_server_that_takes_its_time_is_waited_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
