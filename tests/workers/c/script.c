/* script: see script.h. Whatever goes wrong here is a fault of the test: it ends the worker. */
#include "tests/workers/c/script.h"

#include <assert.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

yyjson_doc *script_read(const char *text, size_t len)
{
    yyjson_doc *script = yyjson_read(text, len, 0);

    if (script && yyjson_is_arr(yyjson_doc_get_root(script)))
        return script;
    yyjson_doc_free(script);
    return NULL;
}

static const char *text_of(yyjson_val *message, const char *key)
{
    const char *text = yyjson_get_str(yyjson_obj_get(message, key));

    return text ? text : "";
}

static char *make_pattern(size_t size)
{
    char *pattern = malloc(size);

    assert(pattern);
    for (size_t i = 0; i < size; i++)
        pattern[i] = (char)(i * 7);
    return pattern;
}

bool script_message_at(yyjson_doc *script, size_t index, struct script_message *ret_message,
                       char **ret_pattern)
{
    yyjson_val *message = yyjson_arr_get(yyjson_doc_get_root(script), index);
    size_t size = yyjson_get_uint(yyjson_obj_get(message, "size"));

    if (!message)
        return false;
    *ret_pattern = size ? make_pattern(size) : NULL;
    *ret_message = (struct script_message){
        .suffix = text_of(message, "suffix"),
        .reply_to = text_of(message, "replyTo"),
        .body = size ? *ret_pattern : text_of(message, "body"),
        .body_len = size ? size : strlen(text_of(message, "body")),
        .after_ms = (long)yyjson_get_uint(yyjson_obj_get(message, "afterMs")),
        .headers = yyjson_obj_get(message, "headers"),
    };
    return true;
}

bool script_header_at(const struct script_message *message, size_t index, const char **ret_name,
                      const char **ret_value)
{
    yyjson_val *header = yyjson_arr_get(message->headers, index);

    if (!header)
        return false;
    *ret_name = yyjson_get_str(yyjson_arr_get(header, 0));
    *ret_value = yyjson_get_str(yyjson_arr_get(header, 1));
    return true;
}

void script_wait(long after_ms)
{
    const struct timespec pause = {after_ms / 1000, after_ms % 1000 * 1000000};

    nanosleep(&pause, NULL);
}

void report_begin(struct report *report, const char *subject, const void *body, size_t body_len)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    char hex[2 * EVP_MAX_MD_SIZE + 1];
    unsigned digest_len = 0;
    yyjson_mut_val *root;

    EVP_Digest(body, body_len, digest, &digest_len, EVP_sha256(), NULL);
    for (unsigned i = 0; i < digest_len; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    report->doc = yyjson_mut_doc_new(NULL);
    root = yyjson_mut_obj(report->doc);
    yyjson_mut_doc_set_root(report->doc, root);
    report->headers = yyjson_mut_arr(report->doc);
    yyjson_mut_obj_add_strcpy(report->doc, root, "subject", subject);
    yyjson_mut_obj_add_uint(report->doc, root, "length", body_len);
    yyjson_mut_obj_add_strcpy(report->doc, root, "sha256", hex);
    yyjson_mut_obj_add_val(report->doc, root, "headers", report->headers);
}

void report_add(struct report *report, const char *name, const char *value)
{
    yyjson_mut_val *header = yyjson_mut_arr_add_arr(report->doc, report->headers);

    yyjson_mut_arr_add_strcpy(report->doc, header, name);
    yyjson_mut_arr_add_strcpy(report->doc, header, value);
}

char *report_end(struct report *report)
{
    char *text = yyjson_mut_write(report->doc, 0, NULL);

    yyjson_mut_doc_free(report->doc);
    if (text) {
        puts(text);
        fflush(stdout);
    }
    return text;
}
