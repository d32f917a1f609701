/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The last step of a program for tc: carry out the plan, count once, say where the packet goes. */
#ifndef MOBILEIP_FINISH_TC_H
#define MOBILEIP_FINISH_TC_H

#include <linux/pkt_cls.h>

#include "count.h"
#include "rewrite.h"

#define IPV4_FAMILY 2	/* AF_INET; its header is not for BPF */

/* The interface towards the tunnel's end. An unresolved neighbour is no failure: the redirect resolves it. */
static __always_inline int route(ctx_t *ctx, struct plan *plan)
{
	struct bpf_fib_lookup fib;
	long result;

	__builtin_memset(&fib, 0, sizeof(fib));
	fib.family = IPV4_FAMILY;
	fib.l4_protocol = plan->encapsulation;
	fib.ipv4_src = plan->local;
	fib.ipv4_dst = plan->remote;
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

static __always_inline int change(ctx_t *ctx, const struct packet *p, struct plan *plan)
{
	int verdict = VERDICT_CONTINUE;

	if (plan->copies)
		send_copies(ctx, plan);
	if (plan->flags & PLAN_ANSWER_ECHO)
		verdict = answer_echo(ctx, p);
	if (verdict == VERDICT_CONTINUE && (plan->flags & PLAN_DECAPSULATE))
		verdict = decapsulate(ctx, p, plan);
	if (verdict == VERDICT_CONTINUE && (plan->flags & PLAN_DECREMENT_TTL))
		verdict = decrement_ttl(ctx);
	if (verdict == VERDICT_CONTINUE && (plan->flags & PLAN_ROUTE))
		verdict = route(ctx, plan);
	if (verdict == VERDICT_CONTINUE && (plan->flags & PLAN_ENCAPSULATE))
		verdict = encapsulate(ctx, plan);
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

	if (copy_index(ctx) >= 0 && verdict == VERDICT_STACK)
		verdict = DROP(helper_failed); /* a copy's binding went away: the original is enough for the stack */
	if (verdict == VERDICT_FORWARD) {
		verdict = change(ctx, p, plan);
		if (copy_index(ctx) >= 0)
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
	count_outcome(ctx, plan, bytes);
	return plan->flags & PLAN_REDIRECT ? redirect(plan) : TC_ACT_OK;
}

#endif
