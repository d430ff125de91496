# SPDX-License-Identifier: Apache-2.0

# What programs that use the shared library include.  What these headers declare
# is documented in Documentation/vpci_*.3.rst and listed in lib/vpci/libvpci.map.
vpciincludedir = $(includedir)/vpci
vpciinclude_HEADERS = \
	include/vpci/abi.h \
	include/vpci/bus.h \
	include/vpci/channel.h \
	include/vpci/device.h \
	include/vpci/doorbell.h \
	include/vpci/key.h \
	include/vpci/layout.h \
	include/vpci/net-hdr.h \
	include/vpci/net.h \
	include/vpci/peer.h \
	include/vpci/projection.h \
	include/vpci/ring.h \
	include/vpci/steer.h \
	include/vpci/types.h

# What is for the switch, and for the library itself.
noinst_HEADERS += \
	include/vpci/classes.h \
	include/vpci/gate.h \
	include/vpci/guard.h \
	include/vpci/memory.h \
	include/vpci/splice.h \
	include/vpci/spread.h \
	include/vpci/vring.h \
	include/vpci/wire.h
