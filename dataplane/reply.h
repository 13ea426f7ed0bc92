/*
 * reply: what a worker sent, and the response that it becomes. Knows no exchange: a message and a
 * rule go in, a response or the problem with it comes out.
 */
#ifndef DATAPLANE_REPLY_H
#define DATAPLANE_REPLY_H

#include "dataplane/http/problem.h"
#include "dataplane/http/write.h"
#include "dataplane/nats/client.h"
#include "lib/route/route.h"
#include "lib/wire/metropolis_v1.h"

/* Only the message. *ret_reply borrows it, and is good only without a problem. */
enum problem reply_read(const struct nats_reply *message, struct http_reply *ret_reply);

/*
 * The response to a message that was read, as the rule has it. translator: of a rule with the codec
 * of metropolis 0.1, else not used. scratch is overwritten. *ret_response borrows message, reply,
 * translator and scratch.
 */
enum problem reply_render(const struct nats_reply *message, const struct http_reply *reply,
                          const struct route_rule *rule, struct metropolis_v1 *translator,
                          struct str request_id, struct buffer *scratch,
                          struct http_response *ret_response);

#endif
