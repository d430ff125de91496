# SPDX-License-Identifier: Apache-2.0
"""Real Linux guests."""
import json
import time

from . import Case
from ..linux import missing

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


class Tcp:
    name = "tcp"
    help = ("two Linux guests with the stock virtio_net driver (User-Mode "
            "Linux): iperf3 with TCP and small UDP packets, ping")
    needs = ("switch",)

    def cases(self, options):
        labels = list(IPERF)[:2] if options.quick else list(IPERF)
        return [Case(self.name, direction="linux", size="-", label=label)
                for label in labels + [PING]]

    def lacks(self, case, system):
        return system.lacks.get("tcp")

    def missing(self, env):
        return missing(env)

    def run(self, case, system, bench):
        with bench.open_linux(system) as (switch, guests):
            if case.label == PING:
                guests.ping(0, "10.0.0.2", 2)
                return {"rtt_p50_us":
                        guests.ping(0, "10.0.0.2", PINGS) * 1e3}, []
            guests.run(1, "iperf3 -s -D")
            seconds = max(1, round(bench.seconds))
            busy, packets = switch.busy_cycles()
            cpu, since = switch.cpu_seconds(), time.monotonic()
            text = guests.run(0, f"iperf3 -J -c 10.0.0.2 -t {seconds} "
                              + IPERF[case.label])
            spent = time.monotonic() - since
            busy_after, packets_after = switch.busy_cycles()
            packets = packets_after - packets
            return {
                "gbps": self._gbps(json.loads(text[text.index("{"):])),
                "mpps": packets / spent / 1e6,
                "switch_cycles_per_packet":
                    (busy_after - busy) / max(packets, 1),
                "host_cpu": (switch.cpu_seconds() - cpu) / spent,
            }, []

    @staticmethod
    def _gbps(report):
        """What arrived, both ways together."""
        end = report["end"]
        sums = [end[name] for name in ("sum_received",
                                       "sum_received_bidir_reverse")
                if name in end] or [end["sum"]]
        return sum(s["bits_per_second"] for s in sums) / 1e9


SCENARIO = Tcp()
