/*
 * config: reads kubeconfig files as client-go does (tools/clientcmd): several files are one, in
 * which the first that names a cluster, user, context or the current context has the say; data
 * given inline goes before a file; paths are relative to the file that holds them.
 *
 * What would change who we are and is not implemented (plugins, impersonation, passwords) is an
 * error and never ignored. Everything is copied into the arena of the result; the files' documents
 * live only while loading.
 */
#include "controller/kube/config.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/wire/yaml.h"

enum {
    FILES_MAX = 16,           /* in KUBECONFIG */
    FILE_MAX = 1024 * 1024,   /* bytes of one */
    CONFIG_MAX = 1024 * 1024, /* bytes of the result */
};

#define SERVICE_ACCOUNT_DIR "/var/run/secrets/kubernetes.io/serviceaccount"

struct config_file {
    const char *path;
    yyjson_doc *documents;
    yyjson_val *root;
};

struct loader {
    struct config_file files[FILES_MAX];
    size_t count;
    struct kube_config *config;
    struct kube_config_error *error;
};

static int refuse(struct loader *loader, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static int refuse(struct loader *loader, int code, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(loader->error->text, sizeof(loader->error->text), format, args);
    va_end(args);
    return code;
}

/* The whole file into the arena: 0, or a negative errno. */
static int read_file(struct arena *arena, const char *path, struct str *ret_text)
{
    FILE *file = fopen(path, "re");
    char *text;
    size_t length;
    int error = 0;

    if (!file)
        return -errno;
    text = malloc(FILE_MAX + 1);
    if (!text) {
        fclose(file);
        return -ENOMEM;
    }
    errno = 0;
    length = fread(text, 1, FILE_MAX + 1, file);
    if (ferror(file))
        error = errno ? -errno : -EIO;
    else if (length > FILE_MAX)
        error = -EFBIG;
    if (!error) {
        *ret_text = arena_copy(arena, str_make(text, length));
        error = ret_text->ptr ? 0 : -ENOMEM;
    }
    free(text);
    fclose(file);
    return error;
}

/* Reads one kubeconfig file into the list. */
static int add_file(struct loader *loader, const char *path)
{
    struct config_file *file = &loader->files[loader->count];
    struct arena scratch;
    struct yaml_error why;
    struct str text;
    int error;

    if (loader->count == FILES_MAX)
        return refuse(loader, -EINVAL, "KUBECONFIG names more than %d files", FILES_MAX);
    arena_init(&scratch, 2 * FILE_MAX);
    error = read_file(&scratch, path, &text);
    if (error) {
        refuse(loader, error, "%s: %s", path, strerror(-error));
        goto out;
    }
    error = yaml_read(text, FILE_MAX, &file->documents, &why);
    if (error) {
        refuse(loader, error, "%s:%zu:%zu: %s", path, why.line, why.column,
               error == -ENOMEM ? "out of memory" : why.text);
        goto out;
    }
    file->path = path;
    file->root = yyjson_arr_get_first(yyjson_doc_get_root(file->documents));
    loader->count++;
    if (file->root && !yyjson_is_obj(file->root))
        error = refuse(loader, -EINVAL, "%s is not a kubeconfig file", path);
out:
    arena_done(&scratch);
    return error;
}

/* KUBECONFIG: files of the list that do not exist are passed over, as kubectl does. */
static int add_files(struct loader *loader, const char *list)
{
    int error = 0;

    while (*list && !error) {
        size_t length = strcspn(list, ":");
        struct str path = arena_copy(&loader->config->arena, str_make(list, length));

        if (!path.ptr)
            return -ENOMEM;
        if (length && access(path.ptr, F_OK) == 0)
            error = add_file(loader, path.ptr);
        list += length + (list[length] == ':');
    }
    if (!error && !loader->count)
        error = refuse(loader, -ENOENT, "no file that KUBECONFIG names exists");
    return error;
}

/* The entry that a list ("clusters") of the files has under name, and the file that has it. */
static yyjson_val *find_entry(const struct loader *loader, const char *list, const char *field,
                              const char *name, const struct config_file **ret_file)
{
    for (size_t i = 0; i < loader->count; i++) {
        yyjson_val *entries = yyjson_obj_get(loader->files[i].root, list), *entry;
        yyjson_arr_iter iter;

        yyjson_arr_iter_init(entries, &iter);
        while ((entry = yyjson_arr_iter_next(&iter)))
            if (yyjson_equals_str(yyjson_obj_get(entry, "name"), name)) {
                *ret_file = &loader->files[i];
                return yyjson_obj_get(entry, field);
            }
    }
    return NULL;
}

/* The text of a field, copied; NULL when it is missing or empty. */
static int take_text(struct loader *loader, const struct config_file *file, yyjson_val *object,
                     const char *key, const char **ret_text)
{
    yyjson_val *value = yyjson_obj_get(object, key);
    struct str text;

    *ret_text = NULL;
    if (!value || yyjson_is_null(value) || yyjson_equals_str(value, ""))
        return 0;
    if (!yyjson_is_str(value) || strlen(yyjson_get_str(value)) != yyjson_get_len(value))
        return refuse(loader, -EINVAL, "%s: %s must be a string", file->path, key);
    text =
        arena_copy(&loader->config->arena, str_make(yyjson_get_str(value), yyjson_get_len(value)));
    if (!text.ptr)
        return -ENOMEM;
    *ret_text = text.ptr;
    return 0;
}

/* The path in a field, relative to the directory of its file. */
static int take_path(struct loader *loader, const struct config_file *file, yyjson_val *object,
                     const char *key, const char **ret_path)
{
    const char *slash = strrchr(file->path, '/'), *path;
    int error = take_text(loader, file, object, key, &path);

    if (error)
        return error;
    if (path && *path != '/' && slash)
        path = arena_printf(&loader->config->arena, "%.*s/%s", (int)(slash - file->path),
                            file->path, path)
                   .ptr;
    else if (!path) {
        *ret_path = NULL;
        return 0;
    }
    if (!path)
        return -ENOMEM;
    if (access(path, R_OK))
        return refuse(loader, -errno, "%s: %s: %s: %s", file->path, key, path, strerror(errno));
    *ret_path = path;
    return 0;
}

static int base64_digit(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c ? strchr(digits, c) : NULL;

    return at ? (int)(at - digits) : -1;
}

/* Base64 (RFC 4648 4) in place, line ends allowed. False: it is none. */
static bool decode_base64(char *text)
{
    const char *in = text;
    char *out = text;
    unsigned bits = 0, held = 0;

    for (; *in && *in != '='; in++) {
        int digit = base64_digit(*in);

        if (*in == '\n' || *in == '\r')
            continue;
        if (digit < 0)
            return false;
        bits = (bits << 6 | (unsigned)digit) & 0xffff;
        held += 6;
        if (held >= 8) {
            held -= 8;
            *out++ = (char)(bits >> held);
        }
    }
    in += strspn(in, "=\r\n");
    *out = '\0';
    return !*in && held != 6;
}

/* A pair of fields, NAME-data (base64) and NAME (a path): inline goes first. */
static int take_pem(struct loader *loader, const struct config_file *file, yyjson_val *object,
                    const char *path_key, const char *data_key, const char **ret_path,
                    const char **ret_pem)
{
    const char *data;
    int error = take_text(loader, file, object, data_key, &data);

    if (error)
        return error;
    if (!data)
        return take_path(loader, file, object, path_key, ret_path);
    if (!decode_base64((char *)data)) /* our own copy */
        return refuse(loader, -EINVAL, "%s: %s is not base64", file->path, data_key);
    *ret_pem = data;
    return 0;
}

static int take_server(struct loader *loader, const struct config_file *file, yyjson_val *cluster)
{
    struct kube_config *config = loader->config;
    const char *server;
    size_t length;
    int error = take_text(loader, file, cluster, "server", &server);

    if (error)
        return error;
    if (!server || (strncmp(server, "https://", 8) != 0 && strncmp(server, "http://", 7) != 0))
        return refuse(loader, -EINVAL, "%s: server must be https://HOST:PORT, not \"%s\"",
                      file->path, server ? server : "");
    length = strlen(server);
    while (server[length - 1] == '/')
        length--;
    config->server = arena_copy(&config->arena, str_make(server, length)).ptr;
    return config->server ? 0 : -ENOMEM;
}

static int take_cluster(struct loader *loader, const char *name)
{
    struct kube_config *config = loader->config;
    const struct config_file *file = NULL;
    yyjson_val *cluster = find_entry(loader, "clusters", "cluster", name, &file);
    int error;

    if (!cluster)
        return refuse(loader, -EINVAL, "kubeconfig: there is no cluster \"%s\"", name);
    error = take_server(loader, file, cluster);
    if (!error)
        error = take_text(loader, file, cluster, "tls-server-name", &config->server_name);
    if (!error)
        error = take_text(loader, file, cluster, "proxy-url", &config->proxy_url);
    if (!error)
        error = take_pem(loader, file, cluster, "certificate-authority",
                         "certificate-authority-data", &config->ca_file, &config->ca_pem);
    if (error)
        return error;
    config->insecure = yyjson_get_bool(yyjson_obj_get(cluster, "insecure-skip-tls-verify"));
    if (config->insecure && (config->ca_file || config->ca_pem))
        return refuse(loader, -EINVAL,
                      "%s: insecure-skip-tls-verify and a certificate-authority exclude each other",
                      file->path);
    return 0;
}

/* Ways to log in that we do not have, with what to do instead. */
static int refuse_unsupported(struct loader *loader, const struct config_file *file,
                              yyjson_val *user, const char *name)
{
    static const char *const fields[] = {"exec", "auth-provider", "username",  "password",
                                         "as",   "as-uid",        "as-groups", "as-user-extra"};

    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
        if (yyjson_obj_get(user, fields[i]))
            return refuse(loader, -EINVAL,
                          "%s: user \"%s\" has %s, which is not supported: use a token or a "
                          "client certificate",
                          file->path, name, fields[i]);
    return 0;
}

static int take_user(struct loader *loader, const char *name)
{
    struct kube_config *config = loader->config;
    const struct config_file *file = NULL;
    yyjson_val *user = find_entry(loader, "users", "user", name, &file);
    int error;

    if (!user)
        return refuse(loader, -EINVAL, "kubeconfig: there is no user \"%s\"", name);
    error = refuse_unsupported(loader, file, user, name);
    if (!error)
        error = take_path(loader, file, user, "tokenFile", &config->token_file);
    if (!error && !config->token_file)
        error = take_text(loader, file, user, "token", &config->token);
    if (!error)
        error = take_pem(loader, file, user, "client-certificate", "client-certificate-data",
                         &config->cert_file, &config->cert_pem);
    if (!error)
        error = take_pem(loader, file, user, "client-key", "client-key-data", &config->key_file,
                         &config->key_pem);
    if (!error && (config->cert_file || config->cert_pem) != (config->key_file || config->key_pem))
        error = refuse(loader, -EINVAL,
                       "%s: user \"%s\" has only one of client-certificate and client-key",
                       file->path, name);
    return error;
}

/* --context, or the first current-context. */
static int find_context(struct loader *loader, const char *wanted, const char **ret_name)
{
    *ret_name = wanted;
    for (size_t i = 0; i < loader->count && (!*ret_name || !**ret_name); i++) {
        int error = take_text(loader, &loader->files[i], loader->files[i].root, "current-context",
                              ret_name);

        if (error)
            return error;
    }
    if (!*ret_name || !**ret_name)
        return refuse(loader, -EINVAL, "kubeconfig: no current-context: name one with --context");
    return 0;
}

static int resolve(struct loader *loader, const char *wanted)
{
    struct kube_config *config = loader->config;
    const struct config_file *file = NULL;
    const char *name, *cluster, *user;
    yyjson_val *context;
    int error = find_context(loader, wanted, &name);

    if (error)
        return error;
    context = find_entry(loader, "contexts", "context", name, &file);
    if (!context)
        return refuse(loader, -EINVAL, "kubeconfig: there is no context \"%s\"", name);
    error = take_text(loader, file, context, "cluster", &cluster);
    if (!error)
        error = take_text(loader, file, context, "user", &user);
    if (!error)
        error = take_text(loader, file, context, "namespace", &config->namespace_name);
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
static int load_in_cluster(struct loader *loader, const char *directory)
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
        return refuse(loader, -errno, "%s: %s", config->ca_file, strerror(errno));
    path = arena_printf(arena, "%s/namespace", directory);
    if (path.ptr && read_file(arena, path.ptr, &name) == 0 && name.len)
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

static int load(struct loader *loader, const struct kube_config_options *options)
{
    const char *list = getenv("KUBECONFIG"), *home = getenv("HOME");
    const char *directory =
        options->service_account_dir ? options->service_account_dir : SERVICE_ACCOUNT_DIR;
    struct str path;
    int error;

    if (options->kubeconfig && *options->kubeconfig) {
        path = arena_copy(&loader->config->arena, str_from(options->kubeconfig));
        error = path.ptr ? add_file(loader, path.ptr) : -ENOMEM;
    } else if (list && *list) {
        error = add_files(loader, list);
    } else if (is_in_cluster(directory)) {
        return load_in_cluster(loader, directory);
    } else {
        path = arena_printf(&loader->config->arena, "%s/.kube/config", home ? home : "");
        if (!path.ptr)
            return -ENOMEM;
        if (access(path.ptr, F_OK))
            return refuse(loader, -ENOENT,
                          "no cluster to talk to: not in a pod, and neither --kubeconfig nor "
                          "KUBECONFIG is set, and there is no %s",
                          path.ptr);
        error = add_file(loader, path.ptr);
    }
    return error ? error : resolve(loader, options->context);
}

int kube_config_load(const struct kube_config_options *options, struct kube_config **ret_config,
                     struct kube_config_error *ret_error)
{
    struct loader loader = {.error = ret_error};
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
            refuse(&loader, error, "%s", strerror(-error));
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
