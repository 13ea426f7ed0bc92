/*
 * client: HTTP requests to the API server on the loop, by libcurl's multi interface: no thread per
 * request, no blocking call (names are resolved on libcurl's own thread). Everything here,
 * callbacks too, is on the loop's thread.
 *
 * HTTP/1.1 on purpose: a watch has a connection to itself, so neither a burst of status writes nor
 * their flow control can hold up an event. The program must ignore SIGPIPE.
 *
 * Callbacks never run inside a function of this header or inside libcurl: they may start, cancel
 * and free whatever they like.
 */
#ifndef CONTROLLER_KUBE_CLIENT_H
#define CONTROLLER_KUBE_CLIENT_H

#include <stdint.h>
#include <uv.h>

#include "controller/kube/config.h"
#include "lib/base/str.h"

enum {
    KUBE_REASON_MAX = 64,
    KUBE_MESSAGE_MAX = 512,
    KUBE_RESPONSE_MAX = 64 * 1024 * 1024, /* bytes of a body that is not streamed */
};

struct kube_client;
struct kube_request;

/* How a request ended. Strings are borrowed for the call. */
struct kube_response {
    /* 0: the answer came whole. Else none came or it was cut: -ETIMEDOUT, -EMSGSIZE (larger than
     * KUBE_RESPONSE_MAX), -ENOMEM, -EACCES (an exec plugin gave no credential), or -EIO for all
     * that happens to connections. */
    int error;
    int status;                     /* HTTP; 0: none came */
    struct str body;                /* empty when it was streamed */
    uint64_t retry_after_ms;        /* 0: not said */
    char reason[KUBE_REASON_MAX];   /* of the Status object: "Expired", "NotFound"; else empty */
    char message[KUBE_MESSAGE_MAX]; /* what went wrong, for people; empty on success */
};

struct kube_request_options {
    const char *method;       /* static: "GET", "PATCH" ... */
    const char *path;         /* "/apis/...?query", escaped; copied */
    const char *content_type; /* static; NULL: no body */
    struct str body;          /* copied */
    uint64_t timeout_ms;      /* of the whole exchange */
    /* The head of a 2xx answer is here; NULL: nobody asks. */
    void (*accepted)(void *context);
    /* The body of a 2xx answer, piece by piece as it comes; NULL: gather it for done. Not called
     * again after it has cancelled. */
    void (*data)(void *context, struct str bytes);
    /* Once, last; the request is gone after it. Not after kube_request_cancel. */
    void (*done)(void *context, const struct kube_response *response);
    void *context;
};

/* Borrows config until closed is called. -ENOMEM, or what libuv says. */
int kube_client_new(uv_loop_t *loop, const struct kube_config *config,
                    struct kube_client **ret_client);
/* Every request must be over or cancelled. The memory goes once the loop has let go of its handles;
 * it needs to run until then. NULL is fine. */
void kube_client_free(struct kube_client *client);

/* The request is valid until done or kube_request_cancel. -ENOMEM. */
int kube_request_start(struct kube_client *client, const struct kube_request_options *options,
                       struct kube_request **ret_request);
/* Drops it: neither data nor done is called any more. NULL is fine. */
void kube_request_cancel(struct kube_request *request);

/* Answers so far, by method and status, as the head of each came; status 0: none came. Past the
 * limit of combinations, which no API server reaches, they are not counted. */
struct kube_request_count {
    const char *method;
    int status;
    uint64_t count;
};
enum { KUBE_COUNTS_MAX = 64 };
/* Borrowed until the client is used or freed. */
const struct kube_request_count *kube_client_counts(const struct kube_client *client,
                                                    size_t *ret_count);
/* How often the API server was there to answer; not counted: 5xx, which may be from what is before
 * it. */
uint64_t kube_client_answers(const struct kube_client *client);

#endif
