# SPDX-License-Identifier: Apache-2.0
"""'vpci-linkd status', for people."""


def _lines(status):
    if status["switch"] != "ok":
        yield f"switch: {status['switch']}"
    if status["libvirt"]:
        yield status["libvirt"]
    for name, seconds in sorted(status["released"].items()):
        yield f"released for {seconds} s more: {name}"
    for machine in status["machines"]:
        yield from _machine(machine)
    for link in status["links"]:
        if not link["machine"]:
            yield (f"{_name(link)}: {link['state']}; port {link['port']} is "
                   "of no machine")
        elif link["rests"]:
            yield (f"{_name(link)}: rests, since earlier ones did not come "
                   "up")


def _name(link):
    if link["is_peer"]:
        return f"memory of {link['other']} for {link['port']}"
    return f"link {link['region']}, {link['port']} to {link['other']}"


def _machine(machine):
    yield (f"{machine['kind']} {machine['name']}: ports "
           + (", ".join(machine["ports"]) or "none"))
    if machine["hangs"]:
        yield f"  has not answered for {machine['busy']:.0f} s"
    if machine["error"]:
        yield f"  {machine['error']}"
    for device in machine["devices"]:
        memory = ("" if device["memory"] is not False
                  else ", the guest has not mapped it")
        yield (f"  {device['name']} at {device['bus']}: "
               f"{device['socket']}{memory}")
    for each in machine["failed"]:
        yield f"  failed: {each['why']}"


def text(status):
    """Returns what 'status' is in words."""
    return "\n".join(_lines(status)) or "no machines, and no links"
