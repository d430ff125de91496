# SPDX-License-Identifier: Apache-2.0
"""Round trips."""
from . import Case
from ..window import measure

LOW_RATE = 10000
HIGH_LOAD = 0.8
SLEEP_INTERVAL_US = 500


class Latency:
    name = "latency"
    help = ("round trip between two guests: at low load and at 80 % load, "
            "polling; one packet a time, sleeping on interrupts")
    needs = ("switch", "pair")

    def cases(self, options):
        kinds = ("low", "sleep") if options.quick else ("low", "80 %", "sleep")
        return [Case(self.name, direction="round-trip", size=s, label=kind)
                for s in (options.sizes or (64,)) for kind in kinds]

    def lacks(self, case, system):
        if case.label == "sleep":
            return system.lacks.get("latency-sleep")
        return None

    def run(self, case, system, bench):
        flows = ["in_port=1,actions=output:2", "in_port=2,actions=output:1"]
        sleepers = (0, 1) if case.label == "sleep" else ()
        with bench.open(system, 2, flows, sleepers=sleepers) as fabric:
            if case.label == "80 %":
                self._prepare(fabric, case, 0)
                most, _ = measure(fabric, [0], [0], 0.5)
                rate = int(most["mpps"] * 1e6 * HIGH_LOAD)
            else:
                rate = LOW_RATE
            self._prepare(fabric, case, rate)
            if case.label == "sleep":
                fabric.guests[0].tell(f"ping {SLEEP_INTERVAL_US}")
            return measure(fabric, [0], [0], bench.seconds)

    @staticmethod
    def _prepare(fabric, case, rate):
        """Port 0 sends, port 1 sends back."""
        fabric.tell_all("reset")
        fabric.tell(0, "stream", 1, f"size={case.sizes()}", f"rate={rate}")
        fabric.tell(0, "sink")
        fabric.tell(1, "reflect")


SCENARIO = Latency()
