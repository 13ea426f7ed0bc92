/*
 * settings: the command line of metropolis-controller, understood.
 */
#ifndef CONTROLLER_SETTINGS_H
#define CONTROLLER_SETTINGS_H

#include "controller/compile/compile.h"
#include "lib/base/options.h"
#include "lib/wire/dns_name.h"

struct settings_gateway {
    char name[DNS_LABEL_MAX + 1];
    char namespace_name[DNS_LABEL_MAX + 1], service[DNS_LABEL_MAX + 1]; /* empty: no Service */
};

/* Strings are borrowed from argv and the environment; NULL: not given. */
struct settings {
    const char *kubeconfig, *context, *namespaces;
    const char *routes;
    const char *policy;
    const char *owner;
    const char *lease; /* "none": no Lease */
    struct settings_gateway gateways[COMPILE_GATEWAYS_MAX];
    unsigned gateway_count;
    const char *nats, *nats_creds, *nats_ca, *nats_js_domain, *nats_inbox_prefix;
    uint64_t nats_replicas;
    const char *admin;
};

/* Also sets up the log. Anything but OPTIONS_OK has been reported. */
enum options_result settings_read(int argc, char **argv, struct settings *ret_settings);

/* NAME[=NS/SERVICE],... into gateways and gateway_count. */
enum options_result settings_read_gateways(const char *text, struct settings *settings);

#endif
