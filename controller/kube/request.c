/*
 * request: one exchange with libcurl: how it is set up, and what to make of its end. client.c says
 * when libcurl runs.
 */
#include "controller/kube/request.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "controller/kube/event.h"
#include "controller/kube/plugin.h"

enum {
    CONNECT_TIMEOUT_MS = 10 * 1000,
    DEAD_PEER_S = 30, /* a connection whose peer has vanished is given up after it */
    CA_CACHE_S = 60,  /* a rotated CA file counts after it, or when the old one fails */
    TOKEN_AGE_MS = 60 * 1000,
    TOKEN_MAX = 64 * 1024,
    FAILURE_BODY_MAX = 256 * 1024, /* bytes of an error's body that are read for a Status */
};

/* Tokens of pods are short-lived files: read anew as they age, and after a 401. */

int kube_client_set_token(struct kube_client *client, const char *token)
{
    static const char prefix[] = "Authorization: Bearer ";
    size_t length = strcspn(token, "\r\n\t "), size = sizeof(prefix) + length;
    char *header = length ? malloc(size) : NULL;

    if (length && !header)
        return -ENOMEM;
    if (header)
        snprintf(header, size, "%s%.*s", prefix, (int)length, token);
    free(client->authorization);
    client->authorization = header;
    return 0;
}

static void refresh_token(struct kube_client *client)
{
    uint64_t now_ms = uv_now(client->loop);
    char token[TOKEN_MAX];
    ssize_t length;
    int fd;

    if (!client->config->token_file || (client->authorization && !client->token_stale &&
                                        now_ms - client->token_read_ms < TOKEN_AGE_MS))
        return;
    fd = open(client->config->token_file, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return; /* the last token may still do; if not, the API server says so */
    length = read(fd, token, sizeof(token) - 1);
    close(fd);
    if (length <= 0)
        return;
    token[length] = '\0';
    if (kube_client_set_token(client, token) == 0) {
        client->token_read_ms = now_ms;
        client->token_stale = false;
    }
    explicit_bzero(token, sizeof(token));
}

/* A peer that vanished without a word would hold a watch for minutes; and what we start shall not
 * hold our connections. */
static int on_curl_sockopt(void *context, curl_socket_t fd, curlsocktype purpose)
{
    int unacknowledged_ms = DEAD_PEER_S * 1000, probes = 3;

    (void)context;
    (void)purpose;
    (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unacknowledged_ms,
                     sizeof(unacknowledged_ms));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
    return CURL_SOCKOPT_OK;
}

static void make_ready(struct kube_request *request)
{
    if (request->is_ready)
        return;
    request->is_ready = true;
    request->next_ready = request->client->ready;
    request->client->ready = request;
}

static size_t on_body(char *bytes, size_t size, size_t count, void *context)
{
    struct kube_request *request = context;

    if (buffer_append(&request->incoming, bytes, size * count))
        return 0; /* ends the transfer with CURLE_WRITE_ERROR */
    make_ready(request);
    return size * count;
}

/* Once per header line; the empty one ends the head. */
static size_t on_header(char *bytes, size_t size, size_t count, void *context)
{
    (void)bytes;
    if (size * count <= 2)
        make_ready(context);
    return size * count;
}

static void set_blob_or_file(CURL *easy, const char *pem, const char *file, CURLoption blob_option,
                             CURLoption file_option)
{
    if (pem) {
        struct curl_blob blob = {(void *)pem, strlen(pem), CURL_BLOB_COPY};

        curl_easy_setopt(easy, blob_option, &blob);
    } else if (file) {
        curl_easy_setopt(easy, file_option, file);
    }
}

static void set_tls(CURL *easy, const struct kube_client *client)
{
    const struct kube_config *config = client->config;
    const struct kube_credential *given =
        client->plugin ? kube_plugin_credential(client->plugin) : NULL;
    bool certificate_given = given && given->cert_pem;

    set_blob_or_file(easy, config->ca_pem, config->ca_file, CURLOPT_CAINFO_BLOB, CURLOPT_CAINFO);
    set_blob_or_file(easy, certificate_given ? given->cert_pem : config->cert_pem,
                     config->cert_file, CURLOPT_SSLCERT_BLOB, CURLOPT_SSLCERT);
    set_blob_or_file(easy, certificate_given ? given->key_pem : config->key_pem, config->key_file,
                     CURLOPT_SSLKEY_BLOB, CURLOPT_SSLKEY);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, config->insecure ? 0L : 1L);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, config->insecure ? 0L : 2L);
    curl_easy_setopt(easy, CURLOPT_CA_CACHE_TIMEOUT, client->ca_stale ? 0L : (long)CA_CACHE_S);
}

static void set_connection(struct kube_request *request)
{
    const struct kube_client *client = request->client;
    CURL *easy = request->easy;

    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_TIMEOUT_MS);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, (long)DEAD_PEER_S / 2);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, (long)DEAD_PEER_S / 6);
    curl_easy_setopt(easy, CURLOPT_SOCKOPTFUNCTION, on_curl_sockopt);
    curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    if (client->config->proxy_url)
        curl_easy_setopt(easy, CURLOPT_PROXY, client->config->proxy_url);
    else if (client->direct)
        curl_easy_setopt(easy, CURLOPT_PROXY, "");
    if (request->connect_to)
        curl_easy_setopt(easy, CURLOPT_CONNECT_TO, request->connect_to);
    set_tls(easy, client);
}

static void set_message(struct kube_request *request)
{
    const struct kube_request_options *options = &request->options;
    CURL *easy = request->easy;

    curl_easy_setopt(easy, CURLOPT_URL, request->url);
    curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)options->timeout_ms);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "metropolis-controller/" METROPOLIS_VERSION);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, request->headers);
    if (options->content_type) {
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE,
                         (curl_off_t)buffer_length(&request->body));
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, buffer_view(&request->body).ptr);
    }
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, options->method);
    curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, (long)KUBE_READ_SIZE);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, request);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, request);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, request->error);
    curl_easy_setopt(easy, CURLOPT_PRIVATE, request);
}

static int add_header(struct kube_request *request, const char *name, const char *value)
{
    char header[512];
    struct curl_slist *list;

    snprintf(header, sizeof(header), "%s%s", name, value);
    list = curl_slist_append(request->headers, header);
    if (!list)
        return -ENOMEM;
    request->headers = list;
    return 0;
}

static int build_headers(struct kube_request *request)
{
    const struct kube_client *client = request->client;
    struct curl_slist *list;
    int error = add_header(request, "Accept: ", "application/json");

    if (!error && request->options.content_type)
        error = add_header(request, "Content-Type: ", request->options.content_type);
    if (!error)
        error = add_header(request, "Expect:", ""); /* no pause before a body */
    if (!error && client->host)
        error = add_header(request, "Host: ", client->host);
    if (error || !client->authorization)
        return error;
    list = curl_slist_append(request->headers, client->authorization);
    request->headers = list ? list : request->headers;
    return list ? 0 : -ENOMEM;
}

int kube_request_prepare(struct kube_request *request)
{
    const struct kube_client *client = request->client;
    const struct kube_request_options *options = &request->options;
    size_t size = strlen(client->base) + strlen(options->path) + 1;

    request->url = malloc(size);
    if (!request->url || buffer_append_str(&request->body, options->body))
        return -ENOMEM;
    snprintf(request->url, size, "%s%s", client->base, options->path);
    return 0;
}

int kube_request_launch(struct kube_request *request)
{
    struct kube_client *client = request->client;
    int error;

    refresh_token(client);
    request->credential = client->credential;
    request->easy = curl_easy_init();
    if (!request->easy)
        return -ENOMEM;
    if (client->connect_to) {
        request->connect_to = curl_slist_append(NULL, client->connect_to);
        if (!request->connect_to)
            return -ENOMEM;
    }
    error = build_headers(request);
    if (error)
        return error;
    set_connection(request);
    set_message(request);
    return curl_multi_add_handle(client->multi, request->easy) == CURLM_OK ? 0 : -ENOMEM;
}

static int error_of(CURLcode code)
{
    switch (code) {
    case CURLE_OK:
        return 0;
    case CURLE_OPERATION_TIMEDOUT:
        return -ETIMEDOUT;
    case CURLE_WRITE_ERROR:
        return -EMSGSIZE;
    case CURLE_OUT_OF_MEMORY:
        return -ENOMEM;
    default:
        return -EIO; /* not reached, or cut */
    }
}

static void explain_status(const struct kube_request *request, struct kube_response *response)
{
    struct str body = buffer_view(&request->incoming);
    yyjson_doc *document = NULL;
    struct kube_failure failure = {0};

    if (body.len && body.len <= FAILURE_BODY_MAX)
        document = yyjson_read(body.ptr, body.len, 0);
    if (document)
        failure = kube_failure_read(yyjson_doc_get_root(document));
    snprintf(response->reason, sizeof(response->reason), STR_FMT, STR_ARG(failure.reason));
    if (failure.message.len)
        snprintf(response->message, sizeof(response->message), STR_FMT, STR_ARG(failure.message));
    else
        snprintf(response->message, sizeof(response->message), "HTTP status %d", response->status);
    yyjson_doc_free(document);
}

void kube_request_explain(struct kube_request *request, CURLcode code,
                          struct kube_response *response)
{
    long status = 0;
    curl_off_t retry_after_s = 0;

    request->client->ca_stale = code == CURLE_PEER_FAILED_VERIFICATION;
    curl_easy_getinfo(request->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(request->easy, CURLINFO_RETRY_AFTER, &retry_after_s);
    response->error = error_of(code);
    response->status = (int)status;
    response->retry_after_ms = (uint64_t)retry_after_s * 1000;
    if (code == CURLE_WRITE_ERROR)
        snprintf(response->message, sizeof(response->message), "the answer is larger than %d bytes",
                 KUBE_RESPONSE_MAX);
    else if (code != CURLE_OK)
        snprintf(response->message, sizeof(response->message), "%s",
                 request->error[0] ? request->error : curl_easy_strerror(code));
    else if (status < 200 || status > 299)
        explain_status(request, response);
}

int kube_request_status(const struct kube_request *request)
{
    long status = 0;

    curl_easy_getinfo(request->easy, CURLINFO_RESPONSE_CODE, &status);
    return (int)status;
}

void kube_request_destroy(struct kube_request *request)
{
    if (request->easy) {
        curl_multi_remove_handle(request->client->multi, request->easy);
        curl_easy_cleanup(request->easy);
    }
    curl_slist_free_all(request->headers);
    curl_slist_free_all(request->connect_to);
    buffer_done(&request->body);
    buffer_done(&request->incoming);
    free(request->url);
    free(request);
}
