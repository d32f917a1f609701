/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Counters, one slot a CPU; readers sum them. Each packet is counted once, at the one exit of its program. */
#ifndef MOBILEIP_COUNT_H
#define MOBILEIP_COUNT_H

#include "maps.h"

static __always_inline void count_drop(__u32 reason)
{
	__u64 *packets = bpf_map_lookup_elem(&drops, &reason);

	if (packets)
		*packets += 1;
}

static __always_inline void count_outcome(__u32 outcome, __u32 bytes)
{
	struct traffic *traffic = bpf_map_lookup_elem(&outcomes, &outcome);

	if (!traffic)
		return;
	traffic->packets += 1;
	traffic->bytes += bytes;
}

#endif
