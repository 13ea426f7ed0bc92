/*
 * names: the lengths are checked once, so that nothing that is put together later can be cut.
 */
#include "dataplane/table/names.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

int names_init(struct names *names, const char *gateway, const char *pod, const char *js_domain)
{
    bool has_domain = js_domain && *js_domain;
    int most = NAMES_BYTES - 64;

    if (strlen(gateway) > 63 || strlen(pod) > 253 || (has_domain && strlen(js_domain) > 128))
        return -EINVAL;
    snprintf(names->stream, sizeof(names->stream), "KV_metropolis-%.*s", most, gateway);
    snprintf(names->prefix, sizeof(names->prefix), "$KV.metropolis-%.*s.", most, gateway);
    snprintf(names->api, sizeof(names->api), has_domain ? "$JS.%.*s.API." : "$JS.%.*sAPI.", most,
             has_domain ? js_domain : "");
    /* A write to a bucket of another domain goes through that domain's API. */
    snprintf(names->ack_subject, sizeof(names->ack_subject), "%s$KV.metropolis_acks.%s.%s",
             has_domain ? names->api : "", gateway, pod);
    return 0;
}

struct names_subject names_request(const struct names *names, const char *kind)
{
    struct names_subject subject;

    snprintf(subject.text, sizeof(subject.text), "%s%s.%s", names->api, kind, names->stream);
    return subject;
}

const char *names_bucket(const struct names *names)
{
    return names->stream + strlen("KV_");
}
