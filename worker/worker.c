/*
 * The worker: one NATS connection, its handlers, and their life from connect to drained.
 *
 * Owns the connection, the handlers and an eventfd. Three kinds of threads meet here: the caller's,
 * in every public function; cnats' own, in the on_* callbacks, which only log and wake; and a
 * signal handler, which may do no more than write to the eventfd. So metropolis_run waits on that
 * eventfd alone, and whoever wants it to end writes there.
 *
 * cnats buffers what is published while the connection is lost and sends it after a reconnect. For
 * requests that would be a danger; for replies it is right: the gateway may still wait, and drops
 * and counts a reply that is too late.
 */
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "worker/internal.h"

enum {
    DRAIN_TIMEOUT_DEFAULT_MS = 25000,
    FLUSH_MIN_MS = 500, /* what is left for sending the last replies, whatever else took long */
    RECONNECT_WAIT_MS = 500,
    PING_INTERVAL_MS = 20000, /* a peer that vanished is noticed within a minute */
    PINGS_OUT_MAX = 2,
};

/* The eventfd of the worker whose metropolis_run owns SIGTERM and SIGINT, or -1. */
static atomic_int signal_wake_fd = -1;

int64_t worker_now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void log_to_stderr(void *log_arg, const char *message)
{
    (void)log_arg;
    fprintf(stderr, "metropolis: %s\n", message);
}

void worker_log(const struct metropolis_worker *worker, const char *format, ...)
{
    char message[512];
    va_list args;

    va_start(args, format);
    vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    worker->log(worker->log_arg, message);
}

int worker_error(natsStatus status)
{
    switch (status) {
    case NATS_OK:
        return 0;
    case NATS_NO_MEMORY:
        return -ENOMEM;
    case NATS_MAX_PAYLOAD:
        return -EMSGSIZE;
    case NATS_INSUFFICIENT_BUFFER:
        return -ENOBUFS;
    case NATS_CONNECTION_CLOSED:
    case NATS_CONNECTION_DISCONNECTED:
    case NATS_DRAINING:
        return -ENOTCONN;
    case NATS_NOT_PERMITTED:
    case NATS_CONNECTION_AUTH_FAILED:
        return -EACCES;
    case NATS_TIMEOUT:
        return -ETIMEDOUT;
    case NATS_INVALID_ARG:
    case NATS_INVALID_SUBJECT:
    case NATS_INVALID_QUEUE_NAME:
        return -EINVAL;
    default:
        return -EIO;
    }
}

/* Async-signal-safe. */
static void wake(int wake_fd)
{
    uint64_t one = 1;
    ssize_t written = write(wake_fd, &one, sizeof(one));

    (void)written; /* EAGAIN: it is awake already */
}

/* ---- cnats' threads ---- */

static void on_connected(natsConnection *connection, void *closure)
{
    char url[256] = "";
    const char *secret_end;

    natsConnection_GetConnectedUrl(connection, url, sizeof(url));
    secret_end = strrchr(url, '@');
    worker_log(closure, "connected to %s", secret_end != NULL ? secret_end + 1 : url);
}

static void on_disconnected(natsConnection *connection, void *closure)
{
    struct metropolis_worker *worker = closure;

    (void)connection;
    if (!atomic_load(&worker->closing))
        worker_log(worker, "connection lost, trying to reconnect");
}

static void on_closed(natsConnection *connection, void *closure)
{
    struct metropolis_worker *worker = closure;
    const char *text = NULL;
    natsStatus status;

    if (!atomic_load(&worker->closing)) {
        status = natsConnection_GetLastError(connection, &text);
        worker_log(worker, "connection closed for good: %s", natsStatus_GetText(status));
        atomic_store(&worker->closed, worker_error(status) == -EACCES ? -EACCES : -ECONNABORTED);
        wake(worker->wake_fd);
    }
    sem_post(&worker->callbacks_done);
}

static void on_error(natsConnection *connection, natsSubscription *subscription, natsStatus status,
                     void *closure)
{
    const char *text = NULL;

    /* The text of the server ("Permissions Violation for Subscription to ...") says more. */
    if (status != NATS_SLOW_CONSUMER)
        natsConnection_GetLastError(connection, &text);
    worker_log(closure, "%s%s%s%s%s", natsStatus_GetText(status),
               subscription != NULL ? ", subject " : "",
               subscription != NULL ? natsSubscription_GetSubject(subscription) : "",
               text != NULL && *text != '\0' ? ": " : "", text != NULL ? text : "");
}

/* ---- connecting ---- */

static int options_set_servers(natsOptions *nats, const struct metropolis_worker *worker,
                               const char *url)
{
    const char *servers[METROPOLIS_SERVERS_MAX];
    int count = 0, rc = 0;
    char *copy = strdup(url), *rest = copy, *server;

    if (copy == NULL)
        return -ENOMEM;
    while (rc == 0 && (server = strsep(&rest, ",")) != NULL) {
        if (*server == '\0' || count == METROPOLIS_SERVERS_MAX) {
            worker_log(worker, "url: %s", *server == '\0' ? "an empty server" : "too many servers");
            rc = -EINVAL;
        } else {
            servers[count++] = server;
        }
    }
    if (rc == 0) {
        rc = worker_error(natsOptions_SetServers(nats, servers, count));
        if (rc == -EINVAL)
            worker_log(worker, "url: not a NATS URL: write nats://host:4222");
    }
    free(copy);
    return rc;
}

static int options_set_secrets(natsOptions *nats, const struct metropolis_worker *worker,
                               const struct metropolis_options *options)
{
    natsStatus status = NATS_OK;

    /* cnats reads the credentials at every connect and would retry for ever without the file. */
    if (options->creds != NULL && access(options->creds, R_OK) != 0) {
        worker_log(worker, "creds: cannot read %s: %s", options->creds, strerror(errno));
        return -EINVAL;
    }
    if (options->creds != NULL)
        status = natsOptions_SetUserCredentialsFromFiles(nats, options->creds, NULL);
    if (status == NATS_OK && options->ca_file != NULL) {
        status = natsOptions_SetSecure(nats, true);
        if (status == NATS_OK)
            status = natsOptions_LoadCATrustedCertificates(nats, options->ca_file);
        if (status != NATS_OK) {
            worker_log(worker, "ca_file: cannot use %s", options->ca_file);
            return -EINVAL;
        }
    }
    return worker_error(status);
}

static natsStatus options_set_behaviour(natsOptions *nats, struct metropolis_worker *worker)
{
    natsStatus status = natsOptions_SetMaxReconnect(nats, -1);

    if (status == NATS_OK)
        status = natsOptions_SetReconnectWait(nats, RECONNECT_WAIT_MS);
    if (status == NATS_OK)
        status = natsOptions_SetPingInterval(nats, PING_INTERVAL_MS);
    if (status == NATS_OK)
        status = natsOptions_SetMaxPingsOut(nats, PINGS_OUT_MAX);
    /* The flusher thread of cnats adds up to a millisecond to a lone reply. */
    if (status == NATS_OK)
        status = natsOptions_SetSendAsap(nats, true);
    if (status == NATS_OK)
        status = natsOptions_SetReconnectedCB(nats, on_connected, worker);
    if (status == NATS_OK)
        status = natsOptions_SetDisconnectedCB(nats, on_disconnected, worker);
    if (status == NATS_OK)
        status = natsOptions_SetClosedCB(nats, on_closed, worker);
    if (status == NATS_OK)
        status = natsOptions_SetErrorHandler(nats, on_error, worker);
    return status;
}

/*
 * Tries once, so that a refusal comes back as what it is, then in the background. (cnats, told to
 * retry from the start, gives up on a refusal a little later and without a word of the cause.)
 */
static int connect_or_retry(struct metropolis_worker *worker, natsOptions *nats)
{
    natsStatus status = natsConnection_Connect(&worker->connection, nats);
    int rc = worker_error(status);

    if (rc == -EACCES)
        worker_log(worker, "refused by the server: %s", natsStatus_GetText(status));
    if (rc == -EACCES || rc == -EINVAL || rc == -ENOMEM)
        return rc;
    if (rc != 0) {
        worker_log(worker, "cannot connect yet (%s), trying again", natsStatus_GetText(status));
        status = natsOptions_SetRetryOnFailedConnect(nats, true, on_connected, worker);
        if (status == NATS_OK)
            status = natsConnection_Connect(&worker->connection, nats);
        if (status == NATS_NOT_YET_CONNECTED)
            return 0;
    }
    if (status == NATS_OK)
        on_connected(worker->connection, worker);
    return worker_error(status);
}

static int worker_connect(struct metropolis_worker *worker,
                          const struct metropolis_options *options)
{
    const char *url = options->url != NULL ? options->url : "nats://127.0.0.1:4222";
    const char *name = options->name != NULL ? options->name : "metropolis-worker";
    natsOptions *nats = NULL;
    int rc = worker_error(natsOptions_Create(&nats));

    if (rc == 0)
        rc = options_set_servers(nats, worker, url);
    if (rc == 0)
        rc = options_set_secrets(nats, worker, options);
    if (rc == 0)
        rc = worker_error(natsOptions_SetName(nats, name));
    if (rc == 0)
        rc = worker_error(options_set_behaviour(nats, worker));
    if (rc == 0)
        rc = connect_or_retry(worker, nats);
    natsOptions_Destroy(nats);
    return rc;
}

int metropolis_worker_new(struct metropolis_worker **ret_worker,
                          const struct metropolis_options *options)
{
    struct metropolis_worker *worker;
    int rc;

    assert(ret_worker != NULL && options != NULL);
    worker = calloc(1, sizeof(*worker));
    if (worker == NULL)
        return -ENOMEM;
    worker->log = options->log != NULL ? options->log : log_to_stderr;
    worker->log_arg = options->log_arg;
    worker->keep_signals = options->keep_signals;
    worker->drain_timeout_ms =
        options->drain_timeout_ms > 0 ? options->drain_timeout_ms : DRAIN_TIMEOUT_DEFAULT_MS;
    sem_init(&worker->callbacks_done, 0, 0);
    cancels_init(&worker->cancels);
    worker->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    rc = worker->wake_fd >= 0 ? worker_connect(worker, options) : -errno;
    if (rc != 0) {
        metropolis_worker_free(worker);
        return rc;
    }
    *ret_worker = worker;
    return 0;
}

int metropolis_handle(struct metropolis_worker *worker, const struct metropolis_handler *handler)
{
    int rc;

    assert(worker != NULL && handler != NULL && handler->handle != NULL);
    if (worker->handler_count == METROPOLIS_HANDLERS_MAX)
        return -ENOSPC;
    rc = handler_new(&worker->handlers[worker->handler_count], worker, handler);
    if (rc == 0)
        worker->handler_count++;
    return rc;
}

/* ---- running ---- */

static void on_signal(int number)
{
    int error = errno;

    (void)number;
    wake(atomic_load(&signal_wake_fd));
    errno = error;
}

static const int stop_signals[] = {SIGTERM, SIGINT};

static int signals_take(const struct metropolis_worker *worker, struct sigaction *ret_before)
{
    /* SA_RESETHAND: the second signal of a kind ends the process. */
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART | SA_RESETHAND};
    int nobody = -1;

    if (!atomic_compare_exchange_strong(&signal_wake_fd, &nobody, worker->wake_fd))
        return -EBUSY;
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof(stop_signals) / sizeof(*stop_signals); i++)
        sigaction(stop_signals[i], &action, &ret_before[i]);
    return 0;
}

static void signals_give_back(const struct sigaction *before)
{
    for (size_t i = 0; i < sizeof(stop_signals) / sizeof(*stop_signals); i++)
        sigaction(stop_signals[i], &before[i], NULL);
    atomic_store(&signal_wake_fd, -1);
}

static int worker_drain(struct metropolis_worker *worker)
{
    int64_t deadline_ms = worker_now_ms() + worker->drain_timeout_ms;
    int64_t left_ms;
    int rc = 0;

    for (size_t i = 0; i < worker->handler_count; i++)
        handler_drain_begin(worker->handlers[i], worker->drain_timeout_ms);
    for (size_t i = 0; i < worker->handler_count; i++) {
        if (handler_drain_wait(worker->handlers[i], deadline_ms) != 0)
            rc = -ETIMEDOUT;
    }
    left_ms = deadline_ms - worker_now_ms();
    if (natsConnection_Status(worker->connection) == NATS_CONN_STATUS_CONNECTED)
        natsConnection_FlushTimeout(worker->connection,
                                    left_ms > FLUSH_MIN_MS ? left_ms : FLUSH_MIN_MS);
    worker_log(worker, rc == 0 ? "drained" : "handlers still run at the end of the drain timeout");
    return rc;
}

int metropolis_run(struct metropolis_worker *worker)
{
    struct sigaction before[sizeof(stop_signals) / sizeof(*stop_signals)];
    struct pollfd wait = {.events = POLLIN};
    int rc;

    assert(worker != NULL);
    if (!worker->keep_signals) {
        rc = signals_take(worker, before);
        if (rc != 0)
            return rc;
    }
    wait.fd = worker->wake_fd;
    do
        rc = poll(&wait, 1, -1);
    while (rc < 0 && errno == EINTR);
    assert(rc == 1);

    rc = atomic_load(&worker->closed);
    if (rc == 0)
        rc = worker_drain(worker);
    if (!worker->keep_signals)
        signals_give_back(before);
    return rc;
}

void metropolis_stop(struct metropolis_worker *worker)
{
    assert(worker != NULL);
    wake(worker->wake_fd);
}

void metropolis_worker_free(struct metropolis_worker *worker)
{
    if (worker == NULL)
        return;
    atomic_store(&worker->closing, true);
    for (size_t i = 0; i < worker->handler_count; i++)
        handler_free(worker->handlers[i]);
    cancels_done(&worker->cancels);
    natsConnection_Close(worker->connection);
    while (worker->connection != NULL && sem_wait(&worker->callbacks_done) != 0)
        assert(errno == EINTR);
    natsConnection_Destroy(worker->connection);
    sem_destroy(&worker->callbacks_done);
    if (worker->wake_fd >= 0)
        close(worker->wake_fd);
    free(worker);
}
