"""Content of the extensions that the parties understand."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobileip.wire.errors import Malformed
from mobileip.wire.extensions import Extension, parse_extensions
from mobileip.wire.typed_extensions import (
    ENCAPSULATING_DELIVERY,
    TRUSTED_NETWORKS,
    DynamicHomeAgent,
    FaError,
    HomeAgentParameter,
    HomeAgentParameterEncoding,
    HomeAgentParameterFormat,
    MessageString,
    MessageStringOrigin,
    Nai,
    UdpTunnelReply,
    UdpTunnelRequest,
    find_home_agent_parameter,
    requested_home_agent,
)

HOME_AGENT = IPv4Address("10.1.0.1")
SHORT = HomeAgentParameterFormat()
LONG = HomeAgentParameterFormat(127, 3, HomeAgentParameterEncoding.RFC4064_LONG)
SKIPPABLE = HomeAgentParameterFormat(255, 0, HomeAgentParameterEncoding.SKIPPABLE)
ENCODINGS = [(SHORT, "7e0600000a010001"), (LONG, "7f0300040a010001"), (SKIPPABLE, "ff0600000a010001")]


def only(framed: str) -> Extension:
    (extension,) = parse_extensions(bytes.fromhex(framed), 0)
    return extension


@pytest.mark.parametrize(("form", "framed"), ENCODINGS)
def test_home_agent_parameter_in_each_encoding_D_2_5_3_c(form: HomeAgentParameterFormat, framed: str) -> None:
    parameter = HomeAgentParameter(HOME_AGENT, form)
    assert parameter.extension().serialize().hex() == framed
    assert find_home_agent_parameter([only(framed)], [SHORT, LONG, SKIPPABLE]) == parameter


def test_home_agent_parameter_reserved_byte_is_ignored_AMB_5() -> None:
    assert HomeAgentParameter.of(only("7e0600ff0a010001"), SHORT).address == HOME_AGENT


@pytest.mark.parametrize("framed", ["7e0500000a0100", "7e0700000a01000100", "7e0601000a010001", "7e00"])
def test_home_agent_parameter_of_another_length_or_subtype_is_not_valid_AMB_5(framed: str) -> None:
    with pytest.raises(Malformed):
        find_home_agent_parameter([only(framed)], [SHORT])


def test_two_home_agent_parameters_are_malformed_AMB_5() -> None:
    with pytest.raises(Malformed, match="got a second"):
        find_home_agent_parameter([only(ENCODINGS[0][1]), only(ENCODINGS[2][1])], [SHORT, SKIPPABLE])
    assert find_home_agent_parameter([only(ENCODINGS[2][1])], [SHORT]) is None


def test_type_127_has_the_long_layout_and_no_other_type_has() -> None:
    with pytest.raises(ValueError, match="127"):
        HomeAgentParameterFormat(127)
    with pytest.raises(ValueError, match="126"):
        HomeAgentParameterFormat(126, 0, HomeAgentParameterEncoding.RFC4064_LONG)


def test_udp_tunnel_request_is_the_vector() -> None:
    assert UdpTunnelRequest(forced=True).extension().serialize().hex() == "9006000080040000"
    assert UdpTunnelRequest.of(only("9006000040370000")) == UdpTunnelRequest(False, True, 55)


def test_udp_tunnel_request_with_reserved3_is_not_understood_R3519_3_1_b() -> None:
    assert not UdpTunnelRequest.of(only("9006000080040001")).understood
    assert not UdpTunnelRequest.of(only("9006010080040000")).understood
    assert UdpTunnelRequest.of(only("900600ffbf040000")) == UdpTunnelRequest(forced=True)  # Reserved1, 2: ignored


@pytest.mark.parametrize("framed", ["90050000800400", "900700008004000000", "9000"])
def test_udp_tunnel_request_of_another_length_is_malformed(framed: str) -> None:
    with pytest.raises(Malformed):
        UdpTunnelRequest.of(only(framed))


def test_udp_tunnel_reply_is_the_vector_R3519_3_2_a() -> None:
    reply = UdpTunnelReply(0, forced=True, keepalive=110)
    assert reply.extension().serialize().hex() == "2c0600008000006e"
    assert UdpTunnelReply.of(only("2c0600008000006e")) == reply
    assert reply.assents
    assert not UdpTunnelReply.of(only("2c0600407fff0000")).assents
    for framed in ("2c06010080000000", "2c050000800000"):
        with pytest.raises(Malformed):
            UdpTunnelReply.of(only(framed))


def test_fixed_encodings_are_the_vectors() -> None:
    assert ENCAPSULATING_DELIVERY.serialize().hex() == "8200"
    assert TRUSTED_NETWORKS.serialize().hex() == "95020000"
    assert FaError(68).extension().serialize().hex() == "2d020044"
    assert FaError.of(only("2d020044")) == FaError(68)
    with pytest.raises(Malformed):
        FaError.of(only("2d0144"))


def test_nai_and_message_string() -> None:
    assert Nai.of(only("830361406e")) == Nai(b"a@n")
    assert Nai(b"a@n").extension().serialize().hex() == "830361406e"
    with pytest.raises(Malformed):
        Nai.of(only("8300"))
    assert MessageString("no").extension().serialize().hex() == "9103016e6f"
    assert MessageString.of(only("9103026e6f")) == MessageString("no", MessageStringOrigin.FOREIGN_AGENT)
    assert MessageString.of(only("910201ff")).text == "\N{REPLACEMENT CHARACTER}"
    assert len(MessageString("\N{EURO SIGN}" * 200).extension().data) == 1 + 252  # cut between characters
    for framed in ("9100", "910103"):
        with pytest.raises(Malformed):
            MessageString.of(only(framed))


@given(st.integers(1, 255), st.binary(max_size=20), st.integers(0, 255))
def test_any_content_is_read_or_malformed(kind: int, data: bytes, subtype: int) -> None:
    for extension in (Extension(kind, data), Extension(kind, data, subtype)):
        for read in (UdpTunnelRequest.of, UdpTunnelReply.of, Nai.of, MessageString.of, FaError.of, DynamicHomeAgent.of):
            try:
                read(extension)
            except Malformed:
                continue
        for form in (SHORT, LONG, SKIPPABLE):
            try:
                HomeAgentParameter.of(extension, form)
            except Malformed:
                continue


@pytest.mark.parametrize("redirected", [False, True])
@pytest.mark.parametrize("long", [False, True])
def test_dynamic_home_agent_is_read_in_both_layouts_R4433_3_4_a(redirected: bool, long: bool) -> None:
    subtype = 2 if redirected else 1
    data = bytes.fromhex(f"8b0{subtype}0004c0000228" if long else f"8b050{subtype}c0000228")
    (extension,) = parse_extensions(data, 0)
    assert DynamicHomeAgent.of(extension) == DynamicHomeAgent(IPv4Address("192.0.2.40"), redirected)
    assert DynamicHomeAgent.of(extension).extension().serialize().hex() == f"8b0{subtype}0004c0000228"
    asked = requested_home_agent([extension])
    assert asked == (None if redirected else IPv4Address("192.0.2.40"))


@pytest.mark.parametrize("data", ["8b0503c0000228", "8b00", "8b0401c00002"])
def test_dynamic_home_agent_of_another_shape_is_malformed(data: str) -> None:
    (extension,) = parse_extensions(bytes.fromhex(data), 0)
    with pytest.raises(Malformed, match="Dynamic Home Agent"):
        DynamicHomeAgent.of(extension)
