/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the data path is measured with and against. Each frame is written anew from one shape, for a binding chosen at
 * random: BPF_PROG_TEST_RUN does not restore what the run before has changed, and live frames come back used.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define HEADERS 96		/* written whole, however much of them is payload */
#define AT_MASK 126		/* of an offset into the frame; 112 is payload: for a slot that a shape does not need */
#define ADDRESSES 2
#define CHECKSUMS 3
#define IPV4_FAMILY 2

/* The frame of binding 0, and what is added to it for another one: to addresses, and to the checksums over them. */
struct shape {
	__u32 frame_length;
	__u32 bindings;
	__u32 ifindex;			/* generator: where to send */
	__u32 arrived_length;		/* sink: of the frames that count */
	__u32 address_at[ADDRESSES];
	__u32 checksum_at[CHECKSUMS];
	__u32 reserved;
	__u64 headers[HEADERS / 8];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct shape);
} shapes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} measured SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} arrived SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);		/* set when it is loaded */
	__type(key, __u64);
	__type(value, __u64);
} bare SEC(".maps");

static __always_inline int write_frame(struct xdp_md *ctx, const struct shape *shape)
{
	__u32 index = ((__u64)bpf_get_prandom_u32() * shape->bindings) >> 32;
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__be32 add = bpf_htonl(index);
	__u64 *words = data;

	if (data + HEADERS > end)
		return -1;
#pragma unroll
	for (int i = 0; i < HEADERS / 8; i++)
		words[i] = shape->headers[i];
#pragma unroll
	for (int i = 0; i < ADDRESSES; i++) {
		__be32 *address = data + (shape->address_at[i] & AT_MASK);

		if ((void *)(address + 1) > end)
			return -1;
		*address += add; /* no byte of a base overflows */
	}
#pragma unroll
	for (int i = 0; i < CHECKSUMS; i++) {
		__u16 *checksum = data + (shape->checksum_at[i] & AT_MASK);
		__u32 sum;

		if ((void *)(checksum + 1) > end)
			return -1;
		sum = (__u16)~*checksum + (add & 0xffff) + (add >> 16);
		sum = (sum & 0xffff) + (sum >> 16);
		*checksum = ~((sum & 0xffff) + (sum >> 16));
	}
	return 0;
}

/* Restores packet and head, then runs what is measured. The head is moved each time, by 0 bytes or more. */
SEC("xdp.frags")
int restore(struct xdp_md *ctx)
{
	__u32 key = 0, length = ctx->data_end - ctx->data;
	const struct shape *shape = bpf_map_lookup_elem(&shapes, &key);

	if (!shape || bpf_xdp_adjust_head(ctx, (int)length - (int)shape->frame_length) || write_frame(ctx, shape))
		return XDP_ABORTED;
	bpf_tail_call(ctx, &measured, 0);
	return XDP_ABORTED;
}

SEC("xdp.frags")
int empty(struct xdp_md *ctx)
{
	return XDP_DROP;
}

/* The yardstick: what any router by XDP has to do, and nothing else. */
SEC("xdp.frags")
int fib_forward(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *ethernet = data;
	struct iphdr *ip = (void *)(ethernet + 1);
	struct bpf_fib_lookup fib = {};
	__u32 checksum;

	if ((void *)(ip + 1) > end || ethernet->h_proto != bpf_htons(ETH_P_IP) || ip->ttl <= 1)
		return XDP_PASS;
	fib.family = IPV4_FAMILY;
	fib.tos = ip->tos;
	fib.l4_protocol = ip->protocol;
	fib.tot_len = bpf_ntohs(ip->tot_len);
	fib.ipv4_src = ip->saddr;
	fib.ipv4_dst = ip->daddr;
	fib.ifindex = ctx->ingress_ifindex;
	if (bpf_fib_lookup(ctx, &fib, sizeof(fib), 0) != BPF_FIB_LKUP_RET_SUCCESS)
		return XDP_PASS;
	checksum = ip->check + bpf_htons(0x0100);
	ip->check = checksum + (checksum >= 0xffff);
	ip->ttl--;
	__builtin_memcpy(ethernet->h_dest, fib.dmac, ETH_ALEN);
	__builtin_memcpy(ethernet->h_source, fib.smac, ETH_ALEN);
	return bpf_redirect(fib.ifindex, 0);
}

/* The yardstick of a table's size: find the destination of a plain packet in a hash, and read what is there. */
SEC("xdp.frags")
int bare_lookup(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct iphdr *ip = data + ETH_HLEN;
	__u64 key, *value;

	if ((void *)(ip + 1) > end)
		return XDP_ABORTED;
	key = ip->daddr;
	value = bpf_map_lookup_elem(&bare, &key);
	return value && *value == key ? XDP_DROP : XDP_ABORTED;
}

/* Run with live frames: a packet generator that costs little beside what it measures. */
SEC("xdp")
int generate(struct xdp_md *ctx)
{
	__u32 key = 0;
	const struct shape *shape = bpf_map_lookup_elem(&shapes, &key);

	if (!shape || write_frame(ctx, shape))
		return XDP_ABORTED;
	return bpf_redirect(shape->ifindex, 0);
}

/* At the end of the way: counts what looks as it should, and drops all. */
static __always_inline void count(__u32 length)
{
	__u32 key = 0;
	const struct shape *shape = bpf_map_lookup_elem(&shapes, &key);
	__u64 *packets = bpf_map_lookup_elem(&arrived, &key);

	if (shape && packets && length == shape->arrived_length)
		*packets += 1;
}

SEC("xdp")
int sink_xdp(struct xdp_md *ctx)
{
	count(ctx->data_end - ctx->data);
	return XDP_DROP;
}

/* For what comes as a socket buffer: before XDP the kernel would copy one that has grown by a tunnel's header. */
SEC("tc")
int sink_tc(struct __sk_buff *skb)
{
	count(skb->len);
	return TC_ACT_SHOT;
}

char _license[] SEC("license") = "GPL";
