/*
 * Credentials files. data/gateway.creds belongs to an operator made for these tests alone; the
 * signature was made from it by NATS' own library (github.com/nats-io/nkeys).
 */
#include "dataplane/nats/creds.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const char signature_of_nonce[] =
    "LJHzrvH7rHTNt3FkOc99-LxNOFwqDDHUTZAUUwTYRYxOFbOQxCuJL-WhZgEVcLTbKTBTfA_1rYA-dUHW1qztAQ";

static struct creds creds;

static void a_nonce_is_signed_as_nkeys_does(void **state)
{
    char signature[CREDS_SIGNATURE_LEN + 1];

    (void)state;
    assert_int_equal(creds_read(TEST_DATA "/gateway.creds", &creds), 0);
    assert_memory_equal(creds.jwt.ptr, "eyJ", 3);
    assert_int_equal(creds_sign(&creds, STR_LIT("nonce of a server"), signature), 0);
    assert_string_equal(signature, signature_of_nonce);
    creds_done(&creds);
}

static int read_text(const char *text)
{
    char path[] = "/tmp/metropolis-creds-XXXXXX";
    int fd = mkstemp(path), result;

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
    result = creds_read(path, &creds);
    unlink(path);
    return result;
}

static void a_damaged_file_is_refused(void **state)
{
    char text[4096] = "", *seed;
    FILE *file = fopen(TEST_DATA "/gateway.creds", "r");

    (void)state;
    assert_non_null(file);
    text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
    fclose(file);
    assert_int_equal(read_text(text), 0);
    creds_done(&creds);
    seed = strstr(text, "\nSU") + 1;
    for (int i = 0; i < 58; i++) {
        char kept = seed[i];

        seed[i] = kept == 'A' ? 'B' : 'A';
        assert_int_equal(read_text(text), -EINVAL);
        seed[i] = '1';
        assert_int_equal(read_text(text), -EINVAL);
        seed[i] = kept;
    }
    *strstr(text, "-----BEGIN USER NKEY") = 'x';
    assert_int_equal(read_text(text), -EINVAL);
    assert_int_equal(read_text(""), -EINVAL);
    assert_int_equal(read_text("-----BEGIN NATS USER JWT-----"), -EINVAL);
    assert_int_equal(creds_read("/nonexistent/creds", &creds), -ENOENT);
    assert_int_equal(creds_read("/dev/zero", &creds), -E2BIG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_nonce_is_signed_as_nkeys_does),
        cmocka_unit_test(a_damaged_file_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
