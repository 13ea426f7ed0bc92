/*
 * settings: the one table of the gateway's options. docs and chart are checked against its --help.
 */
#include "dataplane/settings.h"

#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "dataplane/loop/listener.h"
#include "dataplane/table/swap.h"
#include "lib/base/log.h"

/* As given, before it is understood. */
struct raw {
    const char *listen, *admin, *trusted, *server, *sample;
    uint64_t connections, target, head, body, buffered, unsent;
    uint64_t idle_ms, head_ms, body_ms, write_ms;
    int log_level, log_format;
};

static uint64_t usable_cores(void)
{
    cpu_set_t set;
    int count = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;

    return (uint64_t)(count < 1 ? 1 : count > SWAP_LOOPS_MAX ? SWAP_LOOPS_MAX : count);
}

static enum options_result parse(int argc, char **argv, struct settings *s, struct raw *raw)
{
    static const char *const levels[] = {"debug", "info", "warn", "error", NULL};
    static const char *const formats[] = {"text", "json", NULL};
    static const char *const access[] = {"off", "combined", "json", NULL};
    const uint64_t day_ms = 86400000, gib = 1u << 30;
    const struct option table[] = {
        {"Identity", "gateway", "NAME", OPTION_TEXT, &s->gateway, "default", NULL, 0, 0,
         "serve the Routes of this gateway"},
        {"Identity", "pod", "NAME", OPTION_TEXT, &s->pod, NULL, NULL, 0, 0,
         "name of this process in acks and status; default: the host name"},
        {"HTTP", "listen", "ADDR:PORT,...", OPTION_TEXT, &raw->listen, "0.0.0.0:8080", NULL, 0, 0,
         "where clients connect; [ADDR]:PORT for IPv6, :PORT for all addresses"},
        {"HTTP", "loops", "N", OPTION_COUNT, &s->loops, NULL, NULL, 1, SWAP_LOOPS_MAX,
         "event loops; default: one per usable core"},
        {"HTTP", "trusted-proxies", "CIDR,...", OPTION_TEXT, &raw->trusted, "", NULL, 0, 0,
         "peers whose X-Forwarded-*, X-Request-Id and trace headers are believed"},
        {"HTTP", "trace-sample", "SHARE", OPTION_TEXT, &raw->sample, "0", NULL, 0, 0,
         "of the traces that begin here, 0 to 1, how many are marked as sampled"},
        {"HTTP", "trace-resample", NULL, OPTION_SWITCH, &s->origin.resample, NULL, NULL, 0, 0,
         "decide so for traces of trusted proxies too, whatever they say"},
        {"HTTP", "server-header", "TEXT", OPTION_TEXT, &raw->server, "", NULL, 0, 0,
         "value of the Server header; empty: none"},
        {"HTTP", "drain-delay", "D", OPTION_DURATION, &s->drain_delay_ms, "5s", NULL, 0, day_ms,
         "after SIGTERM, how long to go on accepting connections"},
        {"Limits", "connections-max", "N", OPTION_COUNT, &raw->connections, "20000", NULL, 1,
         10000000, "client connections; more get 503"},
        {"Limits", "target-max", "BYTES", OPTION_BYTES, &raw->target, "8Ki", NULL, 16, 1u << 16,
         "of a request's URL; longer ones get 414"},
        {"Limits", "head-max", "BYTES", OPTION_BYTES, &raw->head, "32Ki", NULL, 256, 1u << 22,
         "of a request's line and headers; larger ones get 431"},
        {"Limits", "body-max", "BYTES", OPTION_BYTES, &raw->body, "8Mi", NULL, 0, gib,
         "of a request's body; larger ones, and those over max_payload of NATS, get 413"},
        {"Limits", "buffered-max", "BYTES", OPTION_BYTES, &raw->buffered, "128Mi", NULL, 1u << 20,
         0,
         "of all requests being received or answered, 16 KiB each or what they have; past it 503"},
        {"Limits", "unsent-max", "BYTES", OPTION_BYTES, &raw->unsent, "128Mi", NULL, 1, 0,
         "of all responses that clients are slow to take; past it the slowest is cut off"},
        {"Limits", "in-flight-max", "N", OPTION_COUNT, &s->in_flight_max, "8192", NULL, 1, 65535,
         "requests in flight of a connection to NATS; more get 503"},
        {"Limits", "nats-pending-max", "BYTES", OPTION_BYTES, &s->nats_pending_max, "16Mi", NULL,
         64 * 1024, gib, "waiting to be sent on a connection to NATS; past it requests get 503"},
        {"Limits", "idle-timeout", "D", OPTION_DURATION, &raw->idle_ms, "75s", NULL, 1, day_ms,
         "between requests of a connection"},
        {"Limits", "head-timeout", "D", OPTION_DURATION, &raw->head_ms, "10s", NULL, 1, day_ms,
         "for a request's line and headers to arrive; then 408"},
        {"Limits", "body-timeout", "D", OPTION_DURATION, &raw->body_ms, "30s", NULL, 1, day_ms,
         "for a request's body to arrive, plus a second for every 512 bytes; then 408"},
        {"Limits", "write-timeout", "D", OPTION_DURATION, &raw->write_ms, "30s", NULL, 1, day_ms,
         "without progress of a response; then the client is cut off"},
        {"NATS", "nats", "URL,...", OPTION_TEXT, &s->nats, "nats://127.0.0.1:4222", NULL, 0, 0,
         "servers"},
        {"NATS", "nats-table", "URL,...", OPTION_TEXT, &s->nats_table, NULL, NULL, 0, 0,
         "servers, with the user that reads the route table; default: --nats"},
        {"NATS", "nats-creds", "FILE", OPTION_TEXT, &s->nats_creds, NULL, NULL, 0, 0,
         "credentials of the user that sends requests"},
        {"NATS", "nats-table-creds", "FILE", OPTION_TEXT, &s->nats_table_creds, NULL, NULL, 0, 0,
         "credentials of the user that reads the route table; default: --nats-creds"},
        {"NATS", "nats-ca", "FILE", OPTION_TEXT, &s->nats_ca, NULL, NULL, 0, 0,
         "certificates of the authorities that servers are checked against"},
        {"NATS", "nats-cert", "FILE", OPTION_TEXT, &s->nats_cert, NULL, NULL, 0, 0,
         "client certificate, for servers that ask for one (mTLS)"},
        {"NATS", "nats-key", "FILE", OPTION_TEXT, &s->nats_key, NULL, NULL, 0, 0,
         "its private key; default: in the file of --nats-cert"},
        {"NATS", "nats-tls-first", NULL, OPTION_SWITCH, &s->nats_tls_first, NULL, NULL, 0, 0,
         "TLS before INFO, as servers with handshake_first want it"},
        {"NATS", "nats-js-domain", "D", OPTION_TEXT, &s->nats_js_domain, NULL, NULL, 0, 0,
         "JetStream domain of the route table"},
        {"NATS", "nats-inbox-prefix", "P", OPTION_TEXT, &s->nats_inbox_prefix, "_METROPOLIS", NULL,
         0, 0, "of the subjects that replies come on"},
        {"Operation", "admin", "ADDR:PORT", OPTION_TEXT, &raw->admin, "0.0.0.0:9090", NULL, 0, 0,
         "where /healthz, /readyz, /metrics and, for loopback only, /table are"},
        {"Operation", "route-metrics", "N", OPTION_COUNT, &s->route_metrics, "0", NULL, 0, 10000,
         "Routes that have series of their own on /metrics; 0: none"},
        {"Operation", "access-log", "FORMAT", OPTION_CHOICE, &s->access_log, "off", access, 0, 0,
         "a line per request on standard output: off, combined or json"},
        {"Operation", "log-level", "L", OPTION_CHOICE, &raw->log_level, "info", levels, 0, 0,
         "debug, info, warn or error"},
        {"Operation", "log-format", "F", OPTION_CHOICE, &raw->log_format, "text", formats, 0, 0,
         "text or json"},
    };

    return options_parse(table, sizeof(table) / sizeof(*table), "metropolis-gateway",
                         "Takes HTTP requests, sends each to a worker over NATS, and returns its "
                         "reply as the response.",
                         argc, argv);
}

static enum options_result refuse(const char *name, struct str value, const char *expected)
{
    fprintf(stderr, "metropolis-gateway: --%s: \"" STR_FMT "\" is not %s\n", name, STR_ARG(value),
            expected);
    return OPTIONS_EXIT_USAGE;
}

static enum options_result understand_listen(const char *text, struct settings *settings)
{
    struct str list = str_from(text);

    settings->listen_count = 0;
    do {
        const char *comma = list.len ? memchr(list.ptr, ',', list.len) : NULL;
        struct str part = {list.ptr, comma ? (size_t)(comma - list.ptr) : list.len};

        if (settings->listen_count == SETTINGS_LISTEN_MAX ||
            listener_parse(part, &settings->listen[settings->listen_count]) < 0)
            return refuse("listen", part, "ADDR:PORT with an IP address (at most 8 of them)");
        settings->listen_count++;
        list = comma ? str_after(list, part.len + 1) : (struct str){0};
    } while (list.len);
    return OPTIONS_OK;
}

/* A share of all 64-bit numbers: those below. */
static int share_parse(const char *text, uint64_t *ret_below)
{
    char *end;
    double share;

    if (strspn(text, "0123456789.") != strlen(text))
        return -EINVAL;
    share = strtod(text, &end);
    if (end == text || *end || share > 1)
        return -EINVAL;
    *ret_below = share < 1 ? (uint64_t)(share * 18446744073709551616.0) : UINT64_MAX;
    return 0;
}

/* A value that would split a response is a mistake of the operator's. */
static bool is_field_text(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7F)
            return false;
    return true;
}

/* Whole-process maxima are shared out evenly: loops share nothing. */
static void share_out(const struct raw *raw, struct settings *settings)
{
    uint64_t loops = settings->loops;

    settings->http = (struct http_settings){
        .limits = {.target_max = raw->target, .head_max = raw->head, .body_max = raw->body},
        .connections_max = (raw->connections + loops - 1) / loops,
        .buffered_max = (raw->buffered + loops - 1) / loops,
        .unsent_max = (raw->unsent + loops - 1) / loops,
        .idle_timeout_ms = (uint32_t)raw->idle_ms,
        .head_timeout_ms = (uint32_t)raw->head_ms,
        .body_timeout_ms = (uint32_t)raw->body_ms,
        .write_timeout_ms = (uint32_t)raw->write_ms,
        .server_header = str_from(raw->server),
    };
}

/* Later each connection reads them anew; one that is missing at the start is a mistake. */
static enum options_result check_files(const struct settings *settings)
{
    const struct {
        const char *option, *path;
    } files[] = {
        {"nats-creds", settings->nats_creds}, {"nats-table-creds", settings->nats_table_creds},
        {"nats-ca", settings->nats_ca},       {"nats-cert", settings->nats_cert},
        {"nats-key", settings->nats_key},
    };

    for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
        if (!files[i].path || access(files[i].path, R_OK) == 0)
            continue;
        fprintf(stderr, "metropolis-gateway: --%s %s: %s\n", files[i].option, files[i].path,
                strerror(errno));
        return OPTIONS_EXIT_USAGE;
    }
    return OPTIONS_OK;
}

enum options_result settings_read(int argc, char **argv, struct settings *ret_settings)
{
    struct settings *settings = ret_settings;
    struct raw raw = {0};
    struct str bad;
    enum options_result result;

    memset(settings, 0, sizeof(*settings));
    if (gethostname(settings->host_name, sizeof(settings->host_name) - 1) < 0)
        settings->host_name[0] = '\0';
    settings->pod = settings->host_name;
    settings->loops = usable_cores();
    result = parse(argc, argv, settings, &raw);
    if (result != OPTIONS_OK)
        return result;
    log_setup("metropolis-gateway", (enum log_level)raw.log_level, (enum log_format)raw.log_format);
    if (!settings->nats_table)
        settings->nats_table = settings->nats;
    if (!settings->nats_table_creds)
        settings->nats_table_creds = settings->nats_creds;
    if (settings->nats_key && !settings->nats_cert)
        return refuse("nats-key", str_from(settings->nats_key), "of any use without --nats-cert");
    if (!is_field_text(raw.server))
        return refuse("server-header", str_from(raw.server), "text without control characters");
    if (share_parse(raw.sample, &settings->origin.sampled_below) < 0)
        return refuse("trace-sample", str_from(raw.sample), "a share from 0 to 1, such as 0.01");
    if (peers_parse(str_from(raw.trusted), &settings->origin.trusted, &bad) < 0)
        return refuse("trusted-proxies", bad, "a network like 10.0.0.0/8 (at most 64 of them)");
    if (listener_parse(str_from(raw.admin), &settings->admin) < 0)
        return refuse("admin", str_from(raw.admin), "ADDR:PORT with an IP address");
    share_out(&raw, settings);
    result = understand_listen(raw.listen, settings);
    return result == OPTIONS_OK ? check_files(settings) : result;
}
