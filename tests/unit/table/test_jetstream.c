/* JetStream's texts: as a nats-server 2.15 wrote them, and what nobody should write. */
#include "dataplane/table/jetstream.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void deliveries_are_read(void **state)
{
    static const struct {
        const char *text;
        int result;
        uint64_t stream, consumer, pending;
    } cases[] = {
        {"$JS.ACK.KV_x.abc.1.812.7.1700000000000000000.3", 0, 812, 7, 3},
        {"$JS.ACK.hub.acc.KV_x.abc.1.812.7.1700000000000000000.3", 0, 812, 7, 3},
        {"$JS.ACK.hub.acc.KV_x.abc.1.812.7.1700000000000000000.0.rand", 0, 812, 7, 0},
        {"$JS.ACK.KV_x.abc.1.18446744073709551615.7.1.3", 0, UINT64_MAX, 7, 3},
        {"$JS.ACK.KV_x.abc.1.18446744073709551616.7.1.3", -EINVAL, 0, 0, 0},
        {"$JS.ACK.KV_x.abc.1..7.1.3", -EINVAL, 0, 0, 0},
        {"$JS.ACK.KV_x.abc.1.x.7.1.3", -EINVAL, 0, 0, 0},
        {"$JS.ACK.KV_x.abc.1.812.7.1", -EINVAL, 0, 0, 0},
        {"$JS.ACK.KV_x.abc.1.812.7.1.3.", -EINVAL, 0, 0, 0},
        {"$JS.ACK.", -EINVAL, 0, 0, 0},
        {"$JS.FC.KV_x.abc.1", -EINVAL, 0, 0, 0},
        {"", -EINVAL, 0, 0, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct jetstream_delivery delivery = {0};

        assert_int_equal(jetstream_read_delivery(str_from(cases[i].text), &delivery),
                         cases[i].result);
        assert_int_equal(delivery.stream_sequence, cases[i].stream);
        assert_int_equal(delivery.consumer_sequence, cases[i].consumer);
        assert_int_equal(delivery.pending, cases[i].pending);
    }
    assert_int_equal(jetstream_read_delivery((struct str){0}, &(struct jetstream_delivery){0}),
                     -EINVAL);
}

static void answers_are_told_apart(void **state)
{
    static const struct {
        const char *text;
        int created, stored, published;
    } cases[] = {
        {"{\"type\":\"io.nats.jetstream.api.v1.consumer_create_response\",\"num_pending\":5}", 0,
         -EPROTO, -EPROTO},
        {"{\"message\":{\"subject\":\"s\",\"seq\":9,\"data\":\"aGkh\",\"time\":\"x\"}}", -EPROTO, 0,
         -EPROTO},
        {"{\"stream\":\"KV_metropolis_acks\",\"seq\":3}", -EPROTO, -EPROTO, 0},
        {"{\"error\":{\"code\":404,\"err_code\":10059,\"description\":\"stream not found\"}}",
         -ENOENT, -ENOENT, -ENOENT},
        {"{\"error\":{\"code\":503,\"err_code\":10008,\"description\":\"unavailable\"},"
         "\"num_pending\":5,\"seq\":3,\"message\":{\"seq\":9}}",
         -EREMOTEIO, -EREMOTEIO, -EREMOTEIO},
        {"{\"num_pending\":-1,\"seq\":\"3\",\"message\":{\"seq\":9,\"data\":\"!\"}}", -EPROTO,
         -EPROTO, -EPROTO},
        {"+OK", -EPROTO, -EPROTO, -EPROTO},
        {"[]", -EPROTO, -EPROTO, -EPROTO},
        {"", -EPROTO, -EPROTO, -EPROTO},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct str text = str_from(cases[i].text);
        uint64_t pending = 0, sequence = 0;
        struct buffer out;

        buffer_init(&out, 1000);
        assert_int_equal(jetstream_read_created(text, &pending), cases[i].created);
        assert_int_equal(pending, cases[i].created ? 0 : 5);
        assert_int_equal(jetstream_read_stored(text, &sequence, &out), cases[i].stored);
        assert_int_equal(sequence, cases[i].stored ? 0 : 9);
        assert_true(str_equal(buffer_view(&out), cases[i].stored ? STR_LIT("") : STR_LIT("hi!")));
        assert_int_equal(jetstream_read_published(text), cases[i].published);
        buffer_done(&out);
    }
}

static void payloads_of_every_length_come_out_whole(void **state)
{
    static const char *const cases[][2] = {
        {"", ""}, {"YQ==", "a"}, {"YWI=", "ab"}, {"YWJj", "abc"}, {"YWJjZA==", "abcd"},
    };
    char text[128];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buffer out;
        uint64_t sequence;

        buffer_init(&out, 100);
        snprintf(text, sizeof(text), "{\"message\":{\"seq\":1,\"data\":\"%s\"}}", cases[i][0]);
        assert_int_equal(jetstream_read_stored(str_from(text), &sequence, &out), 0);
        assert_true(str_equal(buffer_view(&out), str_from(cases[i][1])));
        buffer_done(&out);
    }
}

static void headers_are_found_by_their_whole_name(void **state)
{
    static const struct str block =
        STR_LIT("NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 12\r\nNats-Last: 3\r\n"
                "Empty:\r\nTight:x: y\r\nNats-Last: 4\r\n\r\n");
    static const struct {
        const char *name, *value; /* NULL: it is not there */
    } cases[] = {
        {"Nats-Last-Consumer", "12"},
        {"Nats-Last", "3"},
        {"Empty", ""},
        {"Tight", "x: y"},
        {"nats-last", NULL},
        {"Nats", NULL},
        {"Last", NULL},
        {"Nats-Last-Con", NULL},
        {"12", NULL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct str value = STR_LIT("untouched");
        bool found = jetstream_header(block, str_from(cases[i].name), &value);

        assert_int_equal(found, cases[i].value != NULL);
        assert_true(str_equal(value, str_from(cases[i].value ? cases[i].value : "untouched")));
    }
    assert_false(jetstream_header((struct str){0}, STR_LIT("Nats-Last"), &(struct str){0}));
    assert_false(jetstream_header(STR_LIT("Cut: 1"), STR_LIT("Cut"), &(struct str){0}));
}

static void no_responders_are_told_by_their_status(void **state)
{
    (void)state;
    assert_true(jetstream_is_no_responders(STR_LIT("NATS/1.0 503\r\n\r\n")));
    assert_true(jetstream_is_no_responders(STR_LIT("NATS/1.0 503 No Responders\r\n\r\n")));
    assert_false(jetstream_is_no_responders(STR_LIT("NATS/1.0 100 Idle Heartbeat\r\n\r\n")));
    assert_false(jetstream_is_no_responders(STR_LIT("NATS/1.0\r\nStatus: 503\r\n\r\n")));
    assert_false(jetstream_is_no_responders((struct str){0}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(deliveries_are_read),
        cmocka_unit_test(answers_are_told_apart),
        cmocka_unit_test(payloads_of_every_length_come_out_whole),
        cmocka_unit_test(headers_are_found_by_their_whole_name),
        cmocka_unit_test(no_responders_are_told_by_their_status),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
