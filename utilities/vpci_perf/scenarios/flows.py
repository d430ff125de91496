# SPDX-License-Identifier: Apache-2.0
"""Many flows."""
from . import Case, Scenario
from ..window import WARM_UP_SECONDS, measure

# Packets per second that every system can carry.
SLOWEST = 1e6
FLOWS = (1, 1000, 10000, 100000, 1000000)


class Flows(Scenario):
    name = "flows"
    help = ("one way, 1 to 1,000,000 UDP five-tuples: one megaflow, and as "
            "many masks as --masks")
    needs = ("switch", "limit")
    uses = ("sizes", "flows", "masks", "packed")

    def cases(self, options):
        flows = [options.flows] if options.flows else \
            FLOWS[1:4:2] if options.quick else FLOWS
        masks = [1] + ([options.masks] if options.masks > 1 else [])
        return [Case(self.name, size=s, flows=f, n=m,
                     label=f"{m} masks" if m > 1 else "one megaflow")
                for s in options.sizes or (64,)
                for m in masks for f in flows if f >= m]

    @staticmethod
    def rules(n_masks):
        """OpenFlow rules that need megaflows with 'n_masks' masks, one for
        each class of the stream: their source prefixes differ in length."""
        if n_masks == 1:
            return ["in_port=1,actions=output:2"]
        return [f"priority=10,in_port=1,udp,nw_src=10.{k}.0.0/{16 + k % 15},"
                f"nw_dst=10.{128 + k}.0.0/{16 + k // 15},actions=output:2"
                for k in range(n_masks)]

    def open(self, case, system, bench):
        fabric = bench.open(system, 2, self.rules(case.n))
        fabric.tell(0, "stream", 1, f"size={case.sizes()}",
                    f"flows={case.flows}", f"classes={case.n}")
        fabric.tell(1, "sink")
        return fabric

    def measure(self, case, system, fabric, bench):
        # Every flow shall have been seen before.
        figures, notes = measure(
            fabric, [0], [1], bench.seconds,
            warm_up=WARM_UP_SECONDS + case.flows / SLOWEST)
        megaflows = fabric.switch.appctl("dpctl/dump-flows").count("proto=17")
        if case.n > 1 and megaflows != case.n:
            notes.append(f"the switch has {megaflows} megaflows for "
                         f"{case.n} masks")
        return figures, notes


SCENARIO = Flows()
