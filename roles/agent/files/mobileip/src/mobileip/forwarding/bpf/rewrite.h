/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Carrying out a plan. Every helper that may move the packet is followed by new pointers and a new bounds check. */
#ifndef MOBILEIP_REWRITE_H
#define MOBILEIP_REWRITE_H

#include <linux/pkt_cls.h>

#include "binding.h"
#include "count.h"
#include "parse.h"
#include "plan.h"

#define TUNNEL_TTL 64
#define IPV4_FAMILY 2	/* AF_INET; its header is not for BPF */

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

/* A frame may be padded behind the packet (60 bytes minimum); what we send on is not. */
static __always_inline int trim(struct __sk_buff *skb, __u32 length)
{
	if (skb->len <= length)
		return 0;
	return bpf_skb_change_tail(skb, length, 0);
}

/* RFC 1624: HC' = ~(~HC + ~m + m') */
static __always_inline void replace_word(__u16 *checksum, __u16 old, __u16 new)
{
	*checksum = ~fold_checksum((__u16)~*checksum + (__u16)~old + new);
}

static __always_inline int set_tos(struct __sk_buff *skb, __u8 tos)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
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

static __always_inline int decrement_ttl(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct iphdr *ip = data + ETH_HLEN;
	__u16 old;

	if ((void *)(ip + 1) > end)
		return DROP(helper_failed);
	old = *(__u16 *)&ip->ttl;
	ip->ttl--;
	replace_word(&ip->check, old, *(__u16 *)&ip->ttl);
	return VERDICT_CONTINUE;
}

static __always_inline int decapsulate(struct __sk_buff *skb, const struct packet *p, const struct plan *plan)
{
	int overhead = p->tunnel == ENCAPSULATION_UDP ? UDP_OVERHEAD : IPIP_OVERHEAD;

	if (trim(skb, ETH_HLEN + overhead + bpf_ntohs(p->inner.tot_len)))
		return DROP(helper_failed);
	/* Segments that GRO merged keep the size that they arrived with. */
	if (bpf_skb_adjust_room(skb, -overhead, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO))
		return DROP(helper_failed);
	return set_tos(skb, plan->tos);
}

/*
 * The outer header, RFC 2003 3.1: TOS with ECN as inside (RFC 6040 4.1, normal mode), DF as inside. The identification
 * needs to differ between fragments of one inner packet only where DF is clear.
 */
static __always_inline void fill_outer(struct iphdr *outer, const struct iphdr *inner, const struct plan *plan,
				       int overhead)
{
	*outer = (struct iphdr){
		.version = 4,
		.ihl = 5,
		.tos = inner->tos,
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

static __always_inline int push_ipip(struct __sk_buff *skb, const struct iphdr *outer)
{
	void *data, *end;

	if (bpf_skb_adjust_room(skb, IPIP_OVERHEAD, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_ENCAP_L3_IPV4))
		return DROP(helper_failed);
	data = (void *)(long)skb->data;
	end = (void *)(long)skb->data_end;
	if (data + ETH_HLEN + sizeof(*outer) > end)
		return DROP(helper_failed);
	__builtin_memcpy(data + ETH_HLEN, outer, sizeof(*outer));
	return VERDICT_CONTINUE;
}

/* UDP checksum 0: the data inside has its own (RFC 3519 4.2 leaves it to the sender). */
static __always_inline int push_udp(struct __sk_buff *skb, const struct iphdr *outer, const struct plan *plan)
{
	struct udp_tunnel_headers headers = { .ip = *outer };
	void *data, *end;

	headers.udp.source = plan->local_port;
	headers.udp.dest = plan->remote_port;
	headers.udp.len = bpf_htons(bpf_ntohs(outer->tot_len) - sizeof(*outer));
	headers.mip.type = MIP_TUNNEL_DATA;
	headers.mip.next_header = IPPROTO_IPIP;
	if (bpf_skb_adjust_room(skb, UDP_OVERHEAD, BPF_ADJ_ROOM_MAC,
				BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 | BPF_F_ADJ_ROOM_ENCAP_L4_UDP))
		return DROP(helper_failed);
	data = (void *)(long)skb->data;
	end = (void *)(long)skb->data_end;
	if (data + ETH_HLEN + sizeof(headers) > end)
		return DROP(helper_failed);
	__builtin_memcpy(data + ETH_HLEN, &headers, sizeof(headers));
	return VERDICT_CONTINUE;
}

static __always_inline int encapsulate(struct __sk_buff *skb, const struct plan *plan)
{
	int overhead = plan->encapsulation == ENCAPSULATION_UDP ? UDP_OVERHEAD : IPIP_OVERHEAD;
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct iphdr *ip = data + ETH_HLEN, inner, outer;
	__u32 mtu;
	int fits;

	if ((void *)(ip + 1) > end)
		return DROP(helper_failed);
	inner = *ip;
	mtu = bpf_ntohs(inner.tot_len) + overhead; /* in: the length to check; out: the MTU */
	if (mtu > 0xffff)
		return DROP(too_big);
	fits = bpf_check_mtu(skb, plan->ifindex, &mtu, 0, 0);
	if (fits)
		return fits == BPF_MTU_CHK_RET_FRAG_NEEDED ? DROP(too_big) : DROP(helper_failed);
	if (trim(skb, ETH_HLEN + bpf_ntohs(inner.tot_len)))
		return DROP(helper_failed);
	fill_outer(&outer, &inner, plan, overhead);
	return plan->encapsulation == ENCAPSULATION_UDP ? push_udp(skb, &outer, plan) : push_ipip(skb, &outer);
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

static __always_inline int answer_echo(struct __sk_buff *skb, const struct packet *p)
{
	struct udp_tunnel_headers *outer;
	struct icmp_echo *icmp;
	struct iphdr *inner;
	void *data, *end;
	__be16 port;
	__u16 old;

	if (trim(skb, ETH_HLEN + bpf_ntohs(p->outer.tot_len)))
		return DROP(helper_failed);
	data = (void *)(long)skb->data;
	end = (void *)(long)skb->data_end;
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

/* The interface towards the tunnel's end. An unresolved neighbour is no failure: the redirect resolves it. */
static __always_inline int route(struct __sk_buff *skb, struct plan *plan)
{
	struct bpf_fib_lookup fib;
	long result;

	__builtin_memset(&fib, 0, sizeof(fib));
	fib.family = IPV4_FAMILY;
	fib.l4_protocol = plan->encapsulation;
	fib.ipv4_src = plan->local;
	fib.ipv4_dst = plan->remote;
	fib.ifindex = skb->ifindex;
	result = bpf_fib_lookup(skb, &fib, sizeof(fib), 0);
	if (result != BPF_FIB_LKUP_RET_SUCCESS && result != BPF_FIB_LKUP_RET_NO_NEIGH)
		return DROP(no_route);
	plan->ifindex = fib.ifindex;
	return VERDICT_CONTINUE;
}

/* Each copy enters this interface anew, so that all checks are made for it as well. */
static __always_inline void send_copies(struct __sk_buff *skb, const struct plan *plan)
{
	__u32 mark = skb->mark;

	for (__u32 i = 1; i < MAX_CARE_OF; i++) {
		if (!(plan->copies & (1 << i)))
			continue;
		skb->mark = COPY_MARK | i;
		if (bpf_clone_redirect(skb, skb->ifindex, BPF_F_INGRESS))
			count_drop(DROP_helper_failed);
	}
	skb->mark = mark;
}

static __always_inline int change(struct __sk_buff *skb, const struct packet *p, struct plan *plan)
{
	int verdict = VERDICT_CONTINUE;

	if (plan->copies)
		send_copies(skb, plan);
	if (plan->flags & PLAN_ANSWER_ECHO)
		verdict = answer_echo(skb, p);
	if (verdict == VERDICT_CONTINUE && (plan->flags & PLAN_DECAPSULATE))
		verdict = decapsulate(skb, p, plan);
	if (verdict == VERDICT_CONTINUE && (plan->flags & PLAN_DECREMENT_TTL))
		verdict = decrement_ttl(skb);
	if (verdict == VERDICT_CONTINUE && (plan->flags & PLAN_ROUTE))
		verdict = route(skb, plan);
	if (verdict == VERDICT_CONTINUE && (plan->flags & PLAN_ENCAPSULATE))
		verdict = encapsulate(skb, plan);
	return verdict;
}

static __always_inline int redirect(struct plan *plan)
{
	struct bpf_redir_neigh neighbour;

	if (!plan->next_hop)
		return bpf_redirect_neigh(plan->ifindex, 0, 0, 0);
	/* All of the union: without CAP_PERFMON no helper may see a byte that was never written. */
	__builtin_memset(&neighbour, 0, sizeof(neighbour));
	neighbour.nh_family = IPV4_FAMILY;
	neighbour.ipv4_nh = plan->next_hop;
	return bpf_redirect_neigh(plan->ifindex, &neighbour, sizeof(neighbour), 0);
}

/* The one exit of every program: carries out the plan, counts once. */
static __always_inline int finish(struct __sk_buff *skb, const struct packet *p, struct plan *plan, int verdict)
{
	__u32 bytes = skb->len;

	if ((skb->mark & COPY_MARK_MASK) == COPY_MARK && verdict == VERDICT_STACK)
		verdict = DROP(helper_failed); /* a copy's binding went away: the original is enough for the stack */
	if (verdict == VERDICT_FORWARD) {
		verdict = change(skb, p, plan);
		if ((skb->mark & COPY_MARK_MASK) == COPY_MARK)
			skb->mark = 0;
	}
	if (verdict < 0) {
		count_drop(-verdict);
		return TC_ACT_SHOT;
	}
	if (verdict == VERDICT_STACK)
		return TC_ACT_UNSPEC; /* not ours: other filters of the interface have their say */
	count_outcome(plan->outcome, bytes);
	return plan->flags & PLAN_REDIRECT ? redirect(plan) : TC_ACT_OK;
}

#endif
