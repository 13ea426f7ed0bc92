/*
 * What a request costs in the NATS client alone: so many in flight on one loop for some seconds.
 *
 *   bench_nats_client URL SUBJECT SECONDS HEADERS-FILE [IN-FLIGHT]
 *
 * Prints how many requests got a reply, and this process' CPU time for each; for instructions and
 * system calls run it under callgrind and strace -c.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "dataplane/nats/client.h"
#include "lib/base/buffer.h"

enum { IN_FLIGHT = 64, IN_FLIGHT_MAX = 4096, BLOCK_MAX = 64 * 1024 };

struct bench {
    struct nats_client *client;
    struct str subject;
    struct buffer block;
    unsigned in_flight;
    uint64_t until_ns;
    unsigned long sent, ended, failed;
};

static void send_one(struct bench *bench)
{
    bench->sent++;
    if (nats_client_request(bench->client,
                            &(struct nats_request){.subject = bench->subject,
                                                   .block = buffer_view(&bench->block),
                                                   .owner = bench}) < 0)
        abort();
}

static void on_closed(void *context)
{
    (void)context;
}

static void ended(struct bench *bench)
{
    bench->ended++;
    if (uv_hrtime() < bench->until_ns)
        send_one(bench);
    else if (bench->ended == bench->sent)
        nats_client_close(bench->client, on_closed, NULL);
}

static void on_reply(void *owner, const struct nats_reply *reply)
{
    struct bench *bench = owner;

    bench->failed += reply->payload.len == 0;
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
    struct bench *bench = context;

    if (!connected)
        fprintf(stderr, "not connected: " STR_FMT "\n", STR_ARG(detail));
    for (unsigned i = 0; i < bench->in_flight && connected; i++)
        send_one(bench);
}

/* One "Name: value" a line. */
static bool read_block(const char *path, struct buffer *block)
{
    FILE *file = fopen(path, "r");
    char line[8192];
    int code;

    if (!file)
        return false;
    buffer_init(block, BLOCK_MAX);
    code = buffer_append_str(block, STR_LIT("NATS/1.0\r\n"));
    while (!code && fgets(line, sizeof(line), file))
        code = buffer_printf(block, "%.*s\r\n", (int)strcspn(line, "\n"), line);
    fclose(file);
    return !code && buffer_append_str(block, STR_LIT("\r\n")) == 0;
}

int main(int argc, char **argv)
{
    struct bench bench = {.in_flight = IN_FLIGHT};
    struct nats_client_options options = {
        .name = STR_LIT("bench"),
        .inbox_prefix = STR_LIT("_METROPOLIS"),
        .in_flight_max = IN_FLIGHT_MAX,
        .pending_bytes_max = 16 << 20,
        .reply_bytes_max = 32 << 20,
        .connect_timeout_ms = 2000,
        .ping_interval_ms = 10000,
        .reconnect_min_ms = 50,
        .reconnect_max_ms = 1000,
    };
    struct nats_client_handler handler = {on_reply, on_failed, on_changed, NULL, &bench};
    struct rusage usage;
    char error[256];
    double us;

    if (argc > 5)
        bench.in_flight = (unsigned)strtoul(argv[5], NULL, 10);
    if (argc < 5 || argc > 6 || bench.in_flight < 1 || bench.in_flight > IN_FLIGHT_MAX) {
        fprintf(stderr, "usage: bench_nats_client URL SUBJECT SECONDS HEADERS-FILE [IN-FLIGHT]\n");
        return 2;
    }
    if (!read_block(argv[4], &bench.block)) {
        perror(argv[4]);
        return 1;
    }
    options.servers = str_from(argv[1]);
    bench.subject = str_from(argv[2]);
    bench.until_ns = uv_hrtime() + strtoul(argv[3], NULL, 10) * UINT64_C(1000000000);
    if (nats_client_new(uv_default_loop(), &options, &handler, &bench.client, error,
                        sizeof(error))) {
        fprintf(stderr, "%s\n", error);
        return 1;
    }
    uv_run(uv_default_loop(), UV_RUN_DEFAULT);
    getrusage(RUSAGE_SELF, &usage);
    us = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 +
         (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
    printf("%lu requests, %lu failed, %.2f us CPU each\n", bench.ended, bench.failed,
           us / (double)bench.ended);
    buffer_done(&bench.block);
    return bench.failed != 0;
}
