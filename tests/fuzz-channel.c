/* SPDX-License-Identifier: Apache-2.0 */

/* Fuzzer of regions and channels
 * ==============================
 *
 * The input is a header that somebody else has written, and then a program of
 * what the two sides of a region do, and of what somebody else writes into its
 * memory between their calls.  The region, and what each side keeps for
 * itself, lie between pages that nobody may touch.
 *
 * When nobody writes any more what isn't so, the two sides meet, and packets
 * pass both ways. */

#include <string.h>

#include "fuzz.h"
#include "guarded-memory.h"
#include "vpci/channel.h"

#define REGION_ID 7

/* Virtual time, in ms, that both sides get to meet in the end. */
#define SETTLE_MS 2000

struct side {
    struct vpci_channel *ch;
    struct vpci_channel_config config;
    enum vpci_channel_state state;
    uint32_t epoch;
    uint32_t met;               /* Epoch of the other side, when it ran. */
    uint32_t n_reports;         /* Since rings were made last. */
};

struct fuzz {
    struct vpci_layout layout;
    uint8_t *region;
    struct side sides[2];
    size_t channel_bytes;
    int64_t now_ms;
};

static const struct vpci_shape shapes[] = {
    { .kind = VPCI_ABI_LINK, .n_queues = 1, .n_classes = 1, .slots_log2 = 4,
      .data_log2 = 17, .n_vectors = 1 },
    { .kind = VPCI_ABI_LINK, .n_queues = 2, .n_classes = 2, .slots_log2 = 5,
      .data_log2 = 17, .n_vectors = 3 },
    { .kind = VPCI_ABI_BASE, .n_queues = 1, .n_classes = 1, .slots_log2 = 4,
      .data_log2 = 17, .n_vectors = 2 },
    { .kind = VPCI_ABI_BASE, .n_queues = 2, .n_classes = 1, .slots_log2 = 4,
      .data_log2 = 17, .n_links = 3, .n_entries = 64, .n_vectors = 32 },
};
#define N_SHAPES (sizeof shapes / sizeof *shapes)

/* Headers. */

/* All of the 'size' bytes at 'p' are in 'section'. */
static void
check_place(const struct vpci_layout *l, const uint8_t *base,
            enum vpci_abi_section_id section, const void *p, size_t size)
{
    uint64_t ofs = (const uint8_t *) p - base - l->sections[section].offset;

    check(ofs <= l->sections[section].size
          && size <= l->sections[section].size - ofs,
          "a part of a region that is not in its section");
}

/* Rings lie in the section of who writes them. */
static void
check_ring(const struct vpci_layout *l, uint8_t *base, unsigned int side,
           uint32_t index)
{
    enum vpci_abi_section_id own = side ? VPCI_ABI_SIDE1 : VPCI_ABI_SIDE0;
    enum vpci_abi_section_id other = side ? VPCI_ABI_SIDE0 : VPCI_ABI_SIDE1;
    struct vpci_ring_memory m;

    vpci_layout_ring(l, base, side, index, &m);
    check_place(l, base, own, m.slots, m.n_slots * VPCI_ABI_SLOT_BYTES);
    check_place(l, base, own, m.data, m.data_size);
    check_place(l, base, own, m.producer, sizeof *m.producer);
    check_place(l, base, other, m.consumer, sizeof *m.consumer);
    check(vpci_layout_vector(l, index) < l->shape.n_vectors,
          "no such vector");
}

static void
check_links(const struct vpci_layout *l, uint8_t *base)
{
    const struct vpci_shape *s = &l->shape;
    size_t bytes = vpci_layout_projection_bytes(l);

    check_place(l, base, VPCI_ABI_CONTROL, vpci_layout_hints(l, base), bytes);
    for (uint32_t i = 0; i < s->n_links; i++) {
        check_place(l, base, VPCI_ABI_CONTROL, vpci_layout_link(l, base, i),
                    sizeof(struct vpci_abi_link));
        check_place(l, base, VPCI_ABI_CONTROL,
                    vpci_layout_acceptances(l, base, i), bytes);
    }
    for (uint32_t i = 0; i < s->n_queues; i++) {
        check_place(l, base, VPCI_ABI_SIDE1, vpci_layout_queue(l, base, i),
                    sizeof(struct vpci_abi_queue));
        check_place(l, base, VPCI_ABI_SIDE1,
                    vpci_layout_link_count(l, base, i, s->n_links - 1),
                    sizeof(struct vpci_abi_link_count));
        check_place(l, base, VPCI_ABI_SIDE1,
                    vpci_layout_flow_count(l, base, i, s->n_entries - 1),
                    sizeof(struct vpci_abi_flow_count));
    }
}

/* Everything is where it should be in a region of 'size' bytes. */
static void
check_layout(const struct vpci_layout *l, uint8_t *base, uint64_t size)
{
    bool is_base = l->shape.kind == VPCI_ABI_BASE;
    uint64_t end = 0;

    check(l->size == size, "a region of another size");
    for (int i = 0; i < VPCI_ABI_N_SECTIONS; i++) {
        check(l->sections[i].offset == end, "sections with a gap");
        end += l->sections[i].size;
    }
    check(end <= size, "a section that leaves the region");
    for (unsigned int side = 0; side < 2; side++) {
        check_place(l, base, side ? VPCI_ABI_SIDE1 : VPCI_ABI_SIDE0,
                    vpci_layout_state(l, base, side),
                    sizeof(struct vpci_abi_state));
        for (uint32_t i = 0; i < l->n_rings + is_base; i++) {
            check_ring(l, base, side,
                       i < l->n_rings ? i : VPCI_LAYOUT_CALLS);
        }
    }
    if (is_base) {
        check_place(l, base, VPCI_ABI_CONTROL, vpci_layout_port(base),
                    sizeof(struct vpci_abi_port));
    }
    if (l->shape.n_links) {
        check_links(l, base);
    }
}

/* Writes the header of another region, but for its size. */
static void
write_other_header(const struct fuzz *f, struct input *in)
{
    struct vpci_abi_header *h = (void *) f->region;
    struct vpci_shape shape = shapes[get_u8(in) % N_SHAPES];
    struct vpci_layout_report report;
    struct vpci_layout layout;

    shape.n_vectors = get_u8(in);
    shape.slots_log2 += get_u8(in) % 4;
    if (vpci_layout_init(&layout, &shape, &report)) {
        vpci_layout_write(&layout, f->region, REGION_ID);
        if (get_u8(in) & 1) {
            vpci_store64(&h->size, f->layout.size);
        }
    }
}

/* Writes a few numbers or bytes into the header. */
static void
lie_in_header(const struct fuzz *f, struct input *in)
{
    const size_t n_bytes = sizeof(struct vpci_abi_header);
    uint8_t how = get_u8(in), *h = f->region;

    if (how & 4) {
        write_other_header(f, in);
    }
    for (int i = how >> 4; i; i--) {
        size_t ofs = get_u8(in);
        uint32_t word = get_likely(in);

        if (how & 1) {
            ofs = offsetof(struct vpci_abi_header, shape) + ofs % 32;
        }
        if (how & 2) {
            h[ofs % n_bytes] = word;
        } else {
            memcpy(&h[ofs % (n_bytes / 4) * 4], &word, sizeof word);
        }
    }
}

/* What is read of a header that was changed is a layout that the memory has,
 * or a reason why there is none. */
static void
fuzz_header(struct fuzz *f, struct input *in)
{
    struct vpci_layout_report report;
    struct vpci_layout layout;
    uint64_t size = f->layout.size;
    char text[200];
    bool ok;

    lie_in_header(f, in);
    ok = vpci_layout_read(&layout, f->region, size, &report);
    if (ok) {
        check_layout(&layout, f->region, size);
    } else {
        check(report.fault > VPCI_LAYOUT_OK
              && report.fault < VPCI_LAYOUT_N_FAULTS
              && (report.seen < report.min || report.seen > report.max),
              "a header that is refused for no reason");
        vpci_layout_format(&report, text, sizeof text);
        check(text[0] != '\0', "a reason without words");
    }
    if (vpci_layout_agrees(&f->layout, f->region, REGION_ID, &report)) {
        check(ok && !memcmp(&layout.shape, &f->layout.shape,
                            sizeof layout.shape),
              "two shapes that agree and are not the same");
    }
}

/* Sides. */

static void
fuzz_report(void *side_, const struct vpci_fault *fault)
{
    struct side *side = side_;
    const struct vpci_layout *l = &side->config.layout;
    uint32_t n_rings = l->n_rings + (l->shape.kind == VPCI_ABI_BASE);
    char text[256];

    vpci_fault_format(fault, text, sizeof text);
    check(fault->ring < 2 * n_rings, "a fault of no ring");
    check(++side->n_reports <= 2 * n_rings, "a fault was reported twice");
}

static void
begin(struct fuzz *f, unsigned int i)
{
    struct side *side = &f->sides[i];

    vpci_channel_begin(side->ch, &side->config, ++side->epoch);
    side->state = VPCI_CHANNEL_ALONE;
}

static void
resume(struct fuzz *f, unsigned int i)
{
    struct side *side = &f->sides[i];

    if (!vpci_channel_resume(side->ch, &side->config)) {
        begin(f, i);
    }
    side->n_reports = 0;
}

/* What is known of the other side is within its bounds. */
static void
check_running(const struct side *side)
{
    const struct vpci_channel_config *c = &side->config;
    uint32_t n_queues = vpci_channel_n_queues(side->ch);
    uint8_t mac[6];

    check(n_queues >= 1 && n_queues <= c->n_queues, "no or too many queues");
    check(vpci_channel_n_links(side->ch) <= c->layout.shape.n_links,
          "too many links");
    check(!(vpci_channel_features(side->ch) & ~c->features),
          "features that were not offered");
    vpci_channel_peer_mac(side->ch, mac);
}

/* True if the other side is the one that the rings were made for, and has seen
 * us. */
static bool
is_current(const struct fuzz *f, unsigned int i)
{
    const struct side *side = &f->sides[i];
    const struct vpci_abi_state *other
        = vpci_layout_state(&f->layout, f->region, !i);

    return (vpci_load32(&other->epoch) == side->met
            && vpci_load32(&other->seen) == side->epoch);
}

static void
run(struct fuzz *f, unsigned int i)
{
    const struct vpci_abi_state *other
        = vpci_layout_state(&f->layout, f->region, !i);
    struct side *side = &f->sides[i];
    bool ran = side->state == VPCI_CHANNEL_RUNNING;
    bool current = is_current(f, i);

    side->state = vpci_channel_run(side->ch, f->now_ms);
    check(side->state != VPCI_CHANNEL_RUNNING || !ran || current,
          "rings that are made anew while they are used");
    check(vpci_channel_state_name(side->state)[0] != '\0', "no such state");
    check(vpci_channel_silence(side->ch, f->now_ms) >= 0
          && vpci_channel_silence(side->ch, f->now_ms) <= f->now_ms,
          "silence that is longer than the channel is there");
    if (side->state == VPCI_CHANNEL_RUNNING) {
        side->met = vpci_load32(&other->epoch);
        check(is_current(f, i), "a channel runs with nobody");
        check_running(side);
        side->n_reports = ran ? side->n_reports : 0;
    }
    check(side->state == VPCI_CHANNEL_RUNNING
          || !vpci_channel_must_stop(side->ch),
          "a channel that does not run must stop");
}

static uint32_t
ring_of(const struct fuzz *f, uint8_t which)
{
    uint32_t n = f->layout.n_rings;

    return (f->layout.shape.kind == VPCI_ABI_BASE && which % (n + 1) == n
            ? VPCI_LAYOUT_CALLS : which % n);
}

/* Sends a packet, as far as there is room. */
static bool
send_one(struct fuzz *f, unsigned int i, uint32_t ring, uint8_t number)
{
    struct vpci_ring_tx *tx = vpci_channel_tx(f->sides[i].ch, ring);
    uint8_t data[200];
    struct vpci_ring_buf buf = { .data = data,
                                 .len = number & 1 ? sizeof data : 60 };
    bool tell;

    memset(data, number, sizeof data);
    return vpci_ring_tx_burst(tx, &buf, 1, &tell) == 1;
}

/* Receives up to 4 packets.  Returns the number in the first one, or -1. */
static int
receive(struct fuzz *f, unsigned int i, uint32_t ring, unsigned int max)
{
    struct vpci_ring_rx *rx = vpci_channel_rx(f->sides[i].ch, ring);
    struct vpci_ring_buf bufs[4];
    uint8_t data[4][100];
    unsigned int n;
    bool tell;

    max = max % 4 + 1;
    for (unsigned int k = 0; k < max; k++) {
        bufs[k] = (struct vpci_ring_buf) { .data = data[k],
                                           .size = sizeof data[k] };
    }
    n = vpci_ring_rx_burst(rx, bufs, max, &tell);
    check(n <= max, "too many packets");
    for (unsigned int k = 0; k < n; k++) {
        check(bufs[k].len && bufs[k].len <= VPCI_ABI_MAX_LEN,
              "a packet of no or too many bytes");
    }
    return n ? data[0][0] : -1;
}

/* Rings are used only while the channel runs, and with this side of it. */
static void
fuzz_rings(struct fuzz *f, unsigned int i, struct input *in)
{
    uint8_t which = get_u8(in), n = get_u8(in);

    if (f->sides[i].state == VPCI_CHANNEL_RUNNING) {
        if (n & 1) {
            send_one(f, i, ring_of(f, which), n);
        } else {
            receive(f, i, ring_of(f, which), n >> 1);
        }
    }
}

/* What somebody else writes. */

/* A word of a side's state, likely to be one that the other side waits for. */
static void
lie_in_state(struct fuzz *f, struct input *in)
{
    uint8_t which = get_u8(in);
    struct vpci_abi_state *s = vpci_layout_state(&f->layout, f->region,
                                                 which & 1);
    vpci_le32 *words[] = { &s->epoch, &s->seen, &s->n_queues, &s->n_links,
                           &s->heartbeat };
    uint32_t word = (which & 2 ? f->sides[which >> 2 & 1].epoch
                     : get_likely(in));

    vpci_store32(words[(which >> 3) % 5], word);
}

static void
write_bytes(struct fuzz *f, struct input *in)
{
    uint8_t n = get_u8(in) & 15, section = get_u8(in);
    uint64_t ofs = get_u32(in), size;

    /* Words rather than data. */
    ofs %= section & 4 ? 2 * VPCI_ABI_PAGE : f->layout.size;
    section %= VPCI_ABI_N_SECTIONS;
    size = f->layout.sections[section].size;
    for (; n; n--) {
        f->region[f->layout.sections[section].offset + ofs++ % size]
            = get_u8(in);
    }
}

static void
fuzz_step(struct fuzz *f, struct input *in)
{
    uint8_t op = get_u8(in);
    unsigned int i = op >> 3 & 1, arg = op >> 4;

    switch (op & 7) {
    case 0:
        lie_in_state(f, in);
        break;
    case 1:
        write_bytes(f, in);
        break;
    case 2:
    case 3:
        f->now_ms += arg * 5;
        run(f, i);
        break;
    case 4:
    case 5:
        fuzz_rings(f, i, in);
        break;
    case 6:
        check(vpci_channel_must_stop(f->sides[i].ch)
              == (f->sides[i].state == VPCI_CHANNEL_RUNNING
                  && !is_current(f, i)),
              "a channel that must stop, or need not");
        break;
    case 7:
    default:
        if (arg < 4) {
            begin(f, i);
        } else if (arg < 8) {
            resume(f, i);
        } else if (arg == 8) {
            vpci_channel_end(f->sides[i].ch);
            begin(f, i);
        }
        break;
    }
}

/* Nobody scribbles any more. */
static void
settle(struct fuzz *f)
{
    int64_t end = f->now_ms + SETTLE_MS;

    while (f->now_ms < end
           && (f->sides[0].state != VPCI_CHANNEL_RUNNING
               || f->sides[1].state != VPCI_CHANNEL_RUNNING
               || vpci_channel_must_stop(f->sides[0].ch)
               || vpci_channel_must_stop(f->sides[1].ch))) {
        f->now_ms += 10;
        run(f, 0);
        run(f, 1);
    }
    check(f->now_ms < end, "the two sides do not meet");
}

/* After all that has happened, channels that begin anew are like new ones. */
static void
check_new(struct fuzz *f)
{
    settle(f);
    begin(f, 0);
    begin(f, 1);
    settle(f);
    for (uint32_t k = 0; k < f->layout.n_rings; k++) {
        for (unsigned int i = 0; i < 2; i++) {
            check(send_one(f, i, k, 2 * k + i)
                  && receive(f, !i, k, 0) == (int) (2 * k + i)
                  && receive(f, !i, k, 0) == -1,
                  "a new ring does not carry a packet");
        }
    }
}

static void
fuzz_init(struct fuzz *f, struct input *in)
{
    struct vpci_layout_report report;

    memset(f, 0, sizeof *f);
    check(vpci_layout_init(&f->layout, &shapes[get_u8(in) % N_SHAPES],
                           &report), "no such shape");
    f->region = map_guarded(f->layout.size);
    vpci_layout_write(&f->layout, f->region, REGION_ID);
    f->channel_bytes = vpci_channel_bytes(&f->layout);
    for (unsigned int i = 0; i < 2; i++) {
        struct side *side = &f->sides[i];

        side->ch = map_guarded(f->channel_bytes);
        side->epoch = 1000 * i;
        side->config = (struct vpci_channel_config) {
            .layout = f->layout,
            .base = f->region,
            .side = i,
            .features = get_u8(in),
            .n_queues = f->layout.shape.n_queues,
            .report = fuzz_report,
            .aux = side,
        };
        begin(f, i);
    }
}

static void
fuzz_uninit(struct fuzz *f)
{
    unmap_guarded(f->region, f->layout.size);
    for (int i = 0; i < 2; i++) {
        unmap_guarded(f->sides[i].ch, f->channel_bytes);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = { data, size };
    struct fuzz f;

    fuzz_init(&f, &in);
    fuzz_header(&f, &in);
    for (int i = 0; i < 200 && in.left; i++) {
        fuzz_step(&f, &in);
    }
    check_new(&f);
    fuzz_uninit(&f);
    return 0;
}
