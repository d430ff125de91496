# SPDX-License-Identifier: Apache-2.0
"""One measurement: start, warm up, read counters, wait, read them again."""
import time

from . import probe

WARM_UP_SECONDS = 0.15
DRAIN_SECONDS = 0.05
# Open vSwitch's counters.
COUNTER_RANGE = 2**64
# Below this share of its processor somebody who polls was disturbed.
MIN_POLLING_SHARE = 0.97
MAX_STEAL_SHARE = 0.01
# Share of a processor that others may use before it is said.
MAX_OTHERS_SHARE = 0.1
# Clocks of the kernel's tick in steps of 0.01 seconds.
MIN_SAID_SECONDS = 0.05
MAX_CYCLES_PER_SECOND = 1e10
# How far counters of guests and of the switch may be apart, and from how many
# packets on.
MAX_DISAGREEMENT = 0.15
MIN_PACKETS = 1000
# Share of packets that may go through a switch which is not needed.
MAX_SWITCHED = 0.001


class Load:
    """What switch, guests and everybody else do from now on.

    Reading cycles takes some milliseconds and disturbs.  Packets are to be
    counted just before this is made, and just before figures() is called."""

    def __init__(self, fabric):
        self._fabric = fabric
        self._cores = []
        self._cycles_before = self._read_cycles()
        self._before = self._read_processors()

    def _read_cycles(self):
        """Busy cycles of the switch, and the packets that it received."""
        if not self._fabric.switch:
            return 0, 0
        *counters, self._cores = self._fabric.switch.busy_cycles()
        return counters

    def _read_processors(self):
        """Seconds of processor time that parties have used."""
        fabric = self._fabric
        seconds = {
            "time": time.monotonic(),
            "polling": 0, "switch": 0,
            "guests": sum(g.cpu_seconds() for g in fabric.all_guests()),
            "busy": probe.busy_seconds(),
            "steal": probe.steal_seconds(),
            "ours": time.process_time(),
        }
        if fabric.switch:
            seconds["switch"] = fabric.switch.cpu_seconds()
            seconds["polling"] = fabric.switch.polling_cpu_seconds()
        return seconds

    def end(self):
        """Ends the time that counts for processors."""
        after = self._read_processors()
        self._spent = {name: after[name] - self._before[name]
                       for name in after}

    def figures(self, packets, duration, sent=None):
        """Figures, by the names of the JSON output, and notes, now that
        'packets' (None: as the switch counts them) have crossed within
        'duration' seconds, and guests have sent 'sent' (None: as many)."""
        self._cycles, self._received = (
            (b - a) % COUNTER_RANGE
            for a, b in zip(self._cycles_before, self._read_cycles()))
        packets = self._received if packets is None else packets
        sent = packets if sent is None else sent
        spent = self._spent
        figures = {
            "mpps": packets / duration / 1e6,
            "guest_cpu": spent["guests"] / spent["time"],
            "host_cpu": spent["switch"] / spent["time"],
        }
        notes = []
        if self._fabric.bypasses:
            figures["switch_cycles_per_packet"] = \
                self._cycles / max(packets, 1)
            notes += self._bypass_notes(sent)
        elif self._fabric.switch:
            # Both counters of the switch are read at once, those of guests a
            # little earlier: so it is cycles for each packet that the switch
            # received, times how many of these it takes for one that crossed.
            figures["switch_cycles_per_packet"] = \
                self._cycles / max(self._received, 1) * sent / max(packets, 1)
            figures["switch_mpps"] = self._received / duration / 1e6
            notes += self._switch_notes(sent)
        return (figures, notes + self._guest_notes()
                + self._machine_notes())

    def _guest_notes(self):
        polling = [g for g in self._fabric.guests if g.polls]
        share = self._spent["guests"] / self._spent["time"] \
            / max(len(polling), 1)
        if polling and share < MIN_POLLING_SHARE:
            return [f"guests had {share:.0%} of their processor"]
        return []

    def _bypass_notes(self, sent):
        if self._received > MAX_SWITCHED * sent:
            return [f"the switch received {self._received} of {sent} packets"]
        return []

    def _switch_notes(self, sent):
        notes = []
        if self._cycles > MAX_CYCLES_PER_SECOND * self._spent["time"]:
            notes.append("the switch's cycle counter jumped")
        share = self._spent["polling"] / self._spent["time"]
        if share < MIN_POLLING_SHARE:
            notes.append(f"polling thread had {share:.0%} of its processor")
        if self._cores != [self._fabric.env.switch_cpu]:
            notes.append("polling threads are on processors "
                         f"{self._cores}, not on one of their own")
        if (sent > MIN_PACKETS
                and abs(self._received - sent) > MAX_DISAGREEMENT * sent):
            notes.append(f"guests count {sent} packets sent, the switch "
                         f"{self._received}")
        return notes

    def _machine_notes(self):
        notes = []
        spent, seconds = self._spent, self._spent["time"]
        if spent["steal"] > max(MAX_STEAL_SHARE * seconds, MIN_SAID_SECONDS):
            notes.append("the hypervisor took "
                         f"{spent['steal'] / seconds:.0%} of a processor")
        others = (spent["busy"] - spent["switch"] - spent["guests"]
                  - spent["ours"])
        if others > max(MAX_OTHERS_SHARE * seconds, MIN_SAID_SECONDS):
            notes.append(f"others used {others / seconds:.0%} of a processor")
        return notes


class Counters:
    """Packets and bytes of all ports, by the guests' own counting."""

    def __init__(self, fabric):
        self._fabric = fabric
        self._guests = {}
        for guest in fabric.guests:
            self._guests[guest] = guest.stats()

    def time(self):
        """Seconds, of the guest that is asked first."""
        return self._guests[self._fabric.guests[0]]["time"][0]

    def of(self, port, way):
        """Packets and bytes; 'way' is "tx" or "rx"."""
        guest, number = self._fabric.place(port)
        return self._guests[guest][f"{number}:{way}"][:2]

    def sum(self, ports, way):
        counters = [self.of(port, way) for port in ports]
        return sum(c[0] for c in counters), sum(c[1] for c in counters)

    def sent(self):
        """Packets that all ports have sent."""
        return sum(values[0] for guest in self._guests.values()
                   for name, values in guest.items() if name.endswith(":tx"))


def measure(fabric, senders, receivers, seconds, warm_up=WARM_UP_SECONDS,
            latency=False):
    """Starts the guests' traffic, measures for 'seconds', and ends it.
    Returns figures, by the names of the JSON output, with 'latency' those of
    latency too, and notes.

    A packet that crossed is one that reached one of the ports 'receivers'.
    Those that the ports 'senders' have sent since the start, and that did not
    arrive even after a pause, are lost; but not before guests reach each
    other, if they are to do so without a switch."""
    if fabric.bypasses:
        fabric.tell_all("start")
        fabric.settle()
        fabric.tell_all("stop")
    fabric.tell_all("start")
    time.sleep(warm_up)
    before, load = Counters(fabric), Load(fabric)
    if latency:
        fabric.tell_all("record")
    time.sleep(seconds)
    if latency:
        fabric.tell_all("hold")
    load.end()
    after = Counters(fabric)
    packets, size = (a - b for a, b in zip(after.sum(receivers, "rx"),
                                           before.sum(receivers, "rx")))
    duration = after.time() - before.time()
    figures, notes = load.figures(packets, duration,
                                  after.sent() - before.sent())
    fabric.tell_all("pause")
    time.sleep(DRAIN_SECONDS)
    last = Counters(fabric)
    answers = fabric.tell_all("stop")

    sent = last.sum(senders, "tx")[0]
    figures["gbps"] = size * 8 / duration / 1e9
    figures["lost"] = \
        max(sent - last.sum(receivers, "rx")[0], 0) / max(sent, 1)
    if latency:
        figures.update(latency_figures(answers))
    return figures, notes


def latency_figures(answers):
    """Round trips in microseconds, out of the answers to "stop" of all guests,
    of which one has received its own packets."""
    for answer in answers:
        values = dict(word.split("=") for word in answer.split()[1:])
        p50, p99, p999 = map(float, values["latency"].split(","))
        if p50:
            return {"rtt_p50_us": p50, "rtt_p99_us": p99, "rtt_p999_us": p999,
                    "lost_pings": int(values["lost_pings"])}
    return {}
