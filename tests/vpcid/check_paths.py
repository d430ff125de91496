# SPDX-License-Identifier: Apache-2.0

"""Socket files."""

import errno
import os
import socket

import keeper
from check_control import refusal
from control import PEER_UP, Switch
from ivshmem import Guest


def check_deletion():
    """Whatever is deleted leaves no file, descriptor or client."""
    with Switch(keeper.CONTROL) as switch:
        before = keeper.descriptors()
        a, b = (switch.base_add(keeper.path(x)) for x in "ab")
        link = switch.link_add(a.id, b.id)
        guests = [Guest(p) for p in (a.path0, b.path0, link.path0)]
        assert len(os.listdir(keeper.SOCKDIR)) == 5
        for region in b, a:
            switch.delete(region.id)
        for guest in guests:
            assert guest.is_closed()
        assert os.listdir(keeper.SOCKDIR) == ["ctl"]
        keeper.expect_descriptors(before)
        assert keeper.total("ivshmem ids") == 0
        # An id is not used again.
        assert switch.base_add(a.path0).id > link.id


def check_leave_regions():
    """Leaves regions behind, whose files are to go with the keeper."""
    with Switch(keeper.CONTROL) as switch:
        a, b = (switch.base_add(keeper.path(x)) for x in "ab")
        switch.link_add(a.id, b.id)


def check_socket_files():
    """Sockets of the dead are replaced, everything else is left alone."""
    with Switch(keeper.CONTROL) as switch:
        stale = keeper.path("stale")
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.bind(stale)
        sock.close()
        switch.base_add(stale)
        Guest(stale, 2).close()

        live = keeper.path("live")
        for kind in socket.SOCK_STREAM, socket.SOCK_SEQPACKET:
            sock = socket.socket(socket.AF_UNIX, kind)
            sock.bind(live)
            sock.listen()
            error = refusal(switch.base_add, live)
            assert error.errno == errno.EADDRINUSE, error
            assert "another process listens" in error.text
            sock.close()
            os.unlink(live)

        with open(keeper.path("file"), "w", encoding="ascii") as f:
            f.write("precious")
        error = refusal(switch.base_add, f.name)
        assert error.errno == errno.ENOTSOCK and "not a socket" in error.text
        with open(f.name, encoding="ascii") as f:
            assert f.read() == "precious"
        os.unlink(f.name)

        error = refusal(switch.base_add, keeper.path("no/such"))
        assert error.errno == errno.ENOENT and "directory" in error.text
        assert [r.path0 for r in switch.list()] == [stale]


def check_aliases():
    """A region is not hit by another one whose path leads to the same file."""
    with Switch(keeper.CONTROL) as switch:
        a, b = (switch.base_add(keeper.path(x)) for x in "ab")
        link = switch.link_add(a.id, b.id)
        os.symlink(keeper.SOCKDIR, keeper.path("here"))
        for path in a.path0, link.path0, keeper.CONTROL:
            for alias in (os.path.join(keeper.SOCKDIR, ".",
                                       os.path.basename(path)),
                          keeper.path("here/" + os.path.basename(path))):
                error = refusal(switch.base_add, alias)
                assert error.errno == errno.EADDRINUSE, error
                assert "same file" in error.text
        os.unlink(keeper.path("here"))
        # Nobody has taken the link's ends.
        for path in link.path0, link.path1:
            Guest(path, 1).close()


def check_link_in_the_way():
    """A file in the place of a link's socket is in the way of that one only,
    and nothing is left of what could not be."""
    with Switch(keeper.CONTROL) as switch:
        a, b = (switch.base_add(keeper.path(x)) for x in "ab")
        before = keeper.descriptors()
        os.mkdir(keeper.path("b.link3"))
        error = refusal(switch.link_add, a.id, b.id)
        assert error.errno == errno.ENOTSOCK and "b.link3" in error.text
        assert not os.path.exists(keeper.path("a.link3"))
        keeper.expect_descriptors(before)
        assert switch.link_add(a.id, b.id).id == 4
        os.rmdir(keeper.path("b.link3"))


def check_others_files():
    """A file that somebody else has put in the place of ours stays."""
    with Switch(keeper.CONTROL) as switch:
        region = switch.base_add(keeper.path("g"))
        os.unlink(region.path0)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.bind(region.path0)
        switch.delete(region.id)
        assert os.path.exists(region.path0)
        sock.close()
        os.unlink(region.path0)


def check_long_paths():
    """Paths may be longer than a socket's address."""
    with Switch(keeper.CONTROL) as switch:
        directory = keeper.path("d" * 200)
        os.mkdir(directory)
        paths = [os.path.join(directory, "s" * 60 + x) for x in "ab"]
        a, b = (switch.base_add(path) for path in paths)
        link = switch.link_add(a.id, b.id)
        os.chdir(directory)
        guest = Guest(os.path.basename(paths[0]), 2)
        assert switch.event().kind == PEER_UP
        guest.close()
        Guest(os.path.basename(link.path1), 1).close()
        for region in a, b:
            switch.delete(region.id)
        assert os.listdir(directory) == []
        os.chdir("/")
        os.rmdir(directory)
