/*
 * config_file: several files are one, in which the first that names something has the say; what is
 * given inline goes before a path, and paths are relative to the file that holds them, as in
 * client-go (tools/clientcmd).
 */
#include "controller/kube/config_file.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/wire/yaml.h"

enum { FILE_MAX = 1024 * 1024 }; /* bytes of one */

int config_refuse(struct config_loader *loader, int code, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(loader->error->text, sizeof(loader->error->text), format, args);
    va_end(args);
    return code;
}

int config_read_file(struct arena *arena, const char *path, struct str *ret_text)
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

int config_add_file(struct config_loader *loader, const char *path)
{
    struct config_file *file = &loader->files[loader->count];
    struct arena scratch;
    struct yaml_error why;
    struct str text;
    int error;

    if (loader->count == CONFIG_FILES_MAX)
        return config_refuse(loader, -EINVAL, "names more than %d files", CONFIG_FILES_MAX);
    arena_init(&scratch, 2 * FILE_MAX);
    error = config_read_file(&scratch, path, &text);
    if (error) {
        config_refuse(loader, error, "%s: %s", path, strerror(-error));
        goto out;
    }
    error = yaml_read(text, FILE_MAX, &file->documents, &why);
    if (error) {
        config_refuse(loader, error, "%s:%zu:%zu: %s", path, why.line, why.column,
                      error == -ENOMEM ? "out of memory" : why.text);
        goto out;
    }
    file->path = path;
    file->root = yyjson_arr_get_first(yyjson_doc_get_root(file->documents));
    loader->count++;
    if (file->root && !yyjson_is_obj(file->root))
        error = config_refuse(loader, -EINVAL, "%s is not a kubeconfig file", path);
out:
    arena_done(&scratch);
    return error;
}

int config_add_files(struct config_loader *loader, const char *list)
{
    int error = 0;

    while (*list && !error) {
        size_t length = strcspn(list, ":");
        struct str path = arena_copy(&loader->config->arena, str_make(list, length));

        if (!path.ptr)
            return -ENOMEM;
        if (length && access(path.ptr, F_OK) == 0)
            error = config_add_file(loader, path.ptr);
        list += length + (list[length] == ':');
    }
    if (!error && !loader->count)
        error = config_refuse(loader, -ENOENT, "none of the files that it names exists");
    return error;
}

yyjson_val *config_find_entry(const struct config_loader *loader, const char *list,
                              const char *field, const char *name,
                              const struct config_file **ret_file)
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

int config_take_text(struct config_loader *loader, const struct config_file *file,
                     yyjson_val *object, const char *key, const char **ret_text)
{
    yyjson_val *value = yyjson_obj_get(object, key);
    struct str text;

    *ret_text = NULL;
    if (!value || yyjson_is_null(value) || yyjson_equals_str(value, ""))
        return 0;
    if (!yyjson_is_str(value) || strlen(yyjson_get_str(value)) != yyjson_get_len(value))
        return config_refuse(loader, -EINVAL, "%s: %s must be a string", file->path, key);
    text =
        arena_copy(&loader->config->arena, str_make(yyjson_get_str(value), yyjson_get_len(value)));
    if (!text.ptr)
        return -ENOMEM;
    *ret_text = text.ptr;
    return 0;
}

int config_take_path(struct config_loader *loader, const struct config_file *file,
                     yyjson_val *object, const char *key, const char **ret_path)
{
    const char *slash = strrchr(file->path, '/'), *path;
    int error = config_take_text(loader, file, object, key, &path);

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
        return config_refuse(loader, -errno, "%s: %s: %s: %s", file->path, key, path,
                             strerror(errno));
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

int config_take_pem(struct config_loader *loader, const struct config_file *file,
                    yyjson_val *object, const char *path_key, const char *data_key,
                    const char **ret_path, const char **ret_pem)
{
    const char *data;
    int error = config_take_text(loader, file, object, data_key, &data);

    if (error)
        return error;
    if (!data)
        return config_take_path(loader, file, object, path_key, ret_path);
    if (!decode_base64((char *)data)) /* our own copy */
        return config_refuse(loader, -EINVAL, "%s: %s is not base64", file->path, data_key);
    *ret_pem = data;
    return 0;
}
