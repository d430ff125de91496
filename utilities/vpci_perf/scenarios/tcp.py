# SPDX-License-Identifier: Apache-2.0
"""Real Linux guests."""
import json

from . import ROUND_TRIPS, Case, Scenario
from ..linux import missing
from ..window import Load

MIN_SECONDS = 2
PINGS = 20
MANY_STREAMS = 8
# What iperf3 is told, by case.
IPERF = {
    "TCP, 1 stream": "",
    f"TCP, {MANY_STREAMS} streams": f"-P {MANY_STREAMS}",
    "TCP, the other way": "-R",
    "TCP, both ways": "--bidir",
    "UDP, 64 bytes": "-u -b 0 -l 64",
}
PING = "ping"


class Tcp(Scenario):
    name = "tcp"
    help = ("two Linux guests with the stock virtio_net driver (User-Mode "
            "Linux): iperf3 with TCP and small UDP packets, ping")
    needs = ("switch",)
    uses = ()

    def cases(self, options):
        labels = list(IPERF)[:1] if options.quick else list(IPERF)
        return [Case(self.name, direction="linux", size="-", label=label,
                     compared=ROUND_TRIPS if label == PING
                     else ("gbps", "switch_cycles_per_packet"))
                for label in labels + [PING]]

    def missing(self, env):
        return missing(env)

    def open(self, case, system, bench):
        fabric = bench.open_linux(system)
        fabric.linux.run(1, "iperf3 -s -D")
        fabric.linux.ping(0, "10.0.0.2", 2)
        return fabric

    def measure(self, case, system, fabric, bench):
        if case.label == PING:
            return {"rtt_p50_us":
                    fabric.linux.ping(0, "10.0.0.2", PINGS) * 1e3}, []
        seconds = max(MIN_SECONDS, round(bench.seconds))
        load = Load(fabric)
        text = fabric.linux.run(0, f"iperf3 -J -c 10.0.0.2 -t {seconds} "
                                + IPERF[case.label], timeout=seconds + 30)
        load.end()
        end = json.loads(text[text.index("{"):])["end"]
        figures, notes = load.figures(None, self._seconds(end))
        figures["gbps"] = self._gbps(end)
        return figures, notes

    @staticmethod
    def _seconds(end):
        """For how long something was sent."""
        return (end.get("sum_sent") or end["sum"])["seconds"]

    @staticmethod
    def _gbps(end):
        """What arrived, both ways together."""
        sums = [end[name] for name in ("sum_received",
                                       "sum_received_bidir_reverse")
                if name in end] or [end["sum"]]
        return sum(s["bits_per_second"] for s in sums) / 1e9


SCENARIO = Tcp()
