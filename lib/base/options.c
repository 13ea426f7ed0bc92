/*
 * options: the table is gone through three times (defaults, environment, argv), so each pass simply
 * overwrites what the one before it set. All values go through one parser, also the defaults: a
 * default that does not parse is a programmer's error.
 *
 * An empty environment variable counts as unset, because charts and unit files can hardly leave a
 * variable out. Variables that no option has are not an error: Kubernetes itself sets some with our
 * prefix for every Service whose name begins with "metropolis".
 */
#include "lib/base/options.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

enum { HELP_COLUMN = 34, HELP_WIDTH = 100, VARIABLE_MAX = 80 };

/* Digits at the front of *text, moved past; -EINVAL: none, -ERANGE: more than 64 bits. */
static int number_take(struct str *text, uint64_t *ret_number)
{
    uint64_t number = 0;
    size_t digits = 0;

    for (; digits < text->len && text->ptr[digits] >= '0' && text->ptr[digits] <= '9'; digits++)
        if (__builtin_mul_overflow(number, 10, &number) ||
            __builtin_add_overflow(number, (uint64_t)(text->ptr[digits] - '0'), &number))
            return -ERANGE;
    *text = str_after(*text, digits);
    *ret_number = number;
    return digits ? 0 : -EINVAL;
}

int options_parse_duration(struct str text, uint64_t *ret_ms)
{
    static const struct {
        struct str name;
        uint64_t ms;
    } units[] = {
        {STR_LIT("h"), 3600000}, {STR_LIT("m"), 60000}, {STR_LIT("s"), 1000}, {STR_LIT("ms"), 1}};
    enum { UNITS = sizeof(units) / sizeof(units[0]) };
    uint64_t total = 0, number;
    size_t unit = 0;

    if (text.len == 0)
        return -EINVAL;
    while (text.len) {
        size_t letters = 0;

        if (number_take(&text, &number) < 0)
            return -EINVAL;
        while (letters < text.len && isalpha((unsigned char)text.ptr[letters]))
            letters++;
        while (unit < UNITS && !str_equal(units[unit].name, str_make(text.ptr, letters)))
            unit++;
        if (unit == UNITS || __builtin_mul_overflow(number, units[unit].ms, &number) ||
            __builtin_add_overflow(total, number, &total))
            return -EINVAL;
        unit++;
        text = str_after(text, letters);
    }
    *ret_ms = total;
    return 0;
}

static int bytes_parse(struct str text, uint64_t *ret_bytes)
{
    static const struct str suffixes[] = {STR_LIT(""), STR_LIT("Ki"), STR_LIT("Mi"), STR_LIT("Gi")};
    int r = number_take(&text, ret_bytes);

    if (r < 0)
        return r;
    for (unsigned i = 0; i < 4; i++)
        if (str_equal(text, suffixes[i]))
            return __builtin_mul_overflow(*ret_bytes, 1ULL << (10 * i), ret_bytes) ? -ERANGE : 0;
    return -EINVAL;
}

static int number_parse(const struct option *option, struct str text)
{
    uint64_t number;
    int r;

    if (option->kind == OPTION_DURATION)
        r = options_parse_duration(text, &number);
    else if (option->kind == OPTION_BYTES)
        r = bytes_parse(text, &number);
    else
        r = number_take(&text, &number) < 0 || text.len ? -EINVAL : 0;
    if (r < 0)
        return r;
    if (number < option->min || (option->max && number > option->max))
        return -ERANGE;
    *(uint64_t *)option->value = number;
    return 0;
}

static int value_parse(const struct option *option, const char *text)
{
    switch (option->kind) {
    case OPTION_TEXT:
        *(const char **)option->value = text;
        return 0;
    case OPTION_SWITCH:
        if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
            return -EINVAL;
        *(bool *)option->value = *text == 't';
        return 0;
    case OPTION_CHOICE:
        for (int i = 0; option->choices[i]; i++)
            if (strcmp(text, option->choices[i]) == 0) {
                *(int *)option->value = i;
                return 0;
            }
        return -EINVAL;
    case OPTION_COUNT:
    case OPTION_BYTES:
    case OPTION_DURATION:
        break;
    }
    return number_parse(option, str_from(text));
}

static void choices_print(const struct option *option, FILE *file, const char *between)
{
    for (size_t i = 0; option->choices[i]; i++)
        fprintf(file, "%s%s", i ? between : "", option->choices[i]);
}

/* A number in the unit that people would write it in. */
static void number_print(const struct option *option, uint64_t number, FILE *file)
{
    static const char *const binary[] = {"", "Ki", "Mi", "Gi"};
    unsigned power = 0;

    if (option->kind == OPTION_DURATION) {
        bool seconds = number % 1000 == 0;

        fprintf(file, "%llu%s", (unsigned long long)(seconds ? number / 1000 : number),
                seconds ? "s" : "ms");
        return;
    }
    while (option->kind == OPTION_BYTES && number && number % 1024 == 0 && power < 3) {
        number /= 1024;
        power++;
    }
    fprintf(file, "%llu%s", (unsigned long long)number, binary[power]);
}

static void expectation_print(const struct option *option, FILE *file)
{
    static const char *const kinds[] = {
        [OPTION_COUNT] = "a whole number",
        [OPTION_BYTES] = "bytes, such as 4096, 64Ki or 1Mi",
        [OPTION_DURATION] = "a duration, such as 500ms, 2s or 1m30s",
    };

    if (option->kind == OPTION_SWITCH) {
        fputs("true or false", file);
    } else if (option->kind == OPTION_CHOICE) {
        choices_print(option, file, " or ");
    } else {
        fputs(option->kind == OPTION_TEXT ? "a text" : kinds[option->kind], file);
        if (option->min) {
            fputs(", at least ", file);
            number_print(option, option->min, file);
        }
        if (option->max) {
            fputs(", at most ", file);
            number_print(option, option->max, file);
        }
    }
}

/* source: "--name" or the variable. */
static int value_set(const struct option *option, const char *text, const char *program,
                     const char *source)
{
    int r = value_parse(option, text);

    if (r < 0) {
        fprintf(stderr, "%s: %s: \"%s\" is not valid; expected: ", program, source, text);
        expectation_print(option, stderr);
        fputc('\n', stderr);
    }
    return r;
}

static void variable_name(const struct option *option, char name[VARIABLE_MAX])
{
    int length = snprintf(name, VARIABLE_MAX, "METROPOLIS_%s", option->name);

    assert(length > 0 && length < VARIABLE_MAX);
    for (char *c = name; *c; c++)
        *c = *c == '-' ? '_' : (char)toupper((unsigned char)*c);
}

static int environment_read(const struct option *table, size_t count, const char *program)
{
    char variable[VARIABLE_MAX];

    for (size_t i = 0; i < count; i++) {
        variable_name(&table[i], variable);
        const char *text = getenv(variable);

        if (text && *text && value_set(&table[i], text, program, variable) < 0)
            return -EINVAL;
    }
    return 0;
}

/* Writes words from column HELP_COLUMN on, lines of at most HELP_WIDTH. */
static void words_print(const char *words, size_t column)
{
    while (*words) {
        size_t length = strcspn(words, " ");

        if (column > HELP_COLUMN && column + 1 + length > HELP_WIDTH) {
            printf("\n%*s", HELP_COLUMN, "");
            column = HELP_COLUMN;
        } else if (column > HELP_COLUMN) {
            putchar(' ');
            column++;
        }
        printf("%.*s", (int)length, words);
        column += length;
        words += length + strspn(words + length, " ");
    }
}

static void option_print(const struct option *option)
{
    char note[256] = "";
    int column = printf("  --%s", option->name);

    if (option->placeholder) {
        column += printf(" %s", option->placeholder);
    } else if (option->kind == OPTION_CHOICE) {
        putchar(' ');
        choices_print(option, stdout, "|");
        column = HELP_COLUMN;
    }
    if (column >= HELP_COLUMN)
        printf("\n%*s", HELP_COLUMN, "");
    else
        printf("%*s", HELP_COLUMN - column, "");
    if (option->preset && *option->preset)
        snprintf(note, sizeof(note), "%s (default: %s)", option->help, option->preset);
    else
        snprintf(note, sizeof(note), "%s", option->help);
    words_print(note, HELP_COLUMN);
    putchar('\n');
}

static bool same_group(const struct option *a, const struct option *b)
{
    return strcmp(a->group, b->group) == 0;
}

static void help_print(const struct option *table, size_t count, const char *program,
                       const char *summary, const char *operands)
{
    printf("Usage: %s [OPTION...]%s%s\n\n%s\n\nEvery option is also an environment variable: "
           "METROPOLIS_ and its name in capitals, - as _.\nAn option wins over its variable.\n",
           program, operands ? " " : "", operands ? operands : "", summary);
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || !same_group(&table[i], &table[i - 1]))
            printf("\n%s\n", table[i].group);
        option_print(&table[i]);
    }
    printf("\nOther\n  %-*s%s\n  %-*s%s\n", HELP_COLUMN - 2, "--help", "this text", HELP_COLUMN - 2,
           "--version", "the version");
}

static const struct option *option_find(const struct option *table, size_t count, struct str name)
{
    for (size_t i = 0; i < count; i++)
        if (str_equal(str_from(table[i].name), name))
            return &table[i];
    return NULL;
}

/* Takes argv[at] and maybe its value: the number of arguments taken, or -EINVAL, reported. */
static int argument_read(const struct option *table, size_t count, const char *program, char **argv)
{
    const char *equals = strchr(argv[0], '=');
    size_t length = equals ? (size_t)(equals - argv[0]) : strlen(argv[0]);
    const struct option *option = NULL;
    char source[VARIABLE_MAX];
    const char *value = equals ? equals + 1 : argv[1];

    if (strncmp(argv[0], "--", 2) == 0)
        option = option_find(table, count, str_make(argv[0] + 2, length - 2));
    if (!option) {
        fprintf(stderr, "%s: %.*s: no such option (--help lists all)\n", program, (int)length,
                argv[0]);
        return -EINVAL;
    }
    snprintf(source, sizeof(source), "--%s", option->name);
    if (option->kind == OPTION_SWITCH && !equals) {
        *(bool *)option->value = true;
        return 1;
    }
    if (!value) {
        fprintf(stderr, "%s: %s: its value is missing; expected: ", program, source);
        expectation_print(option, stderr);
        fputc('\n', stderr);
        return -EINVAL;
    }
    return value_set(option, value, program, source) < 0 ? -EINVAL : equals ? 1 : 2;
}

/* operands NULL: there may be none. */
static int arguments_read(const struct option *table, size_t count, const char *program,
                          const char *operands, char **argv, int argc, size_t *ret_operand_count)
{
    size_t operand_count = 0;
    bool options_end = false;

    for (int i = 1; i < argc;) {
        int taken = 1;

        if (operands && !options_end && strcmp(argv[i], "--") == 0)
            options_end = true;
        else if (operands && (options_end || argv[i][0] != '-' || !argv[i][1]))
            argv[++operand_count] = argv[i];
        else
            taken = argument_read(table, count, program, argv + i);
        if (taken < 0)
            return -EINVAL;
        i += taken;
    }
    if (operands && !operand_count) {
        fprintf(stderr, "%s: %s: missing (--help explains)\n", program, operands);
        return -EINVAL;
    }
    *ret_operand_count = operand_count;
    return 0;
}

enum options_result options_parse_operands(const struct option *table, size_t count,
                                           const char *program, const char *summary,
                                           const char *operands, int argc, char **argv,
                                           size_t *ret_operand_count)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            help_print(table, count, program, summary, operands);
            return OPTIONS_EXIT_OK;
        }
        if (strcmp(argv[i], "--version") == 0) {
            printf("%s %s\n", program, METROPOLIS_VERSION);
            return OPTIONS_EXIT_OK;
        }
    }
    for (size_t i = 0; i < count; i++)
        if (table[i].preset && value_parse(&table[i], table[i].preset) < 0)
            assert(!"a default that does not parse");
    if (environment_read(table, count, program) < 0 ||
        arguments_read(table, count, program, operands, argv, argc, ret_operand_count) < 0)
        return OPTIONS_EXIT_USAGE;
    return OPTIONS_OK;
}

enum options_result options_parse(const struct option *table, size_t count, const char *program,
                                  const char *summary, int argc, char **argv)
{
    size_t none;

    return options_parse_operands(table, count, program, summary, NULL, argc, argv, &none);
}
