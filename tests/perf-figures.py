# SPDX-License-Identifier: Apache-2.0
"""usage: perf-figures.py FILE

Checks what vpci-perf --json has written to FILE, of one short round with the
systems SYSTEMS."""
import json
import sys

SYSTEMS = ["ovs-dpdk", "vpci-flow", "vpci-link", "memif", "vhost", "limit"]
data = json.load(open(sys.argv[1], encoding="utf-8"))
results = data["results"]


def of(system, scenario, direction, label=""):
    return [r for r in results if r["system"] == system
            and r["scenario"] == scenario and r["direction"] == direction
            and r["case"] == label][0]


for system in SYSTEMS:
    r = of(system, "p2p", "one-way")
    assert r["mpps"] > 0.001 and r["rounds"] == 1, r
    assert r["min_mpps"] <= r["mpps"] <= r["max_mpps"], r
for system in SYSTEMS[:2]:
    assert of(system, "p2p", "loop")["mpps"] > 0.001
    assert of(system, "p2p", "one-way")["switch_cycles_per_packet"] > 10
    assert 0 < of(system, "p2p", "one-way")["host_cpu"] < 2
    assert 0 < of(system, "startup", "one-way")["seconds"] < 20
for system in SYSTEMS:
    ping = of(system, "latency", "round-trip", "one at a time")
    assert 0 < ping["rtt_p50_us"] <= ping["rtt_p99_us"], ping

# Who sleeps takes longer.
for system in ["ovs-dpdk", "vpci-flow", "vpci-link", "limit"]:
    sleep = of(system, "latency", "round-trip", "sleep")
    ping = of(system, "latency", "round-trip", "one at a time")
    assert sleep["rtt_p50_us"] > ping["rtt_p50_us"], (sleep, ping)

# Packets take the link.
link = of("vpci-link", "p2p", "one-way")
assert link["switch_cycles_per_packet"] < 1, link
assert of("memif", "p2p", "one-way")["switch_cycles_per_packet"] is None
assert of("limit", "p2p", "one-way")["switch_cycles_per_packet"] > 1
assert {"case": "startup 64 one-way", "system": "limit",
        "why": "startup needs a switch"} in data["not_run"]

# What guests count and what the switch counts is the same, but for the time
# between two readings, which may be long on a busy machine.
for r in results:
    if r["system"] in SYSTEMS[:2] and r["scenario"] == "p2p":
        assert 0 < r["mpps"] < 2 * r["switch_mpps"], r

# Ratios are of what was measured on processors of one kind, if it was.
kinds = [of(system, "p2p", "one-way")["processors"] for system in SYSTEMS[:2]]
ratios = [r["name"] for r in data["ratios"]
          if "one-way" in r["name"] and "vpci-flow / ovs-dpdk, mpps"
          in r["name"]]
assert bool(ratios) == (kinds in (["near"] * 2, ["far"] * 2)), (kinds, ratios)
assert data["machine"]["processors"] >= 2
