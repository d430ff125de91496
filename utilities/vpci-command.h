/* SPDX-License-Identifier: Apache-2.0 */

#ifndef VPCI_COMMAND_H
#define VPCI_COMMAND_H 1

#include <stdbool.h>
#include <sys/types.h>

/* Programs that a tool runs.  'program', the tool's own name, is for messages.
 * Without memory, the process ends.  One thread. */

/* The words of a command, with a null behind them.  All zeros: none yet. */
struct command {
    char **words;
    int n;
};

/* Appends one word, or words that are separated by single blanks. */
void command_add(struct command *, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void command_add_words(struct command *, const char *words);
void command_free(struct command *);

/* Starts the command, in a process group of its own: a Ctrl-C is not for it.
 * Its standard input or, if 'in' is null, its standard output is the other end
 * of '*in' or '*out', which the caller closes.  Returns its process, or -1,
 * having said why. */
pid_t command_spawn(const struct command *, const char *program, int *in,
                    int *out);

/* Waits for it to end.  Returns whether it ended well. */
bool command_wait(const struct command *, const char *program, pid_t pid);

/* Runs the command, and frees it.  Returns what it printed, to be freed, or
 * null if it failed; what it said on standard error is there.  It is killed
 * after so many milliseconds.  Signals that come meanwhile change nothing. */
#define COMMAND_LIMIT_MS 20000
char *command_run(const char *program, struct command);

#endif /* vpci-command.h */
