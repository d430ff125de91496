#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""usage: plug-links.py QMP PORT VECTORS SECONDS BUS...

Gives a virtual machine the links of its port, for SECONDS at most: plugs a
function ivshmem-doorbell with VECTORS vectors for each socket PORT.linkN that
comes into the next one of the root ports BUS....  QMP is the socket of the
machine's monitor.  Says what it does.

The functions stay there.  Without KVM, QEMU 7.2 still calls the handlers of an
ivshmem-doorbell's eventfds when it has been unplugged, and soon crashes.
"""

import glob
import os
import re
import sys
import time

from qmp import Failed, Monitor


def sockets(port):
    """Returns the links that there are, and their paths."""
    found = {}
    for path in glob.glob(glob.escape(port) + ".link*"):
        name = re.search(r"link[0-9]+$", path)
        if name:
            found[name.group()] = path
    return found


def plug(monitor, link, path, n_vectors, bus):
    """Returns whether there was somebody at 'path'."""
    address = {"type": "unix", "data": {"path": path}}
    backend = {"type": "socket", "data": {"server": False, "addr": address}}
    try:
        monitor.execute("chardev-add", id=link, backend=backend)
    except Failed as e:
        print(e)
        return False
    try:
        monitor.execute("device_add", driver="ivshmem-doorbell", id=link,
                        chardev=link, vectors=n_vectors, bus=bus)
    except Failed as e:
        print(e)
        monitor.execute("chardev-remove", id=link)
        return False
    print("%s: plugged into %s" % (link, bus))
    return True


def main():
    qmp, port, n_vectors, seconds = sys.argv[1:5]
    buses = sys.argv[5:]
    plugged = set()
    monitor = Monitor(qmp)
    sys.stdout.reconfigure(line_buffering=True)
    end = time.monotonic() + float(seconds)
    try:
        while buses and time.monotonic() < end:
            for link, path in sockets(os.path.abspath(port)).items():
                if (link not in plugged and buses
                        and plug(monitor, link, path, int(n_vectors),
                                 buses[0])):
                    plugged.add(link)
                    buses.pop(0)
            time.sleep(0.1)
    except (EOFError, ConnectionError):
        print("the machine has ended")


main()
