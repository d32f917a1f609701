/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Carrying out a plan. Every helper that may move the packet is followed by new pointers and a new bounds check. */
#ifndef MOBILEIP_REWRITE_H
#define MOBILEIP_REWRITE_H

#include "binding.h"
#include "parse.h"
#include "plan.h"

#define TUNNEL_TTL 64

struct udp_tunnel_headers {	/* RFC 3519 3.3 */
	struct udphdr udp;
	struct mip_tunnel_data mip;
};
_Static_assert(sizeof(struct udp_tunnel_headers) == UDP_TUNNEL_OVERHEAD, "no padding between headers");

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

/* Bytes of the frame from `offset` on. The caller's lengths are constants, so the compiler copies without a call. */
static __always_inline int put(ctx_t *ctx, int offset, const void *from, int length)
{
	void *to = packet_start(ctx) + offset;

	if (to + length > packet_end(ctx))
		return DROP(helper_failed);
	__builtin_memcpy(to, from, length);
	return VERDICT_CONTINUE;
}

static __always_inline int decapsulate(ctx_t *ctx, const struct packet *p, const struct plan *plan)
{
	if (trim(ctx, ETH_HLEN + p->overhead + bpf_ntohs(p->inner.tot_len)) || close_room(ctx, p->overhead))
		return DROP(helper_failed);
	if (p->tunnel == ENCAPSULATION_MINIMAL)
		return put(ctx, ETH_HLEN, &p->inner, sizeof(p->inner)); /* its TOS is the outer one already */
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
static __always_inline void fill_outer(struct iphdr *outer, const struct iphdr *inner, const struct way *way)
{
	*outer = (struct iphdr){
		.version = 4,
		.ihl = 5,
		.tos = outer_tos(inner->tos),
		.tot_len = bpf_htons(bpf_ntohs(inner->tot_len) + way->overhead),
		.id = bpf_htons(bpf_ntohs(inner->id) + (bpf_ntohs(inner->frag_off) & IP_OFFSET)),
		.frag_off = inner->frag_off & bpf_htons(IP_DF),
		.ttl = TUNNEL_TTL,
		.protocol = way->encapsulation,
		.saddr = way->local,
		.daddr = way->remote,
	};
}

/* RFC 2004 3.1: the inner header itself, sent to and from the tunnel's ends; TTL and DF stay the packet's. */
static __always_inline void fill_minimal_outer(struct iphdr *outer, const struct iphdr *inner, const struct way *way)
{
	*outer = *inner;
	outer->protocol = ENCAPSULATION_MINIMAL;
	outer->tot_len = bpf_htons(bpf_ntohs(inner->tot_len) + way->overhead);
	outer->saddr = way->local;
	outer->daddr = way->remote;
	outer->check = 0;
}

/* UDP checksum 0: the data inside has its own (RFC 3519 4.2 leaves it to the sender). */
static __always_inline int put_udp(ctx_t *ctx, const struct iphdr *outer, const struct way *way)
{
	struct udp_tunnel_headers headers = {};

	headers.udp.source = way->local_port;
	headers.udp.dest = way->remote_port;
	headers.udp.len = bpf_htons(bpf_ntohs(outer->tot_len) - sizeof(*outer));
	headers.mip.type = MIP_TUNNEL_DATA;
	headers.mip.next_header = way->encapsulation;
	return put(ctx, ETH_HLEN + sizeof(*outer), &headers, sizeof(headers));
}

static __always_inline void fill_gre(struct gre *gre, const struct way *way)
{
	*gre = (struct gre){ .protocol = bpf_htons(ETH_P_IP) };
	if (way->carried & CARRIED_WITH_KEY) {
		gre->flags = bpf_htons(GRE_KEY);
		gre->words[0] = way->gre_key;
	}
}

static __always_inline void fill_minimal(struct minimal_header *minimal, const struct iphdr *inner,
					 const struct way *way)
{
	*minimal = (struct minimal_header){ .protocol = inner->protocol, .destination = inner->daddr };
	if (inner->saddr != way->local) {
		minimal->flags = MINIMAL_SOURCE;
		minimal->source = inner->saddr;
	}
	minimal->checksum = ~sum_minimal(minimal);
}

/*
 * What follows the outer IP header, without UDP and in UDP. Two functions, because without CAP_PERFMON the verifier takes
 * constant offsets only: one offset for both would be a variable.
 */
static __always_inline int put_between(ctx_t *ctx, const struct iphdr *inner, const struct way *way)
{
	int offset = ETH_HLEN + sizeof(*inner);
	struct minimal_header minimal;
	struct gre gre;

	if (way->encapsulation == ENCAPSULATION_GRE) {
		fill_gre(&gre, way);
		return way->carried & CARRIED_WITH_KEY ? put(ctx, offset, &gre, GRE_WITH_KEY)
							: put(ctx, offset, &gre, GRE_ALONE);
	}
	if (way->encapsulation == ENCAPSULATION_MINIMAL) {
		fill_minimal(&minimal, inner, way);
		return minimal.flags ? put(ctx, offset, &minimal, MINIMAL_LONG)
				     : put(ctx, offset, &minimal, MINIMAL_SHORT);
	}
	return VERDICT_CONTINUE;
}

static __always_inline int put_udp_and_between(ctx_t *ctx, const struct iphdr *outer, const struct iphdr *inner,
					       const struct way *way)
{
	int offset = ETH_HLEN + sizeof(*outer) + UDP_TUNNEL_OVERHEAD;
	struct minimal_header minimal;
	struct gre gre;

	if (put_udp(ctx, outer, way) < 0)
		return DROP(helper_failed);
	if (way->encapsulation == ENCAPSULATION_GRE) {
		fill_gre(&gre, way);
		return way->carried & CARRIED_WITH_KEY ? put(ctx, offset, &gre, GRE_WITH_KEY)
							: put(ctx, offset, &gre, GRE_ALONE);
	}
	if (way->encapsulation == ENCAPSULATION_MINIMAL) {
		fill_minimal(&minimal, inner, way);
		return minimal.flags ? put(ctx, offset, &minimal, MINIMAL_LONG)
				     : put(ctx, offset, &minimal, MINIMAL_SHORT);
	}
	return VERDICT_CONTINUE;
}

/*
 * How this packet goes, and by how much that makes it longer: as negotiated, but for what minimal encapsulation cannot
 * carry: fragments (RFC 2004 3), options, which would be the outer header's, and what GRO merged, since nobody could cut
 * it again. It goes by IP-in-IP; in UDP the next header is the negotiated one or none (RFC 3519 4.3). `ip` is the header
 * as it enters the tunnel, `segments` the size of those that it stands for, or 0.
 */
static __always_inline int settle_way(const struct iphdr *ip, __u32 segments, struct way *way)
{
	way->overhead = way->carried & CARRIED_IN_UDP ? UDP_TUNNEL_OVERHEAD : 0;
	if (way->encapsulation == ENCAPSULATION_MINIMAL) {
		if (!is_fragment(ip) && ip->ihl == 5 && !segments) {
			way->overhead += ip->saddr == way->local ? MINIMAL_SHORT : MINIMAL_LONG;
			return VERDICT_CONTINUE;
		}
		if (way->carried & CARRIED_IN_UDP)
			return DROP(unfit_for_minimal);
		way->encapsulation = ENCAPSULATION_IPIP;
	}
	way->overhead += sizeof(*ip);
	if (way->encapsulation == ENCAPSULATION_GRE)
		way->overhead += way->carried & CARRIED_WITH_KEY ? GRE_WITH_KEY : GRE_ALONE;
	return VERDICT_CONTINUE;
}

/* As `arrived` has it. */
static __always_inline __u8 kind_of_tunnel(const struct way *way)
{
	return way->encapsulation | (way->carried & CARRIED_IN_UDP);
}

GLOBAL_FUNCTION int settle(const struct iphdr *ip, __u32 segments, struct way *way)
{
	int verdict = ip && way ? settle_way(ip, segments, way) : DROP(helper_failed);

	if (verdict == VERDICT_CONTINUE && segments && way->arrived && way->arrived != kind_of_tunnel(way))
		return DROP(merged_segments); /* the kernel would cut them by what it has noted of the other tunnel */
	return verdict;
}

/* What is cut goes as fragments do: they leave less room than minimal encapsulation. */
static __always_inline int settle_fragments(struct plan *plan)
{
	if (!(plan->flags & PLAN_ENCAPSULATE) || plan->way.encapsulation != ENCAPSULATION_MINIMAL)
		return VERDICT_CONTINUE;
	if (plan->way.carried & CARRIED_IN_UDP)
		return DROP(unfit_for_minimal);
	plan->most -= sizeof(struct iphdr) - plan->way.overhead;
	return VERDICT_CONTINUE;
}

/* Room, and the tunnel's headers in it; `inner` is the header that is behind them then. */
static __always_inline int put_tunnel(ctx_t *ctx, const struct iphdr *inner, const struct way *way)
{
	struct iphdr outer;

	if (open_room(ctx, way->overhead, way->encapsulation, way->carried & CARRIED_IN_UDP,
		      way->arrived == kind_of_tunnel(way)))
		return DROP(helper_failed);
	if (way->encapsulation == ENCAPSULATION_MINIMAL)
		fill_minimal_outer(&outer, inner, way);
	else
		fill_outer(&outer, inner, way);
	if (way->carried & CARRIED_IN_UDP)
		outer.protocol = IPPROTO_UDP;
	outer.check = ~sum_header(&outer);
	if (put(ctx, ETH_HLEN, &outer, sizeof(outer)) < 0)
		return DROP(helper_failed);
	return way->carried & CARRIED_IN_UDP ? put_udp_and_between(ctx, &outer, inner, way)
					      : put_between(ctx, inner, way);
}

/* The packet fits: check_length has said so. */
GLOBAL_FUNCTION int encapsulate(ctx_t *ctx, const struct way *way)
{
	void *data = packet_start(ctx), *end = packet_end(ctx);
	struct iphdr *ip = data + ETH_HLEN, inner;

	if (!way || (void *)(ip + 1) > end)
		return DROP(helper_failed);
	inner = *ip;
	if (trim(ctx, ETH_HLEN + bpf_ntohs(inner.tot_len)))
		return DROP(helper_failed);
	return put_tunnel(ctx, &inner, way);
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

/* The echo request without its tunnel becomes the reply, still without one. */
static __always_inline int answer_echo(ctx_t *ctx)
{
	void *data = packet_start(ctx), *end = packet_end(ctx);
	struct iphdr *ip = data + ETH_HLEN;
	struct icmp_echo *icmp = (void *)(ip + 1);
	__u16 old;

	if ((void *)(icmp + 1) > end)
		return DROP(helper_failed);
	turn_around(ip);
	old = *(__u16 *)icmp;
	icmp->type = 0; /* echo reply */
	replace_word(&icmp->checksum, old, *(__u16 *)icmp);
	return VERDICT_CONTINUE;
}

#endif
