/*
 * Properties: whatever the server answers is read or refused, a stored message is never longer than
 * what it was encoded as, a delivery that is read keeps its numbers when its subject is written
 * anew in the short form, and a header's value lies within its block.
 *
 * Input: a reply subject, and the same bytes as an answer and as a header block.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "dataplane/table/jetstream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds)
        abort();
}

static void check_delivery(struct str subject)
{
    struct jetstream_delivery delivery, again;
    char text[160];

    if (jetstream_read_delivery(subject, &delivery))
        return;
    snprintf(text, sizeof(text), "$JS.ACK.s.c.1.%llu.%llu.0.%llu",
             (unsigned long long)delivery.stream_sequence,
             (unsigned long long)delivery.consumer_sequence, (unsigned long long)delivery.pending);
    require(jetstream_read_delivery(str_from(text), &again) == 0);
    require(again.stream_sequence == delivery.stream_sequence &&
            again.consumer_sequence == delivery.consumer_sequence &&
            again.pending == delivery.pending);
}

static void check_header(struct str block)
{
    struct str value;

    (void)jetstream_is_no_responders(block);
    if (!jetstream_header(block, STR_LIT("KV-Operation"), &value))
        return;
    require(value.ptr >= block.ptr + sizeof("KV-Operation") - 1);
    require(value.ptr + value.len + 2 <= block.ptr + block.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = str_make((const char *)data, size);
    struct buffer stored;
    uint64_t number;

    check_delivery(text);
    check_header(text);
    if (size == 0)
        return 0;
    (void)jetstream_read_created(text, &number);
    (void)jetstream_read_published(text);
    (void)jetstream_read_end(text, &number);
    buffer_init(&stored, size);
    if (jetstream_read_stored(text, &number, &stored) == 0)
        require(buffer_length(&stored) <= size / 4 * 3);
    buffer_done(&stored);
    return 0;
}
