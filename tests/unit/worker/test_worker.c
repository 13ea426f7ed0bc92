/*
 * The worker library against a real nats-server, asked by a raw NATS client as a gateway would.
 * What the library says on the wire is judged from that client's side.
 */
#include <errno.h>
#include <nats/nats.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/wire/http_msg.h"
#include "tests/unit/nats/server.h"
#include "worker/metropolis.h"

enum { PATIENCE_MS = 10000 };

enum { TEST_MAX_PAYLOAD = 65536 };

/* With a limit that a test can reach; it takes clients that name no user, or guest, and no others.
 */
static const char server_config[] = "max_payload: 65536\nno_auth_user: guest\n"
                                    "authorization: {users: [{user: guest, password: guest}]}\n";
static struct test_server server;
static natsConnection *client;

/* ---- a worker in a thread of its own ---- */

struct running_worker {
    struct metropolis_worker *worker;
    pthread_t thread;
    int result;
};

static void log_nothing(void *log_arg, const char *message)
{
    (void)log_arg, (void)message;
}

static void *run_main(void *arg)
{
    struct running_worker *running = arg;

    running->result = metropolis_run(running->worker);
    return NULL;
}

static void worker_start_at(const char *url, struct running_worker *running,
                            const struct metropolis_handler *handler, int64_t drain_timeout_ms,
                            bool keep_signals)
{
    struct metropolis_options options = {.url = url,
                                         .name = "under test",
                                         .drain_timeout_ms = drain_timeout_ms,
                                         .keep_signals = keep_signals,
                                         .log = log_nothing};

    assert_int_equal(metropolis_worker_new(&running->worker, &options), 0);
    assert_int_equal(metropolis_handle(running->worker, handler), 0);
    assert_int_equal(pthread_create(&running->thread, NULL, run_main, running), 0);
}

static void worker_start(struct running_worker *running, const struct metropolis_handler *handler)
{
    worker_start_at(server.url, running, handler, 0, false);
}

static int worker_join(struct running_worker *running)
{
    pthread_join(running->thread, NULL);
    metropolis_worker_free(running->worker);
    return running->result;
}

static int worker_stop(struct running_worker *running)
{
    metropolis_stop(running->worker);
    return worker_join(running);
}

/* ---- a client ---- */

static natsMsg *request_new(const char *subject, const char *reply, const char *const *headers,
                            const char *body)
{
    natsMsg *message = NULL;

    assert_int_equal(natsMsg_Create(&message, subject, reply, body, (int)strlen(body)), NATS_OK);
    for (; headers != NULL && *headers != NULL; headers += 2)
        assert_int_equal(natsMsgHeader_Set(message, headers[0], headers[1]), NATS_OK);
    return message;
}

/* Asks until somebody subscribes: a worker's subscription reaches the server a little later. */
static natsMsg *ask(const char *subject, const char *const *headers, const char *body)
{
    natsMsg *reply = NULL;
    natsStatus status;

    for (int i = 0; i < PATIENCE_MS / 10; i++) {
        natsMsg *message = request_new(subject, NULL, headers, body);

        status = natsConnection_RequestMsg(&reply, client, message, PATIENCE_MS);
        natsMsg_Destroy(message);
        if (status != NATS_NO_RESPONDERS)
            break;
        nats_Sleep(10);
    }
    assert_int_equal(status, NATS_OK);
    return reply;
}

static const char *header(natsMsg *message, const char *name)
{
    const char *value = NULL;

    return natsMsgHeader_Get(message, name, &value) == NATS_OK ? value : NULL;
}

static void assert_body(natsMsg *message, const char *body)
{
    assert_int_equal(natsMsg_GetDataLength(message), strlen(body));
    assert_memory_equal(natsMsg_GetData(message), body, strlen(body));
}

/* ---- what a handler reads ---- */

static int report(struct metropolis_request *request, void *arg)
{
    char text[2048];
    size_t body_len, binary_len = 0;
    const char *body = metropolis_request_body(request, &body_len);
    const char *binary = metropolis_request_query_value(request, "bin", 0, &binary_len);
    int64_t left_ms = metropolis_request_deadline_left_ms(request);
    const char *name, *value, *tier = NULL;

    (void)arg;
    for (size_t i = 0; metropolis_request_header_at(request, i, &name, &value); i++) {
        if (strcmp(name, "X-Tier") == 0)
            tier = value;
    }
    assert_non_null(tier);
    assert_string_equal(tier, "gold");
    assert_true(left_ms > 1000 && left_ms <= 5000);
    assert_int_equal(binary_len, 3);
    assert_memory_equal(binary, "a\0b", 4);
    snprintf(
        text, sizeof(text), "%s %s ?%s on %s|%s|%s|%s|%s|%s|%s|%s|%s/%s/%s|%s|%s|%.*s",
        metropolis_request_method(request), metropolis_request_path(request),
        metropolis_request_query(request), metropolis_request_subject(request),
        metropolis_request_query_value(request, "data", 0, NULL),
        metropolis_request_query_value(request, "data", 1, NULL),
        metropolis_request_query_value(request, "data", 2, NULL) == NULL ? "no third" : "third",
        metropolis_request_query_value(request, "a b", 0, NULL),
        metropolis_request_query_value(request, "flag", 0, NULL),
        metropolis_request_query_value(request, "bin", 0, NULL) == NULL ? "not cut" : "cut",
        metropolis_request_param(request, "userId", 0),
        metropolis_request_param(request, "rest", 0), metropolis_request_param(request, "rest", 1),
        metropolis_request_param(request, "rest", 2),
        metropolis_request_param(request, "rest", 3) == NULL ? "no more" : "more",
        metropolis_request_header(request, "x-TIER"), (int)body_len, body);
    return metropolis_reply(request, 200, text, strlen(text));
}

static void a_handler_reads_every_part_of_a_request_decoded_once(void **state)
{
    static const char *const headers[] = {"Metropolis-Wire",
                                          "1",
                                          "Metropolis-Method",
                                          "POST",
                                          "Metropolis-Path",
                                          "/u/a%252Fb/x",
                                          "Metropolis-Query",
                                          "data=%31+2&&data=100%&a%20b=c%zz&flag&bin=a%00b&dat=no",
                                          "Metropolis-Param-userId",
                                          "a%252Fb",
                                          "Metropolis-Param-rest",
                                          "x%2Ey.~.z%C3%A4",
                                          "Metropolis-Timeout-Ms",
                                          "5000",
                                          "X-Tier",
                                          "gold",
                                          "Metropolis-Future",
                                          "ignored",
                                          NULL};
    struct metropolis_handler handler = {.subject = "read.*.POST", .handle = report};
    struct running_worker running;
    natsMsg *reply;

    (void)state;
    worker_start(&running, &handler);
    reply = ask("read.a%252Fb.POST", headers, "body");
    assert_body(reply, "POST /u/a%252Fb/x "
                       "?data=%31+2&&data=100%&a%20b=c%zz&flag&bin=a%00b&dat=no "
                       "on read.a%252Fb.POST|1 2|100%|no third|c%zz||not cut|a%2Fb|x.y//z\xc3\xa4|"
                       "no more|gold|body");
    assert_null(header(reply, "Metropolis-Status"));
    natsMsg_Destroy(reply);
    assert_int_equal(worker_stop(&running), 0);
}

static int report_nothing(struct metropolis_request *request, void *arg)
{
    const char *name = "untouched", *value = "untouched";

    (void)arg;
    assert_null(metropolis_request_method(request));
    assert_null(metropolis_request_path(request));
    assert_null(metropolis_request_query(request));
    assert_null(metropolis_request_query_value(request, "a", 0, NULL));
    assert_null(metropolis_request_param(request, "a", 0));
    assert_null(metropolis_request_header(request, "a"));
    assert_false(metropolis_request_header_at(request, 0, &name, &value));
    assert_string_equal(name, "untouched");
    assert_int_equal(metropolis_request_deadline_left_ms(request), -1);
    return metropolis_reply_text(request, 200, "served");
}

static void a_message_of_another_client_is_served_too(void **state)
{
    struct metropolis_handler handler = {.subject = "plain", .handle = report_nothing};
    struct running_worker running;
    natsMsg *reply;

    (void)state;
    worker_start(&running, &handler);
    reply = ask("plain", NULL, "");
    assert_body(reply, "served");
    assert_string_equal(header(reply, "Content-Type"), "text/plain; charset=utf-8");
    natsMsg_Destroy(reply);
    assert_int_equal(worker_stop(&running), 0);
}

/* ---- what a handler sends ---- */

static int send_created(struct metropolis_request *request, void *arg)
{
    (void)arg;
    assert_int_equal(metropolis_reply_header(request, "Content-Type", "application/json"), 0);
    assert_int_equal(metropolis_reply_header(request, "Set-Cookie", "a=1"), 0);
    assert_int_equal(metropolis_reply_header(request, "X-Pad", " \t padded \t"), 0);
    assert_int_equal(metropolis_reply_header(request, "set-cookie", "b=2"), 0);
    assert_int_equal(metropolis_reply(request, 201, "{}\0{}", 5), 0);
    assert_int_equal(metropolis_reply(request, 200, "again", 5), -EALREADY);
    assert_int_equal(metropolis_reply_header(request, "X-Late", "1"), -EALREADY);
    assert_int_equal(metropolis_reply_error(request, 500, NULL), -EALREADY);
    return 0;
}

static void status_body_and_repeated_headers_reach_the_gateway(void **state)
{
    struct metropolis_handler handler = {.subject = "create", .handle = send_created};
    struct running_worker running;
    const char **cookies = NULL;
    int count = 0;
    natsMsg *reply;

    (void)state;
    worker_start(&running, &handler);
    reply = ask("create", NULL, "");
    assert_string_equal(header(reply, "Metropolis-Status"), "201");
    assert_string_equal(header(reply, "X-Pad"), "padded");
    assert_int_equal(natsMsg_GetDataLength(reply), 5);
    assert_memory_equal(natsMsg_GetData(reply), "{}\0{}", 5);
    assert_int_equal(natsMsgHeader_Values(reply, "Set-Cookie", &cookies, &count), NATS_OK);
    assert_int_equal(count, 2);
    assert_string_equal(cookies[0], "a=1");
    assert_string_equal(cookies[1], "b=2");
    free(cookies);
    natsMsg_Destroy(reply);
    assert_int_equal(worker_stop(&running), 0);
}

/* Whether the gateway's own reader lets a header of this name through. */
static bool gateway_passes(const char *name)
{
    struct http_reply reply;
    char block[256];
    int length = snprintf(block, sizeof(block), "NATS/1.0\r\n%s: a\r\n\r\n", name);

    return http_reply_decode(str_make(block, (size_t)length), str_make("", 0), &reply) ==
               HTTP_REPLY_OK &&
           reply.header_count == 1;
}

static void assert_library_and_gateway_agree(struct metropolis_request *request)
{
    static const char *const names[] = {"Accept",
                                        "Accept-Ranges",
                                        "Age",
                                        "Allow",
                                        "Authorization",
                                        "Cache-Control",
                                        "Connection",
                                        "Content-Encoding",
                                        "Content-Type",
                                        "Cookie",
                                        "Date",
                                        "Description",
                                        "Etag",
                                        "Expect",
                                        "Forwarded",
                                        "From",
                                        "Host",
                                        "If",
                                        "If-Match",
                                        "If-None-Match",
                                        "Keep-Alive",
                                        "Link",
                                        "Location",
                                        "Max-Forwards",
                                        "Metropolis-X",
                                        "Nats-Msg-Id",
                                        "Nats",
                                        "Origin",
                                        "Pragma",
                                        "Proxy-Connection",
                                        "Range",
                                        "Proxy-Authenticate",
                                        "Referer",
                                        "Retry-After",
                                        "Server",
                                        "Proxy-Authorization",
                                        "Set-Cookie",
                                        "Status",
                                        "TE",
                                        "Timing-Allow-Origin",
                                        "Tracestate",
                                        "Trailer",
                                        "Vary",
                                        "Transfer-Encoding",
                                        "Upgrade",
                                        "User-Agent",
                                        "Via",
                                        "Www-Authenticate",
                                        "X-Forwarded-For",
                                        "X-Forwarded-Other",
                                        "X-Original-Url",
                                        "X-Rewrite-Url",
                                        "X-Real-Ip",
                                        "X-Request-Id",
                                        "X-\xc3\xa4",
                                        "X_A",
                                        "x-real-ip",
                                        "hOST",
                                        "X-Frame-Options",
                                        "Strict-Transport-Security"};

    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        int rc = metropolis_reply_header(request, names[i], "a");

        if ((rc == 0) != gateway_passes(names[i]))
            fail_msg("%s: the library says %d, the gateway %s", names[i], rc,
                     gateway_passes(names[i]) ? "passes it" : "drops it");
    }
}

static int send_what_is_refused(struct metropolis_request *request, void *arg)
{
    static const char *const bad_values[] = {"a\r\nX-Injected: 1", "a\nb", "a\rb", "a\tb", "a\x7f"};
    static const char *const bad_names[] = {
        "", "X A", "X:A", "X\r\nA", "Content-Length", "metropolis-status"};
    char long_value[METROPOLIS_REPLY_HEADER_BYTES_MAX];
    int lines = 0;
    static char too_large[TEST_MAX_PAYLOAD];

    (void)arg;
    memset(long_value, 'a', sizeof(long_value));
    long_value[sizeof(long_value) - 1] = '\0';
    for (size_t i = 0; i < sizeof(bad_values) / sizeof(*bad_values); i++)
        assert_int_equal(metropolis_reply_header(request, "X-A", bad_values[i]), -EINVAL);
    for (size_t i = 0; i < sizeof(bad_names) / sizeof(*bad_names); i++)
        assert_int_equal(metropolis_reply_header(request, bad_names[i], "a"), -EINVAL);
    assert_int_equal(metropolis_reply_header(request, "X-Long", long_value), -E2BIG);
    assert_library_and_gateway_agree(request);
    while (metropolis_reply_header(request, "Tea", "If-Green") == 0)
        lines++;
    assert_in_range(lines, 1, METROPOLIS_REPLY_HEADERS_MAX);
    assert_int_equal(metropolis_reply_header(request, "Tea", "one more"), -E2BIG);

    assert_int_equal(metropolis_reply(request, 101, NULL, 0), -EINVAL);
    assert_int_equal(metropolis_reply(request, 600, NULL, 0), -EINVAL);
    assert_int_equal(metropolis_reply(request, 204, "body", 4), -EINVAL);
    assert_int_equal(metropolis_reply(request, 304, "body", 4), -EINVAL);
    assert_int_equal(metropolis_reply_error(request, 200, NULL), -EINVAL);
    assert_int_equal(metropolis_reply_error(request, 400, "\xff"), -EINVAL);
    assert_int_equal(metropolis_reply(request, 200, too_large, sizeof(too_large)), -EMSGSIZE);
    return metropolis_reply_error(request, 422, "say \"\\\n\xc3\xa4");
}

static void what_a_gateway_would_refuse_or_drop_is_an_error_of_the_call(void **state)
{
    struct metropolis_handler handler = {.subject = "refuse", .handle = send_what_is_refused};
    struct running_worker running;
    natsMsg *reply;

    (void)state;
    worker_start(&running, &handler);
    reply = ask("refuse", NULL, "");
    assert_string_equal(header(reply, "Metropolis-Status"), "422");
    assert_string_equal(header(reply, "Content-Type"), "application/problem+json");
    assert_null(header(reply, "Tea"));
    assert_body(reply, "{\"title\":\"Unprocessable Content\",\"status\":422,"
                       "\"detail\":\"say \\\"\\\\\\u000a\xc3\xa4\"}");
    natsMsg_Destroy(reply);
    assert_int_equal(worker_stop(&running), 0);
}

static int send_length(struct metropolis_request *request, void *arg)
{
    (void)arg;
    assert_int_equal(metropolis_reply_header(request, "Content-Length", ""), -EINVAL);
    assert_int_equal(metropolis_reply_header(request, "Content-Length", "-1"), -EINVAL);
    assert_int_equal(metropolis_reply_header(request, "Content-Length", "1234"), 0);
    assert_int_equal(metropolis_reply_header(request, "Content-Length", "1234"), -EINVAL);
    return metropolis_reply(request, 200, NULL, 0);
}

static void head_may_be_answered_with_the_length_alone(void **state)
{
    static const char *const headers[] = {"Metropolis-Method", "HEAD", NULL};
    struct metropolis_handler handler = {.subject = "head", .handle = send_length};
    struct running_worker running;
    natsMsg *reply;

    (void)state;
    worker_start(&running, &handler);
    reply = ask("head", headers, "");
    assert_string_equal(header(reply, "Content-Length"), "1234");
    natsMsg_Destroy(reply);
    assert_int_equal(worker_stop(&running), 0);
}

static int send_nothing(struct metropolis_request *request, void *arg)
{
    (void)request;
    return *(int *)arg;
}

static void a_handler_without_a_reply_is_a_500_and_a_later_wire_version_a_501(void **state)
{
    static const char *const later[] = {"Metropolis-Wire", "2", NULL};
    int results[] = {0, -EIO};

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct metropolis_handler handler = {
            .subject = "nothing", .handle = send_nothing, .arg = &results[i]};
        struct running_worker running;
        natsMsg *reply;

        worker_start(&running, &handler);
        reply = ask("nothing", NULL, "");
        assert_string_equal(header(reply, "Metropolis-Status"), "500");
        assert_body(reply, "{\"title\":\"Internal Server Error\",\"status\":500}");
        natsMsg_Destroy(reply);
        reply = ask("nothing", later, "");
        assert_string_equal(header(reply, "Metropolis-Status"), "501");
        natsMsg_Destroy(reply);
        assert_int_equal(worker_stop(&running), 0);
    }
}

/* Sends what no client library would send; "%s" in text is the inbox. */
static natsMsg *ask_raw(const char *format)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    natsSubscription *replies = NULL;
    natsInbox *inbox = NULL;
    natsMsg *reply = NULL;
    char text[512];
    int fd, length;

    assert_int_equal(natsInbox_Create(&inbox), NATS_OK);
    assert_int_equal(natsConnection_SubscribeSync(&replies, client, inbox), NATS_OK);
    assert_int_equal(natsConnection_FlushTimeout(client, PATIENCE_MS), NATS_OK);
    address.sin_port = htons((uint16_t)strtoul(strrchr(server.url, ':') + 1, NULL, 10));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    length = snprintf(text, sizeof(text), format, inbox);
    assert_int_equal(write(fd, text, (size_t)length), length);
    assert_int_equal(natsSubscription_NextMsg(&reply, replies, PATIENCE_MS), NATS_OK);
    close(fd);
    natsSubscription_Destroy(replies);
    natsInbox_Destroy(inbox);
    return reply;
}

static void a_request_whose_headers_cannot_be_read_is_a_400_and_never_runs(void **state)
{
    struct metropolis_handler handler = {.subject = "broken", .handle = report_nothing};
    struct running_worker running;
    natsMsg *reply;

    (void)state;
    worker_start(&running, &handler);
    natsMsg_Destroy(ask("broken", NULL, ""));
    reply = ask_raw("CONNECT {\"verbose\":false,\"headers\":true}\r\n"
                    "HPUB broken %s 22 22\r\nNATS/1.0\r\nno colon\r\n\r\n\r\n");
    assert_string_equal(header(reply, "Metropolis-Status"), "400");
    natsMsg_Destroy(reply);
    assert_int_equal(worker_stop(&running), 0);
}

/* ---- load ---- */

struct counter {
    const char *name;
    atomic_int count, at_once, most_at_once;
    int sleep_ms;
};

static int count(struct metropolis_request *request, void *arg)
{
    struct counter *counter = arg;
    int at_once = atomic_fetch_add(&counter->at_once, 1) + 1;

    if (at_once > atomic_load(&counter->most_at_once))
        atomic_store(&counter->most_at_once, at_once);
    atomic_fetch_add(&counter->count, 1);
    nats_Sleep(counter->sleep_ms);
    atomic_fetch_sub(&counter->at_once, 1);
    return metropolis_reply_text(request, 200, counter->name);
}

static void wait_for(atomic_int *value, int wanted)
{
    for (int i = 0; i < PATIENCE_MS && atomic_load(value) < wanted; i++)
        nats_Sleep(1);
    assert_true(atomic_load(value) >= wanted);
}

/* Publishes requests whose replies come to the returned subscription. */
static natsSubscription *publish_requests(const char *subject, const char *const *headers,
                                          int requests)
{
    natsSubscription *replies = NULL;
    natsInbox *inbox = NULL;

    assert_int_equal(natsInbox_Create(&inbox), NATS_OK);
    assert_int_equal(natsConnection_SubscribeSync(&replies, client, inbox), NATS_OK);
    for (int i = 0; i < requests; i++) {
        natsMsg *message = request_new(subject, inbox, headers, "");

        assert_int_equal(natsConnection_PublishMsg(client, message), NATS_OK);
        natsMsg_Destroy(message);
    }
    assert_int_equal(natsConnection_FlushTimeout(client, PATIENCE_MS), NATS_OK);
    natsInbox_Destroy(inbox);
    return replies;
}

/* The number of replies with that status (NULL: 200) among the next `expected`. */
static int count_replies(natsSubscription *replies, int expected, const char *status)
{
    int matching = 0;

    for (int i = 0; i < expected; i++) {
        natsMsg *reply = NULL;
        const char *got;

        assert_int_equal(natsSubscription_NextMsg(&reply, replies, PATIENCE_MS), NATS_OK);
        got = header(reply, "Metropolis-Status");
        matching += status == NULL ? got == NULL : got != NULL && strcmp(got, status) == 0;
        natsMsg_Destroy(reply);
    }
    return matching;
}

static void workers_of_a_queue_group_share_the_requests(void **state)
{
    struct counter counters[2] = {{.name = "one"}, {.name = "two"}};
    struct running_worker running[2];
    natsSubscription *replies;

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct metropolis_handler handler = {
            .subject = "shared", .queue_group = "team", .handle = count, .arg = &counters[i]};

        worker_start_at(server.url, &running[i], &handler, 0, true);
    }
    /* Both have to be known to the server before the requests are dealt out. */
    for (int i = 0; i < PATIENCE_MS && (!counters[0].count || !counters[1].count); i++)
        natsMsg_Destroy(ask("shared", NULL, ""));
    atomic_store(&counters[0].count, 0);
    atomic_store(&counters[1].count, 0);
    replies = publish_requests("shared", NULL, 200);
    assert_int_equal(count_replies(replies, 200, NULL), 200);
    assert_int_equal(counters[0].count + counters[1].count, 200);
    assert_true(counters[0].count > 20 && counters[1].count > 20);
    natsSubscription_Destroy(replies);
    for (int i = 0; i < 2; i++)
        assert_int_equal(worker_stop(&running[i]), 0);
}

static void a_handler_runs_as_many_requests_at_once_as_it_has_threads(void **state)
{
    struct counter counter = {.name = "slow", .sleep_ms = 100};
    struct metropolis_handler handler = {
        .subject = "slow", .concurrency = 4, .handle = count, .arg = &counter};
    struct running_worker running;
    natsSubscription *replies;

    (void)state;
    worker_start(&running, &handler);
    natsMsg_Destroy(ask("slow", NULL, ""));
    replies = publish_requests("slow", NULL, 12);
    assert_int_equal(count_replies(replies, 12, NULL), 12);
    assert_int_equal(counter.most_at_once, 4);
    natsSubscription_Destroy(replies);
    assert_int_equal(worker_stop(&running), 0);
}

static void what_does_not_fit_the_queue_gets_503_at_once(void **state)
{
    struct counter counter = {.name = "slow", .sleep_ms = 200};
    struct metropolis_handler handler = {
        .subject = "full", .queue_limit = 2, .handle = count, .arg = &counter};
    struct running_worker running;
    natsSubscription *replies;

    (void)state;
    worker_start(&running, &handler);
    natsMsg_Destroy(ask("full", NULL, ""));
    replies = publish_requests("full", NULL, 1);
    wait_for(&counter.count, 2);
    natsSubscription_Destroy(replies);
    replies = publish_requests("full", NULL, 5); /* one runs: two wait, three are refused */
    assert_int_equal(count_replies(replies, 3, "503"), 3);
    assert_int_equal(count_replies(replies, 2, NULL), 2);
    natsSubscription_Destroy(replies);
    assert_int_equal(worker_stop(&running), 0);
}

static void a_request_that_outlived_its_deadline_in_the_queue_never_runs(void **state)
{
    static const char *const hasty[] = {"Metropolis-Timeout-Ms", "50", NULL};
    struct counter counter = {.name = "slow", .sleep_ms = 300};
    struct metropolis_handler handler = {.subject = "late", .handle = count, .arg = &counter};
    struct running_worker running;
    natsSubscription *first, *second;

    (void)state;
    worker_start(&running, &handler);
    natsMsg_Destroy(ask("late", NULL, ""));
    first = publish_requests("late", NULL, 1);
    second = publish_requests("late", hasty, 1);
    assert_int_equal(count_replies(first, 1, NULL), 1);
    assert_int_equal(worker_stop(&running), 0);
    assert_int_equal(counter.count, 2);
    natsSubscription_Destroy(first);
    natsSubscription_Destroy(second);
}

static int work_until_cancelled(struct metropolis_request *request, void *arg)
{
    atomic_int *cancelled = arg;

    for (int i = 0; i < PATIENCE_MS && !metropolis_request_cancelled(request); i++)
        nats_Sleep(1);
    if (metropolis_request_cancelled(request))
        atomic_fetch_add(cancelled, 1);
    return metropolis_reply_text(request, 200, "");
}

static void a_handler_is_told_that_nobody_waits(void **state)
{
    static const char *const asked[] = {"Metropolis-Cancel", "metropolis.cancel.1", NULL};
    static const char *const late[] = {"Metropolis-Timeout-Ms", "50", NULL};
    atomic_int cancelled = 0;
    struct metropolis_handler handler = {
        .subject = "long", .handle = work_until_cancelled, .arg = &cancelled};
    struct running_worker running;

    (void)state;
    worker_start(&running, &handler);
    natsMsg_Destroy(ask("long", late, "")); /* its deadline alone says so, too */
    assert_int_equal(cancelled, 1);
    natsSubscription_Destroy(publish_requests("long", asked, 1));
    for (int i = 0; i < PATIENCE_MS && cancelled < 2; i++) {
        /* The first such request makes the subscription, which takes a moment. */
        natsConnection_PublishString(client, "metropolis.cancel.2", "");
        natsConnection_PublishString(client, i < 20 ? "metropolis.cancel.3" : asked[1], "");
        nats_Sleep(1);
        assert_true(i >= 20 || cancelled == 1); /* those of others mean nothing */
    }
    assert_int_equal(cancelled, 2);
    assert_int_equal(worker_stop(&running), 0);
}

static void a_request_that_was_cancelled_in_the_queue_never_runs(void **state)
{
    static const char *const one[] = {"Metropolis-Cancel", "metropolis.cancel.one", NULL};
    static const char *const two[] = {"Metropolis-Cancel", "metropolis.cancel.two", NULL};
    struct counter counter = {.name = "slow", .sleep_ms = 300};
    struct metropolis_handler handler = {.subject = "queue", .handle = count, .arg = &counter};
    struct running_worker running;
    natsSubscription *first, *second;

    (void)state;
    worker_start(&running, &handler);
    natsMsg_Destroy(ask("queue", one, "")); /* the subscription is there from now on */
    first = publish_requests("queue", one, 1);
    second = publish_requests("queue", two, 1);
    natsConnection_PublishString(client, two[1], "");
    assert_int_equal(count_replies(first, 1, NULL), 1);
    assert_int_equal(worker_stop(&running), 0);
    assert_int_equal(counter.count, 2);
    natsSubscription_Destroy(first);
    natsSubscription_Destroy(second);
}

/* ---- the end ---- */

static void sigterm_answers_what_has_arrived_and_nothing_after(void **state)
{
    struct counter counter = {.name = "slow", .sleep_ms = 50};
    struct metropolis_handler handler = {.subject = "drain", .handle = count, .arg = &counter};
    struct running_worker running;
    natsSubscription *replies;
    natsMsg *message, *reply = NULL;

    (void)state;
    worker_start(&running, &handler);
    natsMsg_Destroy(ask("drain", NULL, ""));
    replies = publish_requests("drain", NULL, 10);
    wait_for(&counter.count, 2);
    kill(getpid(), SIGTERM);
    assert_int_equal(worker_join(&running), 0);
    assert_int_equal(counter.count, 11);
    assert_int_equal(count_replies(replies, 10, NULL), 10);
    natsSubscription_Destroy(replies);

    message = request_new("drain", NULL, NULL, "");
    assert_int_equal(natsConnection_RequestMsg(&reply, client, message, PATIENCE_MS),
                     NATS_NO_RESPONDERS);
    natsMsg_Destroy(message);
}

static void a_drain_is_bounded_and_refuses_what_still_waits(void **state)
{
    struct counter counter = {.name = "stuck", .sleep_ms = 1500};
    struct metropolis_handler handler = {.subject = "stuck", .handle = count, .arg = &counter};
    struct timespec before, after;
    struct running_worker running;
    natsSubscription *replies;

    (void)state;
    worker_start_at(server.url, &running, &handler, 200, false);
    natsMsg_Destroy(ask("stuck", NULL, ""));
    replies = publish_requests("stuck", NULL, 3);
    wait_for(&counter.count, 2);
    clock_gettime(CLOCK_MONOTONIC, &before);
    metropolis_stop(running.worker);
    pthread_join(running.thread, NULL);
    clock_gettime(CLOCK_MONOTONIC, &after);
    assert_int_equal(running.result, -ETIMEDOUT);
    assert_true((after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000 <
                1000);
    assert_int_equal(count_replies(replies, 2, "503"), 2);
    metropolis_worker_free(running.worker); /* waits for the one that runs, which can still reply */
    assert_int_equal(count_replies(replies, 1, NULL), 1);
    natsSubscription_Destroy(replies);
}

static void ask_other(const struct test_server *other, const char *subject)
{
    natsConnection *shared = client;

    assert_int_equal(natsConnection_ConnectTo(&client, other->url), NATS_OK);
    natsMsg_Destroy(ask(subject, NULL, ""));
    natsConnection_Destroy(client);
    client = shared;
}

static void a_worker_waits_for_a_server_that_is_not_there_yet_or_no_more(void **state)
{
    struct metropolis_handler handler = {.subject = "patient", .handle = report_nothing};
    struct running_worker running;
    struct test_server other;

    (void)state;
    test_server_start(&other, server_config);
    test_server_kill(&other); /* its port is known, and free */
    worker_start_at(other.url, &running, &handler, 0, false);
    test_server_restart(&other);
    ask_other(&other, "patient");
    test_server_kill(&other);
    test_server_restart(&other);
    ask_other(&other, "patient");
    test_server_stop(&other);
    assert_int_equal(worker_stop(&running), 0);
}

static void wrong_arguments_are_errors(void **state)
{
    struct metropolis_options options = {.url = "nats://127.0.0.1:1,", .log = log_nothing};
    struct metropolis_worker *worker = NULL;
    static const char *const subjects[] = {"",      "a..b", ".a",   "a.", "a b",
                                           "a.>.b", "a*",   "a.b>", NULL};

    (void)state;
    assert_int_equal(metropolis_worker_new(&worker, &options), -EINVAL);
    options.url = server.url;
    options.creds = "/nonexistent";
    assert_int_equal(metropolis_worker_new(&worker, &options), -EINVAL);
    options.creds = NULL;
    assert_int_equal(metropolis_worker_new(&worker, &options), 0);
    for (size_t i = 0; i < sizeof(subjects) / sizeof(*subjects); i++) {
        struct metropolis_handler handler = {.subject = subjects[i], .handle = report};

        assert_int_equal(metropolis_handle(worker, &handler), -EINVAL);
    }
    assert_int_equal(metropolis_handle(worker, &(struct metropolis_handler){.subject = "a",
                                                                            .queue_group = "a b",
                                                                            .handle = report}),
                     -EINVAL);
    assert_int_equal(metropolis_handle(worker, &(struct metropolis_handler){.subject = "a",
                                                                            .concurrency = 1000,
                                                                            .handle = report}),
                     -EINVAL);
    metropolis_worker_free(worker);
    metropolis_worker_free(NULL);
}

static void a_worker_that_the_server_refuses_is_told_so(void **state)
{
    struct metropolis_options options = {.log = log_nothing};
    struct metropolis_worker *worker = NULL;
    char url[128];

    (void)state;
    snprintf(url, sizeof(url), "nats://stranger:secret@127.0.0.1:%d", server.port);
    options.url = url;
    assert_int_equal(metropolis_worker_new(&worker, &options), -EACCES);
    assert_null(worker);
}

static int start(void **state)
{
    (void)state;
    test_server_start(&server, server_config);
    return natsConnection_ConnectTo(&client, server.url) == NATS_OK ? 0 : -1;
}

static int stop(void **state)
{
    (void)state;
    natsConnection_Destroy(client);
    test_server_stop(&server);
    return nats_CloseAndWait(PATIENCE_MS) == NATS_OK ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_handler_reads_every_part_of_a_request_decoded_once),
        cmocka_unit_test(a_message_of_another_client_is_served_too),
        cmocka_unit_test(status_body_and_repeated_headers_reach_the_gateway),
        cmocka_unit_test(what_a_gateway_would_refuse_or_drop_is_an_error_of_the_call),
        cmocka_unit_test(head_may_be_answered_with_the_length_alone),
        cmocka_unit_test(a_handler_without_a_reply_is_a_500_and_a_later_wire_version_a_501),
        cmocka_unit_test(a_request_whose_headers_cannot_be_read_is_a_400_and_never_runs),
        cmocka_unit_test(workers_of_a_queue_group_share_the_requests),
        cmocka_unit_test(a_handler_runs_as_many_requests_at_once_as_it_has_threads),
        cmocka_unit_test(what_does_not_fit_the_queue_gets_503_at_once),
        cmocka_unit_test(a_request_that_outlived_its_deadline_in_the_queue_never_runs),
        cmocka_unit_test(a_handler_is_told_that_nobody_waits),
        cmocka_unit_test(a_request_that_was_cancelled_in_the_queue_never_runs),
        cmocka_unit_test(sigterm_answers_what_has_arrived_and_nothing_after),
        cmocka_unit_test(a_drain_is_bounded_and_refuses_what_still_waits),
        cmocka_unit_test(a_worker_waits_for_a_server_that_is_not_there_yet_or_no_more),
        cmocka_unit_test(wrong_arguments_are_errors),
        cmocka_unit_test(a_worker_that_the_server_refuses_is_told_so),
    };

    return cmocka_run_group_tests(tests, start, stop);
}
