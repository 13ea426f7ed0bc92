/*
 * process: /proc, read when asked; proc(5) says what its fields are.
 */
#include "lib/base/process.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "lib/base/metrics.h"

enum { STAT_SIZE = 16 * 1024 };

struct usage {
    unsigned long long user_ticks, system_ticks, start_ticks, virtual_bytes, resident_pages;
};

/* The beginning of a file as text; false: it cannot be read. */
static bool read_text(const char *path, char text[STAT_SIZE])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, text, STAT_SIZE - 1);

    if (fd >= 0)
        close(fd);
    text[length > 0 ? length : 0] = '\0';
    return length > 0;
}

static bool read_usage(struct usage *ret_usage)
{
    char text[STAT_SIZE];
    /* The second field is the program's name, in parentheses, and may hold anything. */
    const char *rest = read_text("/proc/self/stat", text) ? strrchr(text, ')') : NULL;

    return rest && sscanf(rest + 1,
                          " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %*d %*d %*d %*d "
                          "%*d %*d %llu %llu %llu",
                          &ret_usage->user_ticks, &ret_usage->system_ticks, &ret_usage->start_ticks,
                          &ret_usage->virtual_bytes, &ret_usage->resident_pages) == 5;
}

/* When the machine was started, Unix time; 0: unknown. */
static unsigned long long boot_time_s(void)
{
    FILE *file = fopen("/proc/stat", "re");
    char line[256];
    unsigned long long time_s = 0;

    while (file && !time_s && fgets(line, sizeof(line), file))
        sscanf(line, "btime %llu", &time_s);
    if (file)
        fclose(file);
    return time_s;
}

/* -1: unknown. */
static long count_fds(void)
{
    DIR *directory = opendir("/proc/self/fd");
    const struct dirent *entry;
    long count = directory ? -1 : 0; /* one is the directory's own */

    while (directory && (entry = readdir(directory)))
        count += entry->d_name[0] != '.';
    if (directory)
        closedir(directory);
    return directory ? count : -1;
}

static int write_one(struct buffer *page, const char *name, enum metrics_type type,
                     const char *help, double value)
{
    int error = metrics_family(page, name, type, help);

    return error ? error : metrics_sample(page, name, "", value);
}

static int write_usage(struct buffer *page, const struct usage *usage)
{
    double ticks = (double)sysconf(_SC_CLK_TCK);
    unsigned long long boot_s = boot_time_s();
    int error = write_one(page, "process_cpu_seconds_total", METRICS_COUNTER,
                          "User and system CPU time spent.",
                          (double)(usage->user_ticks + usage->system_ticks) / ticks);

    if (!error)
        error =
            write_one(page, "process_resident_memory_bytes", METRICS_GAUGE, "Resident memory size.",
                      (double)usage->resident_pages * (double)sysconf(_SC_PAGESIZE));
    if (!error)
        error = write_one(page, "process_virtual_memory_bytes", METRICS_GAUGE,
                          "Virtual memory size.", (double)usage->virtual_bytes);
    if (!error && boot_s)
        error = write_one(page, "process_start_time_seconds", METRICS_GAUGE,
                          "When the process started, Unix time.",
                          (double)boot_s + (double)usage->start_ticks / ticks);
    return error;
}

int process_metrics(struct buffer *page)
{
    struct usage usage;
    struct rlimit limit;
    long fds = count_fds();
    int error = read_usage(&usage) ? write_usage(page, &usage) : 0;

    if (!error && fds >= 0)
        error = write_one(page, "process_open_fds", METRICS_GAUGE, "Open file descriptors.",
                          (double)fds);
    if (!error && getrlimit(RLIMIT_NOFILE, &limit) == 0)
        error = write_one(page, "process_max_fds", METRICS_GAUGE,
                          "Most file descriptors that may be open.", (double)limit.rlim_cur);
    return error;
}
