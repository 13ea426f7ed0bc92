/*
 * creds: credentials files and NKeys.
 *
 * A seed is base32 of two prefix bytes (a seed, of a user), the 32 bytes of an Ed25519 private key
 * and a CRC-16 of all that, low byte first. Nothing secret outlives a call but the text itself.
 */
#include "dataplane/nats/creds.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

enum {
    SEED_LEN = 58, /* characters */
    SEED_BYTES = 36,
    KEY_BYTES = 32,
    SIGNATURE_BYTES = 64,
    PREFIX_SEED = 18 << 3,
    PREFIX_USER = 20 << 3,
};

static int base32_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    return c >= '2' && c <= '7' ? c - '2' + 26 : -1;
}

static uint16_t crc16(const unsigned char *bytes, size_t len)
{
    uint16_t crc = 0;

    for (size_t i = 0; i < len; i++) {
        crc ^= (uint16_t)(bytes[i] << 8);
        for (int bit = 0; bit < 8; bit++)
            crc = (uint16_t)(crc & 0x8000 ? (crc << 1) ^ 0x1021 : crc << 1);
    }
    return crc;
}

static int seed_decode(struct str seed, unsigned char ret_key[KEY_BYTES])
{
    unsigned char bytes[SEED_BYTES];
    uint32_t bits = 0;
    unsigned held = 0;
    size_t len = 0;
    int result = -EINVAL;

    if (seed.len != SEED_LEN)
        return -EINVAL;
    for (size_t i = 0; i < seed.len; i++) {
        int value = base32_value(seed.ptr[i]);

        if (value < 0)
            goto out;
        bits = bits << 5 | (uint32_t)value;
        held += 5;
        if (held >= 8) {
            held -= 8;
            bytes[len++] = (unsigned char)(bits >> held);
        }
    }
    if (len != SEED_BYTES || (bytes[0] & 0xf8) != PREFIX_SEED ||
        ((bytes[0] & 7) << 5 | bytes[1] >> 3) != PREFIX_USER ||
        crc16(bytes, SEED_BYTES - 2) != (bytes[34] | bytes[35] << 8))
        goto out;
    memcpy(ret_key, bytes + 2, KEY_BYTES);
    result = 0;
out:
    explicit_bzero(bytes, sizeof(bytes));
    return result;
}

/* The line after the one that holds the heading. */
static struct str section(struct str text, const char *heading)
{
    const char *at = memmem(text.ptr, text.len, heading, strlen(heading));
    const char *end = text.ptr + text.len;
    const char *start = at ? memchr(at, '\n', (size_t)(end - at)) : NULL;
    const char *stop;

    if (!start || ++start == end)
        return STR_LIT("");
    stop = memchr(start, '\n', (size_t)(end - start));
    stop = stop ? stop : end;
    while (stop > start && (stop[-1] == '\r' || stop[-1] == ' '))
        stop--;
    return str_make(start, (size_t)(stop - start));
}

static ssize_t read_file(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t len = 0;
    ssize_t got = 1;

    if (fd < 0)
        return -errno;
    while (len < size && (got = read(fd, text + len, size - len)) > 0)
        len += (size_t)got;
    if (got < 0)
        got = -errno;
    close(fd);
    return got < 0 ? got : len == size ? -E2BIG : (ssize_t)len;
}

int creds_read(const char *path, struct creds *ret_creds)
{
    ssize_t len = read_file(path, ret_creds->text, sizeof(ret_creds->text));
    unsigned char key[KEY_BYTES];
    struct str text;

    if (len < 0)
        return (int)len;
    text = str_make(ret_creds->text, (size_t)len);
    ret_creds->jwt = section(text, "-----BEGIN NATS USER JWT-----");
    ret_creds->seed = section(text, "-----BEGIN USER NKEY SEED-----");
    if (ret_creds->jwt.len == 0 || seed_decode(ret_creds->seed, key)) {
        creds_done(ret_creds);
        return -EINVAL;
    }
    explicit_bzero(key, sizeof(key));
    return 0;
}

void creds_done(struct creds *creds)
{
    explicit_bzero(creds, sizeof(*creds));
}

static void base64url(const unsigned char *bytes, size_t len, char *out)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint32_t bits = 0;
    unsigned held = 0;

    for (size_t i = 0; i < len; i++) {
        bits = bits << 8 | bytes[i];
        for (held += 8; held >= 6;) {
            held -= 6;
            *out++ = alphabet[bits >> held & 63];
        }
    }
    if (held)
        *out++ = alphabet[bits << (6 - held) & 63];
    *out = '\0';
}

int creds_sign(const struct creds *creds, struct str nonce,
               char ret_signature[CREDS_SIGNATURE_LEN + 1])
{
    unsigned char key[KEY_BYTES], signature[SIGNATURE_BYTES];
    size_t len = sizeof(signature);
    EVP_PKEY *pkey = NULL;
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    int result = -EINVAL;

    if (!digest || seed_decode(creds->seed, key))
        goto out;
    pkey = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, key, sizeof(key));
    if (!pkey || EVP_DigestSignInit(digest, NULL, NULL, NULL, pkey) != 1 ||
        EVP_DigestSign(digest, signature, &len, (const unsigned char *)nonce.ptr, nonce.len) != 1 ||
        len != sizeof(signature))
        goto out;
    base64url(signature, sizeof(signature), ret_signature);
    result = 0;
out:
    explicit_bzero(key, sizeof(key));
    EVP_PKEY_free(pkey);
    EVP_MD_CTX_free(digest);
    return result;
}
