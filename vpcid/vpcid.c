/* SPDX-License-Identifier: Apache-2.0 */

/* vpcid, the keeper: owns the shared memory, sockets and eventfds of vpci
 * ports, and outlives the switch.  See vpcid(8). */

#include <config.h>

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "command-line.h"
#include "control.h"
#include "daemon.h"
#include "descriptors.h"
#include "dirs.h"
#include "fatal-signal.h"
#include "openvswitch/poll-loop.h"
#include "openvswitch/vlog.h"
#include "refused.h"
#include "region.h"
#include "show.h"
#include "state.h"
#include "timeval.h"
#include "unixctl.h"
#include "upgrade.h"
#include "util.h"
#include "uuid.h"
#include "watch.h"

VLOG_DEFINE_THIS_MODULE(vpcid);

/* How often ovs-appctl has its turn while there are no descriptors for it. */
#define UNIXCTL_PAUSE_MS 100

struct options {
    char *control_path;
    char *unixctl_path;         /* Null for the default. */
    int restore_fd;             /* State of the program before, or -1. */
};

OVS_NO_RETURN static void
usage(void)
{
    printf("%s: keeper of the memory that vpci ports share with guests\n"
           "usage: %s [OPTIONS]\n"
           "\n"
           "  --control=PATH          listen for the switch on PATH\n"
           "                          (default: %s/vpcid.ctl)\n",
           program_name, program_name, ovs_rundir());
    daemon_usage();
    vlog_usage();
    printf("\nOther options:\n"
           "  --unixctl=SOCKET        override default control socket name\n"
           "  -h, --help              display this help message\n"
           "  -V, --version           display version information\n"
           "\nFor other programs of this name, at an upgrade:\n"
           "  --check-state=FD        exit with status 0 if the state in FD "
                                     "can be taken\n"
           "                          over\n"
           "  --restore=FD            take it over\n");
    exit(EXIT_SUCCESS);
}

enum {
    OPT_CONTROL = UCHAR_MAX + 1,
    OPT_UNIXCTL,
    OPT_CHECK_STATE,
    OPT_RESTORE,
    VLOG_OPTION_ENUMS,
    DAEMON_OPTION_ENUMS,
};

static int
parse_fd(const char *option, const char *s)
{
    int fd;

    if (!str_to_int(s, 10, &fd) || fd < 0) {
        ovs_fatal(0, "%s=%s: a descriptor is wanted", option, s);
    }
    return fd;
}

static void
set_path(char **path, const char *value)
{
    free(*path);
    *path = abs_file_name(ovs_rundir(), value);
}

/* Options of a daemon that concern its beginning, which is over at an
 * upgrade. */
static void
parse_daemon_option(int c, const char *arg, bool restores)
{
    if (c == OPT_PIDFILE) {
        upgrade_set_pidfile(arg ? abs_file_name(ovs_rundir(), arg)
                            : xasprintf("%s/%s.pid", ovs_rundir(),
                                        program_name));
    }
    if (restores) {
        return;
    }
    switch (c) {
    DAEMON_OPTION_HANDLERS

    default:
        OVS_NOT_REACHED();
    }
}

static void
parse_option(int c, struct options *options)
{
    switch (c) {
    case OPT_CONTROL:
        set_path(&options->control_path, optarg);
        break;

    case OPT_UNIXCTL:
        free(options->unixctl_path);
        options->unixctl_path = xstrdup(optarg);
        break;

    case OPT_CHECK_STATE:
        exit(state_check(parse_fd("--check-state", optarg)));

    case OPT_RESTORE:
        options->restore_fd = parse_fd("--restore", optarg);
        break;

    case 'h':
        usage();

    case 'V':
        printf("%s (ovs-vpci) %s\n", program_name, VPCI_VERSION);
        exit(EXIT_SUCCESS);

    VLOG_OPTION_HANDLERS

    DAEMON_OPTION_CASES
        parse_daemon_option(c, optarg, options->restore_fd >= 0);
        break;

    default:
        exit(EXIT_FAILURE);
    }
}

static void
parse_options(int argc, char *argv[], struct options *options)
{
    static const struct option long_options[] = {
        {"control", required_argument, NULL, OPT_CONTROL},
        {"unixctl", required_argument, NULL, OPT_UNIXCTL},
        {"check-state", required_argument, NULL, OPT_CHECK_STATE},
        {"restore", required_argument, NULL, OPT_RESTORE},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},
        VLOG_LONG_OPTIONS,
        DAEMON_LONG_OPTIONS,
        {NULL, 0, NULL, 0},
    };
    char *short_options = ovs_cmdl_long_options_to_short_options(long_options);

    options->control_path = xasprintf("%s/vpcid.ctl", ovs_rundir());
    options->unixctl_path = NULL;
    options->restore_fd = -1;

    /* It comes last, and changes what the others mean. */
    if (argc > 1 && !strncmp(argv[argc - 1], "--restore=", 10)) {
        options->restore_fd = parse_fd("--restore", argv[argc - 1] + 10);
    }
    for (;;) {
        int c = getopt_long(argc, argv, short_options, long_options, NULL);

        if (c == -1) {
            break;
        }
        parse_option(c, options);
    }
    free(short_options);
    if (optind < argc) {
        ovs_fatal(0, "'%s': no arguments but options are wanted; use --help "
                  "for usage", argv[optind]);
    }
}

static void
unixctl_exit(struct unixctl_conn *conn, int argc OVS_UNUSED,
             const char *argv[] OVS_UNUSED, void *exiting_)
{
    bool *exiting = exiting_;

    *exiting = true;
    unixctl_command_reply(conn, NULL);
}

/* Begins with nothing. */
static void
begin(const struct options *options)
{
    char *text = NULL;

    uuid_generate(&keeper_uuid);
    keeper_since = time_wall_msec();
    if (control_open(options->control_path, &text)) {
        VLOG_FATAL("%s", text);
    }
}

static struct unixctl_server *
start_unixctl(const struct options *options, bool *exiting)
{
    struct unixctl_server *unixctl = NULL;
    int error = unixctl_server_create(options->unixctl_path, &unixctl);

    /* What clients have must not be lost for that. */
    if (error && options->restore_fd < 0) {
        exit(EXIT_FAILURE);
    } else if (error) {
        VLOG_ERR("ovs-appctl will not reach this process (%s)",
                 ovs_strerror(error));
    }
    unixctl_command_register("exit", "", 0, 0, unixctl_exit, exiting);
    show_init();
    upgrade_init();
    return unixctl;
}

/* Gives ovs-appctl its turn, with a descriptor if need be.  If there is none
 * after that, a connection that waits for one would keep us awake: then there
 * is no turn for a while. */
static void
run_unixctl(struct unixctl_server *unixctl, long long int *pause)
{
    if (time_msec() >= *pause) {
        descriptors_lend();
        unixctl_server_run(unixctl);
        *pause = (descriptors_take_back() ? 0
                  : time_msec() + UNIXCTL_PAUSE_MS);
    }
}

static void
main_loop(struct unixctl_server *unixctl, const bool *exiting)
{
    long long int unixctl_pause = 0;

    while (!*exiting) {
        watch_run();
        control_run();
        upgrade_run();
        refused_run();
        run_unixctl(unixctl, &unixctl_pause);

        watch_wait();
        control_wait();
        upgrade_wait();
        refused_wait();
        if (unixctl_pause) {
            poll_timer_wait_until(unixctl_pause);
        } else {
            unixctl_server_wait(unixctl);
        }
        if (*exiting) {
            poll_immediate_wake();
        }
        poll_block();
    }
}

int
main(int argc, char *argv[])
{
    struct unixctl_server *unixctl;
    struct options options;
    bool exiting = false;

    upgrade_save_arguments(argc, argv);
    ovs_cmdl_proctitle_init(argc, argv);
    set_program_name(argv[0]);
    fatal_ignore_sigpipe();
    parse_options(argc, argv, &options);
    if (options.restore_fd < 0) {
        daemon_become_new_user(false);
    }
    daemonize_start(false);

    descriptors_init();
    watch_global_init();
    if (options.restore_fd >= 0) {
        upgrade_restore(options.restore_fd);
    } else {
        begin(&options);
    }
    unixctl = start_unixctl(&options, &exiting);
    daemonize_complete();
    VLOG_INFO("vpcid (ovs-vpci) %s", VPCI_VERSION);
    if (options.restore_fd >= 0) {
        upgrade_complete();
    }

    main_loop(unixctl, &exiting);

    upgrade_cancel();
    regions_delete_all();
    control_close();
    unixctl_server_destroy(unixctl);
    free(options.control_path);
    free(options.unixctl_path);
    return 0;
}
