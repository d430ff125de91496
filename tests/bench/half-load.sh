#!/bin/bash
# shellcheck source-path=SCRIPTDIR/../..
# SPDX-License-Identifier: Apache-2.0
#
# How many packets are lost at half of what the switch can carry, for ports of
# type vpci beside ports of type dpdkvhostuserclient: same ovs-vswitchd, same
# guests, by turns.  Run it on a machine that does nothing else.

usage () {
    cat <<'EOT'
usage: half-load.sh [ROUNDS [SECONDS]]

Two guests (tests/vhost-guest, rings of 1024, which share processor 0) send one
way through an OpenFlow rule, frames of 60 bytes.  For each round and port type
in turn, measures what arrives when the sender does what it can, then sends
half of that rate for SECONDS and prints what was sent, what arrived, and what
the switch says it dropped (statistics:tx_dropped and rx_dropped).

ROUNDS is 3 by default, SECONDS, the length of a measurement, 10.  Needs root,
two processors and 1.5 GB of free huge pages.  Environment:
    VPCI_BUILD   build tree of ovs-vpci; the current directory by default
EOT
}

# shellcheck source=tests/bench/switch.sh
. "$(dirname "$0")/switch.sh"

guests=()

# Starts the guest of port "$1", which then does what is written to "$1.in".
start_guest () {
    rm -f "$dir/$1.sock" "$dir/$1.in"
    mkfifo "$dir/$1.in"
    timeout -s KILL $((seconds + 120)) taskset -c 0 \
        "$build/tests/vhost-guest" --listen "$dir/$1.sock" --ring-size 1024 \
        --timeout 30 --script - <> "$dir/$1.in" > "$dir/$1.out" 2>&1 &
    guests+=("$!")
}

stop_guests () {
    test ${#guests[@]} -gt 0 || return 0
    kill -KILL "${guests[@]}" 2> /dev/null
    wait "${guests[@]}" 2> /dev/null
    guests=()
}

lines () {
    wc -l < "$dir/$1.out"
}

answered () {
    test "$(lines "$1")" -gt "$2"
}

# Gives guest "$1" the command "$2" and prints the answer.
tell () {
    local before

    before=$(lines "$1")
    echo "$2" > "$dir/$1.in"
    wait_until 30 answered "$1" "$before" || die "guest $1 is silent: $2"
    tail -n 1 "$dir/$1.out"
}

# Prints counter "$2" of guest "$1".
counter () {
    tell "$1" stats | tr ' ' '\n' | sed -n "s/^$2=//p"
}

# Packets that the switch says it dropped.
dropped () {
    local port

    for port in p1 p2; do
        ovs-vsctl --timeout=10 get Interface $port statistics:tx_dropped \
            statistics:rx_dropped
    done | awk '{ n += $1 } END { print n }'
}

# Sends for "$1" seconds, with the further parameters "$2".  Sets 'sent' and
# 'arrived'.
carry () {
    local sent_before arrived_before

    sent_before=$(counter p1 tx_posted)
    arrived_before=$(counter p2 rx_frames)
    tell p1 "traffic-start tx size=60 ${2-}" > "$dir/answer"
    sleep "$1"
    tell p1 traffic-stop > "$dir/answer"
    sleep 1
    sent=$(($(counter p1 tx_posted) - sent_before))
    arrived=$(($(counter p2 rx_frames) - arrived_before))
}

measure () {
    local rate

    start_guest p1
    start_guest p2
    set_port_type "$1" || die "cannot add ports of type $1"
    wait_until 20 both_ports_up || die "no guest on ports of type $1"
    wait_until 20 answered p1 0
    wait_until 20 answered p2 0
    tell p2 "traffic-start rx" > "$dir/answer"
    carry 3
    rate=$((arrived / 6))
    before=$(wait_dropped)
    carry "$seconds" "rate=$rate"
    after=$(wait_dropped)
    stop_guests
}

# The database has the statistics every few seconds.
wait_dropped () {
    sleep 6
    dropped
}

main () {
    local round type before after sent arrived

    printf '%-6s %-20s %12s %12s %12s %12s\n' round type sent arrived lost \
        'dropped'
    for ((round = 1; round <= rounds; round++)); do
        for type in vpci dpdkvhostuserclient; do
            measure $type
            printf '%-6s %-20s %12s %12s %12s %12s\n' $round $type "$sent" \
                "$arrived" $((sent - arrived)) $((after - before))
        done
    done
}

parse_arguments 3 10 "$@"
start_switch
main
