# SPDX-License-Identifier: Apache-2.0
"""usage: perf-results.py UTILITIES

Checks how vpci-perf, in the directory UTILITIES, makes figures of
measurements."""
import json
import sys

sys.path.insert(0, sys.argv[1])
from vpci_perf.results import Measurement, Results
from vpci_perf.scenarios import Case
from vpci_perf import probe, table

case = Case("p2p")
results = Results({"processors": 2}, ["ovs-dpdk", "vpci-flow", "memif"])


def add(round_, system, mpps, kind, lost=0):
    results.add(Measurement(case, system, round_, {"mpps": mpps,
                                                   "lost": lost},
                            [], kind, [100]))


for round_, (base, other, kind) in enumerate(
        [(10, 20, "near"), (1, 3, "far"), (10, 40, "near"),
         (10, 1, "mixed")]):
    add(round_, "ovs-dpdk", base, kind)
    add(round_, "vpci-flow", other, kind, lost=0.25)
results.not_run(case, "memif", "not here")
data = json.loads(results.to_json())

# Each ratio is of one round, and of rounds of one kind; what is mixed is in
# none.
near, far = data["ratios"]
assert (near["value"], near["min"], near["max"]) == (3, 2, 4), near
assert near["rounds"] == 2 and far["rounds"] == 1 and far["value"] == 3
assert near["name"] == "p2p 64 one-way, near: vpci-flow / ovs-dpdk, mpps"

# Figures of different kinds of rounds are kept apart.
kinds = {(r["system"], r["processors"]): r for r in data["results"]}
assert kinds["vpci-flow", "near"]["mpps"] == 30
assert kinds["vpci-flow", "far"]["mpps"] == 3
assert kinds["vpci-flow", "near"]["notes"] == ["lost 25 % of what was sent"]
assert kinds["ovs-dpdk", "mixed"]["notes"] == [
    "the processors moved: compare with nothing"]
text = table.render(results)
assert "memif: not run: not here" in text and "30.00 (20.00-40.00)" in text
assert probe.kind([100, 200]) == "near" and probe.kind([400, 500]) == "far"
assert probe.kind([100, 400]) == "mixed"
