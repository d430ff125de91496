# SPDX-License-Identifier: Apache-2.0
"""What all kinds of machines have in common.

A machine has

    kind, name      what it is, and how people call it
    names           all names that it is known by
    session(paths)  a context, within which there is a connection to it, for
                    ports with 'paths'; what that gives has

        scan()              what is in the machine: a Scan
        plug(end, slot)     plugs a device in at a slot, and
        unplug(device)      out, and waits until that is so

All may raise MachineError, and each takes a bounded time, or hangs without
doing harm to others: only one thread uses a machine."""
import re
from dataclasses import dataclass, field

from . import planner

# How long a guest may take to let go of a device.
UNPLUG_TIMEOUT = 20


class MachineError(Exception):
    """Something did not work in a machine; the message says what, and what to
    do."""


@dataclass(frozen=True)
class Scan:
    """What is in a machine."""
    ports: frozenset            # That it has, by name.
    devices: list = field(default_factory=list)     # At sockets of links, and
                                                    # of peers.
    slots: dict = field(default_factory=dict)       # For each port.


def still_there(what):
    """The error that the guest does not let go of 'what'."""
    return MachineError(
        f"the guest has not let go of {what} for {UNPLUG_TIMEOUT} s: does "
        "it run, and can its kernel unplug PCI devices?")


def device_name(end, taken):
    """Returns a name for the device at 'end' that is not 'taken'."""
    name = f"{planner.PEER_NAME if end.is_peer else planner.NAME}{end.region}"
    if name in taken:
        name += "-" + re.sub("[^A-Za-z0-9_.-]", "_", end.port)
    return name
