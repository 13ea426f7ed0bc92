// What holds the namespaces of a Pod on our test node: it sleeps, and as process 1 of a shared PID
// namespace buries the dead. Static, alone in its image (hack/image pause).
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void on_signal(int number)
{
    if (number != SIGCHLD)
        _exit(0);
    while (waitpid(-1, NULL, WNOHANG) > 0)
        ;
}

int main(void)
{
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    signal(SIGCHLD, on_signal);
    for (;;)
        pause();
}
