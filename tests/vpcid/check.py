# SPDX-License-Identifier: Apache-2.0

"""Runs one check of the keeper that runs in $OVS_RUNDIR.

usage: check.py NAME
       check.py --list
"""

import faulthandler
import sys

import check_control
import check_guests
import check_limits
import check_links
import check_paths
import check_peers
import check_qemu
import check_static
import check_switch
import check_upgrade


def main():
    checks = {}
    for module in (check_guests, check_links, check_peers, check_control,
                   check_paths, check_limits, check_upgrade, check_switch,
                   check_qemu, check_static):
        for name, check in vars(module).items():
            if name.startswith("check_") and callable(check):
                checks[name[len("check_"):].replace("_", "-")] = check
    if sys.argv[1:] == ["--list"]:
        print("\n".join(sorted(checks)))
    elif len(sys.argv) == 2 and sys.argv[1] in checks:
        faulthandler.enable()
        checks[sys.argv[1]]()
    else:
        sys.exit(__doc__.strip())


if __name__ == "__main__":
    main()
