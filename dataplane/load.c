/*
 * load: a hash table with open addressing, made once. When it is three quarters full, the rules
 * that have something under way move to its twin and the others are forgotten, so no look-up ever
 * allocates and none searches far.
 */
#include "dataplane/load.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    BITS = 14,
    SIZE = 1 << BITS,
    REPLY_BYTES_FIRST = 4096,    /* until something is known */
    REPLY_DECAY = 64,            /* replies, in which the excess shrinks to a third */
    OWED_MAX = 1024 * 1024,      /* more than a worker that keeps up owes, bodies apart; a server
                                  * stalls from 48 MB on, of all loops and pods together */
    GIVEN_UP_MAX = 2 * OWED_MAX, /* so that it can be paid back */
    PAID_BACK = 32,              /* an answered byte pays one in so many */
};

static_assert(LOADS_MAX == SIZE / 4 * 3, "searches stay short");

int loads_init(struct loads *loads)
{
    /* Large enough to be mapped on its own: what is never touched costs nothing. */
    *loads = (struct loads){
        .table = calloc(SIZE, sizeof(*loads->table)),
        .other = calloc(SIZE, sizeof(*loads->other)),
    };
    if (loads->table && loads->other)
        return 0;
    loads_done(loads);
    return -ENOMEM;
}

void loads_done(struct loads *loads)
{
    free(loads->table);
    free(loads->other);
    *loads = (struct loads){0};
}

uint64_t load_key(const struct route_hit *hit)
{
    return (uint64_t)hit->route->slot * ROUTE_RULES_MAX + hit->rule->index + 1;
}

/* Where it is, or where it belongs. */
static struct load *find(struct load *table, uint64_t key)
{
    size_t at = (size_t)(key * UINT64_C(0x9E3779B97F4A7C15) >> (64 - BITS));

    while (table[at].key != key && table[at].key != 0)
        at = (at + 1) % SIZE;
    return &table[at];
}

static void weed(struct loads *loads)
{
    struct load *from = loads->table, *to = loads->other;

    memset(to, 0, SIZE * sizeof(*to));
    loads->used = 0;
    for (size_t i = 0; i < SIZE; i++) {
        if (from[i].in_flight == 0)
            continue;
        *find(to, from[i].key) = from[i];
        loads->used++;
    }
    loads->table = to;
    loads->other = from;
}

struct load *loads_get(struct loads *loads, uint64_t key)
{
    struct load *load = find(loads->table, key);

    assert(key != 0);
    if (load->key == key)
        return load;
    if (loads->used == LOADS_MAX) {
        weed(loads);
        if (loads->used == LOADS_MAX)
            return NULL;
        load = find(loads->table, key);
    }
    *load = (struct load){.key = key, .reply_bytes = REPLY_BYTES_FIRST};
    loads->used++;
    return load;
}

/* ---- what it owes ---- */

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

void load_sent(struct load *load, uint32_t bytes)
{
    load->unanswered += bytes;
}

void load_ended(struct load *load, uint32_t bytes)
{
    assert(load->unanswered >= bytes);
    load->unanswered -= bytes;
}

void load_answered(struct load *load, uint32_t bytes, size_t reply_bytes)
{
    load_ended(load, bytes);
    load->given_up -= least(load->given_up, (bytes + PAID_BACK - 1) / PAID_BACK);
    if (reply_bytes >= load->reply_bytes)
        load->reply_bytes = (uint32_t)least(reply_bytes, UINT32_MAX);
    else
        load->reply_bytes -= (load->reply_bytes - (uint32_t)reply_bytes) / REPLY_DECAY;
}

void load_given_up(struct load *load, uint32_t bytes)
{
    load_ended(load, bytes);
    load->given_up = least(load->given_up + bytes, GIVEN_UP_MAX);
}

bool load_is_stuck(const struct load *load)
{
    return load->unanswered + load->given_up > OWED_MAX;
}
