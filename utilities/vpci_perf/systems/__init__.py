# SPDX-License-Identifier: Apache-2.0
"""Systems that vpci-perf compares.

Each file here but this one defines SYSTEM, a System with

    name          as for --system
    help          one line
    measures      what it can measure: "switch" (any number of guests behind a
                  switch), "pair" (two guests), "limit" (no guests)
    huge_mb       huge pages, in MB, that it needs at the least
    quick         is it measured with --quick by default?
    splices       does its switch offload flows to vpci ports?
    other_config  further settings of its switch, as KEY=VALUE
    missing(env)  None, or a sentence: why it can't run here and what to do
    refuses(case) None, or why it can't run 'case'
    open(fabric, ...)
                  sets up what is measured, see BehindSwitch.open()"""
import importlib
import pkgutil

ORDER = ["ovs-dpdk", "ovs-dpdk-tso", "ovs-dpdk-debian", "vpci-flow",
         "vpci-splice", "vpci-native", "vpci-mixed", "vpci-link", "vhost", "memif", "memif-zero-copy", "limit"]


class System:
    """What most of them have in common.  See above."""
    quick = True
    splices = False
    other_config = ()

    def missing(self, env):
        return None

    def refuses(self, case):
        return None


def _place(system):
    known = system.name in ORDER
    return (ORDER.index(system.name) if known else len(ORDER), system.name)


def load():
    """Returns all systems by name, in the order in which they are shown."""
    found = [importlib.import_module(f"{__name__}.{m.name}").SYSTEM
             for m in pkgutil.iter_modules(__path__)
             if m.name != "behind_switch"]
    return {s.name: s for s in sorted(found, key=_place)}
