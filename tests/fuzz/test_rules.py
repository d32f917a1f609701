"""Frames of every kind, and worse ones, into the model of forwarding: always a verdict, and never one that leaks."""

from __future__ import annotations

import random
import time
from ipaddress import IPv4Address

from mobileip.forwarding import rules
from mobileip.forwarding.entries import NodeMode
from mobileip.forwarding.reasons import OUTCOME_NAMES, REASON_NAMES
from tests.forwarding import worlds
from tests.forwarding.frames import Case, Generator
from tests.fuzz.conftest import Inputs
from tests.fuzz.datagrams import mutated

PUBLIC, PRIVATE, WIRE = 2, 3, 4
INTERFACES = {"pub": PUBLIC, "priv": PRIVATE, "mip1": WIRE}
ENCAPSULATED = {
    "gateway_to_node",
    "gateway_to_home_agent",
    "home_agent_to_node",
    "node_to_node",
    "visitor_to_home_agent",
    "stack_to_tunnel",
}
WITH_PADDING = {"gateway_to_subnet", "other_source_to_subnet", "cut_in_two"}
FRAMES = 40
"""Frames in one draw."""


def _spoilt(dice: random.Random, case: Case) -> bytes:
    kind = dice.random()
    if kind < 0.4:
        return case.frame
    if kind < 0.5:
        return dice.randbytes(dice.randrange(120))
    # The addresses of Ethernet stay, or nothing else would be looked at.
    return case.frame[:14] + mutated(dice, case.frame[14:])


def _check(case: Case, frame: bytes, tables: rules.Snapshot, verdict: rules.Verdict) -> None:
    if verdict.action is rules.Action.DROP:
        assert verdict.reason in REASON_NAMES.values()
        return
    if verdict.action is rules.Action.STACK:
        assert verdict.frame == frame
    else:
        assert verdict.outcome in OUTCOME_NAMES.values()
        assert verdict.frame[12:14] == b"\x08\x00"
        length = int.from_bytes(verdict.frame[16:18])
        # Only what leaves without a change of headers keeps a frame's padding.
        assert len(verdict.frame) == 14 + length or verdict.outcome in WITH_PADDING
        assert verdict.outcome not in ENCAPSULATED or length <= tables.links[verdict.ifindex].mtu
    if case.program == "mn_egress":
        _check_no_leak(frame, tables, verdict)


def _check_no_leak(frame: bytes, tables: rules.Snapshot, verdict: rules.Verdict) -> None:
    """Outside, or unsure, nothing from the home address is on the link but IPsec, registrations and discovery.

    And answers to the echo requests of the tunnel's other end, which asks whether the path is alive.
    """
    path = tables.mobile_node
    if path is None or path.mode is NodeMode.HOME or path.encapsulate_all or len(frame) < 34:
        return
    packet = frame[14:]
    header = (packet[0] & 15) * 4
    total = int.from_bytes(packet[2:4])
    is_ip = frame[12:14] == b"\x08\x00" and packet[0] >> 4 == 4 and 20 <= header <= total <= len(packet)
    if not is_ip or packet[12:16] != path.home_address.packed:
        return
    protocol, body = packet[9], packet[header:total]
    is_later = bool(int.from_bytes(packet[6:8]) & 0x1FFF)
    ports = {int.from_bytes(body[:2]), int.from_bytes(body[2:4])}
    is_registration = protocol == 17 and 434 in ports and len(body) > 8 and body[8] in (1, 3)
    is_discovery = protocol == 1 and packet[8] == 1 and body[:1] in (b"\x09", b"\x0a")
    listed = {port for transport, port in path.passes.ports if transport == protocol}
    is_vpn = protocol in path.passes.protocols or bool(
        listed and (is_later or (len(body) >= 8 and int.from_bytes(body[2:4]) in listed))
    )
    is_to_gateway = IPv4Address(packet[16:20]) in path.gateways
    is_echo_reply = protocol == 1 and not is_later and body[:1] == b"\0"
    if verdict.action is rules.Action.STACK:
        answers_peer = is_echo_reply and IPv4Address(packet[16:20]) == path.peer
        expected = path.mode is NodeMode.FOREIGN_AGENT and ((is_vpn and is_to_gateway) or answers_peer)
        assert is_registration or is_discovery or expected
    else:
        is_keepalive = protocol == 1 and IPv4Address(packet[16:20]) == path.peer
        assert path.mode is NodeMode.TUNNEL
        assert is_keepalive or (is_vpn and is_to_gateway)
        assert verdict.frame[26:30] == path.care_of.packed


def test_every_frame_has_a_verdict(inputs: Inputs) -> None:
    now = time.time()
    every = list(worlds.worlds(now, PUBLIC, PRIVATE, WIRE))
    for dice in inputs:
        number = dice.randrange(len(every))
        tables = every[number].tables
        # The first world has no settings: frames for it are made from another's.
        made_for = every[1].tables if number == 0 else tables
        indices = {program: INTERFACES[name] for program, name in every[number].programs.items()}
        for case in Generator(dice.getrandbits(64), made_for, indices).cases(FRAMES):
            frame = _spoilt(dice, case)
            try:
                verdict = rules.decide(case.program, frame, tables, now, ifindex=indices[case.program], mark=case.mark)
                _check(case, frame, tables, verdict)
            except Exception as error:
                error.add_note(f"world {number}, {case.program}, mark {case.mark:#x}, frame {frame.hex()}")
                raise
