/*
 * arena: memory that is taken piece by piece and given back at once. One per request, one per
 * Route: nothing in it is freed alone. Not thread-safe; whoever owns the arena owns what is in it.
 */
#ifndef LIB_BASE_ARENA_H
#define LIB_BASE_ARENA_H

#include <stddef.h>

#include "lib/base/str.h"

struct arena_chunk;

struct arena {
    struct arena_chunk *newest; /* chunks, newest first */
    size_t used;                /* bytes handed out, padding included */
    size_t limit;               /* most bytes that it hands out; past it, NULL */
};

/* Takes no memory yet. limit: bytes. */
void arena_init(struct arena *arena, size_t limit);
/* Frees everything; the arena may be initialised again. */
void arena_done(struct arena *arena);
/* Forgets everything but keeps the first chunk, for an arena that is used again and again. */
void arena_reset(struct arena *arena);

/* Zeroed, aligned for any type. NULL: out of memory or past the limit. */
void *arena_take(struct arena *arena, size_t size);
/* count * size, checked for overflow. */
void *arena_take_array(struct arena *arena, size_t count, size_t size);
/* A copy that ends in NUL (not counted in len). ptr is NULL on failure, also for an empty string.
 */
struct str arena_copy(struct arena *arena, struct str text);
struct str arena_printf(struct arena *arena, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
