/*
 * main of metropolis-gateway: wiring only. This thread runs signals, the drain and the admin port;
 * each loop and the table's watch run on threads of their own.
 *
 * Leaving, on SIGTERM or SIGINT: not ready; loops go on accepting and close each connection with
 * its answer, for --drain-delay, in which load balancers notice; then listeners close, what is in
 * flight finishes, loops leave, the watch says goodbye. The same signal again: leave at once.
 * SIGHUP asks servers to read their configuration anew; here all that changes arrives by itself.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "dataplane/admin/admin.h"
#include "dataplane/loop/listener.h"
#include "lib/base/log.h"

struct gateway {
    struct settings settings;
    uv_loop_t uv;
    uv_signal_t term, interrupt, hangup;
    uv_timer_t drain_timer;
    uv_async_t loop_left;
    struct swap *swap;
    struct watch *watch;
    struct admin *admin;
    struct loop *loops[SWAP_LOOPS_MAX];
    size_t loop_count, loops_running;
    _Atomic unsigned loops_left;
    enum loop_stage stage;
};

static int die(const char *what, int code)
{
    log_error(what, LOG_TEXT("error", strerror(-code)));
    return 1;
}

/* ---- sockets ---- */

/* Every loop's socket for every address, before any thread starts: an address that is taken is an
 * error of the start. */
static int open_listeners(struct gateway *gateway, int (*fds)[SETTINGS_LISTEN_MAX])
{
    struct settings *settings = &gateway->settings;
    char text[64];

    for (size_t a = 0; a < settings->listen_count; a++) {
        for (size_t l = 0; l < settings->loops; l++) {
            fds[l][a] = listener_open(&settings->listen[a], true);
            if (fds[l][a] < 0) {
                listener_format(&settings->listen[a], text, sizeof(text));
                log_error("cannot listen", LOG_TEXT("address", text),
                          LOG_TEXT("error", strerror(-fds[l][a])));
                return fds[l][a];
            }
        }
        listener_format(&settings->listen[a], text, sizeof(text));
        log_info("listening", LOG_TEXT("address", text), LOG_U64("loops", settings->loops));
    }
    return 0;
}

static int open_admin(struct gateway *gateway)
{
    const struct admin_sources sources = {
        .settings = &gateway->settings,
        .loops = gateway->loops,
        .loop_count = gateway->loop_count,
        .watch = gateway->watch,
    };
    char text[64];
    int fd = listener_open(&gateway->settings.admin, false);

    listener_format(&gateway->settings.admin, text, sizeof(text));
    if (fd < 0) {
        log_error("cannot listen", LOG_TEXT("admin", text), LOG_TEXT("error", strerror(-fd)));
        return fd;
    }
    log_info("listening", LOG_TEXT("admin", text));
    return admin_new(&gateway->uv, fd, &sources, &gateway->admin);
}

/* ---- draining ---- */

static void tell(struct gateway *gateway, enum loop_stage stage)
{
    gateway->stage = stage;
    for (size_t i = 0; i < gateway->loop_count; i++)
        loop_tell(gateway->loops[i], stage);
}

static void on_drain_over(uv_timer_t *timer)
{
    struct gateway *gateway = timer->data;

    log_info("closing listeners, finishing what is in flight");
    tell(gateway, LOOP_CLOSING);
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct gateway *gateway = handle->data;

    if (gateway->stage == LOOP_SERVING) {
        log_info("draining", LOG_I64("signal", number),
                 LOG_U64("delay_ms", gateway->settings.drain_delay_ms));
        admin_set_draining(gateway->admin);
        tell(gateway, LOOP_DRAINING);
        uv_timer_start(&gateway->drain_timer, on_drain_over, gateway->settings.drain_delay_ms, 0);
    } else if (gateway->stage < LOOP_LEAVING) {
        log_warn("leaving at once", LOG_I64("signal", number));
        uv_timer_stop(&gateway->drain_timer);
        tell(gateway, LOOP_LEAVING);
    }
}

static void on_hangup(uv_signal_t *handle, int number)
{
    (void)handle;
    log_info("nothing to read anew: routes and credentials are followed, options need a restart",
             LOG_I64("signal", number));
}

/* Nothing of this thread's loop is left open: uv_run returns. */
static void close_handles(struct gateway *gateway)
{
    if (gateway->admin)
        admin_close(gateway->admin);
    uv_close((uv_handle_t *)&gateway->term, NULL);
    uv_close((uv_handle_t *)&gateway->interrupt, NULL);
    uv_close((uv_handle_t *)&gateway->hangup, NULL);
    uv_close((uv_handle_t *)&gateway->drain_timer, NULL);
    uv_close((uv_handle_t *)&gateway->loop_left, NULL);
}

static void on_loop_left(uv_async_t *async)
{
    struct gateway *gateway = async->data;

    if (gateway->loops_left == gateway->loops_running)
        close_handles(gateway);
}

/* On a loop's thread. */
static void loop_left(void *context)
{
    struct gateway *gateway = context;

    gateway->loops_left++;
    uv_async_send(&gateway->loop_left);
}

/* ---- starting ---- */

static void wake_loop(void *context, unsigned loop)
{
    struct gateway *gateway = context;

    loop_wake(gateway->loops[loop]);
}

static int start_watch(struct gateway *gateway)
{
    const struct settings *settings = &gateway->settings;
    const struct watch_options options = {
        .servers = settings->nats_table,
        .creds_file = settings->nats_table_creds,
        .ca_file = settings->nats_ca,
        .cert_file = settings->nats_cert,
        .key_file = settings->nats_key,
        .tls_first = settings->nats_tls_first,
        .js_domain = settings->nats_js_domain,
        .inbox_prefix = "_METROPOLIS_TABLE", /* so that its user needs no right to others' */
        .gateway = settings->gateway,
        .pod = settings->pod,
    };

    char error[256];
    int code = watch_start(&options, gateway->swap, &gateway->watch, error, sizeof(error));

    if (code < 0)
        log_error("cannot watch the table", LOG_TEXT("error", error));
    return code;
}

static int make_loops(struct gateway *gateway, int (*fds)[SETTINGS_LISTEN_MAX])
{
    char error[256];

    for (; gateway->loop_count < gateway->settings.loops; gateway->loop_count++) {
        int code = loop_new(&gateway->settings, gateway->swap, (unsigned)gateway->loop_count,
                            fds[gateway->loop_count], &gateway->loops[gateway->loop_count], error,
                            sizeof(error));
        if (code < 0) {
            log_error("cannot start", LOG_TEXT("error", error));
            return code == -EINVAL ? 2 : 1;
        }
    }
    return 0;
}

static void watch_signals(struct gateway *gateway)
{
    signal(SIGPIPE, SIG_IGN);
    uv_signal_init(&gateway->uv, &gateway->term);
    uv_signal_init(&gateway->uv, &gateway->interrupt);
    uv_signal_init(&gateway->uv, &gateway->hangup);
    uv_timer_init(&gateway->uv, &gateway->drain_timer);
    uv_async_init(&gateway->uv, &gateway->loop_left, on_loop_left);
    gateway->term.data = gateway->interrupt.data = gateway->drain_timer.data =
        gateway->loop_left.data = gateway;
    uv_signal_start(&gateway->term, on_signal, SIGTERM);
    uv_signal_start(&gateway->interrupt, on_signal, SIGINT);
    uv_signal_start(&gateway->hangup, on_hangup, SIGHUP);
}

/* Connections are limited by --connections-max, not by a low soft limit. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* 0 after a drain. */
static int serve(struct gateway *gateway)
{
    int code = 0;

    while (gateway->loops_running < gateway->loop_count) {
        code = loop_start(gateway->loops[gateway->loops_running], loop_left, gateway);
        if (code < 0) {
            log_error("cannot start a thread", LOG_TEXT("error", strerror(-code)));
            tell(gateway, LOOP_LEAVING);
            break;
        }
        gateway->loops_running++;
    }
    if (gateway->loops_running)
        uv_run(&gateway->uv, UV_RUN_DEFAULT);
    for (size_t i = 0; i < gateway->loops_running; i++)
        loop_join(gateway->loops[i]);
    return code < 0 ? 1 : 0;
}

/* Everything but the loops' threads. 0, or the exit code. */
static int prepare(struct gateway *gateway)
{
    int(*fds)[SETTINGS_LISTEN_MAX] = calloc(gateway->settings.loops, sizeof(*fds));
    int code = fds && open_listeners(gateway, fds) == 0 ? 0 : 1;

    if (!code)
        code = make_loops(gateway, fds);
    free(fds);
    if (code)
        return code;
    swap_on_wake(gateway->swap, wake_loop, gateway);
    code = start_watch(gateway);
    if (code < 0)
        return code == -EINVAL ? 2 : 1;
    return open_admin(gateway) < 0 ? 1 : 0;
}

static int run(struct gateway *gateway)
{
    int code;

    raise_descriptor_limit();
    gateway->swap = swap_new((unsigned)gateway->settings.loops);
    if (!gateway->swap || uv_loop_init(&gateway->uv) < 0)
        return die("cannot start", -ENOMEM);
    watch_signals(gateway);
    code = prepare(gateway);
    if (code == 0)
        code = serve(gateway);
    if (gateway->loops_running == 0) { /* it never got that far */
        close_handles(gateway);
        uv_run(&gateway->uv, UV_RUN_DEFAULT);
    }
    if (gateway->watch)
        watch_stop(gateway->watch);
    for (size_t i = 0; i < gateway->loop_count; i++)
        loop_free(gateway->loops[i]);
    admin_free(gateway->admin);
    uv_loop_close(&gateway->uv);
    return code;
}

int main(int argc, char **argv)
{
    struct gateway *gateway = calloc(1, sizeof(*gateway));
    enum options_result result;
    int code;

    if (!gateway)
        return die("cannot start", -ENOMEM);
    result = settings_read(argc, argv, &gateway->settings);
    if (result == OPTIONS_OK)
        code = run(gateway);
    else
        code = result == OPTIONS_EXIT_OK ? 0 : 2;
    swap_free(gateway->swap);
    free(gateway);
    return code;
}
