/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What may travel between nodes and VPN gateways: ESP and IKE, and what else the site's VPN is made of. */
#ifndef MOBILEIP_PASSES_H
#define MOBILEIP_PASSES_H

#include "maps.h"
#include "parse.h"

static __always_inline int is_listed(__u32 bit)
{
	__u32 word = bit / 64;
	__u64 *bits = bpf_map_lookup_elem(&passes, &word);

	return bits && (*bits >> (bit % 64) & 1);
}

static __always_inline int is_allowed(__u8 protocol, __u32 port)
{
	if (!is_listed(PASSES_PROTOCOLS + protocol))
		return 0;
	if (protocol != IPPROTO_UDP && protocol != IPPROTO_TCP)
		return 1;
	return is_listed((protocol == IPPROTO_UDP ? PASSES_UDP_PORTS : PASSES_TCP_PORTS) + port);
}

/*
 * Ports that cannot be read are 0, which is never listed. Later fragments have none: they pass where their protocol has
 * a port on the list. `gateway_port` is the index of the gateway's port: 1 on the way to it, 0 on the way back.
 */
static __always_inline int may_pass(const struct packet *p, const struct iphdr *header, int gateway_port)
{
	__u32 port = bpf_ntohs(p->inner_ports[gateway_port]);

	if (!is_listed(PASSES_PROTOCOLS + header->protocol))
		return 0;
	if ((header->protocol != IPPROTO_UDP && header->protocol != IPPROTO_TCP) || is_later_fragment(header))
		return 1;
	return is_listed((header->protocol == IPPROTO_UDP ? PASSES_UDP_PORTS : PASSES_TCP_PORTS) + port);
}

#endif
