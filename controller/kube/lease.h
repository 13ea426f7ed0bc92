/*
 * lease: which of several controllers leads, by a Lease of coordination.k8s.io/v1, as client-go's
 * leaderelection does it. On the loop's thread.
 *
 * Whoever leads knows it for less time than the others wait; but a program can be stopped for
 * minutes between looking at a clock and writing. So a Lease is no fence: what a leader writes must
 * be refused by whoever keeps it (publish/kv_writer.c).
 */
#ifndef CONTROLLER_KUBE_LEASE_H
#define CONTROLLER_KUBE_LEASE_H

#include <stdbool.h>
#include <uv.h>

#include "controller/kube/client.h"

struct kube_lease;

enum {
    KUBE_LEASE_DURATION_S = 15,         /* the others wait so long for a sign of life */
    KUBE_LEASE_DEADLINE_MS = 10 * 1000, /* without a renewal for so long a leader stops to be one */
    KUBE_LEASE_RETRY_MS = 2 * 1000,     /* between renewals, and between looks when a watch fails */
    KUBE_LEASE_RELEASE_MS = 3 * 1000,   /* at most, at the end */
    KUBE_LEASE_HOLDER_SIZE = 256,
};

struct kube_lease_options {
    const char *namespace_name, *name; /* copied */
    /* Called whenever it begins or ceases to lead; first it does not. */
    void (*changed)(void *context, bool leads);
    void *context;
    unsigned duration_s, deadline_ms, retry_ms; /* the constants above; tests are in a hurry */
};

/* Borrows client until freed. -ENOMEM. */
int kube_lease_new(uv_loop_t *loop, struct kube_client *client,
                   const struct kube_lease_options *options, struct kube_lease **ret_lease);
/* No callback any more. The Lease stays as it is: another waits until it has expired. NULL is fine.
 * May be called from a callback. */
void kube_lease_free(struct kube_lease *lease);

/* Leads, and by a clock that runs on while the machine or the program sleeps. */
bool kube_lease_held(const struct kube_lease *lease);
/* Ceases to lead, lets another go first, and stands by. */
void kube_lease_resign(struct kube_lease *lease);
/* The end: ceases to lead and gives the Lease back, so that another can take it at once. done is
 * called once, from the loop, after at most KUBE_LEASE_RELEASE_MS. */
void kube_lease_release(struct kube_lease *lease, void (*done)(void *context), void *context);

const char *kube_lease_name(const struct kube_lease *lease);
/* Our name in it; and who had it when last seen, empty: nobody. */
const char *kube_lease_identity(const struct kube_lease *lease);
const char *kube_lease_holder(const struct kube_lease *lease);
/* What is wrong now; NULL: nothing. Borrowed until the loop turns. */
const char *kube_lease_trouble(const struct kube_lease *lease);

#endif
