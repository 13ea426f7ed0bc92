/*
 * pipeline: Routes from any source -> tables in NATS -> statuses. Connects compile, publish, acks
 * and programmed; on the loop's thread.
 */
#ifndef CONTROLLER_PIPELINE_H
#define CONTROLLER_PIPELINE_H

#include <uv.h>

#include "controller/publish/kv_publish.h"
#include "controller/settings.h"
#include "controller/source.h"

struct pipeline;

struct pipeline_handler {
    struct status_sink sink;
    /* Another controller writes a table that we were in charge of: it is not ours to lead. */
    void (*deposed)(void *context);
    void *context;
};

/* Borrows settings; stands by until pipeline_lead. 0; -ENOMEM, -EINVAL, with a reason. */
int pipeline_new(uv_loop_t *loop, const struct settings *settings, const char *owner,
                 const struct pipeline_handler *handler, struct pipeline **ret_pipeline,
                 char reason[KV_PUBLISH_REASON_MAX]);
/* Ends its threads. The memory goes once the loop has let go of its handles. NULL is fine. */
void pipeline_free(struct pipeline *pipeline);

/* A leader takes charge of the tables, once it knows all Routes, and writes them and the statuses.
 * A standby follows everything and writes nothing. */
void pipeline_lead(struct pipeline *pipeline, bool leads);
/* Where Routes go. */
struct source_handler pipeline_source(struct pipeline *pipeline);
/* See compile_set_policy. */
void pipeline_set_policy(struct pipeline *pipeline, struct policy *policy);
/* All ready pods of the Service of a gateway, by its place in settings. */
void pipeline_endpoints(struct pipeline *pipeline, unsigned gateway, const struct str *pods,
                        size_t count);

/* Each appends to a page. 0; -EAGAIN: not ready, with a line per reason; -ENOMEM, -ENOBUFS. */
int pipeline_ready(const struct pipeline *pipeline, struct buffer *page);
int pipeline_metrics(struct pipeline *pipeline, struct buffer *page);
int pipeline_fleet(const struct pipeline *pipeline, struct buffer *page);

#endif
