/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Where packets leave, remembered for a moment: asking the kernel's routes and neighbours costs as much as all the rest.
 * An answer serves for NEXT_HOP_NS, so that what changes there is followed within that time, whoever changes it and
 * whether or not a daemon runs. Each CPU remembers its own: nobody reads what another one is writing.
 */
#ifndef MOBILEIP_NEXT_HOP_H
#define MOBILEIP_NEXT_HOP_H

#include "context.h"
#include "maps.h"
#include "parse.h"
#include "path_mtu.h"

#define IPV4_FAMILY 2	/* AF_INET; its header is not for BPF */

#define CROWD 256
#define CROWDED_TICKS 16

/*
 * CLOCK_BOOTTIME as it was at some time since the last tick (1 to 10 ms): the clock itself is read once a tick. What
 * needs the time to the nanosecond reads it.
 */
static __always_inline struct tick *this_tick(void)
{
	__u64 jiffies = bpf_jiffies64();
	struct tick *tick;
	__u32 key = 0;

	tick = bpf_map_lookup_elem(&ticks, &key);
	if (tick && tick->jiffies != jiffies) {
		tick->jiffies = jiffies;
		tick->now_ns = bpf_ktime_get_boot_ns();
		tick->gateway = 0;
		if (!(jiffies % CROWDED_TICKS))
			tick->is_crowded = 0; /* look anew */
		else if (tick->asked > tick->found + CROWD)
			tick->is_crowded = 1;
		tick->asked = 0;
		tick->found = 0;
	}
	return tick;
}

/* What decides about the way of a packet, as the kernel's routes see it. */
struct wanted_hop {
	__be32 destination;
	__be32 source;
	__u32 ifindex;
	__u8 protocol;
	__u8 tos;	/* without ECN */
	__u8 is_tunnel;	/* what routers have said of the path to its end counts */
};

/* Not 0: an answer that is not there yet, or no such way, is one of no bytes. */
GLOBAL_FUNCTION int ask_next_hop(ctx_t *ctx, struct next_hop *hop, __u64 now)
{
	struct bpf_fib_lookup fib;
	__u32 known;

	if (!hop)
		return 0;
	__builtin_memset(&fib, 0, sizeof(fib));
	fib.family = IPV4_FAMILY;
	fib.l4_protocol = hop->protocol;
	fib.tos = hop->tos;
	fib.ipv4_src = hop->source;
	fib.ipv4_dst = hop->destination;
	fib.ifindex = hop->ifindex;
	fib.tot_len = 1; /* so that the answer has the way's MTU here */
	hop->mtu = 0;
	hop->until_ns = now + NEXT_HOP_NS;
	if (bpf_fib_lookup(ctx, &fib, sizeof(fib), BPF_FIB_LOOKUP_OUTPUT) != BPF_FIB_LKUP_RET_SUCCESS ||
	    fib.ifindex != hop->ifindex || (!hop->is_tunnel && fib.ipv4_dst != hop->destination) ||
	    !takes_frames(hop->ifindex))
		return 0;
	__builtin_memcpy(hop->ethernet, fib.dmac, ETH_ALEN);
	__builtin_memcpy(hop->ethernet + ETH_ALEN, fib.smac, ETH_ALEN);
	hop->ethernet[2 * ETH_ALEN] = ETH_P_IP >> 8;
	hop->ethernet[2 * ETH_ALEN + 1] = ETH_P_IP & 0xff;
	known = hop->is_tunnel ? path_mtu(hop->destination) : 0;
	hop->mtu = known && known < fib.tot_len ? known : fib.tot_len;
	return 1;
}

static __always_inline int is_hop(const struct next_hop *hop, const struct wanted_hop *want)
{
	return hop->destination == want->destination && hop->source == want->source && hop->ifindex == want->ifindex &&
	       hop->protocol == want->protocol && hop->tos == want->tos && hop->is_tunnel == want->is_tunnel &&
	       hop->hook == HOOK;
}

/* The way of a packet of so many bytes that needs nothing but a new Ethernet header; null: it is not that simple. */
static __always_inline const struct next_hop *find_next_hop(ctx_t *ctx, const struct wanted_hop *want, __u32 length,
							    struct tick *tick)
{
	__u32 slot = (bpf_ntohl(want->destination) * 0x9e3779b1u) >> (32 - NEXT_HOP_BITS), other = slot ^ 1;
	__u64 now = tick->now_ns;
	struct next_hop *hop, *second;

	if (tick->is_crowded && want->is_tunnel) {
		slot = 0; /* one place for all: it is in the cache at least */
		now = ~0ULL;
	}
	hop = bpf_map_lookup_elem(&next_hops, &slot);
	if (!hop)
		return 0;
	if (!is_hop(hop, want) && now == tick->now_ns) {
		second = bpf_map_lookup_elem(&next_hops, &other);
		if (!second)
			return 0;
		if (is_hop(second, want) || second->until_ns < hop->until_ns)
			hop = second;
	}
	if (hop->until_ns <= now || !is_hop(hop, want)) {
		hop->destination = want->destination;
		hop->source = want->source;
		hop->ifindex = want->ifindex;
		hop->protocol = want->protocol;
		hop->tos = want->tos;
		hop->is_tunnel = want->is_tunnel;
		hop->hook = HOOK;
		ask_next_hop(ctx, hop, tick->now_ns);
		tick->asked += 1;
		if (!GOES_ON_AFTER_ASKING)
			return 0;
	} else {
		tick->found += 1;
	}
	return length <= hop->mtu ? hop : 0;
}

#endif
