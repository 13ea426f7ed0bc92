/*
 * cluster: everything about Kubernetes that is started, in order: configuration, client, identity
 * (who owns the route tables), statuses, then the Lease, Routes and endpoints.
 *
 * The default owner is the uid of the namespace kube-system: it is there in every cluster, lives as
 * long as the cluster, and is the same for every replica. Two clusters that share a NATS account by
 * mistake therefore refuse each other's tables.
 */
#include "controller/cluster.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <yyjson.h>

#include "controller/kube/client.h"
#include "controller/kube/config.h"
#include "controller/kube/endpoints.h"
#include "controller/kube/kube_metrics.h"
#include "controller/kube/lease.h"
#include "controller/kube/routes.h"
#include "controller/kube/status.h"
#include "lib/base/digest.h"
#include "lib/base/log.h"
#include "lib/wire/table_codec.h"

enum {
    RETRY_MS = 2000,
    REQUEST_TIMEOUT_MS = 10000,
    LEASE_WAIT_MS = 500, /* for the Lease: who leads lists anew, so a list before were wasted */
};

struct gateway_watch {
    struct cluster *cluster;
    unsigned gateway;
    struct kube_endpoints *endpoints;
};

struct cluster {
    const struct settings *settings;
    struct cluster_handler handler;
    uv_loop_t *loop;
    uv_timer_t timer; /* until the owner is known */
    struct kube_config *config;
    struct kube_client *client;
    struct kube_request *request; /* for the owner */
    struct kube_notices *notices;
    struct kube_status *status;
    struct kube_lease *lease; /* NULL: none */
    struct kube_routes *routes;
    struct gateway_watch gateways[COMPILE_GATEWAYS_MAX];
    bool identified;
    char trouble[CLUSTER_REASON_MAX]; /* in finding out the owner */
};

/* ---- identity ---- */

static void on_retry(uv_timer_t *timer);

static void identify_later(struct cluster *cluster, const char *trouble)
{
    if (strcmp(cluster->trouble, trouble) != 0)
        log_error("cannot find out the owner of the route tables", LOG_TEXT("reason", trouble));
    snprintf(cluster->trouble, sizeof(cluster->trouble), "%s", trouble);
    uv_timer_start(&cluster->timer, on_retry, RETRY_MS, 0);
}

static void on_namespace(void *context, const struct kube_response *response)
{
    struct cluster *cluster = context;
    yyjson_doc *doc = NULL;
    const char *uid = NULL;
    char owner[TABLE_ID_MAX + 1];

    cluster->request = NULL;
    if (!response->error && response->status == 200) {
        doc = yyjson_read(response->body.ptr, response->body.len, YYJSON_READ_NOFLAG);
        uid = yyjson_get_str(yyjson_ptr_get(yyjson_doc_get_root(doc), "/metadata/uid"));
    }
    if (uid && *uid && strlen(uid) < sizeof(owner)) {
        snprintf(owner, sizeof(owner), "%s", uid);
        cluster->trouble[0] = '\0';
        cluster->identified = true;
        cluster->handler.identified(cluster->handler.context, owner);
    } else if (response->status == 403) {
        identify_later(cluster, "the namespace kube-system must not be read (403): allow "
                                "\"get\" on it, or set --owner");
    } else {
        char trouble[CLUSTER_REASON_MAX];

        snprintf(trouble, sizeof(trouble), "reading the namespace kube-system: %.400s",
                 response->message[0] ? response->message : "no uid in the answer");
        identify_later(cluster, trouble);
    }
    yyjson_doc_free(doc);
}

static void on_retry(uv_timer_t *timer)
{
    struct cluster *cluster = timer->data;
    const struct kube_request_options options = {
        .method = "GET",
        .path = "/api/v1/namespaces/kube-system",
        .timeout_ms = REQUEST_TIMEOUT_MS,
        .done = on_namespace,
        .context = cluster,
    };

    if (cluster->settings->owner) {
        cluster->identified = true;
        cluster->handler.identified(cluster->handler.context, cluster->settings->owner);
    } else if (kube_request_start(cluster->client, &options, &cluster->request) < 0) {
        identify_later(cluster, "out of memory");
    }
}

/* ---- life ---- */

static void on_timer_closed(uv_handle_t *handle)
{
    struct cluster *cluster = handle->data;

    kube_config_free(cluster->config);
    free(cluster);
}

void cluster_free(struct cluster *cluster)
{
    if (!cluster)
        return;
    for (unsigned i = 0; i < COMPILE_GATEWAYS_MAX; i++)
        kube_endpoints_free(cluster->gateways[i].endpoints);
    kube_routes_free(cluster->routes);
    kube_lease_free(cluster->lease);
    kube_status_free(cluster->status);
    kube_notices_free(cluster->notices);
    kube_request_cancel(cluster->request);
    kube_client_free(cluster->client);
    uv_close((uv_handle_t *)&cluster->timer, on_timer_closed);
}

int cluster_new(uv_loop_t *loop, const struct settings *settings,
                const struct cluster_handler *handler, struct cluster **ret_cluster,
                char reason[CLUSTER_REASON_MAX])
{
    const struct kube_config_options options = {.kubeconfig = settings->kubeconfig,
                                                .context = settings->context};
    struct kube_config_error config_error = {"out of memory"};
    struct cluster *cluster = calloc(1, sizeof(*cluster));
    int error;

    snprintf(reason, CLUSTER_REASON_MAX, "out of memory");
    if (!cluster)
        return -ENOMEM;
    cluster->loop = loop;
    cluster->settings = settings;
    cluster->handler = *handler;
    uv_timer_init(loop, &cluster->timer);
    cluster->timer.data = cluster;
    error = kube_config_load(&options, &cluster->config, &config_error);
    if (error)
        snprintf(reason, CLUSTER_REASON_MAX, "%s", config_error.text);
    if (!error)
        error = kube_client_new(loop, cluster->config, &cluster->client);
    if (error == -EINVAL && cluster->config)
        snprintf(reason, CLUSTER_REASON_MAX,
                 "%s: server: \"%s\" is no URL: write https://HOST:PORT", cluster->config->origin,
                 cluster->config->server);
    if (!error)
        error = kube_notices_new(loop, cluster->client, &cluster->notices);
    if (!error)
        error = kube_status_new(loop, cluster->client, cluster->notices, &cluster->status);
    if (error) {
        cluster_free(cluster);
        return error;
    }
    log_info("Kubernetes", LOG_TEXT("server", cluster->config->server),
             LOG_TEXT("credentials", cluster->config->origin));
    uv_timer_start(&cluster->timer, on_retry, 0, 0);
    *ret_cluster = cluster;
    return 0;
}

struct status_sink cluster_sink(struct cluster *cluster)
{
    return kube_status_sink(cluster->status);
}

/* ---- who leads ---- */

static void on_lease(void *context, bool leads)
{
    struct cluster *cluster = context;

    if (!leads)
        kube_status_drop(cluster->status);
    cluster->handler.leads(cluster->handler.context, leads);
}

static bool may_write(void *context)
{
    return kube_lease_held(context);
}

/* Controllers of different owners do not compete. */
static void name_lease(const struct settings *settings, char name[DNS_NAME_MAX + 1])
{
    if (settings->lease)
        snprintf(name, DNS_NAME_MAX + 1, "%s", settings->lease);
    else if (settings->owner)
        snprintf(name, DNS_NAME_MAX + 1, "metropolis-controller-%016llx",
                 (unsigned long long)digest_bytes(digest_empty, settings->owner,
                                                  strlen(settings->owner)));
    else
        snprintf(name, DNS_NAME_MAX + 1, "metropolis-controller");
}

static int start_lease(struct cluster *cluster)
{
    char name[DNS_NAME_MAX + 1];
    const struct kube_lease_options options = {
        .namespace_name = cluster->config->namespace_name,
        .name = name,
        .changed = on_lease,
        .context = cluster,
        .duration_s = KUBE_LEASE_DURATION_S,
        .deadline_ms = KUBE_LEASE_DEADLINE_MS,
        .retry_ms = KUBE_LEASE_RETRY_MS,
    };
    int error;

    if (cluster->settings->lease && strcmp(cluster->settings->lease, "none") == 0) {
        cluster->handler.leads(cluster->handler.context, true);
        return 0;
    }
    name_lease(cluster->settings, name);
    error = kube_lease_new(cluster->loop, cluster->client, &options, &cluster->lease);
    if (!error)
        kube_status_guard(cluster->status, may_write, cluster->lease);
    return error;
}

void cluster_relist(struct cluster *cluster)
{
    if (cluster->routes)
        kube_routes_relist(cluster->routes);
}

bool cluster_resign(struct cluster *cluster)
{
    if (cluster->lease)
        kube_lease_resign(cluster->lease);
    else
        kube_status_drop(cluster->status);
    return cluster->lease != NULL;
}

void cluster_leave(struct cluster *cluster, void (*done)(void *context), void *context)
{
    if (cluster->lease)
        kube_lease_release(cluster->lease, done, context);
    else
        done(context);
}

/* ---- Routes and endpoints ---- */

static void on_endpoints(void *context, const struct str *pods, size_t count)
{
    struct gateway_watch *watch = context;
    const struct cluster_handler *handler = &watch->cluster->handler;

    handler->endpoints(handler->context, watch->gateway, pods, count);
}

int cluster_watch(struct cluster *cluster, const struct source_handler *handler)
{
    const struct settings *settings = cluster->settings;
    int error = start_lease(cluster);

    if (!error)
        error = kube_routes_new(cluster->loop, cluster->client, settings->namespaces,
                                cluster->lease ? LEASE_WAIT_MS : 0, cluster->status, handler,
                                &cluster->routes);
    for (unsigned i = 0; i < settings->gateway_count && !error; i++) {
        const struct settings_gateway *gateway = &settings->gateways[i];
        const struct kube_endpoints_handler endpoints = {.changed = on_endpoints,
                                                         .context = &cluster->gateways[i]};

        cluster->gateways[i] = (struct gateway_watch){.cluster = cluster, .gateway = i};
        if (gateway->service[0])
            error = kube_endpoints_new(
                cluster->loop, cluster->client, str_from(gateway->namespace_name),
                str_from(gateway->service), &endpoints, &cluster->gateways[i].endpoints);
    }
    return error;
}

/* ---- pages ---- */

static int write_lease(const struct kube_lease *lease, struct buffer *page, bool *ready)
{
    const char *trouble = kube_lease_trouble(lease), *holder = kube_lease_holder(lease);

    *ready = *ready && !trouble;
    if (trouble)
        return buffer_printf(page, "lease: %s\n", trouble);
    if (kube_lease_held(lease))
        return buffer_printf(page, "leader: this one, %s\n", kube_lease_identity(lease));
    return buffer_printf(page, "standby: the leader is %s\n", *holder ? holder : "not known yet");
}

int cluster_ready(const struct cluster *cluster, struct buffer *page)
{
    const char *trouble = cluster->routes ? kube_routes_trouble(cluster->routes) : NULL;
    int error = 0;
    bool ready = cluster->identified && !trouble;

    if (!cluster->identified)
        error = buffer_printf(page, "owner: %s\n",
                              cluster->trouble[0] ? cluster->trouble : "not known yet");
    if (cluster->lease && !error)
        error = write_lease(cluster->lease, page, &ready);
    if (trouble && !error)
        error = buffer_printf(page, "routes: %s\n", trouble);
    for (unsigned i = 0; i < cluster->settings->gateway_count && !error; i++) {
        const struct kube_endpoints *endpoints = cluster->gateways[i].endpoints;

        trouble = endpoints ? kube_endpoints_trouble(endpoints) : NULL;
        if (!trouble)
            continue;
        ready = false;
        error = buffer_printf(page, "endpoints of gateway %s: %s\n",
                              cluster->settings->gateways[i].name, trouble);
    }
    return error ? error : ready ? 0 : -EAGAIN;
}

int cluster_metrics(const struct cluster *cluster, struct buffer *page)
{
    return kube_metrics_write(&(struct kube_metrics_sources){.config = cluster->config,
                                                             .client = cluster->client,
                                                             .status = cluster->status,
                                                             .notices = cluster->notices,
                                                             .lease = cluster->lease,
                                                             .routes = cluster->routes},
                              page);
}
