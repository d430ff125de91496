# SPDX-License-Identifier: Apache-2.0
"""How soon a change of policy holds, under full load."""
import re
import time

from . import Case, Scenario

# What guest 0 sends goes to guest 1, until this changes.
RULES = ("in_port=1,actions=output:2",)
# After a change, and one revalidation, the old policy may hold for so long.
BOUND_SECONDS = 0.1
# How long is watched for packets that escape.
WATCHED_SECONDS = 0.5
# A change that takes longer than this to have an effect has none.
LIMIT_SECONDS = 5
WARM_UP_SECONDS = 1
POLICED_KBITS = 1000
POLICED_BURST_KBITS = 100


class Change:
    """One way to change the policy for what guest 0 sends.

    Each kind says how many packets, so far, 'switch' or the guests have dealt
    with in the old way: violations()."""

    def __init__(self, switch, received):
        self.switch = switch
        self.received = received    # Packets that port N's guest has got.

    def violations(self):
        return self.received(1)

    def allowed(self, seconds):
        """How many of them there may be in 'seconds'."""
        return 0


class DelFlows(Change):
    name = "del-flows"

    def apply(self):
        self.switch.ofctl("del-flows", "br0", "in_port=1")


class ModFlows(Change):
    name = "mod-flows"

    def apply(self):
        self.switch.ofctl("mod-flows", "br0", "in_port=1,actions=output:3")


class DelPort(Change):
    name = "del-port"

    def apply(self):
        self.switch.vsctl("del-port", "br0", "p1")


class AddMirror(Change):
    """Packets that port 1 got or lost, and port 2 neither."""
    name = "add-mirror"

    def apply(self):
        self.switch.vsctl(
            "--", "--id=@from", "get", "Port", "p0",
            "--", "--id=@to", "get", "Port", "p2",
            "--", "--id=@m", "create", "Mirror", "name=m",
            "select_src_port=@from", "output_port=@to",
            "--", "set", "Bridge", "br0", "mirrors=@m")
        # Open vSwitch 3.1 does not revalidate flows for a mirror.
        self.switch.appctl("revalidator/purge")

    def violations(self):
        text = self.switch.ofctl("dump-ports", "br0")
        sent = {int(port): int(packets) + int(drops)
                for port, packets, drops in re.findall(
                    r"port +\"?p?(\d+)\"?: rx .*?\n +tx pkts=(\d+),.*?"
                    r"drop=(\d+)", text)}
        return sent[1] - sent[2]


class Police(Change):
    name = "ingress_policing_rate"

    def apply(self):
        self.switch.vsctl("set", "Interface", "p0",
                          f"ingress_policing_rate={POLICED_KBITS}",
                          f"ingress_policing_burst={POLICED_BURST_KBITS}")

    def allowed(self, seconds):
        # The policer does not count Ethernet headers.
        bits = POLICED_KBITS * seconds + POLICED_BURST_KBITS
        return int(bits * 1000 / 8 / 46) + 1


CHANGES = (DelFlows, ModFlows, AddMirror, Police, DelPort)


class Policy(Scenario):
    name = "policy"
    help = ("change of policy under full load: what the command takes, the time "
            "from its end until the last packet under the old policy, packets "
            "that escape beyond one revalidation and 100 ms")
    needs = ("switch",)
    uses = ("packed",)

    def cases(self, options):
        return [Case(self.name, compared=("effect_ms",), timed=False,
                     label=change.name) for change in CHANGES]

    def open(self, case, system, bench):
        """Each measurement begins anew."""
        return bench.open(system, 3, RULES)

    def measure(self, case, system, fabric, bench):
        bench.close()
        fabric = bench.open(system, 3, RULES)
        change = next(c for c in CHANGES if c.name == case.label)(
            fabric.switch,
            lambda port: fabric.guests[0].stats()[f"{port}:rx"][0])
        fabric.tell(0, "stream", 1)
        for port in (1, 2):
            fabric.tell(port, "sink")
        fabric.tell_all("start")
        time.sleep(WARM_UP_SECONDS)
        began = time.monotonic()
        change.apply()
        acknowledged = time.monotonic()
        effect = self._effect(change, acknowledged)
        fabric.switch.appctl("revalidator/wait")
        time.sleep(BOUND_SECONDS)
        before = change.violations()
        time.sleep(WATCHED_SECONDS)
        escaped = change.violations() - before
        fabric.tell_all("stop")
        bench.close()
        return {"command_ms": (acknowledged - began) * 1000,
                "effect_ms": effect * 1000,
                "escaped": max(0, escaped - change.allowed(WATCHED_SECONDS))
                }, []

    @staticmethod
    def _effect(change, acknowledged):
        """Seconds from 'acknowledged' to the last packet that was dealt with
        in the old way, before there was none for 50 ms."""
        last, count = acknowledged, change.violations()
        while time.monotonic() - last < 0.05:
            now = change.violations()
            if now - count > change.allowed(0.01):
                last = time.monotonic()
            count = now
            if last - acknowledged > LIMIT_SECONDS:
                break
        return last - acknowledged


SCENARIO = Policy()
