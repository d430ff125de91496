# SPDX-License-Identifier: Apache-2.0
"""Machines of QEMU that nobody manages, but for their monitor."""
import contextlib
import logging

from . import machine, planner, qmp, tcg
from .machine import MachineError

log = logging.getLogger("qmp")

PERIPHERAL = "/machine/peripheral"
DOORBELL = "child<ivshmem-doorbell>"
ROOT_PORT = "child<pcie-root-port>"
# What QEMU has for a size that is not set.
UNSET = (1 << 64) - 1


class QmpMachine:
    """A machine whose monitor is at a socket."""
    kind = "qemu"

    def __init__(self, path, buses=None):
        self.name = path
        self.ports = set()
        self._buses = buses or {}

    @property
    def names(self):
        """All names that it is known by: the ports are others."""
        return {self.name}

    @contextlib.contextmanager
    def session(self, _paths):
        """A connection to it."""
        monitor = qmp.Monitor(self.name)
        try:
            yield _Session(monitor, self.ports, self._buses)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise MachineError(f"{self.name}: an answer of QEMU's is not "
                               f"understood ({error!r})") from None
        finally:
            monitor.close()


class _Session:
    def __init__(self, monitor, ports, buses):
        self._monitor, self._ports, self._buses = monitor, ports, buses
        self._names = set()

    def scan(self):
        """See machine.py."""
        children = dict(sorted(self._children(PERIPHERAL).items()))
        self._names = set(children)
        mapped = None
        devices = []
        for name, kind in children.items():
            path = self._socket_of(name) if kind == DOORBELL else None
            if planner.is_ours(path):
                mapped = self._mapped() if mapped is None else mapped
                devices.append(planner.Device(
                    name, path, self._get(name, "parent_bus")
                    .rsplit("/", 1)[-1], name in mapped))
        self._remove_orphans(children)
        slots = [self._slot(name) for name, kind in children.items()
                 if kind == ROOT_PORT]
        return machine.Scan(frozenset(self._ports), devices,
                            {port: self._choice(port, slots)
                             for port in self._ports})

    def plug(self, end, slot):
        """See machine.py."""
        name = machine.device_name(end, self._names)
        self._monitor.execute(
            "chardev-add", id=name,
            backend={"type": "socket",
                     "data": {"addr": {"type": "unix",
                                       "data": {"path": end.socket}},
                              "server": False}})
        try:
            self._monitor.execute(
                "device_add", driver="ivshmem-doorbell", id=name,
                bus=slot.name, chardev=name, vectors=end.vectors)
        except qmp.CommandError:
            self._remove_chardev(name)
            raise

    def unplug(self, device):
        """See machine.py."""
        if self._has_kvm():
            self._unplug(device)
            return
        with tcg.calm():
            self._unplug(device)

    def _unplug(self, device):
        chardev = self._get(device.name, "chardev")
        path = f"{PERIPHERAL}/{device.name}"
        try:
            self._monitor.execute("device_del", id=device.name)
        except qmp.CommandError as error:
            # Somebody else wants that, too, or the guest takes its time.
            if "process of unplug" not in str(error):
                raise
        if not self._monitor.await_event("DEVICE_DELETED",
                                         machine.UNPLUG_TIMEOUT,
                                         lambda d: d.get("path") == path):
            raise machine.still_there(device.name)
        self._after_unplug()
        self._remove_chardev(chardev)

    def _has_kvm(self):
        return self._monitor.execute("query-kvm")["enabled"]

    def _children(self, path):
        return {each["name"]: each["type"] for each in
                self._monitor.execute("qom-list", path=path)}

    def _get(self, name, what):
        return self._monitor.execute("qom-get", path=f"{PERIPHERAL}/{name}",
                                     property=what)

    def _socket_of(self, name):
        """The path of the socket that doorbell 'name' is at, or None."""
        try:
            address = self._monitor.execute(
                "qom-get", path=f"/chardevs/{self._get(name, 'chardev')}",
                property="addr")
        except qmp.CommandError:
            return None
        return address.get("path")

    def _slot(self, name):
        used = any(each.startswith("child[") for each in
                   self._children(f"{PERIPHERAL}/{name}/{name}"))
        reserve = self._get(name, "pref64-reserve")
        return planner.Slot(name, used, None if reserve == UNSET else reserve)

    def _choice(self, port, slots):
        """The slots of 'slots' that are for 'port'."""
        if port not in self._buses:
            return slots
        known = {slot.name: slot for slot in slots}
        for name in self._buses[port]:
            if name not in known:
                raise MachineError(
                    f"port {port}: --bus names {name}, which is no "
                    "pcie-root-port of this machine; there are "
                    + (", ".join(known) or "none"))
        return [planner.Slot(name, known[name].used, known[name].reserve, True)
                for name in self._buses[port]]

    def _mapped(self):
        """The devices that have an address for their memory, BAR 2."""
        found = set()
        buses = [bus["devices"] for bus in self._monitor.execute("query-pci")]
        while buses:
            for device in buses.pop():
                buses.append(device.get("pci_bridge", {}).get("devices", []))
                if any(region["bar"] == 2 and region["address"] != -1
                       for region in device["regions"]):
                    found.add(device["qdev_id"])
        return found

    def _remove_orphans(self, children):
        """What a device has left that went when nobody looked."""
        for name in self._children("/chardevs"):
            if name.startswith(planner.NAMES) and name not in children:
                log.info("%s: nothing uses character device %s any more",
                         ", ".join(sorted(self._ports)), name)
                self._after_unplug()
                self._remove_chardev(name)

    def _remove_chardev(self, name):
        try:
            self._monitor.execute("chardev-remove", id=name)
        except qmp.CommandError as error:
            log.warning("%s", error)

    def _after_unplug(self):
        """What QEMU needs without KVM."""
        if not self._has_kvm():
            tcg.occupy(lambda fd, name: self._monitor.execute(
                "getfd", fd=fd, fdname=name))
