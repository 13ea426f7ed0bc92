/*
 * The server picks its port itself and writes it to a ports file, so that no two tests can meet on
 * one. It dies with the test, whichever way that ends (PR_SET_PDEATHSIG).
 */
#include "tests/unit/nats/server.h"

#include <ftw.h>
#include <glob.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static void find_program(char *program, size_t size)
{
    const char *given = getenv("NATS_SERVER"), *cache = getenv("XDG_CACHE_HOME");
    char pattern[512];
    glob_t found = {0};

    snprintf(pattern, sizeof(pattern), "%s%s/metropolis/nats-server-*/nats-server",
             cache ? cache : getenv("HOME"), cache ? "" : "/.cache");
    if (given) {
        snprintf(program, size, "%s", given);
    } else if (glob(pattern, 0, NULL, &found) == 0) {
        snprintf(program, size, "%s", found.gl_pathv[found.gl_pathc - 1]);
    } else if (getenv("METROPOLIS_TEST_SKIP_SERVERS")) {
        fprintf(stderr,
                "\n*** SKIPPED: no nats-server (METROPOLIS_TEST_SKIP_SERVERS is set) ***\n");
        skip();
    } else {
        fail_msg("no nats-server: run hack/tools, or set NATS_SERVER");
    }
    globfree(&found);
}

static void write_config(const struct test_server *server)
{
    char path[128];
    FILE *file;

    snprintf(path, sizeof(path), "%s/nats.conf", server->directory);
    file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file, "listen: \"127.0.0.1:%d\"\nports_file_dir: \"%s\"\nlogfile: \"%s/log\"\n%s\n",
            server->port ? server->port : -1, server->directory, server->directory, server->config);
    fclose(file);
}

/* The ports file holds {"nats":["nats://127.0.0.1:34567"],...}. */
static bool read_port(struct test_server *server)
{
    char pattern[128], text[512] = "";
    const char *at;
    glob_t found = {0};
    FILE *file;

    snprintf(pattern, sizeof(pattern), "%s/*_%d.ports", server->directory, (int)server->pid);
    if (glob(pattern, 0, NULL, &found) == 0 && (file = fopen(found.gl_pathv[0], "r"))) {
        text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
        fclose(file);
    }
    globfree(&found);
    at = strstr(text, "://127.0.0.1:"); /* nats, or tls */
    if (!at)
        return false;
    server->port = atoi(at + strlen("://127.0.0.1:"));
    snprintf(server->url, sizeof(server->url), "nats://127.0.0.1:%d", server->port);
    return true;
}

void test_server_restart(struct test_server *server)
{
    const struct timespec pause = {.tv_nsec = 5 * 1000 * 1000};
    char program[512], config[128];

    find_program(program, sizeof(program));
    write_config(server);
    snprintf(config, sizeof(config), "%s/nats.conf", server->directory);
    server->pid = fork();
    assert_true(server->pid >= 0);
    if (server->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        setenv("TEST_DIRECTORY", server->directory, 1);
        execl(program, program, "-c", config, (char *)NULL);
        _exit(127);
    }
    for (int i = 0; !read_port(server); i++) {
        if (i == 2000 || waitpid(server->pid, NULL, WNOHANG) != 0)
            fail_msg("%s does not start with:\n%s", program, server->config);
        nanosleep(&pause, NULL);
    }
}

void test_server_start(struct test_server *server, const char *config)
{
    *server = (struct test_server){0};
    snprintf(server->config, sizeof(server->config), "%s", config);
    snprintf(server->directory, sizeof(server->directory), "/tmp/metropolis-test-XXXXXX");
    assert_non_null(mkdtemp(server->directory));
    test_server_restart(server);
}

void test_server_kill(struct test_server *server)
{
    if (!server->pid)
        return;
    kill(server->pid, SIGKILL);
    waitpid(server->pid, NULL, 0);
    server->pid = 0;
}

void test_server_signal(const struct test_server *server, int signal)
{
    kill(server->pid, signal);
    if (signal == SIGSTOP) /* takes effect by and by */
        waitpid(server->pid, NULL, WUNTRACED);
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *ftw)
{
    (void)status, (void)type, (void)ftw;
    return remove(path);
}

void test_server_stop(struct test_server *server)
{
    test_server_kill(server);
    nftw(server->directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
