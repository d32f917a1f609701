/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The programs for XDP, the fast path on ingress: the same decision as tc.bpf.c, for what needs no copy. A frame that
 * they pass is looked at by tc's programs as if they were not there.
 */
#define CONTEXT_XDP

#include "finish_xdp.h"
#include "foreign_agent.h"
#include "home_agent.h"
#include "proxy.h"
#include "shortcut.h"

/* Headers that a NIC has put into a frame's second buffer are out of reach here. */
static __always_inline int has_headers(ctx_t *ctx)
{
	return packet_start(ctx) + HEADERS_LENGTH <= packet_end(ctx) || frame_length(ctx) < HEADERS_LENGTH;
}

#define PROGRAM(name, decide) \
	GLOBAL_FUNCTION int name##_general(ctx_t *ctx) \
	{ \
		struct packet p = {}; \
		struct plan plan = {}; \
		int verdict; \
\
		if (!is_for_this_host(ctx) || !has_headers(ctx)) \
			return XDP_PASS; \
		verdict = parse_ip(ctx, &p); \
		if (verdict == VERDICT_CONTINUE) \
			verdict = decide(ctx, &p, &plan); \
		return finish(ctx, &p, &plan, verdict); \
	} \
\
	SEC("xdp.frags") \
	int name(ctx_t *ctx) \
	{ \
		int action = SHORTCUT_##name(ctx); \
\
		return action != GENERAL_WAY ? action : name##_general(ctx); \
	}

PROGRAM(proxy_pub, decide_proxy_public)
PROGRAM(proxy_priv, decide_proxy_private)
PROGRAM(ha_core, decide_home_agent)
PROGRAM(ha_home, decide_home_agent)
PROGRAM(fa_uplink, decide_foreign_agent_uplink)
PROGRAM(fa_link, decide_foreign_agent_link)

char _license[] SEC("license") = "GPL";
