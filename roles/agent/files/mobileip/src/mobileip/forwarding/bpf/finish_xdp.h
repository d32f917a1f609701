/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The last step of a program for XDP. It forwards what needs no copy and whose next hop is resolved, and drops what tc
 * would only drop. All else goes up to tc, which is always attached as well, and goes up unchanged: whatever may fail
 * is asked before the first byte is written.
 */
#ifndef MOBILEIP_FINISH_XDP_H
#define MOBILEIP_FINISH_XDP_H

#include "count.h"
#include "mss.h"
#include "next_hop.h"
#include "path_mtu.h"
#include "rewrite.h"

/* Reasons for which tc does nothing but drop, too: no error message, no second look. */
#define FINAL(name) (1ULL << DROP_##name)
#define FINAL_REASONS \
	(FINAL(truncated) | FINAL(not_configured) | FINAL(outer_checksum) | FINAL(unsupported_encapsulation) | \
	 FINAL(inner_malformed) | FINAL(unknown_gateway) | FINAL(no_binding) | FINAL(binding_expired) | \
	 FINAL(care_of_mismatch) | FINAL(encapsulation_mismatch) | FINAL(port_mismatch) | FINAL(half_bound) | \
	 FINAL(home_agent_mismatch) | FINAL(inner_protocol) | FINAL(gateway_mac) | FINAL(no_sa_at_gateway) | \
	 FINAL(not_mobility_subnet) | FINAL(ecn) | FINAL(tunnel_loop) | FINAL(wrong_interface) | \
	 FINAL(gre_key) | FINAL(gre_header) | FINAL(gre_checksum) | FINAL(minimal_checksum))

/* The packet as it will leave, and its length. */
static __always_inline __u32 fill_lookup(const ctx_t *ctx, const struct packet *p, const struct plan *plan,
					 struct bpf_fib_lookup *fib)
{
	const struct iphdr *header = plan->flags & PLAN_DECAPSULATE ? &p->inner : &p->outer;
	__u32 length = bpf_ntohs(header->tot_len);

	fib->family = IPV4_FAMILY;
	fib->ipv4_src = header->saddr;
	fib->ipv4_dst = header->daddr;
	fib->l4_protocol = header->protocol;
	fib->tos = plan->flags & PLAN_DECAPSULATE ? plan->tos : header->tos;
	if (plan->flags & PLAN_ENCAPSULATE) {
		fib->ipv4_src = plan->way.local;
		fib->ipv4_dst = plan->way.remote;
		fib->l4_protocol = plan->way.carried & CARRIED_IN_UDP ? IPPROTO_UDP : plan->way.encapsulation;
		length += plan->way.overhead;
	}
	if (plan->next_hop)
		fib->ipv4_dst = plan->next_hop;
	fib->ifindex = plan->flags & PLAN_ROUTE ? interface_of(ctx) : plan->ifindex;
	fib->tot_len = length;
	return length;
}

/* With segments limited, all of TCP goes by tc: there a checksum that is left to the device is known to be. */
static __always_inline int is_to_be_clamped(const struct packet *p)
{
	return (p->tunnel ? p->inner.protocol : p->outer.protocol) == IPPROTO_TCP && configured_mss();
}

static __always_inline int is_linear(const ctx_t *ctx)
{
	return frame_length(ctx) == (__u32)(packet_end(ctx) - packet_start(ctx));
}

/* How the packet enters its tunnel. Not 0: it does not. */
static __always_inline int settle_first(const struct packet *p, struct plan *plan)
{
	struct iphdr header = plan->flags & PLAN_DECAPSULATE ? p->inner : p->outer;

	if (!(plan->flags & PLAN_ENCAPSULATE))
		return 0;
	if (plan->flags & PLAN_ANSWER_ECHO)
		header.saddr = p->inner.daddr;
	return settle(&header, 0, &plan->way) < 0;
}

/* Fills in the next hop's MAC address and ours. Not 0: only tc can send this packet, if anybody can. */
static __always_inline int find_way(ctx_t *ctx, const struct packet *p, const struct plan *plan,
				    struct bpf_fib_lookup *fib)
{
	__u32 flags = plan->flags & PLAN_ROUTE ? 0 : BPF_FIB_LOOKUP_OUTPUT;
	__u32 length = fill_lookup(ctx, p, plan, fib), known;
	const struct link *out;

	known = plan->flags & PLAN_ENCAPSULATE ? path_mtu(plan->way.remote) : 0;
	if (length > (known ? known : 0xffff))
		return -1;
	if (bpf_fib_lookup(ctx, fib, sizeof(*fib), flags) != BPF_FIB_LKUP_RET_SUCCESS)
		return -1;
	if (!(plan->flags & PLAN_ROUTE) && fib->ifindex != plan->ifindex)
		return -1;
	if (plan->next_hop && fib->ipv4_dst != plan->next_hop)
		return -1; /* by a router, as the routes stand: not the layer-2 hand-over that is asked for */
	out = find_link(fib->ifindex);
	return out && (out->flags & (is_linear(ctx) ? LINK_TAKES_FRAMES : LINK_TAKES_BUFFERS)) ? 0 : -1;
}

static __always_inline int change(ctx_t *ctx, const struct packet *p, struct plan *plan)
{
	int verdict = VERDICT_CONTINUE;

	if (plan->flags & PLAN_DECAPSULATE)
		verdict = decapsulate(ctx, p, plan);
	if (verdict == VERDICT_CONTINUE && (plan->flags & PLAN_ANSWER_ECHO))
		verdict = answer_echo(ctx);
	if (verdict == VERDICT_CONTINUE && (plan->flags & PLAN_DECREMENT_TTL))
		verdict = decrement_ttl(ctx);
	if (verdict == VERDICT_CONTINUE && (plan->flags & PLAN_ENCAPSULATE))
		verdict = encapsulate(ctx, &plan->way);
	return verdict;
}

static __always_inline int address_frame(ctx_t *ctx, const struct bpf_fib_lookup *fib)
{
	struct ethhdr *ethernet = packet_start(ctx);

	if ((void *)(ethernet + 1) > packet_end(ctx))
		return DROP(helper_failed);
	__builtin_memcpy(ethernet->h_dest, fib->dmac, ETH_ALEN);
	__builtin_memcpy(ethernet->h_source, fib->smac, ETH_ALEN);
	ethernet->h_proto = bpf_htons(ETH_P_IP);
	return VERDICT_CONTINUE;
}

/* The one exit of every program: carries out the plan, counts once, or leaves all of that to tc. */
static __always_inline int finish(ctx_t *ctx, const struct packet *p, struct plan *plan, int verdict)
{
	struct bpf_fib_lookup fib = {};
	__u32 bytes;

	if (verdict < 0 && (FINAL_REASONS >> -verdict) & 1) {
		count_drop(ctx, -verdict, frame_length(ctx));
		return XDP_DROP;
	}
	if (verdict != VERDICT_FORWARD || is_to_be_clamped(p) || plan->copies ||
	    (plan->flags & (PLAN_REDIRECT | PLAN_EXPIRED)) != PLAN_REDIRECT ||
	    settle_first(p, plan) || find_way(ctx, p, plan, &fib))
		return XDP_PASS;
	bytes = frame_length(ctx);
	verdict = change(ctx, p, plan);
	if (verdict == VERDICT_CONTINUE)
		verdict = address_frame(ctx, &fib);
	if (verdict < 0) {
		count_drop(ctx, -verdict, bytes);
		return XDP_DROP;
	}
	if (bpf_redirect(fib.ifindex, 0) != XDP_REDIRECT) {
		count_drop(ctx, DROP_helper_failed, bytes);
		return XDP_DROP;
	}
	count_outcome(ctx, plan, bytes);
	return XDP_REDIRECT;
}

#endif
