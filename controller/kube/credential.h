/*
 * credential: what an exec plugin of a kubeconfig answers (client.authentication.k8s.io: an
 * ExecCredential). Pure; no I/O.
 */
#ifndef CONTROLLER_KUBE_CREDENTIAL_H
#define CONTROLLER_KUBE_CREDENTIAL_H

#include <stdint.h>

#include "lib/base/str.h"

enum { KUBE_CREDENTIAL_ERROR_MAX = 160 };

/* Owned; NULL when not given. A certificate and its key come together. */
struct kube_credential {
    char *token;
    char *cert_pem, *key_pem;
    int64_t expires_s; /* Unix time; 0: never */
};

/* 0, then kube_credential_done; -EBADMSG with why: what is wrong with it; -ENOMEM. */
int kube_credential_read(struct str output, const char *api_version,
                         struct kube_credential *ret_credential,
                         char why[KUBE_CREDENTIAL_ERROR_MAX]);
/* Wipes it. */
void kube_credential_done(struct kube_credential *credential);

#endif
