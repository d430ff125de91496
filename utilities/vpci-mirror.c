/* SPDX-License-Identifier: Apache-2.0 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "vpci-mirror.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vpci-command.h"

/* How long the switch may take, in seconds. */
#define TIMEOUT "--timeout=15"

#define DEFAULT_MTU 1500

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

/* The same, without an answer. */
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

/* Where the socket is. */
static bool
set_path(struct mirror *m)
{
    int n = snprintf(m->path, sizeof m->path, "%s/%s.sock", m->dir, m->name);

    if (m->dir[0] != '/' || n >= (int) sizeof m->path) {
        fprintf(stderr, "%s: --dir=%s: an absolute path of up to %zu bytes is "
                "wanted: that of a socket has 107 at most\n", m->program,
                m->dir, sizeof m->path - 1 - strlen(m->name) - 6);
        return false;
    }
    if (access(m->dir, F_OK)) {
        fprintf(stderr, "%s: --dir=%s: %s\n", m->program, m->dir,
                strerror(errno));
        return false;
    }
    return true;
}

/* Finds the bridge of port 'name', which must be that of the others. */
static bool
find_bridge(struct mirror *m, const char *name)
{
    struct command c = vsctl(m, "port-to-br");
    char *bridge;

    if (!*name || *name == '-' || strpbrk(name, " ,@\"")) {
        fprintf(stderr, "%s: '%s' is no name of a port\n", m->program, name);
        command_free(&c);
        return false;
    }
    command_add(&c, "%s", name);
    bridge = command_run(m->program, c);
    if (!bridge) {
        fprintf(stderr, "%s: no port '%s' in the database: \"ovs-vsctl show\" "
                "lists those there are\n", m->program, name);
        return false;
    }
    bridge[strcspn(bridge, "\n")] = '\0';
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

/* Removes mirror and port 'name', and waits, if it 'waits', until the switch
 * has heard of that. */
static bool
remove_named(const struct mirror *m, const char *name, const char *bridge,
             bool waits)
{
    struct command both = vsctl(m, waits ? "-- --id=@m get Mirror"
                                : "--no-wait -- --id=@m get Mirror");
    struct command port = vsctl(m, "--no-wait -- --if-exists del-port");

    command_add(&both, "%s", name);
    command_add_words(&both, "-- remove Bridge");
    command_add(&both, "%s", bridge);
    command_add_words(&both, "mirrors @m -- --if-exists del-port");
    command_add(&both, "%s", name);
    if (does(m, both)) {
        command_free(&port);
        return true;
    }

    /* Somebody may have removed the mirror, or the switch is not there. */
    command_add(&port, "%s", name);
    return does(m, port);
}

/* Removes mirror or port 'name' if its process, as 'ids' says, is no more. */
static bool
clear_remain(const struct mirror *m, const char *name, const char *ids)
{
    const char *pid = strstr(ids, "vpci-dump=");
    const char *time = strstr(ids, "vpci-dump-started=");
    const char *bridge = strstr(ids, "vpci-dump-bridge=");
    unsigned long long began = 0;
    char bridge_name[64];
    long number = 0;

    if (!pid || !time || !bridge || sscanf(pid, "vpci-dump=%ld", &number) != 1
        || sscanf(time, "vpci-dump-started=%llu", &began) != 1
        || sscanf(bridge, "vpci-dump-bridge=%63s", bridge_name) != 1
        || started(number) == began) {
        return true;
    }
    fprintf(stderr, "%s: removing mirror and port '%s' of process %ld, which "
            "is no more\n", m->program, name, number);
    return remove_named(m, name, bridge_name, false);
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
        ok = !name || clear_remain(m, name, line);
        name = name ? NULL : line;
    }
    free(text);
    return ok;
}

bool
mirror_prepare(struct mirror *m)
{
    snprintf(m->name, sizeof m->name, "dump-%ld", (long) getpid());
    m->mtu = DEFAULT_MTU;
    if (!set_path(m) || !clear_remains(m, "Mirror")
        || !clear_remains(m, "Port")) {
        return false;
    }
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
    command_add(c, "external_ids:vpci-dump=%ld", (long) getpid());
    command_add(c, "external_ids:vpci-dump-started=%llu", started(getpid()));
    command_add(c, "external_ids:vpci-dump-bridge=%s", m->bridge);
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

bool
mirror_add(const struct mirror *m)
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
    command_add(&c, "options:ivshmem-path=\"%s\"", m->path);
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
    if (does(m, c)) {
        return true;
    }
    fprintf(stderr, "%s: cannot make mirror and port '%s': is ovs-vswitchd "
            "running?\n", m->program, m->name);
    remove_named(m, m->name, m->bridge, false);
    return false;
}

void
mirror_settle(const struct mirror *m)
{
    struct command c = { .n = 0 };

    command_add_words(&c, "ovs-appctl " TIMEOUT
                      " -t ovs-vswitchd revalidator/wait");
    if (!does(m, c)) {
        fprintf(stderr, "%s: cannot ask ovs-vswitchd whether all flows have "
                "changed: for a second some may not have\n", m->program);
    }
}

bool
mirror_remove(const struct mirror *m)
{
    if (remove_named(m, m->name, m->bridge, true)) {
        return true;
    }
    fprintf(stderr, "%s: cannot remove mirror and port '%s' from the "
            "database: the next %s will\n", m->program, m->name, m->program);
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
