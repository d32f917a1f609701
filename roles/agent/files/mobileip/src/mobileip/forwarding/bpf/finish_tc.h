/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The last step of a program for tc: carry out the plan, count once, say where the packet goes. */
#ifndef MOBILEIP_FINISH_TC_H
#define MOBILEIP_FINISH_TC_H

#include <linux/pkt_cls.h>

#include "count.h"
#include "icmp.h"
#include "mss.h"
#include "mtu.h"
#include "next_hop.h"
#include "rewrite.h"

/* The interface towards the tunnel's end. An unresolved neighbour is no failure: the redirect resolves it. */
static __always_inline int route(ctx_t *ctx, struct plan *plan)
{
	struct bpf_fib_lookup fib;
	long result;

	__builtin_memset(&fib, 0, sizeof(fib));
	fib.family = IPV4_FAMILY;
	fib.l4_protocol = plan->way.carried & CARRIED_IN_UDP ? IPPROTO_UDP : plan->way.encapsulation;
	fib.ipv4_src = plan->way.local;
	fib.ipv4_dst = plan->way.remote;
	fib.ifindex = interface_of(ctx);
	result = bpf_fib_lookup(ctx, &fib, sizeof(fib), 0);
	if (result != BPF_FIB_LKUP_RET_SUCCESS && result != BPF_FIB_LKUP_RET_NO_NEIGH)
		return DROP(no_route);
	plan->ifindex = fib.ifindex;
	return VERDICT_CONTINUE;
}

/* Each copy enters this interface anew, so that all checks are made for it as well. */
static __always_inline void send_copies(ctx_t *ctx, const struct plan *plan)
{
	__u32 mark = ctx->mark;

	for (__u32 i = 1; i < MAX_CARE_OF; i++) {
		if (!(plan->copies & (1 << i)))
			continue;
		ctx->mark = COPY_MARK | i;
		if (bpf_clone_redirect(ctx, interface_of(ctx), BPF_F_INGRESS))
			count_reason(DROP_helper_failed);
	}
	ctx->mark = mark;
}

/* Back through the node's tunnel: what it sent came in by it. */
static __always_inline int answer_through_tunnel(ctx_t *ctx, const struct packet *p, struct plan *plan)
{
	struct iphdr ip = {};
	int verdict;

	plan_back(p, plan);
	plan_redirect(plan, plan->outcome, interface_of(ctx), 0);
	if (load_bytes(ctx, ETH_HLEN, &ip, sizeof(ip)))
		return DROP(helper_failed);
	verdict = settle(&ip, segment_size(ctx), &plan->way);
	return verdict < 0 ? verdict : encapsulate(ctx, &plan->way);
}

/* An ICMP error in the packet's place, the way that it came, in the name of the tunnel's beginning. */
static __always_inline int answer(ctx_t *ctx, const struct packet *p, struct plan *plan, __u32 outcome)
{
	__be32 from = plan->way.local ? plan->way.local : p->outer.daddr;
	int verdict = make_error(ctx, p, from, plan->most, outcome);

	if (verdict < 0)
		return verdict;
	plan->from_node = 0;
	plan->to_node = 0;
	plan->outcome = outcome;
	if (plan->flags & PLAN_ERRORS_BACK)
		return answer_through_tunnel(ctx, p, plan);
	plan->flags |= PLAN_BACK;
	return turn_frame(ctx);
}

/* RFC 2003 5.1: with DF the source is told; without, the packet is cut. */
static __always_inline int too_long(ctx_t *ctx, const struct packet *p, struct plan *plan, const struct iphdr *ip)
{
	int verdict;

	if (plan->flags & PLAN_OR_STACK) {
		plan->flags &= ~PLAN_REDIRECT;
		return VERDICT_CONTINUE;
	}
	if (!(ip->frag_off & bpf_htons(IP_DF))) {
		verdict = plan->flags & PLAN_CUT ? settle_fragments(plan) : DROP(too_big);
		if (verdict >= 0)
			verdict = cut(ctx, plan->most,
				      plan->flags & PLAN_TO_BINDING ? COPY_MARK | plan->tunnel : ctx->mark);
		plan->to_node = 0;
		plan->flags |= PLAN_ANEW;
		plan->outcome = OUTCOME_cut_in_two;
		return verdict;
	}
	return plan->flags & PLAN_ERRORS ? answer(ctx, p, plan, OUTCOME_too_big_answered) : DROP(too_big);
}

/* The ways on which a packet can become too long, or be too long for the next link. */
static __always_inline int is_measured(const struct plan *plan)
{
	return (plan->flags & (PLAN_ENCAPSULATE | PLAN_REDIRECT)) && !(plan->flags & PLAN_ANSWER_ECHO);
}

/*
 * Merged segments keep what the kernel has noted of the tunnel that they came by. So out of IP-in-IP they go on by it: what
 * is at the other end of a node's tunnel takes it apart whatever was negotiated (RFC 5944 4.1), but not in UDP (RFC 3519 4.3).
 */
static __always_inline void keep_carrier(const ctx_t *ctx, struct plan *plan)
{
	if (segment_size(ctx) && (plan->flags & PLAN_TO_BINDING) && plan->way.arrived == ENCAPSULATION_IPIP &&
	    !(plan->way.carried & CARRIED_IN_UDP))
		plan->way.encapsulation = ENCAPSULATION_IPIP;
}

static __always_inline int change(ctx_t *ctx, const struct packet *p, struct plan *plan)
{
	int verdict = VERDICT_CONTINUE;
	struct iphdr ip = {}; /* written at once: what the verifier knows of the stack is kept by eight bytes */

	if (plan->copies && !(plan->flags & PLAN_EXPIRED))
		send_copies(ctx, plan);
	if (plan->flags & PLAN_DECAPSULATE)
		verdict = decapsulate(ctx, p, plan);
	if (verdict == VERDICT_CONTINUE && (plan->flags & PLAN_EXPIRED))
		return answer(ctx, p, plan, OUTCOME_ttl_expired_answered);
	if (verdict == VERDICT_CONTINUE && (plan->flags & PLAN_ANSWER_ECHO))
		verdict = answer_echo(ctx);
	if (verdict == VERDICT_CONTINUE && (plan->flags & (PLAN_ENCAPSULATE | PLAN_REDIRECT)) &&
	    load_bytes(ctx, ETH_HLEN, &ip, sizeof(ip)))
		verdict = DROP(helper_failed);
	keep_carrier(ctx, plan);
	if (verdict == VERDICT_CONTINUE && (plan->flags & PLAN_ENCAPSULATE))
		verdict = settle(&ip, segment_size(ctx), &plan->way);
	if (verdict == VERDICT_CONTINUE && (plan->flags & PLAN_ROUTE))
		verdict = route(ctx, plan);
	if (verdict == VERDICT_CONTINUE && is_measured(plan)) {
		verdict = check_length(ctx, plan, &ip);
		if (verdict == DROP(too_big))
			return too_long(ctx, p, plan, &ip);
	}
	if (verdict == VERDICT_CONTINUE && (plan->flags & (PLAN_ENCAPSULATE | PLAN_DECAPSULATE)) && configured_mss())
		verdict = clamp_mss(ctx, configured_mss());
	if (verdict == VERDICT_CONTINUE && (plan->flags & PLAN_DECREMENT_TTL))
		verdict = decrement_ttl(ctx);
	if (verdict == VERDICT_CONTINUE && (plan->flags & PLAN_ENCAPSULATE))
		verdict = encapsulate(ctx, &plan->way);
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
static __always_inline int finish(ctx_t *ctx, const struct packet *p, struct plan *plan, int verdict)
{
	__u32 bytes = frame_length(ctx);
	int action = TC_ACT_OK;

	if (copy_index(ctx) >= 0 && verdict == VERDICT_STACK)
		verdict = DROP(helper_failed); /* a copy's binding went away: the original is enough for the stack */
	if (verdict == VERDICT_FORWARD) {
		verdict = change(ctx, p, plan);
		if (copy_index(ctx) >= 0 && !(plan->flags & PLAN_ANEW))
			ctx->mark = 0;
	}
	if (verdict < 0) {
		count_drop(ctx, -verdict, bytes);
		return TC_ACT_SHOT;
	}
	if (verdict == VERDICT_STACK) {
		count_passed(ctx, bytes);
		return TC_ACT_UNSPEC; /* not ours: other filters of the interface have their say */
	}
	if (plan->flags & (PLAN_BACK | PLAN_ANEW))
		action = bpf_redirect(interface_of(ctx), plan->flags & PLAN_ANEW ? BPF_F_INGRESS : 0);
	else if (plan->flags & PLAN_REDIRECT)
		action = redirect(plan);
	if (action == TC_ACT_SHOT) {
		count_drop(ctx, DROP_helper_failed, bytes);
		return TC_ACT_SHOT;
	}
	count_outcome(ctx, plan, bytes);
	return action;
}

#endif
