/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Carrying out a plan. Every helper that may move the packet is followed by new pointers and a new bounds check. */
#ifndef MOBILEIP_REWRITE_H
#define MOBILEIP_REWRITE_H

#include "binding.h"
#include "parse.h"
#include "plan.h"

#define TUNNEL_TTL 64

struct udp_tunnel_headers {
	struct iphdr ip;
	struct udphdr udp;
	struct mip_tunnel_data mip;
};
_Static_assert(sizeof(struct udp_tunnel_headers) == UDP_OVERHEAD, "no padding between headers");

struct icmp_echo {		/* RFC 792; linux/icmp.h brings the C library's headers with it */
	__u8 type;
	__u8 code;
	__u16 checksum;
	__be32 identifier_and_sequence;
};

/* RFC 1624: HC' = ~(~HC + ~m + m') */
static __always_inline void replace_word(__u16 *checksum, __u16 old, __u16 new)
{
	*checksum = ~fold_checksum((__u16)~*checksum + (__u16)~old + new);
}

static __always_inline int set_tos(ctx_t *ctx, __u8 tos)
{
	void *data = packet_start(ctx), *end = packet_end(ctx);
	struct iphdr *ip = data + ETH_HLEN;
	__u16 old;

	if ((void *)(ip + 1) > end)
		return DROP(helper_failed);
	if (ip->tos == tos)
		return VERDICT_CONTINUE;
	old = *(__u16 *)ip;
	ip->tos = tos;
	replace_word(&ip->check, old, *(__u16 *)ip);
	return VERDICT_CONTINUE;
}

static __always_inline int decrement_ttl(ctx_t *ctx)
{
	void *data = packet_start(ctx), *end = packet_end(ctx);
	struct iphdr *ip = data + ETH_HLEN;
	__u16 old;

	if ((void *)(ip + 1) > end)
		return DROP(helper_failed);
	old = *(__u16 *)&ip->ttl;
	ip->ttl--;
	replace_word(&ip->check, old, *(__u16 *)&ip->ttl);
	return VERDICT_CONTINUE;
}

static __always_inline int decapsulate(ctx_t *ctx, const struct packet *p, const struct plan *plan)
{
	int overhead = p->tunnel == ENCAPSULATION_UDP ? UDP_OVERHEAD : IPIP_OVERHEAD;

	if (trim(ctx, ETH_HLEN + overhead + bpf_ntohs(p->inner.tot_len)) || close_room(ctx, overhead))
		return DROP(helper_failed);
	return set_tos(ctx, plan->tos);
}

/* The outer TOS byte: ECN as inside (RFC 6040 4.1, normal mode), DSCP as inside or as configured (RFC 2983 3.1). */
static __always_inline __u8 outer_tos(__u8 inner)
{
	__u32 key = 0;
	const struct tunnel_policy *policy = bpf_map_lookup_elem(&tunnel_policy, &key);

	return policy && (policy->flags & POLICY_SET_DSCP) ? policy->dscp << 2 | (inner & 3) : inner;
}

/*
 * The outer header, RFC 2003 3.1: DF as inside. The identification
 * needs to differ between fragments of one inner packet only where DF is clear.
 */
static __always_inline void fill_outer(struct iphdr *outer, const struct iphdr *inner, const struct plan *plan,
				       int overhead)
{
	*outer = (struct iphdr){
		.version = 4,
		.ihl = 5,
		.tos = outer_tos(inner->tos),
		.tot_len = bpf_htons(bpf_ntohs(inner->tot_len) + overhead),
		.id = bpf_htons(bpf_ntohs(inner->id) + (bpf_ntohs(inner->frag_off) & IP_OFFSET)),
		.frag_off = inner->frag_off & bpf_htons(IP_DF),
		.ttl = TUNNEL_TTL,
		.protocol = plan->encapsulation,
		.saddr = plan->local,
		.daddr = plan->remote,
	};
	outer->check = ~sum_header(outer);
}

static __always_inline int push_ipip(ctx_t *ctx, const struct iphdr *outer)
{
	void *data, *end;

	if (open_room(ctx, IPIP_OVERHEAD, 0))
		return DROP(helper_failed);
	data = packet_start(ctx);
	end = packet_end(ctx);
	if (data + ETH_HLEN + sizeof(*outer) > end)
		return DROP(helper_failed);
	__builtin_memcpy(data + ETH_HLEN, outer, sizeof(*outer));
	return VERDICT_CONTINUE;
}

/* UDP checksum 0: the data inside has its own (RFC 3519 4.2 leaves it to the sender). */
static __always_inline int push_udp(ctx_t *ctx, const struct iphdr *outer, const struct plan *plan)
{
	struct udp_tunnel_headers headers = { .ip = *outer };
	void *data, *end;

	headers.udp.source = plan->local_port;
	headers.udp.dest = plan->remote_port;
	headers.udp.len = bpf_htons(bpf_ntohs(outer->tot_len) - sizeof(*outer));
	headers.mip.type = MIP_TUNNEL_DATA;
	headers.mip.next_header = IPPROTO_IPIP;
	if (open_room(ctx, UDP_OVERHEAD, 1))
		return DROP(helper_failed);
	data = packet_start(ctx);
	end = packet_end(ctx);
	if (data + ETH_HLEN + sizeof(headers) > end)
		return DROP(helper_failed);
	__builtin_memcpy(data + ETH_HLEN, &headers, sizeof(headers));
	return VERDICT_CONTINUE;
}

/* The packet fits: check_length has said so. */
static __always_inline int encapsulate(ctx_t *ctx, const struct plan *plan)
{
	void *data = packet_start(ctx), *end = packet_end(ctx);
	struct iphdr *ip = data + ETH_HLEN, inner, outer;

	if ((void *)(ip + 1) > end)
		return DROP(helper_failed);
	inner = *ip;
	if (trim(ctx, ETH_HLEN + bpf_ntohs(inner.tot_len)))
		return DROP(helper_failed);
	fill_outer(&outer, &inner, plan, plan_overhead(plan));
	return plan->encapsulation == ENCAPSULATION_UDP ? push_udp(ctx, &outer, plan) : push_ipip(ctx, &outer);
}

static __always_inline void turn_around(struct iphdr *ip)
{
	__be32 source = ip->saddr;

	ip->saddr = ip->daddr;
	ip->daddr = source;
	ip->ttl = TUNNEL_TTL;
	ip->check = 0;
	ip->check = ~sum_header(ip);
}

static __always_inline int answer_echo(ctx_t *ctx, const struct packet *p)
{
	struct udp_tunnel_headers *outer;
	struct icmp_echo *icmp;
	struct iphdr *inner;
	void *data, *end;
	__be16 port;
	__u16 old;

	if (trim(ctx, ETH_HLEN + bpf_ntohs(p->outer.tot_len)))
		return DROP(helper_failed);
	data = packet_start(ctx);
	end = packet_end(ctx);
	outer = data + ETH_HLEN;
	inner = (void *)(outer + 1);
	icmp = (void *)(inner + 1);
	if ((void *)(icmp + 1) > end)
		return DROP(helper_failed);
	turn_around(&outer->ip);
	turn_around(inner);
	port = outer->udp.source;
	outer->udp.source = outer->udp.dest;
	outer->udp.dest = port;
	outer->udp.check = 0;
	old = *(__u16 *)icmp;
	icmp->type = 0; /* echo reply */
	replace_word(&icmp->checksum, old, *(__u16 *)icmp);
	return VERDICT_CONTINUE;
}

#endif
