# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# A private Open vSwitch: database, switch daemon and tools that keep all of
# their files in one directory and touch no other switch of the machine.
# Sourced by quickstart.sh.
#
# The caller sets
#     sandbox_ovs_build   the build tree of Open vSwitch (tools, ovsdb-server)
#     sandbox_schema      its vswitch.ovsschema
#     sandbox_vswitchd    the ovs-vswitchd to run
#     sandbox_pmd_cpu     the processor for the switch's polling thread
#     sandbox_memory      the most that its DPDK may take, in MB; no limit
#     sandbox_offload     true if flows are to be offloaded; false
#     sandbox_other_config
#                         further settings, KEY=VALUE separated by spaces; none
# and then calls sandbox_start DIRECTORY and, in the end, sandbox_stop.
# Bridges must be of datapath type $sandbox_datapath.
#
# Run as a program, "sandbox.sh DIRECTORY" with the variables above in its
# environment, it starts a switch, prints "datapath=TYPE", and stops the switch
# when its standard input ends.

sandbox_dir=
sandbox_prefix=none
sandbox_pids=()
sandbox_isolation=()
export sandbox_datapath=netdev

# Sends the tools that are called from here on to the sandbox in "$1".
sandbox_environment () {
    local build=${sandbox_ovs_build:?}

    export OVS_RUNDIR=$1 OVS_LOGDIR=$1 OVS_DBDIR=$1 OVS_SYSCONFDIR=$1
    export OVS_PKGDATADIR=$1
    PATH=$build/ovsdb:$build/utilities:$(dirname "${sandbox_vswitchd:?}"):$PATH
    export PATH
}

# Waits up to "$1" seconds for the UNIX socket "$2" of process "$3".
sandbox_wait_for_socket () {
    local tries=$(($1 * 20))

    until test -S "$2"; do
        tries=$((tries - 1))
        test "$tries" -gt 0 && kill -0 "$3" 2> /dev/null || return 1
        read -r -t 0.05 <> <(:)
    done
    return 0
}

# Starts "$2"... in the background, in a session of its own so that Ctrl-C on
# the terminal leaves it to sandbox_stop; its output goes to the file "$1".  It
# does not outlive this shell, even if that is killed.
sandbox_spawn () {
    local log=$1

    shift
    setsid setpriv --pdeathsig TERM -- "$@" < /dev/null > "$log" 2>&1 &
    sandbox_pids+=("$!")
}

sandbox_start_database () {
    ovsdb-tool create "$sandbox_dir/conf.db" "${sandbox_schema:?}" || return 1
    sandbox_spawn "$sandbox_dir/ovsdb-server.out" \
        ovsdb-server --no-chdir --log-file --pidfile \
        --remote="punix:$sandbox_dir/db.sock" "$sandbox_dir/conf.db"
    sandbox_wait_for_socket 10 "$sandbox_dir/db.sock" "${sandbox_pids[-1]}" &&
        ovs-vsctl --timeout=10 --no-wait init
}

# Memory comes from anonymous huge pages as it is needed, and no physical
# device is taken, so that nothing outside of the sandbox changes.
sandbox_configure () {
    local pmd_mask dpdk="--in-memory --no-pci --no-telemetry"
    local -a more

    # DPDK makes a directory of this name in /run/dpdk, which stays empty.
    sandbox_prefix=$(basename "$sandbox_dir")
    dpdk+=" --file-prefix=$sandbox_prefix"
    # One hexadecimal digit, and zeros behind it.
    pmd_mask=$(printf '%x%*s' $((1 << ${sandbox_pmd_cpu:?} % 4)) \
                      $((sandbox_pmd_cpu / 4)) '' | tr ' ' 0)
    read -ra more <<< "${sandbox_other_config:-}"
    ovs-vsctl --timeout=10 --no-wait set Open_vSwitch . \
        "${more[@]/#/other_config:}" \
        other_config:dpdk-init=true \
        other_config:dpdk-extra="$dpdk" \
        other_config:pmd-cpu-mask="0x$pmd_mask" \
        other_config:hw-offload="${sandbox_offload:-false}" \
        ${sandbox_memory:+"other_config:dpdk-socket-limit=$sandbox_memory"}
}

# Decides how to keep the tap devices of the userspace datapath (ovs-netdev and
# one for each bridge) apart from those of other switches: in a network
# namespace of our own, or, where that is not allowed, by not having them,
# which is the difference between datapath types 'netdev' and 'dummy'.
sandbox_isolate () {
    if unshare --net true 2> /dev/null; then
        sandbox_isolation=(unshare --net)
        sandbox_datapath=netdev
    else
        sandbox_isolation=()
        sandbox_datapath=dummy
        echo "No network namespace of our own can be had: datapath_type=dummy."
    fi
}

# Starts the keeper of regions, if it was built beside the switch.
sandbox_start_keeper () {
    local keeper

    keeper=$(dirname "$sandbox_vswitchd")/../vpcid/vpcid
    test -x "$keeper" || return 0
    sandbox_spawn "$sandbox_dir/vpcid.out" \
        "$keeper" --no-chdir --log-file --pidfile
    sandbox_wait_for_socket 10 "$sandbox_dir/vpcid.ctl" "${sandbox_pids[-1]}"
}

sandbox_start_switch () {
    # ovs-appctl looks for a program of this name.
    if test "$(basename "$sandbox_vswitchd")" != ovs-vswitchd; then
        ln -s "$sandbox_vswitchd" "$sandbox_dir/ovs-vswitchd"
        sandbox_vswitchd=$sandbox_dir/ovs-vswitchd
    fi
    sandbox_spawn "$sandbox_dir/ovs-vswitchd.out" "${sandbox_isolation[@]}" \
        "$sandbox_vswitchd" --enable-dummy --disable-system \
        --no-chdir --log-file --pidfile \
        "unix:$sandbox_dir/db.sock"
    sandbox_wait_for_socket 30 \
        "$sandbox_dir/ovs-vswitchd.${sandbox_pids[-1]}.ctl" \
        "${sandbox_pids[-1]}" || return 1
    if ! ovs-vsctl --timeout=30 set Open_vSwitch . \
            external_ids:sandbox=yes ||
       test "$(ovs-vsctl --timeout=10 get Open_vSwitch . \
               dpdk_initialized)" != true; then
        echo "The switch could not initialise DPDK." >&2
        return 1
    fi
}

# Starts a switch in the existing directory "$1".
sandbox_start () {
    sandbox_dir=$1
    sandbox_environment "$sandbox_dir"
    sandbox_isolate
    sandbox_start_database && sandbox_configure && sandbox_start_keeper &&
        sandbox_start_switch
}

# Ends what sandbox_start started: first politely, after 5 seconds by force.
sandbox_stop () {
    local pid tries

    test ${#sandbox_pids[@]} -gt 0 || return 0
    kill -TERM "${sandbox_pids[@]}" 2> /dev/null
    # Also those that somebody has stopped.
    kill -CONT "${sandbox_pids[@]}" 2> /dev/null
    for pid in "${sandbox_pids[@]}"; do
        tries=100
        while test "$tries" -gt 0 && kill -0 "$pid" 2> /dev/null; do
            tries=$((tries - 1))
            read -r -t 0.05 <> <(:)
        done
        kill -KILL "$pid" 2> /dev/null
    done
    wait "${sandbox_pids[@]}" 2> /dev/null
    sandbox_pids=()
    rm -rf "/run/dpdk/${sandbox_prefix:?}"
}

sandbox_main () {
    trap '' INT
    trap 'exit 143' TERM HUP
    trap sandbox_stop EXIT
    sandbox_start "$1" >&2 || exit 1
    echo "datapath=$sandbox_datapath"
    while read -r; do :; done
}

if test "${BASH_SOURCE[0]}" = "$0"; then
    sandbox_main "$@"
fi
