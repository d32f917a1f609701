/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One decision, two hooks: what differs between tc (`struct __sk_buff`) and XDP (`struct xdp_md`). An entry file for
 * XDP defines CONTEXT_XDP first. Both sides offer the same type and the same functions:
 *
 *   ctx_t                            the program's context
 *   packet_start, packet_end         bounds of what may be read and written directly; new ones after each change of room
 *   frame_length                     bytes of the whole frame, Ethernet header included, linear or not
 *   interface_of                     index of the interface that the program sits on
 *   has_vlan_tag                     the frame belongs to a VLAN device above this interface
 *   is_for_this_host                 its destination is this interface's own MAC address
 *   make_linear                      let as much of the frame's head be read directly; a failure shows in bounds checks
 *   load_bytes                       copy from an offset; not 0 when the frame ends before
 *   segment_size                     payload bytes of each segment that GRO merged into this frame; 0: it is one packet
 *   trim                             cut the frame's end off; not 0 on failure
 *   open_room, close_room            bytes before the IP header; not 0 on failure. What they are for (ENCAPSULATION_*, and
 *                                    whether in UDP) tells tc how to cut a merged packet; `is_again`: it came out of such
 *   takes_frames                     a frame may be redirected to this interface
 *   simple_length                    frame_length of a frame that is one packet in one piece; else 0
 *   HOOK, ACTION_DROP, ACTION_REDIRECT   the kind of program, and what it returns
 *   GOES_ON_AFTER_ASKING             whether the packet that asks for its next hop may use the answer itself
 *   copy_index                       which care-of address this frame is a copy for; -1: it is no copy
 */
#ifndef MOBILEIP_CONTEXT_H
#define MOBILEIP_CONTEXT_H

#ifdef CONTEXT_XDP
#include "context_xdp.h"
#else
#include "context_tc.h"
#endif

#endif
