/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

#ifndef VPCI_TYPES_H
#define VPCI_TYPES_H 1

/* What headers of shared memory need of the language: in the Linux kernel, in
 * userspace C and in C++. */

#ifdef __KERNEL__
#include <linux/limits.h>
#include <linux/string.h>
#include <linux/types.h>

#define INT64_C(X) X ## LL
#define UINT64_C(X) X ## ULL
#define INT64_MIN S64_MIN
#define INT64_MAX S64_MAX
#define UINT16_MAX U16_MAX
#define UINT32_MAX U32_MAX
#define UINT64_MAX U64_MAX
#else
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#endif

#ifdef __cplusplus
#define VPCI_STATIC_ASSERT(CONDITION) static_assert(CONDITION, #CONDITION)
#else
#define VPCI_STATIC_ASSERT(CONDITION) _Static_assert(CONDITION, #CONDITION)
#endif

/* Integers in shared memory are little-endian: these types say so. */
typedef uint16_t vpci_le16;
typedef uint32_t vpci_le32;
typedef uint64_t vpci_le64;

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define VPCI_LE16(X) ((uint16_t) (X))
#define VPCI_LE32(X) ((uint32_t) (X))
#define VPCI_LE64(X) ((uint64_t) (X))
#else
#define VPCI_LE16(X) __builtin_bswap16(X)
#define VPCI_LE32(X) __builtin_bswap32(X)
#define VPCI_LE64(X) __builtin_bswap64(X)
#endif

/* Stores and loads of one word that the other side reads or writes.  A word is
 * loaded once, into a private copy. */
static inline uint32_t
vpci_load32(const vpci_le32 *p)
{
    return VPCI_LE32(__atomic_load_n(p, __ATOMIC_RELAXED));
}

static inline uint32_t
vpci_load32_acquire(const vpci_le32 *p)
{
    return VPCI_LE32(__atomic_load_n(p, __ATOMIC_ACQUIRE));
}

static inline uint64_t
vpci_load64(const vpci_le64 *p)
{
    return VPCI_LE64(__atomic_load_n(p, __ATOMIC_RELAXED));
}

static inline uint64_t
vpci_load64_acquire(const vpci_le64 *p)
{
    return VPCI_LE64(__atomic_load_n(p, __ATOMIC_ACQUIRE));
}

static inline void
vpci_store32(vpci_le32 *p, uint32_t value)
{
    __atomic_store_n(p, VPCI_LE32(value), __ATOMIC_RELAXED);
}

static inline void
vpci_store32_release(vpci_le32 *p, uint32_t value)
{
    __atomic_store_n(p, VPCI_LE32(value), __ATOMIC_RELEASE);
}

static inline void
vpci_store64(vpci_le64 *p, uint64_t value)
{
    __atomic_store_n(p, VPCI_LE64(value), __ATOMIC_RELAXED);
}

static inline void
vpci_store64_release(vpci_le64 *p, uint64_t value)
{
    __atomic_store_n(p, VPCI_LE64(value), __ATOMIC_RELEASE);
}

#endif /* vpci/types.h */
