# SPDX-License-Identifier: Apache-2.0
"""Guests with several queues."""
from . import PAIR, Case, Scenario
from ..window import measure

# virtio-user of DPDK 22.11 has at most 8.
QUEUES = (1, 4, 8)
BURST = 32
# As many on each queue as a burst has packets, whatever the number of queues.
FLOWS = BURST * max(QUEUES)
# Packets of a flow in a row.
MIXED, TRAINS = "mixed", "trains"
TRAIN = {MIXED: 1, TRAINS: BURST}


class Queues(Scenario):
    name = "queues"
    help = (f"one way, {FLOWS} flows, guests with "
            f"{', '.join(map(str, QUEUES))} queue pairs; bursts of a flow "
            "each (trains), and of 32 flows (mixed)")
    needs = ("switch",)
    uses = ("sizes", "packed")

    def cases(self, options):
        return [Case(self.name, size=s, flows=FLOWS, queues=q,
                     label=f"{q} queue{'s' if q > 1 else ''}, {kind}")
                for s in options.sizes or (64,) for kind in (TRAINS, MIXED)
                for q in (QUEUES[::2] if options.quick else QUEUES)]

    def open(self, case, system, bench):
        fabric = bench.open(system, 2, PAIR, queues=case.queues)
        fabric.tell(0, "stream", 1, f"size={case.sizes()}",
                    f"flows={case.flows}",
                    f"train={TRAIN[case.label.split()[-1]]}")
        fabric.tell(1, "sink")
        return fabric

    def measure(self, case, system, fabric, bench):
        return measure(fabric, [0], [1], bench.seconds)


SCENARIO = Queues()
