#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the above first. */
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/options.h"
#include "tests/unit/base/capture.h"

static struct {
    const char *nats;
    bool verbose;
    uint64_t loops, body, drain_ms;
    int format;
} got;

static const char *const formats[] = {"text", "json", NULL};
static const struct option table[] = {
    {.group = "NATS",
     .name = "nats",
     .placeholder = "URL,...",
     .kind = OPTION_TEXT,
     .value = &got.nats,
     .preset = "nats://127.0.0.1:4222",
     .help = "servers"},
    {.group = "Serving",
     .name = "loops",
     .placeholder = "N",
     .kind = OPTION_COUNT,
     .value = &got.loops,
     .preset = "1",
     .min = 1,
     .max = 64,
     .help =
         "event loops; this text is so long that it needs more than one line of a terminal that "
         "is a hundred columns wide"},
    {.group = "Serving",
     .name = "max-body",
     .placeholder = "BYTES",
     .kind = OPTION_BYTES,
     .value = &got.body,
     .preset = "1Mi",
     .max = 8388608,
     .help = "largest body"},
    {.group = "Serving",
     .name = "drain-delay",
     .placeholder = "D",
     .kind = OPTION_DURATION,
     .value = &got.drain_ms,
     .preset = "5s",
     .max = 60000,
     .help = "time to go on accepting"},
    {.group = "Logs",
     .name = "log-format",
     .kind = OPTION_CHOICE,
     .value = &got.format,
     .preset = "text",
     .choices = formats,
     .help = "of the log"},
    {.group = "Logs",
     .name = "verbose",
     .kind = OPTION_SWITCH,
     .value = &got.verbose,
     .preset = "false",
     .help = "say more"},
};
enum { COUNT = sizeof(table) / sizeof(table[0]) };

static struct capture output;

/* arguments: separated by spaces. fd: what to capture. */
static enum options_result parse(const char *arguments, int fd)
{
    char text[512], *argv[16] = {(char *)"test"};
    enum options_result result;
    int argc = 1;

    snprintf(text, sizeof(text), "%s", arguments);
    for (char *at = text; *at;) {
        argv[argc++] = at;
        at += strcspn(at, " ");
        if (*at)
            *at++ = '\0';
    }
    capture_begin(&output, fd);
    result = options_parse(table, COUNT, "test", "Tests options.", argc, argv);
    capture_end(&output);
    return result;
}

static void defaults_hold_where_nothing_is_said(void **state)
{
    (void)state;
    assert_int_equal(parse("", 2), OPTIONS_OK);
    assert_string_equal(got.nats, "nats://127.0.0.1:4222");
    assert_int_equal(got.loops, 1);
    assert_int_equal(got.body, 1048576);
    assert_int_equal(got.drain_ms, 5000);
    assert_int_equal(got.format, 0);
    assert_false(got.verbose);
}

static void all_accepted_forms_are_read(void **state)
{
    (void)state;
    assert_int_equal(
        parse("--loops 4 --max-body=64Ki --drain-delay 1m --log-format=json --verbose", 2),
        OPTIONS_OK);
    assert_int_equal(got.loops, 4);
    assert_int_equal(got.body, 65536);
    assert_int_equal(got.drain_ms, 60000);
    assert_int_equal(got.format, 1);
    assert_true(got.verbose);
    assert_int_equal(parse("--verbose=false --loops 2 --loops 3", 2), OPTIONS_OK);
    assert_false(got.verbose);
    assert_int_equal(got.loops, 3);
}

static void the_flag_wins_over_the_variable_and_that_over_the_default(void **state)
{
    (void)state;
    putenv((char *)"METROPOLIS_LOOPS=7");
    putenv((char *)"METROPOLIS_DRAIN_DELAY=2s");
    putenv((char *)"METROPOLIS_NATS=");              /* empty: as if unset */
    putenv((char *)"METROPOLIS_LOOPS_PORT=tcp://x"); /* as Kubernetes sets them: nobody's */
    assert_int_equal(parse("--loops 8", 2), OPTIONS_OK);
    assert_int_equal(got.loops, 8);
    assert_int_equal(got.drain_ms, 2000);
    assert_string_equal(got.nats, "nats://127.0.0.1:4222");
    putenv((char *)"METROPOLIS_LOOPS=many");
    assert_int_equal(parse("", 2), OPTIONS_EXIT_USAGE);
    assert_non_null(strstr(output.text, "METROPOLIS_LOOPS: \"many\""));
    putenv((char *)"METROPOLIS_LOOPS");
    putenv((char *)"METROPOLIS_DRAIN_DELAY");
}

static void errors_name_the_option_and_what_is_expected(void **state)
{
    static const char *const cases[][2] = {
        {"--lops 4", "--lops: no such option"},
        {"stray", "stray: no such option"},
        {"--", "--: no such option"},
        {"--loops", "--loops: its value is missing; expected: a whole number"},
        {"--loops 0", "--loops: \"0\" is not valid; expected: a whole number, at least 1, at most "
                      "64"},
        {"--loops 65", "--loops: \"65\""},
        {"--loops -1", "--loops: \"-1\""},
        {"--loops 4x", "--loops: \"4x\""},
        {"--loops 99999999999999999999", "--loops: "},
        {"--loops=", "--loops: \"\""},
        {"--max-body 9Mi", "at most 8Mi"},
        {"--max-body 1K", "--max-body: \"1K\""},
        {"--max-body 99999999999999Gi", "--max-body: "},
        {"--drain-delay 61s", "at most 60s"},
        {"--drain-delay 5", "a duration, such as 500ms, 2s or 1m30s"},
        {"--log-format xml", "--log-format: \"xml\" is not valid; expected: text or json"},
        {"--verbose=maybe", "true or false"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (parse(cases[i][0], 2) != OPTIONS_EXIT_USAGE)
            fail_msg("accepted: %s", cases[i][0]);
        if (!strstr(output.text, cases[i][1]))
            fail_msg("%s: %s", cases[i][0], output.text);
    }
}

static void operands_stand_anywhere_and_lead_in_the_end(void **state)
{
    static const struct {
        const char *line, *operands;
    } cases[] = {
        {"a --loops 4 b --verbose - c", "a b - c "},
        {"--loops=4 -- a --loops", "a --loops "},
        {"", NULL},
        {"--loops 4", NULL},
        {"a -b", NULL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *argv[16] = {(char *)"test"}, line[256], *rest, found[256] = "";
        enum options_result result;
        size_t count = 0;
        int argc = 1;

        snprintf(line, sizeof(line), "%s", cases[i].line);
        for (char *word = strtok_r(line, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
            argv[argc++] = word;
        capture_begin(&output, 2);
        result =
            options_parse_operands(table, COUNT, "test", "Tests.", "FILE...", argc, argv, &count);
        capture_end(&output);
        assert_int_equal(result, cases[i].operands ? OPTIONS_OK : OPTIONS_EXIT_USAGE);
        for (size_t j = 0; j < count; j++)
            snprintf(found + strlen(found), sizeof(found) - strlen(found), "%s ", argv[1 + j]);
        assert_string_equal(found, cases[i].operands ? cases[i].operands : "");
    }
}

static void help_lists_every_option_under_its_group(void **state)
{
    const char *line;

    (void)state;
    assert_int_equal(parse("--loops nonsense --help", 1), OPTIONS_EXIT_OK);
    for (size_t i = 0; i < COUNT; i++) {
        assert_non_null(strstr(output.text, table[i].name));
        assert_non_null(strstr(output.text, table[i].group));
    }
    assert_non_null(strstr(output.text, "(default: 1Mi)"));
    assert_non_null(strstr(output.text, "--log-format text|json"));
    for (line = output.text; *line; line += strcspn(line, "\n") + 1)
        assert_true(strcspn(line, "\n") <= 100);
    assert_int_equal(parse("--version", 1), OPTIONS_EXIT_OK);
    assert_string_equal(output.text, "test " METROPOLIS_VERSION "\n");
}

static void durations_have_each_unit_once_and_the_largest_first(void **state)
{
    static const struct {
        const char *text;
        int64_t ms; /* -1: refused */
    } cases[] = {
        {"0s", 0},
        {"500ms", 500},
        {"2s", 2000},
        {"1m30s", 90000},
        {"1h2m3s4ms", 3723004},
        {"1h1ms", 3600001},
        {"", -1},
        {"5", -1},
        {"s", -1},
        {"-1s", -1},
        {"1.5s", -1},
        {"1s1m", -1},
        {"1s1s", -1},
        {"1d", -1},
        {"1s ", -1},
        {"1S", -1},
        {"18446744073709551615h", -1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t ms = 0;
        int r = options_parse_duration(str_from(cases[i].text), &ms);

        if (cases[i].ms < 0 ? r != -EINVAL : r != 0 || ms != (uint64_t)cases[i].ms)
            fail_msg("%s: %d, %llu", cases[i].text, r, (unsigned long long)ms);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_hold_where_nothing_is_said),
        cmocka_unit_test(all_accepted_forms_are_read),
        cmocka_unit_test(the_flag_wins_over_the_variable_and_that_over_the_default),
        cmocka_unit_test(errors_name_the_option_and_what_is_expected),
        cmocka_unit_test(operands_stand_anywhere_and_lead_in_the_end),
        cmocka_unit_test(help_lists_every_option_under_its_group),
        cmocka_unit_test(durations_have_each_unit_once_and_the_largest_first),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
