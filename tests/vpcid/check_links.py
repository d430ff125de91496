# SPDX-License-Identifier: Apache-2.0

"""Links between two base regions."""

import errno
import os

import keeper
from control import (FREE, LINK, OVER, PEER_DOWN, PEER_UP, Refused, Switch,
                     UP, close_fds)
from ivshmem import Guest, is_set, ring, wait_for


def add_bases(switch, n=2):
    return [switch.base_add(keeper.path("b%d" % i)) for i in range(n)]


def add_link(switch, **parameters):
    a, b = add_bases(switch)
    return switch.link_add(a.id, b.id, **parameters)


def no_entry(path):
    """Says that nobody can connect to 'path', and that no file is there."""
    try:
        Guest(path).close()
        return False
    except FileNotFoundError:
        return True


def connect_both(link, n=2, named=False):
    first, second = Guest(link.path0), Guest(link.path1, named=named)
    first.greet(n)
    for _ in range(n):
        first.take()
    second.greet(2 * n)
    return first, second


def check_link():
    """Each end gets the other's eventfds, and they work, vector by vector."""
    with Switch(keeper.CONTROL) as switch:
        link = add_link(switch, n_vectors=3)
        assert link.kind == LINK and len(link.fds) == 1
        assert link.path0 == keeper.path("b0.link%d" % link.id)
        assert link.path1 == keeper.path("b1.link%d" % link.id)
        first, second = connect_both(link, 3)

        assert first.messages == [
            (0, False), (first.id, False), (-1, True), *[(first.id, True)] * 3,
            *[(second.id, True)] * 3]
        assert second.messages == [
            (0, False), (second.id, False), (-1, True),
            *[(first.id, True)] * 3, *[(second.id, True)] * 3]
        for a, b in (first, second), (second, first):
            for v in range(3):
                ring(a.peers[b.id][v])
                assert wait_for(b.own[v])
                assert not any(map(is_set, a.own + b.own))
            a.mapped()[v] = 99
            assert b.mapped()[v] == 99

        # The switch can ring both.
        for end, guest in enumerate((first, second)):
            up = switch.event()
            assert (up.kind, up.region, up.end) == (PEER_UP, link.id, end)
            assert (up.peer, up.self, len(up.fds)) == (guest.id, 0, 3)
            ring(up.fds[2])
            assert wait_for(guest.own[2])


def check_link_third_client():
    """A link has two clients, not three."""
    with Switch(keeper.CONTROL) as switch:
        link = add_link(switch)
        first, second = connect_both(link)
        for path in link.path0, link.path1:
            third = Guest(path)
            assert third.receive() == (-errno.EBUSY, None)
        assert first.is_silent() and second.is_silent()
        assert [link.end0, link.end1] == [FREE, FREE]
        link = switch.link_get(link.id)
        assert [link.end0, link.end1] == [UP, UP]


def check_link_departure():
    """Clients whose sockets have names are told of departures, others not."""
    with Switch(keeper.CONTROL) as switch:
        for named in (True, False):
            link = add_link(switch)
            first, second = connect_both(link, named=named)
            switch.event(), switch.event()
            first.close()
            if named:
                assert second.take() == first.id
            assert switch.event().kind == PEER_DOWN
            assert second.is_silent()
            second.close()
            assert switch.event().kind == PEER_DOWN
            close_fds(link)
            for base in (link.base0, link.base1):
                switch.delete(base)


def check_link_ends_once():
    """An end whose client has gone is over.  A new link is really new."""
    with Switch(keeper.CONTROL) as switch:
        link = add_link(switch)
        first, second = connect_both(link)
        first.mapped()[0:6] = b"secret"
        switch.event(), switch.event()
        first.close()
        down = switch.event()
        assert (down.kind, down.region, down.end, down.peer) \
            == (PEER_DOWN, link.id, 0, first.id)
        assert no_entry(link.path0)
        assert second.is_silent()
        again = switch.link_get(link.id)
        assert [again.end0, again.end1] == [OVER, UP]

        new = switch.link_add(link.base0, link.base1)
        assert new.id > link.id and new.path0 != link.path0
        assert os.pread(new.fds[0], 6, 0) == bytes(6)
        close_fds(new)
        second.close()
        keeper.settle()
        assert no_entry(link.path1)
        assert switch.delete(link.id) == 1


def check_link_ends_untold():
    """The switch learns that an end is over even if it never saw its
    client."""
    with Switch(keeper.CONTROL) as switch:
        link = add_link(switch)
    Guest(link.path0, 1).close()
    keeper.settle()
    with Switch(keeper.CONTROL) as switch:
        again = switch.link_get(link.id)
        assert [again.end0, again.end1] == [OVER, FREE]
        assert switch.is_silent()


def check_link_ends_behind():
    """The same on a connection whose switch reads nothing meanwhile."""
    with Switch(keeper.CONTROL) as switch:
        link = add_link(switch)
        busy = switch.base_add(keeper.path("busy"), n_vectors=32)
        # Until its socket is full.
        for _ in range(1000):
            Guest(busy.path0).close()
        Guest(link.path1, 1).close()
        keeper.settle()
        while True:
            event = switch.event()
            close_fds(event)
            # If the keeper was slow, there was room for that.
            if event.region == link.id and event.kind != PEER_UP:
                break
        assert (event.kind, event.end) == (PEER_DOWN, 1)
        assert event.peer and event.text


def check_links_go_with_their_base():
    with Switch(keeper.CONTROL) as switch:
        a, b, c = add_bases(switch, 3)
        ab, bc, ac = (switch.link_add(x.id, y.id)
                      for x, y in ((a, b), (b, c), (a, c)))
        guests = [Guest(path) for path in (b.path0, ab.path0, bc.path0)]
        stays = Guest(ac.path0)
        stays.greet(2)
        for _ in guests + [stays]:
            assert switch.event().kind == PEER_UP
        assert switch.delete(b.id) == 3
        for guest in guests:
            assert guest.is_closed()
        assert stays.is_silent() and switch.is_silent()
        assert [r.id for r in switch.list()] == [a.id, c.id, ac.id]
        for gone in ab, bc:
            assert no_entry(gone.path0) and no_entry(gone.path1)


def check_link_parameters():
    with Switch(keeper.CONTROL) as switch:
        a, b = add_bases(switch)
        link = switch.link_add(a.id, b.id)
        for x, y, parameters, wanted in [
                (a.id, 99, {}, "ENOENT: there is no region 99"),
                (link.id, b.id, {}, "EINVAL: region 3 is a link"),
                (a.id, a.id, {}, "EINVAL: a link is between two"),
                (a.id, b.id, {"size": 12288}, "EINVAL: 12288 bytes"),
                (a.id, b.id, {"n_vectors": 33}, "EINVAL: 33 vectors")]:
            try:
                switch.link_add(x, y, **parameters)
                raise AssertionError((x, y, parameters))
            except Refused as e:
                assert str(e).startswith(wanted), e
        for region, wanted in (99, "ENOENT"), (a.id, "EINVAL"):
            try:
                switch.link_get(region)
                raise AssertionError(region)
            except Refused as e:
                assert str(e).startswith(wanted), e
        assert len(switch.list()) == 3
