/*
 * script: an API server for the faults that a real one does not show on demand. It runs on the
 * test's own loop, takes each request as the next line of a script, and remembers what was asked.
 */
#ifndef TESTS_UNIT_KUBE_SCRIPT_H
#define TESTS_UNIT_KUBE_SCRIPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "controller/kube/client.h"

enum script_end {
    SCRIPT_ENDS, /* the body is complete */
    SCRIPT_CUTS, /* the connection goes in the middle of the body */
    SCRIPT_STAYS /* nothing more comes, as in a quiet watch */
};

struct script_step {
    const char *request; /* the request must contain it */
    const char *status;  /* "200 OK"; NULL: no answer at all, and an end of CUTS or STAYS */
    const char *headers; /* "Name: value\r\n"...; NULL: none */
    const char *body;
    enum script_end end;
};

enum { SCRIPT_STEPS_MAX = 64, SCRIPT_REQUEST_MAX = 8192 };

struct script {
    uv_loop_t loop;
    uv_tcp_t listener;
    uv_timer_t guard; /* ends a test that hangs */
    const struct script_step *steps;
    size_t count, next;                                  /* of the steps */
    const struct script_step *aside[2];                  /* for who asks that, whenever; or NULL */
    char requests[SCRIPT_STEPS_MAX][SCRIPT_REQUEST_MAX]; /* what was asked, head and body */
    uint64_t times_ms[SCRIPT_STEPS_MAX];                 /* and when */
    bool late;
    struct kube_config config;
    struct kube_client *client;
    struct script_peer *peers;
};

/* Starts the loop's server and a client of it. count must be within the limit. */
void script_start(struct script *script, const struct script_step *steps, size_t count);
/* The same with an exec plugin, borrowed until script_stop. */
void script_start_exec(struct script *script, const struct kube_config_exec *exec,
                       const struct script_step *steps, size_t count);
/* Runs the loop until *done, or fails the test after 20 s. */
void script_run(struct script *script, const bool *done);
/* Runs it for so long. */
void script_run_for(struct script *script, uint64_t time_ms);
/* Frees the client and runs the loop empty: what was started must have been freed before. */
void script_stop(struct script *script);

#endif
