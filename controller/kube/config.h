/*
 * config: where the API server is and how to log in: from kubeconfig files, or in a pod from its
 * service account. Immutable after it was loaded. Looked for in this order, as kubectl and
 * client-go do:
 *
 *      --kubeconfig FILE, KUBECONFIG (a list, merged: the first file that sets something wins),
 *      the service account of the pod, ~/.kube/config
 *
 * Not supported, with an error that says so: auth-provider, impersonation, user name and password.
 */
#ifndef CONTROLLER_KUBE_CONFIG_H
#define CONTROLLER_KUBE_CONFIG_H

#include <stdbool.h>

#include "lib/base/arena.h"

enum { KUBE_CONFIG_ERROR_MAX = 512 };

struct kube_config_options {
    const char *kubeconfig; /* --kubeconfig; NULL or "": look further */
    const char *context;    /* --context; NULL or "": the current one */
    /* Where the pod's token, ca.crt and namespace are; NULL: where Kubernetes mounts them. */
    const char *service_account_dir;
};

/* A program that knows our credentials (plugin.h), ready to be started. */
struct kube_config_exec {
    const char *api_version;  /* of what it must answer */
    const char *install_hint; /* NULL: none */
    /* Both end in NULL. The environment has our own in it. */
    char **argv, **environment;
};

/* Strings are NULL when not set; files are absolute or relative to the working directory. Of a pair
 * inline/file at most one is set. */
struct kube_config {
    const char *server;      /* scheme://host[:port][/prefix], no slash at the end */
    const char *server_name; /* what the certificate must say, when not server's host */
    const char *proxy_url;
    bool insecure; /* insecure-skip-tls-verify */
    const char *ca_file, *ca_pem;
    const char *cert_file, *cert_pem;
    const char *key_file, *key_pem;
    const char *token_file, *token;
    const struct kube_config_exec *exec; /* with neither of the two */
    const char *namespace_name;          /* of the context or pod; "default" when it has none */
    const char *origin;                  /* for the log: "in-cluster", "FILE, context NAME" */
    struct arena arena;
};

struct kube_config_error {
    char text[KUBE_CONFIG_ERROR_MAX];
};

/* Reads files: for the start, before the loop runs. 0; -EINVAL, -ENOENT or the code of a read, with
 * *ret_error; -ENOMEM. */
int kube_config_load(const struct kube_config_options *options, struct kube_config **ret_config,
                     struct kube_config_error *ret_error);
void kube_config_free(struct kube_config *config);

#endif
