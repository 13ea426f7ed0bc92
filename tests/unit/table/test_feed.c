/*
 * The table's connection against a scripted peer: it may be closed in the midst of anything, and a
 * wait ends in time.
 */
#include "dataplane/table/feed.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define INFO_LINE "INFO {\"server_id\":\"S\",\"headers\":true,\"max_payload\":1000,\"proto\":1}\r\n"

enum { PATIENCE_MS = 60000, ATTEMPTS = 20, SLOW_MS = 5000 };

enum event { NOTHING, UP, DOWN, MESSAGE, ANSWER, DENIED };

struct fixture {
    struct feed *feed;
    enum event last, leave_at; /* what happened last; when to disconnect from within the call */
    uint32_t answered;
    char why[256];
    int listener, fd; /* of the peer */
    char got[8192];   /* what came on this connection */
    size_t got_len;
};

#define WAIT_FOR(fixture, condition)                              \
    do {                                                          \
        uint64_t wait_end_ms = feed_now_ms() + PATIENCE_MS;       \
        while (!(condition)) {                                    \
            if (feed_now_ms() > wait_end_ms)                      \
                fail_msg("timed out waiting for %s", #condition); \
            feed_wait((fixture)->feed, feed_now_ms() + 2);        \
        }                                                         \
    } while (0)

/* In the system's place: a name server that takes its time over one name. */
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                struct addrinfo **ret_addresses)
{
    int (*system_getaddrinfo)(const char *, const char *, const struct addrinfo *,
                              struct addrinfo **);

    *(void **)&system_getaddrinfo = dlsym(RTLD_NEXT, "getaddrinfo");
    if (strcmp(node, "slow.test") == 0) {
        usleep(SLOW_MS * 1000);
        node = "127.0.0.1";
    }
    return system_getaddrinfo(node, service, hints, ret_addresses);
}

static void happened(struct fixture *fixture, enum event event)
{
    fixture->last = event;
    if (fixture->leave_at == event)
        feed_disconnect(fixture->feed);
}

static void on_message(void *context, const struct proto_operation *message)
{
    (void)message;
    happened(context, MESSAGE);
}

static void on_answer(void *context, uint32_t id, const struct proto_operation *message)
{
    (void)message;
    ((struct fixture *)context)->answered = id;
    happened(context, ANSWER);
}

static void on_denied(void *context, struct str subject)
{
    assert_true(str_equal(subject, STR_LIT("a.question")));
    happened(context, DENIED);
}

static void on_changed(void *context, const char *why)
{
    struct fixture *fixture = context;

    if (why)
        snprintf(fixture->why, sizeof(fixture->why), "%s", why);
    if (why)
        fixture->last = DOWN;
    else
        happened(fixture, UP);
}

static void open_feed(struct fixture *fixture, const char *servers)
{
    const struct feed_handler handler = {on_message, on_answer, on_denied, on_changed, fixture};
    const struct feed_options options = {
        .servers = servers, .inbox_prefix = "_TABLE", .name = "pod-1"};
    char error[128];

    assert_int_equal(feed_new(&options, &handler, &fixture->feed, error, sizeof(error)), 0);
}

static void set_up_as(struct fixture *fixture, const char *host)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    char url[64];

    *fixture = (struct fixture){.fd = -1};
    fixture->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fixture->listener, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(fixture->listener, 64), 0);
    assert_int_equal(getsockname(fixture->listener, (struct sockaddr *)&address, &len), 0);
    snprintf(url, sizeof(url), "nats://%s:%d", host, ntohs(address.sin_port));
    open_feed(fixture, url);
}

static void set_up(struct fixture *fixture)
{
    set_up_as(fixture, "127.0.0.1");
}

static void tear_down(struct fixture *fixture)
{
    feed_free(fixture->feed);
    if (fixture->fd >= 0)
        close(fixture->fd);
    close(fixture->listener);
}

static void take_connection(struct fixture *fixture)
{
    assert_int_equal(feed_connect(fixture->feed), 0);
    if (fixture->fd >= 0)
        close(fixture->fd);
    WAIT_FOR(fixture, (fixture->fd = accept(fixture->listener, NULL, NULL)) >= 0);
    fixture->got_len = 0;
}

static void say(struct fixture *fixture, const char *text)
{
    assert_int_equal(send(fixture->fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static bool has(struct fixture *fixture, const char *text)
{
    ssize_t len = recv(fixture->fd, fixture->got + fixture->got_len,
                       sizeof(fixture->got) - 1 - fixture->got_len, MSG_DONTWAIT);

    if (len > 0)
        fixture->got_len += (size_t)len;
    fixture->got[fixture->got_len] = '\0';
    return strstr(fixture->got, text) != NULL;
}

static void greet(struct fixture *fixture)
{
    take_connection(fixture);
    fixture->last = NOTHING;
    say(fixture, INFO_LINE);
    WAIT_FOR(fixture, has(fixture, "PING\r\n"));
    say(fixture, "PONG\r\n");
    WAIT_FOR(fixture, fixture->last == UP);
}

/* With nothing else to wait for, one whose time has come before it begins is over at once. */
static void a_wait_ends_in_time(void **state)
{
    struct fixture fixture;

    (void)state;
    set_up(&fixture);
    alarm(300);
    for (int i = 0; i < 1000; i++) {
        feed_wait(fixture.feed, 0);
        feed_wait(fixture.feed, feed_now_ms());
        feed_wait(fixture.feed, feed_now_ms() + 1);
    }
    alarm(0);
    tear_down(&fixture);
}

static void it_may_be_left_at_any_time(void **state)
{
    struct fixture fixture;

    (void)state;
    set_up(&fixture);
    for (int i = 0; i < ATTEMPTS; i++) {
        assert_int_equal(feed_connect(fixture.feed), 0); /* the name is being looked up */
        feed_disconnect(fixture.feed);
        assert_int_equal(feed_connect(fixture.feed), 0);
        feed_wait(fixture.feed, feed_now_ms());
        feed_disconnect(fixture.feed);
        feed_wait(fixture.feed, feed_now_ms());
    }
    assert_int_equal(feed_connect(fixture.feed), 0);
    tear_down(&fixture);
}

/* As where the first of two name servers is dead. */
static void a_name_that_takes_long_is_waited_for(void **state)
{
    struct fixture fixture;

    (void)state;
    set_up_as(&fixture, "slow.test");
    greet(&fixture);
    feed_disconnect(fixture.feed);
    assert_int_equal(feed_connect(fixture.feed), 0);
    feed_wait(fixture.feed, feed_now_ms() + 10);
    tear_down(&fixture);
}

static void it_may_be_left_from_within_each_call(void **state)
{
    static const char denied[] = "-ERR 'Permissions Violation for Publish to \"a.question\"'\r\n";
    static const enum event events[] = {UP, MESSAGE, ANSWER, DENIED};
    struct fixture fixture;
    char inbox[256], text[1024];
    uint32_t id;

    (void)state;
    set_up(&fixture);
    for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
        fixture.leave_at = events[i];
        greet(&fixture);
        if (events[i] == UP)
            continue;
        assert_int_equal(feed_follow(fixture.feed, inbox, sizeof(inbox)), 0);
        assert_int_equal(feed_ask(fixture.feed, STR_LIT("a.question"), STR_LIT("what"), &id), 0);
        WAIT_FOR(&fixture, has(&fixture, "what\r\n"));
        snprintf(text, sizeof(text), "%.*s",
                 (int)strcspn(strstr(fixture.got, "PUB a.question "), "\r"),
                 strstr(fixture.got, "PUB a.question "));
        snprintf(inbox, sizeof(inbox), "%.*s", (int)strcspn(text + 15, " "), text + 15);
        /* Three of its kind, of which only the first is told. */
        if (events[i] == MESSAGE)
            snprintf(text, sizeof(text), "MSG a %u 1\r\n1\r\nMSG a %u 1\r\n2\r\nMSG b 1 0\r\n\r\n",
                     id, id);
        else if (events[i] == DENIED)
            snprintf(text, sizeof(text), "%s%s%s", denied, denied, "MSG b 1 0\r\n\r\n");
        else
            snprintf(text, sizeof(text), "MSG %s 1 1\r\n1\r\nMSG %s 1 1\r\n2\r\n-ERR 'late'\r\n",
                     inbox, inbox);
        say(&fixture, text);
        WAIT_FOR(&fixture, fixture.last == events[i]);
        if (events[i] == ANSWER)
            assert_int_equal(fixture.answered, id);
    }
    fixture.leave_at = NOTHING;
    greet(&fixture);
    close(fixture.fd);
    fixture.fd = -1;
    WAIT_FOR(&fixture, fixture.last == DOWN);
    assert_non_null(strstr(fixture.why, "closed by the server"));
    tear_down(&fixture);
}

/* What an inbox of old still gets, and words that belong to no question. */
static void what_was_not_asked_for_is_not_told(void **state)
{
    struct fixture fixture;
    char inbox[256], text[1024];
    uint32_t old, id;

    (void)state;
    set_up(&fixture);
    greet(&fixture);
    assert_int_equal(feed_ask(fixture.feed, STR_LIT("a"), STR_LIT("one"), &old), 0);
    assert_int_equal(feed_follow(fixture.feed, inbox, sizeof(inbox)), 0);
    assert_int_equal(feed_follow(fixture.feed, inbox, sizeof(inbox)), 0);
    WAIT_FOR(&fixture, has(&fixture, inbox));
    assert_non_null(strstr(fixture.got, "UNSUB 3\r\n"));
    fixture.last = NOTHING;
    snprintf(text, sizeof(text),
             "MSG x 3 0\r\n\r\nMSG _TABLE.z.a.1 1 0\r\n\r\nMSG _TABLE 1 0\r\n\r\nPING\r\n");
    say(&fixture, text);
    WAIT_FOR(&fixture, has(&fixture, "PONG\r\n"));
    assert_int_equal(fixture.last, NOTHING);
    say(&fixture, "MSG x 4 0\r\n\r\n");
    WAIT_FOR(&fixture, fixture.last == MESSAGE);
    assert_int_equal(feed_ask(fixture.feed, STR_LIT("a"), STR_LIT("two"), &id), 0);
    assert_true(id > old);
    tear_down(&fixture);
}

/* The server would hang up on whoever sends more than it takes. */
static void a_question_that_the_server_does_not_take_is_not_sent(void **state)
{
    static char large[1001];
    struct fixture fixture;
    uint32_t id;

    (void)state;
    set_up(&fixture);
    greet(&fixture);
    memset(large, 'x', sizeof(large));
    assert_int_equal(feed_ask(fixture.feed, STR_LIT("a"), str_make(large, 1001), &id), -EMSGSIZE);
    assert_int_equal(feed_ask(fixture.feed, STR_LIT("a"), str_make(large, 1000), &id), 0);
    tear_down(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_wait_ends_in_time),
        cmocka_unit_test(it_may_be_left_at_any_time),
        cmocka_unit_test(a_name_that_takes_long_is_waited_for),
        cmocka_unit_test(it_may_be_left_from_within_each_call),
        cmocka_unit_test(what_was_not_asked_for_is_not_told),
        cmocka_unit_test(a_question_that_the_server_does_not_take_is_not_sent),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
