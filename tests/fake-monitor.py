#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""usage: fake-monitor.py SOCKET MODE [DEVICE=PATH...]

Listens at SOCKET as the monitor of a QEMU would that has root ports slot1, in
use, slot2 and slot3, and ivshmem devices DEVICE, at PATH, in slot3.  Prints
what changes something.  MODE is

    good        all is as it should be
    deaf        nobody ever answers
    nonsense    what comes is no QMP
    flood       events and no answers
    full        slot2 has no room
    refuses     device_add fails
    keeps       the guest does not let go of devices, until SIGUSR1"""
import json
import os
import signal
import socket
import sys
import time

LIFETIME = 100
PERIPHERAL = "/machine/peripheral"
RESERVES = {"slot1": 1 << 26, "slot2": 1 << 26, "slot3": 1 << 26}


class Refused(Exception):
    """A command is."""


class Machine:
    """What is in the machine."""

    def __init__(self, mode, devices):
        self.mode = mode
        self.keeps = mode == "keeps"
        self.chardevs = dict(devices)
        self.devices = {name: ("slot3", name) for name in self.chardevs}
        if mode == "full":
            RESERVES["slot2"] = RESERVES["slot3"] = 4096

    def execute(self, command, args):
        """Returns the answer, and events."""
        method = getattr(self, command.replace("-", "_"), None)
        if not method:
            raise Refused(f"The command {command} has not been found")
        if command.split("_")[0].split("-")[0] in ("chardev", "device"):
            print(command, *(v for k, v in sorted(args.items())
                             if isinstance(v, (str, int))), flush=True)
        answer = method(**args)
        return answer if isinstance(answer, tuple) else (answer, [])

    def qmp_capabilities(self):
        """Begins."""
        return {}

    def query_kvm(self):
        """There is."""
        return {"enabled": True, "present": True}

    def query_pci(self):
        """Devices have their memory."""
        devices = [{"qdev_id": name, "regions": [{"bar": 2, "address": 4096}]}
                   for name in self.devices]
        bridge = {"qdev_id": "slot2", "regions": [],
                  "pci_bridge": {"devices": devices}}
        return [{"devices": [bridge]}]

    def qom_list(self, path):
        """Objects."""
        if path == PERIPHERAL:
            found = {name: "child<pcie-root-port>" for name in RESERVES}
            found.update((name, "child<ivshmem-doorbell>")
                         for name in self.devices)
        elif path == "/chardevs":
            found = {name: "child<chardev-socket>" for name in self.chardevs}
        else:
            slot = path.rsplit("/", 1)[-1]
            used = slot == "slot1" or slot in [
                bus for bus, _ in self.devices.values()]
            found = {"child[0]": "link<x>"} if used else {}
        found["type"] = "string"
        return [{"name": k, "type": v} for k, v in found.items()]

    def qom_get(self, path, property):
        """Properties."""
        name = path.rsplit("/", 1)[-1]
        if property == "pref64-reserve":
            return RESERVES[name]
        if property == "addr":
            return {"type": "unix", "path": self.chardevs[name]}
        bus, chardev = self.devices[name]
        return (f"{PERIPHERAL}/{bus}/{bus}" if property == "parent_bus"
                else chardev)

    def chardev_add(self, id, backend):
        """Connects."""
        if id in self.chardevs:
            raise Refused("there is one")
        self.chardevs[id] = backend["data"]["addr"]["data"]["path"]
        return {}

    def chardev_remove(self, id):
        """Disconnects."""
        if any(id == chardev for _, chardev in self.devices.values()):
            raise Refused("it is in use")
        del self.chardevs[id]
        return {}

    def device_add(self, driver, id, bus, chardev, vectors):
        """Plugs in."""
        if self.mode == "refuses":
            raise Refused("server sent version -16")
        if id in self.devices:
            raise Refused("there is one")
        self.devices[id] = bus, chardev
        return {}

    def device_del(self, id):
        """Unplugs."""
        if id not in self.devices:
            raise Refused("not found")
        if self.keeps:
            return {}
        del self.devices[id]
        path = f"{PERIPHERAL}/{id}"
        return {}, [{"event": "DEVICE_DELETED", "data": {"path": path}},
                    {"event": "DEVICE_DELETED",
                     "data": {"path": path, "device": id}}]


def serve(client, machine):
    """Serves one client."""
    reader = client.makefile("r")

    def say(what):
        client.sendall(json.dumps(what).encode() + b"\n")

    if machine.mode == "deaf":
        reader.readline()
        return
    if machine.mode == "nonsense":
        client.sendall(os.urandom(1000) + b"\n")
    say({"QMP": {}})
    for line in reader:
        request = json.loads(line)
        while machine.mode == "flood":
            say({"event": "TICK", "data": None})
            time.sleep(0.01)
        try:
            answer, events = machine.execute(request["execute"],
                                             request["arguments"])
            for event in events[:1]:
                say(event)
            say({"return": answer})
            for event in events[1:]:
                say(event)
        except Refused as error:
            say({"error": {"class": "GenericError", "desc": str(error)}})


def main():
    """Serves one client after the other."""
    path, mode, *devices = sys.argv[1:]
    machine = Machine(mode, [text.split("=", 1) for text in devices])

    def let_go(*_):
        machine.keeps = False

    signal.signal(signal.SIGUSR1, let_go)
    signal.alarm(LIFETIME)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        while True:
            client, _ = listener.accept()
            with client:
                try:
                    serve(client, machine)
                except OSError:
                    pass


if __name__ == "__main__":
    main()
