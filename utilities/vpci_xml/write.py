# SPDX-License-Identifier: Apache-2.0
"""'vpci-xml port': the XML that a port's guest needs, with what it is for."""
import re
import textwrap
from xml.sax.saxutils import escape

from .check_shmem import needed_reserve, round_up
from .check_switch import largest_region
from .switch import IVSHMEM, LISTEN, MODES, SERVER, SwitchError

QEMU_XMLNS = "http://libvirt.org/schemas/domain/qemu/1.0"
# Of comments, without their end.
WIDTH = 75
# Where libvirt does not put anything by itself, as long as there is room.
FIRST_SLOT = 0x10
LAST_SLOT = 0x1e
# Below, libvirt makes root ports for devices that have no address: a few in a
# domain that is new, more than most domains have in one that is there.
FIRST_INDEX = 8
FIRST_TO_PASTE = 16
MAX_INDEX = 255
MAX_LINKS = 8
DEFAULT_LINKS = 2


class CannotWrite(Exception):
    """What was asked for does not go with the port; the message says why."""


class Places:
    """Indices of PCI controllers, and slots of the root bus, that nothing has.

    libvirt puts devices without an address at the free root port with the
    lowest index, and makes those whose indices are left out.  So ours have the
    highest ones, or nothing would stay free for links."""

    def __init__(self, options):
        into = options.into_domain
        self.index = FIRST_INDEX if options.whole_domain else FIRST_TO_PASTE
        if into:
            self.index = 1 + max((i for i in into.controllers if i), default=0)
        self.slots = set(into.slots_in_use) if into else set()

    def take(self):
        """Returns an index and a slot."""
        slot = next((s for s in range(FIRST_SLOT, LAST_SLOT + 1)
                     if s not in self.slots), None)
        if slot is None or self.index > MAX_INDEX:
            raise CannotWrite(
                "there is no place for one more root port: all slots from "
                f"{FIRST_SLOT:#x} to {LAST_SLOT:#x} of PCI bus 0 have devices, "
                "those that this would print among them, or there is a PCI "
                f"controller with index {MAX_INDEX}; move a device, or have "
                "fewer links (--links)")
        self.slots.add(slot)
        self.index += 1
        return self.index - 1, slot


def _comment(text, indent):
    """Lines of a comment; '--' may not be in one."""
    while "--" in text:
        text = text.replace("--", "- -")
    lines = textwrap.wrap(text, WIDTH, initial_indent=indent + "<!-- ",
                          subsequent_indent=indent + "     ",
                          break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines) + " -->\n"


def _quote(text):
    """'text' as the value of an attribute, with its quotes."""
    return "'" + escape(text, {"'": "&apos;", "\n": "&#10;"}) + "'"


def _alias(name):
    """An alias of our own, for properties that libvirt has no words for."""
    return "ua-vpci-" + re.sub(r"[^A-Za-z0-9_-]", "_", name)


def _address(bus, slot):
    return (f"<address type='pci' domain='0x0000' bus='{bus:#04x}' "
            f"slot='{slot:#04x}' function='0x0'/>")


def _root_port(index, slot):
    """A root port, whose bus has number 'index'."""
    alias = _alias(f"port{index}")
    return (f"    <controller type='pci' index='{index}' "
            "model='pcie-root-port'>\n"
            f"      <alias name='{alias}'/>\n"
            f"      {_address(0, slot)}\n"
            "    </controller>\n")


def _shmem(name, path, vectors, bus):
    """A shmem device at the root port that is 'bus'."""
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", name)
    return f"""\
    <shmem name='{name}'>
      <model type='ivshmem-doorbell'/>
      <server path={_quote(path)}/>
      <msi vectors='{vectors}' ioeventfd='on'/>
      {_address(bus, 0)}
    </shmem>
"""


def _property(alias, name, value):
    return f"""\
    <qemu:device alias='{alias}'>
      <qemu:frontend>
        <qemu:property name='{name}' type='unsigned' value='{value}'/>
      </qemu:frontend>
    </qemu:device>
"""


class _Vhost:
    """What a port of device virtio-net needs."""

    def __init__(self, port, options, _places):
        self.port = port
        self.options = options
        self.queues = options.queues or port.default_queues()
        if self.queues > port.max_queues():
            raise CannotWrite(
                f"--queues={self.queues}: {port.where()} takes at most "
                f"{port.max_queues()}; do 'ovs-vsctl set Interface "
                f"{port.name} options:n_rxq={self.queues}', or ask for fewer")
        self.mac = options.mac or port.mac
        self.borrower = options.switch.borrower_of(port)
        if options.peer_memory:
            raise CannotWrite(
                f"--peer-memory: {port.where()} has a guest with an "
                "interface, which gets the memory of no other; leave it out")
        if self.borrower and options.memory \
                and options.memory != round_up(options.memory):
            raise CannotWrite(
                f"--memory={options.memory}: port {self.borrower.name} has "
                f"options:peer={port.name}, and its guest gets the memory of "
                "this one as a device, whose size is a power of two; give "
                f"--memory={round_up(options.memory)}, or half as much")

    def machine(self):
        """What it wants of <os>."""
        return ""

    def memory(self):
        """What it wants of <memoryBacking>."""
        text = ("The switch reads and writes the guest's memory: it has to be "
                "a file that QEMU can pass on.")
        if self.borrower:
            text += (f"  So does the guest of port {self.borrower.name} "
                     f"(options:peer={self.port.name}), as a device: have all "
                     "of it in this one file (one NUMA cell at most, no "
                     "memory devices), and as much as a power of two, since "
                     "this file cannot grow.")
        return _comment(text, "  ") + """\
  <memoryBacking>
    <source type='memfd'/>
    <access mode='shared'/>
  </memoryBacking>
"""

    def devices(self):
        """The interface."""
        if self.port.option == SERVER:
            why = ("QEMU listens (mode='server') and waits for the switch "
                   "before it starts the guest; the switch connects, and "
                   "connects again after a restart.")
        else:
            why = ("The switch listens, and has to be there first; QEMU "
                   "connects (mode='client'), and tries again every second "
                   "when the switch has gone.")
        return _comment(why, "    ") + self._interface()

    def _interface(self):
        mode = MODES[self.port.option]
        path = _quote(self.port.path)
        lines = ["    <interface type='vhostuser'>"]
        if self.mac:
            lines.append(f"      <mac address={_quote(self.mac)}/>")
        if self.port.option == LISTEN:
            lines += [
                f"      <source type='unix' path={path} mode='{mode}'>",
                "        <reconnect enabled='yes' timeout='1'/>",
                "      </source>"]
        else:
            lines.append(f"      <source type='unix' path={path} "
                         f"mode='{mode}'/>")
        lines.append("      <model type='virtio'/>")
        if self.queues > 1:
            lines.append(f"      <driver queues='{self.queues}'/>")
        if self.options.tcg:
            lines.append(f"      <alias name='{_alias(self.port.name)}'/>")
        return "\n".join(lines + ["    </interface>\n"])

    def overrides(self):
        """What libvirt has no words for."""
        if not self.options.tcg:
            return ""
        return _comment(
            "Without KVM (domain type 'qemu') QEMU 7.2 crashes when a "
            "vhost-user device has MSI-X.  With KVM leave this out.",
            "    ") + _property(_alias(self.port.name), "vectors", 0)


def _figure(port, key, value):
    """'value' of the status of 'port', which has to be there."""
    if value:
        return value
    raise SwitchError(
        f"{port.where()} has no status:{key}, so that it is not known what "
        "the guest's device has to be like; it comes a second after the port: "
        f"'ovs-vsctl get Interface {port.name} status error'")


class _Peer:
    """The device with the memory of the peer of a port."""

    def __init__(self, port, options, places):
        self.port = port
        owner = options.switch.ports.get(port.peer())
        if not owner or owner.option not in MODES:
            raise CannotWrite(
                f"{port.where()} has options:peer={port.peer()}, which is no "
                "port of device virtio-net; add that port, or correct the "
                f"name: 'ovs-vsctl set Interface {port.name} options:peer="
                "OWNER'")
        self.vectors = _figure(port, "peer_vectors", port.peer_vectors())
        self.size = self._size(options)
        self.at = places.take()

    def _size(self, options):
        """Bytes of the device."""
        given = round_up((options.peer_memory or 0) << 20)
        seen = self.port.peer_size() or 0
        owner = self.port.peer()
        if options.peer_memory and given < seen:
            raise CannotWrite(
                f"--peer-memory={options.peer_memory}: the guest of port "
                f"{owner}, whose memory {self.port.where()} gets, has "
                f"{seen >> 20} MiB; give as much, or leave it out")
        if options.peer_memory or seen:
            return max(given, seen)
        why = self.port.peer_problem() or "it has not been there yet"
        raise CannotWrite(
            f"{self.port.where()} has options:peer={owner}, and the switch "
            f"does not know how much memory the guest of that has ({why}); "
            "start that machine before, or give it by --peer-memory=MiB")

    def devices(self):
        """The device, at a root port of its own."""
        index, slot = self.at
        owner = self.port.peer()
        return (_comment(
            f"For the memory of the guest of port {owner}, its peer, which "
            f"has up to {self.size} bytes (options:peer={owner}): this guest "
            "can read and write all of it.  Start that machine before this "
            "one, which does not start without.  Or leave the shmem device "
            "out, but not its root port: vpci-linkd plugs it in then, and "
            "anew when that machine begins anew.", "    ")
            + _root_port(index, slot)
            + _shmem(self.port.name + "-peer", self.port.peer_path(),
                     self.vectors, index))

    def overrides(self):
        """What libvirt has no words for."""
        return _property(_alias(f"port{self.at[0]}"), "pref64-reserve",
                         needed_reserve(self.size))


class _Shmem:
    """What a port of device vpci-net needs."""

    def __init__(self, port, options, places):
        self.port = port
        for name, given in (("--mac", options.mac),
                            ("--queues", options.queues)):
            if given:
                raise CannotWrite(
                    f"{name}: {port.where()} has a guest with a shmem device, "
                    "which has none in its XML; leave it out")
        self.vectors = _figure(port, "vectors", port.vectors())
        self.size = _figure(port, "region_size", port.region_size())
        n_links = options.links
        if n_links is None:
            n_links = self._usual_links()
        self.at = places.take()
        self.static = [(link, places.take()) for link in port.static_links()]
        self.peer = (_Peer(port, options, places) if port.peer()
                     else self._no_peer(options))
        self.spare = [places.take() for _ in range(n_links)]
        self.reserve = needed_reserve(self.size)
        self.link_reserve = needed_reserve(largest_region(options.switch,
                                                          port))

    def _no_peer(self, options):
        """It has none."""
        if options.peer_memory:
            raise CannotWrite(
                f"--peer-memory: {self.port.where()} has no options:peer, so "
                "that its guest gets the memory of no other; leave it out, or "
                "see PEERS in vpci(7)")

    def _usual_links(self):
        """How many links the guest should have room for."""
        n = self.port.plugged_links()
        return DEFAULT_LINKS if n is None else min(n, MAX_LINKS)

    def machine(self):
        """What it wants of <os>."""
        return _comment("Root ports, which shmem devices are plugged in at, "
                        "are PCI Express: machine type q35.", "  ")

    def memory(self):
        """The guest's own memory stays its own."""
        return ""

    def devices(self):
        """The device, at a root port of its own, those of static links, and
        root ports for others."""
        index, slot = self.at
        text = _comment(
            "A root port of its own, so that the device can be unplugged and "
            "plugged in while the guest runs.  Its index is the number of the "
            f"device's bus: {index} has to be free in your domain, and so has "
            f"slot {slot:#04x} (option 'into' of vpci-xml finds others).  "
            "libvirt makes the root ports below it, for devices without an "
            "address.",
            "    ")
        text += _root_port(index, slot)
        text += _comment(
            "The keeper, vpcid, listens; it and the port have to be there "
            "before the domain starts, since QEMU waits for the memory.  "
            f"The region of this port has {self.size} bytes, which is BAR2, "
            f"and {self.vectors} vectors; ioeventfd lets the kernel, not "
            "QEMU, handle doorbells.", "    ")
        text += _shmem(self.port.name, self.port.path, self.vectors, index)
        text += self.peer.devices() if self.peer else ""
        text += "".join(self._static_link(*each) for each in self.static)
        text += "".join(self._no_static_link(name) for name
                        in self.port.missing_static_links())
        if self.spare:
            text += _comment(
                "Nothing is here yet: for links, which are devices that are "
                "plugged in while the guest runs "
                f"(options:links={self.port.links()}).", "    ")
        return text + "".join(_root_port(*each) for each in self.spare)

    def _static_link(self, link, at):
        """The device of a link that is there from the start."""
        return _comment(
            f"A static link, with the guest of port {link.port} "
            "(options:links-static), of which the region has "
            f"{link.size} bytes; that port has to be there, too, before the "
            "domain starts.", "    ") + _root_port(*at) + _shmem(
                f"{self.port.name}-to-{link.port}", link.path, link.vectors,
                at[0])

    def _no_static_link(self, name):
        """There is none, although the port's options name another port."""
        return _comment(
            f"No static link with the guest of port {name}: there is no such "
            "port with options:ivshmem-path, or its options:links-static does "
            f"not name {self.port.name}.  See what vpci-xml prints once it "
            "does.", "    ")

    def overrides(self):
        """What libvirt has no words for."""
        text = _comment(
            "Prefetchable memory that the firmware sets aside behind a root "
            "port: twice what BAR2 has, since that lies at a multiple of its "
            "size.  Without it a device that is plugged in later may have no "
            "BAR2.", "    ")
        text += _property(_alias(f"port{self.at[0]}"), "pref64-reserve",
                          self.reserve)
        text += self.peer.overrides() if self.peer else ""
        for link, (index, _) in self.static:
            text += _property(_alias(f"port{index}"), "pref64-reserve",
                              needed_reserve(link.size))
        for index, _ in self.spare:
            text += _property(_alias(f"port{index}"), "pref64-reserve",
                              self.link_reserve)
        return text


def _whole(options, name):
    """The rest of a domain that can be defined as it is."""
    memory = options.memory or 1024
    cpu = "" if options.tcg else "  <cpu mode='host-passthrough'/>\n"
    return f"""\
  <name>{escape(name)}</name>
  <memory unit='MiB'>{memory}</memory>
  <vcpu>1</vcpu>
{cpu}  <features>
    <acpi/>
  </features>
"""


def _console():
    return _comment("Your disks come here.", "    ") + """\
    <serial type='pty'/>
    <console type='pty'/>
"""


def _introduction(port, whole):
    text = (f"For port {port.name} of type vpci (options:{port.option}), by "
            "vpci-xml.")
    if not whole:
        text += ("  Paste what is in here into the same elements of your "
                 "domain ('virsh edit'), and the attribute xmlns:qemu, if "
                 "there is one, into <domain> itself.")
    return _comment(text, "")


def domain(port, options):
    """Returns the XML, as text, for 'port'.  'options' are those of the
    command line, with the switch and, maybe, the domain that it is for."""
    kind = _Shmem if port.option == IVSHMEM else _Vhost
    part = kind(port, options, Places(options))
    overrides = part.overrides()
    xmlns = f" xmlns:qemu='{QEMU_XMLNS}'" if overrides else ""
    whole = options.whole_domain
    text = _introduction(port, whole)
    text += f"<domain type='{'qemu' if options.tcg else 'kvm'}'{xmlns}>\n"
    if whole:
        text += _whole(options, port.name)
    if whole or part.machine():
        text += part.machine() + """\
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
  </os>
"""
    text += part.memory() + "  <devices>\n"
    text += (_console() if whole else "") + part.devices()
    text += "  </devices>\n"
    if overrides:
        text += f"  <qemu:override>\n{overrides}  </qemu:override>\n"
    return text + "</domain>\n"
