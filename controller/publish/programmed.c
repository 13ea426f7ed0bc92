/*
 * programmed: one item per Route. Which phase it is in is computed anew (judge) whenever something
 * that it depends on may have changed; only set_phase changes it.
 *
 * An ack moves a floor, and the floor takes items from the front of the waiting list: no pass over
 * Routes. A pass over one gateway's Routes happens only with a new lineage or a new writer.
 *
 * A new generation says nothing for a second (the fresh list): nearly always it is programmed by
 * then, and one status write tells all. What still waits then is written as it is, and written
 * again when its laggards change, a few Routes at a time.
 */
#include "controller/publish/programmed.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "controller/publish/programmed_state.h"

#define SECOND_NS 1000000000ull
#define LAG_SHOWN_NS (1 * SECOND_NS)
#define REFRESH_NS (5 * SECOND_NS)
#define RETELL_NS (30 * SECOND_NS)

enum {
    REFRESH_ITEMS_MAX = 64,
    RETELL_DOUBLINGS =
        7, /* to an hour: two who write the same statuses shall not chase each other */
};

/* ---- lists ---- */

static void link_init(struct link *link)
{
    link->previous = link->next = link;
}

static bool link_alone(const struct link *link)
{
    return link->next == link;
}

static void link_remove(struct link *link)
{
    link->previous->next = link->next;
    link->next->previous = link->previous;
    link_init(link);
}

static void link_add_after(struct link *place, struct link *link)
{
    link->previous = place;
    link->next = place->next;
    place->next->previous = link;
    place->next = link;
}

static struct item *of_turn(struct link *link)
{
    return (struct item *)((char *)link - offsetof(struct item, turn));
}

static struct item *of_fresh(struct link *link)
{
    return (struct item *)((char *)link - offsetof(struct item, fresh));
}

static struct item *of_again(struct link *link)
{
    return (struct item *)((char *)link - offsetof(struct item, again));
}

/* ---- life ---- */

struct programmed *programmed_new(const struct programmed_gateway *gateways, unsigned count,
                                  const struct status_sink *sink)
{
    struct programmed *programmed = calloc(1, sizeof(*programmed));

    if (!programmed)
        return NULL;
    programmed->sink = *sink;
    link_init(&programmed->fresh);
    link_init(&programmed->again);
    map_init(&programmed->items);
    programmed->gateways = calloc(count, sizeof(struct gateway));
    for (unsigned i = 0; programmed->gateways && i < count; i++) {
        struct gateway *gateway = &programmed->gateways[i];

        fleet_init(&gateway->fleet, gateways[i].has_service);
        link_init(&gateway->waiting);
        link_init(&gateway->rejected);
        programmed->gateway_count++;
        gateway->name = strdup(gateways[i].name);
        if (!gateway->name)
            break;
    }
    if (programmed->gateway_count == count && programmed->gateways[count - 1].name)
        return programmed;
    programmed_free(programmed);
    return NULL;
}

static void free_item(struct item *item)
{
    free(item->key);
    free(item->uid);
    free(item->accepted_reason);
    free(item->accepted_message);
    free(item);
}

static void drop_item(struct programmed *programmed, struct item *item)
{
    if (item->gateway >= 0)
        programmed->gateways[item->gateway].counts[item->phase]--;
    link_remove(&item->turn);
    link_remove(&item->fresh);
    link_remove(&item->again);
    map_remove(&programmed->items, &item->node);
    free_item(item);
}

void programmed_free(struct programmed *programmed)
{
    struct map_node *node, *next;

    if (!programmed)
        return;
    for (node = map_next(&programmed->items, NULL); node; node = next) {
        next = map_next(&programmed->items, node);
        drop_item(programmed, MAP_ELEMENT(node, struct item, node));
    }
    map_done(&programmed->items);
    for (unsigned i = 0; i < programmed->gateway_count; i++) {
        fleet_done(&programmed->gateways[i].fleet);
        free(programmed->gateways[i].name);
    }
    free(programmed->gateways);
    free(programmed);
}

static struct item *find_item(const struct programmed *programmed, struct str key)
{
    struct map_node *node = map_find(&programmed->items, key);

    return node ? MAP_ELEMENT(node, struct item, node) : NULL;
}

static struct item *add_item(struct programmed *programmed, struct str key,
                             struct str namespace_name)
{
    static const size_t prefix = sizeof("route.") - 1;
    struct item *item = calloc(1, sizeof(*item));

    if (!item)
        return NULL;
    link_init(&item->turn);
    link_init(&item->fresh);
    link_init(&item->again);
    item->gateway = -1;
    item->generation = item->serving = item->written = item->programmed = -1;
    item->key = strndup(key.ptr, key.len);
    if (!item->key || map_insert(&programmed->items, &item->node, str_from(item->key)) < 0) {
        free_item(item);
        return NULL;
    }
    item->namespace_name = str_make(item->key + prefix, namespace_name.len);
    item->name = str_after(str_from(item->key), prefix + namespace_name.len + 1);
    return item;
}

/* ---- what the sink is told ---- */

/* Tells the sink, unless it knows; also ends the second of silence. */
static void emit(struct programmed *programmed, struct item *item, uint64_t now_ns)
{
    struct route_status status;
    uint64_t hash;

    link_remove(&item->fresh);
    if (!programmed->leads)
        return;
    programmed_describe(programmed, item, now_ns, &status);
    hash = programmed_hash(&status);
    if (hash == item->emitted)
        return;
    item->emitted = hash;
    programmed->sink.write(programmed->sink.context, item->namespace_name, item->name,
                           str_from(item->uid), &status);
}

/* Later, if nothing is known before. */
static void emit_soon(struct programmed *programmed, struct item *item)
{
    if (link_alone(&item->fresh))
        link_add_after(programmed->fresh.previous, &item->fresh);
}

/* ---- phases ---- */

static enum phase judge(const struct programmed *programmed, const struct item *item)
{
    const struct gateway *gateway;
    struct condition ignored;

    if (item->gateway < 0 || item->serving != item->generation)
        return PHASE_WITHDRAWN;
    gateway = &programmed->gateways[item->gateway];
    if (item->written == item->generation &&
        fleet_rejects(&gateway->fleet, str_from(item->key), item->sequence, &ignored))
        return PHASE_REJECTED;
    if (item->programmed == item->generation)
        return PHASE_PROGRAMMED;
    if (item->written != item->generation)
        return PHASE_UNWRITTEN;
    if (!programmed->acks_synced || !fleet_applied(&gateway->fleet, item->sequence))
        return PHASE_WAITING;
    return PHASE_PROGRAMMED;
}

/* Sequences nearly always come in order, so the place is nearly always the end. */
static void insert_waiting(struct gateway *gateway, struct item *item)
{
    struct link *place = gateway->waiting.previous;

    while (place != &gateway->waiting && of_turn(place)->sequence > item->sequence)
        place = place->previous;
    link_add_after(place, &item->turn);
}

static void set_phase(struct programmed *programmed, struct item *item, enum phase phase,
                      uint64_t now_ns)
{
    struct gateway *gateway = item->gateway >= 0 ? &programmed->gateways[item->gateway] : NULL;

    if (gateway) {
        gateway->counts[item->phase]--;
        gateway->counts[phase]++;
    }
    link_remove(&item->turn);
    if (phase == PHASE_WAITING)
        insert_waiting(gateway, item);
    else if (phase == PHASE_REJECTED)
        link_add_after(gateway->rejected.previous, &item->turn);
    else if (phase == PHASE_PROGRAMMED && item->programmed != item->generation) {
        item->programmed = item->generation;
        item->ready = item->total = gateway->fleet.live;
        item->revision = item->sequence;
        if (item->timed)
            metrics_histogram_add(&gateway->propagation, now_ns - item->seen_ns);
        item->timed = false;
    }
    item->phase = phase;
}

static void settle(struct programmed *programmed, struct item *item, uint64_t now_ns)
{
    enum phase phase = judge(programmed, item);

    set_phase(programmed, item, phase, now_ns);
    if ((phase == PHASE_UNWRITTEN || phase == PHASE_WAITING) &&
        (!link_alone(&item->fresh) || item->seen_ns + LAG_SHOWN_NS > now_ns))
        emit_soon(programmed, item);
    else
        emit(programmed, item, now_ns);
}

/* The floor may have risen: what it has reached is done. */
static void advance(struct programmed *programmed, struct gateway *gateway, uint64_t now_ns)
{
    if (!programmed->acks_synced)
        return;
    while (!link_alone(&gateway->waiting)) {
        struct item *item = of_turn(gateway->waiting.next);

        if (!fleet_applied(&gateway->fleet, item->sequence))
            return;
        settle(programmed, item, now_ns);
    }
}

/* Somebody's rejections changed: all that were rejected before, and those listed now. */
static void reconsider(struct programmed *programmed, struct gateway *gateway,
                       const struct table_ack *ack, uint64_t now_ns)
{
    struct link *last = gateway->rejected.previous;
    bool done = link_alone(&gateway->rejected);

    /* Those still rejected go to the end of the list. */
    for (struct link *link = gateway->rejected.next, *next; !done; link = next) {
        done = link == last;
        next = link->next;
        settle(programmed, of_turn(link), now_ns);
    }
    for (size_t i = 0; ack && i < ack->rejected_count; i++) {
        struct item *item = find_item(programmed, str_from(ack->rejected[i].key));

        if (item && item->gateway >= 0 && &programmed->gateways[item->gateway] == gateway &&
            item->phase != PHASE_REJECTED)
            settle(programmed, item, now_ns);
    }
}

static void follow(struct programmed *programmed, struct gateway *gateway, int change,
                   const struct table_ack *ack, uint64_t now_ns)
{
    if (change & FLEET_REJECTED)
        reconsider(programmed, gateway, ack, now_ns);
    if (change & FLEET_MOVED) {
        gateway->laggards_changed = true;
        advance(programmed, gateway, now_ns);
    }
}

/* ---- what happens ---- */

static int replace(char **text, const char *with, size_t length)
{
    char *copy = strndup(with, length);

    if (!copy)
        return -ENOMEM;
    free(*text);
    *text = copy;
    return 0;
}

/* Moves the item to where the verdict says its entry is. */
static void place_item(struct programmed *programmed, struct item *item, int gateway)
{
    if (item->gateway == gateway)
        return;
    link_remove(&item->turn);
    if (item->gateway >= 0) {
        programmed->gateways[item->gateway].counts[item->phase]--;
        item->programmed = -1; /* pods drop it; should it come back, they read it anew */
    }
    if (gateway >= 0)
        programmed->gateways[gateway].counts[item->phase]++;
    item->gateway = gateway;
    item->written = -1;
}

static void remember(struct item *item, const struct compile_memory *memory)
{
    item->programmed = memory->generation;
    item->ready = memory->ready;
    item->total = memory->total;
    item->revision = memory->revision;
}

int programmed_verdict(struct programmed *programmed, const struct compile_verdict *verdict,
                       uint64_t now_ns)
{
    const struct condition *accepted = verdict->accepted;
    char key[TABLE_KEY_MAX + 1];
    int length = table_key_write(verdict->namespace_name, verdict->name, key);
    struct item *item;

    if (length < 0)
        return 0; /* no source of Routes has such names */
    item = find_item(programmed, str_make(key, (size_t)length));
    if (!item &&
        !(item = add_item(programmed, str_make(key, (size_t)length), verdict->namespace_name)))
        return -ENOMEM;
    if (!item->uid || !str_equal(str_from(item->uid), verdict->uid)) {
        if (replace(&item->uid, verdict->uid.ptr, verdict->uid.len) < 0)
            return -ENOMEM;
        item->generation = item->written = -1;
        item->emitted = 0;
        remember(item, &verdict->memory);
    }
    if (replace(&item->accepted_reason, accepted->reason, sizeof(accepted->reason)) < 0 ||
        replace(&item->accepted_message, accepted->message, sizeof(accepted->message)) < 0)
        return -ENOMEM;
    item->accepted = accepted->status;
    if (item->generation != verdict->generation) {
        item->generation = verdict->generation;
        item->seen_ns = now_ns;
        link_remove(&item->fresh);
        item->timed = verdict->gateway >= 0 &&
                      programmed->gateways[verdict->gateway].state == KV_PUBLISH_IN_CHARGE;
    }
    place_item(programmed, item, verdict->gateway);
    item->serving = verdict->serving;
    settle(programmed, item, now_ns);
    return 0;
}

void programmed_forget(struct programmed *programmed, struct str namespace_name, struct str name)
{
    char key[TABLE_KEY_MAX + 1];
    int length = table_key_write(namespace_name, name, key);
    struct item *item = length > 0 ? find_item(programmed, str_make(key, (size_t)length)) : NULL;

    if (item)
        drop_item(programmed, item);
}

static void settle_all(struct programmed *programmed, unsigned gateway, uint64_t now_ns)
{
    for (struct map_node *node = map_next(&programmed->items, NULL); node;
         node = map_next(&programmed->items, node)) {
        struct item *item = MAP_ELEMENT(node, struct item, node);

        if (item->gateway == (int)gateway)
            settle(programmed, item, now_ns);
    }
}

void programmed_state(struct programmed *programmed, unsigned index, enum kv_publish_state state,
                      const char *reason)
{
    struct gateway *gateway = &programmed->gateways[index];

    gateway->state = state;
    snprintf(gateway->reason, sizeof(gateway->reason), "%s", reason);
}

void programmed_lead(struct programmed *programmed, bool leads, uint64_t now_ns)
{
    bool begins = leads && !programmed->leads;

    programmed->leads = leads;
    for (struct map_node *node = begins ? map_next(&programmed->items, NULL) : NULL; node;
         node = map_next(&programmed->items, node)) {
        struct item *item = MAP_ELEMENT(node, struct item, node);

        item->written = -1; /* another may have written since */
        item->emitted = 0;
        item->seen_ns = now_ns;
        item->timed = false;
        link_remove(&item->fresh);
        link_remove(&item->again);
        settle(programmed, item, now_ns);
    }
}

/* In order of retell_ns; the place is nearly always the end. */
static void tell_later(struct programmed *programmed, struct item *item)
{
    struct link *place = programmed->again.previous;

    while (place != &programmed->again && of_again(place)->retell_ns > item->retell_ns)
        place = place->previous;
    link_add_after(place, &item->again);
}

static void tell_again(struct programmed *programmed, struct item *item, uint64_t now_ns)
{
    link_remove(&item->again);
    item->retell_ns = now_ns + (RETELL_NS << item->retells);
    item->emitted = 0;
    emit(programmed, item, now_ns);
}

void programmed_stored(struct programmed *programmed, struct str namespace_name, struct str name,
                       const struct compile_memory *memory, uint64_t now_ns)
{
    char key[TABLE_KEY_MAX + 1];
    int length = table_key_write(namespace_name, name, key);
    struct item *item = length > 0 ? find_item(programmed, str_make(key, (size_t)length)) : NULL;

    if (!item)
        return;
    if (!programmed->leads) {
        remember(item, memory);
        settle(programmed, item, now_ns);
    } else if (!link_alone(&item->fresh)) {
        return; /* will be told */
    } else if (now_ns >= item->retell_ns) {
        item->retells = 0;
        tell_again(programmed, item, now_ns);
    } else if (link_alone(&item->again)) {
        tell_later(programmed, item);
    }
}

void programmed_lineage(struct programmed *programmed, unsigned index, struct str lineage,
                        uint64_t now_ns)
{
    struct gateway *gateway = &programmed->gateways[index];

    if (str_equal(str_from(gateway->fleet.lineage), lineage))
        return;
    fleet_set_lineage(&gateway->fleet, lineage, now_ns);
    for (struct map_node *node = map_next(&programmed->items, NULL); node;
         node = map_next(&programmed->items, node)) {
        struct item *item = MAP_ELEMENT(node, struct item, node);

        if (item->gateway == (int)index)
            item->written = -1;
    }
    settle_all(programmed, index, now_ns);
}

void programmed_written(struct programmed *programmed, unsigned gateway, struct str key,
                        int64_t generation, uint64_t sequence, uint64_t now_ns)
{
    struct item *item = find_item(programmed, key);

    if (!item || item->gateway != (int)gateway || generation != item->serving)
        return; /* an older value; what replaces it is on its way */
    item->written = generation;
    item->sequence = sequence;
    settle(programmed, item, now_ns);
}

int programmed_ack(struct programmed *programmed, struct str name, struct str pod,
                   const struct table_ack *ack, uint64_t now_ns)
{
    struct gateway *gateway = NULL;
    int change;

    for (unsigned i = 0; i < programmed->gateway_count; i++)
        if (str_equal(str_from(programmed->gateways[i].name), name))
            gateway = &programmed->gateways[i];
    if (!gateway)
        return -ENOENT;
    gateway->acks++;
    change = fleet_ack(&gateway->fleet, pod, ack, now_ns);
    if (change < 0)
        return change;
    follow(programmed, gateway, change, ack, now_ns);
    return 0;
}

void programmed_acks_synced(struct programmed *programmed, uint64_t now_ns)
{
    programmed->acks_synced = true;
    for (unsigned i = 0; i < programmed->gateway_count; i++)
        advance(programmed, &programmed->gateways[i], now_ns);
}

int programmed_endpoints(struct programmed *programmed, unsigned index, const struct str *pods,
                         size_t count, uint64_t now_ns)
{
    struct gateway *gateway = &programmed->gateways[index];
    int change = fleet_endpoints(&gateway->fleet, pods, count, now_ns);

    if (change < 0)
        return change;
    follow(programmed, gateway, change, NULL, now_ns);
    return 0;
}

/* ---- time ---- */

uint64_t programmed_next_ns(const struct programmed *programmed)
{
    uint64_t next_ns = UINT64_MAX;

    if (!link_alone(&programmed->fresh))
        next_ns = of_fresh(programmed->fresh.next)->seen_ns + LAG_SHOWN_NS;
    if (!link_alone(&programmed->again) && of_again(programmed->again.next)->retell_ns < next_ns)
        next_ns = of_again(programmed->again.next)->retell_ns;
    for (unsigned i = 0; i < programmed->gateway_count; i++) {
        const struct gateway *gateway = &programmed->gateways[i];

        if (gateway->fleet.expiry_ns < next_ns)
            next_ns = gateway->fleet.expiry_ns;
        if (gateway->laggards_changed && !link_alone(&gateway->waiting) &&
            programmed->refresh_ns < next_ns)
            next_ns = programmed->refresh_ns;
    }
    return next_ns;
}

/* The first of those that wait say anew whom they wait for. */
static void refresh(struct programmed *programmed, struct gateway *gateway, uint64_t now_ns)
{
    struct link *link = gateway->waiting.next;

    gateway->laggards_changed = false;
    for (int i = 0; i < REFRESH_ITEMS_MAX && link != &gateway->waiting; i++, link = link->next)
        if (link_alone(&of_turn(link)->fresh))
            emit(programmed, of_turn(link), now_ns);
}

void programmed_tick(struct programmed *programmed, uint64_t now_ns)
{
    for (unsigned i = 0; i < programmed->gateway_count; i++) {
        struct gateway *gateway = &programmed->gateways[i];

        if (gateway->fleet.expiry_ns <= now_ns)
            follow(programmed, gateway, fleet_expire(&gateway->fleet, now_ns), NULL, now_ns);
    }
    while (!link_alone(&programmed->fresh)) {
        struct item *item = of_fresh(programmed->fresh.next);

        if (item->seen_ns + LAG_SHOWN_NS > now_ns)
            break;
        emit(programmed, item, now_ns);
    }
    for (int i = 0; i < REFRESH_ITEMS_MAX && !link_alone(&programmed->again); i++) {
        struct item *item = of_again(programmed->again.next);

        if (item->retell_ns > now_ns)
            break;
        item->retells += item->retells < RETELL_DOUBLINGS;
        tell_again(programmed, item, now_ns);
    }
    if (programmed->refresh_ns > now_ns)
        return;
    programmed->refresh_ns = now_ns + REFRESH_NS;
    for (unsigned i = 0; i < programmed->gateway_count; i++)
        if (programmed->gateways[i].laggards_changed)
            refresh(programmed, &programmed->gateways[i], now_ns);
}
