# SPDX-License-Identifier: Apache-2.0

"""QEMU's ivshmem-doorbell, without a processor: this plays the guest's."""

import os
import shutil
import struct
import subprocess

import keeper
from check_upgrade import upgrade
from control import PEER_UP, Switch
from ivshmem import wait_for

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
        for _ in range(2):
            assert [guest.own_id() for guest in guests] \
                == [up.peer, ends[0].peer, ends[1].peer]
            for vector in range(2):
                guests[0].doorbell(up.self, vector)
                assert wait_for(up.fds[2 + vector])
            for fd, guest in zip((*region.fds[:1], *link.fds * 2), guests):
                word = os.urandom(4)
                os.pwrite(fd, word, 4096)
                assert guest.do("readl %d" % (MEMORY + 4096)) \
                    == struct.unpack("<I", word)[0]
            upgrade()
        assert switch.is_silent()
        assert [guest.process.poll() for guest in guests] == [None] * 3
    finally:
        for guest in guests:
            guest.end()
    for _ in range(3):
        assert switch.event().text == "it closed the connection"
    switch.close()
