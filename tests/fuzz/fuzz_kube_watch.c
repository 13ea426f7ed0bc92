/*
 * What the API server sends: cut into the lines of a watch and into the items of a list, in two
 * ways each, which must agree; each line read as an event. Input: a byte that says how large the
 * pieces are, then the stream.
 */
#include <stdlib.h>
#include <string.h>

#include "controller/kube/event.h"
#include "controller/kube/status_doc.h"

enum { LINE_MAX_BYTES = 256, PIECE_MAX = 64 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void read_event(struct str line)
{
    struct kube_event event;
    char key[KUBE_KEY_MAX];

    if (kube_event_read(line, &event))
        return;
    if (event.type <= KUBE_EVENT_DELETED) {
        const struct kube_object *object = &event.object;
        struct status_doc doc = status_doc_read(yyjson_obj_get(object->value, "status"));
        struct status_memory memory = status_doc_remember(&doc);
        struct buffer out;

        check(object->name.len && object->uid.len && object->resource_version.len);
        check(kube_key(object->namespace_name, object->name, key).len ==
              object->namespace_name.len + 1 + object->name.len);
        buffer_init(&out, 1 << 20);
        status_doc_set_times(&doc, &memory, 0);
        check(status_doc_write(&doc, object->namespace_name, object->name, object->uid, &out) == 0);
        buffer_done(&out);
    }
    kube_event_done(&event);
}

/* A digest of all lines, fed piece by piece. */
static uint64_t cut(const uint8_t *data, size_t size, size_t piece, bool reads)
{
    struct kube_lines lines;
    uint64_t digest = 0;

    kube_lines_init(&lines, LINE_MAX_BYTES);
    for (size_t at = 0; at < size; at += piece) {
        struct str bytes = str_make((const char *)data + at, size - at < piece ? size - at : piece);
        struct str line;
        enum kube_line kind;

        while ((kind = kube_lines_next(&lines, &bytes, &line)) != KUBE_LINE_NONE) {
            digest = digest * 31 + (uint64_t)kind;
            for (size_t i = 0; kind == KUBE_LINE_WHOLE && i < line.len; i++)
                digest = digest * 31 + (unsigned char)line.ptr[i];
            check(kind != KUBE_LINE_WHOLE || line.len <= LINE_MAX_BYTES);
            if (reads && kind == KUBE_LINE_WHOLE)
                read_event(line);
        }
    }
    kube_lines_done(&lines);
    return digest;
}

static bool is_json(struct str text)
{
    yyjson_doc *document = yyjson_read(text.ptr, text.len, 0);

    yyjson_doc_free(document);
    return document;
}

/* The same of a list's items and what is around them. If all of these are JSON and nothing was left
 * out, the list was. */
static uint64_t cut_list(struct str list, size_t piece)
{
    struct kube_items items;
    uint64_t digest = 0;
    bool json = true;

    kube_items_init(&items, LINE_MAX_BYTES);
    for (size_t at = 0; at < list.len; at += piece) {
        struct str bytes = str_make(list.ptr + at, list.len - at < piece ? list.len - at : piece);
        struct str item;
        enum kube_line kind;

        while ((kind = kube_items_next(&items, &bytes, &item)) != KUBE_LINE_NONE) {
            digest = digest * 31 + (uint64_t)kind;
            json &= kind == KUBE_LINE_WHOLE && is_json(item);
            for (size_t i = 0; kind == KUBE_LINE_WHOLE && i < item.len; i++)
                digest = digest * 31 + (unsigned char)item.ptr[i];
            check(kind != KUBE_LINE_WHOLE || item.len <= LINE_MAX_BYTES);
        }
    }
    for (size_t i = 0; i < buffer_length(&items.rest); i++)
        digest = digest * 31 + (unsigned char)buffer_view(&items.rest).ptr[i];
    check(!json || !is_json(buffer_view(&items.rest)) || is_json(list));
    kube_items_done(&items);
    return digest * 31 + items.count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str list;

    if (size < 2)
        return 0;
    list = str_make((const char *)data + 1, size - 1);
    check(cut_list(list, list.len) == cut_list(list, 1 + data[0] % PIECE_MAX));
    check(cut(data + 1, size - 1, size, true) ==
          cut(data + 1, size - 1, 1 + data[0] % PIECE_MAX, false));
    return 0;
}
