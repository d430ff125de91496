/* SPDX-License-Identifier: Apache-2.0 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "vhost-guest-commands.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "vhost-guest-io.h"

bool
done(struct session *s, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(s->answer, sizeof s->answer, format, args);
    va_end(args);
    return true;
}

bool
failed(struct session *s, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(s->answer, sizeof s->answer, format, args);
    va_end(args);
    return false;
}

bool
result(struct session *s, int error)
{
    return error ? failed(s, "%s", s->g.fe.error) : done(s, "%s", "");
}

const char *
arg_value(const struct args *args, const char *key)
{
    size_t n = strlen(key);

    for (unsigned int i = 1; i < args->n; i++) {
        if (!strncmp(args->words[i], key, n) && args->words[i][n] == '=') {
            return args->words[i] + n + 1;
        }
    }
    return NULL;
}

uint64_t
arg_number(const struct args *args, const char *key, uint64_t fallback)
{
    const char *value = arg_value(args, key);

    return value ? strtoull(value, NULL, 0) : fallback;
}

unsigned int
arg_ms(const struct args *args, const char *key, unsigned int fallback)
{
    const char *value = arg_value(args, key);

    return value ? (unsigned int) (strtod(value, NULL) * 1000) : fallback;
}

bool
arg_has(const struct args *args, const char *word)
{
    for (unsigned int i = 1; i < args->n; i++) {
        if (!strcmp(args->words[i], word)) {
            return true;
        }
    }
    return false;
}

static uint64_t
positional(const struct args *args, unsigned int i, uint64_t fallback)
{
    return i < args->n && !strchr(args->words[i], '=')
           ? strtoull(args->words[i], NULL, 0) : fallback;
}

/* A reboot loses what the device had given back but the driver not taken.  Of
 * frames sent it shall be counted all the same. */
static void
forget_in_flight(struct session *s)
{
    pthread_mutex_lock(&s->g.lock);
    for (unsigned int i = 1; i < s->g.n_queues; i += 2) {
        if (s->g.queues[i].drv) {
            guest_reap_tx(&s->g, &s->g.queues[i]);
        }
    }
    pthread_mutex_unlock(&s->g.lock);
    guest_reset_rings(&s->g);
}

/* Receive buffers are there before the back end looks, as in a guest whose
 * driver has started. */
static int
start_device(struct session *s, bool reset)
{
    struct guest *g = &s->g;

    if (reset) {
        forget_in_flight(s);
    }
    pthread_mutex_lock(&g->lock);
    g->frozen = false;
    for (unsigned int i = 0; i < g->n_queues; i += 2) {
        guest_fill_rx(g, &g->queues[i]);
    }
    pthread_mutex_unlock(&g->lock);
    return guest_start(g);
}

bool
session_start(struct session *s, bool reset)
{
    int error = guest_open(&s->g);

    if (!error && !s->g.cfg.native) {
        error = guest_memory_truncate(&s->g.mem, UINT64_MAX);
    }
    if (!error) {
        error = start_device(s, reset);
    }
    return error ? failed(s, "%s", s->g.fe.error)
                 : done(s, "features=%#"PRIx64, s->g.features);
}

static bool
run_connect(struct session *s, const struct args *args)
{
    guest_close(&s->g);
    return session_start(s, arg_has(args, "reset"));
}

static bool
run_disconnect(struct session *s, const struct args *args)
{
    int error = 0;

    if (!arg_has(args, "abrupt") && s->g.running) {
        error = guest_stop(&s->g);
    }
    guest_close(&s->g);
    return result(s, error);
}

static bool
run_die(struct session *s, const struct args *args)
{
    (void) s;
    (void) args;
    fflush(NULL);
    _exit(0);
}

static bool
run_stop(struct session *s, const struct args *args)
{
    (void) args;
    return result(s, guest_stop(&s->g));
}

static bool
run_start(struct session *s, const struct args *args)
{
    const char *base = arg_value(args, "base");

    if (s->g.running) {
        return failed(s, "is running");
    }
    if (base) {
        for (unsigned int i = 0; i < s->g.n_queues; i++) {
            s->g.queues[i].base = strtoul(base, NULL, 0);
            s->g.queues[i].base_known = true;
        }
    }
    return result(s, start_device(s, arg_has(args, "reset")));
}

static bool
run_restart(struct session *s, const struct args *args)
{
    int error = guest_stop(&s->g);

    return error ? result(s, error) : run_start(s, args);
}

static bool
run_enable(struct session *s, const struct args *args)
{
    uint64_t pair = positional(args, 1, 0);

    if (pair >= s->g.cfg.n_pairs) {
        return failed(s, "there is no queue pair %"PRIu64, pair);
    }
    return result(s, guest_set_enabled(&s->g, pair,
                                       !strcmp(args->words[0], "enable")));
}

static bool
run_probe(struct session *s, const struct args *args)
{
    (void) args;
    return result(s, front_end_probe(&s->g.fe));
}

static bool
run_ring_addr(struct session *s, const struct args *args)
{
    uint64_t n = positional(args, 1, 1);
    int error = 0;

    while (n-- && !error) {
        for (unsigned int i = 0; i < s->g.n_queues && !error; i++) {
            error = guest_set_ring_addr(&s->g, &s->g.queues[i]);
        }
    }
    return result(s, error);
}

static bool
run_ring_bounce(struct session *s, const struct args *args)
{
    uint64_t n = positional(args, 1, 1);
    int error = 0;

    /* The rest of the device goes on, as with the reset of one virtqueue. */
    while (n-- && !error) {
        for (unsigned int i = 0; i < s->g.n_queues && !error; i++) {
            error = guest_stop_ring(&s->g, &s->g.queues[i]);
            if (!error) {
                error = guest_start_ring(&s->g, &s->g.queues[i]);
            }
        }
    }
    for (unsigned int i = 0; i < s->g.n_queues; i++) {
        eventfd_write(s->g.queues[i].kick_fd, 1);
    }
    guest_wake(&s->g);
    return result(s, error);
}

static bool
run_ring_call(struct session *s, const struct args *args)
{
    uint64_t n = positional(args, 1, 1);
    int error = 0;

    while (n-- && !error) {
        error = guest_replace_call_fds(&s->g);
    }
    return result(s, error);
}

static bool
run_ring_show(struct session *s, const struct args *args)
{
    size_t n = 0;

    (void) args;
    s->answer[0] = '\0';
    pthread_mutex_lock(&s->g.lock);
    for (unsigned int i = 0; i < s->g.n_queues; i++) {
        const struct guest_queue *q = &s->g.queues[i];
        uint16_t idx;
        bool wrap;

        if (q->drv) {
            vring_driver_device_base(q->drv, &idx, &wrap);
        } else {
            idx = q->native_done;
            wrap = false;
        }
        n += snprintf(s->answer + n, sizeof s->answer - n,
                      "%s%u: used=%u/%d in_flight=%u posted=%"PRIu64
                      " done=%"PRIu64" abandoned=%"PRIu64, i ? "; " : "", i,
                      idx, wrap, (unsigned int) guest_in_flight(&s->g, q),
                      q->posted, q->done, q->abandoned);
        if (n >= sizeof s->answer) {
            break;
        }
    }
    pthread_mutex_unlock(&s->g.lock);
    return true;
}

/* Stops the rings, lets 'change' do its work with nobody looking, and starts
 * them again.  Traffic in the guest goes on, except during the change. */
static int
with_rings_stopped(struct session *s, int (*change)(struct session *))
{
    int error = guest_stop(&s->g);

    if (!error) {
        error = change(s);
    }
    if (!error) {
        error = guest_start(&s->g);
        guest_wake(&s->g);
    }
    return error;
}

static int
copy_memory(struct session *s)
{
    int error;

    pthread_mutex_lock(&s->g.lock);
    error = guest_memory_copy(&s->g.mem);
    pthread_mutex_unlock(&s->g.lock);
    if (error) {
        snprintf(s->g.fe.error, sizeof s->g.fe.error,
                 "cannot copy memory: %s", strerror(error));
    }
    return error;
}

static int
shift_memory(struct session *s)
{
    s->g.mem.user_base += UINT64_C(1) << 36;
    return 0;
}

static int
move_rings(struct session *s)
{
    unsigned int zone = GUEST_MAX_ZONES - 1;

    while (zone && !s->g.mem.zones[zone].size) {
        zone--;
    }
    return guest_move_rings(&s->g, zone);
}

static bool
run_mem_show(struct session *s, const struct args *args)
{
    struct guest_region regions[GUEST_MAX_REGIONS];
    unsigned int n_regions = guest_memory_table(&s->g.mem, regions);
    size_t n = 0;

    (void) args;
    s->answer[0] = '\0';
    for (unsigned int i = 0; i < n_regions; i++) {
        n += snprintf(s->answer + n, sizeof s->answer - n,
                      "%s%#"PRIx64"+%#"PRIx64"@%#"PRIx64, i ? " " : "",
                      regions[i].addr, regions[i].size, regions[i].offset);
    }
    return true;
}

static bool
run_mem_add(struct session *s, const struct args *args)
{
    uint64_t needed = guest_rings_bytes(&s->g) + guest_buffers_bytes(&s->g);
    uint64_t mib = positional(args, 1, needed / (1024 * 1024) + 1);
    const char *file = arg_value(args, "file");
    int zone;

    pthread_mutex_lock(&s->g.lock);
    zone = (file ? guest_memory_add_file(&s->g.mem, file)
            : guest_memory_add_zone(&s->g.mem, mib * 1024 * 1024));
    pthread_mutex_unlock(&s->g.lock);
    if (zone < 0) {
        return failed(s, "cannot add memory: %s", strerror(-zone));
    }
    int error = s->g.running ? guest_set_mem_table(&s->g) : 0;
    return error ? result(s, error) : done(s, "zone=%d", zone);
}

static bool
run_mem_move(struct session *s, const struct args *args)
{
    uint64_t zone = positional(args, 2, GUEST_MAX_ZONES);
    bool rings = arg_has(args, "rings");

    if (zone >= GUEST_MAX_ZONES) {
        for (zone = GUEST_MAX_ZONES - 1; zone && !s->g.mem.zones[zone].size;) {
            zone--;
        }
    }
    if (!rings && !arg_has(args, "buffers")) {
        return failed(s, "say \"rings\" or \"buffers\"");
    }
    return result(s, rings ? with_rings_stopped(s, move_rings)
                           : guest_move_buffers(&s->g, zone));
}

static bool
run_mem_del(struct session *s, const struct args *args)
{
    uint64_t zone = positional(args, 1, GUEST_MAX_ZONES);

    if (zone >= GUEST_MAX_ZONES || !s->g.mem.zones[zone].size) {
        return failed(s, "there is no such zone");
    } else if (guest_zone_in_use(&s->g, zone)) {
        return failed(s, "zone %"PRIu64" is in use", zone);
    }
    pthread_mutex_lock(&s->g.lock);
    struct guest_zone old = s->g.mem.zones[zone];
    s->g.mem.zones[zone].size = 0;
    pthread_mutex_unlock(&s->g.lock);

    int error = guest_set_mem_table(&s->g);
    s->g.mem.zones[zone] = old;
    guest_memory_remove_zone(&s->g.mem, zone);
    return result(s, error);
}

static bool
run_mem_cut(struct session *s, const struct args *args)
{
    s->g.mem.n_cuts = positional(args, 1, 2);
    return result(s, guest_set_mem_table(&s->g));
}

static bool
run_mem_resend(struct session *s, const struct args *args)
{
    uint64_t n = positional(args, 1, 1);
    int error = 0;

    while (n-- && !error) {
        error = guest_set_mem_table(&s->g);
    }
    return result(s, error);
}

static int
copy_and_shift_memory(struct session *s)
{
    shift_memory(s);
    return copy_memory(s);
}

/* librte_vhost 22.11 takes a table with the same addresses and sizes for the
 * same memory, whatever its descriptors: so "same" is for other back ends. */
static bool
run_mem_copy(struct session *s, const struct args *args)
{
    return result(s, with_rings_stopped(s, arg_has(args, "same")
                                           ? copy_memory
                                           : copy_and_shift_memory));
}

static bool
run_mem_shift(struct session *s, const struct args *args)
{
    (void) args;
    return result(s, with_rings_stopped(s, shift_memory));
}

static bool
run_log_start(struct session *s, const struct args *args)
{
    (void) args;
    return result(s, guest_log_start(&s->g));
}

static bool
run_log_stop(struct session *s, const struct args *args)
{
    (void) args;
    return result(s, guest_log_stop(&s->g));
}

/* What the device writes of the ring itself: the used ring, or the
 * descriptors of a packed ring.  Only rings that have gone round since are
 * sure to have touched every page. */
static bool
run_log_check(struct session *s, const struct args *args)
{
    struct guest *g = &s->g;
    bool packed = g->features & VRING_F_PACKED;
    uint64_t min_frames = arg_number(args, "min", 1);

    if (g->log.fd < 0) {
        return failed(s, "logging is off");
    } else if (g->counts.log_checked < min_frames) {
        return failed(s, "only %"PRIu64" buffers were checked",
                      g->counts.log_checked);
    } else if (g->counts.log_missing) {
        return failed(s, "%"PRIu64" pages of received buffers not marked",
                      g->counts.log_missing);
    }
    for (unsigned int i = 0; i < g->n_queues; i++) {
        const struct guest_queue *q = &g->queues[i];
        uint64_t addr = packed ? q->desc_addr : q->device_addr;

        if (q->done > 2u * g->cfg.ring_size
            && guest_log_missing(g, addr, 4)) {
            return failed(s, "ring %u itself not marked", i);
        }
    }
    return done(s, "checked=%"PRIu64, g->counts.log_checked);
}

static bool
run_interrupts(struct session *s, const struct args *args)
{
    if (s->traffic_runs) {
        return failed(s, "traffic runs");
    }
    s->g.cfg.interrupts = arg_has(args, "on");
    return done(s, "%s", "");
}

static bool
run_sleep(struct session *s, const struct args *args)
{
    usleep(args->n > 1 ? strtod(args->words[1], NULL) * 1e6 : 0);
    return done(s, "%s", "");
}

static bool
run_timeout(struct session *s, const struct args *args)
{
    double seconds = args->n > 1 ? strtod(args->words[1], NULL) : 0;

    if (seconds <= 0) {
        return failed(s, "say how many seconds");
    } else if (s->traffic_runs) {
        return failed(s, "traffic runs");
    }
    s->g.cfg.timeout_ms = s->g.fe.timeout_ms = seconds * 1000;
    return done(s, "%s", "");
}

/* What a virtual machine monitor sends when a guest that cannot announce
 * itself has been migrated. */
static bool
run_rarp(struct session *s, const struct args *args)
{
    uint8_t mac[8] = { 0 };
    uint64_t u64;

    if (args->n < 2
        || sscanf(args->words[1], "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &mac[0],
                  &mac[1], &mac[2], &mac[3], &mac[4], &mac[5]) != 6) {
        return failed(s, "say an Ethernet address");
    }
    memcpy(&u64, mac, sizeof u64);
    return result(s, front_end_set_u64(&s->g.fe, VU_SEND_RARP, u64));
}

static bool
run_quit(struct session *s, const struct args *args)
{
    (void) args;
    s->quit = true;
    return done(s, "%s", "");
}

const struct command control_commands[] = {
    { "connect", "[reset]", "connect (or accept) and start all rings; rings "
      "go on from their used buffers unless reset", run_connect },
    { "disconnect", "[abrupt]", "stop all rings and close, or just close",
      run_disconnect },
    { "die", "", "exit at once, without closing anything", run_die },
    { "stop", "", "GET_VRING_BASE on all rings; fails if a base is not where "
      "the used buffers end", run_stop },
    { "start", "[reset] [base=N]", "start stopped rings, from what stop said",
      run_start },
    { "restart", "[reset] [base=N]", "stop and start", run_restart },
    { "enable", "PAIR", "SET_VRING_ENABLE 1 on both rings of a pair; of "
      "vpci-net, from the next start on", run_enable },
    { "disable", "PAIR", "SET_VRING_ENABLE 0", run_enable },
    { "probe", "", "fails unless the back end answers", run_probe },
    { "ring-addr", "[TIMES]", "send SET_VRING_ADDR again, rings running",
      run_ring_addr },
    { "ring-bounce", "[TIMES]", "stop and start ring after ring",
      run_ring_bounce },
    { "ring-call", "[TIMES]", "replace all call descriptors", run_ring_call },
    { "ring-show", "", "where the rings stand", run_ring_show },
    { "mem-show", "", "regions as ADDR+SIZE@OFFSET", run_mem_show },
    { "mem-add", "[MIB|file=PATH]", "plug a zone of memory (by default large "
      "enough for everything; or what is in a file) and send SET_MEM_TABLE",
      run_mem_add },
    { "mem-move", "rings|buffers [ZONE]", "stop, copy the rings to the zone "
      "added last, start; or take buffers from there from now on",
      run_mem_move },
    { "mem-del", "ZONE", "unplug a zone; fails while it is in use",
      run_mem_del },
    { "mem-cut", "[N]", "the same memory as N regions a zone, rings running",
      run_mem_cut },
    { "mem-resend", "[TIMES]", "the same SET_MEM_TABLE, rings running",
      run_mem_resend },
    { "mem-copy", "[same]", "stop, copy all memory to new descriptors (and, "
      "unless same, move all user addresses), start", run_mem_copy },
    { "mem-shift", "", "stop, move all user addresses, start",
      run_mem_shift },
    { "log-start", "", "dirty logging on", run_log_start },
    { "log-check", "[min=N]", "fails if a page of a buffer that was posted "
      "since was not marked, or fewer than N buffers came back",
      run_log_check },
    { "log-stop", "", "dirty logging off", run_log_stop },
    { "rarp", "MAC", "SEND_RARP: have the guest announced", run_rarp },
    { "interrupts", "on|off", "sleep for interrupts, or poll",
      run_interrupts },
    { "sleep", "SECONDS", "do nothing; traffic goes on", run_sleep },
    { "timeout", "SECONDS", "bound of every wait from now on", run_timeout },
    { "quit", "", "end, also in the middle of a script", run_quit },
    { 0 },
};

static const struct command *
find_command(const char *name)
{
    static const struct command *const tables[] = {
        control_commands, traffic_commands, hostile_commands,
    };

    for (unsigned int i = 0; i < sizeof tables / sizeof *tables; i++) {
        for (const struct command *c = tables[i]; c->name; c++) {
            if (!strcmp(c->name, name)) {
                return c;
            }
        }
    }
    return NULL;
}

/* A device that broke the rules of its ring fails the command at hand,
 * whatever it was. */
static bool
run_checked(struct session *s, const struct command *command,
            const struct args *args)
{
    bool had_error = guest_ring_error(&s->g, s->answer, sizeof s->answer);
    bool ok;

    s->answer[0] = '\0';
    ok = command->run(s, args);
    if (ok && !had_error
        && guest_ring_error(&s->g, s->answer, sizeof s->answer)) {
        return false;
    }
    return ok;
}

bool
session_run(struct session *s, char *line)
{
    struct args args = { 0 };
    bool invert = false, ok;
    char *save = NULL;

    for (char *word = strtok_r(line, " \t\r\n", &save);
         word && *word != '#' && args.n < 64;
         word = strtok_r(NULL, " \t\r\n", &save)) {
        if (!args.n && !invert && *word == '!') {
            invert = true;
            if (!*++word) {
                continue;
            }
        }
        args.words[args.n++] = word;
    }
    if (!args.n) {
        return true;
    }

    const struct command *command = find_command(args.words[0]);
    if (!command) {
        /* A misspelt command is never the failure that was hoped for. */
        invert = false;
        ok = failed(s, "no such command; see --help");
    } else {
        ok = run_checked(s, command, &args);
    }
    if (invert) {
        ok = !ok;
    }
    printf("%s: %s%s%s\n", args.words[0], ok ? "ok" : "error",
           s->answer[0] ? " " : "", s->answer);
    fflush(stdout);
    return ok;
}
