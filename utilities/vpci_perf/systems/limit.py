# SPDX-License-Identifier: Apache-2.0
"""What no design can beat: see tests/bench/limit.c."""
from . import System
from .. import probe, process
from ..scenarios import IMIX_NAME

# Guests write headers and a time stamp, and no more.
WRITTEN = 66


class Limit(System):
    name = "limit"
    help = ("what no design with a copy can beat: packets in a bare ring, "
            "copied once by the processor that takes them out")
    measures = "limit"
    huge_mb = 0

    def refuses(self, case):
        return "measured with one size" if case.size == IMIX_NAME else None

    def figures(self, case, bench):
        """What a switch, if there is one, has to do at the least: to take each
        packet from another processor, as often as it crosses the switch.  A
        round trip is that of a cache line."""
        env = bench.env
        if case.scenario == "latency":
            us = probe.ping_pong_ns(env) / 1e3
            return {"rtt_p50_us": us}
        mpps, cycles = self._hand_off(env, case, bench.seconds)
        return {"mpps": mpps / case.crossings,
                "gbps": mpps / case.crossings * case.size * 8 / 1e3,
                "switch_cycles_per_packet":
                    cycles * case.crossings if cycles else None}

    @staticmethod
    def _hand_off(env, case, seconds):
        """Millions of packets per second, and TSC cycles for each, 0 if there
        is no TSC."""
        return map(float, process.run(
            [env.helper("vpci-perf-limit"), "hand-off",
             f"{env.guest_cpu},{env.switch_cpu}", str(seconds),
             str(case.size), str(min(case.size, WRITTEN)), str(case.burst)],
            timeout=seconds + 10).split())


SYSTEM = Limit()
