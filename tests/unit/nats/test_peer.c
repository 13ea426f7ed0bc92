/*
 * The client against a scripted peer, for what no nats-server does on demand: words cut anywhere,
 * words that are none, replies that belong to nobody.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/nats/fixture.h"

#define INFO_LINE "INFO {\"server_id\":\"S\",\"headers\":true,\"max_payload\":1000,\"proto\":1}\r\n"
#define LAME_DUCK_LINE \
    "INFO {\"server_id\":\"S\",\"headers\":true,\"max_payload\":1000,\"ldm\":true}\r\n"

/* A listening socket; connections are served by the test itself, between turns of the loop. */
struct peer {
    int listener, fd;
    char url[64];
    char got[65536]; /* what the client wrote on this connection */
    size_t got_len;
};

static void peer_open(struct peer *peer)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);

    *peer = (struct peer){.fd = -1};
    peer->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(peer->listener, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(peer->listener, 16), 0);
    assert_int_equal(getsockname(peer->listener, (struct sockaddr *)&address, &len), 0);
    snprintf(peer->url, sizeof(peer->url), "nats://127.0.0.1:%d", ntohs(address.sin_port));
}

static void peer_close(struct peer *peer)
{
    if (peer->fd >= 0)
        close(peer->fd);
    close(peer->listener);
}

/* Takes the next connection and forgets the last. */
static void peer_accept(struct peer *peer, struct fixture *fixture)
{
    int fd, on = 1;

    RUN_UNTIL(fixture, (fd = accept4(peer->listener, NULL, NULL, SOCK_NONBLOCK)) >= 0);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (peer->fd >= 0)
        close(peer->fd);
    peer->fd = fd;
    peer->got_len = 0;
    peer->got[0] = '\0';
}

static bool peer_has(struct peer *peer, const char *text)
{
    ssize_t len = recv(peer->fd, peer->got + peer->got_len, sizeof(peer->got) - 1 - peer->got_len,
                       MSG_DONTWAIT);

    if (len > 0)
        peer->got_len += (size_t)len;
    peer->got[peer->got_len] = '\0';
    return strstr(peer->got, text) != NULL;
}

static void peer_say(struct peer *peer, const char *text, size_t len)
{
    assert_int_equal(send(peer->fd, text, len, MSG_NOSIGNAL), len);
}

static void say(struct peer *peer, const char *text)
{
    peer_say(peer, text, strlen(text));
}

/* Up to a client that is connected. */
static void peer_greet(struct peer *peer, struct fixture *fixture)
{
    peer_accept(peer, fixture);
    say(peer, INFO_LINE);
    RUN_UNTIL(fixture, peer_has(peer, "PING\r\n"));
    say(peer, "PONG\r\n");
    RUN_UNTIL(fixture, fixture->connected);
}

/* The reply subject of the last request that came. */
static void reply_subject(struct peer *peer, char *subject, size_t size)
{
    const char *at = NULL, *next = peer->got;

    while ((next = strstr(next, "HPUB ")))
        at = next++;
    assert_non_null(at);
    at = strchr(at + 5, ' ') + 1;
    snprintf(subject, size, "%.*s", (int)strcspn(at, " "), at);
}

static void words_may_be_cut_anywhere(void **state)
{
    struct peer peer;
    struct fixture *fixture;
    char subject[256], text[1024];
    int len;

    (void)state;
    peer_open(&peer);
    fixture = open_client(peer.url, &default_options);
    peer_greet(&peer, fixture);
    assert_non_null(strstr(peer.got, "CONNECT {"));
    assert_non_null(strstr(peer.got, "\"no_responders\":true"));
    for (int i = 0; i < 2; i++)
        assert_true(request(fixture, i, "some.thing", STR_LIT("body")) >= 0);
    RUN_UNTIL(fixture, peer_has(&peer, "body\r\nHPUB") && peer.got[peer.got_len - 1] == '\n');
    assert_non_null(strstr(peer.got, "HPUB some.thing _METROPOLIS."));
    reply_subject(&peer, subject, sizeof(subject));
    len = snprintf(text, sizeof(text),
                   "PING\r\nHMSG %s 1 re.ply 23 28\r\nNATS/1.0\r\nA: 1\r\nB: \r\n\r\n\r\nhi\r\r\n"
                   "+OK\r\nMSG %s 1 3\r\nend\r\n-ERR 'whatever'\r\nPING\r\n",
                   subject, subject);
    for (int i = 0; i < len; i++) {
        peer_say(&peer, text + i, 1);
        uv_run(&fixture->loop, UV_RUN_ONCE);
    }
    RUN_UNTIL(fixture, peer_has(&peer, "PONG\r\nPONG\r\n"));
    assert_int_equal(fixture->calls[1].replies, 1);
    assert_string_equal(fixture->calls[1].block, "NATS/1.0\r\nA: 1\r\nB: \r\n\r\n");
    assert_int_equal(fixture->calls[1].payload_len, 5);
    assert_memory_equal(fixture->calls[1].payload, "\r\nhi\r", 5);
    assert_true(fixture->calls[1].has_reply_subject);
    assert_int_equal(counters(fixture).late, 1); /* the second reply */
    assert_int_equal(fixture->calls[0].replies + fixture->calls[0].failures, 0);
    assert_int_equal(fixture->downs, 0);
    close_client(fixture);
    peer_close(&peer);
}

static void words_that_are_none_end_the_connection_and_no_more(void **state)
{
    static const char *const cases[] = {
        "HELLO\r\n",
        "PING\n",
        "MSG a 1\r\n",
        "MSG a 1 66537\r\n",
        "MSG a 1 99999999999999999999\r\n",
        "MSG a 1 5\r\nhello!!",
        "HMSG a 1 9 5\r\nhello\r\n",
        "MSG  1 5\r\nhello\r\n",
        "INFO {\r\n",
        "INFO []\r\n",
        "INFO {\"max_payload\":0}\r\n",
        "\r\n",
    };
    struct peer peer;
    struct fixture *fixture;

    (void)state;
    peer_open(&peer);
    fixture = open_client(peer.url, &default_options);
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        peer_greet(&peer, fixture);
        assert_true(request(fixture, (int)i, "some.thing", STR_LIT("")) >= 0);
        RUN_UNTIL(fixture, peer_has(&peer, "HPUB"));
        say(&peer, cases[i]);
        RUN_UNTIL(fixture, !fixture->connected);
        assert_int_equal(fixture->downs, i + 1);
        assert_int_equal(fixture->calls[i].failures, 1);
        assert_int_equal(fixture->calls[i].failure, NATS_FAILURE_LOST);
    }
    peer_greet(&peer, fixture); /* and so on, for ever */
    close_client(fixture);
    peer_close(&peer);
}

static void replies_of_nobody_are_counted_and_harm_nobody(void **state)
{
    struct peer peer;
    struct fixture *fixture;
    char subject[256], text[2048];

    (void)state;
    peer_open(&peer);
    fixture = open_client(peer.url, &default_options);
    peer_greet(&peer, fixture);
    assert_true(request(fixture, 0, "some.thing", STR_LIT("")) >= 0);
    RUN_UNTIL(fixture, peer_has(&peer, "HPUB") && peer.got[peer.got_len - 1] == '\n');
    reply_subject(&peer, subject, sizeof(subject));
    snprintf(
        text, sizeof(text),
        "MSG %s0 1 1\r\nx\r\nMSG %.*s 1 1\r\nx\r\nMSG foo 1 1\r\nx\r\nMSG _METROPOLIS.%s 1 1\r\n"
        "x\r\nMSG %s 1 2\r\nok\r\n",
        subject, (int)strlen(subject) - 1, subject, subject, subject);
    say(&peer, text);
    RUN_UNTIL(fixture, fixture->ended == 1);
    assert_memory_equal(fixture->calls[0].payload, "ok", 2);
    assert_int_equal(counters(fixture).late, 4);
    assert_int_equal(fixture->downs, 0);
    close_client(fixture);
    peer_close(&peer);
}

static void a_server_that_says_nothing_or_cannot_do_headers_is_left(void **state)
{
    struct nats_client_options options = default_options;
    struct peer silent, peer;
    struct fixture *fixture;

    (void)state;
    options.connect_timeout_ms = 50;
    peer_open(&silent);
    fixture = open_client(silent.url, &options);
    RUN_UNTIL(fixture, fixture->downs == 1);
    close_client(fixture);
    peer_close(&silent);
    peer_open(&peer);
    fixture = open_client(peer.url, &default_options);
    peer_accept(&peer, fixture);
    say(&peer, "INFO {\"max_payload\":1000,\"headers\":false}\r\n");
    RUN_UNTIL(fixture, fixture->downs == 1);
    assert_non_null(strstr(fixture->detail, "headers"));
    assert_int_equal(fixture->ups, 0);
    close_client(fixture);
    peer_close(&peer);
}

/* The last words before the end of a connection say why it ended. */
static void what_the_server_said_is_told(void **state)
{
    struct peer peer;
    struct fixture *fixture;

    (void)state;
    peer_open(&peer);
    fixture = open_client(peer.url, &default_options);
    peer_greet(&peer, fixture);
    say(&peer, "-ERR 'Maximum Connections Exceeded'\r\n");
    close(peer.fd);
    peer.fd = -1;
    RUN_UNTIL(fixture, !fixture->connected);
    assert_non_null(strstr(fixture->detail, "Maximum Connections Exceeded"));
    close_client(fixture);
    peer_close(&peer);
}

static void a_server_that_begins_to_leave_while_it_lets_us_in_is_left(void **state)
{
    struct peer peer;
    struct fixture *fixture;

    (void)state;
    peer_open(&peer);
    fixture = open_client(peer.url, &default_options);
    peer_accept(&peer, fixture);
    say(&peer, INFO_LINE);
    RUN_UNTIL(fixture, peer_has(&peer, "PING\r\n"));
    say(&peer, LAME_DUCK_LINE "PONG\r\n");
    RUN_UNTIL(fixture, fixture->connected);
    assert_true(request(fixture, 0, "some.thing", STR_LIT("body")) >= 0);
    peer_greet(&peer, fixture);
    RUN_UNTIL(fixture, counters(fixture).connects == 2);
    close_client(fixture);
    peer_close(&peer);
}

/* One write of a loop's turn holds all of its requests. */
static void requests_of_one_turn_leave_together(void **state)
{
    struct peer peer;
    struct fixture *fixture;
    unsigned reads = 0;
    char bytes[65536];

    (void)state;
    peer_open(&peer);
    fixture = open_client(peer.url, &default_options);
    peer_greet(&peer, fixture);
    for (int i = 0; i < 100; i++)
        assert_true(request(fixture, i, "some.thing", STR_LIT("body")) >= 0);
    assert_true(counters(fixture).pending_bytes > 100 * 60);
    assert_int_equal(recv(peer.fd, bytes, sizeof(bytes), MSG_DONTWAIT), -1);
    uv_run(&fixture->loop, UV_RUN_NOWAIT);
    assert_int_equal(counters(fixture).pending_bytes, 0);
    while (recv(peer.fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
        reads++;
    assert_int_equal(reads, 1);
    close_client(fixture);
    peer_close(&peer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_may_be_cut_anywhere),
        cmocka_unit_test(words_that_are_none_end_the_connection_and_no_more),
        cmocka_unit_test(replies_of_nobody_are_counted_and_harm_nobody),
        cmocka_unit_test(a_server_that_says_nothing_or_cannot_do_headers_is_left),
        cmocka_unit_test(what_the_server_said_is_told),
        cmocka_unit_test(a_server_that_begins_to_leave_while_it_lets_us_in_is_left),
        cmocka_unit_test(requests_of_one_turn_leave_together),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
