# SPDX-License-Identifier: Apache-2.0
"""vpci-perf: packet rates and latencies beside OVS-DPDK, memif and the limit.

    cli          the command line
    environment  programs, processors, what the machine is and lacks
    process      external processes, each bounded, all ended at the end
    sandbox      a private switch
    guests       what sends and receives: vpci-perf-guest and testpmd
    probe        is the machine quiet, are its processors near or far
    runner       rounds: which system is measured when, what is compared
    results      figures, ratios, JSON, the table
    report       the page
    scenarios/   one file for each scenario
    systems/     one file for each system
"""
