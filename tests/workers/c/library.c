/*
 * A worker on libmetropolis; ../README.md says what it answers, without micro services. A script
 * has one or more messages with headers and a body; where they go is the library's to say, so
 * `suffix` and `replyTo` are refused like all else that it does not send.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/workers/c/script.h"
#include "worker/metropolis.h"

static int answer_report(struct metropolis_request *request)
{
    const char *name, *value;
    struct report report;
    size_t len;
    const void *body = metropolis_request_body(request, &len);
    char *text;
    int rc;

    report_begin(&report, metropolis_request_subject(request), body, len);
    for (size_t i = 0; metropolis_request_header_at(request, i, &name, &value); i++)
        report_add(&report, name, value);
    text = report_end(&report);
    rc = metropolis_reply_text(request, text ? 200 : 500, text ? text : "not UTF-8");
    free(text);
    return rc;
}

/* A header Metropolis-Status is the status, as no worker on the library writes it itself. */
static int send_one(struct metropolis_request *request, const struct script_message *wanted)
{
    const char *name, *value;
    int status = 200, rc = wanted->suffix[0] || wanted->reply_to[0] ? -EINVAL : 0;

    for (size_t i = 0; rc == 0 && script_header_at(wanted, i, &name, &value); i++) {
        if (strcmp(name, "Metropolis-Status") == 0)
            status = (int)strtol(value, NULL, 10);
        else
            rc = metropolis_reply_header(request, name, value);
    }
    script_wait(wanted->after_ms);
    return rc == 0 ? metropolis_reply(request, status, wanted->body, wanted->body_len) : rc;
}

static int answer_reply(struct metropolis_request *request)
{
    size_t len;
    const char *text = metropolis_request_body(request, &len);
    yyjson_doc *script = script_read(text, len);
    struct script_message wanted;
    char *pattern = NULL;
    int rc = script ? 0 : -EINVAL;

    for (size_t i = 0; rc == 0 && script_message_at(script, i, &wanted, &pattern); i++) {
        rc = send_one(request, &wanted);
        free(pattern);
    }
    yyjson_doc_free(script);
    if (rc != 0 && rc != -EALREADY) {
        metropolis_reply_header(request, "X-Refused", "1");
        rc = metropolis_reply(request, 500, strerror(-rc), strlen(strerror(-rc)));
    }
    return rc;
}

/* Its reply goes nowhere; what became of the work is in the log. */
static int work_on(struct metropolis_request *request)
{
    bool cancelled = false;

    for (int ms = 0; ms < 20000 && !cancelled; ms += 5) {
        script_wait(5);
        cancelled = metropolis_request_cancelled(request);
    }
    fprintf(stderr, "%s after %lld ms left\n", cancelled ? "cancelled" : "worked on",
            (long long)metropolis_request_deadline_left_ms(request));
    return metropolis_reply_text(request, 200, "worked on");
}

static int handle(struct metropolis_request *request, void *arg)
{
    const char *verb = strchr(metropolis_request_subject(request), '.') + 1;

    (void)arg;
    if (strncmp(verb, "report.", 7) == 0)
        return answer_report(request);
    if (strncmp(verb, "respond.", 8) == 0)
        return metropolis_reply_text(request, 200, "ok");
    if (strncmp(verb, "work.", 5) == 0)
        return work_on(request);
    return answer_reply(request);
}

int main(int argc, char **argv)
{
    struct metropolis_worker *worker = NULL;
    struct metropolis_options options = {0};
    struct metropolis_handler handler = {.concurrency = 4, .handle = handle};
    char subject[128];
    int rc;

    if (argc != 3)
        return 2;
    snprintf(subject, sizeof(subject), "%s.>", argv[2]);
    options.url = argv[1];
    handler.subject = subject;
    rc = metropolis_worker_new(&worker, &options);
    if (rc == 0)
        rc = metropolis_handle(worker, &handler);
    if (rc == 0)
        rc = metropolis_run(worker);
    metropolis_worker_free(worker);
    return rc == 0 ? 0 : 1;
}
