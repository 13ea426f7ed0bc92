/*
 * digest: FNV-1a, 64 bits, over bytes that no stranger chooses: keys of maps, "has this changed",
 * ids of Route files. Not keyed: what requests can choose is looked up in lib/route.
 */
#ifndef LIB_BASE_DIGEST_H
#define LIB_BASE_DIGEST_H

#include <stddef.h>
#include <stdint.h>

static const uint64_t digest_empty = UINT64_C(14695981039346656037);

/* The digest of what digest stands for and then these bytes. */
static inline uint64_t digest_bytes(uint64_t digest, const void *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        digest = (digest ^ ((const unsigned char *)bytes)[i]) * UINT64_C(1099511628211);
    return digest;
}

#endif
