/*
 * fleet: one watermark per pod instead of one per Route and pod, so an ack costs its own pod. The
 * lowest watermark of all live pods, the floor, is computed anew when the pod that held it moves or
 * when the set of live pods changes; all else leaves it alone.
 *
 * A pod of another lineage counts as having applied nothing. A listed pod that never acked does,
 * too: it is live and behind until it speaks.
 */
#include "controller/publish/fleet.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "controller/compile/verdict.h"

#define SECOND_NS 1000000000ull

enum {
    SILENT_S = 15,    /* a pod acks every 5 s */
    GONE_S = 60,      /* without a Service, silence for so long means that it is gone */
    LAGGARDS_MAX = 8, /* named in one message */
    PODS_MAX = 4096,  /* whoever may write acks could invent any number */
};

struct pod {
    struct map_node node; /* key: name */
    char *name;
    bool listed, goodbye, acked;
    bool live; /* as last counted */
    uint64_t heard_ns;
    char boot[TABLE_ID_MAX + 1], lineage[TABLE_ID_MAX + 1], version[TABLE_ID_MAX + 1];
    uint64_t applied;
    struct table_rejection *rejected;
    size_t rejected_count;
    uint64_t rejected_total;
};

static struct pod *pod_after(const struct fleet *fleet, const struct pod *pod)
{
    struct map_node *node = map_next(&fleet->pods, pod ? &pod->node : NULL);

    return node ? MAP_ELEMENT(node, struct pod, node) : NULL;
}

static struct pod *find_pod(const struct fleet *fleet, struct str name)
{
    struct map_node *node = map_find(&fleet->pods, name);

    return node ? MAP_ELEMENT(node, struct pod, node) : NULL;
}

static struct pod *add_pod(struct fleet *fleet, struct str name)
{
    struct pod *pod = fleet->pods.count < PODS_MAX ? calloc(1, sizeof(*pod)) : NULL;

    if (pod && (pod->name = strndup(name.ptr, name.len)) &&
        map_insert(&fleet->pods, &pod->node, str_from(pod->name)) == 0)
        return pod;
    if (pod)
        free(pod->name);
    free(pod);
    return NULL;
}

static void free_pod(struct fleet *fleet, struct pod *pod)
{
    map_remove(&fleet->pods, &pod->node);
    free(pod->rejected);
    free(pod->name);
    free(pod);
}

void fleet_init(struct fleet *fleet, bool has_service)
{
    *fleet = (struct fleet){.has_service = has_service, .expiry_ns = UINT64_MAX};
    map_init(&fleet->pods);
}

void fleet_done(struct fleet *fleet)
{
    struct pod *pod;

    while ((pod = pod_after(fleet, NULL)))
        free_pod(fleet, pod);
    map_done(&fleet->pods);
}

/* ---- counting ---- */

/* Until when the pod counts as live if it stays silent; 0: it does not; UINT64_MAX: whatever it
 * does. */
static uint64_t live_until(const struct fleet *fleet, const struct pod *pod)
{
    if (pod->goodbye)
        return 0;
    if (fleet->has_service && pod->listed)
        return UINT64_MAX;
    if (!pod->acked)
        return 0;
    return pod->heard_ns + (fleet->has_service ? SILENT_S : GONE_S) * SECOND_NS;
}

static uint64_t watermark(const struct fleet *fleet, const struct pod *pod)
{
    return pod->acked && strcmp(pod->lineage, fleet->lineage) == 0 ? pod->applied : 0;
}

static int recount(struct fleet *fleet, uint64_t now_ns)
{
    unsigned live = 0, rejecting = 0;
    uint64_t floor = UINT64_MAX, expiry_ns = UINT64_MAX;
    int change = FLEET_SAME;

    for (struct pod *pod = pod_after(fleet, NULL); pod; pod = pod_after(fleet, pod)) {
        uint64_t until_ns = live_until(fleet, pod);
        bool was_live = pod->live;

        pod->live = until_ns > now_ns;
        if (pod->live != was_live)
            change |= pod->rejected_total ? FLEET_MOVED | FLEET_REJECTED : FLEET_MOVED;
        if (!pod->live)
            continue;
        live++;
        rejecting += pod->rejected_total > 0;
        floor = watermark(fleet, pod) < floor ? watermark(fleet, pod) : floor;
        expiry_ns = until_ns < expiry_ns ? until_ns : expiry_ns;
    }
    floor = live ? floor : 0;
    if (floor != fleet->floor)
        change |= FLEET_MOVED;
    fleet->live = live;
    fleet->floor = floor;
    fleet->rejecting = rejecting;
    fleet->expiry_ns = expiry_ns;
    return change;
}

void fleet_set_lineage(struct fleet *fleet, struct str lineage, uint64_t now_ns)
{
    assert(lineage.len <= TABLE_ID_MAX);
    memcpy(fleet->lineage, lineage.ptr, lineage.len);
    fleet->lineage[lineage.len] = '\0';
    recount(fleet, now_ns);
}

/* ---- what pods say ---- */

static bool same_rejections(const struct pod *pod, const struct table_ack *ack)
{
    if (pod->rejected_count != ack->rejected_count || pod->rejected_total != ack->rejected_total)
        return false;
    for (size_t i = 0; i < ack->rejected_count; i++)
        if (pod->rejected[i].sequence != ack->rejected[i].sequence ||
            strcmp(pod->rejected[i].key, ack->rejected[i].key) != 0 ||
            strcmp(pod->rejected[i].reason, ack->rejected[i].reason) != 0)
            return false;
    return true;
}

static int copy_rejections(struct pod *pod, const struct table_ack *ack)
{
    struct table_rejection *copy = NULL;

    assert(ack->rejected_count <= TABLE_ACK_REJECTED_MAX);
    if (ack->rejected_count) {
        copy = malloc(ack->rejected_count * sizeof(*copy));
        if (!copy)
            return -ENOMEM;
        memcpy(copy, ack->rejected, ack->rejected_count * sizeof(*copy));
    }
    free(pod->rejected);
    pod->rejected = copy;
    pod->rejected_count = ack->rejected_count;
    pod->rejected_total = ack->rejected_total;
    return 0;
}

int fleet_ack(struct fleet *fleet, struct str name, const struct table_ack *ack, uint64_t now_ns)
{
    struct pod *pod = find_pod(fleet, name);
    int change = FLEET_SAME;
    uint64_t before;
    bool was_live;

    if (!pod && ack->goodbye)
        return FLEET_SAME;
    if (!pod && !(pod = add_pod(fleet, name)))
        return -ENOMEM;
    if (!same_rejections(pod, ack)) {
        if (copy_rejections(pod, ack) < 0)
            return -ENOMEM;
        change |= FLEET_REJECTED;
    }
    was_live = pod->live;
    before = watermark(fleet, pod);
    pod->acked = true;
    pod->goodbye = ack->goodbye;
    pod->heard_ns = now_ns;
    pod->applied = ack->applied;
    memcpy(pod->boot, ack->boot, sizeof(pod->boot));
    memcpy(pod->lineage, ack->lineage, sizeof(pod->lineage));
    memcpy(pod->version, ack->version, sizeof(pod->version));
    if (change || !was_live || pod->goodbye || before == fleet->floor ||
        watermark(fleet, pod) < before)
        change |= recount(fleet, now_ns);
    return watermark(fleet, pod) != before ? change | FLEET_MOVED : change;
}

/* Forgets pods that are neither live nor heard of any more. */
static void drop_gone(struct fleet *fleet, uint64_t now_ns)
{
    struct pod *next;

    for (struct pod *pod = pod_after(fleet, NULL); pod; pod = next) {
        next = pod_after(fleet, pod);
        if (!pod->live && !pod->listed && pod->heard_ns + GONE_S * SECOND_NS <= now_ns)
            free_pod(fleet, pod);
    }
}

int fleet_endpoints(struct fleet *fleet, const struct str *names, size_t count, uint64_t now_ns)
{
    int change = fleet->listed_known ? FLEET_SAME : FLEET_MOVED;

    for (struct pod *pod = pod_after(fleet, NULL); pod; pod = pod_after(fleet, pod))
        pod->listed = false;
    for (size_t i = 0; i < count; i++) {
        struct pod *pod = find_pod(fleet, names[i]);

        if (!pod && !(pod = add_pod(fleet, names[i])))
            return -ENOMEM;
        pod->listed = true;
    }
    fleet->listed_known = true;
    change |= recount(fleet, now_ns);
    drop_gone(fleet, now_ns);
    return change;
}

int fleet_expire(struct fleet *fleet, uint64_t now_ns)
{
    int change = recount(fleet, now_ns);

    drop_gone(fleet, now_ns);
    return change;
}

/* ---- what follows ---- */

bool fleet_applied(const struct fleet *fleet, uint64_t sequence)
{
    return fleet->live > 0 && fleet->floor >= sequence &&
           (!fleet->has_service || fleet->listed_known);
}

unsigned fleet_ready(const struct fleet *fleet, uint64_t sequence)
{
    unsigned ready = 0;

    for (const struct pod *pod = pod_after(fleet, NULL); pod; pod = pod_after(fleet, pod))
        ready += pod->live && watermark(fleet, pod) >= sequence;
    return ready;
}

/* The pod's rejection of this entry; NULL: none is listed. *ret_unlisted: it may reject the entry
 * all the same, because it lists its newest rejections only. */
static const struct table_rejection *find_rejection(const struct pod *pod, struct str key,
                                                    uint64_t sequence, bool *ret_unlisted)
{
    uint64_t oldest = UINT64_MAX;

    for (size_t i = 0; i < pod->rejected_count; i++) {
        const struct table_rejection *rejection = &pod->rejected[i];

        if (rejection->sequence == sequence && str_equal(str_from(rejection->key), key))
            return rejection;
        oldest = rejection->sequence < oldest ? rejection->sequence : oldest;
    }
    *ret_unlisted = pod->rejected_total > pod->rejected_count && sequence < oldest;
    return NULL;
}

bool fleet_rejects(const struct fleet *fleet, struct str key, uint64_t sequence,
                   struct condition *ret_programmed)
{
    if (!fleet->rejecting)
        return false;
    for (const struct pod *pod = pod_after(fleet, NULL); pod; pod = pod_after(fleet, pod)) {
        const struct table_rejection *rejection;
        bool unlisted;

        if (!pod->live || !pod->rejected_total || strcmp(pod->lineage, fleet->lineage) != 0)
            continue;
        rejection = find_rejection(pod, key, sequence, &unlisted);
        if (!rejection && !unlisted)
            continue;
        *ret_programmed =
            (struct condition){.status = rejection ? CONDITION_FALSE : CONDITION_UNKNOWN,
                               .reason = "RejectedByGateway"};
        if (rejection)
            verdict_append(ret_programmed, "rejected by %s: %s", pod->name, rejection->reason);
        else
            verdict_append(ret_programmed, "%s rejects %llu Routes, more than it can name",
                           pod->name, (unsigned long long)pod->rejected_total);
        return true;
    }
    return false;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp((*(const struct pod *const *)a)->name, (*(const struct pod *const *)b)->name);
}

static void describe_laggard(const struct fleet *fleet, const struct pod *pod, uint64_t sequence,
                             uint64_t now_ns, struct condition *programmed)
{
    bool silent = pod->heard_ns + SILENT_S * SECOND_NS <= now_ns;

    if (!pod->acked)
        verdict_append(programmed, "%s (no ack yet)", pod->name);
    else if (strcmp(pod->lineage, fleet->lineage) != 0)
        verdict_append(programmed, "%s (%shas not read the new table)", pod->name,
                       silent ? "silent, " : "");
    else
        verdict_append(programmed, "%s (%sat %llu, needs %llu)", pod->name,
                       silent ? "silent, " : "", (unsigned long long)pod->applied,
                       (unsigned long long)sequence);
}

void fleet_describe_lag(const struct fleet *fleet, uint64_t sequence, uint64_t now_ns,
                        struct condition *ret_programmed)
{
    const struct pod *laggards[LAGGARDS_MAX];
    size_t named = 0, count = 0;

    *ret_programmed = (struct condition){.status = CONDITION_FALSE, .reason = "Pending"};
    if (fleet->has_service && !fleet->listed_known) {
        verdict_append(ret_programmed, "the endpoints of the gateway's Service are not known yet");
        return;
    }
    if (!fleet->live) {
        memcpy(ret_programmed->reason, "NoGatewayPods", sizeof("NoGatewayPods"));
        verdict_append(ret_programmed, "the gateway has no live pod");
        return;
    }
    for (const struct pod *pod = pod_after(fleet, NULL); pod; pod = pod_after(fleet, pod)) {
        if (!pod->live || watermark(fleet, pod) >= sequence)
            continue;
        if (named < LAGGARDS_MAX)
            laggards[named++] = pod;
        count++;
    }
    qsort(laggards, named, sizeof(laggards[0]), compare_names);
    verdict_append(ret_programmed, "waiting for %zu of %u pods: ", count, fleet->live);
    for (size_t i = 0; i < named; i++) {
        verdict_append(ret_programmed, "%s", i ? ", " : "");
        describe_laggard(fleet, laggards[i], sequence, now_ns, ret_programmed);
    }
    if (count > named)
        verdict_append(ret_programmed, " and %zu more", count - named);
}

yyjson_mut_val *fleet_dump(const struct fleet *fleet, uint64_t now_ns, yyjson_mut_doc *doc)
{
    yyjson_mut_val *pods = yyjson_mut_arr(doc);
    bool ok = pods != NULL;

    for (const struct pod *pod = pod_after(fleet, NULL); pod && ok; pod = pod_after(fleet, pod)) {
        yyjson_mut_val *item = yyjson_mut_arr_add_obj(doc, pods);

        ok = item && yyjson_mut_obj_add_strcpy(doc, item, "name", pod->name) &&
             yyjson_mut_obj_add_bool(doc, item, "live", pod->live) &&
             yyjson_mut_obj_add_bool(doc, item, "listed", pod->listed) &&
             yyjson_mut_obj_add_bool(doc, item, "goodbye", pod->goodbye) &&
             yyjson_mut_obj_add_strcpy(doc, item, "boot", pod->boot) &&
             yyjson_mut_obj_add_strcpy(doc, item, "lineage", pod->lineage) &&
             yyjson_mut_obj_add_uint(doc, item, "applied", pod->applied) &&
             yyjson_mut_obj_add_uint(doc, item, "rejected", pod->rejected_total) &&
             yyjson_mut_obj_add_strcpy(doc, item, "version", pod->version);
        if (ok && pod->acked)
            ok = yyjson_mut_obj_add_uint(doc, item, "silentMs", (now_ns - pod->heard_ns) / 1000000);
    }
    return ok ? pods : NULL;
}
