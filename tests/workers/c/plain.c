/*
 * A worker on cnats alone; ../README.md says what it answers. One thread of cnats runs all its
 * requests, one after the other; main waits for SIGTERM.
 */
#include <nats/nats.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/workers/c/script.h"

static char *report(natsMsg *request)
{
    struct report report;
    const char **names = NULL, **values = NULL;
    int count = 0, value_count = 0;

    report_begin(&report, natsMsg_GetSubject(request), natsMsg_GetData(request),
                 (size_t)natsMsg_GetDataLength(request));
    natsMsgHeader_Keys(request, &names, &count);
    for (int i = 0; i < count; i++) {
        natsMsgHeader_Values(request, names[i], &values, &value_count);
        for (int j = 0; j < value_count; j++)
            report_add(&report, names[i], values[j]);
        free(values);
        values = NULL;
        value_count = 0;
    }
    free(names);
    return report_end(&report);
}

static natsStatus send_one(natsConnection *connection, natsMsg *request,
                           const struct script_message *wanted)
{
    const char *name, *value;
    natsMsg *reply = NULL;
    natsStatus status;
    char subject[256];

    snprintf(subject, sizeof(subject), "%s%s", natsMsg_GetReply(request), wanted->suffix);
    status = natsMsg_Create(&reply, subject, wanted->reply_to[0] ? wanted->reply_to : NULL,
                            wanted->body, (int)wanted->body_len);
    for (size_t i = 0; status == NATS_OK && script_header_at(wanted, i, &name, &value); i++)
        status = natsMsgHeader_Add(reply, name, value);
    script_wait(wanted->after_ms);
    if (status == NATS_OK)
        status = natsConnection_PublishMsg(connection, reply);
    natsMsg_Destroy(reply);
    return status;
}

static natsStatus send_refused(natsConnection *connection, natsMsg *request, natsStatus why)
{
    natsMsg *reply = NULL;
    natsStatus status =
        natsMsg_Create(&reply, natsMsg_GetReply(request), NULL, natsStatus_GetText(why),
                       (int)strlen(natsStatus_GetText(why)));

    if (status == NATS_OK)
        status = natsMsgHeader_Add(reply, "Metropolis-Status", "500");
    if (status == NATS_OK)
        status = natsMsgHeader_Add(reply, "X-Refused", "1");
    if (status == NATS_OK)
        status = natsConnection_PublishMsg(connection, reply);
    natsMsg_Destroy(reply);
    return status;
}

static natsStatus reply_as_asked(natsConnection *connection, natsMsg *request)
{
    yyjson_doc *script =
        script_read(natsMsg_GetData(request), (size_t)natsMsg_GetDataLength(request));
    natsStatus status = script ? NATS_OK : NATS_INVALID_ARG;
    struct script_message wanted;
    char *pattern = NULL;

    for (size_t i = 0; status == NATS_OK && script_message_at(script, i, &wanted, &pattern); i++) {
        status = send_one(connection, request, &wanted);
        free(pattern);
    }
    yyjson_doc_free(script);
    return status == NATS_OK ? NATS_OK : send_refused(connection, request, status);
}

static void on_request(natsConnection *connection, natsSubscription *subscription, natsMsg *request,
                       void *arg)
{
    const char *verb = strchr(natsMsg_GetSubject(request), '.') + 1;
    natsStatus status = NATS_OK;
    char *text;

    (void)subscription;
    (void)arg;
    if (strncmp(verb, "report.", 7) == 0) {
        text = report(request);
        status = natsConnection_PublishString(connection, natsMsg_GetReply(request),
                                              text ? text : "not UTF-8");
        free(text);
    } else if (strncmp(verb, "reply.", 6) == 0) {
        status = reply_as_asked(connection, request);
    } else if (strncmp(verb, "respond.", 8) == 0) {
        status = natsConnection_PublishString(connection, natsMsg_GetReply(request), "ok");
    }
    if (status != NATS_OK)
        fprintf(stderr, "%s: %s\n", natsMsg_GetSubject(request), natsStatus_GetText(status));
    natsMsg_Destroy(request);
}

#if NATS_VERSION_NUMBER >= 0x030700
static microError *answer_micro(microRequest *request)
{
    if (microRequest_GetDataLength(request) == 5 &&
        memcmp(microRequest_GetData(request), "error", 5) == 0)
        return microRequest_RespondError(request, micro_ErrorfCode(404, "secret text"));
    return microRequest_Respond(request, "ok", 2);
}

static bool serve_micro(natsConnection *connection, const char *name, microService **ret_service)
{
    char subject[128];
    microEndpointConfig endpoint = {.Name = "answer", .Subject = subject, .Handler = answer_micro};
    microServiceConfig config = {.Name = name, .Version = "1.0.0", .Endpoint = &endpoint};

    snprintf(subject, sizeof(subject), "micro.%s.>", name);
    return micro_AddService(ret_service, connection, &config) == NULL;
}
#endif

static void on_closed(natsConnection *connection, void *arg)
{
    (void)connection;
    close(*(int *)arg);
}

int main(int argc, char **argv)
{
    natsOptions *options = NULL;
    natsConnection *connection = NULL;
    natsSubscription *subscription = NULL;
    natsStatus status;
    sigset_t signals;
    char subject[128], byte;
    int number, closed[2];

    if (argc != 3 || pipe(closed) != 0)
        return 2;
    snprintf(subject, sizeof(subject), "%s.>", argv[2]);
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    status = natsOptions_Create(&options);
    if (status == NATS_OK)
        status = natsOptions_SetURL(options, argv[1]);
    if (status == NATS_OK)
        status = natsOptions_SetClosedCB(options, on_closed, &closed[1]);
    if (status == NATS_OK)
        status = natsConnection_Connect(&connection, options);
    if (status == NATS_OK)
        status = natsConnection_QueueSubscribe(&subscription, connection, subject, "worker",
                                               on_request, NULL);
#if NATS_VERSION_NUMBER >= 0x030700
    microService *service = NULL;

    if (status == NATS_OK && !serve_micro(connection, argv[2], &service))
        status = NATS_ERR;
#endif
    if (status == NATS_OK) {
        sigwait(&signals, &number);
#if NATS_VERSION_NUMBER >= 0x030700
        microService_Destroy(service);
#endif
        status = natsConnection_Drain(connection);
        while (status == NATS_OK && read(closed[0], &byte, 1) > 0)
            continue;
    }
    if (status != NATS_OK)
        fprintf(stderr, "%s\n", natsStatus_GetText(status));
    natsSubscription_Destroy(subscription);
    natsConnection_Destroy(connection);
    natsOptions_Destroy(options);
    nats_CloseAndWait(0);
    return status == NATS_OK ? 0 : 1;
}
