/*
 * The NATS parser on any bytes, in any split. The first byte seeds the sizes of the pieces in which
 * the rest arrives; operations must be the same as when it arrives at once.
 */
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/nats/proto.h"

enum { MESSAGE_MAX = 4096 };

struct result {
    uint64_t digest;
    size_t operations;
    ssize_t last; /* 0: wants more; -EPROTO */
    size_t used;
};

static void mix(struct result *result, struct str text)
{
    for (size_t i = 0; i < text.len; i++)
        result->digest = (result->digest ^ (unsigned char)text.ptr[i]) * 0x100000001b3;
    result->digest = (result->digest ^ text.len ^ 0x100) * 0x100000001b3;
}

static void within(struct str part, struct str whole)
{
    assert(part.len == 0 ||
           (part.ptr >= whole.ptr && part.ptr + part.len <= whole.ptr + whole.len));
}

/* As the client does: operations until one is incomplete. */
static void read_all(struct str input, struct result *result)
{
    while (result->used < input.len) {
        struct str rest = str_after(input, result->used);
        struct proto_operation operation;
        size_t need = 0;

        result->last = proto_parse(rest, MESSAGE_MAX, &operation, &need);
        if (result->last == 0)
            assert(need > rest.len);
        if (result->last <= 0)
            return;
        assert((size_t)result->last <= rest.len);
        within(operation.subject, rest);
        within(operation.reply_subject, rest);
        within(operation.block, rest);
        within(operation.payload, rest);
        within(operation.text, rest);
        assert(operation.block.len + operation.payload.len <= MESSAGE_MAX);
        result->used += (size_t)result->last;
        result->operations++;
        result->digest = (result->digest ^ operation.kind) * 31 + operation.sid;
        mix(result, operation.subject);
        mix(result, operation.reply_subject);
        mix(result, operation.block);
        mix(result, operation.payload);
        mix(result, operation.text);
    }
    result->last = 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct result whole = {0}, pieces = {0};
    size_t len = size ? size - 1 : 0;
    uint32_t seed = size ? data[0] : 0;
    char *copy;

    read_all(str_make((const char *)data + !!size, len), &whole);
    for (size_t have = 0; have < len && pieces.last == 0;) {
        seed = seed * 1103515245 + 12345;
        have += 1 + (seed >> 16) % 40;
        have = have < len ? have : len;
        copy = malloc(have);
        memcpy(copy, data + 1, have);
        read_all(str_make(copy, have), &pieces);
        free(copy);
    }
    assert(pieces.last == (whole.last < 0 ? -EPROTO : 0));
    assert(pieces.digest == whole.digest && pieces.operations == whole.operations &&
           pieces.used == whole.used);
    return 0;
}
