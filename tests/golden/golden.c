/*
 * golden FOLDER: feeds compile with the Routes of FOLDER/1.yaml, then 2.yaml and so on, and
 * compares what comes out with FOLDER/expected.txt. Each file is all that there is at its time:
 * what it no longer names is removed. FOLDER/1.policy.yaml and so on, if there, is the policy from
 * then on; a step may be a policy alone. FOLDER/stored.yaml, if there, is what the gateways'
 * buckets hold from before: documents {gateway, key, value}.
 *
 * GOLDEN_WRITE=1 writes expected.txt instead; read the difference before you commit it.
 *
 * Gateways are "default" and "edge". metadata.generation defaults to 1, metadata.uid to
 * "uid-<name>".
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "controller/compile/compile.h"
#include "controller/files/route_file.h"
#include "controller/kube/event.h"
#include "lib/wire/yaml.h"

static const char *const gateways[] = {"default", "edge"};

enum { GATEWAYS = 2, TEXT_MAX = 64 * 1024 * 1024 };

struct golden {
    const char *folder;
    struct compile *compile;
    struct buffer output;
    yyjson_doc *stored;
};

static bool load(const char *folder, const char *name, struct buffer *text)
{
    char path[4096], bytes[4096];
    size_t got;
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    file = fopen(path, "r");
    if (!file)
        return false;
    while ((got = fread(bytes, 1, sizeof(bytes), file)) > 0)
        assert(buffer_append(text, bytes, got) == 0);
    fclose(file);
    return true;
}

/* ---- what comes out ---- */

static void on_entry(void *context, unsigned gateway, struct str key, int64_t generation,
                     struct str value)
{
    struct golden *golden = context;

    (void)generation;
    if (value.ptr)
        buffer_printf(&golden->output, "put %s " STR_FMT "\n    " STR_FMT "\n", gateways[gateway],
                      STR_ARG(key), STR_ARG(value));
    else
        buffer_printf(&golden->output, "delete %s " STR_FMT "\n", gateways[gateway], STR_ARG(key));
}

static void on_verdict(void *context, const struct compile_verdict *verdict)
{
    struct golden *golden = context;

    buffer_printf(
        &golden->output, "verdict " STR_FMT "/" STR_FMT " generation %lld: %s %s\n",
        STR_ARG(verdict->namespace_name), STR_ARG(verdict->name), (long long)verdict->generation,
        verdict->accepted->status == CONDITION_TRUE ? "True" : "False", verdict->accepted->reason);
    buffer_printf(&golden->output, "    %s\n", verdict->accepted->message);
    if (verdict->gateway >= 0)
        buffer_printf(&golden->output, "    generation %lld in %s\n", (long long)verdict->serving,
                      gateways[verdict->gateway]);
    else
        buffer_printf(&golden->output, "    in no table\n");
}

static void on_forgotten(void *context, struct str namespace_name, struct str name)
{
    struct golden *golden = context;

    buffer_printf(&golden->output, "forgotten " STR_FMT "/" STR_FMT "\n", STR_ARG(namespace_name),
                  STR_ARG(name));
}

static int on_stored(void *context, unsigned gateway, struct str key, struct buffer *value)
{
    struct golden *golden = context;
    yyjson_arr_iter items;
    yyjson_val *item;

    yyjson_arr_iter_init(yyjson_doc_get_root(golden->stored), &items);
    while ((item = yyjson_arr_iter_next(&items))) {
        char *text;

        if (!yyjson_equals_str(yyjson_obj_get(item, "gateway"), gateways[gateway]) ||
            !yyjson_equals_strn(yyjson_obj_get(item, "key"), key.ptr, key.len))
            continue;
        text = yyjson_val_write(yyjson_obj_get(item, "value"), 0, NULL);
        buffer_append_str(value, str_from(text));
        free(text);
        return 0;
    }
    return -ENOENT;
}

/* ---- what goes in ---- */

static void upsert(struct golden *golden, const struct route_file_item *item)
{
    yyjson_val *generation = yyjson_obj_get(item->metadata, "generation");
    const char *uid = yyjson_get_str(yyjson_obj_get(item->metadata, "uid"));
    yyjson_val *created = yyjson_obj_get(item->metadata, "creationTimestamp");
    char default_uid[300];
    struct source_route route = {
        .namespace_name = item->namespace_name,
        .name = item->name,
        .generation = generation ? yyjson_get_sint(generation) : 1,
        .spec = item->spec,
    };

    snprintf(default_uid, sizeof(default_uid), "uid-" STR_FMT, STR_ARG(item->name));
    route.uid = str_from(uid ? uid : default_uid);
    if (created)
        assert(kube_time_read(str_make(yyjson_get_str(created), yyjson_get_len(created)),
                              &route.created_s) == 0);
    assert(compile_upsert(golden->compile, &route) == 0);
}

static bool names(const struct route_file *file, const char *label)
{
    for (size_t i = 0; i < file->count; i++)
        if (strcmp(file->items[i].label, label) == 0)
            return true;
    return false;
}

/* False: the step has no such file. */
static bool load_step(struct golden *golden, int step, const char *suffix, struct buffer *text)
{
    char name[32];

    buffer_clear(text, TEXT_MAX);
    snprintf(name, sizeof(name), "%d.%s", step, suffix);
    if (!load(golden->folder, name, text))
        return false;
    buffer_printf(&golden->output, "%s# %s\n", buffer_length(&golden->output) ? "\n" : "", name);
    return true;
}

static void __attribute__((noreturn))
refuse(const struct golden *golden, int step, const char *suffix, const char *error)
{
    fprintf(stderr, "%s/%d.%s:%s\n", golden->folder, step, suffix, error);
    exit(2);
}

static bool run_policy(struct golden *golden, int step, struct buffer *text)
{
    char error[POLICY_ERROR_MAX] = "out of memory";
    struct policy *policy;

    if (!load_step(golden, step, "policy.yaml", text))
        return false;
    if (policy_read(buffer_view(text), &policy, error) < 0)
        refuse(golden, step, "policy.yaml", error);
    assert(compile_set_policy(golden->compile, policy) == 0);
    return true;
}

/* before: the Routes of the step before, replaced by those of this one. */
static bool run_routes(struct golden *golden, int step, struct buffer *text,
                       struct route_file *before)
{
    char error[ROUTE_FILE_ERROR_MAX] = "out of memory";
    struct route_file file;

    if (!load_step(golden, step, "yaml", text))
        return false;
    if (route_file_read(buffer_view(text), &file, error) < 0)
        refuse(golden, step, "yaml", error);
    for (size_t i = 0; i < before->count; i++)
        if (!names(&file, before->items[i].label))
            assert(compile_remove(golden->compile, before->items[i].namespace_name,
                                  before->items[i].name) == 0);
    for (size_t i = 0; i < file.count; i++)
        upsert(golden, &file.items[i]);
    assert(compile_synced(golden->compile) == 0);
    route_file_done(before);
    *before = file;
    return true;
}

/* False: there is no such step. */
static bool run_step(struct golden *golden, int step, struct route_file *before)
{
    struct buffer text;
    bool there;

    buffer_init(&text, TEXT_MAX);
    there = run_policy(golden, step, &text);
    there = run_routes(golden, step, &text, before) || there;
    buffer_done(&text);
    return there;
}

/* ---- judgement ---- */

static int write_expected(const struct golden *golden)
{
    char path[4096];
    FILE *file;

    snprintf(path, sizeof(path), "%s/expected.txt", golden->folder);
    file = fopen(path, "w");
    if (!file || fwrite(golden->output.data + golden->output.start, 1,
                        buffer_length(&golden->output), file) != buffer_length(&golden->output)) {
        perror(path);
        return 2;
    }
    return fclose(file) == 0 ? 0 : 2;
}

static int compare(const struct golden *golden)
{
    struct str got = buffer_view(&golden->output);
    struct buffer expected;
    size_t same = 0, line = 1;
    bool equal;

    buffer_init(&expected, TEXT_MAX);
    if (!load(golden->folder, "expected.txt", &expected))
        fprintf(stderr, "%s/expected.txt is not there\n", golden->folder);
    equal = str_equal(got, buffer_view(&expected));
    if (!equal) {
        struct str want = buffer_view(&expected);

        for (; same < got.len && same < want.len && got.ptr[same] == want.ptr[same]; same++)
            line += got.ptr[same] == '\n';
        fprintf(stderr, "%s: differs from expected.txt at line %zu; what came out:\n" STR_FMT,
                golden->folder, line, STR_ARG(got));
    }
    buffer_done(&expected);
    return equal ? 0 : 1;
}

static void load_stored(struct golden *golden)
{
    struct yaml_error error;
    struct buffer text;

    buffer_init(&text, TEXT_MAX);
    if (load(golden->folder, "stored.yaml", &text))
        assert(yaml_read(buffer_view(&text), TEXT_MAX, &golden->stored, &error) == 0);
    buffer_done(&text);
}

int main(int argc, char **argv)
{
    struct golden golden = {.folder = argc == 2 ? argv[1] : NULL};
    const struct compile_handler handler = {.entry = on_entry,
                                            .verdict = on_verdict,
                                            .forgotten = on_forgotten,
                                            .stored = on_stored,
                                            .context = &golden};
    struct route_file before = {0};
    int result;

    if (!golden.folder) {
        fprintf(stderr, "usage: golden FOLDER\n");
        return 2;
    }
    buffer_init(&golden.output, TEXT_MAX);
    load_stored(&golden);
    golden.compile = compile_new(gateways, GATEWAYS, &handler);
    assert(golden.compile);
    for (int step = 1; run_step(&golden, step, &before); step++)
        ;
    result = getenv("GOLDEN_WRITE") ? write_expected(&golden) : compare(&golden);
    route_file_done(&before);
    compile_free(golden.compile);
    buffer_done(&golden.output);
    yyjson_doc_free(golden.stored);
    return result;
}
