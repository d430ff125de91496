# SPDX-License-Identifier: Apache-2.0

"""Static links between two base regions."""

import errno
import os

import keeper
from check_links import add_bases, connect_both, no_entry
from control import (FREE, LINK, PEER_DOWN, PEER_UP, Refused, Switch, UP,
                     close_fds)
from ivshmem import Guest, ring, wait_for

# Of a client that is not told of departures: others that have gone.
MAX_PEERS = 32


def add_static(switch, **parameters):
    a, b = add_bases(switch)
    return switch.static_add(a.id, b.id, **parameters)


def next_event(switch, kind):
    """Waits for an event, of this kind, and returns it without
    descriptors."""
    event = switch.event()
    close_fds(event)
    assert event.kind == kind, event
    return event


def check_static():
    """Sockets have the names of ports, and numbers as those of other
    links."""
    with Switch(keeper.CONTROL) as switch:
        link = add_static(switch, n_vectors=3)
        assert link.kind == LINK and len(link.fds) == 1 and not link.adopted
        assert link.path0 == keeper.path("b0.to-pb")
        assert link.path1 == keeper.path("b1.to-pa")
        assert [link.end0, link.end1] == [FREE, FREE]
        first, second = connect_both(link, 3)
        for a, b in (first, second), (second, first):
            for v in range(3):
                ring(a.peers[b.id][v])
                assert wait_for(b.own[v])
        for end, guest in enumerate((first, second)):
            up = next_event(switch, PEER_UP)
            assert (up.region, up.end, up.peer) == (link.id, end, guest.id)
        for path in (link.path0, link.path1, keeper.path("b0.link%d" % link.id),
                     keeper.path("b1.link%d" % link.id)):
            assert Guest(path).receive() == (-errno.EBUSY, None)
        assert "static link of regions 1 and 2" in keeper.show()
        close_fds(link)
        assert switch.delete(link.base1) == 2
        assert first.is_closed() and second.is_closed()
        assert sorted(os.listdir(keeper.SOCKDIR)) == ["b0", "ctl"]
        assert no_entry(link.path0) and no_entry(link.path1)


def check_static_again():
    """The next client finds the memory as it was, and its peer's signals, by
    either socket."""
    with Switch(keeper.CONTROL) as switch:
        link = add_static(switch)
        by_number = keeper.path("b0.link%d" % link.id)
        first, second = connect_both(link)
        first.mapped()[0:6] = b"secret"
        for _ in range(2):
            next_event(switch, PEER_UP)
        for named, path in ((False, link.path0), (True, by_number),
                            (True, link.path0)):
            old = first.id
            first.close()
            down = next_event(switch, PEER_DOWN)
            assert (down.region, down.end, down.peer) == (link.id, 0, old)
            assert second.is_silent()
            first = Guest(path, named=named)
            first.greet(4)
            assert first.mapped()[0:6] == b"secret"
            assert first.id != old and list(first.peers) == [second.id]
            for _ in range(2):
                assert second.take() == first.id
            ring(second.peers[first.id][1])
            assert wait_for(first.own[1])
            ring(first.peers[second.id][1])
            assert wait_for(second.own[1])
            assert next_event(switch, PEER_UP).peer == first.id

        # Who is told of departures is told.
        second.close()
        assert first.take() == second.id
        next_event(switch, PEER_DOWN)
        again = switch.link_get(link.id)
        assert [again.end0, again.end1] == [UP, FREE]
        assert next_event(switch, PEER_UP).peer == first.id
        close_fds(again)
        close_fds(link)


def check_static_adoption():
    """Whoever asks for the same again gets the same."""
    with Switch(keeper.CONTROL) as switch:
        link = add_static(switch)
        guest = Guest(link.path1)
        guest.greet(2)
        next_event(switch, PEER_UP)
        again = switch.static_add(link.base0, link.base1)
        assert (again.id, again.adopted) == (link.id, 1)
        assert next_event(switch, PEER_UP).peer == guest.id
        close_fds(again)
    with Switch(keeper.CONTROL) as switch:
        again = switch.static_add(link.base0, link.base1)
        assert (again.id, again.adopted, again.end1) == (link.id, 1, UP)
        assert next_event(switch, PEER_UP).peer == guest.id
        os.pwrite(again.fds[0], b"x", 9)
        assert guest.mapped()[9] == ord("x")
        close_fds(again)

        # Of two base regions there is one, and others beside.
        other = switch.link_add(link.base0, link.base1)
        for parameters in ({"n_vectors": 3}, {"size": 131072},
                           {"names": ("pa", "pc")}):
            new = switch.static_add(link.base0, link.base1, **parameters)
            assert not new.adopted and new.id > link.id
            assert guest.is_closed()
            assert link.id not in [r.id for r in switch.list()]
            guest = Guest(new.path1)
            guest.greet(new.n_vectors)
            next_event(switch, PEER_UP)
            close_fds(new)
            link = new
        new = switch.static_add(link.base1, link.base0)
        assert new.path0 == keeper.path("b1.to-pb")
        assert guest.is_closed() and no_entry(link.path0)
        assert len(switch.list()) == 4
        close_fds(new)
        close_fds(other)


def check_static_parameters():
    with Switch(keeper.CONTROL) as switch:
        a, b = add_bases(switch)
        link = switch.static_add(a.id, b.id)
        wanted = "EINVAL: '%s': the name of a port"
        for x, y, parameters, wanted in [
                (a.id, 99, {}, "ENOENT: there is no region 99"),
                (link.id, b.id, {}, "EINVAL: region 3 is a link"),
                (a.id, a.id, {}, "EINVAL: a link is between two"),
                (a.id, b.id, {"size": 12288}, "EINVAL: 12288 bytes"),
                (a.id, b.id, {"n_vectors": 33}, "EINVAL: 33 vectors"),
                (a.id, b.id, {"names": ("pa", "")}, wanted % ""),
                (a.id, b.id, {"names": ("../p", "pb")}, wanted % "../p"),
                (a.id, b.id, {"names": ("a\n", "pb")}, wanted % "a\n")]:
            try:
                switch.static_add(x, y, **parameters)
                raise AssertionError((x, y, parameters))
            except Refused as e:
                assert str(e).startswith(wanted), e
        assert [r.id for r in switch.list()] == [a.id, b.id, link.id]
        close_fds(link)

        # What was in the way of one does not keep the next from being made.
        assert switch.delete(link.id) == 1
        with open(link.path1, "w", encoding="ascii"):
            pass
        try:
            switch.static_add(a.id, b.id)
            raise AssertionError(link.path1)
        except Refused as e:
            assert e.errno == errno.ENOTSOCK, e
        assert no_entry(link.path0)
        os.unlink(link.path1)
        close_fds(switch.static_add(a.id, b.id))


def check_static_of_many_peers():
    """Who is not told of departures keeps what it has had, so that there is an
    end to it; the ids are given to nobody else."""
    with Switch(keeper.CONTROL) as switch:
        link = add_static(switch, n_vectors=1)
        stays = Guest(link.path0)
        stays.greet(1)
        told = Guest(link.path1, named=True)
        told.greet(2)
        assert stays.take() == told.id
        ids = keeper.total("ivshmem ids")
        for i in range(MAX_PEERS):
            told.close()
            told = Guest(link.path1, named=True)
            told.greet(2 if i < MAX_PEERS - 1 else 1)
            if i < MAX_PEERS - 1:
                assert stays.take() == told.id
        # It is disconnected before it would be told of one more.
        assert stays.is_closed()
        assert len(stays.peers) == MAX_PEERS
        assert keeper.total("ivshmem ids") < ids
        while next_event_of(switch, link.id).end:
            pass
        stays = Guest(link.path0)
        stays.greet(2)
        assert list(stays.peers) == [told.id]
        close_fds(link)


def next_event_of(switch, region):
    """Waits for the departure of a client of 'region'."""
    while True:
        event = switch.event()
        close_fds(event)
        if event.kind == PEER_DOWN and event.region == region:
            return event


def check_static_upgrade():
    """Nobody notices; whoever comes later is served as ever."""
    with Switch(keeper.CONTROL) as switch:
        link = add_static(switch)
        first, second = connect_both(link)
        first.close()
        first = Guest(link.path0)
        first.greet(4)
        ids = keeper.total("ivshmem ids")
        keeper.appctl("vpcid/upgrade")
        assert "static link of regions 1 and 2" in keeper.show()
        assert keeper.total("ivshmem ids") == ids
        for path in link.path0, keeper.path("b0.link%d" % link.id):
            first.close()
            keeper.settle()
            first = Guest(path)
            first.greet(4)
            assert list(first.peers) == [second.id]
        assert first.is_silent()
        again = switch.static_add(link.base0, link.base1)
        assert (again.id, again.adopted) == (link.id, 1)
        close_fds(again)
        close_fds(link)
