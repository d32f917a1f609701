/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What XDP behind the driver passes. Since 6.9 the kernel hands on a copy whose Ethernet header it has forgotten the
 * length of: it is there, but programs for tc are shown the IP header first, and would know none of their packets.
 */
#ifndef MOBILEIP_GENERIC_XDP_H
#define MOBILEIP_GENERIC_XDP_H

#include <linux/if_ether.h>
#include <linux/pkt_cls.h>

#include "count.h"

/* The frame is shown from its IP header on: what is shown first is not what stands at the kernel's mark of the MAC header. */
static __always_inline int begins_behind_ethernet(const __u16 *ethernet, const __u16 *shown)
{
	__u16 differs = 0;

#pragma unroll
	for (int i = 0; i < ETH_HLEN / 2; i++)
		differs |= ethernet[i] ^ shown[i];
	return differs != 0;
}

/* Room for a header is made where that of the frame stands: it is put there again, and now has its length. */
static __always_inline int restore(ctx_t *ctx)
{
	__u16 ethernet[ETH_HLEN / 2], shown[ETH_HLEN / 2];

	if (bpf_skb_load_bytes_relative(ctx, 0, ethernet, sizeof(ethernet), BPF_HDR_START_MAC))
		goto failed;
	if (!load_bytes(ctx, 0, shown, sizeof(shown)) && !begins_behind_ethernet(ethernet, shown))
		return TC_ACT_UNSPEC;
	if (bpf_skb_change_head(ctx, sizeof(ethernet), 0) || store_bytes(ctx, 0, ethernet, sizeof(ethernet)))
		goto failed;
	return TC_ACT_UNSPEC;
failed:
	count_drop(ctx, DROP_helper_failed, frame_length(ctx));
	return TC_ACT_SHOT;
}

#endif
