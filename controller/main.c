/*
 * metropolis-controller: watches Routes and publishes the route tables of gateways. Wiring only:
 *
 *      cluster (Kubernetes) or files ──▶ pipeline ──▶ cluster's statuses or the log
 *
 * One loop, and the threads that pipeline has for NATS. Of several controllers the one that holds
 * the Lease leads (lead); without a Lease this one does, and gives way for a while to another that
 * writes its tables. SIGTERM and SIGINT end it; nothing needs to be tidied up but the Lease, which
 * a second signal does not wait for: all state is in Kubernetes and NATS.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <uv.h>

#include "controller/admin/admin.h"
#include "controller/cluster.h"
#include "controller/dry_run.h"
#include "controller/files/files.h"
#include "controller/pipeline.h"
#include "controller/policy_file.h"
#include "controller/settings.h"
#include "lib/base/log.h"
#include "lib/base/process.h"
#include "lib/wire/table_codec.h"

struct controller {
    struct settings settings;
    uv_loop_t loop;
    uv_signal_t term, interrupt;
    uv_timer_t again; /* when to lead again, without a Lease */
    struct admin *admin;
    struct cluster *cluster; /* one of the two is NULL */
    struct files *files;
    struct policy_file *policy; /* NULL: there is none */
    struct pipeline *pipeline;  /* NULL until the owner is known */
    bool leaving;
    int exit_code;
};

enum { AGAIN_MS = 20 * 1000 };

/* ---- the end ---- */

static void stop(struct controller *controller, int exit_code)
{
    if (uv_is_closing((uv_handle_t *)&controller->term))
        return;
    controller->exit_code = exit_code;
    admin_free(controller->admin);
    files_free(controller->files);
    policy_file_free(controller->policy);
    /* Before the cluster, which its statuses go to. */
    pipeline_free(controller->pipeline);
    cluster_free(controller->cluster);
    uv_close((uv_handle_t *)&controller->term, NULL);
    uv_close((uv_handle_t *)&controller->interrupt, NULL);
    uv_close((uv_handle_t *)&controller->again, NULL);
}

static void on_left(void *context)
{
    stop(context, 0);
}

static void on_signal(uv_signal_t *signal, int number)
{
    struct controller *controller = signal->data;

    log_info("stopping", LOG_I64("signal", number));
    if (controller->cluster && !controller->leaving) {
        controller->leaving = true;
        cluster_leave(controller->cluster, on_left, controller);
    } else {
        stop(controller, 0);
    }
}

static void fail(struct controller *controller, const char *reason, int exit_code)
{
    log_error("cannot start", LOG_TEXT("reason", reason));
    stop(controller, exit_code);
}

/* ---- admin pages ---- */

static int write_ready(void *context, struct buffer *page)
{
    const struct controller *controller = context;
    const char *trouble = controller->files ? files_trouble(controller->files) : NULL;
    int first = 0, second = -EAGAIN;

    if (controller->cluster)
        first = cluster_ready(controller->cluster, page);
    else if (trouble)
        first = buffer_printf(page, "routes: %s\n", trouble) < 0 ? -ENOBUFS : -EAGAIN;
    if (controller->pipeline)
        second = pipeline_ready(controller->pipeline, page);
    if (first || second)
        return first ? first : second;
    if (buffer_printf(page, "ready\n") < 0)
        return -ENOBUFS;
    trouble = controller->files ? files_warning(controller->files) : NULL;
    if (trouble &&
        buffer_printf(page, "but a file cannot be read, and its last good Routes stay: %s\n",
                      trouble) < 0)
        return -ENOBUFS;
    trouble = controller->policy ? policy_file_trouble(controller->policy) : NULL;
    return trouble ? buffer_printf(page, "but the last good policy is in force: %s\n", trouble) : 0;
}

static int write_metrics(void *context, struct buffer *page)
{
    const struct controller *controller = context;
    int error = controller->pipeline ? pipeline_metrics(controller->pipeline, page) : 0;

    if (!error && controller->cluster)
        error = cluster_metrics(controller->cluster, page);
    if (!error)
        error = policy_file_metrics(controller->policy, page);
    if (!error)
        error = files_metrics(controller->files, page);
    return error ? error : process_metrics(page);
}

static int write_fleet(void *context, struct buffer *page)
{
    const struct controller *controller = context;

    return controller->pipeline ? pipeline_fleet(controller->pipeline, page)
                                : buffer_printf(page, "{\"gateways\":[]}\n");
}

/* ---- who leads ---- */

/* A new leader first hears of all Routes anew: what a standby knows may be old. */
static void lead(void *context, bool leads)
{
    struct controller *controller = context;

    if (leads && controller->cluster)
        cluster_relist(controller->cluster);
    pipeline_lead(controller->pipeline, leads);
}

static void on_again(uv_timer_t *timer)
{
    lead(timer->data, true);
}

static void on_deposed(void *context)
{
    struct controller *controller = context;

    if (controller->cluster && cluster_resign(controller->cluster))
        return;
    lead(controller, false);
    uv_timer_start(&controller->again, on_again, AGAIN_MS, 0);
}

/* ---- sources ---- */

static void on_policy(void *context, struct policy *policy)
{
    struct controller *controller = context;

    pipeline_set_policy(controller->pipeline, policy);
}

static int start_pipeline(struct controller *controller, const char *owner,
                          const struct status_sink *sink)
{
    const struct pipeline_handler handler = {
        .sink = *sink, .deposed = on_deposed, .context = controller};
    char reason[KV_PUBLISH_REASON_MAX];
    int error = pipeline_new(&controller->loop, &controller->settings, owner, &handler,
                             &controller->pipeline, reason);

    if (error)
        fail(controller, reason, error == -EINVAL ? 2 : 1);
    else
        log_info("publishing", LOG_TEXT("owner", owner)); /* the URL may hold a password */
    if (!error && controller->policy)
        policy_file_watch(controller->policy, on_policy, controller);
    return error;
}

static void on_identified(void *context, const char *owner)
{
    struct controller *controller = context;
    const struct status_sink sink = cluster_sink(controller->cluster);
    struct source_handler source;
    int error = start_pipeline(controller, owner, &sink);

    if (error)
        return;
    source = pipeline_source(controller->pipeline);
    error = cluster_watch(controller->cluster, &source);
    if (error)
        fail(controller, error == -EINVAL ? "--namespace: write names of namespaces" : "memory",
             error == -EINVAL ? 2 : 1);
}

static void on_endpoints(void *context, unsigned gateway, const struct str *pods, size_t count)
{
    struct controller *controller = context;

    pipeline_endpoints(controller->pipeline, gateway, pods, count);
}

static void start_cluster(struct controller *controller)
{
    const struct cluster_handler handler = {.identified = on_identified,
                                            .endpoints = on_endpoints,
                                            .leads = lead,
                                            .context = controller};
    char reason[CLUSTER_REASON_MAX];

    if (cluster_new(&controller->loop, &controller->settings, &handler, &controller->cluster,
                    reason) < 0)
        fail(controller, reason, 1);
}

/* "files-<host name>": two laptops on one NATS server do not delete each other's Routes. */
static void name_owner(char owner[TABLE_ID_MAX + 1])
{
    char host[TABLE_ID_MAX - sizeof("files-") + 1] = "";

    gethostname(host, sizeof(host) - 1);
    snprintf(owner, TABLE_ID_MAX + 1, "files-%s", *host ? host : "unknown");
}

static void start_files(struct controller *controller)
{
    const struct status_sink sink = files_sink();
    const char *owner = controller->settings.owner;
    char own_name[TABLE_ID_MAX + 1], reason[FILES_REASON_MAX];
    struct source_handler source;

    name_owner(own_name);
    if (start_pipeline(controller, owner ? owner : own_name, &sink) < 0)
        return;
    lead(controller, true);
    source = pipeline_source(controller->pipeline);
    if (files_new(&controller->loop, controller->settings.routes, &source, &controller->files,
                  reason) < 0)
        fail(controller, reason, 1);
}

/* ---- the beginning ---- */

static int start_policy(struct controller *controller)
{
    char reason[POLICY_FILE_REASON_MAX];
    int error = policy_file_new(&controller->loop, controller->settings.policy, &controller->policy,
                                reason);

    if (error)
        fail(controller, reason, 2);
    return error;
}

static void start(struct controller *controller)
{
    const struct admin_handler handler = {.ready = write_ready,
                                          .metrics = write_metrics,
                                          .fleet = write_fleet,
                                          .context = controller};
    char reason[ADMIN_REASON_MAX] = "out of memory";
    int error;

    signal(SIGPIPE, SIG_IGN);
    uv_signal_init(&controller->loop, &controller->term);
    uv_signal_init(&controller->loop, &controller->interrupt);
    uv_timer_init(&controller->loop, &controller->again);
    controller->term.data = controller->interrupt.data = controller->again.data = controller;
    uv_signal_start(&controller->term, on_signal, SIGTERM);
    uv_signal_start(&controller->interrupt, on_signal, SIGINT);
    error = admin_new(&controller->loop, controller->settings.admin, &handler, &controller->admin,
                      reason);
    if (error) {
        fail(controller, reason, error == -EINVAL ? 2 : 1);
        return;
    }
    log_info("listening", LOG_TEXT("admin", admin_address(controller->admin)));
    if (controller->settings.policy && start_policy(controller) < 0)
        return;
    if (controller->settings.routes)
        start_files(controller);
    else
        start_cluster(controller);
}

int main(int argc, char **argv)
{
    struct controller controller = {0};

    if (argc > 1 && strcmp(argv[1], "compile") == 0)
        return dry_run(argc - 1, argv + 1);
    switch (settings_read(argc, argv, &controller.settings)) {
    case OPTIONS_EXIT_OK:
        return 0;
    case OPTIONS_EXIT_USAGE:
        return 2;
    case OPTIONS_OK:
        break;
    }
    if (uv_loop_init(&controller.loop) < 0)
        return 1;
    start(&controller);
    uv_run(&controller.loop, UV_RUN_DEFAULT);
    uv_loop_close(&controller.loop);
    return controller.exit_code;
}
