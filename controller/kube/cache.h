/*
 * cache: which objects of a resource are there, and at which resourceVersion: enough to tell what
 * changed and, after a complete list, what is gone. Nothing else of them is kept.
 */
#ifndef CONTROLLER_KUBE_CACHE_H
#define CONTROLLER_KUBE_CACHE_H

#include <stdbool.h>
#include <stdint.h>

#include "controller/kube/event.h"
#include "lib/base/map.h"

struct kube_cache {
    struct map items;
    uint64_t list; /* the number of the list under way, or of the last one */
    size_t listed; /* the items that it has seen */
};

void kube_cache_init(struct kube_cache *cache);
void kube_cache_done(struct kube_cache *cache);

/* Another list begins: what it will not have seen is gone once it is complete. */
void kube_cache_begin_list(struct kube_cache *cache);
/* The object is there. 1: new or changed; 0: as it is known; -ENOMEM. */
int kube_cache_see(struct kube_cache *cache, const struct kube_object *object);
/* False: it was not known. */
bool kube_cache_remove(struct kube_cache *cache, const struct kube_object *object);
/* For the end of a complete list: takes out each object that it has not seen, after telling gone of
 * it, until gone returns false. */
void kube_cache_sweep(struct kube_cache *cache,
                      bool (*gone)(void *context, struct str namespace_name, struct str name),
                      void *context);

#endif
