/*
 * access_log: see access_log.h. Standard output is opened anew through /proc: the new description
 * can be made non-blocking without doing so to the one that other processes share. A socket cannot
 * be opened that way and stays blocking.
 */
#include "dataplane/loop/access_log.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <time.h>
#include <unistd.h>

enum { LINES_MAX_BYTES = 1024 * 1024 };

static void flush(struct access_log *log)
{
    ssize_t written;

    if (buffer_length(&log->lines) == 0)
        return;
    written = write(log->fd, buffer_view(&log->lines).ptr, buffer_length(&log->lines));
    if (written > 0)
        buffer_consume(&log->lines, (size_t)written);
    else if (written < 0 && errno != EAGAIN && errno != EINTR) {
        log->lost++; /* nobody reads any more */
        buffer_clear(&log->lines, LINES_MAX_BYTES);
    }
}

static void on_prepare(uv_prepare_t *prepare)
{
    flush((struct access_log *)((char *)prepare - offsetof(struct access_log, prepare)));
}

int access_log_init(struct access_log *log, uv_loop_t *loop, enum access_log_format format)
{
    *log = (struct access_log){.format = format, .fd = -1, .second = -1};
    buffer_init(&log->lines, LINES_MAX_BYTES);
    if (format == ACCESS_LOG_OFF)
        return 0;
    log->fd = open("/proc/self/fd/1", O_WRONLY | O_APPEND | O_NONBLOCK | O_CLOEXEC);
    if (log->fd < 0)
        log->fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
    if (log->fd < 0)
        return -errno;
    uv_prepare_init(loop, &log->prepare);
    uv_prepare_start(&log->prepare, on_prepare);
    uv_unref((uv_handle_t *)&log->prepare);
    return 0;
}

void access_log_done(struct access_log *log)
{
    if (log->format != ACCESS_LOG_OFF) {
        flush(log);
        uv_close((uv_handle_t *)&log->prepare, NULL);
        close(log->fd);
    }
    buffer_done(&log->lines);
}

/* Quotes, backslashes and control bytes escaped as in JSON; bytes above 0x7E too, as \u00XX, since
 * what a client sent need not be UTF-8. */
static int append_escaped(struct buffer *lines, struct str text)
{
    static const char digits[] = "0123456789abcdef";
    char *room = buffer_reserve(lines, text.len * 6), *to = room;

    if (!room)
        return -ENOBUFS;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];

        if (c >= 0x20 && c < 0x7F) {
            if (c == '"' || c == '\\')
                *to++ = '\\';
            *to++ = (char)c;
            continue;
        }
        memcpy(to, "\\u00", 4);
        to[4] = digits[c >> 4];
        to[5] = digits[c & 15];
        to += 6;
    }
    buffer_commit(lines, (size_t)(to - room));
    return 0;
}

static int append_quoted(struct buffer *lines, struct str text)
{
    int code = buffer_append_byte(lines, '"');

    if (!code)
        code = text.len ? append_escaped(lines, text) : buffer_append_byte(lines, '-');
    return code ? code : buffer_append_byte(lines, '"');
}

/* Each after a blank. */
static int append_all_quoted(struct buffer *lines, const struct str *texts, size_t count)
{
    int code = 0;

    for (size_t i = 0; !code && i < count; i++) {
        code = buffer_append_byte(lines, ' ');
        if (!code)
            code = append_quoted(lines, texts[i]);
    }
    return code;
}

static int append_seconds(struct buffer *lines, const char *before, uint64_t us)
{
    return buffer_printf(lines, "%s%llu.%06llu", before, (unsigned long long)(us / 1000000),
                         (unsigned long long)(us % 1000000));
}

/* What the combined format lacks comes last, as in most servers that add to it. */
static int append_combined(struct access_log *log, const struct access_entry *entry)
{
    const struct str client[] = {entry->referer, entry->user_agent};
    const struct str more[] = {entry->route, entry->subject, str_from(entry->reason),
                               entry->request_id};
    struct buffer *lines = &log->lines;
    int code;

    if (entry->now_ms / 1000 != log->second) {
        time_t second = (time_t)(entry->now_ms / 1000);
        struct tm tm;

        log->second = second;
        strftime(log->time, sizeof(log->time), "%d/%b/%Y:%H:%M:%S +0000", gmtime_r(&second, &tm));
    }
    code = buffer_printf(lines, STR_FMT " - - [%s] \"", STR_ARG(entry->peer), log->time);
    if (!code)
        code = append_escaped(lines, entry->method);
    if (!code)
        code = buffer_append_byte(lines, ' ');
    if (!code)
        code = append_escaped(lines, entry->target);
    if (!code)
        code = buffer_printf(lines, " HTTP/1.%u\" %u %llu", entry->minor, entry->status,
                             (unsigned long long)entry->bytes);
    if (!code)
        code = append_all_quoted(lines, client, sizeof(client) / sizeof(*client));
    if (!code)
        code = append_seconds(lines, " ", entry->duration_us);
    if (!code)
        code = entry->upstream_us ? append_seconds(lines, " ", entry->upstream_us)
                                  : buffer_append_str(lines, STR_LIT(" -"));
    return code ? code : append_all_quoted(lines, more, sizeof(more) / sizeof(*more));
}

static int append_member(struct buffer *lines, const char *name, struct str value)
{
    int code;

    if (!value.len)
        return 0;
    code = buffer_printf(lines, ",\"%s\":\"", name);
    if (!code)
        code = append_escaped(lines, value);
    return code ? code : buffer_append_byte(lines, '"');
}

static int append_json(struct access_log *log, const struct access_entry *entry)
{
    struct buffer *lines = &log->lines;
    int code = buffer_printf(lines, "{\"time\":%lld.%03u,\"status\":%u,\"bytes\":%llu",
                             (long long)(entry->now_ms / 1000), (unsigned)(entry->now_ms % 1000),
                             entry->status, (unsigned long long)entry->bytes);
    const struct {
        const char *name;
        struct str value;
    } members[] = {
        {"peer", entry->peer},
        {"method", entry->method},
        {"target", entry->target},
        {"route", entry->route},
        {"subject", entry->subject},
        {"reason", str_from(entry->reason)},
        {"requestId", entry->request_id},
        {"referer", entry->referer},
        {"userAgent", entry->user_agent},
    };

    if (!code)
        code = append_seconds(lines, ",\"duration\":", entry->duration_us);
    if (!code)
        code = append_seconds(lines, ",\"upstream\":", entry->upstream_us);
    for (size_t i = 0; !code && i < sizeof(members) / sizeof(*members); i++)
        code = append_member(lines, members[i].name, members[i].value);
    return code ? code : buffer_append_byte(lines, '}');
}

void access_log_add(struct access_log *log, const struct access_entry *entry)
{
    size_t before = buffer_length(&log->lines);
    int code;

    code = log->format == ACCESS_LOG_JSON ? append_json(log, entry) : append_combined(log, entry);
    if (!code)
        code = buffer_append_byte(&log->lines, '\n');
    if (code) {
        buffer_truncate(&log->lines, before);
        log->lost++;
    }
}
