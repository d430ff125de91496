/* SPDX-License-Identifier: Apache-2.0 */

/* For guests: a program for the "express data path" at a network interface, for
 * a while, as anybody's may be there.
 *
 *     guest-xdp INTERFACE pass|drop SECONDS
 *
 * It is the kernel that runs it, on each packet that the driver has received
 * (XDP_FLAGS_SKB_MODE).  It goes when we end. */

#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int
bpf(enum bpf_cmd command, union bpf_attr *attr)
{
    return syscall(SYS_bpf, command, attr, sizeof *attr);
}

static void __attribute__((noreturn))
fatal(const char *what)
{
    fprintf(stderr, "guest-xdp: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* Loads a program that says 'verdict' of all packets.  Returns its
 * descriptor. */
static int
load(enum xdp_action verdict)
{
    const struct bpf_insn insns[] = {
        { .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0,
          .imm = verdict },
        { .code = BPF_JMP | BPF_EXIT },
    };
    union bpf_attr attr;
    int fd;

    memset(&attr, 0, sizeof attr);
    attr.prog_type = BPF_PROG_TYPE_XDP;
    attr.insns = (uintptr_t) insns;
    attr.insn_cnt = sizeof insns / sizeof *insns;
    attr.license = (uintptr_t) "Apache-2.0";
    fd = bpf(BPF_PROG_LOAD, &attr);
    if (fd < 0) {
        fatal("cannot load a program");
    }
    return fd;
}

static void
attach(int program, const char *interface)
{
    union bpf_attr attr;

    memset(&attr, 0, sizeof attr);
    attr.link_create.prog_fd = program;
    attr.link_create.target_ifindex = if_nametoindex(interface);
    attr.link_create.attach_type = BPF_XDP;
    attr.link_create.flags = XDP_FLAGS_SKB_MODE;
    if (!attr.link_create.target_ifindex) {
        fatal(interface);
    } else if (bpf(BPF_LINK_CREATE, &attr) < 0) {
        fatal("cannot attach a program");
    }
}

int
main(int argc, char *argv[])
{
    if (argc != 4 || (strcmp(argv[2], "pass") && strcmp(argv[2], "drop"))) {
        fprintf(stderr, "usage: guest-xdp INTERFACE pass|drop SECONDS\n");
        return 2;
    }
    attach(load(strcmp(argv[2], "drop") ? XDP_PASS : XDP_DROP), argv[1]);
    printf("%s: %s\n", argv[1], argv[2]);
    fflush(stdout);
    sleep(atoi(argv[3]));
    return 0;
}
