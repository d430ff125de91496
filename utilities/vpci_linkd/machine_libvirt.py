# SPDX-License-Identifier: Apache-2.0
"""Machines that are domains of libvirt."""
import contextlib
import json
import logging
import time
import xml.etree.ElementTree as ET
from xml.sax.saxutils import quoteattr

from . import machine, planner, tcg
from .machine import MachineError

log = logging.getLogger("libvirt")

QEMU = "{http://libvirt.org/schemas/domain/qemu/1.0}"
LIVE = 1                # VIR_DOMAIN_AFFECT_LIVE
ACTIVE = 1              # VIR_CONNECT_LIST_DOMAINS_ACTIVE
RESERVE = "pref64-reserve"
UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def load():
    """Returns the Python module of libvirt, which is not everywhere, or
    None."""
    try:
        import libvirt
    except ImportError:
        return None
    # Otherwise it prints errors by itself.
    libvirt.registerErrorHandler(lambda *_: None, None)
    return libvirt


def monitor_with_files():
    """Returns the function of libvirt that gives QEMU commands with
    descriptors, or None: it is there since 8.2."""
    try:
        import libvirt_qemu
    except ImportError:
        return None
    return getattr(libvirt_qemu, "qemuMonitorCommandWithFiles", None)


class Connection:
    """A connection to libvirt, which is made anew when it is lost."""

    def __init__(self, libvirt, uri):
        self._libvirt, self._uri = libvirt, uri
        self._connection = None

    @contextlib.contextmanager
    def errors(self):
        """Errors of libvirt become MachineError."""
        try:
            yield
        except self._libvirt.libvirtError as error:
            raise MachineError(f"libvirt ({self._uri}): {error}") from None

    @contextlib.contextmanager
    def use(self):
        """Gives the connection; errors become MachineError."""
        with self.errors():
            if self._connection is None or not self._connection.isAlive():
                self._connection = None
                self._connection = self._libvirt.open(self._uri)
            yield self._connection

    def domains(self):
        """Returns the ids and the names of domains that run, by UUID."""
        with self.use() as connection:
            return {d.UUIDString(): (d.ID(), d.name())
                    for d in connection.listAllDomains(ACTIVE)}


class LibvirtMachine:
    """A domain."""
    kind = "libvirt"

    def __init__(self, connection, uuid, name):
        self.name, self._uuid = name, uuid
        self._connection = connection

    @property
    def names(self):
        """All names that it is known by."""
        return {self.name, self._uuid}

    @contextlib.contextmanager
    def session(self, paths):
        """A connection to it, for ports with 'paths'."""
        with self._connection.use() as connection:
            yield _Session(connection.lookupByUUIDString(self._uuid), paths,
                           self._connection.errors)


class _Session:
    """What goes wrong concerns one device, not the session."""

    def __init__(self, domain, paths, errors):
        self._domain, self._paths, self._errors = domain, paths, errors
        self._names = set()

    def scan(self):
        """See machine.py."""
        root = self._xml()
        shmems = root.findall("devices/shmem")
        sockets = {_socket(shmem) for shmem in shmems}
        ports = frozenset(port for port, path in self._paths.items()
                          if path in sockets)
        self._names = {shmem.get("name") for shmem in shmems}
        devices = [planner.Device(shmem.get("name"), _socket(shmem),
                                  _bus(shmem))
                   for shmem in shmems if planner.is_ours(_socket(shmem))]
        slots = slots_of(root)
        return machine.Scan(ports, devices, {port: slots for port in ports})

    def plug(self, end, slot):
        """See machine.py."""
        xml = shmem_xml(machine.device_name(end, self._names), end, slot.name)
        with self._errors():
            self._domain.attachDeviceFlags(xml, LIVE)

    def unplug(self, device):
        """See machine.py."""
        with self._errors():
            if self._xml().get("type") != "qemu":
                self._unplug(device)
                return
            with tcg.calm():
                self._unplug(device)
                self._occupy()

    def _unplug(self, device):
        shmem = self._find(device)
        if shmem is not None:
            self._domain.detachDeviceFlags(
                ET.tostring(shmem, encoding="unicode"), LIVE)
        # libvirt itself waits for a shorter time, and succeeds anyway.
        deadline = time.monotonic() + machine.UNPLUG_TIMEOUT
        while self._find(device) is not None:
            if time.monotonic() > deadline:
                raise machine.still_there(device.name)
            time.sleep(0.2)

    def _occupy(self):
        """What QEMU needs without KVM, if libvirt can do it: versions before
        8.2, and connections to other hosts, cannot."""
        command = monitor_with_files()
        try:
            tcg.occupy(lambda fd, name: command(
                self._domain, json.dumps({"execute": "getfd",
                                          "arguments": {"fdname": name}}),
                [fd], 0))
        except Exception as error:  # pylint: disable=broad-except
            log.warning("%s: QEMU 7.2 without KVM may end now, since it cannot "
                        "be given descriptors (%s)", self._domain.name(),
                        error)

    def _xml(self):
        return ET.fromstring(self._domain.XMLDesc(0))

    def _find(self, device):
        return next((shmem for shmem in self._xml().findall("devices/shmem")
                     if _socket(shmem) == device.socket), None)


def shmem_xml(name, end, bus):
    """The device for 'end' at the root port of 'bus', in hexadecimal."""
    return (f"<shmem name={quoteattr(name)}>"
            "<model type='ivshmem-doorbell'/>"
            f"<server path={quoteattr(end.socket)}/>"
            f"<msi vectors='{end.vectors}' ioeventfd='on'/>"
            f"<address type='pci' domain='0x0000' bus='{bus}' slot='0x00' "
            "function='0x0'/></shmem>")


def _socket(shmem):
    server = shmem.find("server")
    return None if server is None else server.get("path")


def _bus(device):
    """The bus that 'device' is at, in libvirt's spelling, or ''."""
    address = device.find("address[@type='pci']")
    return "" if address is None else _spell(address.get("bus", "0"))


def _spell(number):
    return f"0x{int(number, 0):02x}"


def slots_of(root):
    """Returns the root ports of a domain."""
    devices = root.findall("devices/*")
    used = {_bus(device) for device in devices}
    slots = []
    for each in devices:
        target = each.find("target[@hotplug='off']")
        if each.get("model") == "pcie-root-port" and target is None:
            bus = _spell(each.get("index", "0"))
            slots.append(planner.Slot(bus, bus in used, _reserve(root, each)))
    return slots


def _reserve(root, controller):
    """What a root port sets aside, or None if nothing in the XML says."""
    text = _globals(root).get(f"pcie-root-port.{RESERVE}")
    alias = controller.find("alias")
    if alias is not None:
        for device in root.findall(f"{QEMU}override/{QEMU}device"):
            if device.get("alias") == alias.get("name"):
                for each in device.findall(f"{QEMU}frontend/{QEMU}property"):
                    if each.get("name") == RESERVE:
                        text = each.get("value")
    return _size(text)


def _globals(root):
    args = [each.get("value", "") for each in
            root.findall(f"{QEMU}commandline/{QEMU}arg")]
    return dict(value.split("=", 1) for option, value in zip(args, args[1:])
                if option == "-global" and "=" in value)


def _size(text):
    """Bytes that 'text', as QEMU takes sizes, is; None if it is none."""
    text = (text or "").lower()
    digits = text.rstrip("bkmg") if not text.startswith("0x") else text
    try:
        return int(digits, 0) * UNITS[text[len(digits):]]
    except (ValueError, KeyError):
        return None
