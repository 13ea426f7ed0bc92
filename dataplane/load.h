/*
 * load: what each rule has under way on one loop. One thread; nothing is counted across loops.
 *
 * A rule is known by its Route's slot, which all generations of the Route share, and its index: so
 * what is counted outlives changes of the table and of the Route. A rule without anything under way
 * may be forgotten, so memory has a bound whatever the number of Routes.
 *
 * reply_bytes is what its replies have lately taken: it rises at once and decays by the reply, for
 * what has to be kept free for the next ones.
 *
 * What a rule owes are the bytes published for which no reply came. Those of requests that were
 * given up still lie at NATS when a worker of it is stuck, and nobody says when they are gone; so
 * each reply takes off a small part of what its request had. Thus they add up also where one worker
 * of several is stuck, and not where one request in a hundred takes too long.
 */
#ifndef DATAPLANE_LOAD_H
#define DATAPLANE_LOAD_H

#include "lib/route/route_match.h"

enum { LOADS_MAX = 12288 }; /* rules with something under way, of a loop */

struct load {
    uint64_t key;       /* 0: free */
    uint32_t in_flight; /* requests, from the match to the answer */
    uint32_t reply_bytes;
    uint64_t unanswered, given_up; /* bytes that it owes */
};

struct loads {
    struct load *table, *other; /* other: where table is moved to when it has to be weeded */
    uint32_t used;
};

int loads_init(struct loads *loads); /* 0, -ENOMEM */
void loads_done(struct loads *loads);

/* Never 0. */
uint64_t load_key(const struct route_hit *hit);
/* The load of a rule, good until the next call. NULL: LOADS_MAX others have something under way;
 * not for a rule that has itself. */
struct load *loads_get(struct loads *loads, uint64_t key);

/* A message of so many bytes goes out, and what becomes of it: its answer comes, nobody waits for
 * it any more, or none can come. */
void load_sent(struct load *load, uint32_t bytes);
void load_answered(struct load *load, uint32_t bytes, size_t reply_bytes);
void load_given_up(struct load *load, uint32_t bytes);
void load_ended(struct load *load, uint32_t bytes);

/* Whether it owes so much that its worker may be stuck. */
bool load_is_stuck(const struct load *load);

#endif
