"""The draft's figures of 5.3, 5.4 and 6, address by address, in captures read by tshark."""

from __future__ import annotations

import pytest
from roaming import wire
from roaming.lab_hosts import LabHosts

from tests.scenario.conftest import Roamed

ESP, IP_IN_IP, UDP = wire.ESP, wire.IP_IN_IP, wire.UDP
Headers = tuple[tuple[str, ...], tuple[str, ...], tuple[int, ...]]


def headers(roamed: Roamed, segment: str, network: str) -> set[Headers]:
    """All combinations of addresses and protocols, outermost first, of frames with ESP inside during a stay."""
    frames = wire.within(roamed.analysis.frames[segment], *roamed.stay(network))
    return {(frame.sources, frame.destinations, frame.protocols) for frame in frames if frame.is_esp}


def both_ways(outer: tuple[str, str] | None, inner: tuple[str, str], protocols: tuple[int, ...]) -> set[Headers]:
    """The packets of a tunnel in both directions, as `headers` returns them."""
    pairs = [inner] if outer is None else [outer, inner]
    sources, destinations = tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs)
    return {(sources, destinations, protocols), (destinations, sources, protocols)}


@pytest.fixture(scope="module")
def sa(hosts: LabHosts) -> tuple[str, str]:
    """The ends of the SA: MN-Perm and VPNGW-Pub."""
    return hosts.home_address("mn"), hosts.address("vpngw", "pub")


@pytest.fixture(scope="module")
def mipp_pub(hosts: LabHosts) -> str:
    return hosts.address("mipp", "pub")


def test_open_network_carries_ip_in_ip_in_esp_figure_5_3(
    roamed: Roamed, hosts: LabHosts, sa: tuple[str, str], mipp_pub: str
) -> None:
    care_of = hosts.care_of("mn", "open")
    expected = both_ways((care_of, mipp_pub), sa, (IP_IN_IP, ESP))
    assert headers(roamed, "open", "open") == expected
    assert headers(roamed, "outside", "open") == expected


def test_nat_rewrites_only_the_outer_header_figure_6_2(
    roamed: Roamed, hosts: LabHosts, sa: tuple[str, str], mipp_pub: str
) -> None:
    inside, outside = hosts.care_of("mn", "nat"), hosts.address("nat", "outside")
    assert headers(roamed, "nat_inside", "nat") == both_ways((inside, mipp_pub), sa, (UDP, ESP))
    assert headers(roamed, "outside", "nat") == both_ways((outside, mipp_pub), sa, (UDP, ESP))


def test_nat_tunnel_is_mip_tunnel_data_on_port_434_RFC_3519_3_3(roamed: Roamed, mipp_pub: str) -> None:
    frames = [frame for frame in wire.within(roamed.analysis.frames["outside"], *roamed.stay("nat")) if frame.is_esp]
    assert frames
    for frame in frames:
        assert frame.mip_types == (wire.TUNNEL_DATA,)
        source, destination = frame.udp_ports[0]
        assert (destination if frame.outer[1] == mipp_pub else source) == wire.MIP_PORT


def test_foreign_agent_tunnels_what_the_node_sends_plain_figure_5_3(
    roamed: Roamed, hosts: LabHosts, sa: tuple[str, str], mipp_pub: str
) -> None:
    assert headers(roamed, "fa_link", "fa") == both_ways(None, sa, (ESP,))
    agent = hosts.address("fa", "uplink")
    assert headers(roamed, "fa_uplink", "fa") == both_ways((agent, mipp_pub), sa, (IP_IN_IP, ESP))


@pytest.mark.parametrize("network", ["open", "nat", "fa"])
def test_proxy_and_gateway_exchange_bare_esp_figures_5_3_and_5_4_D_4_2_1_a_and_D_4_2_1_c(
    roamed: Roamed, hosts: LabHosts, sa: tuple[str, str], mipp_pub: str, network: str
) -> None:
    assert both_ways(None, sa, (ESP,)) <= headers(roamed, hosts.handed_over_on("pub"), network)
    outer = {kind for kind in headers(roamed, "dmz_public", network) if len(kind[0]) > 1}
    assert outer == headers(roamed, "outside", network)


def test_registration_addresses_of_both_legs_D_2_7_1_a_and_D_2_7_2_a_and_D_2_b_and_D_1_4_1_b_and_D_1_4_1_c(
    roamed: Roamed, hosts: LabHosts, mipp_pub: str
) -> None:
    window = (roamed.recording.moves[0].started, roamed.recording.moves[0].ended)
    home, agent, private = hosts.home_address("mn"), hosts.address("ha", "core"), hosts.address("mipp", "priv")

    def registrations(segment: str) -> set[tuple[int, str, str]]:
        frames = wire.within(roamed.analysis.frames[segment], *window)
        return {(f.registration, *f.outer) for f in frames if f.home_address == home and f.registration is not None}

    care_of = hosts.care_of("mn", "open")
    assert registrations("outside") == {(1, care_of, mipp_pub), (3, mipp_pub, care_of)}
    assert registrations("dmz_private") == {(1, private, agent), (3, agent, private)}


@pytest.mark.parametrize(
    ("network", "occurrence", "segment"), [("open", 1, "open"), ("nat", 0, "nat_inside"), ("fa", 0, "fa_link")]
)
def test_registrations_leave_in_clear_beside_the_sa_that_is_up_D_2_a(
    roamed: Roamed, hosts: LabHosts, mipp_pub: str, network: str, occurrence: int, segment: str
) -> None:
    move = [move for move in roamed.recording.moves if move.target == network][occurrence]
    home, node = hosts.home_address("mn"), hosts.mac("mn", "eth0")
    earlier = [f for frames in roamed.analysis.frames.values() for f in wire.within(frames, 0, move.started)]
    frames = list(wire.within(roamed.analysis.frames[segment], move.started, move.ended))
    sent = [f for f in frames if f.eth_source == node and f.registration == wire.REQUEST and f.home_address == home]
    esp = [f for f in frames if f.is_esp and home in f.sources]
    assert sent
    # The SA was there before the node registered here, and is the one that carries its packets afterwards.
    assert {f.spi for f in esp} <= {f.spi for f in earlier if f.is_esp}
    assert any(f.time > sent[0].time for f in esp)
    way = (home, hosts.address("fa", "link")) if network == "fa" else (hosts.care_of("mn", network), mipp_pub)
    for frame in sent:  # one IP header, then UDP: neither ESP nor a tunnel around it
        assert (frame.sources, frame.destinations, frame.protocols) == ((way[0],), (way[1],), (UDP,))
        assert frame.udp_ports[0][1] == wire.MIP_PORT
    # None took another way: what reached the proxy is what left in clear.
    at_proxy = wire.within(roamed.analysis.frames["dmz_public"], move.started, move.ended)
    asked = [f for f in at_proxy if f.registration == wire.REQUEST and f.home_address == home]
    assert {f.identification for f in asked if f.outer[1] == mipp_pub} == {f.identification for f in sent}


@pytest.mark.parametrize("segment", ["outside", "open", "nat_inside", "nat_outside", "fa_link", "fa_uplink"])
def test_no_clear_inner_packet_outside_D_1_3_a_and_D_1_4_1_a(roamed: Roamed, hosts: LabHosts, segment: str) -> None:
    home, gateway = hosts.home_address("mn"), hosts.address("vpngw", "pub")
    frames = roamed.analysis.frames[segment]
    assert any(home in frame.sources and frame.is_esp for frame in frames), "the node was here and sent ESP"
    for frame in frames:
        if home not in frame.sources + frame.destinations:
            continue
        inner = {frame.sources[-1], frame.destinations[-1]}
        protected = inner == {home, gateway} and (frame.is_esp or frame.ike)
        keepalive = frame.protocols[-1] == 1 and inner == {home, hosts.address("mipp", "pub")}
        agent_discovery = frame.protocols == (1,) and segment == "fa_link"
        assert frame.registration or protected or keepalive or agent_discovery, f"clear packet: {frame}"


def test_tshark_finds_nothing_malformed(roamed: Roamed) -> None:
    bad = {name: {f.stack for f in frames if f.malformed} for name, frames in roamed.analysis.frames.items()}
    assert all(frames for frames in roamed.analysis.frames.values()), "a segment without a frame was not captured"
    assert {name: stacks for name, stacks in bad.items() if stacks} == {}
