/* SPDX-License-Identifier: Apache-2.0 */

#include <config.h>
#include "upgrade.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "control.h"
#include "descriptors.h"
#include "fatal-signal.h"
#include "openvswitch/poll-loop.h"
#include "openvswitch/vlog.h"
#include "process.h"
#include "region.h"
#include "socket-util.h"
#include "state.h"
#include "svec.h"
#include "timeval.h"
#include "unixctl.h"
#include "util.h"

VLOG_DEFINE_THIS_MODULE(upgrade);

/* How long another program may take to read the state, and how long its
 * beginning may take. */
#define CHECK_MS 10000
#define START_MS 30000

/* How often to look whether a child has ended. */
#define CHILD_MS 20

/* A check that is going on. */
static struct {
    struct unixctl_conn *conn;  /* Null if there is none. */
    char *program;
    pid_t pid;
    int output;                 /* Of the child. */
    char text[1024];            /* What it has said so far. */
    size_t len;
    long long int deadline;     /* Monotonic, in ms. */
    bool timed_out;
} check = { .output = -1 };

static struct svec arguments = SVEC_EMPTY_INITIALIZER;
static char *pidfile_path;
static struct state_handover handover = { .pidfile = -1, .notify = -1 };

void
upgrade_save_arguments(int argc, char *argv[])
{
    for (int i = 0; i < argc; i++) {
        if (strncmp(argv[i], "--restore=", strlen("--restore="))) {
            svec_add(&arguments, argv[i]);
        }
    }
}

void
upgrade_set_pidfile(char *path)
{
    free(pidfile_path);
    pidfile_path = path;
}

/* Returns the path of this program, even if another has taken its place there,
 * or null.  The caller frees it. */
static char *
own_path(void)
{
    static const char deleted[] = " (deleted)";
    char path[4096];
    ssize_t len = readlink("/proc/self/exe", path, sizeof path - 1);
    size_t cut = strlen(deleted);

    if (len <= 0) {
        return NULL;
    }
    path[len] = '\0';
    if (len > cut && !strcmp(path + len - cut, deleted)) {
        path[len - cut] = '\0';
    }
    return xstrdup(path);
}

/* Lets 'fds' and 'state_fd', and nothing else, through exec. */
static void
open_the_way(const struct state_fds *fds, int state_fd)
{
    descriptors_set_cloexec_all();
    for (size_t i = 0; i < fds->n; i++) {
        descriptor_set_cloexec(fds->fds[i], false);
    }
    descriptor_set_cloexec(state_fd, false);
}

/* In the child: becomes the program that is to be checked. */
static void
exec_check(const struct state_fds *fds, int state_fd, int output)
{
    char option[64];

    snprintf(option, sizeof option, "--check-state=%d", state_fd);
    open_the_way(fds, state_fd);
    dup2(output, STDOUT_FILENO);
    dup2(output, STDERR_FILENO);
    execl(check.program, arguments.names[0], option, (char *) NULL);
    dprintf(STDERR_FILENO, "cannot be executed (%s)", ovs_strerror(errno));
    _exit(127);
}

/* Starts the child.  Returns 0 or a positive errno. */
static int
start_check(void)
{
    struct state_fds fds;
    int state_fd = state_save(&handover, &fds);
    int error = state_fd < 0 ? -state_fd : 0;
    int pipe_fds[2] = { -1, -1 };

    if (!error && pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK)) {
        error = errno;
    }
    if (!error) {
        check.pid = fork();
        if (!check.pid) {
            exec_check(&fds, state_fd, pipe_fds[1]);
        }
        error = check.pid < 0 ? errno : 0;
    }
    if (!error) {
        check.output = pipe_fds[0];
        pipe_fds[0] = -1;
    }
    descriptors_close(pipe_fds, 2);
    if (state_fd >= 0) {
        close(state_fd);
    }
    free(fds.fds);
    return error;
}

/* Ends the check without a reply. */
static void
end_check(void)
{
    descriptors_close(&check.output, 1);
    free(check.program);
    memset(&check, 0, sizeof check);
    check.output = -1;
}

static void
fail(const char *format, ...)
    OVS_PRINTF_FORMAT(1, 2);

/* Replies that there will be no upgrade. */
static void
fail(const char *format, ...)
{
    va_list args;
    char *reason, *text;

    va_start(args, format);
    reason = xvasprintf(format, args);
    va_end(args);
    text = xasprintf("%s: %s: nothing has changed, pid %ld goes on as it is",
                     check.program, reason, (long int) getpid());
    VLOG_WARN("upgrade failed: %s", text);
    unixctl_command_reply_error(check.conn, text);
    free(text);
    free(reason);
    end_check();
}

/* In a child: replies to ovs-appctl when a byte comes through 'fd'. */
static void
help(int fd, const struct state_fds *fds)
{
    struct pollfd pfd = { .fd = fd, .events = POLLIN };
    char *text = xasprintf("pid %ld is now %s", (long int) getppid(),
                           check.program);
    char byte;

    /* Clients are to find their connections closed when they are. */
    for (size_t i = 0; i < fds->n; i++) {
        close(fds->fds[i]);
    }
    if (poll(&pfd, 1, START_MS) == 1 && read(fd, &byte, 1) == 1) {
        unixctl_command_reply(check.conn, text);
    }
    _exit(0);
}

/* Starts the child that replies later.  Returns 0 or a positive errno. */
static int
start_helper(void)
{
    struct state_fds fds;
    int state_fd, pipe_fds[2];
    pid_t pid;

    if (pipe2(pipe_fds, O_CLOEXEC)) {
        return errno;
    }
    handover.notify = pipe_fds[1];
    state_fd = state_save(&handover, &fds);
    pid = state_fd < 0 ? -1 : fork();
    if (!pid) {
        help(pipe_fds[0], &fds);
    }
    close(pipe_fds[0]);
    if (state_fd >= 0) {
        close(state_fd);
    }
    free(fds.fds);
    if (pid < 0) {
        int error = state_fd < 0 ? -state_fd : errno;

        descriptors_close(&handover.notify, 1);
        return error;
    }
    handover.helper = pid;
    return 0;
}

/* Becomes check.program.  Returns only if that fails, with a positive
 * errno. */
static int
execute(void)
{
    struct svec args = SVEC_EMPTY_INITIALIZER;
    struct state_fds fds;
    int state_fd = state_save(&handover, &fds);
    int error;

    if (state_fd < 0) {
        free(fds.fds);
        return -state_fd;
    }
    svec_clone(&args, &arguments);
    svec_add_nocopy(&args, xasprintf("--restore=%d", state_fd));
    svec_terminate(&args);
    open_the_way(&fds, state_fd);
    execv(check.program, args.names);

    error = errno;
    descriptors_set_cloexec_all();
    close(state_fd);
    svec_destroy(&args);
    free(fds.fds);
    return error;
}

static void
upgrade(void)
{
    int error;

    handover.pidfile = pidfile_path ? descriptor_find_file(pidfile_path) : -1;
    error = start_helper();
    if (!error) {
        VLOG_INFO("pid %ld becomes %s", (long int) getpid(), check.program);
        error = execute();

        /* The helper ends without a word. */
        descriptors_close(&handover.notify, 1);
    }
    fail("cannot be executed (%s)", ovs_strerror(error));
}

static void
read_output(void)
{
    while (check.len < sizeof check.text - 1) {
        ssize_t n = read(check.output, &check.text[check.len],
                         sizeof check.text - 1 - check.len);

        if (n <= 0) {
            break;
        }
        check.len += n;
    }
    check.text[check.len] = '\0';
}

/* The child has ended with 'status'. */
static void
conclude(int status)
{
    char *how = process_status_msg(status);

    if (check.timed_out) {
        fail("did not read the state within %d ms", CHECK_MS);
    } else if (status) {
        fail("cannot go on from here (%s)%s%.*s", how, check.len ? ": " : "",
             (int) strcspn(check.text, "\n"), check.text);
    } else if (!state_is_accepted(check.text)) {
        fail("is not a vpcid, or one that is too old");
    } else {
        upgrade();
    }
    free(how);
}

static void
reap_helper(void)
{
    if (handover.helper
        && waitpid(handover.helper, NULL, WNOHANG) != 0) {
        handover.helper = 0;
    }
}

void
upgrade_run(void)
{
    int status;

    reap_helper();
    if (!check.conn) {
        return;
    }
    read_output();
    if (waitpid(check.pid, &status, WNOHANG) == check.pid) {
        read_output();
        conclude(status);
    } else if (!check.timed_out && time_msec() >= check.deadline) {
        check.timed_out = true;
        kill(check.pid, SIGKILL);
    }
}

void
upgrade_wait(void)
{
    if (check.conn || handover.helper) {
        poll_timer_wait(CHILD_MS);
    }
}

void
upgrade_cancel(void)
{
    if (check.conn) {
        kill(check.pid, SIGKILL);
        waitpid(check.pid, NULL, 0);
        fail("the keeper ends");
    }
}

static void
unixctl_upgrade(struct unixctl_conn *conn, int argc, const char *argv[],
                void *aux OVS_UNUSED)
{
    char *program = argc > 1 ? xstrdup(argv[1]) : own_path();
    int error;

    if (check.conn) {
        unixctl_command_reply_error(conn, "another upgrade is under way");
        free(program);
        return;
    } else if (!program || program[0] != '/') {
        unixctl_command_reply_error(conn, "the program must be named by an "
                                    "absolute path");
        free(program);
        return;
    }
    check.conn = conn;
    check.program = program;
    check.deadline = time_msec() + CHECK_MS;
    error = start_check();
    if (error) {
        fail("cannot be tried (%s)", ovs_strerror(error));
    }
}

void
upgrade_init(void)
{
    unixctl_command_register("vpcid/upgrade", "[program]", 0, 1,
                             unixctl_upgrade, NULL);
}

void
upgrade_restore(int fd)
{
    char *error = state_load(fd, &handover);

    if (error) {
        VLOG_FATAL("cannot go on from the state of the program before: %s",
                   error);
    }
    close(fd);
    state_resume();
    if (handover.pidfile >= 0) {
        struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

        descriptor_set_cloexec(handover.pidfile, true);
        if (fcntl(handover.pidfile, F_SETLK, &lock)) {
            VLOG_WARN("%s: cannot be locked again (%s)", pidfile_path,
                      ovs_strerror(errno));
        }
        if (pidfile_path) {
            fatal_signal_add_file_to_unlink(pidfile_path);
        }
    }
    descriptor_set_cloexec(handover.notify, true);
    n_upgrades++;
}

void
upgrade_complete(void)
{
    if (handover.notify >= 0) {
        size_t written;

        write_fully(handover.notify, "", 1, &written);
        descriptors_close(&handover.notify, 1);
    }
    VLOG_INFO("upgraded: %u regions go on", (unsigned int) regions_count());
}
