/*
 * tls: OpenSSL between a link's buffers and its socket.
 *
 * OpenSSL reaches the socket through a BIO of ours, for one reason: its own uses write(2), which
 * raises SIGPIPE. It reads one record at a time, not ahead, so that what it still holds is always
 * what SSL_pending knows of.
 *
 * Either direction may need the other for a moment (a key update is answered from within a read),
 * so each remembers what it waits for.
 */
#include "dataplane/nats/tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { HOST_SHOWN_MAX = 255, REASON_MAX = 512 };

struct tls {
    SSL *ssl;
    BIO_METHOD *method;
    int fd;
    bool read_wants_write, write_wants_write, ended;
    char host[HOST_SHOWN_MAX + 1], reason[REASON_MAX];
};

/* ---- the socket, as OpenSSL sees it ---- */

static int after(BIO *bio, ssize_t result, int retry)
{
    BIO_clear_retry_flags(bio);
    if (result < 0 && (errno == EAGAIN || errno == EINTR))
        BIO_set_flags(bio, retry | BIO_FLAGS_SHOULD_RETRY);
    return (int)result;
}

static int bio_read(BIO *bio, char *bytes, int size)
{
    struct tls *tls = BIO_get_data(bio);
    ssize_t got = recv(tls->fd, bytes, (size_t)size, 0);

    tls->ended = got == 0;
    return after(bio, got, BIO_FLAGS_READ);
}

static int bio_write(BIO *bio, const char *bytes, int size)
{
    const struct tls *tls = BIO_get_data(bio);

    return after(bio, send(tls->fd, bytes, (size_t)size, MSG_NOSIGNAL), BIO_FLAGS_WRITE);
}

static long bio_control(BIO *bio, int command, long number, void *pointer)
{
    const struct tls *tls = BIO_get_data(bio);

    (void)number, (void)pointer;
    return command == BIO_CTRL_FLUSH || (command == BIO_CTRL_EOF && tls->ended);
}

static bool attach(struct tls *tls)
{
    BIO *bio = NULL;

    tls->method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "nats link");
    if (tls->method && BIO_meth_set_read(tls->method, bio_read) &&
        BIO_meth_set_write(tls->method, bio_write) && BIO_meth_set_ctrl(tls->method, bio_control))
        bio = BIO_new(tls->method);
    if (!bio)
        return false;
    BIO_set_data(bio, tls);
    BIO_set_init(bio, 1);
    SSL_set_bio(tls->ssl, bio, bio);
    return true;
}

/* ---- making one ---- */

/* The first of a pile is the cause. */
static const char *cause(void)
{
    unsigned long code = ERR_peek_error();
    const char *text =
        ERR_SYSTEM_ERROR(code) ? strerror(ERR_GET_REASON(code)) : ERR_reason_error_string(code);

    return text ? text : "unknown error";
}

/* A password prompt would block the loop. */
static int no_password(char *buffer, int size, int writing, void *context)
{
    (void)buffer, (void)size, (void)writing, (void)context;
    return -1;
}

/* 0, or -EINVAL with a sentence. */
static int load(SSL_CTX *context, const struct tls_options *options, char *ret_error, size_t size)
{
    const char *key_file = options->key_file ? options->key_file : options->cert_file;
    const char *what = NULL, *file = NULL;

    SSL_CTX_set_default_passwd_cb(context, no_password);
    if (!options->ca_file && !SSL_CTX_set_default_verify_paths(context))
        what = "authorities", file = "this system";
    else if (options->ca_file && !SSL_CTX_load_verify_file(context, options->ca_file))
        what = "authorities", file = options->ca_file;
    else if (options->cert_file &&
             SSL_CTX_use_certificate_chain_file(context, options->cert_file) != 1)
        what = "client certificate", file = options->cert_file;
    else if (key_file && SSL_CTX_use_PrivateKey_file(context, key_file, SSL_FILETYPE_PEM) != 1)
        what = "client key", file = key_file;
    if (!what)
        return 0;
    snprintf(ret_error, size, "cannot use the %s of %s: %s", what, file, cause());
    return -EINVAL;
}

static SSL_CTX *make_context(const struct tls_options *options, char *ret_error, size_t error_size)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());

    if (!context || !SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION)) {
        SSL_CTX_free(context);
        return NULL;
    }
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    if (load(context, options, ret_error, error_size)) {
        SSL_CTX_free(context);
        return NULL;
    }
    return context;
}

/* What the certificate must be for, and which of its certificates a server of many should show. */
static bool name_server(SSL *ssl, const char *host)
{
    unsigned char address[sizeof(struct in6_addr)];

    if (inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1)
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1;
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set1_host(ssl, host) == 1 && SSL_set_tlsext_host_name(ssl, host) == 1;
}

struct tls *tls_new(const struct tls_options *options, int fd, const char *host, char *ret_error,
                    size_t error_size)
{
    struct tls *tls = calloc(1, sizeof(*tls));
    SSL_CTX *context;

    snprintf(ret_error, error_size, "no memory for TLS");
    if (!tls)
        return NULL;
    ERR_clear_error();
    tls->fd = fd;
    snprintf(tls->host, sizeof(tls->host), "%s", host);
    context = make_context(options, ret_error, error_size);
    if (context)
        tls->ssl = SSL_new(context);
    SSL_CTX_free(context); /* the session holds it */
    if (!tls->ssl || !attach(tls) || !name_server(tls->ssl, host)) {
        tls_free(tls);
        return NULL;
    }
    SSL_set_connect_state(tls->ssl);
    return tls;
}

void tls_free(struct tls *tls)
{
    if (!tls)
        return;
    SSL_free(tls->ssl);
    BIO_meth_free(tls->method);
    free(tls);
}

/* ---- using it ---- */

/* A failed handshake or record, in words for who runs the gateway. */
static void explain(struct tls *tls)
{
    long verdict = SSL_get_verify_result(tls->ssl);
    int reason = ERR_GET_REASON(ERR_peek_error());

    if (verdict == X509_V_ERR_HOSTNAME_MISMATCH || verdict == X509_V_ERR_IP_ADDRESS_MISMATCH)
        snprintf(tls->reason, sizeof(tls->reason), "the server's certificate is not for %s",
                 tls->host);
    else if (verdict != X509_V_OK)
        snprintf(tls->reason, sizeof(tls->reason), "certificate of %s is not trusted: %s",
                 tls->host, X509_verify_cert_error_string(verdict));
    else if (reason == SSL_R_WRONG_VERSION_NUMBER)
        snprintf(tls->reason, sizeof(tls->reason), "the server does not speak TLS now");
    else
        snprintf(tls->reason, sizeof(tls->reason), "TLS with %s failed: %s", tls->host, cause());
}

static int fail(struct tls *tls, int errno_code, const char *reason)
{
    snprintf(tls->reason, sizeof(tls->reason), "%s", reason);
    return errno_code;
}

/* What a call of SSL_* that did not succeed means: -EAGAIN, 0: the end, another -errno. */
static int judge(struct tls *tls, int result, bool *ret_wants_write)
{
    int saved = errno;

    switch (SSL_get_error(tls->ssl, result)) {
    case SSL_ERROR_WANT_READ:
        return -EAGAIN;
    case SSL_ERROR_WANT_WRITE:
        *ret_wants_write = true;
        return -EAGAIN;
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    case SSL_ERROR_SYSCALL:
        return saved ? fail(tls, -saved, strerror(saved)) : 0;
    default:
        /* NATS marks its own ends, so one without a closing record cuts nothing short. */
        if (ERR_GET_REASON(ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING)
            return 0;
        explain(tls);
        return -EPROTO;
    }
}

static void prepare(bool *wants_write)
{
    ERR_clear_error();
    errno = 0;
    *wants_write = false;
}

int tls_handshake(struct tls *tls)
{
    int result;

    prepare(&tls->write_wants_write);
    result = SSL_do_handshake(tls->ssl);
    if (result == 1)
        return 0;
    result = judge(tls, result, &tls->write_wants_write);
    return result ? result : fail(tls, -EPROTO, "closed by the server in the TLS handshake");
}

ssize_t tls_read(struct tls *tls, char *bytes, size_t size)
{
    size_t got = 0;

    prepare(&tls->read_wants_write);
    if (SSL_read_ex(tls->ssl, bytes, size, &got) == 1)
        return (ssize_t)got;
    return judge(tls, 0, &tls->read_wants_write);
}

ssize_t tls_write(struct tls *tls, const char *bytes, size_t size)
{
    size_t put = 0;
    int result;

    prepare(&tls->write_wants_write);
    if (SSL_write_ex(tls->ssl, bytes, size, &put) == 1)
        return (ssize_t)put;
    result = judge(tls, 0, &tls->write_wants_write);
    return result ? result : fail(tls, -EPIPE, "closed by the server");
}

bool tls_wants_write(const struct tls *tls)
{
    return tls->read_wants_write || tls->write_wants_write;
}

bool tls_holds_bytes(const struct tls *tls)
{
    return SSL_pending(tls->ssl) > 0;
}

const char *tls_reason(const struct tls *tls)
{
    return tls->reason;
}
