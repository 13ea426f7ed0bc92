/*
 * lanes: which connection a request goes over. Each lane is a whole client with an inbox of its
 * own, so what a stuck worker fills up, slots, buffer and budget, is its lane's alone. Lane 0 is
 * the main one.
 *
 * A ticket is a client's slot and its lane.
 */
#include "dataplane/nats/lanes.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { SOON_MS = 1000 }; /* for which a new connection is worth waiting */

struct lane {
    struct nats_client *client;  /* NULL: not made */
    uint64_t made_ms, wanted_ms; /* wanted: when last */
};

struct nats_lanes {
    uv_loop_t *loop;
    struct nats_client_options options; /* its name is ours */
    struct nats_client_handler handler;
    struct lane lanes[NATS_LANES_MAX];
    uint64_t spare_idle_ms;
    uv_timer_t timer;                 /* runs while there is a spare one */
    struct nats_client_counters past; /* of those that are closed */
    char name[256];
    bool closing;
    unsigned holds; /* clients, and the timer, that are not closed yet */
    void (*closed)(void *context);
    void *closed_context;
};

static void add_up(struct nats_client_counters *sum, const struct nats_client_counters *one)
{
    const uint64_t *from = (const uint64_t *)one;
    uint64_t *into = (uint64_t *)sum;

    for (size_t i = 0; i < sizeof(*sum) / sizeof(uint64_t); i++)
        into[i] += from[i];
}

/* ---- life ---- */

static void release(void *context)
{
    struct nats_lanes *lanes = context;
    void (*closed)(void *context) = lanes->closed;
    void *closed_context = lanes->closed_context;

    assert(lanes->holds > 0);
    if (--lanes->holds > 0)
        return;
    assert(lanes->closing);
    free(lanes);
    if (closed)
        closed(closed_context);
}

static void on_timer_closed(uv_handle_t *handle)
{
    release(handle->data);
}

static void close_lane(struct nats_lanes *lanes, struct lane *lane)
{
    struct nats_client *client = lane->client;
    struct nats_client_counters counters;

    nats_client_close(client, release, lanes); /* never calls release before it returns */
    nats_client_count(client, &counters);
    add_up(&lanes->past, &counters);
    lane->client = NULL;
}

/* Closes spare ones that nobody wants any more. */
static void on_timer(uv_timer_t *timer)
{
    struct nats_lanes *lanes = timer->data;
    bool left = false;

    for (unsigned i = 1; i < NATS_LANES_MAX; i++) {
        struct lane *lane = &lanes->lanes[i];

        if (!lane->client)
            continue;
        if (nats_client_in_flight(lane->client) == 0 &&
            uv_now(lanes->loop) - lane->wanted_ms >= lanes->spare_idle_ms)
            close_lane(lanes, lane);
        else
            left = true;
    }
    if (!left)
        uv_timer_stop(timer);
}

/* The client of a spare lane, made if it has to be; NULL: no memory. */
static struct nats_client *want(struct nats_lanes *lanes, unsigned index)
{
    struct lane *lane = &lanes->lanes[index];
    struct nats_client_options options = lanes->options;
    struct nats_client_handler handler = lanes->handler;
    char name[sizeof(lanes->name) + 16], error[256];
    uint64_t look_ms = lanes->spare_idle_ms / 4 + 1;

    lane->wanted_ms = uv_now(lanes->loop);
    if (lane->client)
        return lane->client;
    options.name =
        str_make(name, (size_t)snprintf(name, sizeof(name), "%s spare %u", lanes->name, index));
    handler.changed = NULL;
    if (nats_client_new(lanes->loop, &options, &handler, &lane->client, error, sizeof(error)) < 0)
        return NULL;
    lane->made_ms = lane->wanted_ms;
    lanes->holds++;
    if (!uv_is_active((uv_handle_t *)&lanes->timer))
        uv_timer_start(&lanes->timer, on_timer, look_ms, look_ms);
    return lane->client;
}

int nats_lanes_new(uv_loop_t *loop, const struct nats_client_options *options,
                   const struct nats_client_handler *handler, uint64_t spare_idle_ms,
                   struct nats_lanes **ret_lanes, char *ret_error, size_t error_size)
{
    struct nats_lanes *lanes = calloc(1, sizeof(*lanes));
    int result;

    if (!lanes) {
        snprintf(ret_error, error_size, "out of memory");
        return -ENOMEM;
    }
    lanes->loop = loop;
    lanes->options = *options;
    lanes->handler = *handler;
    lanes->spare_idle_ms = spare_idle_ms;
    snprintf(lanes->name, sizeof(lanes->name), STR_FMT, STR_ARG(options->name));
    lanes->options.name = str_from(lanes->name);
    result = nats_client_new(loop, &lanes->options, handler, &lanes->lanes[0].client, ret_error,
                             error_size);
    if (result) {
        free(lanes);
        return result;
    }
    lanes->holds = 2;
    lanes->timer.data = lanes;
    uv_timer_init(loop, &lanes->timer);
    uv_unref((uv_handle_t *)&lanes->timer);
    *ret_lanes = lanes;
    return 0;
}

void nats_lanes_close(struct nats_lanes *lanes, void (*closed)(void *context), void *context)
{
    assert(!lanes->closing);
    lanes->closing = true;
    lanes->closed = closed;
    lanes->closed_context = context;
    for (unsigned i = 0; i < NATS_LANES_MAX; i++)
        if (lanes->lanes[i].client)
            close_lane(lanes, &lanes->lanes[i]);
    uv_close((uv_handle_t *)&lanes->timer, on_timer_closed);
}

/* ---- requests ---- */

static int send_over(struct nats_lanes *lanes, unsigned index, const struct nats_request *request)
{
    int slot = nats_client_request(lanes->lanes[index].client, request);

    return slot < 0 ? slot : slot * NATS_LANES_MAX + (int)index;
}

/* So that the next one is there in time. */
static void look_ahead(struct nats_lanes *lanes, unsigned index)
{
    size_t reserved = nats_client_reserved(lanes->lanes[index].client);

    if (reserved > lanes->options.reply_bytes_max / 2 && index + 1 < NATS_LANES_MAX)
        want(lanes, index + 1);
}

/* The main one is at its budget: the first spare one that is not. */
static int send_over_spare(struct nats_lanes *lanes, const struct nats_request *request)
{
    for (unsigned i = 1; i < NATS_LANES_MAX; i++) {
        struct nats_client *client = want(lanes, i);
        int ticket;

        if (!client)
            return -EBUSY;
        if (!nats_client_connected(client))
            return uv_now(lanes->loop) - lanes->lanes[i].made_ms < SOON_MS ? -EAGAIN : -EBUSY;
        ticket = send_over(lanes, i, request);
        if (ticket == -ENOBUFS)
            continue;
        look_ahead(lanes, i);
        return ticket;
    }
    return -EBUSY;
}

int nats_lanes_request(struct nats_lanes *lanes, const struct nats_request *request, uint64_t key,
                       bool aside)
{
    int ticket;

    if (lanes->closing)
        return -ENOTCONN;
    if (aside) {
        unsigned index = 1 + (unsigned)(key % (NATS_LANES_MAX - 1));
        struct nats_client *client = want(lanes, index);

        if (client && nats_client_connected(client)) {
            ticket = send_over(lanes, index, request);
            return ticket == -ENOBUFS ? -EBUSY : ticket;
        }
    }
    ticket = send_over(lanes, 0, request);
    if (ticket == -ENOBUFS)
        return send_over_spare(lanes, request);
    look_ahead(lanes, 0);
    return ticket;
}

void nats_lanes_forget(struct nats_lanes *lanes, int ticket, struct str cancel)
{
    nats_client_forget(lanes->lanes[ticket % NATS_LANES_MAX].client, ticket / NATS_LANES_MAX,
                       cancel);
}

/* ---- what there is ---- */

bool nats_lanes_connected(const struct nats_lanes *lanes)
{
    return lanes->lanes[0].client && nats_client_connected(lanes->lanes[0].client);
}

size_t nats_lanes_max_payload(const struct nats_lanes *lanes)
{
    return lanes->lanes[0].client ? nats_client_max_payload(lanes->lanes[0].client) : 0;
}

void nats_lanes_count(const struct nats_lanes *lanes, struct nats_client_counters *ret_counters)
{
    *ret_counters = lanes->past;
    for (unsigned i = 0; i < NATS_LANES_MAX; i++) {
        struct nats_client_counters one;

        if (!lanes->lanes[i].client)
            continue;
        nats_client_count(lanes->lanes[i].client, &one);
        add_up(ret_counters, &one);
    }
}
