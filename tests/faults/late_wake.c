/*
 * late_wake: LD_PRELOAD it, and a loop hears 20 ms late of whatever another thread wakes it for.
 * Wakings without a callback, which are those of the table's thread, come in time.
 */
#include <dlfcn.h>
#include <unistd.h>
#include <uv.h>

enum { LATE_US = 20000 };

int uv_async_send(uv_async_t *async)
{
    static int (*send)(uv_async_t * async);

    if (!send)
        *(void **)&send = dlsym(RTLD_NEXT, "uv_async_send");
    if (async->async_cb)
        usleep(LATE_US);
    return send(async);
}
