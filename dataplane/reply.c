/*
 * reply: nearly always the worker's own status, headers and body. Two kinds of workers have another
 * way of saying them: those of metropolis 0.1, and NATS micro services that failed.
 */
#include "dataplane/reply.h"

#include <errno.h>

enum {
    BLOCK_MAX = 1024 * 1024
}; /* bytes, so that a response's head fits HEAD_BYTES_MAX (server) */

static enum problem problem_of(enum http_reply_fault fault)
{
    switch (fault) {
    case HTTP_REPLY_OK:
        return PROBLEM_NONE;
    case HTTP_REPLY_NO_RESPONDERS:
        return PROBLEM_NO_RESPONDERS;
    case HTTP_REPLY_UNSUPPORTED:
        return PROBLEM_UNSUPPORTED_REPLY;
    case HTTP_REPLY_JETSTREAM_ACK:
        return PROBLEM_STREAM_ACK;
    case HTTP_REPLY_BAD_STATUS:
    case HTTP_REPLY_BAD_HEADERS:
        break;
    }
    return PROBLEM_BAD_REPLY;
}

enum problem reply_read(const struct nats_reply *message, struct http_reply *ret_reply)
{
    if (message->has_reply_subject)
        return PROBLEM_UNSUPPORTED_REPLY;
    if (message->block.len > BLOCK_MAX)
        return PROBLEM_BAD_REPLY;
    return problem_of(http_reply_decode(message->block, message->payload, ret_reply));
}

/* Of a worker of metropolis 0.1, which has no headers to speak of. */
static enum problem translate(struct metropolis_v1 *translator, struct http_response *response)
{
    static const struct http_header type = {STR_LIT("Content-Type"), STR_LIT("application/json")};
    int code = metropolis_v1_reply(translator, response->body, &response->status, &response->body);

    response->headers = &type;
    response->header_count = response->body.len > 0;
    response->content_length = (struct str){0};
    return code == 0 ? PROBLEM_NONE : code == -ENOMEM ? PROBLEM_INTERNAL : PROBLEM_BAD_REPLY;
}

/* A micro service's error without a body: its text becomes one. */
static void show_error(struct str text, struct str request_id, struct buffer *scratch,
                       struct http_response *response)
{
    buffer_clear(scratch, PROBLEM_BYTES_MAX);
    if (problem_write_service(response->status, text, request_id, scratch) < 0)
        return;
    response->headers = &problem_type;
    response->header_count = 1;
    response->body = buffer_view(scratch);
}

enum problem reply_render(const struct nats_reply *message, const struct http_reply *reply,
                          const struct route_rule *rule, struct metropolis_v1 *translator,
                          struct str request_id, struct buffer *scratch,
                          struct http_response *ret_response)
{
    *ret_response = (struct http_response){
        .status = reply->status,
        .headers = reply->headers,
        .header_count = reply->header_count,
        .body = message->payload,
        .content_length = reply->content_length,
    };
    if (rule->codec == ROUTE_CODEC_METROPOLIS_V1)
        return translate(translator, ret_response);
    if (reply->service_error && rule->shows_errors && !message->payload.len)
        show_error(reply->service_error_text, request_id, scratch, ret_response);
    return PROBLEM_NONE;
}
