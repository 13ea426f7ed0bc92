/*
 * Properties: the payload of any query that is taken is JSON, an object of lists of strings with as
 * many values as were counted, and its worker becomes one token of a valid subject. A reply that is
 * taken has a status that a response may have, and its body is JSON, or nothing.
 *
 * Input: the first byte says which of the two the rest is.
 */
#include <stdint.h>
#include <stdlib.h>
#include <yyjson.h>

#include "lib/base/utf8.h"
#include "lib/wire/metropolis_v1.h"
#include "lib/wire/subject.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds)
        abort();
}

static size_t count_values(struct str payload)
{
    yyjson_doc *doc = yyjson_read(payload.ptr, payload.len, 0);
    yyjson_val *root = yyjson_doc_get_root(doc), *key, *list, *value;
    size_t at, size, in, length, count = 0;

    require(yyjson_is_obj(root));
    yyjson_obj_foreach(root, at, size, key, list)
    {
        require(yyjson_is_arr(list) && yyjson_arr_size(list) > 0);
        yyjson_arr_foreach(list, in, length, value)
        {
            require(yyjson_is_str(value) && yyjson_get_len(value) > 0);
            count++;
        }
    }
    yyjson_doc_free(doc);
    return count;
}

static void check_worker(struct str worker)
{
    char subject[SUBJECT_MAX];
    int length;

    memcpy(subject, "foo.get", 7);
    length = subject_append_token(subject, 7, worker);
    if (length < 0)
        return;
    require(subject_validate(str_make(subject, (size_t)length)) == 0);
    require(!memchr(subject + 8, '.', (size_t)length - 8));
}

static void check_request(struct metropolis_v1 *translator, struct str query)
{
    struct str payload, worker;
    size_t most = 1;

    if (metropolis_v1_request(translator, query, &payload, &worker))
        return;
    for (size_t i = 0; i < query.len; i++)
        most += query.ptr[i] == '&';
    require(count_values(payload) <= most && count_values(payload) <= METROPOLIS_V1_PARAMS_MAX);
    require(utf8_valid(worker));
    if (worker.len)
        check_worker(worker);
}

static void check_reply(struct metropolis_v1 *translator, struct str payload)
{
    struct str body;
    unsigned status;
    yyjson_doc *doc;

    if (metropolis_v1_reply(translator, payload, &status, &body))
        return;
    require(status >= 200 && status <= 599);
    doc = yyjson_read(body.ptr, body.len, YYJSON_READ_NUMBER_AS_RAW);
    require(body.len == 0 || doc);
    yyjson_doc_free(doc);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct metropolis_v1 *translator;
    struct str text = str_make((const char *)data + 1, size ? size - 1 : 0);

    if (!translator)
        translator = metropolis_v1_new();
    if (size && data[0] == 'q')
        check_request(translator, text);
    else if (size)
        check_reply(translator, text);
    return 0;
}
