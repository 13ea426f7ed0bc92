/*
 * status_doc: one shape for what is stored and what is wanted, so that one digest compares them,
 * and both sides of the comparison come from the same few fields. Whatever else others have put
 * into a status is theirs: server-side apply leaves it alone, and it counts for nothing here.
 */
#include "controller/kube/status_doc.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "controller/kube/event.h"
#include "lib/base/digest.h"

static const char *const condition_types[STATUS_CONDITIONS] = {"Accepted", "Programmed"};

static struct status_condition condition_of(const struct condition *condition, int64_t generation)
{
    static const char *const names[] = {
        [CONDITION_TRUE] = "True", [CONDITION_FALSE] = "False", [CONDITION_UNKNOWN] = "Unknown"};

    if (!condition->reason[0])
        return (struct status_condition){0};
    return (struct status_condition){
        .status = str_from(names[condition->status]),
        .reason = str_from(condition->reason),
        .message = str_from(condition->message),
        .generation = generation,
    };
}

struct status_doc status_doc_of(const struct route_status *status, char pods[STATUS_PODS_SIZE])
{
    struct status_doc doc = {
        .generation = status->generation,
        .conditions = {condition_of(&status->accepted, status->generation),
                       condition_of(&status->programmed, status->generation)},
        .has_gateways = status->has_gateways,
    };

    if (status->has_gateways) {
        snprintf(pods, STATUS_PODS_SIZE, "%u/%u", status->ready, status->total);
        doc.ready = status->ready;
        doc.total = status->total;
        doc.revision = (int64_t)status->revision;
        doc.pods = str_from(pods);
    }
    return doc;
}

static struct str read_text(yyjson_val *object, const char *key)
{
    yyjson_val *value = yyjson_obj_get(object, key);

    return yyjson_is_str(value) ? str_make(yyjson_get_str(value), yyjson_get_len(value))
                                : str_make(NULL, 0);
}

static int64_t read_number(yyjson_val *object, const char *key)
{
    return yyjson_get_sint(yyjson_obj_get(object, key));
}

static struct status_condition read_condition(yyjson_val *value)
{
    struct status_condition condition = {
        .status = read_text(value, "status"),
        .reason = read_text(value, "reason"),
        .message = read_text(value, "message"),
        .generation = read_number(value, "observedGeneration"),
    };

    if (kube_time_read(read_text(value, "lastTransitionTime"), &condition.since_s))
        condition.since_s = 0;
    return condition;
}

struct status_doc status_doc_read(yyjson_val *value)
{
    struct status_doc doc = {.generation = read_number(value, "observedGeneration")};
    yyjson_val *gateways = yyjson_obj_get(value, "gateways"), *condition;
    yyjson_arr_iter iter;

    yyjson_arr_iter_init(yyjson_obj_get(value, "conditions"), &iter);
    while ((condition = yyjson_arr_iter_next(&iter)))
        for (size_t i = 0; i < STATUS_CONDITIONS; i++)
            if (yyjson_equals_str(yyjson_obj_get(condition, "type"), condition_types[i]))
                doc.conditions[i] = read_condition(condition);
    doc.has_gateways = yyjson_is_obj(gateways);
    if (doc.has_gateways) {
        doc.ready = read_number(gateways, "ready");
        doc.total = read_number(gateways, "total");
        doc.revision = read_number(gateways, "revision");
        doc.pods = read_text(gateways, "pods");
    }
    return doc;
}

static uint64_t digest_number(uint64_t digest, int64_t number)
{
    return digest_bytes(digest, &number, sizeof(number));
}

/* The length goes in, too, so that no two sequences of strings run into one. */
static uint64_t digest_text(uint64_t digest, struct str text)
{
    return digest_bytes(digest_number(digest, (int64_t)text.len), text.ptr, text.len);
}

uint64_t status_doc_digest(const struct status_doc *doc)
{
    uint64_t digest = digest_number(digest_empty, doc->generation);

    for (size_t i = 0; i < STATUS_CONDITIONS; i++) {
        digest = digest_text(digest, doc->conditions[i].status);
        digest = digest_text(digest, doc->conditions[i].reason);
        digest = digest_text(digest, doc->conditions[i].message);
        digest = digest_number(digest, doc->conditions[i].generation);
    }
    digest = digest_number(digest, doc->has_gateways);
    digest = digest_number(digest, doc->ready);
    digest = digest_number(digest, doc->total);
    digest = digest_number(digest, doc->revision);
    return digest_text(digest, doc->pods);
}

/* Moves one string into the copy's own room. */
static void keep(struct str *text, char **room)
{
    if (!text->len)
        return;
    memcpy(*room, text->ptr, text->len);
    text->ptr = *room;
    *room += text->len;
}

struct status_doc *status_doc_copy(const struct status_doc *doc)
{
    size_t size = doc->pods.len;
    struct status_doc *copy;
    char *room;

    for (size_t i = 0; i < STATUS_CONDITIONS; i++)
        size += doc->conditions[i].status.len + doc->conditions[i].reason.len +
                doc->conditions[i].message.len;
    copy = malloc(sizeof(*copy) + size);
    if (!copy)
        return NULL;
    *copy = *doc;
    room = (char *)(copy + 1);
    keep(&copy->pods, &room);
    for (size_t i = 0; i < STATUS_CONDITIONS; i++) {
        keep(&copy->conditions[i].status, &room);
        keep(&copy->conditions[i].reason, &room);
        keep(&copy->conditions[i].message, &room);
    }
    return copy;
}

static char status_letter(struct str status)
{
    static const char *const words[] = {"True", "False", "Unknown"};

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (str_equal(status, str_from(words[i])))
            return words[i][0];
    return '\0';
}

struct status_memory status_doc_remember(const struct status_doc *doc)
{
    struct status_memory memory = {0};

    for (size_t i = 0; i < STATUS_CONDITIONS; i++) {
        const struct status_condition *condition = &doc->conditions[i];

        memory.conditions[i].since_s = condition->since_s;
        memory.conditions[i].said =
            digest_text(digest_text(digest_empty, condition->reason), condition->message);
        memory.conditions[i].status = status_letter(condition->status);
    }
    return memory;
}

void status_doc_set_times(struct status_doc *doc, const struct status_memory *stored, int64_t now_s)
{
    for (size_t i = 0; i < STATUS_CONDITIONS; i++) {
        int64_t since_s = stored->conditions[i].since_s;
        char letter = status_letter(doc->conditions[i].status);
        bool same = since_s && letter == stored->conditions[i].status;

        doc->conditions[i].since_s = same ? since_s : now_s;
    }
}

static yyjson_mut_val *add_object(yyjson_mut_doc *json, yyjson_mut_val *parent, const char *key)
{
    yyjson_mut_val *object = yyjson_mut_obj(json);

    return yyjson_mut_obj_add_val(json, parent, key, object) ? object : NULL;
}

static bool add_text(yyjson_mut_doc *json, yyjson_mut_val *object, const char *key, struct str text)
{
    return yyjson_mut_obj_add_strn(json, object, key, text.ptr ? text.ptr : "", text.len);
}

static bool add_condition(yyjson_mut_doc *json, yyjson_mut_val *list, const char *type,
                          const struct status_condition *condition)
{
    yyjson_mut_val *object = yyjson_mut_arr_add_obj(json, list);
    char since[KUBE_TIME_SIZE];

    kube_time_write(condition->since_s, since);
    return yyjson_mut_obj_add_str(json, object, "type", type) &&
           add_text(json, object, "status", condition->status) &&
           yyjson_mut_obj_add_sint(json, object, "observedGeneration", condition->generation) &&
           add_text(json, object, "reason", condition->reason) &&
           add_text(json, object, "message", condition->message) &&
           yyjson_mut_obj_add_strcpy(json, object, "lastTransitionTime", since);
}

static bool add_status(yyjson_mut_doc *json, yyjson_mut_val *root, const struct status_doc *doc)
{
    yyjson_mut_val *status = add_object(json, root, "status"), *list = yyjson_mut_arr(json);
    yyjson_mut_val *gateways;
    bool ok = yyjson_mut_obj_add_sint(json, status, "observedGeneration", doc->generation) &&
              yyjson_mut_obj_add_val(json, status, "conditions", list);

    for (size_t i = 0; i < STATUS_CONDITIONS && ok; i++)
        if (doc->conditions[i].status.len)
            ok = add_condition(json, list, condition_types[i], &doc->conditions[i]);
    if (!ok || !doc->has_gateways)
        return ok;
    gateways = add_object(json, status, "gateways");
    return yyjson_mut_obj_add_sint(json, gateways, "ready", doc->ready) &&
           yyjson_mut_obj_add_sint(json, gateways, "total", doc->total) &&
           yyjson_mut_obj_add_sint(json, gateways, "revision", doc->revision) &&
           add_text(json, gateways, "pods", doc->pods);
}

int status_doc_write(const struct status_doc *doc, struct str namespace_name, struct str name,
                     struct str uid, struct buffer *out)
{
    yyjson_mut_doc *json = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *root = yyjson_mut_obj(json), *metadata;
    yyjson_write_err why;
    size_t length;
    char *text = NULL;
    int error = -ENOMEM;

    yyjson_mut_doc_set_root(json, root);
    if (!yyjson_mut_obj_add_str(json, root, "apiVersion", "metropolis.dev/v1alpha1") ||
        !yyjson_mut_obj_add_str(json, root, "kind", "Route"))
        goto out;
    metadata = add_object(json, root, "metadata");
    if (!add_text(json, metadata, "name", name) ||
        !add_text(json, metadata, "namespace", namespace_name) ||
        !add_text(json, metadata, "uid", uid) || !add_status(json, root, doc))
        goto out;
    text = yyjson_mut_write_opts(json, 0, NULL, &length, &why);
    if (text)
        error = buffer_append(out, text, length);
    else if (why.code == YYJSON_WRITE_ERROR_INVALID_STRING)
        error = -EINVAL;
out:
    free(text);
    yyjson_mut_doc_free(json);
    return error;
}
