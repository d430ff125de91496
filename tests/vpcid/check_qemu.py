# SPDX-License-Identifier: Apache-2.0

"""QEMU's ivshmem-doorbell, without a processor: this plays the guest's."""

import os
import shutil
import struct
import subprocess

import keeper
from check_upgrade import upgrade
from control import PEER_UP, Switch
from ivshmem import is_set, ring, wait_for

# Where the device's BARs are put: registers, MSI-X, shared memory.
REGISTERS, MSIX, MEMORY = 0xfe000000, 0xfe100000, 0xe0000000

SLOT = 4


class Qemu:
    """A virtual machine with an ivshmem device."""

    def __init__(self, path, n_vectors):
        self.process = subprocess.Popen([
            "setpriv", "--pdeathsig", "KILL",
            shutil.which("qemu-system-x86_64"), "-nodefaults", "-machine",
            "pc", "-display", "none", "-accel", "tcg", "-S", "-m", "16",
            "-qtest", "stdio", "-qtest-log", "none",
            "-chardev", "socket,path=%s,id=c" % path,
            "-device", "ivshmem-doorbell,vectors=%d,chardev=c,addr=%d"
            % (n_vectors, SLOT)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.config(0x10, REGISTERS)
        self.config(0x14, MSIX)
        self.config(0x18, MEMORY)
        self.config(0x1c, 0)
        self.config(0x04, 2)

    def do(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().split()
        assert answer and answer[0] == "OK", (command, answer)
        return int(answer[1], 0) if len(answer) > 1 else None

    def config(self, register, value):
        self.do("outl 0xcf8 %d" % (1 << 31 | SLOT << 11 | register))
        self.do("outl 0xcfc %d" % value)

    def own_id(self):
        return self.do("readl %d" % (REGISTERS + 8))

    def doorbell(self, peer, vector):
        self.do("writel %d %d" % (REGISTERS + 12, peer << 16 | vector))

    def end(self):
        self.process.kill()
        self.process.communicate()


class PeerOfQemu:
    """A peer's memory in a virtual machine, with signals that change."""

    def __init__(self, switch, base):
        self.switch = switch
        self.memory = os.memfd_create("ram")
        os.ftruncate(self.memory, 1 << 24)
        self.region = switch.peer_add(base.id, self.memory, 1 << 24)
        self.qemu = Qemu(self.region.path0, 8)
        self.up = switch.event()
        self.calls = {}         # eventfds, by ivshmem id.

    def signal(self):
        """Sends new signals, after which old and new ones work."""
        kick = os.eventfd(0, os.EFD_NONBLOCK)
        fds = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(2)]
        sent = self.switch.signals(self.region.id, self.up.peer, [kick], fds)
        self.calls[sent.peer] = fds
        # QEMU has a file of its own to read what we have sent: it may take a
        # moment.
        keeper.wait_until(lambda: self.rings(sent.peer, 1), "a doorbell")
        for id_ in self.calls:
            assert self.rings(id_, 0)
        assert not is_set(kick)
        ring(kick)

    def rings(self, id_, vector):
        """Says whether a doorbell of the guest reaches the peer."""
        self.qemu.doorbell(id_, vector)
        return is_set(self.calls[id_][vector])


def check_qemu():
    """QEMU takes the keeper for an ivshmem server, also after an upgrade."""
    switch = Switch(keeper.CONTROL)
    region = switch.base_add(keeper.path("g"), size=1 << 20)
    other = switch.base_add(keeper.path("h"))
    link = switch.link_add(region.id, other.id, n_vectors=1, size=8192)
    guests = []
    try:
        guests.append(Qemu(region.path0, 2))
        up = switch.event()
        assert up.kind == PEER_UP and up.pid == guests[0].process.pid
        for path in link.path0, link.path1:
            guests.append(Qemu(path, 1))
        ends = [switch.event() for _ in range(2)]
        peer = PeerOfQemu(switch, region)
        guests.append(peer.qemu)
        for _ in range(2):
            assert [guest.own_id() for guest in guests] \
                == [up.peer, ends[0].peer, ends[1].peer, peer.up.peer]
            for vector in range(2):
                guests[0].doorbell(up.self, vector)
                assert wait_for(up.fds[2 + vector])
            peer.signal()
            for fd, guest in zip((*region.fds[:1], *link.fds * 2, peer.memory),
                                 guests):
                word = os.urandom(4)
                os.pwrite(fd, word, 4096)
                assert guest.do("readl %d" % (MEMORY + 4096)) \
                    == struct.unpack("<I", word)[0]
            upgrade()
        assert switch.is_silent()
        assert [guest.process.poll() for guest in guests] == [None] * 4
    finally:
        for guest in guests:
            guest.end()
    for _ in range(4):
        assert switch.event().text == "it closed the connection"
    switch.close()
