/*
 * client: libcurl's multi interface driven by libuv. libcurl tells which sockets to watch (one
 * uv_poll each) and when to call it (one uv_timer, or uv_idle); we tell it what happened.
 *
 * libcurl must not be called from its own callbacks, and whoever uses a response wants to start and
 * cancel requests. So libcurl's callbacks only note (bytes into the request's buffer, the request
 * into the ready list), and dispatch() runs afterwards and calls the users:
 *
 *      uv_poll, uv_timer, uv_idle -> curl_multi_socket_action -> on_body: incoming, ready
 *                                 -> dispatch -> data(), done()
 *
 * While a user runs on behalf of a request, that request is `current`; cancelled then, it is freed
 * only when the user has returned, because it may still be reading what it was lent.
 *
 * With an exec plugin, a request that finds no fresh credential is held until the plugin has
 * answered, and fails with what the plugin said if it does not.
 *
 * What libcurl reads between two dispatches is bounded by its own loop (about 100 buffers), so a
 * stream's buffer stays small; the limit is there all the same.
 */
#include "controller/kube/client.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "controller/kube/request.h"

struct socket_poll {
    uv_poll_t poll;
    struct kube_client *client;
    curl_socket_t fd;
};

static void dispatch(struct kube_client *client);
static void client_close(struct kube_client *client);

/* Sockets and the timer: libcurl -> libuv -> libcurl. */

static void on_poll_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void on_poll(uv_poll_t *handle, int status, int events)
{
    struct socket_poll *poll = handle->data;
    struct kube_client *client = poll->client;
    int flags = status < 0 ? CURL_CSELECT_ERR : 0, running;

    if (events & UV_READABLE)
        flags |= CURL_CSELECT_IN;
    if (events & UV_WRITABLE)
        flags |= CURL_CSELECT_OUT;
    curl_multi_socket_action(client->multi, poll->fd, flags, &running);
    dispatch(client);
}

static void act(struct kube_client *client)
{
    int running;

    curl_multi_socket_action(client->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    dispatch(client);
}

static void on_timer(uv_timer_t *timer)
{
    act(timer->data);
}

static void on_soon(uv_idle_t *soon)
{
    uv_idle_stop(soon);
    act(soon->data);
}

static struct socket_poll *poll_new(struct kube_client *client, curl_socket_t fd)
{
    struct socket_poll *poll = calloc(1, sizeof(*poll));

    if (!poll || uv_poll_init_socket(client->loop, &poll->poll, fd)) {
        free(poll);
        return NULL;
    }
    poll->client = client;
    poll->fd = fd;
    poll->poll.data = poll;
    curl_multi_assign(client->multi, fd, poll);
    return poll;
}

static int on_curl_socket(CURL *easy, curl_socket_t fd, int what, void *context, void *assigned)
{
    struct socket_poll *poll = assigned;
    int events = 0;

    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        if (poll) {
            uv_poll_stop(&poll->poll);
            uv_close((uv_handle_t *)&poll->poll, on_poll_closed);
        }
        return 0;
    }
    if (!poll)
        poll = poll_new(context, fd);
    if (!poll)
        return -1;
    if (what & CURL_POLL_IN)
        events |= UV_READABLE;
    if (what & CURL_POLL_OUT)
        events |= UV_WRITABLE;
    return uv_poll_start(&poll->poll, events, on_poll) ? -1 : 0;
}

/* While a stream has more to give, libcurl asks for 0 ms again and again; before libuv 1.45 a timer
 * would then run on and on in one turn of the loop, in which nothing else happens. */
static int on_curl_timer(CURLM *multi, long timeout_ms, void *context)
{
    struct kube_client *client = context;

    (void)multi;
    uv_timer_stop(&client->timer);
    uv_idle_stop(&client->soon);
    if (timeout_ms == 0)
        uv_idle_start(&client->soon, on_soon);
    else if (timeout_ms > 0)
        uv_timer_start(&client->timer, on_timer, (uint64_t)timeout_ms, 0);
    return 0;
}

/* Requests. */

static void unlink_request(struct kube_request *request)
{
    struct kube_client *client = request->client;
    struct kube_request **link = &client->ready;

    if (request->previous)
        request->previous->next = request->next;
    else
        client->requests = request->next;
    if (request->next)
        request->next->previous = request->previous;
    while (*link && *link != request)
        link = &(*link)->next_ready;
    if (*link)
        *link = request->next_ready;
}

int kube_request_start(struct kube_client *client, const struct kube_request_options *options,
                       struct kube_request **ret_request)
{
    struct kube_request *request = calloc(1, sizeof(*request));
    int error;

    assert(!client->closing && options->method && options->path[0] == '/' && options->done);
    if (!request)
        return -ENOMEM;
    request->client = client;
    request->options = *options;
    buffer_init(&request->body, KUBE_RESPONSE_MAX);
    buffer_init(&request->incoming, KUBE_RESPONSE_MAX);
    error = kube_request_prepare(request);
    if (!error && client->plugin && !kube_plugin_fresh(client->plugin)) {
        request->held = true;
        kube_plugin_run(client->plugin);
    } else if (!error) {
        error = kube_request_launch(request);
    }
    if (error) {
        kube_request_destroy(request);
        return error;
    }
    request->options.path = NULL; /* ours is url; theirs may go */
    request->options.body = str_make(NULL, 0);
    request->next = client->requests;
    if (request->next)
        request->next->previous = request;
    client->requests = request;
    *ret_request = request;
    return 0;
}

void kube_request_cancel(struct kube_request *request)
{
    if (!request || request->cancelled)
        return;
    if (request == request->client->current) {
        request->cancelled = true;
        return;
    }
    unlink_request(request);
    kube_request_destroy(request);
}

/* Calls the user on behalf of request. False: the user has cancelled it, and it is gone. */
static bool call(struct kube_request *request, bool body)
{
    const struct kube_request_options *options = &request->options;

    request->client->current = request;
    if (body)
        options->data(options->context, buffer_view(&request->incoming));
    else
        options->accepted(options->context);
    request->client->current = NULL;
    if (request->cancelled) {
        unlink_request(request);
        kube_request_destroy(request);
        return false;
    }
    return true;
}

static void count_answer(struct kube_request *request, int status)
{
    struct kube_client *client = request->client;
    struct kube_request_count *count = client->counts, *end = count + client->count;

    if (request->counted)
        return;
    request->counted = true;
    client->answers += status > 0 && status < 500;
    while (count < end &&
           (count->status != status || strcmp(count->method, request->options.method) != 0))
        count++;
    if (count == client->counts + KUBE_COUNTS_MAX)
        return;
    if (count == end)
        client->counts[client->count++] =
            (struct kube_request_count){.method = request->options.method, .status = status};
    count->count++;
}

/* Hands over what came. False: the request is gone. */
static bool deliver(struct kube_request *request)
{
    int status = kube_request_status(request);

    if (status < 200 || status > 299)
        return true;
    count_answer(request, status);
    if (request->options.accepted && !request->accepted) {
        request->accepted = true;
        if (!call(request, false))
            return false;
    }
    if (!request->options.data || !buffer_length(&request->incoming))
        return true;
    if (!call(request, true))
        return false;
    buffer_clear(&request->incoming, KUBE_READ_SIZE);
    return true;
}

/* The last call to the user. */
static void call_done(struct kube_request *request, const struct kube_response *response)
{
    struct kube_client *client = request->client;

    unlink_request(request);
    client->current = request;
    request->options.done(request->options.context, response);
    client->current = NULL;
    kube_request_destroy(request);
}

/* What we log in with is refused; unless it was replaced while the request was under way. */
static void refuse_credential(struct kube_client *client, const struct kube_request *request)
{
    client->token_stale = true;
    if (client->plugin && request->credential == client->credential)
        kube_plugin_refused(client->plugin);
}

static void finish(struct kube_request *request, CURLcode code)
{
    struct kube_response response = {0};

    if (!deliver(request))
        return;
    kube_request_explain(request, code, &response);
    count_answer(request, response.status);
    if (response.status == 401)
        refuse_credential(request->client, request);
    if (!request->options.data)
        response.body = buffer_view(&request->incoming);
    call_done(request, &response);
}

/* The plugin. */

static void fail_doomed(struct kube_client *client, int error, const char *message)
{
    struct kube_response response = {.error = error};
    struct kube_request *request = client->requests;

    snprintf(response.message, sizeof(response.message), "%s", message);
    while (request) {
        if (!request->doomed) {
            request = request->next;
            continue;
        }
        call_done(request, &response);
        request = client->requests; /* who was called may have changed the list */
    }
}

/* Those that waited go, or, when no request can be made now, fail. */
static void on_plugin_done(void *context, const char *trouble)
{
    struct kube_client *client = context;
    const char *token = kube_plugin_credential(client->plugin)->token;
    int error = trouble ? -EACCES : kube_client_set_token(client, token ? token : "");

    client->credential += !trouble;
    for (struct kube_request *request = client->requests; request; request = request->next) {
        if (!request->held)
            continue;
        request->held = false;
        request->doomed = error || kube_request_launch(request);
    }
    client->dispatching = true;
    fail_doomed(client, error ? error : -ENOMEM, trouble ? trouble : "out of memory");
    client->dispatching = false;
    if (client->closing)
        client_close(client);
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct kube_client *client = handle->data;

    if (client->authorization)
        explicit_bzero(client->authorization, strlen(client->authorization));
    free(client->authorization);
    free(client->connect_to);
    free(client->host);
    free(client->base);
    free(client);
}

static void on_soon_closed(uv_handle_t *handle)
{
    struct kube_client *client = handle->data;

    uv_close((uv_handle_t *)&client->timer, on_timer_closed);
}

static void client_close(struct kube_client *client)
{
    assert(!client->requests);
    kube_plugin_free(client->plugin);
    curl_multi_cleanup(client->multi); /* closes the sockets, and their polls with them */
    curl_global_cleanup();
    uv_close((uv_handle_t *)&client->soon, on_soon_closed);
}

static void dispatch(struct kube_client *client)
{
    CURLMsg *message;
    int left;

    client->dispatching = true;
    while (client->ready) {
        struct kube_request *request = client->ready;

        client->ready = request->next_ready;
        request->is_ready = false;
        request->next_ready = NULL;
        deliver(request);
    }
    while ((message = curl_multi_info_read(client->multi, &left))) {
        struct kube_request *request = NULL;

        assert(message->msg == CURLMSG_DONE);
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&request);
        finish(request, message->data.result);
    }
    client->dispatching = false;
    if (client->closing)
        client_close(client);
}

/* The client. */

static bool is_loopback(const char *host)
{
    return strcasecmp(host, "localhost") == 0 || strncmp(host, "127.", 4) == 0 ||
           strcmp(host, "[::1]") == 0;
}

/* With a server_name, URLs name that (for SNI and the certificate) and the connection goes to the
 * server all the same, which also gets to see its own name as Host. */
static int set_base(struct kube_client *client)
{
    const struct kube_config *config = client->config;
    CURLU *url = curl_url();
    char *host = NULL, *port = NULL, *base = NULL;
    int error = -EINVAL;

    if (!url || curl_url_set(url, CURLUPART_URL, config->server, 0) ||
        curl_url_get(url, CURLUPART_HOST, &host, 0) ||
        curl_url_get(url, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT))
        goto out;
    error = -ENOMEM;
    client->direct = is_loopback(host);
    if (!config->server_name) {
        client->base = strdup(config->server);
        error = client->base ? 0 : -ENOMEM;
        goto out;
    }
    if (curl_url_set(url, CURLUPART_HOST, config->server_name, 0) ||
        curl_url_get(url, CURLUPART_URL, &base, 0))
        goto out;
    base[strlen(base) - (base[strlen(base) - 1] == '/')] = '\0';
    client->base = strdup(base);
    if (client->base && asprintf(&client->connect_to, "::%s:%s", host, port) >= 0 &&
        asprintf(&client->host, "%s:%s", host, port) >= 0)
        error = 0;
out:
    curl_free(base);
    curl_free(port);
    curl_free(host);
    curl_url_cleanup(url);
    return error;
}

int kube_client_new(uv_loop_t *loop, const struct kube_config *config,
                    struct kube_client **ret_client)
{
    struct kube_client *client = calloc(1, sizeof(*client));
    int error;

    if (!client)
        return -ENOMEM;
    client->loop = loop;
    client->config = config;
    error = uv_timer_init(loop, &client->timer);
    if (error) {
        free(client);
        return error;
    }
    uv_idle_init(loop, &client->soon);
    client->timer.data = client->soon.data = client;
    curl_global_init(CURL_GLOBAL_DEFAULT);
    client->multi = curl_multi_init();
    if (!client->multi) {
        error = -ENOMEM;
        goto failed;
    }
    curl_multi_setopt(client->multi, CURLMOPT_SOCKETFUNCTION, on_curl_socket);
    curl_multi_setopt(client->multi, CURLMOPT_SOCKETDATA, client);
    curl_multi_setopt(client->multi, CURLMOPT_TIMERFUNCTION, on_curl_timer);
    curl_multi_setopt(client->multi, CURLMOPT_TIMERDATA, client);
    error = set_base(client);
    if (!error && config->token)
        error = kube_client_set_token(client, config->token);
    if (!error && config->exec)
        error =
            kube_plugin_new(loop, config->exec,
                            &(struct kube_plugin_handler){on_plugin_done, client}, &client->plugin);
    if (error)
        goto failed;
    *ret_client = client;
    return 0;
failed:
    client_close(client);
    return error;
}

void kube_client_free(struct kube_client *client)
{
    if (!client)
        return;
    assert(!client->closing);
    client->closing = true;
    if (!client->dispatching)
        client_close(client);
}

const struct kube_request_count *kube_client_counts(const struct kube_client *client,
                                                    size_t *ret_count)
{
    *ret_count = client->count;
    return client->counts;
}

uint64_t kube_client_answers(const struct kube_client *client)
{
    return client->answers;
}
