/*
 * yaml: YAML text to JSON values, as kubectl makes JSON of what users write, so that a file means
 * the same whether kubectl or we read it: plain yes/no/on/off are booleans, 0x1f and 1_000 are
 * integers, dates stay strings.
 *
 * Refused with an error: anchors and aliases, merge keys, tags other than !!str, keys that are no
 * scalars, a key twice in one mapping, .inf and .nan, more than YAML_DEPTH_MAX levels,
 * YAML_KEYS_MAX keys in a mapping or YAML_DOCUMENTS_MAX documents.
 */
#ifndef LIB_WIRE_YAML_H
#define LIB_WIRE_YAML_H

#include <yyjson.h>

#include "lib/base/str.h"

enum {
    YAML_DEPTH_MAX = 64,
    YAML_KEYS_MAX = 1024,
    YAML_DOCUMENTS_MAX = 10000,
    YAML_ERROR_MAX = 256,
};

/* Where reading stopped, both counted from 1, and why; 0: the text as a whole. */
struct yaml_error {
    size_t line, column;
    char text[YAML_ERROR_MAX];
};

/*
 * Reads every document of text into an array, the root of *ret_documents, in their order; empty
 * documents ("---" twice, comments only) are left out. The caller frees it with yyjson_doc_free.
 * 0; -EINVAL with *ret_error; -E2BIG: more than max_bytes (*ret_error says so); -ENOMEM.
 */
int yaml_read(struct str text, size_t max_bytes, yyjson_doc **ret_documents,
              struct yaml_error *ret_error);

/*
 * For messages: where the values of a text that was read stand in it. NULL: no memory, or the text
 * cannot be read. find: the line, from 1, of the value at a place, or else of what would hold it.
 * document: from 0, as yaml_read counts. place: "FIELD[ITEM].FIELD", up to its end or a colon, so a
 * refusal of json_read.h is one. lines NULL: 1.
 */
struct yaml_lines *yaml_lines_new(struct str text);
void yaml_lines_free(struct yaml_lines *lines);
size_t yaml_lines_find(const struct yaml_lines *lines, size_t document, const char *place);

#endif
