/*
 * arena: chunks in a list, handed out from front to back, freed together.
 *
 * Chunks begin small, because there is an arena per Route and there may be 100,000 Routes, and
 * double up to a bound, because a request that takes much should not call malloc often. A request
 * for more than the next chunk would hold gets a chunk of its own size. What is left at the end of
 * a chunk is given up when the next one begins: at most half of what was taken.
 *
 * The oldest chunk is the one that arena_reset keeps: its size is the same for every arena, so an
 * arena that is used again and again holds no more than that between its uses.
 */
#include "lib/base/arena.h"

#include <assert.h>
#include <stdalign.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { CHUNK_FIRST = 1024, CHUNK_LARGEST = 64 * 1024 }; /* bytes, header included */

struct arena_chunk {
    struct arena_chunk *older;
    size_t size, used; /* of bytes */
    alignas(max_align_t) char bytes[];
};

void arena_init(struct arena *arena, size_t limit)
{
    *arena = (struct arena){.limit = limit};
}

void arena_done(struct arena *arena)
{
    while (arena->newest) {
        struct arena_chunk *chunk = arena->newest;

        arena->newest = chunk->older;
        free(chunk);
    }
    arena->used = 0;
}

void arena_reset(struct arena *arena)
{
    while (arena->newest && arena->newest->older) {
        struct arena_chunk *chunk = arena->newest;

        arena->newest = chunk->older;
        free(chunk);
    }
    if (arena->newest)
        arena->newest->used = 0;
    arena->used = 0;
}

static struct arena_chunk *arena_grow(struct arena *arena, size_t size)
{
    size_t total = CHUNK_FIRST;
    struct arena_chunk *chunk;

    if (arena->newest) {
        total = 2 * (sizeof(*chunk) + arena->newest->size);
        total = total < CHUNK_LARGEST ? total : CHUNK_LARGEST;
    }
    if (total - sizeof(*chunk) < size && __builtin_add_overflow(sizeof(*chunk), size, &total))
        return NULL;
    chunk = malloc(total);
    if (!chunk)
        return NULL;
    chunk->older = arena->newest;
    chunk->size = total - sizeof(*chunk);
    chunk->used = 0;
    arena->newest = chunk;
    return chunk;
}

/* Not zeroed. align: a power of two, at most that of max_align_t. */
static void *arena_take_aligned(struct arena *arena, size_t size, size_t align)
{
    struct arena_chunk *chunk = arena->newest;
    size_t padding = chunk ? -chunk->used & (align - 1) : 0;

    assert(arena->used <= arena->limit);
    size = size ? size : 1; /* two things never share an address */
    if (size > arena->limit - arena->used || padding > arena->limit - arena->used - size)
        return NULL;
    if (!chunk || chunk->size - chunk->used < padding ||
        chunk->size - chunk->used - padding < size) {
        chunk = arena_grow(arena, size);
        if (!chunk)
            return NULL;
        padding = 0;
    }
    char *taken = chunk->bytes + chunk->used + padding;

    chunk->used += padding + size;
    arena->used += padding + size;
    return taken;
}

void *arena_take(struct arena *arena, size_t size)
{
    void *taken = arena_take_aligned(arena, size, alignof(max_align_t));

    return taken ? memset(taken, 0, size) : NULL;
}

void *arena_take_array(struct arena *arena, size_t count, size_t size)
{
    size_t total;

    return __builtin_mul_overflow(count, size, &total) ? NULL : arena_take(arena, total);
}

struct str arena_copy(struct arena *arena, struct str text)
{
    char *copy = text.len < SIZE_MAX ? arena_take_aligned(arena, text.len + 1, 1) : NULL;

    if (!copy)
        return str_make(NULL, 0);
    if (text.len)
        memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    return str_make(copy, text.len);
}

struct str arena_printf(struct arena *arena, const char *format, ...)
{
    va_list args;
    int length;
    char *text;

    va_start(args, format);
    length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    assert(length >= 0);
    text = arena_take_aligned(arena, (size_t)length + 1, 1);
    if (!text)
        return str_make(NULL, 0);
    va_start(args, format);
    vsnprintf(text, (size_t)length + 1, format, args);
    va_end(args);
    return str_make(text, (size_t)length);
}
