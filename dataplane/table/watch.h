/*
 * watch: the table thread. It reads the gateway's KV bucket through an ordered consumer, builds the
 * next table and publishes it to the loops (swap); it writes this pod's acks. DESIGN: Reading,
 * Acks.
 *
 * After any gap, and when the lineage differs, it reads anew from the start and replaces the table
 * at initial-done with `complete`; until then the last table serves on.
 *
 * Its user in NATS needs to publish, with S the stream KV_metropolis-<gateway>:
 *   $JS.API.CONSUMER.CREATE.S  $JS.API.STREAM.MSG.GET.S  $JS.API.STREAM.INFO.S  $JS.FC.S.>
 *   $KV.metropolis_acks.<gateway>.>
 * and to subscribe <inbox_prefix>.>; nothing else.
 */
#ifndef DATAPLANE_TABLE_WATCH_H
#define DATAPLANE_TABLE_WATCH_H

#include <stdbool.h>

#include "dataplane/table/swap.h"
#include "lib/base/buffer.h"

struct watch;

struct watch_options {
    const char *servers;              /* --nats-table */
    const char *creds_file, *ca_file; /* of the table user; NULL: none */
    const char *cert_file, *key_file; /* mTLS; key_file NULL: in cert_file */
    bool tls_first;                   /* the handshake before INFO */
    const char *inbox_prefix;
    const char *js_domain; /* NULL: the server's own */
    const char *gateway, *pod;
};

/* Starts the thread; it retries for ever and never fails for NATS being away. 0; -EINVAL: servers
 * or a name; -ENOMEM, -EAGAIN; a sentence in ret_error. */
int watch_start(const struct watch_options *options, struct swap *swap, struct watch **ret_watch,
                char *ret_error, size_t error_size);
/* After the loops' threads. Writes the goodbye, stops the thread, joins it. */
void watch_stop(struct watch *watch);

/* Any thread. Ready: a complete table is served by every loop and the first ack is stored (or 2 s
 * went by without the bucket). Once true it stays true. */
bool watch_ready(const struct watch *watch);
/* Why it is not ready yet: a static sentence. */
const char *watch_reason(const struct watch *watch);

/* The Routes in force as JSON, for /table; -ENOMEM. Blocks while a batch is applied. */
int watch_dump(struct watch *watch, struct buffer *out);

/* Counters and state, in the Prometheus text format; any thread. */
int watch_metrics(const struct watch *watch, struct buffer *page);

#endif
