/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the tables hold. forwarding/layouts.py says the same to Python; a test compares both field by field.
 * Padding is explicit. Addresses and ports are in network byte order, times are CLOCK_BOOTTIME nanoseconds.
 */
#ifndef MOBILEIP_STRUCTS_H
#define MOBILEIP_STRUCTS_H

#include <linux/types.h>

#define MAX_GATEWAYS 16
#define MAX_CARE_OF 4

/* How a tunnel carries packets: the IP protocol of what is around the inner packet, */
#define ENCAPSULATION_IPIP 4
#define ENCAPSULATION_GRE 47
#define ENCAPSULATION_MINIMAL 55
/* and, in the flags of a tunnel, a visitor or the node's path, what is around or in that. */
#define CARRIED_IN_UDP 0x40	/* MIP tunnel data, RFC 3519 */
#define CARRIED_WITH_KEY 0x80	/* the GRE key of RFC 2890 */

/* Proxy: (VPN gateway, home address), since home addresses may overlap behind different gateways.
 * Home agent: (its own address, home address). */
struct binding_key {
	__be32 gateway;
	__be32 home_address;
};

#define TUNNEL_HALF_BOUND 1

struct tunnel {
	__be32 care_of;		/* where packets for the node are sent */
	__be32 source;		/* where its packets may come from as well: FA-Routed, else equal to care_of */
	__be16 port;		/* the node's UDP port; 0 without UDP, and while half bound with none known from before */
	__u8 encapsulation;
	__u8 flags;
	__be32 gre_key;
	__u64 expires_ns;
};

struct traffic {
	__u64 packets;
	__u64 bytes;
};

/* Its counters live in the entry: the packet's CPU has that memory at hand anyway. Whoever replaces an entry brings
 * them along (forwarding/tables.py). */
struct binding {
	struct traffic from_node;	/* as they came out of, and went into, the node's tunnels */
	struct traffic to_node;
	__be32 home_agent;
	__u8 tunnel_count;
	__u8 home_agent_encapsulation;	/* as asked; on the home agent's side of a proxy there is no UDP */
	__u16 reserved;
	struct tunnel tunnels[MAX_CARE_OF];
};

/* Where packets that claim to be a bound node's have come from, other than its tunnel's end. */
struct stray {
	__be32 address;
	__be16 port;		/* 0 without UDP */
	__u16 reserved;
	__u64 packets;
	__u64 last_ns;
};

struct gateway {
	__be32 public_address;
	__be32 private_address;
};

struct proxy_settings {
	__be32 public_address;
	__be32 private_address;
	__u32 public_ifindex;
	__u32 private_ifindex;
	__u32 gateway_public_ifindex;	/* towards the gateways: as above, or one box's wire for both */
	__u32 gateway_private_ifindex;
	__u32 direct_delivery;		/* a bit for each gateway, by its place below */
	__u32 home_agent_flags;		/* CARRIED_WITH_KEY */
	__be32 home_agent_gre_key;
	__u32 gateway_count;
	struct gateway gateways[MAX_GATEWAYS];
};

/* One entry for each MAC address that a gateway may send from: a cluster has several. */
struct gateway_mac {
	__be32 gateway;
	__u8 mac[6];
	__u8 reserved[2];
};

#define PREFIX_HOME 1
#define PREFIX_MOBILITY 2
#define PREFIX_OTHER_SOURCES 0x10000	/* of the first gateway; of the others the bits above, by their places */

struct prefix {
	__u32 length;
	__be32 address;
};

/*
 * What may travel between nodes and VPN gateways, as bits of 64-bit words in the table `passes`: first a bit for each
 * UDP port, then for each TCP port, then for each IP protocol. Those of UDP and TCP say that some port of theirs is set.
 */
#define PASSES_UDP_PORTS 0
#define PASSES_TCP_PORTS 0x10000
#define PASSES_PROTOCOLS 0x20000
#define PASSES_WORDS ((PASSES_PROTOCOLS + 0x100) / 64)

struct home_agent_settings {
	__be32 address;
	__u32 reserved;
};

struct foreign_agent_settings {
	__be32 care_of;
	__be32 link_address;
	__u32 uplink_ifindex;
	__u32 link_ifindex;
};

#define VISITOR_REVERSE_TUNNEL 1
#define VISITOR_ENCAPSULATING_DELIVERY 2

struct visitor {
	__be32 home_agent;	/* the tunnel's other end: MIPP-Pub for a node that comes through a proxy */
	__be16 port;
	__u8 encapsulation;
	__u8 flags;
	__be32 gre_key;
	__u32 reserved;
	__u64 expires_ns;
};

enum node_mode {
	NODE_BLOCKED = 0,
	NODE_HOME = 1,
	NODE_TUNNEL = 2,
	NODE_FOREIGN_AGENT = 3,
};

#define NODE_ENCAPSULATE_ALL 1
#define NODE_HOME_LINK_ONLY 2	/* at home: nothing leaves on a link that the home network is not on */

struct mobile_node_settings {
	__be32 home_address;
	__be32 care_of;
	__be32 peer;
	__be16 peer_port;
	__be16 local_port;
	__u8 mode;
	__u8 encapsulation;
	__u8 flags;
	__u8 reserved;
	__be32 gre_key;
	__u32 gateway_count;
	__be32 gateways[MAX_GATEWAYS];
};

/* What came in on an interface, by what became of it. */
struct interface_traffic {
	__u32 ifindex;		/* 0: the slot is free */
	__u32 reserved;
	struct traffic forwarded;
	struct traffic dropped;
	struct traffic passed;	/* left to the kernel's stack */
};

/* Samples of what is dropped, for an operator who watches. The watcher puts off `until_ns`; who dies stops sampling. */
struct drop_sampling {
	__u64 interval_ns;	/* between two samples of one reason */
	__u64 until_ns;
};

#define DROP_EVENT_BYTES 128

struct drop_event {
	__u64 time_ns;
	__u32 reason;
	__u32 ifindex;
	__u32 length;		/* of the frame */
	__u32 captured;		/* of it, in `frame` */
	__u8 frame[DROP_EVENT_BYTES];
};

/* Where CLOCK_BOOTTIME's zero lies in Unix time, as the expiries in the tables were reckoned. */
struct epoch {
	__s64 boot_ns;
};

/* What routers have said of the path to a tunnel's end. */
struct path_mtu {
	__u32 mtu;
	__u32 reserved;
	__u64 expires_ns;
};

/* Where packets leave, as the kernel's routes and neighbours said a moment ago (bpf/next_hop.h). */
struct next_hop {
	__be32 destination;
	__be32 source;
	__u32 ifindex;
	__u8 protocol;
	__u8 tos;
	__u8 is_tunnel;
	__u8 hook;		/* the kind of program that asked: each may use other interfaces */
	__u64 until_ns;
	__u16 mtu;		/* 0: this way takes more than an Ethernet header */
	__u8 ethernet[14];	/* the header */
};

/* What a CPU knows since the timer's last tick. */
struct tick {
	__u64 jiffies;
	__u64 now_ns;		/* CLOCK_BOOTTIME at some time since then */
	__be32 gateway;		/* one that sent from `mac`, looked up since then; 0: none yet */
	__u16 mac[3];
	__u16 reserved;
	__u32 asked;		/* for next hops since then, */
	__u32 found;		/* and known ones */
	__u8 is_crowded;	/* more destinations than are worth remembering: each packet asks */
	__u8 padding[3];
};

#define POLICY_SET_DSCP 1		/* the outer header has `dscp`; else the inner one's */
#define POLICY_REASSEMBLY 2		/* fragments of tunnel packets go to the stack, and from there to the daemon */

/* What all tunnels of this host have in common. */
struct tunnel_policy {
	__u32 errors_per_second;	/* ICMP errors to one source; 0: none are sent */
	__u8 flags;
	__u8 dscp;
	__u16 tcp_mss;			/* payload bytes of a segment at most; 0: as the ends agree */
};

#define MAX_LINKS 16
#define LINK_TAKES_FRAMES 1	/* frames may be redirected to it */
#define LINK_TAKES_BUFFERS 2	/* and those of several buffers */
#define LINK_TAGS_KEPT 4	/* the loader turned off that its NIC takes VLAN tags out of frames */
#define LINK_NATIVE 8		/* an XDP program of ours is attached, in the driver */
#define LINK_GENERIC 16		/* or behind it */

/* An interface that the programs sit on. */
struct link {
	__u32 ifindex;		/* 0: no further entries */
	__u16 mac[3];
	__u8 flags;
	__u8 why;		/* of forwarding/xdp.py: why it has an XDP program, or none */
};

struct links {
	struct link entries[MAX_LINKS];
};

/* Which object the pinned programs came from, and which layout the pinned tables have. */
struct object_identity {
	__u8 object[32];
	__u8 layout[32];
};

#endif
