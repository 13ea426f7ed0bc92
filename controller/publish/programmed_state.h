/*
 * programmed_state: what programmed.c keeps and programmed_status.c puts into words; nobody else
 * includes it.
 *
 *      WITHDRAWN   this generation is in no table: invalid, or no such gateway
 *      UNWRITTEN   waits to be written to the bucket
 *      WAITING     written; in its gateway's list, by sequence, until the fleet's floor reaches it
 *      PROGRAMMED  every live pod has it; from then on only a rejection lowers it
 *      REJECTED    a live pod refuses it; in its gateway's list until that pod changes its mind
 */
#ifndef CONTROLLER_PUBLISH_PROGRAMMED_STATE_H
#define CONTROLLER_PUBLISH_PROGRAMMED_STATE_H

#include "controller/publish/fleet.h"
#include "controller/publish/programmed.h"
#include "lib/base/map.h"

enum phase {
    PHASE_WITHDRAWN,
    PHASE_UNWRITTEN,
    PHASE_WAITING,
    PHASE_PROGRAMMED,
    PHASE_REJECTED,
    PHASE_COUNT
};

/* A list of items; which of an item's links it uses is the list's own affair. */
struct link {
    struct link *previous, *next;
};

struct item {
    struct map_node node; /* key: the Route's key in a table */
    char *key;
    struct str namespace_name, name; /* in key */
    char *uid;
    int64_t generation;
    enum condition_status accepted;
    char *accepted_reason, *accepted_message;

    int gateway;     /* whose table has it; -1 */
    int64_t serving; /* the generation there */
    enum phase phase;
    int64_t written;    /* the generation that sequence is of; -1: none in this lineage */
    uint64_t sequence;  /* its entry's, in this lineage */
    int64_t programmed; /* the generation that was programmed; -1 */
    unsigned ready, total;
    uint64_t revision; /* of the last transition */

    struct link turn;   /* in the gateway's waiting or rejected list; alone: in none */
    struct link fresh;  /* in the list of those that have not shown this generation yet */
    struct link again;  /* in the list of those that are told again at retell_ns */
    uint64_t seen_ns;   /* when this generation was first seen */
    bool timed;         /* counts in the histogram */
    uint64_t retell_ns; /* when it may be told again because another wrote the status */
    unsigned retells;   /* of those, one soon after the other */
    uint64_t emitted;   /* hash of what the sink got last; 0: nothing */
};

struct gateway {
    char *name;
    struct fleet fleet;
    enum kv_publish_state state;
    char reason[KV_PUBLISH_REASON_MAX];
    struct link waiting, rejected;
    bool laggards_changed;
    uint64_t counts[PHASE_COUNT];
    uint64_t acks;
    struct metrics_histogram propagation;
};

struct programmed {
    struct status_sink sink;
    struct gateway *gateways;
    unsigned gateway_count;
    struct map items;
    struct link fresh, again;
    uint64_t refresh_ns; /* when lag messages may be written again */
    bool acks_synced;
    bool leads; /* else another says what the statuses are */
};

/* The Route's status as it stands. */
void programmed_describe(const struct programmed *programmed, const struct item *item,
                         uint64_t now_ns, struct route_status *ret_status);
/* Never 0. */
uint64_t programmed_hash(const struct route_status *status);

#endif
