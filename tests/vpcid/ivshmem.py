# SPDX-License-Identifier: Apache-2.0

"""An ivshmem client, as QEMU's ivshmem-doorbell is one."""

import mmap
import os
import select
import socket
import struct

TIMEOUT = 30

LINK_ID = 0x4000                # VPCI_ABI_LINK_ID
PEER_ID = 0x8000                # VPCI_ABI_PEER_ID


class Closed(Exception):
    """The server has closed the connection."""


def is_set(eventfd):
    """Says whether an eventfd has been signalled, and resets it."""
    try:
        return struct.unpack("=Q", os.read(eventfd, 8))[0] > 0
    except BlockingIOError:
        return False


def ring(eventfd):
    os.write(eventfd, struct.pack("=Q", 1))


def wait_for(eventfd):
    """Waits until an eventfd is signalled, and resets it."""
    if not select.select([eventfd], [], [], TIMEOUT)[0]:
        raise AssertionError("an eventfd was not signalled")
    return is_set(eventfd)


class Guest:
    """A connection to a region's end."""

    def __init__(self, path, n_vectors=None, named=False):
        """Connects.  With 'n_vectors', reads the greeting of a base region.
        A 'named' socket is told of departures."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        if named:
            self.sock.bind("")
        self.sock.connect(path)
        self.sock.settimeout(TIMEOUT)
        self.messages = []      # All that came: (number, has a descriptor).
        self.id = None
        self.memory = None      # A descriptor.
        self.own = []           # eventfds by vector.
        self.peers = {}         # eventfds by vector, by peer.
        self.map = None
        if n_vectors is not None:
            self.greet(2 * n_vectors)

    def receive(self):
        """Receives a message.  Returns its number and a descriptor or None."""
        data = b""
        fds = []
        while len(data) < 8:
            try:
                part, more, flags, _ = socket.recv_fds(
                    self.sock, 8 - len(data), 4, socket.MSG_CMSG_CLOEXEC)
            except ConnectionResetError:
                part = b""
                more = []
            if not part:
                raise Closed()
            assert not flags & socket.MSG_CTRUNC
            data += part
            fds += more
        assert len(fds) <= 1
        number = struct.unpack("<q", data)[0]
        self.messages.append((number, bool(fds)))
        return number, fds[0] if fds else None

    def greet(self, n):
        """Receives the greeting, with 'n' eventfds."""
        self.messages = []
        version, fd = self.receive()
        assert version == 0 and fd is None
        self.id, fd = self.receive()
        assert 1 <= self.id <= 65535 and fd is None
        number, self.memory = self.receive()
        assert number == -1 and self.memory is not None
        for _ in range(n):
            self.take()

    def take(self):
        """Receives a message about eventfds, and does what it says."""
        number, fd = self.receive()
        if fd is None:
            for fd in self.peers.pop(number):
                os.close(fd)
        elif number == self.id:
            self.own.append(fd)
        else:
            self.peers.setdefault(number, []).append(fd)
        return number

    def mapped(self):
        if self.map is None:
            self.map = mmap.mmap(self.memory, os.fstat(self.memory).st_size)
        return self.map

    def is_closed(self):
        """Waits until the server has closed the connection, reading on."""
        try:
            while True:
                _, fd = self.receive()
                if fd is not None:
                    os.close(fd)
        except Closed:
            return True

    def is_silent(self):
        """Says whether nothing has come, and the connection is there."""
        return not select.select([self.sock], [], [], 0)[0]

    def close(self):
        if self.map is not None:
            self.map.close()
        try:
            # A child that is being started may have a copy.
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()
        fds = [fd for peer in self.peers.values() for fd in peer] + self.own
        for fd in fds + ([] if self.memory is None else [self.memory]):
            os.close(fd)
        self.own, self.peers, self.memory, self.map = [], {}, None, None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
