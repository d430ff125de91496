#!/bin/bash
# shellcheck source-path=SCRIPTDIR/../..
# SPDX-License-Identifier: Apache-2.0
#
# What a 64-byte packet costs the switch on the flow path, for ports of type
# vpci beside ports of type dpdkvhostuserclient: same ovs-vswitchd, same guests,
# by turns.  Run it on a machine that does nothing else.

usage () {
    cat <<'EOT'
usage: flow-path.sh [ROUNDS [SECONDS]]

Two DPDK guests (testpmd on virtio-user, forwarding in 'io' mode) exchange
64-byte packets through two OpenFlow rules.  For each round, kind of ring and
port type in turn, prints the switch's busy cycles divided by the packets that
it received (dpif-netdev/pmd-stats-show), its rate, and how much of its
processor the polling thread got ("cpu": below 98 % the figure is not to be
trusted).  In the end prints medians and the ratio of each pair.

ROUNDS is 5 by default, SECONDS, the length of a measurement, 4.  Needs root,
two processors and 1.5 GB of free huge pages.  Environment:
    VPCI_BUILD   build tree of ovs-vpci; the current directory by default
EOT
}

# shellcheck source=tests/bench/switch.sh
. "$(dirname "$0")/switch.sh"

guest_pid=
start_guest () {
    local device=queue_size=1024,server=1$1

    rm -f "$dir"/p1.sock "$dir"/p2.sock
    setsid timeout -s KILL 120 dpdk-testpmd --lcores '0@0,1@0' --no-pci \
        --in-memory --single-file-segments -m 128 --no-telemetry \
        --file-prefix="$(basename "$dir")g" \
        --vdev="net_virtio_user0,path=$dir/p1.sock,$device" \
        --vdev="net_virtio_user1,path=$dir/p2.sock,$device" -- \
        --forward-mode=io --auto-start --tx-first --nb-cores=1 \
        --total-num-mbufs=8192 --stats-period=60 \
        < /dev/null > "$dir/guest.log" 2>&1 &
    guest_pid=$!
}

stop_guests () {
    test -n "$guest_pid" || return 0
    kill -KILL -- "-$guest_pid" 2> /dev/null
    wait "$guest_pid" 2> /dev/null
    guest_pid=
}

# Prints packets received and busy cycles of the polling thread.
pmd_stats () {
    ovs-appctl dpif-netdev/pmd-stats-show -pmd "$sandbox_pmd_cpu" | awk '
        /packets received:/ { packets = $3 }
        /processing cycles:/ && !busy { busy = $3 }
        END { print packets, busy }'
}

pmd_cpu_ticks () {
    awk '{ print $14 + $15 }' "/proc/$switch_pid/task/$pmd_tid/stat"
}

find_pmd_thread () {
    switch_pid=$(cat "$dir/ovs-vswitchd.pid")
    pmd_tid=$(grep -l "^pmd-c0*$sandbox_pmd_cpu/" \
              "/proc/$switch_pid"/task/*/comm | cut -d/ -f5)
    test -n "$pmd_tid"
}

# Measures type "$1" with device properties "$2"; sets 'cycles', 'mpps', 'cpu'.
measure () {
    local packets busy ticks

    start_guest "$2"
    set_port_type "$1" || die "cannot add ports of type $1"
    wait_until 20 both_ports_up ||
        die "no guest on ports of type $1: $(tail -n 3 "$dir/guest.log")"
    wait_until 10 find_pmd_thread || die "no polling thread"
    sleep 2
    ovs-appctl dpif-netdev/pmd-stats-clear
    ticks=$(pmd_cpu_ticks)
    sleep "$seconds"
    read -r packets busy <<< "$(pmd_stats)"
    ticks=$(($(pmd_cpu_ticks) - ticks))
    stop_guests
    test "$packets" -gt 0 || die "no packet crossed ports of type $1"
    cycles=$(awk "BEGIN { printf \"%.1f\", $busy / $packets }")
    mpps=$(awk "BEGIN { printf \"%.2f\", $packets / $seconds / 1e6 }")
    cpu=$((ticks * 100 / ($(getconf CLK_TCK) * seconds)))
}

report () {
    local ring type

    for ring in split packed; do
        for type in vpci dpdkvhostuserclient; do
            printf '%s rings, %s: median %s cycles per packet\n' \
                $ring $type "$(median < "$dir/$ring.$type")"
        done
        paste "$dir/$ring.vpci" "$dir/$ring.dpdkvhostuserclient" |
            awk '{ printf "%.3f\n", $1 / $2 }' > "$dir/$ring.ratios"
        printf '%s rings, vpci / dpdkvhostuserclient: median %s of %s\n' \
            $ring "$(median < "$dir/$ring.ratios")" \
            "$(sort -n "$dir/$ring.ratios" | tr '\n' ' ')"
    done
}

main () {
    local round ring type properties

    printf '%-6s %-7s %-20s %14s %6s %4s\n' round rings type cycles/packet \
        Mpps cpu
    for ((round = 1; round <= rounds; round++)); do
        for ring in split packed; do
            properties=
            test $ring = split || properties=,packed_vq=1
            for type in vpci dpdkvhostuserclient; do
                measure $type "$properties"
                printf '%-6s %-7s %-20s %14s %6s %3s%%\n' \
                    $round $ring $type "$cycles" "$mpps" "$cpu"
                echo "$cycles" >> "$dir/$ring.$type"
            done
        done
    done
    report
}

parse_arguments 5 4 "$@"
start_switch
main
