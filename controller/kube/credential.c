/*
 * credential: the fields that we use, checked; what else a plugin says is ignored, as in client-go.
 */
#include "controller/kube/credential.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yyjson.h>

#include "controller/kube/event.h"

static int refuse(char why[KUBE_CREDENTIAL_ERROR_MAX], const char *text, const char *detail)
{
    snprintf(why, KUBE_CREDENTIAL_ERROR_MAX, "%s%.80s", text, detail);
    return -EBADMSG;
}

/* A field's text without control bytes (but for line ends, in PEM), copied; missing or empty: NULL
 */
static int take(yyjson_val *status, const char *key, bool pem, char **ret_text,
                char why[KUBE_CREDENTIAL_ERROR_MAX])
{
    yyjson_val *value = yyjson_obj_get(status, key);
    const char *text = yyjson_get_str(value);

    if (!value || yyjson_is_null(value) || yyjson_equals_str(value, ""))
        return 0;
    if (!yyjson_is_str(value))
        return refuse(why, "not a string: status.", key);
    for (size_t i = 0; i < yyjson_get_len(value); i++)
        if (!(text[i] > 0x20 && text[i] < 0x7f) && !(pem && strchr("\r\n\t ", text[i]) && text[i]))
            return refuse(why, "a byte that does not belong there in status.", key);
    *ret_text = strdup(text);
    return *ret_text ? 0 : -ENOMEM;
}

static int read_status(yyjson_val *status, struct kube_credential *credential,
                       char why[KUBE_CREDENTIAL_ERROR_MAX])
{
    yyjson_val *expires = yyjson_obj_get(status, "expirationTimestamp");
    int error = take(status, "token", false, &credential->token, why);

    if (!error)
        error = take(status, "clientCertificateData", true, &credential->cert_pem, why);
    if (!error)
        error = take(status, "clientKeyData", true, &credential->key_pem, why);
    if (error)
        return error;
    if (!credential->cert_pem != !credential->key_pem)
        return refuse(why, "only one of clientCertificateData and clientKeyData", "");
    if (!credential->token && !credential->cert_pem)
        return refuse(why, "neither token nor clientCertificateData", "");
    if (expires && !yyjson_is_null(expires) &&
        (!yyjson_is_str(expires) ||
         kube_time_read(str_make(yyjson_get_str(expires), yyjson_get_len(expires)),
                        &credential->expires_s)))
        return refuse(why, "status.expirationTimestamp is no time", "");
    return 0;
}

int kube_credential_read(struct str output, const char *api_version,
                         struct kube_credential *ret_credential,
                         char why[KUBE_CREDENTIAL_ERROR_MAX])
{
    struct kube_credential credential = {0};
    yyjson_read_err cause = {0};
    yyjson_doc *document = yyjson_read_opts((char *)output.ptr, output.len, 0, NULL, &cause);
    yyjson_val *root = yyjson_doc_get_root(document);
    yyjson_val *status = yyjson_obj_get(root, "status");
    int error;

    if (!document)
        error = cause.code == YYJSON_READ_ERROR_MEMORY_ALLOCATION
                    ? -ENOMEM
                    : refuse(why, "no ExecCredential as JSON", "");
    else if (!yyjson_equals_str(yyjson_obj_get(root, "kind"), "ExecCredential"))
        error = refuse(why, "kind is not ExecCredential", "");
    else if (!yyjson_equals_str(yyjson_obj_get(root, "apiVersion"), api_version))
        error = refuse(why, "apiVersion is not ", api_version);
    else
        error = read_status(status, &credential, why);
    yyjson_doc_free(document);
    if (error)
        kube_credential_done(&credential);
    else
        *ret_credential = credential;
    return error;
}

static void wipe(char *text)
{
    if (text)
        explicit_bzero(text, strlen(text));
    free(text);
}

void kube_credential_done(struct kube_credential *credential)
{
    wipe(credential->token);
    wipe(credential->cert_pem);
    wipe(credential->key_pem);
    *credential = (struct kube_credential){0};
}
