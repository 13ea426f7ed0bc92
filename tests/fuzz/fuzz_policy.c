/*
 * Any bytes as a policy: read, or refused with a sentence; one that was read judges Routes, and
 * whatever it denies has a reason.
 */
#include <stdlib.h>
#include <yyjson.h>

#include "controller/compile/policy.h"
#include "lib/base/utf8.h"
#include "lib/wire/route_spec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const specs[] = {
    "{\"rules\":[{\"matches\":[{\"path\":{\"value\":\"/shop\"}}]}]}",
    "{\"gateway\":\"edge\",\"hostnames\":[\"*.a.com\",\"b.com\"],\"rules\":[{\"matches\":[{"
    "\"path\":"
    "{\"type\":\"Template\",\"value\":\"/t/{id}/{rest...}\"}}],\"backends\":[{\"subject\":"
    "\"shop.{rest...}.{id}\"},{\"subject\":\"{path...}\"}]}]}",
};
static const char *const namespaces[] = {"shop", "team-a"};

enum { SPECS = 2, NAMESPACES = 2 };

static struct route *make_route(const char *text, const char *namespace_name)
{
    struct route *route = route_new();
    yyjson_doc *doc = yyjson_read(text, strlen(text), 0);
    struct route_spec_error error;

    if (!route || route_spec_read(yyjson_doc_get_root(doc), route, &error) < 0 ||
        route_identify(route, str_from(namespace_name), STR_LIT("name"), STR_LIT("uid")) < 0)
        abort();
    yyjson_doc_free(doc);
    return route;
}

static void judge(const struct policy *policy)
{
    static struct route *routes[SPECS * NAMESPACES];
    struct buffer reason;

    for (size_t i = 0; i < SPECS * NAMESPACES; i++) {
        if (!routes[i])
            routes[i] = make_route(specs[i / NAMESPACES], namespaces[i % NAMESPACES]);
        buffer_init(&reason, 4096);
        if ((policy_judge(policy, routes[i], &reason) == 0) != (buffer_length(&reason) > 0) ||
            !utf8_valid(buffer_view(&reason)))
            abort();
        buffer_done(&reason);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char error[POLICY_ERROR_MAX] = "";
    struct policy *policy;

    if (policy_read(str_make((const char *)data, size), &policy, error) < 0) {
        if (!error[0] || !utf8_valid(str_from(error)))
            abort();
        return 0;
    }
    judge(policy);
    policy_free(policy);
    return 0;
}
