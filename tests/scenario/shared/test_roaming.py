"""What a roaming user is promised, on real hosts with real strongSwan."""

from __future__ import annotations

import re

import pytest
from roaming import wire
from roaming.lab_hosts import LabHosts

from tests.scenario.conftest import Roamed

MOVES = range(6)
TCP = 6
SPI = re.compile(r"\b(?:in|out) +([0-9a-f]{8})\b")
"""As `swanctl --list-sas` shows one."""


def test_tcp_session_lives_from_before_the_first_move_to_after_the_last(roamed: Roamed) -> None:
    assert roamed.analysis.tcp_session_survived, roamed.analysis.why_not


@pytest.mark.parametrize("index", MOVES)
def test_no_tcp_byte_is_lost(roamed: Roamed, index: int) -> None:
    assert roamed.analysis.moves[index].tcp_bytes_lost == 0


def test_first_departure_sets_the_sa_up_by_ike_D_5_1_c(roamed: Roamed) -> None:
    first = roamed.analysis.moves[0]
    assert (first.origin, first.target) == ("home", "open")
    assert first.ike_messages >= 4, "IKE_SA_INIT and IKE_AUTH, a request and a response each"
    assert first.esp_frames > 0


@pytest.mark.parametrize("index", MOVES[1:])
def test_no_ike_message_in_any_later_move_D_1_3_b(roamed: Roamed, index: int) -> None:
    move = roamed.analysis.moves[index]
    assert move.ike_messages == 0
    assert move.exchanges > 0, "no registration on the wire: the capture proves nothing"
    if move.target != "home":
        assert move.esp_frames > 50, "no ESP in the capture that shows no IKE"


@pytest.mark.parametrize("index", MOVES[1:])
def test_outage_is_at_most_registration_and_a_tenth_of_a_second(roamed: Roamed, index: int) -> None:
    move = roamed.analysis.moves[index]
    assert move.own_outage_ms <= move.registration_rtt_ms * 1.2 + 100


def test_one_esp_sa_from_the_first_move_to_the_last_D_1_3_b(roamed: Roamed) -> None:
    assert len(roamed.analysis.spis) == 2, "one SA has one SPI a direction"
    carried = [frame for frame in roamed.analysis.frames[roamed.recording.gateway_wire] if frame.spi]
    assert carried[-1].time > roamed.recording.moves[-1].moved, "the SA is still in use after the last move"


def test_coming_home_is_a_deregistration_accepted_by_the_home_agent_itself(roamed: Roamed, hosts: LabHosts) -> None:
    home = next(move for move in roamed.recording.moves if move.target == "home")
    frames = wire.within(roamed.analysis.frames["home"], home.started, home.ended)
    answered = wire.exchanges(frames, hosts.home_address("mn"))
    assert (hosts.address("ha", "core"), 0) in [(pair.agent, pair.code) for pair in answered]
    assert {pair.code for pair in answered if pair.agent == hosts.address("mipp", "pub")} <= {206}


def test_at_home_packets_go_in_clear_past_the_parked_sa(roamed: Roamed, hosts: LabHosts) -> None:
    home, correspondent = hosts.home_address("mn"), hosts.address("cn", "eth0")
    stay = roamed.stay("home")
    frames = list(wire.within(roamed.analysis.frames["home"], *stay))
    for ends in ((home, correspondent), (correspondent, home)):
        carried = {frame.protocols for frame in frames if frame.outer == ends}
        assert carried == {(TCP,), (wire.UDP,)}, "the stream and the probe, one IP header and no ESP"
    assert [frame for frame in wire.within(roamed.analysis.frames["outside"], *stay) if frame.is_esp] == []
    # Parked, not gone: the next departure used it without IKE, and both ends still have it.
    for end, peer in (("mn", hosts.address("vpngw", "pub")), ("vpngw", home)):
        listed = hosts.run(end, ["swanctl", "--list-sas"]).stdout
        assert peer in listed
        assert {int(spi, 16) for spi in roamed.analysis.spis} <= {int(spi, 16) for spi in SPI.findall(listed)}


def test_encapsulation_follows_the_network(roamed: Roamed) -> None:
    seen = [(move.target, move.encapsulation) for move in roamed.analysis.moves]
    assert seen == [
        ("open", "ip-in-ip"),
        ("nat", "mip-udp"),
        ("fa", "ip-in-ip"),
        ("open", "ip-in-ip"),
        ("home", "none"),
        ("open", "ip-in-ip"),
    ]
