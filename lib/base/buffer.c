/*
 * buffer: one allocation that doubles.
 *
 * Held bytes are moved to the front only when that is cheaper than what was consumed since they
 * were last moved, or when the allocation has reached the limit; so a byte is moved a bounded
 * number of times however appends and consumes alternate. One byte more than the capacity is
 * allocated, for the NUL that vsnprintf insists on writing.
 */
#include "lib/base/buffer.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { CAPACITY_LEAST = 256 };

static void buffer_sane(const struct buffer *buffer)
{
    assert(buffer->start <= buffer->end && buffer->end <= buffer->capacity);
    assert(buffer->end - buffer->start <= buffer->limit);
}

void buffer_init(struct buffer *buffer, size_t limit)
{
    *buffer = (struct buffer){.limit = limit};
}

void buffer_done(struct buffer *buffer)
{
    free(buffer->data);
    *buffer = (struct buffer){.limit = buffer->limit};
}

/* Makes room for size more bytes behind end; length + size <= limit. False: no memory. */
static bool buffer_make_room(struct buffer *buffer, size_t size)
{
    size_t length = buffer_length(buffer), capacity = buffer->capacity;

    if (buffer->data && capacity - length >= size &&
        (buffer->start >= length || capacity >= buffer->limit)) {
        memmove(buffer->data, buffer->data + buffer->start, length);
    } else {
        capacity = capacity > buffer->limit / 2 ? buffer->limit : 2 * capacity;
        if (capacity < CAPACITY_LEAST)
            capacity = CAPACITY_LEAST;
        if (capacity < length + size)
            capacity = length + size;
        char *data = malloc(capacity + 1);

        if (!data)
            return false;
        if (length)
            memcpy(data, buffer->data + buffer->start, length);
        free(buffer->data);
        buffer->data = data;
        buffer->capacity = capacity;
    }
    buffer->start = 0;
    buffer->end = length;
    return true;
}

char *buffer_reserve(struct buffer *buffer, size_t size)
{
    buffer_sane(buffer);
    if (size > buffer->limit - buffer_length(buffer))
        return NULL;
    if ((!buffer->data || size > buffer->capacity - buffer->end) && !buffer_make_room(buffer, size))
        return NULL;
    return buffer->data + buffer->end;
}

void buffer_commit(struct buffer *buffer, size_t size)
{
    assert(size <= buffer->capacity - buffer->end);
    buffer->end += size;
    buffer_sane(buffer);
}

int buffer_append(struct buffer *buffer, const void *bytes, size_t size)
{
    char *room;

    if (size > buffer->limit - buffer_length(buffer))
        return -ENOBUFS;
    if (size == 0)
        return 0;
    room = buffer_reserve(buffer, size);
    if (!room)
        return -ENOMEM;
    memcpy(room, bytes, size);
    buffer_commit(buffer, size);
    return 0;
}

int buffer_append_str(struct buffer *buffer, struct str text)
{
    return buffer_append(buffer, text.ptr, text.len);
}

int buffer_append_byte(struct buffer *buffer, char byte)
{
    return buffer_append(buffer, &byte, 1);
}

int buffer_printf(struct buffer *buffer, const char *format, ...)
{
    va_list args;
    int length;
    char *room;

    va_start(args, format);
    length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    assert(length >= 0);
    if ((size_t)length > buffer->limit - buffer_length(buffer))
        return -ENOBUFS;
    room = buffer_reserve(buffer, (size_t)length);
    if (!room)
        return -ENOMEM;
    va_start(args, format);
    vsnprintf(room, (size_t)length + 1, format, args);
    va_end(args);
    buffer_commit(buffer, (size_t)length);
    return 0;
}

void buffer_consume(struct buffer *buffer, size_t size)
{
    assert(size <= buffer_length(buffer));
    buffer->start += size;
    if (buffer->start == buffer->end)
        buffer->start = buffer->end = 0;
}

void buffer_truncate(struct buffer *buffer, size_t length)
{
    assert(length <= buffer_length(buffer));
    buffer->end = buffer->start + length;
}

void buffer_clear(struct buffer *buffer, size_t keep)
{
    if (buffer->capacity > keep)
        buffer_done(buffer);
    buffer->start = buffer->end = 0;
}
