/*
 * programmed_status: the words and figures for what programmed.c knows: a Route's status, the page
 * of the fleet, metrics. Reads only.
 */
#include <errno.h>
#include <stdlib.h>

#include "controller/compile/verdict.h"
#include "controller/publish/programmed_state.h"
#include "lib/base/digest.h"

static const char *const phase_names[PHASE_COUNT] = {
    [PHASE_WITHDRAWN] = "withdrawn",   [PHASE_UNWRITTEN] = "unwritten", [PHASE_WAITING] = "waiting",
    [PHASE_PROGRAMMED] = "programmed", [PHASE_REJECTED] = "rejected",
};

static const char *const state_names[] = {
    [KV_PUBLISH_STANDBY] = "standby", [KV_PUBLISH_OPENING] = "opening",
    [KV_PUBLISH_LOADED] = "loaded",   [KV_PUBLISH_IN_CHARGE] = "in charge",
    [KV_PUBLISH_DEPOSED] = "deposed", [KV_PUBLISH_FOREIGN] = "foreign bucket",
};

/* ---- a Route's status ---- */

void programmed_describe(const struct programmed *programmed, const struct item *item,
                         uint64_t now_ns, struct route_status *status)
{
    const struct gateway *gateway =
        item->gateway >= 0 ? &programmed->gateways[item->gateway] : NULL;
    struct condition *condition = &status->programmed;

    *status = (struct route_status){.generation = item->generation,
                                    .accepted = {.status = item->accepted}};
    memcpy(status->accepted.reason, item->accepted_reason, strlen(item->accepted_reason) + 1);
    memcpy(status->accepted.message, item->accepted_message, strlen(item->accepted_message) + 1);
    *condition = (struct condition){.status = CONDITION_FALSE};
    status->has_gateways = gateway != NULL;
    status->ready = item->ready;
    status->total = item->total;
    status->revision = item->revision;
    switch (item->phase) {
    case PHASE_WITHDRAWN:
        memcpy(condition->reason, "NotAccepted", sizeof("NotAccepted"));
        if (item->gateway >= 0)
            verdict_append(condition, "generation %lld is still in the table",
                           (long long)item->serving);
        else
            verdict_append(condition, "in no gateway's table");
        break;
    case PHASE_UNWRITTEN:
        memcpy(condition->reason, "Unpublished", sizeof("Unpublished"));
        verdict_append(condition, "not in the gateway's table yet%s%s",
                       gateway->reason[0] ? ": " : "", gateway->reason);
        status->ready = 0;
        status->total = gateway->fleet.live;
        break;
    case PHASE_WAITING:
        if (programmed->acks_synced)
            fleet_describe_lag(&gateway->fleet, item->sequence, now_ns, condition);
        else
            *condition = (struct condition){CONDITION_FALSE, "Pending", "no acks were read yet"};
        break;
    case PHASE_PROGRAMMED:
        condition->status = CONDITION_TRUE;
        memcpy(condition->reason, "Programmed", sizeof("Programmed"));
        verdict_append(condition, "%u/%u pods, revision %llu", item->ready, item->total,
                       (unsigned long long)item->revision);
        break;
    case PHASE_REJECTED:
        fleet_rejects(&gateway->fleet, str_from(item->key), item->sequence, condition);
        break;
    case PHASE_COUNT:
        break;
    }
    if (item->phase == PHASE_WAITING || item->phase == PHASE_REJECTED) {
        status->ready = fleet_ready(&gateway->fleet, item->sequence);
        status->total = gateway->fleet.live;
        status->revision = item->sequence;
    }
}

static uint64_t hash_condition(uint64_t hash, const struct condition *condition)
{
    hash = digest_bytes(hash, &condition->status, sizeof(condition->status));
    hash = digest_bytes(hash, condition->reason, strlen(condition->reason) + 1);
    return digest_bytes(hash, condition->message, strlen(condition->message) + 1);
}

uint64_t programmed_hash(const struct route_status *status)
{
    uint64_t hash = digest_empty;

    hash = digest_bytes(hash, &status->generation, sizeof(status->generation));
    hash = hash_condition(hash_condition(hash, &status->accepted), &status->programmed);
    hash = digest_bytes(hash, &status->ready, sizeof(status->ready));
    hash = digest_bytes(hash, &status->total, sizeof(status->total));
    hash = digest_bytes(hash, &status->revision, sizeof(status->revision));
    return hash ? hash : 1;
}

/* ---- the fleet ---- */

static yyjson_mut_val *dump_gateway(const struct gateway *gateway, uint64_t now_ns,
                                    yyjson_mut_doc *doc)
{
    yyjson_mut_val *value = yyjson_mut_obj(doc);
    yyjson_mut_val *routes = yyjson_mut_obj(doc);
    yyjson_mut_val *pods = fleet_dump(&gateway->fleet, now_ns, doc);
    bool ok = value && routes && pods;

    for (int phase = 0; ok && phase < PHASE_COUNT; phase++)
        ok = yyjson_mut_obj_add_uint(doc, routes, phase_names[phase], gateway->counts[phase]);
    ok = ok && yyjson_mut_obj_add_str(doc, value, "name", gateway->name) &&
         yyjson_mut_obj_add_str(doc, value, "state", state_names[gateway->state]) &&
         yyjson_mut_obj_add_str(doc, value, "reason", gateway->reason) &&
         yyjson_mut_obj_add_str(doc, value, "lineage", gateway->fleet.lineage) &&
         yyjson_mut_obj_add_uint(doc, value, "live", gateway->fleet.live) &&
         yyjson_mut_obj_add_uint(doc, value, "applied", gateway->fleet.floor) &&
         yyjson_mut_obj_add_val(doc, value, "routes", routes) &&
         yyjson_mut_obj_add_val(doc, value, "pods", pods);
    return ok ? value : NULL;
}

int programmed_fleet(const struct programmed *programmed, uint64_t now_ns, struct buffer *out)
{
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *root = yyjson_mut_obj(doc);
    yyjson_mut_val *list = yyjson_mut_arr(doc);
    char *text = NULL;
    size_t length;
    int error = -ENOMEM;

    if (!root || !list || !yyjson_mut_obj_add_val(doc, root, "gateways", list))
        goto out;
    for (unsigned i = 0; i < programmed->gateway_count; i++)
        if (!yyjson_mut_arr_append(list, dump_gateway(&programmed->gateways[i], now_ns, doc)))
            goto out;
    text = yyjson_mut_val_write(root, YYJSON_WRITE_PRETTY, &length);
    if (text)
        error = buffer_append(out, text, length);
out:
    free(text);
    yyjson_mut_doc_free(doc);
    return error;
}

/* ---- metrics ---- */

static int label_gateway(struct buffer *labels, const struct gateway *gateway)
{
    buffer_clear(labels, 256);
    return metrics_label(labels, "gateway", str_from(gateway->name)) ||
                   buffer_append_byte(labels, '\0')
               ? -ENOMEM
               : 0;
}

static int count_routes(const struct programmed *programmed, struct buffer *labels,
                        struct buffer *page)
{
    int error = metrics_family(page, "metropolis_controller_table_routes", METRICS_GAUGE,
                               "Routes of a gateway, by how far their newest generation is.");

    for (unsigned i = 0; i < programmed->gateway_count && !error; i++)
        for (int phase = 0; phase < PHASE_COUNT && !error; phase++) {
            const struct gateway *gateway = &programmed->gateways[i];

            buffer_clear(labels, 256);
            error = metrics_label(labels, "gateway", str_from(gateway->name));
            if (!error)
                error = metrics_label(labels, "phase", str_from(phase_names[phase]));
            if (!error)
                error = buffer_append_byte(labels, '\0');
            if (!error)
                error = metrics_sample(page, "metropolis_controller_table_routes",
                                       buffer_view(labels).ptr, (double)gateway->counts[phase]);
        }
    return error;
}

enum figure { FIGURE_LIVE, FIGURE_APPLIED, FIGURE_ACKS, FIGURE_PROPAGATION, FIGURE_COUNT };

static const struct {
    const char *name;
    enum metrics_type type;
    const char *help;
} figures[FIGURE_COUNT] = {
    [FIGURE_LIVE] = {"metropolis_controller_pods_live", METRICS_GAUGE, "Live pods of a gateway."},
    [FIGURE_APPLIED] = {"metropolis_controller_applied_revision", METRICS_GAUGE,
                        "The revision that every live pod of a gateway has applied."},
    [FIGURE_ACKS] = {"metropolis_controller_acks_total", METRICS_COUNTER,
                     "Acks received from the pods of a gateway."},
    [FIGURE_PROPAGATION] = {"metropolis_route_propagation_seconds", METRICS_HISTOGRAM,
                            "From seeing a Route's generation to its being applied by every pod."},
};

static int write_figure(const struct gateway *gateway, enum figure figure, const char *labels,
                        struct buffer *page)
{
    const char *name = figures[figure].name;

    switch (figure) {
    case FIGURE_LIVE:
        return metrics_sample(page, name, labels, gateway->fleet.live);
    case FIGURE_APPLIED:
        return metrics_sample(page, name, labels, (double)gateway->fleet.floor);
    case FIGURE_ACKS:
        return metrics_sample(page, name, labels, (double)gateway->acks);
    default:
        return metrics_histogram_write(page, name, labels, &gateway->propagation);
    }
}

int programmed_metrics(const struct programmed *programmed, struct buffer *page)
{
    struct buffer labels;
    int error;

    buffer_init(&labels, 1024);
    error = count_routes(programmed, &labels, page);
    for (int figure = 0; figure < FIGURE_COUNT && !error; figure++) {
        error =
            metrics_family(page, figures[figure].name, figures[figure].type, figures[figure].help);
        for (unsigned i = 0; i < programmed->gateway_count && !error; i++) {
            error = label_gateway(&labels, &programmed->gateways[i]);
            if (!error)
                error =
                    write_figure(&programmed->gateways[i], figure, buffer_view(&labels).ptr, page);
        }
    }
    buffer_done(&labels);
    return error;
}
