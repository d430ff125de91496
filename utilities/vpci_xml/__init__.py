# SPDX-License-Identifier: Apache-2.0
"""vpci-xml: domain XML of libvirt for ports of type vpci.

    cli             the command line
    source          XML that may be hostile becomes a tree
    domain          what of a domain concerns vpci
    switch          what Open vSwitch says of its ports
    write           'vpci-xml port': the XML that a port needs
    findings        what is wrong, for people and for programs
    check           'vpci-xml check': all checks of a domain
    check_guest     the domain itself: memory, machine
    check_vhost     interfaces of type vhostuser
    check_shmem     shmem devices, and the root ports that they are at
    check_switch    devices beside the ports of the switch
    check_host      sockets, who may use them, who has to be there first
"""
