/* A real nats-server for a test, on loopback and a port of its own choice. */
#ifndef TESTS_UNIT_NATS_SERVER_H
#define TESTS_UNIT_NATS_SERVER_H

#include <sys/types.h>

struct test_server {
    pid_t pid;
    char directory[64]; /* owned, with what is in it: configuration, JetStream's files */
    char url[64];       /* nats://127.0.0.1:port */
    int port;
    char config[4096];
};

/*
 * Starts the program that NATS_SERVER names, else the newest in the cache of hack/tools, and waits
 * until it listens. config: lines of its configuration; $TEST_DIRECTORY in it is a
 * folder of its own. Without a program the test fails, unless
 * METROPOLIS_TEST_SKIP_SERVERS is set: then it is skipped, with a message.
 */
void test_server_start(struct test_server *server, const char *config);
/* Starts it again on the same port with the same files, after test_server_kill. */
void test_server_restart(struct test_server *server);
/* Kills it at once, as a crash would. */
void test_server_kill(struct test_server *server);
void test_server_signal(const struct test_server *server, int signal);
/* Kills it, if it lives, and removes what it left. */
void test_server_stop(struct test_server *server);

#endif
