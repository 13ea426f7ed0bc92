/* kubeconfig files as people have them, in a directory of the test's own. */
#include "controller/kube/config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char directory[] = "/tmp/metropolis-config-XXXXXX";

static const char *path_of(const char *name)
{
    static char paths[4][256];
    static unsigned next;
    char *path = paths[next++ % 4];

    snprintf(path, sizeof(paths[0]), "%s/%s", directory, name);
    return path;
}

static void put(const char *name, const char *text)
{
    FILE *file = fopen(path_of(name), "w");

    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static int setup(void **state)
{
    (void)state;
    return mkdtemp(directory) ? 0 : -1;
}

static int teardown(void **state)
{
    char command[512];

    (void)state;
    snprintf(command, sizeof(command), "rm -rf '%s'", directory);
    return system(command);
}

static int before(void **state)
{
    (void)state;
    unsetenv("KUBECONFIG");
    unsetenv("KUBERNETES_SERVICE_HOST");
    unsetenv("KUBERNETES_SERVICE_PORT");
    setenv("HOME", directory, 1);
    return 0;
}

static struct kube_config *load(const char *file, const char *context)
{
    struct kube_config_options options = {
        .kubeconfig = file, .context = context, .service_account_dir = path_of("account")};
    struct kube_config_error error;
    struct kube_config *config = NULL;

    if (kube_config_load(&options, &config, &error))
        fail_msg("%s", error.text);
    return config;
}

/* Loading must fail, and say this. */
static void refuse(const char *file, const char *context, const char *says)
{
    struct kube_config_options options = {
        .kubeconfig = file, .context = context, .service_account_dir = path_of("account")};
    struct kube_config_error error;
    struct kube_config *config = NULL;

    assert_true(kube_config_load(&options, &config, &error) < 0);
    assert_null(config);
    if (!strstr(error.text, says))
        fail_msg("\"%s\" does not say \"%s\"", error.text, says);
}

#define CLUSTER "clusters: [{name: c, cluster: {server: 'https://c.example:6443/'}}]\n"
#define CONTEXT(user) \
    "contexts: [{name: x, context: {cluster: c, user: " user "}}]\ncurrent-context: x\n"

static void test_inline_data_goes_before_files_and_is_decoded(void **state)
{
    struct kube_config *config;

    (void)state;
    put("inline", "clusters:\n- name: c\n  cluster:\n    server: https://c.example:6443/\n"
                  "    certificate-authority: none\n"
                  "    certificate-authority-data: LS0tLS1DQS0tLS0tCg==\n"
                  "    tls-server-name: other\n    proxy-url: http://proxy:3128\n"
                  "users:\n- name: u\n  user:\n    client-certificate-data: Q0VSVA==\n"
                  "    client-key-data: S0VZUw\n    token: secret\n"
                  "contexts:\n- {name: x, context: {cluster: c, user: u, namespace: shop}}\n"
                  "current-context: x\n");
    config = load(path_of("inline"), NULL);
    assert_string_equal(config->server, "https://c.example:6443");
    assert_string_equal(config->ca_pem, "-----CA-----\n");
    assert_null(config->ca_file);
    assert_string_equal(config->server_name, "other");
    assert_string_equal(config->proxy_url, "http://proxy:3128");
    assert_string_equal(config->cert_pem, "CERT");
    assert_string_equal(config->key_pem, "KEYS");
    assert_string_equal(config->token, "secret");
    assert_string_equal(config->namespace_name, "shop");
    kube_config_free(config);
}

static void test_paths_are_relative_to_the_file_that_has_them(void **state)
{
    char token[512];
    struct kube_config *config;

    (void)state;
    mkdir(path_of("sub"), 0700);
    put("sub/token", "t");
    put("sub/config",
        CLUSTER CONTEXT("u") "users: [{name: u, user: {tokenFile: token, token: old}}]\n");
    config = load(path_of("sub/config"), NULL);
    snprintf(token, sizeof(token), "%s", path_of("sub/token"));
    assert_string_equal(config->token_file, token);
    assert_null(config->token);
    assert_string_equal(config->namespace_name, "default");
    kube_config_free(config);
}

static void test_of_several_files_the_first_that_names_something_has_the_say(void **state)
{
    char list[1024];
    struct kube_config *config;

    (void)state;
    put("one", "users: [{name: u, user: {token: first}}]\n");
    put("two", CLUSTER CONTEXT("u") "users: [{name: u, user: {token: second}}]\n");
    snprintf(list, sizeof(list), "%s:%s:%s", path_of("missing"), path_of("one"), path_of("two"));
    setenv("KUBECONFIG", list, 1);
    config = load(NULL, NULL);
    assert_string_equal(config->token, "first");
    assert_string_equal(config->server, "https://c.example:6443");
    kube_config_free(config);
    config = load(path_of("two"), NULL); /* --kubeconfig is alone */
    assert_string_equal(config->token, "second");
    kube_config_free(config);
}

static void test_a_pod_finds_its_service_account(void **state)
{
    struct kube_config *config;

    (void)state;
    mkdir(path_of("account"), 0700);
    put("account/token", "t");
    put("account/ca.crt", "c");
    put("account/namespace", "metropolis");
    setenv("KUBERNETES_SERVICE_HOST", "fd00::1", 1);
    setenv("KUBERNETES_SERVICE_PORT", "443", 1);
    config = load(NULL, NULL);
    assert_string_equal(config->server, "https://[fd00::1]:443");
    assert_string_equal(config->token_file, path_of("account/token"));
    assert_string_equal(config->ca_file, path_of("account/ca.crt"));
    assert_string_equal(config->namespace_name, "metropolis");
    assert_string_equal(config->origin, "in-cluster");
    kube_config_free(config);
    put("two", CLUSTER CONTEXT("u") "users: [{name: u, user: {token: second}}]\n");
    setenv("KUBECONFIG", path_of("two"), 1); /* goes first */
    config = load(NULL, NULL);
    assert_string_equal(config->token, "second");
    kube_config_free(config);
}

static void test_the_context_can_be_chosen(void **state)
{
    struct kube_config *config;

    (void)state;
    put("contexts", CLUSTER "contexts: [{name: x, context: {cluster: c}}, {name: other, context: "
                            "{cluster: c, user: u}}]\n"
                            "users: [{name: u, user: {token: t}}]\ncurrent-context: x\n");
    config = load(path_of("contexts"), "other");
    assert_string_equal(config->token, "t");
    kube_config_free(config);
    refuse(path_of("contexts"), "z", "no context \"z\"");
}

static void test_what_is_not_supported_is_an_error_and_says_so(void **state)
{
    (void)state;
    put("provider", CLUSTER CONTEXT("u") "users: [{name: u, user: {auth-provider: {name: x}}}]\n");
    refuse(path_of("provider"), NULL, "user \"u\" has auth-provider, which is not supported");
    put("as", CLUSTER CONTEXT("u") "users: [{name: u, user: {token: t, as: root}}]\n");
    refuse(path_of("as"), NULL, "user \"u\" has as, which is not supported");
    put("password", CLUSTER CONTEXT("u") "users: [{name: u, user: {username: a, password: b}}]\n");
    refuse(path_of("password"), NULL, "username");
}

#define EXEC(more)                                                                  \
    "users: [{name: u, user: {exec: {apiVersion: client.authentication.k8s.io/v1, " \
    "interactiveMode: "                                                             \
    "Never, " more "}}}]\n"

static const char *variable_of(const struct kube_config *config, const char *name)
{
    const char *found = NULL;

    for (char **at = config->exec->environment; *at; at++)
        if (strncmp(*at, name, strlen(name)) == 0 && (*at)[strlen(name)] == '=') {
            assert_null(found); /* each once */
            found = *at + strlen(name) + 1;
        }
    return found;
}

static void test_a_plugin_gets_its_arguments_and_environment_as_they_are(void **state)
{
    struct kube_config *config;

    (void)state;
    setenv("METROPOLIS_TEST_KEPT", "kept", 1);
    setenv("METROPOLIS_TEST_CHANGED", "ours", 1);
    mkdir(path_of("sub"), 0700);
    put("sub/exec", CLUSTER CONTEXT("u")
                        EXEC("command: bin/login, args: ['$HOME; rm', ''], installHint: get it, "
                             "env: [{name: METROPOLIS_TEST_CHANGED, value: theirs}]"));
    config = load(path_of("sub/exec"), NULL);
    assert_string_equal(config->exec->argv[0], path_of("sub/bin/login"));
    assert_string_equal(config->exec->argv[1], "$HOME; rm");
    assert_string_equal(config->exec->argv[2], "");
    assert_null(config->exec->argv[3]);
    assert_string_equal(config->exec->install_hint, "get it");
    assert_string_equal(variable_of(config, "METROPOLIS_TEST_KEPT"), "kept");
    assert_string_equal(variable_of(config, "METROPOLIS_TEST_CHANGED"), "theirs");
    assert_string_equal(variable_of(config, "KUBERNETES_EXEC_INFO"),
                        "{\"kind\":\"ExecCredential\",\"apiVersion\":"
                        "\"client.authentication.k8s.io/v1\",\"spec\":{\"interactive\":false}}");
    kube_config_free(config);
}

static void test_a_plugin_that_asks_for_the_cluster_is_told_of_it(void **state)
{
    struct kube_config *config;

    (void)state;
    put("ca", "CA");
    put("cluster",
        "clusters:\n- name: c\n  cluster:\n    server: https://c.example:6443/\n"
        "    certificate-authority: ca\n    tls-server-name: other\n"
        "    extensions: [{name: other, extension: 1}, "
        "{name: client.authentication.k8s.io/exec, extension: {audience: [x]}}]\n" CONTEXT("u")
            EXEC("command: login, provideClusterInfo: true"));
    config = load(path_of("cluster"), NULL);
    assert_string_equal(config->exec->argv[0], "login"); /* found in PATH */
    assert_string_equal(
        variable_of(config, "KUBERNETES_EXEC_INFO"),
        "{\"kind\":\"ExecCredential\",\"apiVersion\":\"client.authentication.k8s.io/v1\",\"spec\":{"
        "\"interactive\":false,\"cluster\":{\"server\":\"https://c.example:6443\","
        "\"tls-server-name\":\"other\",\"certificate-authority-data\":\"Q0E=\","
        "\"config\":{\"audience\":[\"x\"]}}}}");
    kube_config_free(config);
}

static void test_a_token_goes_before_a_plugin(void **state)
{
    struct kube_config *config;

    (void)state;
    put("token-and-exec", CLUSTER CONTEXT("u") "users: [{name: u, user: {token: t, exec: {}}}]\n");
    config = load(path_of("token-and-exec"), NULL);
    assert_string_equal(config->token, "t");
    assert_null(config->exec);
    kube_config_free(config);
}

static void test_mistakes_in_a_plugin_are_named(void **state)
{
    (void)state;
    put("api", CLUSTER CONTEXT("u") "users: [{name: u, user: {exec: {apiVersion: "
                                    "client.authentication.k8s.io/v1alpha1, command: x}}}]\n");
    refuse(path_of("api"), NULL, "it must be client.authentication.k8s.io/v1");
    put("command", CLUSTER CONTEXT("u") EXEC("args: [x]"));
    refuse(path_of("command"), NULL, "exec has no command");
    put("args", CLUSTER CONTEXT("u") EXEC("command: x, args: [1]"));
    refuse(path_of("args"), NULL, "args must be strings");
    put("env", CLUSTER CONTEXT("u") EXEC("command: x, env: [{name: 'a=b', value: c}]"));
    refuse(path_of("env"), NULL, "env has a bad name");
    put("terminal", CLUSTER CONTEXT("u") "users: [{name: u, user: {exec: {apiVersion: "
                                         "client.authentication.k8s.io/v1, command: x, "
                                         "interactiveMode: Always}}}]\n");
    refuse(path_of("terminal"), NULL, "interactiveMode Always");
}

static void test_mistakes_are_named(void **state)
{
    (void)state;
    refuse(path_of("missing"), NULL, "No such file");
    refuse(NULL, NULL, "no cluster to talk to");
    put("bad", "a: [\n");
    refuse(path_of("bad"), NULL, "bad:2:1: ");
    put("list", "[1]\n");
    refuse(path_of("list"), NULL, "is not a kubeconfig file");
    put("empty", "");
    refuse(path_of("empty"), NULL, "no current-context");
    put("user", CLUSTER CONTEXT("u"));
    refuse(path_of("user"), NULL, "no user \"u\"");
    put("server", CONTEXT("u") "clusters: [{name: c, cluster: {server: c.example}}]\n"
                               "users: [{name: u, user: {}}]\n");
    refuse(path_of("server"), NULL, "server must be https://");
    put("file", CLUSTER CONTEXT("u") "users: [{name: u, user: {tokenFile: nowhere}}]\n");
    refuse(path_of("file"), NULL, "tokenFile");
    put("half", CLUSTER CONTEXT("u") "users: [{name: u, user: {client-key-data: S0VZ}}]\n");
    refuse(path_of("half"), NULL, "only one of client-certificate and client-key");
    put("base64", CLUSTER CONTEXT("u") "users: [{name: u, user: {client-key-data: '*'}}]\n");
    refuse(path_of("base64"), NULL, "client-key-data is not base64");
    put("both", CONTEXT("u") "users: [{name: u, user: {}}]\nclusters: [{name: c, cluster: {server: "
                             "'https://c', insecure-skip-tls-verify: true, "
                             "certificate-authority-data: Q0E=}}]\n");
    refuse(path_of("both"), NULL, "exclude each other");
}

static void test_an_error_names_where_the_kubeconfig_came_from_and_what_there_is(void **state)
{
    (void)state;
    put("two-contexts", CLUSTER "contexts: [{name: blue, context: {cluster: c}}, {name: green, "
                                "context: {cluster: none}}]\n");
    refuse(path_of("two-contexts"), "red",
           "--kubeconfig: there is no context \"red\"; there are blue, green");
    refuse(path_of("two-contexts"), NULL,
           "--kubeconfig: no current-context: name one with --context; there are blue, green");
    refuse(path_of("two-contexts"), "green", "--kubeconfig: there is no cluster \"none\"");
    refuse(path_of("missing"), NULL, "--kubeconfig: ");
    setenv("KUBECONFIG", path_of("two-contexts"), 1);
    refuse(NULL, "red", "KUBECONFIG: there is no context \"red\"; there are blue, green");
    setenv("KUBECONFIG", path_of("missing"), 1);
    refuse(NULL, NULL, "KUBECONFIG: none of the files that it names exists");
    put("empty", "{}");
    setenv("KUBECONFIG", path_of("empty"), 1);
    refuse(NULL, "red", "KUBECONFIG: there is no context \"red\"; there is none");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_inline_data_goes_before_files_and_is_decoded, before),
        cmocka_unit_test_setup(test_paths_are_relative_to_the_file_that_has_them, before),
        cmocka_unit_test_setup(test_of_several_files_the_first_that_names_something_has_the_say,
                               before),
        cmocka_unit_test_setup(test_mistakes_are_named, before),
        cmocka_unit_test_setup(test_a_pod_finds_its_service_account, before),
        cmocka_unit_test_setup(test_the_context_can_be_chosen, before),
        cmocka_unit_test_setup(test_what_is_not_supported_is_an_error_and_says_so, before),
        cmocka_unit_test_setup(test_a_plugin_gets_its_arguments_and_environment_as_they_are,
                               before),
        cmocka_unit_test_setup(test_a_plugin_that_asks_for_the_cluster_is_told_of_it, before),
        cmocka_unit_test_setup(test_a_token_goes_before_a_plugin, before),
        cmocka_unit_test_setup(test_mistakes_in_a_plugin_are_named, before),
        cmocka_unit_test_setup(test_an_error_names_where_the_kubeconfig_came_from_and_what_there_is,
                               before),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
