/*
 * The client over TLS: against a real nats-server, and against a scripted peer where half a record
 * or a word in the wrong place is wanted.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/nats/certificates.h"
#include "tests/unit/nats/fixture.h"
#include "tests/unit/nats/server.h"

enum { BODY_LEN = 300 * 1024 };

/* ---- what the tests share: a directory with certificates ---- */

struct files {
    char directory[64];
    struct certificate authority, stranger;
    struct certificate localhost; /* DNS:localhost and 127.0.0.1 */
    struct certificate named;     /* DNS:localhost alone */
    struct certificate client;
};

static int make_files(void **state)
{
    static struct files files;

    snprintf(files.directory, sizeof(files.directory), "/tmp/metropolis-test-XXXXXX");
    if (!mkdtemp(files.directory))
        return -1;
    make_authority(&files.authority, files.directory, "authority");
    make_authority(&files.stranger, files.directory, "stranger");
    make_certificate(&files.localhost, files.directory, "localhost", &files.authority,
                     "DNS:localhost,IP:127.0.0.1");
    make_certificate(&files.named, files.directory, "named", &files.authority, "DNS:localhost");
    make_certificate(&files.client, files.directory, "client", &files.authority, "DNS:gateway");
    *state = &files;
    return 0;
}

static int remove_files(void **state)
{
    struct files *files = *state;
    const struct certificate *all[] = {&files->authority, &files->stranger, &files->localhost,
                                       &files->named, &files->client};

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        unlink(all[i]->cert);
        unlink(all[i]->key);
    }
    return rmdir(files->directory);
}

/* more: further lines of the tls block. */
static void start_tls_server(struct test_server *server, const struct certificate *certificate,
                             const char *more, const char *outside)
{
    char config[2048];

    snprintf(config, sizeof(config),
             "tls { timeout: 20, cert_file: \"%s\", key_file: \"%s\"\n%s }\n%s\n",
             certificate->cert, certificate->key, more, outside);
    test_server_start(server, config);
}

static struct nats_client_options trusting(const struct files *files)
{
    struct nats_client_options options = default_options;

    options.ca_file = str_from(files->authority.cert);
    return options;
}

static const char *url_of(const struct test_server *server, const char *scheme, const char *host)
{
    static char url[128];

    snprintf(url, sizeof(url), "%s://%s:%d", scheme, host, server->port);
    return url;
}

/* Tries for a while; the reason must hold what is given, and nobody may have been let in. */
static void expect_refusal(const char *url, const struct nats_client_options *options,
                           const char *reason)
{
    struct fixture *fixture = open_client(url, options);

    RUN_UNTIL(fixture, fixture->downs > 0);
    if (!strstr(fixture->detail, reason))
        fail_msg("expected \"%s\" in: %s", reason, fixture->detail);
    run_for(fixture, 100);
    assert_int_equal(fixture->ups, 0);
    close_client(fixture);
}

static void expect_connection(const char *url, const struct nats_client_options *options)
{
    struct fixture *fixture = connect_client(url, options);

    assert_true(request(fixture, 0, "nobody", STR_LIT("")) >= 0);
    RUN_UNTIL(fixture, fixture->calls[0].replies == 1);
    assert_int_equal(fixture->downs, 0);
    close_client(fixture);
}

/* ---- a real server ---- */

static void large_bodies_pass_both_ways(void **state)
{
    struct nats_client_options options = trusting(*state);
    struct test_server server;
    struct worker worker;
    struct fixture *fixture;
    char *body = malloc(BODY_LEN + 16);

    for (int i = 0; i < BODY_LEN + 16; i++)
        body[i] = (char)(i * 7 + i / 251);
    /* The worker in the clear: so the server says tls_available, not tls_required. */
    start_tls_server(&server, &((struct files *)*state)->localhost, "", "allow_non_tls: true");
    start_worker(&worker, server.url, "echo", echo);
    fixture = connect_client(server.url, &options);
    for (int i = 0; i < 48; i++) {
        while (request(fixture, i, "echo", str_make(body + i % 16, BODY_LEN)) < 0)
            uv_run(&fixture->loop, UV_RUN_ONCE);
    }
    RUN_UNTIL(fixture, fixture->ended == 48);
    for (int i = 0; i < 48; i++) {
        assert_int_equal(fixture->calls[i].replies, 1);
        assert_int_equal(fixture->calls[i].payload_len, BODY_LEN);
        assert_memory_equal(fixture->calls[i].payload, body + i % 16, BODY_LEN);
    }
    assert_int_equal(fixture->downs, 0);
    close_client(fixture);
    stop_worker(&worker);
    test_server_stop(&server);
    free(body);
}

static void a_thousand_requests_at_once_are_all_answered(void **state)
{
    struct nats_client_options options = trusting(*state);
    struct test_server server;
    struct worker worker;
    struct fixture *fixture;
    char text[32];

    start_tls_server(&server, &((struct files *)*state)->localhost, "", "allow_non_tls: true");
    start_worker(&worker, server.url, "echo", echo);
    fixture = connect_client(server.url, &options);
    for (int i = 0; i < 1000; i++) {
        snprintf(text, sizeof(text), "request %d", i);
        assert_true(request(fixture, i, "echo", str_from(text)) >= 0);
    }
    RUN_UNTIL(fixture, fixture->ended == 1000);
    for (int i = 0; i < 1000; i++) {
        snprintf(text, sizeof(text), "request %d", i);
        assert_int_equal(fixture->calls[i].payload_len, strlen(text));
        assert_memory_equal(fixture->calls[i].payload, text, strlen(text));
    }
    close_client(fixture);
    stop_worker(&worker);
    test_server_stop(&server);
}

static void names_and_addresses_are_checked(void **state)
{
    const struct files *files = *state;
    struct nats_client_options options = trusting(files);
    struct test_server server;

    start_tls_server(&server, &files->named, "", "");
    expect_connection(url_of(&server, "tls", "localhost"), &options);
    expect_connection(url_of(&server, "nats", "localhost"), &options);
    expect_refusal(url_of(&server, "tls", "127.0.0.1"), &options,
                   "certificate is not for 127.0.0.1");
    test_server_stop(&server);
    start_tls_server(&server, &files->localhost, "", "");
    expect_connection(url_of(&server, "tls", "127.0.0.1"), &options);
    expect_refusal(url_of(&server, "tls", "127.0.0.1.nip.invalid"), &options, "");
    test_server_stop(&server);
    start_tls_server(&server, &files->client, "", "");
    expect_refusal(url_of(&server, "tls", "localhost"), &options,
                   "certificate is not for localhost");
    test_server_stop(&server);
}

static void an_authority_that_is_not_trusted_is_refused(void **state)
{
    const struct files *files = *state;
    struct nats_client_options options = trusting(files);
    struct test_server server;

    start_tls_server(&server, &files->localhost, "", "");
    options.ca_file = str_from(files->stranger.cert);
    expect_refusal(server.url, &options, "certificate of 127.0.0.1 is not trusted: ");
    /* Nor does this system trust it; the server alone asked for TLS. */
    expect_refusal(server.url, &default_options, "certificate of 127.0.0.1 is not trusted: ");
    options.ca_file = STR_LIT("/nonexistent/ca.pem");
    expect_refusal(server.url, &options, "/nonexistent/ca.pem: No such file");
    test_server_stop(&server);
}

static void a_client_certificate_is_shown(void **state)
{
    const struct files *files = *state;
    struct nats_client_options options = trusting(files);
    struct test_server server;
    char more[256], error[256];
    uv_loop_t loop;
    struct nats_client *client;

    snprintf(more, sizeof(more), "ca_file: \"%s\", verify: true", files->authority.cert);
    start_tls_server(&server, &files->localhost, more, "");
    expect_refusal(server.url, &options, "127.0.0.1");
    options.cert_file = str_from(files->client.cert);
    expect_refusal(server.url, &options, "cannot use the client key");
    options.key_file = str_from(files->named.key);
    expect_refusal(server.url, &options, "cannot use the client key");
    options.key_file = str_from(files->client.key);
    expect_connection(server.url, &options);
    test_server_stop(&server);

    options.cert_file = STR_LIT("");
    uv_loop_init(&loop);
    assert_true(nats_client_new(&loop, &options, &(struct nats_client_handler){0}, &client, error,
                                sizeof(error)) < 0);
    assert_non_null(strstr(error, "without its certificate"));
    uv_loop_close(&loop);
}

static void the_handshake_may_come_first(void **state)
{
    const struct files *files = *state;
    struct nats_client_options first = trusting(files), second = first;
    struct test_server server;

    first.tls_first = true;
    start_tls_server(&server, &files->localhost, "handshake_first: true", "");
    expect_connection(server.url, &first);
    second.connect_timeout_ms = 200;
    expect_refusal(server.url, &second, "TLS first");
    test_server_stop(&server);
    start_tls_server(&server, &files->localhost, "", "");
    expect_refusal(server.url, &first, "does not speak TLS now");
    test_server_stop(&server);
}

static void tls_is_never_left_out_silently(void **state)
{
    struct nats_client_options options = trusting(*state);
    struct test_server server;

    test_server_start(&server, "");
    expect_refusal(server.url, &options, "does not offer TLS");
    expect_refusal(url_of(&server, "tls", "127.0.0.1"), &default_options, "does not offer TLS");
    test_server_stop(&server);
}

static void a_renewed_authority_is_read_at_the_next_connection(void **state)
{
    const struct files *files = *state;
    struct nats_client_options options = trusting(files);
    struct certificate copy;
    struct test_server server;
    struct fixture *fixture;

    make_authority(&copy, files->directory, "renewed");
    options.ca_file = str_from(copy.cert);
    start_tls_server(&server, &files->localhost, "", "");
    fixture = open_client(server.url, &options);
    RUN_UNTIL(fixture, fixture->downs > 0);
    assert_non_null(strstr(fixture->detail, "is not trusted"));
    assert_int_equal(unlink(copy.cert), 0);
    assert_int_equal(link(files->authority.cert, copy.cert), 0);
    RUN_UNTIL(fixture, fixture->connected);
    close_client(fixture);
    test_server_stop(&server);
    unlink(copy.cert);
    unlink(copy.key);
}

/* What the socket took in whole records may have run; the rest cannot have. */
static void a_stalled_server_meets_a_limit_over_tls_too(void **state)
{
    struct nats_client_options options = trusting(*state);
    struct test_server server;
    struct fixture *fixture;
    static char body[32 * 1024];
    unsigned accepted = 0, not_sent = 0;

    options.pending_bytes_max = 1024 * 1024;
    start_tls_server(&server, &((struct files *)*state)->localhost, "", "");
    fixture = connect_client(server.url, &options);
    test_server_signal(&server, SIGSTOP);
    while (accepted < CALLS_MAX &&
           request(fixture, (int)accepted, "any", str_make(body, sizeof(body))) != -EBUSY) {
        accepted++;
        uv_run(&fixture->loop, UV_RUN_NOWAIT);
    }
    assert_in_range(accepted, 32, CALLS_MAX - 1);
    assert_true(counters(fixture).pending_bytes <= options.pending_bytes_max);
    test_server_kill(&server);
    RUN_UNTIL(fixture, fixture->ended == accepted);
    for (unsigned i = 0; i < accepted; i++) {
        assert_int_equal(fixture->calls[i].failures, 1);
        not_sent += fixture->calls[i].failure == NATS_FAILURE_NOT_SENT;
    }
    assert_true(not_sent >= options.pending_bytes_max / sizeof(body) / 2);
    assert_int_equal(fixture->calls[0].failure, NATS_FAILURE_LOST);
    assert_int_equal(fixture->calls[accepted - 1].failure, NATS_FAILURE_NOT_SENT);
    close_client(fixture);
    test_server_stop(&server);
}

/* Nothing comes back that could wake the client in its stead. */
static void what_the_socket_did_not_take_goes_when_it_takes_more(void **state)
{
    struct nats_client_options options = trusting(*state);
    struct test_server server;
    struct worker worker;
    struct fixture *fixture;
    char *body = calloc(1, BODY_LEN);

    options.pending_bytes_max = 32 * 1024 * 1024;
    start_tls_server(&server, &((struct files *)*state)->localhost, "", "allow_non_tls: true");
    start_worker(&worker, server.url, "silent", keep_silent);
    fixture = connect_client(server.url, &options);
    test_server_signal(&server, SIGSTOP);
    for (int i = 0; i < 80; i++)
        assert_true(request(fixture, i, "silent", str_make(body, BODY_LEN)) >= 0);
    run_for(fixture, 100);
    assert_true(counters(fixture).pending_bytes > 0);
    test_server_signal(&server, SIGCONT);
    RUN_UNTIL(fixture, atomic_load(&worker.seen) == 80);
    assert_int_equal(counters(fixture).pending_bytes, 0);
    close_client(fixture);
    stop_worker(&worker);
    test_server_stop(&server);
    free(body);
}

/* ---- a cluster ---- */

/* Waits until the server at port tells of the other in its INFO. */
static void wait_until_told(int port, int other)
{
    const struct sockaddr_in address = {.sin_family = AF_INET,
                                        .sin_port = htons((uint16_t)port),
                                        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    char text[4096], wanted[32];

    snprintf(wanted, sizeof(wanted), ":%d\"", other);
    for (int i = 0; i < 500; i++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        ssize_t len = -1;

        if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
            len = recv(fd, text, sizeof(text) - 1, 0);
        close(fd);
        text[len > 0 ? len : 0] = '\0';
        if (strstr(text, wanted))
            return;
        usleep(20 * 1000);
    }
    fail_msg("the server at %d does not tell of %d: %s", port, other, text);
}

/* Told of by its IP address, it shows a certificate that is for the name alone. */
static void a_server_that_the_cluster_told_of_takes_over(void **state)
{
    const struct files *files = *state;
    struct nats_client_options options = trusting(files);
    struct test_server servers[2];
    struct fixture *fixture;
    char cluster[256], other[32];
    int port, fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);

    assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    port = ntohs(address.sin_port);
    close(fd);
    snprintf(cluster, sizeof(cluster), "cluster { name: c, listen: \"127.0.0.1:%d\" }", port);
    start_tls_server(&servers[0], &files->named, "", cluster);
    snprintf(cluster, sizeof(cluster),
             "cluster { name: c, listen: \"127.0.0.1:-1\", routes: [\"nats://127.0.0.1:%d\"] }",
             port);
    start_tls_server(&servers[1], &files->named, "", cluster);
    wait_until_told(servers[0].port, servers[1].port);

    fixture = connect_client(url_of(&servers[0], "tls", "localhost"), &options);
    test_server_kill(&servers[0]);
    RUN_UNTIL(fixture, fixture->ups == 2);
    snprintf(other, sizeof(other), "127.0.0.1:%d", servers[1].port);
    assert_string_equal(fixture->detail, other);
    /* And back, since the first one is known for good. */
    wait_until_told(servers[1].port, servers[1].port);
    test_server_restart(&servers[0]);
    test_server_kill(&servers[1]);
    RUN_UNTIL(fixture, fixture->ups == 3);
    close_client(fixture);
    test_server_stop(&servers[0]);
    test_server_stop(&servers[1]);
}

/* ---- a scripted peer ---- */

struct peer {
    int listener, fd, port;
    const struct files *files;
    pthread_t thread;
    int step[2]; /* a pipe: the test lets the peer go on */
    void (*script)(struct peer *peer);
    SSL *ssl;
};

static void *run_peer(void *argument)
{
    struct peer *peer = argument;

    peer->fd = accept(peer->listener, NULL, NULL);
    if (peer->fd >= 0) {
        peer->script(peer);
        close(peer->fd);
    }
    return NULL;
}

static void start_peer(struct peer *peer, const struct files *files,
                       void (*script)(struct peer *peer))
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);

    *peer = (struct peer){.files = files, .script = script};
    peer->listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(peer->listener, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(peer->listener, 4), 0);
    assert_int_equal(getsockname(peer->listener, (struct sockaddr *)&address, &len), 0);
    peer->port = ntohs(address.sin_port);
    assert_int_equal(pipe2(peer->step, O_CLOEXEC), 0);
    assert_int_equal(pthread_create(&peer->thread, NULL, run_peer, peer), 0);
}

static void go_on(struct peer *peer)
{
    assert_int_equal(write(peer->step[1], "", 1), 1);
}

static void wait_for_test(struct peer *peer)
{
    char byte;

    if (read(peer->step[0], &byte, 1) < 0)
        abort();
}

/* The script must be at its end, or in wait_for_test. */
static void stop_peer(struct peer *peer)
{
    close(peer->step[1]);
    shutdown(peer->listener, SHUT_RDWR);
    pthread_join(peer->thread, NULL);
    close(peer->listener);
    close(peer->step[0]);
}

static void say(struct peer *peer, const char *text)
{
    if (send(peer->fd, text, strlen(text), MSG_NOSIGNAL) < 0)
        abort();
}

#define TLS_INFO "INFO {\"max_payload\":1048576,\"headers\":true,\"tls_required\":true}\r\n"

/* Reads by the line until one begins with text, and copies that. */
static void hear(struct peer *peer, const char *text, char *line, size_t size)
{
    size_t len = 0;

    for (;;) {
        if (len + 1 >= size || SSL_read(peer->ssl, line + len, 1) != 1)
            abort();
        if (line[len++] != '\n')
            continue;
        line[len] = '\0';
        if (strncmp(line, text, strlen(text)) == 0)
            return;
        len = 0;
    }
}

static SSL_CTX *accept_tls(struct peer *peer)
{
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());

    if (SSL_CTX_use_certificate_chain_file(context, peer->files->localhost.cert) != 1 ||
        SSL_CTX_use_PrivateKey_file(context, peer->files->localhost.key, SSL_FILETYPE_PEM) != 1)
        abort();
    peer->ssl = SSL_new(context);
    SSL_set_fd(peer->ssl, peer->fd);
    if (SSL_accept(peer->ssl) != 1)
        abort();
    return context;
}

/* Answers a request, but sends only half of the record before the test lets it go on. */
static void send_half_a_record(struct peer *peer)
{
    char line[8192], subject[128], reply[128], message[256];
    SSL_CTX *context;
    BIO *record = BIO_new(BIO_s_mem());
    char *bytes;
    long len;

    say(peer, TLS_INFO);
    context = accept_tls(peer);
    hear(peer, "PING", line, sizeof(line));
    SSL_write(peer->ssl, "PONG\r\n", 6);
    hear(peer, "HPUB ", line, sizeof(line));
    sscanf(line, "HPUB %127s %127s", subject, reply);
    /* New keys in passing, with the other side's asked for as well. */
    SSL_key_update(peer->ssl, SSL_KEY_UPDATE_REQUESTED);
    SSL_do_handshake(peer->ssl);
    SSL_set0_wbio(peer->ssl, record);
    snprintf(message, sizeof(message), "MSG %s 1 5\r\nwhole\r\n", reply);
    SSL_write(peer->ssl, message, (int)strlen(message));
    len = BIO_get_mem_data(record, &bytes);
    if (send(peer->fd, bytes, (size_t)len / 2, 0) != len / 2)
        abort();
    wait_for_test(peer);
    if (send(peer->fd, bytes + len / 2, (size_t)(len - len / 2), 0) != len - len / 2)
        abort();
    hear(peer, "HPUB ", line, sizeof(line)); /* the other direction goes on with its new keys */
    wait_for_test(peer);
    SSL_free(peer->ssl);
    SSL_CTX_free(context);
}

/* A second client on the loop of the first; its outcome goes to calls from 100 on. */
static struct nats_client *open_neighbour(struct fixture *fixture, const char *url)
{
    struct nats_client_options options = default_options;
    struct nats_client_handler handler = fixture->handler;
    struct nats_client *client;
    char error[256];

    handler.changed = NULL;
    options.servers = str_from(url);
    assert_int_equal(
        nats_client_new(&fixture->loop, &options, &handler, &client, error, sizeof(error)), 0);
    RUN_UNTIL(fixture, nats_client_connected(client));
    return client;
}

static void expect_neighbour_is_served(struct fixture *fixture, struct nats_client *neighbour)
{
    for (int i = 100; i < 200; i++) {
        fixture->calls[i].replies = 0;
        assert_true(nats_client_request(neighbour,
                                        &(struct nats_request){.subject = STR_LIT("echo"),
                                                               .block = BLOCK,
                                                               .payload = STR_LIT("x"),
                                                               .owner = &fixture->calls[i]}) >= 0);
        RUN_UNTIL(fixture, fixture->calls[i].replies == 1);
    }
}

static void half_a_record_stalls_nobody_else(void **state)
{
    struct nats_client_options options = trusting(*state);
    struct test_server server;
    struct worker worker;
    struct peer peer;
    struct fixture *fixture;
    struct nats_client *neighbour;
    char url[64];

    test_server_start(&server, "");
    start_worker(&worker, server.url, "echo", echo);
    start_peer(&peer, *state, send_half_a_record);
    snprintf(url, sizeof(url), "nats://127.0.0.1:%d", peer.port);
    fixture = connect_client(url, &options);
    neighbour = open_neighbour(fixture, server.url);
    assert_true(request(fixture, 0, "half", STR_LIT("")) >= 0);
    run_for(fixture, 50);
    expect_neighbour_is_served(fixture, neighbour);
    assert_int_equal(fixture->calls[0].replies, 0);
    assert_true(fixture->connected);
    go_on(&peer);
    RUN_UNTIL(fixture, fixture->calls[0].replies == 1);
    assert_memory_equal(fixture->calls[0].payload, "whole", 5);
    assert_true(request(fixture, 1, "after", STR_LIT("")) >= 0);
    run_for(fixture, 50);
    stop_peer(&peer);
    RUN_UNTIL(fixture, fixture->calls[1].failures == 1);
    nats_client_close(neighbour, NULL, NULL);
    close_client(fixture);
    stop_worker(&worker);
    test_server_stop(&server);
}

/* The client's hello is read, if at all, and never answered. */
static void say_info_and_no_more(struct peer *peer)
{
    say(peer, TLS_INFO);
    wait_for_test(peer);
}

static void a_handshake_that_stalls_has_an_end_and_stalls_nobody_else(void **state)
{
    struct nats_client_options options = trusting(*state);
    struct test_server server;
    struct worker worker;
    struct peer peer;
    struct fixture *fixture;
    struct nats_client *neighbour;
    char url[64];

    options.connect_timeout_ms = 1500;
    test_server_start(&server, "");
    start_worker(&worker, server.url, "echo", echo);
    start_peer(&peer, *state, say_info_and_no_more);
    snprintf(url, sizeof(url), "nats://127.0.0.1:%d", peer.port);
    fixture = open_client(url, &options);
    neighbour = open_neighbour(fixture, server.url);
    expect_neighbour_is_served(fixture, neighbour);
    assert_int_equal(fixture->downs, 0);
    RUN_UNTIL(fixture, fixture->downs == 1);
    assert_non_null(strstr(fixture->detail, "no connection in time"));
    nats_client_close(neighbour, NULL, NULL);
    close_client(fixture);
    stop_peer(&peer);
    stop_worker(&worker);
    test_server_stop(&server);
}

/* What somebody on the way puts behind INFO must not count as said over TLS. */
static void slip_a_word_in(struct peer *peer)
{
    say(peer, TLS_INFO "PONG\r\n");
    wait_for_test(peer);
}

static void words_in_the_clear_behind_info_end_the_connection(void **state)
{
    struct nats_client_options options = trusting(*state);
    struct peer peer;
    struct fixture *fixture;
    char url[64];

    start_peer(&peer, *state, slip_a_word_in);
    snprintf(url, sizeof(url), "nats://127.0.0.1:%d", peer.port);
    fixture = open_client(url, &options);
    RUN_UNTIL(fixture, fixture->downs == 1);
    assert_non_null(strstr(fixture->detail, "went on in the clear"));
    assert_int_equal(fixture->ups, 0);
    close_client(fixture);
    stop_peer(&peer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(large_bodies_pass_both_ways),
        cmocka_unit_test(a_thousand_requests_at_once_are_all_answered),
        cmocka_unit_test(names_and_addresses_are_checked),
        cmocka_unit_test(an_authority_that_is_not_trusted_is_refused),
        cmocka_unit_test(a_client_certificate_is_shown),
        cmocka_unit_test(the_handshake_may_come_first),
        cmocka_unit_test(tls_is_never_left_out_silently),
        cmocka_unit_test(a_renewed_authority_is_read_at_the_next_connection),
        cmocka_unit_test(a_stalled_server_meets_a_limit_over_tls_too),
        cmocka_unit_test(what_the_socket_did_not_take_goes_when_it_takes_more),
        cmocka_unit_test(a_server_that_the_cluster_told_of_takes_over),
        cmocka_unit_test(half_a_record_stalls_nobody_else),
        cmocka_unit_test(a_handshake_that_stalls_has_an_end_and_stalls_nobody_else),
        cmocka_unit_test(words_in_the_clear_behind_info_end_the_connection),
    };

    return cmocka_run_group_tests(tests, make_files, remove_files);
}
