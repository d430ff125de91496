# SPDX-License-Identifier: Apache-2.0

"""Many clients, few descriptors, a slow switch."""

import errno
import os
import re
import resource
import time

import keeper
from control import PEER_DOWN, PEER_UP, Refused, Switch, close_fds
from ivshmem import LINK_ID, PEER_ID, Guest, ring, wait_for


def drain(switch):
    """Reads all events that are there."""
    while not switch.is_silent():
        close_fds(switch.event())


def visit(path, kind, rested):
    """Connects in one of several manners.  'rested' are clients that stay for a
    while, by path."""
    if path in rested:
        second = Guest(path)
        assert second.receive() == (-errno.EBUSY, None)
        second.close()
        rested.pop(path).close()
    guest = Guest(path) if kind else Guest(path, 2)
    if kind == 1:               # Half-way: does not wait for the greeting.
        guest.close()
    elif kind == 2:             # Goes in the middle of it.
        guest.receive()
        guest.close()
    elif kind == 3:             # Talks.
        guest.sock.send(b"GET / HTTP/1.0\r\n")
        assert guest.is_closed()
        guest.close()
    elif kind == 4:             # Never reads.
        rested[path] = guest
    else:
        guest.close()


def check_storm():
    """10,000 connects of all kinds leave nothing behind."""
    with Switch(keeper.CONTROL) as switch:
        paths = [switch.base_add(keeper.path("g%d" % i)).path0
                 for i in range(7)]
        keeper.settle()
        before = keeper.descriptors()
        rested = {}
        for i in range(10000):
            visit(paths[i % 7], i % 5, rested)
            if i % 16 == 0:
                drain(switch)
        for guest in rested.values():
            guest.close()
        keeper.settle()
        drain(switch)
        keeper.settle()
        drain(switch)
        keeper.expect_descriptors(before)
        assert keeper.total("clients") == keeper.total("ivshmem ids") == 0
        shown = keeper.show()
        connected = sum(map(int, re.findall(r"clients so far: (\d+)", shown)))
        assert connected == 10000, shown
        assert "no-" not in shown and "slow" not in shown, shown


def check_ids_are_not_used_soon():
    """Ids go round, each kind in its range, past those in use."""
    with Switch(keeper.CONTROL) as switch:
        region = switch.base_add(keeper.path("g"), n_vectors=1)
        a = switch.base_add(keeper.path("a"), n_vectors=1)
        stays = Guest(a.path0, 1)
        seen = [stays.id, *stays.peers]
        for _ in range(20):
            with Guest(region.path0, 1) as guest:
                seen += [guest.id, *guest.peers]
        assert seen == list(range(seen[0], seen[0] + len(seen)))
        assert seen[-1] < LINK_ID
        # Clients of links have ids of their own range.
        seen = []
        for _ in range(5):
            link = switch.link_add(region.id, a.id, n_vectors=1)
            with Guest(link.path0, 0) as guest:
                seen.append(guest.id)
        assert seen == list(range(seen[0], seen[0] + len(seen)))
        assert LINK_ID <= seen[0] and seen[-1] < PEER_ID


def set_limit(n):
    """Limits the keeper's descriptors.  Returns the limit before."""
    return resource.prlimit(keeper.pid(), resource.RLIMIT_NOFILE,
                            (n, set_limit.hard))[0]


set_limit.hard = None


def limit_with_room(n):
    """The limit that lets the keeper open 'n' descriptors more."""
    limit = 0
    used = keeper.numbers()
    while n or limit in used:
        n -= limit not in used
        limit += 1
    return limit


def check_few_descriptors():
    """Without descriptors, clients and requests are refused one by one."""
    set_limit.hard = resource.prlimit(keeper.pid(), resource.RLIMIT_NOFILE)[1]
    with Switch(keeper.CONTROL) as switch:
        a, b = (switch.base_add(keeper.path(x), n_vectors=4) for x in "ab")
        guest = Guest(a.path0, 4)
        up = switch.event()
        before = keeper.descriptors()
        limits = [limit_with_room(i) for i in range(10)]
        old = set_limit(limits[0])
        # From none at all to nearly enough.
        for extra in range(9):
            set_limit(limits[extra])
            refused = Guest(b.path0)
            assert refused.is_closed(), extra
            assert refused.messages in ([], [(-errno.ENOSPC, False)]), extra
            refused.close()
            if extra < 2:
                try:
                    switch.base_add(keeper.path("c"))
                    raise AssertionError("there was a descriptor")
                except Refused as e:
                    assert "Too many open files" in e.text, e
                    assert "ulimit -n" in e.text or extra, e
            ring(up.fds[0])
            assert wait_for(guest.own[0])
        assert re.search("refused: no-descriptors 9$", keeper.show(), re.M)
        keeper.expect_descriptors(before)
        assert switch.is_silent()
        assert not os.path.exists(keeper.path("c"))

        # Not even for a moment: whoever comes has to wait.
        set_limit(3)
        waits = Guest(b.path0)
        cpu, end = keeper.cpu_seconds(), time.monotonic() + 0.6
        while time.monotonic() < end:
            assert len(switch.list()) == 2
            time.sleep(0.05)
        assert keeper.cpu_seconds() - cpu < 0.3
        set_limit(limits[9])
        waits.greet(8)
        assert switch.event().peer == waits.id
        waits.close()
        set_limit(old)


def check_slow_switch():
    """A switch that does not read gets the end of the story, not all of it."""
    with Switch(keeper.CONTROL) as switch:
        path = switch.base_add(keeper.path("g"), n_vectors=8).path0
        Guest(path, 8).close()
        keeper.settle()
        before = keeper.memory_kb()
        for _ in range(4000):
            Guest(path).close()
        with Guest(path, 8) as last:
            keeper.settle()
            # Sanitizers hold back what was freed.
            room = 8192 if os.environ.get("VPCID_SANITIZERS") else 1024
            assert keeper.memory_kb() < before + room
            n_events = n_seen = 0
            known = None
            while True:
                event = switch.event()
                close_fds(event)
                n_events += 1
                if event.kind == PEER_DOWN:
                    assert event.peer == known
                    known = None
                else:
                    assert event.kind == PEER_UP and known is None
                    assert event.n_clients > n_seen
                    known, n_seen = event.peer, event.n_clients
                if known == last.id:
                    break
            assert n_seen == 4002 and n_events < 2000, (n_seen, n_events)
            assert switch.is_silent()
