#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""usage: linkd-libvirt.py PACKAGES HOOK

Tests what vpci-linkd, whose package is in directory PACKAGES, does with
domains of libvirt, without libvirt; and the example HOOK of libvirt's."""
import dataclasses
import json
import logging
import os
import subprocess
import sys
import threading
import unittest
import xml.etree.ElementTree as ET
from unittest import mock

PACKAGES, HOOK = sys.argv[1:3]
del sys.argv[1:3]
sys.path.insert(0, PACKAGES)

from vpci_linkd import (logs, machine, machine_libvirt,  # noqa: E402
                        planner, switch, worker)

XML = """<domain type='kvm' id='1'
        xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>vm1</name>
  <devices>
    <controller type='pci' index='0' model='pcie-root'/>
    <controller type='pci' index='8' model='pcie-root-port'>
      <alias name='ua-8'/>
      <address type='pci' domain='0x0000' bus='0x00' slot='0x10'/>
    </controller>
    <controller type='pci' index='9' model='pcie-root-port'>
      <alias name='ua-9'/>
    </controller>
    <controller type='pci' index='10' model='pcie-root-port'>
      <alias name='pci.10'/>
    </controller>
    <controller type='pci' index='11' model='pcie-root-port'>
      <target chassis='1' hotplug='off'/>
    </controller>
    <shmem name='vm1'>
      <model type='ivshmem-doorbell'/>
      <server path='/r/p1'/>
      <msi vectors='2' ioeventfd='on'/>
      <address type='pci' domain='0x0000' bus='0x08' slot='0x00'/>
    </shmem>
  </devices>
  <qemu:override>
    <qemu:device alias='ua-9'>
      <qemu:frontend>
        <qemu:property name='pref64-reserve' type='unsigned' value='8388608'/>
      </qemu:frontend>
    </qemu:device>
  </qemu:override>
</domain>"""
PATHS = {"p1": "/r/p1", "p2": "/r/p2"}
END = planner.End("p1", "p2", "/r/p1.link7", 7, 4, 1 << 21, "offered", False)


PEER = planner.End("p1", "p2", "/r/p1.peer", 9, 32, 1 << 22, planner.PEER,
                   False, True)


class Error(Exception):
    """Of libvirt's."""


class FakeLibvirt:
    """Is the module, a connection and the domain, all in one."""
    libvirtError = Error

    def __init__(self):
        self.root = ET.fromstring(XML)
        self.devices = self.root.find("devices")
        self.fails = self.keeps = False
        self.refused = None             # A socket.
        self.n_opened = 0
        self.is_alive = True

    def open(self, _uri):
        """Connects."""
        self.n_opened += 1
        self.is_alive = True
        return self

    def isAlive(self):
        """Of the connection."""
        return self.is_alive

    def lookupByUUIDString(self, _uuid):
        """There is one domain."""
        if self.fails:
            raise Error("no domain")
        return self

    def name(self):
        """As in the XML."""
        return "vm1"

    def XMLDesc(self, _flags):
        """The domain as it is."""
        return ET.tostring(self.root, encoding="unicode")

    def attachDeviceFlags(self, xml, flags):
        """Only of the running domain."""
        assert flags == 1, "this changes what is stored"
        shmem = ET.fromstring(xml)
        if shmem.find("server").get("path") == self.refused:
            raise Error("refused")
        self.devices.append(shmem)

    def detachDeviceFlags(self, xml, flags):
        """Succeeds though the guest may keep it."""
        assert flags == 1, "this changes what is stored"
        name = ET.fromstring(xml).get("name")
        if not self.keeps:
            self.devices.remove(self.devices.find(f"shmem[@name='{name}']"))


class Domains(unittest.TestCase):
    """What is done with them."""

    def setUp(self):
        self.fake = FakeLibvirt()
        self.machine = machine_libvirt.LibvirtMachine(
            machine_libvirt.Connection(self.fake, "test"), "uuid", "vm1")

    def session(self):
        """Begins to use the domain."""
        return self.machine.session(PATHS)

    def test_a_domain_has_the_ports_of_its_sockets(self):
        with self.session() as session:
            scan = session.scan()
        self.assertEqual(scan.ports, {"p1"})
        self.assertEqual(scan.devices, [])
        self.assertEqual(scan.slots, {"p1": [
            planner.Slot("0x08", True), planner.Slot("0x09", False, 8388608),
            planner.Slot("0x0a", False)]})

    def test_reserve_of_all_root_ports(self):
        line = ET.SubElement(self.fake.root, machine_libvirt.QEMU
                             + "commandline")
        for value in "-global", "pcie-root-port.pref64-reserve=16M":
            ET.SubElement(line, machine_libvirt.QEMU + "arg", value=value)
        with self.session() as session:
            slots = session.scan().slots["p1"]
        self.assertEqual([slot.reserve for slot in slots],
                         [16 << 20, 8388608, 16 << 20])

    def test_devices_come_and_go(self):
        with self.session() as session:
            scan = session.scan()
            slot = planner.choose_slot(scan.slots["p1"], END.size)
            session.plug(END, slot)
            device = planner.Device("vpci-link7", "/r/p1.link7", "0x09")
            scan = session.scan()
            self.assertEqual(scan.devices, [device])
            self.assertTrue(scan.slots["p1"][1].used)
            shmem = self.fake.devices.find("shmem[@name='vpci-link7']")
            self.assertEqual(shmem.find("msi").attrib,
                             {"vectors": "4", "ioeventfd": "on"})
            self.assertEqual(shmem.find("model").get("type"),
                             "ivshmem-doorbell")
            session.unplug(device)
            self.assertEqual(session.scan().devices, [])
            # It has gone by itself.
            session.unplug(device)

    def test_memory_of_a_peer_comes_and_goes(self):
        with self.session() as session:
            slot = planner.choose_slot(session.scan().slots["p1"], PEER.size)
            session.plug(PEER, slot)
            device = planner.Device("vpci-peer9", "/r/p1.peer", "0x09")
            self.assertEqual(session.scan().devices, [device])
            shmem = self.fake.devices.find("shmem[@name='vpci-peer9']")
            self.assertEqual(shmem.find("msi").get("vectors"), "32")
            session.unplug(device)
            self.assertEqual(session.scan().devices, [])

    def test_machine_without_kvm(self):
        given = []

        def command(domain, text, files, flags):
            self.assertEqual((domain, len(files), flags), (self.fake, 1, 0))
            # They are closed afterwards.
            given.append(os.fstat(files[0]) and json.loads(text))

        self.addCleanup(setattr, machine_libvirt, "monitor_with_files",
                        machine_libvirt.monitor_with_files)
        for kind, way, wanted in (("kvm", command, 0), ("qemu", command, 40),
                                  ("qemu", None, 0)):
            given.clear()
            self.fake.root.set("type", kind)
            machine_libvirt.monitor_with_files = lambda way=way: way
            with self.session() as session:
                session.scan()
                session.plug(END, planner.Slot("0x09", False))
                device, = session.scan().devices
                session.unplug(device)
                self.assertEqual(session.scan().devices, [])
            self.assertEqual(len({each["arguments"]["fdname"]
                                  for each in given}), wanted)
            self.assertEqual({each["execute"] for each in given},
                             {"getfd"} if wanted else set())

    def test_names_are_unique(self):
        with self.session() as session:
            session.scan()
            session.plug(END, planner.Slot("0x09", False))
            session.scan()
            session.plug(END, planner.Slot("0x0a", False))
            names = [device.name for device in session.scan().devices]
        self.assertEqual(names, ["vpci-link7", "vpci-link7-p1"])

    def test_guest_that_keeps_a_device(self):
        machine.UNPLUG_TIMEOUT = 0.1
        self.fake.keeps = True
        with self.session() as session:
            session.scan()
            session.plug(END, planner.Slot("0x09", False))
            with self.assertRaisesRegex(machine.MachineError, "not let go"):
                session.unplug(session.scan().devices[0])

    def test_errors(self):
        self.fake.fails = True
        with self.assertRaisesRegex(machine.MachineError, "no domain"):
            with self.session():
                pass

    def test_connection_is_made_anew(self):
        for is_alive, wanted in (True, 1), (True, 1), (False, 2), (True, 2):
            self.fake.is_alive = is_alive
            with self.session() as session:
                session.scan()
            self.assertEqual(self.fake.n_opened, wanted)

    def test_sizes(self):
        for text, size in (("8M", 8 << 20), ("0x100", 256), ("4096", 4096),
                           ("1g", 1 << 30), (None, None), ("much", None)):
            self.assertEqual(machine_libvirt._size(text), size)


class Rounds(unittest.TestCase):
    """What a worker does with a domain."""

    def setUp(self):
        self.fake = FakeLibvirt()
        self.changed = threading.Condition()
        self.worker = worker.Worker(
            machine_libvirt.LibvirtMachine(
                machine_libvirt.Connection(self.fake, "test"), "uuid", "vm1"),
            logs.Limited(logging.getLogger("linkd")), self.changed)
        self.worker.start()
        self.addCleanup(self.worker.stop)

    def test_what_libvirt_refuses_concerns_one_device(self):
        self.fake.refused = END.socket
        other = dataclasses.replace(END, socket="/r/p1.link8", region=8)
        outlook = planner.Outlook(True, {e.socket: e for e in (END, other)},
                                  PATHS)
        with self.changed, mock.patch.object(switch, "is_socket",
                                             lambda _: True):
            number = self.worker.tell(outlook, frozenset(), False)
            self.assertTrue(self.changed.wait_for(
                lambda: self.worker.has_done(number), 10))
            status = self.worker.status()
        self.assertEqual([d["socket"] for d in status["devices"]],
                         [other.socket])
        self.assertIsNone(status["error"])
        failed, = status["failed"]
        self.assertEqual(failed["socket"], END.socket)
        self.assertIn("libvirt (test): refused; next attempt in",
                      failed["why"])


class Hook(unittest.TestCase):
    """The example."""

    def run_hook(self, xml, *args):
        """Returns what it prints."""
        done = subprocess.run([sys.executable, HOOK, "vm1", *args, "-"],
                              input=xml, text=True, timeout=30, check=True,
                              capture_output=True)
        return done.stdout

    def test_links_do_not_arrive(self):
        for operation in "migrate", "restore":
            self.assertEqual(self.run_hook(XML, operation, "begin"), "")
            linked = XML.replace(
                "</devices>",
                machine_libvirt.shmem_xml("vpci-link7", END, "0x09")
                + machine_libvirt.shmem_xml("vpci-peer9", PEER, "0x0a")
                + "</devices>")
            root = ET.fromstring(self.run_hook(linked, operation, "begin"))
            self.assertEqual([shmem.get("name") for shmem in
                              root.findall("devices/shmem")], ["vm1"])
            self.assertIsNotNone(root.find(machine_libvirt.QEMU + "override"))

    def test_others_are_left_alone(self):
        for operation in "prepare", "start", "started", "stopped", "release":
            self.assertEqual(self.run_hook(XML, operation, "begin"), "")


if __name__ == "__main__":
    unittest.main()
