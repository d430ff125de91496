#!/bin/busybox sh
# shellcheck shell=dash
# SPDX-License-Identifier: Apache-2.0
#
# The first (and only) program of a test guest: loads the virtio drivers,
# configures eth0 as the kernel command line says, then serves commands from
# the host over a serial line.
#
# Kernel command line:
#     guest.mac=MAC  guest.ip=ADDRESS/BITS  guest.mtu=BYTES
#     guest.interface=NAME the interface that this is for; eth0
#     guest.nic=off        there is no eth0
#     guest.control=TTY    the serial line that carries commands
#
# A request is one line, "SUM ID SECONDS COMMAND"; its answer is one line, "SUM
# ID STATUS OUTPUT".  COMMAND and OUTPUT are in base64, so that any bytes can
# travel in a line.  SUM is that of md5sum for the rest of the line, since a
# serial line may lose something: who gets a line with a wrong one says "again",
# or asks again; a request with the ID of the last one is not carried out again,
# but answered.  Empty lines are passed over.  The first line to the host is
# "ready" if the interface is there, or need not be.

/bin/busybox mkdir -p /proc /sys /dev /tmp /run
/bin/busybox --install -s /bin
export PATH=/bin

say () {
    echo "guest: $*" > /dev/kmsg
}

mount_all () {
    mount -t proc proc /proc
    mount -t sysfs sysfs /sys
    mount -t devtmpfs devtmpfs /dev
    mkdir -p /dev/pts
    mount -t devpts devpts /dev/pts
    mount -t tmpfs tmpfs /tmp
    mount -t tmpfs tmpfs /run
}

load_modules () {
    while read -r module; do
        insmod "/modules/$module" || say "cannot load $module"
    done < /modules/order
}

# The value of "guest.$1=" on the kernel command line.
option () {
    tr ' ' '\n' < /proc/cmdline | sed -n "s/^guest\\.$1=//p"
}

# Each value is optional; what is not given keeps the kernel's default.
configure_network () {
    ip link set lo up
    test "$(option nic)" != off || return 0
    interface=$(option interface)
    : "${interface:=eth0}"
    if test ! -d "/sys/class/net/$interface"; then
        say "no $interface: there is no such device"
        return 1
    fi
    mac=$(option mac)
    mtu=$(option mtu)
    address=$(option ip)
    # Without router solicitations the packet counters of a test are its own.
    if test -e /proc/sys/net/ipv6; then
        echo 1 > "/proc/sys/net/ipv6/conf/$interface/disable_ipv6"
    fi
    test -z "$mac" || ip link set "$interface" address "$mac"
    test -z "$mtu" || ip link set "$interface" mtu "$mtu"
    test -z "$address" || ip addr add "$address" dev "$interface"
    ip link set "$interface" up
} 2> /dev/kmsg

# The checksum of its input.
sum_up () {
    md5sum | sed 's/ .*//'
}

# Carries out request "$3", with ID "$1", in "$2" seconds at most.  The answer is
# in $answer.
carry_out () {
    echo "$3" | base64 -d > /tmp/request
    timeout -s KILL "$2" sh /tmp/request < /dev/null > /tmp/reply 2>&1
    answer="$1 $?"
    if test -s /tmp/reply; then
        answer="$answer $(head -c 262144 /tmp/reply | base64 -w 0)"
    fi
}

serve () {
    last='' answer=''
    while read -r sum line; do
        test -n "$sum" || continue
        if test "$sum" != "$(printf %s "$line" | sum_up)"; then
            echo again
            continue
        fi
        # shellcheck disable=SC2086
        set -- $line
        test "$1" = "$last" || carry_out "$@"
        last=$1
        echo "$(printf %s "$answer" | sum_up) $answer"
    done
}

mount_all
load_modules
state=failed
if configure_network; then
    state=ready
fi
control=/dev/$(option control)
exec 3<> "$control"
stty raw -echo <&3
say "serving commands on $control"
echo $state >&3
serve <&3 >&3
say "the control line has closed"
poweroff -f
