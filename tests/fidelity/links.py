# SPDX-License-Identifier: Apache-2.0
"""Links: which packets took one, and a sender that puts packets on them
whatever it was told.  The receiver must not believe it: it is to accept what
the flow path brings from the sender to this port alone, as far as megaflows
are on the link, and nothing else."""
import os
import random
import re
import time
from collections import Counter, defaultdict

from compare import SHOWN, Difference
from guest import write_pcap
from packets import number, untag
from switch import GUEST_PORTS, PATIENCE

#: Seconds that megaflows may take to get to a link.
LINKS_TAKE = 2

#: Seconds that counters may take.
COUNTERS_AGREE = 5

#: For each port: packets that belong to others, and those without a tag, each
#: of which takes a round of its own.
N_STRANGE, N_UNTAGGED = 10, 4

#: A virtio header that asks for a checksum; guests have not agreed on that.
NEEDS_CSUM = "01000000000022001000"


class Linked:
    """Packets that came by links, without their numbers."""

    def __init__(self):
        self.frames = defaultdict(set)

    def add(self, in_port, guests, out):
        """Adds what 'guests' have just got from a port, of 'out'."""
        for n, guest in guests.items():
            if guest.native and out[n]:
                self.frames[in_port, n] |= {untag(frame)[0]
                                            for frame in guest.linked()}


def _candidates(switch):
    """Returns how many megaflows could be on each way of a link: those with
    packets that go to one port as they are."""
    ways, in_port = Counter(), 0
    for line in switch.appctl("vpci/steering").splitlines():
        if re.match(r"p\d:", line):
            in_port = int(line[1])
        found = re.search(r"packets:[1-9].*, actions:p(\d)$", line)
        if found:
            ways[in_port, int(found[1])] += 1
    mtus = switch.setup.mtus
    return {way: n for way, n in ways.items()
            if way[0] != way[1] and mtus[way[0]] <= mtus[way[1]]}


def await_links(switch):
    """Waits until all megaflows that have had packets are on a link, if they
    can be, and if 'switch' has links at all."""
    until = time.monotonic() + LINKS_TAKE
    while switch.name == "link" and time.monotonic() < until:
        wanted, ways = _candidates(switch), switch.ways()
        if (not any(way.moves for way in ways.values())
                and all(way in ways and ways[way].flows >= n
                        for way, n in wanted.items())):
            break
        time.sleep(0.02)


class Liar:
    """What guests send each other by links if they do not care for hints."""

    def __init__(self, columns, table):
        self.columns = columns
        self.table = table
        self.switch = columns.switches[-1]
        self.guests = columns.guests[-1]
        self.path = os.path.join(columns.dir, "lies.pcap")
        self.rng = random.Random(len(table.templates))
        self.grown = Counter()  # Counters of ports, as they should grow.

    def try_all(self):
        """Lies by each way of each link.  Raises a Difference if anything is
        accepted or refused wrongly, or counted.  Returns how many packets were
        refused."""
        before = self.switch.port_counters()
        n_refused = 0
        for port in GUEST_PORTS:
            lies = self._make_lies(port)
            self.columns.packets = {n: lies if n == port else []
                                    for n in GUEST_PORTS}
            alone = self._find_alone(port, lies)
            for way in self.switch.ways():
                if way[0] == port:
                    n_refused += self._lie(way, lies, alone[way[1]])
        self._compare_counters(before)
        return n_refused

    def _make_lies(self, port):
        """Returns packets to send from a port: its own, each once, and some of
        others."""
        own, others = [], []
        for n, packet in self.table.templates:
            (own if n == port else others).append(packet)
        # A packet of another port would teach the switch something.
        if not self.table.plain and others:
            own += [packet[:self.columns.setup.max_len(port)]
                    for packet in self.rng.choices(others, k=N_STRANGE)]
        packets = list(dict.fromkeys(own))
        tagged = [packet for packet in packets if untag(packet)[1] is not None]
        untagged = [packet for packet in packets if untag(packet)[1] is None]
        return [number(packet, seq) for seq, packet in enumerate(
            tagged + untagged[:N_UNTAGGED])]

    def _find_alone(self, port, lies):
        """Asks the flow path.  Returns, for each port, a list of what comes
        out there of those packets that come out nowhere else, nor twice."""
        outs = defaultdict(list)
        tagged = [lie for lie in lies if untag(lie)[1] is not None]
        for frames in [tagged] + [[lie] for lie in lies[len(tagged):]]:
            out, = self.columns.send(port, frames, 1) if frames else ({},)
            for n, some in out.items():
                for frame in some:
                    seq = untag(frame)[1]
                    key = frames[0] if frames != tagged else seq
                    outs[key].append((n, frame))
        alone = defaultdict(list)
        for out in outs.values():
            if len(out) == 1:
                alone[out[0][0]].append(out[0][1])
        return alone

    def _lie(self, way, lies, alone):
        """Sends lies by one way of a link.  Only those in 'alone' may come
        out, and those that came by the link before must."""
        max_len = self.columns.setup.max_len(way[1])
        too_long = [frame.ljust(max_len + 1, b"\0") for frame in lies[:3]]
        known = self.columns.linked.frames[way]
        must = [frame for frame in alone if untag(frame)[0] in known]
        accepted = self._force(way, lies + too_long)
        self._compare(way, "accepted what the flow path does not send there "
                      "alone", accepted, alone)
        self._compare(way, "refused what it had accepted before", must,
                      accepted)
        asking = self._force(way, alone[:SHOWN], f"hdr={NEEDS_CSUM}")
        self._compare(way, "accepted a checksum to make", asking, [])
        return (len(lies + too_long + alone[:SHOWN]) - len(accepted)
                - len(asking))

    def _force(self, way, frames, *more):
        """Puts frames on a link.  Returns those that are accepted, which are
        all that are not counted as refused."""
        if not frames:
            return []
        write_pcap(self.path, frames)
        before = self.switch.ways()[way]
        self.guests[way[0]].do(" ".join(
            ["lie", self.path, f"region={before.region}",
             f"timeout={PATIENCE}", *more]))
        n = len(frames) - (self.switch.ways()[way].refused - before.refused)
        self.guests[way[1]].ask_receive(n)
        accepted = self.guests[way[1]].received()
        if len(accepted) != n or self.guests[way[1]].drain():
            raise Difference(f"{n} of {len(frames)} packets from port {way[0]}"
                             f" were not refused by port {way[1]}, but got "
                             f"{len(accepted)}")
        self.grown[f"{way[0]} rx pkts"] += n
        self.grown[f"{way[1]} tx pkts"] += n
        self.grown[f"{way[1]} tx bytes"] += sum(map(len, accepted))
        return accepted

    @staticmethod
    def _compare(way, what, frames, others):
        """Raises a Difference if there are 'frames' that 'others' lack."""
        odd = list((Counter(frames) - Counter(others)).elements())
        if odd:
            raise Difference(
                "\n".join([f"by the link from port {way[0]}, port {way[1]} "
                           f"{what}:"] + [frame.hex()
                                          for frame in odd[:SHOWN]]
                          + [f"  (and {len(odd) - SHOWN} more)"]
                          * (len(odd) > SHOWN)),
                [(way[0], frame, untag(frame)[1]) for frame in odd])

    def _compare_counters(self, before):
        until = time.monotonic() + COUNTERS_AGREE
        while True:
            counters = self.switch.port_counters()
            wrong = {name: counters[name] - before[name]
                     for name, n in self.grown.items()
                     if counters[name] - before[name] != n}
            if not wrong:
                return
            if time.monotonic() > until:
                raise Difference("\n".join(
                    f"counter of port {name}: {n}, but what was accepted of "
                    f"lies are {self.grown[name]}"
                    for name, n in wrong.items()))
            time.sleep(0.02)
