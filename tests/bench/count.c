/*
 * count: what a program asks of the C library while it runs, for LD_PRELOAD. It adds up calls in
 * the file that BENCH_COUNTS names, which the benchmark reads at any time; unlike under strace the
 * program runs at its own speed, so what it does per request is what it does in production.
 *
 * Eight bytes each, in the order of enum count: allocations, reads and writes of sockets and files,
 * waits for events, changes of what is waited for.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum count { ALLOCATIONS, READS, WRITES, WAITS, CONTROLS, COUNT };

static unsigned long before_start[COUNT];
static unsigned long *counts = before_start;

static void add(enum count count)
{
    __atomic_fetch_add(&counts[count], 1, __ATOMIC_RELAXED);
}

__attribute__((constructor)) static void start(void)
{
    const char *path = getenv("BENCH_COUNTS");
    int fd = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
    void *shared;

    if (fd < 0 || ftruncate(fd, sizeof(before_start)) < 0)
        return;
    shared = mmap(NULL, sizeof(before_start), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (shared != MAP_FAILED)
        counts = shared;
}

/* The C library's own names, as dlsym allocates itself. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

void *malloc(size_t size)
{
    add(ALLOCATIONS);
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    add(ALLOCATIONS);
    return __libc_calloc(count, size);
}

void *realloc(void *memory, size_t size)
{
    add(ALLOCATIONS);
    return __libc_realloc(memory, size);
}

int posix_memalign(void **memory, size_t alignment, size_t size)
{
    add(ALLOCATIONS);
    *memory = __libc_memalign(alignment, size);
    return *memory ? 0 : 12; /* ENOMEM */
}

void *aligned_alloc(size_t alignment, size_t size)
{
    add(ALLOCATIONS);
    return __libc_memalign(alignment, size);
}

/* COUNTED(result, name, (parameters), (arguments)): the next library's, counted. */
#define COUNTED(what, result, name, parameters, arguments)        \
    result name parameters                                        \
    {                                                             \
        static result(*next) parameters;                          \
                                                                  \
        if (!next)                                                \
            next = (result(*) parameters)dlsym(RTLD_NEXT, #name); \
        add(what);                                                \
        return next arguments;                                    \
    }

COUNTED(READS, ssize_t, read, (int fd, void *to, size_t size), (fd, to, size))
COUNTED(READS, ssize_t, readv, (int fd, const struct iovec *to, int count), (fd, to, count))
COUNTED(READS, ssize_t, recv, (int fd, void *to, size_t size, int flags), (fd, to, size, flags))
COUNTED(READS, ssize_t, recvmsg, (int fd, struct msghdr *to, int flags), (fd, to, flags))
COUNTED(WRITES, ssize_t, write, (int fd, const void *from, size_t size), (fd, from, size))
COUNTED(WRITES, ssize_t, writev, (int fd, const struct iovec *from, int count), (fd, from, count))
COUNTED(WRITES, ssize_t, send, (int fd, const void *from, size_t size, int flags),
        (fd, from, size, flags))
COUNTED(WRITES, ssize_t, sendmsg, (int fd, const struct msghdr *from, int flags), (fd, from, flags))
COUNTED(WAITS, int, epoll_wait, (int fd, struct epoll_event *events, int max, int timeout_ms),
        (fd, events, max, timeout_ms))
COUNTED(WAITS, int, epoll_pwait,
        (int fd, struct epoll_event *events, int max, int timeout_ms, const sigset_t *mask),
        (fd, events, max, timeout_ms, mask))
COUNTED(CONTROLS, int, epoll_ctl, (int fd, int what, int other, struct epoll_event *event),
        (fd, what, other, event))
