/* What the library's files share; not installed. */
#ifndef WORKER_INTERNAL_H
#define WORKER_INTERNAL_H

#include <nats/nats.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#include "worker/metropolis.h"

struct handler;

struct cancels {
    pthread_mutex_t lock; /* of subscription */
    natsSubscription *subscription;
    sem_t complete;                   /* posted when it calls no more */
    _Atomic(_Atomic uint64_t *) seen; /* NULL until there is a subscription */
};

struct metropolis_worker {
    natsConnection *connection;
    struct cancels cancels;
    void (*log)(void *log_arg, const char *message);
    void *log_arg;
    int64_t drain_timeout_ms;
    bool keep_signals;
    int wake_fd;          /* eventfd: a stop was asked for, or the connection is gone */
    atomic_bool closing;  /* metropolis_worker_free has begun: a closed connection is no event */
    atomic_int closed;    /* 0, or why the connection is closed for good */
    sem_t callbacks_done; /* posted by on_closed, the last callback of a connection */
    struct handler *handlers[METROPOLIS_HANDLERS_MAX];
    size_t handler_count;
};

/* One line to the worker's log. Any thread. */
__attribute__((format(printf, 2, 3))) void worker_log(const struct metropolis_worker *worker,
                                                      const char *format, ...);
int64_t worker_now_ms(void); /* monotonic */
int worker_error(natsStatus status);

/* ---- dispatch.c: one handler: its subscription, its queue, its threads ---- */

int handler_new(struct handler **ret_handler, struct metropolis_worker *worker,
                const struct metropolis_handler *spec);
/* Asks the server for no more requests; those that come until it agrees are still queued. */
void handler_drain_begin(struct handler *handler, int64_t timeout_ms);
/*
 * Lets the threads finish what is queued and end. 0, or -ETIMEDOUT at deadline_ms (monotonic): what
 * still waited has been answered 503, and threads still run.
 */
int handler_drain_wait(struct handler *handler, int64_t deadline_ms);
/* Waits for the subscription's and the handler's own threads, then frees. NULL is fine. */
void handler_free(struct handler *handler);

/* ---- cancel.c: which requests nobody waits for any more ---- */

void cancels_init(struct cancels *cancels);
/* What cancels_have is to be asked for a request that may be cancelled on subject; 0: it cannot be.
 */
uint64_t cancels_expect(struct cancels *cancels, natsConnection *connection, const char *subject);
bool cancels_have(struct cancels *cancels, uint64_t expected);
void cancels_done(struct cancels *cancels); /* before the connection is destroyed */

/* ---- request.c ---- */

struct owned_string {
    struct owned_string *next;
    char text[];
};

struct reply_line {
    struct owned_string *text; /* name, NUL, value */
    const char *value;
};

/* On the stack of the thread that runs the handler; dies when the handler returns. */
struct metropolis_request {
    struct metropolis_worker *worker;
    natsMsg *message;  /* owned */
    const char **keys; /* header names, as received; the array is owned, the strings message's */
    int key_count;
    int64_t deadline_ms; /* monotonic, or -1 */
    uint64_t cancel;     /* for cancels_have */
    struct owned_string *owned;
    bool replied;
    struct reply_line lines[METROPOLIS_REPLY_HEADERS_MAX];
    size_t line_count, line_bytes;
};

/*
 * Takes ownership of message, also when it fails: request_done is due in any case. -EBADMSG: the
 * header block cannot be read; -ENOMEM. The request can be replied to even then.
 */
int request_init(struct metropolis_request *request, struct metropolis_worker *worker,
                 natsMsg *message, int64_t arrived_ms);
void request_done(struct metropolis_request *request);

#endif
