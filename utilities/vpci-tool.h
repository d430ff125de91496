/* SPDX-License-Identifier: Apache-2.0 */

#ifndef VPCI_TOOL_H
#define VPCI_TOOL_H 1

#include <stdio.h>

#include "vpci/net.h"

/* What the tools that attach to ports have in common: options, a port,
 * buffers, reports, an end.  One thread, but for functions that say
 * otherwise. */

#define TOOL_MAX_BURST VPCI_RING_BURST

/* Exit status. */
enum {
    TOOL_OK = 0,
    TOOL_FAILED = 1,
    TOOL_USAGE = 2
};

/* What a tool knows of a link. */
struct tool_link {
    uint32_t id;                /* 0: there is none. */
    int64_t unused_ns;          /* Since when it has not been used. */
    bool said;                  /* The user has been told why. */
};

struct tool {
    const char *name;

    /* What there is beside the options, for the help text: null for an
     * ADDRESS, else one operand or more. */
    const char *operands_name;
    const char *operands_help;

    /* Names of the common options that there are, in one string; null: all. */
    const char *common;

    /* One-letter names of the tool's first own options, one for each. */
    const char *letters;

    char **operands;            /* As many as 'n_operands'. */
    int n_operands;
    const char *address;        /* The first of them, or set by the tool. */

    /* Of struct vpci_net_config. */
    uint64_t features;

    /* Common options. */
    uint32_t n_queues;
    uint64_t count;             /* Packets, 0: no limit. */
    double duration;            /* Seconds, 0: no limit. */
    double wait;                /* Seconds, for the switch. */
    double interval;            /* Seconds between reports, 0: none. */
    bool json;
    bool sleeps;
    bool no_links;
    bool port_info;             /* Ask the switch, after 'duration', and
                                 * end. */
    struct vpci_mitigation mitigation; /* Of receivers. */
    uint8_t mac[6];

    FILE *output;               /* Where reports go; null: stdout. */
    int output_error;           /* Why they do not get there; EPIPE: nobody
                                 * reads them any more. */
    struct vpci_net *net;
    struct vpci_net_info info;
    int64_t start_ns;
    int64_t report_ns;          /* When the next report is due. */
    int64_t lost_ns;            /* Since when no packets flow; 0: they do. */
    uint64_t n_masked;          /* Signals, as last said. */
    struct tool_link links[VPCI_ABI_MAX_LINKS]; /* By their slots. */
    bool failed;

    struct vpci_ring_buf bufs[TOOL_MAX_BURST];
    uint8_t *memory;
};

/* An option of one tool. */
struct tool_option {
    const char *name;
    const char *value;          /* What the help calls it; null: none. */
    const char *help;           /* May have lines. */
    const char *wanted;         /* What it can be, before "is wanted"; null, as
                                 * 'value', if there is none. */

    /* Returns false if 'value' is of no use: not if there is none. */
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
 * why, if they do not.  With --port-info, ends the process instead. */
bool tool_open(struct tool *);

/* Prints what the switch says of the port and of itself, and which links there
 * are, and ends the process. */
void tool_print_port_info(struct tool *) __attribute__((noreturn));

/* The parts of tool_open(): opens the port; waits.  Times count from the end
 * of either. */
bool tool_attach(struct tool *);
bool tool_wait(struct tool *);

/* Whoever receives from 'queue', while the port has 'n_classes', is told of
 * packets as the options say; of those of the highest of several classes at
 * once.  Called by the receiver, or before it begins. */
void tool_mitigate(const struct tool *, uint32_t queue, uint32_t n_classes);

/* Times count from now on. */
void tool_start_clock(struct tool *);

/* Signals that end the process are noticed by tool_is_interrupted() from now
 * on.  tool_attach() does this, too. */
void tool_handle_signals(void);

/* They end the process again. */
void tool_heed_signals(void);

/* Makes 'bufs', with room for any packet.  Returns their memory, to be freed,
 * or null, having said why. */
uint8_t *tool_make_bufs(const struct tool *,
                        struct vpci_ring_buf bufs[TOOL_MAX_BURST]);

/* Gives all buffers of the tool, which tool_open() has made, their full
 * size. */
void tool_reset_bufs(struct tool *);

/* True until it is time to end: 'n' packets of 'count' are done, time is
 * over, a signal came, nobody reads reports, or there has been no switch for
 * too long. */
bool tool_goes_on(struct tool *, uint64_t n);

/* True when it is time for a line, if there are any.  Says then what keeps
 * packets from coming as they should, if anything new does. */
bool tool_wants_report(struct tool *);

/* Says of each link that nothing has used for a while why that is so, once. */
void tool_explain_links(struct tool *);

/* Links that packets may be sent by now. */
uint32_t tool_count_links(const struct tool *);

/* Seconds since the port was open. */
double tool_seconds(const struct tool *);

/* Prints a line: 'kind' is "interval" or "summary".  Says so, once, if that
 * fails. */
void tool_report(struct tool *, const char *kind,
                 const struct tool_field fields[], unsigned int n);

/* Leaves the port.  Returns the exit status. */
int tool_close(struct tool *);

/* Nanoseconds of CLOCK_MONOTONIC. */
int64_t tool_now_ns(void);

/* Sleeps or, for short times, spins until 'when_ns'. */
void tool_sleep_until(const struct tool *, int64_t when_ns);

/* True once SIGINT, SIGTERM or SIGHUP has come.  Any thread. */
bool tool_is_interrupted(void);

#endif /* vpci-tool.h */
