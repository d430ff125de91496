/* SPDX-License-Identifier: Apache-2.0 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "vhost-guest-memory.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE 4096u
#define ZONE_ALIGN (UINT64_C(2) << 20)

/* Zones lie 4 GiB apart, with what a PC has there in mind: never adjacent, so
 * that no back end can get away with one range for all. */
#define ZONE_STRIDE (UINT64_C(4) << 30)

#define FIRST_USER_BASE UINT64_C(0x500000000000)

void
guest_memory_init(struct guest_memory *mem)
{
    memset(mem, 0, sizeof *mem);
    mem->user_base = FIRST_USER_BASE;
    mem->n_cuts = 1;
}

void
guest_memory_destroy(struct guest_memory *mem)
{
    for (unsigned int i = 0; i < GUEST_MAX_ZONES; i++) {
        guest_memory_remove_zone(mem, i);
    }
}

/* Returns a memfd, or a negative errno. */
static int
create_memfd(uint64_t size)
{
    int fd = memfd_create("vhost-guest", MFD_CLOEXEC);

    if (fd < 0) {
        return -errno;
    } else if (ftruncate(fd, size)) {
        int error = errno;

        close(fd);
        return -error;
    }
    return fd;
}

/* Adds a zone with the 'size' bytes in 'fd', which becomes its.  Returns its
 * number, or a negative errno. */
static int
add_zone(struct guest_memory *mem, int fd, uint64_t size)
{
    unsigned int i = 0;

    while (i < GUEST_MAX_ZONES && mem->zones[i].size) {
        i++;
    }
    void *host = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (i == GUEST_MAX_ZONES || host == MAP_FAILED) {
        int error = host == MAP_FAILED ? errno : ENOSPC;

        if (host != MAP_FAILED) {
            munmap(host, size);
        }
        close(fd);
        return -error;
    }
    mem->zones[i] = (struct guest_zone) {
        .addr = i * ZONE_STRIDE,
        .size = size,
        /* Guest address 0 is never given out: it looks like a mistake. */
        .allocated = PAGE,
        .host = host,
        .fd = fd,
    };
    return i;
}

int
guest_memory_add_zone(struct guest_memory *mem, uint64_t size)
{
    size = (size + ZONE_ALIGN - 1) / ZONE_ALIGN * ZONE_ALIGN;
    int fd = create_memfd(size);

    return fd < 0 ? fd : add_zone(mem, fd, size);
}

int
guest_memory_add_file(struct guest_memory *mem, const char *path)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    struct stat st;

    if (fd < 0) {
        return -errno;
    } else if (fstat(fd, &st)) {
        int error = errno;

        close(fd);
        return -error;
    }
    return add_zone(mem, fd, st.st_size);
}

void
guest_memory_remove_zone(struct guest_memory *mem, unsigned int i)
{
    struct guest_zone *zone = &mem->zones[i];

    if (zone->size) {
        munmap(zone->host, zone->size);
        close(zone->fd);
        memset(zone, 0, sizeof *zone);
    }
}

uint64_t
guest_memory_alloc(struct guest_memory *mem, unsigned int i, uint64_t size,
                   uint64_t alignment)
{
    struct guest_zone *zone = &mem->zones[i];
    uint64_t ofs = (zone->allocated + alignment - 1) / alignment * alignment;

    if (!zone->size || ofs > zone->size || size > zone->size - ofs) {
        return UINT64_MAX;
    }
    zone->allocated = ofs + size;
    return zone->addr + ofs;
}

int
guest_memory_zone_at(const struct guest_memory *mem, uint64_t addr)
{
    for (int i = 0; i < GUEST_MAX_ZONES; i++) {
        if (addr - mem->zones[i].addr < mem->zones[i].size) {
            return i;
        }
    }
    return -1;
}

void *
guest_memory_host(const struct guest_memory *mem, uint64_t addr)
{
    int i = guest_memory_zone_at(mem, addr);

    return i < 0 ? NULL : mem->zones[i].host + (addr - mem->zones[i].addr);
}

uint64_t
guest_memory_user(const struct guest_memory *mem, uint64_t addr)
{
    return mem->user_base + addr;
}

uint64_t
guest_memory_end(const struct guest_memory *mem)
{
    uint64_t end = 0;

    for (unsigned int i = 0; i < GUEST_MAX_ZONES; i++) {
        const struct guest_zone *zone = &mem->zones[i];

        if (zone->size && zone->addr + zone->size > end) {
            end = zone->addr + zone->size;
        }
    }
    return end;
}

unsigned int
guest_memory_table(const struct guest_memory *mem,
                   struct guest_region *regions)
{
    unsigned int n_zones = 0, n = 0;

    for (unsigned int i = 0; i < GUEST_MAX_ZONES; i++) {
        n_zones += mem->zones[i].size != 0;
    }
    for (unsigned int i = 0; i < GUEST_MAX_ZONES; i++) {
        const struct guest_zone *zone = &mem->zones[i];
        unsigned int cuts = mem->n_cuts;
        uint64_t start = 0;

        if (!zone->size) {
            continue;
        }
        n_zones--;
        if (cuts > GUEST_MAX_REGIONS - n - n_zones) {
            cuts = GUEST_MAX_REGIONS - n - n_zones;
        }
        for (unsigned int j = 1; j <= cuts; j++) {
            uint64_t end = j < cuts ? zone->size * j / cuts / PAGE * PAGE
                                    : zone->size;

            regions[n++] = (struct guest_region) {
                .addr = zone->addr + start,
                .size = end - start,
                .user_addr = guest_memory_user(mem, zone->addr + start),
                .offset = start,
                .fd = zone->fd,
            };
            start = end;
        }
    }
    return n;
}

int
guest_memory_copy(struct guest_memory *mem)
{
    for (unsigned int i = 0; i < GUEST_MAX_ZONES; i++) {
        struct guest_zone *zone = &mem->zones[i];
        uint64_t done = 0;

        if (!zone->size) {
            continue;
        }
        int fd = create_memfd(zone->size);
        if (fd < 0) {
            return -fd;
        }
        while (done < zone->allocated) {
            ssize_t n = pwrite(fd, zone->host + done, zone->allocated - done,
                               done);

            if (n <= 0) {
                int error = n ? errno : EIO;

                close(fd);
                return error;
            }
            done += n;
        }
        if (mmap(zone->host, zone->size, PROT_READ | PROT_WRITE,
                 MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED) {
            int error = errno;

            close(fd);
            return error;
        }
        close(zone->fd);
        zone->fd = fd;
    }
    return 0;
}

int
guest_memory_truncate(struct guest_memory *mem, uint64_t size)
{
    for (unsigned int i = 0; i < GUEST_MAX_ZONES; i++) {
        struct guest_zone *zone = &mem->zones[i];
        uint64_t length = size == UINT64_MAX ? zone->size : size;

        if (zone->size && ftruncate(zone->fd, length)) {
            return errno;
        }
    }
    return 0;
}
