/*
 * Properties: a spec that is accepted is written in a form that is accepted, too, and is written
 * again with the same bytes. A spec that is refused has an error that is not empty.
 */
#include <stdint.h>
#include <stdlib.h>

#include "lib/base/utf8.h"
#include "lib/wire/route_spec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds)
        abort();
}

/* The normalised spec, or NULL if it was refused; the caller frees it. */
static char *normalise(const char *text, size_t size, size_t *ret_size)
{
    yyjson_doc *doc = yyjson_read(text, size, 0);
    struct route *route = route_new();
    struct route_spec_error error = {""};
    char *written = NULL;

    if (doc && route_spec_read(yyjson_doc_get_root(doc), route, &error) == 0) {
        yyjson_mut_doc *out = yyjson_mut_doc_new(NULL);

        yyjson_mut_doc_set_root(out, route_spec_write(route, out));
        written = yyjson_mut_write(out, 0, ret_size);
        require(written != NULL);
        yyjson_mut_doc_free(out);
    } else if (doc) {
        require(error.text[0] && utf8_valid(str_from(error.text)));
    }
    route_unref(route);
    yyjson_doc_free(doc);
    return written;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t once_size, twice_size;
    char *once = size ? normalise((const char *)data, size, &once_size) : NULL, *twice;

    if (!once)
        return 0;
    twice = normalise(once, once_size, &twice_size);
    require(twice && str_equal(str_make(once, once_size), str_make(twice, twice_size)));
    free(once);
    free(twice);
    return 0;
}
