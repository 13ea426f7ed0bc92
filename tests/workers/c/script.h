/*
 * script: what the two C workers share: the JSON that they are told by, and the JSON that they
 * report in. Knows neither NATS nor libmetropolis.
 */
#ifndef TESTS_WORKERS_C_SCRIPT_H
#define TESTS_WORKERS_C_SCRIPT_H

#include <stdbool.h>
#include <stddef.h>
#include <yyjson.h>

/* One message to send; ../README.md. Strings borrow the script. */
struct script_message {
    const char *suffix, *reply_to; /* "" when the script says nothing */
    const char *body;              /* body_len bytes */
    size_t body_len;
    long after_ms;
    yyjson_val *headers; /* NULL, or [[name, value], ...] */
};

/* NULL when it is no script. To be freed by yyjson_doc_free. */
yyjson_doc *script_read(const char *text, size_t len);
/*
 * The index-th message; false: no such. *ret_pattern is memory for the body, to be freed by the
 * caller, or NULL.
 */
bool script_message_at(yyjson_doc *script, size_t index, struct script_message *ret_message,
                       char **ret_pattern);
/* The index-th header of a message, false: no such. */
bool script_header_at(const struct script_message *message, size_t index, const char **ret_name,
                      const char **ret_value);
void script_wait(long after_ms);

/* A report under way. */
struct report {
    yyjson_mut_doc *doc;
    yyjson_mut_val *headers;
};

void report_begin(struct report *report, const char *subject, const void *body, size_t body_len);
void report_add(struct report *report, const char *name, const char *value);
/* Prints the report as a line on stdout and returns it; the caller frees it. NULL: a string in it
 * is not UTF-8. */
char *report_end(struct report *report);

#endif
