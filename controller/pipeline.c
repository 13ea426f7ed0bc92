/*
 * pipeline: the order in which the stages learn things is what makes it safe.
 *
 *   - A bucket is only taken charge of (kv_publish_begin) when the source's list is complete and
 *     the bucket was read to its end, and after compile has asked it for the last good generations
 *     of Routes that are invalid now. So nothing is ever deleted for not being known yet. A source
 *     that hears of a new leadership lists anew first (stale): what a standby knows may be old.
 *   - A verdict reaches programmed before its entry can come back as written, because both happen
 *     on this loop and what is written comes back through the loop's queue.
 *
 * Out of memory ends the program: a controller that has forgotten something must not go on, and the
 * next one starts from what Kubernetes and NATS hold.
 */
#include "controller/pipeline.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "controller/compile/compile.h"
#include "controller/publish/acks.h"
#include "controller/publish/programmed.h"
#include "lib/base/log.h"
#include "lib/base/metrics.h"

struct pipeline {
    const struct settings *settings;
    struct pipeline_handler handler;
    struct compile *compile;
    struct kv_publish *publish;
    struct acks *acks;
    struct programmed *programmed;
    uv_timer_t timer; /* for programmed_tick */
    bool leads;
    bool synced; /* the list of Routes is complete, and not stale */
    bool known;  /* it has been complete once */
    enum kv_publish_state states[COMPILE_GATEWAYS_MAX];
    char reasons[COMPILE_GATEWAYS_MAX][KV_PUBLISH_REASON_MAX];
};

static void must(int error)
{
    if (error >= 0)
        return;
    log_error("out of memory");
    abort();
}

/* ---- time ---- */

static void arm(struct pipeline *pipeline);

static void on_timer(uv_timer_t *timer)
{
    struct pipeline *pipeline = timer->data;

    programmed_tick(pipeline->programmed, uv_hrtime());
    arm(pipeline);
}

/* After anything that may have changed what programmed waits for. */
static void arm(struct pipeline *pipeline)
{
    uint64_t next_ns = programmed_next_ns(pipeline->programmed);
    uint64_t now = uv_hrtime();

    if (next_ns == UINT64_MAX) {
        uv_timer_stop(&pipeline->timer);
        return;
    }
    uv_update_time(pipeline->timer.loop);
    uv_timer_start(&pipeline->timer, on_timer, next_ns > now ? (next_ns - now) / 1000000 + 1 : 1,
                   0);
}

/* ---- compile -> publish, programmed ---- */

static void on_entry(void *context, unsigned gateway, struct str key, int64_t generation,
                     struct str value)
{
    struct pipeline *pipeline = context;

    must(kv_publish_set(pipeline->publish, gateway, key, generation, value));
}

static void on_verdict(void *context, const struct compile_verdict *verdict)
{
    struct pipeline *pipeline = context;

    must(programmed_verdict(pipeline->programmed, verdict, uv_hrtime()));
}

static void on_forgotten(void *context, struct str namespace_name, struct str name)
{
    struct pipeline *pipeline = context;

    programmed_forget(pipeline->programmed, namespace_name, name);
}

static int on_stored(void *context, unsigned gateway, struct str key, struct buffer *value)
{
    struct pipeline *pipeline = context;

    return kv_publish_stored(pipeline->publish, gateway, key, value);
}

/* ---- source -> compile ---- */

static void on_upsert(void *context, const struct source_route *route)
{
    struct pipeline *pipeline = context;

    must(compile_upsert(pipeline->compile, route));
    if (route->status && pipeline->known) { /* before, there is nothing to compare it with */
        struct compile_memory memory = compile_memory_read(route->status);

        programmed_stored(pipeline->programmed, route->namespace_name, route->name, &memory,
                          uv_hrtime());
    }
    if (pipeline->known)
        arm(pipeline);
}

static void on_removed(void *context, struct str namespace_name, struct str name)
{
    struct pipeline *pipeline = context;

    must(compile_remove(pipeline->compile, namespace_name, name));
    if (pipeline->known)
        arm(pipeline);
}

/* Takes charge of what it may. */
static void begin_loaded(struct pipeline *pipeline)
{
    if (!pipeline->leads || !pipeline->synced)
        return;
    programmed_lead(pipeline->programmed, true, uv_hrtime());
    for (unsigned i = 0; i < pipeline->settings->gateway_count; i++)
        if (pipeline->states[i] == KV_PUBLISH_LOADED)
            kv_publish_begin(pipeline->publish, i);
}

static void on_synced(void *context)
{
    struct pipeline *pipeline = context;

    must(compile_synced(pipeline->compile));
    if (!pipeline->known)
        log_info("all Routes are known",
                 LOG_U64("routes", compile_count(pipeline->compile).routes));
    pipeline->synced = pipeline->known = true;
    begin_loaded(pipeline);
    arm(pipeline);
}

void pipeline_set_policy(struct pipeline *pipeline, struct policy *policy)
{
    must(compile_set_policy(pipeline->compile, policy));
    if (pipeline->known)
        arm(pipeline);
}

static void on_stale(void *context)
{
    ((struct pipeline *)context)->synced = false;
}

void pipeline_lead(struct pipeline *pipeline, bool leads)
{
    pipeline->leads = leads;
    kv_publish_lead(pipeline->publish, leads);
    if (leads)
        begin_loaded(pipeline);
    else
        programmed_lead(pipeline->programmed, false, uv_hrtime());
    arm(pipeline);
}

struct source_handler pipeline_source(struct pipeline *pipeline)
{
    return (struct source_handler){.upsert = on_upsert,
                                   .removed = on_removed,
                                   .synced = on_synced,
                                   .stale = on_stale,
                                   .context = pipeline};
}

/* ---- publish, acks, endpoints -> programmed ---- */

static void on_state(void *context, unsigned gateway, enum kv_publish_state state,
                     const char *reason)
{
    struct pipeline *pipeline = context;

    pipeline->states[gateway] = state;
    snprintf(pipeline->reasons[gateway], sizeof(pipeline->reasons[gateway]), "%s", reason);
    programmed_state(pipeline->programmed, gateway, state, reason);
    if (state == KV_PUBLISH_LOADED) {
        must(compile_recover(pipeline->compile));
        begin_loaded(pipeline);
    }
    arm(pipeline);
    if (state == KV_PUBLISH_DEPOSED)
        pipeline->handler.deposed(pipeline->handler.context);
}

static void on_lineage(void *context, unsigned gateway, struct str lineage)
{
    struct pipeline *pipeline = context;

    programmed_lineage(pipeline->programmed, gateway, lineage, uv_hrtime());
    arm(pipeline);
}

static void on_written(void *context, unsigned gateway, struct str key, int64_t generation,
                       uint64_t sequence)
{
    struct pipeline *pipeline = context;

    programmed_written(pipeline->programmed, gateway, key, generation, sequence, uv_hrtime());
    arm(pipeline);
}

static void on_ack(void *context, struct str gateway, struct str pod, const struct table_ack *ack)
{
    struct pipeline *pipeline = context;
    const struct settings *settings = pipeline->settings;

    for (unsigned i = 0; i < settings->gateway_count; i++)
        if (str_equal(str_from(settings->gateways[i].name), gateway) && !ack->goodbye)
            kv_publish_seen(pipeline->publish, i, str_from(ack->lineage), ack->applied);
    if (programmed_ack(pipeline->programmed, gateway, pod, ack, uv_hrtime()) == -ENOMEM)
        log_warn("a pod's ack was dropped: too many pods, or no memory", LOG_STR("pod", pod));
    arm(pipeline);
}

static void on_acks_synced(void *context)
{
    struct pipeline *pipeline = context;

    programmed_acks_synced(pipeline->programmed, uv_hrtime());
    arm(pipeline);
}

void pipeline_endpoints(struct pipeline *pipeline, unsigned gateway, const struct str *pods,
                        size_t count)
{
    if (programmed_endpoints(pipeline->programmed, gateway, pods, count, uv_hrtime()) < 0)
        log_warn("endpoints were dropped: too many pods, or no memory");
    arm(pipeline);
}

/* ---- life ---- */

static int start_pure(struct pipeline *pipeline)
{
    const struct compile_handler handler = {.entry = on_entry,
                                            .verdict = on_verdict,
                                            .forgotten = on_forgotten,
                                            .stored = on_stored,
                                            .context = pipeline};
    const struct settings *settings = pipeline->settings;
    struct programmed_gateway gateways[COMPILE_GATEWAYS_MAX];
    const char *names[COMPILE_GATEWAYS_MAX];

    for (unsigned i = 0; i < settings->gateway_count; i++) {
        names[i] = settings->gateways[i].name;
        gateways[i] = (struct programmed_gateway){
            .name = names[i], .has_service = settings->gateways[i].service[0] != '\0'};
    }
    pipeline->programmed =
        programmed_new(gateways, settings->gateway_count, &pipeline->handler.sink);
    pipeline->compile = compile_new(names, settings->gateway_count, &handler);
    return pipeline->programmed && pipeline->compile ? 0 : -ENOMEM;
}

static int start_nats(struct pipeline *pipeline, uv_loop_t *loop, const char *owner,
                      char reason[KV_PUBLISH_REASON_MAX])
{
    const struct kv_publish_handler publish_handler = {
        .state = on_state, .lineage = on_lineage, .written = on_written, .context = pipeline};
    const struct acks_handler acks_handler = {
        .ack = on_ack, .synced = on_acks_synced, .context = pipeline};
    const struct settings *settings = pipeline->settings;
    const char *names[COMPILE_GATEWAYS_MAX];
    struct kv_publish_options options = {
        .servers = settings->nats,
        .creds_file = settings->nats_creds,
        .ca_file = settings->nats_ca,
        .js_domain = settings->nats_js_domain,
        .inbox_prefix = settings->nats_inbox_prefix,
        .owner = owner,
        .replicas = (unsigned)settings->nats_replicas,
        .gateways = names,
        .gateway_count = settings->gateway_count,
    };
    int error;

    for (unsigned i = 0; i < settings->gateway_count; i++)
        names[i] = settings->gateways[i].name;
    error = kv_publish_new(loop, &options, &publish_handler, &pipeline->publish, reason);
    if (!error)
        error = acks_new(loop, &options, &acks_handler, &pipeline->acks, reason);
    return error;
}

int pipeline_new(uv_loop_t *loop, const struct settings *settings, const char *owner,
                 const struct pipeline_handler *handler, struct pipeline **ret_pipeline,
                 char reason[KV_PUBLISH_REASON_MAX])
{
    struct pipeline *pipeline = calloc(1, sizeof(*pipeline));
    int error;

    snprintf(reason, KV_PUBLISH_REASON_MAX, "out of memory");
    if (!pipeline)
        return -ENOMEM;
    pipeline->settings = settings;
    pipeline->handler = *handler;
    uv_timer_init(loop, &pipeline->timer);
    pipeline->timer.data = pipeline;
    error = start_pure(pipeline);
    if (!error)
        error = start_nats(pipeline, loop, owner, reason);
    if (error)
        pipeline_free(pipeline);
    else
        *ret_pipeline = pipeline;
    return error;
}

static void on_timer_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void pipeline_free(struct pipeline *pipeline)
{
    if (!pipeline)
        return;
    acks_free(pipeline->acks);
    kv_publish_free(pipeline->publish);
    compile_free(pipeline->compile);
    programmed_free(pipeline->programmed);
    uv_close((uv_handle_t *)&pipeline->timer, on_timer_closed);
}

/* ---- pages ---- */

int pipeline_ready(const struct pipeline *pipeline, struct buffer *page)
{
    static const char *const texts[] = {
        [KV_PUBLISH_STANDBY] = "takes its bucket over",
        [KV_PUBLISH_OPENING] = "its bucket is not open yet",
        [KV_PUBLISH_LOADED] = "waits for a complete list of Routes",
        [KV_PUBLISH_IN_CHARGE] = "",
        [KV_PUBLISH_DEPOSED] = "",
        [KV_PUBLISH_FOREIGN] = "",
    };
    int error = 0;
    bool ready = pipeline->leads ? pipeline->synced : pipeline->known;

    if (!ready)
        error = buffer_printf(page, "routes: the list is not complete yet\n");
    if (!pipeline->leads)
        return error ? error : ready ? 0 : -EAGAIN;
    for (unsigned i = 0; i < pipeline->settings->gateway_count && !error; i++) {
        const char *reason = pipeline->reasons[i];

        if (pipeline->states[i] == KV_PUBLISH_IN_CHARGE && !*reason)
            continue;
        ready = false;
        error = buffer_printf(page, "gateway %s: %s\n", pipeline->settings->gateways[i].name,
                              *reason ? reason : texts[pipeline->states[i]]);
    }
    return error ? error : ready ? 0 : -EAGAIN;
}

int pipeline_fleet(const struct pipeline *pipeline, struct buffer *page)
{
    return programmed_fleet(pipeline->programmed, uv_hrtime(), page);
}

static int write_verdicts(const struct pipeline *pipeline, struct buffer *page)
{
    static const char name[] = "metropolis_controller_routes";
    struct compile_counts counts = compile_count(pipeline->compile);
    int error = metrics_family(page, name, METRICS_GAUGE, "Routes, by verdict.");

    if (!error)
        error = metrics_sample(page, name, "verdict=\"Accepted\"", (double)counts.accepted);
    if (!error)
        error = metrics_sample(page, name, "verdict=\"Invalid\"", (double)counts.invalid);
    if (!error)
        error =
            metrics_sample(page, name, "verdict=\"NoSuchGateway\"", (double)counts.no_such_gateway);
    if (!error)
        error = metrics_sample(page, name, "verdict=\"PolicyDenied\"", (double)counts.denied);
    if (!error)
        error = metrics_sample(page, name, "verdict=\"Shadowed\"", (double)counts.shadowed);
    return error;
}

struct publish_figure {
    const char *name, *labels; /* labels: more, after the gateway's */
    enum metrics_type type;
    const char *help; /* NULL: another sample of the family before */
    size_t offset;    /* in struct kv_publish_counts */
};

#define COUNT(field) offsetof(struct kv_publish_counts, field)

static const struct publish_figure publish_figures[] = {
    {"metropolis_controller_writes_total", "", METRICS_COUNTER,
     "Messages and batches that a gateway's bucket took.", COUNT(writes)},
    {"metropolis_controller_entries_written_total", "", METRICS_COUNTER, "Entries in those writes.",
     COUNT(entries)},
    {"metropolis_controller_batches_total", ",entries=\"1\"", METRICS_COUNTER,
     "Those writes by how many entries they had, at most.", COUNT(batches[0])},
    {"metropolis_controller_batches_total", ",entries=\"10\"", METRICS_COUNTER, NULL,
     COUNT(batches[1])},
    {"metropolis_controller_batches_total", ",entries=\"100\"", METRICS_COUNTER, NULL,
     COUNT(batches[2])},
    {"metropolis_controller_batches_total", ",entries=\"1000\"", METRICS_COUNTER, NULL,
     COUNT(batches[3])},
    {"metropolis_controller_writes_refused_total", "", METRICS_COUNTER,
     "Writes that the server refused.", COUNT(refused)},
    {"metropolis_controller_writes_unanswered_total", "", METRICS_COUNTER,
     "Writes that got no answer.", COUNT(unanswered)},
    {"metropolis_controller_terms_total", "", METRICS_COUNTER,
     "How often this process took charge of a bucket.", COUNT(takeovers)},
    {"metropolis_controller_lineages_total", "", METRICS_COUNTER,
     "Lineages that this process began.", COUNT(lineages)},
    {"metropolis_controller_tombstones_purged_total", "", METRICS_COUNTER,
     "Traces of deleted Routes removed from a bucket.", COUNT(purged)},
    {"metropolis_controller_entries_waiting", "", METRICS_GAUGE, "Entries still to be written.",
     COUNT(waiting)},
};

static int write_publish_figure(struct pipeline *pipeline, const struct publish_figure *figure,
                                struct buffer *page)
{
    int error = figure->help ? metrics_family(page, figure->name, figure->type, figure->help) : 0;

    for (unsigned i = 0; i < pipeline->settings->gateway_count && !error; i++) {
        struct kv_publish_counts counts;
        char labels[128];
        uint64_t value;

        kv_publish_count(pipeline->publish, i, &counts);
        memcpy(&value, (const char *)&counts + figure->offset, sizeof(value));
        snprintf(labels, sizeof(labels), "gateway=\"%s\"%s", pipeline->settings->gateways[i].name,
                 figure->labels);
        error = metrics_sample(page, figure->name, labels, (double)value);
    }
    return error;
}

static int write_ack_figures(struct pipeline *pipeline, struct buffer *page)
{
    static const char name[] = "metropolis_controller_acks_bad_total";
    struct acks_counts counts;
    int error = metrics_family(page, name, METRICS_COUNTER, "Acks that were of no use.");

    acks_count(pipeline->acks, &counts);
    if (!error)
        error = metrics_sample(page, name, "why=\"malformed\"", (double)counts.malformed);
    if (!error)
        error = metrics_sample(page, name, "why=\"dropped\"", (double)counts.dropped);
    return error;
}

int pipeline_metrics(struct pipeline *pipeline, struct buffer *page)
{
    int error = write_verdicts(pipeline, page);

    for (size_t i = 0; i < sizeof(publish_figures) / sizeof(*publish_figures) && !error; i++)
        error = write_publish_figure(pipeline, &publish_figures[i], page);
    if (!error)
        error = programmed_metrics(pipeline->programmed, page);
    return error ? error : write_ack_figures(pipeline, page);
}
