/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Bindings: who may speak for a home address through a tunnel, and where packets for it go. Proxy and home agent. */
#ifndef MOBILEIP_BINDING_H
#define MOBILEIP_BINDING_H

#include "maps.h"
#include "parse.h"
#include "plan.h"

_Static_assert((MAX_CARE_OF & (MAX_CARE_OF - 1)) == 0, "a mask keeps an index in bounds");

static __always_inline struct binding *find_binding(__be32 gateway, __be32 home_address)
{
	struct binding_key key = { .gateway = gateway, .home_address = home_address };

	return bpf_map_lookup_elem(&bindings, &key);
}

static __always_inline int is_live(const struct binding *b, __u64 now)
{
#pragma unroll
	for (int i = 0; i < MAX_CARE_OF; i++)
		if (i < b->tunnel_count && b->tunnels[i].expires_ns > now)
			return 1;
	return 0;
}

/*
 * As negotiated. What cannot be carried by minimal encapsulation comes by IP-in-IP (RFC 2004 3), and `accepts_ipip`,
 * towards whom every end of a tunnel is to take IP-in-IP apart (RFC 5944 4.1), may send that whatever it granted.
 */
static __always_inline int check_encapsulation(const struct packet *p, __u8 encapsulation, __u8 flags, int accepts_ipip)
{
	if ((p->carried ^ flags) & CARRIED_IN_UDP)
		return DROP(encapsulation_mismatch);
	if (p->tunnel == encapsulation)
		return VERDICT_CONTINUE;
	if (p->tunnel == ENCAPSULATION_IPIP && !(flags & CARRIED_IN_UDP) &&
	    (accepts_ipip || encapsulation == ENCAPSULATION_MINIMAL))
		return VERDICT_CONTINUE;
	return DROP(encapsulation_mismatch);
}

static __always_inline int check_gre_key(const struct packet *p, __u8 flags, __be32 key)
{
	if (p->tunnel != ENCAPSULATION_GRE)
		return VERDICT_CONTINUE;
	if (((p->carried ^ flags) & CARRIED_WITH_KEY) || p->gre_key != key)
		return DROP(gre_key);
	return VERDICT_CONTINUE;
}

/*
 * RFC 3024 4.3.2, RFC 3519 4.3: outer source, encapsulation and UDP port must be what was registered.
 * `learns`: a keepalive may show the port of a half-bound tunnel. Until it does, the port that the node had in the
 * registration before goes on serving, where there was one.
 */
static __always_inline int check_tunnel(const struct tunnel *t, const struct packet *p, __u64 now, int learns)
{
	int verdict;

	if (t->expires_ns <= now)
		return DROP(binding_expired);
	if (p->outer.saddr != t->care_of && p->outer.saddr != t->source)
		return DROP(care_of_mismatch);
	verdict = check_encapsulation(p, t->encapsulation, t->flags, 0);
	if (verdict < 0)
		return verdict;
	if ((t->flags & CARRIED_IN_UDP) && !(t->port && p->source_port == t->port)) {
		if (!(t->flags & TUNNEL_HALF_BOUND))
			return DROP(port_mismatch);
		if (!learns || p->outer.saddr != t->source)
			return DROP(half_bound);
	}
	return check_gre_key(p, t->flags, t->gre_key);
}

/*
 * Which of the binding's tunnels the packet came through: its index, or the closest miss (see reasons.h).
 */
static __always_inline int match_tunnel_of(const struct binding *b, const struct packet *p, __u64 now, int learns)
{
	int miss = DROP(no_binding);

#pragma unroll
	for (int i = 0; i < MAX_CARE_OF; i++) {
		int verdict;

		if (i >= b->tunnel_count)
			break;
		verdict = check_tunnel(&b->tunnels[i], p, now, learns);
		if (verdict == VERDICT_CONTINUE)
			return i;
		if (verdict < miss)
			miss = verdict;
	}
	return miss;
}

/* The same where several gateways are tried. */
GLOBAL_FUNCTION int match_tunnel(__be32 gateway, __be32 home_address, const struct packet *p, __u64 now, int learns)
{
	const struct binding *b = find_binding(gateway, home_address);

	return b && p ? match_tunnel_of(b, p, now, learns) : DROP(no_binding);
}

/*
 * A bound node's packet from another address or port, by its own word alone: a NAT may have given the node a new one, or
 * somebody forges. Data moves no binding (RFC 3519 4.10); this is noted, and the node's next registration tells.
 */
GLOBAL_FUNCTION int note_stray(__be32 gateway, const struct packet *p, __u64 now)
{
	struct binding_key key = { .gateway = gateway };
	struct stray first = { .packets = 1, .last_ns = now };
	struct stray *known;

	if (!p)
		return 0;
	key.home_address = p->inner.saddr;
	first.address = p->outer.saddr;
	first.port = p->source_port;
	known = bpf_map_lookup_elem(&strays, &key);
	if (known && known->address == first.address && known->port == first.port) {
		known->packets += 1;
		known->last_ns = now;
	} else {
		bpf_map_update_elem(&strays, &key, &first, BPF_ANY);
	}
	return 0;
}

static __always_inline int is_stray(int verdict)
{
	return verdict == DROP(care_of_mismatch) || verdict == DROP(port_mismatch);
}

/* RFC 3519 4.9: the end of a tunnel answers the node's echo requests through the same tunnel. */
static __always_inline int decide_keepalive(const struct packet *p, __be32 gateway, __u32 index, struct plan *plan)
{
	struct binding *b = find_binding(gateway, p->inner.saddr);
	struct tunnel *t;
	int verdict;

	if (!b)
		return DROP(no_binding);
	/* The compiler would compare one copy of the index and use another: the verifier sees the mask. */
	barrier_var(index);
	t = &b->tunnels[index & (MAX_CARE_OF - 1)];
	if (p->inner.ihl != 5)
		return DROP(inner_options);
	if (p->inner.protocol != IPPROTO_ICMP || is_fragment(&p->inner) || !p->has_ports ||
	    p->inner_ports[0] != bpf_htons(ICMP_ECHO_REQUEST << 8))
		return DROP(inner_protocol);
	if (sum_header(&p->inner) != 0xffff)
		return DROP(inner_malformed);
	verdict = plan_decapsulation(p, plan);
	if (verdict >= 0 && (t->flags & TUNNEL_HALF_BOUND)) {
		/* Once: the flag goes last, so no other CPU sends to a port that is not there yet. */
		t->care_of = t->source;
		t->port = p->source_port;
		barrier();
		t->flags &= ~TUNNEL_HALF_BOUND;
	}
	if (verdict < 0)
		return verdict;
	plan_back(p, plan);
	plan->flags |= PLAN_ANSWER_ECHO;
	plan->from_node = &b->from_node;
	plan->outcome = OUTCOME_keepalive_answered;
	return VERDICT_FORWARD;
}

/*
 * Towards the node: the first live tunnel, copies for the other live ones (RFC 5944 3.8, simultaneous bindings).
 * A packet that is such a copy goes to its own tunnel only.
 */
static __always_inline int plan_to_node(const ctx_t *ctx, struct binding *b, __be32 local, __u64 now,
					struct plan *plan)
{
	int copy = copy_index(ctx);
	int miss = DROP(binding_expired), chosen = 0;

#pragma unroll
	for (int i = 0; i < MAX_CARE_OF; i++) {
		const struct tunnel *t = &b->tunnels[i];

		if (i >= b->tunnel_count)
			break;
		if (t->expires_ns <= now || (copy >= 0 && copy != i))
			continue;
		if ((t->flags & TUNNEL_HALF_BOUND) && !t->port) {
			miss = DROP(half_bound);
		} else if (!chosen) {
			chosen = 1;
			plan->tunnel = i;
			plan->flags |= PLAN_ERRORS | PLAN_CUT | PLAN_TO_BINDING;
			plan_tunnel(plan, local, t);
		} else {
			plan->copies |= 1 << i;
		}
	}
	plan->to_node = &b->to_node;
	return chosen ? VERDICT_CONTINUE : miss;
}

#endif
