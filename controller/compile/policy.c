/*
 * policy: reading a policy, and judging Routes by it.
 *
 * Deny unless allowed, in the small too: a rule without hostnames or subjects is refused, not taken
 * for one that allows all. Rules are not combined: a host from one and a subject from another would
 * give a namespace more than anybody wrote down. There are no rules that forbid, so their order
 * means nothing.
 *
 * Tenants may be many and have a rule each, so rules are found by namespace (grants); only those
 * with a "*" in the name are gone through one by one.
 */
#include "controller/compile/policy.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "controller/compile/reach.h"
#include "lib/base/utf8.h"
#include "lib/wire/dns_name.h"
#include "lib/wire/json_read.h"
#include "lib/wire/yaml.h"

#define OWN_NAMESPACE STR_LIT("{namespace}")

enum {
    PATTERN_CHARS_MAX = 256,
    ARENA_MAX = 64 * 1024 * 1024, /* far more than a file of POLICY_FILE_MAX makes */
    LISTED_MAX = 400,             /* bytes of a list in a reason */
    QUOTED_MAX = 128,             /* bytes of a path in a reason */
};

struct pattern {
    struct str text;
    bool is_own; /* holds {namespace} */
};

struct patterns {
    const struct pattern *items;
    size_t count;
};

struct policy_rule {
    struct patterns namespaces, hostnames, subjects, gateways;
    unsigned index;
};

/* One name of a rule's namespaces. */
struct grant {
    struct str namespace_name;
    const struct policy_rule *rule;
};

struct policy {
    struct arena arena;
    struct grant *grants; /* sorted by name; then those with a "*" */
    size_t exact_count, count;
};

/* ---- patterns ---- */

/* Into room, if the pattern holds {namespace}; else borrows the pattern. */
static struct str expand(const struct pattern *pattern, struct str namespace_name,
                         char room[REACH_PATTERN_MAX])
{
    struct str rest = pattern->text;
    size_t length = 0;

    if (!pattern->is_own)
        return rest;
    assert(namespace_name.len <= DNS_LABEL_MAX);
    while (rest.len) {
        bool own = str_starts_with(rest, OWN_NAMESPACE);
        struct str piece = own ? namespace_name : str_make(rest.ptr, 1);

        assert(length + piece.len <= REACH_PATTERN_MAX);
        memcpy(room + length, piece.ptr, piece.len);
        length += piece.len;
        rest = str_after(rest, own ? OWN_NAMESPACE.len : 1);
    }
    return str_make(room, length);
}

static bool ends_with(struct str text, struct str end)
{
    return text.len >= end.len && str_equal(str_after(text, text.len - end.len), end);
}

/* "*" in the pattern stands for any characters, or none. */
static bool name_within(struct str name, struct str pattern)
{
    const char *star = memchr(pattern.ptr, '*', pattern.len);
    struct str begin, end;

    if (!star)
        return str_equal(name, pattern);
    begin = str_make(pattern.ptr, (size_t)(star - pattern.ptr));
    end = str_after(pattern, begin.len + 1);
    return name.len >= begin.len + end.len && str_starts_with(name, begin) && ends_with(name, end);
}

/* hostname: a Route's; empty: any host. "*.a" of a Route takes one label or more, so "*.a" holds
 * "x.a", "*.a" and "*.x.a", but not "a". */
static bool hostname_within(struct str hostname, struct str pattern)
{
    if (str_equal(pattern, STR_LIT("*")))
        return true;
    if (!str_starts_with(pattern, STR_LIT("*.")))
        return str_equal(hostname, pattern);
    if (str_starts_with(hostname, STR_LIT("*.")))
        hostname = str_after(hostname, 1);
    return ends_with(hostname, str_after(pattern, 1));
}

/* ---- reading ---- */

static bool is_name_pattern(struct str text)
{
    size_t stars = 0;

    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];

        if ((c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '*')
            return false;
        stars += c == '*';
    }
    return text.len <= DNS_LABEL_MAX && (stars == 1 || (stars == 0 && dns_label_valid(text)));
}

static bool is_hostname_pattern(struct str text)
{
    struct str name = str_starts_with(text, STR_LIT("*.")) ? str_after(text, 2) : text;

    return str_equal(text, STR_LIT("*")) || dns_name_valid(name, DNS_LABEL_MAX);
}

/* A brace is a placeholder that nobody fills in. */
static bool is_subject_pattern(struct str text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.ptr[i] == '{' || text.ptr[i] == '}')
            return false;
    return reach_pattern_valid(text);
}

/* What a list holds. */
struct kind {
    const char *field;
    bool (*valid)(struct str text);
    bool may_be_own, in_lower_case;
    const char *expected;
};

static const struct kind namespaces_kind = {
    "namespaces", is_name_pattern, false, false,
    "name of namespaces: write lower-case letters, digits and \"-\", and at most one \"*\""};
static const struct kind hostnames_kind = {
    "hostnames", is_hostname_pattern, true, true,
    "host name: write \"api.example.com\", \"*.example.com\", or \"*\" for any; {namespace} is the "
    "Route's namespace"};
static const struct kind subjects_kind = {
    "subjects", is_subject_pattern, true, false,
    "subject: write tokens with dots between them, \"*\" for any token, a last \">\" for any that "
    "follow; {namespace} is the Route's namespace"};
static const struct kind gateways_kind = {
    "gateways", is_name_pattern, false, false,
    "name of gateways: write lower-case letters, digits and \"-\", and at most one \"*\""};

static int read_pattern(const struct json_reader *reader, const struct json_place *place,
                        yyjson_val *value, const struct kind *kind, struct arena *arena,
                        struct pattern *pattern)
{
    char room[REACH_PATTERN_MAX];
    struct str text;
    int r = json_string(reader, place, value, 1, PATTERN_CHARS_MAX, &text);

    if (r < 0)
        return r;
    pattern->text = arena_copy(arena, text);
    if (!pattern->text.ptr)
        return -ENOMEM;
    for (size_t i = 0; i < text.len && kind->in_lower_case; i++)
        ((char *)pattern->text.ptr)[i] = str_lower_byte(text.ptr[i]);
    pattern->is_own = kind->may_be_own && memmem(pattern->text.ptr, pattern->text.len,
                                                 OWN_NAMESPACE.ptr, OWN_NAMESPACE.len);
    /* Names of namespaces are labels, so one stands for all. */
    if (!kind->valid(expand(pattern, STR_LIT("n"), room)))
        return json_refuse(reader, place, "\"" STR_FMT "\" is no %s", STR_ARG(text),
                           kind->expected);
    return 0;
}

static int read_patterns(const struct json_reader *reader, const struct json_place *parent,
                         yyjson_val *list, const struct kind *kind, struct arena *arena,
                         struct patterns *ret_patterns)
{
    struct json_place place = {.parent = parent, .name = kind->field};
    struct pattern *items;
    size_t count, at, size;
    yyjson_val *item;
    int r = json_list(reader, &place, list, 1, POLICY_PATTERNS_MAX, &count);

    if (r < 0)
        return r;
    items = arena_take_array(arena, count, sizeof(*items));
    if (!items)
        return -ENOMEM;
    yyjson_arr_foreach(list, at, size, item)
    {
        struct json_place here = {.parent = &place, .index = at};

        r = read_pattern(reader, &here, item, kind, arena, &items[at]);
        if (r < 0)
            return r;
    }
    *ret_patterns = (struct patterns){items, count};
    return 0;
}

static int read_rule(const struct json_reader *reader, const struct json_place *place,
                     yyjson_val *value, struct arena *arena, struct policy_rule *rule)
{
    static const char *const names[] = {"namespaces", "hostnames", "subjects", "gateways"};
    yyjson_val *fields[4];
    int r = json_object(reader, place, value, names, 4, fields);

    if (r < 0)
        return r;
    if (!fields[0] || !fields[1] || !fields[2])
        return json_refuse(reader, place,
                           "needs namespaces, hostnames and subjects; any host is \"*\", any "
                           "subject \">\"");
    r = read_patterns(reader, place, fields[0], &namespaces_kind, arena, &rule->namespaces);
    if (r >= 0)
        r = read_patterns(reader, place, fields[1], &hostnames_kind, arena, &rule->hostnames);
    if (r >= 0)
        r = read_patterns(reader, place, fields[2], &subjects_kind, arena, &rule->subjects);
    if (r >= 0 && fields[3])
        r = read_patterns(reader, place, fields[3], &gateways_kind, arena, &rule->gateways);
    return r;
}

static bool is_broad(const struct grant *grant)
{
    return memchr(grant->namespace_name.ptr, '*', grant->namespace_name.len);
}

/* Exact names first, sorted; those of equal names in the order of rules. */
static int compare_grants(const void *a, const void *b)
{
    const struct grant *one = a, *other = b;
    int order = is_broad(one) - is_broad(other);

    if (!order)
        order = str_compare(one->namespace_name, other->namespace_name);
    return order ? order : (one->rule > other->rule) - (one->rule < other->rule);
}

static int make_grants(struct policy *policy, const struct policy_rule *rules, size_t count)
{
    size_t names = 0;

    for (size_t i = 0; i < count; i++)
        names += rules[i].namespaces.count;
    policy->grants = arena_take_array(&policy->arena, names, sizeof(*policy->grants));
    if (!policy->grants)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < rules[i].namespaces.count; j++)
            policy->grants[policy->count++] =
                (struct grant){rules[i].namespaces.items[j].text, &rules[i]};
    qsort(policy->grants, policy->count, sizeof(*policy->grants), compare_grants);
    while (policy->exact_count < policy->count && !is_broad(&policy->grants[policy->exact_count]))
        policy->exact_count++;
    return 0;
}

static int read_rules(const struct json_reader *reader, yyjson_val *value, struct policy *policy)
{
    static const char *const names[] = {"rules"};
    struct json_place root = {.name = "policy"}, place = {.name = "rules"};
    struct policy_rule *rules;
    size_t count, at, size;
    yyjson_val *list, *item;
    int r = json_object(reader, &root, value, names, 1, &list);

    if (r < 0)
        return r;
    if (!list)
        return json_refuse(reader, &root, "needs rules; an empty list allows nothing");
    r = json_list(reader, &place, list, 0, POLICY_RULES_MAX, &count);
    if (r < 0)
        return r;
    rules = arena_take_array(&policy->arena, count, sizeof(*rules));
    if (!rules)
        return -ENOMEM;
    yyjson_arr_foreach(list, at, size, item)
    {
        struct json_place here = {.parent = &place, .index = at};

        rules[at].index = (unsigned)at;
        r = read_rule(reader, &here, item, &policy->arena, &rules[at]);
        if (r < 0)
            return r;
    }
    return make_grants(policy, rules, count);
}

static int read_document(struct str text, yyjson_doc *documents, struct policy *policy,
                         char error[POLICY_ERROR_MAX])
{
    char refusal[POLICY_ERROR_MAX - 32];
    struct json_reader reader = {.text = refusal, .size = sizeof(refusal)};
    yyjson_val *root = yyjson_doc_get_root(documents);
    int r = -EINVAL;

    if (yyjson_arr_size(root) == 1)
        r = read_rules(&reader, yyjson_arr_get_first(root), policy);
    else
        snprintf(refusal, sizeof(refusal), "policy: has %zu documents, must have one, with rules",
                 yyjson_arr_size(root));
    if (r == -EINVAL) {
        struct yaml_lines *lines = yaml_lines_new(text);

        snprintf(error, POLICY_ERROR_MAX, "%zu: %s", yaml_lines_find(lines, 0, refusal), refusal);
        yaml_lines_free(lines);
    }
    return r;
}

int policy_read(struct str text, struct policy **ret_policy, char error[POLICY_ERROR_MAX])
{
    struct yaml_error yaml_error;
    struct policy *policy;
    yyjson_doc *documents;
    int r = yaml_read(text, POLICY_FILE_MAX, &documents, &yaml_error);

    if (r == -ENOMEM)
        return r;
    if (r < 0) {
        snprintf(error, POLICY_ERROR_MAX, "%zu:%zu: %s", yaml_error.line, yaml_error.column,
                 yaml_error.text);
        return -EINVAL;
    }
    policy = calloc(1, sizeof(*policy));
    if (policy)
        arena_init(&policy->arena, ARENA_MAX);
    r = policy ? read_document(text, documents, policy, error) : -ENOMEM;
    yyjson_doc_free(documents);
    if (r < 0)
        policy_free(policy);
    else
        *ret_policy = policy;
    return r;
}

void policy_free(struct policy *policy)
{
    if (!policy)
        return;
    arena_done(&policy->arena);
    free(policy);
}

/* ---- judging ---- */

/* What of a Route a rule does not allow. A later stage: all before it is allowed. */
enum stage { STAGE_NAMESPACE, STAGE_GATEWAY, STAGE_HOSTNAME, STAGE_SUBJECT, STAGE_ALLOWED };

struct finding {
    enum stage stage;
    const struct policy_rule *rule;
    struct str hostname;
    size_t rule_index, match_index, backend_index; /* of the Route */
};

static bool gateway_allowed(const struct policy_rule *rule, struct str gateway)
{
    for (size_t i = 0; i < rule->gateways.count; i++)
        if (name_within(gateway, rule->gateways.items[i].text))
            return true;
    return rule->gateways.count == 0;
}

static bool hostname_allowed(const struct policy_rule *rule, struct str namespace_name,
                             struct str hostname)
{
    char room[REACH_PATTERN_MAX];

    for (size_t i = 0; i < rule->hostnames.count; i++)
        if (hostname_within(hostname, expand(&rule->hostnames.items[i], namespace_name, room)))
            return true;
    return false;
}

static bool target_allowed(const struct policy_rule *rule, struct str namespace_name,
                           const struct route_rule *route_rule, const struct route_match *match,
                           size_t backend)
{
    char room[REACH_PATTERN_MAX];

    for (size_t i = 0; i < rule->subjects.count; i++)
        if (reach_within(route_rule, match, backend,
                         expand(&rule->subjects.items[i], namespace_name, room)))
            return true;
    return false;
}

/* False, with the place, at the first subject that is not allowed. A backend of weight 0 counts: it
 * says what the Route is meant for. */
static bool targets_allowed(const struct policy_rule *rule, const struct route *route,
                            struct finding *finding)
{
    for (size_t i = 0; i < route->rule_count; i++)
        for (size_t j = 0; j < route->rules[i].match_count; j++)
            for (size_t k = 0; k < route->rules[i].backend_count; k++) {
                if (target_allowed(rule, route_namespace(route), &route->rules[i],
                                   &route->rules[i].matches[j], k))
                    continue;
                finding->rule_index = i;
                finding->match_index = j;
                finding->backend_index = k;
                return false;
            }
    return true;
}

static struct finding judge_by(const struct policy_rule *rule, const struct route *route)
{
    struct finding finding = {.stage = STAGE_GATEWAY, .rule = rule};

    if (!gateway_allowed(rule, route->gateway))
        return finding;
    finding.stage = STAGE_HOSTNAME;
    if (!route->hostname_count && !hostname_allowed(rule, route_namespace(route), finding.hostname))
        return finding;
    for (size_t i = 0; i < route->hostname_count; i++) {
        finding.hostname = route->hostnames[i];
        if (!hostname_allowed(rule, route_namespace(route), finding.hostname))
            return finding;
    }
    finding.stage = targets_allowed(rule, route, &finding) ? STAGE_ALLOWED : STAGE_SUBJECT;
    return finding;
}

/* The first exact grant for this namespace, or where it would be. */
static size_t find_grant(const struct policy *policy, struct str namespace_name)
{
    size_t begin = 0, end = policy->exact_count;

    while (begin < end) {
        size_t middle = begin + (end - begin) / 2;

        if (str_compare(policy->grants[middle].namespace_name, namespace_name) < 0)
            begin = middle + 1;
        else
            end = middle;
    }
    return begin;
}

/* Of all rules that name the namespace the one that allows most. */
static struct finding judge(const struct policy *policy, const struct route *route)
{
    struct finding best = {.stage = STAGE_NAMESPACE};
    size_t i = find_grant(policy, route_namespace(route));

    while (i < policy->count && best.stage < STAGE_ALLOWED) {
        const struct grant *grant = &policy->grants[i];
        bool named = name_within(route_namespace(route), grant->namespace_name);

        if (named) {
            struct finding finding = judge_by(grant->rule, route);

            if (finding.stage > best.stage)
                best = finding;
        }
        i = named || i >= policy->exact_count ? i + 1 : policy->exact_count;
    }
    return best;
}

/* ---- reasons ---- */

static int list_patterns(struct buffer *reason, const struct patterns *patterns,
                         struct str namespace_name)
{
    size_t begin = buffer_length(reason);
    char room[REACH_PATTERN_MAX];
    int r = 0;

    for (size_t i = 0; i < patterns->count && r >= 0; i++) {
        struct str text = expand(&patterns->items[i], namespace_name, room);

        if (buffer_length(reason) - begin + text.len > LISTED_MAX)
            return buffer_printf(reason, "%sand %zu more", i ? ", " : "", patterns->count - i);
        r = buffer_printf(reason, "%s" STR_FMT, i ? ", " : "", STR_ARG(text));
    }
    return r;
}

static int name_subject(struct buffer *reason, const struct route *route,
                        const struct finding *finding)
{
    const struct route_rule *rule = &route->rules[finding->rule_index];
    struct str path = rule->matches[finding->match_index].path;
    struct str subject = rule->backends[finding->backend_index].subject;

    if (subject.len)
        return buffer_printf(
            reason, "spec.rules[%zu].backends[%zu].subject: \"" STR_FMT "\", for matches[%zu],",
            finding->rule_index, finding->backend_index, STR_ARG(subject), finding->match_index);
    return buffer_printf(
        reason, "spec.rules[%zu].matches[%zu].path: the subject derived from \"" STR_FMT "\"",
        finding->rule_index, finding->match_index, STR_ARG(utf8_cut(path, QUOTED_MAX)));
}

static int explain(struct buffer *reason, const struct route *route, const struct finding *finding)
{
    const struct patterns *allowed = NULL;
    int r = 0;

    switch (finding->stage) {
    case STAGE_NAMESPACE:
        return buffer_printf(reason, "no rule of the policy is for the namespace \"" STR_FMT "\"",
                             STR_ARG(route_namespace(route)));
    case STAGE_GATEWAY:
        allowed = &finding->rule->gateways;
        r = buffer_printf(reason, "spec.gateway: \"" STR_FMT "\"", STR_ARG(route->gateway));
        break;
    case STAGE_HOSTNAME:
        allowed = &finding->rule->hostnames;
        r = finding->hostname.len ? buffer_printf(reason, "spec.hostnames: \"" STR_FMT "\"",
                                                  STR_ARG(finding->hostname))
                                  : buffer_printf(reason, "spec.hostnames: none, so any host,");
        break;
    case STAGE_SUBJECT:
        allowed = &finding->rule->subjects;
        r = name_subject(reason, route, finding);
        break;
    case STAGE_ALLOWED:
        assert(!"an allowed Route needs no reason");
    }
    if (r >= 0)
        r = buffer_printf(reason,
                          " is not allowed to the namespace \"" STR_FMT
                          "\"; rules[%u] of the policy allows ",
                          STR_ARG(route_namespace(route)), finding->rule->index);
    return r < 0 ? r : list_patterns(reason, allowed, route_namespace(route));
}

int policy_judge(const struct policy *policy, const struct route *route, struct buffer *reason)
{
    struct finding finding = {.stage = STAGE_ALLOWED};
    int r;

    if (policy)
        finding = judge(policy, route);
    if (finding.stage == STAGE_ALLOWED)
        return 1;
    r = explain(reason, route, &finding);
    return r == -ENOMEM ? r : 0;
}
