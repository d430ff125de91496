# SPDX-License-Identifier: Apache-2.0
"""What no design can beat: see tests/bench/limit.c."""
from .. import process


class Limit:
    name = "limit"
    help = ("what no design can beat: a ring between two processors, copied "
            "in and out, without any protocol")
    measures = "limit"
    lacks = {}

    def missing(self, env):
        return None

    @staticmethod
    def hand_off_mpps(env, size, seconds):
        """Millions of packets of 'size' bytes per second."""
        return float(process.run(
            [env.helper("vpci-perf-limit"), "hand-off",
             f"{env.guest_cpu},{env.switch_cpu}", str(seconds), str(size)],
            timeout=seconds + 10))


SYSTEM = Limit()
