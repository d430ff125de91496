# SPDX-License-Identifier: Apache-2.0
"""Two switches, one without and one with the splice path, and the same done to
both."""
import os
import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

from compare import (Difference, compare_counters, compare_frames,
                     compare_rules, find_packet, subtract)
from guest import Guest, read_pcap, write_pcap
from switch import DUMMY_PORT, GUEST_PORTS, PATIENCE, Switch, SwitchError
from tables import RESTORE

ROUNDS = 2

#: Seconds in which counters that differ may become the same, and in which
#: ports that differ may go on as they are.
COUNTERS_AGREE, PORTS_AGREE = 5, 2


class Pair:
    """Both switches with their guests."""

    def __init__(self, setup, programs):
        self.setup = setup
        self.dir = tempfile.mkdtemp(prefix="fid.", dir="/tmp")
        self.pool = ThreadPoolExecutor(2)
        self.guests = []
        self.switches = []
        self.packets = {}       # Of the round that runs.
        self.spliced = 0
        self.switches = [Switch(name, self.dir, setup, programs)
                         for name in ("flow", "splice")]

    def both(self, function):
        """Calls 'function' with each switch, and returns what it does."""
        return list(self.pool.map(function, self.switches))

    def start(self):
        """Starts everything."""
        self.both(Switch.start)
        self.guests = [{}, {}]
        for guests, switch in zip(self.guests, self.switches):
            for n in GUEST_PORTS:
                guests[n] = Guest(switch, n, self.setup.guests[n])
        for guests in self.guests:
            for guest in guests.values():
                guest.answer()
        self.both(Switch.await_links)

    def stop(self, keep=False):
        """Ends everything."""
        for guests in self.guests:
            for guest in guests.values():
                guest.stop()
        self.both(Switch.stop)
        self.pool.shutdown()
        if not keep:
            shutil.rmtree(self.dir, ignore_errors=True)

    # One table.

    def try_table(self, table):
        """Has both switches do the work of a table.  Raises a Difference if
        they do not do the same."""
        self._clean()
        self.both(lambda switch: self._configure(switch, table))
        before = self.both(Switch.port_counters)
        spliced = self.switches[1].spliced()
        for round_ in range(ROUNDS):
            if round_ and table.change:
                self.both(lambda switch: self._change(switch, table))
            self.packets = table.packets(round_)
            self._run_round()
            self.both(Switch.settle)
        self._compare_counters(before)
        self.spliced += self.switches[1].spliced() - spliced
        self.both(lambda switch: self._restore(switch, table))

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
        switch.settle()

    @staticmethod
    def _change(switch, table):
        switch.ofctl("bundle", "br0", "-", input=table.change_bundle())
        switch.settle()

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
                drops = self.both(Switch.custom_counters)
                out = self._send(port, frames)
                try:
                    compare_frames(port, frames, *out)
                except Difference as e:
                    e.add(self._describe_counters(drops))
                    raise

    def _describe_counters(self, before):
        lines = []
        for switch, old in zip(self.switches, before):
            grown = subtract(switch.custom_counters(), old)
            lines.append(f"{switch.name} path counts " + ", ".join(
                f"{name} {n}" for name, n in grown.items() if n))
        return "\n".join(lines)

    # One port's packets.

    def _send(self, port, frames):
        """Sends from one port.  Returns what comes out of each switch."""
        before = self.both(Switch.fast_counters)
        path = os.path.join(self.dir, "sent.pcap")
        write_pcap(path, frames)
        for guests in self.guests:
            guests[port].ask(f"send-pcap {path} timeout={PATIENCE}")
        for guests in self.guests:
            guests[port].answer()
        grown = self._await_quiet(port, len(frames), before)
        return self._receive(grown)

    def _await_quiet(self, port, n, before):
        """Waits until both switches have dealt with 'n' packets from a port.
        Returns how counters have grown."""
        until = time.monotonic() + PATIENCE
        since, last = time.monotonic(), None
        while True:
            grown = [{name: subtract(counters, old[name])
                      for name, counters in new.items()}
                     for new, old in zip(self.both(Switch.fast_counters),
                                         before)]
            now = time.monotonic()
            if grown != last:
                since, last = now, grown
            elif (grown[0] == grown[1]
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
                compare_rules(*self.both(Switch.rule_counters))
                compare_counters(*[subtract(after, old) for after, old in
                                   zip(self.both(Switch.port_counters),
                                       before)])
                break
            except Difference:
                if time.monotonic() > until:
                    raise
            self.both(Switch.settle)
        for guests in self.guests:
            for guest in guests.values():
                if guest.drain():
                    raise Difference(f"{guest.name} got more packets than "
                                     "its port has counted")

    # Reports.

    def save_state(self):
        """Leaves files with the megaflows of both switches."""
        for switch in self.switches:
            for method, *params in (("dpctl/dump-flows", "-m"),
                                    ("vpci/steering",), ("vpci/refusals",)):
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
