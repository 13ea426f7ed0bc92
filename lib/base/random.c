/*
 * random: a buffer full of getrandom(2), read from its front.
 *
 * Bytes are wiped as they are handed out: a token that was given away cannot be read back out of
 * the source's memory later.
 */
#include "lib/base/random.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static void random_fill(struct random_source *source)
{
    size_t filled = 0;

    while (filled < sizeof(source->bytes)) {
        ssize_t got = getrandom(source->bytes + filled, sizeof(source->bytes) - filled, 0);

        if (got < 0 && errno != EINTR) {
            perror("getrandom");
            abort();
        }
        filled += got > 0 ? (size_t)got : 0;
    }
    source->left = sizeof(source->bytes);
}

static void random_take(struct random_source *source, void *ret_bytes, size_t size)
{
    assert(size <= sizeof(source->bytes));
    if (source->left < size)
        random_fill(source);
    unsigned char *taken = source->bytes + sizeof(source->bytes) - source->left;

    memcpy(ret_bytes, taken, size);
    explicit_bzero(taken, size);
    source->left -= size;
}

void random_init(struct random_source *source)
{
    source->left = 0;
    source->weak = random_u64(source);
}

uint64_t random_u64(struct random_source *source)
{
    uint64_t number;

    random_take(source, &number, sizeof(number));
    return number;
}

void random_text(struct random_source *source, char *text, size_t size)
{
    static const char alphabet[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    enum { LETTERS = sizeof(alphabet) - 1, FAIR = 256 / LETTERS * LETTERS };

    assert(size > 0);
    for (size_t i = 0; i < size - 1;) {
        unsigned char byte;

        random_take(source, &byte, 1);
        if (byte < FAIR) /* the rest would make some letters likelier than others */
            text[i++] = alphabet[byte % LETTERS];
    }
    text[size - 1] = '\0';
}
