/*
 * exchanges: a list in start order, whose head is the oldest version in use, and a list of free
 * ones: in steady state nothing is allocated, as an exchange keeps its buffers.
 */
#include "dataplane/exchanges.h"

#include <assert.h>
#include <stdlib.h>

enum { FREE_MAX = 4096 }; /* kept for reuse */

/* ---- life ---- */

struct exchanges *exchanges_new(void)
{
    struct exchanges *all = calloc(1, sizeof(*all));

    if (!all || loads_init(&all->loads) < 0) {
        free(all);
        return NULL;
    }
    buffer_init(&all->body, PROBLEM_BYTES_MAX);
    random_init(&all->random);
    planner_init(&all->planner, random_u64(&all->random));
    return all;
}

void exchanges_free(struct exchanges *exchanges)
{
    struct exchange *exchange;

    if (!exchanges)
        return;
    assert(!exchanges->oldest);
    while ((exchange = exchanges->free)) {
        exchanges->free = exchange->next;
        buffer_done(&exchange->subject);
        free(exchange);
    }
    planner_done(&exchanges->planner);
    loads_done(&exchanges->loads);
    buffer_done(&exchanges->body);
    free(exchanges);
}

void exchanges_wire(struct exchanges *exchanges, const struct exchange_wiring *wiring)
{
    exchanges->wiring = *wiring;
}

/* ---- beginning and ending ---- */

static void report(struct exchanges *all)
{
    uint64_t oldest = all->oldest ? all->oldest->version : all->view.number;

    if (oldest == all->reported)
        return;
    all->reported = oldest;
    swap_report(all->wiring.swap, all->wiring.loop, oldest);
}

struct exchange *exchanges_begin(struct exchanges *all, struct conn *conn,
                                 const struct http_request *request)
{
    struct exchange *exchange = all->free;

    if (exchange) {
        all->free = exchange->next;
        all->free_count--;
    } else {
        exchange = calloc(1, sizeof(*exchange));
        if (!exchange)
            return NULL;
        exchange->all = all;
        buffer_init(&exchange->subject, SUBJECT_MAX);
    }
    exchange->next = NULL;
    exchange->previous = all->newest;
    if (all->newest)
        all->newest->next = exchange;
    else
        all->oldest = exchange;
    all->newest = exchange;
    all->counters.in_flight++;
    exchange->conn = conn;
    exchange->request = request;
    exchange->hit = (struct route_hit){0};
    exchange->version = all->view.number;
    exchange->started_ns = uv_hrtime();
    exchange->upstream_ns = 0;
    exchange->load = 0;
    exchange->retries = exchange->waits = 0;
    exchange->soon = false;
    exchange->cancel[0] = '\0';
    exchange->ticket = -1;
    exchange->request_id = (struct str){0};
    buffer_clear(&exchange->subject, SUBJECT_MAX);
    conn->owner = exchange;
    planner_reset(&all->planner);
    return exchange;
}

void exchanges_end(struct exchange *exchange)
{
    struct exchanges *all = exchange->all;

    if (exchange->previous)
        exchange->previous->next = exchange->next;
    else
        all->oldest = exchange->next;
    if (exchange->next)
        exchange->next->previous = exchange->previous;
    else
        all->newest = exchange->previous;
    all->counters.in_flight--;
    if (exchange->load)
        loads_get(&all->loads, exchange->load)->in_flight--;
    exchange->conn->owner = NULL;
    exchange->conn = NULL;
    if (all->free_count < FREE_MAX) {
        exchange->next = all->free;
        all->free = exchange;
        all->free_count++;
    } else {
        buffer_done(&exchange->subject);
        free(exchange);
    }
    report(all);
}

/* ---- what they share ---- */

void exchanges_adopt(struct exchanges *exchanges)
{
    if (swap_adopt(exchanges->wiring.swap, exchanges->wiring.loop, &exchanges->view))
        report(exchanges);
}

void exchanges_version(const struct exchanges *exchanges, uint64_t *ret_number,
                       uint64_t *ret_revision)
{
    *ret_number = exchanges->view.number;
    *ret_revision = exchanges->view.revision;
}

const struct exchange_counters *exchanges_counters(struct exchanges *exchanges)
{
    exchanges->counters.request_fields_dropped = exchanges->planner.fields_dropped;
    exchanges->counters.match_troubles = exchanges->planner.match_troubles;
    return &exchanges->counters;
}
