/*
 * Cancels: which requests nobody waits for any more, as gateways say on metropolis.cancel.<token>.
 *
 * One subscription takes the cancels of all gateways and all routes, for they are few, and a
 * subscription per request would cost more than the request. What is kept of each is the digest of
 * its token, in the one place of a table that the digest gives, over what was there: nothing is
 * ever looked for, allocated or taken out, and asking is one load. A cancel that another one
 * overwrites is lost, as one may be anyway.
 *
 * The subscription is made when the first request comes that may be cancelled, so workers without
 * such routes need no right to it. Threads: cnats' own writes the table, any thread reads it.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "worker/internal.h"

#define CANCEL_PREFIX "metropolis.cancel."

enum { CANCELS_KEPT = 8192 };

/* FNV-1a; never 0. */
static uint64_t digest(const char *token)
{
    uint64_t hash = UINT64_C(14695981039346656037);

    for (; *token != '\0'; token++)
        hash = (hash ^ (unsigned char)*token) * UINT64_C(1099511628211);
    return hash != 0 ? hash : 1;
}

static void on_cancel(natsConnection *connection, natsSubscription *subscription, natsMsg *message,
                      void *closure)
{
    struct cancels *cancels = closure;
    uint64_t cancelled = digest(natsMsg_GetSubject(message) + strlen(CANCEL_PREFIX));

    (void)connection;
    (void)subscription;
    atomic_store_explicit(&atomic_load(&cancels->seen)[cancelled % CANCELS_KEPT], cancelled,
                          memory_order_relaxed);
    natsMsg_Destroy(message);
}

static void on_complete(void *closure)
{
    sem_post(&((struct cancels *)closure)->complete);
}

void cancels_init(struct cancels *cancels)
{
    pthread_mutex_init(&cancels->lock, NULL);
    sem_init(&cancels->complete, 0, 0);
    atomic_init(&cancels->seen, NULL);
}

/* Under lock. Without memory or connection the next request tries again. */
static void subscribe(struct cancels *cancels, natsConnection *connection)
{
    natsStatus status;

    if (atomic_load(&cancels->seen) == NULL)
        atomic_store(&cancels->seen, calloc(CANCELS_KEPT, sizeof(_Atomic uint64_t)));
    if (atomic_load(&cancels->seen) == NULL)
        return;
    status = natsConnection_Subscribe(&cancels->subscription, connection, CANCEL_PREFIX "*",
                                      on_cancel, cancels);
    if (status == NATS_OK &&
        natsSubscription_SetOnCompleteCB(cancels->subscription, on_complete, cancels) != NATS_OK)
        sem_post(&cancels->complete); /* closed already, and nobody will say so */
}

uint64_t cancels_expect(struct cancels *cancels, natsConnection *connection, const char *subject)
{
    if (strncmp(subject, CANCEL_PREFIX, strlen(CANCEL_PREFIX)) != 0)
        return 0;
    pthread_mutex_lock(&cancels->lock);
    if (cancels->subscription == NULL)
        subscribe(cancels, connection);
    pthread_mutex_unlock(&cancels->lock);
    return digest(subject + strlen(CANCEL_PREFIX));
}

bool cancels_have(struct cancels *cancels, uint64_t expected)
{
    _Atomic uint64_t *seen = atomic_load(&cancels->seen);

    return expected != 0 && seen != NULL &&
           atomic_load_explicit(&seen[expected % CANCELS_KEPT], memory_order_relaxed) == expected;
}

void cancels_done(struct cancels *cancels)
{
    if (cancels->subscription != NULL) {
        natsSubscription_Unsubscribe(cancels->subscription);
        while (sem_wait(&cancels->complete) != 0)
            assert(errno == EINTR);
        natsSubscription_Destroy(cancels->subscription);
    }
    free(atomic_load(&cancels->seen));
    sem_destroy(&cancels->complete);
    pthread_mutex_destroy(&cancels->lock);
}
