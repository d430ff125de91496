# SPDX-License-Identifier: Apache-2.0

"""The control socket."""

import errno
import os
import signal
import socket
import struct

import keeper
from control import (BASE_ADD, Closed, DEL, HELLO, LINK_GET, LIST, LIST_END,
                     PEER_DOWN, PEER_UP, REPLY, Refused, Switch, pack)
from ivshmem import Guest, ring, wait_for


def refusal(function, *args, **kwargs):
    try:
        function(*args, **kwargs)
    except Refused as e:
        return e
    raise AssertionError((function, args, kwargs))


def check_adoption():
    """A switch that comes back finds everything as it was."""
    with Switch(keeper.CONTROL) as switch:
        uuid = switch.welcome.uuid
        assert switch.welcome.pid == keeper.pid()
        assert switch.welcome.n_regions == 0
        base = switch.base_add(keeper.path("a"), private_size=8192)
        other = switch.base_add(keeper.path("b"))
        link = switch.link_add(base.id, other.id)
        assert (base.adopted, link.adopted) == (0, 0)
        guest, peer = Guest(base.path0, 2), Guest(link.path1, 1)
        ups = switch.event(), switch.event()
        os.pwrite(base.fds[0], b"shared", 0)
        os.pwrite(base.fds[1], b"private", 8185)
        os.pwrite(link.fds[0], b"linked", 0)
    # Nobody is there when this one comes.
    late = Guest(link.path0)
    keeper.settle()
    assert guest.is_silent()

    with Switch(keeper.CONTROL) as switch:
        assert switch.welcome.uuid == uuid and switch.welcome.n_regions == 3
        assert [(r.id, r.path0, r.base0, r.base1) for r in switch.list()] == [
            (base.id, base.path0, 0, 0), (other.id, other.path0, 0, 0),
            (link.id, link.path0, base.id, other.id)]
        assert switch.is_silent()
        again = switch.base_add(base.path0, private_size=8192)
        assert (again.id, again.adopted) == (base.id, 1)
        assert os.pread(again.fds[0], 6, 0) == b"shared"
        assert os.pread(again.fds[1], 7, 8185) == b"private"
        up = switch.event()
        assert (up.kind, up.peer, up.self) == (PEER_UP, guest.id, ups[0].self)
        ring(up.fds[1])
        assert wait_for(guest.own[1])
        ring(guest.peers[up.self][0])
        assert wait_for(up.fds[2])
        assert switch.is_silent()

        again = switch.link_get(link.id)
        assert (again.id, again.adopted) == (link.id, 1)
        assert os.pread(again.fds[0], 6, 0) == b"linked"
        ups = [switch.event(), switch.event()]
        assert [(up.kind, up.end) for up in ups] == [(PEER_UP, 0),
                                                     (PEER_UP, 1)]
        assert ups[1].peer == peer.id
        peer.close()
        assert switch.event().kind == PEER_DOWN
        # Of what was not adopted, nothing is told.
        stranger = Guest(other.path0, 2)
        assert switch.is_silent()
        stranger.close()
        late.close()


def check_one_switch():
    """A second switch is turned away until the first has gone."""
    with Switch(keeper.CONTROL, name=b"first") as first:
        for _ in range(20):
            error = refusal(Switch, keeper.CONTROL)
            assert error.errno == errno.EBUSY
            assert "'first' with pid %d" % os.getpid() in error.text
        first.base_add(keeper.path("g"))
        # Those that say nothing do not pile up.
        before = keeper.descriptors()["socket:[N]"]
        silent = [Switch(keeper.CONTROL, hello=False) for _ in range(50)]
        keeper.settle()
        assert keeper.descriptors()["socket:[N]"] <= before + 8
        assert len(first.list()) == 1
    second = Switch(keeper.CONTROL)
    assert len(second.list()) == 1

    # Both at once: what was there before has gone before.
    os.kill(keeper.pid(), signal.SIGSTOP)
    try:
        second.close()
        third = Switch(keeper.CONTROL, hello=False)
        xid = third.send(HELLO, struct.pack("=II64s", 1, 1, b"third"))
    finally:
        os.kill(keeper.pid(), signal.SIGCONT)
    assert third.receive(xid).error == 0
    third.close()
    for switch in silent:
        switch.close()


def check_parameters_of_bases():
    with Switch(keeper.CONTROL) as switch:
        for size in 4096, 1 << 30:
            switch.base_add(keeper.path("s%d" % size), size=size)
        path = keeper.path("g")
        for size in 0, 1, 2048, 4095, 4097, 12288, 1 << 31, 1 << 63:
            error = refusal(switch.base_add, path, size=size)
            assert error.errno == errno.EINVAL and "power of two" in error.text
        for n in 0, 33, 1 << 31:
            error = refusal(switch.base_add, path, n_vectors=n)
            assert error.errno == errno.EINVAL and "from 1 to 32" in error.text
        for size in 1, 4097, 1 << 25:
            error = refusal(switch.base_add, path, private_size=size)
            assert error.errno == errno.EINVAL and "private" in error.text
        for bad in "", "relative", "/", "/x" * 250, "/tab\there":
            error = refusal(switch.base_add, bad)
            assert error.errno == errno.EINVAL and "absolute" in error.text

        switch.base_add(path)
        for other in ({"size": 131072}, {"n_vectors": 3},
                      {"private_size": 8192}):
            error = refusal(switch.base_add, path, **other)
            assert error.errno == errno.EEXIST
            assert "65536 bytes, 2 vectors and 4096 private" in error.text
        assert len(switch.list()) == 3


def outcome(data, fds=(), hello=True):
    """Sends a packet.  Returns the error that it is answered with, and whether
    the connection goes on."""
    switch = Switch(keeper.CONTROL, hello=hello)
    socket.send_fds(switch.sock, [data], list(fds))
    error = None
    try:
        reply = switch.receive_any()
        error = reply.error
        if error:
            assert reply.text
        switch.sock.send(pack(HELLO, 77, struct.pack("=II64s", 1, 1, b"x")))
        reply = switch.receive(77)
        return error, True
    except (Closed, BrokenPipeError):
        return error, False
    finally:
        switch.close()


def check_bad_messages():
    """Nonsense is answered with an error, or not at all, and harms nobody."""
    with Switch(keeper.CONTROL) as switch:
        path = switch.base_add(keeper.path("g")).path0
        guest = Guest(path, 2)
    keeper.settle()
    before = keeper.descriptors()
    hello = struct.pack("=II64s", 1, 1, b"x")
    add = struct.pack("=512sQQII", path.encode(), 65536, 0, 2, 0)
    proto = (errno.EPROTO, False)
    silence = (None, False)
    going_on = (0, True)
    null = [os.open("/dev/null", os.O_RDONLY)]

    for data, fds, wanted in [
            (pack(BASE_ADD, 9, add), [], going_on),
            (b"x", [], silence),
            (b"x" * 23, [], silence),
            (b"x" * 60000, [], silence),
            (pack(LIST, 9, magic=0x12345678), [], silence),
            (pack(LIST, 9, version=2), [], (errno.EPROTONOSUPPORT, False)),
            (pack(99, 9, b"abc"), [], (errno.EOPNOTSUPP, True)),
            (pack(BASE_ADD | REPLY, 9, b"abc"), [], (errno.EOPNOTSUPP, True)),
            (pack(PEER_UP, 9), [], (errno.EOPNOTSUPP, True)),
            (pack(LIST, 9, error=5), [], proto),
            (pack(LIST, 0), [], proto),
            (pack(LIST, 9, b"x"), [], proto),
            (pack(LIST, 9, length=25), [], proto),
            (pack(BASE_ADD, 9, add[:-1]), [], proto),
            (pack(BASE_ADD, 9, add + b"x"), [], proto),
            (pack(BASE_ADD, 9, add)[:-1], [], proto),
            (pack(BASE_ADD, 9, add + bytes(5000)), [], proto),
            (pack(BASE_ADD, 9, b"/" * 512 + add[512:]), [], proto),
            (pack(BASE_ADD, 9, add[:-4] + b"\1\0\0\0"), [], proto),
            (pack(DEL, 9, struct.pack("=II", 1, 1)), [], proto),
            (pack(DEL, 9, struct.pack("=II", 99, 0)), [],
             (errno.ENOENT, True)),
            (pack(LINK_GET, 9, b""), [], proto),
            (pack(LIST, 9), null, proto),
            (pack(LIST, 9, n_fds=1), [], proto),
            (pack(LIST, 9, n_fds=1), null, proto),
            (pack(LIST, 9, n_fds=253), null * 253, proto),
            (pack(BASE_ADD, 9, add, n_fds=65), null * 65, proto),
            (b"x", null * 253, silence)]:
        assert outcome(data, fds) == wanted, (data[:64], len(data), fds)
    for kind in LIST, BASE_ADD, DEL:
        body = {LIST: b"", BASE_ADD: add, DEL: bytes(8)}[kind]
        assert outcome(pack(kind, 9, body), hello=False) \
            == (errno.EPROTO, True)
    assert outcome(pack(HELLO, 9, struct.pack("=II64s", 2, 3, b"x")),
                   hello=False) == (errno.EPROTONOSUPPORT, True)
    assert outcome(pack(HELLO, 9, struct.pack("=II64s", 2, 1, b"x")),
                   hello=False) == proto
    assert outcome(pack(HELLO, 9, hello[:8] + b"x" * 64),
                   hello=False) == proto

    keeper.settle()
    keeper.expect_descriptors(before)
    assert guest.is_silent()
    with Switch(keeper.CONTROL) as switch:
        assert [r.path0 for r in switch.list()] == [path]


def check_long_list():
    """A switch gets all of a list, also if it asks often and reads late."""
    with Switch(keeper.CONTROL) as switch:
        for i in range(100):
            switch.base_add(keeper.path("r%03d" % i), size=4096, n_vectors=1)
            switch.events.clear()
        xids = []
        switch.sock.settimeout(0.2)
        try:
            while len(xids) < 1000:
                xids.append(switch.send(LIST))
        except BlockingIOError:
            pass
        except TimeoutError:
            pass
        switch.sock.settimeout(30)
        assert len(xids) > 5
        keeper.settle()
        for xid in xids[:10]:
            ids = []
            while True:
                reply = switch.receive(xid)
                if reply.kind == LIST_END:
                    break
                ids.append(reply.id)
            assert reply.n == 100 and ids == sorted(ids) and len(ids) == 100
