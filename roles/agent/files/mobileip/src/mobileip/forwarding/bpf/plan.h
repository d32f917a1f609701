/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a decision asks for: which changes, in the order of the flags, and where the packet leaves. */
#ifndef MOBILEIP_PLAN_H
#define MOBILEIP_PLAN_H

#include "maps.h"
#include "parse.h"

#define PLAN_DECAPSULATE 1
#define PLAN_ANSWER_ECHO 2	/* turn a keepalive around */
#define PLAN_DECREMENT_TTL 4	/* we forward it: each layer-2 hand-over, each tunnel entered on behalf of another */
#define PLAN_ENCAPSULATE 8
#define PLAN_REDIRECT 16	/* else the stack goes on with the packet */
#define PLAN_ROUTE 32		/* let the FIB choose the interface */
#define PLAN_ERRORS 64		/* who sends what goes no further is told (RFC 1812 4.3.2) */
#define PLAN_ERRORS_BACK 128	/* through the tunnel that it came by */
#define PLAN_CUT 256		/* what does not fit and may be cut can come in anew as fragments */
#define PLAN_TO_BINDING 512	/* to `tunnel` of a binding */
#define PLAN_OR_STACK 1024	/* what does not fit is the stack's, as any router's packet */
#define PLAN_BACK 2048		/* out where it came in, to the MAC address that it has */
#define PLAN_ANEW 4096		/* in where it came in */
#define PLAN_EXPIRED 8192	/* its TTL ends here: who sent it is told, and it goes nowhere */

/* A tunnel to enter, without a pointer: what a global function may be given. */
struct way {
	__be32 local;
	__be32 remote;
	__be16 local_port;
	__be16 remote_port;
	__be32 gre_key;
	__u8 encapsulation;
	__u8 carried;		/* CARRIED_* */
	__u8 overhead;		/* bytes that it adds; known when all else is planned (settle) */
	__u8 arrived;		/* the kind of tunnel that the packet came out of, as of `encapsulation` and CARRIED_IN_UDP */
};

struct plan {
	struct traffic *from_node;	/* the bindings' counters to add to, if any */
	struct traffic *to_node;
	__u32 flags;
	__u32 outcome;
	__u32 ifindex;		/* with PLAN_REDIRECT; 0 until the FIB has chosen with PLAN_ROUTE */
	__be32 next_hop;	/* neighbour on ifindex; 0: by the kernel's route to the destination */
	struct way way;		/* the tunnel to enter, with PLAN_ENCAPSULATE */
	__u8 tos;		/* of the inner header, after ECN is merged in; with PLAN_DECAPSULATE */
	__u8 copies;		/* bit for each further care-of address that is to get a copy */
	__u8 tunnel;		/* index of the care-of address that it goes to itself */
	__u32 most;		/* bytes that the packet may have, once it is known to have more */
};

/* RFC 6040 4.2, figure 4: the inner TOS byte after decapsulation, or a drop. */
static __always_inline int merge_ecn(__u8 outer, __u8 inner)
{
	__u8 arrived = outer & 3, original = inner & 3;

	if (arrived == 3)
		return original ? (inner | 3) : DROP(ecn);
	if (arrived == 1 && original == 2)
		return (inner & ~3) | 1;
	return inner;
}

static __always_inline int plan_decapsulation(const struct packet *p, struct plan *plan)
{
	int tos = merge_ecn(p->outer.tos, p->inner.tos);

	if (tos < 0)
		return tos;
	plan->tos = tos;
	plan->flags |= PLAN_DECAPSULATE;
	plan->way.arrived = p->tunnel | (p->carried & CARRIED_IN_UDP);
	return VERDICT_CONTINUE;
}

/* RFC 1812 5.3.1: what would leave with TTL 0 does not leave. Its source is told, once all checks are passed. */
static __always_inline void plan_forwarding(const struct iphdr *header, struct plan *plan)
{
	plan->flags |= header->ttl > 1 ? PLAN_DECREMENT_TTL : PLAN_EXPIRED;
}

static __always_inline void fill_way(struct way *way, __be32 local, const struct tunnel *tunnel)
{
	way->local = local;
	way->remote = tunnel->care_of;
	way->local_port = bpf_htons(MIP_PORT);
	way->remote_port = tunnel->port;
	way->encapsulation = tunnel->encapsulation;
	way->carried = tunnel->flags & (CARRIED_IN_UDP | CARRIED_WITH_KEY);
	way->gre_key = tunnel->gre_key;
}

static __always_inline void plan_tunnel(struct plan *plan, __be32 local, const struct tunnel *tunnel)
{
	plan->flags |= PLAN_ENCAPSULATE;
	fill_way(&plan->way, local, tunnel);
}

/* Back through the tunnel that the packet came by. */
static __always_inline void plan_back(const struct packet *p, struct plan *plan)
{
	struct tunnel back = {
		.care_of = p->outer.saddr,
		.port = p->source_port,
		.encapsulation = p->tunnel,
		.flags = p->carried,
		.gre_key = p->gre_key,
	};

	plan_tunnel(plan, p->outer.daddr, &back);
}

static __always_inline int plan_redirect(struct plan *plan, __u32 outcome, __u32 ifindex, __be32 next_hop)
{
	plan->flags |= PLAN_REDIRECT;
	plan->outcome = outcome;
	plan->ifindex = ifindex;
	plan->next_hop = next_hop;
	return VERDICT_FORWARD;
}

#endif
