/*
 * capture: what a call writes to a file descriptor, as a string. For tests of a single thread.
 */
#ifndef TESTS_UNIT_BASE_CAPTURE_H
#define TESTS_UNIT_BASE_CAPTURE_H

#include <stdio.h>
#include <unistd.h>

struct capture {
    int fd, saved;
    FILE *file;
    char text[65536];
};

static inline void capture_begin(struct capture *capture, int fd)
{
    fflush(NULL);
    capture->fd = fd;
    capture->saved = dup(fd);
    capture->file = tmpfile();
    dup2(fileno(capture->file), fd);
}

static inline const char *capture_end(struct capture *capture)
{
    size_t length;

    fflush(NULL);
    dup2(capture->saved, capture->fd);
    close(capture->saved);
    rewind(capture->file);
    length = fread(capture->text, 1, sizeof(capture->text) - 1, capture->file);
    capture->text[length] = '\0';
    fclose(capture->file);
    return capture->text;
}

#endif
