/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Foreign agent: the tunnel's end for its visitors, and with reverse tunnelling its beginning (RFC 3024 4.2). */
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

static __always_inline int decide_foreign_agent_uplink(struct __sk_buff *skb, struct packet *p, struct plan *plan)
{
	const struct foreign_agent_settings *s = foreign_agent();
	const struct visitor *v;
	int verdict;

	if (!s)
		return is_tunnel(skb, p) ? DROP(not_configured) : VERDICT_STACK;
	if (p->outer.daddr != s->care_of || !is_tunnel(skb, p))
		return VERDICT_STACK;
	verdict = parse_tunnel(skb, p);
	if (verdict < 0)
		return verdict;
	v = bpf_map_lookup_elem(&visitors, &p->inner.daddr);
	if (!v)
		return DROP(no_binding);
	if (v->expires_ns <= bpf_ktime_get_boot_ns())
		return DROP(binding_expired);
	if (v->home_agent != p->outer.saddr)
		return DROP(care_of_mismatch);
	if (v->encapsulation != p->tunnel)
		return DROP(encapsulation_mismatch);
	if (p->tunnel == ENCAPSULATION_UDP && v->port != p->source_port)
		return DROP(port_mismatch);
	verdict = plan_forwarding(&p->inner, plan);
	if (verdict >= 0)
		verdict = plan_decapsulation(p, plan);
	if (verdict < 0)
		return verdict;
	return plan_redirect(plan, OUTCOME_foreign_agent_to_visitor, s->link_ifindex, p->inner.daddr);
}

static __always_inline int decide_foreign_agent_link(struct __sk_buff *skb, struct packet *p, struct plan *plan)
{
	const struct foreign_agent_settings *s = foreign_agent();
	const struct visitor *v = bpf_map_lookup_elem(&visitors, &p->outer.saddr);
	struct tunnel t = {};
	int verdict;

	if (!v || !s)
		return VERDICT_STACK; /* no visitor of ours: the router's own business */
	if (p->outer.daddr == s->link_address || is_registration(skb, p) || is_discovery(p))
		return VERDICT_STACK;
	if (v->expires_ns <= bpf_ktime_get_boot_ns())
		return DROP(binding_expired);
	if (!(v->flags & VISITOR_REVERSE_TUNNEL))
		return VERDICT_STACK; /* RFC 5944 4.2.2: routed like any other packet */
	if (p->outer.daddr == s->care_of)
		return DROP(tunnel_loop);
	verdict = plan_forwarding(&p->outer, plan);
	if (verdict < 0)
		return verdict;
	t.care_of = v->home_agent;
	t.port = v->port;
	t.encapsulation = v->encapsulation;
	plan_tunnel(plan, s->care_of, &t);
	return plan_redirect(plan, OUTCOME_visitor_to_home_agent, s->uplink_ifindex, 0);
}

#endif
