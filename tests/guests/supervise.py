#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""usage: supervise.py SECONDS DIRECTORY COMMAND...

Runs COMMAND in DIRECTORY until it ends, SECONDS have passed or SIGTERM
arrives, then kills whatever is left of it and removes DIRECTORY/pid.

COMMAND gets the FIFOs control.in and control.out as descriptors 8 and 9 and
no other descriptor but the standard ones.  Processes that lose their parent
become children of this one: a User-Mode Linux that is killed leaves helpers
behind that would live on, in a container without a real init even as zombies.
"""

import ctypes
import os
import signal
import subprocess
import sys

PR_SET_CHILD_SUBREAPER = 36     # <linux/prctl.h>


class Stop(Exception):
    pass


def stop(_signum, _frame):
    raise Stop()


def adopt_orphans():
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def open_control_lines():
    """Opens what COMMAND inherits, and closes what our caller left open."""
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    for wanted, name in ((8, "control.in"), (9, "control.out")):
        fd = os.open(name, os.O_RDWR)
        os.dup2(fd, wanted)
        os.close(fd)


def children():
    try:
        with open("/proc/self/task/%d/children" % os.getpid()) as f:
            return [int(pid) for pid in f.read().split()]
    except OSError:
        return []


def kill_descendants(child):
    """Each child that dies may leave us its own children."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    while True:
        for pid in children():
            os.kill(pid, signal.SIGKILL)
        try:
            os.wait()
        except ChildProcessError:
            return


def main():
    bound = float(sys.argv[1])
    os.chdir(sys.argv[2])
    if os.getpgrp() != os.getpid():
        os.setsid()             # Ctrl-C on the terminal is not for us.
    signal.signal(signal.SIGTERM, stop)
    adopt_orphans()
    open_control_lines()
    child = subprocess.Popen(sys.argv[3:], pass_fds=(8, 9),
                             start_new_session=True)
    try:
        child.wait(bound)
    except (Stop, subprocess.TimeoutExpired):
        pass
    kill_descendants(child)
    os.unlink("pid")


main()
