/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Why a packet was dropped, and what became of the others. This file is the only source of these names: Python
 * reads the two lists below (forwarding/reasons.py). Numbers are an interface: append, never renumber, never reuse.
 *
 * Numbers 10 to 17 are ordered: where several care-of addresses or bindings were tried, the highest number among
 * their refusals is reported, so it must belong to the closest miss.
 */
#ifndef MOBILEIP_REASONS_H
#define MOBILEIP_REASONS_H

#define DROP_REASONS(REASON) \
	REASON(1, truncated, "a header of the tunnel is cut short") \
	REASON(2, not_configured, "the program is attached, but its settings were never written") \
	REASON(3, outer_checksum, "wrong checksum of the outer IP header") \
	REASON(4, outer_options, "IP options in the outer header of a tunnel packet, or in a packet of the gateway") \
	REASON(5, outer_fragment, "a fragment of a tunnel packet") \
	REASON(6, unsupported_encapsulation, "MIP-UDP with another next header than 4, 47 and 55") \
	REASON(7, inner_malformed, "the inner packet is not IPv4, or its lengths contradict the outer ones") \
	REASON(8, inner_options, "IP options in an inner packet whose protocol has to be checked") \
	REASON(9, unknown_gateway, "the inner address is none of the configured VPN gateways") \
	REASON(10, no_binding, "no binding for this home address") \
	REASON(11, binding_expired, "the binding's lifetime is over") \
	REASON(12, care_of_mismatch, "the tunnel's other end is not the one that registered") \
	REASON(13, encapsulation_mismatch, "not the encapsulation that was negotiated") \
	REASON(14, port_mismatch, "not the UDP port that registered") \
	REASON(15, half_bound, "no keepalive has shown the UDP port yet (RFC 3519 4.5)") \
	REASON(16, gre_key, "not the GRE key that is configured, or one where none is (RFC 2890)") \
	REASON(17, home_agent_mismatch, "tunnelled by another home agent than the binding's") \
	REASON(18, inner_protocol, "not on the list of what passes to and from gateways; or no echo request to the agent") \
	REASON(19, gateway_mac, "the sender's MAC address is none of the gateway's") \
	REASON(20, no_sa_at_gateway, "clear packet for a registered node: the gateway has no SA for it") \
	REASON(21, not_mobility_subnet, "clear packet of a node for a destination outside the mobility subnets") \
	REASON(22, ttl_expired, "TTL used up, and nobody could be told") \
	REASON(23, ecn, "outer header marked congestion experienced, inner is not ECN capable (RFC 6040 4.2)") \
	REASON(24, too_big, "longer than the way to the tunnel's end allows once encapsulated, and nobody could be told") \
	REASON(25, tunnel_loop, "source is an end of the tunnel that the packet would enter (RFC 2003 3.2)") \
	REASON(26, wrong_interface, "a tunnel packet for the address of the other interface") \
	REASON(27, clear_outside, "clear packet from or to the home address outside the home network") \
	REASON(28, no_route, "no route to the care-of address") \
	REASON(29, inner_destination, "the inner destination is not served through this tunnel") \
	REASON(30, helper_failed, "the kernel could not change or redirect the packet") \
	REASON(31, group_through_agent, "broadcast or multicast of a node, directly to its foreign agent (RFC 3024 5.2)") \
	REASON(32, gre_header, "GRE with a flag, version or protocol type that is not served (RFC 2784 2.3)") \
	REASON(33, gre_checksum, "wrong GRE checksum") \
	REASON(34, minimal_checksum, "wrong checksum of the minimal forwarding header") \
	REASON(35, unfit_for_minimal, "a fragment, options, or merged segments for a UDP tunnel with next header 55 (RFC 2004 3)") \
	REASON(36, merged_segments, "segments that GRO merged, out of a tunnel of one kind into one of another") \
	REASON(37, merged_datagrams, "UDP tunnel packets that GRO merged: ethtool -K INTERFACE rx-udp-gro-forwarding off rx-gro-list off")

#define OUTCOMES(OUTCOME) \
	OUTCOME(1, node_to_gateway, "proxy: decapsulated, to the VPN gateway's public side") \
	OUTCOME(2, keepalive_answered, "echo request in MIP-UDP answered in the kernel (RFC 3519 4.9)") \
	OUTCOME(3, home_agent_to_gateway, "proxy: decapsulated, to the VPN gateway's private side") \
	OUTCOME(4, gateway_to_node, "proxy: encapsulated to the care-of address") \
	OUTCOME(5, gateway_to_home_agent, "proxy: clear packet for a mobility subnet, tunnelled to the home agent") \
	OUTCOME(6, gateway_to_subnet, "proxy: clear packet for a mobility subnet, delivered directly") \
	OUTCOME(7, home_agent_to_node, "home agent: encapsulated to the care-of address") \
	OUTCOME(8, node_to_home_agent, "home agent: decapsulated, to the stack") \
	OUTCOME(9, node_to_node, "home agent: from one node's tunnel into another's") \
	OUTCOME(10, foreign_agent_to_visitor, "foreign agent: decapsulated, to the visitor") \
	OUTCOME(11, visitor_to_home_agent, "foreign agent: encapsulated to the visitor's home agent") \
	OUTCOME(12, tunnel_to_stack, "mobile node: decapsulated, to the stack") \
	OUTCOME(13, stack_to_tunnel, "mobile node: encapsulated to the proxy or home agent") \
	OUTCOME(14, too_big_answered, "too long for the way: answered with ICMP fragmentation needed (RFC 2003 5.1)") \
	OUTCOME(15, cut_in_two, "too long for the way, and may be cut: two fragments that come in anew") \
	OUTCOME(16, other_source_to_subnet, "proxy: another VPN user's packet for a mobility subnet, delivered directly") \
	OUTCOME(17, probe_answered, "proxy: a node's answer to a probe of its path, to the stack") \
	OUTCOME(18, ttl_expired_answered, "TTL used up: answered with ICMP time exceeded (RFC 1812 5.3.1, RFC 2003 3.1)")

enum drop_reason {
#define REASON(number, name, text) DROP_##name = number,
	DROP_REASONS(REASON)
#undef REASON
};

enum outcome {
#define OUTCOME(number, name, text) OUTCOME_##name = number,
	OUTCOMES(OUTCOME)
#undef OUTCOME
};

#define REASON_SLOTS 64
#define OUTCOME_SLOTS 32

#endif
