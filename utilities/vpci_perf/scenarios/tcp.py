# SPDX-License-Identifier: Apache-2.0
"""Real Linux guests."""
import json
import statistics

from . import ROUND_TRIPS, Case, Scenario
from ..linux import missing
from ..window import Load

MIN_SECONDS = 2
PEER = "10.0.0.2"
ITSELF = "127.0.0.1"
PINGS = 200
PING_INTERVAL = 0.01
MANY_STREAMS = 8
ONE_STREAM = "TCP, 1 stream"
LOOPBACK = "TCP, a guest to itself"
# What iperf3 is told, by case.
IPERF = {
    ONE_STREAM: "",
    f"TCP, {MANY_STREAMS} streams": f"-P {MANY_STREAMS}",
    "TCP, the other way": "-R",
    "TCP, both ways": "--bidir",
    LOOPBACK: "",
    "UDP, 64 bytes": "-u -b 0 -l 64",
}
PING = "ping"
PING_UNDER_LOAD = "ping beside TCP"


class Tcp(Scenario):
    name = "tcp"
    help = ("two Linux guests with the stock virtio_net driver (User-Mode "
            "Linux): iperf3 with TCP and small UDP packets, ping")
    needs = ("switch",)
    uses = ()

    def cases(self, options):
        labels = ([ONE_STREAM, PING] if options.quick
                  else [*IPERF, PING, PING_UNDER_LOAD])
        return [Case(self.name, direction="linux", size="-", label=label,
                     compared=self._compared(label)) for label in labels]

    @staticmethod
    def _compared(label):
        if label not in IPERF:
            return ROUND_TRIPS
        if label == LOOPBACK:
            return ("gbps",)
        return ("gbps", "switch_cycles_per_byte")

    def missing(self, env):
        return missing(env)

    def open(self, case, system, bench):
        fabric = bench.open_linux(system)
        for guest in range(2):
            fabric.linux.run(guest, "iperf3 -s -D")
        fabric.linux.ping(0, PEER, 2)
        return fabric

    def measure(self, case, system, fabric, bench):
        seconds = max(MIN_SECONDS, round(bench.seconds))
        if case.label == PING:
            return self._ping(fabric, PINGS), []
        if case.label == PING_UNDER_LOAD:
            return self._ping_under_load(fabric, seconds), []
        return self._iperf(case, fabric, seconds)

    def _iperf(self, case, fabric, seconds):
        load = Load(fabric)
        text = fabric.linux.run(0, self._client(
            ITSELF if case.label == LOOPBACK else PEER, seconds,
            IPERF[case.label]), timeout=seconds + 30)
        load.end()
        end = json.loads(text[text.index("{"):])["end"]
        duration = self._seconds(end)
        figures, notes = load.figures(None, duration)
        figures["gbps"] = self._gbps(end)
        if case.label == LOOPBACK:
            # No packet has crossed the switch.
            return {name: figures[name] for name in ("gbps", "guest_cpu")}, []
        figures["switch_cycles_per_byte"] = (
            figures["switch_cycles_per_packet"] * figures["mpps"] * 1e6
            / (figures["gbps"] * 1e9 / 8))
        return figures, notes

    def _ping_under_load(self, fabric, seconds):
        """The other guest answers while it receives as much as it can."""
        fabric.linux.run(0, self._client(PEER, seconds + 2, "")
                         + " > /tmp/iperf.json 2>&1 &")
        fabric.linux.run(0, "sleep 1")
        figures = self._ping(fabric, int(seconds / PING_INTERVAL))
        fabric.linux.run(0, "while pidof iperf3 | grep -q ' '; do "
                         "sleep 0.1; done")
        text = fabric.linux.run(0, "cat /tmp/iperf.json")
        figures["gbps"] = self._gbps(
            json.loads(text[text.index("{"):])["end"])
        return figures

    @staticmethod
    def _client(address, seconds, options):
        return f"iperf3 -J -c {address} -t {seconds} {options}"

    @staticmethod
    def _ping(fabric, count):
        times = [ms * 1e3 for ms in
                 fabric.linux.ping(0, PEER, count, PING_INTERVAL)]
        quantiles = statistics.quantiles(times, n=100)
        return {"rtt_p50_us": statistics.median(times),
                "rtt_p99_us": quantiles[-1]}

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
