/*
 * What a request costs in the NATS client alone: 64 in flight on one loop, a worker that echoes.
 *
 *   bench_nats_client URL [REQUESTS]
 *
 * The worker answers on bench.echo. Prints the rate and this process' CPU time per request; for
 * instructions and system calls run it under callgrind and strace -c.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "dataplane/nats/client.h"

enum { IN_FLIGHT = 64 };

#define BLOCK                                                                                   \
    STR_LIT(                                                                                    \
        "NATS/1.0\r\nMetropolis-Wire: 1\r\nMetropolis-Method: GET\r\nMetropolis-Path: /foo\r\n" \
        "Metropolis-Host: api.example.com\r\nMetropolis-Scheme: http\r\n"                       \
        "Metropolis-Route: shop/orders\r\nMetropolis-Timeout-Ms: 30000\r\n"                     \
        "Accept: */*\r\nUser-Agent: bench\r\n\r\n")

struct bench {
    struct nats_client *client;
    unsigned long wanted, sent, ended, failed;
};

static void send_one(struct bench *bench)
{
    if (bench->sent == bench->wanted)
        return;
    bench->sent++;
    if (nats_client_request(bench->client, STR_LIT("bench.echo"), BLOCK, STR_LIT("hello"), bench) <
        0)
        abort();
}

static void on_closed(void *context)
{
    (void)context;
}

static void ended(struct bench *bench)
{
    if (++bench->ended == bench->wanted)
        nats_client_close(bench->client, on_closed, NULL);
    else
        send_one(bench);
}

static void on_reply(void *owner, const struct nats_reply *reply)
{
    struct bench *bench = owner;

    bench->failed += reply->payload.len != 5;
    ended(bench);
}

static void on_failed(void *owner, enum nats_failure failure)
{
    struct bench *bench = owner;

    (void)failure;
    bench->failed++;
    ended(bench);
}

static void on_changed(void *context, bool connected, struct str detail)
{
    fprintf(stderr, "%s: " STR_FMT "\n", connected ? "connected" : "not connected",
            STR_ARG(detail));
    for (int i = 0; i < IN_FLIGHT && connected; i++)
        send_one(context);
}

int main(int argc, char **argv)
{
    struct bench bench = {.wanted = argc > 2 ? strtoul(argv[2], NULL, 10) : 200000};
    struct nats_client_options options = {
        .servers = str_from(argc > 1 ? argv[1] : "nats://127.0.0.1:4222"),
        .name = STR_LIT("bench"),
        .inbox_prefix = STR_LIT("_METROPOLIS"),
        .in_flight_max = IN_FLIGHT,
        .pending_bytes_max = 1 << 20,
        .connect_timeout_ms = 2000,
        .ping_interval_ms = 10000,
        .reconnect_min_ms = 50,
        .reconnect_max_ms = 1000,
    };
    struct nats_client_handler handler = {on_reply, on_failed, on_changed, &bench};
    struct rusage usage;
    uint64_t start_ns;
    char error[256];
    double us;

    if (nats_client_new(uv_default_loop(), &options, &handler, &bench.client, error,
                        sizeof(error))) {
        fprintf(stderr, "%s\n", error);
        return 1;
    }
    start_ns = uv_hrtime();
    uv_run(uv_default_loop(), UV_RUN_DEFAULT);
    getrusage(RUSAGE_SELF, &usage);
    us = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 +
         (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
    printf("%lu requests, %lu failed: %.0f/s, %.2f us CPU each\n", bench.ended, bench.failed,
           (double)bench.ended * 1e9 / (double)(uv_hrtime() - start_ns), us / (double)bench.ended);
    return bench.failed != 0;
}
