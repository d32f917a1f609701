/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The programs for tc (clsact): one a role and direction. Parse, decide, finish; the rest is in the headers. */
#include "finish_tc.h"
#include "foreign_agent.h"
#include "generic_xdp.h"
#include "home_agent.h"
#include "mobile_node.h"
#include "proxy.h"
#include "shortcut.h"

#define PROGRAM(name, decide) \
	GLOBAL_FUNCTION int name##_general(ctx_t *ctx) \
	{ \
		struct packet p = {}; \
		struct plan plan = {}; \
		int verdict = parse_ip(ctx, &p); \
\
		if (verdict == VERDICT_CONTINUE) \
			verdict = decide(ctx, &p, &plan); \
		return finish(ctx, &p, &plan, verdict); \
	} \
\
	SEC("tc") \
	int name(ctx_t *ctx) \
	{ \
		int action = SHORTCUT_##name(ctx); \
\
		return action != GENERAL_WAY ? action : name##_general(ctx); \
	}

/* On ingress only what is for this host's MAC address; the rest is here because of a bridge or a capture. */
#define INGRESS_PROGRAM(name, decide) \
	static __always_inline int name##_for_us(ctx_t *ctx, struct packet *p, struct plan *plan) \
	{ \
		return is_for_this_host(ctx) ? decide(ctx, p, plan) : VERDICT_STACK; \
	} \
	PROGRAM(name, name##_for_us)

INGRESS_PROGRAM(proxy_pub, decide_proxy_public)
INGRESS_PROGRAM(proxy_priv, decide_proxy_private)
INGRESS_PROGRAM(ha_core, decide_home_agent)
INGRESS_PROGRAM(ha_home, decide_home_agent)
INGRESS_PROGRAM(fa_uplink, decide_foreign_agent_uplink)
INGRESS_PROGRAM(fa_link, decide_foreign_agent_link)
INGRESS_PROGRAM(mn_ingress, decide_node_ingress)
PROGRAM(mn_egress, decide_node_egress)

/* Before the others, on interfaces with XDP behind the driver. */
SEC("tc")
int restore_ethernet(ctx_t *ctx)
{
	return restore(ctx);
}

char _license[] SEC("license") = "GPL";
