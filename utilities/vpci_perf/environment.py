# SPDX-License-Identifier: Apache-2.0
"""Where the programs are, which processors there are, what is missing."""
import glob
import os
import platform
import re

from . import process

HUGE_PAGE_MB = 2


class Missing(Exception):
    """Something is missing; the message says what and how to mend it."""


def _makefile_variable(makefile, name):
    match = re.search(rf"^{name} = (.*)$", makefile, re.MULTILINE)
    return match.group(1) if match else None


class Environment:
    """The programs that are measured, and the machine.

    Two processors are used: the switch's polling thread has one for itself,
    all guests share the other.  Where two guests are measured without a switch
    between them, each has one."""

    def __init__(self, build, work_dir, cpus=None):
        self.work_dir = work_dir
        here = os.path.dirname(os.path.realpath(__file__))
        self.utilities = os.path.dirname(here)
        self.build = self._find_build(build)
        if self.build:
            makefile = process.read_file(os.path.join(self.build, "Makefile"))
            ovs = _makefile_variable(makefile, "ovs_builddir") or ""
            source = _makefile_variable(makefile, "ovs_srcdir") or ovs
            self.vswitchd = os.path.join(self.build, "vswitchd/ovs-vswitchd")
            self.helpers = os.path.join(self.build, "utilities")
            self.ovs_build = ovs
            self.schema = os.path.join(source, "vswitchd/vswitch.ovsschema")
        else:
            prefix = os.path.dirname(os.path.dirname(self.utilities))
            self.vswitchd = os.path.join(prefix, "sbin/ovs-vswitchd")
            self.helpers = os.path.join(prefix, "libexec/ovs-vpci")
            self.ovs_build = "/nonexistent"
            self.schema = "/usr/share/openvswitch/vswitch.ovsschema"
        allowed = sorted(os.sched_getaffinity(0))
        for cpu in cpus or ():
            if cpu not in allowed:
                raise Missing(f"this process may not use processor {cpu}, "
                              f"only {', '.join(map(str, allowed))}")
        self.guest_cpu, self.switch_cpu = cpus or (allowed + allowed)[:2]
        self.n_cpus = len(allowed)

    def _find_build(self, build):
        top = os.path.dirname(self.utilities)
        places = [build] if build else [
            os.environ.get("VPCI_BUILD"), os.path.join(top, "_build"), top,
            "."]
        for place in places:
            if place and os.access(os.path.join(place,
                                                "vswitchd/ovs-vswitchd"),
                                   os.X_OK):
                return os.path.realpath(place)
        if build:
            raise Missing(f"{build} is no build tree of ovs-vpci: run "
                          "./quickstart.sh build, then give --build _build")
        return None

    def helper(self, name):
        """The path of one of our own helper programs."""
        return os.path.join(self.helpers, name)

    def uml_preload(self):
        """What lets User-Mode Linux attach to ports of any type."""
        return self.helper("vpci-perf-uml.so")

    def check(self, systems):
        """Raises Missing if 'systems' can't be measured here, even those that
        lack nothing of their own."""
        if os.geteuid():
            raise Missing("needs root, for huge pages and to pin polling "
                          "threads: run it with sudo")
        if self.n_cpus < 2:
            raise Missing("needs two processors, this process may use "
                          f"{self.n_cpus}: see taskset -p $$")
        for path in (self.vswitchd, self.schema,
                     self.helper("vpci-perf-guest"),
                     self.helper("vpci-perf-limit")):
            if not os.path.exists(path):
                raise Missing(f"{path} is missing: " + (
                    "run ./quickstart.sh build" if self.build
                    else "install Open vSwitch (openvswitch-switch) and "
                    "ovs-vpci, or give --build with a build tree"))
        free = self.huge_pages("Free") * HUGE_PAGE_MB
        needed = sum(s.huge_mb for s in systems if not s.missing(self))
        if free < needed:
            pages = self.huge_pages("Total") \
                + (needed - free) // HUGE_PAGE_MB + 1
            raise Missing(f"needs {needed} MB of free huge pages of 2 MB for "
                          f"these systems, there are {free} MB: echo {pages} "
                          "> /proc/sys/vm/nr_hugepages, or choose fewer with "
                          "--system")

    @staticmethod
    def huge_pages(which):
        """Huge pages of 2 MB: "Total" or "Free"."""
        match = re.search(rf"HugePages_{which}:\s+(\d+)",
                          process.read_file("/proc/meminfo"))
        return int(match.group(1)) if match else 0

    def version(self):
        """What ovs-vswitchd says of itself."""
        return process.run([self.vswitchd, "--version"]).split("\n")[:3]

    def machine(self):
        """What the figures were measured on."""
        cpuinfo = process.read_file("/proc/cpuinfo")
        model = re.search(r"model name\s*:\s*(.*)", cpuinfo)
        mhz = re.search(r"cpu MHz\s*:\s*(.*)", cpuinfo)
        return {
            "processor": model.group(1) if model else platform.machine(),
            "mhz": float(mhz.group(1)) if mhz else None,
            "processors": self.n_cpus,
            "kernel": platform.release(),
            "virtual": "hypervisor" in cpuinfo,
            "switch_processor": self.switch_cpu,
            "guest_processor": self.guest_cpu,
            "switch_processor_siblings": process.read_file(
                f"/sys/devices/system/cpu/cpu{self.switch_cpu}/topology/"
                "thread_siblings_list").strip(),
        }


def dpdk_driver_missing(name):
    """Returns null if DPDK has driver 'name', or what to do."""
    for place in ("/usr/lib/*", "/usr/lib", "/usr/lib64", "/usr/local/lib",
                  "/usr/local/lib/*", "/usr/local/lib64"):
        if glob.glob(f"{place}/dpdk/pmds-*/librte_net_{name}.so*"):
            return None
    return (f"DPDK's driver {name} is not installed: "
            f"apt-get install librte-net-{name}23")
