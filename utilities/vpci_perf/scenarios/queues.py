# SPDX-License-Identifier: Apache-2.0
"""Guests with several queues."""
from . import PAIR, Case, Scenario
from ..window import measure

# virtio-user of DPDK 22.11 has at most 8.
QUEUES = (1, 4, 8)
# As many on each queue as a burst has packets, whatever the number of queues.
FLOWS = 32 * max(QUEUES)


class Queues(Scenario):
    name = "queues"
    help = (f"one way, {FLOWS} flows, guests with "
            f"{', '.join(map(str, QUEUES))} queue pairs")
    needs = ("switch",)
    uses = ("sizes", "packed")

    def cases(self, options):
        return [Case(self.name, size=s, flows=FLOWS, queues=q,
                     label=f"{q} queue{'s' if q > 1 else ''}")
                for s in options.sizes or (64,)
                for q in (QUEUES[::2] if options.quick else QUEUES)]

    def open(self, case, system, bench):
        fabric = bench.open(system, 2, PAIR, queues=case.queues)
        fabric.tell(0, "stream", 1, f"size={case.sizes()}",
                    f"flows={case.flows}")
        fabric.tell(1, "sink")
        return fabric

    def measure(self, case, system, fabric, bench):
        return measure(fabric, [0], [1], bench.seconds)


SCENARIO = Queues()
