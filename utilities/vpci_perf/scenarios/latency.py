# SPDX-License-Identifier: Apache-2.0
"""Round trips."""
from . import (BESIDE, PAIR, ROUND_TRIPS, SLEEP, SLEEP_INTERVAL_US, Case,
               Scenario)
from ..window import measure

LOW_RATE = 10000
HIGH_LOAD = 0.8
LOW, PING, SAME, HIGH = "low", "one at a time", "1 Mpps", "80 %"
# Where one packet is under way at a time: the pause after each.
INTERVAL_US = {PING: 0, SLEEP: SLEEP_INTERVAL_US}
# What is sent otherwise, where it isn't LOW_RATE; 0: as much as can be.
RATES = {SAME: 1000000, PING: 0, SLEEP: 0}
# Beside ports 0 and 1: from port 2 to port 3, as much as can be.
FLOOD = ("in_port=3,actions=output:4",)


class Latency(Scenario):
    name = "latency"
    help = ("round trip between two guests, polling: at 10,000 packets a "
            "second, one packet at a time, at 1,000,000, at 80 % load, beside "
            "two guests of which one sends all it can; one packet at a time, "
            "sleeping on interrupts")
    needs = ("switch", "pair", "limit")

    def cases(self, options):
        kinds = ((PING, SLEEP) if options.quick
                 else (LOW, PING, SAME, HIGH, BESIDE, SLEEP))
        return [Case(self.name, direction="round-trip", size=s,
                     flows=options.flows or 1,
                     compared=ROUND_TRIPS, label=kind)
                for s in (options.sizes or (64,)) for kind in kinds]

    def refuses(self, case, system):
        if (case.label not in (LOW, PING, SLEEP)
                and system.measures == "limit"):
            return "one cache line at a time, or one signal"
        if case.label == BESIDE and system.measures != "switch":
            return "two guests are all there is"
        return None

    def open(self, case, system, bench):
        if case.label == BESIDE:
            return bench.open(system, 4, PAIR + FLOOD)
        sleepers = (0, 1) if case.label == SLEEP else ()
        return bench.open(system, 2, PAIR, sleepers=sleepers)

    def measure(self, case, system, fabric, bench):
        rate = RATES.get(case.label, LOW_RATE)
        if case.label == HIGH:
            self._prepare(fabric, case, 0)
            most, _ = measure(fabric, [0], [0], bench.seconds)
            rate = max(1, int(most["mpps"] * 1e6 * HIGH_LOAD))
        self._prepare(fabric, case, rate)
        if case.label in INTERVAL_US:
            fabric.guests[0].tell(f"ping {INTERVAL_US[case.label]}")
        return measure(fabric, [0], [0], bench.seconds, latency=True)

    @staticmethod
    def _prepare(fabric, case, rate):
        """Port 0 sends, port 1 sends back."""
        fabric.tell_all("reset")
        fabric.tell(0, "stream", 1, f"size={case.sizes()}",
                    f"flows={case.flows}", f"rate={rate}")
        fabric.tell(0, "sink")
        fabric.tell(1, "reflect")
        if case.label == BESIDE:
            fabric.tell(2, "stream", 3, f"size={case.sizes()}", "stamps=0")
            fabric.tell(3, "sink")


SCENARIO = Latency()
