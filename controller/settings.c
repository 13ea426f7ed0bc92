/*
 * settings: the one table of the controller's options. docs and chart are checked against its
 * --help.
 */
#include "controller/settings.h"

#include <stdio.h>

#include "lib/base/log.h"
#include "lib/wire/table_codec.h"

static enum options_result parse(int argc, char **argv, struct settings *s, const char **gateways)
{
    static const char *const levels[] = {"debug", "info", "warn", "error", NULL};
    static const char *const formats[] = {"text", "json", NULL};
    int level = 0, format = 0;
    const struct option table[] = {
        {"Routes", "kubeconfig", "FILE", OPTION_TEXT, &s->kubeconfig, NULL, NULL, 0, 0,
         "how to reach the API server; default: KUBECONFIG, the pod's service account, "
         "~/.kube/config"},
        {"Routes", "context", "NAME", OPTION_TEXT, &s->context, NULL, NULL, 0, 0,
         "of the kubeconfig; default: its current one"},
        {"Routes", "namespace", "NS,...", OPTION_TEXT, &s->namespaces, NULL, NULL, 0, 0,
         "watch only these namespaces; default: all"},
        {"Routes", "lease", "NAME", OPTION_TEXT, &s->lease, NULL, NULL, 0, 0,
         "the Lease, in the namespace of the pod or context, that says which of several "
         "controllers "
         "leads; \"none\": this is the only one; default: metropolis-controller, or another per "
         "--owner"},
        {"Routes", "routes", "DIR", OPTION_TEXT, &s->routes, NULL, NULL, 0, 0,
         "read Routes from the YAML files of this folder instead of Kubernetes"},
        {"Routes", "policy", "FILE", OPTION_TEXT, &s->policy, NULL, NULL, 0, 0,
         "the hosts, subjects and gateways that each namespace may use, followed as it changes; "
         "default: all may use all"},
        {"Tables", "gateways", "NAME[=NS/SERVICE],...", OPTION_TEXT, gateways, "default", NULL, 0,
         0, "gateways to publish for, and the Service whose ready pods each one has"},
        {"Tables", "owner", "ID", OPTION_TEXT, &s->owner, NULL, NULL, 0, 0,
         "whose route tables these are; default: the uid of namespace kube-system, or with "
         "--routes files-<host name>"},
        {"NATS", "nats", "URL,...", OPTION_TEXT, &s->nats, "nats://127.0.0.1:4222", NULL, 0, 0,
         "servers"},
        {"NATS", "nats-creds", "FILE", OPTION_TEXT, &s->nats_creds, NULL, NULL, 0, 0,
         "credentials"},
        {"NATS", "nats-ca", "FILE", OPTION_TEXT, &s->nats_ca, NULL, NULL, 0, 0,
         "certificates of the authorities that servers are checked against"},
        {"NATS", "nats-js-domain", "D", OPTION_TEXT, &s->nats_js_domain, NULL, NULL, 0, 0,
         "JetStream domain of the route tables"},
        {"NATS", "nats-inbox-prefix", "P", OPTION_TEXT, &s->nats_inbox_prefix, NULL, NULL, 0, 0,
         "of the subjects that replies come on; default: _INBOX"},
        {"NATS", "nats-replicas", "N", OPTION_COUNT, &s->nats_replicas, "1", NULL, 1, 5,
         "copies of a route table that NATS keeps, when the controller creates it"},
        {"Operation", "admin", "ADDR:PORT", OPTION_TEXT, &s->admin, "0.0.0.0:9090", NULL, 0, 0,
         "where /healthz, /readyz, /metrics and, for loopback only, /fleet are"},
        {"Operation", "log-level", "L", OPTION_CHOICE, &level, "info", levels, 0, 0,
         "debug, info, warn or error"},
        {"Operation", "log-format", "F", OPTION_CHOICE, &format, "text", formats, 0, 0,
         "text or json"},
    };
    enum options_result result = options_parse(
        table, sizeof(table) / sizeof(*table), "metropolis-controller",
        "Watches Routes and publishes the route tables of gateways over NATS. With `compile` as "
        "the first\n"
        "argument it only tells what it would make of Routes in files (compile --help).",
        argc, argv);

    if (result == OPTIONS_OK)
        log_setup("metropolis-controller", (enum log_level)level, (enum log_format)format);
    return result;
}

static enum options_result refuse(const char *name, struct str value, const char *expected)
{
    fprintf(stderr, "metropolis-controller: --%s: \"" STR_FMT "\" is not %s\n", name,
            STR_ARG(value), expected);
    return OPTIONS_EXIT_USAGE;
}

static bool copy_label(struct str text, char out[DNS_LABEL_MAX + 1])
{
    if (!dns_label_valid(text))
        return false;
    memcpy(out, text.ptr, text.len);
    out[text.len] = '\0';
    return true;
}

/* NAME or NAME=NS/SERVICE */
static bool read_gateway(struct str text, struct settings_gateway *gateway)
{
    const char *equals = memchr(text.ptr, '=', text.len);
    const char *slash;
    struct str name = text, service;

    if (!equals)
        return copy_label(name, gateway->name);
    name.len = (size_t)(equals - text.ptr);
    service = str_after(text, name.len + 1);
    slash = memchr(service.ptr, '/', service.len);
    if (!slash)
        return false;
    return copy_label(name, gateway->name) &&
           copy_label(str_make(service.ptr, (size_t)(slash - service.ptr)),
                      gateway->namespace_name) &&
           copy_label(str_after(service, (size_t)(slash - service.ptr) + 1), gateway->service);
}

enum options_result settings_read_gateways(const char *text, struct settings *settings)
{
    struct str rest = str_from(text);

    for (bool more = true; more;) {
        const char *comma = rest.len ? memchr(rest.ptr, ',', rest.len) : NULL;
        struct str part = str_make(rest.ptr, comma ? (size_t)(comma - rest.ptr) : rest.len);
        struct settings_gateway *gateway = &settings->gateways[settings->gateway_count];

        if (settings->gateway_count == COMPILE_GATEWAYS_MAX || !part.len ||
            !read_gateway(part, gateway))
            return refuse("gateways", part, "NAME or NAME=NAMESPACE/SERVICE (at most 64 of them)");
        for (unsigned i = 0; i < settings->gateway_count; i++)
            if (strcmp(settings->gateways[i].name, gateway->name) == 0)
                return refuse("gateways", part, "a new name: each gateway is named once");
        if (settings->routes && gateway->service[0])
            return refuse("gateways", part, "possible with --routes: Services need Kubernetes");
        settings->gateway_count++;
        more = comma != NULL;
        rest = more ? str_after(rest, part.len + 1) : rest;
    }
    return OPTIONS_OK;
}

static bool is_owner(const char *text)
{
    size_t length = strlen(text);

    return length > 0 && length <= TABLE_ID_MAX &&
           strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-") ==
               length;
}

enum options_result settings_read(int argc, char **argv, struct settings *ret_settings)
{
    const char *gateways = NULL;
    enum options_result result;

    *ret_settings = (struct settings){0};
    result = parse(argc, argv, ret_settings, &gateways);
    if (result != OPTIONS_OK)
        return result;
    if (ret_settings->owner && !is_owner(ret_settings->owner))
        return refuse("owner", str_from(ret_settings->owner),
                      "1 to 64 letters, digits, \"_\", \".\" and \"-\"");
    if (ret_settings->routes && (ret_settings->kubeconfig || ret_settings->context))
        return refuse("routes", str_from(ret_settings->routes),
                      "possible with --kubeconfig or --context: Routes have one source");
    if (ret_settings->routes && ret_settings->namespaces)
        return refuse("namespace", str_from(ret_settings->namespaces),
                      "possible with --routes: files are read whatever their namespace");
    if (ret_settings->lease && !dns_name_valid(str_from(ret_settings->lease), DNS_LABEL_MAX))
        return refuse("lease", str_from(ret_settings->lease), "the name of a Lease, or none");
    if (ret_settings->lease && ret_settings->routes)
        return refuse("lease", str_from(ret_settings->lease),
                      "possible with --routes: Leases need Kubernetes");
    return settings_read_gateways(gateways, ret_settings);
}
