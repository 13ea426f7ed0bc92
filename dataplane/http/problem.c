/*
 * problem: the table of everything that the gateway answers by itself. One line decides status,
 * reason and wording, so docs, metrics and bodies cannot disagree. Pure; any thread.
 */
#include "dataplane/http/problem.h"

#include <assert.h>
#include <errno.h>

#include "lib/base/utf8.h"

enum { SERVICE_TEXT_MAX = 1024 };

const struct http_header problem_type = {STR_LIT("Content-Type"),
                                         STR_LIT("application/problem+json")};

static const struct problem_text texts[PROBLEM_COUNT] = {
    [PROBLEM_BAD_REQUEST] = {400, "bad-request", "Malformed request",
                             "The request is not well-formed HTTP/1.1. Correct the client.", 0},
    [PROBLEM_BAD_FRAMING] = {400, "bad-framing", "Ambiguous request framing",
                             "The end of the request body could be read in two ways. Send either "
                             "one Content-Length or Transfer-Encoding: chunked.",
                             0},
    [PROBLEM_BAD_HOST] = {400, "bad-host", "Missing or malformed Host",
                          "Send exactly one Host field with a valid host name or address.", 0},
    [PROBLEM_BAD_TARGET] = {400, "bad-target", "Malformed request target",
                            "Percent-encode the path and query of the URL, as valid UTF-8 and "
                            "without control characters, \".\" or \"..\" segments.",
                            0},
    [PROBLEM_BAD_FIELD] = {400, "bad-field", "Header field cannot be forwarded",
                           "A header field is repeated that must stand once, or its value is not "
                           "valid UTF-8 text.",
                           0},
    [PROBLEM_NO_ROUTE] = {404, "no-route", "No route",
                          "No Route of this gateway serves this host and path.", 0},
    [PROBLEM_BAD_METHOD] = {405, "method-not-allowed", "Method not allowed",
                            "A Route serves this host and path, but not with this method. The "
                            "Allow field lists the methods that it serves.",
                            0},
    [PROBLEM_SLOW_CLIENT] = {408, "slow-client", "Request took too long to arrive",
                             "The whole request did not arrive in time. Send it again.", 0},
    [PROBLEM_BODY_TOO_LARGE] = {413, "body-too-large", "Request body too large",
                                "The request body is larger than this gateway takes.", 0},
    [PROBLEM_TARGET_TOO_LONG] = {414, "target-too-long", "URL too long",
                                 "The URL, or the NATS subject that it becomes, is too long.", 0},
    [PROBLEM_BAD_EXPECTATION] = {417, "bad-expectation", "Unknown expectation",
                                 "The only expectation known here is 100-continue.", 0},
    [PROBLEM_LIMITED] = {429, "limited", "Too many requests in flight",
                         "As many requests as the Route allows are without an answer. The request "
                         "was not carried out; try again later.",
                         1},
    [PROBLEM_HEAD_TOO_LARGE] = {431, "head-too-large", "Header fields too large",
                                "The header fields are too many or too large. Send less, for "
                                "instance fewer cookies.",
                                0},
    [PROBLEM_INTERNAL] =
        {500, "internal", "Internal error",
         "The gateway is out of memory, or Routes overlap so much that finding the "
         "one for this request takes too long.",
         0},
    [PROBLEM_UNKNOWN_METHOD] = {501, "unknown-method", "Unknown method",
                                "The gateway does not know this request method.", 0},
    [PROBLEM_UNKNOWN_CODING] = {501, "unknown-transfer-coding", "Unknown transfer coding",
                                "The only transfer coding known here is chunked.", 0},
    [PROBLEM_BAD_REPLY] = {502, "bad-reply", "Malformed reply from the worker",
                           "The worker's reply breaks the rules of HTTP over NATS. See the "
                           "gateway's log.",
                           0},
    [PROBLEM_UNSUPPORTED_REPLY] = {502, "unsupported-reply", "Unsupported reply from the worker",
                                   "The worker's reply uses a later version of HTTP over NATS than "
                                   "this gateway knows.",
                                   0},
    [PROBLEM_STREAM_ACK] = {502, "stream-ack", "A stream answered instead of a worker",
                            "A JetStream stream captures this subject and acknowledged the "
                            "request. Exclude the subject from the stream.",
                            0},
    [PROBLEM_DENIED] = {502, "denied", "Publish refused",
                        "The NATS server does not permit this gateway to publish to the Route's "
                        "subject. Correct its permissions.",
                        0},
    [PROBLEM_OUTCOME_UNKNOWN] = {502, "outcome-unknown", "Outcome unknown",
                                 "The request was sent, then the connection to NATS was lost. It "
                                 "may or may not have been carried out.",
                                 0},
    [PROBLEM_NO_RESPONDERS] = {503, "no-responders", "No worker",
                               "No worker listens for this request. It was not carried out.", 0},
    [PROBLEM_NATS_DOWN] = {503, "nats-down", "Not connected to NATS",
                           "The gateway has no connection to NATS. The request was not carried "
                           "out; try again later.",
                           1},
    [PROBLEM_OVERLOADED] = {503, "overloaded", "Overloaded",
                            "The gateway is at one of its limits. The request was not carried "
                            "out; try again later.",
                            1},
    [PROBLEM_NOT_READY] = {503, "not-ready", "Not ready",
                           "The gateway has not loaded its routes yet. Try again later.", 1},
    [PROBLEM_TIMEOUT] = {504, "timeout", "The worker took too long",
                         "No reply came within the Route's timeout. The request may or may not "
                         "have been carried out.",
                         0},
    [PROBLEM_BAD_VERSION] = {505, "bad-version", "HTTP version not supported",
                             "This gateway speaks HTTP/1.1 and HTTP/1.0.", 0},
};

const struct problem_text *problem_describe(enum problem problem)
{
    assert(problem > PROBLEM_NONE && problem < PROBLEM_COUNT);
    return &texts[problem];
}

/* text: without control characters. */
static int append_text(struct buffer *out, struct str text)
{
    int code = 0;

    for (size_t i = 0; i < text.len && !code; i++) {
        if (text.ptr[i] == '"' || text.ptr[i] == '\\')
            code = buffer_append_byte(out, '\\');
        if (!code)
            code = buffer_append_byte(out, text.ptr[i]);
    }
    return code;
}

/* What follows the detail. */
static int append_end(struct buffer *out, const char *reason, struct str request_id)
{
    int code = buffer_printf(out, "\",\"reason\":\"%s\"", reason);

    if (!code && request_id.len)
        code = buffer_printf(out, ",\"requestId\":\"" STR_FMT "\"", STR_ARG(request_id));
    return code ? code : buffer_append_str(out, STR_LIT("}\n"));
}

int problem_write(enum problem problem, const char *detail, struct str request_id,
                  struct buffer *out)
{
    const struct problem_text *text = problem_describe(problem);
    int code = buffer_printf(out,
                             "{\"type\":\"urn:metropolis:problem:%s\",\"title\":\"%s\","
                             "\"status\":%u,\"detail\":\"",
                             text->reason, text->title, text->status);

    if (!code)
        code = append_text(out, str_from(detail ? detail : text->detail));
    return code ? code : append_end(out, text->reason, request_id);
}

int problem_write_service(unsigned status, struct str text, struct str request_id,
                          struct buffer *out)
{
    int code;

    if (!utf8_valid(text))
        return -EINVAL;
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.ptr[i] < 0x20)
            return -EINVAL;
    code = buffer_printf(out,
                         "{\"type\":\"urn:metropolis:problem:service-error\",\"title\":\"Error of "
                         "the service\",\"status\":%u,\"detail\":\"",
                         status);
    if (!code)
        code = append_text(out, utf8_cut(text, SERVICE_TEXT_MAX));
    return code ? code : append_end(out, "service-error", request_id);
}
