/*
 * log: builds one line on the stack and writes it with one call.
 *
 * A line has a fixed size. A text that does not fit is cut where the room ends and the line says
 * "truncated"; END_ROOM bytes are kept free for what must still come, so a JSON line is whole JSON
 * whatever it was given. Nothing is allocated: logging works when memory is what failed.
 *
 * Any thread may log. The setup happens before there is a second thread; only the level changes
 * later, and is atomic.
 *
 * Values are untrusted. Control bytes and bytes that are no UTF-8 are escaped in both formats, so a
 * value can neither begin a line of its own nor speak to a terminal. U+007F-U+009F are controls,
 * too; U+2028 and U+2029 would end a line for some readers.
 */
#include "lib/base/log.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/utf8.h"

enum { LINE_MAX_BYTES = 8192, END_ROOM = 64 };

struct line {
    char bytes[LINE_MAX_BYTES];
    size_t length;
    bool truncated;
};

static struct {
    const char *program;
    enum log_format format;
    atomic_int level;
} setup = {.program = "metropolis", .level = LOG_LEVEL_INFO};

static const char *const level_names[] = {"debug", "info", "warn", "error"};

void log_setup(const char *program, enum log_level level, enum log_format format)
{
    setup.program = program;
    setup.format = format;
    atomic_store_explicit(&setup.level, level, memory_order_relaxed);
}

bool log_enabled(enum log_level level)
{
    return (int)level >= atomic_load_explicit(&setup.level, memory_order_relaxed);
}

static bool line_fits(struct line *line, size_t size)
{
    bool fits = line->length + size <= sizeof(line->bytes) - END_ROOM;

    line->truncated |= !fits;
    return fits;
}

/* Only for what END_ROOM covers or line_fits was asked for. */
static void line_put(struct line *line, const char *bytes, size_t size)
{
    assert(size <= sizeof(line->bytes) - line->length);
    memcpy(line->bytes + line->length, bytes, size);
    line->length += size;
}

static void line_put_text(struct line *line, const char *text)
{
    line_put(line, text, strlen(text));
}

/*
 * How the next character of text is written: itself or an escape. Returns the bytes of text that it
 * stands for.
 */
static size_t escape_next(struct str text, char escape[8], struct str *ret_written)
{
    size_t size = utf8_char_length(text);
    unsigned char c = (unsigned char)text.ptr[0];
    int written;

    *ret_written = str_make(text.ptr, size);
    if (size == 0) {
        *ret_written = STR_LIT("\xEF\xBF\xBD"); /* U+FFFD */
        return 1;
    }
    if (c == '"' || c == '\\')
        written = snprintf(escape, 8, "\\%c", c);
    else if (c < 0x20 || c == 0x7F)
        written = snprintf(escape, 8, "\\u%04x", c);
    else if (c == 0xC2 && (unsigned char)text.ptr[1] < 0xA0)
        written = snprintf(escape, 8, "\\u%04x", (unsigned char)text.ptr[1]);
    else if (size == 3 &&
             (memcmp(text.ptr, "\xE2\x80\xA8", 3) == 0 || memcmp(text.ptr, "\xE2\x80\xA9", 3) == 0))
        written = snprintf(escape, 8, "\\u%04x", 0x2000 + (unsigned char)text.ptr[2] - 0x80);
    else
        return size;
    *ret_written = str_make(escape, (size_t)written);
    return size;
}

static void line_put_escaped(struct line *line, struct str text)
{
    char escape[8];
    struct str written;

    while (text.len) {
        size_t size = escape_next(text, escape, &written);

        if (!line_fits(line, written.len))
            return;
        line_put(line, written.ptr, written.len);
        text = str_after(text, size);
    }
}

static void line_put_quoted(struct line *line, struct str text)
{
    line_put(line, "\"", 1);
    line_put_escaped(line, text);
    line_put(line, "\"", 1);
}

/* Whether a value of the text format can stand without quotes. */
static bool plain(struct str text)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];

        if (c <= ' ' || c >= 0x7F || c == '"' || c == '\\' || c == '=')
            return false;
    }
    return text.len > 0;
}

static void line_put_value(struct line *line, const struct log_field *field, bool json)
{
    char number[32] = "null"; /* what JSON has for a number that is none */

    switch (field->kind) {
    case LOG_VALUE_STR:
        if (json || !plain(field->text))
            line_put_quoted(line, field->text);
        else
            line_put_escaped(line, field->text);
        return;
    case LOG_VALUE_U64:
        snprintf(number, sizeof(number), "%" PRIu64, field->number.u64);
        break;
    case LOG_VALUE_I64:
        snprintf(number, sizeof(number), "%" PRId64, field->number.i64);
        break;
    case LOG_VALUE_F64:
        if (!json || isfinite(field->number.f64))
            snprintf(number, sizeof(number), "%.6g", field->number.f64);
        break;
    case LOG_VALUE_END:
        break;
    }
    line_put_text(line, number);
}

static void line_put_fields(struct line *line, const struct log_field *fields, bool json)
{
    for (; fields->kind != LOG_VALUE_END; fields++) {
        if (!line_fits(line, strlen(fields->key) + 40)) /* separators, quotes, a number */
            continue;
        line_put_text(line, json ? ",\"" : " ");
        line_put_text(line, fields->key);
        line_put_text(line, json ? "\":" : "=");
        line_put_value(line, fields, json);
    }
}

static void time_write(char *text, size_t size)
{
    struct timespec now;
    struct tm utc;
    size_t length;

    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    length = strftime(text, size, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(text + length, size - length, ".%03dZ", (int)(now.tv_nsec / 1000000));
}

static void line_put_json(struct line *line, enum log_level level, const char *message,
                          const struct log_field *fields, const char *now)
{
    line_put_text(line, "{\"time\":\"");
    line_put_text(line, now);
    line_put_text(line, "\",\"level\":\"");
    line_put_text(line, level_names[level]);
    line_put_text(line, "\",\"program\":");
    line_put_quoted(line, str_from(setup.program));
    line_put_text(line, ",\"message\":");
    line_put_quoted(line, str_from(message));
    line_put_fields(line, fields, true);
    line_put_text(line, line->truncated ? ",\"truncated\":true}\n" : "}\n");
}

static void line_put_plain(struct line *line, enum log_level level, const char *message,
                           const struct log_field *fields, const char *now)
{
    char head[64];

    snprintf(head, sizeof(head), "%s %-5s ", now, level_names[level]);
    line_put_text(line, head);
    line_put_escaped(line, str_from(setup.program));
    line_put_text(line, ": ");
    line_put_escaped(line, str_from(message));
    line_put_fields(line, fields, false);
    line_put_text(line, line->truncated ? " truncated=true\n" : "\n");
}

void log_write(enum log_level level, const char *message, const struct log_field *fields)
{
    int saved_errno = errno;
    struct line line;
    char now[40];

    line.length = 0;
    line.truncated = false;
    time_write(now, sizeof(now));
    if (setup.format == LOG_FORMAT_JSON)
        line_put_json(&line, level, message, fields, now);
    else
        line_put_plain(&line, level, message, fields, now);
    for (size_t at = 0; at < line.length;) {
        ssize_t written = write(STDERR_FILENO, line.bytes + at, line.length - at);

        if (written < 0 && errno != EINTR)
            break; /* nobody is left to be told */
        at += written > 0 ? (size_t)written : 0;
    }
    errno = saved_errno;
}
