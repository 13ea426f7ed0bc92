/*
 * policy_file: the policy (compile/policy.h) that a file holds, and holds from now on. On the
 * loop's thread.
 */
#ifndef CONTROLLER_POLICY_FILE_H
#define CONTROLLER_POLICY_FILE_H

#include <uv.h>

#include "controller/compile/policy.h"

struct policy_file;

enum { POLICY_FILE_REASON_MAX = 1024 };

/* 0; -EINVAL, -errno with a reason ("FILE:12: rules[0]: ..."), -ENOMEM. */
int policy_file_new(uv_loop_t *loop, const char *path, struct policy_file **ret_file,
                    char reason[POLICY_FILE_REASON_MAX]);
/* Once: hands the policy over, and each later one within seconds of its being in the file. A file
 * that cannot be read keeps the last good policy. changed takes ownership. */
void policy_file_watch(struct policy_file *file,
                       void (*changed)(void *context, struct policy *policy), void *context);
/* No callback any more. The memory goes once the loop has let go of its handle. NULL is fine. */
void policy_file_free(struct policy_file *file);

/* What is wrong with the file now; NULL: nothing. Borrowed until the loop turns. */
const char *policy_file_trouble(const struct policy_file *file);
/* file NULL: there is none. 0, -ENOMEM, -ENOBUFS. */
int policy_file_metrics(const struct policy_file *file, struct buffer *page);

#endif
