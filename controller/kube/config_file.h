/*
 * config_file: what config.c, config_exec.c and config_file.c share; nobody else includes it. Each
 * function that returns int: 0, or negative with loader->error, or -ENOMEM.
 */
#ifndef CONTROLLER_KUBE_CONFIG_FILE_H
#define CONTROLLER_KUBE_CONFIG_FILE_H

#include <stddef.h>
#include <yyjson.h>

#include "controller/kube/config.h"

enum { CONFIG_FILES_MAX = 16 }; /* in KUBECONFIG */

struct config_file {
    const char *path;
    yyjson_doc *documents;
    yyjson_val *root;
};

struct config_loader {
    struct config_file files[CONFIG_FILES_MAX];
    size_t count;
    struct kube_config *config;
    struct kube_config_error *error;
    const char *source;  /* "--kubeconfig"; NULL: where nobody asked for it, the message says so */
    yyjson_val *cluster; /* of the context, once it is known */
};

/* Returns code. */
int config_refuse(struct config_loader *loader, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The whole file into the arena: 0, or a negative errno. */
int config_read_file(struct arena *arena, const char *path, struct str *ret_text);

/* Reads one kubeconfig file into the list. */
int config_add_file(struct config_loader *loader, const char *path);
/* KUBECONFIG: files of the list that do not exist are passed over, as kubectl does. */
int config_add_files(struct config_loader *loader, const char *list);

/* The entry that a list ("clusters") of the files has under name, and the file that has it. */
yyjson_val *config_find_entry(const struct config_loader *loader, const char *list,
                              const char *field, const char *name,
                              const struct config_file **ret_file);

/* The text of a field, copied; NULL when it is missing or empty. */
int config_take_text(struct config_loader *loader, const struct config_file *file,
                     yyjson_val *object, const char *key, const char **ret_text);
/* The path in a field, relative to the directory of its file. */
int config_take_path(struct config_loader *loader, const struct config_file *file,
                     yyjson_val *object, const char *key, const char **ret_path);
/* A pair of fields, NAME-data (base64) and NAME (a path): inline goes first. */
int config_take_pem(struct config_loader *loader, const struct config_file *file,
                    yyjson_val *object, const char *path_key, const char *data_key,
                    const char **ret_path, const char **ret_pem);

/* A user's exec; the cluster must be known. */
int config_take_exec(struct config_loader *loader, const struct config_file *file, yyjson_val *exec,
                     const char *user);

#endif
