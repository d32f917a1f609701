/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The context of XDP; see context.h. What XDP cannot do, it does not try: such frames go up to tc, unchanged. So no
 * copies are made here and none are recognised, and a header beyond the first buffer of a frame is not looked for.
 * The Ethernet header does not move with the room behind it: whoever redirects the frame writes a new one.
 */
#ifndef MOBILEIP_CONTEXT_XDP_H
#define MOBILEIP_CONTEXT_XDP_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_helpers.h>

#include "maps.h"

typedef struct xdp_md ctx_t;

#define HOOK 1
#define ACTION_DROP XDP_DROP
#define ACTION_REDIRECT XDP_REDIRECT
#define GOES_ON_AFTER_ASKING 1

static __always_inline void *packet_start(const ctx_t *ctx)
{
	return (void *)(long)ctx->data;
}

static __always_inline void *packet_end(const ctx_t *ctx)
{
	return (void *)(long)ctx->data_end;
}

static __always_inline __u32 frame_length(const ctx_t *ctx)
{
	return bpf_xdp_get_buff_len((ctx_t *)ctx);
}

/* One load at a constant offset: the compiler would move the addition before a branch, the verifier refuses that. */
static __always_inline __u32 interface_of(const ctx_t *ctx)
{
	__u32 ifindex;

	asm volatile("%0 = *(u32 *)(%1 + %2)"
		     : "=r"(ifindex)
		     : "r"(ctx), "i"(__builtin_offsetof(ctx_t, ingress_ifindex)));
	return ifindex;
}

/* A tag is still in the frame, whose type is then not IPv4: the loader has the NIC leave it there. */
static __always_inline int has_vlan_tag(const ctx_t *ctx)
{
	return 0;
}

/* What is known of an interface; null for one that XDP has nothing to do with. */
static __always_inline const struct link *find_link(__u32 ifindex)
{
	__u32 key = 0;
	const struct links *all = bpf_map_lookup_elem(&links, &key);

	if (!all)
		return 0;
#pragma unroll
	for (int i = 0; i < MAX_LINKS; i++) {
		if (!all->entries[i].ifindex)
			break;
		if (all->entries[i].ifindex == ifindex)
			return &all->entries[i];
	}
	return 0;
}

static __always_inline int is_for_this_host(const ctx_t *ctx)
{
	const struct link *own = find_link(interface_of(ctx));
	const __u16 *destination = packet_start(ctx);

	if (!own || (void *)destination + ETH_HLEN > packet_end(ctx))
		return 0;
	return destination[0] == own->mac[0] && destination[1] == own->mac[1] && destination[2] == own->mac[2];
}

static __always_inline void make_linear(ctx_t *ctx, __u32 length)
{
}

static __always_inline int load_bytes(ctx_t *ctx, __u32 offset, void *to, __u32 length)
{
	const void *from = packet_start(ctx) + offset;

	if (!__builtin_constant_p(length) || !__builtin_constant_p(offset))
		return bpf_xdp_load_bytes(ctx, offset, to, length);
	if (from + length > packet_end(ctx))
		return -1;
	__builtin_memcpy(to, from, length);
	return 0;
}

/* Nothing is merged yet. */
static __always_inline __u32 segment_size(const ctx_t *ctx)
{
	return 0;
}

static __always_inline int trim(ctx_t *ctx, __u32 length)
{
	__u32 have = frame_length(ctx);

	return have <= length ? 0 : bpf_xdp_adjust_tail(ctx, (int)length - (int)have);
}

static __always_inline int open_room(ctx_t *ctx, int bytes, int encapsulation, int in_udp, int is_again)
{
	return bpf_xdp_adjust_head(ctx, -bytes);
}

static __always_inline int close_room(ctx_t *ctx, int bytes)
{
	return bpf_xdp_adjust_head(ctx, bytes);
}

static __always_inline int takes_frames(__u32 ifindex)
{
	const struct link *out = find_link(ifindex);

	return out && (out->flags & LINK_TAKES_FRAMES);
}

/* A first buffer that is not the only one is no shorter than this. */
#define ONE_BUFFER 1514

static __always_inline __u32 simple_length(const ctx_t *ctx)
{
	__u32 length = packet_end(ctx) - packet_start(ctx);

	return length <= ONE_BUFFER || length == frame_length(ctx) ? length : 0;
}

static __always_inline int copy_index(const ctx_t *ctx)
{
	return -1;
}

#endif
