/* SPDX-License-Identifier: Apache-2.0 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "vpci-mirror.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vpci-command.h"

/* How long the switch may take, in seconds. */
#define TIMEOUT "--timeout=15"

#define DEFAULT_MTU 1500

/* Of a mirror and its port: Linux has no greater PID. */
#define LONGEST_NAME "dump-4194304-9"

/* How long flows may take to leave links, and how often it is looked whether
 * they have. */
#define LINKS_US 10000
#define LINKS_TRIES 200

/* A command of ovs-vsctl. */
static struct command
vsctl(const struct mirror *m, const char *words)
{
    struct command c = { .n = 0 };

    command_add_words(&c, "ovs-vsctl " TIMEOUT);
    if (m->db) {
        command_add(&c, "--db=%s", m->db);
    }
    command_add_words(&c, words);
    return c;
}

/* Appends "NAME=VALUE", as strings are written where others may be. */
static void
add_string(struct command *c, const char *name, const char *value)
{
    char *text = NULL;
    size_t size;
    FILE *stream = open_memstream(&text, &size);

    if (!stream) {
        abort();
    }
    fprintf(stream, "%s=\"", name);
    for (; *value; value++) {
        fprintf(stream, "%s%c", strchr("\"\\", *value) ? "\\" : "", *value);
    }
    fputc('"', stream);
    fclose(stream);
    command_add(c, "%s", text);
    free(text);
}

/* Runs 'c', whose answer does not matter. */
static bool
does(const struct mirror *m, struct command c)
{
    char *text = command_run(m->program, c);

    free(text);
    return text != NULL;
}

/* Field 22 of /proc/PID/stat: when the process began.  Returns 0 if there is
 * no such process. */
static unsigned long long
started(long pid)
{
    char path[64], text[1024] = "", *p;
    unsigned long long time = 0;
    FILE *file;

    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    file = fopen(path, "r");
    if (!file) {
        return 0;
    }
    p = fgets(text, sizeof text, file) ? strrchr(text, ')') : NULL;
    fclose(file);

    /* The name of the program, which comes first, may have blanks. */
    for (int i = 2; p && i < 22; i++) {
        p = strchr(p + 1, ' ');
    }
    return p && sscanf(p, "%llu", &time) == 1 ? time : 0;
}

/* What processes are told apart in by their numbers: this machine, until it
 * boots, and our PID namespace. */
struct place {
    char boot[64];
    char pids[64];
};

static struct place
our_place(void)
{
    struct place place = { "", "" };
    FILE *file = fopen("/proc/sys/kernel/random/boot_id", "r");
    ssize_t n = readlink("/proc/self/ns/pid", place.pids,
                         sizeof place.pids - 1);

    place.pids[n > 0 ? n : 0] = '\0';
    if (file) {
        if (fscanf(file, "%63s", place.boot) != 1) {
            place.boot[0] = '\0';
        }
        fclose(file);
    }
    return place;
}

/* Looks whether sockets can be in 'dir'. */
static bool
check_dir(const struct mirror *m)
{
    size_t max = sizeof m->path - 1 - strlen("/" LONGEST_NAME ".sock");

    if (m->dir[0] != '/' || strlen(m->dir) > max) {
        fprintf(stderr, "%s: --dir=%s: an absolute path of up to %zu bytes is "
                "wanted: that of a socket has 107 at most\n", m->program,
                m->dir, max);
        return false;
    }
    if (access(m->dir, F_OK)) {
        fprintf(stderr, "%s: --dir=%s: %s\n", m->program, m->dir,
                strerror(errno));
        return false;
    }
    return true;
}

/* Returns what a command of ovs-vsctl with 'name' behind it says, in one line,
 * to be freed; null if it fails. */
static char *
ask_of(const struct mirror *m, const char *words, const char *name)
{
    struct command c = vsctl(m, words);
    char *text;

    command_add(&c, "%s", name);
    text = command_run(m->program, c);
    if (text) {
        text[strcspn(text, "\n")] = '\0';
    }
    return text;
}

/* The bridge of port 'name', to be freed, or null, having said why. */
static char *
bridge_of(const struct mirror *m, const char *name)
{
    char *bridge, *parent = NULL;

    if (!*name || *name == '-') {
        fprintf(stderr, "%s: '%s' is no name of a port\n", m->program, name);
        return NULL;
    }
    bridge = ask_of(m, "port-to-br", name);
    if (!bridge) {
        fprintf(stderr, "%s: no port '%s' in the database: \"ovs-vsctl show\" "
                "lists those there are\n", m->program, name);
        return NULL;
    }

    /* It may be one that only ovs-vsctl knows, for a VLAN of another. */
    parent = ask_of(m, "br-to-parent", bridge);
    free(bridge);
    return parent;
}

/* Finds the bridge of port 'name', which must be that of the others. */
static bool
find_bridge(struct mirror *m, const char *name)
{
    char *bridge = bridge_of(m, name);

    if (!bridge) {
        return false;
    }
    if (m->bridge && strcmp(m->bridge, bridge)) {
        fprintf(stderr, "%s: port '%s' is on bridge '%s', and '%s' on '%s': "
                "a mirror is of one bridge: run this once for each\n",
                m->program, m->ports[0], m->bridge, name, bridge);
        free(bridge);
        return false;
    }
    free(m->bridge);
    m->bridge = bridge;
    return true;
}

/* The mirror's port must take what the others may send. */
static void
heed_mtu(struct mirror *m, const char *name)
{
    struct command c = vsctl(m, "--if-exists get Interface");
    unsigned int mtu;
    char *text;

    command_add(&c, "%s", name);
    command_add(&c, "mtu");
    text = command_run(m->program, c);
    if (text && sscanf(text, "%u", &mtu) == 1 && mtu > m->mtu) {
        m->mtu = mtu;
    }
    free(text);
}

/* True if 'table' has a row 'name'; '*ok' becomes false if nobody knows. */
static bool
exists(const struct mirror *m, const char *table, const char *name, bool *ok)
{
    struct command c = vsctl(m, "--bare --columns=name find");
    char *text;
    bool found;

    command_add(&c, "%s", table);
    command_add(&c, "name=%s", name);
    text = command_run(m->program, c);
    found = text && *text;
    *ok &= text != NULL;
    free(text);
    return found;
}

/* Removes what there is of mirror and port 'name' from the database and, if it
 * 'waits', waits until the switch has heard of that. */
static bool
remove_named(const struct mirror *m, const char *name, const char *bridge,
             bool waits)
{
    bool ok = true;
    bool has_mirror = exists(m, "Mirror", name, &ok);
    struct command c = vsctl(m, waits ? "--" : "--no-wait --");

    if (ok && has_mirror) {
        command_add_words(&c, "--id=@m get Mirror");
        command_add(&c, "%s", name);
        command_add_words(&c, "-- remove Bridge");
        command_add(&c, "%s", bridge);
        command_add_words(&c, "mirrors @m --");
    }
    command_add_words(&c, "--if-exists del-port");
    command_add(&c, "%s", name);
    if (ok) {
        return does(m, c);
    }
    command_free(&c);
    return false;
}

/* Tells of mirror and port 'name', whose process we cannot see. */
static void
tell_remain(const struct mirror *m, const char *table, const char *name,
            const char *pid, const char *bridge)
{
    if (!strcmp(table, "Port")) {
        fprintf(stderr, "%s: mirror and port '%s' are of process %s in "
                "another PID namespace, which we cannot see: if it is no "
                "more, remove them: ovs-vsctl -- --id=@m get Mirror %s "
                "-- remove Bridge %s mirrors @m -- del-port %s\n", m->program,
                name, pid, name, bridge, name);
    }
}

/* Stores the word behind 'key' in 'ids' in the 64 bytes at 'value'. */
static bool
find_id(const char *ids, const char *key, char *value)
{
    const char *p = strstr(ids, key);

    return p && sscanf(p + strlen(key), "%63s", value) == 1;
}

/* Removes mirror or port 'name', which is in 'table', if its process, as 'ids'
 * says, is no more. */
static bool
clear_remain(const struct mirror *m, const char *table, const char *name,
             const char *ids)
{
    const struct place here = our_place();
    struct place place;
    char pid[64], started_at[64], bridge[64];

    if (!find_id(ids, "vpci-dump=", pid)
        || !find_id(ids, "vpci-dump-started=", started_at)
        || !find_id(ids, "vpci-dump-bridge=", bridge)
        || !find_id(ids, "vpci-dump-boot=", place.boot)
        || !find_id(ids, "vpci-dump-pids=", place.pids)) {
        return true;
    }
    if (!strcmp(place.boot, here.boot)) {
        if (strcmp(place.pids, here.pids)) {
            tell_remain(m, table, name, pid, bridge);
            return true;
        }
        if (started(atol(pid)) == strtoull(started_at, NULL, 10)) {
            return true;
        }
    }
    fprintf(stderr, "%s: removing mirror and port '%s' of process %s, which "
            "is no more\n", m->program, name, pid);
    return remove_named(m, name, bridge, false);
}

/* Removes what processes have left, as 'table' says. */
static bool
clear_remains(const struct mirror *m, const char *table)
{
    struct command c = vsctl(m, "--bare --columns=name,external_ids find");
    char *text, *line, *rest, *name = NULL;
    bool ok = true;

    command_add(&c, "%s", table);
    command_add(&c, "external_ids:vpci-dump!=0");
    text = command_run(m->program, c);
    if (!text) {
        fprintf(stderr, "%s: cannot read the database: is ovsdb-server "
                "running, and --db right?\n", m->program);
        return false;
    }

    /* Lines by turns. */
    for (line = strtok_r(text, "\n", &rest); line && ok;
         line = strtok_r(NULL, "\n", &rest)) {
        ok = !name || clear_remain(m, table, name, line);
        name = name ? NULL : line;
    }
    free(text);
    return ok;
}

/* Chooses a name that nobody has: a process in another PID namespace, or a
 * user, may have the first one. */
static bool
choose_name(struct mirror *m)
{
    bool ok = true;

    for (int i = 0; i < 10 && ok; i++) {
        const char suffix[] = { '-', '0' + i, '\0' };

        snprintf(m->name, sizeof m->name, "dump-%ld%s", (long) getpid(),
                 i ? suffix : "");
        if (!exists(m, "Mirror", m->name, &ok)
            && !exists(m, "Port", m->name, &ok) && ok) {
            return true;
        }
    }
    if (ok) {
        fprintf(stderr, "%s: mirrors or ports 'dump-%ld' and 'dump-%ld-1' to "
                "'-9' are there already: remove them\n", m->program,
                (long) getpid(), (long) getpid());
    }
    return false;
}

/* Leaves each port in the list once. */
static void
drop_repeated(struct mirror *m)
{
    int n = 0;

    for (int i = 0; i < m->n_ports; i++) {
        int j = 0;

        while (j < n && strcmp(m->ports[j], m->ports[i])) {
            j++;
        }
        if (j == n) {
            m->ports[n++] = m->ports[i];
        }
    }
    m->n_ports = n;
}

bool
mirror_prepare(struct mirror *m)
{
    m->mtu = DEFAULT_MTU;
    drop_repeated(m);
    if (!check_dir(m) || !clear_remains(m, "Mirror")
        || !clear_remains(m, "Port") || !choose_name(m)) {
        return false;
    }
    snprintf(m->path, sizeof m->path, "%s/%s.sock", m->dir, m->name);
    for (int i = 0; i < m->n_ports; i++) {
        if (!find_bridge(m, m->ports[i])) {
            return false;
        }
        heed_mtu(m, m->ports[i]);
    }
    return true;
}

/* Whom mirror and port belong to. */
static void
add_ids(const struct mirror *m, struct command *c)
{
    const struct place here = our_place();

    command_add(c, "external_ids:vpci-dump=%ld", (long) getpid());
    command_add(c, "external_ids:vpci-dump-started=%llu", started(getpid()));
    add_string(c, "external_ids:vpci-dump-boot", here.boot);
    add_string(c, "external_ids:vpci-dump-pids", here.pids);
    add_string(c, "external_ids:vpci-dump-bridge", m->bridge);
}

/* The mirror's column 'name' is all ports. */
static void
add_selection(const struct mirror *m, struct command *c, const char *name)
{
    char *text = NULL;
    size_t size;
    FILE *stream = open_memstream(&text, &size);

    if (!stream) {
        abort();
    }
    fprintf(stream, "%s=", name);
    for (int i = 0; i < m->n_ports; i++) {
        fprintf(stream, "%s@p%d", i ? "," : "", i);
    }
    fclose(stream);
    command_add(c, "%s", text);
    free(text);
}

/* Makes mirror and port in one transaction: it is the port for which Open
 * vSwitch 3.1 looks at all its flows again. */
static bool
add_both(const struct mirror *m)
{
    struct command c = vsctl(m, "-- add-port");

    command_add(&c, "%s", m->bridge);
    command_add(&c, "%s", m->name);
    command_add_words(&c, "-- set Port");
    command_add(&c, "%s", m->name);
    command_add(&c, "other_config:priority-tags=if-nonzero");
    add_ids(m, &c);
    command_add_words(&c, "-- set Interface");
    command_add(&c, "%s", m->name);
    command_add(&c, "type=vpci");
    add_string(&c, "options:ivshmem-path", m->path);
    command_add(&c, "mtu_request=%u", m->mtu);
    command_add_words(&c, "-- --id=@o get Port");
    command_add(&c, "%s", m->name);
    for (int i = 0; i < m->n_ports; i++) {
        command_add(&c, "--");
        command_add(&c, "--id=@p%d", i);
        command_add_words(&c, "get Port");
        command_add(&c, "%s", m->ports[i]);
    }
    command_add_words(&c, "-- --id=@m create Mirror output_port=@o");
    command_add(&c, "name=%s", m->name);
    add_ids(m, &c);
    if (m->ways & MIRROR_IN) {
        add_selection(m, &c, "select_src_port");
    }
    if (m->ways & MIRROR_OUT) {
        add_selection(m, &c, "select_dst_port");
    }
    command_add_words(&c, "-- add Bridge");
    command_add(&c, "%s", m->bridge);
    command_add_words(&c, "mirrors @m");
    return does(m, c);
}

bool
mirror_refuse_floods(const struct mirror *m)
{
    struct command c = { .n = 0 };

    command_add_words(&c, "ovs-ofctl " TIMEOUT " mod-port");
    command_add(&c, "%s", m->bridge);
    command_add(&c, "%s", m->name);
    command_add_words(&c, "no-flood");
    if (does(m, c)) {
        return true;
    }
    fprintf(stderr, "%s: cannot tell ovs-vswitchd that port '%s' is not for "
            "what action FLOOD sends\n", m->program, m->name);
    return false;
}

bool
mirror_add(const struct mirror *m)
{
    if (add_both(m) && mirror_refuse_floods(m)) {
        return true;
    }
    fprintf(stderr, "%s: cannot make mirror and port '%s': is ovs-vswitchd "
            "running?\n", m->program, m->name);
    remove_named(m, m->name, m->bridge, false);
    return false;
}

/* A command of ovs-appctl, to the switch. */
static char *
appctl(const struct mirror *m, const char *words)
{
    struct command c = { .n = 0 };

    command_add_words(&c, "ovs-appctl " TIMEOUT " -t ovs-vswitchd");
    command_add_words(&c, words);
    return command_run(m->program, c);
}

/* Waits until all flows of the switch are as the mirror, or its removal, wants
 * them. */
static bool
settle(const struct mirror *m)
{
    char *text = appctl(m, "revalidator/wait");

    free(text);
    if (!text) {
        fprintf(stderr, "%s: cannot ask ovs-vswitchd whether all flows have "
                "changed: for a second some may not have\n", m->program);
    }
    return text != NULL;
}

/* True if 'line' of "vpci/links" is of a pair of ports, one of which is
 * 'port'. */
static bool
is_of_pair(const char *line, const char *port)
{
    size_t len = strlen(port);

    for (const char *p = strstr(line, port); p; p = strstr(p + 1, port)) {
        if (*line != ' '
            && ((p == line && !strncmp(p + len, ", ", 2))
                || (p > line + 1 && !strncmp(p - 2, ", ", 2)
                    && p[len] == ':'))) {
            return true;
        }
    }
    return false;
}

/* The flows that, as 'line' of "vpci/links" says, take a link from 'port', if
 * the mirror has what comes from it, or to it. */
static unsigned long
linked_flows(const struct mirror *m, const char *line, const char *port)
{
    const char *flows = strstr(line, ": flows:");
    size_t len = strlen(port);
    bool from, to;

    if (strncmp(line, "  ", 2) || !flows) {
        return 0;
    }
    from = (!strncmp(line + 2, port, len)
            && !strncmp(line + 2 + len, " to ", 4));
    to = (flows - line > (ptrdiff_t) len + 4
          && !strncmp(flows - len, port, len)
          && !strncmp(flows - len - 4, " to ", 4));
    return ((from && m->ways & MIRROR_IN) || (to && m->ways & MIRROR_OUT)
            ? strtoul(flows + strlen(": flows:"), NULL, 10) : 0);
}

/* Says which ports use no links for now, as 'text' from "vpci/links" has
 * them. */
static void
tell_links(const struct mirror *m, const char *text)
{
    for (int i = 0; i < m->n_ports; i++) {
        char *copy = strdup(text), *line, *rest;
        bool found = false;

        if (!copy) {
            abort();
        }
        for (line = strtok_r(copy, "\n", &rest); line && !found;
             line = strtok_r(NULL, "\n", &rest)) {
            found = is_of_pair(line, m->ports[i]);
        }
        free(copy);
        if (found) {
            fprintf(stderr, "%s: port %s uses no links for what it %s%s%s "
                    "while the capture runs: that goes through the switch\n",
                    m->program, m->ports[i],
                    m->ways & MIRROR_IN ? "sends" : "",
                    m->ways == (MIRROR_IN | MIRROR_OUT) ? " and " : "",
                    m->ways & MIRROR_OUT ? "gets" : "");
        }
    }
}

/* Counts the flows that take links although the mirror has their packets, and
 * says, if it 'tells', which ports use none for now.  Returns false if nobody
 * knows. */
static bool
count_linked(const struct mirror *m, bool tells, unsigned long *n)
{
    char *text = appctl(m, "vpci/links"), *line, *rest;

    *n = 0;
    if (!text) {
        return false;
    }
    if (tells) {
        tell_links(m, text);
    }
    for (line = strtok_r(text, "\n", &rest); line;
         line = strtok_r(NULL, "\n", &rest)) {
        for (int i = 0; i < m->n_ports; i++) {
            *n += linked_flows(m, line, m->ports[i]);
        }
    }
    free(text);
    return true;
}

void
mirror_await(const struct mirror *m)
{
    unsigned long n = 0;
    bool ok = settle(m) && count_linked(m, true, &n);

    for (int i = 0; ok && n && i < LINKS_TRIES; i++) {
        usleep(LINKS_US);
        ok = count_linked(m, false, &n);
    }
    if (n) {
        fprintf(stderr, "%s: %lu flows have not left their links: what they "
                "send is not captured: see \"ovs-appctl vpci/links\"\n",
                m->program, n);
    }
}

/* True if there is a switch that answers. */
static bool
switch_runs(const struct mirror *m)
{
    char *text = appctl(m, "version");

    free(text);
    return text != NULL;
}

bool
mirror_remove(const struct mirror *m)
{
    bool runs = switch_runs(m), ok = true;

    if (remove_named(m, m->name, m->bridge, runs)) {
        if (!runs) {
            fprintf(stderr, "%s: mirror and port '%s' are removed from the "
                    "database, but ovs-vswitchd does not answer: it copies "
                    "packets no longer when it does again\n", m->program,
                    m->name);
        }
        return runs && settle(m);
    }
    if (!exists(m, "Mirror", m->name, &ok) && ok
        && !exists(m, "Port", m->name, &ok) && ok) {
        fprintf(stderr, "%s: mirror and port '%s' are removed from the "
                "database, but ovs-vswitchd does not say that it has heard of "
                "that: is it running?\n", m->program, m->name);
    } else {
        fprintf(stderr, "%s: cannot remove mirror and port '%s' from the "
                "database: the next %s will\n", m->program, m->name,
                m->program);
    }
    return false;
}

bool
mirror_dropped(const struct mirror *m, uint64_t *n)
{
    struct command c = { .n = 0 };
    char *text, *p;
    bool found;

    command_add_words(&c, "ovs-ofctl " TIMEOUT " dump-ports");
    command_add(&c, "%s", m->bridge);
    command_add(&c, "%s", m->name);
    text = command_run(m->program, c);
    p = text ? strstr(text, "tx pkts=") : NULL;
    p = p ? strstr(p, "drop=") : NULL;
    found = p && sscanf(p, "drop=%"SCNu64, n) == 1;
    free(text);
    return found;
}

bool
mirror_count_ports(const struct mirror *m, int *n)
{
    struct command c = vsctl(m, "--bare "
                             "--columns=select_src_port,select_dst_port "
                             "--if-exists list Mirror");
    char *text, *word, *rest;
    int n_ways = m->ways == (MIRROR_IN | MIRROR_OUT) ? 2 : 1;

    command_add(&c, "%s", m->name);
    text = command_run(m->program, c);
    *n = 0;
    for (word = text ? strtok_r(text, " \n", &rest) : NULL; word;
         word = strtok_r(NULL, " \n", &rest)) {
        ++*n;
    }
    *n /= n_ways;
    free(text);
    return text != NULL;
}

void
mirror_explain(const struct mirror *m)
{
    struct command c = vsctl(m, "--if-exists get Interface");
    char *text, *line, *rest;

    command_add(&c, "%s", m->name);
    command_add_words(&c, "error status:problem");
    text = command_run(m->program, c);
    for (line = text ? strtok_r(text, "\n", &rest) : NULL; line;
         line = strtok_r(NULL, "\n", &rest)) {
        if (strcmp(line, "[]")) {
            fprintf(stderr, "%s: the switch says of port '%s': %s\n",
                    m->program, m->name, line);
        }
    }
    free(text);
}
