/*
 * route_file: the Routes in the text of one YAML file. Pure. The golden tests read their input with
 * it, too.
 */
#ifndef CONTROLLER_FILES_ROUTE_FILE_H
#define CONTROLLER_FILES_ROUTE_FILE_H

#include <yyjson.h>

#include "lib/base/str.h"
#include "lib/wire/yaml.h"

enum { ROUTE_FILE_MAX = 16 * 1024 * 1024, ROUTE_FILE_ERROR_MAX = 512 };

struct route_file_item {
    char *label;                     /* "namespace/name" */
    struct str namespace_name, name; /* in label */
    yyjson_val *metadata, *spec;     /* in the file's document; spec may be NULL */
    char *text;                      /* of spec, to tell one from another */
    size_t document;                 /* in the file, from 0 */
    char place[32];                  /* of the Route in it: "", or "items[2]." in a List */
};

struct route_file {
    yyjson_doc *document;
    struct route_file_item *items;
    size_t count;
    size_t passed_over;  /* documents of other kinds */
    char other_kind[64]; /* of the first of them */
};

/* 0, then route_file_done; -EINVAL with the line ("12: ...", or with a column "12:3: ...") and what
 * is wrong there; -ENOMEM. Routes may also stand in a List, as `kubectl get -o yaml` writes it. */
int route_file_read(struct str text, struct route_file *ret_file, char error[ROUTE_FILE_ERROR_MAX]);
void route_file_done(struct route_file *file);
/* The line of what a message about an item ("spec.rules[0]: ...") is about; lines: of the file. */
size_t route_file_line(const struct yaml_lines *lines, const struct route_file_item *item,
                       const char *message);

#endif
