/* SPDX-License-Identifier: Apache-2.0 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "vpci-command.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* What is read at once, in bytes. */
#define CHUNK 4096

extern char **environ;

void
command_add(struct command *c, const char *format, ...)
{
    char *word = NULL;
    va_list args;

    va_start(args, format);
    if (vasprintf(&word, format, args) < 0) {
        abort();
    }
    va_end(args);
    c->words = realloc(c->words, (c->n + 2) * sizeof *c->words);
    if (!c->words) {
        abort();
    }
    c->words[c->n++] = word;
    c->words[c->n] = NULL;
}

void
command_add_words(struct command *c, const char *words)
{
    while (*words) {
        size_t len = strcspn(words, " ");

        command_add(c, "%.*s", (int) len, words);
        words += len + (words[len] == ' ');
    }
}

void
command_free(struct command *c)
{
    for (int i = 0; i < c->n; i++) {
        free(c->words[i]);
    }
    free(c->words);
}

/* Starts 'argv', with 'child_fd' as its descriptor 'wanted'. */
static int
start(char *const argv[], int child_fd, int wanted, pid_t *pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t defaults;
    int error;

    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, child_fd, wanted);
    posix_spawnattr_init(&attr);
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    posix_spawnattr_setsigdefault(&attr, &defaults);
    posix_spawnattr_setpgroup(&attr, 0);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP
                             | POSIX_SPAWN_SETSIGDEF);
    error = posix_spawnp(pid, argv[0], &actions, &attr, argv, environ);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&actions);
    return error;
}

pid_t
command_spawn(const struct command *c, const char *program, int *in, int *out)
{
    int fds[2], error, ours = in ? 1 : 0;
    pid_t pid = -1;

    if (pipe2(fds, O_CLOEXEC)) {
        fprintf(stderr, "%s: cannot make a pipe: %s\n", program,
                strerror(errno));
        return -1;
    }
    error = start(c->words, fds[!ours], in ? 0 : 1, &pid);
    close(fds[!ours]);
    if (error) {
        fprintf(stderr, "%s: cannot run %s: %s\n", program, c->words[0],
                strerror(error));
        close(fds[ours]);
        return -1;
    }
    *(in ? in : out) = fds[ours];
    return pid;
}

bool
command_wait(const struct command *c, const char *program, pid_t pid)
{
    int status = 0;

    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
        continue;
    }
    if (WIFSIGNALED(status)) {
        fprintf(stderr, "%s: %s was ended by a signal: %s\n", program,
                c->words[0], strsignal(WTERMSIG(status)));
    }
    return !status;
}

static int64_t
now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * INT64_C(1000) + ts.tv_nsec / 1000000;
}

/* Waits until there is something to read.  Returns false if that is not so at
 * time 'until_ms'.  Signals, which are for the owner, do not end it. */
static bool
wait_for_text(int fd, int64_t until_ms)
{
    struct pollfd pfd = { .fd = fd, .events = POLLIN };
    int64_t left;

    while ((left = until_ms - now_ms()) > 0) {
        if (poll(&pfd, 1, left) > 0) {
            return true;
        }
    }
    return false;
}

/* Reads all that comes from 'fd' until COMMAND_LIMIT_MS are over.  Returns
 * null then. */
static char *
read_all(int fd)
{
    int64_t until_ms = now_ms() + COMMAND_LIMIT_MS;
    char *text = NULL;
    size_t len = 0;
    ssize_t n;

    do {
        if (!wait_for_text(fd, until_ms)) {
            free(text);
            return NULL;
        }
        text = realloc(text, len + CHUNK + 1);
        if (!text) {
            abort();
        }
        n = read(fd, text + len, CHUNK);
        len += n > 0 ? n : 0;
    } while (n > 0 || (n < 0 && errno == EINTR));
    text[len] = '\0';
    return text;
}

char *
command_run(const char *program, struct command c)
{
    int out;
    pid_t pid = command_spawn(&c, program, NULL, &out);
    char *text = NULL;

    if (pid >= 0) {
        text = read_all(out);
        close(out);
        if (!text) {
            fprintf(stderr, "%s: %s has not ended after %d seconds: killing "
                    "it\n", program, c.words[0], COMMAND_LIMIT_MS / 1000);
            kill(-pid, SIGKILL);
        }
        if (!command_wait(&c, program, pid)) {
            free(text);
            text = NULL;
        }
    }
    command_free(&c);
    return text;
}
