/* Certificates by libcrypto, so that no test needs the openssl program. */
#include "tests/unit/nats/certificates.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static void add(X509 *x509, X509 *issuer, int nid, const char *value)
{
    X509_EXTENSION *extension;
    X509V3_CTX context;

    X509V3_set_ctx(&context, issuer, x509, NULL, NULL, 0);
    extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    assert_non_null(extension);
    X509_add_ext(x509, extension, -1);
    X509_EXTENSION_free(extension);
}

static void store(const struct certificate *certificate, X509 *x509, EVP_PKEY *key)
{
    FILE *file = fopen(certificate->cert, "w");

    assert_non_null(file);
    assert_true(PEM_write_X509(file, x509));
    fclose(file);
    file = fopen(certificate->key, "w");
    assert_non_null(file);
    assert_true(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL));
    fclose(file);
}

static X509 *load(const struct certificate *certificate, EVP_PKEY **ret_key)
{
    FILE *file = fopen(certificate->cert, "r");
    X509 *x509;

    assert_non_null(file);
    x509 = PEM_read_X509(file, NULL, NULL, NULL);
    fclose(file);
    file = fopen(certificate->key, "r");
    assert_non_null(file);
    *ret_key = PEM_read_PrivateKey(file, NULL, NULL, NULL);
    fclose(file);
    assert_true(x509 && *ret_key);
    return x509;
}

static void make(struct certificate *certificate, const char *directory, const char *name,
                 const struct certificate *authority, const char *names)
{
    EVP_PKEY *key = EVP_EC_gen("P-256"), *signer = NULL;
    X509 *x509 = X509_new(), *issuer = authority ? load(authority, &signer) : NULL;
    uint32_t serial = 0;

    assert_true(key && x509 && RAND_bytes((unsigned char *)&serial, sizeof(serial)));
    snprintf(certificate->cert, sizeof(certificate->cert), "%s/%s.pem", directory, name);
    snprintf(certificate->key, sizeof(certificate->key), "%s/%s.key", directory, name);
    X509_set_version(x509, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(x509), serial >> 1);
    X509_gmtime_adj(X509_getm_notBefore(x509), -3600);
    X509_gmtime_adj(X509_getm_notAfter(x509), 3600);
    X509_set_pubkey(x509, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x509), "CN", MBSTRING_ASC,
                               (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(x509, X509_get_subject_name(issuer ? issuer : x509));
    if (issuer)
        add(x509, issuer, NID_subject_alt_name, names);
    else
        add(x509, x509, NID_basic_constraints, "critical,CA:TRUE");
    assert_true(X509_sign(x509, signer ? signer : key, EVP_sha256()) > 0);
    store(certificate, x509, key);
    X509_free(x509);
    X509_free(issuer);
    EVP_PKEY_free(key);
    EVP_PKEY_free(signer);
}

void make_authority(struct certificate *certificate, const char *directory, const char *name)
{
    make(certificate, directory, name, NULL, NULL);
}

void make_certificate(struct certificate *certificate, const char *directory, const char *name,
                      const struct certificate *authority, const char *names)
{
    make(certificate, directory, name, authority, names);
}
