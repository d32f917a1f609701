/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The tables. All are pinned by the loader and outlive the daemon; each role uses the few that it needs. */
#ifndef MOBILEIP_MAPS_H
#define MOBILEIP_MAPS_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "reasons.h"
#include "structs.h"

#define INTERFACE_SLOTS 64
#define PATH_MTUS 4096
#define ERROR_SLOTS 256
#define NEXT_HOP_BITS 12
#define NEXT_HOP_NS 20000000	/* no packet goes a way that has changed for longer */

#define ONE_ENTRY(map, type_of_value) \
	struct { \
		__uint(type, BPF_MAP_TYPE_ARRAY); \
		__uint(max_entries, 1); \
		__type(key, __u32); \
		__type(value, type_of_value); \
	} map SEC(".maps")

ONE_ENTRY(proxy_settings, struct proxy_settings);
ONE_ENTRY(home_agent_settings, struct home_agent_settings);
ONE_ENTRY(foreign_agent_settings, struct foreign_agent_settings);
ONE_ENTRY(links, struct links);
ONE_ENTRY(object_identity, struct object_identity);
ONE_ENTRY(epoch, struct epoch);
ONE_ENTRY(drop_sampling, struct drop_sampling);

ONE_ENTRY(tunnel_policy, struct tunnel_policy);

/* A hash, because its update replaces the whole entry at once: no packet may see half of an old path. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct mobile_node_settings);
} mobile_node_settings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1 << 20);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct binding_key);
	__type(value, struct binding);
} bindings SEC(".maps");

/* Few, and whoever forges packets may have them all: what is pushed out was only ever a hint. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct binding_key);
	__type(value, struct stray);
} strays SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct gateway_mac);
	__type(value, __u32);
} gateway_macs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix);
	__type(value, __u32);
} prefixes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PASSES_WORDS);
	__type(key, __u32);
	__type(value, __u64);
} passes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1 << 16);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __be32);
	__type(value, struct visitor);
} visitors SEC(".maps");

/* By the tunnel's end. The daemon writes it and throws out what is old. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PATH_MTUS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __be32);
	__type(value, struct path_mtu);
} path_mtus SEC(".maps");

/* When the next ICMP error may be sent to the sources of each slot, and when it would have been its turn. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, ERROR_SLOTS);
	__type(key, __u32);
	__type(value, __u64);
} error_turns SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1 << NEXT_HOP_BITS);
	__type(key, __u32);
	__type(value, struct next_hop);
} next_hops SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tick);
} ticks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, REASON_SLOTS);
	__type(key, __u32);
	__type(value, __u64);
} drops SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, OUTCOME_SLOTS);
	__type(key, __u32);
	__type(value, struct traffic);
} outcomes SEC(".maps");

/* Found by ifindex with open addressing: see count.h. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, INTERFACE_SLOTS);
	__type(key, __u32);
	__type(value, struct interface_traffic);
} interfaces SEC(".maps");

/* When the next drop of a reason may be sampled. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, REASON_SLOTS);
	__type(key, __u32);
	__type(value, __u64);
} drop_sampled SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
} drop_events SEC(".maps");

#endif
