# SPDX-License-Identifier: Apache-2.0

"""Base regions and their guests."""

import errno
import fcntl
import mmap
import os
import re
import socket
import struct

import keeper
from control import Switch, PEER_DOWN, PEER_UP
from ivshmem import Guest, is_set, ring, wait_for


def target(fd):
    return os.readlink("/proc/self/fd/%d" % fd)


def inode(fd):
    return os.fstat(fd).st_ino


def check_greeting():
    """The greeting, byte by byte, and what the descriptors in it are."""
    with Switch(keeper.CONTROL) as switch:
        sockets = []
        for n in 1, 3, 32:
            region = switch.base_add(keeper.path("g%d" % n), n_vectors=n)
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.connect(region.path0)
            sockets.append(sock)
            up = switch.event()
            wanted = struct.pack("<%dq" % (3 + 2 * n), 0, up.peer, -1,
                                 *[up.self] * n, *[up.peer] * n)
            data, fds = b"", []
            while len(data) < len(wanted):
                part, more, _, _ = socket.recv_fds(sock, 8, 4)
                # Each descriptor comes with the message that it belongs to.
                assert len(more) == (len(data) >= 16), (data, more)
                data += part
                fds += more
            assert data == wanted, (data, wanted)
            keeper.settle()
            sock.setblocking(False)
            try:
                raise AssertionError(sock.recv(1))
            except BlockingIOError:
                pass

            assert inode(fds[0]) == inode(region.fds[0])
            assert os.fstat(fds[0]).st_size == region.size
            assert len(fds) == 1 + 2 * n and len(up.fds) == 2 * n
            for fd in fds[1:] + up.fds:
                assert target(fd) == "anon_inode:[eventfd]"
                assert not os.get_blocking(fd)
            for v in range(n):
                ring(fds[1 + v])                # The guest rings the switch.
                assert [is_set(fd) for fd in up.fds] \
                    == [i == n + v for i in range(2 * n)]
                ring(up.fds[v])                 # The switch rings the guest.
                assert [is_set(fd) for fd in fds[1:]] \
                    == [i == n + v for i in range(2 * n)]
            assert (up.pid, up.uid) == (os.getpid(), os.getuid())
            assert (up.region, up.end, up.n_vectors) == (region.id, 0, n)


def check_second_client():
    """One client at a time: the second is turned away and the first goes on."""
    with Switch(keeper.CONTROL) as switch:
        path = switch.base_add(keeper.path("g")).path0
        with Guest(path, 2) as first:
            up = switch.event()
            for _ in range(3):
                second = Guest(path)
                assert second.receive() == (-errno.EBUSY, None)
                second.close()
            assert first.is_silent() and switch.is_silent()
            ring(first.peers[up.self][1])
            assert wait_for(up.fds[3])
            assert re.search(r"refused: busy 3$", keeper.show(), re.M)
            assert re.search(r"%s: client with pid %d is refused: the end has "
                             "a client" % (path, os.getpid()), keeper.log())


def check_reconnect():
    """The next client has the same memory and other ids and eventfds."""
    with Switch(keeper.CONTROL) as switch:
        path = switch.base_add(keeper.path("g"), size=4096).path0
        old = Guest(path, 2)
        old_up = switch.event()
        old.mapped()[0:5] = b"hello"
        # As if it had kept what it got.
        stolen = [os.dup(fd) for fd in old.peers[old_up.self] + old.own]
        old_ids = {old.id, *old.peers}
        old.close()

        with Guest(path, 2) as new:
            down, up = switch.event(), switch.event()
            assert (down.kind, down.peer) == (PEER_DOWN, old_up.peer)
            assert down.text == "it closed the connection"
            assert (up.kind, up.peer, up.n_clients) == (PEER_UP, new.id, 2)
            assert not old_ids & {new.id, *new.peers}
            assert new.mapped()[0:5] == b"hello"
            for fd in stolen + old_up.fds:
                ring(fd)
            assert not any(is_set(fd) for fd in up.fds + new.own)
            assert all(is_set(fd) for fd in stolen)
            for fd in up.fds + new.own:
                ring(fd)
            assert not any(is_set(fd) for fd in stolen)


def check_sealed_memory():
    """Nobody can change the size of the memory, nor its seals."""
    with Switch(keeper.CONTROL) as switch:
        region = switch.base_add(keeper.path("g"), size=16384)
        with Guest(region.path0, 2) as guest:
            for fd in (guest.memory, *region.fds):
                size = os.fstat(fd).st_size
                for new_size in 0, size - 1, size + 1, 2 * size:
                    try:
                        os.ftruncate(fd, new_size)
                        raise AssertionError("ftruncate worked")
                    except PermissionError as e:
                        assert e.errno == errno.EPERM
                try:
                    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
                    raise AssertionError("the memory could be made read-only")
                except PermissionError:
                    pass
                memory = mmap.mmap(fd, size)
                memory[0] = 1
                memory.close()
            guest.mapped()[100] = 77
            assert mmap.mmap(region.fds[0], 16384)[100] == 77


def check_private_memory():
    """The guest gets one memory, and it is not the switch's private one."""
    with Switch(keeper.CONTROL) as switch:
        region = switch.base_add(keeper.path("g"), private_size=8192)
        shared, private = region.fds
        assert region.private_size == os.fstat(private).st_size == 8192
        assert inode(shared) != inode(private)
        with Guest(region.path0, 2) as guest:
            memories = [fd for fd in [guest.memory, *guest.own,
                                      *sum(guest.peers.values(), [])]
                        if "memfd" in target(fd)]
            assert [inode(fd) for fd in memories] == [inode(shared)]
        assert switch.base_add(keeper.path("h")).private_size == 4096


def check_nonsense_from_guests():
    """A client that sends anything is disconnected, with the reason."""
    with Switch(keeper.CONTROL) as switch:
        path = switch.base_add(keeper.path("g")).path0
        before = keeper.descriptors()
        for fds in [], [0], [0, 1, 2] * 50:
            guest = Guest(path)
            assert switch.event().kind == PEER_UP
            socket.send_fds(guest.sock, [b"x"], fds)
            assert guest.is_closed()
            guest.close()
            assert "sent data" in switch.event().text
        assert re.search(r"refused: sent 3$", keeper.show(), re.M)
        keeper.expect_descriptors(before)
        Guest(path, 2).close()
