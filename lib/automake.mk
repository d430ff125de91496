# SPDX-License-Identifier: Apache-2.0

# libvpci runs in the switch, in applications and in guests.  It never includes
# a header of Open vSwitch or DPDK, and has no path to them here.
VPCI_CPPFLAGS = -I$(top_srcdir)/include

noinst_LTLIBRARIES += lib/libvpci.la
lib_libvpci_la_CPPFLAGS = $(VPCI_CPPFLAGS)
lib_libvpci_la_LIBADD = -lpthread
lib_libvpci_la_SOURCES = \
	lib/vpci/gate.c \
	lib/vpci/guard.c \
	lib/vpci/memory.c \
	lib/vpci/peer.c \
	lib/vpci/vring-packed.c \
	lib/vpci/vring-private.h \
	lib/vpci/vring-split.c \
	lib/vpci/vring.c
