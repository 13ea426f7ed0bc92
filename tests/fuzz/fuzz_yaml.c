/* YAML from anybody: read, or refused with a place; never more than the text could hold. */
#include <stdlib.h>

#include "lib/wire/yaml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct yaml_error error;
    struct yaml_lines *lines;
    yyjson_doc *documents;
    char *json;

    if (yaml_read(str_make((const char *)data, size), 65536, &documents, &error)) {
        if (!error.text[0])
            abort();
        return 0;
    }
    if (!yyjson_is_arr(yyjson_doc_get_root(documents)))
        abort();
    json = yyjson_write(documents, 0, NULL); /* valid UTF-8, finite numbers */
    if (!json)
        abort();
    free(json);
    lines = yaml_lines_new(str_make((const char *)data, size));
    if (!lines || yaml_lines_find(lines, 0, "a[1].b") == 0)
        abort();
    yaml_lines_free(lines);
    yyjson_doc_free(documents);
    return 0;
}
