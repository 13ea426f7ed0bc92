/* What --nats accepts, and the order in which servers are tried. */
#include "dataplane/nats/servers.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct random_source source;

static void urls_are_read(void **state)
{
    static const struct {
        const char *url, *host, *port, *user, *password;
    } cases[] = {
        {"nats://a", "a", "4222", "", NULL},
        {"a:1", "a", "1", "", NULL},
        {" nats://10.0.0.1:65535/ ", "10.0.0.1", "65535", "", NULL},
        {"nats://[::1]:4223", "::1", "4223", "", NULL},
        {"[fe80::1]", "fe80::1", "4222", "", NULL},
        {"nats://u:p@a", "a", "4222", "u", "p"},
        {"nats://u:@a", "a", "4222", "u", ""},
        {"nats://t0ken@a:5", "a", "5", "t0ken", NULL},
        {"nats://u%40x:p%3A%2f%25@a", "a", "4222", "u@x", "p:/%"},
        {"nats://u:p@ss@a", "a", "4222", "u", "p@ss"},
        {"tls://u:p@a:5", "a", "5", "u", "p"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct servers servers;
        const struct server *server;
        char error[256] = "";
        bool around;

        if (servers_init(&servers, str_from(cases[i].url), &source, error, sizeof(error)))
            fail_msg("%s: %s", cases[i].url, error);
        server = servers_next(&servers, &around);
        assert_true(around);
        assert_string_equal(server->host, cases[i].host);
        assert_string_equal(server->name, cases[i].host);
        assert_int_equal(server->tls, strncmp(cases[i].url, "tls://", 6) == 0);
        assert_string_equal(server->port, cases[i].port);
        assert_string_equal(server->user, cases[i].user);
        assert_int_equal(server->has_password, cases[i].password != NULL);
        assert_string_equal(server->password, cases[i].password ? cases[i].password : "");
        servers_done(&servers);
    }
}

static void bad_urls_are_named_without_their_password(void **state)
{
    static const char *const cases[] = {
        "",
        ",",
        "nats://a,",
        "nats://",
        "nats://u:s3cret@",
        "http://a",
        "ws://u:s3cret@a",
        "tls://u:s3cret@",
        "tls://nats://u:s3cret@a",
        "nats://u:s3cret@a:0",
        "nats://u:s3cret@a:65536",
        "nats://u:s3cret@a:x",
        "nats://u:s3cret%4@a",
        "nats://u:s3cret%00@a",
        "nats://a b",
        "nats://[::1",
        "nats://[::1]x",
        "nats://a\r\n",
        "nats://u:s3cret@a/b",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct servers servers;
        char error[256] = "";

        if (servers_init(&servers, str_from(cases[i]), &source, error, sizeof(error)) != -EINVAL)
            fail_msg("accepted: %s", cases[i]);
        assert_true(strlen(error) > 0);
        assert_null(strstr(error, "s3cret"));
    }
}

static void every_server_has_its_turn_in_an_order_of_chance(void **state)
{
    unsigned first[4] = {0};

    (void)state;
    for (int run = 0; run < 400; run++) {
        struct servers servers;
        unsigned seen = 0;
        char error[256];
        bool around;

        assert_int_equal(
            servers_init(&servers, STR_LIT("a:1,a:2,a:3,a:4,a:1"), &source, error, sizeof(error)),
            0);
        for (int i = 0; i < 4; i++) {
            int port = servers_next(&servers, &around)->port[0] - '1';

            if (i == 0)
                first[port]++;
            seen |= 1u << port;
            assert_int_equal(around, i == 3);
        }
        assert_int_equal(seen, 15);
        servers_done(&servers);
    }
    for (int i = 0; i < 4; i++)
        assert_in_range(first[i], 50, 150);
}

static void discovered_servers_replace_each_other_and_keep_the_credentials(void **state)
{
    const struct str one[] = {STR_LIT("b:1"), STR_LIT("a:1"), STR_LIT("bad:x")};
    const struct str two[] = {STR_LIT("c:1"), STR_LIT("[::1]:7")};
    struct servers servers;
    struct server teller;
    char error[256];
    bool around;

    (void)state;
    assert_int_equal(
        servers_init(&servers, STR_LIT("nats://u:p@a:1"), &source, error, sizeof(error)), 0);
    teller = *servers_next(&servers, &around);
    servers_discover(&servers, &teller, true, one, 3, &source);
    assert_int_equal(servers.count, 2);
    assert_string_equal(servers.list[1].host, "b");
    assert_string_equal(servers.list[1].password, "p");
    servers_discover(&servers, &teller, true, two, 2, &source);
    assert_int_equal(servers.count, 3);
    assert_string_equal(servers.list[0].host, "a");
    servers_discover(&servers, &teller, true, NULL, 0, &source);
    assert_int_equal(servers.count, 1);
    assert_string_equal(servers_next(&servers, &around)->host, "a");
    servers_done(&servers);
}

/* What a discovered server's certificate must be for; nobody in between may choose. */
static void discovered_servers_must_prove_a_name_that_can_be_believed(void **state)
{
    static const struct {
        const char *teller, *told;
        bool believed;
        const char *name;
    } cases[] = {
        {"tls://nats.example", "10.0.0.1:4222", true, "nats.example"},
        {"tls://nats.example", "10.0.0.1:4222", false, "nats.example"},
        {"tls://nats.example", "[fd00::1]:4222", true, "nats.example"},
        {"tls://nats.example", "b.example:4222", true, "b.example"},
        {"tls://nats.example", "evil.example:4222", false, "nats.example"},
        {"tls://10.0.0.9", "10.0.0.1:4222", false, "10.0.0.1"},
        {"tls://10.0.0.9", "evil.example:4222", false, "10.0.0.9"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct str told = str_from(cases[i].told);
        struct servers servers;
        struct server teller;
        char error[256];
        bool around;

        assert_int_equal(
            servers_init(&servers, str_from(cases[i].teller), &source, error, sizeof(error)), 0);
        teller = *servers_next(&servers, &around);
        servers_discover(&servers, &teller, cases[i].believed, &told, 1, &source);
        assert_int_equal(servers.count, 2);
        assert_string_equal(servers.list[1].name, cases[i].name);
        assert_true(servers.list[1].tls);
        servers_done(&servers);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(urls_are_read),
        cmocka_unit_test(bad_urls_are_named_without_their_password),
        cmocka_unit_test(every_server_has_its_turn_in_an_order_of_chance),
        cmocka_unit_test(discovered_servers_replace_each_other_and_keep_the_credentials),
        cmocka_unit_test(discovered_servers_must_prove_a_name_that_can_be_believed),
    };

    random_init(&source);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
