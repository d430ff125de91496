# SPDX-License-Identifier: Apache-2.0
"""How a daemon of Open vSwitch runs: --detach, --pidfile."""
import atexit
import fcntl
import os
import sys


class DaemonError(Exception):
    """This cannot run as a daemon; the message says why."""


class Parent:
    """The process that waits until its child, the daemon, is ready."""

    def __init__(self):
        self._fd = None

    def detach(self):
        """Goes on in a child; the parent ends when that is ready()."""
        reader, self._fd = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        if os.fork():
            os.close(self._fd)
            ready = os.read(reader, 1)
            os._exit(0 if ready else 1)
        os.close(reader)
        os.setsid()

    def ready(self):
        """The daemon is at work."""
        if self._fd is None:
            return
        null = os.open(os.devnull, os.O_RDWR)
        for fd in 0, 1, 2:
            os.dup2(null, fd)
        os.close(null)
        os.chdir("/")
        os.write(self._fd, b"y")
        os.close(self._fd)
        self._fd = None


_pidfile = None


def _remove(path, owner):
    if os.getpid() == owner:
        try:
            os.unlink(path)
        except OSError:
            pass


def write_pidfile(path):
    """Writes the process id to 'path', which stays locked as long as this
    process runs."""
    global _pidfile
    try:
        _pidfile = open(path, "a+", encoding="ascii")
        fcntl.lockf(_pidfile, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _pidfile.truncate(0)
        _pidfile.write(f"{os.getpid()}\n")
        _pidfile.flush()
    except BlockingIOError:
        raise DaemonError(f"{path}: another process has this pidfile: is "
                          "vpci-linkd running already?") from None
    except OSError as error:
        raise DaemonError(f"{path}: {error.strerror}") from None
    atexit.register(_remove, path, os.getpid())
