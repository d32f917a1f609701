/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The largest segment that both ends of a TCP session agree on in their SYNs, made smaller where that is configured:
 * for paths on which ICMP gets lost, and for sessions that are to fit wherever the node moves.
 */
#ifndef MOBILEIP_MSS_H
#define MOBILEIP_MSS_H

#include "context.h"
#include "maps.h"
#include "parse.h"

#define TCP_FLAGS_AT 13
#define TCP_SYN 2
#define TCP_OPTION_END 0
#define TCP_OPTION_NONE 1
#define TCP_OPTION_MSS 2
#define MOST_TCP_OPTIONS 4	/* stacks put the size first; the verifier follows no long chain without CAP_PERFMON */

/* Payload bytes of a segment at most; 0: as the ends agree. */
static __always_inline __u32 configured_mss(void)
{
	__u32 key = 0;
	const struct tunnel_policy *policy = bpf_map_lookup_elem(&tunnel_policy, &key);

	return policy ? policy->tcp_mss : 0;
}

#ifndef CONTEXT_XDP
/* Where in the frame the option's value is; 0 without one. `tcp`: where its header is. */
static __always_inline __u32 find_mss(ctx_t *ctx, __u32 tcp)
{
	__u8 header[2] = {}, option[2];
	__u32 at = 20, end;

	if (load_bytes(ctx, tcp + 12, header, sizeof(header)) || !(header[1] & TCP_SYN))
		return 0;
	end = (header[0] >> 4) * 4;
	for (int i = 0; i < MOST_TCP_OPTIONS; i++) {
		if (at + 4 > end || load_bytes(ctx, tcp + at, option, sizeof(option)))
			return 0; /* the option that is looked for has four bytes */
		if (option[0] == TCP_OPTION_MSS && option[1] == 4)
			return tcp + at + 2;
		if (option[0] == TCP_OPTION_END || (option[0] != TCP_OPTION_NONE && option[1] < 2))
			return 0;
		at += option[0] == TCP_OPTION_NONE ? 1 : option[1];
	}
	return 0;
}

/* The packet behind Ethernet, if it is a SYN. What cannot be read is left alone: it is the end's to judge. */
GLOBAL_FUNCTION int clamp_mss(ctx_t *ctx, __u32 most)
{
	__be16 found = 0, less = bpf_htons(most), before, after;
	struct iphdr ip;
	__u32 at;

	if (load_bytes(ctx, ETH_HLEN, &ip, sizeof(ip)) || ip.protocol != IPPROTO_TCP || is_later_fragment(&ip) ||
	    ip.ihl != 5)
		return VERDICT_CONTINUE;
	at = find_mss(ctx, ETH_HLEN + sizeof(ip));
	if (!at || load_bytes(ctx, at, &found, sizeof(found)) || bpf_ntohs(found) <= most)
		return VERDICT_CONTINUE;
	/* Options are not aligned: at an odd offset the bytes count in the other halves of the checksum's words. */
	before = at & 1 ? __builtin_bswap16(found) : found;
	after = at & 1 ? __builtin_bswap16(less) : less;
	if (bpf_l4_csum_replace(ctx, ETH_HLEN + sizeof(ip) + 16, before, after, sizeof(after)) ||
	    store_bytes(ctx, at, &less, sizeof(less)))
		return DROP(helper_failed);
	return VERDICT_CONTINUE;
}
#endif /* CONTEXT_XDP */

#endif
