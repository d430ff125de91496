# SPDX-License-Identifier: Apache-2.0
"""One measurement: start, warm up, read counters, wait, read them again."""
import time

from . import probe

WARM_UP_SECONDS = 0.5
DRAIN_SECONDS = 0.15
# Below this share of its processor a polling thread was disturbed.
MIN_POLLING_SHARE = 0.97
MAX_STEAL_SHARE = 0.01


class Reading:
    """Counters of all parties at one time."""

    def __init__(self, fabric):
        self.guests = [PortCounters.parse(g.stats()) for g in fabric.guests]
        self.guest_cpu = sum(g.cpu_seconds() for g in fabric.guests)
        self.time = time.monotonic()
        self.steal = probe.steal_seconds()
        switch = fabric.switch
        if switch:
            self.busy_cycles, self.packets = switch.busy_cycles()
            self.switch_cpu = switch.cpu_seconds()
            self.polling_cpu = switch.polling_cpu_seconds()


class PortCounters:
    """Packets and bytes of the ports of one guest process."""

    def __init__(self, time_, tx, rx):
        self.time = time_
        self.tx = tx
        self.rx = rx

    @classmethod
    def parse(cls, values):
        ports = sorted({int(name.split(":")[0]) for name in values
                        if ":" in name})
        return cls(values["time"][0], [values[f"{i}:tx"] for i in ports],
                   [values[f"{i}:rx"] for i in ports])


def _received(fabric, reading, ports):
    """Packets and bytes that 'ports' have received, and the time."""
    packets = size = 0
    for port in ports:
        guest, number = fabric.place(port)
        counters = reading.guests[fabric.guests.index(guest)]
        packets += counters.rx[number][0]
        size += counters.rx[number][1]
        when = counters.time
    return packets, size, when


def _sent(fabric, reading, ports):
    total = 0
    for port in ports:
        guest, number = fabric.place(port)
        total += reading.guests[fabric.guests.index(guest)].tx[number][0]
    return total


def _switch_figures(before, after, packets):
    seconds = after.time - before.time
    notes = []
    polling = (after.polling_cpu - before.polling_cpu) / seconds
    if polling < MIN_POLLING_SHARE:
        notes.append(f"polling thread had {polling:.0%} of its processor")
    figures = {
        "host_cpu": (after.switch_cpu - before.switch_cpu) / seconds,
        "switch_cycles_per_packet":
            (after.busy_cycles - before.busy_cycles) / max(packets, 1),
    }
    return figures, notes


def measure(fabric, senders, receivers, seconds, warm_up=WARM_UP_SECONDS):
    """Starts the guests' traffic, measures for 'seconds', and ends it.
    Returns figures, by the names of the JSON output, and notes.

    A packet that crossed is one that reached one of the ports 'receivers'.
    Those that the ports 'senders' have sent since the start, and that did not
    arrive even after a pause, are lost."""
    fabric.tell_all("start")
    time.sleep(warm_up)
    before = Reading(fabric)
    time.sleep(seconds)
    after = Reading(fabric)
    fabric.tell_all("pause")
    time.sleep(DRAIN_SECONDS)
    last = Reading(fabric)
    latencies = [PerfLatency(answer) for answer in fabric.tell_all("stop")]

    packets, size, since = _received(fabric, before, receivers)
    packets_after, size_after, until = _received(fabric, after, receivers)
    packets = packets_after - packets
    duration = until - since
    sent = _sent(fabric, last, senders)
    arrived = _received(fabric, last, receivers)[0]
    figures = {
        "mpps": packets / duration / 1e6,
        "gbps": (size_after - size) * 8 / duration / 1e9,
        "lost": max(sent - arrived, 0) / max(sent, 1),
        "guest_cpu": (after.guest_cpu - before.guest_cpu)
        / (after.time - before.time),
        "host_cpu": 0.0,
        "switch_cycles_per_packet": None,
    }
    notes = []
    if fabric.switch:
        more, notes = _switch_figures(before, after, packets)
        figures.update(more)
    steal = (after.steal - before.steal) / (after.time - before.time)
    if steal > MAX_STEAL_SHARE:
        notes.append(f"the hypervisor took {steal:.0%} of a processor")
    figures.update(PerfLatency.merge(latencies))
    return figures, notes


class PerfLatency:
    """Latency in microseconds, out of the answer to "stop"."""

    def __init__(self, answer):
        values = dict(word.split("=") for word in answer.split()[1:])
        self.p50, self.p99, self.p999 = map(float,
                                            values["latency"].split(","))
        self.lost_pings = int(values["lost_pings"])

    @staticmethod
    def merge(latencies):
        """Of the guest that has received at all."""
        seen = [x for x in latencies if x.p50]
        if not seen:
            return {}
        return {"rtt_p50_us": seen[0].p50, "rtt_p99_us": seen[0].p99,
                "rtt_p999_us": seen[0].p999,
                "lost_pings": seen[0].lost_pings}
