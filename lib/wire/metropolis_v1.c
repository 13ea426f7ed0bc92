/*
 * metropolis_v1: see metropolis_v1.h. On the hot path of the rules that ask for it: decoded
 * parameters, the payload and the parsed reply live in memory that is kept.
 *
 * Numbers of a reply are neither read nor written: they are passed on digit by digit, so a worker's
 * 12345678901234567890123 reaches the client as it is.
 */
#include "lib/wire/metropolis_v1.h"

#include <errno.h>
#include <stdlib.h>
#include <yyjson.h>

#include "lib/base/buffer.h"
#include "lib/base/utf8.h"
#include "lib/wire/path.h"

enum {
    QUERY_MAX = 1024 * 1024,
    PAYLOAD_MAX = 8 * QUERY_MAX, /* a byte is six in an escape */
    STATUS_MIN = 200,
    STATUS_MAX = 599,
};

struct param {
    struct str name, value;
    bool written;
};

struct metropolis_v1 {
    struct param params[METROPOLIS_V1_PARAMS_MAX];
    size_t param_count;
    struct buffer decoded, payload;
    yyjson_alc *memory; /* of replies */
    char *body;         /* of it */
};

struct metropolis_v1 *metropolis_v1_new(void)
{
    struct metropolis_v1 *translator = calloc(1, sizeof(*translator));

    if (!translator)
        return NULL;
    buffer_init(&translator->decoded, QUERY_MAX);
    buffer_init(&translator->payload, PAYLOAD_MAX);
    translator->memory = yyjson_alc_dyn_new();
    if (!translator->memory) {
        free(translator);
        return NULL;
    }
    return translator;
}

void metropolis_v1_free(struct metropolis_v1 *translator)
{
    if (!translator)
        return;
    buffer_done(&translator->decoded);
    buffer_done(&translator->payload);
    yyjson_alc_dyn_free(translator->memory);
    free(translator);
}

/* ---- requests ---- */

/* Decodes to *room and moves it on. */
static int decode(struct str raw, char **room, struct str *ret_text)
{
    int length = path_decode(raw, true, *room);

    if (length < 0)
        return length;
    *ret_text = str_make(*room, (size_t)length);
    *room += length;
    return utf8_valid(*ret_text) ? 0 : -EINVAL;
}

static int read_param(struct metropolis_v1 *translator, struct str pair, char **room)
{
    const char *equals = pair.len ? memchr(pair.ptr, '=', pair.len) : NULL;
    size_t length = equals ? (size_t)(equals - pair.ptr) : pair.len;
    struct param *param = &translator->params[translator->param_count];
    int r;

    if (length + 1 >= pair.len)
        return 0; /* no value */
    if (translator->param_count == METROPOLIS_V1_PARAMS_MAX)
        return -E2BIG;
    r = decode(str_make(pair.ptr, length), room, &param->name);
    if (!r)
        r = decode(str_after(pair, length + 1), room, &param->value);
    param->written = false;
    translator->param_count += r == 0;
    return r;
}

static int read_query(struct metropolis_v1 *translator, struct str query)
{
    char *room;
    int r = 0;

    translator->param_count = 0;
    buffer_clear(&translator->decoded, SIZE_MAX);
    room = buffer_reserve(&translator->decoded, query.len + 1);
    if (!room)
        return query.len < QUERY_MAX ? -ENOMEM : -E2BIG;
    while (query.len && !r) {
        const char *end = memchr(query.ptr, '&', query.len);
        size_t length = end ? (size_t)(end - query.ptr) : query.len;

        r = read_param(translator, str_make(query.ptr, length), &room);
        query = str_after(query, length + (end ? 1 : 0));
    }
    return r;
}

static int write_string(struct buffer *out, struct str text)
{
    int r = buffer_append_byte(out, '"');

    for (size_t i = 0; i < text.len && !r; i++) {
        unsigned char c = (unsigned char)text.ptr[i];

        if (c < 0x20)
            r = buffer_printf(out, "\\u%04x", c);
        else if (c == '"' || c == '\\')
            r = buffer_append(out, (char[]){'\\', (char)c}, 2);
        else
            r = buffer_append_byte(out, (char)c);
    }
    return r ? r : buffer_append_byte(out, '"');
}

/* All values of the index-th parameter's name. */
static int write_values(struct metropolis_v1 *translator, size_t index)
{
    struct buffer *out = &translator->payload;
    struct str name = translator->params[index].name;
    int r = write_string(out, name);

    for (size_t i = index; i < translator->param_count && !r; i++) {
        struct param *param = &translator->params[i];

        if (!str_equal(param->name, name))
            continue;
        param->written = true;
        r = buffer_append_str(out, i == index ? STR_LIT(":[") : STR_LIT(","));
        if (!r)
            r = write_string(out, param->value);
    }
    return r ? r : buffer_append_byte(out, ']');
}

/* Once decoded it is a name that the client chose: what a path's segment may not hold, it may not.
 */
static int find_worker(const struct metropolis_v1 *translator, struct str *ret_worker)
{
    *ret_worker = str_make(NULL, 0);
    for (size_t i = 0; i < translator->param_count; i++) {
        struct str value = translator->params[i].value;

        if (!str_equal(translator->params[i].name, STR_LIT("_worker")))
            continue;
        for (size_t j = 0; j < value.len; j++)
            if ((unsigned char)value.ptr[j] < 0x20 || value.ptr[j] == 0x7F)
                return -EINVAL;
        *ret_worker = value;
        return 0;
    }
    return 0;
}

int metropolis_v1_request(struct metropolis_v1 *translator, struct str query,
                          struct str *ret_payload, struct str *ret_worker)
{
    struct buffer *out = &translator->payload;
    bool first = true;
    int r = read_query(translator, query);

    if (!r)
        r = find_worker(translator, ret_worker);
    buffer_clear(out, SIZE_MAX);
    if (!r)
        r = buffer_append_byte(out, '{');
    for (size_t i = 0; i < translator->param_count && !r; i++) {
        if (translator->params[i].written)
            continue;
        if (!first)
            r = buffer_append_byte(out, ',');
        if (!r)
            r = write_values(translator, i);
        first = false;
    }
    if (!r)
        r = buffer_append_byte(out, '}');
    *ret_payload = buffer_view(out);
    return r;
}

/* ---- replies ---- */

/* Exactly three digits, as numbers are raw here; 0: none. */
static unsigned read_code(yyjson_val *value)
{
    const char *digits = yyjson_get_raw(value);
    unsigned code = 0;

    if (!digits || yyjson_get_len(value) != 3)
        return 0;
    for (size_t i = 0; i < 3; i++) {
        if (digits[i] < '0' || digits[i] > '9')
            return 0;
        code = code * 10 + (unsigned)(digits[i] - '0');
    }
    return code >= STATUS_MIN && code <= STATUS_MAX ? code : 0;
}

/* Fields that the format does not know are the worker's own affair; one that stands twice could be
 * read in two ways. */
static int read_fields(yyjson_val *root, unsigned *ret_code, yyjson_val **ret_data)
{
    unsigned codes = 0, datas = 0;
    size_t at, size;
    yyjson_val *key, *value;

    *ret_data = NULL;
    *ret_code = 0;
    if (!yyjson_is_obj(root))
        return -EINVAL;
    yyjson_obj_foreach(root, at, size, key, value)
    {
        if (yyjson_equals_str(key, "code")) {
            codes++;
            *ret_code = read_code(value);
        } else if (yyjson_equals_str(key, "data")) {
            datas++;
            *ret_data = value;
        }
    }
    return codes == 1 && *ret_code && datas <= 1 ? 0 : -EINVAL;
}

static int write_body(struct metropolis_v1 *translator, yyjson_val *data, struct str *ret_body)
{
    size_t length = 0;

    *ret_body = str_make(NULL, 0);
    if (!data)
        return 0;
    translator->body = yyjson_val_write_opts(data, 0, translator->memory, &length, NULL);
    if (!translator->body)
        return -ENOMEM;
    *ret_body = str_make(translator->body, length);
    return 0;
}

int metropolis_v1_reply(struct metropolis_v1 *translator, struct str payload, unsigned *ret_status,
                        struct str *ret_body)
{
    yyjson_alc *memory = translator->memory;
    yyjson_read_err error;
    yyjson_val *data;
    yyjson_doc *doc;
    int r;

    if (translator->body)
        memory->free(memory->ctx, translator->body);
    translator->body = NULL;
    if (payload.len == 0)
        return -EINVAL;
    doc = yyjson_read_opts((char *)payload.ptr, payload.len, YYJSON_READ_NUMBER_AS_RAW, memory,
                           &error);
    if (!doc)
        return error.code == YYJSON_READ_ERROR_MEMORY_ALLOCATION ? -ENOMEM : -EINVAL;
    r = read_fields(yyjson_doc_get_root(doc), ret_status, &data);
    if (!r)
        r = write_body(translator, data, ret_body);
    yyjson_doc_free(doc);
    return r;
}
