/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Agent discovery (RFC 5944 2): advertisements and solicitations never leave their link, so they are no traffic of the
 * node's, and a node that does not know yet where it is must say and hear them. */
#ifndef MOBILEIP_DISCOVERY_H
#define MOBILEIP_DISCOVERY_H

#include "parse.h"

#define ICMP_ROUTER_ADVERTISEMENT 9
#define ICMP_ROUTER_SOLICITATION 10

static __always_inline int is_discovery(const struct packet *p)
{
	__u8 type = bpf_ntohs(p->inner_ports[0]) >> 8;

	return p->outer.protocol == IPPROTO_ICMP && !is_fragment(&p->outer) && p->has_ports && p->outer.ttl == 1 &&
	       (type == ICMP_ROUTER_ADVERTISEMENT || type == ICMP_ROUTER_SOLICITATION);
}

#endif
