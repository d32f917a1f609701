"""The proxy in front of a home agent that is not ours, as such ones were seen to answer.

It knows keyed MD5 only, drops what it cannot skip, refuses reserved bits and padding, grants 600 s at most, takes no
Identification twice, and authenticates none of its denials but 133.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import IPv4Address

import pytest

from mobileip.registration.actions import Send
from mobileip.registration.home_agent_replies import HomeAgentReplies
from mobileip.registration.proxy import Proxy
from mobileip.wire.authentication import Algorithm, Authentication, SecurityAssociation, append, verify
from mobileip.wire.extensions import Extension, ExtensionType
from mobileip.wire.identification import distance, from_unix, low, resynchronising
from mobileip.wire.messages import Flag, RegistrationReply, RegistrationRequest, parse_reply, parse_request
from mobileip.wire.typed_extensions import Nai, UdpTunnelRequest
from tests.unit.registration.parties import (
    CARE_OF,
    HOME,
    HOME_AGENT,
    NOW,
    PARAMETER,
    PROXY,
    REQUEST,
    at,
    from_home_agent,
    from_node,
    sends,
)

KEYED_MD5 = SecurityAssociation(3001, bytes(range(48, 64)), Algorithm.MD5_PREFIX_SUFFIX)
RESERVED_BITS = 0x05
MOST = 600  # seconds it grants
TOLERANCE = 300 << 32  # seconds that clocks may differ, as an Identification counts them


@dataclass
class Stranger:
    """That home agent. It answers the bytes of a request with the bytes of a reply, or with nothing."""

    last: int | None = None

    def answer(self, payload: bytes, now: float) -> bytes | None:
        """As measured, in the order of its checks."""
        request = parse_request(payload)
        if any(0 < one.type < 128 and one.type != ExtensionType.MN_HA_AUTHENTICATION for one in request.extensions):
            return None
        if any(one.type == ExtensionType.PAD for one in request.extensions) or request.flags & RESERVED_BITS:
            return self._bare(request, 134)
        if request.home_agent != HOME_AGENT:
            return self._bare(request, 136)
        if request.home_address != HOME:
            return self._bare(request, 129)
        (authentication,) = (one for one in request.extensions if one.type == ExtensionType.MN_HA_AUTHENTICATION)
        if not verify(payload, Authentication.of(authentication), KEYED_MD5):
            return self._bare(request, 131)
        far = abs(distance(request.identification, from_unix(now))) > TOLERANCE
        used = self.last is not None and distance(request.identification, self.last) <= 0
        if far or used:
            return self._signed(request, 133, 0, resynchronising(request.identification, now))
        self.last = request.identification
        code = 1 if request.simultaneous else 0
        return self._signed(request, code, min(request.lifetime, MOST), request.identification)

    @staticmethod
    def _bare(request: RegistrationRequest, code: int) -> bytes:
        return RegistrationReply(code, 0, request.home_address, HOME_AGENT, request.identification).serialize()

    @staticmethod
    def _signed(request: RegistrationRequest, code: int, lifetime: int, identification: int) -> bytes:
        reply = RegistrationReply(code, lifetime, request.home_address, HOME_AGENT, identification)
        return append(reply.serialize(), KEYED_MD5)


def proxy_for(association: SecurityAssociation = KEYED_MD5, replies: HomeAgentReplies | None = None) -> Proxy:
    """A proxy that shares `association` with the home agent."""
    (node,) = PROXY.nodes
    return Proxy(
        replace(
            PROXY,
            nodes=(replace(node, home_agent_association=association),),
            replies=replies or HomeAgentReplies(),
        )
    )


def register(
    proxy: Proxy, stranger: Stranger, request: RegistrationRequest, now: float, source: IPv4Address = CARE_OF
) -> list[Send]:
    """What reaches the node."""
    (relayed,) = sends(proxy.feed(from_node(request, source), now))
    answer = stranger.answer(relayed.payload, now)
    return [] if answer is None else sends(proxy.feed(from_home_agent(answer), now + 0.1))


@pytest.mark.parametrize(
    "request_",
    [
        REQUEST,
        replace(REQUEST, flags=REQUEST.flags | Flag.SIMULTANEOUS),
        replace(REQUEST, flags=REQUEST.flags | Flag.BROADCAST),
        replace(REQUEST, flags=REQUEST.flags | 0x05),
        replace(REQUEST, lifetime=0xFFFF),
        replace(REQUEST, extensions=(Extension(0), PARAMETER, Extension(0))),
        replace(REQUEST, extensions=(PARAMETER, UdpTunnelRequest().extension())),
        replace(REQUEST, extensions=(PARAMETER, Extension(199, b"?"), Extension(137, bytes(6)))),
    ],
)
def test_what_the_proxy_makes_of_a_request_suits_a_home_agent_of_the_rfcs_alone_D_2_2_c_and_D_2_2_3_a(
    request_: RegistrationRequest,
) -> None:
    proxy = proxy_for()
    (send,) = register(proxy, Stranger(), request_, NOW)
    reply = parse_reply(send.payload)
    assert reply.code in (0, 1)
    assert reply.lifetime <= min(request_.lifetime, MOST)
    assert [binding.home_address for binding in proxy.bindings] == [HOME]


def test_registering_renewing_and_giving_up_twice_D_2_2_c() -> None:
    proxy, stranger = proxy_for(), Stranger()
    lifetimes = (600, 600, 0, 0)
    for number, lifetime in enumerate(lifetimes):
        moment = NOW + 1.125 * number
        request = replace(REQUEST, lifetime=lifetime, care_of_address=CARE_OF, identification=at(moment))
        (send,) = register(proxy, stranger, request, moment)
        assert (parse_reply(send.payload).code, parse_reply(send.payload).lifetime) == (0, lifetime)
        assert len(proxy.bindings) == (1 if lifetime else 0)


def test_another_algorithm_than_the_home_agents_is_its_bare_131_and_nothing_by_default_R5944_5_1_d() -> None:
    other = replace(KEYED_MD5, algorithm=Algorithm.HMAC_MD5)
    assert register(proxy_for(other), Stranger(), REQUEST, NOW) == []
    hinting = proxy_for(other, HomeAgentReplies(relay_unauthenticated_denials=True))
    (send,) = register(hinting, Stranger(), REQUEST, NOW)
    assert parse_reply(send.payload).code == 131
    assert hinting.bindings == ()


def test_its_133_has_its_clock_and_reaches_the_node_AMB_6() -> None:
    proxy, stranger = proxy_for(), Stranger(last=at(NOW + 290))  # a node once had its clock ahead
    (send,) = register(proxy, stranger, REQUEST, NOW)
    reply = parse_reply(send.payload)
    assert (reply.code, low(reply.identification)) == (133, low(REQUEST.identification))
    assert reply.identification == resynchronising(REQUEST.identification, NOW)
    assert proxy.bindings == ()


def test_nai_goes_to_it_and_is_asked_back_of_it_AMB_12() -> None:
    """It skips the NAI: a reply without one is no registration of a node that sent one."""
    request = replace(REQUEST, extensions=(Nai(b"mn@home.example").extension(), PARAMETER))
    (send,) = register(proxy_for(), Stranger(), request, NOW)
    assert parse_reply(send.payload).code == 203
