/* SPDX-License-Identifier: Apache-2.0 */

#include "vpci-pcapng.h"

#include <string.h>

enum {
    SECTION = 0x0a0d0d0a,
    INTERFACE = 1,
    STATISTICS = 5,
    PACKET = 6
};

/* Options. */
enum {
    END = 0,
    NAME = 2,
    TIME_RESOLUTION = 9,
    RECEIVED = 4,
    DROPPED = 5
};

#define BYTE_ORDER_MAGIC 0x1a2b3c4d
#define ETHERNET 1              /* LINKTYPE_ETHERNET. */
#define MAX_NAME 256

/* A block without its type and lengths, of 32-bit words. */
struct block {
    uint32_t words[32 + MAX_NAME / 4];
    uint32_t n;
};

static void
put(struct block *b, uint32_t word)
{
    b->words[b->n++] = word;
}

static void
put_time(struct block *b, int64_t time_ns)
{
    put(b, (uint64_t) time_ns >> 32);
    put(b, (uint32_t) time_ns);
}

/* Two numbers of 16 bits, in this order in memory. */
static void
put_pair(struct block *b, uint16_t first, uint16_t second)
{
    const uint16_t pair[2] = { first, second };

    memcpy(&b->words[b->n++], pair, sizeof pair);
}

static void
put_option(struct block *b, uint16_t code, const void *data, uint16_t len)
{
    uint32_t n = (len + 3) / 4;

    put_pair(b, code, len);
    memset(&b->words[b->n], 0, n * sizeof *b->words);
    memcpy(&b->words[b->n], data, len);
    b->n += n;
}

static bool
write_words(FILE *file, const uint32_t *words, uint32_t n)
{
    return fwrite(words, sizeof *words, n, file) == n;
}

/* Writes block 'b' of 'type', with 'len' bytes at 'data' behind it. */
static bool
write_block(FILE *file, uint32_t type, const struct block *b,
            const void *data, uint32_t len)
{
    static const uint8_t zeros[4];
    uint32_t padding = -len % 4;
    uint32_t total = (b->n + 3) * sizeof *b->words + len + padding;
    uint32_t head[2] = { type, total };

    return (write_words(file, head, 2) && write_words(file, b->words, b->n)
            && fwrite(data, 1, len, file) == len
            && fwrite(zeros, 1, padding, file) == padding
            && write_words(file, &total, 1));
}

bool
pcapng_begin(FILE *file, const char *interface, uint32_t snaplen)
{
    const uint8_t nanoseconds = 9;
    struct block b = { .n = 0 };
    size_t len = strlen(interface);

    put(&b, BYTE_ORDER_MAGIC);
    put_pair(&b, 1, 0);         /* The version. */
    put(&b, UINT32_MAX);        /* The length of the section: not known. */
    put(&b, UINT32_MAX);
    if (!write_block(file, SECTION, &b, "", 0)) {
        return false;
    }
    b.n = 0;
    put_pair(&b, ETHERNET, 0);
    put(&b, snaplen);
    put_option(&b, NAME, interface, len < MAX_NAME ? len : MAX_NAME);
    put_option(&b, TIME_RESOLUTION, &nanoseconds, sizeof nanoseconds);
    put_option(&b, END, "", 0);
    return write_block(file, INTERFACE, &b, "", 0);
}

bool
pcapng_packet(FILE *file, int64_t time_ns, const void *data, uint32_t len,
              uint32_t snaplen)
{
    uint32_t kept = len < snaplen ? len : snaplen;
    struct block b = { .n = 0 };

    put(&b, 0);                 /* The interface. */
    put_time(&b, time_ns);
    put(&b, kept);
    put(&b, len);
    return write_block(file, PACKET, &b, data, kept);
}

bool
pcapng_statistics(FILE *file, int64_t time_ns, uint64_t received,
                  uint64_t dropped)
{
    struct block b = { .n = 0 };

    put(&b, 0);
    put_time(&b, time_ns);
    put_option(&b, RECEIVED, &received, sizeof received);
    put_option(&b, DROPPED, &dropped, sizeof dropped);
    put_option(&b, END, "", 0);
    return write_block(file, STATISTICS, &b, "", 0);
}
