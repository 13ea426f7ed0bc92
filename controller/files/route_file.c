/*
 * route_file: what the API server would look at before it stores a Route: kind, names. The spec is
 * left to the pipeline, as it is with Routes from Kubernetes. A file is taken whole or not at all:
 * a half-read one would look as if Routes had been deleted.
 */
#include "controller/files/route_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/wire/dns_name.h"
#include "lib/wire/yaml.h"

static struct str text_of(yyjson_val *value)
{
    return str_make(yyjson_get_str(value), yyjson_get_len(value));
}

static int fail(char error[ROUTE_FILE_ERROR_MAX], size_t document, const char *what)
{
    snprintf(error, ROUTE_FILE_ERROR_MAX, "document %zu: %s", document, what);
    return -EINVAL;
}

/* The Route in one document of kind Route; number: from 1. */
static int read_item(yyjson_val *value, size_t number, struct route_file_item *item,
                     char error[ROUTE_FILE_ERROR_MAX])
{
    yyjson_val *metadata = yyjson_obj_get(value, "metadata");
    yyjson_val *given = yyjson_obj_get(metadata, "namespace");
    struct str namespace_name = given ? text_of(given) : STR_LIT("default");
    struct str name = text_of(yyjson_obj_get(metadata, "name"));

    if (!yyjson_equals_str(yyjson_obj_get(value, "apiVersion"), "metropolis.dev/v1alpha1"))
        return fail(error, number, "apiVersion: write metropolis.dev/v1alpha1");
    if (!name.ptr || !dns_name_valid(name, DNS_NAME_MAX))
        return fail(
            error, number,
            "metadata.name: lower-case letters, digits, \"-\" and \".\", as in a host name");
    if (!namespace_name.ptr || !dns_label_valid(namespace_name))
        return fail(error, number,
                    "metadata.namespace: lower-case letters, digits and \"-\", at most 63");
    item->metadata = metadata;
    item->spec = yyjson_obj_get(value, "spec");
    item->text = item->spec ? yyjson_val_write(item->spec, 0, NULL) : strdup("");
    if (asprintf(&item->label, STR_FMT "/" STR_FMT, STR_ARG(namespace_name), STR_ARG(name)) < 0)
        item->label = NULL;
    if (!item->text || !item->label)
        return -ENOMEM;
    item->namespace_name = str_make(item->label, namespace_name.len);
    item->name = str_make(item->label + namespace_name.len + 1, name.len);
    return 0;
}

static void pass_over(struct route_file *file, yyjson_val *value)
{
    const char *kind = yyjson_get_str(yyjson_obj_get(value, "kind"));

    if (!file->passed_over++)
        snprintf(file->other_kind, sizeof(file->other_kind), "%s", kind ? kind : "without kind");
}

static int read_items(struct route_file *file, char error[ROUTE_FILE_ERROR_MAX])
{
    yyjson_val *root = yyjson_doc_get_root(file->document);
    yyjson_arr_iter values;
    yyjson_val *value;
    int result = 0;

    file->items = calloc(yyjson_arr_size(root) + 1, sizeof(*file->items));
    if (!file->items)
        return -ENOMEM;
    yyjson_arr_iter_init(root, &values);
    for (size_t number = 1; (value = yyjson_arr_iter_next(&values)) && !result; number++) {
        if (!yyjson_equals_str(yyjson_obj_get(value, "kind"), "Route"))
            pass_over(file, value);
        else /* counted first, so that a half-built one is freed with the others */
            result = read_item(value, number, &file->items[file->count++], error);
    }
    return result;
}

int route_file_read(struct str text, struct route_file *ret_file, char error[ROUTE_FILE_ERROR_MAX])
{
    struct route_file file = {0};
    struct yaml_error yaml_error;
    int result = yaml_read(text, ROUTE_FILE_MAX, &file.document, &yaml_error);

    if (result == -EINVAL || result == -E2BIG) {
        snprintf(error, ROUTE_FILE_ERROR_MAX, "%zu:%zu: %s", yaml_error.line, yaml_error.column,
                 yaml_error.text);
        return -EINVAL;
    }
    if (result)
        return result;
    result = read_items(&file, error);
    if (result)
        route_file_done(&file);
    else
        *ret_file = file;
    return result;
}

void route_file_done(struct route_file *file)
{
    for (size_t i = 0; i < file->count; i++) {
        free(file->items[i].label);
        free(file->items[i].text);
    }
    free(file->items);
    yyjson_doc_free(file->document);
    *file = (struct route_file){0};
}
