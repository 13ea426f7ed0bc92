/*
 * What an exec plugin answers. Whatever it is, a token that comes out fits into one header line,
 * and a certificate has its key.
 */
#include <stdlib.h>
#include <string.h>

#include "controller/kube/credential.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int holds)
{
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct kube_credential credential;
    char why[KUBE_CREDENTIAL_ERROR_MAX] = "";

    if (kube_credential_read(str_make((const char *)data, size), "client.authentication.k8s.io/v1",
                             &credential, why)) {
        check(why[0] && strlen(why) < sizeof(why));
        return 0;
    }
    check(!credential.cert_pem == !credential.key_pem);
    check(credential.token || credential.cert_pem);
    for (const char *at = credential.token; at && *at; at++)
        check(*at > 0x20 && *at < 0x7f);
    kube_credential_done(&credential);
    return 0;
}
