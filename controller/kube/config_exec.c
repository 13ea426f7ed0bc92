/*
 * config_exec: the exec plugin of a kubeconfig's user: everything but running it. Its argument and
 * environment vectors are made here, once, because nothing in them changes: no shell ever sees
 * them, and what the plugin is told of us (KUBERNETES_EXEC_INFO) is the same each time.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "controller/kube/config_file.h"

enum { WORDS_MAX = 256 }; /* arguments, and variables, of a plugin */

#define API_GROUP "client.authentication.k8s.io"

/* ---- arguments ---- */

/* A path with a slash is relative to the kubeconfig; a bare name is found in PATH. */
static int take_command(struct config_loader *loader, const struct config_file *file,
                        yyjson_val *exec, const char *user, char **ret_command)
{
    struct arena *arena = &loader->config->arena;
    const char *slash = strrchr(file->path, '/'), *command;
    int error = config_take_text(loader, file, exec, "command", &command);

    if (error)
        return error;
    if (!command)
        return config_refuse(loader, -EINVAL, "%s: user \"%s\": exec has no command", file->path,
                             user);
    if (strchr(command, '/') && *command != '/' && slash)
        command =
            arena_printf(arena, "%.*s/%s", (int)(slash - file->path), file->path, command).ptr;
    *ret_command = (char *)command;
    return command ? 0 : -ENOMEM;
}

static int take_arguments(struct config_loader *loader, const struct config_file *file,
                          yyjson_val *exec, const char *user, struct kube_config_exec *plugin)
{
    struct arena *arena = &loader->config->arena;
    yyjson_val *list = yyjson_obj_get(exec, "args"), *value;
    size_t count = 1;
    yyjson_arr_iter iter;

    if (yyjson_arr_size(list) > WORDS_MAX)
        return config_refuse(loader, -EINVAL, "%s: user \"%s\": exec has more than %d args",
                             file->path, user, WORDS_MAX);
    plugin->argv = arena_take_array(arena, yyjson_arr_size(list) + 2, sizeof(*plugin->argv));
    if (!plugin->argv)
        return -ENOMEM;
    yyjson_arr_iter_init(list, &iter);
    while ((value = yyjson_arr_iter_next(&iter))) {
        if (!yyjson_is_str(value) || strlen(yyjson_get_str(value)) != yyjson_get_len(value))
            return config_refuse(loader, -EINVAL, "%s: user \"%s\": exec: args must be strings",
                                 file->path, user);
        plugin->argv[count] = (char *)arena_copy(arena, str_from(yyjson_get_str(value))).ptr;
        if (!plugin->argv[count++])
            return -ENOMEM;
    }
    return take_command(loader, file, exec, user, &plugin->argv[0]);
}

/* ---- what the plugin is told ---- */

static bool add(yyjson_mut_doc *info, yyjson_mut_val *cluster, const char *key, const char *text)
{
    return !text || yyjson_mut_obj_add_str(info, cluster, key, text);
}

/* Base64 (RFC 4648 4), in the arena. */
static const char *encode_base64(struct arena *arena, struct str bytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *text = arena_take(arena, (bytes.len + 2) / 3 * 4 + 1), *out = text;

    for (size_t i = 0; text && i < bytes.len; i += 3) {
        unsigned bits = 0;

        for (size_t j = 0; j < 3; j++)
            bits = bits << 8 | (i + j < bytes.len ? (unsigned char)bytes.ptr[i + j] : 0);
        for (size_t j = 0; j < 4; j++)
            *out++ = i + j <= bytes.len ? digits[bits >> (18 - 6 * j) & 63] : '=';
    }
    return text;
}

static int find_ca(struct config_loader *loader, const char **ret_base64)
{
    const struct kube_config *config = loader->config;
    struct arena *arena = &loader->config->arena;
    struct str pem = str_from(config->ca_pem);
    int error = 0;

    if (config->ca_file)
        error = config_read_file(arena, config->ca_file, &pem);
    if (error)
        return config_refuse(loader, error, "%s: %s", config->ca_file, strerror(-error));
    *ret_base64 = pem.len ? encode_base64(arena, pem) : NULL;
    return pem.len && !*ret_base64 ? -ENOMEM : 0;
}

/* The cluster's extension for plugins: anything, handed on as it is. */
static yyjson_val *find_extension(yyjson_val *cluster)
{
    yyjson_val *extension;
    yyjson_arr_iter iter;

    yyjson_arr_iter_init(yyjson_obj_get(cluster, "extensions"), &iter);
    while ((extension = yyjson_arr_iter_next(&iter)))
        if (yyjson_equals_str(yyjson_obj_get(extension, "name"), API_GROUP "/exec"))
            return yyjson_obj_get(extension, "extension");
    return NULL;
}

static int add_cluster(struct config_loader *loader, yyjson_mut_doc *info, yyjson_mut_val *spec)
{
    const struct kube_config *config = loader->config;
    yyjson_mut_val *cluster = yyjson_mut_obj(info);
    yyjson_val *extension = find_extension(loader->cluster);
    const char *ca = NULL;
    int error = find_ca(loader, &ca);

    if (error)
        return error;
    if (!yyjson_mut_obj_add_val(info, spec, "cluster", cluster) ||
        !add(info, cluster, "server", config->server) ||
        !add(info, cluster, "tls-server-name", config->server_name) ||
        !add(info, cluster, "proxy-url", config->proxy_url) ||
        !add(info, cluster, "certificate-authority-data", ca) ||
        (config->insecure && !yyjson_mut_obj_add_true(info, cluster, "insecure-skip-tls-verify")) ||
        (extension &&
         !yyjson_mut_obj_add_val(info, cluster, "config", yyjson_val_mut_copy(info, extension))))
        return -ENOMEM;
    return 0;
}

static int make_info(struct config_loader *loader, const struct kube_config_exec *plugin,
                     bool with_cluster, char **ret_variable)
{
    yyjson_mut_doc *info = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *root = yyjson_mut_obj(info), *spec = yyjson_mut_obj(info);
    char *text = NULL;
    int error = -ENOMEM;

    yyjson_mut_doc_set_root(info, root);
    if (!add(info, root, "kind", "ExecCredential") ||
        !add(info, root, "apiVersion", plugin->api_version) ||
        !yyjson_mut_obj_add_val(info, root, "spec", spec) ||
        !yyjson_mut_obj_add_false(info, spec, "interactive"))
        goto out;
    error = with_cluster ? add_cluster(loader, info, spec) : 0;
    if (error)
        goto out;
    text = yyjson_mut_write(info, 0, NULL);
    *ret_variable =
        text ? (char *)arena_printf(&loader->config->arena, "KUBERNETES_EXEC_INFO=%s", text).ptr
             : NULL;
    error = *ret_variable ? 0 : -ENOMEM;
out:
    free(text);
    yyjson_mut_doc_free(info);
    return error;
}

/* ---- environment ---- */

/* Is the variable set in the first count? */
static bool is_set(char *const *environment, size_t count, const char *variable)
{
    size_t length = strcspn(variable, "=") + 1;

    for (size_t i = 0; i < count; i++)
        if (strncmp(environment[i], variable, length) == 0)
            return true;
    return false;
}

static int take_variable(struct config_loader *loader, const struct config_file *file,
                         yyjson_val *entry, const char *user, char **ret_variable)
{
    const char *name, *value;
    int error = config_take_text(loader, file, entry, "name", &name);

    if (!error)
        error = config_take_text(loader, file, entry, "value", &value);
    if (error)
        return error;
    if (!name || strchr(name, '='))
        return config_refuse(loader, -EINVAL, "%s: user \"%s\": exec: env has a bad name",
                             file->path, user);
    *ret_variable =
        (char *)arena_printf(&loader->config->arena, "%s=%s", name, value ? value : "").ptr;
    return *ret_variable ? 0 : -ENOMEM;
}

/* The plugin's own variables, and those of ours that it has not set. */
static int take_environment(struct config_loader *loader, const struct config_file *file,
                            yyjson_val *exec, const char *user, struct kube_config_exec *plugin)
{
    yyjson_val *list = yyjson_obj_get(exec, "env"), *entry;
    size_t ours = 0, count = 0;
    yyjson_arr_iter iter;
    int error;

    while (environ[ours])
        ours++;
    if (yyjson_arr_size(list) > WORDS_MAX)
        return config_refuse(loader, -EINVAL, "%s: user \"%s\": exec has more than %d env",
                             file->path, user, WORDS_MAX);
    plugin->environment = arena_take_array(&loader->config->arena, yyjson_arr_size(list) + ours + 2,
                                           sizeof(*plugin->environment));
    if (!plugin->environment)
        return -ENOMEM;
    error = make_info(loader, plugin, yyjson_get_bool(yyjson_obj_get(exec, "provideClusterInfo")),
                      &plugin->environment[count++]);
    yyjson_arr_iter_init(list, &iter);
    while (!error && (entry = yyjson_arr_iter_next(&iter)))
        error = take_variable(loader, file, entry, user, &plugin->environment[count++]);
    for (size_t i = 0, own = count; !error && i < ours; i++) {
        char *copy;

        if (is_set(plugin->environment, own, environ[i]))
            continue;
        copy = (char *)arena_copy(&loader->config->arena, str_from(environ[i])).ptr;
        if (!copy)
            return -ENOMEM;
        plugin->environment[count++] = copy;
    }
    return error;
}

/* ---- the whole ---- */

static int check_api(struct config_loader *loader, const struct config_file *file, yyjson_val *exec,
                     const char *user, const char *api_version)
{
    if (!api_version || (strcmp(api_version, API_GROUP "/v1") != 0 &&
                         strcmp(api_version, API_GROUP "/v1beta1") != 0))
        return config_refuse(loader, -EINVAL,
                             "%s: user \"%s\": exec has apiVersion \"%s\": it must be " API_GROUP
                             "/v1 or /v1beta1",
                             file->path, user, api_version ? api_version : "");
    if (yyjson_equals_str(yyjson_obj_get(exec, "interactiveMode"), "Always"))
        return config_refuse(loader, -EINVAL,
                             "%s: user \"%s\": exec has interactiveMode Always: there is nobody to "
                             "ask here; use a plugin that needs no terminal",
                             file->path, user);
    return 0;
}

int config_take_exec(struct config_loader *loader, const struct config_file *file, yyjson_val *exec,
                     const char *user)
{
    struct kube_config_exec *plugin = arena_take(&loader->config->arena, sizeof(*plugin));
    int error;

    if (!plugin)
        return -ENOMEM;
    error = config_take_text(loader, file, exec, "apiVersion", &plugin->api_version);
    if (!error)
        error = check_api(loader, file, exec, user, plugin->api_version);
    if (!error)
        error = config_take_text(loader, file, exec, "installHint", &plugin->install_hint);
    if (!error)
        error = take_arguments(loader, file, exec, user, plugin);
    if (!error)
        error = take_environment(loader, file, exec, user, plugin);
    loader->config->exec = plugin;
    return error;
}
