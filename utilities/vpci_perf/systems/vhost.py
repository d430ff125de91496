# SPDX-License-Identifier: Apache-2.0
"""DPDK's vhost driver against virtio-user: librte_vhost alone, no switch."""
from . import System
from ..environment import dpdk_driver_missing
from ..fabric import fresh_path, virtio_user
from ..scenarios import SLEEP


class Vhost(System):
    name = "vhost"
    help = "DPDK's vhost driver against a virtio-user guest: the library alone"
    measures = "pair"
    huge_mb = 120

    def refuses(self, case):
        if case.label == SLEEP:
            return "the vhost end has no receive interrupts here"
        return None

    def missing(self, env):
        return dpdk_driver_missing("vhost")

    def open(self, fabric, switches, n_ports, flows, sleepers=(),
             testpmd=None, packed=False, queues=1):
        """See BehindSwitch.open()."""
        env = fabric.env
        socket = fresh_path(env, "vhost.sock")
        fabric.add_guest([f"net_vhost0,iface={socket},queues=1"],
                         env.guest_cpu).wait()
        fabric.add_guest([virtio_user(socket, server=False, packed=packed)],
                         env.switch_cpu).wait()


SYSTEM = Vhost()
