/*
 * files: the Routes of a folder's YAML files as a source of Routes (controller/source.h), kept up
 * to date with inotify. For a laptop and for tests of the pipeline. On the loop's thread.
 *
 * Files: *.yaml and *.yml, not hidden, not in subfolders; any number of documents each. Other kinds
 * are passed over with a warning. A file that cannot be read as a whole keeps its last good Routes.
 */
#ifndef CONTROLLER_FILES_FILES_H
#define CONTROLLER_FILES_FILES_H

#include <stdint.h>
#include <uv.h>

#include "controller/source.h"
#include "lib/base/buffer.h"

struct files;

enum { FILES_REASON_MAX = 256 };

/* Reads the folder and tells the handler before it returns; synced, too, if every file could be
 * read. The folder must be there. 0; -errno with a reason. */
int files_new(uv_loop_t *loop, const char *folder, const struct source_handler *handler,
              struct files **ret_files, char reason[FILES_REASON_MAX]);
/* No callback any more. The memory goes once the loop has let go of its handles. NULL is fine. */
void files_free(struct files *files);

/* What is wrong now, for readiness; NULL: nothing. Borrowed until the loop turns. */
const char *files_trouble(const struct files *files);
/* Which file cannot be read now, and why, though the Routes of all the others, and the last good
 * ones of this, are published; NULL: none. Borrowed likewise. */
const char *files_warning(const struct files *files);
/* files NULL: there is none. 0, -ENOMEM, -ENOBUFS. */
int files_metrics(const struct files *files, struct buffer *page);
/* Writes the status of Routes to the log, where they have no other place. */
struct status_sink files_sink(void);

#endif
