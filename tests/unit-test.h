/* SPDX-License-Identifier: Apache-2.0 */

#ifndef UNIT_TEST_H
#define UNIT_TEST_H 1

/* Programs with unit tests: functions that return false, by way of CHECK(), if
 * something is not as it should be. */

#include <dirent.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define CHECK(CONDITION)                                                \
    do {                                                                \
        if (!(CONDITION)) {                                             \
            fprintf(stderr, "%s:%d: %s: is not so\n", __FILE__,         \
                    __LINE__, #CONDITION);                              \
            return false;                                               \
        }                                                               \
    } while (0)

struct unit_test {
    const char *name;
    bool (*run)(void);
};

/* Descriptors that this process has, and those that it takes to count them. */
static inline unsigned int
n_open_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned int n = 0;

    while (dir && readdir(dir)) {
        n++;
    }
    if (dir) {
        closedir(dir);
    }
    return n;
}

static inline bool
unit_test_wanted(const char *name, int argc, char *argv[])
{
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], name)) {
            return true;
        }
    }
    return argc < 2;
}

/* Body of main(): runs the tests that are named, or all, or lists them
 * (--list).  Returns the exit status. */
static inline int
unit_test_main(int argc, char *argv[], const struct unit_test tests[],
               size_t n)
{
    bool lists = argc > 1 && !strcmp(argv[1], "--list");
    int n_run = 0, n_failed = 0;

    for (size_t i = 0; i < n; i++) {
        if (lists) {
            puts(tests[i].name);
        } else if (unit_test_wanted(tests[i].name, argc, argv)) {
            bool ok = tests[i].run();

            printf("%s: %s\n", tests[i].name, ok ? "ok" : "FAILED");
            n_run++;
            n_failed += !ok;
        }
    }
    if (!lists && !n_run) {
        fprintf(stderr, "%s: no such test; see --list\n", argv[1]);
        return 1;
    }
    return n_failed > 0;
}

#endif /* unit-test.h */
