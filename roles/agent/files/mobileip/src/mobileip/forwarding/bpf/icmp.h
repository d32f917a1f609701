/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * ICMP errors to the source of a packet that goes no further (RFC 792, RFC 1812 4.3.2, RFC 2003 4), made of the packet
 * itself and sent back. Never about what RFC 1812 4.3.2.7 names, and so many a second to a source only.
 */
#ifndef MOBILEIP_ICMP_H
#define MOBILEIP_ICMP_H

#include "context.h"
#include "maps.h"
#include "parse.h"
#include "plan.h"
#include "rewrite.h"

#define ICMP_UNREACHABLE 3
#define ICMP_SOURCE_QUENCH 4
#define ICMP_REDIRECT 5
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETER_PROBLEM 12
#define ICMP_FRAGMENTATION_NEEDED 4
#define ICMP_LEAST_MTU 68	/* RFC 791 3.2: any path carries so much */
#define ERROR_TOS 0xc0		/* RFC 1812 4.3.2.5: internetwork control */
#define SECOND 1000000000ULL

struct icmp_error {
	struct iphdr ip;
	__u8 type;
	__u8 code;
	__u16 checksum;
	__be16 unused;
	__be16 mtu;
};

/* What is kept of a packet while its first bytes are taken off and put on again. */
#define KEPT 40
/* How much of it is quoted: as much as 576 bytes have room for, in two parts that the verifier knows the length of. */
#define QUOTED 528
#define QUOTED_AT_LEAST 60

struct error_headers {
	struct icmp_error icmp;
	__u8 kept[KEPT];
};

/* RFC 1812 4.3.2.7, and none to who is nobody in particular. */
static __always_inline int may_be_told(const struct packet *p, const struct iphdr *ip)
{
	__u32 source = bpf_ntohl(ip->saddr);
	__u8 type = bpf_ntohs(p->inner_ports[0]) >> 8;

	if (is_later_fragment(ip) || is_group(ip->daddr) || source >> 24 == 0 || source >> 24 == 127 ||
	    source >> 28 >= 14)
		return 0;
	if (ip->protocol != IPPROTO_ICMP)
		return 1;
	return p->has_ports && type != ICMP_UNREACHABLE && type != ICMP_SOURCE_QUENCH && type != ICMP_REDIRECT &&
	       type != ICMP_TIME_EXCEEDED && type != ICMP_PARAMETER_PROBLEM;
}

/* A second's worth at once, then one at a time. Two CPUs may take the same turn: it is a limit, not an account. */
static __always_inline int is_its_turn(__be32 source)
{
	__u32 first = 0, slot = (bpf_ntohl(source) * 2654435761u) >> 24;
	const struct tunnel_policy *policy = bpf_map_lookup_elem(&tunnel_policy, &first);
	__u64 now = bpf_ktime_get_boot_ns(), *turn = bpf_map_lookup_elem(&error_turns, &slot);
	__u64 next;

	if (!policy || !policy->errors_per_second || !turn)
		return 0;
	next = *turn > now ? *turn : now;
	if (next - now > SECOND)
		return 0;
	*turn = next + SECOND / policy->errors_per_second;
	return 1;
}

/* `most`: bytes that would fit; 0 tells that the TTL ended here (RFC 792, code 0). */
static __always_inline int fill_error(struct icmp_error *error, const struct iphdr *about, __be32 from, __u32 most,
				      __u32 quoted)
{
	*error = (struct icmp_error){
		.ip = {
			.version = 4,
			.ihl = 5,
			.tos = ERROR_TOS,
			.tot_len = bpf_htons(sizeof(*error) + quoted),
			.frag_off = bpf_htons(IP_DF),
			.ttl = TUNNEL_TTL,
			.protocol = IPPROTO_ICMP,
			.saddr = from,
			.daddr = about->saddr,
		},
		.type = most ? ICMP_UNREACHABLE : ICMP_TIME_EXCEEDED,
		.code = most ? ICMP_FRAGMENTATION_NEEDED : 0,
		.mtu = bpf_htons(most),
	};
	error->ip.check = ~sum_header(&error->ip);
	return 0;
}

static __always_inline __u16 fold_long(__u32 sum)
{
	return fold_checksum(fold_checksum(sum));
}

/* Out where it came in, to whom it came from. */
static __always_inline int turn_frame(ctx_t *ctx)
{
	struct ethhdr *ethernet = packet_start(ctx);
	__u8 source[ETH_ALEN];

	if ((void *)(ethernet + 1) > packet_end(ctx))
		return DROP(helper_failed);
	__builtin_memcpy(source, ethernet->h_source, ETH_ALEN);
	__builtin_memcpy(ethernet->h_source, ethernet->h_dest, ETH_ALEN);
	__builtin_memcpy(ethernet->h_dest, source, ETH_ALEN);
	return VERDICT_CONTINUE;
}

/*
 * The kernel trims nothing that it has noted a tunnel for, as what was encapsulated on this machine (a namespace, a virtual
 * machine): then the beginning comes off, which is written anew, and no more is quoted. Merged segments would stay some.
 */
static __always_inline int shorten(ctx_t *ctx, __u32 length)
{
	if (segment_size(ctx))
		return -1;
	for (int i = 0; i < MOST_CUTS; i++) {
		__u32 surplus = frame_length(ctx) - length;

		if (!surplus)
			return 0;
		if (close_room(ctx, surplus < CUT_AT_ONCE ? surplus : CUT_AT_ONCE))
			return -1;
	}
	return frame_length(ctx) != length;
}

/*
 * Make of the packet behind Ethernet an ICMP error about it: fragmentation needed, `most` bytes fit; or time exceeded, as
 * the outcome says.
 *
 * Its first bytes come off and are put on again, because the kernel then forgets a checksum that was still to be filled
 * in (a packet of a virtual machine, or of a namespace): it would be written into the quotation.
 */
GLOBAL_FUNCTION int make_error(ctx_t *ctx, const struct packet *p, __be32 from, __u32 most, __u32 outcome)
{
	int refused = outcome == OUTCOME_ttl_expired_answered ? DROP(ttl_expired) : DROP(too_big);
	struct error_headers headers;
	void *data, *end;
	struct iphdr ip;
	__u32 quoted = KEPT, sum;

	if (!p || load_bytes(ctx, ETH_HLEN, &headers.kept, KEPT))
		return refused;
	__builtin_memcpy(&ip, headers.kept, sizeof(ip));
	if (bpf_ntohs(ip.tot_len) < QUOTED_AT_LEAST || !may_be_told(p, &ip) || !is_its_turn(ip.saddr))
		return refused;
	if (outcome == OUTCOME_ttl_expired_answered)
		most = 0;
	else if (most < ICMP_LEAST_MTU)
		most = ICMP_LEAST_MTU;
	if (bpf_ntohs(ip.tot_len) >= QUOTED)
		quoted = QUOTED;
	if (close_room(ctx, KEPT) || make_room(ctx, sizeof(headers)))
		return DROP(helper_failed);
	if (trim(ctx, ETH_HLEN + sizeof(headers.icmp) + quoted)) {
		quoted = KEPT;
		if (shorten(ctx, ETH_HLEN + sizeof(headers)))
			return refused;
	}
	fill_error(&headers.icmp, &ip, from, most, quoted);
	make_linear(ctx, ETH_HLEN + sizeof(headers.icmp) + QUOTED);
	data = packet_start(ctx);
	end = packet_end(ctx);
	sum = bpf_csum_diff(0, 0, (__be32 *)&headers.icmp.type, sizeof(headers) - sizeof(struct iphdr), 0);
	if (quoted == QUOTED) {
		data += ETH_HLEN + sizeof(headers);
		if (data + QUOTED - KEPT > end)
			return DROP(helper_failed);
		sum = bpf_csum_diff(0, 0, data, QUOTED - KEPT, sum);
	}
	headers.icmp.checksum = ~fold_long(sum);
	if (store_bytes(ctx, ETH_HLEN, &headers, sizeof(headers)))
		return DROP(helper_failed);
	return VERDICT_CONTINUE;
}

#endif
