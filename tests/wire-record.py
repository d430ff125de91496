#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""wire-record.py INTERFACE FILE

Writes the frames that come to INTERFACE to a classic pcap file, until one has
END in it.  FILE is there as soon as no frame can be missed any more.

Fails at once if the kernel says that a frame is not yet what a wire would
carry: a packet socket alone can tell, and no capture file can."""
import os
import socket
import struct
import sys

END = b"end of the recording"

# Linux's if_packet.h, and asm/socket.h.
SOL_PACKET, PACKET_AUXDATA, PACKET_VNET_HDR = 263, 8, 15
TP_STATUS_VLAN_VALID = 1 << 4
AUXDATA = struct.Struct("=IIIHHHH")
SO_RCVBUFFORCE = 33
ETH_P_ALL = 3
VNET_HDR = struct.Struct("=BBHHHH")
NEEDS_CSUM = 1


def listen(interface):
    """Returns a socket that gets everything, with room for all of a test."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 24)
    sock.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    sock.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
    sock.bind((interface, ETH_P_ALL))
    return sock


def receive(sock):
    """Returns the next frame, with the VLAN tag that Linux has taken out of
    it, what the virtio header says is left to do, and where it came from."""
    data, ancillary, _, address = sock.recvmsg(1 << 17, 256)
    flags, gso_type, *_ = VNET_HDR.unpack_from(data)
    frame = data[VNET_HDR.size:]
    for level, kind, value in ancillary:
        if (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
            status, _, _, _, _, tci, tpid = AUXDATA.unpack(value)
            if status & TP_STATUS_VLAN_VALID:
                frame = (frame[:12] + struct.pack("!HH", tpid, tci)
                         + frame[12:])
    return frame, (flags & NEEDS_CSUM, gso_type), address[2]


def create(path):
    """Creates the file, which nobody sees before it can be read."""
    with open(path + ".tmp", "wb") as f:
        f.write(struct.pack("=IHHiIII", 0xa1b2c3d4, 2, 4, 0, 0, 1 << 17, 1))
    os.rename(path + ".tmp", path)
    return open(path, "ab", buffering=0)


def main():
    interface, path = sys.argv[1:]
    sock = listen(interface)
    with create(path) as out:
        frame = b""
        while END not in frame:
            frame, undone, direction = receive(sock)
            if direction == socket.PACKET_OUTGOING:
                continue
            if any(undone):
                sys.exit(f"{interface}: a frame of {len(frame)} bytes has "
                         f"flags {undone[0]:#x}, gso_type {undone[1]:#x}")
            out.write(struct.pack("=IIII", 0, 0, len(frame), len(frame))
                      + frame)


if __name__ == "__main__":
    main()
