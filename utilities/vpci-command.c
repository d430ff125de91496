/* SPDX-License-Identifier: Apache-2.0 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "vpci-command.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

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

/* Reads all that comes from 'fd', which it closes. */
static char *
read_all(int fd)
{
    FILE *stream = fdopen(fd, "r");
    char *text = NULL;
    size_t size = 0;

    if (!stream) {
        abort();
    }
    if (getdelim(&text, &size, '\0', stream) < 0) {
        free(text);
        text = strdup("");
    }
    fclose(stream);
    if (!text) {
        abort();
    }
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
        if (!command_wait(&c, program, pid)) {
            free(text);
            text = NULL;
        }
    }
    command_free(&c);
    return text;
}
