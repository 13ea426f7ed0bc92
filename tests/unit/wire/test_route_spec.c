#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the above first. */
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/buffer.h"
#include "lib/base/utf8.h"
#include "lib/wire/route_spec.h"

/* Reads spec; the caller unrefs *ret_route whatever the result. */
static int read_spec(struct str spec, struct route **ret_route, struct route_spec_error *error)
{
    yyjson_doc *doc = yyjson_read(spec.ptr, spec.len, 0);
    int r;

    if (!doc)
        fail_msg("no JSON: " STR_FMT, STR_ARG(spec));
    *ret_route = route_new();
    memset(error, 0, sizeof(*error));
    r = route_spec_read(yyjson_doc_get_root(doc), *ret_route, error);
    yyjson_doc_free(doc);
    return r;
}

/* The normalised spec of route; the caller frees it. */
static char *write_spec(const struct route *route)
{
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    char *text;

    yyjson_mut_doc_set_root(doc, route_spec_write(route, doc));
    text = yyjson_mut_write(doc, 0, NULL);
    yyjson_mut_doc_free(doc);
    assert_non_null(text);
    return text;
}

/* What is read, and how it is written. */
static const char *const good_specs[][2] = {
    /* the derived subject of a Prefix; defaults; the trailing slash; escapes */
    {"{'rules':[{'matches':[{'path':{'value':'/f%6fo/'}}]}]}",
     "{'rules':[{'matches':[{'path':{'value':'/foo'}}]}]}"},
    {"{'gateway':'default','hostnames':[],'rules':[{'matches':[{'path':{'type':'Prefix','value'"
     ":"
     "'/foo//'},'headers':[],'queryParams':[]}],'backends':[{'weight':1}],'timeout':'30s'}]}",
     "{'rules':[{'matches':[{'path':{'value':'/foo'}}]}]}"},
    /* no match at all is Prefix / */
    {"{'rules':[{'backends':[{'subject':'a.{method}'}]}]}",
     "{'rules':[{'backends':[{'subject':'a.{method}'}]}]}"},
    {"{'rules':[{'matches':[{'path':{'type':'Prefix','value':'/'}}],"
     "'backends':[{'subject':'a.{method}','weight':1}]}]}",
     "{'rules':[{'backends':[{'subject':'a.{method}'}]}]}"},
    {"{'rules':[{'matches':[{},{'method':'GET'}],'backends':[{'subject':'a'}]}]}",
     "{'rules':[{'matches':[{},{'method':'GET'}],'backends':[{'subject':'a'}]}]}"},
    /* a Template without placeholders is Exact, and only there the last "/" counts */
    {"{'rules':[{'matches':[{'path':{'type':'Template','value':'/a/'}}]}]}",
     "{'rules':[{'matches':[{'path':{'type':'Exact','value':'/a/'}}]}]}"},
    {"{'rules':[{'matches':[{'path':{'type':'Exact'}}]}]}",
     "{'rules':[{'matches':[{'path':{'type':'Exact','value':'/'}}]}]}"},
    {"{'rules':[{'matches':[{'path':{'type':'Template','value':'/a%7bx%7D/{id}/"
     "{rest...}'}}]}]}",
     "{'rules':[{'matches':[{'path':{'type':'Template','value':'/a%7Bx%7D/{id}/"
     "{rest...}'}}]}]}"},
    {"{'rules':[{'matches':[{'path':{'type':'Exact','value':\"/-._~!$&'()*+,;=:@%20%2f\"}}]}]}",
     "{'rules':[{'matches':[{'path':{'type':'Exact','value':\"/"
     "-._~!$&'()*+,;=:@%20%2F\"}}]}]}"},
    /* order where it means nothing, case where it means nothing */
    {"{'hostnames':['b.example','*.a.example'],'rules':[{'name':'r1','matches':[{'path':{'"
     "value':"
     "'/a'},'headers':[{'name':'X-B','value':'1'},{'name':'x-a','value':'V w'}],'queryParams':"
     "[{'name':'b','value':''},{'name':'B','value':'&'}]}]}]}",
     "{'hostnames':['*.a.example','b.example'],'rules':[{'name':'r1','matches':[{'path':{'"
     "value':"
     "'/a'},'headers':[{'name':'x-a','value':'V w'},{'name':'x-b','value':'1'}],'queryParams':"
     "[{'name':'B','value':'&'},{'name':'b','value':''}]}]}]}"},
    /* durations */
    {"{'rules':[{'matches':[{'path':{'value':'/a'}}],'timeout':'1m30s5ms'}]}",
     "{'rules':[{'matches':[{'path':{'value':'/a'}}],'timeout':'90s5ms'}]}"},
    {"{'rules':[{'matches':[{'path':{'value':'/a'}}],'timeout':'1ms'}]}",
     "{'rules':[{'matches':[{'path':{'value':'/a'}}],'timeout':'1ms'}]}"},
    {"{'rules':[{'matches':[{'path':{'value':'/a'}}],'timeout':'59m60s'}]}",
     "{'rules':[{'matches':[{'path':{'value':'/a'}}],'timeout':'3600s'}]}"},
    {"{'rules':[{'matches':[{'path':{'value':'/a'}}],'timeout':'15000ms15s'}]}",
     "{'rules':[{'matches':[{'path':{'value':'/a'}}]}]}"},
    /* retries that make no attempt are none; limits that limit nothing are none */
    {"{'rules':[{'matches':[{'path':{'value':'/a'}}],'retry':{'backoff':'1s','attempts':0},"
     "'limits':{}}]}",
     "{'rules':[{'matches':[{'path':{'value':'/a'}}]}]}"},
    {"{'rules':[{'matches':[{'path':{'value':'/a'}}],"
     "'retry':{'backoff':'100ms','attempts':2}}]}",
     "{'rules':[{'matches':[{'path':{'value':'/a'}}],'retry':{}}]}"},
    {"{'rules':[{'matches':[{'path':{'value':'/a'}}],'limits':{'inFlight':1000000},"
     "'retry':{'backoff':'1m','attempts':10},'timeout':'1h'}]}",
     "{'rules':[{'matches':[{'path':{'value':'/a'}}],'timeout':'3600s',"
     "'retry':{'attempts':10,'backoff':'60s'},'limits':{'inFlight':1000000}}]}"},
    /* a codec with one method; what is the default */
    {"{'rules':[{'codec':'metropolis/v1','serviceErrors':'Hide','matches':[{'path':{'value':"
     "'/a'}}]}]}",
     "{'rules':[{'matches':[{'path':{'value':'/a'},'method':'GET'}],'codec':'metropolis/"
     "v1'}]}"},
    {"{'rules':[{'serviceErrors':'Show','matches':[{'path':{'value':'/a'}}]}]}",
     "{'rules':[{'matches':[{'path':{'value':'/a'}}],'serviceErrors':'Show'}]}"},
    {"{'rules':[{'matches':[{'path':{'value':'/a'}}],'cancel':false}]}",
     "{'rules':[{'matches':[{'path':{'value':'/a'}}]}]}"},
    {"{'rules':[{'matches':[{'path':{'value':'/a'}}],'cancel':true}]}",
     "{'rules':[{'matches':[{'path':{'value':'/a'}}],'cancel':true}]}"},
    /* weights, a regular expression, the open mapping */
    {"{'gateway':'edge','rules':[{'backends':[{'weight':0,'subject':'a'},"
     "{'subject':'{path...}.{method}','weight':1000000}]}]}",
     "{'gateway':'edge','rules':[{'backends':[{'subject':'a','weight':0},"
     "{'subject':'{path...}.{method}','weight':1000000}]}]}"},
    {"{'rules':[{'matches':[{'path':{'type':'RegularExpression','value':'/(a|b)+[^/"
     "]\\\\\\\\X'}}],"
     "'backends':[{'subject':'re.{path...}'}]}]}",
     "{'rules':[{'matches':[{'path':{'type':'RegularExpression','value':'/(a|b)+[^/"
     "]\\\\\\\\X'}}],"
     "'backends':[{'subject':'re.{path...}'}]}]}"},
};

static void specs_are_written_normalised_and_read_back_equal(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(good_specs) / sizeof(good_specs[0]); i++) {
        char in[1024], expected[1024];
        struct route_spec_error error;
        struct route *route, *again;
        char *text, *text_again;
        const bool quoted =
            strchr(good_specs[i][0], '"') != NULL; /* they hold a "'" of their own */

        snprintf(in, sizeof(in), "%s", good_specs[i][0]);
        snprintf(expected, sizeof(expected), "%s", good_specs[i][1]);
        for (char *at = in, inside = 0; *at; at++) {
            inside ^= *at == '"';
            *at = *at == '\'' && !(quoted && inside) ? '"' : *at;
        }
        for (char *at = expected, inside = 0; *at; at++) {
            inside ^= *at == '"';
            *at = *at == '\'' && !(quoted && inside) ? '"' : *at;
        }
        if (read_spec(str_from(in), &route, &error) < 0)
            fail_msg("%s: %s", in, error.text);
        text = write_spec(route);
        assert_string_equal(text, expected);
        assert_int_equal(read_spec(str_from(text), &again, &error), 0);
        text_again = write_spec(again);
        assert_string_equal(text_again, expected);
        free(text);
        free(text_again);
        route_unref(route);
        route_unref(again);
    }
}

static void the_model_holds_what_the_spec_says(void **state)
{
    static const char spec[] =
        "{\"hostnames\":[\"api.example\"],\"rules\":[{\"matches\":[{\"path\":{\"type\":"
        "\"Template\","
        "\"value\":\"/a%2Fb/{id}/"
        "{rest...}\"},\"method\":\"PATCH\"},{\"path\":{\"type\":\"Template\","
        "\"value\":\"/{id}/x/{rest...}\"}}],\"backends\":[{\"subject\":\"s.t.{id}\",\"weight\":3},"
        "{\"subject\":\"u.{rest...}.{method}\"}],\"timeout\":\"2s\",\"retry\":{\"attempts\":3},"
        "\"limits\":{\"inFlight\":9}},{\"matches\":[{\"path\":"
        "{\"type\":\"RegularExpression\",\"value\":\"/x\"}}],\"backends\":[{\"subject\":\"x\"}]}]}";
    struct route_spec_error error;
    struct route *route;
    const struct route_rule *rule;
    const struct route_match *match;

    (void)state;
    assert_int_equal(read_spec(str_from(spec), &route, &error), 0);
    assert_string_equal(route->gateway.ptr, "default");
    assert_string_equal(route->hostnames[0].ptr, "api.example");
    rule = &route->rules[0];
    assert_int_equal(route->rules[1].index, 1);
    assert_int_equal(rule->weight_total, 4);
    assert_int_equal(rule->timeout_ms, 2000);
    assert_int_equal(rule->retry_attempts, 3);
    assert_int_equal(rule->retry_backoff_ms, 100);
    assert_int_equal(rule->in_flight_max, 9);
    assert_int_equal(route->rules[1].retry_attempts, 0);
    assert_int_equal(route->rules[1].in_flight_max, 0);
    match = &rule->matches[0];
    assert_int_equal(match->method, ROUTE_METHOD_PATCH);
    assert_int_equal(match->path_type, ROUTE_PATH_TEMPLATE);
    assert_int_equal(match->segment_count, 3);
    assert_string_equal(match->segments[0].text.ptr, "a/b");
    assert_int_equal(match->segments[1].kind, ROUTE_SEGMENT_PARAM);
    assert_string_equal(match->segments[2].text.ptr, "rest");
    assert_int_equal(match->segments[2].kind, ROUTE_SEGMENT_REST);
    assert_int_equal(match->targets[0].part_count, 2);
    assert_string_equal(match->targets[0].parts[0].text.ptr, "s.t");
    assert_int_equal(match->targets[0].parts[1].first, 1);
    assert_int_equal(match->targets[1].parts[1].kind, ROUTE_PART_REST);
    assert_int_equal(match->targets[1].parts[1].first, 2);
    assert_int_equal(rule->matches[1].targets[0].parts[1].first, 0); /* each match has its own */
    assert_non_null(route->rules[1].matches[0].regex);
    route_unref(route);
}

/* A spec and what is said of it. P: is a path, M: more of a match, R: more of a rule, each in a
 * spec that is good else; ' stands for ". */
static const char *const bad_specs[][2] = {
    {"[]", "spec: must be an object"},
    {"{}", "spec: needs rules"},
    {"{'rules':{}}", "spec.rules: must be a list"},
    {"{'rules':[]}", "spec.rules: has 0 items, must have at least 1"},
    {"{'rules':[{}],'rules':[{}]}", "spec: the field \"rules\" occurs twice"},
    {"{'rules':[{}],'hosts':[]}", "spec: unknown field \"hosts\""},
    {"{'rules':[null]}", "spec.rules[0]: must be an object, not null"},
    {"{'rules':[{}]}", "spec.rules[0].matches[0].path: no subject can be derived"},
    {"{'rules':[{'backends':[]}]}", "spec.rules[0].backends: has 0 items"},
    {"{'rules':[{'matches':[]}]}", "spec.rules[0].matches: has 0 items"},
    {"{'gateway':'','rules':[{}]}", "spec.gateway: must not be empty"},
    {"{'gateway':'A','rules':[{}]}", "spec.gateway: \"A\" is no name"},
    {"{'gateway':7,'rules':[{}]}", "spec.gateway: must be a string"},
    {"{'gateway':'-a','rules':[{}]}", "spec.gateway: "},
    {"{'hostnames':['a','a'],'rules':[{}]}", "spec.hostnames: \"a\" occurs twice"},
    {"{'hostnames':['*'],'rules':[{}]}", "leave hostnames out"},
    {"{'hostnames':['a..b'],'rules':[{}]}", "spec.hostnames[0]: \"a..b\" is no host name"},
    {"{'hostnames':['a.test','API.test'],'rules':[{}]}",
     "spec.hostnames[1]: \"API.test\" is no host name: write a lower-case DNS name"},
    {"{'hostnames':['a.*.b'],'rules':[{}]}", "spec.hostnames[0]: "},
    {"{'hostnames':['a:80'],'rules':[{}]}", "spec.hostnames[0]: "},
    {"{'hostnames':['*.'],'rules':[{}]}", "spec.hostnames[0]: "},
    {"{'hostnames':['a.'],'rules':[{}]}", "spec.hostnames[0]: "},
    {"{'hostnames':['a\\u0000b'],'rules':[{}]}", "spec.hostnames[0]: "},
    {"P:{'value':'foo'}", "path.value: a path starts with \"/\""},
    {"P:{'value':''}", "path.value: must not be empty"},
    {"P:{'value':'/a b'}", "percent-encode"},
    {"P:{'value':'/a?b'}", "queryParams"},
    {"P:{'value':'/\xC3\xA9'}", "percent-encode"},
    {"P:{'value':'/a\\u0000'}", "percent-encode"},
    {"P:{'value':'/a/../b'}", "\"..\""},
    {"P:{'value':'/a/%2e%2E'}", "\"..\""},
    {"P:{'value':'/%00'}", "control"},
    {"P:{'value':'/%ff'}", "UTF-8"},
    {"P:{'value':'/%zz'}", "hexadecimal"},
    {"P:{'value':'/{id}'}", "placeholders need type: Template"},
    {"P:{'type':'exact','value':'/a'}", "path.type: \"exact\" is no type"},
    {"P:{'type':'Exact','value':'/a','x':1}", "path: unknown field \"x\""},
    {"P:{'type':'Template','value':'/a/x{id}'}", "neither literal nor one placeholder"},
    {"P:{'type':'Template','value':'/a/{}'}", "neither literal nor one placeholder"},
    {"P:{'type':'Template','value':'/a/{1a}'}", "neither literal nor one placeholder"},
    {"P:{'type':'Template','value':'/a/{a.b}'}", "neither literal nor one placeholder"},
    {"P:{'type':'Template','value':'/a/{a..}'}", "neither literal nor one placeholder"},
    {"P:{'type':'Template','value':'/a/}{'}", "neither literal nor one placeholder"},
    {"P:{'type':'Template','value':'/a/{r...}/b'}", "only be the last segment"},
    {"P:{'type':'Template','value':'/a/{x}/{X}'}", "declared twice"},
    {"P:{'type':'Template','value':'/a/{path...}'}", "reserved"},
    {"P:{'type':'Template','value':'/a/{method}'}", "reserved"},
    {"P:{'type':'Template','value':'/{id}/a'}", "clients would choose its first token"},
    {"P:{'type':'RegularExpression','value':'/a('}", "does not compile"},
    {"P:{'type':'RegularExpression','value':'/\\\\C'}", "does not compile"},
    {"P:{'type':'RegularExpression','value':'/\\\\\\\\\\\\X*'}", "\\X may take too long"},
    {"P:{'type':'RegularExpression','value':'/\\\\Q\\\\X\\\\E\\\\X'}", "\\X may take too long"},
    {"P:{'type':'RegularExpression','value':'/a'}", "no subject can be derived"},
    {"P:{'value':'/_INBOX/x'}", "reserved"},
    {"P:{'value':'/1/2/3/4/5/6/7/8/9/0/1/2/3/4/5/6/7/8/9/0/1/2/3/4/5/6/7/8/9/0/1/2/3'}",
     "more than 32 segments"},
    {"R:'codec':'metropolis/v2'", "write metropolis/v1"},
    {"R:'serviceErrors':'show'", "neither Show nor Hide"},
    {"{'rules':[{'codec':'metropolis/v1','matches':[{'path':{'value':'/a'}},{'path':{'value':'/b'},"
     "'method':'POST'}]}]}",
     "rules[0].matches[1].method: codec metropolis/v1 has no method but GET"},
    {"M:'method':'get'", "matches[0].method: \"get\" is no method"},
    {"M:'method':'CONNECT'", "write GET, HEAD"},
    {"M:'headers':[{'name':'a'}]", "headers[0]: needs name and value"},
    {"M:'headers':[{'name':'a b','value':'1'}]", "headers[0].name: "},
    {"M:'headers':[{'name':'a_b','value':'1'}]", "headers[0].name: "},
    {"M:'headers':[{'name':'a','value':''}]", "headers[0].value: "},
    {"M:'headers':[{'name':'a','value':' 1'}]", "headers[0].value: "},
    {"M:'headers':[{'name':'a','value':'1\\n2'}]", "headers[0].value: "},
    {"M:'headers':[{'name':'a','value':'1'},{'name':'A','value':'2'}]",
     "headers: \"a\" occurs twice"},
    {"M:'queryParams':[{'name':'','value':'2'}]", "queryParams[0].name: must not be empty"},
    {"M:'queryParams':[{'name':'a','value':'1'},{'name':'a','value':'1'}]", "occurs twice"},
    {"R:'name':'A'", "spec.rules[0].name: "},
    {"R:'timeout':'0s'", "spec.rules[0].timeout: \"0s\" is out of bounds: write 1ms to 1h"},
    {"R:'timeout':'3601s'", "out of bounds"},
    {"R:'timeout':'99999h'", "out of bounds"},
    {"R:'timeout':'100000ms'", "no duration"},
    {"R:'timeout':'1s1s1s1s1s'", "no duration"},
    {"R:'timeout':'1'", "no duration"},
    {"R:'timeout':'1.5s'", "no duration"},
    {"R:'timeout':2", "timeout: must be a string"},
    {"R:'retry':{'attempts':11}", "retry.attempts: must be from 0 to 10"},
    {"R:'retry':{'attempts':-1}", "retry.attempts: must be from 0 to 10"},
    {"R:'retry':{'backoff':'0ms'}", "retry.backoff: \"0ms\" is out of bounds: write 1ms to 1m"},
    {"R:'retry':{'backoff':'61s'}", "out of bounds"},
    {"R:'retry':{'codes':[503]}", "retry: unknown field \"codes\""},
    {"R:'retry':2", "retry: must be an object"},
    {"R:'limits':{'inFlight':0}", "limits.inFlight: must be from 1 to 1000000"},
    {"R:'limits':{'inFlight':'9'}", "limits.inFlight: must be an integer"},
    {"R:'limits':{'rate':1}", "limits: unknown field \"rate\""},
    {"R:'cancel':'yes'", "cancel: must be true or false"},
    {"R:'cancel':true,'codec':'metropolis/v1'", "cancel: workers of codec metropolis/v1 cannot"},
    {"R:'backends':[{'weight':0}]", "backends: every backend has the weight 0"},
    {"R:'backends':[{'weight':-1}]", "weight: must be from 0 to 1000000"},
    {"R:'backends':[{'weight':1.5}]", "weight: must be an integer"},
    {"R:'backends':[{'weight':1000001}]", "weight: must be from 0 to 1000000"},
    {"R:'backends':[{'weight':18446744073709551615}]", "weight: must be from"},
    {"R:'backends':[{'subject':''}]", "subject: must not be empty"},
    {"R:'backends':[{},{'subject':'a.*'}]", "spec.rules[0].backends[1].subject: the subject's"},
    {"{'rules':[{'name':'a','matches':[{'path':{'value':'/a'}}]},"
     "{'name':'a','matches':[{'path':{'value':'/b'}}]}]}",
     "two rules have the name \"a\""},
    {"{'rules':[{'matches':[{'path':{'type':'RegularExpression','value':'/a'}},"
     "{'path':{'value':'nope'}}]}]}",
     "matches[1].path.value"},
};

static void bad_specs_are_refused_with_place_and_advice(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(bad_specs) / sizeof(bad_specs[0]); i++) {
        char spec[1024];
        struct route_spec_error error;
        struct route *route;
        const char *in = bad_specs[i][0];

        if (in[0] == 'P')
            snprintf(spec, sizeof(spec), "{'rules':[{'matches':[{'path':%s}]}]}", in + 2);
        else if (in[0] == 'M')
            snprintf(spec, sizeof(spec), "{'rules':[{'matches':[{'path':{'value':'/a'},%s}]}]}",
                     in + 2);
        else if (in[0] == 'R')
            snprintf(spec, sizeof(spec), "{'rules':[{'matches':[{'path':{'value':'/a'}}],%s}]}",
                     in + 2);
        else
            snprintf(spec, sizeof(spec), "%s", in);
        for (char *at = spec; *at; at++)
            *at = *at == '\'' ? '"' : *at;
        if (read_spec(str_from(spec), &route, &error) != -EINVAL)
            fail_msg("accepted: %s", spec);
        if (!strstr(error.text, bad_specs[i][1]))
            fail_msg("%s: %s", spec, error.text);
        assert_true(utf8_valid(str_from(error.text)));
        route_unref(route);
    }
}

static void limits_of_lists_and_texts_are_exact(void **state)
{
    static const struct {
        const char *before, *item, *after;
        size_t max;
    } cases[] = {
        {"{\"hostnames\":[", "\"h%zu\"", "],\"rules\":[{\"backends\":[{\"subject\":\"a\"}]}]}", 16},
        {"{\"rules\":[", "{\"name\":\"n%zu\",\"backends\":[{\"subject\":\"a\"}]}", "]}", 16},
        {"{\"rules\":[{\"matches\":[", "{\"path\":{\"value\":\"/p%zu\"}}", "]}]}", 8},
        {"{\"rules\":[{\"backends\":[", "{\"subject\":\"a%zu\"}", "]}]}", 8},
        {"{\"rules\":[{\"backends\":[{\"subject\":\"a\"}],\"matches\":[{\"headers\":[",
         "{\"name\":\"n%zu\",\"value\":\"v\"}", "]}]}]}", 8},
        {"{\"rules\":[{\"backends\":[{\"subject\":\"a\"}],\"matches\":[{\"queryParams\":[",
         "{\"name\":\"n%zu\",\"value\":\"v\"}", "]}]}]}", 8},
        {"{\"rules\":[{\"backends\":[{\"subject\":\"", "a", "\"}]}]}", ROUTE_TARGET_MAX},
        {"{\"rules\":[{\"matches\":[{\"path\":{\"value\":\"/", "a", "\"}}]}]}", ROUTE_PATH_MAX - 1},
        {"{\"gateway\":\"", "a", "\",\"rules\":[{\"backends\":[{\"subject\":\"a\"}]}]}", 63},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (size_t count = cases[i].max; count <= cases[i].max + 1; count++) {
            struct buffer spec;
            struct route_spec_error error;
            struct route *route;
            int r;

            buffer_init(&spec, 65536);
            buffer_append_str(&spec, str_from(cases[i].before));
            for (size_t j = 0; j < count; j++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
                buffer_printf(&spec, cases[i].item, j);
#pragma GCC diagnostic pop
                if (j + 1 < count && strchr(cases[i].item, '"'))
                    buffer_append_byte(&spec, ',');
            }
            buffer_append_str(&spec, str_from(cases[i].after));
            r = read_spec(buffer_view(&spec), &route, &error);
            if ((r == 0) != (count == cases[i].max))
                fail_msg("case %zu, %zu items: %s", i, count, error.text);
            route_unref(route);
            buffer_done(&spec);
        }
    }
}

static void a_long_error_is_cut_between_characters(void **state)
{
    struct buffer spec;
    struct route_spec_error error;
    struct route *route;

    (void)state;
    for (size_t shift = 0; shift < 3; shift++) {
        buffer_init(&spec, 65536);
        buffer_append_str(&spec, STR_LIT("{\"rules\":[{}],\"hostnames\":[\""));
        for (size_t i = 0; i < shift; i++)
            buffer_append_byte(&spec, 'x');
        for (size_t i = 0; i < 250; i++)
            buffer_append_str(&spec, STR_LIT("\xE2\x82\xAC"));
        buffer_append_str(&spec, STR_LIT("\"]}"));
        assert_int_equal(read_spec(buffer_view(&spec), &route, &error), -EINVAL);
        if (strlen(error.text) < ROUTE_SPEC_ERROR_MAX - 4)
            fail_msg("%s", error.text);
        assert_true(utf8_valid(str_from(error.text)));
        route_unref(route);
        buffer_done(&spec);
    }
}

static void no_memory_in_the_arena_is_no_crash_at_any_point(void **state)
{
    static const char spec[] =
        "{\"hostnames\":[\"a\"],\"rules\":[{\"name\":\"n\",\"matches\":[{\"path\":{\"type\":"
        "\"RegularExpression\",\"value\":\"/x\"}},{\"path\":{\"type\":\"Template\",\"value\":"
        "\"/a/{id}\"},\"headers\":[{\"name\":\"x\",\"value\":\"y\"}],\"queryParams\":[{\"name\":"
        "\"x\",\"value\":\"y\"}]}],\"backends\":[{\"subject\":\"a.{method}\"}]}]}";
    yyjson_doc *doc = yyjson_read(spec, sizeof(spec) - 1, 0);
    int r = -ENOMEM;

    (void)state;
    for (size_t limit = 0; r == -ENOMEM; limit += 3) {
        struct route *route = route_new();
        struct route_spec_error error;

        assert_true(limit < 65536);
        route->arena->limit = limit;
        r = route_spec_read(yyjson_doc_get_root(doc), route, &error);
        route_unref(route);
    }
    assert_int_equal(r, 0);
    yyjson_doc_free(doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(specs_are_written_normalised_and_read_back_equal),
        cmocka_unit_test(the_model_holds_what_the_spec_says),
        cmocka_unit_test(bad_specs_are_refused_with_place_and_advice),
        cmocka_unit_test(limits_of_lists_and_texts_are_exact),
        cmocka_unit_test(a_long_error_is_cut_between_characters),
        cmocka_unit_test(no_memory_in_the_arena_is_no_crash_at_any_point),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
