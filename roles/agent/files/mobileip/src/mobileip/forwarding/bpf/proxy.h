/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The proxy's rows (docs: the packet table). Public side: nodes and gateways. Private side: home agents. */
#ifndef MOBILEIP_PROXY_H
#define MOBILEIP_PROXY_H

#include "binding.h"
#include "passes.h"
#include "rewrite.h"

static __always_inline struct proxy_settings *proxy(void)
{
	__u32 key = 0;
	struct proxy_settings *s = bpf_map_lookup_elem(&proxy_settings, &key);

	return s && s->public_address ? s : 0;
}

static __always_inline int is_gateway(const struct proxy_settings *s, __be32 address)
{
#pragma unroll
	for (int i = 0; i < MAX_GATEWAYS; i++) {
		if (i >= s->gateway_count)
			break;
		if (s->gateways[i].public_address == address)
			return 1;
	}
	return 0;
}

static __always_inline int is_gateway_mac(__be32 gateway, const struct packet *p)
{
	struct gateway_mac key = { .gateway = gateway };

	if (!p->on_gateway_side)
		return 0; /* one box: whatever address a frame from the segment has, the gateway did not send it */
	__builtin_memcpy(key.mac, p->source_mac, ETH_ALEN);
	return bpf_map_lookup_elem(&gateway_macs, &key) != 0;
}

#define TO_BOUND 1		/* the destination has a live binding behind this gateway */
#define TO_BOUND_BY_GATEWAY 2	/* and the gateway itself sent the packet */
#define FROM_BOUND 4		/* the same for the source */
#define FROM_BOUND_BY_GATEWAY 8

GLOBAL_FUNCTION int clear_facts(__be32 gateway, const struct packet *p, __u64 now)
{
	const struct binding *b;
	int facts = 0;

	if (!p)
		return 0;
	b = find_binding(gateway, p->outer.daddr);
	if (b && is_live(b, now))
		facts |= TO_BOUND;
	b = find_binding(gateway, p->outer.saddr);
	if (b && is_live(b, now))
		facts |= FROM_BOUND;
	if (facts && is_gateway_mac(gateway, p))
		facts |= facts << 1;
	return facts;
}

static __always_inline __u32 prefix_flags(__be32 address)
{
	struct prefix key = { .length = 32, .address = address };
	__u32 *flags = bpf_map_lookup_elem(&prefixes, &key);

	return flags ? *flags : 0;
}

/* Is a destination ours to know: in a home network or mobility subnet? */
static __always_inline __u32 subnet_flags(__be32 address)
{
	return prefix_flags(address) & (PREFIX_HOME | PREFIX_MOBILITY);
}

static __always_inline int is_echo_reply(const struct packet *p)
{
	return p->inner.protocol == IPPROTO_ICMP && !is_fragment(&p->inner) && p->has_ports && !p->inner_ports[0];
}

/* The node answers a probe of ours. That it did is in its binding's counter, which the daemon watches; the stack does not
 * mind an answer to nobody's question. */
static __always_inline int proxy_probe_answer(const struct packet *p, __be32 gateway, struct plan *plan)
{
	struct binding *b = find_binding(gateway, p->inner.saddr);

	if (!b)
		return DROP(no_binding);
	plan->from_node = &b->from_node;
	plan->outcome = OUTCOME_probe_answered;
	return plan_decapsulation(p, plan) < 0 ? DROP(ecn) : VERDICT_FORWARD;
}

/* Row 2, and answers to our probes. They are addressed to the proxy, so the gateway is not known: try those there are. */
static __always_inline int proxy_echo(const struct proxy_settings *s, const struct packet *p, __u64 now,
				      struct plan *plan)
{
	int miss = DROP(no_binding), is_answer = is_echo_reply(p), found;
	__be32 closest = 0;

#pragma unroll
	for (int i = 0; i < MAX_GATEWAYS; i++) {
		__be32 gateway;

		if (i >= s->gateway_count)
			break;
		gateway = s->gateways[i].public_address;
		found = match_tunnel(gateway, p->inner.saddr, p, now, !is_answer);
		if (found >= 0 && is_answer)
			return proxy_probe_answer(p, gateway, plan);
		if (found >= 0) {
			found = decide_keepalive(p, gateway, found, plan);
			return found < 0 ? found : plan_redirect(plan, plan->outcome, s->public_ifindex, 0);
		}
		if (found < miss) {
			miss = found;
			closest = gateway;
		}
	}
	if (is_stray(miss))
		note_stray(closest, p, now);
	return miss;
}

/* Row 1: a node's ESP and IKE (or whatever its VPN is), decapsulated and handed to its gateway. */
static __always_inline int proxy_from_node(const struct proxy_settings *s, const struct packet *p, __u64 now,
					   struct plan *plan)
{
	struct binding *b;
	int verdict;

	if (p->inner.daddr == s->public_address && ((p->carried & CARRIED_IN_UDP) || is_echo_reply(p)))
		return proxy_echo(s, p, now, plan);
	if (!is_gateway(s, p->inner.daddr))
		return DROP(unknown_gateway);
	b = find_binding(p->inner.daddr, p->inner.saddr);
	if (!b)
		return DROP(no_binding);
	verdict = match_tunnel_of(b, p, now, 0);
	if (is_stray(verdict))
		note_stray(p->inner.daddr, p, now);
	if (verdict < 0)
		return verdict;
	plan->from_node = &b->from_node;
	if (p->inner.ihl != 5)
		return DROP(inner_options);
	if (!may_pass(p, &p->inner, 1))
		return DROP(inner_protocol);
	verdict = plan_decapsulation(p, plan);
	if (verdict < 0)
		return verdict;
	plan_forwarding(&p->inner, plan);
	plan->flags |= PLAN_ERRORS | PLAN_ERRORS_BACK;
	return plan_redirect(plan, OUTCOME_node_to_gateway, s->gateway_public_ifindex, p->inner.daddr);
}

/* Row 4: the same from the gateway for a node, to every care-of address. */
static __always_inline int proxy_from_gateway(ctx_t *ctx, const struct proxy_settings *s,
					      const struct packet *p, __u64 now, struct plan *plan)
{
	struct binding *b = find_binding(p->outer.saddr, p->outer.daddr);
	int verdict;

	if (!b)
		return subnet_flags(p->outer.daddr) ? DROP(no_binding) : VERDICT_STACK;
	if (!is_gateway_mac(p->outer.saddr, p))
		return DROP(gateway_mac);
	if (p->outer.ihl != 5)
		return DROP(outer_options);
	if (!may_pass(p, &p->outer, 0))
		return DROP(inner_protocol);
	verdict = plan_to_node(ctx, b, s->public_address, now, plan);
	if (verdict < 0)
		return verdict;
	plan_forwarding(&p->outer, plan);
	if (plan->way.remote == p->outer.saddr)
		return DROP(tunnel_loop); /* RFC 2003 3.2: a node cannot be where its gateway is */
	return plan_redirect(plan, OUTCOME_gateway_to_node, s->public_ifindex, 0);
}

/* A clear packet that goes on to a mobility subnet, however; MIPP-Priv speaks of what does not fit. */
static __always_inline void plan_to_subnet(const struct proxy_settings *s, const struct packet *p, struct plan *plan)
{
	plan_forwarding(&p->outer, plan);
	plan->way.local = s->private_address;
	plan->flags |= PLAN_ERRORS | PLAN_CUT;
}

/* Row 5: a node's decrypted packet for a mobility subnet, to the node's own home agent or straight there. */
static __always_inline int proxy_to_subnet(const struct proxy_settings *s, const struct packet *p,
					   const struct binding *source, __u32 prefix, int direct, struct plan *plan)
{
	struct tunnel to_home_agent = { .flags = s->home_agent_flags, .gre_key = s->home_agent_gre_key };

	if (!source)
		return DROP(no_binding);
	to_home_agent.care_of = source->home_agent;
	to_home_agent.encapsulation = source->home_agent_encapsulation;
	if (!(prefix & PREFIX_MOBILITY))
		return DROP(not_mobility_subnet);
	plan_to_subnet(s, p, plan);
	if (direct)
		return plan_redirect(plan, OUTCOME_gateway_to_subnet, s->private_ifindex, 0);
	plan_tunnel(plan, s->private_address, &to_home_agent);
	return plan_redirect(plan, OUTCOME_gateway_to_home_agent, s->private_ifindex, 0);
}

/*
 * A VPN user that is no node of ours, behind a gateway that routes by destination only: its route to the home network
 * brings everybody's packets here. Nobody has a tunnel for them, so they go on as they are.
 */
static __always_inline int proxy_from_other_source(const struct proxy_settings *s, const struct packet *p,
						   __u32 prefix, struct plan *plan)
{
	if (!(prefix & PREFIX_MOBILITY))
		return DROP(not_mobility_subnet);
	plan_to_subnet(s, p, plan);
	return plan_redirect(plan, OUTCOME_other_source_to_subnet, s->private_ifindex, 0);
}

/*
 * Rows 5 and 6, and the rest that concerns home addresses: clear packets. One for a bound home address means that the
 * gateway has no SA for the node: sent to the home agent it would come back here for ever.
 */
static __always_inline int proxy_clear(const struct proxy_settings *s, const struct packet *p, __u64 now,
				       struct plan *plan)
{
	__u32 prefix = subnet_flags(p->outer.daddr);
	__u32 others = prefix ? prefix_flags(p->outer.saddr) / PREFIX_OTHER_SOURCES : 0;
	int facts = 0, direct = 0, from_other = 0;
	__be32 sender = 0;

#pragma unroll
	for (int i = 0; i < MAX_GATEWAYS; i++) {
		int found;

		if (i >= s->gateway_count)
			break;
		found = clear_facts(s->gateways[i].public_address, p, now);
		if ((found & FROM_BOUND_BY_GATEWAY) && !sender) {
			sender = s->gateways[i].public_address;
			direct = s->direct_delivery >> i & 1;
		}
		if (others >> i & 1)
			from_other |= is_gateway_mac(s->gateways[i].public_address, p);
		facts |= found;
	}
	if (facts & TO_BOUND)
		return facts & TO_BOUND_BY_GATEWAY ? DROP(no_sa_at_gateway) : DROP(gateway_mac);
	if (sender)
		return proxy_to_subnet(s, p, find_binding(sender, p->outer.saddr), prefix, direct, plan);
	if (facts & FROM_BOUND)
		return DROP(gateway_mac);
	if (others)
		return from_other ? proxy_from_other_source(s, p, prefix, plan) : DROP(gateway_mac);
	return prefix ? DROP(no_binding) : VERDICT_STACK;
}

static __always_inline int decide_proxy_public(ctx_t *ctx, struct packet *p, struct plan *plan)
{
	const struct proxy_settings *s = proxy();
	__u64 now = bpf_ktime_get_boot_ns();
	int verdict;

	if (!s)
		return is_tunnel(ctx, p) ? DROP(not_configured) : VERDICT_STACK;
	if (p->outer.daddr == s->public_address) {
		if (!is_tunnel(ctx, p))
			return VERDICT_STACK;
		verdict = parse_tunnel(ctx, p);
		return verdict != VERDICT_CONTINUE ? verdict : proxy_from_node(s, p, now, plan);
	}
	if (p->outer.daddr == s->private_address)
		return is_tunnel(ctx, p) ? DROP(wrong_interface) : VERDICT_STACK;
	p->on_gateway_side = interface_of(ctx) == s->gateway_public_ifindex;
	if (is_gateway(s, p->outer.saddr))
		return proxy_from_gateway(ctx, s, p, now, plan);
	return proxy_clear(s, p, now, plan);
}

/* Row 3: to the private side of the binding's gateway, never by the destination: the gateway routes it to us. */
static __always_inline int proxy_from_home_agent(const struct proxy_settings *s, const struct packet *p, __u64 now,
						 struct plan *plan)
{
	int verdict = DROP(no_binding);
	__be32 next_hop = 0;

#pragma unroll
	for (int i = 0; i < MAX_GATEWAYS; i++) {
		__be32 private_address = s->gateways[i].private_address;
		const struct binding *b;

		barrier_var(private_address); /* read here, at a constant offset, not where the iterations meet again */
		if (i >= s->gateway_count)
			break;
		b = find_binding(s->gateways[i].public_address, p->inner.daddr);
		if (!b)
			continue;
		if (!is_live(b, now)) {
			if (verdict > DROP(binding_expired))
				verdict = DROP(binding_expired);
		} else if (b->home_agent != p->outer.saddr) {
			verdict = DROP(home_agent_mismatch);
		} else if (check_encapsulation(p, b->home_agent_encapsulation, 0, 1) < 0) {
			if (verdict > DROP(encapsulation_mismatch))
				verdict = DROP(encapsulation_mismatch);
		} else if (check_gre_key(p, s->home_agent_flags, s->home_agent_gre_key) < 0) {
			if (verdict > DROP(gre_key))
				verdict = DROP(gre_key);
		} else {
			next_hop = private_address;
			break;
		}
	}
	if (!next_hop)
		return verdict;
	verdict = plan_decapsulation(p, plan);
	if (verdict < 0)
		return verdict;
	plan_forwarding(&p->inner, plan);
	plan->flags |= PLAN_ERRORS;
	return plan_redirect(plan, OUTCOME_home_agent_to_gateway, s->gateway_private_ifindex, next_hop);
}

static __always_inline int decide_proxy_private(ctx_t *ctx, struct packet *p, struct plan *plan)
{
	const struct proxy_settings *s = proxy();
	__u64 now = bpf_ktime_get_boot_ns();
	int verdict;

	if (!s)
		return is_tunnel(ctx, p) ? DROP(not_configured) : VERDICT_STACK;
	if (p->outer.daddr == s->public_address)
		return is_tunnel(ctx, p) ? DROP(wrong_interface) : VERDICT_STACK;
	if (p->outer.daddr == s->private_address) {
		if (!is_tunnel(ctx, p))
			return VERDICT_STACK;
		verdict = parse_tunnel(ctx, p);
		return verdict != VERDICT_CONTINUE ? verdict : proxy_from_home_agent(s, p, now, plan);
	}
	return VERDICT_STACK;
}

#endif
