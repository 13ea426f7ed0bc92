#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the above first. */
#include <cmocka.h>

#include <yyjson.h>

#include "dataplane/http/problem.h"

static const char *text_of(yyjson_val *root, const char *key)
{
    const char *text = yyjson_get_str(yyjson_obj_get(root, key));

    assert_non_null(text);
    return text;
}

static void every_problem_is_json_with_all_members(void **state)
{
    (void)state;
    for (enum problem problem = PROBLEM_NONE + 1; problem < PROBLEM_COUNT; problem++) {
        const struct problem_text *text = problem_describe(problem);
        struct buffer out;
        yyjson_doc *doc;
        yyjson_val *root;
        char type[128];

        buffer_init(&out, 4096);
        assert_int_equal(problem_write(problem, NULL, STR_LIT("id-1"), &out), 0);
        doc = yyjson_read(buffer_view(&out).ptr, buffer_length(&out), 0);
        assert_non_null(doc);
        root = yyjson_doc_get_root(doc);
        snprintf(type, sizeof(type), "urn:metropolis:problem:%s", text->reason);
        assert_string_equal(text_of(root, "type"), type);
        assert_string_equal(text_of(root, "reason"), text->reason);
        assert_string_equal(text_of(root, "title"), text->title);
        assert_string_equal(text_of(root, "detail"), text->detail);
        assert_string_equal(text_of(root, "requestId"), "id-1");
        assert_int_equal(yyjson_get_int(yyjson_obj_get(root, "status")), text->status);
        yyjson_doc_free(doc);
        buffer_done(&out);
    }
}

static void a_service_error_says_its_text_and_nothing_that_is_none(void **state)
{
    struct buffer out;
    yyjson_doc *doc;
    yyjson_val *root;

    (void)state;
    buffer_init(&out, 4096);
    assert_int_equal(
        problem_write_service(404, STR_LIT("no \"a\\b\" \xC3\xA9"), STR_LIT("id-1"), &out), 0);
    doc = yyjson_read(buffer_view(&out).ptr, buffer_length(&out), 0);
    root = yyjson_doc_get_root(doc);
    assert_string_equal(text_of(root, "detail"), "no \"a\\b\" \xC3\xA9");
    assert_string_equal(text_of(root, "reason"), "service-error");
    assert_int_equal(yyjson_get_int(yyjson_obj_get(root, "status")), 404);
    yyjson_doc_free(doc);
    buffer_clear(&out, 0);
    assert_true(problem_write_service(404, STR_LIT("\xE9"), STR_LIT("id-1"), &out) < 0);
    assert_true(problem_write_service(404, STR_LIT("a\tb"), STR_LIT("id-1"), &out) < 0);
    assert_int_equal(buffer_length(&out), 0);
    buffer_done(&out);
}

static void reasons_are_unique_and_fit_a_urn_and_a_label(void **state)
{
    (void)state;
    for (enum problem a = PROBLEM_NONE + 1; a < PROBLEM_COUNT; a++) {
        const char *reason = problem_describe(a)->reason;

        assert_int_equal(strspn(reason, "abcdefghijklmnopqrstuvwxyz-"), strlen(reason));
        for (enum problem b = PROBLEM_NONE + 1; b < a; b++)
            assert_string_not_equal(reason, problem_describe(b)->reason);
    }
}

static void only_what_did_not_run_invites_a_retry(void **state)
{
    (void)state;
    for (enum problem problem = PROBLEM_NONE + 1; problem < PROBLEM_COUNT; problem++)
        if (problem_describe(problem)->retry_after_s)
            assert_true(problem_describe(problem)->status == 503 || problem == PROBLEM_LIMITED);
    assert_int_equal(problem_describe(PROBLEM_OUTCOME_UNKNOWN)->retry_after_s, 0);
    assert_true(problem_describe(PROBLEM_NATS_DOWN)->retry_after_s > 0);
    assert_true(problem_describe(PROBLEM_OVERLOADED)->retry_after_s > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_problem_is_json_with_all_members),
        cmocka_unit_test(a_service_error_says_its_text_and_nothing_that_is_none),
        cmocka_unit_test(reasons_are_unique_and_fit_a_urn_and_a_label),
        cmocka_unit_test(only_what_did_not_run_invites_a_retry),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
