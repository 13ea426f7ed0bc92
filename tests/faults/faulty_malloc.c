/*
 * faulty_malloc: LD_PRELOAD it, and while a control file says so, a share of the program's
 * allocations fails. Which ones is decided by a seed and a count, not by a clock.
 *
 * METROPOLIS_FAULTS names a file of three native uint32_t: one in how many fails (0: none), the
 * seed, and the number of failures so far, written here. METROPOLIS_FAULTS_SPARE: names of
 * libraries, separated by blanks, whose allocations never fail: those that are known not to bear
 * it.
 */
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { SPARED_MAX = 32 };

struct control {
    atomic_uint one_in, seed, failed;
};

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *old, size_t size);

static struct control *control; /* NULL: nothing fails */
static struct {
    uintptr_t begin, end;
} spared[SPARED_MAX];
static size_t spared_count;
static atomic_uint count;

/* The code of the objects whose name holds one of the words. */
static int spare_object(struct dl_phdr_info *info, size_t size, void *words)
{
    char list[256], *rest = list, *word;

    (void)size;
    snprintf(list, sizeof(list), "%s", (const char *)words);
    while ((word = strsep(&rest, " ")))
        for (int i = 0; *word && strstr(info->dlpi_name, word) && i < info->dlpi_phnum; i++)
            if (info->dlpi_phdr[i].p_flags & PF_X && spared_count < SPARED_MAX) {
                spared[spared_count].begin = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
                spared[spared_count].end = spared[spared_count].begin + info->dlpi_phdr[i].p_memsz;
                spared_count++;
            }
    return 0;
}

__attribute__((constructor)) static void set_up(void)
{
    const char *path = getenv("METROPOLIS_FAULTS"), *spare = getenv("METROPOLIS_FAULTS_SPARE");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *page;

    if (fd < 0)
        return;
    if (spare)
        dl_iterate_phdr(spare_object, (void *)spare);
    page = mmap(NULL, sizeof(*control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (page != MAP_FAILED)
        control = page;
}

static bool fails(const void *caller)
{
    uint32_t one_in, hash;

    if (!control || (one_in = atomic_load(&control->one_in)) == 0)
        return false;
    for (size_t i = 0; i < spared_count; i++)
        if ((uintptr_t)caller >= spared[i].begin && (uintptr_t)caller < spared[i].end)
            return false;
    hash = atomic_fetch_add(&count, 1) + atomic_load(&control->seed) * 0x9E3779B9u;
    hash = (hash ^ hash >> 16) * 0x85EBCA6Bu;
    hash = (hash ^ hash >> 13) * 0xC2B2AE35u;
    hash ^= hash >> 16;
    if (hash % one_in)
        return false;
    atomic_fetch_add(&control->failed, 1);
    errno = ENOMEM;
    return true;
}

void *malloc(size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_malloc(size);
}

void *calloc(size_t number, size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_calloc(number, size);
}

void *realloc(void *old, size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_realloc(old, size);
}

char *strdup(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = fails(__builtin_return_address(0)) ? NULL : __libc_malloc(size);

    return copy ? memcpy(copy, text, size) : NULL;
}
