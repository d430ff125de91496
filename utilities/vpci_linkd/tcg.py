# SPDX-License-Identifier: Apache-2.0
"""Machines without KVM, from which QEMU 7.2 unplugs devices with flaws."""
import contextlib
import logging
import os
import threading
import time

from . import machine, planner

log = logging.getLogger("tcg")

# Of the vectors of a device, of both sides.
MAX_DESCRIPTORS = 40
# How long interrupts may be under way, in seconds.
CALM = 0.3

_lock = threading.Lock()


@contextlib.contextmanager
def calm():
    """Within this, no other machine without KVM has a device unplugged.

    The memory of an ivshmem device of such a machine is freed with the handler
    of its interrupts still in place.  When the other guest's device goes, this
    one is interrupted: that must not be at the same time."""
    if not _lock.acquire(timeout=machine.UNPLUG_TIMEOUT):
        log.warning("a guest takes so long to let go of a device that another "
                    "one is unplugged, too")
        yield
        return
    try:
        time.sleep(CALM)
        yield
    finally:
        _lock.release()


def occupy(getfd):
    """Gives QEMU descriptors that nothing ever happens to, by getfd(fd, name),
    which is the command of that name.

    QEMU goes on listening to the descriptors that the vectors of an ivshmem
    device had, which it has closed, by their numbers, and ends when something
    happens to others with these."""
    for i in range(MAX_DESCRIPTORS):
        fd = os.eventfd(0)
        try:
            getfd(fd, f"{planner.NAME}-{time.monotonic_ns()}-{i}")
        finally:
            os.close(fd)
