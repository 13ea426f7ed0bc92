/*
 * verdict: precedence itself is lib/route's business, the same code for the controller and the
 * gateways. What is left for a verdict is short: two matches can both win, for some request, unless
 * they are rivals (route_table.h). So a match loses when another rule of its Route beats it, or for
 * every hostname another Route; a rule when all of its matches lose; and a Route is not accepted
 * when all of its rules do. What several rules take from one together is not found.
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

/* The first visited is the best of them. */
static bool take_winner(void *context, const struct route *rival, bool wins)
{
    if (wins)
        *(const struct route **)context = rival;
    return false;
}

/* The Route that takes every request from this match, or NULL. */
static const struct route *find_winner(const struct route_table *table, const struct route *route,
                                       const struct route_match *match, struct str hostname)
{
    const struct route *winner = NULL;

    route_table_each_rival(table, route, match, hostname, take_winner, &winner);
    return winner;
}

/* What takes a match's requests from its rule: another Route, or another rule of the same. */
struct shadow {
    const struct route *route;
    const struct route_rule *rule;
};

static const struct route_rule *find_own_winner(const struct route *route,
                                                const struct route_rule *rule,
                                                const struct route_match *match)
{
    for (size_t i = 0; i < route->rule_count; i++)
        for (size_t j = 0; j < route->rules[i].match_count && i != rule->index; j++) {
            enum route_rivalry rivalry = route_match_rivalry(&route->rules[i].matches[j], match);

            if (rivalry == ROUTE_RIVAL_FIRST || (rivalry == ROUTE_RIVALS_EQUAL && i < rule->index))
                return &route->rules[i];
        }
    return NULL;
}

/* False: the match can win. */
static bool find_shadow(const struct route_table *table, const struct route *route,
                        const struct route_rule *rule, const struct route_match *match,
                        struct shadow *ret_shadow)
{
    *ret_shadow = (struct shadow){NULL, find_own_winner(route, rule, match)};
    if (ret_shadow->rule)
        return true;
    for (size_t i = 0; i < hostname_count(route); i++) {
        const struct route *winner = find_winner(table, route, match, hostname_at(route, i));

        if (!winner)
            return false;
        if (!ret_shadow->route)
            ret_shadow->route = winner;
    }
    return true;
}

/* False: the rule can win; else what takes its first match from it. */
static bool find_rule_shadow(const struct route_table *table, const struct route *route,
                             const struct route_rule *rule, struct shadow *ret_shadow)
{
    struct shadow ignored;

    for (size_t i = 0; i < rule->match_count; i++)
        if (!find_shadow(table, route, rule, &rule->matches[i], i ? &ignored : ret_shadow))
            return false;
    return true;
}

static void append_loser(struct condition *condition, const struct route_rule *rule,
                         const struct shadow *shadow)
{
    const char *separator = condition->message[0] ? "; " : "";

    if (rule->name.len)
        verdict_append(condition, "%srule \"" STR_FMT "\" (rules[%u]) is shadowed by ", separator,
                       STR_ARG(rule->name), rule->index);
    else
        verdict_append(condition, "%srules[%u] is shadowed by ", separator, rule->index);
    if (shadow->rule)
        verdict_append(condition, "rules[%u]", shadow->rule->index);
    else
        verdict_append(condition, STR_FMT, STR_ARG(shadow->route->label));
}

void verdict_judge(const struct route_table *table, const struct route *route,
                   struct condition *ret_accepted)
{
    struct shadow shadow;
    size_t losers = 0;

    *ret_accepted = (struct condition){.status = CONDITION_TRUE, .reason = "Accepted"};
    for (size_t i = 0; i < route->rule_count; i++)
        if (find_rule_shadow(table, route, &route->rules[i], &shadow)) {
            append_loser(ret_accepted, &route->rules[i], &shadow);
            losers++;
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

static bool touch_rival(void *context, const struct route *rival, bool wins)
{
    struct touching *touching = context;

    /* A better one is there: it is the one that others are told of. */
    if (wins)
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
