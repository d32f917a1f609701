/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Path MTUs by care-of address, as the daemon learns them from ICMP (RFC 1191). */
#ifndef MOBILEIP_PATH_MTU_H
#define MOBILEIP_PATH_MTU_H

#include "maps.h"

/* What routers have said of the path to a tunnel's end; 0 when they have not, or too long ago. */
static __always_inline __u32 path_mtu(__be32 remote)
{
	const struct path_mtu *known = bpf_map_lookup_elem(&path_mtus, &remote);

	return known && known->expires_ns > bpf_ktime_get_boot_ns() ? known->mtu : 0;
}

#endif
