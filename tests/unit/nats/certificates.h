/* Certificates for tests, made on the spot: nothing that expires lies in the repository. */
#ifndef TESTS_UNIT_NATS_CERTIFICATES_H
#define TESTS_UNIT_NATS_CERTIFICATES_H

/* PEM files of one pair, <directory>/<name>.pem and .key. */
struct certificate {
    char cert[128], key[128];
};

/* An authority: signs others. */
void make_authority(struct certificate *certificate, const char *directory, const char *name);
/* names: of the subject, as "DNS:localhost,IP:127.0.0.1". */
void make_certificate(struct certificate *certificate, const char *directory, const char *name,
                      const struct certificate *authority, const char *names);

#endif
