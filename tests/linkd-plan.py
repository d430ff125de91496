#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""usage: linkd-plan.py DIRECTORY

Tests what vpci-linkd, whose package is in DIRECTORY, would do."""
import sys
import unittest
from dataclasses import replace

sys.path.insert(0, sys.argv.pop(1))

from vpci_linkd import planner, switch  # noqa: E402 (the path comes first)
from vpci_linkd.planner import Device, End, Slot  # noqa: E402

PATHS = {"p1": "/r/p1", "p2": "/r/p2", "p3": "/r/p3"}
NOBODY = frozenset()
P1 = frozenset({"p1"})


def link(region=7, state="offered", a="p1", b="p2", connected=(False, False)):
    """Both ends of a link."""
    return [End(port, other, f"/r/{port}.link{region}", region, 4, 1 << 21,
                state, is_connected)
            for port, other, is_connected in ((a, b, connected[0]),
                                              (b, a, connected[1]))]


def device(region=7, port="p1", name=None):
    """A device, as vpci-linkd plugs it in."""
    return Device(name or f"vpci-link{region}", f"/r/{port}.link{region}",
                  "slot2")


def peer(connected=False, used_up=False, region=9):
    """The memory of p2, for p1."""
    return [End("p1", "p2", "/r/p1.peer", region, 32, 1 << 30, planner.PEER,
                connected, True, used_up)]


PEER_DEVICE = Device("vpci-peer9", "/r/p1.peer", "slot3")


class World:
    """A switch, and a machine that has p1."""

    def __init__(self):
        self.now = 1000
        self.history = planner.History()
        self.plan = planner.MachinePlan()
        self.devices = []
        self.gone = set()       # Sockets that are not there.
        self.held = NOBODY
        self.ports = P1

    def look(self, ends, answers=True, after=1):
        """What there is to do, in short."""
        self.now += after
        outlook = (self.history.see(self.now, ends, PATHS) if answers
                   else self.history.see_nothing())
        self.actions = self.plan.decide(
            self.now, outlook, self.ports, self.devices, self.held,
            lambda socket: socket not in self.gone)
        return [f"{type(a).__name__} {a.socket[3:]}" for a in self.actions]

    def fail(self):
        """What there was to do has failed."""
        for action in self.actions:
            self.plan.attempts.fail(action.socket, self.now)


class Plan(unittest.TestCase):
    """What is done in one machine."""

    def setUp(self):
        self.world = World()

    def test_offered_link_is_plugged_in_once(self):
        self.assertEqual(self.world.look(link()), ["Plug p1.link7"])
        self.world.devices = [device()]
        self.assertEqual(self.world.look(link()), [])
        for state in "offered", "ready", "running", "draining":
            self.assertEqual(
                self.world.look(link(state=state, connected=(True, True))),
                [])

    def test_states(self):
        for state, wanted in (("asked for", False), ("offered", True),
                              ("ready", True), ("running", True),
                              ("draining", False), ("down", False),
                              ("waiting for a guest", True)):
            self.assertEqual(bool(self.world.look(link(state=state))), wanted,
                             state)

    def test_end_that_is_connected_is_left_alone(self):
        self.assertEqual(self.world.look(link(connected=(True, False))), [])

    def test_ports_of_others_are_left_alone(self):
        self.assertEqual(self.world.look(link(a="p2", b="p3")), [])
        self.world.ports = NOBODY
        self.assertEqual(self.world.look(link()), [])

    def test_both_ends_in_one_machine(self):
        self.world.ports = frozenset({"p1", "p2"})
        self.assertEqual(self.world.look(link()),
                         ["Plug p1.link7", "Plug p2.link7"])

    def test_end_without_socket_is_over(self):
        self.world.gone.add("/r/p1.link7")
        self.assertEqual(self.world.look(link()), [])

    def test_gone_link_is_unplugged_once_its_socket_is(self):
        self.world.devices = [device()]
        self.world.look(link(state="running", connected=(True, True)))
        self.assertEqual(self.world.look([]), [])
        self.world.gone.add("/r/p1.link7")
        self.assertEqual(self.world.look([]), ["Unplug p1.link7"])

    def test_link_that_is_down_is_gone(self):
        self.world.devices = [device()]
        self.world.gone.add("/r/p1.link7")
        self.assertEqual(self.world.look(link(state="down")),
                         ["Unplug p1.link7"])

    def test_gone_link_is_unplugged_in_the_end(self):
        self.world.devices = [device()]
        self.world.look([])
        self.assertEqual(self.world.look([], after=planner.LINGER - 1), [])
        self.assertEqual(self.world.look([]), ["Unplug p1.link7"])

    def test_switch_that_starts_anew_takes_a_while(self):
        self.world.devices = [device()]
        running = link(state="running", connected=(True, True))
        for _ in range(3):
            self.world.look(running)
            self.assertEqual(self.world.look([], answers=False, after=500),
                             [])
            self.assertEqual(self.world.look([], after=planner.LINGER - 1),
                             [])
        self.assertEqual(self.world.look(running), [])

    def test_nothing_is_done_without_the_switch(self):
        self.world.devices = [device()]
        self.world.look(link())
        self.world.gone.add("/r/p1.link7")
        self.assertEqual(self.world.look([], answers=False, after=999), [])

    def test_other_region_takes_the_place_of_one(self):
        self.world.devices = [device(7)]
        self.world.gone.add("/r/p1.link7")
        self.assertEqual(self.world.look(link(8)),
                         ["Unplug p1.link7", "Plug p1.link8"])

    def test_restart_adopts_devices(self):
        # By their sockets, whatever they are called.
        for name in "vpci-link7", "by-hand":
            world = World()
            world.devices = [device(name=name)]
            self.assertEqual(
                world.look(link(state="running", connected=(True, True))), [])
            world.gone.add("/r/p1.link7")
            self.assertEqual(world.look([]), ["Unplug p1.link7"])

    def test_device_of_a_port_that_is_no_more(self):
        self.world.devices = [Device("vpci-link3", "/r/px.link3", "slot2")]
        self.assertEqual(self.world.look([], after=999), [])
        self.assertEqual(self.world.look([], after=999), [])
        self.world.gone.add("/r/px.link3")
        self.assertEqual(self.world.look([]), ["Unplug px.link3"])

    def test_devices_of_others_are_left_alone(self):
        self.world.devices = [Device("x", "/other/p1.link3", "slot2"),
                              Device("y", "/r/p2.link3", "slot3")]
        self.world.gone |= {"/other/p1.link3", "/r/p2.link3"}
        self.assertEqual(self.world.look([], after=99), [])
        self.assertEqual(self.world.look([], after=99), [])

    def test_device_that_nobody_serves_is_unplugged(self):
        self.world.devices = [device()]
        self.world.look(link())
        self.assertEqual(self.world.look(link(), after=planner.CONNECT - 1),
                         [])
        self.assertEqual(self.world.look(link()), ["Unplug p1.link7"])

    def test_released_port_has_none(self):
        self.world.devices = [device()]
        self.world.held = P1
        ends = link(state="running", connected=(True, True)) + link(8)
        self.assertEqual(self.world.look(ends), ["Unplug p1.link7"])
        # Even if the switch is not there.
        self.assertEqual(self.world.look([], answers=False),
                         ["Unplug p1.link7"])
        self.world.devices = []
        self.assertEqual(self.world.look(ends), [])
        self.world.held = NOBODY
        self.assertEqual(self.world.look(ends), ["Plug p1.link8"])

    def test_nothing_for_links_to_a_released_port(self):
        self.world.held = frozenset({"p2"})
        self.assertEqual(self.world.look(link() + link(8, b="p3")),
                         ["Plug p1.link8"])

    def test_failures_are_repeated_less_and_less(self):
        times = []
        for _ in range(400):
            if self.world.look(link()):
                times.append(self.world.now)
                self.world.fail()
        pauses = [b - a for a, b in zip(times, times[1:])]
        self.assertEqual(pauses[:7], [1, 2, 4, 8, 16, 32, 60])
        self.assertEqual(max(pauses), planner.LAST_PAUSE)
        # Another link is another matter.
        self.assertEqual(self.world.look(link(8)), ["Plug p1.link8"])

    def test_failed_unplug_is_repeated(self):
        self.world.devices = [device()]
        self.world.gone.add("/r/p1.link7")
        self.assertEqual(self.world.look([]), ["Unplug p1.link7"])
        self.world.fail()
        self.assertEqual(self.world.look([], after=0), [])
        self.assertEqual(self.world.look([], after=2), ["Unplug p1.link7"])


class Peers(unittest.TestCase):
    """Devices with the memory of a peer."""

    def setUp(self):
        self.world = World()

    def test_memory_is_plugged_in_once(self):
        self.assertEqual(self.world.look(peer()), ["Plug p1.peer"])
        self.world.devices = [PEER_DEVICE]
        self.assertEqual(self.world.look(peer()), [])
        for _ in range(9):
            self.assertEqual(self.world.look(peer(True), after=99), [])

    def test_ports_of_others_are_left_alone(self):
        self.world.ports = frozenset({"p2"})
        self.assertEqual(self.world.look(peer()), [])

    def test_device_of_the_domains_xml_is_left_alone(self):
        self.world.devices = [Device("p1-peer", "/r/p1.peer", "slot3")]
        for _ in range(9):
            self.assertEqual(self.world.look(peer(True), after=99), [])

    def test_released_port_has_none(self):
        for name in "vpci-peer9", "p1-peer":
            self.world.held = P1
            self.world.devices = [Device(name, "/r/p1.peer", "slot3")]
            self.assertEqual(self.world.look(peer(True)), ["Unplug p1.peer"])
            self.assertEqual(self.world.look([], answers=False),
                             ["Unplug p1.peer"])
            self.world.devices = []
            self.assertEqual(self.world.look(peer()), [])
            self.world.held = NOBODY
            self.assertEqual(self.world.look(peer()), ["Plug p1.peer"])

    def test_owner_that_begins_anew_has_other_memory(self):
        self.world.devices = [PEER_DEVICE]
        self.world.look(peer(True))
        self.assertEqual(self.world.look(peer(region=10)), [])
        self.assertEqual(self.world.look(peer(region=10),
                                         after=planner.CONNECT),
                         ["Unplug p1.peer"])
        self.world.fail()
        self.world.devices = []
        self.assertEqual(self.world.look(peer(region=10), after=0), [])
        self.assertEqual(self.world.look(peer(region=10), after=1),
                         ["Plug p1.peer"])

    def test_trust_that_has_ended(self):
        self.world.devices = [PEER_DEVICE]
        self.world.look(peer(True))
        self.assertEqual(self.world.look([]), [])
        self.world.gone.add("/r/p1.peer")
        self.assertEqual(self.world.look([]), ["Unplug p1.peer"])

    def test_signals_that_are_used_up(self):
        times = []
        for _ in range(300):
            self.world.devices = [PEER_DEVICE]
            if self.world.look(peer(True, True)):
                self.assertTrue(self.world.actions[0].failed)
                times.append(self.world.now)
                self.world.fail()
        pauses = [b - a for a, b in zip(times, times[1:])]
        self.assertEqual(pauses[:7], [1, 2, 4, 8, 16, 32, 60])

    def test_switch_that_does_not_answer(self):
        self.world.devices = [PEER_DEVICE]
        self.world.look(peer(True))
        self.assertEqual(self.world.look([], answers=False, after=999), [])


class Rest(unittest.TestCase):
    """Links that guests make no use of."""

    def setUp(self):
        self.world = World()

    def useless(self, region):
        """A link that guests connect to, and never meet at."""
        self.world.look(link(region))
        self.world.look(link(region, connected=(True, True)))
        self.world.look(link(region, "draining", connected=(True, True)),
                        after=10)
        self.world.look([])

    def test_useless_links_rest(self):
        self.useless(7)
        (pair, region, pause), = self.world.history.complaints
        self.assertEqual((pair, region), ({"p1", "p2"}, 7))
        self.assertEqual(self.world.look(link(8)), [])
        self.assertEqual(self.world.look(link(8, b="p3")), ["Plug p1.link8"])
        self.assertEqual(self.world.look(link(9), after=pause),
                         ["Plug p1.link9"])
        self.useless(9)
        self.assertGreater(self.world.history.complaints[0][2], pause)

    def test_links_that_came_up_do_not(self):
        for state in "ready", "running":
            self.world.look(link(connected=(True, True)))
            self.world.look(link(state=state, connected=(True, True)))
            self.world.look([])
            self.assertEqual(self.world.history.complaints, [])
            self.assertEqual(self.world.look(link(8)), ["Plug p1.link8"])

    def test_links_that_were_not_plugged_in_do_not(self):
        self.world.look(link())
        self.world.look([])
        self.assertEqual(self.world.look(link(8)), ["Plug p1.link8"])

    def test_links_that_had_no_time_do_not(self):
        self.world.look(link(connected=(True, True)))
        self.world.look([], after=planner.MEET - 1)
        self.assertEqual(self.world.look(link(8)), ["Plug p1.link8"])

    def test_release_ends_it(self):
        self.useless(7)
        self.world.history.forgive(P1)
        self.assertEqual(self.world.look(link(8)), ["Plug p1.link8"])


class Choice(unittest.TestCase):
    """Of a root port."""

    SIZE = 1 << 21
    SLOTS = [Slot("none", False, 0), Slot("unset", False),
             Slot("tight", False, 1 << 21), Slot("used", True, 1 << 30),
             Slot("good", False, 1 << 22), Slot("better", False, 1 << 30)]

    def test_the_best_is_taken(self):
        slots = list(self.SLOTS)
        for name in "good", "better", "tight", "unset":
            slot = planner.choose_slot(slots, self.SIZE)
            self.assertEqual(slot.name, name)
            slots.remove(slot)
            slots.append(replace(slot, used=True))
        with self.assertRaisesRegex(
                planner.NoRoom, "for 2097152 bytes: none has "
                "pref64-reserve=0, used is in use, good is in use"):
            planner.choose_slot(slots, self.SIZE)

    def test_links_leave_room_for_memories(self):
        slots = [Slot("large", False, 1 << 31), Slot("small", False, 1 << 22)]
        self.assertEqual(planner.choose_slot(slots, self.SIZE).name, "small")
        self.assertEqual(planner.choose_slot(slots, 1 << 30).name, "large")

    def test_there_is_none(self):
        with self.assertRaisesRegex(planner.NoRoom, "none at all"):
            planner.choose_slot([], self.SIZE)

    def test_the_operators_choice(self):
        slots = [Slot("b", True, 0, True), Slot("a", False, 99, True),
                 Slot("c", False, 0, True)]
        self.assertEqual(planner.choose_slot(slots, self.SIZE).name, "a")


class Answers(unittest.TestCase):
    """Of the switch."""

    def test_links(self):
        text = """{"links": [{"ends": [
            {"connected": true, "flows": 0, "port": "p1", "socket": "/r/a",
             "tx_bytes": 1, "tx_packets": 1},
            {"connected": false, "port": "p2", "socket": "/r/b"}],
            "region": 3, "size": 2097152, "state": "offered", "static": false,
            "vectors": 5}, {"ends": [
            {"connected": false, "port": "p1", "socket": "/r/a.to-p2"},
            {"connected": false, "port": "p2", "socket": "/r/b.to-p1"}],
            "region": 4, "size": 2097152, "state": "offered", "static": true,
            "vectors": 5}]}
            """
        self.assertEqual(switch.parse_links(text), [
            End("p1", "p2", "/r/a", 3, 5, 2097152, "offered", True),
            End("p2", "p1", "/r/b", 3, 5, 2097152, "offered", False)])

    def test_peers(self):
        text = """{"links": [], "peers": [
            {"connected": true, "peer": "p2", "port": "p1", "region": 9,
             "rings": "home", "size": 1073741824, "socket": "/r/p1.peer",
             "used_up": true, "vectors": 32}]}"""
        self.assertEqual(switch.parse_links(text), peer(True, True))

    def test_nonsense(self):
        for text in ("", "{}", "[]", "null", '{"links": 1}', '{"links": [1]}',
                     '{"links": [{"ends": []}]}', "no link",
                     '{"links": [{"ends": [{}, {}], "region": "x"}]}',
                     '{"links": [], "peers": [{}]}',
                     '{"links": [], "peers": 1}'):
            with self.assertRaises(switch.SwitchError, msg=text):
                switch.parse_links(text)
        for text in "", "{}", "[]", '{"data": [1]}', '{"data": [["a"]]}':
            with self.assertRaises(switch.SwitchError, msg=text):
                switch.parse_ports(text)

    def test_ports(self):
        self.assertEqual(switch.parse_ports(
            '{"data": [["p1", ["map", [["ivshmem-path", "/r/p1"]]]],'
            '["p2", ["map", [["vhost-listen-path", "/x"]]]]],'
            '"headings": ["name", "options"]}'), {"p1": "/r/p1"})


if __name__ == "__main__":
    unittest.main()
