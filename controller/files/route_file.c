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

static struct str text_of(yyjson_val *value)
{
    return str_make(yyjson_get_str(value), yyjson_get_len(value));
}

/* Where reading is. */
struct reading {
    struct str text;
    struct route_file *file;
    size_t room; /* for items */
    char *error;
};

size_t route_file_line(const struct yaml_lines *lines, const struct route_file_item *item,
                       const char *message)
{
    char place[ROUTE_FILE_ERROR_MAX];

    snprintf(place, sizeof(place), "%s%s", item->place, message);
    return yaml_lines_find(lines, item->document, place);
}

static int fail(const struct reading *reading, const struct route_file_item *item, const char *what)
{
    struct yaml_lines *lines = yaml_lines_new(reading->text);

    snprintf(reading->error, ROUTE_FILE_ERROR_MAX, "%zu: %s", route_file_line(lines, item, what),
             what);
    yaml_lines_free(lines);
    return -EINVAL;
}

/* The Route that a value of its kind is. */
static int read_item(const struct reading *reading, yyjson_val *value, struct route_file_item *item)
{
    yyjson_val *metadata = yyjson_obj_get(value, "metadata");
    yyjson_val *given = yyjson_obj_get(metadata, "namespace");
    struct str namespace_name = given ? text_of(given) : STR_LIT("default");
    struct str name = text_of(yyjson_obj_get(metadata, "name"));

    if (!yyjson_equals_str(yyjson_obj_get(value, "apiVersion"), "metropolis.dev/v1alpha1"))
        return fail(reading, item, "apiVersion: write metropolis.dev/v1alpha1");
    if (!name.ptr || !dns_name_valid(name, DNS_NAME_MAX))
        return fail(
            reading, item,
            "metadata.name: lower-case letters, digits, \"-\" and \".\", as in a host name");
    if (!namespace_name.ptr || !dns_label_valid(namespace_name))
        return fail(reading, item,
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

/* A new item; NULL: no memory. Counted at once, so that a half-built one is freed with the others.
 */
static struct route_file_item *add_item(struct reading *reading)
{
    struct route_file *file = reading->file;
    struct route_file_item *items;

    if (file->count == reading->room) {
        reading->room = 2 * reading->room + 1;
        items = reallocarray(file->items, reading->room, sizeof(*items));
        if (!items)
            return NULL;
        file->items = items;
    }
    file->items[file->count] = (struct route_file_item){0};
    return &file->items[file->count++];
}

/* place: of the value in its document. */
static int read_value(struct reading *reading, yyjson_val *value, size_t document,
                      const char *place)
{
    struct route_file_item *item;

    if (!yyjson_equals_str(yyjson_obj_get(value, "kind"), "Route")) {
        pass_over(reading->file, value);
        return 0;
    }
    item = add_item(reading);
    if (!item)
        return -ENOMEM;
    item->document = document;
    snprintf(item->place, sizeof(item->place), "%s", place);
    return read_item(reading, value, item);
}

static bool is_list(yyjson_val *value)
{
    yyjson_val *kind = yyjson_obj_get(value, "kind");

    return yyjson_is_arr(yyjson_obj_get(value, "items")) &&
           (yyjson_equals_str(kind, "List") || yyjson_equals_str(kind, "RouteList"));
}

static int read_document(struct reading *reading, yyjson_val *value, size_t document)
{
    yyjson_arr_iter items;
    yyjson_val *item;
    char place[32];
    int result = 0;

    if (!is_list(value))
        return read_value(reading, value, document, "");
    yyjson_arr_iter_init(yyjson_obj_get(value, "items"), &items);
    for (size_t i = 0; (item = yyjson_arr_iter_next(&items)) && !result; i++) {
        snprintf(place, sizeof(place), "items[%zu].", i);
        result = read_value(reading, item, document, place);
    }
    return result;
}

static int read_documents(struct reading *reading)
{
    yyjson_arr_iter documents;
    yyjson_val *value;
    int result = 0;

    yyjson_arr_iter_init(yyjson_doc_get_root(reading->file->document), &documents);
    for (size_t i = 0; (value = yyjson_arr_iter_next(&documents)) && !result; i++)
        result = read_document(reading, value, i);
    return result;
}

int route_file_read(struct str text, struct route_file *ret_file, char error[ROUTE_FILE_ERROR_MAX])
{
    struct route_file file = {0};
    struct reading reading = {.text = text, .file = &file, .error = error};
    struct yaml_error yaml_error;
    int result = yaml_read(text, ROUTE_FILE_MAX, &file.document, &yaml_error);

    if (result == -EINVAL || result == -E2BIG) {
        snprintf(error, ROUTE_FILE_ERROR_MAX, "%zu:%zu: %s", yaml_error.line, yaml_error.column,
                 yaml_error.text);
        return -EINVAL;
    }
    if (result)
        return result;
    result = read_documents(&reading);
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
