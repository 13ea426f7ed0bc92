/*
 * handshake: INFO and CONNECT.
 */
#include "dataplane/nats/handshake.h"

#include <errno.h>
#include <stdlib.h>
#include <yyjson.h>

/* The server refuses to start with more than 64 MiB. */
enum { MAX_PAYLOAD_MAX = 64 * 1024 * 1024 };

static struct str text_of(yyjson_val *value)
{
    return str_make(yyjson_get_str(value), yyjson_get_len(value));
}

int handshake_read_info(struct str json, struct handshake_info *ret_info)
{
    yyjson_doc *doc = yyjson_read(json.ptr, json.len, 0);
    yyjson_val *root = yyjson_doc_get_root(doc);
    uint64_t max_payload = yyjson_get_uint(yyjson_obj_get(root, "max_payload"));
    yyjson_val *urls = yyjson_obj_get(root, "connect_urls"), *url;
    yyjson_val *nonce = yyjson_obj_get(root, "nonce");
    yyjson_arr_iter each = {0};

    if (!yyjson_is_obj(root) || max_payload == 0 || max_payload > MAX_PAYLOAD_MAX) {
        yyjson_doc_free(doc);
        return -EPROTO;
    }
    *ret_info = (struct handshake_info){
        .max_payload = max_payload,
        .headers = yyjson_get_bool(yyjson_obj_get(root, "headers")),
        .tls_required = yyjson_get_bool(yyjson_obj_get(root, "tls_required")),
        .tls_available = yyjson_get_bool(yyjson_obj_get(root, "tls_available")),
        .lame_duck = yyjson_get_bool(yyjson_obj_get(root, "ldm")),
        .doc = doc,
    };
    if (yyjson_is_str(nonce))
        ret_info->nonce = text_of(nonce);
    if (yyjson_arr_iter_init(urls, &each))
        while ((url = yyjson_arr_iter_next(&each)) && ret_info->connect_url_count < SERVERS_MAX)
            if (yyjson_is_str(url))
                ret_info->connect_urls[ret_info->connect_url_count++] = text_of(url);
    return 0;
}

void handshake_info_done(struct handshake_info *info)
{
    yyjson_doc_free(info->doc);
    *info = (struct handshake_info){0};
}

static bool add_identity(yyjson_mut_doc *doc, yyjson_mut_val *root, const struct server *server,
                         const struct handshake_info *info, const struct creds *creds)
{
    char signature[CREDS_SIGNATURE_LEN + 1];

    if (creds)
        return info->nonce.len > 0 && creds_sign(creds, info->nonce, signature) == 0 &&
               yyjson_mut_obj_add_strncpy(doc, root, "jwt", creds->jwt.ptr, creds->jwt.len) &&
               yyjson_mut_obj_add_strcpy(doc, root, "sig", signature);
    if (server->has_password)
        return yyjson_mut_obj_add_str(doc, root, "user", server->user) &&
               yyjson_mut_obj_add_str(doc, root, "pass", server->password);
    return !server->user[0] || yyjson_mut_obj_add_str(doc, root, "auth_token", server->user);
}

int handshake_write_connect(struct buffer *out, const struct server *server,
                            const struct handshake_info *info, const struct creds *creds,
                            struct str name, bool secure)
{
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *root = yyjson_mut_obj(doc);
    size_t before = buffer_length(out), len = 0;
    char *json = NULL;
    int result = -ENOMEM;

    if (!root)
        goto out;
    yyjson_mut_doc_set_root(doc, root);
    if (!yyjson_mut_obj_add_bool(doc, root, "verbose", false) ||
        !yyjson_mut_obj_add_bool(doc, root, "pedantic", false) ||
        !yyjson_mut_obj_add_bool(doc, root, "tls_required", secure) ||
        !yyjson_mut_obj_add_bool(doc, root, "headers", true) ||
        !yyjson_mut_obj_add_bool(doc, root, "no_responders", true) ||
        !yyjson_mut_obj_add_bool(doc, root, "echo", false) ||
        !yyjson_mut_obj_add_int(doc, root, "protocol", 1) ||
        !yyjson_mut_obj_add_str(doc, root, "lang", "c") ||
        !yyjson_mut_obj_add_str(doc, root, "version", METROPOLIS_VERSION) ||
        !yyjson_mut_obj_add_strncpy(doc, root, "name", name.len ? name.ptr : "", name.len))
        goto out;
    result = -EINVAL;
    if (!add_identity(doc, root, server, info, creds))
        goto out;
    json = yyjson_mut_write(doc, 0, &len);
    if (!json)
        goto out;
    result = buffer_append_str(out, STR_LIT("CONNECT "));
    if (!result)
        result = buffer_append(out, json, len);
    if (!result)
        result = buffer_append_str(out, STR_LIT("\r\n"));
    if (result)
        buffer_truncate(out, before);
out:
    free(json);
    yyjson_mut_doc_free(doc);
    return result;
}
