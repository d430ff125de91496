# SPDX-License-Identifier: Apache-2.0

# Parts of quickstart.sh.
EXTRA_DIST += \
	utilities/quickstart-build.sh \
	utilities/quickstart-demo.sh \
	utilities/quickstart-steps.sh

# vpci-perf's guests, and its limit.
pkglibexec_PROGRAMS += \
	utilities/vpci-perf-guest \
	utilities/vpci-perf-limit
utilities_vpci_perf_guest_SOURCES = \
	utilities/perf-guest/histogram.h \
	utilities/perf-guest/main.c \
	utilities/perf-guest/stream.c \
	utilities/perf-guest/stream.h \
	utilities/perf-guest/traffic-net.c \
	utilities/perf-guest/traffic-private.h \
	utilities/perf-guest/traffic.c \
	utilities/perf-guest/traffic.h
utilities_vpci_perf_guest_CPPFLAGS = -D_GNU_SOURCE -I$(srcdir)/include
utilities_vpci_perf_guest_CFLAGS = \
	$(DPDK_CFLAGS) $(OVS_MACHINE_FLAGS) $(AM_CFLAGS)
utilities_vpci_perf_guest_LDADD = lib/libvpci.la $(DPDK_LIBS)
utilities_vpci_perf_limit_CPPFLAGS = -I$(srcdir)/utilities/perf-guest
utilities_vpci_perf_limit_SOURCES = \
	tests/bench/limit-round-trips.c \
	tests/bench/limit.c \
	tests/bench/limit.h \
	utilities/perf-guest/histogram.h
utilities_vpci_perf_limit_LDADD = -lpthread

# What User-Mode Linux needs to attach to ports of other types, for LD_PRELOAD.
# It is no library, and nobody links with it: so it is made without libtool.
nodist_pkglibexec_SCRIPTS = utilities/vpci-perf-uml.so
EXTRA_DIST += utilities/perf-guest/uml-features.c
CLEANFILES += utilities/vpci-perf-uml.so
utilities/vpci-perf-uml.so: utilities/perf-guest/uml-features.c
	$(AM_V_CCLD)$(MKDIR_P) utilities && $(CC) $(AM_CFLAGS) $(CFLAGS) \
	    $(DPDK_CFLAGS) -fPIC -shared -o $@ $<

# vpci-perf itself.  Beside its package it finds sandbox.sh.
dist_bin_SCRIPTS += utilities/vpci-perf
dist_pkgdata_DATA += utilities/sandbox.sh
vpciperfdir = $(pkgdatadir)/vpci_perf
dist_vpciperf_DATA = \
	utilities/vpci_perf/__init__.py \
	utilities/vpci_perf/cli.py \
	utilities/vpci_perf/environment.py \
	utilities/vpci_perf/fabric.py \
	utilities/vpci_perf/guests.py \
	utilities/vpci_perf/linux.py \
	utilities/vpci_perf/plots.py \
	utilities/vpci_perf/probe.py \
	utilities/vpci_perf/process.py \
	utilities/vpci_perf/relay.py \
	utilities/vpci_perf/report.py \
	utilities/vpci_perf/results.py \
	utilities/vpci_perf/runner.py \
	utilities/vpci_perf/sandbox.py \
	utilities/vpci_perf/table.py \
	utilities/vpci_perf/window.py
vpciperfscenariosdir = $(vpciperfdir)/scenarios
dist_vpciperfscenarios_DATA = \
	utilities/vpci_perf/scenarios/__init__.py \
	utilities/vpci_perf/scenarios/chain.py \
	utilities/vpci_perf/scenarios/flows.py \
	utilities/vpci_perf/scenarios/latency.py \
	utilities/vpci_perf/scenarios/memory.py \
	utilities/vpci_perf/scenarios/p2p.py \
	utilities/vpci_perf/scenarios/pairs.py \
	utilities/vpci_perf/scenarios/policy.py \
	utilities/vpci_perf/scenarios/priority.py \
	utilities/vpci_perf/scenarios/queues.py \
	utilities/vpci_perf/scenarios/startup.py \
	utilities/vpci_perf/scenarios/tcp.py
vpciperfsystemsdir = $(vpciperfdir)/systems
dist_vpciperfsystems_DATA = \
	utilities/vpci_perf/systems/__init__.py \
	utilities/vpci_perf/systems/behind_switch.py \
	utilities/vpci_perf/systems/limit.py \
	utilities/vpci_perf/systems/memif.py \
	utilities/vpci_perf/systems/memif_zero_copy.py \
	utilities/vpci_perf/systems/ovs_dpdk.py \
	utilities/vpci_perf/systems/ovs_dpdk_debian.py \
	utilities/vpci_perf/systems/ovs_dpdk_tso.py \
	utilities/vpci_perf/systems/vhost.py \
	utilities/vpci_perf/systems/vpci_flow.py \
	utilities/vpci_perf/systems/vpci_link.py \
	utilities/vpci_perf/systems/vpci_mixed.py \
	utilities/vpci_perf/systems/vpci_native.py \
	utilities/vpci_perf/systems/vpci_splice.py

# vpci-linkd, and its package.
dist_bin_SCRIPTS += utilities/vpci-linkd
vpcilinkddir = $(pkgdatadir)/vpci_linkd
dist_vpcilinkd_DATA = \
	utilities/vpci_linkd/__init__.py \
	utilities/vpci_linkd/background.py \
	utilities/vpci_linkd/cli.py \
	utilities/vpci_linkd/control.py \
	utilities/vpci_linkd/daemon.py \
	utilities/vpci_linkd/held.py \
	utilities/vpci_linkd/logs.py \
	utilities/vpci_linkd/machine.py \
	utilities/vpci_linkd/machine_libvirt.py \
	utilities/vpci_linkd/machine_qmp.py \
	utilities/vpci_linkd/planner.py \
	utilities/vpci_linkd/qmp.py \
	utilities/vpci_linkd/show.py \
	utilities/vpci_linkd/sockets.py \
	utilities/vpci_linkd/switch.py \
	utilities/vpci_linkd/tcg.py \
	utilities/vpci_linkd/worker.py

# vpci-xml, and its package.
dist_bin_SCRIPTS += utilities/vpci-xml
vpcixmldir = $(pkgdatadir)/vpci_xml
dist_vpcixml_DATA = \
	utilities/vpci_xml/__init__.py \
	utilities/vpci_xml/check.py \
	utilities/vpci_xml/check_guest.py \
	utilities/vpci_xml/check_host.py \
	utilities/vpci_xml/check_peer.py \
	utilities/vpci_xml/check_shmem.py \
	utilities/vpci_xml/check_switch.py \
	utilities/vpci_xml/check_vhost.py \
	utilities/vpci_xml/cli.py \
	utilities/vpci_xml/domain.py \
	utilities/vpci_xml/findings.py \
	utilities/vpci_xml/source.py \
	utilities/vpci_xml/switch.py \
	utilities/vpci_xml/write.py

# Tools that attach to ports of vpci-net.
bin_PROGRAMS += \
	utilities/vpci-dump \
	utilities/vpci-echo \
	utilities/vpci-gen \
	utilities/vpci-sink \
	utilities/vpci-tap
VPCI_TOOL_CPPFLAGS = \
	$(VPCI_CPPFLAGS) \
	-I$(top_srcdir)/utilities \
	-DVPCI_VERSION='"$(VERSION)"'
VPCI_TOOL_SOURCES = \
	utilities/vpci-tool-info.c \
	utilities/vpci-tool.c \
	utilities/vpci-tool.h
VPCI_PACKET_TOOL_SOURCES = \
	$(VPCI_TOOL_SOURCES) \
	utilities/perf-guest/histogram.h \
	utilities/vpci-packet.c \
	utilities/vpci-packet.h
utilities_vpci_dump_CPPFLAGS = \
	$(VPCI_TOOL_CPPFLAGS) \
	-DVPCI_RUNDIR='"$(localstatedir)/run/openvswitch"'
utilities_vpci_dump_LDADD = lib/libvpci.la
utilities_vpci_dump_SOURCES = \
	$(VPCI_TOOL_SOURCES) \
	utilities/vpci-capture.c \
	utilities/vpci-capture.h \
	utilities/vpci-command.c \
	utilities/vpci-command.h \
	utilities/vpci-dump.c \
	utilities/vpci-mirror.c \
	utilities/vpci-mirror.h \
	utilities/vpci-pcapng.c \
	utilities/vpci-pcapng.h
utilities_vpci_echo_CPPFLAGS = $(VPCI_TOOL_CPPFLAGS)
utilities_vpci_echo_LDADD = lib/libvpci.la
utilities_vpci_echo_SOURCES = \
	$(VPCI_PACKET_TOOL_SOURCES) \
	utilities/vpci-echo.c
utilities_vpci_gen_CPPFLAGS = $(VPCI_TOOL_CPPFLAGS)
utilities_vpci_gen_LDADD = lib/libvpci.la
utilities_vpci_gen_SOURCES = \
	$(VPCI_PACKET_TOOL_SOURCES) \
	utilities/vpci-gen.c
utilities_vpci_sink_CPPFLAGS = $(VPCI_TOOL_CPPFLAGS)
utilities_vpci_sink_LDADD = lib/libvpci.la
utilities_vpci_sink_SOURCES = \
	$(VPCI_PACKET_TOOL_SOURCES) \
	utilities/vpci-sink.c
utilities_vpci_tap_CPPFLAGS = $(VPCI_TOOL_CPPFLAGS)
utilities_vpci_tap_LDADD = lib/libvpci.la
utilities_vpci_tap_SOURCES = \
	$(VPCI_TOOL_SOURCES) \
	utilities/vpci-tap-device.c \
	utilities/vpci-tap-device.h \
	utilities/vpci-tap.c
