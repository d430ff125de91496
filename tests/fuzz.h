/* SPDX-License-Identifier: Apache-2.0 */

#ifndef FUZZ_H
#define FUZZ_H 1

/* What fuzzers have in common.  Each is a LLVMFuzzerTestOneInput(), which
 * takes its input as a program of what to do.  libFuzzer calls it
 * (--enable-fuzzers), or fuzz-standalone.c, which makes up inputs from a
 * seed. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    const uint8_t *data;
    size_t left;
};

/* The next bytes, or 0 if there are no more. */
static inline uint8_t
get_u8(struct input *in)
{
    if (!in->left) {
        return 0;
    }
    in->left--;
    return *in->data++;
}

static inline uint16_t
get_u16(struct input *in)
{
    uint16_t low = get_u8(in);

    return low | get_u8(in) << 8;
}

static inline uint32_t
get_u32(struct input *in)
{
    uint32_t low = get_u16(in);

    return low | (uint32_t) get_u16(in) << 16;
}

/* A number that is small, near to the largest one, or anything. */
static inline uint32_t
get_likely(struct input *in)
{
    uint8_t kind = get_u8(in);

    return (kind & 3 ? kind >> 2 : kind & 4 ? -(uint32_t) (kind >> 3)
            : get_u32(in));
}

/* Ends the program, as a find of the fuzzer, unless 'ok'. */
static inline void
check(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "fuzzer: %s\n", what);
        abort();
    }
}

#endif /* fuzz.h */
