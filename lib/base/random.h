/*
 * random: bytes that nobody can predict, from getrandom(2) through a small buffer, so that a token
 * per request costs no system call of its own. One source per thread.
 */
#ifndef LIB_BASE_RANDOM_H
#define LIB_BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

struct random_source {
    unsigned char bytes[4096];
    size_t left; /* unread bytes at the end */
};

void random_init(struct random_source *source);
/* Ends the program when the kernel has no randomness to give: nothing safe could be done. */
uint64_t random_u64(struct random_source *source);
/* Fills text with size - 1 characters of 0-9A-Za-z and a NUL. */
void random_text(struct random_source *source, char *text, size_t size);

#endif
