/*
 * log: one line per event on standard error, as text or as JSON. A line is a message and pairs of
 * key and value; it is written with one write(2), so lines of several threads do not mix. Values
 * are escaped: no control byte, no invalid UTF-8 reaches the terminal.
 *
 *      log_info("table swapped", LOG_U64("revision", rev), LOG_STR("gateway", name));
 *
 * Libraries do not log; the caller that gives up logs once.
 */
#ifndef LIB_BASE_LOG_H
#define LIB_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/str.h"

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };
enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

enum log_value_kind { LOG_VALUE_END, LOG_VALUE_STR, LOG_VALUE_U64, LOG_VALUE_I64, LOG_VALUE_F64 };

struct log_field {
    enum log_value_kind kind;
    const char *key;
    struct str text;
    union {
        uint64_t u64;
        int64_t i64;
        double f64;
    } number;
};

#define LOG_STR(k, v) ((struct log_field){.kind = LOG_VALUE_STR, .key = (k), .text = (v)})
#define LOG_TEXT(k, v) ((struct log_field){.kind = LOG_VALUE_STR, .key = (k), .text = str_from(v)})
#define LOG_U64(k, v) ((struct log_field){.kind = LOG_VALUE_U64, .key = (k), .number.u64 = (v)})
#define LOG_I64(k, v) ((struct log_field){.kind = LOG_VALUE_I64, .key = (k), .number.i64 = (v)})
#define LOG_F64(k, v) ((struct log_field){.kind = LOG_VALUE_F64, .key = (k), .number.f64 = (v)})

/* Set once by main before any other thread starts; the level may change later (atomic). */
void log_setup(const char *program, enum log_level level, enum log_format format);
bool log_enabled(enum log_level level);

/* fields: ends with a field of kind LOG_VALUE_END. */
void log_write(enum log_level level, const char *message, const struct log_field *fields);

#define LOG_AT(level, message, ...)                                                             \
    do {                                                                                        \
        if (log_enabled(level))                                                                 \
            log_write(                                                                          \
                level, message,                                                                 \
                (const struct log_field[]){__VA_ARGS__ __VA_OPT__(, ){.kind = LOG_VALUE_END}}); \
    } while (0)
#define log_debug(...) LOG_AT(LOG_LEVEL_DEBUG, __VA_ARGS__)
#define log_info(...) LOG_AT(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_warn(...) LOG_AT(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_error(...) LOG_AT(LOG_LEVEL_ERROR, __VA_ARGS__)

#endif
