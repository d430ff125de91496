# SPDX-License-Identifier: Apache-2.0
"""vpci-linkd: plugs links into virtual machines, and out.

    cli               the command line
    background        --detach, --pidfile
    logs              the log, and how often it says the same
    switch            what Open vSwitch says of links and ports
    planner           what is to be plugged and unplugged: no input, no output
    worker            does it in one machine, in a thread of its own
    daemon            all machines together, and which are released
    held              what is released, in a file
    control           'release', 'resume', 'status': both sides
    show              what 'status' prints
    machine           what all kinds of machines have in common
    tcg               what machines without KVM need besides
    machine_qmp       machines: QEMU without libvirt
    qmp               the protocol of QEMU's monitor
    sockets           UNIX sockets with long paths
    machine_libvirt   machines: domains of libvirt
"""
