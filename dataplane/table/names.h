/*
 * names: what this gateway's table and this pod's ack are called at NATS. Made once; any thread.
 */
#ifndef DATAPLANE_TABLE_NAMES_H
#define DATAPLANE_TABLE_NAMES_H

enum { NAMES_BYTES = 384 }; /* the longest of each, with NUL */

struct names {
    char stream[NAMES_BYTES], prefix[NAMES_BYTES]; /* of its keys: "$KV.<bucket>." */
    char api[NAMES_BYTES];                         /* "$JS.API." */
    char ack_subject[2 * NAMES_BYTES];
};

struct names_subject {
    char text[3 * NAMES_BYTES];
};

/* js_domain: NULL or empty: the server's own. -EINVAL: one is too long. */
int names_init(struct names *names, const char *gateway, const char *pod, const char *js_domain);

/* Where JetStream takes a request of this kind about the stream: "STREAM.INFO". */
struct names_subject names_request(const struct names *names, const char *kind);
/* The bucket: the stream's name without what marks it as one of KV. */
const char *names_bucket(const struct names *names);

#endif
