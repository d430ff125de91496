/* SPDX-License-Identifier: Apache-2.0 */

#ifndef NETDEV_VPCI_LEND_PRIVATE_H
#define NETDEV_VPCI_LEND_PRIVATE_H 1

/* What the files about lent rings share: see netdev-vpci-lend.h. */

#include "netdev-vpci-lend.h"
#include "netdev-vpci-link-private.h"

/* netdev-vpci-lend-port.c */
extern struct ovs_mutex lends_mutex;
extern struct ovs_list lends OVS_GUARDED_BY(lends_mutex);

enum vpci_lend_state {
    VPCI_LEND_UNKNOWN,          /* An earlier switch may have lent them. */
    VPCI_LEND_HOME,             /* The switch has the rings. */
    VPCI_LEND_HINTS,            /* The borrower is to follow the hints: its
                                 * packets wait there... */
    VPCI_LEND_PASS,             /* ...and the switch to pass on what came
                                 * before; */
    VPCI_LEND_STOPPED,          /* likewise of the owner's packets. */
    VPCI_LEND_AWAY,             /* The borrower has them. */
    VPCI_LEND_RECALLED,         /* It is to give them back, */
    VPCI_LEND_FENCED            /* and has not done so in time. */
};

/* From the borrower, or to it. */
enum { VPCI_LEND_OUT, VPCI_LEND_IN, VPCI_LEND_N_WAYS };

/* What another thread has seen all others pass. */
struct vpci_lend_grace;

struct vpci_lend {
    struct ovs_list node;       /* In 'lends'.  Protected by lends_mutex. */
    struct netdev_vpci *borrower;   /* Constant. */
    struct vpci_linker *linker; /* Its; constant. */

    /* Or null.  Changes with lends_mutex and its mutex held. */
    struct netdev_vpci *owner;

    /* Protected by links_mutex, and but for those marked (m), which are the main
     * thread's, not used while there is no owner. */
    enum vpci_lend_state state;
    long long int since;        /* In it, in ms. */
    long long int begun_at;     /* To lend them, in ms. */
    uint32_t turn;              /* As written last. */
    char *why;                  /* The reason for the last recall, or why
                                 * rings are not lent; or null. */
    bool has_objection;         /* 'why' is what is wrong now. */
    bool is_early;              /* Packets were its reason, soon. */
    unsigned int n_turns;       /* How often rings were lent, */
    unsigned int n_fenced;      /* and were not given back in time. */

    struct vpci_steer *acceptances;
    uint32_t acceptances_generation;
    uint32_t hints_generation;
    struct ovs_list flows[VPCI_LEND_N_WAYS];    /* Of struct
                                                 * vpci_link_flow. */
    struct vpci_link_budget budget;
    struct vpci_passage passage;
    struct vpci_lend_grace *grace;
    uint64_t packets[VPCI_LEND_N_WAYS];     /* That went so. */

    /* Rings that are away: of which connection of the owner, and where they
     * stood. */
    uint64_t conn;              /* Its number, or 0. */
    uint32_t n_rings;
    struct vpci_abi_peer_record lent_records[VPCI_ABI_MAX_RINGS];
    struct vpci_abi_peer_record records[VPCI_ABI_MAX_RINGS]; /* As the guest
                                     * had left them when its region went, */
    uint32_t taken;             /* the turn that it had taken, */
    uint32_t returned;          /* and the one that it had answered. */
    bool has_records;

    /* How the two speak, as far as megaflows say. */
    uint64_t seen_rx, seen_tx;  /* Packets of the owner's port. */
    unsigned int n_pure;        /* Looks in a row, without quiet ones. */
    long long int not_before;   /* No hand-over before, in ms... */
    int rest_ms;                /* ...after the last rest, of so long. */

    /* The device with the owner's memory. */
    struct vpci_peer_user user;     /* (m) */
    bool registered;                /* (m) */
    int memory_fd;                  /* (m) -1: none. */
    struct vpci_file_id memory_id;  /* (m) Of the file. */
    uint64_t n_changes;             /* (m) Of all memory, that have been looked
                                     * at: who else has this file? */
    char *leak;                     /* Somebody, as a sentence; or null. */
    uint64_t n_tables;              /* (m) The owner's, that has been looked
                                     * at. */
    char *problem;              /* Why there is no such device, or it is of
                                 * no use; or null. */
    bool used_up;               /* All signals of the borrower's are: the next
                                 * one has some again. */
    uint32_t device_id;         /* ivshmem id of the borrower's, 0: not
                                 * there. */
    long long int given_at;     /* When the keeper said that there can be one,
                                 * in ms; 0: it has not. */
    bool wants_signals;         /* The main thread is to give it the owner's
                                 * doorbells, */
    bool sent_kicks;            /* those for kicks too, */
    bool asked;                 /* and has; the keeper has not answered. */
    struct vpci_lend_signals {
        uint64_t kicks;         /* As counted by the owner's port. */
        uint64_t calls;
    } signals_asked, signals;   /* Those that the device has; 0: none: */
    uint32_t peer_id;           /* for calls, */
    uint32_t first_kick;        /* and from which number on kicks. */
};

/* netdev-vpci-lend.c */

void vpci_lend_set_why(struct vpci_lend *, char *why)
    OVS_REQUIRES(links_mutex);
const char *vpci_lend_state_name(const struct vpci_lend *);

/* The status of both ports is another one. */
void vpci_lend_changed(const struct vpci_lend *) OVS_REQUIRES(links_mutex);
void vpci_lend_set_state(struct vpci_lend *, enum vpci_lend_state)
    OVS_REQUIRES(links_mutex);

/* Lets the switch use the rings of 'owner', or not. */
void vpci_set_lent(struct netdev_vpci *owner, enum vpci_lent_state)
    OVS_REQUIRES(owner->mutex);

/* Rings are at home, where the switch goes on.  'early' if packets made that so,
 * soon. */
void vpci_lend_come_home(struct vpci_lend *lend, bool early,
                         long long int now)
    OVS_REQUIRES(lend->owner->mutex) OVS_REQUIRES(links_mutex);

/* netdev-vpci-lend-flow.c */

/* What two ports have done. */
enum vpci_lend_traffic {
    VPCI_LEND_QUIET,            /* Nothing. */
    VPCI_LEND_PURE,             /* They spoke to each other alone, by megaflows
                                 * for which rings can be lent, */
    VPCI_LEND_MIXED             /* or the owner spoke to others as well. */
};

/* Looks at what they have done since the last look. */
enum vpci_lend_traffic vpci_lend_look(struct vpci_lend *lend)
    OVS_REQUIRES(links_mutex) OVS_REQUIRES(lend->owner->mutex);

/* Adds all of these megaflows, and tells the borrower of them.  Returns false if
 * there is no room, or none to begin with. */
bool vpci_lend_add_flows(struct vpci_lend *) OVS_REQUIRES(links_mutex);

/* True if one of them is not what it was. */
bool vpci_lend_flows_changed(const struct vpci_lend *)
    OVS_REQUIRES(links_mutex);

/* Tells the borrower that there are none, which holds from then on. */
void vpci_lend_revoke_flows(struct vpci_lend *) OVS_REQUIRES(links_mutex);

/* Counts what the borrower says, and forgets them all. */
void vpci_lend_count(struct vpci_lend *, long long int now)
    OVS_REQUIRES(links_mutex);
void vpci_lend_remove_flows(struct vpci_lend *) OVS_REQUIRES(links_mutex);

/* netdev-vpci-lend-ring.c */

/* True if a borrower that has answered 'returned' does not touch rings, nor will
 * before a turn later than 'turn': it has answered that one, or had given up the
 * one before by itself. */
bool vpci_lend_is_answered(uint32_t turn, uint32_t returned);

/* True if the owner has the connection whose rings are away. */
bool vpci_lend_has_conn(const struct vpci_lend *) OVS_REQUIRES(links_mutex);

/* Returns null if both ports, whatever their guests do, let rings be lent, or why
 * not, to be freed. */
char *vpci_lend_ports_objection(const struct vpci_lend *)
    OVS_REQUIRES(links_mutex);

/* Returns null if the owner's rings can be lent to this borrower as they are, or
 * why not, to be freed. */
char *vpci_lend_objection(const struct vpci_lend *lend)
    OVS_REQUIRES(links_mutex);

/* Says where rings are, which the switch has stopped.  Returns false if that is
 * not possible. */
bool vpci_lend_describe(struct vpci_lend *) OVS_REQUIRES(links_mutex);

/* Takes rings over from where the borrower, which does not touch them any more,
 * has left them. */
void vpci_lend_take_over(struct vpci_lend *lend)
    OVS_REQUIRES(links_mutex) OVS_REQUIRES(lend->owner->mutex);

/* The borrower's region, or what it says there of peers. */
struct vpci_abi_peer *vpci_lend_peer(const struct vpci_lend *);
struct vpci_abi_peer_words *vpci_lend_words(const struct vpci_lend *);

/* Tells the borrower of the device, or that there is none. */
void vpci_lend_write_entry(struct vpci_lend *) OVS_REQUIRES(links_mutex);

/* netdev-vpci-lend-main.c */

/* Remembers and logs why there is no device with the owner's memory, or null. */
void vpci_lend_set_problem(struct vpci_lend *, char *problem)
    OVS_REQUIRES(links_mutex);

/* The device has none of the owner's doorbells. */
void vpci_lend_forget_signals(struct vpci_lend *) OVS_REQUIRES(links_mutex);

void vpci_lend_main_init(struct vpci_lend *);
void vpci_lend_main_uninit(struct vpci_lend *);

/* True if the device has the owner's doorbells. */
bool vpci_lend_has_signals(const struct vpci_lend *)
    OVS_REQUIRES(links_mutex);

/* Follows the owner's memory and doorbells. */
void vpci_lend_main_run(struct vpci_lend *) OVS_REQUIRES(lends_mutex);

/* netdev-vpci-lend-memory.c */

void vpci_lend_memory_init(struct vpci_lend *);
void vpci_lend_memory_uninit(struct vpci_lend *);

/* Follows which memory the owner has, for a device beside the base region 'base'
 * of the borrower; and who else gets it. */
void vpci_lend_memory_run(struct vpci_lend *, uint32_t base)
    OVS_REQUIRES(lends_mutex);

#endif /* netdev-vpci-lend-private.h */
