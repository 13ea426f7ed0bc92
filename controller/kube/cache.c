/*
 * cache: a map of small items. Each list has a number and each item that of the last list it was
 * seen in, so that a list which fails half-way has marked nothing that counts.
 */
#include "controller/kube/cache.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { VERSION_SIZE = 24 }; /* 64-bit numbers (KEP-5504); others are just never found equal */

struct item {
    struct map_node node;
    uint64_t list; /* the last that it was in */
    char version[VERSION_SIZE];
    char key[];
};

void kube_cache_init(struct kube_cache *cache)
{
    *cache = (struct kube_cache){0};
    map_init(&cache->items);
}

static void item_free(struct kube_cache *cache, struct item *item)
{
    cache->listed -= item->list == cache->list;
    map_remove(&cache->items, &item->node);
    free(item);
}

void kube_cache_done(struct kube_cache *cache)
{
    struct map_node *node = map_next(&cache->items, NULL), *next;

    for (; node; node = next) {
        next = map_next(&cache->items, node);
        item_free(cache, MAP_ELEMENT(node, struct item, node));
    }
    map_done(&cache->items);
}

void kube_cache_begin_list(struct kube_cache *cache)
{
    cache->list++;
    cache->listed = 0;
}

static struct item *item_new(struct kube_cache *cache, struct str key)
{
    struct item *item = calloc(1, sizeof(*item) + key.len);

    if (!item)
        return NULL;
    memcpy(item->key, key.ptr, key.len);
    if (map_insert(&cache->items, &item->node, str_make(item->key, key.len))) {
        free(item);
        return NULL;
    }
    return item;
}

int kube_cache_see(struct kube_cache *cache, const struct kube_object *object)
{
    char text[KUBE_KEY_MAX];
    struct str key = kube_key(object->namespace_name, object->name, text);
    struct str version = object->resource_version;
    struct map_node *node = map_find(&cache->items, key);
    struct item *item = node ? MAP_ELEMENT(node, struct item, node) : item_new(cache, key);

    if (!item)
        return -ENOMEM;
    cache->listed += item->list != cache->list;
    item->list = cache->list;
    if (str_equal(str_from(item->version), version))
        return 0;
    item->version[0] = '\0';
    if (version.len < sizeof(item->version))
        snprintf(item->version, sizeof(item->version), STR_FMT, STR_ARG(version));
    return 1;
}

bool kube_cache_remove(struct kube_cache *cache, const struct kube_object *object)
{
    char text[KUBE_KEY_MAX];
    struct map_node *node =
        map_find(&cache->items, kube_key(object->namespace_name, object->name, text));

    if (node)
        item_free(cache, MAP_ELEMENT(node, struct item, node));
    return node;
}

void kube_cache_sweep(struct kube_cache *cache,
                      bool (*gone)(void *context, struct str namespace_name, struct str name),
                      void *context)
{
    struct map_node *node = map_next(&cache->items, NULL), *next;
    bool goes_on = cache->listed < cache->items.count;

    for (; node && goes_on; node = next) {
        struct item *item = MAP_ELEMENT(node, struct item, node);
        struct str key = node->key;
        size_t slash;

        next = map_next(&cache->items, node);
        if (item->list == cache->list)
            continue;
        slash = (size_t)((const char *)memchr(key.ptr, '/', key.len) - key.ptr);
        goes_on = gone(context, str_make(key.ptr, slash), str_after(key, slash + 1));
        item_free(cache, item);
    }
}
