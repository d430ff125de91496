# SPDX-License-Identifier: Apache-2.0
"""What of a libvirt domain concerns vpci, read out of its XML."""
import re

QEMU = "{http://libvirt.org/schemas/domain/qemu/1.0}"
UNITS = {"": 1, "B": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30,
         "T": 1 << 40}


class NoDomain(Exception):
    """The XML is not that of a domain; the message says of what."""


def parse_size(text):
    """Bytes that 'text', as QEMU takes sizes, is; None if it is none."""
    match = re.fullmatch(r"(?:0x([0-9a-f]{1,16})|([0-9]{1,20}))([bkmgt]?)",
                         (text or "").lower())
    if not match:
        return None
    digits = int(match[1], 16) if match[1] else int(match[2])
    return digits * UNITS[match[3].upper()]


# As libvirt has them, in which "KB" is less than "KiB".
LIBVIRT_UNITS = {"b": 1, "bytes": 1}
for _i, _letter in enumerate("kmgt", 1):
    LIBVIRT_UNITS.update({_letter: 1024 ** _i, _letter + "ib": 1024 ** _i,
                          _letter + "b": 1000 ** _i})
# Of what libvirt rounds memory up to.
MEMORY_UNIT = 1 << 20


def _memory(root):
    """Bytes of the guest's memory, or None."""
    element = root.find("memory")
    text = "" if element is None else (element.text or "").strip()
    unit = "KiB" if element is None else element.get("unit", "KiB")
    if not re.fullmatch("[0-9]{1,15}", text) \
            or unit.lower() not in LIBVIRT_UNITS:
        return None
    size = int(text) * LIBVIRT_UNITS[unit.lower()]
    return -(-size // MEMORY_UNIT) * MEMORY_UNIT


def _number(text):
    """The number that an attribute is, or None."""
    match = re.fullmatch(r"0x([0-9a-fA-F]{1,8})|(-?[0-9]{1,9})", text or "")
    if not match:
        return None
    return int(match[1], 16) if match[1] else int(match[2])


def _attribute(element, path, name):
    """Attribute 'name' of the child 'path' of 'element', or None."""
    child = element.find(path)
    return None if child is None else child.get(name)


class _Device:
    """A device with an address, an alias and, maybe, a socket."""

    def __init__(self, element):
        self.element = element
        self.alias = _attribute(element, "alias", "name")
        self.address = element.find("address")

    def bus(self):
        """The number of the PCI bus that it is at, or None."""
        if self.address is None or self.address.get("type") != "pci":
            return None
        return _number(self.address.get("bus", "0"))


class Interface(_Device):
    """<interface type='vhostuser'>"""

    def __init__(self, element):
        super().__init__(element)
        source = element.find("source")
        self.has_source = source is not None
        self.kind = source.get("type") if self.has_source else None
        self.path = source.get("path", "") if self.has_source else ""
        self.mode = source.get("mode") if self.has_source else None
        self.reconnects = _attribute(element, "source/reconnect",
                                     "enabled") == "yes"
        self.model = _attribute(element, "model", "type")
        self.queues_text = _attribute(element, "driver", "queues")
        self.iommu = _attribute(element, "driver", "iommu")
        self.mac = _attribute(element, "mac", "address")

    def queues(self):
        """Queue pairs; None if that is no number."""
        return 1 if self.queues_text is None else _number(self.queues_text)

    def where(self):
        """How texts call it."""
        name = self.path or self.mac or self.alias or "without a path"
        return f"interface {name}"


class Shmem(_Device):
    """<shmem>"""

    def __init__(self, element):
        super().__init__(element)
        self.name = element.get("name", "")
        self.model = _attribute(element, "model", "type")
        self.has_server = element.find("server") is not None
        self.path = _attribute(element, "server", "path") or ""
        self.has_msi = element.find("msi") is not None
        self.vectors_text = _attribute(element, "msi", "vectors")
        self.ioeventfd = _attribute(element, "msi", "ioeventfd")
        self.enabled = _attribute(element, "msi", "enabled")

    def vectors(self):
        """MSI-X vectors; None if that is no number."""
        return 1 if self.vectors_text is None else _number(self.vectors_text)

    def where(self):
        """How texts call it."""
        return f"shmem '{self.name}'" + (f" ({self.path})" if self.path
                                         else "")


class RootPort(_Device):
    """<controller type='pci' model='pcie-root-port'>"""

    def __init__(self, element):
        super().__init__(element)
        self.index = _number(element.get("index"))

    def where(self):
        """How texts call it."""
        return f"root port {'?' if self.index is None else self.index}"


class Domain:
    """A domain, or the part of one that somebody wants to paste."""

    def __init__(self, root):
        if root.tag != "domain":
            raise NoDomain(f"the root element is <{root.tag}>, wanted: "
                           "<domain>, as 'virsh dumpxml DOMAIN' prints it")
        self.root = root
        self.name = (root.findtext("name") or "").strip() or "(no name)"
        self.type = root.get("type", "")
        self.is_running = root.get("id") is not None
        self.arch = _attribute(root, "os/type", "arch")
        self.machine = _attribute(root, "os/type", "machine")
        self.memory = _memory(root)
        devices = root.findall("devices/*")
        self.interfaces = [Interface(e) for e in devices
                           if e.tag == "interface"
                           and e.get("type") == "vhostuser"]
        self.shmems = [Shmem(e) for e in devices if e.tag == "shmem"]
        controllers = [e for e in devices if e.tag == "controller"
                       and e.get("type") == "pci"]
        self.controllers = {_number(e.get("index")): e.get("model")
                            for e in controllers}
        self.root_ports = [RootPort(e) for e in controllers
                           if e.get("model") == "pcie-root-port"]
        self._port_of_bus = {p.index: p for p in self.root_ports
                             if p.index is not None}
        self._overrides = _overrides(root)
        self._globals = _globals(root)
        self.buses_in_use = {device.bus() for device in map(_Device, devices)}
        self.slots_in_use = {_number(a.get("slot")) for a in
                             root.findall("devices/*/address")
                             if a.get("type") == "pci"
                             and _number(a.get("bus", "0")) == 0}

    def where(self):
        """How texts call it."""
        return f"domain {self.name}"

    def doorbells(self):
        """Shmem devices that a vpci port may be behind."""
        return [s for s in self.shmems if s.model == "ivshmem-doorbell"]

    def vhost_user_devices(self):
        """How texts call those that a process serves who gets all of the
        machine's memory."""
        paths = (("disk[@type='vhostuser']", "disk"),
                 ("filesystem/driver[@type='virtiofs']", "filesystem"),
                 ("video/driver[@name='vhostuser']", "video"))
        return [i.where() for i in self.interfaces] + [
            f"a <{name}>" for path, name in paths
            for _ in self.root.findall("devices/" + path)]

    def paths(self):
        """The sockets of these."""
        return [s.path for s in self.doorbells() if s.path]

    def devices(self):
        """All devices with a socket of the switch or the keeper."""
        return self.interfaces + self.doorbells()

    def root_port(self, bus):
        """The root port that makes bus 'bus', or None."""
        return self._port_of_bus.get(bus)

    def free_root_ports(self):
        """Root ports with nothing at them."""
        return [p for p in self.root_ports
                if p.index is not None and p.index not in self.buses_in_use]

    def property(self, device, driver, name):
        """What property 'name' of 'device' is set to by namespace qemu, for
        itself or for all of 'driver'; or None."""
        return self._overrides.get((device.alias, name),
                                   self._globals.get(f"{driver}.{name}"))


def _overrides(root):
    """What is set for one device: values, by alias and name."""
    return {(device.get("alias", ""), each.get("name")):
            each.get("value", "")
            for device in root.findall(f"{QEMU}override/{QEMU}device")
            for each in device.findall(f"{QEMU}frontend/{QEMU}property")}


def _globals(root):
    """What '-global' sets, the last time that it does."""
    args = [e.get("value", "")
            for e in root.findall(f"{QEMU}commandline/{QEMU}arg")]
    return dict(value.split("=", 1) for option, value in zip(args, args[1:])
                if option == "-global" and "=" in value)
