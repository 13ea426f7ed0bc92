/*
 * libmetropolis: write a Metropolis worker in C.
 *
 * A worker answers HTTP requests that a Metropolis gateway has turned into NATS messages. It speaks
 * no HTTP and holds no port: it subscribes to subjects, in a queue group so that several workers
 * share the load, and for each request a handler sends one reply. The messages are HTTP over NATS
 * v1 (docs/WIRE.md).
 *
 *     static int hello(struct metropolis_request *request, void *arg)
 *     {
 *         (void)arg;
 *         return metropolis_reply_text(request, 200, "hello");
 *     }
 *     ...
 *     struct metropolis_handler handler = {.subject = "hello.GET", .handle = hello};
 *     struct metropolis_options options = {.url = "nats://127.0.0.1:4222"};
 *
 *     rc = metropolis_worker_new(&worker, &options);
 *     if (rc == 0)
 *         rc = metropolis_handle(worker, &handler);
 *     if (rc == 0)
 *         rc = metropolis_run(worker);
 *     metropolis_worker_free(worker);
 *
 * Threads. Each handler has `concurrency` threads of its own; handlers run there, never in the
 * thread that called metropolis_run. A request belongs to the thread that runs its handler and to
 * no other. metropolis_stop may be called from any thread and from a signal handler; everything
 * else on a worker from one thread only.
 *
 * Ownership. Strings and structures that are passed in are copied. Strings that come out are
 * borrowed from the request until its handler returns. No function takes ownership of anything.
 *
 * Errors. Functions that can fail return 0 or a negative errno value, and have then done nothing.
 *
 * Limits, all of which end in an error or a status and never in something silent: METROPOLIS_*_MAX
 * below, and the NATS server's max_payload (1 MiB unless configured) for a reply's headers and body
 * together.
 */
#ifndef METROPOLIS_H
#define METROPOLIS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define METROPOLIS_WIRE_VERSION 1

enum {
    METROPOLIS_SERVERS_MAX = 16,
    METROPOLIS_HANDLERS_MAX = 64,
    METROPOLIS_CONCURRENCY_MAX = 256,
    METROPOLIS_QUEUE_MAX = 65536,
    METROPOLIS_QUEUE_BYTES_MAX = 64 * 1024 * 1024, /* per handler, of requests that wait */
    METROPOLIS_REPLY_HEADERS_MAX = 64,
    METROPOLIS_REPLY_HEADER_BYTES_MAX = 16 * 1024, /* all lines of a reply together */
};

struct metropolis_worker;
struct metropolis_request;

/* Zero or NULL means the default of each field. */
struct metropolis_options {
    const char *url;     /* servers, comma-separated; default nats://127.0.0.1:4222 */
    const char *creds;   /* credentials file (JWT and seed); default none */
    const char *ca_file; /* PEM file of the authorities to trust, turns TLS on; default none */
    const char *name;    /* the connection's name in NATS monitoring; default "metropolis-worker" */
    int64_t drain_timeout_ms; /* how long metropolis_run may finish work after a stop; default
                               * 25,000, which leaves time within the 30 s that Kubernetes gives */
    bool keep_signals;        /* true: metropolis_run leaves SIGTERM and SIGINT alone */
    /* Called, from any thread, for what an operator should read; message is one line without its
     * end. Default: stderr. */
    void (*log)(void *log_arg, const char *message);
    void *log_arg;
};

struct metropolis_handler {
    const char *subject;     /* required; may hold the wildcards * and > */
    const char *queue_group; /* workers of one group share the requests; default "worker" */
    unsigned concurrency;    /* threads, so requests at a time; default 1 */
    unsigned
        queue_limit; /* requests that may wait for a thread, past it they get 503; default 256 */
    /*
     * Answers one request with exactly one metropolis_reply*(). Returns 0, or a negative errno
     * value that is logged. A handler that returns without a reply makes the library answer 500.
     */
    int (*handle)(struct metropolis_request *request, void *arg);
    void *arg; /* borrowed until metropolis_worker_free; shared by the handler's threads */
};

/*
 * Makes a worker and starts to connect. A server that cannot be reached is no error: the library
 * goes on trying, here and whenever a connection is lost; it subscribes again by itself. -EINVAL:
 * an option is wrong (the log says which); -EACCES: refused by the server; -ENOMEM.
 */
int metropolis_worker_new(struct metropolis_worker **ret_worker,
                          const struct metropolis_options *options);

/*
 * Subscribes and starts the handler's threads. Requests may come in before this returns.
 * -EINVAL: a field is wrong (the log says which); -ENOSPC: too many handlers; -EAGAIN: no thread;
 * -ENOTCONN: the connection is closed for good; -ENOMEM.
 */
int metropolis_handle(struct metropolis_worker *worker, const struct metropolis_handler *handler);

/*
 * Serves until metropolis_stop, SIGTERM or SIGINT, then drains: no new requests; those that arrived
 * are answered; all replies are sent. To be called once. A second signal ends the process as usual.
 * The signals belong to one worker of a process at a time (-EBUSY); set keep_signals in others. 0:
 * drained. -ETIMEDOUT: handlers still ran after drain_timeout_ms; what waited has got 503. The
 * process should end then: metropolis_worker_free would wait for them. -EACCES, -ECONNABORTED: NATS
 * refused or closed the connection for good.
 */
int metropolis_run(struct metropolis_worker *worker);

/* Makes metropolis_run drain and return, now or when it is called. Any thread; async-signal-safe.
 */
void metropolis_stop(struct metropolis_worker *worker);

/* Waits for handlers that still run, closes the connection, frees. NULL is fine. Not from a
 * handler. */
void metropolis_worker_free(struct metropolis_worker *worker);

/* ---- The request. Functions that return strings return NULL for what the request does not have.
 * ---- */

/* "GET". NULL when the message did not come from a gateway but from some other NATS client. */
const char *metropolis_request_method(const struct metropolis_request *request);
/* The path as the client sent it, still percent-encoded, without the query. */
const char *metropolis_request_path(const struct metropolis_request *request);
/* What follows "?" as the client sent it, still encoded. */
const char *metropolis_request_query(const struct metropolis_request *request);
/* The NATS subject that the message came on. */
const char *metropolis_request_subject(const struct metropolis_request *request);
/* The payload, *ret_len bytes; a zero byte follows it. Never NULL. */
const void *metropolis_request_body(const struct metropolis_request *request, size_t *ret_len);

/*
 * The value of a header, its name in any case. The gateway sends each name once: it joins repeated
 * lines by ", " (Cookie by "; "). Metropolis-Host, -Scheme, -Remote-Addr, -Route and the like are
 * found here too.
 */
const char *metropolis_request_header(const struct metropolis_request *request, const char *name);
/* Headers by index, from 0 on and in no particular order. false: no such index, outputs untouched.
 */
bool metropolis_request_header_at(const struct metropolis_request *request, size_t index,
                                  const char **ret_name, const char **ret_value);

/*
 * The index-th value, from 0 on, of the query parameter `name`, decoded as forms are ("+" is a
 * space, a "%" that starts no escape stands for itself). A value may hold any byte. With ret_len it
 * is *ret_len bytes, and a zero byte follows; without, a value that holds a zero byte is not
 * returned, so that none is ever cut. NULL also when memory is short.
 */
const char *metropolis_request_query_value(struct metropolis_request *request, const char *name,
                                           size_t index, size_t *ret_len);

/*
 * The value that a placeholder of the Route's Template took, decoded once. Do not decode it again.
 * It may hold
 * "/" and "..", which clients can write as %2F and %2E: it is data, not a path.
 * For "{rest...}" pass segment 0, 1, ... until NULL; for "{id}" segment 0.
 */
const char *metropolis_request_param(struct metropolis_request *request, const char *name,
                                     size_t segment);

/*
 * Milliseconds until the gateway answers 504 in the worker's place, from the request's arrival
 * here; 0 when that is past, -1 when the request set none. A request that outlived it in the queue
 * never reaches a handler.
 */
int64_t metropolis_request_deadline_left_ms(const struct metropolis_request *request);

/*
 * Whether nobody waits for the reply any more: the deadline has passed, or the gateway has said
 * that its client left or got its 504. It says so for rules with `cancel: true`; the first such
 * request makes the worker subscribe metropolis.cancel.*, which its NATS user must be allowed to.
 * Ask between the steps of long work, and leave off when it is true: reply anything, it goes
 * nowhere. Best effort: false may mean that the word was lost. A request that was cancelled in the
 * queue never reaches a handler.
 */
bool metropolis_request_cancelled(const struct metropolis_request *request);

/* ---- The reply. One per request: a second one is -EALREADY. ---- */

/*
 * Adds one header line; the same name again is one more line (Set-Cookie). Blanks at both ends are
 * trimmed. -EINVAL: what the gateway would refuse or drop: a name that is not of letters, digits
 * and "-", a control byte (CR, LF and tab too) in the value, a connection header, a name that only
 * requests have, Metropolis-* or Nats-*, and Content-Length unless the request is HEAD. -E2BIG: too
 * many or too long. -EALREADY, -ENOMEM.
 */
int metropolis_reply_header(struct metropolis_request *request, const char *name,
                            const char *value);

/*
 * Sends the reply, with the headers added so far: status 200 to 599; a body of body_len bytes,
 * which is -EINVAL with 204 and 304. To HEAD answer as to GET, the gateway drops the body.
 * -EMSGSIZE: headers and body exceed the server's max_payload; another, smaller reply may be sent.
 * -ENOTCONN, -ENOBUFS: the connection is closed, or lost and too much waits to be sent. -EALREADY,
 * -ENOMEM. A message without a reply subject takes a reply and drops it.
 */
int metropolis_reply(struct metropolis_request *request, int status, const void *body,
                     size_t body_len);

/* metropolis_reply of a string, as text/plain in UTF-8 unless a Content-Type was added. */
int metropolis_reply_text(struct metropolis_request *request, int status, const char *text);

/*
 * Replies with an error: application/problem+json (RFC 9457), status 400 to 599. detail, UTF-8 and
 * shown to the client, says what is wrong, or is NULL. Headers added before are dropped: they were
 * about another answer. -EINVAL: another status, or detail is not UTF-8 or longer than 4,096 bytes;
 * others as metropolis_reply.
 */
int metropolis_reply_error(struct metropolis_request *request, int status, const char *detail);

#ifdef __cplusplus
}
#endif

#endif
