/*
 * event: what a watch stream is made of: lines, each a JSON event with an object. Pure; no I/O.
 */
#ifndef CONTROLLER_KUBE_EVENT_H
#define CONTROLLER_KUBE_EVENT_H

#include <stdbool.h>
#include <stdint.h>
#include <yyjson.h>

#include "lib/base/buffer.h"
#include "lib/base/str.h"

/* An object as the API server writes it. Borrows the document that it was read from. */
struct kube_object {
    struct str namespace_name, name, uid, resource_version; /* namespace: empty, cluster-wide */
    int64_t generation;
    int64_t created_s; /* Unix time; 0: not said */
    yyjson_val *value; /* all of it */
};

/* A Status object: why the API server did not do what it was asked. Borrows, as above. */
struct kube_failure {
    int code;                   /* as an HTTP status; 0: not said */
    struct str reason, message; /* "Expired", a sentence */
    uint64_t retry_after_ms;    /* 0: not said */
};

/* "namespace/name", by which objects are found. */
enum { KUBE_NAMESPACE_MAX = 63, KUBE_NAME_MAX = 253, KUBE_KEY_MAX = 63 + 1 + 253 };

/* Borrows out, which has no NUL. Longer names than Kubernetes has are cut. */
struct str kube_key(struct str namespace_name, struct str name, char out[KUBE_KEY_MAX]);

/* Versions are numbers that grow (KEP-5504). 0: this one is none, newer than all. */
uint64_t kube_version_number(struct str version);

enum kube_event_type {
    KUBE_EVENT_ADDED,
    KUBE_EVENT_MODIFIED,
    KUBE_EVENT_DELETED,
    KUBE_EVENT_BOOKMARK,
    KUBE_EVENT_ERROR,
};

struct kube_event {
    enum kube_event_type type;
    struct kube_object object;   /* ADDED, MODIFIED, DELETED; of BOOKMARK: only resource_version */
    bool initial_end;            /* BOOKMARK: the streamed list is complete */
    struct kube_failure failure; /* of ERROR */
    yyjson_doc *document;        /* owned; everything above borrows it */
};

/* Empty unless value is a string. Borrows it. */
struct str kube_text(yyjson_val *value);

/* 0; -EBADMSG: it has no name, uid or resourceVersion, or one of the wrong type or size. */
int kube_object_read(yyjson_val *value, struct kube_object *ret_object);

/* What value lacks, or has of another type, is empty. */
struct kube_failure kube_failure_read(yyjson_val *value);

/* 0, then kube_event_done; -EBADMSG: not an event; -ENOMEM. */
int kube_event_read(struct str line, struct kube_event *ret_event);
/* The same of an item of a list, as if it were ADDED. */
int kube_item_read(struct str item, struct kube_event *ret_event);
void kube_event_done(struct kube_event *event);

/* "2026-11-24T03:00:00Z" with optional fraction and offset (RFC 3339) to Unix time; -EINVAL. */
int kube_time_read(struct str text, int64_t *ret_unix_s);
/* The same back, in UTC to the second; 21 bytes with the NUL. */
enum { KUBE_TIME_SIZE = sizeof("2026-11-24T03:00:00Z") };
void kube_time_write(int64_t unix_s, char text[KUBE_TIME_SIZE]);

/*
 * Cuts a stream into lines: one pass, each byte looked at once, a copy only of lines that came in
 * several pieces. A line over the limit is dropped as it comes and reported.
 */
struct kube_lines {
    struct buffer held; /* the line so far */
    bool skipping;      /* in a line that was too long */
    bool lent;          /* held is the line that the caller has */
};

enum kube_line { KUBE_LINE_NONE, KUBE_LINE_WHOLE, KUBE_LINE_SKIPPED };

void kube_lines_init(struct kube_lines *lines, size_t line_max);
void kube_lines_done(struct kube_lines *lines);
/* Starts over with a new stream. */
void kube_lines_reset(struct kube_lines *lines);
/*
 * Takes the next line from *bytes, which moves past it. WHOLE: *ret_line, without its end, borrowed
 * until the next call; NONE: *bytes is empty now and its rest remembered; SKIPPED: a line was too
 * long, or there was no memory for it.
 */
enum kube_line kube_lines_next(struct kube_lines *lines, struct str *bytes, struct str *ret_line);
/* Is there an unfinished line? */
bool kube_lines_pending(const struct kube_lines *lines);

/*
 * Cuts a list into its items, which are read one by one as they come, and what is around them:
 *
 *      {"kind": "RouteList", "metadata": {...}, "items": [{...}, {...}]}
 *
 * An item is an object in an array of the outermost object. In `rest` each stands as {}, so that
 * it is small, and JSON if and only if the whole is, apart from what items are made of. An item
 * over the limit is dropped as it comes and reported.
 */
struct kube_items {
    struct kube_lines item; /* the item so far */
    struct buffer rest;     /* what is around them; empty when that was too long */
    bool rest_lost;
    size_t count;   /* of items that have begun */
    unsigned depth; /* of open braces and brackets */
    bool in_array;  /* depth 2 is an array */
    bool in_string, escaped;
};

void kube_items_init(struct kube_items *items, size_t item_max);
void kube_items_done(struct kube_items *items);
/* Starts over with a new list. */
void kube_items_reset(struct kube_items *items);
/* As kube_lines_next, of items. */
enum kube_line kube_items_next(struct kube_items *items, struct str *bytes, struct str *ret_item);
/* Has all come that was begun, and was all kept? */
bool kube_items_complete(const struct kube_items *items);

#endif
