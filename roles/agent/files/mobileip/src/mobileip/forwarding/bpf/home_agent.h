/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Home agent: intercepts packets for bound home addresses, ends the reverse tunnels (RFC 5944 4.3, RFC 3024 4). */
#ifndef MOBILEIP_HOME_AGENT_H
#define MOBILEIP_HOME_AGENT_H

#include "binding.h"
#include "rewrite.h"

static __always_inline int home_agent_to_node(ctx_t *ctx, struct binding *b, __be32 local,
					      const struct iphdr *header, __u64 now, __u32 outcome, struct plan *plan)
{
	int verdict = plan_to_node(ctx, b, local, now, plan);

	if (verdict < 0)
		return verdict;
	plan_forwarding(header, plan);
	/* RFC 2003 3.2: what comes from an end of the tunnel would come again. */
	if (header->saddr == local || header->saddr == plan->way.remote)
		return DROP(tunnel_loop);
	plan->flags |= PLAN_ROUTE;
	return plan_redirect(plan, outcome, 0, 0);
}

static __always_inline int home_agent_from_node(ctx_t *ctx, const struct packet *p, __be32 local, __u64 now,
						struct plan *plan)
{
	struct binding *b, *to;
	int verdict;

	if ((p->carried & CARRIED_IN_UDP) && p->inner.daddr == local) {
		verdict = match_tunnel(local, p->inner.saddr, p, now, 1);
		if (is_stray(verdict))
			note_stray(local, p, now);
		if (verdict >= 0)
			verdict = decide_keepalive(p, local, verdict, plan);
		return verdict < 0 ? verdict : plan_redirect(plan, plan->outcome, interface_of(ctx), 0);
	}
	b = find_binding(local, p->inner.saddr);
	if (!b)
		return DROP(no_binding);
	verdict = match_tunnel_of(b, p, now, 0);
	if (is_stray(verdict))
		note_stray(local, p, now);
	if (verdict < 0)
		return verdict;
	plan->from_node = &b->from_node;
	verdict = plan_decapsulation(p, plan);
	if (verdict < 0)
		return verdict;
	to = find_binding(local, p->inner.daddr);
	if (to && is_live(to, now)) {
		plan->flags |= PLAN_ERRORS_BACK;
		return home_agent_to_node(ctx, to, local, &p->inner, now, OUTCOME_node_to_node, plan);
	}
	plan->outcome = OUTCOME_node_to_home_agent;
	return VERDICT_FORWARD;
}

static __always_inline int decide_home_agent(ctx_t *ctx, struct packet *p, struct plan *plan)
{
	__u32 key = 0;
	const struct home_agent_settings *s = bpf_map_lookup_elem(&home_agent_settings, &key);
	__u64 now = bpf_ktime_get_boot_ns();
	struct binding *b;
	int verdict;

	if (!s || !s->address)
		return is_tunnel(ctx, p) ? DROP(not_configured) : VERDICT_STACK;
	if (p->outer.daddr == s->address) {
		if (!is_tunnel(ctx, p))
			return VERDICT_STACK;
		verdict = parse_tunnel(ctx, p);
		return verdict != VERDICT_CONTINUE ? verdict : home_agent_from_node(ctx, p, s->address, now, plan);
	}
	b = find_binding(s->address, p->outer.daddr);
	if (!b || !is_live(b, now))
		return VERDICT_STACK; /* at home, as far as we know */
	return home_agent_to_node(ctx, b, s->address, &p->outer, now, OUTCOME_home_agent_to_node, plan);
}

#endif
