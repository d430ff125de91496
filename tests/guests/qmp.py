#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""usage: qmp.py SOCKET plug BUS PATH VECTORS
       qmp.py SOCKET plug-nic BUS PATH
       qmp.py SOCKET unplug BUS
       qmp.py SOCKET reset
       qmp.py SOCKET wake

Plugs an ivshmem-doorbell device, served at the UNIX socket PATH, or a virtio-net
whose vhost-user back end listens there, into the bus BUS of the QEMU guest whose
monitor is at SOCKET; or unplugs it again and waits until the guest has let go of
it.  Or resets the guest, which boots again, or wakes it once it sleeps.
"""

import json
import os
import socket
import sys
import time

TIMEOUT = 30

# Of the vectors of a device, of both sides.
MAX_DESCRIPTORS = 40


class Failed(Exception):
    """What QEMU says of a command that it cannot do."""


class Monitor:
    """A connection to QEMU's monitor, by its Machine Protocol."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(TIMEOUT)
        # The directory may have a longer path than a socket may.
        directory = os.getcwd()
        os.chdir(os.path.dirname(path) or ".")
        self.socket.connect(os.path.basename(path))
        os.chdir(directory)
        self.file = self.socket.makefile("r")
        self.events = []
        self.read()
        self.execute("qmp_capabilities")

    def read(self):
        line = self.file.readline()
        if not line:
            raise EOFError("the guest has gone")
        return json.loads(line)

    def execute(self, command, fd=None, **arguments):
        """Executes 'command', with descriptor 'fd'."""
        request = {"execute": command, "arguments": arguments}
        socket.send_fds(self.socket, [json.dumps(request).encode() + b"\n"],
                        [] if fd is None else [fd])
        while True:
            answer = self.read()
            if "error" in answer:
                raise Failed(f"{command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]
            self.events.append(answer)

    def await_event(self, name, **data):
        """Waits until 'name' has happened, with 'data'."""
        while True:
            event = self.events.pop(0) if self.events else self.read()
            if (event.get("event") == name
                    and data.items() <= event.get("data", {}).items()):
                return


def add_socket(monitor, bus, path):
    address = {"type": "unix", "data": {"path": path}}
    monitor.execute("chardev-add", id=f"{bus}-socket",
                    backend={"type": "socket",
                             "data": {"addr": address, "server": False}})


def plug_nic(monitor, bus, path):
    add_socket(monitor, bus, path)
    monitor.execute("netdev_add", type="vhost-user", id=f"{bus}-netdev",
                    chardev=f"{bus}-socket")
    # See qemu-guest.sh for the vectors.
    monitor.execute("device_add", driver="virtio-net-pci", id=f"{bus}-device",
                    bus=bus, netdev=f"{bus}-netdev", vectors=0)


def plug(monitor, bus, path, vectors):
    add_socket(monitor, bus, path)
    monitor.execute("device_add", driver="ivshmem-doorbell",
                    id=f"{bus}-device", bus=bus, chardev=f"{bus}-socket",
                    vectors=int(vectors))


def occupy_descriptors(monitor, bus):
    """Gives the guest descriptors that nothing ever happens to.

    Without KVM, QEMU 7.2 goes on listening to the descriptors that the vectors
    of an ivshmem device had, which it has closed, by their numbers, and ends
    when something happens to others with these numbers.
    """
    for i in range(MAX_DESCRIPTORS):
        fd = os.eventfd(0)
        monitor.execute("getfd", fd=fd, fdname=f"{bus}-{os.getpid()}-{i}")
        os.close(fd)


def unplug(monitor, bus):
    device = f"{bus}-device"
    monitor.execute("device_del", id=device)
    monitor.await_event("DEVICE_DELETED", device=device)
    occupy_descriptors(monitor, bus)
    try:
        # Of a NIC: its socket goes with it.
        monitor.execute("netdev_del", id=f"{bus}-netdev")
    except Failed:
        monitor.execute("chardev-remove", id=f"{bus}-socket")


def reset(monitor):
    # In spite of -no-reboot.
    monitor.execute("set-action", reboot="reset")
    monitor.execute("system_reset")
    monitor.await_event("RESET", guest=False)


def wake(monitor):
    end = time.monotonic() + TIMEOUT
    while monitor.execute("query-status")["status"] != "suspended":
        if time.monotonic() > end:
            raise Failed(f"the guest does not sleep after {TIMEOUT} s")
        time.sleep(0.1)
    monitor.execute("system_wakeup")
    monitor.await_event("WAKEUP")


def main():
    path, command, *arguments = sys.argv[1:]
    try:
        {"plug": plug, "plug-nic": plug_nic, "unplug": unplug,
         "reset": reset, "wake": wake}[command](Monitor(path), *arguments)
    except socket.timeout:
        sys.exit(f"qmp.py: no answer in {TIMEOUT} s")
    except (EOFError, Failed) as e:
        sys.exit(f"qmp.py: {e}")


if __name__ == "__main__":
    main()
