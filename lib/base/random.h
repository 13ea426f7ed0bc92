/*
 * random: bytes that nobody can predict, from getrandom(2) through a small buffer, so that a token
 * per request costs no system call of its own. One source per thread. They are dear all the same:
 * 0.1 us for 32 bytes. What need only differ has random_weak.
 */
#ifndef LIB_BASE_RANDOM_H
#define LIB_BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

struct random_source {
    unsigned char bytes[4096];
    size_t left;   /* unread bytes at the end */
    uint64_t weak; /* for random_weak */
};

/* splitmix64 (Vigna). No number comes twice, but whoever knows one can tell all that follow. */
static inline uint64_t random_weak(uint64_t *state)
{
    uint64_t z = *state += 0x9E3779B97F4A7C15;

    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
    z = (z ^ z >> 27) * 0x94D049BB133111EB;
    return z ^ z >> 31;
}

void random_init(struct random_source *source);
/* Ends the program when the kernel has no randomness to give: nothing safe could be done. */
uint64_t random_u64(struct random_source *source);
/* Fills text with size - 1 characters of 0-9A-Za-z and a NUL. */
void random_text(struct random_source *source, char *text, size_t size);

#endif
