# SPDX-License-Identifier: Apache-2.0
"""Is the machine quiet, and are its two processors near each other or far?

Virtual processors move: the time that a cache line takes from one to the other
and back is about 100 ns in one minute and 400 ns in the next, and all figures
change with it."""
import os
import time

from . import process

KINDS = NEAR, FAR, MIXED, ANY = "near", "far", "mixed", "any"
NEAR_NS = 280
PROBE_SECONDS = 0.01
N_PROBES = 3
# Share of all processors that others may use before it is said.
BUSY_SHARE = 0.05


def ping_pong_ns(env):
    """Nanoseconds for a cache line to the other processor and back: the best
    of several probes, since all that can disturb one makes it longer."""
    limit = env.helper("vpci-perf-limit")
    cpus = f"{env.guest_cpu},{env.switch_cpu}"
    return min(float(process.run([limit, "ping-pong", cpus,
                                  str(PROBE_SECONDS)],
                                 timeout=process.PATIENCE))
               for _ in range(N_PROBES))


def kind(probes):
    """What 'probes', in nanoseconds, have been: NEAR, FAR or MIXED, or ANY if
    nobody cared."""
    if not probes:
        return ANY
    kinds = {NEAR if p < NEAR_NS else FAR for p in probes}
    return kinds.pop() if len(kinds) == 1 else MIXED


def _stat():
    with open("/proc/stat", encoding="ascii") as f:
        return [int(x) for x in f.readline().split()[1:9]]


def busy_share(seconds=0.3):
    """The share of the machine's processors that is used while nothing of ours
    runs, and what the hypervisor gave to others (steal)."""
    before = _stat()
    time.sleep(seconds)
    spent = [b - a for a, b in zip(before, _stat())]
    idle = spent[3] + spent[4]
    return 1 - idle / max(sum(spent), 1)


def busy_seconds():
    """Processor time that all processes of the machine have used."""
    stat = _stat()
    return (sum(stat[:3]) + sum(stat[5:7])) / os.sysconf("SC_CLK_TCK")


def steal_seconds():
    """Time that the hypervisor has given to others, all processors."""
    return _stat()[7] / os.sysconf("SC_CLK_TCK")
