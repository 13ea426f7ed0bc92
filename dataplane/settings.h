/*
 * settings: what the command line and the environment say (docs: DESIGN, Command lines). Read once,
 * immutable afterwards, shared by all threads.
 */
#ifndef DATAPLANE_SETTINGS_H
#define DATAPLANE_SETTINGS_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "dataplane/http/server.h"
#include "dataplane/loop/access_log.h"
#include "dataplane/origin.h"
#include "lib/base/options.h"

enum { SETTINGS_LISTEN_MAX = 8 };

struct settings {
    const char *gateway, *pod;
    struct sockaddr_storage listen[SETTINGS_LISTEN_MAX], admin;
    size_t listen_count;
    uint64_t loops;
    uint64_t drain_delay_ms;
    struct origin_rules origin;
    uint64_t route_metrics; /* Routes that are counted one by one */
    int access_log;         /* enum access_log_format */
    const char *nats, *nats_table, *nats_creds, *nats_table_creds;
    const char *nats_ca, *nats_cert, *nats_key; /* NULL: none */
    bool nats_tls_first;
    const char *nats_js_domain, *nats_inbox_prefix;
    uint64_t in_flight_max;    /* requests of a connection to NATS */
    uint64_t nats_pending_max; /* bytes of one */
    struct http_settings http; /* per loop */
    char host_name[HOST_NAME_MAX + 1];
};

/* Errors are on standard error; anything but OPTIONS_OK: exit (0 or 2). */
enum options_result settings_read(int argc, char **argv, struct settings *ret_settings);

#endif
