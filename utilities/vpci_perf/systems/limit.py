# SPDX-License-Identifier: Apache-2.0
"""What no design can beat: see tests/bench/limit.c."""
from . import System
from .. import process
from ..scenarios import IMIX_NAME, ROUND_TRIPS, SLEEP, SLEEP_INTERVAL_US

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
        round trip is that of a cache line or, where guests sleep, of
        eventfds."""
        env = bench.env
        if case.scenario == "latency":
            return self._round_trip(env, case, bench.seconds)
        mpps, cycles = self._hand_off(env, case, bench.seconds)
        return {"mpps": mpps / case.crossings,
                "hand_off_mpps": mpps if case.crossings > 1 else None,
                "gbps": mpps / case.crossings * case.size * 8 / 1e3,
                "switch_cycles_per_packet":
                    cycles * case.crossings if cycles else None}

    @staticmethod
    def _run(env, what, seconds, *rest):
        return map(float, process.run(
            [env.helper("vpci-perf-limit"), what,
             f"{env.guest_cpu},{env.switch_cpu}", str(seconds),
             *map(str, rest)], timeout=seconds + process.PATIENCE).split())

    def _round_trip(self, env, case, seconds):
        times = (self._run(env, "sleep", seconds, SLEEP_INTERVAL_US)
                 if case.label == SLEEP else self._run(env, "line", seconds))
        return dict(zip(ROUND_TRIPS + ("rtt_p999_us",), times))

    def _hand_off(self, env, case, seconds):
        """Millions of packets per second, and TSC cycles for each, 0 if there
        is no TSC."""
        return self._run(env, "hand-off", seconds, case.size,
                         min(case.size, WRITTEN), case.burst)


SYSTEM = Limit()
