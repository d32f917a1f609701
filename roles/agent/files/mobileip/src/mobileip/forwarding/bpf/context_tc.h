/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The context of tc; see context.h. */
#ifndef MOBILEIP_CONTEXT_TC_H
#define MOBILEIP_CONTEXT_TC_H

#include <linux/bpf.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

#include "structs.h"

typedef struct __sk_buff ctx_t;

/* A copy for another care-of address comes in anew with this in its mark, and the tunnel's index below it.
 * Marks are local to the host, so no sender can set one. */
#define COPY_MARK 0x4d495000
#define COPY_MARK_MASK 0xffffff00

#define HOOK 2
#define ACTION_DROP TC_ACT_SHOT
#define ACTION_REDIRECT TC_ACT_REDIRECT
/* The packet that asks for its next hop goes by the kernel's own neighbour code, which keeps the entry fresh. */
#define GOES_ON_AFTER_ASKING 0

/* One load at a constant offset each: the compiler would keep the field's address, and the verifier refuses that. */
#define LOAD_FIELD(to, ctx, field) \
	asm volatile("%0 = *(u32 *)(%1 + %2)" : "=r"(to) : "r"(ctx), "i"(__builtin_offsetof(ctx_t, field)))

static __always_inline void *packet_start(const ctx_t *ctx)
{
	void *data;

	LOAD_FIELD(data, ctx, data);
	return data;
}

static __always_inline void *packet_end(const ctx_t *ctx)
{
	void *end;

	LOAD_FIELD(end, ctx, data_end);
	return end;
}

static __always_inline __u32 frame_length(const ctx_t *ctx)
{
	return ctx->len;
}

static __always_inline __u32 interface_of(const ctx_t *ctx)
{
	return ctx->ifindex;
}

static __always_inline int has_vlan_tag(const ctx_t *ctx)
{
	return ctx->vlan_present;
}

static __always_inline int is_for_this_host(const ctx_t *ctx)
{
	return ctx->pkt_type == PACKET_HOST;
}

/* Headers may lie outside the linear part (a NIC that splits them): fetch what there is of them. */
static __always_inline void make_linear(ctx_t *ctx, __u32 length)
{
	if (packet_start(ctx) + length > packet_end(ctx))
		bpf_skb_pull_data(ctx, ctx->len < length ? ctx->len : length);
}

static __always_inline int load_bytes(ctx_t *ctx, __u32 offset, void *to, __u32 length)
{
	return bpf_skb_load_bytes(ctx, offset, to, length);
}

static __always_inline int store_bytes(ctx_t *ctx, __u32 offset, const void *from, __u32 length)
{
	return bpf_skb_store_bytes(ctx, offset, from, length, 0);
}

static __always_inline __u32 segment_size(const ctx_t *ctx)
{
	return ctx->gso_size;
}

static __always_inline int trim(ctx_t *ctx, __u32 length)
{
	if (ctx->len <= length)
		return 0;
	return bpf_skb_change_tail(ctx, length, 0);
}

/*
 * With minimal encapsulation there is no inner header, and nothing that is merged. The kernel refuses to note a tunnel
 * for a packet that it has one noted for, as for what came out of one; only merged segments need the note. That of a tunnel
 * of the same kind is right for them.
 */
static __always_inline int open_room(ctx_t *ctx, int bytes, int encapsulation, int in_udp, int is_again)
{
	__u64 flags = BPF_F_ADJ_ROOM_ENCAP_L3_IPV4;

	if (encapsulation == ENCAPSULATION_MINIMAL)
		flags = 0;
	else if (in_udp)
		flags |= BPF_F_ADJ_ROOM_ENCAP_L4_UDP;
	else if (encapsulation == ENCAPSULATION_GRE)
		flags |= BPF_F_ADJ_ROOM_ENCAP_L4_GRE;
	if (!bpf_skb_adjust_room(ctx, bytes, BPF_ADJ_ROOM_MAC, flags))
		return 0;
	return segment_size(ctx) && !is_again ? -1 : bpf_skb_adjust_room(ctx, bytes, BPF_ADJ_ROOM_MAC, 0);
}

#define CUT_AT_ONCE 4088	/* bpf_skb_adjust_room takes 4095 bytes at most; fragments are multiples of eight */
#define MOST_CUTS 4

/* Segments that GRO merged keep the size that they arrived with. */
static __always_inline int close_room(ctx_t *ctx, int bytes)
{
	return bpf_skb_adjust_room(ctx, -bytes, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO);
}

/* For headers that are none of a tunnel's. */
static __always_inline int make_room(ctx_t *ctx, int bytes)
{
	return bpf_skb_adjust_room(ctx, bytes, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO);
}

/* A packet that the kernel's own ESP has decrypted comes in once more, on the interface of the ESP packet: the source of the
 * tunnel that it came by, or 0 for what came in as it is. The kernel notes this beside the packet; no sender can feign it. */
static __always_inline __be32 decrypted_from(ctx_t *ctx)
{
	struct bpf_xfrm_state state = {};

	return bpf_skb_get_xfrm_state(ctx, 0, &state, sizeof(state), 0) ? 0 : state.remote_ipv4;
}

static __always_inline int copy_index(const ctx_t *ctx)
{
	return (ctx->mark & COPY_MARK_MASK) == COPY_MARK ? (int)(ctx->mark & ~COPY_MARK_MASK) : -1;
}

static __always_inline int takes_frames(__u32 ifindex)
{
	return 1;
}

static __always_inline __u32 simple_length(const ctx_t *ctx)
{
	return segment_size(ctx) || has_vlan_tag(ctx) || copy_index(ctx) >= 0 ? 0 : ctx->len;
}

#endif
