/* What tests of the client share: a client on a loop of its own, and workers on cnats. */
#ifndef TESTS_UNIT_NATS_FIXTURE_H
#define TESTS_UNIT_NATS_FIXTURE_H

#include <nats/nats.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <uv.h>

#include "dataplane/nats/client.h"

#define BLOCK STR_LIT("NATS/1.0\r\nMetropolis-Wire: 1\r\n\r\n")

enum { WAIT_MS = 30000, CALLS_MAX = 4096 };

struct call {
    struct fixture *fixture;
    int slot;
    int replies, failures;
    enum nats_failure failure;
    bool has_reply_subject;
    char block[256];
    char *payload;
    size_t payload_len;
};

struct fixture {
    uv_loop_t loop;
    uv_timer_t tick;
    struct nats_client *client;
    struct nats_client_handler handler;
    struct call calls[CALLS_MAX];
    unsigned ended; /* replies and failures of all calls */
    bool connected, closed;
    unsigned ups, downs;
    unsigned denials; /* of cancels */
    char detail[1024];
};

struct worker {
    natsConnection *connection;
    natsSubscription *subscription;
    atomic_uint seen;
    char inbox[128]; /* reply subject of the last request */
};

extern const struct nats_client_options default_options;

/* Starts a client that connects by and by; given but for its servers. */
struct fixture *open_client(const char *servers, const struct nats_client_options *given);
/* The same, and waits until it is connected. */
struct fixture *connect_client(const char *servers, const struct nats_client_options *options);
/* Checks that it leaves nothing on the loop. */
void close_client(struct fixture *fixture);

#define RUN_UNTIL(fixture, condition)                                                          \
    do {                                                                                       \
        uint64_t run_end_ms = uv_hrtime() / 1000000 + WAIT_MS;                                 \
        while (!(condition)) {                                                                 \
            if (uv_hrtime() / 1000000 > run_end_ms)                                            \
                fail_msg("timed out waiting for %s; last: %s", #condition, (fixture)->detail); \
            uv_run(&(fixture)->loop, UV_RUN_ONCE);                                             \
        }                                                                                      \
    } while (0)

void run_for(struct fixture *fixture, unsigned ms);

/* A request whose outcome goes to calls[call]; what nats_client_request returns. */
int request(struct fixture *fixture, int call, const char *subject, struct str payload);
struct nats_client_counters counters(const struct fixture *fixture);

/* Workers: they answer with the payload, or only count. */
void echo(natsConnection *connection, natsSubscription *subscription, natsMsg *message,
          void *closure);
void keep_silent(natsConnection *connection, natsSubscription *subscription, natsMsg *message,
                 void *closure);
void start_worker(struct worker *worker, const char *url, const char *subject,
                  natsMsgHandler handler);
void stop_worker(struct worker *worker);

#endif
