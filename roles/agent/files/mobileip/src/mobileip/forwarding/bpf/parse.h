/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * From bytes to `struct packet`. The decision works on these copies only, so it holds no packet pointer that a
 * helper could invalidate, and is the same for every hook.
 */
#ifndef MOBILEIP_PARSE_H
#define MOBILEIP_PARSE_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "context.h"
#include "maps.h"
#include "reasons.h"
#include "structs.h"

/* A verdict: negative is a drop reason, VERDICT_STACK leaves the packet alone, VERDICT_FORWARD carries out the plan. */
#define VERDICT_STACK 0
#define VERDICT_FORWARD 1
#define VERDICT_CONTINUE 2
#define DROP(name) (-(int)DROP_##name)

/*
 * A function that the verifier checks once, by itself, instead of at each call with all that is known there. What
 * loops over gateways or care-of addresses calls these: inlined, proxy_pub took 930,000 of the 1,000,000 steps that
 * the verifier is willing to make.
 */
#define GLOBAL_FUNCTION __noinline

/*
 * Loops over care-of addresses and gateways are unrolled: without CAP_PERFMON the verifier accepts a pointer into a
 * table's entry with constant offsets only, not one that a loop moves along.
 */

#define MIP_PORT 434
#define MIP_TUNNEL_DATA 4	/* RFC 3519 3.3 */
#define ICMP_ECHO_REQUEST 8
#define IP_DF 0x4000
#define IP_MF 0x2000
#define IP_OFFSET 0x1fff

struct mip_tunnel_data {	/* RFC 3519 3.3 */
	__u8 type;
	__u8 next_header;
	__be16 reserved;
};

struct gre {			/* RFC 2784 2.1; which of the words are there the flags say */
	__be16 flags;
	__be16 protocol;
	__be32 words[3];
};
#define GRE_ALONE 4
#define GRE_WITH_KEY 8
#define GRE_CHECKSUM 0x8000
#define GRE_KEY 0x2000
#define GRE_SEQUENCE 0x1000
/* Bits 1, 4 and 5: routing, strict source route and recursion of RFC 1701 (RFC 2784 2.3). The rest is ignored. */
#define GRE_REFUSED 0x4c00
#define GRE_VERSION 0x0007

struct minimal_header {		/* RFC 2004 3.1 */
	__u8 protocol;
	__u8 flags;
	__u16 checksum;
	__be32 destination;
	__be32 source;		/* with MINIMAL_SOURCE only */
};
#define MINIMAL_SOURCE 0x80
#define MINIMAL_SHORT ((int)sizeof(struct minimal_header) - 4)
#define MINIMAL_LONG ((int)sizeof(struct minimal_header))

#define UDP_TUNNEL_OVERHEAD ((int)(sizeof(struct udphdr) + sizeof(struct mip_tunnel_data)))
/* The longest run of headers that is read or written: Ethernet, a UDP tunnel of GRE, inner IP, 8 bytes behind it. */
#define HEADERS_LENGTH \
	(ETH_HLEN + (int)sizeof(struct iphdr) + UDP_TUNNEL_OVERHEAD + (int)sizeof(struct gre) + \
	 (int)sizeof(struct iphdr) + 8)

struct packet {
	struct iphdr outer;		/* the header behind Ethernet, tunnel or not */
	struct iphdr inner;		/* with a tunnel only */
	__be32 gre_key;
	__be16 source_port;		/* of the UDP tunnel */
	__be16 inner_ports[2];		/* first four bytes behind the inner header, or behind `outer` without a tunnel */
	__u8 source_mac[ETH_ALEN];
	__u8 tunnel;			/* ENCAPSULATION_* that it arrived in */
	__u8 carried;			/* CARRIED_* */
	__u8 overhead;			/* bytes by which the tunnel made it longer */
	__u8 has_ports;
	__u8 on_gateway_side;		/* proxy: it came in where the gateways are */
};

static __always_inline __u16 fold_checksum(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

/* Sum over a header without options; 0xffff for a received one that is intact. */
static __always_inline __u16 sum_header(const struct iphdr *header)
{
	const __u16 *word = (const void *)header;
	__u32 sum = 0;

#pragma unroll
	for (int i = 0; i < (int)sizeof(*header) / 2; i++)
		sum += word[i];
	return fold_checksum(sum);
}

static __always_inline int is_fragment(const struct iphdr *header)
{
	return (header->frag_off & bpf_htons(IP_MF | IP_OFFSET)) != 0;
}

static __always_inline int is_later_fragment(const struct iphdr *header)
{
	return (header->frag_off & bpf_htons(IP_OFFSET)) != 0;
}

/* The ports, or type and code, of a packet that is no later fragment and has no options. */
static __always_inline void read_ports(ctx_t *ctx, struct packet *p, const struct iphdr *header, int offset)
{
	if (header->ihl != 5 || is_later_fragment(header) || bpf_ntohs(header->tot_len) < sizeof(*header) + 8)
		return;
	if (!load_bytes(ctx, offset + sizeof(*header), p->inner_ports, sizeof(p->inner_ports)))
		p->has_ports = 1;
}

/* Ethernet and IP. What is not sound IPv4 is left to the stack, which drops it and keeps its own count. */
static __always_inline int parse_ip(ctx_t *ctx, struct packet *p)
{
	void *data, *end;
	struct ethhdr *ethernet;
	struct iphdr *ip;

	if (has_vlan_tag(ctx))
		return VERDICT_STACK; /* belongs to a VLAN device above this one */
	make_linear(ctx, HEADERS_LENGTH);
	data = packet_start(ctx);
	end = packet_end(ctx);
	ethernet = data;
	ip = (void *)(ethernet + 1);
	if ((void *)(ethernet + 1) <= end && ethernet->h_proto != bpf_htons(ETH_P_IP))
		return VERDICT_STACK;
	/* Too short for IPv4; or the kernel could not bring it within reach, and nobody would have looked at it. */
	if ((void *)(ip + 1) > end)
		return frame_length(ctx) < ETH_HLEN + sizeof(*ip) ? VERDICT_STACK : DROP(helper_failed);
	__builtin_memcpy(p->source_mac, ethernet->h_source, ETH_ALEN);
	p->outer = *ip;
	if (p->outer.version != 4 || p->outer.ihl < 5 || bpf_ntohs(p->outer.tot_len) < p->outer.ihl * 4 ||
	    bpf_ntohs(p->outer.tot_len) + ETH_HLEN > frame_length(ctx))
		return VERDICT_STACK;
	read_ports(ctx, p, &p->outer, ETH_HLEN);
	return VERDICT_CONTINUE;
}

/* Is this a Mobile IP tunnel packet, whatever its state? UDP port 434 is shared with registrations. */
static __always_inline int is_tunnel(ctx_t *ctx, const struct packet *p)
{
	struct {
		struct udphdr udp;
		__u8 type;
	} __attribute__((packed)) head = {};

	switch (p->outer.protocol) {
	case IPPROTO_IPIP:
	case IPPROTO_GRE:
	case ENCAPSULATION_MINIMAL:
		return 1;
	case IPPROTO_UDP:
		if (is_later_fragment(&p->outer))
			return 0; /* its ports are unknown; without the first one the stack cannot complete it */
		if (bpf_ntohs(p->outer.tot_len) < p->outer.ihl * 4 + sizeof(head))
			return 0;
		if (load_bytes(ctx, ETH_HLEN + p->outer.ihl * 4, &head, sizeof(head)))
			return 1; /* it is there and cannot be read: for parse_tunnel to refuse */
		return head.udp.dest == bpf_htons(MIP_PORT) && head.type == MIP_TUNNEL_DATA;
	default:
		return 0;
	}
}

/* A UDP message from or to the Mobile IP port that is no tunnel data: a registration, for the daemon. */
static __always_inline int is_registration(ctx_t *ctx, const struct packet *p)
{
	__u8 type = 0;

	if (p->outer.protocol != IPPROTO_UDP || !p->has_ports ||
	    (p->inner_ports[0] != bpf_htons(MIP_PORT) && p->inner_ports[1] != bpf_htons(MIP_PORT)))
		return 0;
	if (bpf_ntohs(p->outer.tot_len) < sizeof(struct iphdr) + sizeof(struct udphdr) + 1)
		return 0;
	if (load_bytes(ctx, ETH_HLEN + sizeof(struct iphdr) + sizeof(struct udphdr), &type, sizeof(type)))
		return 0;
	return type == 1 || type == 3;
}

/* The UDP and tunnel headers. Returns the bytes that are left for what is in them, or a drop. */
static __always_inline int parse_udp_tunnel(ctx_t *ctx, struct packet *p)
{
	void *data = packet_start(ctx), *end = packet_end(ctx);
	struct udphdr *udp = data + ETH_HLEN + sizeof(struct iphdr);
	struct mip_tunnel_data *mip = (void *)(udp + 1);
	__u32 length;

	if ((void *)(mip + 1) > end)
		return DROP(truncated);
	length = bpf_ntohs(udp->len);
	if (length < UDP_TUNNEL_OVERHEAD || length > bpf_ntohs(p->outer.tot_len) - sizeof(struct iphdr))
		return DROP(truncated);
	p->tunnel = mip->next_header;
	p->carried = CARRIED_IN_UDP;
	p->source_port = udp->source;
	return length - UDP_TUNNEL_OVERHEAD;
}

#define SUM_STEP 64
#define SUM_STEPS (0x10000 / SUM_STEP)

struct running_sum {
	ctx_t *ctx;
	__u32 at;
	__u32 end;
	__u32 sum;
	__u32 failed;
};

static long sum_step(__u32 index, void *data)
{
	struct running_sum *s = data;
	__be32 words[SUM_STEP / 4] = {};
	__u64 length = s->end - s->at;

	if (!length)
		return 1;
	if (length > SUM_STEP)
		length = SUM_STEP;
	/* 1 to SUM_STEP by a mask: from a comparison with 0 the verifier of 6.1 learns no lower bound. */
	length--;
	barrier_var(length);
	length = (length & (SUM_STEP - 1)) + 1;
	if (load_bytes(s->ctx, s->at, words, length)) {
		s->failed = 1;
		return 1;
	}
	s->sum = bpf_csum_diff(0, 0, words, sizeof(words), s->sum);
	s->at += length;
	return 0;
}

/* Sum over so many bytes of the frame, as of a checksum; negative where they cannot be read. */
GLOBAL_FUNCTION int sum_bytes(ctx_t *ctx, int offset, int length)
{
	struct running_sum s = { .ctx = ctx, .at = offset, .end = offset + length };

	bpf_loop(SUM_STEPS, sum_step, &s, 0);
	return s.failed ? -1 : fold_checksum(s.sum);
}

/* Is the GRE checksum right (RFC 2784 2.5)? It covers the payload as well. Of what was merged it was looked at before. */
static __always_inline int is_gre_intact(ctx_t *ctx, int offset, int length)
{
	return segment_size(ctx) || sum_bytes(ctx, offset, length) == 0xffff;
}

/* GRE (RFC 2784, RFC 2890): the length of its header, or a drop. Sequence numbers are passed over (RFC 2890 2.2). */
static __always_inline int parse_gre(ctx_t *ctx, struct packet *p, int offset, int room)
{
	int length = GRE_ALONE;
	struct gre gre;
	__u16 flags;

	/* Without its optional words it is shorter, but then an IP header follows. */
	if (room < (int)sizeof(gre) || load_bytes(ctx, offset, &gre, sizeof(gre)))
		return DROP(truncated);
	flags = bpf_ntohs(gre.flags);
	if ((flags & (GRE_REFUSED | GRE_VERSION)) || gre.protocol != bpf_htons(ETH_P_IP))
		return DROP(gre_header);
	if (flags & GRE_CHECKSUM) {
		if (!is_gre_intact(ctx, offset, room))
			return DROP(gre_checksum);
		length += sizeof(gre.words[0]);
	}
	if (flags & GRE_KEY) {
		p->gre_key = flags & GRE_CHECKSUM ? gre.words[1] : gre.words[0];
		p->carried |= CARRIED_WITH_KEY;
		length += sizeof(gre.words[0]);
	}
	if (flags & GRE_SEQUENCE)
		length += sizeof(gre.words[0]);
	return length;
}

/* Sum over a minimal forwarding header whose source, if it has none, is zero. */
static __always_inline __u16 sum_minimal(const struct minimal_header *header)
{
	const __u16 *word = (const void *)header;
	__u32 sum = 0;

#pragma unroll
	for (int i = 0; i < MINIMAL_LONG / 2; i++)
		sum += word[i];
	return fold_checksum(sum);
}

/* Minimal forwarding header (RFC 2004 3.1): its length, or a drop. The inner header is the outer one, put right. */
static __always_inline int parse_minimal(ctx_t *ctx, struct packet *p, int offset, int room)
{
	struct minimal_header minimal = {};
	int length = MINIMAL_SHORT;

	if (room < MINIMAL_SHORT || load_bytes(ctx, offset, &minimal, MINIMAL_SHORT))
		return DROP(truncated);
	if (minimal.flags & MINIMAL_SOURCE) {
		if (room < MINIMAL_LONG ||
		    load_bytes(ctx, offset + MINIMAL_SHORT, &minimal.source, sizeof(minimal.source)))
			return DROP(truncated);
		length = MINIMAL_LONG;
	}
	if (sum_minimal(&minimal) != 0xffff)
		return DROP(minimal_checksum);
	p->inner = p->outer;
	p->inner.protocol = minimal.protocol;
	p->inner.daddr = minimal.destination;
	if (minimal.flags & MINIMAL_SOURCE)
		p->inner.saddr = minimal.source;
	p->inner.tot_len = bpf_htons(sizeof(p->inner) + room - length);
	p->inner.check = 0;
	p->inner.check = ~sum_header(&p->inner);
	return length;
}

static __always_inline int parse_inner(ctx_t *ctx, struct packet *p, int offset, int room)
{
	if (room < (int)sizeof(p->inner) || load_bytes(ctx, offset, &p->inner, sizeof(p->inner)))
		return DROP(truncated);
	if (p->inner.version != 4 || p->inner.ihl < 5 || bpf_ntohs(p->inner.tot_len) < p->inner.ihl * 4 ||
	    bpf_ntohs(p->inner.tot_len) > room)
		return DROP(inner_malformed);
	return VERDICT_CONTINUE;
}

/*
 * GRO merges the datagrams of a UDP tunnel where an interface is told to (rx-udp-gro-forwarding): packets with headers of
 * their own in one, which nobody here can part. Merged segments of one packet inside are as long as it says.
 */
static __always_inline int is_merged_datagrams(const ctx_t *ctx, const struct packet *p, int room)
{
	return segment_size(ctx) && (p->carried & CARRIED_IN_UDP) &&
	       (p->tunnel == ENCAPSULATION_MINIMAL || room > bpf_ntohs(p->inner.tot_len));
}

/* Whether the daemon takes what the kernel has put together, and has it decided by the model of these rules. */
static __always_inline int has_slow_path(void)
{
	__u32 key = 0;
	const struct tunnel_policy *policy = bpf_map_lookup_elem(&tunnel_policy, &key);

	return policy && (policy->flags & POLICY_REASSEMBLY);
}

/*
 * Outer header (RFC 2003, RFC 3519 4.3) and inner header of a tunnel packet that is addressed to us. VERDICT_STACK:
 * the daemon's, once it is whole.
 */
GLOBAL_FUNCTION int parse_tunnel(ctx_t *ctx, struct packet *p)
{
	int offset = ETH_HLEN + sizeof(struct iphdr), room, length = 0, verdict;

	if (!p)
		return DROP(truncated);
	if (p->outer.ihl != 5 || is_fragment(&p->outer)) {
		if (has_slow_path())
			return VERDICT_STACK;
		return p->outer.ihl != 5 ? DROP(outer_options) : DROP(outer_fragment);
	}
	if (sum_header(&p->outer) != 0xffff)
		return DROP(outer_checksum);
	p->tunnel = p->outer.protocol;
	room = bpf_ntohs(p->outer.tot_len) - sizeof(struct iphdr);
	if (p->outer.protocol == IPPROTO_UDP) {
		room = parse_udp_tunnel(ctx, p);
		if (room < 0)
			return room;
		offset += UDP_TUNNEL_OVERHEAD;
	}
	if (p->tunnel == ENCAPSULATION_GRE)
		length = parse_gre(ctx, p, offset, room);
	else if (p->tunnel == ENCAPSULATION_MINIMAL)
		length = parse_minimal(ctx, p, offset, room);
	else if (p->tunnel != ENCAPSULATION_IPIP)
		return DROP(unsupported_encapsulation);
	if (length < 0)
		return length;
	offset += length;
	room -= length;
	if (p->tunnel == ENCAPSULATION_MINIMAL) {
		offset -= sizeof(p->inner); /* where it would begin */
	} else {
		verdict = parse_inner(ctx, p, offset, room);
		if (verdict < 0)
			return verdict;
	}
	if (is_merged_datagrams(ctx, p, room))
		return DROP(merged_datagrams);
	if (!p->inner.ttl)
		return DROP(ttl_expired); /* RFC 2003 3.1 */
	p->overhead = offset - ETH_HLEN;
	p->has_ports = 0;
	read_ports(ctx, p, &p->inner, offset);
	return VERDICT_CONTINUE;
}

static __always_inline int is_group(__be32 address)
{
	return (address & bpf_htonl(0xf0000000)) == bpf_htonl(0xe0000000) || address == 0xffffffff;
}

#endif
