/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Foreign agent: the tunnel's end for its visitors, and with reverse tunnelling its beginning (RFC 3024 4.2).
 *
 * A visitor delivers to the agent what goes into the reverse tunnel directly, clear, or encapsulating, in a tunnel of
 * its own to the agent's address on the link (RFC 3024 5). With the latter only what is so encapsulated goes to the home
 * agent, multicast and broadcast included; the rest is routed like any packet. Direct delivery carries unicast only.
 */
#ifndef MOBILEIP_FOREIGN_AGENT_H
#define MOBILEIP_FOREIGN_AGENT_H

#include "binding.h"
#include "discovery.h"
#include "rewrite.h"

static __always_inline const struct foreign_agent_settings *foreign_agent(void)
{
	__u32 key = 0;
	const struct foreign_agent_settings *s = bpf_map_lookup_elem(&foreign_agent_settings, &key);

	return s && s->care_of ? s : 0;
}

static __always_inline int decide_foreign_agent_uplink(ctx_t *ctx, struct packet *p, struct plan *plan)
{
	const struct foreign_agent_settings *s = foreign_agent();
	const struct visitor *v;
	int verdict;

	if (!s)
		return is_tunnel(ctx, p) ? DROP(not_configured) : VERDICT_STACK;
	if (p->outer.daddr != s->care_of || !is_tunnel(ctx, p))
		return VERDICT_STACK;
	verdict = parse_tunnel(ctx, p);
	if (verdict != VERDICT_CONTINUE)
		return verdict;
	v = bpf_map_lookup_elem(&visitors, &p->inner.daddr);
	if (!v)
		return DROP(no_binding);
	if (v->expires_ns <= bpf_ktime_get_boot_ns())
		return DROP(binding_expired);
	if (v->home_agent != p->outer.saddr)
		return DROP(care_of_mismatch);
	verdict = check_encapsulation(p, v->encapsulation, v->flags, 1);
	if (verdict < 0)
		return verdict;
	if ((p->carried & CARRIED_IN_UDP) && v->port != p->source_port)
		return DROP(port_mismatch);
	verdict = check_gre_key(p, v->flags, v->gre_key);
	if (verdict >= 0)
		verdict = plan_decapsulation(p, plan);
	if (verdict < 0)
		return verdict;
	plan_forwarding(&p->inner, plan);
	plan->flags |= PLAN_OR_STACK | PLAN_ERRORS;
	return plan_redirect(plan, OUTCOME_foreign_agent_to_visitor, s->link_ifindex, p->inner.daddr);
}

/* Into the reverse tunnel, on the visitor's behalf. */
static __always_inline int visitor_to_home_agent(const struct foreign_agent_settings *s, const struct visitor *v,
						 const struct iphdr *header, struct plan *plan)
{
	struct tunnel t = {};

	if (header->daddr == s->care_of)
		return DROP(tunnel_loop);
	plan_forwarding(header, plan);
	t.care_of = v->home_agent;
	t.port = v->port;
	t.encapsulation = v->encapsulation;
	plan->flags |= PLAN_ERRORS;
	t.flags = v->flags;
	t.gre_key = v->gre_key;
	plan_tunnel(plan, s->care_of, &t);
	return plan_redirect(plan, OUTCOME_visitor_to_home_agent, s->uplink_ifindex, 0);
}

/* RFC 3024 5.2: outer source the home address, outer destination the agent; the node may speak for nobody else. */
static __always_inline int visitor_encapsulated(ctx_t *ctx, const struct foreign_agent_settings *s,
						const struct visitor *v, struct packet *p, struct plan *plan)
{
	int verdict = parse_tunnel(ctx, p);

	if (verdict != VERDICT_CONTINUE)
		return verdict;
	if (p->inner.saddr != p->outer.saddr)
		return DROP(no_binding);
	verdict = check_gre_key(p, v->flags, v->gre_key);
	if (verdict < 0)
		return verdict;
	verdict = visitor_to_home_agent(s, v, &p->inner, plan);
	if (verdict < 0)
		return verdict;
	verdict = plan_decapsulation(p, plan);
	return verdict < 0 ? verdict : VERDICT_FORWARD;
}

static __always_inline int decide_foreign_agent_link(ctx_t *ctx, struct packet *p, struct plan *plan)
{
	const struct foreign_agent_settings *s = foreign_agent();
	const struct visitor *v = bpf_map_lookup_elem(&visitors, &p->outer.saddr);
	int is_encapsulated;

	if (!v)
		return VERDICT_STACK; /* no visitor of ours: the router's own business */
	if (!s)
		return DROP(not_configured);
	is_encapsulated = (v->flags & VISITOR_ENCAPSULATING_DELIVERY) && p->outer.daddr == s->link_address &&
			  (p->outer.protocol == IPPROTO_IPIP || p->outer.protocol == v->encapsulation);
	if ((p->outer.daddr == s->link_address && !is_encapsulated) || is_registration(ctx, p) || is_discovery(p))
		return VERDICT_STACK;
	if (v->expires_ns <= bpf_ktime_get_boot_ns())
		return DROP(binding_expired);
	if (is_encapsulated)
		return visitor_encapsulated(ctx, s, v, p, plan);
	/* RFC 5944 4.2.2, RFC 3024 5.2 and 5.3: routed like any other packet */
	if (!(v->flags & VISITOR_REVERSE_TUNNEL) || (v->flags & VISITOR_ENCAPSULATING_DELIVERY) ||
	    is_group(p->outer.daddr))
		return VERDICT_STACK;
	plan->flags |= PLAN_CUT;
	return visitor_to_home_agent(s, v, &p->outer, plan);
}

#endif
