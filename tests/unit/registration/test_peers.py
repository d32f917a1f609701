"""Which node a request is from: by home address, by NAI, and by the key where one name means several."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from mobileip.registration.actions import Count, PersistIdentification
from mobileip.registration.bindings import NodeKey
from mobileip.registration.gate import Admitted, Gate, GateSettings
from mobileip.registration.peers import Peer, Peers, nai_of
from mobileip.registration.replay import ReplayGuard, ReplayPolicy
from mobileip.wire.authentication import SecurityAssociation
from mobileip.wire.extensions import Extension, ExtensionType
from mobileip.wire.messages import RegistrationRequest, parse_request
from mobileip.wire.typed_extensions import Nai
from tests.unit.registration.parties import (
    GATEWAY,
    HOME,
    MIPP_PUB,
    NODE_SA,
    NOW,
    REQUEST,
    STRANGER_SA,
    from_node,
    signed,
)

OTHER_GATEWAY = IPv4Address("203.0.113.21")
OTHER_SA = SecurityAssociation(NODE_SA.spi, bytes(range(64, 80)))
NAI = "mn2@home.example"
NAI_SA = SecurityAssociation(2002, bytes(range(80, 96)))

ADDRESSED = Peer(NodeKey(GATEWAY, HOME), {NODE_SA.spi: NODE_SA}, nai="mn@home.example")
BEHIND_THE_OTHER = Peer(NodeKey(OTHER_GATEWAY, HOME), {OTHER_SA.spi: OTHER_SA})
NAMED = Peer(NodeKey(GATEWAY, NAI), {NAI_SA.spi: NAI_SA})


def gate(*peers: Peer) -> Gate:
    return Gate(GateSettings(MIPP_PUB, Peers(peers), frozenset({32})), ReplayGuard(ReplayPolicy()))


def without_address(nai: str) -> RegistrationRequest:
    return replace(REQUEST, home_address=IPv4Address(0), extensions=(Nai(nai.encode()).extension(),))


@pytest.mark.parametrize(
    ("request_", "association", "peer"),
    [
        (replace(REQUEST, extensions=()), NODE_SA, ADDRESSED),
        (replace(REQUEST, extensions=()), OTHER_SA, BEHIND_THE_OTHER),
        (without_address(NAI), NAI_SA, NAMED),
        (without_address("mn@home.example"), NODE_SA, ADDRESSED),
        # A node whose address was assigned renews with that address: the NAI still says who it is.
        (replace(without_address(NAI), home_address=IPv4Address("192.0.2.75")), NAI_SA, NAMED),
    ],
)
def test_node_is_found_by_home_address_or_nai_and_told_apart_by_its_key(
    request_: RegistrationRequest, association: SecurityAssociation, peer: Peer
) -> None:
    admitted = gate(ADDRESSED, BEHIND_THE_OTHER, NAMED).admit(from_node(signed(request_, association)), NOW)
    assert isinstance(admitted, Admitted)
    assert admitted.peer is peer
    identification = PersistIdentification(peer.key, association.spi, request_.identification)
    assert admitted.actions == [identification]


def test_each_of_two_nodes_with_one_home_address_has_its_own_timestamps() -> None:
    both = gate(ADDRESSED, BEHIND_THE_OTHER)
    request = replace(REQUEST, extensions=())
    assert isinstance(both.admit(from_node(signed(request, NODE_SA)), NOW), Admitted)
    assert isinstance(both.admit(from_node(signed(request, OTHER_SA)), NOW), Admitted)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (signed(without_address("nobody@home.example"), NAI_SA), "zero_home_address"),
        (signed(replace(without_address(NAI), extensions=()), NAI_SA), "zero_home_address"),
        (signed(without_address(NAI), NODE_SA), "unknown_spi"),
        (signed(replace(REQUEST, extensions=()), STRANGER_SA), "authentication_failed"),
    ],
)
def test_whoever_is_nobody_we_know_gets_no_answer_D_2_6_3_d_and_D_2_6_3_e(payload: bytes, reason: str) -> None:
    actions = gate(ADDRESSED, BEHIND_THE_OTHER, NAMED).admit(from_node(payload), NOW)
    assert isinstance(actions, list)
    assert actions[0] == Count(reason)


def test_nai_counts_only_in_front_of_the_authenticator_R2794_3() -> None:
    behind = parse_request(signed(replace(REQUEST, extensions=()), behind=(Nai(b"mn").extension(),)))
    assert nai_of(behind) is None
    hostile = parse_request(signed(replace(REQUEST, extensions=(Extension(ExtensionType.NAI, b"\xff\x00"),))))
    assert nai_of(hostile) == "\\xff\x00"


def test_two_nodes_that_no_request_could_tell_apart_are_refused() -> None:
    with pytest.raises(ValueError, match=r"192\.0\.2\.69: two nodes behind the same gateway"):
        Peers([ADDRESSED, replace(BEHIND_THE_OTHER, key=ADDRESSED.key)])
    with pytest.raises(ValueError, match="SPI 2001 means two nodes with the same key"):
        Peers([ADDRESSED, replace(BEHIND_THE_OTHER, associations=ADDRESSED.associations)])
