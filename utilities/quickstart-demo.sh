# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# The commands of quickstart.sh: what is shown in the demo, the sandbox's shell
# and the tests.  The caller sets sandbox (the private switch's directory),
# top, build, logs and began.

: "${top:?}" "${build:?}" "${logs:?}" "${began:?}"

# show TEXT COMMAND...
#
# Prints TEXT as if it had been typed, and what COMMAND says.
show () {
    local text=$1 status

    shift
    say
    say "    \$ $text"
    "$@" 2>&1 < /dev/null | sed 's/^/    /'
    status=${PIPESTATUS[0]}
    test "$status" -eq 0 || die "'$text' failed with status $status."
}

# switch_says COMMAND...
switch_says () {
    show "$*" timeout 20 "$@"
}

# guest_says GUEST COMMAND
guest_says () {
    show "[in $1] $2" guest_run "$1" "$2"
}

boot_guests () {
    uml_start vm1 "$sandbox/vm1.sock" 02:00:00:00:00:01 10.0.0.1/24 &&
        uml_start vm2 "$sandbox/vm2.sock" 02:00:00:00:00:02 10.0.0.2/24 &&
        guest_wait vm1 && guest_wait vm2
}

start_tcp_server () {
    guest_run vm2 'iperf3 -s -D'
}

# received_by_port PORT
#
# Prints how many packets the switch has received from PORT.
received_by_port () {
    ovs-ofctl dump-ports br0 "$1" | sed -n 's/.*rx pkts=\([0-9]*\).*/\1/p'
}

# The database learns a port's counters only every 5 seconds.
counters_are_known () {
    local port

    for port in vm1 vm2; do
        test "$(ovs-vsctl --timeout=10 get Interface "$port" \
                statistics:rx_packets)" -ge "$(received_by_port "$port")" ||
            return 1
    done
}

wait_for_counters () {
    guests__wait_until 15 counters_are_known
}

# Prints the main counters of port "$1", four in a line.
port_counters () {
    ovs-vsctl --timeout=10 get Interface "$1" statistics | tr -d '{} ' |
        tr , '\n' | grep -E '^[rt]x_(packets|bytes|dropped|errors)=' |
        paste -d ' ' - - - -
}

demo_traffic () {
    step "Booting two Linux guests, vm1 and vm2" boot_guests
    guest_says vm1 'uname -sr; grep -H . /sys/class/net/eth0/address'
    guest_says vm1 'ping -c 3 -w 10 10.0.0.2'
    guest_says vm2 'ping -c 3 -w 10 10.0.0.1'
    say
    step "Starting a TCP server in vm2" start_tcp_server
    guest_says vm1 'iperf3 -f m -t 3 -c 10.0.0.2'
}

# Fails unless packets of port "$1" were spliced.
was_spliced () {
    local n

    n=$(ovs-appctl vpci/show "$1" |
            sed -n 's/^ *splice path: packets received \([0-9]*\) .*/\1/p')
    test "${n:-0}" -gt 0
}

demo_proof () {
    say
    say "What the switch has to say about it:"
    switch_says ovs-appctl dpctl/dump-flows
    switch_says ovs-appctl vpci/steering
    switch_says ovs-appctl fdb/show br0
    switch_says ovs-ofctl dump-flows br0
    switch_says ovs-vsctl show
    switch_says ovs-appctl vpci/show
    was_spliced vm1 && was_spliced vm2 ||
        die "No packets were spliced, though flows were to be offloaded:" \
            "'ovs-appctl vpci/refusals' in the sandbox may tell why."
    say
    step "Waiting for the database's port counters" wait_for_counters
    show 'ovs-vsctl get Interface vm1 statistics' port_counters vm1
    show 'ovs-vsctl get Interface vm2 statistics' port_counters vm2
    say
}

# Ends guests and switch, and makes sure that they are gone.
end_demo () {
    local pids=("${sandbox_pids[@]}") pid

    guests_stop_all
    for pid in vm1 vm2; do
        guests__gone "$pid" || return 1
    done
    ovs-vsctl --timeout=10 del-br br0
    sandbox_stop
    for pid in "${pids[@]}"; do
        if kill -0 "$pid" 2> /dev/null; then
            echo "process $pid is still there"
            return 1
        fi
    done
    rm -rf "$sandbox" && sandbox=
}

demo () {
    demo_traffic
    demo_proof
    step "Ending guests and switch" end_demo
    cat <<EOT

It works.  Two unmodified Linux guests, with the virtio_net driver that every
Linux has, attached to ports of type 'vpci', pinged each other and spoke TCP
through the switch; its flows, its MAC table and its counters show it.  Once
Open vSwitch had decided where packets go, they went straight from one guest's
ring to the other's ("splice path").  No process is left.  ($((SECONDS - began)) seconds in all.)

Next:
  ./quickstart.sh sandbox         the same switch, for you to play with
  ./quickstart.sh check           all tests, with QEMU and DPDK guests too
  Documentation/guests.rst        how to attach QEMU, libvirt, DPDK...
EOT
}

# The start-up file of the sandbox's shell.
sandbox_rc () {
    cat <<EOT
# This shell alone reads these lines, not those that it starts.
unset BASH_ENV
. "$top/tests/guests/guests.sh"
set +u
PS1='vpci-sandbox\\$ '
SANDBOX=$sandbox
PATH=$build/utilities:\$PATH
EOT
}

sandbox_help () {
    cat <<EOT

The switch runs, with bridge br0 and two ports without guests.  OVS's tools in
this shell talk to it:

    ovs-vsctl show
    ovs-appctl vpci/show

Attach a User-Mode Linux guest to each port and let them talk:

    uml_start vm1 \$SANDBOX/vm1.sock 02:00:00:00:00:01 10.0.0.1/24
    uml_start vm2 \$SANDBOX/vm2.sock 02:00:00:00:00:02 10.0.0.2/24
    guest_run vm1 'ping -c 3 10.0.0.2'
    guest_stop vm1

Or let two programs share memory with the switch and, by a link, with each
other:

    for port in p1 p2; do
        ovs-vsctl add-port br0 \$port -- set Interface \$port type=vpci \\
            options:ivshmem-path=\$SANDBOX/\$port.sock options:links=auto
    done
    ovs-ofctl add-flow br0 in_port=p1,actions=output:p2
    vpci-sink --sleep --duration=20 \$SANDBOX/p2.sock > \$SANDBOX/sink.out &
    vpci-gen --rate=10000 --duration=20 \$SANDBOX/p1.sock > \$SANDBOX/gen.out &
    sleep 5; ovs-appctl vpci/links

Or attach a QEMU of your own; its memory must be shared with the switch:

    qemu-system-x86_64 ... -m 1G -machine memory-backend=mem \\
        -object memory-backend-memfd,id=mem,size=1G,share=on \\
        -chardev socket,id=net,path=$sandbox/vm1.sock \\
        -netdev vhost-user,id=net,chardev=net \\
        -device virtio-net-pci,netdev=net     (without KVM add: ,vectors=0)

'exit' ends the shell, its guests and the switch.

EOT
}

# An interactive shell; without a terminal, one that obeys standard input.
sandbox_shell () {
    sandbox_rc > "$sandbox/rc"
    sandbox_help
    # Ctrl-C is for what runs in the shell.
    trap : INT
    if test -t 0; then
        bash --rcfile "$sandbox/rc" -i
    else
        BASH_ENV=$sandbox/rc bash
    fi
    trap 'exit 130' INT
    say "The sandbox ends."
}

# Counts the results in the test suite's output, in a line of its own.  What
# fails runs twice: the second time counts, but the first is told, too.
summarize_check () {
    awk '/^ *[0-9]+: .* (ok|FAILED|skipped)( |$)/ {
             n = $1 + 0
             if (/FAILED/ && !(n in result)) at_first[n] = $0
             result[n] = / ok( |$)/ ? "passed" : /FAILED/ ? "failed" : "skipped"
         }
         END {
             for (n in result) count[result[n]]++
             for (n in at_first) if (result[n] == "passed")
                 print "passed at the second attempt only: " at_first[n]
             printf("\ntests: %d passed, %d failed, %d skipped\n",
                    count["passed"], count["failed"], count["skipped"])
         }' "$1"
}

# Prints how many tests to run at a time.  They wait most of the time; but all
# switches poll on the same processor.
check_jobs () {
    local free

    free=$(cat "$huge_pages/free_hugepages")
    if test "$(nproc)" -gt 1 && test "$free" -ge "$huge_pages_wanted"; then
        echo 2
    else
        echo 1
    fi
}

# All tests; what a test needs has been installed, so none may be skipped.
# Many of them race with clocks, on a machine that others may use, too: one that
# fails may try again, on its own.
check () {
    local log=$logs/check.log jobs status

    jobs=$(check_jobs)
    say "==> Running the tests, $jobs at a time"
    set -m
    (set -o pipefail
     VPCI_REQUIRE_ALL=1 make -C "$build" check RECHECK=yes \
         TESTSUITEFLAGS="-j$jobs" 2>&1 < /dev/null | tee "$log") &
    job=$!
    set +m
    wait "$job"
    status=$?
    job=
    summarize_check "$log"
    if test "$status" -ne 0; then
        die "Tests failed: see $build/tests/testsuite.log and" \
            "$build/tests/testsuite.dir/."
    fi
    say "All of it took $((SECONDS - began)) seconds."
}
