#include "tests/unit/kube/script.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { GUARD_MS = 60 * 1000 };

struct script_peer {
    uv_tcp_t tcp;
    struct script *script;
    struct script_peer *next;
    char text[SCRIPT_REQUEST_MAX];
    size_t length;
    bool closing;
};

struct answer {
    uv_write_t write;
    struct script_peer *peer;
    bool closes;
    char *text;
};

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *buffer)
{
    struct script_peer *peer = handle->data;

    (void)size;
    assert_true(peer->length < sizeof(peer->text) - 1);
    *buffer =
        uv_buf_init(peer->text + peer->length, (unsigned)(sizeof(peer->text) - 1 - peer->length));
}

static void on_peer_closed(uv_handle_t *handle)
{
    struct script_peer *peer = handle->data, **link = &peer->script->peers;

    while (*link != peer)
        link = &(*link)->next;
    *link = peer->next;
    free(peer);
}

static void peer_close(struct script_peer *peer)
{
    if (!peer->closing)
        uv_close((uv_handle_t *)&peer->tcp, on_peer_closed);
    peer->closing = true;
}

static void on_written(uv_write_t *write, int status)
{
    struct answer *answer = write->data;

    (void)status;
    if (answer->closes)
        peer_close(answer->peer);
    free(answer->text);
    free(answer);
}

static void respond(struct script_peer *peer, const struct script_step *step)
{
    const char *body = step->body ? step->body : "";
    struct answer *answer = calloc(1, sizeof(*answer));
    uv_buf_t buffer;
    size_t length = strlen(body), size = length + 1024;
    int used;

    assert_non_null(answer);
    answer->text = malloc(size);
    assert_non_null(answer->text);
    used = snprintf(answer->text, size, "HTTP/1.1 %s\r\n%sTransfer-Encoding: chunked\r\n\r\n",
                    step->status, step->headers ? step->headers : "");
    if (length)
        used += snprintf(answer->text + used, size - (size_t)used, "%zx\r\n%s\r\n", length, body);
    if (step->end == SCRIPT_ENDS)
        used += snprintf(answer->text + used, size - (size_t)used, "0\r\n\r\n");
    answer->peer = peer;
    answer->closes = step->end == SCRIPT_CUTS;
    answer->write.data = answer;
    buffer = uv_buf_init(answer->text, (unsigned)used);
    assert_int_equal(uv_write(&answer->write, (uv_stream_t *)&peer->tcp, &buffer, 1, on_written),
                     0);
}

/* The length of a whole request at the start of text; 0: not whole. */
static size_t request_length(const char *text)
{
    const char *end = strstr(text, "\r\n\r\n"), *length = strcasestr(text, "\r\nContent-Length:");
    size_t head = end ? (size_t)(end + 4 - text) : 0, body = 0;

    if (head && length && length < end)
        body = strtoul(length + 17, NULL, 10);
    return head && strlen(text) >= head + body ? head + body : 0;
}

static void on_request(struct script_peer *peer)
{
    struct script *script = peer->script;
    const struct script_step *step = &script->steps[script->next];

    for (size_t i = 0; i < sizeof(script->aside) / sizeof(script->aside[0]); i++)
        if (script->aside[i] && strstr(peer->text, script->aside[i]->request)) {
            respond(peer, script->aside[i]);
            return;
        }
    if (script->next == script->count)
        fail_msg("a request more than the script has: %s", peer->text);
    strcpy(script->requests[script->next], peer->text);
    script->times_ms[script->next++] = uv_now(&script->loop);
    if (!strstr(peer->text, step->request))
        fail_msg("request %zu lacks \"%s\": %s", script->next, step->request, peer->text);
    if (step->status)
        respond(peer, step);
    else if (step->end == SCRIPT_CUTS)
        peer_close(peer);
}

static void on_read(uv_stream_t *stream, ssize_t size, const uv_buf_t *buffer)
{
    struct script_peer *peer = stream->data;
    size_t length;

    (void)buffer;
    if (size < 0) {
        peer_close(peer);
        return;
    }
    peer->length += (size_t)size;
    peer->text[peer->length] = '\0';
    length = request_length(peer->text);
    if (!length)
        return;
    assert_int_equal(length, peer->length); /* our client does not pipeline */
    peer->length = 0;
    on_request(peer);
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct script *script = listener->data;
    struct script_peer *peer = calloc(1, sizeof(*peer));

    assert_int_equal(status, 0);
    assert_non_null(peer);
    peer->script = script;
    peer->tcp.data = peer;
    peer->next = script->peers;
    script->peers = peer;
    assert_int_equal(uv_tcp_init(&script->loop, &peer->tcp), 0);
    assert_int_equal(uv_accept(listener, (uv_stream_t *)&peer->tcp), 0);
    assert_int_equal(uv_read_start((uv_stream_t *)&peer->tcp, on_alloc, on_read), 0);
}

static void on_guard(uv_timer_t *guard)
{
    ((struct script *)guard->data)->late = true;
}

void script_start(struct script *script, const struct script_step *steps, size_t count)
{
    script_start_exec(script, NULL, steps, count);
}

void script_start_exec(struct script *script, const struct kube_config_exec *exec,
                       const struct script_step *steps, size_t count)
{
    struct sockaddr_in address;
    int size = sizeof(address);
    char *server;

    assert_true(count <= SCRIPT_STEPS_MAX);
    signal(SIGPIPE, SIG_IGN);
    memset(script, 0, sizeof(*script));
    script->steps = steps;
    script->count = count;
    assert_int_equal(uv_loop_init(&script->loop), 0);
    assert_int_equal(uv_timer_init(&script->loop, &script->guard), 0);
    assert_int_equal(uv_tcp_init(&script->loop, &script->listener), 0);
    script->guard.data = script->listener.data = script;
    assert_int_equal(uv_ip4_addr("127.0.0.1", 0, &address), 0);
    assert_int_equal(uv_tcp_bind(&script->listener, (struct sockaddr *)&address, 0), 0);
    assert_int_equal(uv_listen((uv_stream_t *)&script->listener, 16, on_connection), 0);
    uv_tcp_getsockname(&script->listener, (struct sockaddr *)&address, &size);
    assert_true(asprintf(&server, "http://127.0.0.1:%d", ntohs(address.sin_port)) > 0);
    script->config.server = server;
    script->config.exec = exec;
    assert_int_equal(kube_client_new(&script->loop, &script->config, &script->client), 0);
}

void script_run(struct script *script, const bool *done)
{
    script->late = false;
    uv_update_time(&script->loop);
    uv_timer_start(&script->guard, on_guard, GUARD_MS, 0);
    while (!*done && !script->late)
        uv_run(&script->loop, UV_RUN_ONCE);
    uv_timer_stop(&script->guard);
    if (!*done)
        fail_msg("nothing more happens after %zu of %zu requests", script->next, script->count);
}

void script_run_for(struct script *script, uint64_t time_ms)
{
    script->late = false;
    uv_update_time(&script->loop);
    uv_timer_start(&script->guard, on_guard, time_ms, 0);
    while (!script->late)
        uv_run(&script->loop, UV_RUN_ONCE);
}

void script_stop(struct script *script)
{
    kube_client_free(script->client);
    uv_close((uv_handle_t *)&script->listener, NULL);
    uv_close((uv_handle_t *)&script->guard, NULL);
    for (struct script_peer *peer = script->peers; peer; peer = peer->next)
        peer_close(peer);
    uv_run(&script->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&script->loop), 0);
    free((char *)script->config.server);
}
