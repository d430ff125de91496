# SPDX-License-Identifier: Apache-2.0

"""Regions with the memory of a peer."""

import errno
import mmap
import os
import re
import resource
import socket
import struct
import sys

import keeper
from check_control import outcome, refusal
from check_guests import inode
from check_limits import limit_with_room, set_limit
from check_upgrade import upgrade
from control import (BASE, FREE, LINK, NONE, PEER, PEER_ADD, PEER_DOWN,
                     PEER_SIGNALS, PEER_UP, Switch, UP, close_fds, pack)
from ivshmem import LINK_ID, PEER_ID, Guest, is_set, ring, wait_for


def create_memory(size=65536):
    fd = os.memfd_create("ram")
    os.ftruncate(fd, size)
    return fd


def create_eventfds(n):
    return [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(n)]


class World:
    """A switch, a base region with its guest, and that of a peer."""

    def __init__(self, n_vectors=8):
        self.switch = Switch(keeper.CONTROL)
        self.base = self.switch.base_add(keeper.path("a"))
        self.memory = create_memory()
        self.region = self.switch.peer_add(self.base.id, self.memory,
                                           n_vectors=n_vectors)
        self.guest = None
        self.up = None

    def connect(self):
        """A guest connects."""
        self.guest = Guest(self.region.path0)
        self.guest.greet(1)
        self.up = self.switch.event()
        return self.guest

    def send(self, n_kicks, n_calls):
        """Sends signals, and checks that they are what the guest gets.
        Returns its vectors of the kicks, the calls, and its peer's id."""
        kicks, calls = create_eventfds(n_kicks), create_eventfds(n_calls)
        first = len(self.guest.own)
        sent = self.switch.signals(self.region.id, self.guest.id, kicks, calls)
        for _ in range(n_kicks + n_calls):
            self.guest.take()
        assert (sent.region, sent.first_kick) == (self.region.id, first)
        assert len(self.guest.own) == first + n_kicks
        assert sent.n_left == self.region.n_vectors - len(self.guest.own)
        assert (sent.peer in self.guest.peers) == (n_calls > 0)
        peer = self.guest.peers.get(sent.peer, [])
        assert len(peer) == n_calls and self.guest.is_silent()
        self.check_same(kicks, self.guest.own[first:])
        self.check_same(calls, peer)
        for fd in kicks:
            os.close(fd)
        return range(first, first + n_kicks), calls, sent.peer

    def check_same(self, ours, theirs):
        """Each of our eventfds is the one of theirs, and no other."""
        everything = self.guest.own + sum(self.guest.peers.values(), [])
        for a, b in zip(ours, theirs):
            for x, y in (a, b), (b, a):
                ring(x)
                assert not any(is_set(fd) for fd in everything if fd != b)
                assert is_set(y) and not is_set(x)

    def close(self):
        if self.guest is not None:
            self.guest.close()
        self.switch.close()
        os.close(self.memory)


def check_peer():
    """The region, the greeting, and what the switch can do."""
    world = World(n_vectors=5)
    region = world.region
    assert (region.kind, region.size, region.private_size) == (PEER, 65536, 0)
    assert (region.base0, region.base1) == (world.base.id, 0)
    assert (region.end0, region.end1) == (FREE, NONE)
    assert (region.path0, region.path1) == (keeper.path("a.peer"), "")
    assert (region.n_vectors, region.adopted, region.fds) == (5, 0, [])
    assert [(r.id, r.kind) for r in world.switch.list()] \
        == [(world.base.id, BASE), (region.id, PEER)]

    guest = world.connect()
    assert guest.messages == [(0, False), (guest.id, False), (-1, True),
                              (guest.id, True)]
    keeper.settle()
    assert guest.is_silent()
    assert inode(guest.memory) == inode(world.memory)
    guest.mapped()[77] = 99
    assert mmap.mmap(world.memory, 65536)[77] == 99
    up = world.up
    assert (up.kind, up.region, up.end) == (PEER_UP, region.id, 0)
    assert (up.peer, up.self, up.n_vectors) == (guest.id, 0, 1)
    assert len(up.fds) == 1 and up.pid == os.getpid()
    ring(up.fds[0])
    assert wait_for(guest.own[0])
    assert [r.end0 for r in world.switch.list()] == [FREE, UP]
    text = keeper.show()
    assert re.search(r"^region 2: peer of region 1, 65536 bytes, 5 vectors$",
                     text, re.M), text
    assert "    vectors so far: 1 of 5, ids of the peer: none\n" in text, text
    world.close()


def check_peer_adoption():
    """The same file is adopted, another one is refused."""
    world = World()
    world.connect()
    id_, base = world.region.id, world.base.id
    before = keeper.descriptors()
    again = world.switch.peer_add(base, world.memory)
    assert (again.id, again.adopted, again.end0) == (id_, 1, UP)
    up = world.switch.event()
    assert (up.kind, up.peer) == (PEER_UP, world.guest.id)
    close_fds(up)

    other = create_memory()
    larger = create_memory(131072)
    for memory, parameters in ((other, {}), (larger, {"size": 131072}),
                               (world.memory, {"n_vectors": 9})):
        error = refusal(world.switch.peer_add, base, memory, **parameters)
        assert error.errno == errno.EEXIST and "delete it first" in error.text
        assert "region %d with 65536 bytes" % id_ in error.text
    keeper.expect_descriptors(before)
    world.switch.close()

    # The next switch has the file from elsewhere.
    world.switch = Switch(keeper.CONTROL)
    reopened = os.open("/proc/self/fd/%d" % world.memory, os.O_RDWR)
    again = world.switch.peer_add(base, reopened)
    assert (again.id, again.adopted) == (id_, 1)
    world.up = world.switch.event()
    assert world.up.peer == world.guest.id
    world.send(1, 1)

    assert world.switch.delete(id_) == 1
    assert world.guest.is_closed() and world.switch.is_silent()
    new = world.switch.peer_add(base, larger, size=131072)
    assert (new.adopted, new.size) == (0, 131072) and new.id > id_
    with Guest(new.path0) as guest:
        guest.greet(1)
        assert inode(guest.memory) == inode(larger)
    world.close()


def check_peer_parameters():
    """What a region of a peer can be, and of whom."""
    with Switch(keeper.CONTROL) as switch:
        a, b = (switch.base_add(keeper.path(x)) for x in "ab")
        link = switch.link_add(a.id, b.id)
        before = keeper.descriptors()
        for size in 0, 2048, 4097, 12288, 1 << 41, 1 << 63:
            memory = create_memory(size if size < 1 << 42 else 0)
            error = refusal(switch.peer_add, a.id, memory, size)
            assert error.errno == errno.EINVAL and "power of two" in error.text
            assert "to %d" % (1 << 40) in error.text
            os.close(memory)
        memory = create_memory()
        for size in 4096, 32768, 131072:
            error = refusal(switch.peer_add, a.id, memory, size)
            assert error.errno == errno.EINVAL, error
            assert "has 65536 bytes, %d are wanted" % size in error.text
        for n in 0, 33, 1 << 31:
            error = refusal(switch.peer_add, a.id, memory, n_vectors=n)
            assert error.errno == errno.EINVAL and "from 1 to 32" in error.text
        error = refusal(switch.peer_add, 99, memory)
        assert error.errno == errno.ENOENT and "no region 99" in error.text
        error = refusal(switch.peer_add, link.id, memory)
        assert error.errno == errno.EINVAL and "is a link" in error.text
        keeper.expect_descriptors(before)

        peer = switch.peer_add(a.id, memory)
        for function, args in ((switch.peer_add, (peer.id, memory)),
                               (switch.link_add, (b.id, peer.id))):
            error = refusal(function, *args)
            assert error.errno == errno.EINVAL and "is a peer's" in error.text
        error = refusal(switch.link_get, peer.id)
        assert error.errno == errno.EINVAL and "PEER_ADD" in error.text

        # The same file may be the memory of several.
        switch.peer_add(b.id, memory, n_vectors=1)
        for size in 4096, 1 << 40:
            switch.delete(peer.id)
            memory = create_memory(size)
            peer = switch.peer_add(a.id, memory, size, n_vectors=32)
            assert peer.size == size
            os.close(memory)
        assert [r.kind for r in switch.list()] == [BASE, BASE, LINK, PEER,
                                                   PEER]


def check_peer_memory():
    """The memory is a file of tmpfs or hugetlbfs that can be written."""
    with Switch(keeper.CONTROL) as switch:
        base = switch.base_add(keeper.path("a"))
        before = keeper.descriptors()
        memory = create_memory()
        path = "/proc/self/fd/%d" % memory
        pair = socket.socketpair()
        bad = [os.open("/dev/zero", os.O_RDWR), *create_eventfds(1),
               *os.pipe(), pair[0].fileno(), os.open("/tmp", os.O_RDONLY),
               os.open(path, os.O_RDONLY), os.open(path, os.O_WRONLY),
               os.open(path, os.O_PATH),
               os.open("/proc/self/mem", os.O_RDWR)]
        for fd in bad:
            error = refusal(switch.peer_add, base.id, fd)
            assert error.errno == errno.EINVAL and "tmpfs" in error.text, error
        keeper.expect_descriptors(before)
        assert not os.path.exists(keeper.path("a.peer"))
        region = switch.peer_add(base.id, memory)
        with Guest(region.path0) as guest:
            guest.greet(1)
            assert inode(guest.memory) == inode(memory)
        for fd in bad[:4] + bad[5:]:
            os.close(fd)
        os.close(memory)


def check_peer_signals():
    """Kicks and calls arrive, several times, and the keeper keeps none."""
    world = World()
    world.connect()
    before = keeper.descriptors()
    peers = set()
    left = 7
    for n_kicks, n_calls in (2, 3), (1, 1), (0, 8), (2, 0), (1, 4), (0, 1):
        vectors, calls, peer = world.send(n_kicks, n_calls)
        left -= n_kicks
        assert list(vectors) == list(range(8 - left - n_kicks, 8 - left))
        assert not peer & PEER_ID and peer not in peers
        assert bool(peer) == bool(n_calls)
        peers |= {peer} - {0}
        for fd in calls:
            os.close(fd)
    keeper.expect_descriptors(before)

    # Earlier ones go on.
    ring(world.up.fds[0])
    assert wait_for(world.guest.own[0])
    text = keeper.show()
    assert "vectors so far: 7 of 8, ids of the peer: %s\n" \
        % " ".join(map(str, sorted(peers))) in text, text
    assert keeper.total("ivshmem ids") == 1 + len(peers)
    world.close()


def check_peer_signals_used_up():
    """A guest that has had all that there can be has to connect again."""
    world = World(n_vectors=4)
    world.connect()
    world.send(2, 4)
    error = refusal(world.send, 2, 1)
    assert error.errno == errno.ENOSPC, error
    assert "1 of 4 vectors are left" in error.text
    assert "must be unplugged and plugged in again" in error.text
    keeper.settle()
    assert world.guest.is_silent()
    world.send(1, 1)
    for n in 1, 3:
        assert refusal(world.send, n, 1).errno == errno.ENOSPC
    # There are calls without kicks, but not for ever.
    for _ in range(30):
        _, calls, _ = world.send(0, 1)
        os.close(calls[0])
    error = refusal(world.send, 0, 1)
    assert error.errno == errno.ENOSPC and "0 of 32 peers" in error.text
    assert world.guest.is_silent()
    world.guest.close()
    assert world.switch.event().kind == PEER_DOWN
    assert keeper.total("ivshmem ids") == 0
    world.connect()
    world.send(3, 4)
    world.close()


def check_peer_signals_refused():
    """What cannot be sent is not sent in part, and changes nothing."""
    world = World(n_vectors=4)
    switch, region = world.switch, world.region.id
    fds = create_eventfds(5)
    error = refusal(switch.signals, region, PEER_ID, fds[:1], fds[1:2])
    assert error.errno == errno.ENOTCONN
    guest = world.connect()
    before = keeper.descriptors()
    pipe = os.pipe()
    null = os.open("/dev/null", os.O_RDWR)
    for wanted, args in [
            (errno.ENOENT, (99, guest.id, fds[:1], [])),
            (errno.EINVAL, (world.base.id, guest.id, fds[:1], [])),
            (errno.EINVAL, (region, guest.id, [], [])),
            (errno.EINVAL, (region, guest.id, fds[:4], [])),
            (errno.EINVAL, (region, guest.id, [], fds[:5])),
            (errno.EINVAL, (region, guest.id, fds[:1] * 32, fds[:1] * 32)),
            (errno.EINVAL, (region, guest.id, [null], [])),
            (errno.EINVAL, (region, guest.id, fds[:1], [pipe[1]])),
            (errno.EINVAL, (region, guest.id, fds[:1], [fds[2], pipe[0]])),
            (errno.EINVAL, (region, guest.id, [world.memory], fds[:1])),
            (errno.ENOTCONN, (region, guest.id + 1, fds[:1], fds[1:])),
            (errno.ENOTCONN, (region, 0, fds[:1], fds[1:]))]:
        error = refusal(switch.signals, *args)
        assert error.errno == wanted and error.text, (error, args)
    keeper.settle()
    assert guest.is_silent() and switch.is_silent()
    keeper.expect_descriptors(before)
    assert keeper.total("ivshmem ids") == 1
    # Nobody has read them.
    for fd in fds:
        ring(fd)
    kicks, calls = fds[:3], fds[3:]
    switch.signals(region, guest.id, kicks, calls)
    assert all(map(is_set, fds))
    world.close()


def check_peer_reconnect():
    """Guests come and go, one at a time."""
    world = World()
    seen = set()
    for i in range(3):
        guest = world.connect()
        assert world.up.n_clients == i + 1
        for _ in range(2):
            second = Guest(world.region.path0)
            assert second.receive() == (-errno.EBUSY, None)
            second.close()
        _, _, peer = world.send(3, 2)
        ids = {guest.id, peer}
        assert not ids & seen
        seen |= ids
        assert keeper.total("ivshmem ids") == 2
        guest.close()
        down = world.switch.event()
        assert (down.kind, down.region, down.peer) \
            == (PEER_DOWN, world.region.id, guest.id)
        assert os.path.exists(world.region.path0)
        assert keeper.total("ivshmem ids") == 0
        # Who has gone is not taken for who comes.
        error = refusal(world.switch.signals, world.region.id, guest.id,
                        create_eventfds(1), [])
        assert error.errno == errno.ENOTCONN
    guest = world.connect()
    guest.sock.send(b"x")
    assert guest.is_closed()
    assert "sent data" in world.switch.event().text
    world.guest = None
    world.close()


def check_peer_slow_guest():
    """A guest that does not read loses its connection, and the switch is
    told."""
    world = World(n_vectors=32)
    guest = world.connect()
    calls = create_eventfds(32)
    error = None
    for _ in range(32):
        try:
            world.switch.signals(world.region.id, guest.id, [], calls)
        except Exception as e:              # pylint: disable=broad-except
            error = e
            break
    assert error and error.errno == errno.ENOTCONN, error
    assert "cannot be told" in error.text
    down = world.switch.event()
    assert (down.kind, down.peer, down.text) == (PEER_DOWN, guest.id,
                                                 "it does not read")
    assert guest.is_closed()
    assert re.search(r"refused: slow 1$", keeper.show(), re.M)
    assert keeper.total("ivshmem ids") == 0
    guest.close()
    world.connect()
    world.send(31, 32)
    world.close()


def check_peer_deletion():
    """A peer's region goes with its base, and alone."""
    world = World()
    switch = world.switch
    other = switch.base_add(keeper.path("b"))
    before = keeper.descriptors()
    for i in range(2):
        world.connect()
        world.send(1, 1)
        if i:
            assert switch.delete(world.base.id) == 2
            assert [r.id for r in switch.list()] == [other.id]
        else:
            assert switch.delete(world.region.id) == 1
        assert world.guest.is_closed() and switch.is_silent()
        assert not os.path.exists(keeper.path("a.peer"))
        assert keeper.total("ivshmem ids") == 0
        world.guest.close()
        if not i:
            world.region = switch.peer_add(world.base.id, world.memory)
    now = keeper.descriptors()
    # The memories, private and shared, of the base, the peer's, two sockets.
    assert sum(before.values()) - sum(now.values()) == 5, (before, now)
    world.close()


def check_peer_ids():
    """Only clients of a peer's region, and of links, have ids with the bits,
    all around."""
    with Switch(keeper.CONTROL) as switch:
        a, b = (switch.base_add(keeper.path(x), n_vectors=1) for x in "ab")
        link = switch.link_add(a.id, b.id, n_vectors=1)
        memory = create_memory()
        peer = switch.peer_add(a.id, memory, n_vectors=1)
        fds = create_eventfds(1)
        upgrade_from(f"""
state["next_peer"] = {LINK_ID - 50}
state["next_link"] = {PEER_ID - 2}
state["next_marked"] = {2 * PEER_ID - 10}
""")
        marked, plain = [], []
        for expected in PEER_ID - 2, PEER_ID - 1, LINK_ID:
            with Guest(link.path0) as guest:
                guest.greet(1)
                assert guest.id == expected
                close_fds(switch.event())
            assert switch.event().kind == PEER_DOWN
            link = switch.link_add(a.id, b.id, n_vectors=1)
        for _ in range(25):
            with Guest(peer.path0) as guest, Guest(b.path0, 1) as other:
                guest.greet(1)
                ups = [switch.event(), switch.event()]
                assert {up.peer for up in ups} == {guest.id, other.id}
                for up in ups:
                    close_fds(up)
                marked.append(guest.id)
                plain += [other.id, *other.peers]
                plain.append(switch.signals(peer.id, guest.id, [], fds).peer)
            assert switch.event().kind == switch.event().kind == PEER_DOWN
        assert marked == [*range(2 * PEER_ID - 10, 2 * PEER_ID),
                          *range(PEER_ID, PEER_ID + 15)]
        assert sorted(plain) == [*range(1, 26), *range(LINK_ID - 50, LINK_ID)]
        os.close(memory)


def check_peer_of_a_stranger():
    """Descriptors of requests that nobody serves are closed."""
    memory = create_memory()
    fds = create_eventfds(2)
    with Switch(keeper.CONTROL) as switch:
        base = switch.base_add(keeper.path("a"))
        add = struct.pack("=QII", 65536, base.id, 2)
        before = keeper.descriptors()
        for _ in range(20):
            with Switch(keeper.CONTROL, hello=False) as stranger:
                xid = stranger.send(PEER_ADD, add, [memory])
                assert stranger.receive(xid).error == errno.EBUSY
        keeper.expect_descriptors(before)
    keeper.settle()
    before = keeper.descriptors()
    signals = struct.pack("=IIII", 1, 1, 1, 1)
    proto = (errno.EPROTO, False)
    for data, given, wanted in [
            (pack(PEER_ADD, 9, add), [], proto),
            (pack(PEER_ADD, 9, add, n_fds=2), fds, proto),
            (pack(PEER_ADD, 9, add[:-1], n_fds=1), [memory], proto),
            (pack(PEER_ADD, 9, add + b"x", n_fds=1), [memory], proto),
            (pack(PEER_SIGNALS, 9, signals), [], proto),
            (pack(PEER_SIGNALS, 9, signals, n_fds=1), fds[:1], proto),
            (pack(PEER_SIGNALS, 9, signals, n_fds=3), fds + [memory], proto),
            (pack(PEER_SIGNALS, 9, struct.pack("=IIII", 1, 33, 0, 1),
                  n_fds=33), fds[:1] * 33, proto),
            (pack(PEER_SIGNALS, 9, struct.pack("=IIII", 1, 3, 2 ** 32 - 1, 1),
                  n_fds=2), fds, proto),
            (pack(PEER_SIGNALS, 9, struct.pack("=IIII", 99, 1, 1, 1),
                  n_fds=2), fds, (errno.ENOENT, True)),
            (pack(PEER_ADD, 9, struct.pack("=QII", 65536, 99, 2), n_fds=1),
             [memory], (errno.ENOENT, True))]:
        assert outcome(data, given) == wanted, (data, given)
    for data, given in ((pack(PEER_ADD, 9, add, n_fds=1), [memory]),
                        (pack(PEER_SIGNALS, 9, signals, n_fds=2), fds)):
        assert outcome(data, given, hello=False) == (errno.EPROTO, True)
    keeper.settle()
    keeper.expect_descriptors(before)


def check_peer_without_descriptors():
    """A request whose descriptors cannot be had is refused, and the next one
    is not."""
    world = World(n_vectors=32)
    world.connect()
    set_limit.hard = resource.prlimit(keeper.pid(), resource.RLIMIT_NOFILE)[1]
    old = set_limit(limit_with_room(0))
    for n in 0, 1, 5:
        set_limit(limit_with_room(n))
        error = refusal(world.send, 3, 3)
        assert error.errno == errno.EMFILE and "ulimit -n" in error.text
    set_limit(limit_with_room(0))
    error = refusal(world.switch.peer_add, world.base.id, world.memory)
    assert error.errno == errno.EMFILE
    assert world.switch.is_silent() and world.guest.is_silent()
    set_limit(limit_with_room(6))
    world.send(3, 3)
    set_limit(old)
    world.close()


def check_peer_upgrade():
    """Nothing of a peer's gets lost by an upgrade."""
    world = World()
    guest = world.connect()
    _, calls, peer = world.send(2, 2)
    peers = [peer]
    pid = keeper.pid()
    kinds = None
    for i in range(3):
        before = keeper.show().split("total:")[1]
        upgrade()
        assert keeper.pid() == pid
        assert keeper.show().split("total:")[1] == before
        kinds = kinds or keeper.descriptors()
        keeper.expect_descriptors(kinds)
        assert guest.is_silent() and world.switch.is_silent()
        ring(world.up.fds[0])
        assert wait_for(guest.own[0])
        ring(guest.peers[peer][1])
        assert wait_for(calls[1])
        _, _, new = world.send(1, 1)
        assert new == max(peers) + 1
        peers.append(new)
        assert keeper.total("ivshmem ids") == 3 + i
    again = world.switch.peer_add(world.base.id, world.memory)
    assert (again.id, again.adopted) == (world.region.id, 1)
    close_fds(world.switch.event())
    world.send(2, 0)
    assert refusal(world.send, 1, 0).errno == errno.ENOSPC
    upgrade()
    assert refusal(world.send, 1, 0).errno == errno.ENOSPC

    guest.close()
    down = world.switch.event()
    assert (down.kind, down.peer) == (PEER_DOWN, world.up.peer)
    assert keeper.total("ivshmem ids") == 0
    last = guest.id
    guest = world.connect()
    assert guest.id == last + 1 and inode(guest.memory) == inode(world.memory)
    assert world.send(7, 8)[2] == max(peers) + 1
    assert world.switch.delete(world.base.id) == 2
    assert guest.is_closed() and not os.path.exists(world.region.path0)
    world.close()


def check_peer_upgrade_and_shrunk_memory():
    """Whoever has the peer's file can change its size, but not stop us."""
    world = World()
    guest = world.connect()
    for size in 0, 4096, 1 << 20:
        os.ftruncate(world.memory, size)
        upgrade()
        world.send(1, 1)
        assert guest.is_silent()
        error = refusal(world.switch.peer_add, world.base.id, world.memory)
        assert error.errno == errno.EINVAL, error
    world.close()


# A program that takes over another state than the one that it is given.
OTHER_VPCID = """#!%s
import json, os, re, shutil, sys
def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return int.from_bytes((crc ^ 0xffffffff).to_bytes(4, "little"), "big")
for arg in sys.argv[1:]:
    found = re.fullmatch("--(check-state|restore)=([0-9]+)", arg)
    if found:
        path = "/proc/self/fd/" + found.group(2)
        with open(path, "rb") as f:
            header, text = f.read().split(b"\\n", 1)
        assert int(header.split()[3], 16) == crc32c(text), header
        state = json.loads(text)
        exec(%r)
        text = json.dumps(state).encode()
        header = "vpcid-state 1 {} {:08x}".format(len(text), crc32c(text))
        with open(path, "wb") as f:
            f.write(header.encode() + b"\\n" + text)
os.execv(shutil.which("vpcid"), ["vpcid"] + sys.argv[1:])
"""


def upgrade_from(edit):
    """Upgrades after 'edit', a piece of Python, was done to the state."""
    program = keeper.path("other")
    with open(program, "w", encoding="ascii") as f:
        f.write(OTHER_VPCID % (sys.executable, edit))
    os.chmod(program, 0o700)
    upgrade(program)
    os.unlink(program)


def check_old_state():
    """States of earlier versions, in which all ids were alike, are read."""
    switch = Switch(keeper.CONTROL)
    a, b = (switch.base_add(keeper.path(x)) for x in "ab")
    first = Guest(a.path0, 2)
    up = switch.event()
    upgrade_from("""
del state["next_marked"]
state["next_peer"] = 50000
for region in state["regions"]:
    del region["peer"]
state["regions"][0]["ends"][0]["client"]["id"] = 40000
""")
    assert "ivshmem id 40000, by which its driver takes" in keeper.log()
    ring(up.fds[1])
    assert wait_for(first.own[1])
    with Guest(b.path0, 2) as second:
        assert [second.id, *second.peers] == [1, 3]     # 2 is the switch's.
        close_fds(switch.event())
    assert switch.event().kind == PEER_DOWN
    memory = create_memory()
    peer = switch.peer_add(b.id, memory)
    with Guest(peer.path0) as guest:
        guest.greet(1)
        assert guest.id == PEER_ID
        close_fds(switch.event())
    assert switch.event().kind == PEER_DOWN
    # Nobody else gets the id as long as it is in use.
    assert keeper.total("ivshmem ids") == 2
    first.close()
    down = switch.event()
    assert (down.kind, down.region) == (PEER_DOWN, a.id)
    assert keeper.total("ivshmem ids") == 0
    upgrade()
    switch.close()
    os.close(memory)
