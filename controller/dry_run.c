/*
 * dry_run: reads every file whole, then tells compile of all Routes as if they were the first list,
 * and prints what it says, in the order of the files' names and of what is in them. There is one
 * generation of each Route, so nothing is ever kept or recovered.
 */
#include "controller/dry_run.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "controller/compile/compile.h"
#include "controller/files/route_file.h"
#include "controller/kube/event.h"
#include "controller/settings.h"
#include "lib/base/file.h"
#include "lib/base/map.h"
#include "lib/wire/table_codec.h"

#define PROGRAM "metropolis-controller compile"

struct input {
    char *path;
    struct route_file routes;
    struct yaml_lines *lines;
};

/* A Route of the input, and what came out. */
struct verdict {
    struct map_node node; /* key: the item's label */
    const struct input *input;
    const struct route_file_item *item;
    int gateway; /* -1: in no table */
    char *key, *value;
    int64_t generation;
    struct condition accepted;
};

struct dry_run {
    struct settings settings;
    bool as_json;
    struct input *inputs;
    size_t input_count;
    struct verdict *verdicts; /* in order */
    size_t verdict_count;
    struct map by_label;
    struct compile *compile;
};

static void must(bool good)
{
    if (good)
        return;
    fprintf(stderr, PROGRAM ": out of memory\n");
    exit(2);
}

/* ---- reading ---- */

static int refuse(const char *path, const char *error)
{
    fprintf(stderr, PROGRAM ": %s:%s\n", path, error);
    return 2;
}

static int load(const char *path, struct buffer *text)
{
    int error =
        strcmp(path, "-") == 0 ? file_read_fd(STDIN_FILENO, text) : file_read(path, text, NULL);

    if (error < 0)
        fprintf(stderr, PROGRAM ": %s: %s\n", path, strerror(-error));
    return error < 0 ? 2 : 0;
}

/* path: NULL-terminated, taken over. */
static int add_file(struct dry_run *run, char *path)
{
    struct input *inputs = reallocarray(run->inputs, run->input_count + 1, sizeof(*run->inputs));
    char error[ROUTE_FILE_ERROR_MAX] = " out of memory";
    struct input *input;
    struct buffer text;
    int exit_code;

    must(path && inputs);
    run->inputs = inputs;
    input = &inputs[run->input_count++];
    *input = (struct input){.path = path};
    buffer_init(&text, ROUTE_FILE_MAX);
    exit_code = load(path, &text);
    if (!exit_code && route_file_read(buffer_view(&text), &input->routes, error) < 0)
        exit_code = refuse(path, error);
    if (!exit_code)
        input->lines = yaml_lines_new(buffer_view(&text));
    buffer_done(&text);
    if (!exit_code && input->routes.passed_over)
        fprintf(stderr, PROGRAM ": %s: %zu of other kinds passed over, the first %s\n", path,
                input->routes.passed_over, input->routes.other_kind);
    return exit_code;
}

static int is_route_file(const struct dirent *entry)
{
    const char *dot = strrchr(entry->d_name, '.');

    return entry->d_name[0] != '.' && dot &&
           (strcmp(dot, ".yaml") == 0 || strcmp(dot, ".yml") == 0);
}

/* As --routes reads a folder. */
static int add_folder(struct dry_run *run, const char *path)
{
    struct dirent **entries;
    int count = scandir(path, &entries, is_route_file, alphasort);
    int exit_code = 0;

    if (count < 0) {
        fprintf(stderr, PROGRAM ": %s: %s\n", path, strerror(errno));
        return 2;
    }
    for (int i = 0; i < count; i++) {
        char *file = NULL;

        if (!exit_code) {
            must(asprintf(&file, "%s/%s", path, entries[i]->d_name) >= 0);
            exit_code = add_file(run, file);
        }
        free(entries[i]);
    }
    free(entries);
    return exit_code;
}

static int add_operand(struct dry_run *run, const char *path)
{
    struct stat status;

    if (stat(path, &status) == 0 && S_ISDIR(status.st_mode))
        return add_folder(run, path);
    return add_file(run, strdup(path));
}

static int read_policy(struct dry_run *run)
{
    char error[POLICY_ERROR_MAX] = " out of memory";
    const char *path = run->settings.policy;
    struct policy *policy;
    struct buffer text;
    int exit_code = 0;

    if (!path)
        return 0;
    buffer_init(&text, POLICY_FILE_MAX);
    exit_code = load(path, &text);
    if (!exit_code && policy_read(buffer_view(&text), &policy, error) < 0)
        exit_code = refuse(path, error);
    if (!exit_code)
        must(compile_set_policy(run->compile, policy) == 0);
    buffer_done(&text);
    return exit_code;
}

/* ---- compiling ---- */

static struct verdict *find_verdict(const struct dry_run *run, struct str namespace_name,
                                    struct str name)
{
    struct map_node *node;
    char *label;

    must(asprintf(&label, STR_FMT "/" STR_FMT, STR_ARG(namespace_name), STR_ARG(name)) >= 0);
    node = map_find(&run->by_label, str_from(label));
    free(label);
    return node ? MAP_ELEMENT(node, struct verdict, node) : NULL;
}

static void on_entry(void *context, unsigned gateway, struct str key, int64_t generation,
                     struct str value)
{
    struct str namespace_name, name;
    struct verdict *verdict;

    (void)gateway, (void)generation;
    must(table_key_read(key, &namespace_name, &name) == 0);
    verdict = find_verdict(context, namespace_name, name);
    verdict->key = strndup(key.ptr, key.len);
    verdict->value = strndup(value.ptr, value.len);
    must(verdict->key && verdict->value);
}

static void on_verdict(void *context, const struct compile_verdict *said)
{
    struct verdict *verdict = find_verdict(context, said->namespace_name, said->name);

    verdict->gateway = said->gateway;
    verdict->generation = said->generation;
    verdict->accepted = *said->accepted;
}

static void on_forgotten(void *context, struct str namespace_name, struct str name)
{
    (void)context, (void)namespace_name, (void)name;
}

static int on_stored(void *context, unsigned gateway, struct str key, struct buffer *value)
{
    (void)context, (void)gateway, (void)key, (void)value;
    return -ENOENT;
}

static int64_t created_of(yyjson_val *metadata)
{
    yyjson_val *created = yyjson_obj_get(metadata, "creationTimestamp");
    int64_t unix_s = 0;

    if (yyjson_is_str(created))
        kube_time_read(str_make(yyjson_get_str(created), yyjson_get_len(created)), &unix_s);
    return unix_s;
}

/* The first Route of a label is judged; another one is an error, as it would overwrite the first.
 */
static int compile_item(struct dry_run *run, const struct input *input,
                        const struct route_file_item *item)
{
    struct verdict *verdict = &run->verdicts[run->verdict_count];
    const struct verdict *first = find_verdict(run, item->namespace_name, item->name);
    yyjson_val *generation = yyjson_obj_get(item->metadata, "generation");
    const char *uid = yyjson_get_str(yyjson_obj_get(item->metadata, "uid"));
    const struct source_route route = {
        .namespace_name = item->namespace_name,
        .name = item->name,
        .uid = str_from(uid && *uid ? uid : "none"),
        .generation = yyjson_is_int(generation) ? yyjson_get_sint(generation) : 1,
        .created_s = created_of(item->metadata),
        .spec = item->spec,
    };

    if (first) {
        fprintf(stderr, PROGRAM ": %s:%zu: %s is there a second time, first in %s:%zu\n",
                input->path, route_file_line(input->lines, item, ""), item->label,
                first->input->path, route_file_line(first->input->lines, first->item, ""));
        return 2;
    }
    *verdict = (struct verdict){.input = input, .item = item};
    must(map_insert(&run->by_label, &verdict->node, str_from(item->label)) == 0);
    run->verdict_count++;
    must(compile_upsert(run->compile, &route) == 0);
    return 0;
}

static int compile_all(struct dry_run *run)
{
    int exit_code = 0;
    size_t count = 0;

    for (size_t i = 0; i < run->input_count; i++)
        count += run->inputs[i].routes.count;
    if (!count) {
        fprintf(stderr, PROGRAM ": there is no Route in what was given\n");
        return 2;
    }
    run->verdicts = calloc(count, sizeof(*run->verdicts));
    must(run->verdicts);
    for (size_t i = 0; i < run->input_count; i++)
        for (size_t j = 0; j < run->inputs[i].routes.count && !exit_code; j++)
            exit_code = compile_item(run, &run->inputs[i], &run->inputs[i].routes.items[j]);
    if (exit_code)
        return exit_code;
    must(compile_synced(run->compile) == 0);
    return compile_count(run->compile).accepted == count ? 0 : 1;
}

/* ---- telling ---- */

static size_t line_of(const struct verdict *verdict)
{
    return route_file_line(verdict->input->lines, verdict->item, verdict->accepted.message);
}

/* As compilers and editors have it: FILE:LINE: what. */
static void print_text(const struct dry_run *run)
{
    struct compile_counts counts = compile_count(run->compile);

    for (size_t i = 0; i < run->verdict_count; i++) {
        const struct verdict *verdict = &run->verdicts[i];

        printf("%s:%zu: %s: %s: %s\n", verdict->input->path, line_of(verdict), verdict->item->label,
               verdict->accepted.reason, verdict->accepted.message);
        if (verdict->gateway >= 0)
            printf("    %s %s %s\n", run->settings.gateways[verdict->gateway].name, verdict->key,
                   verdict->value);
    }
    printf("%zu Routes, %zu accepted\n", (size_t)counts.routes, (size_t)counts.accepted);
}

static bool add_route(const struct dry_run *run, const struct verdict *verdict, yyjson_mut_doc *doc,
                      yyjson_mut_val *list)
{
    yyjson_mut_val *route = yyjson_mut_arr_add_obj(doc, list);
    const struct route_file_item *item = verdict->item;
    yyjson_mut_val *entry;
    const char *gateway;

    if (!yyjson_mut_obj_add_str(doc, route, "file", verdict->input->path) ||
        !yyjson_mut_obj_add_uint(doc, route, "line", line_of(verdict)) ||
        !yyjson_mut_obj_add_strn(doc, route, "namespace", item->namespace_name.ptr,
                                 item->namespace_name.len) ||
        !yyjson_mut_obj_add_strn(doc, route, "name", item->name.ptr, item->name.len) ||
        !yyjson_mut_obj_add_sint(doc, route, "generation", verdict->generation) ||
        !yyjson_mut_obj_add_bool(doc, route, "accepted",
                                 verdict->accepted.status == CONDITION_TRUE) ||
        !yyjson_mut_obj_add_str(doc, route, "reason", verdict->accepted.reason) ||
        !yyjson_mut_obj_add_str(doc, route, "message", verdict->accepted.message))
        return false;
    if (verdict->gateway < 0)
        return true;
    gateway = run->settings.gateways[verdict->gateway].name;
    entry = yyjson_mut_obj_add_obj(doc, route, "entry");
    return yyjson_mut_obj_add_str(doc, entry, "gateway", gateway) &&
           yyjson_mut_obj_add_str(doc, entry, "key", verdict->key) &&
           yyjson_mut_obj_add_val(doc, entry, "value", yyjson_mut_raw(doc, verdict->value));
}

static void print_json(const struct dry_run *run)
{
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *root = yyjson_mut_obj(doc);
    yyjson_mut_val *list = yyjson_mut_obj_add_arr(doc, root, "routes");
    bool good = list != NULL;

    yyjson_mut_doc_set_root(doc, root);
    for (size_t i = 0; i < run->verdict_count && good; i++)
        good = add_route(run, &run->verdicts[i], doc, list);
    must(good && yyjson_mut_write_fp(stdout, doc, YYJSON_WRITE_PRETTY, NULL, NULL));
    putchar('\n');
    yyjson_mut_doc_free(doc);
}

/* ---- the whole ---- */

static enum options_result parse(int argc, char **argv, struct dry_run *run,
                                 size_t *ret_operand_count)
{
    static const char *const outputs[] = {"text", "json", NULL};
    const char *gateways = NULL;
    int output = 0;
    const struct option table[] = {
        {"Options", "policy", "FILE", OPTION_TEXT, &run->settings.policy, NULL, NULL, 0, 0,
         "the hosts, subjects and gateways that each namespace may use; default: all may use all"},
        {"Options", "gateways", "NAME,...", OPTION_TEXT, &gateways, "default", NULL, 0, 0,
         "gateways that there are"},
        {"Options", "output", "F", OPTION_CHOICE, &output, "text", outputs, 0, 0, "text or json"},
    };
    enum options_result result = options_parse_operands(
        table, sizeof(table) / sizeof(*table), PROGRAM,
        "Tells what the controller would make of the Routes in YAML files, of folders of them, or "
        "of\nstandard input (-): whether each is accepted, and its entry in a route table. Needs "
        "neither\nKubernetes nor NATS. Exit code 1: a Route is not accepted; 2: something cannot "
        "be "
        "read.",
        "FILE|DIR|-...", argc, argv, ret_operand_count);

    run->as_json = output == 1;
    return result == OPTIONS_OK ? settings_read_gateways(gateways, &run->settings) : result;
}

static void start_compile(struct dry_run *run)
{
    const struct compile_handler handler = {.entry = on_entry,
                                            .verdict = on_verdict,
                                            .forgotten = on_forgotten,
                                            .stored = on_stored,
                                            .context = run};
    const char *names[COMPILE_GATEWAYS_MAX];

    for (unsigned i = 0; i < run->settings.gateway_count; i++)
        names[i] = run->settings.gateways[i].name;
    run->compile = compile_new(names, run->settings.gateway_count, &handler);
    must(run->compile);
}

static void free_all(struct dry_run *run)
{
    for (size_t i = 0; i < run->verdict_count; i++) {
        free(run->verdicts[i].key);
        free(run->verdicts[i].value);
    }
    map_done(&run->by_label);
    free(run->verdicts);
    for (size_t i = 0; i < run->input_count; i++) {
        route_file_done(&run->inputs[i].routes);
        yaml_lines_free(run->inputs[i].lines);
        free(run->inputs[i].path);
    }
    free(run->inputs);
    compile_free(run->compile);
}

int dry_run(int argc, char **argv)
{
    struct dry_run run = {0};
    size_t operand_count = 0;
    int exit_code;

    switch (parse(argc, argv, &run, &operand_count)) {
    case OPTIONS_EXIT_OK:
        return 0;
    case OPTIONS_EXIT_USAGE:
        return 2;
    case OPTIONS_OK:
        break;
    }
    start_compile(&run);
    exit_code = read_policy(&run);
    for (size_t i = 0; i < operand_count && !exit_code; i++)
        exit_code = add_operand(&run, argv[1 + i]);
    if (!exit_code)
        exit_code = compile_all(&run);
    if (exit_code < 2)
        (run.as_json ? print_json : print_text)(&run);
    if (exit_code < 2 && fflush(stdout) != 0) {
        perror(PROGRAM);
        exit_code = 2;
    }
    free_all(&run);
    return exit_code;
}
