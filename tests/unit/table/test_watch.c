/*
 * The table thread against a real nats-server with JetStream. The test writes the bucket as a
 * controller does; two threads adopt as loops do.
 */
#include "dataplane/table/watch.h"

#include <errno.h>
#include <nats/nats.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/wire/table_codec.h"
#include "tests/unit/nats/certificates.h"
#include "tests/unit/nats/server.h"

enum { LOOPS = 2, WAIT_MS = 15000 };

static uint64_t now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

#define WAIT_FOR(condition)                                       \
    do {                                                          \
        uint64_t wait_end_us = now_us() + WAIT_MS * 1000ull;      \
        while (!(condition)) {                                    \
            if (now_us() > wait_end_us)                           \
                fail_msg("timed out waiting for %s", #condition); \
            usleep(500);                                          \
        }                                                         \
    } while (0)

/* ---- loops ---- */

struct loop {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct swap *swap;
    unsigned index;
    bool woken, stop, stuck;
    atomic_size_t routes;
    atomic_uint_fast64_t revision, number, adopted_us;
};

static void *loop_run(void *context)
{
    struct loop *loop = context;
    struct swap_view view = {0};

    pthread_mutex_lock(&loop->lock);
    while (!loop->stop) {
        while (!loop->stop && (!loop->woken || loop->stuck))
            pthread_cond_wait(&loop->wake, &loop->lock);
        loop->woken = false;
        pthread_mutex_unlock(&loop->lock);
        if (swap_adopt(loop->swap, loop->index, &view)) {
            atomic_store(&loop->routes, route_table_count(view.table));
            atomic_store(&loop->revision, view.revision);
            atomic_store(&loop->number, view.number);
            atomic_store(&loop->adopted_us, now_us());
            swap_report(loop->swap, loop->index, view.number);
        }
        pthread_mutex_lock(&loop->lock);
    }
    pthread_mutex_unlock(&loop->lock);
    return NULL;
}

static void loop_signal(struct loop *loop, bool stop, bool stuck)
{
    pthread_mutex_lock(&loop->lock);
    loop->woken = true;
    loop->stop = stop;
    loop->stuck = stuck;
    pthread_cond_signal(&loop->wake);
    pthread_mutex_unlock(&loop->lock);
}

/* ---- the fixture: a gateway without its HTTP side, and a controller's pen ---- */

struct fixture {
    struct test_server server;
    natsConnection *connection;
    jsCtx *js;
    struct swap *swap;
    struct watch *watch;
    struct loop loops[LOOPS];
    uint64_t sequence; /* of the last write */
};

static void wake(void *context, unsigned index)
{
    struct loop *loop = &((struct fixture *)context)->loops[index];

    pthread_mutex_lock(&loop->lock);
    loop->woken = true;
    pthread_cond_signal(&loop->wake);
    pthread_mutex_unlock(&loop->lock);
}

static void connect_pen(struct fixture *fixture)
{
    assert_int_equal(natsConnection_ConnectTo(&fixture->connection, fixture->server.url), NATS_OK);
    assert_int_equal(natsConnection_JetStream(&fixture->js, fixture->connection, NULL), NATS_OK);
}

static void disconnect_pen(struct fixture *fixture)
{
    jsCtx_Destroy(fixture->js);
    natsConnection_Destroy(fixture->connection);
}

static void add_stream(struct fixture *fixture, const char *name, const char *subject, bool of_acks)
{
    jsStreamConfig config;
    jsErrCode code = 0;
    natsStatus s;

    jsStreamConfig_Init(&config);
    config.Name = name;
    config.Subjects = &subject;
    config.SubjectsLen = 1;
    config.MaxMsgsPerSubject = 1;
    config.Storage = of_acks ? js_MemoryStorage : js_FileStorage;
    config.MaxAge = of_acks ? 15 * 1000000000ll : 0;
    config.AllowRollup = true;
    config.Discard = js_DiscardNew;
    s = js_AddStream(NULL, fixture->js, &config, NULL, &code);
    if (s != NATS_OK)
        fail_msg("stream %s: %s %d", name, natsStatus_GetText(s), code);
}

static void add_bucket(struct fixture *fixture)
{
    add_stream(fixture, "KV_metropolis-test", "$KV.metropolis-test.>", false);
}

static void add_ack_bucket(struct fixture *fixture)
{
    add_stream(fixture, "KV_metropolis_acks", "$KV.metropolis_acks.>", true);
}

static void put(struct fixture *fixture, const char *key, const char *value)
{
    char subject[512];
    jsPubAck *ack = NULL;
    natsStatus s;

    snprintf(subject, sizeof(subject), "$KV.metropolis-test.%s", key);
    s = js_Publish(&ack, fixture->js, subject, value, (int)strlen(value), NULL, NULL);
    if (s != NATS_OK)
        fail_msg("put %s: %s", key, natsStatus_GetText(s));
    fixture->sequence = ack->Sequence;
    jsPubAck_Destroy(ack);
}

static void delete (struct fixture *fixture, const char *key)
{
    char subject[512];
    natsMsg *message = NULL;
    jsPubAck *ack = NULL;

    snprintf(subject, sizeof(subject), "$KV.metropolis-test.%s", key);
    assert_int_equal(natsMsg_Create(&message, subject, NULL, NULL, 0), NATS_OK);
    natsMsgHeader_Set(message, "KV-Operation", "DEL");
    assert_int_equal(js_PublishMsg(&ack, fixture->js, message, NULL, NULL), NATS_OK);
    fixture->sequence = ack->Sequence;
    jsPubAck_Destroy(ack);
    natsMsg_Destroy(message);
}

static void put_head(struct fixture *fixture, const char *lineage, bool complete)
{
    char value[256];

    snprintf(value, sizeof(value),
             "{\"format\":1,\"owner\":\"o\",\"lineage\":\"%s\",\"term\":\"t\",\"complete\":%s}",
             lineage, complete ? "true" : "false");
    put(fixture, "_table", value);
}

static const char *route_value(int number, int generation, const char *gateway)
{
    static char value[512];

    snprintf(value, sizeof(value),
             "{\"format\":1,\"uid\":\"uid-%d\",\"generation\":%d,\"created\":1700000000,\"spec\":"
             "{%s\"rules\":[{\"matches\":[{\"path\":{\"type\":\"Exact\",\"value\":\"/r%d\"}}],"
             "\"backends\":[{\"subject\":\"r.%d.v%d\"}]}]}}",
             number, generation, gateway, number, number, generation);
    return value;
}

static void put_route(struct fixture *fixture, int number, int generation)
{
    char key[64];

    snprintf(key, sizeof(key), "route.ns.r%d", number);
    put(fixture, key, route_value(number, generation, "\"gateway\":\"test\","));
}

static void start_gateway_with(struct fixture *fixture, const struct watch_options *options)
{
    char error[128];

    fixture->swap = swap_new(LOOPS);
    assert_non_null(fixture->swap);
    swap_on_wake(fixture->swap, wake, fixture);
    for (unsigned i = 0; i < LOOPS; i++) {
        struct loop *loop = &fixture->loops[i];

        *loop = (struct loop){.swap = fixture->swap, .index = i};
        pthread_mutex_init(&loop->lock, NULL);
        pthread_cond_init(&loop->wake, NULL);
    }
    assert_int_equal(watch_start(options, fixture->swap, &fixture->watch, error, sizeof(error)), 0);
    for (unsigned i = 0; i < LOOPS; i++)
        pthread_create(&fixture->loops[i].thread, NULL, loop_run, &fixture->loops[i]);
}

static void start_gateway_as(struct fixture *fixture, const char *inbox_prefix)
{
    start_gateway_with(fixture, &(struct watch_options){.servers = fixture->server.url,
                                                        .inbox_prefix = inbox_prefix,
                                                        .gateway = "test",
                                                        .pod = "pod-1"});
}

static void start_gateway(struct fixture *fixture)
{
    start_gateway_as(fixture, "_METROPOLIS_TABLE");
}

static void stop_gateway(struct fixture *fixture)
{
    for (unsigned i = 0; i < LOOPS; i++) {
        loop_signal(&fixture->loops[i], true, false);
        pthread_join(fixture->loops[i].thread, NULL);
        pthread_mutex_destroy(&fixture->loops[i].lock);
        pthread_cond_destroy(&fixture->loops[i].wake);
    }
    watch_stop(fixture->watch);
    swap_adopt(fixture->swap, 0, &(struct swap_view){0}); /* as a loop that never ran, when freed */
    swap_free(fixture->swap);
}

static struct fixture *set_up(void)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));

    assert_non_null(fixture);
    test_server_start(&fixture->server, "jetstream: { store_dir: $TEST_DIRECTORY }\n");
    connect_pen(fixture);
    return fixture;
}

static void tear_down(struct fixture *fixture)
{
    disconnect_pen(fixture);
    test_server_stop(&fixture->server);
    free(fixture);
}

static bool serve(struct fixture *fixture, size_t routes)
{
    for (unsigned i = 0; i < LOOPS; i++)
        if (atomic_load(&fixture->loops[i].revision) != fixture->sequence ||
            atomic_load(&fixture->loops[i].routes) != routes)
            return false;
    return true;
}

static bool last_ack(struct fixture *fixture, struct table_ack *ret_ack)
{
    natsMsg *message = NULL;
    bool good;

    if (js_GetLastMsg(&message, fixture->js, "KV_metropolis_acks", "$KV.metropolis_acks.test.pod-1",
                      NULL, NULL) != NATS_OK)
        return false;
    good =
        table_ack_read(str_make(natsMsg_GetData(message), (size_t)natsMsg_GetDataLength(message)),
                       ret_ack) == 0;
    natsMsg_Destroy(message);
    return good;
}

static bool acked(struct fixture *fixture, const char *lineage)
{
    static struct table_ack ack;

    return last_ack(fixture, &ack) && ack.applied == fixture->sequence &&
           strcmp(ack.lineage, lineage) == 0;
}

static bool dump_has(struct fixture *fixture, const char *text)
{
    struct buffer out;
    bool found;

    buffer_init(&out, 64 * 1024 * 1024);
    assert_int_equal(watch_dump(fixture->watch, &out), 0);
    found = memmem(buffer_view(&out).ptr, buffer_length(&out), text, strlen(text)) != NULL;
    buffer_done(&out);
    return found;
}

static double metric(struct fixture *fixture, const char *name)
{
    char line[128];
    struct buffer page;
    const char *at;
    double value;

    buffer_init(&page, 64 * 1024);
    assert_int_equal(watch_metrics(fixture->watch, &page), 0);
    assert_int_equal(buffer_append_byte(&page, '\0'), 0);
    snprintf(line, sizeof(line), "\n%s ", name);
    at = strstr(buffer_view(&page).ptr, line);
    assert_non_null(at);
    value = strtod(at + strlen(line), NULL);
    buffer_done(&page);
    return value;
}

/* ---- tests ---- */

static void changes_reach_every_loop_and_are_acked(void **state)
{
    struct fixture *fixture = set_up();
    struct table_ack ack;
    char boot[TABLE_ID_MAX + 1];

    (void)state;
    add_bucket(fixture);
    add_ack_bucket(fixture);
    put_route(fixture, 1, 1);
    put_route(fixture, 2, 1);
    put_head(fixture, "life-1", true);
    start_gateway(fixture);
    WAIT_FOR(serve(fixture, 2));
    WAIT_FOR(watch_ready(fixture->watch));
    WAIT_FOR(acked(fixture, "life-1"));
    assert_true(last_ack(fixture, &ack));
    assert_false(ack.goodbye);
    assert_int_equal(ack.rejected_total, 0);
    strcpy(boot, ack.boot);
    assert_true(strlen(boot) >= 16);

    put_route(fixture, 3, 1);
    WAIT_FOR(serve(fixture, 3));
    WAIT_FOR(acked(fixture, "life-1"));
    put_route(fixture, 3, 2);
    WAIT_FOR(serve(fixture, 3));
    assert_true(dump_has(fixture, "r.3.v2"));
    assert_false(dump_has(fixture, "r.3.v1"));
    delete (fixture, "route.ns.r1");
    WAIT_FOR(serve(fixture, 2));
    assert_false(dump_has(fixture, "route.ns.r1"));
    WAIT_FOR(acked(fixture, "life-1"));
    stop_gateway(fixture);
    assert_true(last_ack(fixture, &ack));
    assert_true(ack.goodbye);
    assert_string_equal(ack.boot, boot);
    tear_down(fixture);
}

static void no_bucket_or_an_unfinished_one_is_not_ready(void **state)
{
    struct fixture *fixture = set_up();

    (void)state;
    start_gateway(fixture);
    WAIT_FOR(strstr(watch_reason(fixture->watch), "bucket does not exist"));
    add_bucket(fixture);
    WAIT_FOR(strstr(watch_reason(fixture->watch), "not complete"));
    put_route(fixture, 1, 1);
    put_head(fixture, "life-1", false);
    usleep(300 * 1000);
    assert_false(watch_ready(fixture->watch));
    assert_int_equal(atomic_load(&fixture->loops[0].number), 0);
    put_head(fixture, "life-1", true);
    WAIT_FOR(serve(fixture, 1));
    /* The bucket of acks does not exist: ready all the same, a little later. */
    assert_false(watch_ready(fixture->watch));
    WAIT_FOR(watch_ready(fixture->watch));
    add_ack_bucket(fixture);
    WAIT_FOR(acked(fixture, "life-1"));
    stop_gateway(fixture);
    tear_down(fixture);
}

static void readiness_waits_for_every_loop(void **state)
{
    struct fixture *fixture = set_up();

    (void)state;
    add_bucket(fixture);
    add_ack_bucket(fixture);
    put_head(fixture, "life-1", true);
    start_gateway(fixture);
    WAIT_FOR(watch_ready(fixture->watch));
    loop_signal(&fixture->loops[1], false, true);
    put_route(fixture, 1, 1);
    WAIT_FOR(atomic_load(&fixture->loops[0].routes) == 1);
    usleep(200 * 1000);
    assert_false(acked(fixture, "life-1"));
    loop_signal(&fixture->loops[1], false, false);
    WAIT_FOR(acked(fixture, "life-1"));
    stop_gateway(fixture);
    tear_down(fixture);
}

static void a_rejected_entry_is_named_and_the_last_good_one_stays(void **state)
{
    struct fixture *fixture = set_up();
    static struct table_ack ack;

    (void)state;
    add_bucket(fixture);
    add_ack_bucket(fixture);
    put_route(fixture, 1, 1);
    put_route(fixture, 2, 1);
    put_head(fixture, "life-1", true);
    start_gateway(fixture);
    WAIT_FOR(serve(fixture, 2));

    put(fixture, "route.ns.r1", "{\"format\":99,\"uid\":\"uid-1\",\"new\":true}");
    WAIT_FOR(acked(fixture, "life-1"));
    assert_true(serve(fixture, 2));
    assert_true(last_ack(fixture, &ack));
    assert_int_equal(ack.rejected_total, 1);
    assert_string_equal(ack.rejected[0].key, "route.ns.r1");
    assert_int_equal(ack.rejected[0].sequence, fixture->sequence);
    assert_non_null(strstr(ack.rejected[0].reason, "format 99"));

    put(fixture, "route.ns.r2", "{\"format\":99,\"uid\":\"another\"}"); /* another Route's life */
    WAIT_FOR(serve(fixture, 1));
    put(fixture, "route.ns.r3", route_value(3, 1, "")); /* of the gateway "default" */
    WAIT_FOR(acked(fixture, "life-1"));
    assert_true(serve(fixture, 1));
    assert_true(last_ack(fixture, &ack));
    assert_int_equal(ack.rejected_total, 3);
    assert_string_equal(ack.rejected[0].key, "route.ns.r3");
    assert_non_null(strstr(ack.rejected[0].reason, "gateway"));

    put_route(fixture, 1, 2);
    delete (fixture, "route.ns.r2");
    delete (fixture, "route.ns.r3");
    WAIT_FOR(acked(fixture, "life-1"));
    assert_true(last_ack(fixture, &ack));
    assert_int_equal(ack.rejected_total, 0);
    assert_true(dump_has(fixture, "r.1.v2"));
    stop_gateway(fixture);
    tear_down(fixture);
}

/* The same name, another life: a consumer that went on from its old place would miss entries. */
static void a_recreated_bucket_replaces_the_table_once_it_is_complete(void **state)
{
    struct fixture *fixture = set_up();

    (void)state;
    add_bucket(fixture);
    add_ack_bucket(fixture);
    for (int i = 0; i < 10; i++)
        put_route(fixture, i, 1);
    put_head(fixture, "life-1", true);
    start_gateway(fixture);
    WAIT_FOR(serve(fixture, 10));
    WAIT_FOR(acked(fixture, "life-1"));

    assert_int_equal(js_DeleteStream(fixture->js, "KV_metropolis-test", NULL, NULL), NATS_OK);
    add_bucket(fixture);
    put_head(fixture, "life-2", false);
    put_route(fixture, 3, 1);
    put_route(fixture, 20, 1);
    WAIT_FOR(strstr(watch_reason(fixture->watch), "not complete"));
    usleep(300 * 1000);
    assert_int_equal(atomic_load(&fixture->loops[0].routes), 10); /* the old one serves on */
    assert_true(watch_ready(fixture->watch));
    put_head(fixture, "life-2", true);
    WAIT_FOR(serve(fixture, 2));
    WAIT_FOR(acked(fixture, "life-2"));
    assert_true(dump_has(fixture, "route.ns.r3\""));
    assert_false(dump_has(fixture, "route.ns.r4\""));
    stop_gateway(fixture);
    tear_down(fixture);
}

static void a_new_lineage_in_the_same_bucket_is_read_anew(void **state)
{
    struct fixture *fixture = set_up();

    (void)state;
    add_bucket(fixture);
    add_ack_bucket(fixture);
    put_route(fixture, 1, 1);
    put_head(fixture, "life-1", true);
    start_gateway(fixture);
    WAIT_FOR(serve(fixture, 1));
    put_head(fixture, "life-2", false);
    put_route(fixture, 2, 1);
    usleep(500 * 1000);
    assert_int_equal(atomic_load(&fixture->loops[0].routes), 1);
    put_head(fixture, "life-2", true);
    WAIT_FOR(serve(fixture, 2));
    WAIT_FOR(acked(fixture, "life-2"));
    stop_gateway(fixture);
    tear_down(fixture);
}

/* A purge tells a consumer nothing; the question for the head finds out. */
static void a_lost_head_is_noticed_and_the_table_serves_on(void **state)
{
    struct fixture *fixture = set_up();
    jsOptions options;

    (void)state;
    add_bucket(fixture);
    add_ack_bucket(fixture);
    put_route(fixture, 1, 1);
    put_head(fixture, "life-1", true);
    start_gateway(fixture);
    WAIT_FOR(serve(fixture, 1));
    WAIT_FOR(watch_ready(fixture->watch));
    jsOptions_Init(&options);
    options.Stream.Purge.Subject = "$KV.metropolis-test._table";
    assert_int_equal(js_PurgeStream(fixture->js, "KV_metropolis-test", &options, NULL), NATS_OK);
    WAIT_FOR(strstr(watch_reason(fixture->watch), "not complete"));
    assert_true(watch_ready(fixture->watch));
    assert_int_equal(atomic_load(&fixture->loops[0].routes), 1);
    put_head(fixture, "life-1", true);
    WAIT_FOR(serve(fixture, 1) && strstr(watch_reason(fixture->watch), "serving"));
    stop_gateway(fixture);
    tear_down(fixture);
}

static void losing_the_server_changes_nothing_and_what_was_missed_is_read(void **state)
{
    struct fixture *fixture = set_up();

    (void)state;
    add_bucket(fixture);
    add_ack_bucket(fixture);
    put_route(fixture, 1, 1);
    put_route(fixture, 2, 1);
    put_head(fixture, "life-1", true);
    start_gateway(fixture);
    WAIT_FOR(serve(fixture, 2));
    WAIT_FOR(watch_ready(fixture->watch));
    disconnect_pen(fixture);
    test_server_kill(&fixture->server);
    usleep(300 * 1000);
    assert_true(watch_ready(fixture->watch));
    assert_int_equal(atomic_load(&fixture->loops[0].routes), 2);
    test_server_restart(&fixture->server);
    connect_pen(fixture);
    put_route(fixture, 3, 1);
    delete (fixture, "route.ns.r1");
    WAIT_FOR(serve(fixture, 2));
    assert_true(dump_has(fixture, "route.ns.r3"));
    assert_false(dump_has(fixture, "route.ns.r1"));
    stop_gateway(fixture);
    tear_down(fixture);
}

static void run_shell(const struct fixture *fixture, const char *format)
{
    char command[512];

    snprintf(command, sizeof(command), format, fixture->server.directory, fixture->server.directory,
             fixture->server.directory);
    assert_int_equal(system(command), 0);
}

/* A backup is restored: nothing that is served is dropped until a controller has looked. */
static void a_stream_that_went_back_is_not_served_before_its_new_lineage(void **state)
{
    struct fixture *fixture = set_up();

    (void)state;
    add_bucket(fixture);
    put_route(fixture, 1, 1);
    put_head(fixture, "life-1", true);
    disconnect_pen(fixture);
    test_server_kill(&fixture->server);
    run_shell(fixture, "cp -r %s/jetstream %s/backup");
    test_server_restart(&fixture->server);
    connect_pen(fixture);
    put_route(fixture, 2, 1);
    put_route(fixture, 3, 1);
    start_gateway(fixture);
    WAIT_FOR(serve(fixture, 3));
    disconnect_pen(fixture);
    test_server_kill(&fixture->server);
    run_shell(fixture, "rm -rf %s/jetstream && mv %s/backup %s/jetstream");
    test_server_restart(&fixture->server);
    connect_pen(fixture);
    WAIT_FOR(strstr(watch_reason(fixture->watch), "went back"));
    assert_int_equal(atomic_load(&fixture->loops[0].routes), 3);
    put_head(fixture, "life-2", false);
    put_route(fixture, 2, 2);
    put_head(fixture, "life-2", true);
    WAIT_FOR(serve(fixture, 2));
    assert_true(dump_has(fixture, "r.2.v2"));
    stop_gateway(fixture);
    tear_down(fixture);
}

/* The same end of a replay, but nothing was lost. */
static void a_purged_mark_of_a_deletion_is_no_loss(void **state)
{
    struct fixture *fixture = set_up();
    jsOptions options;

    (void)state;
    add_bucket(fixture);
    put_route(fixture, 1, 1);
    put_route(fixture, 2, 1);
    put_head(fixture, "life-1", true);
    start_gateway(fixture);
    WAIT_FOR(serve(fixture, 2));
    delete (fixture, "route.ns.r2");
    WAIT_FOR(serve(fixture, 1));
    jsOptions_Init(&options);
    options.Stream.Purge.Subject = "$KV.metropolis-test.route.ns.r2";
    assert_int_equal(js_PurgeStream(fixture->js, "KV_metropolis-test", &options, NULL), NATS_OK);
    test_server_signal(&fixture->server, SIGSTOP); /* until it is read anew */
    WAIT_FOR(!strstr(watch_reason(fixture->watch), "serving"));
    test_server_signal(&fixture->server, SIGCONT);
    WAIT_FOR(metric(fixture, "metropolis_table_replays_total") == 2);
    WAIT_FOR(strstr(watch_reason(fixture->watch), "serving the table"));
    assert_int_equal(atomic_load(&fixture->loops[0].routes), 1);
    stop_gateway(fixture);
    tear_down(fixture);
}

/* A server that stops without closing its connections: heartbeats fail to come. */
static void a_stalled_server_is_noticed(void **state)
{
    struct fixture *fixture = set_up();

    (void)state;
    add_bucket(fixture);
    put_head(fixture, "life-1", true);
    start_gateway(fixture);
    WAIT_FOR(serve(fixture, 0) && strstr(watch_reason(fixture->watch), "serving"));
    test_server_signal(&fixture->server, SIGSTOP);
    WAIT_FOR(!strstr(watch_reason(fixture->watch), "serving"));
    test_server_signal(&fixture->server, SIGCONT);
    WAIT_FOR(strstr(watch_reason(fixture->watch), "serving"));
    put_route(fixture, 1, 1);
    WAIT_FOR(serve(fixture, 1));
    stop_gateway(fixture);
    tear_down(fixture);
}

static void stopping_never_hangs(void **state)
{
    struct fixture *fixture = set_up();
    uint64_t start_us;

    (void)state;
    start_gateway(fixture); /* no bucket */
    usleep(50 * 1000);
    stop_gateway(fixture);
    add_bucket(fixture);
    put_head(fixture, "life-1", true);
    start_gateway(fixture);
    WAIT_FOR(serve(fixture, 0));
    test_server_signal(&fixture->server, SIGSTOP);
    start_us = now_us();
    stop_gateway(fixture);
    assert_true(now_us() - start_us < 3000000);
    test_server_signal(&fixture->server, SIGCONT);
    /* Not as a crash: the server has not written yet what it said that it has. */
    test_server_signal(&fixture->server, SIGTERM);
    assert_int_equal(waitid(P_PID, (id_t)fixture->server.pid, &(siginfo_t){0}, WEXITED | WNOWAIT),
                     0);
    test_server_kill(&fixture->server);
    start_gateway(fixture); /* no server */
    usleep(50 * 1000);
    stop_gateway(fixture);
    tear_down(fixture);
}

/* Just what watch.h names is enough; and it is the user's own inbox. */
static void a_user_with_few_rights_is_enough(void **state)
{
    static const char config[] =
        "jetstream: { store_dir: $TEST_DIRECTORY }\n"
        "accounts { A { jetstream: enabled, users = [\n"
        " {user: c, password: c}\n"
        " {user: table, password: t, permissions: {publish: [\n"
        "  \"$JS.API.CONSUMER.CREATE.KV_metropolis-test\",\n"
        "  \"$JS.API.STREAM.MSG.GET.KV_metropolis-test\", \"$JS.FC.KV_metropolis-test.>\",\n"
        "  \"$KV.metropolis_acks.test.>\"], subscribe: [\"_TABLE.>\"]}}\n"
        "]}}\n";
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    char url[64];

    (void)state;
    assert_non_null(fixture);
    test_server_start(&fixture->server, config);
    snprintf(fixture->server.url, sizeof(url), "nats://c:c@127.0.0.1:%d", fixture->server.port);
    connect_pen(fixture);
    add_bucket(fixture);
    add_ack_bucket(fixture);
    for (int i = 0; i < 500; i++)
        put_route(fixture, i, 1);
    put_head(fixture, "life-1", true);
    snprintf(fixture->server.url, sizeof(url), "nats://table:t@127.0.0.1:%d", fixture->server.port);
    start_gateway_as(fixture, "_TABLE");
    WAIT_FOR(serve(fixture, 500));
    WAIT_FOR(acked(fixture, "life-1"));
    usleep(5500 * 1000); /* over heartbeats, and the question for the head */
    assert_string_equal(watch_reason(fixture->watch), "serving the table");
    assert_true(metric(fixture, "metropolis_table_replays_total") == 1);
    put_route(fixture, 0, 2);
    WAIT_FOR(serve(fixture, 500));
    stop_gateway(fixture);
    tear_down(fixture);
}

/* Its acks name fewer of the rejected then; and the server does not hang up on it. */
static void a_server_that_takes_little_gets_acks_that_fit(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    static struct table_ack ack;
    char key[128];

    (void)state;
    assert_non_null(fixture);
    test_server_start(&fixture->server,
                      "jetstream: { store_dir: $TEST_DIRECTORY }\nmax_payload: 2048\n");
    connect_pen(fixture);
    add_bucket(fixture);
    add_ack_bucket(fixture);
    for (int i = 0; i < 32; i++) {
        snprintf(key, sizeof(key), "route.ns.a-name-of-some-length-%d", i);
        put(fixture, key, "{\"format\":99}");
    }
    put_route(fixture, 1, 1);
    put_head(fixture, "life-1", true);
    start_gateway(fixture);
    WAIT_FOR(serve(fixture, 1));
    WAIT_FOR(acked(fixture, "life-1"));
    assert_true(last_ack(fixture, &ack));
    assert_int_equal(ack.rejected_total, 32);
    assert_true(ack.rejected_count > 0 && ack.rejected_count < 32);
    assert_true(metric(fixture, "metropolis_table_replays_total") == 1);
    stop_gateway(fixture);
    tear_down(fixture);
}

/* A server delivers what is stored, however little it takes itself. */
static void entries_larger_than_what_the_server_takes_are_read(void **state)
{
    enum { LARGE = 200 * 1024 };
    struct fixture *fixture = set_up();
    static const char start[] = "{\"format\":99,\"uid\":\"u\"}";
    char *value = malloc(LARGE + 1);

    (void)state;
    assert_non_null(value);
    memset(value, ' ', LARGE);
    value[LARGE] = '\0';
    memcpy(value, start, strlen(start));
    add_bucket(fixture);
    put(fixture, "route.ns.large", value);
    put_route(fixture, 1, 1);
    put_head(fixture, "life-1", true);
    disconnect_pen(fixture);
    test_server_signal(&fixture->server, SIGTERM);
    assert_int_equal(waitid(P_PID, (id_t)fixture->server.pid, &(siginfo_t){0}, WEXITED | WNOWAIT),
                     0);
    test_server_kill(&fixture->server);
    strcat(fixture->server.config, "max_payload: 65536\n");
    test_server_restart(&fixture->server);
    connect_pen(fixture);
    start_gateway(fixture);
    WAIT_FOR(serve(fixture, 1));
    WAIT_FOR(metric(fixture, "metropolis_table_rejected_entries") == 1);
    stop_gateway(fixture);
    tear_down(fixture);
    free(value);
}

/* Before INFO, with a certificate of its own; a stranger's authority is not believed. */
static void the_table_is_read_over_tls(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    struct certificate authority, stranger, server, client;
    struct watch_options options = {.inbox_prefix = "_TABLE", .gateway = "test", .pod = "pod-1"};
    char directory[] = "/tmp/metropolis-test-XXXXXX", config[2048], url[64];

    (void)state;
    assert_non_null(fixture);
    assert_non_null(mkdtemp(directory));
    make_authority(&authority, directory, "authority");
    make_authority(&stranger, directory, "stranger");
    make_certificate(&server, directory, "server", &authority, "IP:127.0.0.1");
    make_certificate(&client, directory, "client", &authority, "DNS:gateway");
    snprintf(config, sizeof(config),
             "jetstream: { store_dir: $TEST_DIRECTORY }\nallow_non_tls: true\n"
             "tls { timeout: 20, cert_file: \"%s\", key_file: \"%s\", ca_file: \"%s\",\n"
             " verify: true, handshake_first: \"500ms\" }\n",
             server.cert, server.key, authority.cert);
    test_server_start(&fixture->server, config);
    snprintf(url, sizeof(url), "nats://127.0.0.1:%d", fixture->server.port);
    strcpy(fixture->server.url, url);
    connect_pen(fixture); /* in the clear */
    add_bucket(fixture);
    add_ack_bucket(fixture);
    put_route(fixture, 1, 1);
    put_head(fixture, "life-1", true);
    options.servers = url;
    options.tls_first = true;
    options.cert_file = client.cert;
    options.key_file = client.key;
    options.ca_file = stranger.cert;
    start_gateway_with(fixture, &options);
    WAIT_FOR(strstr(watch_reason(fixture->watch), "cannot connect"));
    stop_gateway(fixture);
    options.ca_file = authority.cert;
    start_gateway_with(fixture, &options);
    WAIT_FOR(serve(fixture, 1));
    WAIT_FOR(acked(fixture, "life-1"));
    stop_gateway(fixture);
    tear_down(fixture);
    snprintf(config, sizeof(config), "rm -r %s", directory);
    assert_int_equal(system(config), 0);
}

/* Its account has no JetStream: who gets to hear that was let in. One of the servers is dead. */
static void credentials_of_a_file_let_the_table_in(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    struct watch_options options = {.inbox_prefix = "_TABLE", .gateway = "test", .pod = "pod-1"};
    FILE *file = fopen(TEST_DATA "/operator.conf", "r");
    char config[4096] = "", urls[128];

    (void)state;
    assert_true(fixture && file);
    config[fread(config, 1, sizeof(config) - 1, file)] = '\0';
    fclose(file);
    test_server_start(&fixture->server, config);
    snprintf(urls, sizeof(urls), "nats://127.0.0.1:1,%s", fixture->server.url);
    options.servers = urls;
    start_gateway_with(fixture, &options);
    WAIT_FOR(strstr(watch_reason(fixture->watch), "cannot connect"));
    stop_gateway(fixture);
    options.creds_file = TEST_DATA "/gateway.creds";
    start_gateway_with(fixture, &options);
    WAIT_FOR(strstr(watch_reason(fixture->watch), "JetStream is not available"));
    stop_gateway(fixture);
    test_server_stop(&fixture->server);
    free(fixture);
}

/* Of several servers, one that has no JetStream is not stayed with. */
static void a_server_without_jetstream_is_left_for_another(void **state)
{
    struct fixture *fixture = set_up();
    struct test_server other;
    struct watch_options options = {.inbox_prefix = "_TABLE", .gateway = "test", .pod = "pod-1"};
    char urls[160];

    (void)state;
    test_server_start(&other, "");
    snprintf(urls, sizeof(urls), "%s,%s", fixture->server.url, other.url);
    options.servers = urls;
    disconnect_pen(fixture);
    test_server_kill(&fixture->server);
    start_gateway_with(fixture, &options);
    WAIT_FOR(strstr(watch_reason(fixture->watch), "JetStream is not available"));
    test_server_restart(&fixture->server);
    connect_pen(fixture);
    add_bucket(fixture);
    put_route(fixture, 1, 1);
    put_head(fixture, "life-1", true);
    WAIT_FOR(serve(fixture, 1));
    stop_gateway(fixture);
    test_server_stop(&other);
    tear_down(fixture);
}

static int compare_times(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

/* From the end of the write to the last loop's adoption; and a start with many Routes. */
static void ten_thousand_routes_are_read_and_one_change_is_fast(void **state)
{
    enum { COUNT = 10000, CHANGES = 50 };
    struct fixture *fixture = set_up();
    uint64_t start_us, times_us[CHANGES];
    char subject[128];

    (void)state;
    add_bucket(fixture);
    add_ack_bucket(fixture);
    for (int i = 0; i < COUNT; i++) {
        const char *value = route_value(i, 1, "\"gateway\":\"test\",");

        snprintf(subject, sizeof(subject), "$KV.metropolis-test.route.ns.r%d", i);
        assert_int_equal(js_PublishAsync(fixture->js, subject, value, (int)strlen(value), NULL),
                         NATS_OK);
    }
    assert_int_equal(js_PublishAsyncComplete(fixture->js, NULL), NATS_OK);
    put_head(fixture, "life-1", true);
    start_us = now_us();
    start_gateway(fixture);
    WAIT_FOR(watch_ready(fixture->watch));
    print_message("%d Routes: ready after %.1f ms\n", COUNT, (double)(now_us() - start_us) / 1e3);
    assert_true(serve(fixture, COUNT));
    for (int i = 0; i < CHANGES; i++) {
        uint64_t last_us = 0;

        usleep(5000);
        start_us = now_us();
        put_route(fixture, i, 2);
        WAIT_FOR(serve(fixture, COUNT));
        for (unsigned j = 0; j < LOOPS; j++) {
            uint64_t us = atomic_load(&fixture->loops[j].adopted_us);

            last_us = us > last_us ? us : last_us;
        }
        times_us[i] = last_us - start_us;
    }
    qsort(times_us, CHANGES, sizeof(times_us[0]), compare_times);
    print_message("from a write's start to the last loop: p50 %llu us, max %llu us\n",
                  (unsigned long long)times_us[CHANGES / 2],
                  (unsigned long long)times_us[CHANGES - 1]);
    stop_gateway(fixture);
    tear_down(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(changes_reach_every_loop_and_are_acked),
        cmocka_unit_test(no_bucket_or_an_unfinished_one_is_not_ready),
        cmocka_unit_test(readiness_waits_for_every_loop),
        cmocka_unit_test(a_rejected_entry_is_named_and_the_last_good_one_stays),
        cmocka_unit_test(a_recreated_bucket_replaces_the_table_once_it_is_complete),
        cmocka_unit_test(a_new_lineage_in_the_same_bucket_is_read_anew),
        cmocka_unit_test(a_lost_head_is_noticed_and_the_table_serves_on),
        cmocka_unit_test(losing_the_server_changes_nothing_and_what_was_missed_is_read),
        cmocka_unit_test(a_stream_that_went_back_is_not_served_before_its_new_lineage),
        cmocka_unit_test(a_purged_mark_of_a_deletion_is_no_loss),
        cmocka_unit_test(a_stalled_server_is_noticed),
        cmocka_unit_test(stopping_never_hangs),
        cmocka_unit_test(a_user_with_few_rights_is_enough),
        cmocka_unit_test(a_server_that_takes_little_gets_acks_that_fit),
        cmocka_unit_test(entries_larger_than_what_the_server_takes_are_read),
        cmocka_unit_test(the_table_is_read_over_tls),
        cmocka_unit_test(credentials_of_a_file_let_the_table_in),
        cmocka_unit_test(a_server_without_jetstream_is_left_for_another),
        cmocka_unit_test(ten_thousand_routes_are_read_and_one_change_is_fast),
    };
    int result = cmocka_run_group_tests(tests, NULL, NULL);

    nats_Close();
    return result;
}
