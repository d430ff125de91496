# SPDX-License-Identifier: Apache-2.0

"""The keeper as a process: where it is, and what it has."""

import collections
import os
import re
import subprocess
import time

TIMEOUT = 30

RUNDIR = os.environ["OVS_RUNDIR"]
SOCKDIR = os.environ["VPCID_SOCKDIR"]
CONTROL = os.path.join(SOCKDIR, "ctl")


def path(name):
    """The path of the socket that is called 'name' in a test."""
    return os.path.join(SOCKDIR, name)


def pid():
    with open(os.path.join(RUNDIR, "vpcid.pid")) as f:
        return int(f.read())


def restart():
    """Starts a keeper after the last one was killed."""
    subprocess.run(["vpcid", "--detach", "--no-chdir", "--pidfile",
                    "--log-file", "--control=" + CONTROL], check=True,
                   timeout=TIMEOUT, stderr=subprocess.DEVNULL)


def appctl(*args, check=True):
    run = subprocess.run(["ovs-appctl", "-t", "vpcid", *args], text=True,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                         timeout=TIMEOUT)
    if check and run.returncode:
        raise AssertionError("ovs-appctl %s: %s" % (args, run.stdout))
    return run.stdout if check else (run.returncode, run.stdout)


def show():
    return appctl("vpcid/show")


def settle():
    """Returns when the keeper has had a turn of its main loop, and so has dealt
    with all that happened before."""
    show()
    show()


def total(what):
    return int(re.search(r"^total:.*?(\d+) %s" % what, show(), re.M).group(1))


def unix_sockets():
    """Returns paths (or None) of all UNIX sockets, by what /proc/PID/fd has."""
    found = {}
    with open("/proc/net/unix", encoding="utf-8") as f:
        next(f)
        for line in f:
            fields = line.split(None, 7)
            found["socket:[%s]" % fields[6]] = \
                fields[7].strip() if len(fields) > 7 else None
    return found


def descriptors():
    """Counts the keeper's descriptors by what they are, without those of
    ovs-appctl and those that it has put aside for it."""
    directory = "/proc/%d/fd" % pid()
    targets = []
    for fd in os.listdir(directory):
        try:
            targets.append(os.readlink(os.path.join(directory, fd)))
        except FileNotFoundError:
            continue
    sockets = unix_sockets()
    found = collections.Counter()
    for target in targets:
        if target.startswith("socket:"):
            own = sockets.get(target, "gone.ctl") or ""
            if own == "gone.ctl" or own.endswith("/vpcid.%d.ctl" % pid()):
                continue
        if target != "/dev/null":
            found[re.sub(r"\d+", "N", target)] += 1
    return found


def numbers():
    """Returns the numbers of the keeper's descriptors while it sleeps."""
    while True:
        before = context_switches()
        found = {int(fd) for fd in os.listdir("/proc/%d/fd" % pid())}
        if before == context_switches():
            return found


def context_switches():
    """Waits until the keeper sleeps.  Returns how often it has done so."""
    path = "/proc/%d/status" % pid()
    while True:
        with open(path, encoding="ascii") as f:
            text = f.read()
        if re.search(r"^State:\s+S", text, re.M):
            return re.search(r"^voluntary_ctxt_switches:\s+(\d+)", text,
                             re.M).group(1)


def expect_descriptors(before):
    """Waits until the keeper has the descriptors that it had before."""
    try:
        wait_until(lambda: descriptors() == before, "descriptors as before")
    except AssertionError:
        print("before: %s\nnow: %s" % (before, descriptors()))
        raise


def wait_until(condition, what):
    end = time.monotonic() + TIMEOUT
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("%s: did not come true" % what)
        time.sleep(0.02)


def memory_kb():
    with open("/proc/%d/status" % pid()) as f:
        return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1))


def cpu_seconds():
    with open("/proc/%d/stat" % pid()) as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def log():
    with open(os.path.join(os.environ["OVS_LOGDIR"], "vpcid.log")) as f:
        return f.read()
