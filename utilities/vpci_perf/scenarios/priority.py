# SPDX-License-Identifier: Apache-2.0
"""Urgent packets beside others."""
from . import PAIR, Case, Scenario
from ..window import measure

CLASSES = 8
# DSCPs of the lowest class and of the highest one.
LOWEST, HIGHEST = 0, 56
URGENT_RATE = 10000
BURST = 32


class Priority(Scenario):
    name = "priority"
    help = ("one way in class 7 of 8, at 10,000 packets a second, alone and "
            "while the same guest sends all it can in class 0; bound: p99 "
            "alone, and the time that 32 packets take")
    needs = ("switch",)
    uses = ("sizes", "packed")

    def cases(self, options):
        return [Case(self.name, size=s, n=CLASSES,
                     compared=("busy_p99_us", "busy_of_bound"),
                     label=f"class {CLASSES - 1}")
                for s in options.sizes or (64,)]

    def open(self, case, system, bench):
        return bench.open(system, 2, PAIR, classes=CLASSES)

    def measure(self, case, system, fabric, bench):
        idle, _ = self._measure(case, fabric, bench, "idle", flood=False)
        busy, notes = self._measure(case, fabric, bench, "busy", flood=True)
        bound = idle["idle_p99_us"] + BURST / busy["mpps"]
        return {**busy, **{name: idle[name] for name in idle
                           if name.startswith("idle")},
                "bound_us": bound,
                "busy_of_bound": busy["busy_p99_us"] / bound}, notes

    @staticmethod
    def _measure(case, fabric, bench, prefix, flood):
        """Port 0 sends to port 1; with 'flood', in class 0 as well.  Delays
        are those of class 7, and have 'prefix' in their names."""
        fabric.tell_all("reset")
        fabric.tell(0, "stream", 1, f"size={case.sizes()}",
                    f"dscp={HIGHEST}", f"rate={URGENT_RATE}")
        if flood:
            fabric.tell(0, "stream", 1, f"size={case.sizes()}",
                        f"dscp={LOWEST}", "stamps=0")
        fabric.tell(1, "sink")
        figures, notes = measure(fabric, [0], [1], bench.seconds,
                                 latency=True)
        return {name.replace("rtt", prefix): value
                for name, value in figures.items()}, notes


SCENARIO = Priority()
