#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the above first. */
#include <cmocka.h>

#include <errno.h>

#include "dataplane/http/target.h"

#define assert_str(actual, expected)                                     \
    do {                                                                 \
        assert_int_equal((actual).len, strlen(expected));                \
        assert_memory_equal((actual).ptr, (expected), strlen(expected)); \
    } while (0)

static void hosts_lose_port_and_trailing_dot(void **state)
{
    static const char *const hosts[][2] = {
        {"a", "a"},
        {"Example.COM", "Example.COM"},
        {"example.com.", "example.com"},
        {"example.com:8080", "example.com"},
        {"example.com.:80", "example.com"},
        {"example.com:", "example.com"},
        {"a_b.example", "a_b.example"},
        {"x--y.1a", "x--y.1a"},
        {"127.0.0.1", "127.0.0.1"},
        {"127.0.0.1:65535", "127.0.0.1"},
        {"[::1]", "[::1]"},
        {"[2001:db8::1]:443", "[2001:db8::1]"},
        {"[::ffff:1.2.3.4]", "[::ffff:1.2.3.4]"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(hosts) / sizeof(*hosts); i++) {
        struct str host;

        assert_int_equal(target_split_authority(str_from(hosts[i][0]), &host), 0);
        assert_str(host, hosts[i][1]);
    }
}

static void hosts_that_could_be_read_in_two_ways_are_refused(void **state)
{
    static const char *const hosts[] = {
        "",
        ".",
        "..",
        ".a",
        "a..b",
        "a b",
        "a/b",
        "a\\b",
        "u@a",
        "a?b",
        "a#b",
        "a%41",
        "a,b",
        "a:b",
        "a:1:2",
        "a:65536",
        "a:-1",
        "a:123456",
        ":80",
        "-a",
        "a-.b",
        "*.a",
        "\xC3\xBC",
        "1",
        "256.0.0.1",
        "127.1",
        "127.0.0.01",
        "0x7f.0.0.1",
        "a.0x1",
        "a.1",
        "017700000001",
        "[",
        "[]",
        "[::1",
        "::1",
        "[::1]a",
        "[::1].",
        "[g::1]",
        "[1.2.3.4]",
        "[::1%25eth0]",
        "[fe80::1%eth0]",
        "a[::1]",
    };
    char label[80], name[300];
    struct str host;

    (void)state;
    for (size_t i = 0; i < sizeof(hosts) / sizeof(*hosts); i++)
        assert_int_equal(target_split_authority(str_from(hosts[i]), &host), -EINVAL);
    memset(label, 'a', sizeof(label));
    assert_int_equal(target_split_authority(str_make(label, 63), &host), 0);
    assert_int_equal(target_split_authority(str_make(label, 64), &host), -EINVAL);
    for (size_t i = 0; i < sizeof(name); i++)
        name[i] = i % 2 ? '.' : 'a';
    assert_int_equal(target_split_authority(str_make(name, 253), &host), 0);
    assert_int_equal(target_split_authority(str_make(name, 255), &host), -EINVAL);
}

static void targets_are_split_into_path_query_and_authority(void **state)
{
    static const char *const targets[][4] = {
        {"/", "/", "", ""},
        {"//x/../y", "//x/../y", "", ""},
        {"/a?", "/a", "", ""},
        {"/a?b?c/d", "/a", "b?c/d", ""},
        {"http://h", "/", "", "h"},
        {"HTTP://h:1/p?q", "/p", "q", "h:1"},
        {"https://h?q", "/", "q", "h"},
        {"*", "*", "", ""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(targets) / sizeof(*targets); i++) {
        struct target target;

        assert_int_equal(target_split(str_from(targets[i][0]), &target), 0);
        assert_str(target.path, targets[i][1]);
        assert_str(target.query, targets[i][2]);
        assert_str(target.authority, targets[i][3]);
        assert_int_equal(target.asterisk, i == 7);
    }
}

static void other_targets_are_refused(void **state)
{
    static const char *const targets[] = {
        "",     "a",     "a/b",       "h:1",    "?q",       "*x",      "/a b",  "/a\t",
        "/a#b", "/\x7F", "/\xC3\xBC", "/a\x01", "ftp://h/", "http:/h", "http:", "http://",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(targets) / sizeof(*targets); i++) {
        struct target target;

        assert_int_equal(target_split(str_from(targets[i]), &target), -EINVAL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hosts_lose_port_and_trailing_dot),
        cmocka_unit_test(hosts_that_could_be_read_in_two_ways_are_refused),
        cmocka_unit_test(targets_are_split_into_path_query_and_authority),
        cmocka_unit_test(other_targets_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
