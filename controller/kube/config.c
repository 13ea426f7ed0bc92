/*
 * config: what of the kubeconfig files is asked for, as client-go does (tools/clientcmd), or what a
 * pod has instead. How the files are read and merged is config_file's, plugins are config_exec's.
 *
 * What would change who we are and is not implemented (impersonation, passwords) is an error and
 * never ignored. Everything is copied into the arena of the result; the files' documents live only
 * while loading.
 */
#include "controller/kube/config.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "controller/kube/config_file.h"

enum { CONFIG_MAX = 4 * 1024 * 1024 }; /* bytes of the result */

#define SERVICE_ACCOUNT_DIR "/var/run/secrets/kubernetes.io/serviceaccount"

static int take_server(struct config_loader *loader, const struct config_file *file,
                       yyjson_val *cluster)
{
    struct kube_config *config = loader->config;
    const char *server;
    size_t length;
    int error = config_take_text(loader, file, cluster, "server", &server);

    if (error)
        return error;
    if (!server || (strncmp(server, "https://", 8) != 0 && strncmp(server, "http://", 7) != 0))
        return config_refuse(loader, -EINVAL, "%s: server must be https://HOST:PORT, not \"%s\"",
                             file->path, server ? server : "");
    length = strlen(server);
    while (server[length - 1] == '/')
        length--;
    config->server = arena_copy(&config->arena, str_make(server, length)).ptr;
    return config->server ? 0 : -ENOMEM;
}

static int take_cluster(struct config_loader *loader, const char *name)
{
    struct kube_config *config = loader->config;
    const struct config_file *file = NULL;
    yyjson_val *cluster = config_find_entry(loader, "clusters", "cluster", name, &file);
    int error;

    if (!cluster)
        return config_refuse(loader, -EINVAL, "there is no cluster \"%s\"", name);
    loader->cluster = cluster;
    error = take_server(loader, file, cluster);
    if (!error)
        error = config_take_text(loader, file, cluster, "tls-server-name", &config->server_name);
    if (!error)
        error = config_take_text(loader, file, cluster, "proxy-url", &config->proxy_url);
    if (!error)
        error = config_take_pem(loader, file, cluster, "certificate-authority",
                                "certificate-authority-data", &config->ca_file, &config->ca_pem);
    if (error)
        return error;
    config->insecure = yyjson_get_bool(yyjson_obj_get(cluster, "insecure-skip-tls-verify"));
    if (config->insecure && (config->ca_file || config->ca_pem))
        return config_refuse(
            loader, -EINVAL,
            "%s: insecure-skip-tls-verify and a certificate-authority exclude each other",
            file->path);
    return 0;
}

/* Ways to log in that we do not have, with what to do instead. */
static int refuse_unsupported(struct config_loader *loader, const struct config_file *file,
                              yyjson_val *user, const char *name)
{
    static const char *const fields[] = {"auth-provider", "username",  "password",     "as",
                                         "as-uid",        "as-groups", "as-user-extra"};

    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
        if (yyjson_obj_get(user, fields[i]))
            return config_refuse(loader, -EINVAL,
                                 "%s: user \"%s\" has %s, which is not supported: use a token, a "
                                 "client certificate or an exec plugin",
                                 file->path, name, fields[i]);
    return 0;
}

static int take_user(struct config_loader *loader, const char *name)
{
    struct kube_config *config = loader->config;
    const struct config_file *file = NULL;
    yyjson_val *user = config_find_entry(loader, "users", "user", name, &file);
    int error;

    if (!user)
        return config_refuse(loader, -EINVAL, "there is no user \"%s\"", name);
    error = refuse_unsupported(loader, file, user, name);
    if (!error)
        error = config_take_path(loader, file, user, "tokenFile", &config->token_file);
    if (!error && !config->token_file)
        error = config_take_text(loader, file, user, "token", &config->token);
    if (!error)
        error = config_take_pem(loader, file, user, "client-certificate", "client-certificate-data",
                                &config->cert_file, &config->cert_pem);
    if (!error)
        error = config_take_pem(loader, file, user, "client-key", "client-key-data",
                                &config->key_file, &config->key_pem);
    if (!error && (config->cert_file || config->cert_pem) != (config->key_file || config->key_pem))
        error = config_refuse(loader, -EINVAL,
                              "%s: user \"%s\" has only one of client-certificate and client-key",
                              file->path, name);
    if (!error && !config->token && !config->token_file && yyjson_obj_get(user, "exec"))
        error = config_take_exec(loader, file, yyjson_obj_get(user, "exec"), name);
    return error;
}

/* "; there are a, b", for the end of a message. */
static const char *list_contexts(const struct config_loader *loader)
{
    const char *list = "; there is none";
    const char *before = "; there are";

    for (size_t i = 0; i < loader->count; i++) {
        yyjson_val *context;
        yyjson_arr_iter iter;

        yyjson_arr_iter_init(yyjson_obj_get(loader->files[i].root, "contexts"), &iter);
        while ((context = yyjson_arr_iter_next(&iter))) {
            const char *name = yyjson_get_str(yyjson_obj_get(context, "name"));
            struct str longer =
                arena_printf(&loader->config->arena, "%s %s", before, name ? name : "\"\"");

            if (!longer.ptr)
                return list;
            list = longer.ptr;
            before = arena_printf(&loader->config->arena, "%s,", list).ptr;
            if (!before)
                return list;
        }
    }
    return list;
}

/* --context, or the first current-context. */
static int find_context(struct config_loader *loader, const char *wanted, const char **ret_name)
{
    *ret_name = wanted;
    for (size_t i = 0; i < loader->count && (!*ret_name || !**ret_name); i++) {
        int error = config_take_text(loader, &loader->files[i], loader->files[i].root,
                                     "current-context", ret_name);

        if (error)
            return error;
    }
    if (!*ret_name || !**ret_name)
        return config_refuse(loader, -EINVAL, "no current-context: name one with --context%s",
                             list_contexts(loader));
    return 0;
}

static int resolve(struct config_loader *loader, const char *wanted)
{
    struct kube_config *config = loader->config;
    const struct config_file *file = NULL;
    const char *name, *cluster, *user;
    yyjson_val *context;
    int error = find_context(loader, wanted, &name);

    if (error)
        return error;
    context = config_find_entry(loader, "contexts", "context", name, &file);
    if (!context)
        return config_refuse(loader, -EINVAL, "there is no context \"%s\"%s", name,
                             list_contexts(loader));
    error = config_take_text(loader, file, context, "cluster", &cluster);
    if (!error)
        error = config_take_text(loader, file, context, "user", &user);
    if (!error)
        error = config_take_text(loader, file, context, "namespace", &config->namespace_name);
    if (!error)
        error = take_cluster(loader, cluster ? cluster : "");
    if (!error && user)
        error = take_user(loader, user);
    if (error)
        return error;
    config->origin = arena_printf(&config->arena, "%s, context %s", file->path, name).ptr;
    return config->origin ? 0 : -ENOMEM;
}

/* https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/ */
static int load_in_cluster(struct config_loader *loader, const char *directory)
{
    struct kube_config *config = loader->config;
    struct arena *arena = &config->arena;
    const char *host = getenv("KUBERNETES_SERVICE_HOST"), *port = getenv("KUBERNETES_SERVICE_PORT");
    bool v6 = strchr(host, ':');
    struct str path, name;

    config->server =
        arena_printf(arena, "https://%s%s%s:%s", v6 ? "[" : "", host, v6 ? "]" : "", port).ptr;
    config->ca_file = arena_printf(arena, "%s/ca.crt", directory).ptr;
    config->token_file = arena_printf(arena, "%s/token", directory).ptr;
    config->origin = "in-cluster";
    if (!config->server || !config->ca_file || !config->token_file)
        return -ENOMEM;
    if (access(config->ca_file, R_OK))
        return config_refuse(loader, -errno, "%s: %s", config->ca_file, strerror(errno));
    path = arena_printf(arena, "%s/namespace", directory);
    if (path.ptr && config_read_file(arena, path.ptr, &name) == 0 && name.len)
        config->namespace_name = name.ptr;
    return 0;
}

static bool is_in_cluster(const char *directory)
{
    const char *host = getenv("KUBERNETES_SERVICE_HOST"), *port = getenv("KUBERNETES_SERVICE_PORT");
    char path[512];

    snprintf(path, sizeof(path), "%s/token", directory);
    return host && *host && port && *port && access(path, R_OK) == 0;
}

static int load(struct config_loader *loader, const struct kube_config_options *options)
{
    const char *list = getenv("KUBECONFIG"), *home = getenv("HOME");
    const char *directory =
        options->service_account_dir ? options->service_account_dir : SERVICE_ACCOUNT_DIR;
    struct str path;
    int error;

    if (options->kubeconfig && *options->kubeconfig) {
        loader->source = "--kubeconfig";
        path = arena_copy(&loader->config->arena, str_from(options->kubeconfig));
        error = path.ptr ? config_add_file(loader, path.ptr) : -ENOMEM;
    } else if (list && *list) {
        loader->source = "KUBECONFIG";
        error = config_add_files(loader, list);
    } else if (is_in_cluster(directory)) {
        loader->source = "the pod's service account";
        return load_in_cluster(loader, directory);
    } else {
        path = arena_printf(&loader->config->arena, "%s/.kube/config", home ? home : "");
        if (!path.ptr)
            return -ENOMEM;
        if (access(path.ptr, F_OK))
            return config_refuse(
                loader, -ENOENT,
                "no cluster to talk to: not in a pod, and neither --kubeconfig nor "
                "KUBECONFIG is set, and there is no %s",
                path.ptr);
        error = config_add_file(loader, path.ptr);
    }
    return error ? error : resolve(loader, options->context);
}

/* Before what is wrong, which option or variable it came from. */
static void name_source(const struct config_loader *loader)
{
    struct kube_config_error wrong = *loader->error;

    if (loader->source)
        snprintf(loader->error->text, sizeof(loader->error->text), "%s: %.400s", loader->source,
                 wrong.text);
}

int kube_config_load(const struct kube_config_options *options, struct kube_config **ret_config,
                     struct kube_config_error *ret_error)
{
    struct config_loader loader = {.error = ret_error};
    int error;

    assert(options && ret_config && ret_error);
    ret_error->text[0] = '\0';
    loader.config = calloc(1, sizeof(*loader.config));
    if (!loader.config)
        return -ENOMEM;
    arena_init(&loader.config->arena, CONFIG_MAX);
    error = load(&loader, options);
    for (size_t i = 0; i < loader.count; i++)
        yyjson_doc_free(loader.files[i].documents);
    if (!error && !loader.config->namespace_name)
        loader.config->namespace_name = "default";
    if (error) {
        kube_config_free(loader.config);
        if (!ret_error->text[0])
            config_refuse(&loader, error, "%s", strerror(-error));
        name_source(&loader);
        return error;
    }
    *ret_config = loader.config;
    return 0;
}

void kube_config_free(struct kube_config *config)
{
    if (!config)
        return;
    arena_done(&config->arena);
    explicit_bzero(config, sizeof(*config));
    free(config);
}
