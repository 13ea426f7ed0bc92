/*
 * plugin: one process at a time.
 *
 *      IDLE ── run ─▶ ASKED ── a second after the last ─▶ RUNNING ── ended, or too late ─▶ IDLE
 *
 * A run owns its process, two pipes and a timer. It is over when the process has ended and both
 * pipes are at their end, or when its time is up or it says too much: then its whole process group
 * is killed. Its memory goes when the loop has let go of its handles, so a late run never meets the
 * next one.
 */
#include "controller/kube/plugin.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/base/buffer.h"

enum {
    RUN_GAP_MS = 1000,
    RUN_TIMEOUT_MS = 60 * 1000,
    OUTPUT_MAX = 1024 * 1024,
    COMPLAINT_MAX = 512, /* bytes of standard error that are read; the rest is dropped */
    TROUBLE_MAX = 512,
    EXPIRES_SOON_S = 5, /* by then a request could be under way */
};

enum plugin_state { PLUGIN_IDLE, PLUGIN_ASKED, PLUGIN_RUNNING };

struct run;

struct kube_plugin {
    const struct kube_config_exec *exec;
    struct kube_plugin_handler handler;
    uv_timer_t timer; /* of ASKED */
    enum plugin_state state;
    struct run *run;     /* RUNNING */
    uint64_t started_ms; /* the last run; 0: none yet */
    struct kube_credential credential;
    bool known, refused;
};

struct run {
    struct kube_plugin *plugin; /* NULL once it is over */
    uv_process_t process;
    uv_pipe_t output, complaint;
    uv_timer_t timer;
    unsigned open;  /* handles */
    unsigned parts; /* that are still to come: the end of the process and of each pipe */
    int64_t exit_code;
    int exit_signal;
    struct buffer said, complained;
    char piece[4096];
};

/* ---- the end of a run ---- */

static void on_run_closed(uv_handle_t *handle)
{
    struct run *run = handle->data;

    if (--run->open)
        return;
    explicit_bzero(run->piece, sizeof(run->piece));
    if (run->said.data)
        explicit_bzero(run->said.data, run->said.capacity);
    buffer_done(&run->said);
    buffer_done(&run->complained);
    free(run);
}

static void run_close(struct run *run)
{
    run->plugin->run = NULL;
    run->plugin->state = PLUGIN_IDLE;
    run->plugin = NULL;
    if (!uv_is_active((uv_handle_t *)&run->process)) /* else when it has ended: it must be reaped */
        uv_close((uv_handle_t *)&run->process, on_run_closed);
    uv_close((uv_handle_t *)&run->output, on_run_closed);
    uv_close((uv_handle_t *)&run->complaint, on_run_closed);
    uv_close((uv_handle_t *)&run->timer, on_run_closed);
}

/* It leads a process group of its own, so what it has started ends, too. */
static void run_kill(struct run *run)
{
    if (run->process.pid > 0)
        kill(-run->process.pid, SIGKILL);
}

static void fail(struct run *run, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The run is over without a credential. The plugin may be gone after it. */
static void fail(struct run *run, const char *format, ...)
{
    struct kube_plugin *plugin = run->plugin;
    char trouble[TROUBLE_MAX];
    int used = snprintf(trouble, sizeof(trouble), "exec plugin %.200s: ", plugin->exec->argv[0]);
    va_list args;

    va_start(args, format);
    vsnprintf(trouble + used, sizeof(trouble) - (size_t)used, format, args);
    va_end(args);
    for (char *at = trouble; *at; at++) /* a program wrote it: one line, for logs and pages */
        if ((unsigned char)*at < 0x20)
            *at = ' ';
    run_kill(run);
    run_close(run);
    plugin->handler.done(plugin->handler.context, trouble);
}

static void fail_exit(struct run *run)
{
    struct str complaint = buffer_view(&run->complained);

    while (complaint.len && complaint.ptr[complaint.len - 1] == '\n')
        complaint.len--;
    if (run->exit_signal)
        fail(run, "ended by signal %d%s" STR_FMT, run->exit_signal, complaint.len ? ": " : "",
             STR_ARG(complaint));
    else
        fail(run, "exit code %lld%s" STR_FMT, (long long)run->exit_code, complaint.len ? ": " : "",
             STR_ARG(complaint));
}

static void succeed(struct run *run, struct kube_credential credential)
{
    struct kube_plugin *plugin = run->plugin;

    run_close(run);
    /* Whoever uses the old one copied it: requests are built in one go. */
    kube_credential_done(&plugin->credential);
    plugin->credential = credential;
    plugin->known = true;
    plugin->refused = false;
    plugin->handler.done(plugin->handler.context, NULL);
}

static void part_done(struct run *run)
{
    struct kube_credential credential;
    char why[KUBE_CREDENTIAL_ERROR_MAX] = "out of memory";

    assert(run->parts);
    if (--run->parts)
        return;
    if (run->exit_code || run->exit_signal)
        fail_exit(run);
    else if (kube_credential_read(buffer_view(&run->said), run->plugin->exec->api_version,
                                  &credential, why))
        fail(run, "its answer cannot be used: %s", why);
    else
        succeed(run, credential);
}

/* ---- what happens during a run ---- */

static void on_exit_of(uv_process_t *process, int64_t code, int number)
{
    struct run *run = process->data;

    run->exit_code = code;
    run->exit_signal = number;
    if (run->plugin)
        part_done(run);
    else
        uv_close((uv_handle_t *)process, on_run_closed);
}

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *bytes)
{
    struct run *run = handle->data;

    (void)size;
    *bytes = uv_buf_init(run->piece, sizeof(run->piece));
}

static void on_read(uv_stream_t *stream, ssize_t size, const uv_buf_t *bytes)
{
    struct run *run = stream->data;

    if (size < 0) {
        uv_read_stop(stream);
        part_done(run);
        return;
    }
    if (stream == (uv_stream_t *)&run->output) {
        if (buffer_append(&run->said, bytes->base, (size_t)size))
            fail(run, "it wrote more than %d bytes", OUTPUT_MAX);
    } else {
        size_t room = COMPLAINT_MAX - buffer_length(&run->complained);

        (void)buffer_append(&run->complained, bytes->base,
                            (size_t)size < room ? (size_t)size : room);
    }
}

static void on_timeout(uv_timer_t *timer)
{
    fail(timer->data, "it did not end within %d s", RUN_TIMEOUT_MS / 1000);
}

/* ---- the beginning ---- */

static struct run *run_new(struct kube_plugin *plugin)
{
    uv_loop_t *loop = plugin->timer.loop;
    struct run *run = calloc(1, sizeof(*run));

    if (!run)
        return NULL;
    run->plugin = plugin;
    run->open = 4;
    run->parts = 3;
    buffer_init(&run->said, OUTPUT_MAX);
    buffer_init(&run->complained, COMPLAINT_MAX);
    uv_pipe_init(loop, &run->output, 0);
    uv_pipe_init(loop, &run->complaint, 0);
    uv_timer_init(loop, &run->timer);
    run->process.data = run->output.data = run->complaint.data = run->timer.data = run;
    return run;
}

static int spawn(struct run *run)
{
    const struct kube_config_exec *exec = run->plugin->exec;
    uv_stdio_container_t stdio[] = {
        {.flags = UV_IGNORE},
        {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)&run->output},
        {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)&run->complaint},
    };
    const uv_process_options_t options = {
        .file = exec->argv[0],
        .args = exec->argv,
        .env = exec->environment,
        .flags = UV_PROCESS_DETACHED, /* a group of its own */
        .stdio = stdio,
        .stdio_count = 3,
        .exit_cb = on_exit_of,
    };
    int error = uv_spawn(run->plugin->timer.loop, &run->process, &options);

    if (error) {
        run->process.pid = 0;
        return error;
    }
    uv_read_start((uv_stream_t *)&run->output, on_alloc, on_read);
    uv_read_start((uv_stream_t *)&run->complaint, on_alloc, on_read);
    uv_timer_start(&run->timer, on_timeout, RUN_TIMEOUT_MS, 0);
    return 0;
}

static void on_turn(uv_timer_t *timer)
{
    struct kube_plugin *plugin = timer->data;
    const char *hint = plugin->exec->install_hint;
    int error;

    plugin->started_ms = uv_now(timer->loop);
    plugin->run = run_new(plugin);
    if (!plugin->run) {
        plugin->state = PLUGIN_IDLE;
        plugin->handler.done(plugin->handler.context, "exec plugin: out of memory");
        return;
    }
    plugin->state = PLUGIN_RUNNING;
    error = spawn(plugin->run);
    if (error)
        fail(plugin->run, "cannot be started: %s%s%s", uv_strerror(error), hint ? "; " : "",
             hint ? hint : "");
}

void kube_plugin_run(struct kube_plugin *plugin)
{
    uint64_t now_ms = uv_now(plugin->timer.loop), due_ms = plugin->started_ms + RUN_GAP_MS;

    if (plugin->state != PLUGIN_IDLE)
        return;
    plugin->state = PLUGIN_ASKED;
    uv_timer_start(&plugin->timer, on_turn,
                   plugin->started_ms && due_ms > now_ms ? due_ms - now_ms : 0, 0);
}

void kube_plugin_refused(struct kube_plugin *plugin)
{
    plugin->refused = true;
}

bool kube_plugin_fresh(const struct kube_plugin *plugin)
{
    int64_t expires_s = plugin->credential.expires_s;

    return plugin->known && !plugin->refused &&
           (!expires_s || expires_s > (int64_t)time(NULL) + EXPIRES_SOON_S);
}

const struct kube_credential *kube_plugin_credential(const struct kube_plugin *plugin)
{
    return &plugin->credential;
}

/* ---- the whole ---- */

int kube_plugin_new(uv_loop_t *loop, const struct kube_config_exec *exec,
                    const struct kube_plugin_handler *handler, struct kube_plugin **ret_plugin)
{
    struct kube_plugin *plugin = calloc(1, sizeof(*plugin));
    int error;

    if (!plugin)
        return -ENOMEM;
    error = uv_timer_init(loop, &plugin->timer);
    if (error) {
        free(plugin);
        return error;
    }
    plugin->timer.data = plugin;
    plugin->exec = exec;
    plugin->handler = *handler;
    *ret_plugin = plugin;
    return 0;
}

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void kube_plugin_free(struct kube_plugin *plugin)
{
    if (!plugin)
        return;
    if (plugin->run) {
        run_kill(plugin->run);
        run_close(plugin->run);
    }
    kube_credential_done(&plugin->credential);
    uv_close((uv_handle_t *)&plugin->timer, on_closed);
}
