/*
 * verdict: does a Route win anything? Compares its matches with those of the other Routes in its
 * gateway's table. Pure.
 */
#ifndef CONTROLLER_COMPILE_VERDICT_H
#define CONTROLLER_COMPILE_VERDICT_H

#include "controller/source.h"
#include "lib/route/route_table.h"

/* True: every rule can win; fills the condition's status, reason and message. */
void verdict_judge(const struct route_table *table, const struct route *route,
                   struct condition *ret_accepted);

/*
 * Calls touch for every Route of the table whose verdict may name this one, because they share a
 * match that it wins, or won before it left the table.
 */
void verdict_each_touched(const struct route_table *table, const struct route *route,
                          void (*touch)(void *context, const struct route *touched), void *context);

/* Appends text to the message, cut at its size between characters. */
void verdict_append(struct condition *condition, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
