# SPDX-License-Identifier: Apache-2.0
"""Two guests."""
import shutil
import time

from . import IMIX_NAME, PAIR, Case, Scenario
from ..window import WARM_UP_SECONDS, Load, measure

SIZES = (64, 128, 256, 512, 1024, 1280, 1518, IMIX_NAME)
QUICK_SIZES = (64, 1518)
LOOP_SIZES = (64, 1518)
LOOP_BURSTS = 16
BURST = 32


class PointToPoint(Scenario):
    name = "p2p"
    help = ("two guests, as much as can be sent: one way, both ways, and in a "
            "loop of testpmd's")
    needs = ("switch", "pair", "limit")
    uses = Scenario.uses + ("bursts",)

    def cases(self, options):
        quick, flows = options.quick, options.flows or 1
        sizes = options.sizes or (QUICK_SIZES if quick else SIZES)
        loops = [s for s in sizes if s in (LOOP_SIZES[:1] if quick
                                           else LOOP_SIZES)]
        return [Case(self.name, direction="loop", size=s)
                for s in (loops if flows == 1 else [])] + \
            [Case(self.name, direction=d, size=s, flows=flows, burst=b,
                  label="" if b == BURST else f"bursts of {b}")
             for b in options.bursts or (BURST,)
             for d in (("one-way",) if quick else ("one-way", "both"))
             for s in sizes]

    def refuses(self, case, system):
        if case.direction == "loop" and system.measures != "switch":
            return "testpmd's loop needs a switch"
        if case.direction == "loop" and not shutil.which("dpdk-testpmd"):
            return "dpdk-testpmd is not installed: apt-get install dpdk-dev"
        if case.direction == "both" and system.measures == "limit":
            return "a ring has one direction"
        return None

    @staticmethod
    def _ways(case):
        """Pairs of a port that sends and one that receives."""
        return [(0, 1), (1, 0)][:2 if case.direction == "both" else 1]

    def open(self, case, system, bench):
        if case.direction == "loop":
            fabric = bench.open(system, 2, PAIR, testpmd=case.size)
            fabric.guests[0].start(LOOP_BURSTS)
            return fabric
        fabric = bench.open(system, 2, PAIR)
        for sender, receiver in self._ways(case):
            fabric.tell(sender, "stream", receiver, f"size={case.sizes()}",
                        f"flows={case.flows}", f"burst={case.burst}")
            fabric.tell(receiver, "sink")
        return fabric

    def measure(self, case, system, fabric, bench):
        if case.direction == "loop":
            return self._measure_loop(case, fabric, bench)
        ways = self._ways(case)
        return measure(fabric, [w[0] for w in ways], [w[1] for w in ways],
                       bench.seconds)

    @staticmethod
    def _measure_loop(case, fabric, bench):
        """testpmd's 'io' mode sends on each port what came on the other, so
        that its first bursts go round and round.  The rate is that of its own
        counters."""
        guest = fabric.guests[0]
        time.sleep(WARM_UP_SECONDS)
        dropped = fabric.switch.dropped()
        since, before = guest.stats()
        load = Load(fabric)
        time.sleep(bench.seconds)
        load.end()
        until, after = guest.stats()
        packets = sum(after) - sum(before)
        figures, notes = load.figures(packets, until - since)
        figures["gbps"] = figures["mpps"] * case.size * 8 / 1e3
        figures["lost"] = ((fabric.switch.dropped() - dropped)
                           / max(packets, 1))
        return figures, notes


SCENARIO = PointToPoint()
