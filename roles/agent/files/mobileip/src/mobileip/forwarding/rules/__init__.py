"""What becomes of a packet: the model that the programs in `bpf/` are held to, byte by byte.

`decide` takes an Ethernet frame as an interface saw it and the contents of the tables, and says what happens. It is
written from the rules, one function a row of the table, not from the C: a property test feeds both the same frames.

How it reads: a rule that fails raises `Drop` with the name of its reason (bpf/reasons.h); `Stack` leaves the frame
to the host's own stack. Whatever comes to an end is a `Verdict`.
"""

from __future__ import annotations

from ipaddress import IPv4Address

from mobileip.forwarding.rules.foreign_agent import foreign_agent_link, foreign_agent_uplink
from mobileip.forwarding.rules.headers import ETHERNET, checksum
from mobileip.forwarding.rules.home_agent import home_agent_packet
from mobileip.forwarding.rules.mobile_node import node_egress, node_ingress
from mobileip.forwarding.rules.mss import clamp_mss
from mobileip.forwarding.rules.packet import COPY_MARK, Drop, Expired, Packet, Stack, TooLong
from mobileip.forwarding.rules.parse import receive
from mobileip.forwarding.rules.proxy import proxy_private, proxy_public
from mobileip.forwarding.rules.too_long import answer_expired, answer_too_long
from mobileip.forwarding.rules.tunnel import overhead
from mobileip.forwarding.rules.verdict import Action, Bound, Key, Link, Snapshot, Verdict

__all__ = [
    "COPY_MARK",
    "ETHERNET",
    "Action",
    "Bound",
    "Key",
    "Link",
    "Snapshot",
    "Verdict",
    "checksum",
    "decide",
    "overhead",
]

# Found when all is decided, and the copies for other care-of addresses are on their way.
_AFTER_COPIES = ("no_route", "too_big", "unfit_for_minimal", "merged_segments")


def decide(
    program: str,
    frame: bytes,
    tables: Snapshot,
    now: float,
    *,
    ifindex: int,
    mark: int = 0,
    segment: int = 0,
    decrypted_from: IPv4Address | None = None,
) -> Verdict:
    """What becomes of `frame`, seen by `program` on the interface `ifindex` at Unix time `now`.

    `segment`: payload bytes of each of the segments that GRO merged into it; 0: it is one packet.
    `decrypted_from`: source of the tunnel by which the kernel's own ESP has brought it; None: it came in as it is.
    """
    rules = {
        "proxy_pub": proxy_public,
        "proxy_priv": proxy_private,
        "ha_core": home_agent_packet,
        "ha_home": home_agent_packet,
        "fa_uplink": foreign_agent_uplink,
        "fa_link": foreign_agent_link,
        "mn_ingress": node_ingress,
        "mn_egress": node_egress,
    }
    is_copy = mark & 0xFFFFFF00 == COPY_MARK
    packet: Packet | None = None
    try:
        packet = receive(program, frame, tables, now, ifindex, mark)
        packet.segment = segment
        packet.decrypted_from = decrypted_from
        try:
            rules[program](packet)
            if packet.tunnel is not None and packet.outcome != "keepalive_answered":
                clamp_mss(packet)
        except TooLong as too_long:
            answer_too_long(packet, too_long.most)
        except Expired:
            answer_expired(packet)
    except Stack:
        if is_copy:
            return Verdict(Action.DROP, "helper_failed")
        return Verdict(Action.STACK, frame=frame)
    except Drop as drop:
        if packet is None:
            return Verdict(Action.DROP, drop.reason)
        copies = packet.copies if drop.reason in _AFTER_COPIES else ()
        return Verdict(Action.DROP, drop.reason, copies=copies, learnt=packet.learnt, stray=drop.stray)
    action = Action.REDIRECT if packet.redirect else Action.CHANGED
    return Verdict(
        action,
        outcome=packet.outcome,
        frame=packet.frame,
        ifindex=packet.out,
        next_hop=packet.next_hop,
        copies=packet.copies,
        front=packet.front,
        mark=packet.mark if packet.front else 0,
        learnt=packet.learnt,
    )
