/*
 * file: opens without waiting (a FIFO would), and looks at what it has opened, not at the path.
 */
#include "lib/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum { PIECE = 64 * 1024 };

int file_read_fd(int fd, struct buffer *text)
{
    for (;;) {
        size_t left = text->limit - buffer_length(text);
        size_t wanted = left < PIECE ? left : PIECE;
        char *room = buffer_reserve(text, wanted);
        char beyond;
        ssize_t got;

        if (!room)
            return -ENOMEM;
        got = read(fd, wanted ? room : &beyond, wanted ? wanted : 1);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got < 0 ? -errno : 0;
        if (!wanted)
            return -EFBIG;
        buffer_commit(text, (size_t)got);
    }
}

int file_read(const char *path, struct buffer *text, struct stat *ret_status)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat status;
    int error = 0;

    if (fd < 0)
        return -errno;
    if (fstat(fd, &status) < 0)
        error = -errno;
    else if (!S_ISREG(status.st_mode))
        error = -EISDIR;
    if (!error && ret_status)
        *ret_status = status;
    if (!error)
        error = file_read_fd(fd, text);
    close(fd);
    return error;
}
