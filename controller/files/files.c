/*
 * files: keeps what each file says, and from that what the folder says (resolve): of two documents
 * with the same namespace and name, the one in the first file in order of names counts. What the
 * folder says is compared with what the handler was told, so only differences are passed on.
 *
 * inotify on the folder alone. A file counts when it was closed after writing or moved into place,
 * so a half-written one is not read. One that goes counts as gone a moment later, because editors
 * move the old file away before they write the new one. A rename of something hidden means that
 * everything behind symbolic links may be another file now (Kubernetes swaps "..data" when a
 * ConfigMap changes): then all files are read again, as after a lost event.
 *
 * What inotify watches is an inode, not a path. So the path is looked at every second: a folder
 * that is another one now (a symbolic link was changed, it was moved and made anew) is watched
 * instead, and one that is gone takes no Route with it, whatever happens where it went.
 *
 * A file that cannot be read keeps its last good Routes. One that never could be read is unknown,
 * and so is the whole until it can: synced is told only when every file was read once, else a typo
 * before a restart would delete Routes.
 *
 * The uid is a hash of namespace and name; the generation counts what changed since the start.
 */
#include "controller/files/files.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "controller/files/route_file.h"
#include "lib/base/buffer.h"
#include "lib/base/digest.h"
#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/base/map.h"
#include "lib/base/metrics.h"

enum { FILES_MAX = 10000, LOOK_MS = 1000, SETTLE_MS = 250 };

static const uint32_t watched = IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE |
                                IN_DELETE | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;

struct file {
    struct map_node node; /* key: name */
    char *name;
    bool good;  /* was read once; routes holds what it said then */
    bool there; /* seen by the scan that is going on */
    struct route_file routes;
    char said[ROUTE_FILE_ERROR_MAX]; /* the last error in the log */
};

/* A Route as the handler was told. */
struct told {
    struct map_node node; /* key: label */
    char *label;
    struct str namespace_name, name;
    char *text; /* of the spec */
    char uid[32];
    int64_t generation;
    unsigned round; /* of the resolve that saw it last */
};

struct files {
    uv_poll_t poll;
    uv_timer_t look;   /* is the folder still the one that is watched? */
    uv_timer_t settle; /* reads all files some time after one went */
    int handles;       /* that the loop still holds */
    int inotify;
    int watched; /* inotify's number of the folder; -1: none */
    dev_t device;
    ino_t inode;
    bool lost;
    char *folder;
    struct source_handler handler;
    struct map files, told;
    unsigned round;
    bool synced;
    unsigned bad; /* files that cannot be read now */
    char trouble[FILES_REASON_MAX], warning[FILES_REASON_MAX];
};

/* ---- one file ---- */

static bool is_route_file(const char *name)
{
    const char *dot = strrchr(name, '.');

    return name[0] != '.' && dot && (strcmp(dot, ".yaml") == 0 || strcmp(dot, ".yml") == 0);
}

static struct file *find_file(struct files *files, const char *name)
{
    struct map_node *node = map_find(&files->files, str_from(name));

    return node ? MAP_ELEMENT(node, struct file, node) : NULL;
}

static struct file *find_or_add_file(struct files *files, const char *name)
{
    struct file *file = find_file(files, name);

    if (file)
        return file;
    file = files->files.count < FILES_MAX ? calloc(1, sizeof(*file)) : NULL;
    if (file && (file->name = strdup(name)) &&
        map_insert(&files->files, &file->node, str_from(file->name)) == 0)
        return file;
    if (file)
        free(file->name);
    free(file);
    log_error("too many files, or no memory", LOG_TEXT("file", name));
    return NULL;
}

static void drop_file(struct files *files, struct file *file)
{
    map_remove(&files->files, &file->node);
    route_file_done(&file->routes);
    free(file->name);
    free(file);
}

static int load(const struct files *files, const char *name, struct buffer *text)
{
    char path[4096];

    if (snprintf(path, sizeof(path), "%s/%s", files->folder, name) >= (int)sizeof(path))
        return -ENAMETOOLONG;
    return file_read(path, text, NULL);
}

/* Once per error. */
static void complain(struct files *files, struct file *file, const char *error)
{
    char place[1024];

    if (strcmp(file->said, error) == 0)
        return;
    snprintf(file->said, sizeof(file->said), "%s", error);
    snprintf(place, sizeof(place), "%.250s/%.250s:%s", files->folder, file->name, error);
    log_error("cannot read Routes", LOG_TEXT("file", place),
              LOG_TEXT("effect", file->good      ? "its last good Routes stay"
                                 : files->synced ? "none of its Routes is published"
                                                 : "nothing is published"));
}

/* Reads what a file says now; what it said before stays when it cannot be read. */
static void read_file(struct files *files, const char *name)
{
    char error_text[ROUTE_FILE_ERROR_MAX];
    struct file *file = find_file(files, name);
    struct route_file routes;
    struct buffer text;
    int error;

    buffer_init(&text, ROUTE_FILE_MAX);
    error = load(files, name, &text);
    if (error == -ENOENT || error == -EISDIR)
        goto out; /* scan drops it */
    file = find_or_add_file(files, name);
    if (!file)
        goto out;
    file->there = true;
    snprintf(error_text, sizeof(error_text), " %s", strerror(-error));
    if (!error)
        error = route_file_read(buffer_view(&text), &routes, error_text);
    if (error) {
        complain(files, file, error_text);
        goto out;
    }
    route_file_done(&file->routes);
    file->routes = routes;
    file->good = true;
    file->said[0] = '\0';
    if (routes.passed_over)
        log_warn("documents of other kinds are passed over", LOG_TEXT("file", name),
                 LOG_U64("documents", routes.passed_over), LOG_TEXT("first", routes.other_kind));
out:
    buffer_done(&text);
}

/* ---- the folder ---- */

static struct told *find_or_add_told(struct files *files, const struct route_file_item *item)
{
    struct map_node *node = map_find(&files->told, str_from(item->label));
    struct told *told = node ? MAP_ELEMENT(node, struct told, node) : NULL;

    if (told)
        return told;
    told = calloc(1, sizeof(*told));
    if (!told || !(told->label = strdup(item->label)) ||
        map_insert(&files->told, &told->node, str_from(told->label)) < 0) {
        if (told)
            free(told->label);
        free(told);
        return NULL;
    }
    told->namespace_name = str_make(told->label, item->namespace_name.len);
    told->name = str_after(str_from(told->label), item->namespace_name.len + 1);
    snprintf(told->uid, sizeof(told->uid), "file-%016llx",
             (unsigned long long)digest_bytes(digest_empty, told->label, strlen(told->label)));
    return told;
}

static void free_told(struct files *files, struct told *told)
{
    map_remove(&files->told, &told->node);
    free(told->label);
    free(told->text);
    free(told);
}

static void tell(struct files *files, const struct file *file, const struct route_file_item *item)
{
    struct told *told = find_or_add_told(files, item);
    struct source_route route;
    char *text;

    if (told && told->round == files->round) {
        log_warn("a Route is there twice; the first counts", LOG_TEXT("route", item->label),
                 LOG_TEXT("ignored", file->name));
        return;
    }
    if (told)
        told->round = files->round;
    if (told && told->text && strcmp(told->text, item->text) == 0)
        return;
    text = strdup(item->text);
    if (!told || !text) {
        free(text);
        log_error("out of memory", LOG_TEXT("route", item->label));
        return;
    }
    free(told->text);
    told->text = text;
    route = (struct source_route){
        .namespace_name = told->namespace_name,
        .name = told->name,
        .uid = str_from(told->uid),
        .generation = ++told->generation,
        .spec = item->spec,
    };
    files->handler.upsert(files->handler.context, &route);
}

static int compare_files(const void *a, const void *b)
{
    return strcmp((*(struct file *const *)a)->name, (*(struct file *const *)b)->name);
}

/* In order of names; the first of each kind is named. */
static void judge(struct files *files, struct file *const *order, size_t count)
{
    const struct file *unknown = NULL, *bad = NULL;

    files->bad = 0;
    for (size_t i = 0; i < count; i++) {
        if (!order[i]->good && !unknown)
            unknown = order[i];
        if (order[i]->said[0] && !files->bad++)
            bad = order[i];
    }
    files->trouble[0] = files->warning[0] = '\0';
    if (unknown && !files->synced)
        snprintf(files->trouble, sizeof(files->trouble), "%.80s:%.150s", unknown->name,
                 unknown->said);
    else if (bad)
        snprintf(files->warning, sizeof(files->warning), "%.80s:%.130s%s", bad->name, bad->said,
                 files->bad > 1 ? "; and more" : "");
    if (!unknown && !files->synced) {
        files->synced = true;
        files->handler.synced(files->handler.context);
    }
}

/* Tells the handler what differs from what it was told. */
static void resolve(struct files *files)
{
    struct file **order = calloc(files->files.count + 1, sizeof(*order));
    struct map_node *node, *next;
    size_t count = 0;

    if (!order) {
        log_error("out of memory");
        return;
    }
    for (node = map_next(&files->files, NULL); node; node = map_next(&files->files, node))
        order[count++] = MAP_ELEMENT(node, struct file, node);
    qsort(order, count, sizeof(*order), compare_files);
    files->round++;
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < order[i]->routes.count; j++)
            tell(files, order[i], &order[i]->routes.items[j]);
    for (node = map_next(&files->told, NULL); node; node = next) {
        struct told *told = MAP_ELEMENT(node, struct told, node);

        next = map_next(&files->told, node);
        if (told->round == files->round)
            continue;
        files->handler.removed(files->handler.context, told->namespace_name, told->name);
        free_told(files, told);
    }
    judge(files, order, count);
    free(order);
}

/* Reads every file. -errno: the folder cannot be read, and nothing was changed. */
static int scan(struct files *files)
{
    DIR *folder = opendir(files->folder);
    struct map_node *node, *next;
    const struct dirent *found;

    if (!folder)
        return -errno;
    for (node = map_next(&files->files, NULL); node; node = map_next(&files->files, node))
        MAP_ELEMENT(node, struct file, node)->there = false;
    while ((found = readdir(folder)))
        if (is_route_file(found->d_name))
            read_file(files, found->d_name);
    closedir(folder);
    for (node = map_next(&files->files, NULL); node; node = next) {
        struct file *file = MAP_ELEMENT(node, struct file, node);

        next = map_next(&files->files, node);
        if (!file->there)
            drop_file(files, file);
    }
    resolve(files);
    return 0;
}

/* ---- inotify ---- */

/* Watches the folder and reads it, in this order so that no change falls between. */
static int watch(struct files *files)
{
    struct stat status;

    if (stat(files->folder, &status) < 0)
        return -errno;
    files->watched = inotify_add_watch(files->inotify, files->folder, watched);
    if (files->watched < 0)
        return -errno;
    files->device = status.st_dev;
    files->inode = status.st_ino;
    return scan(files);
}

static void lose_folder(struct files *files)
{
    if (files->lost)
        return;
    files->lost = true;
    snprintf(files->trouble, sizeof(files->trouble), "the folder is gone; its last Routes stay");
    log_error("the folder of Routes is gone; its last Routes stay",
              LOG_TEXT("folder", files->folder));
}

static void look_at_folder(struct files *files)
{
    struct stat status;

    if (!files->lost && files->watched >= 0 && stat(files->folder, &status) == 0 &&
        status.st_dev == files->device && status.st_ino == files->inode)
        return;
    if (files->watched >= 0)
        inotify_rm_watch(files->inotify, files->watched);
    files->watched = -1;
    if (watch(files) < 0) {
        lose_folder(files);
        return;
    }
    files->lost = false;
    log_info("the folder of Routes is another one now", LOG_TEXT("folder", files->folder));
}

static void on_look(uv_timer_t *timer)
{
    look_at_folder(timer->data);
}

static void on_settled(uv_timer_t *timer)
{
    struct files *files = timer->data;

    if (files->watched >= 0 && scan(files) < 0)
        lose_folder(files);
}

enum finding { FINDING_NONE, FINDING_FILE, FINDING_ALL };

static enum finding judge_event(struct files *files, const struct inotify_event *event)
{
    const struct file *file;
    struct stat status;
    char path[4096];

    if (event->mask & IN_Q_OVERFLOW)
        return FINDING_ALL;
    if (event->wd != files->watched)
        return FINDING_NONE; /* of a folder that was the one */
    if (event->mask & (IN_DELETE_SELF | IN_MOVE_SELF)) {
        inotify_rm_watch(files->inotify, files->watched);
        files->watched = -1;
        return FINDING_NONE;
    }
    if (!event->len)
        return FINDING_NONE;
    if (event->name[0] == '.')
        return event->mask & IN_MOVED_TO ? FINDING_ALL : FINDING_NONE;
    if (!is_route_file(event->name))
        return FINDING_NONE;
    if (event->mask & (IN_MOVED_FROM | IN_DELETE)) {
        uv_timer_start(&files->settle, on_settled, SETTLE_MS, 0);
        return FINDING_NONE;
    }
    /* Another mode may let us read what we could not; of others it says nothing. */
    if (event->mask & IN_ATTRIB) {
        file = find_file(files, event->name);
        return file && file->said[0] ? FINDING_FILE : FINDING_NONE;
    }
    /* A new file is read when its writer closes it; nobody writes a new link. */
    if (event->mask & IN_CREATE) {
        snprintf(path, sizeof(path), "%s/%s", files->folder, event->name);
        if (lstat(path, &status) < 0 || (S_ISREG(status.st_mode) && status.st_nlink == 1))
            return FINDING_NONE;
    }
    return FINDING_FILE;
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct files *files = poll->data;
    char bytes[16 * 1024] __attribute__((aligned(__alignof__(struct inotify_event))));
    enum finding most = FINDING_NONE;
    ssize_t got;

    (void)status, (void)events;
    while ((got = read(files->inotify, bytes, sizeof(bytes))) > 0)
        for (const char *at = bytes; at < bytes + got;) {
            const struct inotify_event *event = (const struct inotify_event *)at;
            enum finding finding = judge_event(files, event);

            if (finding == FINDING_FILE)
                read_file(files, event->name);
            most = finding > most ? finding : most;
            at += sizeof(*event) + event->len;
        }
    if (files->watched < 0)
        look_at_folder(files);
    else if (most == FINDING_ALL && scan(files) < 0)
        lose_folder(files);
    else if (most == FINDING_FILE)
        resolve(files);
}

/* ---- life ---- */

static void free_all(struct files *files)
{
    struct map_node *node, *next;

    for (node = map_next(&files->files, NULL); node; node = next) {
        next = map_next(&files->files, node);
        drop_file(files, MAP_ELEMENT(node, struct file, node));
    }
    for (node = map_next(&files->told, NULL); node; node = next) {
        next = map_next(&files->told, node);
        free_told(files, MAP_ELEMENT(node, struct told, node));
    }
    map_done(&files->files);
    map_done(&files->told);
    if (files->inotify >= 0)
        close(files->inotify);
    free(files->folder);
    free(files);
}

static void on_closed(uv_handle_t *handle)
{
    struct files *files = handle->data;

    if (--files->handles == 0)
        free_all(files);
}

int files_new(uv_loop_t *loop, const char *folder, const struct source_handler *handler,
              struct files **ret_files, char reason[FILES_REASON_MAX])
{
    struct files *files = calloc(1, sizeof(*files));
    int error;

    snprintf(reason, FILES_REASON_MAX, "out of memory");
    if (!files)
        return -ENOMEM;
    files->handler = *handler;
    map_init(&files->files);
    map_init(&files->told);
    files->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    files->folder = strdup(folder);
    error = files->inotify < 0 ? -errno : files->folder ? 0 : -ENOMEM;
    if (!error)
        error = uv_poll_init(loop, &files->poll, files->inotify);
    if (error) {
        free_all(files);
        return error;
    }
    files->poll.data = files->look.data = files->settle.data = files;
    uv_timer_init(loop, &files->look);
    uv_timer_init(loop, &files->settle);
    files->handles = 3;
    error = uv_poll_start(&files->poll, UV_READABLE, on_readable);
    if (!error)
        error = watch(files);
    if (!error)
        error = uv_timer_start(&files->look, on_look, LOOK_MS, LOOK_MS);
    if (error) {
        snprintf(reason, FILES_REASON_MAX, "--routes %s: %s", folder, strerror(-error));
        files_free(files);
        return error;
    }
    *ret_files = files;
    return 0;
}

void files_free(struct files *files)
{
    if (!files)
        return;
    uv_close((uv_handle_t *)&files->poll, on_closed);
    uv_close((uv_handle_t *)&files->look, on_closed);
    uv_close((uv_handle_t *)&files->settle, on_closed);
}

const char *files_trouble(const struct files *files)
{
    return files->trouble[0] ? files->trouble : NULL;
}

const char *files_warning(const struct files *files)
{
    return files->warning[0] ? files->warning : NULL;
}

int files_metrics(const struct files *files, struct buffer *page)
{
    static const char name[] = "metropolis_controller_route_files";
    size_t bad = files ? files->bad : 0, all = files ? files->files.count : 0;
    int error = metrics_family(page, name, METRICS_GAUGE,
                               "Files of the folder of Routes; bad: cannot be read now, and the "
                               "last good Routes stay.");

    if (!error)
        error = metrics_sample(page, name, "state=\"good\"", (double)(all - bad));
    return error ? error : metrics_sample(page, name, "state=\"bad\"", (double)bad);
}

/* ---- statuses ---- */

static struct str status_name(enum condition_status status)
{
    return status == CONDITION_TRUE    ? STR_LIT("True")
           : status == CONDITION_FALSE ? STR_LIT("False")
                                       : STR_LIT("Unknown");
}

static void write_status(void *context, struct str namespace_name, struct str name, struct str uid,
                         const struct route_status *status)
{
    char label[512];

    (void)context, (void)uid;
    snprintf(label, sizeof(label), STR_FMT "/" STR_FMT, STR_ARG(namespace_name), STR_ARG(name));
    log_info("route", LOG_TEXT("route", label), LOG_I64("generation", status->generation),
             LOG_STR("accepted", status_name(status->accepted.status)),
             LOG_TEXT("accepted_reason", status->accepted.reason),
             LOG_TEXT("accepted_message", status->accepted.message),
             LOG_STR("programmed", status_name(status->programmed.status)),
             LOG_TEXT("programmed_reason", status->programmed.reason),
             LOG_TEXT("programmed_message", status->programmed.message));
}

struct status_sink files_sink(void)
{
    return (struct status_sink){.write = write_status};
}
