/* SPDX-License-Identifier: Apache-2.0 */

/* Runs a fuzzer with inputs that it makes up from a seed, so that compilers
 * without libFuzzer can run it as a test:
 *
 *     fuzz-NAME-standalone [--runs N] [--seed S] */

#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

static uint64_t
next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

int
main(int argc, char *argv[])
{
    unsigned long runs = 10000, seed = 1;
    static uint8_t input[4096];

    for (int i = 1; i < argc; i++) {
        if (i + 1 < argc && !strcmp(argv[i], "--runs")) {
            runs = strtoul(argv[++i], NULL, 10);
        } else if (i + 1 < argc && !strcmp(argv[i], "--seed")) {
            seed = strtoul(argv[++i], NULL, 10);
        } else {
            fprintf(stderr, "usage: %s [--runs N] [--seed S]\n", argv[0]);
            return EXIT_FAILURE;
        }
    }
    for (unsigned long run = 0; run < runs; run++) {
        uint64_t state = (seed + run) * 0x9e3779b97f4a7c15 + 1;
        size_t size = next_random(&state) % sizeof input;

        for (size_t i = 0; i < size; i++) {
            uint64_t r = next_random(&state);

            /* Small bytes now and then, as lengths and indices are. */
            input[i] = r >> 40 & 3 ? r >> 16 : r >> 16 & 7;
        }
        LLVMFuzzerTestOneInput(input, size);
    }
    printf("%lu runs from seed %lu\n", runs, seed);
    return EXIT_SUCCESS;
}
