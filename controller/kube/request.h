/*
 * request: what client.c and request.c share; nobody else includes it.
 */
#ifndef CONTROLLER_KUBE_REQUEST_H
#define CONTROLLER_KUBE_REQUEST_H

#include <curl/curl.h>

#include "controller/kube/client.h"
#include "controller/kube/plugin.h"
#include "lib/base/buffer.h"

enum { KUBE_READ_SIZE = 64 * 1024 }; /* bytes that libcurl hands over at once */

struct kube_client {
    uv_loop_t *loop;
    const struct kube_config *config;
    CURLM *multi;
    uv_timer_t timer;
    uv_idle_t soon;                /* instead of a timer of 0 */
    struct kube_request *requests; /* all, newest first */
    struct kube_request *ready;    /* those with bytes to deliver */
    struct kube_request *current;  /* on whose behalf a user runs */
    bool dispatching, closing;

    char *base;       /* what paths are appended to */
    char *connect_to; /* "::host:port" when the base names server_name instead */
    char *host;       /* the Host header then */
    bool direct;      /* loopback: never by a proxy of the environment */

    char *authorization; /* the header; NULL: none */
    uint64_t token_read_ms;
    bool token_stale;
    bool ca_stale; /* the server's certificate did not match: another may be in the file */
    struct kube_plugin *plugin; /* NULL: none */
    uint64_t credential;        /* how many the plugin gave */

    struct kube_request_count counts[KUBE_COUNTS_MAX];
    size_t count;
    uint64_t answers; /* of them, by a server that works */
};

struct kube_request {
    struct kube_client *client;
    struct kube_request *next, *previous, *next_ready;
    CURL *easy;
    struct curl_slist *headers, *connect_to;
    char *url;
    struct buffer body, incoming;
    struct kube_request_options options;
    bool held;           /* waits for the plugin; easy is NULL */
    bool doomed;         /* held, and the plugin has failed */
    uint64_t credential; /* that it logs in with */
    bool is_ready, accepted, counted, cancelled;
    char error[CURL_ERROR_SIZE];
};

/* The header that every request from now on logs in with; "": none. -ENOMEM. */
int kube_client_set_token(struct kube_client *client, const char *token);

/* Copies what a request whose client and options are set needs of them later. */
int kube_request_prepare(struct kube_request *request);
/* Makes its transfer, with the credentials of now, and gives it to libcurl. */
int kube_request_launch(struct kube_request *request);
/* Of the answer, as soon as its head is here; 0 before. */
int kube_request_status(const struct kube_request *request);
/* Fills all but the body. */
void kube_request_explain(struct kube_request *request, CURLcode code,
                          struct kube_response *response);
/* Frees it, and whatever of it there is; it must be in no list. Not from libcurl's callbacks. */
void kube_request_destroy(struct kube_request *request);

#endif
