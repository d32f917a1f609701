/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What fits: the interface's MTU, or less where routers have said so about the path to a care-of address (RFC 1191,
 * RFC 2003 5.1). What does not fit and may be cut is cut in two before it enters the tunnel (RFC 2003 5.1,
 * RFC 3519 4.8): each piece is an IP fragment that comes in anew, is checked anew, and is cut again if need be.
 */
#ifndef MOBILEIP_MTU_H
#define MOBILEIP_MTU_H

#include "context.h"
#include "maps.h"
#include "parse.h"
#include "path_mtu.h"
#include "plan.h"

/* What may be read of a TCP header to know its length. */
#define TCP_LENGTH_AT 12

/* Bytes that a packet may have on the way that the plan takes, tunnel headers included; or a drop. */
static __always_inline int way_mtu(ctx_t *ctx, const struct plan *plan)
{
	__u32 mtu = 0, path; /* in: the whole frame's length is asked about; out: the MTU */

	if (bpf_check_mtu(ctx, plan->ifindex, &mtu, 0, 0) < 0)
		return DROP(helper_failed);
	path = plan->flags & PLAN_ENCAPSULATE ? path_mtu(plan->way.remote) : 0;
	return path && path < mtu ? path : mtu;
}

/* Of segments that GRO merged, the length of one, headers included: it is these that travel. */
static __always_inline __u32 travelling_length(ctx_t *ctx, const struct iphdr *ip)
{
	__u32 size = segment_size(ctx);
	__u8 tcp = 0;

	if (!size)
		return bpf_ntohs(ip->tot_len);
	if (ip->protocol == IPPROTO_UDP)
		return ip->ihl * 4 + sizeof(struct udphdr) + size;
	if (ip->protocol != IPPROTO_TCP || load_bytes(ctx, ETH_HLEN + ip->ihl * 4 + TCP_LENGTH_AT, &tcp, sizeof(tcp)))
		return bpf_ntohs(ip->tot_len);
	return ip->ihl * 4 + (tcp >> 4) * 4 + size;
}

#define LEAST_SEGMENT 256	/* tunnel headers take room off it as well */

/*
 * Merged TCP segments that are too long are cut shorter, where a packet would be cut in two: pushing bytes takes as many off
 * each segment (bpf_skb_adjust_room), and taking them away need not give that back.
 */
static __always_inline int shorten_segments(ctx_t *ctx, const struct iphdr *ip, __u32 surplus)
{
	if (ip->protocol != IPPROTO_TCP || (ip->frag_off & bpf_htons(IP_DF)) || surplus > CUT_AT_ONCE ||
	    segment_size(ctx) < surplus + LEAST_SEGMENT)
		return DROP(too_big);
	if (bpf_skb_adjust_room(ctx, surplus, BPF_ADJ_ROOM_MAC, 0) || close_room(ctx, surplus))
		return DROP(helper_failed);
	return VERDICT_CONTINUE;
}

/*
 * Does the packet behind Ethernet fit? Otherwise DROP(too_big), and the plan says how long it may be at most.
 * Merged segments fit a tunnel without room for its headers: the kernel makes them that much shorter when it pushes
 * the headers (bpf_skb_adjust_room).
 */
static __always_inline int check_length(ctx_t *ctx, struct plan *plan, const struct iphdr *ip)
{
	int overhead = plan->flags & PLAN_ENCAPSULATE ? plan->way.overhead : 0;
	int mtu = way_mtu(ctx, plan);
	__u32 length = travelling_length(ctx, ip);

	if (mtu < 0)
		return mtu;
	plan->most = mtu > overhead ? mtu - overhead : 0;
	if (bpf_ntohs(ip->tot_len) + overhead > 0xffff)
		return DROP(too_big);
	if (segment_size(ctx))
		return length > (__u32)mtu ? shorten_segments(ctx, ip, length - mtu) : VERDICT_CONTINUE;
	return length > plan->most ? DROP(too_big) : VERDICT_CONTINUE;
}

/* One fragment's header: length behind it, offset in units of eight bytes, and whether others follow. */
static __always_inline void fill_fragment(struct iphdr *ip, __u32 payload, __u32 offset, __u16 more)
{
	ip->tot_len = bpf_htons(sizeof(*ip) + payload);
	ip->frag_off = bpf_htons(more | (offset & IP_OFFSET));
	ip->check = 0;
	ip->check = ~sum_header(ip);
}

#define UDP_CHECKSUM_AT 6
#define TCP_CHECKSUM_AT 16

/*
 * A packet of a namespace or virtual machine may have left its checksum to the device, which would fill it in over one
 * piece alone. Such a field holds the sum over addresses, protocol and length, not its complement. Returns its offset
 * behind the IP header; 0 where the checksum is finished, or none.
 */
static __always_inline __u32 unfinished_checksum(ctx_t *ctx, const struct iphdr *ip)
{
	__u32 at = ip->protocol == IPPROTO_UDP ? UDP_CHECKSUM_AT : TCP_CHECKSUM_AT, sum;
	__u16 found = 0;

	if (is_fragment(ip) || (ip->protocol != IPPROTO_UDP && ip->protocol != IPPROTO_TCP) ||
	    load_bytes(ctx, ETH_HLEN + sizeof(*ip) + at, &found, sizeof(found)))
		return 0;
	sum = (ip->saddr & 0xffff) + (ip->saddr >> 16) + (ip->daddr & 0xffff) + (ip->daddr >> 16);
	sum += bpf_htons(ip->protocol) + bpf_htons(bpf_ntohs(ip->tot_len) - sizeof(*ip));
	return found == fold_checksum(sum) ? at : 0;
}

#define FORGOTTEN 40	/* reaches behind the checksum of TCP */

/*
 * What the device would have done. The packet's first bytes come off and are put on again, so that the kernel forgets that
 * there was something to fill in. A function of its own: their room on the stack is free again for the sum.
 */
GLOBAL_FUNCTION int write_checksum(ctx_t *ctx, __u32 at, __u32 sum)
{
	__u16 finished = ~sum;
	__u8 first[FORGOTTEN];

	if (load_bytes(ctx, ETH_HLEN, first, sizeof(first)) || close_room(ctx, sizeof(first)) ||
	    make_room(ctx, sizeof(first)))
		return DROP(helper_failed);
	if (!finished)
		finished = 0xffff; /* the same sum, and to UDP 0 says that there is none (RFC 768) */
	if (store_bytes(ctx, ETH_HLEN, first, sizeof(first)) ||
	    store_bytes(ctx, ETH_HLEN + sizeof(struct iphdr) + at, &finished, sizeof(finished)))
		return DROP(helper_failed);
	return VERDICT_CONTINUE;
}

/* For a packet of `total` bytes. */
static __always_inline int finish_checksum(ctx_t *ctx, __u32 at, __u32 total)
{
	int sum = sum_bytes(ctx, ETH_HLEN + sizeof(struct iphdr), total - sizeof(struct iphdr));

	return sum < 0 ? DROP(helper_failed) : write_checksum(ctx, at, sum);
}

/*
 * Cut the packet behind Ethernet so that the first piece has `most` bytes. It is sent into this interface as a copy:
 * its header says where it ends, so the rest is padding, which goes with the encapsulation. What is left in `ctx` is
 * the other piece, for the caller to send the same way. Both get `mark`.
 */
GLOBAL_FUNCTION int cut(ctx_t *ctx, __u32 most, __u32 mark)
{
	struct iphdr ip;
	__u32 step, left, offset, unfinished;
	__u16 more;

	if (load_bytes(ctx, ETH_HLEN, &ip, sizeof(ip)))
		return DROP(helper_failed);
	left = bpf_ntohs(ip.tot_len);
	/* Options are not all for every fragment; merged segments are several packets; and some room there must be. */
	if (ip.ihl != 5 || segment_size(ctx) || most < sizeof(ip) + 8 || most >= left)
		return DROP(too_big);
	step = (most - sizeof(ip)) & ~7;
	unfinished = unfinished_checksum(ctx, &ip);
	if (step > CUT_AT_ONCE * MOST_CUTS || left < FORGOTTEN + sizeof(ip))
		return DROP(too_big);
	if (unfinished && finish_checksum(ctx, unfinished, left) < 0)
		return DROP(helper_failed);
	offset = bpf_ntohs(ip.frag_off) & IP_OFFSET;
	more = bpf_ntohs(ip.frag_off) & IP_MF;
	left -= sizeof(ip) + step;

	fill_fragment(&ip, step, offset, IP_MF);
	ctx->mark = mark;
	if (store_bytes(ctx, ETH_HLEN, &ip, sizeof(ip)) || bpf_clone_redirect(ctx, interface_of(ctx), BPF_F_INGRESS))
		return DROP(helper_failed);

	fill_fragment(&ip, left, offset + step / 8, more);
	for (int i = 0; i < MOST_CUTS; i++) {
		__u32 bytes = step < CUT_AT_ONCE ? step : CUT_AT_ONCE;

		if (!bytes)
			break;
		if (close_room(ctx, bytes))
			return DROP(helper_failed);
		step -= bytes;
	}
	return store_bytes(ctx, ETH_HLEN, &ip, sizeof(ip)) ? DROP(helper_failed) : VERDICT_CONTINUE;
}

#endif
