/*
 * table_codec: what controller and gateways tell each other through JetStream.
 *
 * Written with one function per kind of value and read back by one, side by side, so a change of
 * the format cannot be made on one side only. Reading trusts nothing: the bucket may have been
 * written by another version, or by somebody with nats kv put. A format above ours is told apart
 * first, because its unknown fields are then no surprise.
 */
#include "lib/wire/table_codec.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "lib/base/utf8.h"
#include "lib/wire/dns_name.h"
#include "lib/wire/json_read.h"

enum { UID_MAX = 128 };

#define KEY_PREFIX STR_LIT("route.")

/* ---- keys ---- */

int table_key_write(struct str namespace_name, struct str name, char *out)
{
    char *at = out;

    if (!dns_label_valid(namespace_name) || !dns_name_valid(name, DNS_NAME_MAX))
        return -EINVAL;
    at = (char *)mempcpy(at, KEY_PREFIX.ptr, KEY_PREFIX.len);
    at = (char *)mempcpy(at, namespace_name.ptr, namespace_name.len);
    *at++ = '.';
    at = (char *)mempcpy(at, name.ptr, name.len);
    *at = '\0';
    return (int)(at - out);
}

int table_key_read(struct str key, struct str *ret_namespace, struct str *ret_name)
{
    struct str rest, namespace_name, name;
    const char *dot;

    if (!str_starts_with(key, KEY_PREFIX) || key.len == KEY_PREFIX.len)
        return -EINVAL;
    rest = str_after(key, KEY_PREFIX.len);
    dot = memchr(rest.ptr, '.', rest.len);
    if (!dot)
        return -EINVAL;
    namespace_name = str_make(rest.ptr, (size_t)(dot - rest.ptr));
    name = str_after(rest, namespace_name.len + 1);
    if (!dns_label_valid(namespace_name) || !dns_name_valid(name, DNS_NAME_MAX))
        return -EINVAL;
    *ret_namespace = namespace_name;
    *ret_name = name;
    return 0;
}

/* ---- JSON, in general ---- */

/* Appends the document's text to out and frees the document. 0, -E2BIG: longer than max, -ENOBUFS,
 * -ENOMEM. */
static int document_write(yyjson_mut_doc *doc, size_t max, struct buffer *out)
{
    size_t length = 0;
    char *text = yyjson_mut_write(doc, 0, &length);
    int r;

    if (!text)
        r = -ENOMEM;
    else if (length > max)
        r = -E2BIG;
    else
        r = buffer_append(out, text, length);
    free(text);
    yyjson_mut_doc_free(doc);
    return r;
}

/* A new document whose root is an object that begins with the format; NULL: no memory. */
static yyjson_mut_doc *document_new(yyjson_mut_val **ret_root)
{
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *root = doc ? yyjson_mut_obj(doc) : NULL;

    if (!root || !yyjson_mut_obj_add_uint(doc, root, "format", TABLE_FORMAT)) {
        yyjson_mut_doc_free(doc);
        return NULL;
    }
    yyjson_mut_doc_set_root(doc, root);
    *ret_root = root;
    return doc;
}

/*
 * Parses value into a document whose root is an object of the given fields, "format" the first; all
 * but the last optional ones must be there. The caller frees *ret_doc, on success only.
 */
static int document_read(const struct json_reader *reader, const struct json_place *place,
                         struct str value, size_t max, const char *const *names, size_t count,
                         size_t optional, yyjson_val **ret_fields, yyjson_doc **ret_doc)
{
    yyjson_read_err error;
    yyjson_doc *doc = NULL;
    yyjson_val *format;
    int r = 0;

    if (value.len > max)
        return json_refuse(reader, place, "has %zu bytes, may have at most %zu", value.len, max);
    if (value.len == 0)
        return json_refuse(reader, place, "is empty");
    doc = yyjson_read_opts((char *)value.ptr, value.len, 0, NULL, &error);
    if (!doc && error.code == YYJSON_READ_ERROR_MEMORY_ALLOCATION)
        return -ENOMEM;
    if (!doc)
        return json_refuse(reader, place, "is no JSON: %s at byte %zu", error.msg, error.pos);
    format = yyjson_obj_get(yyjson_doc_get_root(doc), "format");
    if (yyjson_is_uint(format) && yyjson_get_uint(format) > TABLE_FORMAT)
        r = json_refuse(reader, place, "has format %llu, and this version knows up to %d",
                        (unsigned long long)yyjson_get_uint(format), TABLE_FORMAT);
    else if (!yyjson_is_uint(format) || yyjson_get_uint(format) != TABLE_FORMAT)
        r = json_refuse(reader, place, "has no valid format");
    if (r >= 0)
        r = json_object(reader, place, yyjson_doc_get_root(doc), names, count, ret_fields);
    for (size_t i = 0; i + optional < count && r >= 0; i++)
        if (!ret_fields[i])
            r = json_refuse(reader, place, "needs %s", names[i]);
    if (r < 0) {
        yyjson_doc_free(doc);
        return r;
    }
    *ret_doc = doc;
    return 0;
}

/* ---- Routes ---- */

int table_entry_write(const struct route *route, struct buffer *out)
{
    yyjson_mut_val *root, *spec;
    yyjson_mut_doc *doc = document_new(&root);

    if (!doc)
        return -ENOMEM;
    spec = route_spec_write(route, doc);
    if (!spec || !yyjson_mut_obj_add_strncpy(doc, root, "uid", route->uid.ptr, route->uid.len) ||
        !yyjson_mut_obj_add_sint(doc, root, "generation", route->generation) ||
        !yyjson_mut_obj_add_sint(doc, root, "created", route->created_s) ||
        !yyjson_mut_obj_add_val(doc, root, "spec", spec)) {
        yyjson_mut_doc_free(doc);
        return -ENOMEM;
    }
    return document_write(doc, ROUTE_SOURCE_MAX, out);
}

/* fields: uid, generation, created */
static int read_identity(const struct json_reader *reader, const struct json_place *place,
                         yyjson_val *const *fields, struct str namespace_name, struct str name,
                         struct route *route)
{
    struct json_place uid_place = {.parent = place, .name = "uid"};
    struct json_place generation_place = {.parent = place, .name = "generation"};
    struct json_place created_place = {.parent = place, .name = "created"};
    struct str uid;
    int r = json_string(reader, &uid_place, fields[0], 1, UID_MAX, &uid);

    if (r >= 0)
        r = json_integer(reader, &generation_place, fields[1], 0, INT64_MAX, &route->generation);
    if (r >= 0)
        r = json_integer(reader, &created_place, fields[2], INT64_MIN, INT64_MAX,
                         &route->created_s);
    return r < 0 ? r : route_identify(route, namespace_name, name, uid);
}

int table_entry_read(struct str key, struct str value, struct route **ret_route,
                     struct route_spec_error *ret_error)
{
    static const char *const names[] = {"format", "uid", "generation", "created", "spec"};
    struct json_reader reader = {.text = ret_error->text, .size = sizeof(ret_error->text)};
    struct json_place place = {.name = "entry"}, key_place = {.name = "key"};
    struct str namespace_name, name;
    yyjson_val *fields[5];
    yyjson_doc *doc = NULL;
    struct route *route;
    int r;

    if (table_key_read(key, &namespace_name, &name) < 0)
        return json_refuse(&reader, &key_place, "\"" STR_FMT "\" is not route.<namespace>.<name>",
                           STR_ARG(utf8_cut(key, TABLE_KEY_MAX)));
    r = document_read(&reader, &place, value, ROUTE_SOURCE_MAX, names, 5, 0, fields, &doc);
    if (r < 0)
        return r;
    route = route_new();
    r = route ? read_identity(&reader, &place, fields + 1, namespace_name, name, route) : -ENOMEM;
    if (r >= 0)
        r = route_spec_read(fields[4], route, ret_error);
    yyjson_doc_free(doc);
    if (r < 0) {
        route_unref(route);
        return r;
    }
    *ret_route = route_pack(route);
    return 0;
}

/* ---- the table's head ---- */

static bool id_valid(struct str text)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = str_lower_byte(text.ptr[i]);

        if ((c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.')
            return false;
    }
    return text.len <= TABLE_ID_MAX;
}

/* Into id, TABLE_ID_MAX + 1 bytes. min: 0 when it may be empty. */
static int read_id(yyjson_val *value, size_t min, char *ret_id)
{
    struct json_reader reader = {NULL, 0};
    struct str text;

    if (json_string(&reader, NULL, value, min, TABLE_ID_MAX, &text) < 0 || !id_valid(text))
        return -EINVAL;
    memcpy(ret_id, text.ptr, text.len);
    ret_id[text.len] = '\0';
    return 0;
}

int table_head_write(const struct table_head *head, struct buffer *out)
{
    const char *ids[] = {head->owner, head->lineage, head->term};

    for (size_t i = 0; i < 3; i++)
        if (!*ids[i] || !id_valid(str_from(ids[i])))
            return -EINVAL;
    /* Ids hold nothing that JSON would escape. */
    return buffer_printf(out,
                         "{\"format\":%d,\"owner\":\"%s\",\"lineage\":\"%s\",\"term\":\"%s\","
                         "\"complete\":%s}",
                         TABLE_FORMAT, head->owner, head->lineage, head->term,
                         head->complete ? "true" : "false");
}

int table_head_read(struct str value, struct table_head *ret_head)
{
    static const char *const names[] = {"format", "owner", "lineage", "term", "complete"};
    struct json_reader reader = {NULL, 0};
    struct table_head head = {0};
    yyjson_val *fields[5];
    yyjson_doc *doc = NULL;
    int r = document_read(&reader, NULL, value, 4096, names, 5, 0, fields, &doc);

    if (r < 0)
        return r;
    head.complete = yyjson_is_true(fields[4]);
    if (read_id(fields[1], 1, head.owner) < 0 || read_id(fields[2], 1, head.lineage) < 0 ||
        read_id(fields[3], 1, head.term) < 0 || !yyjson_is_bool(fields[4]))
        r = -EINVAL;
    yyjson_doc_free(doc);
    if (r >= 0)
        *ret_head = head;
    return r;
}

/* ---- acks ---- */

/* Adds text up to its first byte that is no UTF-8: a reason may have been cut anywhere. */
static bool add_text(yyjson_mut_doc *doc, yyjson_mut_val *object, const char *key, const char *text)
{
    struct str rest = str_from(text);
    size_t length;

    while ((length = utf8_char_length(rest)) > 0)
        rest = str_after(rest, length);
    return yyjson_mut_obj_add_strncpy(doc, object, key, text, (size_t)(rest.ptr - text));
}

static bool add_rejection(yyjson_mut_doc *doc, yyjson_mut_val *list,
                          const struct table_rejection *rejection)
{
    yyjson_mut_val *item = yyjson_mut_arr_add_obj(doc, list);

    return item && add_text(doc, item, "key", rejection->key) &&
           yyjson_mut_obj_add_uint(doc, item, "seq", rejection->sequence) &&
           add_text(doc, item, "reason", rejection->reason);
}

/* With only the first rejected_count rejections. */
static int ack_write(const struct table_ack *ack, size_t rejected_count, struct buffer *out)
{
    yyjson_mut_val *root, *list;
    yyjson_mut_doc *doc = document_new(&root);
    bool done;

    if (!doc)
        return -ENOMEM;
    done = yyjson_mut_obj_add_strcpy(doc, root, "boot", ack->boot) &&
           yyjson_mut_obj_add_strcpy(doc, root, "lineage", ack->lineage) &&
           yyjson_mut_obj_add_uint(doc, root, "applied", ack->applied);
    list = done ? yyjson_mut_obj_add_arr(doc, root, "rejected") : NULL;
    done = list != NULL;
    for (size_t i = 0; i < rejected_count && done; i++)
        done = add_rejection(doc, list, &ack->rejected[i]);
    done = done && yyjson_mut_obj_add_uint(doc, root, "rejectedTotal", ack->rejected_total) &&
           yyjson_mut_obj_add_strcpy(doc, root, "version", ack->version);
    if (done && ack->goodbye)
        done = yyjson_mut_obj_add_true(doc, root, "goodbye");
    if (!done) {
        yyjson_mut_doc_free(doc);
        return -ENOMEM;
    }
    return document_write(doc, TABLE_ACK_MAX, out);
}

int table_ack_write(const struct table_ack *ack, struct buffer *out)
{
    const char *ids[] = {ack->boot, ack->lineage, ack->version};
    size_t count = ack->rejected_count;
    int r;

    assert(count <= TABLE_ACK_REJECTED_MAX);
    for (size_t i = 0; i < 3; i++)
        if (!id_valid(str_from(ids[i])))
            return -EINVAL;
    if (!*ack->boot)
        return -EINVAL;
    /* Reasons full of escapes may not fit; an ack must be written all the same, and rejected_total
     * still counts them. */
    while ((r = ack_write(ack, count, out)) == -E2BIG)
        count /= 2;
    return r;
}

static int read_rejection(const struct json_reader *reader, yyjson_val *value,
                          struct table_rejection *ret_rejection)
{
    static const char *const names[] = {"key", "seq", "reason"};
    struct str key, reason;
    int64_t sequence;
    yyjson_val *fields[3];

    if (json_object(reader, NULL, value, names, 3, fields) < 0 ||
        json_string(reader, NULL, fields[0], 1, TABLE_KEY_MAX, &key) < 0 ||
        json_integer(reader, NULL, fields[1], 0, INT64_MAX, &sequence) < 0 ||
        json_string(reader, NULL, fields[2], 0, TABLE_ACK_MAX, &reason) < 0)
        return -EINVAL;
    if (key.len > TABLE_KEY_MAX || memchr(key.ptr, 0, key.len))
        return -EINVAL;
    reason = utf8_cut(reason, TABLE_ACK_REASON_MAX); /* it says no less in a later version */
    memcpy(ret_rejection->key, key.ptr, key.len);
    memcpy(ret_rejection->reason, reason.ptr, reason.len);
    ret_rejection->sequence = (uint64_t)sequence;
    return 0;
}

/* fields: boot, lineage, applied, rejected, rejectedTotal, version, goodbye */
static int read_ack(const struct json_reader *reader, yyjson_val *const *fields,
                    struct table_ack *ack)
{
    int64_t applied, total;
    size_t at, size;
    yyjson_val *item;

    if (read_id(fields[0], 1, ack->boot) < 0 || read_id(fields[1], 0, ack->lineage) < 0 ||
        read_id(fields[5], 0, ack->version) < 0 ||
        json_integer(reader, NULL, fields[2], 0, INT64_MAX, &applied) < 0 ||
        json_integer(reader, NULL, fields[4], 0, INT64_MAX, &total) < 0 ||
        json_list(reader, NULL, fields[3], 0, TABLE_ACK_REJECTED_MAX, &ack->rejected_count) < 0 ||
        (fields[6] && !yyjson_is_bool(fields[6])))
        return -EINVAL;
    ack->applied = (uint64_t)applied;
    ack->rejected_total = (uint64_t)total;
    ack->goodbye = yyjson_is_true(fields[6]);
    yyjson_arr_foreach(fields[3], at, size, item)
    {
        if (read_rejection(reader, item, &ack->rejected[at]) < 0)
            return -EINVAL;
    }
    return 0;
}

int table_ack_read(struct str value, struct table_ack *ret_ack)
{
    static const char *const names[] = {"format",   "boot",          "lineage", "applied",
                                        "rejected", "rejectedTotal", "version", "goodbye"};
    struct json_reader reader = {NULL, 0};
    struct table_ack ack = {0};
    yyjson_val *fields[8];
    yyjson_doc *doc = NULL;
    int r = document_read(&reader, NULL, value, TABLE_ACK_MAX, names, 8, 1, fields, &doc);

    if (r < 0)
        return r;
    r = read_ack(&reader, fields + 1, &ack);
    yyjson_doc_free(doc);
    if (r >= 0)
        *ret_ack = ack;
    return r;
}
