/*
 * jetstream: the texts of JetStream's API that the table thread needs (NATS ADR-1, ADR-15). Pure.
 */
#ifndef DATAPLANE_TABLE_JETSTREAM_H
#define DATAPLANE_TABLE_JETSTREAM_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/buffer.h"
#include "lib/base/str.h"

/* Where a consumer's message stands, from its reply subject. */
struct jetstream_delivery {
    uint64_t stream_sequence, consumer_sequence;
    uint64_t pending; /* of the consumer, after this one */
};

/* 0; -EINVAL: not the reply subject of a consumer's message. */
int jetstream_read_delivery(struct str reply_subject, struct jetstream_delivery *ret_delivery);

/* A header of a block that the server wrote, so in its own case. */
bool jetstream_header(struct str block, struct str name, struct str *ret_value);
/* Instead of an answer: nobody is there to give one. */
bool jetstream_is_no_responders(struct str block);

/* The request for a consumer of everything under filter, in order, from the start, without acks,
 * with flow control and a heartbeat every heartbeat_ms. */
int jetstream_write_consumer(struct buffer *out, const char *stream, const char *filter,
                             const char *deliver_subject, unsigned heartbeat_ms);

/* The request for the last message of a subject, answered by the stream's leader. */
int jetstream_write_get_last(struct buffer *out, const char *subject);

/* Answers: 0; -ENOENT: no such stream or message; -EREMOTEIO: another error of the server; -EPROTO.
 */
int jetstream_read_created(struct str answer, uint64_t *ret_pending);
/* Appends the message's payload to out. */
int jetstream_read_stored(struct str answer, uint64_t *ret_sequence, struct buffer *out);
int jetstream_read_published(struct str answer);
/* Of STREAM.INFO: the last sequence that the stream has given out. */
int jetstream_read_end(struct str answer, uint64_t *ret_sequence);

#endif
