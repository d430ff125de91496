/* SPDX-License-Identifier: Apache-2.0 */

#include "stream.h"

#include <netinet/in.h>

/* UDP ports of a class's flows. */
#define FIRST_PORT 1024
#define N_PORTS 50000

void
stream_init(struct stream *s, const struct traffic_stream *cfg)
{
    *s = (struct stream) { .cfg = *cfg };
    s->head.eth.dst_addr = stream_mac(cfg->to);
    s->head.eth.src_addr = stream_mac(cfg->port);
    s->head.eth.ether_type = RTE_BE16(RTE_ETHER_TYPE_IPV4);
    s->head.ip.version_ihl = RTE_IPV4_VHL_DEF;
    s->head.ip.type_of_service = cfg->dscp << 2;
    s->head.ip.time_to_live = 64;
    s->head.ip.next_proto_id = IPPROTO_UDP;
    s->head.stamp.magic = cfg->stamps ? STREAM_STAMP_MAGIC : 0;
}

/* The next packet is of the next flow if the train is over. */
static void
step_flow(struct stream *s)
{
    if (++s->n_train >= s->cfg.train) {
        s->n_train = 0;
        s->flow = s->flow + 1 < s->cfg.flows ? s->flow + 1 : 0;
    }
}

void
stream_next_flow(struct stream *s, uint16_t size)
{
    uint32_t class = s->flow % s->cfg.classes;
    uint32_t pair = s->flow / s->cfg.classes;

    s->head.ip.src_addr = rte_cpu_to_be_32(RTE_IPV4(10, class, 0, 1));
    s->head.ip.dst_addr = rte_cpu_to_be_32(RTE_IPV4(10, 128 + class, 0, 1));
    s->head.udp.src_port = rte_cpu_to_be_16(FIRST_PORT + pair % N_PORTS);
    s->head.udp.dst_port = rte_cpu_to_be_16(FIRST_PORT + pair / N_PORTS);
    s->head.ip.total_length = rte_cpu_to_be_16(size
                                               - sizeof(struct rte_ether_hdr));
    s->head.udp.dgram_len
        = rte_cpu_to_be_16(size - sizeof(struct rte_ether_hdr)
                           - sizeof(struct rte_ipv4_hdr));
    s->head.ip.hdr_checksum = 0;
    s->head.ip.hdr_checksum = rte_ipv4_cksum(&s->head.ip);
    step_flow(s);
}
