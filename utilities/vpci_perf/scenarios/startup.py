# SPDX-License-Identifier: Apache-2.0
"""How soon a port carries packets."""
import time

from . import PAIR, Case, Scenario
from ..process import ProcessError

LIMIT_SECONDS = 20
RATE = 10000


class Startup(Scenario):
    name = "startup"
    help = ("time from add-port to the first packet that a guest, which "
            "listens already, receives")
    needs = ("switch",)
    uses = ("packed",)

    def cases(self, options):
        return [Case(self.name, compared=("seconds",))]

    def open(self, case, system, bench):
        fabric = bench.open(system, 2, PAIR)
        fabric.tell(0, "stream", 1, f"rate={RATE}")
        fabric.tell(1, "sink")
        return fabric

    def measure(self, case, system, fabric, bench):
        switch = fabric.switch
        switch.vsctl("del-port", "br0", "p1")
        fabric.tell_all("start")
        # The guest listens again, and the other one sends.
        time.sleep(0.5)
        before = self._received(fabric)
        began = time.monotonic()
        switch.readd_port(1, system.port_type)
        while self._received(fabric) == before:
            if time.monotonic() - began > LIMIT_SECONDS:
                raise ProcessError(f"no packet {LIMIT_SECONDS} s after "
                                   "add-port")
        seconds = time.monotonic() - began
        fabric.tell_all("stop")
        return {"seconds": seconds}, []

    @staticmethod
    def _received(fabric):
        return fabric.guests[0].stats()["1:rx"][0]


SCENARIO = Startup()
