/* What plugins answer: one line in, what it is taken for out. */
#include "controller/kube/credential.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define API "client.authentication.k8s.io/v1"
#define ANSWER(status) \
    "{\"kind\":\"ExecCredential\",\"apiVersion\":\"" API "\",\"status\":" status "}"

static void test_what_a_plugin_gives_is_taken(void **state)
{
    struct kube_credential credential;
    char why[KUBE_CREDENTIAL_ERROR_MAX];

    (void)state;
    assert_int_equal(
        kube_credential_read(STR_LIT(ANSWER("{\"token\":\"abc.def\",\"expirationTimestamp\":"
                                            "\"2026-11-24T03:00:00Z\",\"other\":1}")),
                             API, &credential, why),
        0);
    assert_string_equal(credential.token, "abc.def");
    assert_null(credential.cert_pem);
    assert_int_equal(credential.expires_s, 1795489200);
    kube_credential_done(&credential);
    assert_null(credential.token);
    assert_int_equal(
        kube_credential_read(STR_LIT(ANSWER("{\"token\":\"\",\"clientCertificateData\":\"-C-\\n\","
                                            "\"clientKeyData\":\"-K-\\n\"}")),
                             API, &credential, why),
        0);
    assert_null(credential.token);
    assert_string_equal(credential.cert_pem, "-C-\n");
    assert_string_equal(credential.key_pem, "-K-\n");
    assert_int_equal(credential.expires_s, 0);
    kube_credential_done(&credential);
}

static void test_what_cannot_be_used_is_refused_and_says_why(void **state)
{
    static const struct {
        const char *answer, *why;
    } cases[] = {
        {"", "no ExecCredential as JSON"},
        {"token", "no ExecCredential as JSON"},
        {"[]", "kind is not"},
        {"{\"kind\":\"ExecCredential\",\"apiVersion\":\"v1\",\"status\":{\"token\":\"t\"}}",
         "apiVersion is not " API},
        {ANSWER("null"), "neither token nor"},
        {ANSWER("{}"), "neither token nor"},
        {ANSWER("{\"token\":7}"), "not a string: status.token"},
        {ANSWER("{\"token\":{\"a\":1}}"), "not a string: status.token"},
        {ANSWER("{\"token\":[]}"), "not a string: status.token"},
        {ANSWER("{\"token\":\"a\\r\\nX-Evil: 1\"}"), "a byte that does not belong there"},
        {ANSWER("{\"token\":\"a\\u0000b\"}"), "a byte that does not belong there"},
        {ANSWER("{\"clientCertificateData\":\"-C-\"}"), "only one of"},
        {ANSWER("{\"token\":\"t\",\"expirationTimestamp\":\"soon\"}"), "is no time"},
        {ANSWER("{\"token\":\"t\",\"expirationTimestamp\":5}"), "is no time"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct kube_credential credential = {.expires_s = 42};
        char why[KUBE_CREDENTIAL_ERROR_MAX];

        assert_int_equal(kube_credential_read(str_from(cases[i].answer), API, &credential, why),
                         -EBADMSG);
        if (!strstr(why, cases[i].why))
            fail_msg("%s: \"%s\" does not say \"%s\"", cases[i].answer, why, cases[i].why);
        assert_int_equal(credential.expires_s, 42); /* untouched */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_a_plugin_gives_is_taken),
        cmocka_unit_test(test_what_cannot_be_used_is_refused_and_says_why),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
