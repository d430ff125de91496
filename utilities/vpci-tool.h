/* SPDX-License-Identifier: Apache-2.0 */

#ifndef VPCI_TOOL_H
#define VPCI_TOOL_H 1

#include "vpci/net.h"

/* What vpci-gen, vpci-sink and vpci-echo have in common: options, a port,
 * buffers, reports, an end.  One thread. */

#define TOOL_MAX_BURST VPCI_RING_BURST

/* Exit status. */
enum {
    TOOL_OK = 0,
    TOOL_FAILED = 1,
    TOOL_USAGE = 2
};

struct tool {
    const char *name;
    const char *address;

    /* Options that all tools have. */
    uint32_t n_queues;
    uint64_t count;             /* Packets, 0: no limit. */
    double duration;            /* Seconds, 0: no limit. */
    double wait;                /* Seconds, for the switch. */
    double interval;            /* Seconds between reports. */
    bool json;
    bool sleeps;
    uint8_t mac[6];

    struct vpci_net *net;
    struct vpci_net_info info;
    int64_t start_ns;
    int64_t report_ns;          /* When the next report is due. */
    int64_t lost_ns;            /* Since when no packets flow; 0: they do. */
    bool failed;

    struct vpci_ring_buf bufs[TOOL_MAX_BURST];
    uint8_t *memory;
};

/* An option of one tool. */
struct tool_option {
    const char *name;
    const char *value;          /* What the help calls it; null: none. */
    const char *help;           /* May have lines. */

    /* Returns false if 'value' is of no use. */
    bool (*parse)(const char *value);
};

/* What a report says: a number, printed with so many decimals. */
struct tool_field {
    const char *name;
    double value;
    int decimals;
};

/* Understands the command line, or ends the process with a help text, the
 * version, or status TOOL_USAGE.  'purpose' begins the help text, and
 * '*options' ends with a null name. */
void tool_parse(struct tool *, int argc, char *argv[], const char *purpose,
                const struct tool_option *options);

/* Ends the process with status TOOL_USAGE. */
void tool_usage(const struct tool *, const char *format, ...)
    __attribute__((format(printf, 2, 3), noreturn));

/* Numbers of options.  Return false if 's' is no number from 'min' to
 * 'max'. */
bool tool_parse_u64(const char *s, uint64_t min, uint64_t max, uint64_t *);
bool tool_parse_double(const char *s, double min, double max, double *);
bool tool_parse_mac(const char *s, uint8_t mac[6]);

/* Opens the port and waits until packets flow.  Returns false, having said
 * why, if they do not. */
bool tool_open(struct tool *);

/* Gives all buffers their full size. */
void tool_reset_bufs(struct tool *);

/* True until it is time to end: 'n' packets of 'count' are done, time is
 * over, a signal came, or there has been no switch for too long. */
bool tool_goes_on(struct tool *, uint64_t n);

/* True when it is time for a line. */
bool tool_wants_report(struct tool *);

/* Seconds since the port was open. */
double tool_seconds(const struct tool *);

/* Prints a line: 'kind' is "interval" or "summary". */
void tool_report(const struct tool *, const char *kind,
                 const struct tool_field fields[], unsigned int n);

/* Leaves the port.  Returns the exit status. */
int tool_close(struct tool *);

/* Nanoseconds of CLOCK_MONOTONIC. */
int64_t tool_now_ns(void);

/* Sleeps or, for short times, spins until 'when_ns'. */
void tool_sleep_until(const struct tool *, int64_t when_ns);

/* True once SIGINT or SIGTERM has come. */
bool tool_is_interrupted(void);

#endif /* vpci-tool.h */
