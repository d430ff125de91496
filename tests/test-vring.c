/* SPDX-License-Identifier: Apache-2.0 */

/* Tests of the virtio ring engine, against the driver model of vring-driver.h
 *
 * Usage: test-vring [--list | NAME...]
 *
 * Without a name, all tests run. */

#include "test-vring.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test-vring-harness.h"

static const struct {
    const char *name;
    void (*run)(void);
} tests[] = {
    { "memory", test_memory },
    { "start-checks", test_start_checks },
    { "from-driver", test_from_driver },
    { "to-driver", test_to_driver },
    { "ring-to-ring", test_ring_to_ring },
    { "headers-without-offloads", test_headers_without_offloads },
    { "splice", test_splice },
    { "scatter", test_scatter },
    { "any-layout", test_any_layout },
    { "regions", test_regions },
    { "large-frames", test_large_frames },
    { "too-small-buffers", test_too_small_buffers },
    { "mergeable-room", test_mergeable_room },
    { "stop-start", test_stop_start },
    { "packed-is-fresh", test_packed_is_fresh },
    { "malformed", test_malformed },
    { "odd-but-legal", test_odd_but_legal },
    { "suppression", test_suppression },
    { "no-kicks", test_no_kicks },
    { "notify-function", test_notify_function },
    { "kicks", test_kicks },
    { "record", test_record },
    { "recover", test_recover },
    { "death", test_death },
    { "state", test_state },
    { "dirty-log", test_dirty_log },
    { "native", test_native },
    { "native-notify", test_native_notify },
    { "native-splice", test_native_splice },
    { "native-ends", test_native_ends },
    { "over-device", test_over_device },
    { "stress-split", test_stress_split },
    { "stress-packed", test_stress_packed },
    { "stress-kicks", test_stress_kicks },
    { "index-race", test_index_race },
    { "lap-race", test_lap_race },
};
#define N_TESTS (sizeof tests / sizeof *tests)

static bool
run_test(const char *name)
{
    bool found = false;

    for (size_t i = 0; i < N_TESTS; i++) {
        if (!name || !strcmp(name, tests[i].name)) {
            printf("%s: ", tests[i].name);
            fflush(stdout);
            combination[0] = '\0';
            tests[i].run();
            printf("ok\n");
            found = true;
        }
    }
    return found;
}

int
main(int argc, char *argv[])
{
    if (argc == 2 && !strcmp(argv[1], "--list")) {
        for (size_t i = 0; i < N_TESTS; i++) {
            puts(tests[i].name);
        }
        return EXIT_SUCCESS;
    }
    for (int i = argc > 1 ? 1 : 0; i < argc; i++) {
        if (!run_test(i ? argv[i] : NULL)) {
            fprintf(stderr, "test-vring: no test \"%s\"; --list lists them\n",
                    argv[i]);
            return EXIT_FAILURE;
        }
    }
    return EXIT_SUCCESS;
}
