/* What golden tests cannot show: buckets that are read later than the Routes, and long lists. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>

#include "controller/compile/compile.h"

static const char stored_value[] =
    "{\"format\":1,\"uid\":\"u\",\"generation\":7,\"created\":0,\"spec\":{\"hostnames\":"
    "[\"a.test\"],\"rules\":[{\"matches\":[{\"path\":{\"type\":\"Exact\",\"value\":\"/a\"}}]}]}}";

struct seen {
    bool loaded; /* the bucket */
    unsigned puts, deletes, verdicts, forgotten;
    int64_t serving;
    char reason[64];
};

static void on_entry(void *context, unsigned gateway, struct str key, int64_t generation,
                     struct str value)
{
    struct seen *seen = context;

    (void)gateway, (void)key, (void)generation;
    if (value.ptr)
        seen->puts++;
    else
        seen->deletes++;
}

static void on_verdict(void *context, const struct compile_verdict *verdict)
{
    struct seen *seen = context;

    seen->verdicts++;
    seen->serving = verdict->serving;
    snprintf(seen->reason, sizeof(seen->reason), "%s", verdict->accepted->reason);
}

static void on_forgotten(void *context, struct str namespace_name, struct str name)
{
    (void)namespace_name, (void)name;
    ((struct seen *)context)->forgotten++;
}

static int on_stored(void *context, unsigned gateway, struct str key, struct buffer *value)
{
    struct seen *seen = context;

    (void)gateway, (void)key;
    return seen->loaded ? buffer_append_str(value, STR_LIT(stored_value)) : -EAGAIN;
}

static struct compile *make(struct seen *seen)
{
    static const char *const gateways[] = {"default"};
    const struct compile_handler handler = {on_entry, on_verdict, on_forgotten, on_stored, seen};
    struct compile *compile = compile_new(gateways, 1, &handler);

    *seen = (struct seen){.serving = -2};
    assert_non_null(compile);
    return compile;
}

static void set_policy(struct compile *compile, const char *hostname)
{
    char text[256], error[POLICY_ERROR_MAX];
    struct policy *policy;

    snprintf(text, sizeof(text),
             "rules: [{namespaces: [\"*\"], hostnames: [\"%s\"], subjects: [\">\"]}]", hostname);
    assert_int_equal(policy_read(str_from(text), &policy, error), 0);
    assert_int_equal(compile_set_policy(compile, policy), 0);
}

static void upsert_named(struct compile *compile, struct str name, int64_t generation,
                         yyjson_val *spec)
{
    const struct source_route route = {.namespace_name = STR_LIT("ns"),
                                       .name = name,
                                       .uid = STR_LIT("u"),
                                       .generation = generation,
                                       .spec = spec};

    assert_int_equal(compile_upsert(compile, &route), 0);
}

/* Generation 8, which is invalid, or another with a spec. */
static void upsert_spec(struct compile *compile, int64_t generation, yyjson_val *spec)
{
    upsert_named(compile, STR_LIT("r"), generation, spec);
}

static void upsert(struct compile *compile)
{
    upsert_spec(compile, 8, NULL);
}

static void the_last_good_generation_is_found_when_the_bucket_was_read(void **state)
{
    struct seen seen;
    struct compile *compile = make(&seen);

    (void)state;
    upsert(compile);
    assert_int_equal(compile_synced(compile), 0);
    assert_int_equal(seen.serving, -1);
    seen.loaded = true;
    assert_int_equal(compile_recover(compile), 0);
    assert_int_equal(seen.serving, 7);
    assert_int_equal(seen.puts, 1);
    assert_string_equal(seen.reason, "Invalid");
    assert_int_equal(compile_recover(compile), 0);
    assert_int_equal(seen.puts, 1);
    compile_free(compile);
}

static void a_generation_that_only_the_leader_before_saw_is_not_taken_back(void **state)
{
    yyjson_doc *document = yyjson_read(stored_value, sizeof(stored_value) - 1, 0);
    struct seen seen;
    struct compile *compile = make(&seen);

    (void)state;
    assert_int_equal(compile_synced(compile), 0);
    upsert_spec(compile, 6, yyjson_obj_get(yyjson_doc_get_root(document), "spec"));
    upsert(compile); /* 7 is in the bucket */
    assert_int_equal(seen.serving, 6);
    seen.loaded = true;
    assert_int_equal(compile_recover(compile), 0);
    assert_int_equal(seen.serving, 7);
    yyjson_doc_free(document);
    compile_free(compile);
}

static void it_stays_out_when_the_policy_does_not_allow_it(void **state)
{
    struct seen seen;
    struct compile *compile = make(&seen);

    (void)state;
    set_policy(compile, "b.test");
    upsert(compile);
    assert_int_equal(compile_synced(compile), 0);
    seen.loaded = true;
    assert_int_equal(compile_recover(compile), 0);
    assert_int_equal(seen.serving, -1);
    assert_int_equal(seen.puts, 0);
    /* The bucket has it still, as long as nobody has written. */
    set_policy(compile, "a.test");
    assert_int_equal(seen.serving, 7);
    compile_free(compile);
}

static void a_route_that_goes_while_the_bucket_is_read_stays_gone(void **state)
{
    struct seen seen;
    struct compile *compile = make(&seen);

    (void)state;
    upsert(compile);
    assert_int_equal(compile_remove(compile, STR_LIT("ns"), STR_LIT("r")), 0);
    seen.loaded = true;
    assert_int_equal(compile_recover(compile), 0);
    set_policy(compile, "a.test");
    assert_int_equal(compile_synced(compile), 0);
    assert_int_equal(seen.puts, 0);
    assert_int_equal(seen.forgotten, 1);
    compile_free(compile);
}

/* All of them ask the same: whoever is first by name wins. */
static void upsert_many(struct compile *compile, unsigned count, yyjson_val *spec)
{
    for (unsigned i = 0; i < count; i++) {
        char name[16];

        snprintf(name, sizeof(name), "r%06u", i);
        upsert_named(compile, str_from(name), 6, spec);
    }
}

static void a_list_of_many_routes_says_verdicts_at_its_end_only(void **state)
{
    enum { MANY = 10000 };
    yyjson_doc *document = yyjson_read(stored_value, sizeof(stored_value) - 1, 0);
    yyjson_val *spec = yyjson_obj_get(yyjson_doc_get_root(document), "spec");
    struct seen seen;
    struct compile *compile = make(&seen);

    (void)state;
    upsert_many(compile, MANY, spec);
    assert_int_equal(seen.verdicts, 0);
    /* The first of them change before the list is complete: one goes, one is invalid now. */
    assert_int_equal(compile_remove(compile, STR_LIT("ns"), STR_LIT("r000000")), 0);
    upsert_named(compile, STR_LIT("r000001"), 7, NULL);
    upsert_named(compile, STR_LIT("r000002"), 7, spec);
    assert_int_equal(seen.verdicts, 0);
    assert_int_equal(compile_synced(compile), 0);
    assert_int_equal(seen.verdicts, MANY - 1);
    assert_int_equal(seen.forgotten, 1);
    assert_int_equal(seen.deletes, 1);
    assert_int_equal(compile_count(compile).routes, MANY - 1);
    assert_int_equal(compile_count(compile).invalid, 1);
    assert_int_equal(compile_count(compile).accepted, 0);
    assert_int_equal(compile_count(compile).shadowed, MANY - 2);
    /* The invalid one serves its last good generation, so it is the winner until it goes. */
    assert_int_equal(compile_remove(compile, STR_LIT("ns"), STR_LIT("r000001")), 0);
    assert_int_equal(compile_count(compile).accepted, 1);
    assert_int_equal(compile_count(compile).shadowed, MANY - 3);
    yyjson_doc_free(document);
    compile_free(compile);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_good_generation_is_found_when_the_bucket_was_read),
        cmocka_unit_test(a_generation_that_only_the_leader_before_saw_is_not_taken_back),
        cmocka_unit_test(it_stays_out_when_the_policy_does_not_allow_it),
        cmocka_unit_test(a_route_that_goes_while_the_bucket_is_read_stays_gone),
        cmocka_unit_test(a_list_of_many_routes_says_verdicts_at_its_end_only),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
