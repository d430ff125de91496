# SPDX-License-Identifier: Apache-2.0

## Unit tests and guests.

TESTS_CPPFLAGS = $(VPCI_CPPFLAGS) -I$(top_srcdir)/lib/vpci -I$(top_srcdir)/tests

check_PROGRAMS += \
	tests/fuzz-channel-standalone \
	tests/fuzz-projection-standalone \
	tests/fuzz-ring-standalone \
	tests/fuzz-vring-standalone \
	tests/hostile-guest \
	tests/keeper-user \
	tests/kinds-of-frames \
	tests/link-guest \
	tests/mortal-guests \
	tests/rude-guest \
	tests/test-channel \
	tests/test-classes \
	tests/test-device \
	tests/test-doorbell \
	tests/test-edit \
	tests/test-gate \
	tests/test-keeper \
	tests/test-key \
	tests/test-layout \
	tests/test-look \
	tests/test-match \
	tests/test-net \
	tests/test-net-call \
	tests/test-net-edit \
	tests/test-net-link \
	tests/test-net-peer \
	tests/test-pci \
	tests/test-ring \
	tests/test-signal \
	tests/test-spread \
	tests/test-steer \
	tests/test-switch \
	tests/test-vring \
	tests/test-wire \
	tests/vhost-guest

tests_test_channel_SOURCES = tests/test-channel.c tests/unit-test.h
tests_test_channel_CPPFLAGS = $(TESTS_CPPFLAGS)
tests_test_channel_LDADD = lib/libvpci.la

tests_test_classes_SOURCES = tests/test-classes.c tests/unit-test.h
tests_test_classes_CPPFLAGS = $(TESTS_CPPFLAGS)
tests_test_classes_LDADD = lib/libvpci.la

tests_test_device_SOURCES = tests/test-device.c tests/unit-test.h
tests_test_device_CPPFLAGS = $(TESTS_CPPFLAGS)
tests_test_device_LDADD = lib/libvpci.la

tests_test_doorbell_SOURCES = tests/test-doorbell.c
tests_test_doorbell_CPPFLAGS = $(TESTS_CPPFLAGS)
tests_test_doorbell_LDADD = lib/libvpci.la

tests_test_spread_SOURCES = tests/test-spread.c tests/unit-test.h
tests_test_spread_CPPFLAGS = $(TESTS_CPPFLAGS)
tests_test_spread_LDADD = lib/libvpci.la

tests_test_gate_SOURCES = tests/test-gate.c tests/unit-test.h
tests_test_gate_CPPFLAGS = $(TESTS_CPPFLAGS)
tests_test_gate_LDADD = lib/libvpci.la

tests_test_keeper_SOURCES = \
	tests/test-keeper.c \
	tests/unit-test.h \
	vpcid/ivshmem.c \
	vpcid/ivshmem.h
tests_test_keeper_CPPFLAGS = $(TESTS_CPPFLAGS) -I$(top_srcdir)/vpcid
tests_test_keeper_LDADD = lib/libvpci.la

tests_test_key_SOURCES = tests/test-key.c tests/unit-test.h
tests_test_key_CPPFLAGS = $(TESTS_CPPFLAGS)
tests_test_key_LDADD = lib/libvpci.la

tests_test_layout_SOURCES = tests/test-layout.c tests/unit-test.h
tests_test_layout_CPPFLAGS = $(TESTS_CPPFLAGS)
tests_test_layout_LDADD = lib/libvpci.la

tests_test_net_SOURCES = \
	tests/net-server.c \
	tests/net-server.h \
	tests/net-switch.c \
	tests/net-switch.h \
	tests/switch-port.c \
	tests/switch-port.h \
	tests/test-net.c \
	tests/unit-test.h \
	vpcid/ivshmem.c \
	vpcid/ivshmem.h
tests_test_net_CPPFLAGS = $(TESTS_CPPFLAGS) -I$(top_srcdir)/vpcid
tests_test_net_LDADD = lib/libvpci.la

tests_test_net_call_SOURCES = \
	tests/net-server.c \
	tests/net-server.h \
	tests/net-switch.c \
	tests/net-switch.h \
	tests/switch-port.c \
	tests/switch-port.h \
	tests/test-net-call.c \
	tests/unit-test.h \
	vpcid/ivshmem.c \
	vpcid/ivshmem.h
tests_test_net_call_CPPFLAGS = $(TESTS_CPPFLAGS) -I$(top_srcdir)/vpcid
tests_test_net_call_LDADD = lib/libvpci.la

tests_test_net_edit_SOURCES = \
	tests/net-server.c \
	tests/net-server.h \
	tests/net-switch.c \
	tests/net-switch.h \
	tests/net-world.c \
	tests/net-world.h \
	tests/switch-port.c \
	tests/switch-port.h \
	tests/test-net-edit.c \
	tests/unit-test.h \
	vpcid/ivshmem.c \
	vpcid/ivshmem.h
tests_test_net_edit_CPPFLAGS = $(TESTS_CPPFLAGS) -I$(top_srcdir)/vpcid
tests_test_net_edit_LDADD = lib/libvpci.la

tests_test_net_link_SOURCES = \
	tests/net-server.c \
	tests/net-server.h \
	tests/net-switch.c \
	tests/net-switch.h \
	tests/net-world.c \
	tests/net-world.h \
	tests/switch-port.c \
	tests/switch-port.h \
	tests/test-net-link.c \
	tests/unit-test.h \
	vpcid/ivshmem.c \
	vpcid/ivshmem.h
tests_test_net_link_CPPFLAGS = $(TESTS_CPPFLAGS) -I$(top_srcdir)/vpcid
tests_test_net_link_LDADD = lib/libvpci.la

tests_test_net_peer_SOURCES = \
	tests/net-server.c \
	tests/net-server.h \
	tests/net-switch.c \
	tests/net-switch.h \
	tests/net-world.c \
	tests/net-world.h \
	tests/peer-world.c \
	tests/peer-world.h \
	tests/switch-port.c \
	tests/switch-port.h \
	tests/test-net-peer.c \
	tests/unit-test.h \
	tests/vring-driver.c \
	tests/vring-driver.h \
	vpcid/ivshmem.c \
	vpcid/ivshmem.h
tests_test_net_peer_CPPFLAGS = $(TESTS_CPPFLAGS) -I$(top_srcdir)/vpcid
tests_test_net_peer_LDADD = lib/libvpci.la

tests_test_pci_SOURCES = \
	tests/fake-pci.c \
	tests/fake-pci.h \
	tests/switch-port.c \
	tests/switch-port.h \
	tests/test-pci.c \
	tests/unit-test.h
tests_test_pci_CPPFLAGS = $(TESTS_CPPFLAGS)
tests_test_pci_LDADD = lib/libvpci.la

tests_test_signal_SOURCES = \
	tests/net-server.c \
	tests/net-server.h \
	tests/net-switch.c \
	tests/net-switch.h \
	tests/switch-port.c \
	tests/switch-port.h \
	tests/test-signal.c \
	tests/unit-test.h \
	vpcid/ivshmem.c \
	vpcid/ivshmem.h
tests_test_signal_CPPFLAGS = $(TESTS_CPPFLAGS) -I$(top_srcdir)/vpcid
tests_test_signal_LDADD = lib/libvpci.la

tests_test_ring_SOURCES = \
	tests/guarded-memory.h \
	tests/test-ring.c \
	tests/unit-test.h
tests_test_ring_CPPFLAGS = $(TESTS_CPPFLAGS)
tests_test_ring_LDADD = lib/libvpci.la

## Beside Open vSwitch, which is the judge.
tests_test_edit_SOURCES = \
	lib/netdev-vpci-actions.c \
	lib/netdev-vpci-link-edit.c \
	lib/netdev-vpci-match.c \
	lib/netdev-vpci-target.c \
	tests/test-edit.c \
	tests/unit-test.h
tests_test_edit_CPPFLAGS = $(NETDEV_VPCI_CPPFLAGS) -I$(top_srcdir)/tests
tests_test_edit_CFLAGS = $(NETDEV_VPCI_CFLAGS)
tests_test_edit_LDADD = \
	lib/libvpci.la \
	$(OVS_LIBS) \
	$(DPDK_LIBS) \
	$(NUMA_LIBS)
$(tests_test_edit_OBJECTS): $(OVS_STAMP)

tests_test_match_SOURCES = \
	lib/netdev-vpci-actions.c \
	lib/netdev-vpci-match.c \
	lib/netdev-vpci-target.c \
	tests/test-match.c \
	tests/unit-test.h
tests_test_match_CPPFLAGS = $(NETDEV_VPCI_CPPFLAGS) -I$(top_srcdir)/tests
tests_test_match_CFLAGS = $(NETDEV_VPCI_CFLAGS)
tests_test_match_LDADD = \
	lib/libvpci.la \
	$(OVS_LIBS) \
	$(DPDK_LIBS) \
	$(NUMA_LIBS)
$(tests_test_match_OBJECTS): $(OVS_STAMP)

## The switch's connection to the keeper, without the rest of the switch.
tests_keeper_user_SOURCES = \
	lib/netdev-vpci-keeper-peer.c \
	lib/netdev-vpci-keeper.c \
	tests/keeper-user.c
tests_keeper_user_CPPFLAGS = $(NETDEV_VPCI_CPPFLAGS)
tests_keeper_user_CFLAGS = $(NETDEV_VPCI_CFLAGS)
tests_keeper_user_LDADD = \
	lib/libvpci.la \
	$(OVS_LIBS) \
	$(DPDK_LIBS) \
	$(NUMA_LIBS)
$(tests_keeper_user_OBJECTS): $(OVS_STAMP)

tests_test_look_SOURCES = tests/test-look.c tests/unit-test.h
tests_test_look_CPPFLAGS = $(TESTS_CPPFLAGS)
tests_test_look_LDADD = lib/libvpci.la

tests_test_steer_SOURCES = tests/test-steer.c tests/unit-test.h
tests_test_steer_CPPFLAGS = $(TESTS_CPPFLAGS)
tests_test_steer_LDADD = lib/libvpci.la

tests_test_switch_SOURCES = \
	tests/switch-port.c \
	tests/switch-port.h \
	tests/test-switch.c
tests_test_switch_CPPFLAGS = $(TESTS_CPPFLAGS)
tests_test_switch_LDADD = lib/libvpci.la

tests_test_wire_SOURCES = tests/test-wire.c tests/unit-test.h
tests_test_wire_CPPFLAGS = $(TESTS_CPPFLAGS)
tests_test_wire_LDADD = lib/libvpci.la
EXTRA_DIST += \
	tests/offload-pairs.py \
	tests/offload-requests.py \
	tests/wire-packets.py

tests_test_vring_SOURCES = \
	tests/test-vring-device.c \
	tests/test-vring-faults.c \
	tests/test-vring-frames.c \
	tests/test-vring-harness.c \
	tests/test-vring-harness.h \
	tests/test-vring-memory.c \
	tests/test-vring-native.c \
	tests/test-vring-notify.c \
	tests/test-vring-record.c \
	tests/test-vring-start.c \
	tests/test-vring-stress.c \
	tests/test-vring.c \
	tests/test-vring.h \
	tests/vring-driver.c \
	tests/vring-driver.h
tests_test_vring_CPPFLAGS = $(TESTS_CPPFLAGS)
tests_test_vring_LDADD = lib/libvpci.la

tests_fuzz_channel_standalone_SOURCES = \
	tests/fuzz-channel.c \
	tests/fuzz-standalone.c \
	tests/fuzz.h \
	tests/guarded-memory.h
tests_fuzz_channel_standalone_CPPFLAGS = $(TESTS_CPPFLAGS)
tests_fuzz_channel_standalone_LDADD = lib/libvpci.la

tests_fuzz_projection_standalone_SOURCES = \
	tests/fuzz-projection.c \
	tests/fuzz-standalone.c \
	tests/fuzz.h \
	tests/guarded-memory.h
tests_fuzz_projection_standalone_CPPFLAGS = $(TESTS_CPPFLAGS)
tests_fuzz_projection_standalone_LDADD = lib/libvpci.la

tests_fuzz_ring_standalone_SOURCES = \
	tests/fuzz-ring.c \
	tests/fuzz-standalone.c \
	tests/fuzz.h \
	tests/guarded-memory.h
tests_fuzz_ring_standalone_CPPFLAGS = $(TESTS_CPPFLAGS)
tests_fuzz_ring_standalone_LDADD = lib/libvpci.la

tests_fuzz_vring_standalone_SOURCES = \
	tests/fuzz-standalone.c \
	tests/fuzz-vring.c \
	tests/fuzz.h
tests_fuzz_vring_standalone_CPPFLAGS = $(TESTS_CPPFLAGS)
tests_fuzz_vring_standalone_LDADD = lib/libvpci.la

tests_mortal_guests_SOURCES = tests/mortal-guests.c
tests_mortal_guests_CPPFLAGS = $(TESTS_CPPFLAGS)
tests_mortal_guests_LDADD = lib/libvpci.la

tests_rude_guest_SOURCES = tests/rude-guest.c
tests_rude_guest_CPPFLAGS = $(TESTS_CPPFLAGS)
tests_rude_guest_LDADD = lib/libvpci.la

tests_hostile_guest_SOURCES = \
	tests/hostile-guest.c \
	utilities/vpci-packet.c \
	utilities/vpci-packet.h
tests_hostile_guest_CPPFLAGS = $(TESTS_CPPFLAGS) -I$(top_srcdir)/utilities
tests_hostile_guest_LDADD = lib/libvpci.la

tests_kinds_of_frames_SOURCES = \
	tests/kinds-of-frames.c \
	utilities/vpci-packet.c \
	utilities/vpci-packet.h
tests_kinds_of_frames_CPPFLAGS = $(TESTS_CPPFLAGS) -I$(top_srcdir)/utilities
tests_kinds_of_frames_LDADD = lib/libvpci.la

tests_link_guest_SOURCES = \
	tests/link-guest.c \
	tests/vhost-guest-frames.c \
	tests/vhost-guest-frames.h
tests_link_guest_CPPFLAGS = $(TESTS_CPPFLAGS)
tests_link_guest_LDADD = lib/libvpci.la

tests_vhost_guest_SOURCES = \
	tests/vhost-front-end.c \
	tests/vhost-front-end.h \
	tests/vhost-guest-commands.c \
	tests/vhost-guest-commands.h \
	tests/vhost-guest-device.c \
	tests/vhost-guest-device.h \
	tests/vhost-guest-frames.c \
	tests/vhost-guest-frames.h \
	tests/vhost-guest-hostile-fds.c \
	tests/vhost-guest-hostile-rings.c \
	tests/vhost-guest-hostile.c \
	tests/vhost-guest-hostile.h \
	tests/vhost-guest-io.c \
	tests/vhost-guest-io.h \
	tests/vhost-guest-memory.c \
	tests/vhost-guest-memory.h \
	tests/vhost-guest-native.c \
	tests/vhost-guest-native.h \
	tests/vhost-guest-traffic-commands.c \
	tests/vhost-guest-traffic.c \
	tests/vhost-guest-traffic.h \
	tests/vhost-guest.c \
	tests/vring-driver.c \
	tests/vring-driver.h
tests_vhost_guest_CPPFLAGS = $(TESTS_CPPFLAGS)
tests_vhost_guest_LDADD = lib/libvpci.la

## libFuzzer wants its instrumentation in the library as well.

if FUZZERS
noinst_PROGRAMS += \
	tests/fuzz-channel \
	tests/fuzz-projection \
	tests/fuzz-ring \
	tests/fuzz-vring
FUZZER_FLAGS = -fsanitize=fuzzer,address,undefined
tests_fuzz_channel_SOURCES = \
	tests/fuzz-channel.c \
	tests/fuzz.h \
	tests/guarded-memory.h \
	$(lib_libvpci_la_SOURCES)
tests_fuzz_channel_CPPFLAGS = $(TESTS_CPPFLAGS)
tests_fuzz_channel_CFLAGS = $(AM_CFLAGS) $(FUZZER_FLAGS)
tests_fuzz_channel_LDFLAGS = $(FUZZER_FLAGS)
tests_fuzz_projection_SOURCES = \
	tests/fuzz-projection.c \
	tests/fuzz.h \
	tests/guarded-memory.h \
	$(lib_libvpci_la_SOURCES)
tests_fuzz_projection_CPPFLAGS = $(TESTS_CPPFLAGS)
tests_fuzz_projection_CFLAGS = $(AM_CFLAGS) $(FUZZER_FLAGS)
tests_fuzz_projection_LDFLAGS = $(FUZZER_FLAGS)
tests_fuzz_ring_SOURCES = \
	tests/fuzz-ring.c \
	tests/fuzz.h \
	tests/guarded-memory.h \
	$(lib_libvpci_la_SOURCES)
tests_fuzz_ring_CPPFLAGS = $(TESTS_CPPFLAGS)
tests_fuzz_ring_CFLAGS = $(AM_CFLAGS) $(FUZZER_FLAGS)
tests_fuzz_ring_LDFLAGS = $(FUZZER_FLAGS)
tests_fuzz_vring_SOURCES = \
	tests/fuzz-vring.c \
	tests/fuzz.h \
	$(lib_libvpci_la_SOURCES)
tests_fuzz_vring_CPPFLAGS = $(TESTS_CPPFLAGS)
tests_fuzz_vring_CFLAGS = $(AM_CFLAGS) $(FUZZER_FLAGS)
tests_fuzz_vring_LDFLAGS = $(FUZZER_FLAGS)
endif

## Micro-benchmarks: 'make bench' builds them, for whoever wants to run them.

EXTRA_PROGRAMS += \
	tests/bench/ring-bench \
	tests/bench/steer-bench \
	tests/bench/vring-bench
tests_bench_ring_bench_SOURCES = tests/bench/ring-bench.c
tests_bench_ring_bench_CPPFLAGS = $(TESTS_CPPFLAGS)
tests_bench_ring_bench_LDADD = lib/libvpci.la
tests_bench_steer_bench_SOURCES = tests/bench/steer-bench.c
tests_bench_steer_bench_CPPFLAGS = $(TESTS_CPPFLAGS)
tests_bench_steer_bench_LDADD = lib/libvpci.la
tests_bench_vring_bench_SOURCES = \
	tests/bench/vring-bench.c \
	tests/vring-driver.c \
	tests/vring-driver.h
tests_bench_vring_bench_CPPFLAGS = $(TESTS_CPPFLAGS)
tests_bench_vring_bench_LDADD = lib/libvpci.la

EXTRA_DIST += \
	tests/bench/flow-path.sh \
	tests/bench/half-load.sh \
	tests/bench/switch.sh
bench: tests/bench/ring-bench tests/bench/steer-bench tests/bench/vring-bench
.PHONY: bench

## The test suite.
##
## It uses Open vSwitch's own macros, out of the source tree that we build
## against.  That is why it is made in the build directory and not distributed.

TESTSUITE = tests/testsuite
TESTSUITE_AT = \
	tests/guests.at \
	tests/testsuite.at \
	tests/vpci-bad-input.at \
	tests/vpci-dump.at \
	tests/vpci-fidelity.at \
	tests/vpci-hostile.at \
	tests/vpci-library.at \
	tests/vpci-macros.at \
	tests/vpci-mtu.at \
	tests/vpci-link.at \
	tests/vpci-link-static.at \
	tests/vpci-peer.at \
	tests/vpci-linkd.at \
	tests/vpci-vm.at \
	tests/vpci-net.at \
	tests/vpci-priority.at \
	tests/vpci-pci.at \
	tests/vpci-perf.at \
	tests/vpci-port-macros.at \
	tests/vpci-port.at \
	tests/vpci-qos.at \
	tests/vpci-queues.at \
	tests/vpci-offload-tso.at \
	tests/vpci-offload-wire.at \
	tests/vpci-offload.at \
	tests/vpci-offload-pairs.at \
	tests/vpci-splice.at \
	tests/vpci-stats.at \
	tests/vpci-tap.at \
	tests/vpci-traffic-macros.at \
	tests/vpci-tools.at \
	tests/vpci-traffic.at \
	tests/vpci-unit.at \
	tests/vpci-vswitchd.at \
	tests/vpci-xml.at \
	tests/vpcid.at
OVS_TESTSUITE_AT = \
	$(ovs_srcdir)/tests/ovs-macros.at \
	$(ovs_srcdir)/tests/ofproto-macros.at
EXTRA_DIST += $(TESTSUITE_AT) tests/atlocal.in tests/fake-monitor.py \
	tests/linkd-libvirt.py tests/linkd-plan.py tests/pcap-frames.py \
	tests/perf-figures.py tests/perf-results.py tests/tap-traffic.py \
	tests/wire-offloads.py tests/wire-record.py tests/xml-guide.py \
	tests/xml-problems.py

## What the shared library has to offer, and what it must keep.
EXTRA_DIST += \
	tests/check-libvpci.py \
	tests/libvpci.abi

## A switch and guests for the keeper.
EXTRA_DIST += \
	tests/vpcid/check.py \
	tests/vpcid/check_control.py \
	tests/vpcid/check_guests.py \
	tests/vpcid/check_limits.py \
	tests/vpcid/check_links.py \
	tests/vpcid/check_paths.py \
	tests/vpcid/check_peers.py \
	tests/vpcid/check_qemu.py \
	tests/vpcid/check_static.py \
	tests/vpcid/check_switch.py \
	tests/vpcid/check_upgrade.py \
	tests/vpcid/control.py \
	tests/vpcid/ivshmem.py \
	tests/vpcid/keeper.py

## Switches side by side and what they do with the same packets: some in the
## test suite, very many with 'make check-fidelity'.
EXTRA_DIST += \
	tests/fidelity/actions.py \
	tests/fidelity/columns.py \
	tests/fidelity/compare.py \
	tests/fidelity/fidelity.py \
	tests/fidelity/guest.py \
	tests/fidelity/links.py \
	tests/fidelity/matches.py \
	tests/fidelity/minimize.py \
	tests/fidelity/packets.py \
	tests/fidelity/switch.py \
	tests/fidelity/tables.py

FIDELITY_FLAGS = --seed 1 --tables 1000 --link-tables 200 --packets 1000
check-fidelity: $(check_PROGRAMS) $(sbin_PROGRAMS)
	@d=`pwd`; \
	PATH=$$d/vswitchd:$$d/vpcid:$$d/tests:$(ovs_builddir)/utilities:$(ovs_builddir)/ovsdb:$$PATH \
	PYTHONDONTWRITEBYTECODE=1 \
	    $(PYTHON3) $(srcdir)/tests/fidelity/fidelity.py \
	    --schema $(ovs_srcdir)/vswitchd/vswitch.ovsschema $(FIDELITY_FLAGS)
.PHONY: check-fidelity

## Virtual machines alone; "make check" has these, too.
check-vm:
	$(MAKE) check TESTSUITEFLAGS="-k vm $(TESTSUITEFLAGS)"
.PHONY: check-vm

## Real guests for the test suite.
EXTRA_DIST += \
	tests/guests/guests.sh \
	tests/guests/images.sh \
	tests/guests/init.sh \
	tests/guests/make-initramfs.sh \
	tests/guests/old-ptrace.py \
	tests/guests/plug-links.py \
	tests/guests/qemu-guest.sh \
	tests/guests/qmp.py \
	tests/guests/supervise.py \
	tests/guests/testpmd-guest.sh \
	tests/guests/uml-guest.sh

## Tools that run in such guests.  QEMU without KVM is none of the processors that
## -march=native may mean: so these are compiled once more, without CFLAGS and
## sanitizers of this build, by a "make" that has other CFLAGS.
EXTRA_LIBRARIES = tests/portable/libvpci.a
PORTABLE_TOOLS = \
	tests/portable/guest-xdp \
	tests/portable/vpci-echo \
	tests/portable/vpci-gen \
	tests/portable/vpci-sink
EXTRA_PROGRAMS += $(PORTABLE_TOOLS)
tests_portable_libvpci_a_SOURCES = $(VPCI_SOURCES)
tests_portable_libvpci_a_CPPFLAGS = $(VPCI_CPPFLAGS)
PORTABLE_LIBS = tests/portable/libvpci.a -lpthread
tests_portable_guest_xdp_SOURCES = tests/guest-xdp.c
tests_portable_vpci_echo_SOURCES = $(utilities_vpci_echo_SOURCES)
tests_portable_vpci_echo_CPPFLAGS = $(VPCI_TOOL_CPPFLAGS)
tests_portable_vpci_echo_LDADD = $(PORTABLE_LIBS)
tests_portable_vpci_gen_SOURCES = $(utilities_vpci_gen_SOURCES)
tests_portable_vpci_gen_CPPFLAGS = $(VPCI_TOOL_CPPFLAGS)
tests_portable_vpci_gen_LDADD = $(PORTABLE_LIBS)
tests_portable_vpci_sink_SOURCES = $(utilities_vpci_sink_SOURCES)
tests_portable_vpci_sink_CPPFLAGS = $(VPCI_TOOL_CPPFLAGS)
tests_portable_vpci_sink_LDADD = $(PORTABLE_LIBS)
check-portable:
	@$(MAKE) --no-print-directory CFLAGS=-O1 LDFLAGS= SANITIZER_FLAGS= \
	    $(PORTABLE_TOOLS)
.PHONY: check-portable
CLEANFILES += $(EXTRA_LIBRARIES) $(PORTABLE_TOOLS)

DISTCLEANFILES += tests/atconfig

## What tests/guests/guests.sh keeps of guests: images, a kernel.
DISTCLEAN_LOCAL += distclean-guests
distclean-guests:
	rm -rf guests
.PHONY: distclean-guests

CLEANFILES += $(TESTSUITE) tests/package.m4 tests/skipped.log \
    tests/testsuite-first.log

tests/package.m4: $(top_srcdir)/configure.ac
	$(AM_V_GEN)$(MKDIR_P) tests && { \
	    echo '# Generated from configure.ac.'; \
	    echo 'm4_define([AT_PACKAGE_NAME], [$(PACKAGE_NAME)])'; \
	    echo 'm4_define([AT_PACKAGE_TARNAME], [$(PACKAGE_TARNAME)])'; \
	    echo 'm4_define([AT_PACKAGE_VERSION], [$(PACKAGE_VERSION)])'; \
	    echo 'm4_define([AT_PACKAGE_STRING], [$(PACKAGE_STRING)])'; \
	    echo 'm4_define([AT_PACKAGE_BUGREPORT], [$(PACKAGE_BUGREPORT)])'; \
	    echo 'm4_define([AT_PACKAGE_URL], [$(PACKAGE_URL)])'; \
	} > $@.tmp && mv $@.tmp $@

$(TESTSUITE): tests/package.m4 $(TESTSUITE_AT) $(OVS_TESTSUITE_AT)
	$(AM_V_GEN)$(AUTOM4TE) --language=autotest -I tests -I $(srcdir) \
	    -I $(ovs_srcdir) -o $@.tmp $(srcdir)/tests/testsuite.at && \
	    mv $@.tmp $@

# Our programs first, then the tools of Open vSwitch.
AUTOTEST_PATH = vswitchd:vpcid:tests:utilities:$(ovs_builddir)/utilities:$(ovs_builddir)/ovsdb:$(ovs_builddir)/vswitchd:$(ovs_srcdir)/utilities

## With RECHECK=yes, tests that fail run again, as in Open vSwitch: a test that
## fails twice fails.  What was said at first is in tests/testsuite-first.log.
CHECK_LOCAL += check-testsuite
check-testsuite: tests/atconfig tests/atlocal $(TESTSUITE) $(check_PROGRAMS) \
		 $(bin_PROGRAMS) $(sbin_PROGRAMS) check-portable
	@rm -f tests/skipped.log tests/testsuite-first.log
	@set $(SHELL) $(TESTSUITE) -C tests AUTOTEST_PATH='$(AUTOTEST_PATH)'; \
	"$$@" $(TESTSUITEFLAGS); \
	status=$$?; \
	if test $$status -ne 0 && test X'$(RECHECK)' = Xyes; then \
	    cp tests/testsuite.log tests/testsuite-first.log; \
	    "$$@" --recheck; \
	    status=$$?; \
	fi; \
	if test -s tests/skipped.log; then \
	    echo "Skipped (VPCI_REQUIRE_ALL=1 makes these failures):"; \
	    sort -u tests/skipped.log; \
	fi; \
	exit $$status
.PHONY: check-testsuite

## Open vSwitch's own tests, against our ovs-vswitchd.  Half an hour or so.
check-ovs: vswitchd/ovs-vswitchd
	$(SHELL) $(srcdir)/tests/check-ovs.sh $(ovs_srcdir) $(ovs_builddir) \
	    `cd vswitchd && pwd` $(TESTSUITEFLAGS)
.PHONY: check-ovs
EXTRA_DIST += tests/check-ovs.sh

CLEAN_LOCAL += clean-testsuite
clean-testsuite:
	rm -rf tests/testsuite.dir tests/testsuite.log check-ovs check-ovs.log
.PHONY: clean-testsuite
