/* SPDX-License-Identifier: Apache-2.0 */

#ifndef VPCI_CAPTURE_H
#define VPCI_CAPTURE_H 1

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "vpci-command.h"
#include "vpci/net.h"

/* Writes what a port of vpci-net receives to a file, to standard output or to
 * tcpdump.  A thread of its own does that, so that nothing that its owner
 * waits for delays it.  All functions are for one thread, the owner's; those
 * that open or start something say why if they return false. */

struct capture {
    /* Set by the owner. */
    const char *program;        /* For messages. */
    const char *file_name;      /* Null: tcpdump; "-": standard output. */
    uint32_t snaplen;           /* Bytes, at least 14. */
    uint64_t max;               /* Packets, 0: no limit. */

    /* Where it goes. */
    FILE *file;
    struct command tcpdump;
    pid_t tcpdump_pid;          /* 0: none. */

    /* The thread. */
    pthread_t thread;
    bool runs;
    struct vpci_net *net;
    struct vpci_ring_buf *bufs;
    int64_t time_ns;            /* Of the last packet, after 1970. */
    uint64_t packets;           /* The thread writes these, up to 'failed',
                                 * atomically. */
    uint64_t bytes;
    uint64_t taken;             /* Packets, written or not. */
    uint64_t idle;              /* How often there was none. */
    bool full;                  /* There are 'max' packets. */
    bool reader_gone;           /* Which is no failure. */
    bool failed;
    bool stops;                 /* Atomic; written by the owner. */
};

/* Opens the file and writes its head, with 'interface', where packets come
 * from, for people.  capture_close() is to follow in any case. */
bool capture_open(struct capture *, const char *interface);

/* Starts the thread, which alone receives from queue 0 of 'net' from now on,
 * into TOOL_MAX_BURST buffers at 'bufs'. */
bool capture_start(struct capture *, struct vpci_net *net,
                   struct vpci_ring_buf *bufs);

/* True if nothing more will be written.  Packets are taken still, until
 * capture_stop(), and thrown away. */
bool capture_has_ended(const struct capture *);

/* Packets and bytes so far, as long as they were before they were cut. */
uint64_t capture_packets(const struct capture *);
uint64_t capture_bytes(const struct capture *);

/* Waits until all is taken that is in the ring now, which whoever reads the
 * file may delay.  Returns false if that takes more than a second. */
bool capture_catch_up(const struct capture *);

/* Ends the thread, and writes the end of the file, with the number of packets
 * that are 'missed' in it.  Waits for whoever reads the file. */
void capture_stop(struct capture *, uint64_t missed);

/* Closes the file and waits for tcpdump.  Returns false if anything went wrong
 * since capture_open(). */
bool capture_close(struct capture *);

#endif /* vpci-capture.h */
