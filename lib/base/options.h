/*
 * options: one table describes every command-line option of a program: flag, environment variable
 * METROPOLIS_<NAME>, default, help. The flag wins over the variable, the variable over the default.
 * Accepted forms: --name VALUE, --name=VALUE, and --name alone for a switch.
 *
 * An unknown option, a missing or bad value is reported on standard error with the option's name
 * and what is expected; the caller exits with 2.
 */
#ifndef LIB_BASE_OPTIONS_H
#define LIB_BASE_OPTIONS_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/str.h"

enum option_kind {
    OPTION_TEXT,     /* const char *: any text, borrowed from argv or the environment */
    OPTION_SWITCH,   /* bool: --name, --name=true|false */
    OPTION_COUNT,    /* uint64_t: decimal, min..max */
    OPTION_BYTES,    /* uint64_t: decimal with optional Ki, Mi, Gi, min..max */
    OPTION_DURATION, /* uint64_t, milliseconds: 500ms, 2s, 1m30s, 1h, min..max in ms */
    OPTION_CHOICE,   /* int: index into choices */
};

struct option {
    const char *group;       /* heading in --help; equal groups stand together */
    const char *name;        /* "drain-delay"; METROPOLIS_DRAIN_DELAY is derived from it */
    const char *placeholder; /* "D", NULL for a switch */
    enum option_kind kind;
    void *value;        /* where it goes, of the type named above */
    const char *preset; /* the default as text, parsed like a value; NULL: leave *value as it is */
    const char *const *choices; /* OPTION_CHOICE: NULL-terminated */
    uint64_t min, max;          /* of counts, bytes, durations; max 0: no maximum */
    const char *help;
};

enum options_result { OPTIONS_OK, OPTIONS_EXIT_OK, OPTIONS_EXIT_USAGE };

/*
 * Parses the defaults, then the environment, then argv. --help and --version print on standard
 * output and return OPTIONS_EXIT_OK (exit 0); any error returns OPTIONS_EXIT_USAGE (exit 2).
 */
enum options_result options_parse(const struct option *table, size_t count, const char *program,
                                  const char *summary, int argc, char **argv);
/* The same with operands ("FILE..."), at least one, anywhere among the options; "--" ends these.
 * They become argv[1] and what follows. */
enum options_result options_parse_operands(const struct option *table, size_t count,
                                           const char *program, const char *summary,
                                           const char *operands, int argc, char **argv,
                                           size_t *ret_operand_count);

/* "1m30s" to milliseconds: 0, or -EINVAL. Units: ms, s, m, h; each once, largest first. */
int options_parse_duration(struct str text, uint64_t *ret_ms);

#endif
