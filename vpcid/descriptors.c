/* SPDX-License-Identifier: Apache-2.0 */

#include <config.h>
#include "descriptors.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "openvswitch/vlog.h"
#include "util.h"

VLOG_DEFINE_THIS_MODULE(descriptors);

/* One to accept a client with, only to close it, since otherwise it would
 * wait, and wake us up, for ever; and one for the operator. */
static int spare_for_clients = -1;
static int spare_for_operator = -1;

static void
open_spare(int *fd)
{
    if (*fd < 0) {
        *fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    }
}

static void
close_spare(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
        *fd = -1;
    }
}

void
descriptors_init(void)
{
    struct rlimit limit;

    if (!getrlimit(RLIMIT_NOFILE, &limit)
        && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &limit)) {
            VLOG_WARN("the limit of open files cannot be raised to %llu (%s)",
                      (unsigned long long int) limit.rlim_max,
                      ovs_strerror(errno));
        }
    }
    open_spare(&spare_for_clients);
    open_spare(&spare_for_operator);
}

static int
accept_socket(int listener)
{
    return accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
}

/* Closes the next connection of 'listener' unseen.  Returns 0 or a positive
 * errno. */
static int
reject(int listener)
{
    int fd, error;

    close_spare(&spare_for_clients);
    fd = accept_socket(listener);
    error = fd < 0 ? errno : 0;
    if (!error) {
        close(fd);
    }
    open_spare(&spare_for_clients);
    return error;
}

int
descriptors_accept(int listener, int *sock, struct ucred *who)
{
    socklen_t len = sizeof *who;
    int error;

    *sock = accept_socket(listener);
    if (*sock < 0) {
        error = errno;
        if (error == EMFILE) {
            error = reject(listener);

            /* None left even so: that may last. */
            return !error ? EMFILE : error == EMFILE ? ENFILE : error;
        }
        return (error == EINTR || error == ECONNABORTED ? EAGAIN : error);
    }

    if (getsockopt(*sock, SOL_SOCKET, SO_PEERCRED, who, &len)) {
        memset(who, 0, sizeof *who);
    }
    return 0;
}

void
descriptors_lend(void)
{
    close_spare(&spare_for_operator);
}

bool
descriptors_take_back(void)
{
    open_spare(&spare_for_clients);
    open_spare(&spare_for_operator);
    return spare_for_operator >= 0;
}

int
descriptor_set_cloexec(int fd, bool cloexec)
{
    return fcntl(fd, F_SETFD, cloexec ? FD_CLOEXEC : 0) ? errno : 0;
}

/* Calls cb(fd, aux) for each descriptor until it returns false. */
static void
for_each_descriptor(bool (*cb)(int fd, void *aux), void *aux)
{
    DIR *dir = opendir("/proc/self/fd");
    struct dirent *entry;

    if (!dir) {
        VLOG_ERR("/proc/self/fd cannot be read (%s)", ovs_strerror(errno));
        return;
    }
    while ((entry = readdir(dir)) != NULL) {
        int fd = atoi(entry->d_name);

        if (entry->d_name[0] != '.' && fd != dirfd(dir) && !cb(fd, aux)) {
            break;
        }
    }
    closedir(dir);
}

static bool
set_cloexec_cb(int fd, void *aux OVS_UNUSED)
{
    if (fd > STDERR_FILENO) {
        descriptor_set_cloexec(fd, true);
    }
    return true;
}

void
descriptors_set_cloexec_all(void)
{
    for_each_descriptor(set_cloexec_cb, NULL);
}

struct file_to_find {
    struct stat stat;
    int fd;
};

static bool
find_file_cb(int fd, void *file_)
{
    struct file_to_find *file = file_;
    struct stat s;

    if (!fstat(fd, &s) && s.st_dev == file->stat.st_dev
        && s.st_ino == file->stat.st_ino) {
        file->fd = fd;
        return false;
    }
    return true;
}

int
descriptor_find_file(const char *path)
{
    struct file_to_find file = { .fd = -1 };

    if (!stat(path, &file.stat)) {
        for_each_descriptor(find_file_cb, &file);
    }
    return file.fd;
}

static int
get_socket_option(int fd, int option)
{
    socklen_t len = sizeof(int);
    int value;

    return getsockopt(fd, SOL_SOCKET, option, &value, &len) ? -1 : value;
}

bool
descriptor_is_socket(int fd, int type, bool listens)
{
    return (get_socket_option(fd, SO_DOMAIN) == AF_UNIX
            && get_socket_option(fd, SO_TYPE) == type
            && get_socket_option(fd, SO_ACCEPTCONN) == listens);
}

/* Only files of these file systems have seals, be it none.  A file system of
 * somebody's own could make fstat() wait for ever; this does not ask it. */
bool
descriptor_is_memory(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    return (flags >= 0 && (flags & O_ACCMODE) == O_RDWR
            && fcntl(fd, F_GET_SEALS) >= 0);
}

void
descriptors_close(int fds[], size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (fds[i] >= 0) {
            close(fds[i]);
            fds[i] = -1;
        }
    }
}
