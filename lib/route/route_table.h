/*
 * route_table: all Routes of one gateway, ready to be matched. A table is immutable; a change makes
 * a new table that shares whatever did not change (persistent hash tries, copied along the changed
 * path), so a change costs what changed and readers need no lock.
 *
 * Threads: one thread builds, references and frees tables. Others may call route_table_match on a
 * table that the builder keeps alive for them; nothing that they do writes to it.
 *
 * Shape: host -> trie of path segments. A node has literal children (a hash trie by bytes), one
 * parameter child, and a list of the entries that end there: exact, regular expression (all of them
 * at the host's node), template, rest, prefix. It is sorted by precedence, so of each ending the
 * first entry whose conditions hold is the winner.
 */
#ifndef LIB_ROUTE_ROUTE_TABLE_H
#define LIB_ROUTE_ROUTE_TABLE_H

#include "lib/route/route.h"

struct route_table;

/* The empty table; NULL without memory. */
struct route_table *route_table_new(void);
struct route_table *route_table_ref(struct route_table *table);
/* Frees what no other table shares. NULL is fine. */
void route_table_unref(struct route_table *table);

/* before: the route as it stands (the very same struct), or NULL; after: as it shall stand, or
 * NULL. Changes of a batch are applied in order: before may be the after of an earlier one. */
struct route_change {
    struct route *before, *after;
};

/*
 * A new table with the changes applied, all or none; references every route in it. Changes of one
 * batch are made in place where nothing is shared yet, so building 100,000 routes at once costs no
 * copies. 0; -ENOMEM: nothing happened.
 */
int route_table_apply(const struct route_table *base, const struct route_change *changes,
                      size_t count, struct route_table **ret_table);

size_t route_table_count(const struct route_table *table); /* Routes */

/*
 * How two matches stand to each other, their hosts aside. EQUAL: they ask exactly the same, so the
 * older Route's wins, or the earlier of one Route. FIRST, SECOND: this one takes whatever the other
 * asks for, and goes before it. NONE: each can win.
 */
enum route_rivalry { ROUTE_NO_RIVALS, ROUTE_RIVALS_EQUAL, ROUTE_RIVAL_FIRST, ROUTE_RIVAL_SECOND };
enum route_rivalry route_match_rivalry(const struct route_match *first,
                                       const struct route_match *second);

/*
 * Calls visit for every match of another Route in the table that is a rival of this one under a
 * hostname, best first. wins: that one takes all that this one asks for; else it is the other way
 * round. The route itself need not be in the table. Stops when visit returns false.
 */
void route_table_each_rival(const struct route_table *table, const struct route *route,
                            const struct route_match *match, struct str hostname,
                            bool (*visit)(void *context, const struct route *rival, bool wins),
                            void *context);

#endif
