/*
 * file: the bytes of a file, whole and within a limit.
 */
#ifndef LIB_BASE_FILE_H
#define LIB_BASE_FILE_H

#include <sys/stat.h>

#include "lib/base/buffer.h"

/*
 * Appends what is in a regular file. 0; -errno; -EISDIR: it is something else; -EFBIG: more than
 * text may hold, -ENOMEM. What was appended up to then stays. ret_status: of the very file that was
 * read, from before; NULL is fine.
 */
int file_read(const char *path, struct buffer *text, struct stat *ret_status);
/* The same from a descriptor, of whatever kind, to its end. */
int file_read_fd(int fd, struct buffer *text);

#endif
