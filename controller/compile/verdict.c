/*
 * verdict: precedence itself is lib/route's business, the same code for the controller and the
 * gateways. What is left for a verdict is short: two matches that differ in anything that they ask
 * can both win, for some request; of matches that ask exactly the same for the same host only the
 * best Route's can. So a match loses when the table knows a better rival for it, a rule when all of
 * its matches lose for all hostnames, and a Route is not accepted when all of its rules do.
 */
#include "controller/compile/verdict.h"

#include <stdarg.h>
#include <stdio.h>

#include "lib/base/utf8.h"

void verdict_append(struct condition *condition, const char *format, ...)
{
    char text[sizeof(condition->message)];
    size_t used = strlen(condition->message);
    struct str added;
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    added = utf8_cut(str_from(text), sizeof(condition->message) - 1 - used);
    memcpy(condition->message + used, added.ptr, added.len);
    condition->message[used + added.len] = '\0';
}

static size_t hostname_count(const struct route *route)
{
    return route->hostname_count ? route->hostname_count : 1;
}

/* Empty: any host. */
static struct str hostname_at(const struct route *route, size_t i)
{
    return route->hostname_count ? route->hostnames[i] : str_make("", 0);
}

static bool take_first(void *context, const struct route *rival)
{
    *(const struct route **)context = rival;
    return false;
}

/* The Route that takes every request from this match, or NULL. */
static const struct route *find_winner(const struct route_table *table, const struct route *route,
                                       const struct route_match *match, struct str hostname)
{
    const struct route *best = NULL;

    route_table_each_rival(table, route, match, hostname, take_first, &best);
    return best && route_compare_age(best, route) < 0 ? best : NULL;
}

/* NULL: the rule can win; else the Route that takes its first match from it. */
static const struct route *find_shadow(const struct route_table *table, const struct route *route,
                                       const struct route_rule *rule)
{
    const struct route *shadow = NULL;

    for (size_t i = 0; i < rule->match_count; i++)
        for (size_t j = 0; j < hostname_count(route); j++) {
            const struct route *winner =
                find_winner(table, route, &rule->matches[i], hostname_at(route, j));

            if (!winner)
                return NULL;
            if (!shadow)
                shadow = winner;
        }
    return shadow;
}

static void append_loser(struct condition *condition, const struct route_rule *rule,
                         const struct route *shadow)
{
    const char *separator = condition->message[0] ? "; " : "";

    if (rule->name.len)
        verdict_append(condition, "%srule \"" STR_FMT "\" (rules[%u]) is shadowed by " STR_FMT,
                       separator, STR_ARG(rule->name), rule->index, STR_ARG(shadow->label));
    else
        verdict_append(condition, "%srules[%u] is shadowed by " STR_FMT, separator, rule->index,
                       STR_ARG(shadow->label));
}

void verdict_judge(const struct route_table *table, const struct route *route,
                   struct condition *ret_accepted)
{
    size_t losers = 0;

    *ret_accepted = (struct condition){.status = CONDITION_TRUE, .reason = "Accepted"};
    for (size_t i = 0; i < route->rule_count; i++) {
        const struct route *shadow = find_shadow(table, route, &route->rules[i]);

        if (shadow) {
            append_loser(ret_accepted, &route->rules[i], shadow);
            losers++;
        }
    }
    if (losers == route->rule_count) {
        ret_accepted->status = CONDITION_FALSE;
        snprintf(ret_accepted->reason, sizeof(ret_accepted->reason), "Shadowed");
    } else if (losers == 0) {
        verdict_append(ret_accepted, "valid, on gateway \"" STR_FMT "\"", STR_ARG(route->gateway));
    }
}

struct touching {
    const struct route *route;
    void (*touch)(void *context, const struct route *touched);
    void *context;
};

static bool touch_rival(void *context, const struct route *rival)
{
    struct touching *touching = context;

    /* A better one is there: it is the one that others are told of. */
    if (route_compare_age(rival, touching->route) < 0)
        return false;
    touching->touch(touching->context, rival);
    return true;
}

void verdict_each_touched(const struct route_table *table, const struct route *route,
                          void (*touch)(void *context, const struct route *touched), void *context)
{
    struct touching touching = {.route = route, .touch = touch, .context = context};

    for (size_t i = 0; i < route->rule_count; i++)
        for (size_t j = 0; j < route->rules[i].match_count; j++)
            for (size_t k = 0; k < hostname_count(route); k++)
                route_table_each_rival(table, route, &route->rules[i].matches[j],
                                       hostname_at(route, k), touch_rival, &touching);
}
