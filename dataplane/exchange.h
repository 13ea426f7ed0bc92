/*
 * exchange: a request on its way from a client to a worker and back, as the callbacks of the server
 * and of the connection to NATS. What they work on is in exchanges.h.
 */
#ifndef DATAPLANE_EXCHANGE_H
#define DATAPLANE_EXCHANGE_H

#include "dataplane/exchanges.h"

/* The handler that an http_server needs; its context is set to the exchanges by the caller. */
extern const struct http_handler exchange_handler;

/* For nats_lanes: owner is an exchange. */
void exchange_on_reply(void *owner, const struct nats_reply *reply);
void exchange_on_failure(void *owner, enum nats_failure failure);
/* A publish that belongs to no exchange, or no longer. Whether it is a cancel. */
bool exchange_on_denied(struct exchanges *all, struct str subject);

#endif
