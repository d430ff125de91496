# SPDX-License-Identifier: Apache-2.0

# Parts of quickstart.sh.
EXTRA_DIST += \
	utilities/quickstart-build.sh \
	utilities/quickstart-demo.sh \
	utilities/quickstart-steps.sh \
	utilities/sandbox.sh

# vpci-perf's guests, and its limit.
pkglibexec_PROGRAMS += \
	utilities/vpci-perf-guest \
	utilities/vpci-perf-limit
utilities_vpci_perf_guest_SOURCES = \
	utilities/perf-guest/histogram.h \
	utilities/perf-guest/main.c \
	utilities/perf-guest/traffic.c \
	utilities/perf-guest/traffic.h
utilities_vpci_perf_guest_CPPFLAGS = -D_GNU_SOURCE
utilities_vpci_perf_guest_CFLAGS = $(AM_CFLAGS) $(DPDK_CFLAGS)
utilities_vpci_perf_guest_LDADD = $(DPDK_LIBS)
utilities_vpci_perf_limit_SOURCES = tests/bench/limit.c
utilities_vpci_perf_limit_LDADD = -lpthread
