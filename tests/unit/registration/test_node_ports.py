"""One NAT mapping for all that a node sends (RFC 3519): registrations, tunnel data and keepalives from one port."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

from scapy.all import IP, UDP, Ether

from mobileip.forwarding.entries import Encapsulation, NodeMode, NodePath
from mobileip.registration.actions import Action, Send, SetPath
from mobileip.registration.mobile_node import MobileNode
from mobileip.wire.messages import MessageType
from mobileip.wire.typed_extensions import UdpTunnelReply
from tests.unit.forwarding.test_rules import VPNGW_PUB, decide, ether, inner_esp, tables
from tests.unit.registration.node import AT_OPEN, HOME, MIPP_PUB, NOW, OPEN, PARAMETER, SETTINGS, answer


def sent(actions: list[Action], kind: MessageType) -> Send:
    (send,) = [action for action in actions if isinstance(action, Send) and action.payload[0] == kind]
    return send


def test_requests_tunnel_data_and_keepalives_have_one_source_port_R3519_4_4_b() -> None:
    node = MobileNode(SETTINGS)
    asked = node.feed(AT_OPEN, NOW)
    tunnel = UdpTunnelReply(0, keepalive=30).extension()
    bound = node.feed(answer(asked, extensions=(PARAMETER, tunnel)), NOW + 0.1)
    (path,) = [action.path for action in bound if isinstance(action, SetPath)]
    request, keepalive = sent(asked, MessageType.REQUEST), sent(node.handle_timer(NOW + 30.1), MessageType.TUNNEL_DATA)
    assert path.peer is not None
    travels = NodePath(
        HOME, NodeMode.TUNNEL, OPEN, path.peer, Encapsulation.UDP, path.port, gateways=(IPv4Address(VPNGW_PUB),)
    )
    verdict = decide(ether(inner_esp()), replace(tables(), mobile_node=travels), "mn_egress")
    data = Ether(verdict.frame)
    assert request.source == keepalive.source == (OPEN, data[UDP].sport)
    assert request.destination == keepalive.destination == (MIPP_PUB, data[UDP].dport)
    assert (data[IP].src, data[IP].dst, bytes(data[UDP].payload)[:2]) == (str(OPEN), str(MIPP_PUB), b"\x04\x04")
