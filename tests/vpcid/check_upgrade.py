# SPDX-License-Identifier: Apache-2.0

"""Going on as another program."""

import os
import re
import shutil
import stat
import struct
import subprocess
import threading

import keeper
from check_limits import drain
from control import (BASE_ADD, LIST, LIST_END, PEER_DOWN, PEER_UP, Switch,
                     close_fds)
from ivshmem import Guest, ring, wait_for


def upgrade(*program):
    reply = keeper.appctl("vpcid/upgrade", *program)
    assert reply.startswith("pid %d is now /" % keeper.pid()), reply


def refused_upgrade(program):
    status, reply = keeper.appctl("vpcid/upgrade", program, check=False)
    assert status and "nothing has changed" in reply, reply
    return reply


class Load:
    """Does something again and again in a thread."""

    def __init__(self, *steps):
        self.stop = False
        self.errors = []
        self.threads = [threading.Thread(target=self.run, args=(step, i))
                        for i, step in enumerate(steps)]
        self.turns = [0] * len(steps)
        for thread in self.threads:
            thread.start()

    def run(self, step, i):
        try:
            while not self.stop:
                step()
                self.turns[i] += 1
        except BaseException as e:          # pylint: disable=broad-except
            self.errors.append(e)
            raise

    def wait_for_turns(self):
        """Waits until each thread has done something more."""
        before = list(self.turns)
        keeper.wait_until(
            lambda: self.errors or all(a > b for a, b in zip(self.turns,
                                                             before)),
            "progress")

    def end(self):
        self.stop = True
        for thread in self.threads:
            thread.join()
        assert not self.errors, self.errors


class World:
    """A switch, two guests and a link between them."""

    def __init__(self):
        self.switch = Switch(keeper.CONTROL)
        self.a, self.b = (self.switch.base_add(keeper.path(x)) for x in "ab")
        self.link = self.switch.link_add(self.a.id, self.b.id)
        self.guest = Guest(self.a.path0, 2)
        self.up = self.switch.event()
        self.left = Guest(self.link.path0, 1)
        self.right = Guest(self.link.path1, 2)
        self.left.take(), self.left.take()
        self.link_ups = [self.switch.event(), self.switch.event()]

    def signal(self):
        """Signals go where they should."""
        for v in range(2):
            ring(self.up.fds[v])
            assert wait_for(self.guest.own[v])
            ring(self.guest.peers[self.up.self][v])
            assert wait_for(self.up.fds[2 + v])
            ring(self.left.peers[self.right.id][v])
            assert wait_for(self.right.own[v])
            ring(self.right.peers[self.left.id][v])
            assert wait_for(self.left.own[v])

    def memory(self):
        for fd, guest in ((self.a.fds[0], self.guest),
                          (self.link.fds[0], self.right)):
            word = os.urandom(8)
            guest.mapped()[8:16] = word
            assert os.pread(fd, 8, 8) == word

    def check(self):
        self.signal()
        self.memory()
        for guest in self.guest, self.left, self.right:
            assert guest.is_silent()
        assert self.switch.is_silent()

    def end(self):
        """What is still connected gives notice."""
        left = self.left.id
        self.left.close()
        assert self.switch.event().peer == left
        assert self.right.is_silent()
        guest = self.guest.id
        self.guest.close()
        down = self.switch.event()
        assert (down.kind, down.peer) == (PEER_DOWN, guest)
        with Guest(self.a.path0, 2) as new:
            assert new.id > guest
            up = self.switch.event()
            assert (up.kind, up.peer, up.n_clients) == (PEER_UP, new.id, 2)
        self.right.close()
        self.switch.close()


def shown():
    """What vpcid/show says, without what an upgrade may change."""
    text = keeper.show()
    return re.sub(r"upgraded \d+ times|\d+ requests", "", text)


def check_upgrade():
    """Nobody notices an upgrade."""
    world = World()
    world.check()
    pid, uuid, before = keeper.pid(), world.switch.welcome.uuid, shown()
    kinds = None
    for i in range(3):
        upgrade()
        assert keeper.pid() == pid and shown() == before
        # The first may lose what was left of the beginning.
        kinds = kinds or keeper.descriptors()
        keeper.expect_descriptors(kinds)
        assert "upgraded %d times" % (i + 1) in keeper.show()
        world.check()
    for region in world.switch.base_add(world.b.path0), \
            world.switch.link_get(world.link.id):
        assert region.adopted == 1
    for _ in range(2):
        close_fds(world.switch.event())
    world.switch.base_add(keeper.path("c"))
    world.switch.close()
    world.switch = Switch(keeper.CONTROL)
    assert world.switch.welcome.uuid == uuid
    # Descriptors do not leak to programs that are executed.
    for fd in os.listdir("/proc/%d/fd" % pid):
        with open("/proc/%d/fdinfo/%s" % (pid, fd), encoding="ascii") as f:
            flags = int(re.search(r"flags:\s+(\d+)", f.read()).group(1), 8)
        target = os.readlink("/proc/%d/fd/%s" % (pid, fd))
        assert flags & os.O_CLOEXEC or not re.search("memfd|eventfd", target)
    world.switch.close()
    for guest in world.guest, world.left, world.right:
        guest.close()


def check_upgrade_under_load():
    """Upgrades while guests connect, signals are sent and requests made."""
    world = World()
    pid = keeper.pid()
    switch = world.switch
    honest = switch.base_add(keeper.path("busy")).path0
    n = [0]

    def connect():
        n[0] += 1
        Guest(honest, 2).close()

    def request():
        region = switch.base_add(keeper.path("fleeting"))
        close_fds(region)
        assert switch.delete(region.id) == 1
        for event in switch.events:
            close_fds(event)
        switch.events.clear()

    load = Load(connect, request, world.signal, world.memory)
    try:
        for _ in range(5):
            load.wait_for_turns()
            if load.errors:
                break
            upgrade()
        load.wait_for_turns()
    finally:
        load.end()
    keeper.settle()
    drain(switch)
    assert keeper.pid() == pid
    text = keeper.show()
    assert "upgraded 5 times" in text and "refused: " not in text, text
    assert "clients so far: %d\n" % n[0] in text, (text, n)
    world.check()
    world.end()


def check_upgrade_beside_blocking_doorbells():
    """Guests can make their eventfds block, and nobody else suffers."""
    world = World()
    for guest in world.guest, world.left, world.right:
        for fd in guest.own:
            os.set_blocking(fd, True)
    for fds in world.guest.peers.values():
        for fd in fds:
            os.set_blocking(fd, True)
    assert os.get_blocking(world.up.fds[0])
    for _ in range(2):
        upgrade()
        world.check()
    world.end()


def check_refused_upgrade():
    """Programs that cannot go on are found out before it is too late."""
    world = World()
    sleeper = keeper.path("sleeper")
    with open(sleeper, "w", encoding="ascii") as f:
        f.write("#!/bin/sh\nexec sleep 60\n")
    os.chmod(sleeper, 0o700)
    liar = keeper.path("liar")
    with open(liar, "w", encoding="ascii") as f:
        f.write("#!/bin/sh\necho vpcid-state-accepted\n")
    os.chmod(liar, 0o700)
    before = keeper.descriptors()
    for program, reason in [
            ("/bin/false", "exit status 1"),
            ("/bin/true", "is not a vpcid"),
            (liar, "is not a vpcid"),
            ("/nonexistent", "No such file"),
            (keeper.SOCKDIR, "Permission denied"),
            (keeper.CONTROL, "Permission denied")]:
        reply = refused_upgrade(program)
        assert reason in reply, reply
        world.check()

    region = world.switch.base_add(keeper.path("gone"))
    gone = Guest(region.path0, 2)
    close_fds(world.switch.event())

    # One that does not answer is waited for, but nobody else waits.
    run = subprocess.Popen(["ovs-appctl", "-t", "vpcid", "vpcid/upgrade",
                            sleeper], stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, text=True)
    keeper.wait_until(lambda: children() == 1, "a check")
    status, reply = keeper.appctl("vpcid/upgrade", check=False)
    assert status and "under way" in reply
    world.check()
    world.switch.delete(region.id)
    assert gone.is_closed() and children() == 1
    os.kill(int(children(True)[0]), 9)
    reply, _ = run.communicate(timeout=keeper.TIMEOUT)
    assert run.returncode and "killed (Killed)" in reply, reply
    status, reply = keeper.appctl("vpcid/upgrade", "bin/vpcid", check=False)
    assert status and "absolute path" in reply
    keeper.wait_until(lambda: children() == 0, "no children")
    keeper.expect_descriptors(before)
    assert "upgraded 0 times" in keeper.show()
    os.unlink(sleeper)
    os.unlink(liar)
    world.end()


def children(pids=False):
    path = "/proc/%d/task/%d/children" % (keeper.pid(), keeper.pid())
    with open(path, encoding="ascii") as f:
        found = f.read().split()
    return found if pids else len(found)


def check_failed_exec():
    """A program that says yes and then cannot be executed."""
    world = World()
    before = keeper.descriptors()
    program = keeper.path("fickle")
    real = shutil.which("vpcid")
    with open(program, "w", encoding="ascii") as f:
        f.write("#!/bin/sh\nchmod 600 $0\nexec %s \"$@\"\n" % real)
    os.chmod(program, 0o700)
    assert "Permission denied" in refused_upgrade(program)
    world.check()
    keeper.wait_until(lambda: children() == 0, "no children")
    keeper.expect_descriptors(before)
    assert "upgraded 0 times" in keeper.show()
    os.unlink(program)
    upgrade()
    world.check()
    world.end()


def check_replaced_program():
    """By default a keeper becomes what is now at the place of its program."""
    world = World()
    copy = os.environ["VPCID_COPY"]
    new = copy + ".new"
    shutil.copy(shutil.which("vpcid"), new)
    os.rename(new, copy)
    exe = "/proc/%d/exe" % keeper.pid()
    assert os.readlink(exe) == copy + " (deleted)"
    upgrade()
    assert os.readlink(exe) == copy
    assert stat.S_ISREG(os.stat(exe).st_mode)
    world.check()
    world.end()


def send_until_full(switch, kind, body=b""):
    """Sends requests until no more can be sent.  Returns their xids."""
    xids = []
    switch.sock.settimeout(0.3)
    try:
        while True:
            xids.append(switch.send(kind, body))
    except (BlockingIOError, TimeoutError):
        switch.xid -= 1
    switch.sock.settimeout(30)
    return xids


def check_upgrade_beside_slow_switch():
    """What the switch has not read yet, it reads after the upgrade."""
    switch = Switch(keeper.CONTROL)
    regions = [switch.base_add(keeper.path("r%d" % i), n_vectors=1)
               for i in range(50)]

    # A reply with descriptors is under way.
    xids = send_until_full(switch, BASE_ADD, struct.pack(
        "=512sQQII", regions[7].path0.encode(), 65536, 0, 1, 0))
    for _ in range(2):
        upgrade()
    for xid in xids:
        reply = switch.receive(xid)
        assert (reply.error, reply.id, reply.adopted) == (0, regions[7].id, 1)
        assert [os.fstat(fd).st_ino for fd in reply.fds] \
            == [os.fstat(fd).st_ino for fd in regions[7].fds]
        close_fds(reply)

    # A list is under way, and guests come.
    xids = send_until_full(switch, LIST)
    guests = [Guest(region.path0, 1) for region in regions]
    for _ in range(2):
        upgrade()
    for xid in xids:
        n = 0
        while switch.receive(xid).kind != LIST_END:
            n += 1
        assert n == 50, (xid, n)
    ups = {switch.event().peer for _ in guests}
    assert ups == {guest.id for guest in guests}
    assert switch.is_silent()
    switch.close()
    for guest in guests:
        guest.close()


def check_upgrade_of_monitored():
    """The process that --monitor leaves behind does not notice either."""
    keeper.appctl("exit")
    keeper.wait_until(lambda: not os.path.exists(keeper.CONTROL), "an end")
    subprocess.run(["vpcid", "--detach", "--monitor", "--no-chdir",
                    "--pidfile", "--log-file", "--control=" + keeper.CONTROL],
                   check=True, timeout=keeper.TIMEOUT,
                   stderr=subprocess.DEVNULL)
    pid, monitor = keeper.pid(), parent(keeper.pid())
    world = World()
    for _ in range(2):
        upgrade()
        world.check()
        assert (keeper.pid(), parent(pid)) == (pid, monitor)
    world.end()
    # The test suite waits for the end of this one alone.
    keeper.appctl("exit")
    keeper.wait_until(lambda: not lives(monitor), "the end of the monitor")
    keeper.restart()


def state(pid):
    with open("/proc/%d/stat" % pid, encoding="ascii") as f:
        return f.read().rsplit(")", 1)[1].split()


def parent(pid):
    return int(state(pid)[1])


def lives(pid):
    try:
        return state(pid)[0] != "Z"
    except FileNotFoundError:
        return False


def check_pidfile_stays_locked():
    """No second keeper takes over the pidfile, also after an upgrade."""
    def second():
        return subprocess.run(
            ["vpcid", "--pidfile", "--unixctl=none", "--no-chdir",
             "--control=" + keeper.path("ctl2")], timeout=keeper.TIMEOUT,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, check=False)
    for _ in range(3):
        run = second()
        assert run.returncode and "already running as pid %d" % keeper.pid() \
            in run.stdout, run.stdout
        upgrade()
    assert not os.path.exists(keeper.path("ctl2"))
