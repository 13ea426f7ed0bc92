/* origin: traces: which begin here, which are passed on, and which of them are sampled. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after those */
#include <cmocka.h>

#include "dataplane/origin.h"

#define PARENT "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-"

static struct random_source source;
static struct arena scratch;

/* Reads the origin of a request with this traceparent. */
static void read_trace(struct origin_rules *rules, bool trusted, const char *traceparent,
                       struct origin *origin)
{
    struct conn conn = {.peer_judged = true, .peer_trusted = trusted};
    struct http_header header = {STR_LIT("Traceparent"), str_from(traceparent)};
    const struct http_request request = {
        .authority = STR_LIT("a.test"),
        .host = STR_LIT("a.test"),
        .headers = &header,
        .header_count = 1,
    };

    arena_reset(&scratch);
    assert_int_equal(origin_read(&conn, &request, rules, &source, &scratch, origin), 0);
    assert_int_equal(origin->traceparent.len, ORIGIN_TRACE_BYTES);
}

static bool is_trace(const struct origin *origin, const char *text)
{
    return str_equal(origin->traceparent, str_from(text));
}

static void of_strangers_no_trace_is_believed(void **state)
{
    struct origin_rules rules = {0};
    struct origin origin;

    (void)state;
    read_trace(&rules, false, PARENT "01", &origin);
    assert_true(str_starts_with(origin.traceparent, STR_LIT("00-")));
    assert_true(str_equal(str_make(origin.traceparent.ptr + 3, 32), origin.request_id));
    assert_true(str_equal(str_after(origin.traceparent, 52), STR_LIT("-00")));
}

static void a_proxy_s_trace_is_passed_on_as_it_is(void **state)
{
    struct origin_rules rules = {.sampled_below = UINT64_MAX};
    struct origin origin;

    (void)state;
    read_trace(&rules, true, PARENT "01", &origin);
    assert_true(is_trace(&origin, PARENT "01"));
    read_trace(&rules, true, PARENT "00", &origin);
    assert_true(is_trace(&origin, PARENT "00"));
    read_trace(&rules, true, "00-nonsense", &origin);
    assert_true(str_equal(str_make(origin.traceparent.ptr + 3, 32), origin.request_id));
    assert_true(str_equal(str_after(origin.traceparent, 52), STR_LIT("-01")));
}

static void sampling_anew_goes_by_the_id_alone(void **state)
{
    struct origin_rules rules = {.resample = true};
    struct origin origin;

    (void)state;
    read_trace(&rules, true, PARENT "01", &origin);
    assert_true(is_trace(&origin, PARENT "00")); /* none is sampled */
    rules.sampled_below = 0x8448eb211c80319c;
    read_trace(&rules, true, PARENT "01", &origin);
    assert_true(is_trace(&origin, PARENT "00"));
    rules.sampled_below = 0x8448eb211c80319d;
    read_trace(&rules, true, PARENT "00", &origin);
    assert_true(is_trace(&origin, PARENT "01"));
}

static void a_share_of_new_traces_is_sampled(void **state)
{
    struct origin_rules rules = {.sampled_below = UINT64_MAX / 4};
    struct origin origin;
    unsigned sampled = 0;

    (void)state;
    for (int i = 0; i < 4000; i++) {
        read_trace(&rules, false, "", &origin);
        sampled += origin.traceparent.ptr[54] == '1';
    }
    assert_in_range(sampled, 800, 1200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(of_strangers_no_trace_is_believed),
        cmocka_unit_test(a_proxy_s_trace_is_passed_on_as_it_is),
        cmocka_unit_test(sampling_anew_goes_by_the_id_alone),
        cmocka_unit_test(a_share_of_new_traces_is_sampled),
    };

    random_init(&source);
    arena_init(&scratch, 65536);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);

    arena_done(&scratch);
    return failed;
}
