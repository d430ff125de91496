# SPDX-License-Identifier: Apache-2.0
"""Two guests."""
import time

from . import IMIX_NAME, Case
from ..window import measure

SIZES = (64, 128, 256, 512, 1024, 1280, 1518, IMIX_NAME)
QUICK_SIZES = (64, 1518)
LOOP_BURSTS = 16
# How far testpmd's own counters may be from those of the switch.
MAX_DISAGREEMENT = 0.15


class PointToPoint:
    name = "p2p"
    help = ("two guests, as much as can be sent: one way, both ways, and in a "
            "loop of testpmd's")
    needs = ("switch", "pair", "limit")

    def cases(self, options):
        sizes = options.sizes or (QUICK_SIZES if options.quick else SIZES)
        directions = ("loop", "one-way") if options.quick \
            else ("loop", "one-way", "both")
        return [Case(self.name, direction=d, size=s, flows=options.flows or 1)
                for d in directions for s in sizes
                if not (d == "loop" and (s == IMIX_NAME or options.flows
                                         or (options.quick and s != 64)))]

    def lacks(self, case, system):
        if case.direction == "loop" and system.measures != "switch":
            return "testpmd's loop needs a switch"
        if case.direction == "both" and system.measures == "limit":
            return "a ring has one direction"
        if case.size == IMIX_NAME and system.measures == "limit":
            return "measured with one size"
        return None

    def run(self, case, system, bench):
        if system.measures == "limit":
            return {"mpps": system.hand_off_mpps(bench.env, case.size,
                                                 bench.seconds)}, []
        if case.direction == "loop":
            return self._run_loop(case, system, bench)
        flows = ["in_port=1,actions=output:2", "in_port=2,actions=output:1"]
        with bench.open(system, 2, flows) as fabric:
            ways = [(0, 1), (1, 0)][:2 if case.direction == "both" else 1]
            for sender, receiver in ways:
                fabric.tell(sender, "stream", receiver,
                            f"size={case.sizes()}", f"flows={case.flows}")
                fabric.tell(receiver, "sink")
            return measure(fabric, [w[0] for w in ways], [w[1] for w in ways],
                           bench.seconds)

    @staticmethod
    def _run_loop(case, system, bench):
        """testpmd's 'io' mode sends on each port what came on the other, so
        that its first bursts go round and round.  The rate is that of its own
        counters."""
        flows = ["in_port=1,actions=output:2", "in_port=2,actions=output:1"]
        with bench.open(system, 2, flows, testpmd=case.size) as fabric:
            guest, switch = fabric.guests[0], fabric.switch
            guest.start(LOOP_BURSTS)
            time.sleep(0.5)
            since, before = guest.stats()
            busy, crossed = switch.busy_cycles()
            cpu = switch.cpu_seconds()
            time.sleep(bench.seconds)
            until, after = guest.stats()
            busy_after, crossed_after = switch.busy_cycles()
            cpu = switch.cpu_seconds() - cpu
            duration = until - since
            packets = sum(after) - sum(before)
            rate = packets / duration / 1e6
            seen = (crossed_after - crossed) / duration / 1e6
            notes = []
            if abs(rate - seen) > MAX_DISAGREEMENT * seen:
                notes.append(f"testpmd counts {rate:.2f} Mpps, the switch "
                             f"{seen:.2f}")
            return {
                "mpps": rate,
                "gbps": rate * case.size * 8 / 1e3,
                "switch_mpps": seen,
                "switch_cycles_per_packet":
                    (busy_after - busy) / max(packets, 1),
                "host_cpu": cpu / duration,
                "lost": None,
            }, notes


SCENARIO = PointToPoint()
