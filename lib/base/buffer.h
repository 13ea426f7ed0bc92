/*
 * buffer: bytes that grow at the end and are consumed at the start, up to a limit.
 *
 *      data                                                  data + capacity
 *      | consumed |  held: start .. end  |      room         |
 *
 * A failed append leaves the buffer as it was, so a caller can append several parts and cut back to
 * where it began. Not thread-safe.
 */
#ifndef LIB_BASE_BUFFER_H
#define LIB_BASE_BUFFER_H

#include <stddef.h>

#include "lib/base/str.h"

struct buffer {
    char *data;
    size_t start, end, capacity;
    size_t limit; /* most bytes held at once */
};

void buffer_init(struct buffer *buffer, size_t limit);
void buffer_done(struct buffer *buffer);

static inline size_t buffer_length(const struct buffer *buffer)
{
    return buffer->end - buffer->start;
}

/* Borrowed until the next call that takes the buffer without const. */
static inline struct str buffer_view(const struct buffer *buffer)
{
    return str_make(buffer->data ? buffer->data + buffer->start : NULL, buffer_length(buffer));
}

/*
 * Makes room for size more bytes and returns where they go, NULL past the limit (errno-free; use
 * -ENOBUFS) or without memory. The bytes count once buffer_commit says so.
 */
char *buffer_reserve(struct buffer *buffer, size_t size);
void buffer_commit(struct buffer *buffer, size_t size);

/* 0, -ENOBUFS past the limit, -ENOMEM. */
int buffer_append(struct buffer *buffer, const void *bytes, size_t size);
int buffer_append_str(struct buffer *buffer, struct str text);
int buffer_append_byte(struct buffer *buffer, char byte);
int buffer_printf(struct buffer *buffer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Drops size bytes from the front; size <= length. */
void buffer_consume(struct buffer *buffer, size_t size);
/* Cuts back to length bytes, counted from the front; length <= held. */
void buffer_truncate(struct buffer *buffer, size_t length);
/* Empties it; gives memory back when more than keep bytes are allocated. */
void buffer_clear(struct buffer *buffer, size_t keep);

#endif
