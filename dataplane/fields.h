/*
 * fields: what HTTP allows in a request's fields and HTTP over NATS does not carry. Asked only
 * after a request was refused for it, so ordinary requests do not pay.
 */
#ifndef DATAPLANE_FIELDS_H
#define DATAPLANE_FIELDS_H

#include "dataplane/http/parse.h"
#include "lib/base/arena.h"

/*
 * The request's fields, changed without changing what they mean:
 *   - a tab inside a value becomes a space: both are blank space there (RFC 9110 5.5, 5.6.3);
 *   - a value that is not UTF-8 is taken for ISO-8859-1, what it historically was (RFC 9110 5.5);
 *   - repeated Range lines go: Range may always be ignored (RFC 9110 14.2).
 * A list in scratch, as long as the request's, which stays as it is: it outlives scratch. NULL:
 * there is nothing to change, another try would not help; or no memory.
 */
struct http_header *fields_fit(const struct http_request *request, struct arena *scratch);

#endif
