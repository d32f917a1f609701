/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Mobile node. What the home address may send and receive depends on where the node is:
 *
 *   blocked        not known yet: nothing clear leaves
 *   home           the home network: everything passes, as long as the kernel, too, has it on this link
 *   tunnel         own care-of address: ESP, IKE and the like to the gateways only (or all), through the tunnel
 *   foreign_agent  the agent tunnels: the same to the gateways only (or all that is unicast), as it is
 */
#ifndef MOBILEIP_MOBILE_NODE_H
#define MOBILEIP_MOBILE_NODE_H

#include "binding.h"
#include "discovery.h"
#include "passes.h"
#include "rewrite.h"

#define LOOPBACK 1 /* the index of lo, in every network namespace */

static __always_inline const struct mobile_node_settings *mobile_node(void)
{
	__u32 key = 0;

	return bpf_map_lookup_elem(&mobile_node_settings, &key);
}

static __always_inline int node_allows(const struct mobile_node_settings *s, __be32 address)
{
	if (s->flags & NODE_ENCAPSULATE_ALL)
		return 1;
#pragma unroll
	for (int i = 0; i < MAX_GATEWAYS; i++) {
		if (i >= s->gateway_count)
			break;
		if (s->gateways[i] == address)
			return 1;
	}
	return 0;
}

/* What may leave outside. To a gateway, too, only what its VPN protects: all else would be clear on the foreign link. */
static __always_inline int node_may_send(const struct mobile_node_settings *s, const struct packet *p)
{
	return (s->flags & NODE_ENCAPSULATE_ALL) || (node_allows(s, p->outer.daddr) && may_pass(p, &p->outer, 1));
}

/* RFC 3519 4.9: the daemon's keepalives go through the UDP tunnel to its other end. */
static __always_inline int is_keepalive(const struct mobile_node_settings *s, const struct packet *p)
{
	return (s->flags & CARRIED_IN_UDP) && p->outer.daddr == s->peer &&
	       p->outer.protocol == IPPROTO_ICMP && !is_fragment(&p->outer) && p->has_ports &&
	       p->inner_ports[0] == bpf_htons(ICMP_ECHO_REQUEST << 8);
}

/* The kernel's answer to the proxy's probe, which came by the way that this one goes back. */
static __always_inline int is_probe_answer(const struct mobile_node_settings *s, const struct packet *p)
{
	return p->outer.daddr == s->peer && p->outer.protocol == IPPROTO_ICMP && !is_fragment(&p->outer) &&
	       p->has_ports && !p->inner_ports[0];
}

/*
 * Whether the table main has `address` on this link, be it our own. Asked in the name of lo, which the daemon lets
 * forward (NodeRoutes.can_see_home_link): for another interface the kernel has no answer. Without one: yes.
 */
GLOBAL_FUNCTION int is_on_link(ctx_t *ctx, __be32 address)
{
	struct bpf_fib_lookup fib;
	long result;

	__builtin_memset(&fib, 0, sizeof(fib));
	fib.family = IPV4_FAMILY;
	fib.ipv4_dst = address;
	fib.ifindex = LOOPBACK;
	result = bpf_fib_lookup(ctx, &fib, sizeof(fib), BPF_FIB_LOOKUP_DIRECT);
	if (result == BPF_FIB_LKUP_RET_FWD_DISABLED)
		return 1;
	/* What it did not look further for is still a route: who the neighbour is, or what fits. */
	if (result != BPF_FIB_LKUP_RET_SUCCESS && result != BPF_FIB_LKUP_RET_NO_NEIGH &&
	    result != BPF_FIB_LKUP_RET_FRAG_NEEDED)
		return 0;
	return fib.ifindex == interface_of(ctx) && fib.ipv4_dst == address;
}

/* The daemon hears of a new link a moment after the first packet may have left on it; the kernel's routes know before. */
static __always_inline int has_left_home(ctx_t *ctx, const struct mobile_node_settings *s)
{
	return (s->flags & NODE_HOME_LINK_ONLY) && !is_on_link(ctx, s->home_address);
}

static __always_inline int node_into_tunnel(ctx_t *ctx, const struct mobile_node_settings *s,
					    struct plan *plan)
{
	struct tunnel t = {
		.care_of = s->peer,
		.port = s->peer_port,
		.encapsulation = s->encapsulation,
		.flags = s->flags,
		.gre_key = s->gre_key,
	};

	plan_tunnel(plan, s->care_of, &t);
	plan->way.local_port = s->local_port;
	return plan_redirect(plan, OUTCOME_stack_to_tunnel, interface_of(ctx), 0);
}

static __always_inline int decide_node_egress(ctx_t *ctx, struct packet *p, struct plan *plan)
{
	const struct mobile_node_settings *s = mobile_node();

	if (!s || p->outer.saddr != s->home_address || is_registration(ctx, p) || is_discovery(p))
		return VERDICT_STACK;
	if (s->mode == NODE_HOME)
		return has_left_home(ctx, s) ? DROP(clear_outside) : VERDICT_STACK;
	if (s->mode == NODE_TUNNEL && (node_may_send(s, p) || is_keepalive(s, p) || is_probe_answer(s, p)))
		return node_into_tunnel(ctx, s, plan);
	/* RFC 3024 5.2: the agent tunnels unicast only, unless it is wrapped; all else would stay on its link, in clear. */
	if (s->mode == NODE_FOREIGN_AGENT && (node_may_send(s, p) || is_probe_answer(s, p)))
		return is_group(p->outer.daddr) ? DROP(group_through_agent) : VERDICT_STACK;
	return DROP(clear_outside);
}

static __always_inline int node_from_tunnel(const struct mobile_node_settings *s, const struct packet *p,
					    struct plan *plan)
{
	int verdict;

	if (p->outer.saddr != s->peer)
		return DROP(care_of_mismatch);
	verdict = check_encapsulation(p, s->encapsulation, s->flags, 1);
	if (verdict < 0)
		return verdict;
	if ((p->carried & CARRIED_IN_UDP) && p->source_port != s->peer_port)
		return DROP(port_mismatch);
	verdict = check_gre_key(p, s->flags, s->gre_key);
	if (verdict < 0)
		return verdict;
	if (p->inner.daddr != s->home_address)
		return DROP(inner_destination);
	if (p->inner.saddr != s->peer && !node_allows(s, p->inner.saddr))
		return DROP(unknown_gateway);
	verdict = plan_decapsulation(p, plan);
	if (verdict < 0)
		return verdict;
	plan->outcome = OUTCOME_tunnel_to_stack;
	return VERDICT_FORWARD;
}

/* Whether the gateway's SA has protected it up to here; the kernel's policies see to it that it was to. */
static __always_inline int is_out_of_sa(ctx_t *ctx, const struct mobile_node_settings *s)
{
	__be32 gateway = decrypted_from(ctx);

	return gateway && node_allows(s, gateway);
}

static __always_inline int decide_node_ingress(ctx_t *ctx, struct packet *p, struct plan *plan)
{
	const struct mobile_node_settings *s = mobile_node();
	int verdict;

	if (!s || s->mode == NODE_HOME || s->mode == NODE_FOREIGN_AGENT)
		return VERDICT_STACK;
	if (s->mode == NODE_TUNNEL && p->outer.daddr == s->care_of && is_tunnel(ctx, p)) {
		verdict = parse_tunnel(ctx, p);
		return verdict != VERDICT_CONTINUE ? verdict : node_from_tunnel(s, p, plan);
	}
	if (p->outer.daddr == s->home_address && !is_registration(ctx, p) && !is_discovery(p) &&
	    !is_out_of_sa(ctx, s))
		return DROP(clear_outside);
	return VERDICT_STACK;
}

#endif
