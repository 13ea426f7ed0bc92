/*
 * One handler: a queue subscription, a bounded queue of requests, and the threads that serve them.
 *
 * cnats gives an asynchronous subscription one thread. It does nothing here but append to the
 * queue, so that requests are dated when they arrive, and refuses with 503 at once what does not
 * fit: a queue that is served too slowly must not grow until every request in it is too old. For
 * the same reason a request that nobody waits for by now is dropped when its turn comes.
 *
 * The subscription's thread and the handler's threads share the fields under `lock`. The end is one
 * way: subscribed -> complete (cnats calls on_message no more) -> `closing` (threads end when the
 * queue is empty) -> threads == 0.
 */
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "worker/internal.h"

enum { CONCURRENCY_DEFAULT = 1, QUEUE_DEFAULT = 256, STACK_BYTES = 1024 * 1024 };

struct waiting_request {
    natsMsg *message; /* owned */
    int64_t arrived_ms;
};

struct handler {
    struct metropolis_worker *worker;
    struct metropolis_handler spec; /* its strings are ours */
    natsSubscription *subscription;

    pthread_mutex_t lock;
    pthread_cond_t work;           /* queue or closing changed; the threads wait here */
    pthread_cond_t ended;          /* complete or threads changed; who drains or frees waits here */
    struct waiting_request *queue; /* a ring of spec.queue_limit */
    size_t head, count, bytes;
    bool overloaded;       /* so that a burst of refusals is one line in the log */
    bool complete;         /* no further on_message */
    bool closing;          /* threads end at an empty queue */
    unsigned threads;      /* that have not ended */
    unsigned thread_count; /* to be joined */
    pthread_t thread_ids[];
};

static size_t message_bytes(const natsMsg *message)
{
    return (size_t)natsMsg_GetDataLength(message);
}

/* ---- serving, in the handler's threads ---- */

static void refuse(struct handler *handler, natsMsg *message)
{
    struct metropolis_request request;

    request_init(&request, handler->worker, message, worker_now_ms());
    metropolis_reply_header(&request, "Retry-After", "1");
    metropolis_reply(&request, 503, NULL, 0);
    request_done(&request);
}

/* What has to be answered without the handler: a status, or 0. */
static int request_refusal(const struct metropolis_request *request, int init_error)
{
    const char *wire = metropolis_request_header(request, "Metropolis-Wire");

    if (init_error == -EBADMSG)
        return 400;
    if (init_error != 0)
        return 503;
    return wire != NULL && strtol(wire, NULL, 10) > METROPOLIS_WIRE_VERSION ? 501 : 0;
}

static void serve(struct handler *handler, const struct waiting_request *waiting)
{
    struct metropolis_request request;
    int rc = request_init(&request, handler->worker, waiting->message, waiting->arrived_ms);
    int status = request_refusal(&request, rc);

    if (status != 0) {
        metropolis_reply_error(&request, status, NULL);
    } else if (!metropolis_request_cancelled(&request)) {
        rc = handler->spec.handle(&request, handler->spec.arg);
        if (rc != 0)
            worker_log(handler->worker, "%s: handler failed: %s", handler->spec.subject,
                       strerror(-rc));
        if (!request.replied) {
            if (rc == 0)
                worker_log(handler->worker, "%s: handler sent no reply, answering 500",
                           handler->spec.subject);
            metropolis_reply_error(&request, 500, NULL);
        }
    }
    request_done(&request);
}

/* Under lock; the queue is not empty. */
static struct waiting_request queue_pop(struct handler *handler)
{
    struct waiting_request first = handler->queue[handler->head];

    handler->head = (handler->head + 1) % handler->spec.queue_limit;
    handler->count--;
    handler->bytes -= message_bytes(first.message);
    if (handler->count <= handler->spec.queue_limit / 2)
        handler->overloaded = false;
    return first;
}

static void *thread_main(void *arg)
{
    struct handler *handler = arg;
    struct waiting_request request;

    pthread_mutex_lock(&handler->lock);
    for (;;) {
        while (handler->count == 0 && !handler->closing)
            pthread_cond_wait(&handler->work, &handler->lock);
        if (handler->count == 0)
            break;
        request = queue_pop(handler);
        pthread_mutex_unlock(&handler->lock);
        serve(handler, &request);
        pthread_mutex_lock(&handler->lock);
    }
    handler->threads--;
    pthread_cond_signal(&handler->ended);
    pthread_mutex_unlock(&handler->lock);
    nats_ReleaseThreadMemory();
    return NULL;
}

/* ---- receiving, in the subscription's thread ---- */

static void on_message(natsConnection *connection, natsSubscription *subscription, natsMsg *message,
                       void *closure)
{
    struct handler *handler = closure;
    size_t bytes = message_bytes(message);
    bool fits, first_refusal;

    (void)connection;
    (void)subscription;
    pthread_mutex_lock(&handler->lock);
    fits = handler->count < handler->spec.queue_limit &&
           (handler->count == 0 || handler->bytes + bytes <= METROPOLIS_QUEUE_BYTES_MAX);
    first_refusal = !fits && !handler->overloaded;
    if (fits) {
        size_t tail = (handler->head + handler->count) % handler->spec.queue_limit;

        handler->queue[tail] =
            (struct waiting_request){.message = message, .arrived_ms = worker_now_ms()};
        handler->count++;
        handler->bytes += bytes;
        pthread_cond_signal(&handler->work);
    } else {
        handler->overloaded = true;
    }
    pthread_mutex_unlock(&handler->lock);
    if (first_refusal)
        worker_log(handler->worker, "%s: queue full, answering 503", handler->spec.subject);
    if (!fits)
        refuse(handler, message);
}

static void on_complete(void *closure)
{
    struct handler *handler = closure;

    pthread_mutex_lock(&handler->lock);
    handler->complete = true;
    pthread_cond_signal(&handler->ended);
    pthread_mutex_unlock(&handler->lock);
}

/* ---- life ---- */

/* Tokens with dots between them; "*" is a token, ">" the last. */
static bool subject_is_valid(const char *subject)
{
    if (subject == NULL)
        return false;
    for (;;) {
        size_t length = strcspn(subject, ".");
        bool is_wildcard = length == 1 && (*subject == '*' || *subject == '>');

        for (size_t i = 0; i < length; i++) {
            if (subject[i] < 0x21 || subject[i] > 0x7e ||
                (!is_wildcard && strchr("*>", subject[i])))
                return false;
        }
        if (length == 0 || (*subject == '>' && subject[length] != '\0'))
            return false;
        if (subject[length] == '\0')
            return true;
        subject += length + 1;
    }
}

static int spec_check(const struct metropolis_worker *worker, const struct metropolis_handler *spec)
{
    const char *wrong = NULL;

    if (!subject_is_valid(spec->subject))
        wrong = "subject: write tokens with dots between them, as orders.*.GET";
    else if (spec->queue_group != NULL &&
             (!subject_is_valid(spec->queue_group) || strpbrk(spec->queue_group, "*>")))
        wrong = "queue_group: write a word without blanks, * and >";
    else if (spec->concurrency > METROPOLIS_CONCURRENCY_MAX)
        wrong = "concurrency: too many threads";
    else if (spec->queue_limit > METROPOLIS_QUEUE_MAX)
        wrong = "queue_limit: too long a queue";
    if (wrong == NULL)
        return 0;
    worker_log(worker, "handler %s: %s", spec->subject != NULL ? spec->subject : "", wrong);
    return -EINVAL;
}

static int handler_start(struct handler *handler)
{
    pthread_attr_t attributes;
    int rc = 0;

    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    while (rc == 0 && handler->thread_count < handler->spec.concurrency) {
        rc = -pthread_create(&handler->thread_ids[handler->thread_count], &attributes, thread_main,
                             handler);
        if (rc == 0)
            handler->thread_count++;
    }
    pthread_attr_destroy(&attributes);
    handler->threads = handler->thread_count;
    if (rc == 0)
        rc = worker_error(natsConnection_QueueSubscribe(
            &handler->subscription, handler->worker->connection, handler->spec.subject,
            handler->spec.queue_group, on_message, handler));
    if (rc == 0) {
        rc = worker_error(
            natsSubscription_SetOnCompleteCB(handler->subscription, on_complete, handler));
        handler->complete = rc != 0; /* closed already, and nobody will say so */
    }
    return rc;
}

static void handler_init(struct handler *handler)
{
    pthread_condattr_t attributes;

    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&handler->ended, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_cond_init(&handler->work, NULL);
    pthread_mutex_init(&handler->lock, NULL);
}

int handler_new(struct handler **ret_handler, struct metropolis_worker *worker,
                const struct metropolis_handler *spec)
{
    unsigned concurrency = spec->concurrency != 0 ? spec->concurrency : CONCURRENCY_DEFAULT;
    const char *queue_group = spec->queue_group != NULL ? spec->queue_group : "worker";
    struct handler *handler;
    int rc = spec_check(worker, spec);

    if (rc != 0)
        return rc;
    handler = calloc(1, sizeof(*handler) + concurrency * sizeof(handler->thread_ids[0]));
    if (handler == NULL)
        return -ENOMEM;
    handler_init(handler);
    handler->worker = worker;
    handler->spec = *spec;
    handler->spec.concurrency = concurrency;
    handler->spec.queue_limit = spec->queue_limit != 0 ? spec->queue_limit : QUEUE_DEFAULT;
    handler->spec.subject = strdup(spec->subject);
    handler->spec.queue_group = strdup(queue_group);
    handler->queue = calloc(handler->spec.queue_limit, sizeof(*handler->queue));
    if (handler->spec.subject == NULL || handler->spec.queue_group == NULL ||
        handler->queue == NULL)
        rc = -ENOMEM;
    else
        rc = handler_start(handler);
    if (rc != 0) {
        handler_free(handler);
        return rc;
    }
    *ret_handler = handler;
    return 0;
}

void handler_drain_begin(struct handler *handler, int64_t timeout_ms)
{
    natsConnection *connection = handler->worker->connection;

    /*
     * Draining waits for the server to confirm, one round trip. Half the time is for that at most,
     * so that a server that does not answer leaves time for the handlers; one that is not there has
     * nothing to confirm. Either call fails only when the connection is closed for good, and then
     * the subscription is complete.
     */
    if (natsConnection_Status(connection) == NATS_CONN_STATUS_CONNECTED)
        natsSubscription_DrainTimeout(handler->subscription, timeout_ms / 2 + 1);
    else
        natsSubscription_Unsubscribe(handler->subscription);
}

/* Under lock: what still waits is refused, which needs no thread of the handler's. */
static void queue_refuse_all(struct handler *handler)
{
    while (handler->count > 0) {
        struct waiting_request request = queue_pop(handler);

        pthread_mutex_unlock(&handler->lock);
        refuse(handler, request.message);
        pthread_mutex_lock(&handler->lock);
    }
}

int handler_drain_wait(struct handler *handler, int64_t deadline_ms)
{
    struct timespec deadline = {.tv_sec = deadline_ms / 1000,
                                .tv_nsec = deadline_ms % 1000 * 1000000};
    int rc = 0;

    pthread_mutex_lock(&handler->lock);
    while (rc == 0 && !handler->complete)
        rc = pthread_cond_timedwait(&handler->ended, &handler->lock, &deadline);
    handler->closing = true;
    pthread_cond_broadcast(&handler->work);
    while (rc == 0 && handler->threads > 0)
        rc = pthread_cond_timedwait(&handler->ended, &handler->lock, &deadline);
    if (rc != 0)
        queue_refuse_all(handler);
    rc = handler->threads > 0 ? -ETIMEDOUT : 0;
    pthread_mutex_unlock(&handler->lock);
    return rc;
}

void handler_free(struct handler *handler)
{
    if (handler == NULL)
        return;
    natsSubscription_Unsubscribe(handler->subscription);
    pthread_mutex_lock(&handler->lock);
    while (handler->subscription != NULL && !handler->complete)
        pthread_cond_wait(&handler->ended, &handler->lock);
    handler->closing = true;
    pthread_cond_broadcast(&handler->work);
    pthread_mutex_unlock(&handler->lock);
    for (unsigned i = 0; i < handler->thread_count; i++)
        pthread_join(handler->thread_ids[i], NULL);
    assert(handler->count == 0);

    natsSubscription_Destroy(handler->subscription);
    pthread_cond_destroy(&handler->work);
    pthread_cond_destroy(&handler->ended);
    pthread_mutex_destroy(&handler->lock);
    free(handler->queue);
    free((char *)handler->spec.subject);
    free((char *)handler->spec.queue_group);
    free(handler);
}
