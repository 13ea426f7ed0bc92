/*
 * generate: Routes and requests out of bytes, as lines for build.h. The words are few, so that
 * patterns overlap and requests hit them. The bytes come from a fuzzer or a random source; after
 * the last one every choice is the first.
 */
#ifndef TESTS_UNIT_ROUTE_GENERATE_H
#define TESTS_UNIT_ROUTE_GENERATE_H

#include <assert.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include "tests/unit/route/build.h"

enum { GENERATE_LINE_MAX = 1024 };

struct choices {
    const uint8_t *bytes;
    size_t size, used;
};

static inline unsigned choose(struct choices *choices, unsigned count)
{
    return choices->used < choices->size ? choices->bytes[choices->used++] % count : 0;
}

/* A line as it grows. */
struct line {
    char text[GENERATE_LINE_MAX];
    size_t used;
};

static inline void __attribute__((format(printf, 2, 3)))
line_add(struct line *line, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    line->used +=
        (size_t)vsnprintf(line->text + line->used, sizeof(line->text) - line->used, format, args);
    va_end(args);
    assert(line->used < sizeof(line->text));
}

static inline void generate_conditions(struct choices *choices, struct line *line)
{
    for (unsigned count = choose(choices, 8), i = 5; i < count; i++)
        line_add(line, " %c:%c=%u", "hq"[choose(choices, 2)], "kl"[i - 5], choose(choices, 2));
}

static inline void generate_path(struct choices *choices, struct line *line, bool params)
{
    static const char *const words[] = {"a", "b", "", "a", "c", "{p}", "{q}"};
    unsigned count = choose(choices, 4);

    for (unsigned i = 0; i <= count; i++)
        line_add(line, "/%s", words[choose(choices, params ? 7 : 5)]);
}

static inline void generate_match(struct choices *choices, struct line *line)
{
    static const char *const methods[] = {"ANY", "GET", "HEAD", "POST", "GET", "PUT"};
    static const char *const regexes[] = {"/a.*", "/.", "/[ab]/b", "/a/b", "(/[^/]*){2,3}"};

    line_add(line, " %s ", methods[choose(choices, 6)]);
    switch (choose(choices, 7)) {
    case 0:
    case 1:
        line_add(line, "exact:");
        generate_path(choices, line, false);
        break;
    case 2:
    case 3:
        line_add(line, "prefix:");
        generate_path(choices, line, false);
        break;
    case 4:
        line_add(line, "regex:%s", regexes[choose(choices, 5)]);
        break;
    case 5:
        line_add(line, "template:");
        generate_path(choices, line, true);
        break;
    default:
        line_add(line, "template:");
        if (choose(choices, 4))
            generate_path(choices, line, true);
        line_add(line, "/{rest...}");
    }
    generate_conditions(choices, line);
}

static inline struct route *generate_route(struct choices *choices, unsigned number)
{
    static const char *const hosts[] = {"-",       "a.com",         "*.com",           "b.a.com",
                                        "*.a.com", "*.a.com,a.com", "a.com,*.b.a.com", "com"};
    struct line line = {.used = 0};
    unsigned extra = choose(choices, 8);

    line_add(&line, "%c/%u %u %s", "xy"[number % 2], number, choose(choices, 4),
             hosts[choose(choices, 8)]);
    generate_match(choices, &line);
    for (unsigned i = 4; i < extra; i++) {
        line_add(&line, choose(choices, 2) ? " ;" : " |");
        generate_match(choices, &line);
    }
    return build_route(line.text);
}

/* The line must outlive the request. */
static inline void generate_request(struct choices *choices, struct line *line,
                                    struct built_request *ret_built)
{
    static const char *const methods[] = {"GET", "HEAD", "POST", "DELETE"};
    static const char *const hosts[] = {"a.com", "b.a.com", "c.b.a.com", "-", "com", ".a.com"};

    line->used = 0;
    line_add(line, "%s %s ", methods[choose(choices, 4)], hosts[choose(choices, 6)]);
    generate_path(choices, line, false);
    line_add(line, " h:k=%u q:k=%u h:l=%u q:l=%u", choose(choices, 3), choose(choices, 3),
             choose(choices, 3), choose(choices, 3));
    build_request(ret_built, line->text);
}

#endif
