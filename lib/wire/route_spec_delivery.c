/*
 * route_spec_delivery: see there. A rule's retry that makes no attempt is none, so that both ways
 * of saying it are written alike.
 */
#include "lib/wire/route_spec_delivery.h"

#include <errno.h>
#include <stdio.h>

#define CODEC_V1 "metropolis/v1"
#define ERRORS_SHOW "Show"

/* ---- durations ---- */

/* A GEP-2257 duration: one to four numbers of at most five digits, each with its unit. */
static int duration_parse(struct str text, uint64_t *ret_ms)
{
    uint64_t total = 0;

    for (int parts = 0; text.len; parts++) {
        uint64_t number = 0;
        size_t digits = 0, unit = 1;

        for (; digits < text.len && text.ptr[digits] >= '0' && text.ptr[digits] <= '9'; digits++)
            number = digits < 5 ? number * 10 + (uint64_t)(text.ptr[digits] - '0') : 0;
        if (digits == 0 || digits > 5 || digits == text.len || parts == 4)
            return -EINVAL;
        text = str_after(text, digits);
        if (str_starts_with(text, STR_LIT("ms")))
            unit = 2;
        else if (text.ptr[0] == 's')
            number *= 1000;
        else if (text.ptr[0] == 'm')
            number *= 60000;
        else if (text.ptr[0] == 'h')
            number *= 3600000;
        else
            return -EINVAL;
        total += number;
        text = str_after(text, unit);
    }
    *ret_ms = total;
    return 0;
}

/* bounds: what to write, for the message: 1ms to max_ms. */
static int read_duration(const struct json_reader *reader, const struct json_place *place,
                         yyjson_val *value, uint64_t max_ms, const char *bounds, uint32_t *ret_ms)
{
    struct str text;
    uint64_t ms = 0;
    int r = json_string(reader, place, value, 1, 32, &text);

    if (r < 0)
        return r;
    if (duration_parse(text, &ms) < 0)
        return json_refuse(reader, place,
                           "\"" STR_FMT "\" is no duration: write a number and a unit (h, m, s or "
                           "ms), or several, such as \"500ms\", \"2s\" or \"1m30s\"",
                           STR_ARG(text));
    if (ms < 1 || ms > max_ms)
        return json_refuse(reader, place, "\"" STR_FMT "\" is out of bounds: write %s",
                           STR_ARG(text), bounds);
    *ret_ms = (uint32_t)ms;
    return 0;
}

static bool add_duration(yyjson_mut_doc *doc, yyjson_mut_val *object, const char *key, uint32_t ms)
{
    uint32_t seconds = ms / 1000, rest_ms = ms % 1000;
    char text[32];
    int length = 0;

    if (seconds)
        length = snprintf(text, sizeof(text), "%us", (unsigned)seconds);
    if (rest_ms)
        length += snprintf(text + length, sizeof(text) - (size_t)length, "%ums", (unsigned)rest_ms);
    return yyjson_mut_obj_add_strncpy(doc, object, key, text, (size_t)length);
}

/* ---- reading ---- */

int route_spec_read_timeout(const struct json_reader *reader, const struct json_place *place,
                            yyjson_val *value, struct route_rule *rule)
{
    return read_duration(reader, place, value, ROUTE_TIMEOUT_MAX_MS, "1ms to 1h",
                         &rule->timeout_ms);
}

int route_spec_read_retry(const struct json_reader *reader, const struct json_place *place,
                          yyjson_val *value, struct route_rule *rule)
{
    static const char *const names[] = {"attempts", "backoff"};
    struct json_place attempts_place = {.parent = place, .name = names[0]};
    struct json_place backoff_place = {.parent = place, .name = names[1]};
    int64_t attempts = ROUTE_RETRY_ATTEMPTS_DEFAULT;
    uint32_t backoff_ms = ROUTE_RETRY_BACKOFF_DEFAULT_MS;
    yyjson_val *fields[2];
    int r = json_object(reader, place, value, names, 2, fields);

    if (r >= 0 && fields[0])
        r = json_integer(reader, &attempts_place, fields[0], 0, ROUTE_RETRY_ATTEMPTS_MAX,
                         &attempts);
    if (r >= 0 && fields[1])
        r = read_duration(reader, &backoff_place, fields[1], ROUTE_RETRY_BACKOFF_MAX_MS,
                          "1ms to 1m", &backoff_ms);
    if (r < 0)
        return r;
    rule->retry_attempts = (uint32_t)attempts;
    rule->retry_backoff_ms = attempts ? backoff_ms : 0;
    return 0;
}

int route_spec_read_limits(const struct json_reader *reader, const struct json_place *place,
                           yyjson_val *value, struct route_rule *rule)
{
    static const char *const names[] = {"inFlight"};
    struct json_place in_flight_place = {.parent = place, .name = names[0]};
    int64_t in_flight = 0;
    yyjson_val *fields[1];
    int r = json_object(reader, place, value, names, 1, fields);

    if (r >= 0 && fields[0])
        r = json_integer(reader, &in_flight_place, fields[0], 1, ROUTE_IN_FLIGHT_MAX, &in_flight);
    if (r < 0)
        return r;
    rule->in_flight_max = (uint32_t)in_flight;
    return 0;
}

/* Metropolis 0.1 knew GET, and no other. */
static int require_get(const struct json_reader *reader, const struct json_place *rule_place,
                       struct route_rule *rule)
{
    for (size_t i = 0; i < rule->match_count; i++) {
        struct route_match *match = (struct route_match *)&rule->matches[i];
        struct json_place list = {.parent = rule_place, .name = "matches"};
        struct json_place item = {.parent = &list, .index = i};
        struct json_place place = {.parent = &item, .name = "method"};

        if (match->method == ROUTE_METHOD_ANY)
            match->method = ROUTE_METHOD_GET;
        if (match->method != ROUTE_METHOD_GET)
            return json_refuse(reader, &place,
                               "codec metropolis/v1 has no method but GET: write GET, or leave it "
                               "out");
    }
    return 0;
}

int route_spec_read_codec(const struct json_reader *reader, const struct json_place *place,
                          yyjson_val *value, struct route_rule *rule)
{
    struct str text;
    int r = json_string(reader, place, value, 1, 32, &text);

    if (r < 0)
        return r;
    if (!str_equal(text, STR_LIT(CODEC_V1)))
        return json_refuse(reader, place,
                           "\"" STR_FMT "\" is no codec: write " CODEC_V1 ", or leave it out for "
                           "HTTP over NATS",
                           STR_ARG(text));
    rule->codec = ROUTE_CODEC_METROPOLIS_V1;
    return require_get(reader, place->parent, rule);
}

int route_spec_read_errors(const struct json_reader *reader, const struct json_place *place,
                           yyjson_val *value, struct route_rule *rule)
{
    struct str text;
    int r = json_string(reader, place, value, 1, 32, &text);

    if (r < 0)
        return r;
    rule->shows_errors = str_equal(text, STR_LIT(ERRORS_SHOW));
    if (!rule->shows_errors && !str_equal(text, STR_LIT("Hide")))
        return json_refuse(reader, place, "\"" STR_FMT "\" is neither Show nor Hide",
                           STR_ARG(text));
    return 0;
}

int route_spec_read_cancel(const struct json_reader *reader, const struct json_place *place,
                           yyjson_val *value, struct route_rule *rule)
{
    if (!yyjson_is_bool(value))
        return json_refuse(reader, place, "must be true or false, not %s",
                           yyjson_get_type_desc(value));
    rule->cancel = yyjson_is_true(value);
    if (rule->cancel && rule->codec != ROUTE_CODEC_DEFAULT)
        return json_refuse(reader, place,
                           "workers of codec " CODEC_V1 " cannot be told: leave cancel out");
    return 0;
}

/* ---- writing ---- */

static bool add_retry(yyjson_mut_doc *doc, yyjson_mut_val *rule_value,
                      const struct route_rule *rule)
{
    yyjson_mut_val *retry;

    if (rule->retry_attempts == 0)
        return true;
    retry = yyjson_mut_obj_add_obj(doc, rule_value, "retry");
    if (!retry)
        return false;
    if (rule->retry_attempts != ROUTE_RETRY_ATTEMPTS_DEFAULT &&
        !yyjson_mut_obj_add_uint(doc, retry, "attempts", rule->retry_attempts))
        return false;
    return rule->retry_backoff_ms == ROUTE_RETRY_BACKOFF_DEFAULT_MS ||
           add_duration(doc, retry, "backoff", rule->retry_backoff_ms);
}

static bool add_limits(yyjson_mut_doc *doc, yyjson_mut_val *rule_value,
                       const struct route_rule *rule)
{
    yyjson_mut_val *limits;

    if (rule->in_flight_max == 0)
        return true;
    limits = yyjson_mut_obj_add_obj(doc, rule_value, "limits");
    return limits && yyjson_mut_obj_add_uint(doc, limits, "inFlight", rule->in_flight_max);
}

bool route_spec_write_delivery(const struct route_rule *rule, yyjson_mut_doc *doc,
                               yyjson_mut_val *rule_value)
{
    if (rule->timeout_ms != ROUTE_TIMEOUT_DEFAULT_MS &&
        !add_duration(doc, rule_value, "timeout", rule->timeout_ms))
        return false;
    if (rule->codec == ROUTE_CODEC_METROPOLIS_V1 &&
        !yyjson_mut_obj_add_str(doc, rule_value, "codec", CODEC_V1))
        return false;
    if (rule->shows_errors &&
        !yyjson_mut_obj_add_str(doc, rule_value, "serviceErrors", ERRORS_SHOW))
        return false;
    if (rule->cancel && !yyjson_mut_obj_add_true(doc, rule_value, "cancel"))
        return false;
    return add_retry(doc, rule_value, rule) && add_limits(doc, rule_value, rule);
}
