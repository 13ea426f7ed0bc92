/*
 * answer: the end of an exchange: the response is counted, logged and given to the connection. The
 * exchange is over when one of these returns, and so may be the next one of its connection. On the
 * thread of its loop.
 */
#ifndef DATAPLANE_ANSWER_H
#define DATAPLANE_ANSWER_H

#include "dataplane/exchanges.h"

/* response is borrowed for the call, and gets the request's id. reason: what failed, a static
 * string for the access log; NULL: nothing. */
void answer_response(struct exchange *exchange, struct http_response *response, const char *reason);
/* The gateway's own answer. detail: a static sentence instead of the usual one, or NULL; allow:
 * with PROBLEM_BAD_METHOD, else empty. */
void answer_problem(struct exchange *exchange, enum problem problem, const char *detail,
                    struct str allow);
/* The same for what whoever runs the Route's worker, or NATS, has to know: it is logged, too. */
void answer_failure(struct exchange *exchange, enum problem problem);
/* The client is gone: it is only logged. The exchange must have no ticket. */
void answer_nobody(struct exchange *exchange);

#endif
