# SPDX-License-Identifier: Apache-2.0

vpciincludedir = $(includedir)/vpci
vpciinclude_HEADERS = \
	include/vpci/abi.h \
	include/vpci/bus.h \
	include/vpci/channel.h \
	include/vpci/device.h \
	include/vpci/doorbell.h \
	include/vpci/gate.h \
	include/vpci/guard.h \
	include/vpci/key.h \
	include/vpci/layout.h \
	include/vpci/memory.h \
	include/vpci/net-hdr.h \
	include/vpci/net.h \
	include/vpci/peer.h \
	include/vpci/projection.h \
	include/vpci/ring.h \
	include/vpci/splice.h \
	include/vpci/spread.h \
	include/vpci/steer.h \
	include/vpci/types.h \
	include/vpci/vring.h \
	include/vpci/wire.h
