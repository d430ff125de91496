#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# check-ovs.sh OVS-SRCDIR OVS-BUILDDIR VSWITCHD-DIR [TESTSUITE-ARGUMENT...]
#
# Runs Open vSwitch's own tests of the userspace datapath, of what decides about
# its flows and of ovs-vswitchd against the ovs-vswitchd in VSWITCHD-DIR, in the
# directory check-ovs of the current one.  OVS-SRCDIR and OVS-BUILDDIR are
# absolute.  Further arguments are the test suite's, such as -j2 or -v.
#
# Left out, of Open vSwitch's "make check": everything that runs no
# ovs-vswitchd (database, JSON, libraries, ovs-ofctl, Python), which is not
# built anew here; and checkpatch, completion, and so on.
#
# Left out altogether, since they want kernel modules, network namespaces with
# traffic generators, or physical ports on the machine: check-kernel,
# check-system-userspace, check-system-tso, check-afxdp, check-offloads,
# check-dpdk.  What check-dpdk does with vhost-user ports, tests/vpci-*.at does
# with vpci ports.

# Files of tests, by what they are about.
DATAPATH='dpif-netdev pmd alb dpctl drop-stats packet-type-aware'
FLOWS='ofproto-dpif ofproto learn multipath bundle mpls-xlate nsh'
TUNNELS='tunnel tunnel-push-pop tunnel-push-pop-ipv6 ovs-router'
PROTOCOLS='mcast-snooping lacp stp rstp bfd cfm'
SWITCH='bridge ovs-vswitchd'

usage () {
    sed -n '4,9s/^# \{0,1\}//p' "$0"
}

die () {
    echo "check-ovs: $*" >&2
    exit 1
}

# Prints the numbers of all tests of the files "$@", out of the list on
# standard input.
numbers () {
    awk -v files="$*" '
        BEGIN { n = split(files, f, " "); for (i = 1; i <= n; i++) want[f[i]] }
        $1 ~ /^[0-9]+:$/ {
            sub(":", "", $1); sub("[.]at:.*", "", $2)
            if ($2 in want) print $1
        }'
}

case $1 in
    -h|--help) usage; exit 0;;
esac
test $# -ge 3 || { usage >&2; exit 2; }
srcdir=$1 builddir=$2 vswitchd=$3
shift 3
suite=$srcdir/tests/testsuite
test -x "$suite" || die "$suite is not there: make check in $builddir makes it"
test -x "$vswitchd/ovs-vswitchd" || die "no ovs-vswitchd in $vswitchd: run make"

echo "check-ovs: building the programs that the tests use..."
make -s -C "$builddir" check TESTSUITEFLAGS=--list > check-ovs.log 2>&1 ||
    die "they cannot be built: see check-ovs.log"

mkdir -p check-ovs || exit 1
cp "$builddir/tests/atconfig" "$builddir/tests/atlocal" check-ovs || exit 1
# Sources are found from here, not from the build tree.
sed -i "s|^at_srcdir=.*|at_srcdir='$srcdir/tests'|
s|^at_top_srcdir=.*|at_top_srcdir='$srcdir'|" check-ovs/atconfig || exit 1
path=$vswitchd
for dir in utilities ovsdb vtep tests ipsec; do
    path=$path:$builddir/$dir
done
# shellcheck disable=SC2086 # Words.
set -- "$@" $("$suite" -C check-ovs --list 2> /dev/null |
                  numbers $DATAPATH $FLOWS $TUNNELS $PROTOCOLS $SWITCH)
exec "$suite" -C check-ovs AUTOTEST_PATH="$path" "$@"
