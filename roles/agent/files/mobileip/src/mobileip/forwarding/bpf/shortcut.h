/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The proxy's short way for what nearly all packets are: whole, in one piece, without options, of a binding with one
 * tunnel that lives for a while yet, to a next hop that was asked for a moment ago. It forwards on the conditions of
 * proxy.h and has no others; whatever meets one of them not, every drop included, is left as it came to the general way.
 */
#ifndef MOBILEIP_SHORTCUT_H
#define MOBILEIP_SHORTCUT_H

#include "binding.h"
#include "count.h"
#include "next_hop.h"
#include "passes.h"
#include "proxy.h"
#include "rewrite.h"

#define GENERAL_WAY (-1)
#define SHORT_GATEWAYS 4	/* of those in the settings so many are looked at here */
#define SHORT_LENGTH (ETH_HLEN + (int)sizeof(struct iphdr) + 4)
#define SURELY_NS 1000000000	/* a tick's time is behind the clock's by less, whatever holds a CPU up */

/* What is needed of a packet; of the inner one where it came in a tunnel. */
struct short_packet {
	struct iphdr ip;
	__be16 ports[2];	/* the first four bytes behind the header */
	__be16 source_port;	/* of the UDP tunnel */
	__be32 gre_key;
	__u8 tunnel;
	__u8 carried;
	__u8 overhead;
	__u8 outer_tos;
};

static __always_inline int is_short_header(const struct iphdr *ip)
{
	return *(const __u8 *)ip == 0x45 && ip->ttl > 1 && bpf_ntohs(ip->tot_len) >= sizeof(*ip) + 8;
}

/* With segments limited, TCP is looked at more closely. */
static __always_inline int is_limited(__u8 protocol)
{
	return protocol == IPPROTO_TCP && configured_mss();
}

static __always_inline int copy_inner(struct short_packet *p, const void *from, const void *end, int overhead)
{
	if (from + sizeof(p->ip) + sizeof(p->ports) > end)
		return 0;
	__builtin_memcpy(&p->ip, from, sizeof(p->ip));
	__builtin_memcpy(p->ports, from + sizeof(p->ip), sizeof(p->ports));
	p->overhead = overhead;
	return 1;
}

/* RFC 2004 3.1, as parse_minimal has it. */
static __always_inline int rebuild_inner(struct short_packet *p, const struct iphdr *outer, const void *from, int before,
					 const struct minimal_header *minimal, int length)
{
	if (sum_minimal(minimal) != 0xffff)
		return 0;
	__builtin_memcpy(&p->ip, outer, sizeof(p->ip));
	__builtin_memcpy(p->ports, from + length, sizeof(p->ports));
	p->overhead = before + length - sizeof(p->ip);
	p->ip.protocol = minimal->protocol;
	p->ip.daddr = minimal->destination;
	if (length == MINIMAL_LONG)
		p->ip.saddr = minimal->source;
	p->ip.tot_len = bpf_htons(bpf_ntohs(outer->tot_len) - p->overhead);
	p->ip.check = 0;
	p->ip.check = ~sum_header(&p->ip);
	return 1;
}

/* What is around the inner packet, `before` bytes from the beginning of the outer one. All offsets are constants. */
static __always_inline int read_between(struct short_packet *p, const struct iphdr *outer, const void *from,
					const void *end, int before, __u8 tunnel)
{
	struct minimal_header minimal = {};
	const struct gre *gre = from;

	p->tunnel = tunnel;
	if (tunnel == ENCAPSULATION_IPIP)
		return copy_inner(p, from, end, before);
	if (from + MINIMAL_LONG + sizeof(p->ports) > end)
		return 0;
	if (tunnel == ENCAPSULATION_GRE) {
		if (gre->protocol != bpf_htons(ETH_P_IP))
			return 0;
		if (!gre->flags)
			return copy_inner(p, from + GRE_ALONE, end, before + GRE_ALONE);
		if (gre->flags != bpf_htons(GRE_KEY))
			return 0;
		p->carried |= CARRIED_WITH_KEY;
		p->gre_key = gre->words[0];
		return copy_inner(p, from + GRE_WITH_KEY, end, before + GRE_WITH_KEY);
	}
	if (tunnel != ENCAPSULATION_MINIMAL)
		return 0;
	__builtin_memcpy(&minimal, from, MINIMAL_SHORT);
	if (!(minimal.flags & MINIMAL_SOURCE))
		return rebuild_inner(p, outer, from, before, &minimal, MINIMAL_SHORT);
	__builtin_memcpy(&minimal, from, MINIMAL_LONG);
	return rebuild_inner(p, outer, from, before, &minimal, MINIMAL_LONG);
}

/* The packet in the tunnel packet at `outer`. 0: it is not that simple. */
static __always_inline int read_tunnel(struct short_packet *p, const struct iphdr *outer, const void *end)
{
	const void *from = outer + 1;
	const struct udp_tunnel_headers *udp = from;
	int found;

	if (sum_header(outer) != 0xffff)
		return 0;
	p->outer_tos = outer->tos;
	if (outer->protocol == IPPROTO_UDP) {
		if ((void *)(udp + 1) > end || udp->udp.dest != bpf_htons(MIP_PORT) || udp->mip.type != MIP_TUNNEL_DATA ||
		    bpf_ntohs(udp->udp.len) != bpf_ntohs(outer->tot_len) - sizeof(*outer))
			return 0;
		p->carried = CARRIED_IN_UDP;
		p->source_port = udp->udp.source;
		found = read_between(p, outer, from + UDP_TUNNEL_OVERHEAD, end, sizeof(*outer) + UDP_TUNNEL_OVERHEAD,
				     udp->mip.next_header);
	} else {
		found = read_between(p, outer, from, end, sizeof(*outer), outer->protocol);
	}
	return found && is_short_header(&p->ip) &&
	       bpf_ntohs(p->ip.tot_len) == bpf_ntohs(outer->tot_len) - p->overhead;
}

/* One of the first gateways has this address: its place, or -1. */
static __always_inline int find_gateway(const struct proxy_settings *s, __be32 address)
{
#pragma unroll
	for (int i = 0; i < SHORT_GATEWAYS; i++) {
		if (i >= s->gateway_count)
			break;
		if (s->gateways[i].public_address == address)
			return i;
	}
	return -1;
}

/* Has the gateway this MAC address? The answer for one of them is kept for the rest of the tick. */
static __always_inline int has_mac(struct tick *tick, __be32 gateway, const struct ethhdr *ethernet)
{
	const __u16 *mac = (const void *)ethernet->h_source;
	struct gateway_mac key = { .gateway = gateway };

	if (tick->gateway == gateway && tick->mac[0] == mac[0] && tick->mac[1] == mac[1] && tick->mac[2] == mac[2])
		return 1;
	__builtin_memcpy(key.mac, mac, ETH_ALEN);
	if (!bpf_map_lookup_elem(&gateway_macs, &key))
		return 0;
	__builtin_memcpy(tick->mac, key.mac, ETH_ALEN);
	tick->gateway = gateway;
	return 1;
}

/* All is decided. What fails now has changed the packet: it is dropped. */
static __always_inline int leave(ctx_t *ctx, const struct next_hop *hop, int verdict, __u32 outcome,
				 struct traffic *of_binding, __u32 bytes)
{
	if (verdict < 0 || put(ctx, 0, hop->ethernet, sizeof(hop->ethernet)) < 0 ||
	    bpf_redirect(hop->ifindex, 0) != ACTION_REDIRECT) {
		count_drop(ctx, DROP_helper_failed, bytes);
		return ACTION_DROP;
	}
	count_forwarded(ctx, outcome, bytes);
	if (of_binding)
		add_shared_packet(of_binding, bytes);
	return ACTION_REDIRECT;
}

/* Out of its tunnel, and to `next_hop` by layer 2. */
static __always_inline int leave_tunnel(ctx_t *ctx, struct short_packet *p, const struct wanted_hop *want, struct tick *tick,
					__u32 outcome, struct traffic *of_binding, __u32 bytes)
{
	const struct next_hop *hop;
	int tos = merge_ecn(p->outer_tos, p->ip.tos);
	__u16 old;

	if (tos < 0 || is_limited(p->ip.protocol))
		return GENERAL_WAY;
	hop = find_next_hop(ctx, want, bpf_ntohs(p->ip.tot_len), tick);
	if (!hop)
		return GENERAL_WAY;
	if (p->ip.tos != tos) {
		old = *(__u16 *)&p->ip;
		p->ip.tos = tos;
		replace_word(&p->ip.check, old, *(__u16 *)&p->ip);
	}
	old = *(__u16 *)&p->ip.ttl;
	p->ip.ttl--;
	replace_word(&p->ip.check, old, *(__u16 *)&p->ip.ttl);
	if (close_room(ctx, p->overhead))
		return leave(ctx, hop, DROP(helper_failed), outcome, of_binding, bytes);
	return leave(ctx, hop, put(ctx, ETH_HLEN, &p->ip, sizeof(p->ip)), outcome, of_binding, bytes);
}

/* Into a tunnel, and to its other end by the kernel's routes. */
static __always_inline int enter_tunnel(ctx_t *ctx, struct way *way, __u32 ifindex, struct tick *tick, __u32 outcome,
					struct traffic *of_binding, __u32 bytes)
{
	void *data = packet_start(ctx), *end = packet_end(ctx);
	struct iphdr *ip = data + ETH_HLEN, inner;
	struct wanted_hop want = {};
	const struct next_hop *hop;

	if ((void *)(ip + 1) > end)
		return GENERAL_WAY;
	inner = *ip;
	if (is_limited(inner.protocol) || settle_way(&inner, 0, way) < 0)
		return GENERAL_WAY;
	want.destination = way->remote;
	want.source = way->local;
	want.ifindex = ifindex;
	want.protocol = way->carried & CARRIED_IN_UDP ? IPPROTO_UDP : way->encapsulation;
	want.tos = inner.tos & ~3;
	want.is_tunnel = 1;
	hop = find_next_hop(ctx, &want, bpf_ntohs(inner.tot_len) + way->overhead, tick);
	if (!hop || decrement_ttl(ctx) < 0)
		return GENERAL_WAY;
	inner.ttl--;
	return leave(ctx, hop, put_tunnel(ctx, &inner, way), outcome, of_binding, bytes);
}

static __always_inline int shortcut_from_node(ctx_t *ctx, const struct proxy_settings *s, const struct iphdr *outer,
					      struct tick *tick, __u32 bytes)
{
	struct wanted_hop want = { .source = s->public_address, .ifindex = s->gateway_public_ifindex };
	__be32 care_of = outer->saddr;
	struct short_packet p = {};
	const struct tunnel *t;
	struct binding *b;

	if (!read_tunnel(&p, outer, packet_end(ctx)) || is_fragment(&p.ip) || find_gateway(s, p.ip.daddr) < 0 ||
	    !is_allowed(p.ip.protocol, bpf_ntohs(p.ports[1])))
		return GENERAL_WAY;
	b = find_binding(p.ip.daddr, p.ip.saddr);
	if (!b || !b->tunnel_count)
		return GENERAL_WAY;
	t = &b->tunnels[0];
	if (t->expires_ns <= tick->now_ns + SURELY_NS || (care_of != t->care_of && care_of != t->source) ||
	    t->encapsulation != p.tunnel || ((t->flags ^ p.carried) & (CARRIED_IN_UDP | CARRIED_WITH_KEY)) ||
	    ((p.carried & CARRIED_WITH_KEY) && p.gre_key != t->gre_key) ||
	    ((p.carried & CARRIED_IN_UDP) && (!t->port || t->port != p.source_port)))
		return GENERAL_WAY;
	want.destination = p.ip.daddr;
	return leave_tunnel(ctx, &p, &want, tick, OUTCOME_node_to_gateway, &b->from_node, bytes);
}

static __always_inline int shortcut_to_node(ctx_t *ctx, const struct proxy_settings *s, struct tick *tick,
					    const struct ethhdr *ethernet, const struct iphdr *ip, __u32 bytes)
{
	const __be16 *ports = (const void *)(ip + 1);
	struct binding *b = find_binding(ip->saddr, ip->daddr);
	const struct tunnel *t;
	struct way way = {};

	if (!b || b->tunnel_count != 1 || !has_mac(tick, ip->saddr, ethernet) ||
	    !is_allowed(ip->protocol, bpf_ntohs(ports[0])))
		return GENERAL_WAY;
	t = &b->tunnels[0];
	if (t->expires_ns <= tick->now_ns + SURELY_NS || ((t->flags & TUNNEL_HALF_BOUND) && !t->port) ||
	    t->care_of == ip->saddr)
		return GENERAL_WAY;
	fill_way(&way, s->public_address, t);
	return enter_tunnel(ctx, &way, s->public_ifindex, tick, OUTCOME_gateway_to_node, &b->to_node, bytes);
}

/* Row 5, through the home agent's tunnel: a bound node's clear packet from its gateway, for nobody who is bound. */
static __always_inline int shortcut_to_home_agent(ctx_t *ctx, const struct proxy_settings *s, struct tick *tick,
						  const struct ethhdr *ethernet, const struct iphdr *ip, __u32 bytes)
{
	struct tunnel to_home_agent = { .flags = s->home_agent_flags, .gre_key = s->home_agent_gre_key };
	const struct binding *b, *sender = 0;
	struct way way = {};

	if (s->gateway_count > SHORT_GATEWAYS)
		return GENERAL_WAY;
#pragma unroll
	for (int i = 0; i < SHORT_GATEWAYS; i++) {
		__be32 gateway;

		if (i >= s->gateway_count)
			break;
		gateway = s->gateways[i].public_address;
		b = find_binding(gateway, ip->saddr);
		if (b) {
			if (sender || s->direct_delivery >> i & 1 || !has_mac(tick, gateway, ethernet))
				return GENERAL_WAY;
			sender = b;
		}
		if (find_binding(gateway, ip->daddr))
			return GENERAL_WAY;
	}
	if (!sender || !sender->tunnel_count || sender->tunnels[0].expires_ns <= tick->now_ns + SURELY_NS ||
	    !(subnet_flags(ip->daddr) & PREFIX_MOBILITY))
		return GENERAL_WAY;
	to_home_agent.care_of = sender->home_agent;
	to_home_agent.encapsulation = sender->home_agent_encapsulation;
	fill_way(&way, s->private_address, &to_home_agent);
	return enter_tunnel(ctx, &way, s->private_ifindex, tick, OUTCOME_gateway_to_home_agent, 0, bytes);
}

static __always_inline int shortcut_from_home_agent(ctx_t *ctx, const struct proxy_settings *s,
						    const struct iphdr *outer, struct tick *tick, __u32 bytes)
{
	struct wanted_hop want = { .source = s->private_address, .ifindex = s->gateway_private_ifindex };
	__be32 home_agent = outer->saddr;
	struct short_packet p = {};
	const struct binding *b = 0;

	if (!read_tunnel(&p, outer, packet_end(ctx)) || (p.carried & CARRIED_IN_UDP))
		return GENERAL_WAY;
#pragma unroll
	for (int i = 0; i < SHORT_GATEWAYS; i++) {
		__be32 private_address = s->gateways[i].private_address;

		barrier_var(private_address); /* read here, at a constant offset, not where the iterations meet again */
		if (i >= s->gateway_count)
			break;
		b = find_binding(s->gateways[i].public_address, p.ip.daddr);
		if (b) {
			want.destination = private_address;
			break;
		}
	}
	if (!b || b->home_agent != home_agent || !b->tunnel_count || b->tunnels[0].expires_ns <= tick->now_ns + SURELY_NS ||
	    b->home_agent_encapsulation != p.tunnel)
		return GENERAL_WAY;
	if (p.tunnel == ENCAPSULATION_GRE &&
	    (((p.carried ^ s->home_agent_flags) & CARRIED_WITH_KEY) || p.gre_key != s->home_agent_gre_key))
		return GENERAL_WAY;
	return leave_tunnel(ctx, &p, &want, tick, OUTCOME_home_agent_to_gateway, 0, bytes);
}

/* Is this frame simple enough? Its length, or 0. */
static __always_inline __u32 short_frame(ctx_t *ctx)
{
	void *data = packet_start(ctx), *end = packet_end(ctx);
	struct ethhdr *ethernet = data;
	struct iphdr *ip = (void *)(ethernet + 1);
	__u32 bytes = simple_length(ctx);

	if (data + SHORT_LENGTH > end || ethernet->h_proto != bpf_htons(ETH_P_IP) || !is_short_header(ip) ||
	    is_fragment(ip) || bpf_ntohs(ip->tot_len) + ETH_HLEN != bytes || !is_for_this_host(ctx))
		return 0;
	return bytes;
}

/* The proxy's programs have a short way, the others none. */
#define SHORTCUT_proxy_pub(ctx) shortcut_public(ctx)
#define SHORTCUT_proxy_priv(ctx) shortcut_private(ctx)
#define SHORTCUT_ha_core(ctx) GENERAL_WAY
#define SHORTCUT_ha_home(ctx) GENERAL_WAY
#define SHORTCUT_fa_uplink(ctx) GENERAL_WAY
#define SHORTCUT_fa_link(ctx) GENERAL_WAY
#define SHORTCUT_mn_ingress(ctx) GENERAL_WAY
#define SHORTCUT_mn_egress(ctx) GENERAL_WAY

GLOBAL_FUNCTION int shortcut_public(ctx_t *ctx)
{
	const struct proxy_settings *s = proxy();
	__u32 bytes = short_frame(ctx);
	void *data = packet_start(ctx);
	struct ethhdr *ethernet = data;
	struct iphdr *ip = (void *)(ethernet + 1);
	struct tick *tick;

	if (!s || !bytes || data + SHORT_LENGTH > packet_end(ctx) || ip->daddr == s->private_address)
		return GENERAL_WAY;
	tick = this_tick();
	if (!tick)
		return GENERAL_WAY;
	if (ip->daddr == s->public_address)
		return shortcut_from_node(ctx, s, ip, tick, bytes);
	if (interface_of(ctx) != s->gateway_public_ifindex)
		return GENERAL_WAY;
	if (find_gateway(s, ip->saddr) >= 0)
		return shortcut_to_node(ctx, s, tick, ethernet, ip, bytes);
	if (s->gateway_count > SHORT_GATEWAYS)
		return GENERAL_WAY;
	return shortcut_to_home_agent(ctx, s, tick, ethernet, ip, bytes);
}

GLOBAL_FUNCTION int shortcut_private(ctx_t *ctx)
{
	const struct proxy_settings *s = proxy();
	__u32 bytes = short_frame(ctx);
	void *data = packet_start(ctx);
	struct iphdr *ip = data + ETH_HLEN;
	struct tick *tick;

	if (!s || !bytes || data + SHORT_LENGTH > packet_end(ctx) || ip->daddr != s->private_address ||
	    s->private_address == s->public_address)
		return GENERAL_WAY;
	tick = this_tick();
	return tick ? shortcut_from_home_agent(ctx, s, ip, tick, bytes) : GENERAL_WAY;
}

#endif
