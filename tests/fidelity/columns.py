# SPDX-License-Identifier: Apache-2.0
"""Switches side by side, of which the first one has the flow path alone, and
the same done to all of them."""
import os
import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

from compare import (Difference, compare_counters, compare_frames,
                     compare_rules, find_packet, subtract)
from guest import Guest, read_pcap, write_pcap
from links import Liar, Linked, await_links
from switch import DUMMY_PORT, GUEST_PORTS, PATIENCE, Switch, SwitchError
from tables import RESTORE

#: Seconds in which counters that differ may become the same, and in which
#: ports that differ may go on as they are.
COUNTERS_AGREE, PORTS_AGREE = 5, 2

#: Seconds in which a change that is under way shows.
CHANGES_TAKE = 0.1

#: How often a table is tried if links were late.
TRIES_IF_LATE = 3


class Columns:
    """All switches with their guests."""

    def __init__(self, setup, programs):
        self.setup = setup
        self.dir = tempfile.mkdtemp(prefix="fid.", dir="/tmp")
        self.pool = ThreadPoolExecutor(3)
        self.guests = []
        self.switches = []
        self.packets = {}       # Of the round that runs.
        self.taken = {"spliced": 0, "linked": 0, "refused": 0}
        self.switches = [Switch(name, self.dir, setup, programs)
                         for name in ("flow", "splice", "link")
                         if setup.native or name != "link"]
        self.linked = Linked()

    def each(self, function):
        """Calls 'function' with each switch, and returns what it does."""
        return list(self.pool.map(function, self.switches))

    def start(self):
        """Starts everything."""
        self.each(Switch.start)
        self.guests = [{} for _ in self.switches]
        for guests, switch in zip(self.guests, self.switches):
            for n in GUEST_PORTS:
                guests[n] = Guest(switch, n, self.setup.guests[n])
        for guests in self.guests:
            for guest in guests.values():
                guest.answer()
        self.each(Switch.await_guests)
        if self.setup.native:
            self._make_links()

    def _make_links(self):
        """Has each guest send to each other one until all have links."""
        switch, until = self.switches[-1], time.monotonic() + PATIENCE
        macs = {n: bytes((2, 0, 0, 0, 0, n)) for n in GUEST_PORTS}
        for n, mac in macs.items():
            switch.ofctl("add-flow", "br0",
                         f"dl_dst={mac.hex(':')},actions=output:{n}")
        path = os.path.join(self.dir, "sent.pcap")
        while len(switch.ways()) < len(macs) * (len(macs) - 1):
            if time.monotonic() > until:
                raise SwitchError("not all guests get links")
            for n, guest in self.guests[-1].items():
                write_pcap(path, [macs[other] + macs[n] + b"\x88\xb5"
                                  + bytes(46) for other in macs if other != n])
                guest.do(f"send-pcap {path}")
            time.sleep(0.05)

    def stop(self, keep=False):
        """Ends everything."""
        for guests in self.guests:
            for guest in guests.values():
                guest.stop()
        self.each(Switch.stop)
        self.pool.shutdown()
        if not keep:
            shutil.rmtree(self.dir, ignore_errors=True)

    # One table.

    def try_table(self, table):
        """Has all switches do the work of a table.  Raises a Difference if
        they do not do the same.

        Megaflows that get to a link, or leave it, wait for nobody for long:
        what a busy machine makes of that is no difference, unless it is there
        each time."""
        for left in reversed(range(TRIES_IF_LATE)):
            late = self._count_late()
            try:
                self._try_once(table)
                return
            except Difference:
                if not left or self._count_late() == late:
                    raise

    def _count_late(self):
        return sum(way.late for way in self.switches[-1].ways().values())

    def _try_once(self, table):
        self._clean()
        self.each(lambda switch: self._configure(switch, table))
        before = self.each(Switch.port_counters)
        taken = self._count_taken()
        for round_ in range(table.n_rounds):
            if table.change and round_ == table.change_at:
                self.each(lambda switch: self._change(switch, table))
            self.packets = table.packets(round_)
            self.linked = Linked()
            self._run_round()
            self.each(Switch.settle)
            await_links(self.switches[-1])
        self._compare_counters(before)
        for path, n in self._count_taken().items():
            self.taken[path] += n - taken[path]
        if self.setup.native:
            self.taken["refused"] += Liar(self, table).try_all()
        self.each(lambda switch: self._restore(switch, table))

    def _count_taken(self):
        return {"spliced": self.switches[1].taken("spliced"),
                "linked": self.switches[-1].taken("linked")}

    def _clean(self):
        for guests in self.guests:
            for guest in guests.values():
                guest.ask("drain 0.01")
        for guests in self.guests:
            for guest in guests.values():
                guest.answer()
        for switch in self.switches:
            switch.take_dummy_frames(read_pcap)

    @staticmethod
    def _configure(switch, table):
        # Megaflows that stay from one table to another may overlap, and
        # Open vSwitch 3.1 then changes the wrong one of them.
        switch.ofctl("del-flows", "br0")
        switch.appctl("revalidator/purge")
        switch.appctl("fdb/flush")
        switch.appctl("dpctl/flush-conntrack")
        if table.vsctl:
            switch.vsctl(*table.vsctl)
        for port, what in table.mod_ports:
            switch.ofctl("mod-port", "br0", port, what)
        switch.ofctl("bundle", "br0", "-", input=table.bundle())
        switch.settle(CHANGES_TAKE)

    @staticmethod
    def _change(switch, table):
        switch.ofctl("bundle", "br0", "-", input=table.change_bundle())
        switch.settle(CHANGES_TAKE)

    @staticmethod
    def _restore(switch, table):
        if table.vsctl:
            switch.vsctl(*RESTORE)
        for port, what in table.mod_ports:
            switch.ofctl("mod-port", "br0", port, what.replace("no-", ""))

    def _run_round(self):
        for port in GUEST_PORTS:
            frames = self.packets[port]
            if frames:
                drops = self.each(Switch.custom_counters)
                flow, *others = self.send(port, frames)
                try:
                    for switch, out in zip(self.switches[1:], others):
                        compare_frames(port, frames, flow, out, switch.name)
                except Difference as e:
                    e.add(self._describe_counters(drops))
                    raise
                self.linked.add(port, self.guests[-1], flow)

    def _describe_counters(self, before):
        lines = []
        for switch, old in zip(self.switches, before):
            grown = subtract(switch.custom_counters(), old)
            lines.append(f"{switch.name} path counts " + ", ".join(
                f"{name} {n}" for name, n in grown.items() if n))
        return "\n".join(lines)

    # One port's packets.

    def send(self, port, frames, n_columns=None):
        """Sends from one port, in the first columns only if so asked.  Returns
        what comes out of each switch, as lists by ports."""
        switches = self.switches[:n_columns]
        guests = self.guests[:n_columns]
        before = [switch.fast_counters() for switch in switches]
        path = os.path.join(self.dir, "sent.pcap")
        write_pcap(path, frames)
        for column in guests:
            column[port].ask(f"send-pcap {path} timeout={PATIENCE}")
        for column in guests:
            column[port].answer()
        grown = self._await_quiet(port, len(frames), switches, before)
        return self._receive(grown)

    def _await_quiet(self, port, n, switches, before):
        """Waits until these switches have dealt with 'n' packets from a port.
        Returns how counters have grown."""
        until = time.monotonic() + PATIENCE
        since, last = time.monotonic(), None
        while True:
            counters = self.pool.map(Switch.fast_counters, switches)
            grown = [{name: subtract(values, old[name])
                      for name, values in new.items()}
                     for new, old in zip(counters, before)]
            now = time.monotonic()
            if grown != last:
                since, last = now, grown
            elif (all(column == grown[0] for column in grown)
                  and self._came(grown[0][f"p{port}"]) == n):
                return grown
            if now > min(until, since + PORTS_AGREE):
                return grown
            time.sleep(0.003)

    @staticmethod
    def _came(counters):
        return counters["RX packets"] + counters["RX dropped"]

    def _receive(self, grown):
        for guests, counters in zip(self.guests, grown):
            for n, guest in guests.items():
                if counters[f"p{n}"]["TX packets"]:
                    guest.ask_receive(counters[f"p{n}"]["TX packets"])
        out = []
        for guests, counters, switch in zip(self.guests, grown,
                                            self.switches):
            frames = {n: guest.received()
                      if counters[f"p{n}"]["TX packets"] else []
                      for n, guest in guests.items()}
            frames[DUMMY_PORT] = switch.take_dummy_frames(read_pcap)
            out.append(frames)
        return out

    # Counters.

    def _compare_counters(self, before):
        until = time.monotonic() + COUNTERS_AGREE
        while True:
            try:
                self._compare_counters_once(before)
                break
            except Difference:
                if time.monotonic() > until:
                    raise
            self.each(Switch.settle)
        for guests in self.guests:
            for guest in guests.values():
                if guest.drain():
                    raise Difference(f"{guest.name} got more packets than "
                                     "its port has counted")

    def _compare_counters_once(self, before):
        flow, *others = self.each(Switch.rule_counters)
        for switch, rules in zip(self.switches[1:], others):
            compare_rules(flow, rules, switch.name)
        flow, *others = [subtract(after, old) for after, old in
                         zip(self.each(Switch.port_counters), before)]
        for switch, counters in zip(self.switches[1:], others):
            compare_counters(flow, counters, switch.name)

    # Reports.

    def save_state(self):
        """Leaves files with the megaflows of all switches."""
        for switch in self.switches:
            for method, *params in (("dpctl/dump-flows", "-m"),
                                    ("vpci/steering",), ("vpci/refusals",),
                                    ("vpci/links",)):
                try:
                    text = switch.appctl(method, *params)
                except SwitchError as e:
                    text = str(e)
                name = method.replace("/", "-")
                with open(os.path.join(switch.dir, name), "w",
                          encoding="utf-8") as f:
                    f.write(text)

    def explain(self, difference):
        """Returns what OVS thinks of the packet that a difference is about."""
        found = find_packet(difference, self.packets)
        if not found:
            return ""
        port, packet = found
        text = f"packet from port {port}: {packet.hex()}\n"
        try:
            return text + self.switches[0].appctl(
                "ofproto/trace", "br0", f"in_port={port}", packet.hex())
        except SwitchError as e:
            return text + str(e)
