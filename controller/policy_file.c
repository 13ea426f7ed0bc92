/*
 * policy_file: looks at the file twice a second, through whatever links lead to it, because that is
 * how a ConfigMap changes: kubelet swaps a link to the folder, and inotify on the file would hear
 * of nothing. A file that is another one than what was judged last is read once two looks in a row
 * have found it alike, so that one that is being written is not taken by half: half a policy may be
 * a valid one that allows less.
 */
#include "controller/policy_file.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/base/metrics.h"

enum { LOOK_MS = 500 };

/* Which file, and which state of it. */
struct identity {
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec changed; /* its content, or who may read it */
};

struct policy_file {
    uv_timer_t timer;
    char *path;
    void (*changed)(void *context, struct policy *policy);
    void *context;
    struct policy *policy; /* read, and not handed over yet */
    struct identity judged, seen;
    uint64_t loads, failures;
    char trouble[POLICY_FILE_REASON_MAX];
};

static struct identity identify(const struct stat *status)
{
    return (struct identity){status->st_dev, status->st_ino, status->st_size, status->st_ctim};
}

static bool same(const struct identity *a, const struct identity *b)
{
    return a->device == b->device && a->inode == b->inode && a->size == b->size &&
           a->changed.tv_sec == b->changed.tv_sec && a->changed.tv_nsec == b->changed.tv_nsec;
}

/* 0 with the policy, or -errno with trouble set. What was read is judged, good or not. */
static int load(struct policy_file *file, struct policy **ret_policy)
{
    char error_text[POLICY_ERROR_MAX];
    struct stat status;
    struct buffer text;
    int error;

    buffer_init(&text, POLICY_FILE_MAX);
    error = file_read(file->path, &text, &status);
    if (error) {
        snprintf(file->trouble, sizeof(file->trouble), "%s: %s", file->path,
                 error == -EFBIG ? "larger than 1 MiB" : strerror(-error));
    } else {
        error = policy_read(buffer_view(&text), ret_policy, error_text);
        file->judged = identify(&status);
        snprintf(file->trouble, sizeof(file->trouble), "%s:%s", file->path,
                 error == -ENOMEM ? " out of memory" : error_text);
    }
    buffer_done(&text);
    if (error) {
        file->failures++;
        return error;
    }
    file->loads++;
    file->trouble[0] = '\0';
    return 0;
}

static void complain(const struct policy_file *file)
{
    log_error("cannot read the policy", LOG_TEXT("reason", file->trouble),
              LOG_TEXT("effect", "the last good one stays"));
}

static void on_look(uv_timer_t *timer)
{
    struct policy_file *file = timer->data;
    struct policy *policy;
    struct identity now;
    struct stat status;

    if (stat(file->path, &status) < 0) {
        bool told = !file->seen.inode && file->trouble[0];

        snprintf(file->trouble, sizeof(file->trouble), "%s: %s", file->path, strerror(errno));
        file->judged = file->seen = (struct identity){0};
        if (!told)
            complain(file);
        return;
    }
    now = identify(&status);
    if (same(&now, &file->judged))
        return;
    if (!same(&now, &file->seen)) {
        file->seen = now;
        return;
    }
    if (load(file, &policy) < 0) {
        file->judged = now;
        complain(file);
        return;
    }
    log_info("another policy is in force", LOG_TEXT("file", file->path));
    file->changed(file->context, policy);
}

int policy_file_new(uv_loop_t *loop, const char *path, struct policy_file **ret_file,
                    char reason[POLICY_FILE_REASON_MAX])
{
    struct policy_file *file = calloc(1, sizeof(*file));
    int error;

    snprintf(reason, POLICY_FILE_REASON_MAX, "out of memory");
    if (!file || !(file->path = strdup(path))) {
        free(file);
        return -ENOMEM;
    }
    error = load(file, &file->policy);
    if (error) {
        snprintf(reason, POLICY_FILE_REASON_MAX, "--policy %.1000s", file->trouble);
        free(file->path);
        free(file);
        return error;
    }
    file->seen = file->judged;
    uv_timer_init(loop, &file->timer);
    file->timer.data = file;
    *ret_file = file;
    return 0;
}

void policy_file_watch(struct policy_file *file,
                       void (*changed)(void *context, struct policy *policy), void *context)
{
    struct policy *policy = file->policy;

    assert(policy);
    file->policy = NULL;
    file->changed = changed;
    file->context = context;
    uv_timer_start(&file->timer, on_look, LOOK_MS, LOOK_MS);
    changed(context, policy);
}

static void on_closed(uv_handle_t *handle)
{
    struct policy_file *file = handle->data;

    policy_free(file->policy);
    free(file->path);
    free(file);
}

void policy_file_free(struct policy_file *file)
{
    if (file)
        uv_close((uv_handle_t *)&file->timer, on_closed);
}

const char *policy_file_trouble(const struct policy_file *file)
{
    return file->trouble[0] ? file->trouble : NULL;
}

int policy_file_metrics(const struct policy_file *file, struct buffer *page)
{
    static const char loads[] = "metropolis_controller_policy_loads_total";
    static const char good[] = "metropolis_controller_policy_good";
    int error =
        metrics_family(page, loads, METRICS_COUNTER, "Times that the policy's file was read.");

    if (!error)
        error = metrics_sample(page, loads, "result=\"good\"", file ? (double)file->loads : 0);
    if (!error)
        error = metrics_sample(page, loads, "result=\"bad\"", file ? (double)file->failures : 0);
    if (!error)
        error = metrics_family(page, good, METRICS_GAUGE,
                               "0: the policy's file cannot be read, and an older policy is in "
                               "force; 1: all is well, or there is no policy.");
    return error ? error : metrics_sample(page, good, "", !file || !file->trouble[0]);
}
