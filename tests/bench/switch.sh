# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# What the benchmarks of the flow path share: their arguments, and a switch in a
# sandbox with ports p1 and p2 that exchange all packets.  Sets 'build', the
# build tree, and 'dir', the sandbox's directory; clean_up(), which calls
# stop_guests of the caller, runs at exit.

set -u

# shellcheck source=utilities/sandbox.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../utilities/sandbox.sh"

die () {
    echo "$(basename "$0"): $*" >&2
    exit 1
}

# Sets 'rounds' and 'seconds' from the command line "$3"..., by default to "$1"
# and "$2".  Calls the caller's usage() if that is wanted, or needed.
parse_arguments () {
    local argument

    rounds=$1
    seconds=$2
    shift 2
    case ${1-} in
        -h | --help) usage; exit 0 ;;
    esac
    for argument in "$@"; do
        [[ $argument =~ ^[1-9][0-9]*$ ]] && test $# -le 2 || {
            usage >&2
            exit 2
        }
    done
    rounds=${1:-$rounds}
    seconds=${2:-$seconds}
    build=$(realpath "${VPCI_BUILD:-.}")
}

# The value of variable "$1" in the build tree's Makefile.
make_variable () {
    sed -n "s/^$1 = //p" "$build/Makefile"
}

clean_up () {
    trap '' INT TERM
    stop_guests
    sandbox_stop
    rm -rf "$dir"
}

# Waits up to "$1" seconds for "$2"... to succeed.
wait_until () {
    local tries=$(($1 * 10))

    shift
    until "$@"; do
        tries=$((tries - 1))
        test "$tries" -gt 0 || return 1
        sleep 0.1
    done
}

# Makes p1 and p2 anew, of type "$1".
set_port_type () {
    local port

    for port in p1 p2; do
        ovs-vsctl --timeout=20 -- --if-exists del-port $port \
            -- add-port br0 $port -- set Interface $port type="$1" \
            options:vhost-server-path="$dir/$port.sock" || return 1
    done
    ovs-ofctl del-flows br0 &&
        ovs-ofctl add-flow br0 in_port=p1,actions=output:p2 &&
        ovs-ofctl add-flow br0 in_port=p2,actions=output:p1
}

both_ports_up () {
    test "$(ovs-vsctl --bare --columns=link_state list Interface p1 p2 |
            grep -c up)" = 2
}

median () {
    sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'
}

# Starts the switch, whose polling thread runs on processor 1, with bridge br0.
start_switch () {
    test -x "$build/vswitchd/ovs-vswitchd" ||
        die "$build is no build tree of ovs-vpci: set VPCI_BUILD"
    sandbox_ovs_build=$(make_variable ovs_builddir)
    sandbox_schema=$(make_variable ovs_srcdir)/vswitchd/vswitch.ovsschema
    sandbox_vswitchd=$build/vswitchd/ovs-vswitchd
    sandbox_pmd_cpu=1
    export sandbox_ovs_build sandbox_schema sandbox_vswitchd sandbox_pmd_cpu
    dir=$(mktemp -d /tmp/vpci-bench.XXXXXX) || exit 1
    trap clean_up EXIT
    trap 'exit 130' INT TERM
    sandbox_start "$dir" || die "the switch does not start: $(
        tail -n 5 "$dir/ovs-vswitchd.log")"
    ovs-vsctl --timeout=10 add-br br0 \
        -- set Bridge br0 datapath_type="$sandbox_datapath"
}
