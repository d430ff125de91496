/* SPDX-License-Identifier: Apache-2.0 */

#ifndef VHOST_GUEST_COMMANDS_H
#define VHOST_GUEST_COMMANDS_H 1

#include <stdbool.h>
#include <stdint.h>

#include "vhost-guest-device.h"
#include "vhost-guest-traffic.h"

/* The commands of vhost-guest
 * ===========================
 *
 * A command is a line of words.  It succeeds or fails, and leaves one line of
 * answer. */

struct session {
    struct guest g;
    struct traffic traffic;
    bool traffic_runs;
    struct traffic_config defaults; /* Template and stream of test frames. */
    uint64_t seq[GUEST_MAX_PAIRS]; /* Next number of each stream. */
    char answer[1024];
    bool quit;
};

struct args {
    unsigned int n;
    char *words[64];
};

struct command {
    const char *name;
    const char *usage;          /* Arguments. */
    const char *help;
    bool (*run)(struct session *, const struct args *);
};

/* Ends with an entry without name. */
extern const struct command control_commands[];
extern const struct command traffic_commands[];
extern const struct command hostile_commands[];

/* Runs one line, which is spoiled.  Returns true if it succeeded: a line that
 * begins with "!" succeeds if its command fails. */
bool session_run(struct session *, char *line);

/* Helpers of the commands.  These two set the answer. */
bool done(struct session *, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
bool failed(struct session *, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Like done() with nothing to say if 'error' is 0, otherwise fails with what
 * the front end says. */
bool result(struct session *, int error);

/* Reads hexadecimal digits into 'bytes'.  Returns how many bytes they are, or
 * -1 if that is not what they are, or more than 'max'. */
int parse_hex(const char *, uint8_t *bytes, size_t max);

/* The word after 'key=', or null. */
const char *arg_value(const struct args *, const char *key);

/* Its value as a number, or 'fallback'.  Durations are in seconds, with a
 * fraction; the answer is in milliseconds. */
uint64_t arg_number(const struct args *, const char *key, uint64_t fallback);
unsigned int arg_ms(const struct args *, const char *key,
                    unsigned int fallback);

/* True if 'word' is among the words. */
bool arg_has(const struct args *, const char *word);

/* Connects and starts, as a virtual machine does when it boots.  With 'reset'
 * forgets what was in flight. */
bool session_start(struct session *, bool reset);

#endif /* vhost-guest-commands.h */
