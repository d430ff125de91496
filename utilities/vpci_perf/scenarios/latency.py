# SPDX-License-Identifier: Apache-2.0
"""Round trips."""
from . import PAIR, ROUND_TRIPS, SLEEP, Case, Scenario
from ..window import measure

LOW_RATE = 10000
HIGH_LOAD = 0.8
SLEEP_INTERVAL_US = 500


class Latency(Scenario):
    name = "latency"
    help = ("round trip between two guests: at low load and at 80 % load, "
            "polling; one packet a time, sleeping on interrupts")
    needs = ("switch", "pair", "limit")

    def cases(self, options):
        kinds = ("low", SLEEP) if options.quick else ("low", "80 %", SLEEP)
        return [Case(self.name, direction="round-trip", size=s,
                     flows=options.flows or 1,
                     compared=ROUND_TRIPS, label=kind)
                for s in (options.sizes or (64,)) for kind in kinds]

    def refuses(self, case, system):
        if case.label != "low" and system.measures == "limit":
            return "one cache line a time, polling"
        return None

    def open(self, case, system, bench):
        sleepers = (0, 1) if case.label == SLEEP else ()
        return bench.open(system, 2, PAIR, sleepers=sleepers)

    def measure(self, case, system, fabric, bench):
        rate = LOW_RATE
        if case.label == "80 %":
            self._prepare(fabric, case, 0)
            most, _ = measure(fabric, [0], [0], bench.seconds)
            rate = max(1, int(most["mpps"] * 1e6 * HIGH_LOAD))
        self._prepare(fabric, case, rate)
        if case.label == SLEEP:
            fabric.guests[0].tell(f"ping {SLEEP_INTERVAL_US}")
        return measure(fabric, [0], [0], bench.seconds, latency=True)

    @staticmethod
    def _prepare(fabric, case, rate):
        """Port 0 sends, port 1 sends back."""
        fabric.tell_all("reset")
        fabric.tell(0, "stream", 1, f"size={case.sizes()}",
                    f"flows={case.flows}", f"rate={rate}")
        fabric.tell(0, "sink")
        fabric.tell(1, "reflect")


SCENARIO = Latency()
