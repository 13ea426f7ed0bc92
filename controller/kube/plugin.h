/*
 * plugin: runs a kubeconfig's exec plugin for credentials (KEP-541) and keeps the last answer. No
 * shell, no terminal, and nothing blocks: it is a process on the loop, with a limit on its time and
 * on what it may say. On the loop's thread.
 */
#ifndef CONTROLLER_KUBE_PLUGIN_H
#define CONTROLLER_KUBE_PLUGIN_H

#include <stdbool.h>
#include <uv.h>

#include "controller/kube/config.h"
#include "controller/kube/credential.h"

struct kube_plugin;

struct kube_plugin_handler {
    /* A run is over. trouble: what went wrong, borrowed for the call; NULL: the credential is new.
     * May free the plugin. */
    void (*done)(void *context, const char *trouble);
    void *context;
};

/* Borrows exec until freed. 0, -ENOMEM, or what libuv says. */
int kube_plugin_new(uv_loop_t *loop, const struct kube_config_exec *exec,
                    const struct kube_plugin_handler *handler, struct kube_plugin **ret_plugin);
/* Ends a run; no callback any more. The memory goes once the loop has let go of its handles. NULL
 * is fine. */
void kube_plugin_free(struct kube_plugin *plugin);

/* Asks for one run, unless one is under way; runs begin at least a second apart. */
void kube_plugin_run(struct kube_plugin *plugin);
/* The API server refuses the credential: it is not fresh any more. */
void kube_plugin_refused(struct kube_plugin *plugin);

/* Need it not be asked now? */
bool kube_plugin_fresh(const struct kube_plugin *plugin);
/* The last answer, fresh or not; valid until done is called, or freed. Empty before the first. */
const struct kube_credential *kube_plugin_credential(const struct kube_plugin *plugin);

#endif
