/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Counters. Those of reasons, outcomes and interfaces have one slot a CPU; readers sum them. Those of a binding are in
 * its entry and shared, for a slot a CPU would cost more than the binding. Each packet is counted once, at the one exit
 * of its program.
 */
#ifndef MOBILEIP_COUNT_H
#define MOBILEIP_COUNT_H

#include "context.h"
#include "maps.h"
#include "plan.h"

#define INTERFACE_PROBES 4

static __always_inline void add_packet(struct traffic *traffic, __u32 bytes)
{
	traffic->packets += 1;
	traffic->bytes += bytes;
}

static __always_inline void add_shared_packet(struct traffic *traffic, __u32 bytes)
{
	__sync_fetch_and_add(&traffic->packets, 1);
	__sync_fetch_and_add(&traffic->bytes, bytes);
}

/* The interface's slot, taken by its first packet. With all that may be its own in use, the first is taken over: an
 * interface that is gone leaves its slot behind. */
static __always_inline struct interface_traffic *find_interface(__u32 ifindex)
{
	struct interface_traffic *slot;
	__u32 at;

	for (__u32 i = 0; i < INTERFACE_PROBES; i++) {
		at = (ifindex + i) % INTERFACE_SLOTS;
		slot = bpf_map_lookup_elem(&interfaces, &at);
		if (!slot || slot->ifindex == ifindex)
			return slot;
		if (!slot->ifindex)
			break;
	}
	if (slot->ifindex) {
		at = ifindex % INTERFACE_SLOTS;
		slot = bpf_map_lookup_elem(&interfaces, &at);
		if (!slot)
			return 0;
	}
	__builtin_memset(slot, 0, sizeof(*slot));
	slot->ifindex = ifindex;
	return slot;
}

/* A function of its own, so that the event's layout is in the type information. */
static __noinline int describe_drop(ctx_t *ctx, struct drop_event *event, __u32 reason, __u64 now)
{
	__u64 captured = frame_length(ctx); /* 64 bits: else a copy is compared, and this one stays unbounded */

	if (captured > DROP_EVENT_BYTES)
		captured = DROP_EVENT_BYTES;
	event->time_ns = now;
	event->reason = reason;
	event->ifindex = interface_of(ctx);
	event->length = frame_length(ctx);
	event->captured = captured;
	__builtin_memset(event->frame, 0, sizeof(event->frame));
	barrier_var(captured);
	if (captured < ETH_HLEN || captured > DROP_EVENT_BYTES || load_bytes(ctx, 0, event->frame, captured))
		event->captured = 0;
	return 0;
}

/* A copy of the frame's beginning for whoever watches drops, at most one an interval and reason. */
GLOBAL_FUNCTION int sample_drop(ctx_t *ctx, __u32 reason)
{
	__u32 first = 0;
	struct drop_sampling *sampling = bpf_map_lookup_elem(&drop_sampling, &first);
	__u64 *next = bpf_map_lookup_elem(&drop_sampled, &reason), now;
	struct drop_event *event;

	if (!sampling || !next || !sampling->until_ns)
		return 0;
	now = bpf_ktime_get_boot_ns();
	if (now >= sampling->until_ns || now < *next)
		return 0;
	*next = now + sampling->interval_ns;
	event = bpf_ringbuf_reserve(&drop_events, sizeof(*event), 0);
	if (!event)
		return 0; /* nobody takes them out fast enough */
	describe_drop(ctx, event, reason, now);
	bpf_ringbuf_submit(event, 0);
	return 0;
}

static __always_inline void count_reason(__u32 reason)
{
	__u64 *packets = bpf_map_lookup_elem(&drops, &reason);

	if (packets)
		*packets += 1;
}

static __always_inline void count_drop(ctx_t *ctx, __u32 reason, __u32 bytes)
{
	struct interface_traffic *interface = find_interface(interface_of(ctx));

	count_reason(reason);
	if (interface)
		add_packet(&interface->dropped, bytes);
	sample_drop(ctx, reason);
}

static __always_inline void count_passed(ctx_t *ctx, __u32 bytes)
{
	struct interface_traffic *interface = find_interface(interface_of(ctx));

	if (interface)
		add_packet(&interface->passed, bytes);
}

static __always_inline void count_forwarded(ctx_t *ctx, __u32 outcome, __u32 bytes)
{
	struct interface_traffic *interface = find_interface(interface_of(ctx));
	struct traffic *traffic = bpf_map_lookup_elem(&outcomes, &outcome);

	if (traffic)
		add_packet(traffic, bytes);
	if (interface)
		add_packet(&interface->forwarded, bytes);
}

static __always_inline void count_outcome(ctx_t *ctx, const struct plan *plan, __u32 bytes)
{
	count_forwarded(ctx, plan->outcome, bytes);
	if (plan->from_node)
		add_shared_packet(plan->from_node, bytes);
	if (plan->to_node)
		add_shared_packet(plan->to_node, bytes);
}

#endif
