/*
 * route_spec_write: the model as the normalised source that goes into the KV bucket.
 *
 * The controller decides by these bytes whether anything changed, so everything that two sources
 * may spell differently has one spelling here: defaults are left out, keys stand in the CRD's
 * order, and what route_spec_read has sorted stays sorted.
 */
#include "lib/wire/route_spec.h"
#include "lib/wire/route_spec_delivery.h"
#include "lib/wire/route_spec_path.h"

static bool add_str(yyjson_mut_doc *doc, yyjson_mut_val *object, const char *key, struct str text)
{
    return yyjson_mut_obj_add_strncpy(doc, object, key, text.ptr, text.len);
}

static bool add_conditions(yyjson_mut_doc *doc, yyjson_mut_val *match, const char *key,
                           const struct route_condition *conditions, size_t count)
{
    yyjson_mut_val *list;

    if (count == 0)
        return true;
    list = yyjson_mut_obj_add_arr(doc, match, key);
    for (size_t i = 0; i < count; i++) {
        yyjson_mut_val *item = yyjson_mut_arr_add_obj(doc, list);

        if (!add_str(doc, item, "name", conditions[i].name) ||
            !add_str(doc, item, "value", conditions[i].value))
            return false;
    }
    return list != NULL;
}

static bool path_is_default(const struct route_match *match)
{
    return match->path_type == ROUTE_PATH_PREFIX && match->segment_count == 0;
}

static bool add_path(yyjson_mut_doc *doc, yyjson_mut_val *match_value,
                     const struct route_match *match)
{
    yyjson_mut_val *path;
    struct buffer value;
    bool done;

    if (path_is_default(match))
        return true;
    buffer_init(&value, ROUTE_PATH_MAX);
    path = yyjson_mut_obj_add_obj(doc, match_value, "path");
    done = route_spec_write_path(match, &value) >= 0;
    if (done && match->path_type != ROUTE_PATH_PREFIX)
        done = yyjson_mut_obj_add_str(doc, path, "type", route_spec_path_type(match->path_type));
    done = done && add_str(doc, path, "value", buffer_view(&value));
    buffer_done(&value);
    return done;
}

static bool add_match(yyjson_mut_doc *doc, yyjson_mut_val *list, const struct route_match *match)
{
    yyjson_mut_val *value = yyjson_mut_arr_add_obj(doc, list);

    if (!value || !add_path(doc, value, match))
        return false;
    if (match->method != ROUTE_METHOD_ANY &&
        !add_str(doc, value, "method", route_method_name(match->method)))
        return false;
    return add_conditions(doc, value, "headers", match->headers, match->header_count) &&
           add_conditions(doc, value, "queryParams", match->params, match->param_count);
}

static bool add_matches(yyjson_mut_doc *doc, yyjson_mut_val *rule_value,
                        const struct route_rule *rule)
{
    const struct route_match *first = &rule->matches[0];
    yyjson_mut_val *list;
    bool done;

    if (rule->match_count == 1 && path_is_default(first) && first->method == ROUTE_METHOD_ANY &&
        first->header_count == 0 && first->param_count == 0)
        return true;
    list = yyjson_mut_obj_add_arr(doc, rule_value, "matches");
    done = list != NULL;
    for (size_t i = 0; i < rule->match_count && done; i++)
        done = add_match(doc, list, &rule->matches[i]);
    return done;
}

static bool add_backends(yyjson_mut_doc *doc, yyjson_mut_val *rule_value,
                         const struct route_rule *rule)
{
    yyjson_mut_val *list;
    bool done;

    if (rule->backend_count == 1 && rule->backends[0].subject.len == 0 &&
        rule->backends[0].weight == 1)
        return true;
    list = yyjson_mut_obj_add_arr(doc, rule_value, "backends");
    done = list != NULL;
    for (size_t i = 0; i < rule->backend_count && done; i++) {
        const struct route_backend *backend = &rule->backends[i];
        yyjson_mut_val *value = yyjson_mut_arr_add_obj(doc, list);

        done = value != NULL;
        if (done && backend->subject.len)
            done = add_str(doc, value, "subject", backend->subject);
        if (done && backend->weight != 1)
            done = yyjson_mut_obj_add_uint(doc, value, "weight", backend->weight);
    }
    return done;
}

static bool add_rule(yyjson_mut_doc *doc, yyjson_mut_val *list, const struct route_rule *rule)
{
    yyjson_mut_val *value = yyjson_mut_arr_add_obj(doc, list);

    if (!value || (rule->name.len && !add_str(doc, value, "name", rule->name)))
        return false;
    return add_matches(doc, value, rule) && add_backends(doc, value, rule) &&
           route_spec_write_delivery(rule, doc, value);
}

static bool add_hostnames(yyjson_mut_doc *doc, yyjson_mut_val *spec, const struct route *route)
{
    yyjson_mut_val *list;
    bool done;

    if (route->hostname_count == 0)
        return true;
    list = yyjson_mut_obj_add_arr(doc, spec, "hostnames");
    done = list != NULL;
    for (size_t i = 0; i < route->hostname_count && done; i++)
        done =
            yyjson_mut_arr_add_strncpy(doc, list, route->hostnames[i].ptr, route->hostnames[i].len);
    return done;
}

yyjson_mut_val *route_spec_write(const struct route *route, yyjson_mut_doc *doc)
{
    yyjson_mut_val *spec = yyjson_mut_obj(doc), *rules;
    bool done = spec != NULL;

    if (done && !str_equal(route->gateway, STR_LIT("default")))
        done = add_str(doc, spec, "gateway", route->gateway);
    done = done && add_hostnames(doc, spec, route);
    rules = done ? yyjson_mut_obj_add_arr(doc, spec, "rules") : NULL;
    done = rules != NULL;
    for (size_t i = 0; i < route->rule_count && done; i++)
        done = add_rule(doc, rules, &route->rules[i]);
    return done ? spec : NULL;
}
