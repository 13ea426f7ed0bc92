/* Exec plugins, as scripts, in front of the client and a scripted server. */
#include "controller/kube/plugin.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/kube/script.h"

#define API "client.authentication.k8s.io/v1"

struct fixture {
    struct script script;
    struct kube_config_exec exec;
    char *argv[2];
    char directory[64], path[128], runs[128];
    struct kube_response response;
    unsigned done;
    bool all_done;
    unsigned awaited;
};

static void on_done(void *context, const struct kube_response *response)
{
    struct fixture *f = context;

    f->response = *response;
    f->done++;
    f->all_done = f->done == f->awaited;
}

/* The plugin is a script; each run adds a line to the file runs. */
static void start(struct fixture *f, const char *body, const struct script_step *steps,
                  size_t count)
{
    FILE *file;

    memset(f, 0, sizeof(*f));
    strcpy(f->directory, "/tmp/metropolis-plugin-XXXXXX");
    assert_non_null(mkdtemp(f->directory));
    snprintf(f->path, sizeof(f->path), "%s/plugin", f->directory);
    snprintf(f->runs, sizeof(f->runs), "%s/runs", f->directory);
    file = fopen(f->path, "w");
    assert_non_null(file);
    fprintf(file, "#!/bin/sh\necho run >> %s\nn=$(wc -l < %s)\n%s\n", f->runs, f->runs, body);
    fclose(file);
    chmod(f->path, 0700);
    f->argv[0] = f->path;
    f->exec = (struct kube_config_exec){.api_version = API,
                                        .install_hint = "install the thing",
                                        .argv = f->argv,
                                        .environment = environ};
    script_start_exec(&f->script, &f->exec, steps, count);
}

static unsigned runs(const struct fixture *f)
{
    FILE *file = fopen(f->runs, "r");
    unsigned count = 0;
    int c;

    while (file && (c = fgetc(file)) != EOF)
        count += c == '\n';
    if (file)
        fclose(file);
    return count;
}

static void stop(struct fixture *f)
{
    assert_int_equal(f->script.next, f->script.count); /* no request less */
    script_stop(&f->script);
    unlink(f->path);
    unlink(f->runs);
    assert_int_equal(rmdir(f->directory), 0);
}

static void ask(struct fixture *f, unsigned times)
{
    const struct kube_request_options options = {
        .method = "GET", .path = "/api", .timeout_ms = 5000, .done = on_done, .context = f};
    struct kube_request *request;

    f->done = 0;
    f->awaited = times;
    f->all_done = false;
    for (unsigned i = 0; i < times; i++)
        assert_int_equal(kube_request_start(f->script.client, &options, &request), 0);
    script_run(&f->script, &f->all_done);
}

#define SAY(status) \
    "echo '{\"kind\":\"ExecCredential\",\"apiVersion\":\"" API "\",\"status\":{" status "}}'"

static void test_one_run_serves_all_who_wait_and_those_after_them(void **state)
{
    static const struct script_step steps[] = {
        {"Authorization: Bearer first\r\n", "200 OK", NULL, "", SCRIPT_ENDS},
        {"Authorization: Bearer first\r\n", "200 OK", NULL, "", SCRIPT_ENDS},
        {"Authorization: Bearer first\r\n", "200 OK", NULL, "", SCRIPT_ENDS},
    };
    struct fixture f;

    (void)state;
    start(&f, SAY("\"token\":\"first\""), steps, 3);
    ask(&f, 2);
    ask(&f, 1);
    assert_int_equal(f.response.status, 200);
    assert_int_equal(runs(&f), 1);
    stop(&f);
}

static void test_after_a_401_it_is_asked_again_once(void **state)
{
    static const struct script_step steps[] = {
        {"Authorization: Bearer 1\r\n", "401 Unauthorized", NULL, "", SCRIPT_ENDS},
        {"Authorization: Bearer 1\r\n", "401 Unauthorized", NULL, "", SCRIPT_ENDS},
        {"Authorization: Bearer 2\r\n", "200 OK", NULL, "", SCRIPT_ENDS},
    };
    struct fixture f;

    (void)state;
    start(&f,
          "echo '{\"kind\":\"ExecCredential\",\"apiVersion\":\"" API
          "\",\"status\":{\"token\":\"'$n'\"}}'",
          steps, 3);
    ask(&f, 2);
    assert_int_equal(f.response.status, 401);
    ask(&f, 1);
    assert_int_equal(f.response.status, 200);
    assert_int_equal(runs(&f), 2);
    stop(&f);
}

static void test_an_expired_credential_is_asked_for_anew(void **state)
{
    static const struct script_step steps[] = {
        {"Authorization: Bearer t\r\n", "200 OK", NULL, "", SCRIPT_ENDS},
        {"Authorization: Bearer t\r\n", "200 OK", NULL, "", SCRIPT_ENDS},
    };
    struct fixture f;
    uint64_t started_ms;

    (void)state;
    start(&f, SAY("\"token\":\"t\",\"expirationTimestamp\":\"2001-01-01T00:00:00Z\""), steps, 2);
    ask(&f, 1);
    started_ms = uv_now(&f.script.loop);
    ask(&f, 1);
    assert_int_equal(runs(&f), 2);
    assert_true(f.script.times_ms[1] - f.script.times_ms[0] >= 500); /* not in a loop */
    assert_true(uv_now(&f.script.loop) - started_ms < 10000);
    stop(&f);
}

static void test_a_plugin_that_fails_fails_the_request_with_its_words(void **state)
{
    struct fixture f;

    (void)state;
    start(&f, "echo \"log in first\" >&2\necho again >&2\nexit 3", NULL, 0);
    ask(&f, 2);
    assert_int_equal(f.response.error, -EACCES);
    assert_non_null(strstr(f.response.message, "/plugin: exit code 3: log in first again"));
    assert_int_equal(runs(&f), 1);
    stop(&f);
}

static void test_an_answer_that_makes_no_sense_is_named(void **state)
{
    struct fixture f;

    (void)state;
    start(&f, "echo hello", NULL, 0);
    ask(&f, 1);
    assert_non_null(strstr(f.response.message, "cannot be used: no ExecCredential as JSON"));
    stop(&f);
}

static void test_a_plugin_that_says_too_much_is_ended(void **state)
{
    struct fixture f;

    (void)state;
    start(&f, "yes", NULL, 0);
    ask(&f, 1);
    assert_non_null(strstr(f.response.message, "it wrote more than 1048576 bytes"));
    stop(&f);
}

static void test_a_plugin_that_is_not_there_says_how_to_get_it(void **state)
{
    struct fixture f;

    (void)state;
    start(&f, "", NULL, 0);
    f.argv[0] = "metropolis-no-such-plugin";
    ask(&f, 1);
    assert_int_equal(f.response.error, -EACCES);
    assert_non_null(strstr(f.response.message, "no such file or directory; install the thing"));
    stop(&f);
}

static void test_the_end_does_not_wait_for_a_plugin(void **state)
{
    const struct kube_request_options options = {
        .method = "GET", .path = "/api", .timeout_ms = 5000, .done = on_done, .context = state};
    struct kube_request *request;
    struct fixture f;
    uint64_t began_ms;

    start(&f, "sleep 60 & sleep 60", NULL, 0);
    assert_int_equal(kube_request_start(f.script.client, &options, &request), 0);
    for (int i = 0; i < 200 && !runs(&f); i++)
        script_run_for(&f.script, 20);
    assert_int_equal(runs(&f), 1);
    kube_request_cancel(request);
    began_ms = uv_hrtime() / 1000000;
    stop(&f); /* runs the loop empty: the script and what it started are gone */
    assert_true(uv_hrtime() / 1000000 - began_ms < 20000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_run_serves_all_who_wait_and_those_after_them),
        cmocka_unit_test(test_after_a_401_it_is_asked_again_once),
        cmocka_unit_test(test_an_expired_credential_is_asked_for_anew),
        cmocka_unit_test(test_a_plugin_that_fails_fails_the_request_with_its_words),
        cmocka_unit_test(test_an_answer_that_makes_no_sense_is_named),
        cmocka_unit_test(test_a_plugin_that_says_too_much_is_ended),
        cmocka_unit_test(test_a_plugin_that_is_not_there_says_how_to_get_it),
        cmocka_unit_test(test_the_end_does_not_wait_for_a_plugin),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
