/*
 * What the controller's compile stage costs in CPU time, for 100, 10,000 and 100,000 Routes, with
 * and without a policy of a rule per namespace: milliseconds for the first list as a whole,
 * microseconds for a changed Route (a path that nobody else has; one that another Route asks for
 * too), milliseconds for a policy that says the same and for one that denies one namespace; bytes
 * per Route.
 *
 *      bench_compile [COUNT...]        at least 100 each
 */
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "controller/compile/compile.h"

enum { NAMESPACES = 100, CHANGES = 2000 };

static size_t entries, verdicts;

static double now_s(void)
{
    struct timespec now;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void must(bool good)
{
    if (!good)
        abort();
}

static void on_entry(void *context, unsigned gateway, struct str key, int64_t generation,
                     struct str value)
{
    (void)context, (void)gateway, (void)key, (void)generation, (void)value;
    entries++;
}

static void on_verdict(void *context, const struct compile_verdict *verdict)
{
    (void)context, (void)verdict;
    verdicts++;
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

/* Route number of so many, asking for this path; a host of its namespace. */
static void upsert(struct compile *compile, unsigned number, int64_t generation, const char *path)
{
    char namespace_name[32], name[32], uid[48], spec[512];
    yyjson_doc *doc;

    snprintf(namespace_name, sizeof(namespace_name), "team-%u", number % NAMESPACES);
    snprintf(name, sizeof(name), "orders-%u", number);
    snprintf(uid, sizeof(uid), "6fb0a8c2-0000-4000-8000-%012u", number);
    snprintf(spec, sizeof(spec),
             "{\"hostnames\":[\"%s.example.com\"],\"rules\":[{\"matches\":[{\"path\":{\"type\":"
             "\"Template\",\"value\":\"/v1/%s/{id}\"},\"method\":\"GET\"}],\"backends\":[{"
             "\"subject\":\"%s.{id}.GET\"}]}]}",
             namespace_name, path, namespace_name);
    doc = yyjson_read(spec, strlen(spec), 0);
    must(doc && compile_upsert(compile, &(struct source_route){
                                            .namespace_name = str_from(namespace_name),
                                            .name = str_from(name),
                                            .uid = str_from(uid),
                                            .generation = generation,
                                            .created_s = number,
                                            .spec = yyjson_doc_get_root(doc),
                                        }) == 0);
    yyjson_doc_free(doc);
}

/* A rule per namespace, but for one. */
static struct policy *make_policy(unsigned without)
{
    char error[POLICY_ERROR_MAX];
    struct policy *policy;
    struct buffer text;

    buffer_init(&text, POLICY_FILE_MAX);
    must(buffer_printf(&text, "rules:\n") == 0);
    for (unsigned i = 0; i < NAMESPACES; i++)
        if (i != without)
            must(buffer_printf(&text,
                               "- {namespaces: [team-%u], hostnames: [team-%u.example.com], "
                               "subjects: [\"team-%u.>\"]}\n",
                               i, i, i) == 0);
    must(policy_read(buffer_view(&text), &policy, error) == 0);
    buffer_done(&text);
    return policy;
}

static double change_us(struct compile *compile, unsigned count, int64_t generation, bool shared)
{
    double began = now_s();

    for (unsigned i = 0; i < CHANGES; i++) {
        unsigned number = (unsigned)((uint64_t)i * 2654435761u % count);
        char path[32];

        snprintf(path, sizeof(path), "%s%u", shared ? "r" : "n",
                 shared ? (number + NAMESPACES) % count : number);
        upsert(compile, number, generation + (int64_t)i, path);
    }
    return (now_s() - began) * 1e6 / CHANGES;
}

static double policy_ms(struct compile *compile, unsigned without)
{
    struct policy *policy = make_policy(without);
    double began = now_s();

    must(compile_set_policy(compile, policy) == 0);
    return (now_s() - began) * 1e3;
}

static size_t heap_bytes(void)
{
    struct mallinfo2 info = mallinfo2();

    return info.uordblks + info.hblkhd;
}

static void measure(unsigned count, bool policed)
{
    static const char *const gateways[] = {"default"};
    const struct compile_handler handler = {on_entry, on_verdict, on_forgotten, on_stored, NULL};
    struct compile *compile = compile_new(gateways, 1, &handler);
    size_t before = heap_bytes();
    double began = now_s(), listed_ms;

    must(compile != NULL);
    if (policed)
        must(compile_set_policy(compile, make_policy(NAMESPACES)) == 0);
    for (unsigned i = 0; i < count; i++) {
        char path[32];

        snprintf(path, sizeof(path), "r%u", i);
        upsert(compile, i, 1, path);
    }
    must(compile_synced(compile) == 0 && compile_count(compile).accepted == count);
    listed_ms = (now_s() - began) * 1e3;
    printf("%7u Routes%s: first list %7.1f ms, %4zu bytes per Route; ", count,
           policed ? ", policy" : "        ", listed_ms, (heap_bytes() - before) / count);
    printf("change %5.1f us, ", change_us(compile, count, 2, false));
    printf("in conflict %5.1f us", change_us(compile, count, 2 + CHANGES, true));
    if (policed) {
        printf("; same policy %6.1f ms", policy_ms(compile, NAMESPACES));
        entries = verdicts = 0;
        printf(", a namespace less %6.1f ms", policy_ms(compile, 7));
        printf(" (%zu entries, %zu verdicts)", entries, verdicts);
    }
    printf("\n");
    compile_free(compile);
    malloc_trim(0);
}

int main(int argc, char **argv)
{
    static const unsigned usual[] = {100, 10000, 100000};

    for (int i = 1; i < argc; i++) {
        unsigned long count = strtoul(argv[i], NULL, 10);

        if (count < 100 || count > 10000000)
            return fprintf(stderr, "not a number of Routes from 100 on: %s\n", argv[i]), 2;
        measure((unsigned)count, false);
        measure((unsigned)count, true);
    }
    for (size_t i = 0; argc == 1 && i < sizeof(usual) / sizeof(usual[0]); i++) {
        measure(usual[i], false);
        measure(usual[i], true);
    }
    return 0;
}
