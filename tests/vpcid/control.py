# SPDX-License-Identifier: Apache-2.0

"""The switch's side of the control socket (lib/vpci/keeper.h)."""

import errno
import os
import select
import socket
import struct
from types import SimpleNamespace

TIMEOUT = 30

MAGIC = 0x6b697076
HEADER = struct.Struct("=IHHIIII")

(HELLO, LIST, BASE_ADD, LINK_ADD, LINK_GET, DEL, PEER_ADD,
 PEER_SIGNALS, STATIC_ADD) = range(1, 10)
PEER_UP, PEER_DOWN = 0x4001, 0x4002
REPLY = 0x8000
LIST_END = REPLY | 0x7f

BASE, LINK, PEER = 1, 2, 3
NONE, FREE, UP, OVER = 0, 1, 2, 3

# What bodies are made of, and the names of that.
BODIES = {
    HELLO | REPLY: ("=IIII16s", "version pid n_regions reserved uuid"),
    LIST_END: ("=II", "n reserved"),
    DEL | REPLY: ("=II", "n reserved"),
    PEER_SIGNALS | REPLY: ("=IIII", "region peer first_kick n_left"),
    PEER_UP: ("=IIIIIIIIQ", "region end peer self pid uid n_vectors reserved "
              "n_clients"),
    PEER_DOWN: ("=IIII384s", "region end peer reserved text"),
}
REGION = ("=IIQQIIIIII512s512s", "id kind size private_size n_vectors adopted "
          "base0 base1 end0 end1 path0 path1")
for request in LIST, BASE_ADD, LINK_ADD, LINK_GET, PEER_ADD, STATIC_ADD:
    BODIES[request | REPLY] = REGION
TEXT = ("=384s", "text")


class Refused(Exception):
    def __init__(self, error, text):
        super().__init__("%s: %s" % (errno.errorcode.get(error, error), text))
        self.errno = error
        self.text = text


class Closed(Exception):
    """The keeper has closed the connection."""


def pack(kind, xid, body=b"", n_fds=0, magic=MAGIC, version=1, error=0,
         length=None):
    if length is None:
        length = HEADER.size + len(body)
    return HEADER.pack(magic, version, kind, xid, error, length, n_fds) + body


def unpack(data, fds):
    """Returns a message as an object, with the header's and the body's fields
    and 'fds'."""
    magic, version, kind, xid, error, length, n_fds = HEADER.unpack_from(data)
    assert magic == MAGIC and version == 1 and length == len(data)
    assert n_fds == len(fds), (n_fds, fds)
    layout, names = TEXT if error else BODIES[kind]
    fields = struct.unpack(layout, data[HEADER.size:])
    msg = SimpleNamespace(kind=kind, xid=xid, error=error, fds=list(fds))
    for name, value in zip(names.split(), fields):
        if isinstance(value, bytes) and name != "uuid":
            value = value.split(b"\0")[0].decode()
        setattr(msg, name, value)
    return msg


class Switch:
    """A connection to the keeper."""

    def __init__(self, path, hello=True, name=b"test"):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.settimeout(TIMEOUT)
        self.sock.connect(path)
        self.xid = 0
        self.events = []        # That came while we waited for a reply.
        self.welcome = None
        if hello:
            self.welcome = self.call(HELLO, struct.pack("=II64s", 1, 1, name))

    def receive_any(self):
        try:
            data, fds, flags, _ = socket.recv_fds(self.sock, 65536, 253,
                                                  socket.MSG_CMSG_CLOEXEC)
        except ConnectionResetError:
            data = b""
        if not data:
            raise Closed()
        assert not flags & (socket.MSG_CTRUNC | socket.MSG_TRUNC)
        return unpack(data, fds)

    def receive(self, xid):
        """Receives the reply to 'xid'."""
        while True:
            msg = self.receive_any()
            if msg.xid == xid:
                return msg
            assert msg.xid == 0
            self.events.append(msg)

    def event(self):
        """Waits for an event."""
        if not self.events:
            msg = self.receive_any()
            assert msg.xid == 0
            return msg
        return self.events.pop(0)

    def is_silent(self):
        return (not self.events
                and not select.select([self.sock], [], [], 0)[0])

    def is_closed(self):
        """Waits until the keeper has closed the connection."""
        try:
            while True:
                self.receive_any()
        except Closed:
            return True

    def send(self, kind, body=b"", fds=()):
        self.xid += 1
        socket.send_fds(self.sock, [pack(kind, self.xid, body, len(fds))],
                        list(fds))
        return self.xid

    def call(self, kind, body=b"", fds=()):
        reply = self.receive(self.send(kind, body, fds))
        if reply.error:
            raise Refused(reply.error, reply.text)
        return reply

    def base_add(self, path, size=65536, n_vectors=2, private_size=0):
        return self.call(BASE_ADD, struct.pack(
            "=512sQQII", path.encode(), size, private_size, n_vectors, 0))

    def link_add(self, a, b, size=65536, n_vectors=2):
        return self.call(LINK_ADD, struct.pack("=QIIII", size, n_vectors,
                                               a, b, 0))

    def static_add(self, a, b, names=("pa", "pb"), size=65536, n_vectors=2):
        return self.call(STATIC_ADD, struct.pack(
            "=QIIII64s64s", size, n_vectors, a, b, 0,
            *[name.encode() for name in names]))

    def link_get(self, region):
        return self.call(LINK_GET, struct.pack("=II", region, 0))

    def peer_add(self, base, memory, size=65536, n_vectors=8):
        return self.call(PEER_ADD, struct.pack("=QII", size, base, n_vectors),
                         [memory])

    def signals(self, region, peer, kicks, calls):
        return self.call(PEER_SIGNALS,
                         struct.pack("=IIII", region, len(kicks), len(calls),
                                     peer), [*kicks, *calls])

    def delete(self, region):
        return self.call(DEL, struct.pack("=II", region, 0)).n

    def list(self):
        xid = self.send(LIST)
        found = []
        while True:
            reply = self.receive(xid)
            if reply.kind == LIST_END:
                assert reply.n == len(found)
                return found
            found.append(reply)

    def close(self):
        self.sock.close()
        for event in self.events:
            close_fds(event)
        self.events = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def close_fds(msg):
    for fd in msg.fds:
        os.close(fd)
    msg.fds = []
