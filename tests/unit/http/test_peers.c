#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the above first. */
#include <cmocka.h>

#include <errno.h>

#include "dataplane/http/peers.h"

static void networks_contain_their_addresses_and_no_others(void **state)
{
    struct peers peers;
    struct str bad;
    static const struct {
        const char *address;
        bool contained;
    } cases[] = {
        {"10.0.0.0", true},
        {"10.255.255.255", true},
        {"11.0.0.0", false},
        {"192.0.2.7", true},
        {"192.0.2.6", false},
        {"172.16.0.1", true},
        {"172.31.255.1", true},
        {"172.32.0.1", false},
        {"2001:db8:ffff::1", true},
        {"2001:db9::1", false},
        {"::1", false},
        {"not an address", false},
        {"", false},
        {"10.0.0.0/8", false},
    };

    (void)state;
    assert_int_equal(
        peers_parse(STR_LIT("10.0.0.0/8,192.0.2.7,172.16.0.0/12,2001:db8::/32"), &peers, &bad), 0);
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        assert_int_equal(peers_contain_text(&peers, str_from(cases[i].address)),
                         cases[i].contained);
}

static void an_empty_list_trusts_nobody_and_zero_bits_all(void **state)
{
    struct peers peers;
    struct str bad;

    (void)state;
    assert_int_equal(peers_parse(STR_LIT(""), &peers, &bad), 0);
    assert_false(peers_contain_text(&peers, STR_LIT("127.0.0.1")));
    assert_int_equal(peers_parse(STR_LIT("0.0.0.0/0"), &peers, &bad), 0);
    assert_true(peers_contain_text(&peers, STR_LIT("203.0.113.9")));
    assert_false(peers_contain_text(&peers, STR_LIT("::1")));
}

static void a_bad_network_is_named(void **state)
{
    static const char *const lists[][2] = {
        {"10.0.0.0/33", "10.0.0.0/33"}, {"10.0.0/8", "10.0.0/8"},
        {"::1/129", "::1/129"},         {"10.0.0.0/", "10.0.0.0/"},
        {"10.0.0.0/-1", "10.0.0.0/-1"}, {"1.2.3.4,,::1", ""},
        {"1.2.3.4, ::1", " ::1"},       {"host", "host"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(lists) / sizeof(*lists); i++) {
        struct peers peers;
        struct str bad;

        assert_int_equal(peers_parse(str_from(lists[i][0]), &peers, &bad), -EINVAL);
        assert_true(str_equal(bad, str_from(lists[i][1])));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(networks_contain_their_addresses_and_no_others),
        cmocka_unit_test(an_empty_list_trusts_nobody_and_zero_bits_all),
        cmocka_unit_test(a_bad_network_is_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
