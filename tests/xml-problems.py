# SPDX-License-Identifier: Apache-2.0
"""Prints the problems that 'vpci-xml check --json' has found, a line for each.

    xml-problems.py FILE STATUS

FILE is what it has printed, STATUS its exit status, which has to go with that.
"""
import json
import sys

with open(sys.argv[1], encoding="utf-8") as f:
    found = json.load(f)
problems = [p for p in found["findings"] if p["severity"] != "note"]
for p in problems:
    assert p["wanted"] and p["do"], p
    print(f"{p['severity']} {p['code']}: {p['where']}: {p['seen']}")
assert found["problems"] == len(problems), found
assert int(sys.argv[2]) == bool(problems), sys.argv
