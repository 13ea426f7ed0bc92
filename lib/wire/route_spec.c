/*
 * route_spec: from what a user wrote to the model. (Back again: route_spec_write.c.)
 *
 * One function per kind of object, in the order of the fields. All that has a bound in the CRD has
 * the same bound here, because files and the KV bucket do not pass the API server, and an older CRD
 * may be installed. A message says what is wrong and what to write.
 *
 * The route is linked together from the top as it is filled, so that on a failure half-way
 * route_unref finds, and frees, the regular expressions that were compiled up to then.
 */
#include "lib/wire/route_spec.h"

#include <errno.h>
#include <stdlib.h>

#include "lib/wire/dns_name.h"
#include "lib/wire/json_read.h"
#include "lib/wire/route_spec_delivery.h"
#include "lib/wire/route_spec_path.h"
#include "lib/wire/subject.h"

enum { NAME_MAX_CHARS = 128, VALUE_MAX_CHARS = 1024 };

/* Copies text into the route, in lower case. */
static int copy_lower(struct route *route, struct str text, struct str *ret_copy)
{
    struct str copy = arena_copy(route->arena, text);

    if (!copy.ptr)
        return -ENOMEM;
    for (size_t i = 0; i < copy.len; i++)
        ((char *)copy.ptr)[i] = str_lower_byte(copy.ptr[i]);
    *ret_copy = copy;
    return 0;
}

static int copy_text(struct route *route, struct str text, struct str *ret_copy)
{
    struct str copy = arena_copy(route->arena, text);

    if (!copy.ptr)
        return -ENOMEM;
    *ret_copy = copy;
    return 0;
}

/* A name as Kubernetes has them: gateways' and rules'. */
static int read_name(const struct json_reader *reader, const struct json_place *place,
                     yyjson_val *value, struct route *route, struct str *ret_name)
{
    struct str text;
    int r = json_string(reader, place, value, 1, DNS_LABEL_MAX, &text);

    if (r < 0)
        return r;
    if (!dns_label_valid(text))
        return json_refuse(reader, place,
                           "\"" STR_FMT "\" is no name: write lower-case letters, digits and "
                           "\"-\", with a letter or digit at both ends",
                           STR_ARG(text));
    return copy_text(route, text, ret_name);
}

/* ---- hostnames ---- */

static bool hostname_valid(struct str host)
{
    bool wildcard = str_starts_with(host, STR_LIT("*."));

    return dns_name_valid(wildcard ? str_after(host, 2) : host, DNS_LABEL_MAX);
}

static int compare_hostnames(const void *a, const void *b)
{
    return str_compare(*(const struct str *)a, *(const struct str *)b);
}

static int read_hostnames(const struct json_reader *reader, const struct json_place *place,
                          yyjson_val *list, struct route *route)
{
    struct str *hosts;
    size_t count, at, size;
    yyjson_val *item;
    int r = json_list(reader, place, list, 0, ROUTE_HOSTNAMES_MAX, &count);

    if (r < 0)
        return r;
    hosts = arena_take_array(route->arena, count, sizeof(*hosts));
    if (!hosts)
        return -ENOMEM;
    yyjson_arr_foreach(list, at, size, item)
    {
        struct json_place here = {.parent = place, .index = at};
        struct str text;

        r = json_string(reader, &here, item, 1, DNS_NAME_MAX, &text);
        if (r >= 0)
            r = copy_text(route, text, &hosts[at]);
        if (r < 0)
            return r;
        if (!hostname_valid(hosts[at]))
            return json_refuse(reader, &here,
                               "\"" STR_FMT "\" is no host name: write a lower-case DNS name "
                               "without scheme, port or path, such as \"api.example.com\" or "
                               "\"*.example.com\"; for every host leave hostnames out",
                               STR_ARG(text));
    }
    qsort(hosts, count, sizeof(*hosts), compare_hostnames);
    for (size_t i = 1; i < count; i++)
        if (str_equal(hosts[i - 1], hosts[i]))
            return json_refuse(reader, place, "\"" STR_FMT "\" occurs twice", STR_ARG(hosts[i]));
    route->hostnames = hosts;
    route->hostname_count = (uint8_t)count;
    return 0;
}

/* ---- headers and query parameters of a match ---- */

static bool header_name_valid(struct str name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = str_lower_byte(name.ptr[i]);

        if ((c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-')
            return false;
    }
    return true;
}

static bool blank(char c)
{
    return c == ' ' || c == '\t';
}

/* Whether a request can have it: the gateway trims values and refuses control bytes. */
static bool header_value_possible(struct str value)
{
    if (value.len == 0 || blank(value.ptr[0]) || blank(value.ptr[value.len - 1]))
        return false;
    for (size_t i = 0; i < value.len; i++)
        if ((unsigned char)value.ptr[i] < 0x20 || value.ptr[i] == 0x7F)
            return false;
    return true;
}

static int compare_conditions(const void *a, const void *b)
{
    return str_compare(((const struct route_condition *)a)->name,
                       ((const struct route_condition *)b)->name);
}

static int read_condition(const struct json_reader *reader, const struct json_place *place,
                          yyjson_val *value, bool header, struct route *route,
                          struct route_condition *ret_condition)
{
    static const char *const names[] = {"name", "value"};
    struct json_place name_place = {.parent = place, .name = "name"};
    struct json_place value_place = {.parent = place, .name = "value"};
    struct str name, text;
    yyjson_val *fields[2];
    int r = json_object(reader, place, value, names, 2, fields);

    if (r < 0)
        return r;
    if (!fields[0] || !fields[1])
        return json_refuse(reader, place, "needs name and value");
    r = json_string(reader, &name_place, fields[0], 1, NAME_MAX_CHARS, &name);
    if (r >= 0)
        r = json_string(reader, &value_place, fields[1], 0, VALUE_MAX_CHARS, &text);
    if (r < 0)
        return r;
    if (header && !header_name_valid(name))
        return json_refuse(reader, &name_place,
                           "\"" STR_FMT "\" is no header that is passed on: write letters, digits "
                           "and \"-\", such as \"x-tier\"",
                           STR_ARG(name));
    if (header && !header_value_possible(text))
        return json_refuse(reader, &value_place,
                           "no request has this value: it must not be empty, hold control "
                           "characters, or begin or end with a blank");
    r = header ? copy_lower(route, name, &ret_condition->name)
               : copy_text(route, name, &ret_condition->name);
    return r < 0 ? r : copy_text(route, text, &ret_condition->value);
}

static int read_conditions(const struct json_reader *reader, const struct json_place *place,
                           yyjson_val *list, bool header, struct route *route,
                           const struct route_condition **ret_conditions, uint8_t *ret_count)
{
    struct route_condition *conditions;
    size_t count, at, size;
    yyjson_val *item;
    int r = json_list(reader, place, list, 0, ROUTE_CONDITIONS_MAX, &count);

    if (r < 0)
        return r;
    conditions = arena_take_array(route->arena, count, sizeof(*conditions));
    if (!conditions)
        return -ENOMEM;
    yyjson_arr_foreach(list, at, size, item)
    {
        struct json_place here = {.parent = place, .index = at};

        r = read_condition(reader, &here, item, header, route, &conditions[at]);
        if (r < 0)
            return r;
    }
    qsort(conditions, count, sizeof(*conditions), compare_conditions);
    for (size_t i = 1; i < count; i++)
        if (str_equal(conditions[i - 1].name, conditions[i].name))
            return json_refuse(reader, place,
                               "\"" STR_FMT "\" occurs twice: no request is taken "
                               "by both; keep one",
                               STR_ARG(conditions[i].name));
    *ret_conditions = conditions;
    *ret_count = (uint8_t)count;
    return 0;
}

/* ---- matches ---- */

static int read_method(const struct json_reader *reader, const struct json_place *place,
                       yyjson_val *value, uint8_t *ret_method)
{
    struct str text;
    int r = json_string(reader, place, value, 1, 16, &text);

    if (r < 0)
        return r;
    r = route_method_parse(text);
    if (r < 0)
        return json_refuse(reader, place,
                           "\"" STR_FMT
                           "\" is no method that can be routed: write GET, HEAD, POST, "
                           "PUT, PATCH, DELETE, OPTIONS or TRACE",
                           STR_ARG(text));
    *ret_method = (enum route_method)r;
    return 0;
}

/* value NULL: the match of a rule without any. */
static int read_match(const struct json_reader *reader, const struct json_place *place,
                      yyjson_val *value, struct route *route, struct route_match *match)
{
    static const char *const names[] = {"path", "method", "headers", "queryParams"};
    struct json_place places[4];
    yyjson_val *fields[4] = {NULL};
    int r = value ? json_object(reader, place, value, names, 4, fields) : 0;

    for (size_t i = 0; i < 4; i++)
        places[i] = (struct json_place){.parent = place, .name = names[i]};
    if (r >= 0)
        r = route_spec_read_path(reader, &places[0], fields[0], route, match);
    if (r >= 0 && fields[1])
        r = read_method(reader, &places[1], fields[1], &match->method);
    if (r >= 0 && fields[2])
        r = read_conditions(reader, &places[2], fields[2], true, route, &match->headers,
                            &match->header_count);
    if (r >= 0 && fields[3])
        r = read_conditions(reader, &places[3], fields[3], false, route, &match->params,
                            &match->param_count);
    return r;
}

/* list NULL: none are given, which is one that takes every request. */
static int read_matches(const struct json_reader *reader, const struct json_place *place,
                        yyjson_val *list, struct route *route, struct route_rule *rule)
{
    struct route_match *matches;
    size_t count = 1;
    int r = list ? json_list(reader, place, list, 1, ROUTE_MATCHES_MAX, &count) : 0;

    if (r < 0)
        return r;
    matches = arena_take_array(route->arena, count, sizeof(*matches));
    if (!matches)
        return -ENOMEM;
    rule->matches = matches;
    rule->match_count = (uint8_t)count;
    for (size_t i = 0; i < count && r >= 0; i++) {
        struct json_place here = {.parent = place, .index = i};

        r = read_match(reader, &here, list ? yyjson_arr_get(list, i) : NULL, route, &matches[i]);
    }
    return r;
}

/* ---- backends ---- */

/* value NULL: the backend of a rule without any. */
static int read_backend(const struct json_reader *reader, const struct json_place *place,
                        yyjson_val *value, struct route *route, struct route_backend *ret_backend)
{
    static const char *const names[] = {"subject", "weight"};
    struct json_place subject_place = {.parent = place, .name = "subject"};
    struct json_place weight_place = {.parent = place, .name = "weight"};
    yyjson_val *fields[2] = {NULL};
    struct str subject = str_make(NULL, 0);
    int64_t weight = 1;
    int r = value ? json_object(reader, place, value, names, 2, fields) : 0;

    if (r >= 0 && fields[0])
        r = json_string(reader, &subject_place, fields[0], 1, ROUTE_TARGET_MAX, &subject);
    if (r >= 0 && fields[1])
        r = json_integer(reader, &weight_place, fields[1], 0, ROUTE_WEIGHT_MAX, &weight);
    if (r < 0)
        return r;
    ret_backend->weight = (uint32_t)weight;
    return copy_text(route, subject, &ret_backend->subject);
}

static int read_backends(const struct json_reader *reader, const struct json_place *place,
                         yyjson_val *list, struct route *route, struct route_rule *rule)
{
    struct route_backend *backends;
    size_t count = 1;
    int r = list ? json_list(reader, place, list, 1, ROUTE_BACKENDS_MAX, &count) : 0;

    if (r < 0)
        return r;
    backends = arena_take_array(route->arena, count, sizeof(*backends));
    if (!backends)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++) {
        struct json_place here = {.parent = place, .index = i};

        r = read_backend(reader, &here, list ? yyjson_arr_get(list, i) : NULL, route, &backends[i]);
        if (r < 0)
            return r;
        rule->weight_total += backends[i].weight;
    }
    if (rule->weight_total == 0)
        return json_refuse(reader, place,
                           "every backend has the weight 0, so no request could be "
                           "sent: give one of them a weight above 0");
    rule->backends = backends;
    rule->backend_count = (uint8_t)count;
    return 0;
}

/* Metropolis 0.1 spells the method in lower case, and there is only one. */
static void lower_method(struct route_target *target)
{
    struct route_part *parts = (struct route_part *)target->parts;

    for (size_t i = 0; i < target->part_count; i++)
        if (parts[i].kind == ROUTE_PART_METHOD)
            parts[i] = (struct route_part){.kind = ROUTE_PART_LITERAL, .text = STR_LIT("get")};
}

/* The targets of one match: what each backend's subject means for its path. */
static int compile_match(const struct json_reader *reader, const struct json_place *place,
                         struct route *route, const struct route_rule *rule, size_t match_index)
{
    struct route_match *match = (struct route_match *)&rule->matches[match_index];
    struct json_place backends = {.parent = place, .name = "backends"};
    struct json_place matches = {.parent = place, .name = "matches"};
    struct route_target *targets;

    targets = arena_take_array(route->arena, rule->backend_count, sizeof(*targets));
    if (!targets)
        return -ENOMEM;
    for (size_t i = 0; i < rule->backend_count; i++) {
        struct json_place backend = {.parent = &backends, .index = i};
        struct json_place subject = {.parent = &backend, .name = "subject"};
        struct json_place in_match = {.parent = &matches, .index = match_index};
        struct json_place path = {.parent = &in_match, .name = "path"};
        bool derived = rule->backends[i].subject.len == 0;
        struct str error;
        int r =
            subject_compile(rule->backends[i].subject, match, route->arena, &targets[i], &error);

        if (r == -EINVAL)
            json_refuse(reader, derived ? &path : &subject, STR_FMT, STR_ARG(error));
        if (r < 0)
            return r;
        if (rule->codec == ROUTE_CODEC_METROPOLIS_V1)
            lower_method(&targets[i]);
    }
    match->targets = targets;
    return 0;
}

/* ---- rules ---- */

static int read_rule(const struct json_reader *reader, const struct json_place *place,
                     yyjson_val *value, struct route *route, struct route_rule *rule)
{
    static const char *const names[] = {"name",   "matches", "backends",      "timeout", "retry",
                                        "limits", "codec",   "serviceErrors", "cancel"};
    enum { FIELDS = sizeof(names) / sizeof(names[0]) };
    struct json_place places[FIELDS];
    yyjson_val *fields[FIELDS];
    int r = json_object(reader, place, value, names, FIELDS, fields);

    for (size_t i = 0; i < FIELDS; i++)
        places[i] = (struct json_place){.parent = place, .name = names[i]};
    rule->timeout_ms = ROUTE_TIMEOUT_DEFAULT_MS;
    if (r >= 0 && fields[0])
        r = read_name(reader, &places[0], fields[0], route, &rule->name);
    if (r >= 0)
        r = read_matches(reader, &places[1], fields[1], route, rule);
    if (r >= 0)
        r = read_backends(reader, &places[2], fields[2], route, rule);
    if (r >= 0 && fields[3])
        r = route_spec_read_timeout(reader, &places[3], fields[3], rule);
    if (r >= 0 && fields[4])
        r = route_spec_read_retry(reader, &places[4], fields[4], rule);
    if (r >= 0 && fields[5])
        r = route_spec_read_limits(reader, &places[5], fields[5], rule);
    if (r >= 0 && fields[6])
        r = route_spec_read_codec(reader, &places[6], fields[6], rule);
    if (r >= 0 && fields[7])
        r = route_spec_read_errors(reader, &places[7], fields[7], rule);
    if (r >= 0 && fields[8])
        r = route_spec_read_cancel(reader, &places[8], fields[8], rule);
    for (size_t i = 0; i < rule->match_count && r >= 0; i++)
        r = compile_match(reader, place, route, rule, i);
    return r;
}

static int check_rule_names(const struct json_reader *reader, const struct json_place *place,
                            const struct route *route)
{
    for (size_t i = 0; i < route->rule_count; i++)
        for (size_t j = 0; j < i && route->rules[i].name.len; j++)
            if (str_equal(route->rules[i].name, route->rules[j].name))
                return json_refuse(reader, place,
                                   "two rules have the name \"" STR_FMT
                                   "\": give each a name of its own, or none",
                                   STR_ARG(route->rules[i].name));
    return 0;
}

static int read_rules(const struct json_reader *reader, const struct json_place *place,
                      yyjson_val *list, struct route *route)
{
    struct route_rule *rules;
    size_t count, at, size;
    yyjson_val *item;
    int r = json_list(reader, place, list, 1, ROUTE_RULES_MAX, &count);

    if (r < 0)
        return r;
    rules = arena_take_array(route->arena, count, sizeof(*rules));
    if (!rules)
        return -ENOMEM;
    route->rules = rules;
    route->rule_count = (uint8_t)count;
    yyjson_arr_foreach(list, at, size, item)
    {
        struct json_place here = {.parent = place, .index = at};

        rules[at].index = (uint16_t)at;
        r = read_rule(reader, &here, item, route, &rules[at]);
        if (r < 0)
            return r;
    }
    return check_rule_names(reader, place, route);
}

int route_spec_read(yyjson_val *spec, struct route *route, struct route_spec_error *ret_error)
{
    static const char *const names[] = {"gateway", "hostnames", "rules"};
    struct json_reader reader = {.text = ret_error->text, .size = sizeof(ret_error->text)};
    struct json_place place = {.name = "spec"}, places[3];
    yyjson_val *fields[3];
    int r = json_object(&reader, &place, spec, names, 3, fields);

    for (size_t i = 0; i < 3; i++)
        places[i] = (struct json_place){.parent = &place, .name = names[i]};
    if (r < 0)
        return r;
    if (!fields[2])
        return json_refuse(&reader, &place, "needs rules");
    r = fields[0] ? read_name(&reader, &places[0], fields[0], route, &route->gateway)
                  : copy_text(route, STR_LIT("default"), &route->gateway);
    if (r >= 0 && fields[1])
        r = read_hostnames(&reader, &places[1], fields[1], route);
    if (r >= 0)
        r = read_rules(&reader, &places[2], fields[2], route);
    return r;
}
