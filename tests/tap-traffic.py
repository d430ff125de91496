#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tap-traffic.py ping ADDRESS [COUNT]
   tap-traffic.py echo ADDRESS PORT
   tap-traffic.py transfer ADDRESS PORT BYTES [STREAMS]

What two interfaces carry.  "ping" fails unless ADDRESS, of IPv4, answers COUNT
(3) echo requests.  "echo" returns what comes over TCP, until it is killed; it
prints "ready".  "transfer" sends that so many BYTES, over each of STREAMS (1)
connections at once, and fails unless they come back as they were."""
import hashlib
import os
import random
import socket
import struct
import sys
import threading

# Seconds.
TIMEOUT = 20
PING_TIMEOUT = 3
CHUNK = 1 << 16


def checksum(data):
    """RFC 1071, of an even number of bytes."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def echo_request(number):
    """An ICMP echo request with some payload, longer each time."""
    body = struct.pack("!HH", os.getpid() & 0xffff, number)
    body += bytes(range(64)) * (1 + number)
    head = struct.pack("!BBH", 8, 0, 0)
    return struct.pack("!BBH", 8, 0, checksum(head + body)) + body


def is_reply(packet, request):
    """Whether the IPv4 packet is the answer to the request."""
    icmp = packet[(packet[0] & 15) * 4:]
    return icmp[0] == 0 and checksum(icmp) == 0 and icmp[4:] == request[4:]


def ping(address, count="3"):
    """Sends echo requests one after the other."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    for number in range(int(count)):
        request = echo_request(number)
        sock.settimeout(PING_TIMEOUT)
        sock.sendto(request, (address, 0))
        while not is_reply(sock.recv(CHUNK), request):
            pass


def return_all(connection):
    """Serves one connection."""
    with connection:
        while data := connection.recv(CHUNK):
            connection.sendall(data)


def echo(address, port):
    """Serves connections."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, int(port)), family=family) as server:
        print("ready", flush=True)
        while True:
            connection, _ = server.accept()
            threading.Thread(target=return_all, args=[connection],
                             daemon=True).start()


def chunks(size, seed):
    """Yields pseudo-random data."""
    rng = random.Random(seed)
    block = rng.randbytes(4 * CHUNK)
    while size > 0:
        start = rng.randrange(3 * CHUNK)
        chunk = block[start:start + min(size, rng.randrange(1, CHUNK))]
        size -= len(chunk)
        yield chunk


def send(connection, size, seed, digest):
    """Sends all data."""
    for chunk in chunks(size, seed):
        digest.update(chunk)
        connection.sendall(chunk)
    connection.shutdown(socket.SHUT_WR)


def exchange(address, port, size, seed, failures):
    """Sends data, and compares what comes back."""
    sent, received = hashlib.sha256(), hashlib.sha256()
    count = 0
    with socket.create_connection((address, port), TIMEOUT) as connection:
        sender = threading.Thread(target=send, daemon=True,
                                  args=(connection, size, seed, sent))
        sender.start()
        while data := connection.recv(CHUNK):
            received.update(data)
            count += len(data)
        sender.join(TIMEOUT)
    if count != size or sent.digest() != received.digest():
        failures.append(f"stream {seed}: {count} bytes of {size} came back, "
                        "or other ones")


def transfer(address, port, size, streams="1"):
    """Runs all streams at once."""
    failures = []
    threads = [threading.Thread(target=exchange, daemon=True, args=(
        address, int(port), int(size), seed, failures))
        for seed in range(int(streams))]
    errors = []
    threading.excepthook = lambda args: errors.append(repr(args.exc_value))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures or errors:
        sys.exit("\n".join(failures + errors))


def main():
    commands = {"ping": ping, "echo": echo, "transfer": transfer}
    commands[sys.argv[1]](*sys.argv[2:])


if __name__ == "__main__":
    main()
