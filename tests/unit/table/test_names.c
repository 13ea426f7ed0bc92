/* names: what the table and the acks are called at NATS, with and without a JetStream domain. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the above first. */
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "dataplane/table/names.h"

static void a_gateway_without_a_domain_uses_the_servers_own(void **state)
{
    struct names names;

    (void)state;
    assert_int_equal(names_init(&names, "edge", "pod-1", NULL), 0);
    assert_string_equal(names.stream, "KV_metropolis-edge");
    assert_string_equal(names_bucket(&names), "metropolis-edge");
    assert_string_equal(names.prefix, "$KV.metropolis-edge.");
    assert_string_equal(names_request(&names, "STREAM.INFO").text,
                        "$JS.API.STREAM.INFO.KV_metropolis-edge");
    assert_string_equal(names.ack_subject, "$KV.metropolis_acks.edge.pod-1");
}

static void a_domain_is_asked_and_written_to_through_its_api(void **state)
{
    struct names names, plain;

    (void)state;
    assert_int_equal(names_init(&names, "edge", "pod-1", "hub"), 0);
    assert_string_equal(names.stream, "KV_metropolis-edge");
    assert_string_equal(names.prefix, "$KV.metropolis-edge.");
    assert_string_equal(names_request(&names, "STREAM.INFO").text,
                        "$JS.hub.API.STREAM.INFO.KV_metropolis-edge");
    assert_string_equal(names.ack_subject, "$JS.hub.API.$KV.metropolis_acks.edge.pod-1");
    assert_int_equal(names_init(&plain, "edge", "pod-1", ""), 0);
    assert_string_equal(plain.api, "$JS.API.");
}

static void the_longest_names_are_whole_and_longer_ones_are_refused(void **state)
{
    char gateway[65], pod[255], domain[130];
    struct names names;

    (void)state;
    memset(gateway, 'g', sizeof(gateway));
    memset(pod, 'p', sizeof(pod));
    memset(domain, 'd', sizeof(domain));
    gateway[63] = pod[253] = domain[128] = '\0';
    assert_int_equal(names_init(&names, gateway, pod, domain), 0);
    assert_int_equal(strlen(names.ack_subject),
                     strlen("$JS..API.$KV.metropolis_acks..") + 128 + 63 + 253);
    assert_int_equal(strlen(names_request(&names, "STREAM.INFO").text),
                     strlen("$JS..API.STREAM.INFO.KV_metropolis-") + 128 + 63);

    gateway[63] = 'g';
    gateway[64] = '\0';
    assert_int_equal(names_init(&names, gateway, "pod", NULL), -EINVAL);
    pod[253] = 'p';
    pod[254] = '\0';
    assert_int_equal(names_init(&names, "edge", pod, NULL), -EINVAL);
    domain[128] = 'd';
    domain[129] = '\0';
    assert_int_equal(names_init(&names, "edge", "pod", domain), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_gateway_without_a_domain_uses_the_servers_own),
        cmocka_unit_test(a_domain_is_asked_and_written_to_through_its_api),
        cmocka_unit_test(the_longest_names_are_whole_and_longer_ones_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
