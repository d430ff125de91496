# SPDX-License-Identifier: Apache-2.0
"""DPDK's vhost driver against virtio-user: librte_vhost alone, no switch."""
from ..environment import dpdk_driver_missing
from ..fabric import Fabric, fresh_path, virtio_user


class Vhost:
    name = "vhost"
    help = "DPDK's vhost driver against a virtio-user guest: the library alone"
    measures = "pair"
    huge_mb = 120
    quick = True
    lacks = {"latency-sleep": "the vhost end has no receive interrupts here"}

    def missing(self, env):
        return dpdk_driver_missing("vhost")

    def open(self, env, switches, n_ports, flows, sleepers=(), testpmd=None,
             packed=False, queues=1):
        """See BehindSwitch.open()."""
        socket = fresh_path(env, "vhost.sock")
        fabric = Fabric(env)
        try:
            back = fabric.add_guest([f"net_vhost0,iface={socket},queues=1"],
                                    env.guest_cpu)
            back.wait()
            fabric.add_guest([virtio_user(socket, server=False,
                                          packed=packed)],
                             env.switch_cpu).wait()
        except BaseException:
            fabric.close()
            raise
        return fabric


SYSTEM = Vhost()
