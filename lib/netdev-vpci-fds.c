/* SPDX-License-Identifier: Apache-2.0 */

/* Descriptors that front ends attach to messages.
 *
 * librte_vhost 22.11 keeps to itself which descriptors came with a message,
 * and does not close them in every case in which it should.  Besides, closing
 * a descriptor can take as long as its other owner likes.  So recvmsg() is
 * ours in this program: on the library's thread it looks at what has come
 * before the library does.  Everywhere else it is what it always was.
 *
 * A descriptor that is good for nothing here (anything but a file in memory or
 * on a disk, an eventfd, a pipe or a UNIX socket) is replaced by /dev/null,
 * and closed by a thread that may wait for it. */

#include "netdev-vpci-message.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "openvswitch/vlog.h"
#include "timeval.h"
#include "vpci/doorbell.h"

VLOG_DEFINE_THIS_MODULE(netdev_vpci_fds);

/* The library's name for the thread that serves all sockets. */
#define LIBRARY_THREAD "vhost-events"

/* Descriptors that wait to be closed; more are left open. */
#define MAX_TO_CLOSE 256

/* The descriptors of the message that was received last on this thread. */
static __thread struct vpci_fds received;

static struct ovs_mutex closer_mutex = OVS_MUTEX_INITIALIZER;
static pthread_cond_t closer_cond = PTHREAD_COND_INITIALIZER;
static int to_close[MAX_TO_CLOSE] OVS_GUARDED_BY(closer_mutex);
static int n_to_close OVS_GUARDED_BY(closer_mutex);
static bool closer_runs OVS_GUARDED_BY(closer_mutex);

static void *
closer_main(void *arg OVS_UNUSED)
{
    ovsrcu_quiesce_start();
    for (;;) {
        int fd;

        ovs_mutex_lock(&closer_mutex);
        while (!n_to_close) {
            ovs_mutex_cond_wait(&closer_cond, &closer_mutex);
        }
        fd = to_close[--n_to_close];
        ovs_mutex_unlock(&closer_mutex);
        close(fd);
    }
    OVS_NOT_REACHED();
}

/* Closes 'fd' some time. */
static void
close_later(int fd)
{
    ovs_mutex_lock(&closer_mutex);
    if (!closer_runs) {
        ovs_thread_create("vpci-closer", closer_main, NULL);
        closer_runs = true;
    }
    if (n_to_close < MAX_TO_CLOSE) {
        to_close[n_to_close++] = fd;
        xpthread_cond_signal(&closer_cond);
    }
    ovs_mutex_unlock(&closer_mutex);
}

/* True if 'fd' is of a kind that a front end may share, and that is closed
 * without delay. */
static bool
is_usable(int fd)
{
    struct statfs fs;
    struct stat s;

    if (fstat(fd, &s)) {
        return false;
    }
    if (S_ISREG(s.st_mode)) {
        return !fstatfs(fd, &fs) && fs.f_type != FUSE_SUPER_MAGIC;
    }
    return !vpci_doorbell_check(fd);
}

/* True if the library takes descriptors with 'request'. */
static bool
takes_fds(uint32_t request)
{
    switch (request) {
    case VHOST_USER_SET_MEM_TABLE:
    case VHOST_USER_SET_LOG_BASE:
    case VHOST_USER_SET_LOG_FD:
    case VHOST_USER_SET_VRING_KICK:
    case VHOST_USER_SET_VRING_CALL:
    case VHOST_USER_SET_VRING_ERR:
    case VHOST_USER_SET_SLAVE_REQ_FD:
    case VHOST_USER_SET_INFLIGHT_FD:
        return true;
    default:
        return false;
    }
}

/* Puts /dev/null in the place of '*fd'. */
static void
replace_fd(int *fd)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    close_later(*fd);
    *fd = null;
    received.n_unusable++;
}

/* Looks at the 'n' descriptors 'fds' that came with 'request'.  Returns how
 * many of them the library may see. */
static size_t
sort_out(uint32_t request, int fds[], size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!is_usable(fds[i])) {
            replace_fd(&fds[i]);
        }
    }
    if (takes_fds(request) && n <= ARRAY_SIZE(received.fds)) {
        for (size_t i = 0; i < n; i++) {
            received.fds[received.n++] = fds[i];
        }
        return n;
    }
    for (size_t i = 0; i < n; i++) {
        if (fds[i] >= 0) {
            close(fds[i]);
        }
    }
    return 0;
}

/* Looks at a message header of 'len' bytes that the library's thread has
 * received from 'fd'. */
static void
note_header(int fd, struct msghdr *msg, ssize_t len)
{
    struct {
        uint32_t request, flags, size;
    } header = { .request = 0 };
    struct cmsghdr *cmsg;
    int unread;

    if (msg->msg_iovlen && msg->msg_iov[0].iov_len >= sizeof header
        && len >= (ssize_t) sizeof header) {
        memcpy(&header, msg->msg_iov[0].iov_base, sizeof header);
    }
    if (!ioctl(fd, FIONREAD, &unread) && unread < (int64_t) header.size) {
        received.late_since = time_msec();
    }
    for (cmsg = CMSG_FIRSTHDR(msg); cmsg; cmsg = CMSG_NXTHDR(msg, cmsg)) {
        if (cmsg->cmsg_level == SOL_SOCKET && cmsg->cmsg_type == SCM_RIGHTS) {
            size_t n = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
            int *fds = ALIGNED_CAST(int *, CMSG_DATA(cmsg));

            if (!sort_out(header.request, fds, n)) {
                cmsg->cmsg_type = 0;
            }
        }
    }
}

static bool
is_library_thread(void)
{
    static __thread int known;
    char name[16];

    if (!known) {
        known = (!pthread_getname_np(pthread_self(), name, sizeof name)
                 && !strcmp(name, LIBRARY_THREAD) ? 1 : -1);
    }
    return known > 0;
}

ssize_t
recvmsg(int fd, struct msghdr *msg, int flags)
{
    static ssize_t (*libc_recvmsg)(int, struct msghdr *, int);
    ssize_t retval;

    if (!libc_recvmsg) {
        *(void **) &libc_recvmsg = dlsym(RTLD_NEXT, "recvmsg");
    }
    retval = libc_recvmsg(fd, msg, flags);
    if (is_library_thread()) {
        int error = errno;

        memset(&received, 0, sizeof received);
        if (retval > 0) {
            note_header(fd, msg, retval);
        }
        errno = error;
    }
    return retval;
}

const struct vpci_fds *
vpci_fds_received(void)
{
    return &received;
}

void
vpci_fds_close(void)
{
    for (int i = 0; i < received.n; i++) {
        if (received.fds[i] >= 0) {
            close(received.fds[i]);
        }
    }
    received.n = 0;
}

bool
vpci_fds_can_be_mapped(int i, uint64_t size)
{
    void *p;

    /* That there are too few is an error that the library knows. */
    if (i >= received.n) {
        return true;
    }
    p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
             received.fds[i], 0);
    return p != MAP_FAILED && !munmap(p, size);
}
