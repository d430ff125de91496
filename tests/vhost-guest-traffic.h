/* SPDX-License-Identifier: Apache-2.0 */

#ifndef VHOST_GUEST_TRAFFIC_H
#define VHOST_GUEST_TRAFFIC_H 1

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "vhost-guest-device.h"
#include "vhost-guest-frames.h"

/* Sending, receiving and reflecting frames
 * ========================================
 *
 * A 'struct traffic' says what to do and counts what was done.  It runs
 * either in the caller's thread (traffic_run()) or in the background
 * (traffic_start(), traffic_stop()) while the control thread changes the
 * device.  Only one may run at a time on a guest. */

enum traffic_source {
    TRAFFIC_NOTHING,
    TRAFFIC_PATTERN,            /* Test frames. */
    TRAFFIC_FIXED,              /* 'fixed', again and again. */
    TRAFFIC_PCAP,
};

struct traffic_config {
    enum traffic_source source;
    struct frame_template template;
    uint32_t stream;            /* Streams of this and the numbers after it,
                                 * one for each queue pair. */
    uint64_t count;             /* Frames to send; 0: until stopped. */
    uint32_t min_size, max_size; /* Of test frames. */
    uint64_t rate;              /* Frames per second; 0: as many as go. */
    unsigned int burst;         /* Posted before one publish, at most. */
    int pair;                   /* Send on this queue pair alone, or -1. */
    int from;                   /* Receive from this one alone, or -1. */
    bool leave;                 /* What is sent need not come back. */
    const uint8_t *fixed;
    uint32_t fixed_len;
    FILE *pcap_in;
    bool pcap_swapped;
    uint8_t hdr[12];            /* virtio header of what is sent. */

    bool receive;
    uint64_t expect;            /* Frames after which receiving ends; 0: when
                                 * stopped. */
    bool reflect;               /* Send back what comes, on the same pair,
                                 * with the addresses swapped. */
    FILE *pcap_out;             /* Gets what is received, or null. */
    FILE *print;                /* Gets it in hexadecimal, or null... */
    bool print_hdr;             /* ...behind its virtio header... */
    bool print_pair;            /* ...or the number of the queue pair. */

    unsigned int timeout_ms;    /* To end after no progress; 0: never. */
    unsigned int max_ms;        /* To end without an error; 0: never. */
};

struct traffic {
    struct guest *g;
    struct traffic_config cfg;

    /* Results, valid when it has ended. */
    uint64_t sent;              /* Posted by this traffic, reflected ones not
                                 * included. */
    uint64_t unsent;            /* Frames in enabled rings that the device has
                                 * not given back. */
    uint64_t received;
    uint64_t reflected;
    uint64_t reflect_dropped;   /* No room to send back. */
    struct frame_tracker tracker;
    bool timed_out;

    /* Private. */
    pthread_t thread;
    bool threaded;
    bool stop;                  /* Atomic. */
    bool ended;                 /* Atomic. */
    bool source_empty;
    uint64_t prepared;          /* Frames sent or pending. */
    uint8_t *pending[GUEST_MAX_PAIRS]; /* Frame that found no room. */
    uint32_t pending_len[GUEST_MAX_PAIRS];
    uint8_t *scratch;
    uint64_t seq[GUEST_MAX_PAIRS];
    uint32_t next_size;
    int64_t stopped_ns;
    int64_t started_ns;
};

/* Fills in what nobody has to say. */
void traffic_config_init(struct traffic_config *);

void traffic_init(struct traffic *, struct guest *,
                  const struct traffic_config *);
void traffic_destroy(struct traffic *);

/* Runs to the end in this thread. */
void traffic_run(struct traffic *);

/* Returns 0 or a positive errno. */
int traffic_start(struct traffic *);

/* Ends sending, waits until the device has given back everything sent (at most
 * the time-out), takes in what can be received, and ends the thread. */
void traffic_stop(struct traffic *);

/* Waits for the end of traffic that ends by itself, at most 'ms'.  Returns
 * false if it did not end. */
bool traffic_wait(struct traffic *, unsigned int ms);

#endif /* vhost-guest-traffic.h */
