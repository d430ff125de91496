#!/bin/bash
# shellcheck source-path=SCRIPTDIR
# SPDX-License-Identifier: Apache-2.0

usage () {
    cat <<'EOT'
quickstart.sh: build ovs-vpci on Debian 12 and see it work.

usage: ./quickstart.sh demo      two Linux guests talk through a private switch
       ./quickstart.sh check     all tests, with every kind of guest
       ./quickstart.sh sandbox   a shell with a running switch of its own
       ./quickstart.sh build     only build
       ./quickstart.sh --help    this text

Each command first does what is still missing, and says so:
  - installs Debian packages by apt-get (needs root)
  - reserves huge pages for the switch (needs root, lasts until reboot)
  - builds Open vSwitch and ovs-vpci in ./_build

It needs neither KVM nor a network card, and touches no Open vSwitch that runs
already: its own has all of its files in a temporary directory.  It leaves no
process behind, and can be run again at any time.

Environment:
  VPCI_BUILD    build somewhere else than in ./_build
  CI            if set, compiler warnings are errors
  TMPDIR        where the private switch keeps its files, instead of /tmp
EOT
}

set -u
top=$(cd "$(dirname "$0")" && pwd)
build=$(realpath -m "${VPCI_BUILD:-$top/_build}")
logs=$build/quickstart
began=$SECONDS
job=
sandbox=
no_input=

# A step's standard input is always /dev/null, so that nothing waits for it.
. "$top/utilities/quickstart-steps.sh"
. "$top/utilities/quickstart-build.sh"
. "$top/utilities/quickstart-demo.sh"
. "$top/utilities/sandbox.sh"

export GUESTS_CACHE=$build/guests
. "$top/tests/guests/guests.sh"

# Ends everything that this run has started.
clean_up () {
    trap '' INT TERM HUP
    test -z "$job" || kill -TERM -- "-$job" 2> /dev/null
    if test -n "$sandbox"; then
        guests_stop_all
        sandbox_stop
        rm -rf "$sandbox"
        sandbox=
    fi
}

# Sets up a private switch, with bridge br0 and the ports vm1 and vm2.
create_sandbox () {
    local cpus

    read -r -a cpus <<< "$(guests_processors)"
    GUESTS_CPUS=${cpus[1]}
    sandbox_pmd_cpu=${cpus[0]}
    sandbox_vswitchd=$build/vswitchd/ovs-vswitchd
    sandbox_ovs_build=$(built_ovs builddir)
    sandbox_schema=$(built_ovs srcdir)/vswitchd/vswitch.ovsschema
    sandbox_offload=true
    sandbox=$(mktemp -d "${TMPDIR:-/tmp}/ovs-vpci.XXXXXX") || return 1
    GUESTS_DIR=$sandbox/guests
    export GUESTS_DIR GUESTS_CPUS sandbox_pmd_cpu sandbox_ovs_build \
        sandbox_schema sandbox_offload
    guests__check_socket "$sandbox/ovs-vswitchd.1234567.ctl" &&
        sandbox_start "$sandbox" && create_bridge
}

create_bridge () {
    local port

    ovs-vsctl --timeout=10 add-br br0 \
        -- set Bridge br0 datapath_type="$sandbox_datapath" || return 1
    for port in vm1 vm2; do
        ovs-vsctl --timeout=10 add-port br0 "$port" \
            -- set Interface "$port" type=vpci \
               options:vhost-listen-path="$sandbox/$port.sock" || return 1
        if test ! -S "$sandbox/$port.sock"; then
            echo "No socket for port $port; the switch says: $(ovs-vsctl \
                  --timeout=10 get Interface "$port" error)"
            tail -n 20 "$sandbox/ovs-vswitchd.log"
            return 1
        fi
    done
}

start_sandbox () {
    step "Starting a private switch" create_sandbox \
        "Look for WARN and ERR in the log; is there enough free memory in" \
        "huge pages ('grep Huge /proc/meminfo')?"
}

run_demo () {
    machine_ready demo
    step "Making the guests' file system" "guests_prepare uml"
    start_sandbox
    demo
}

run_sandbox () {
    if test -n "$no_input"; then
        die "The sandbox is a shell: it needs a terminal, or commands on" \
            "its standard input."
    fi
    machine_ready demo
    step "Making the guests' file system" "guests_prepare uml"
    start_sandbox
    # An idle guest may stay for a day.
    export GUEST_LIFETIME=86400
    sandbox_shell
}

run_check () {
    machine_ready check
    download_kernel
    install_headers
    long_step "Making the guests' file systems and driver" \
        "guests_prepare uml qemu testpmd vpci"
    check
}

main () {
    local command=${1-}

    case $command in
        --help | -h | help) usage; return 0 ;;
        demo | check | sandbox | build) ;;
        '') usage >&2; return 2 ;;
        *) die "There is no '$command': try ./quickstart.sh --help" ;;
    esac
    test $# -eq 1 || die "'$command' takes no arguments."

    if test ! -e "/proc/$$/fd/0"; then
        no_input=yes
        exec < /dev/null
    fi
    trap clean_up EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    mkdir -p "$logs" || die "Cannot create $logs."
    case $command in
        demo) run_demo ;;
        check) run_check ;;
        sandbox) run_sandbox ;;
        build) machine_ready demo ;;
    esac
}

main "$@"
