"""What the proxy never does (draft section 3), on both of its wires while two nodes roam, expire and deregister.

Absence rests on captures that show what must be there as well: registrations, ESP, ARP for the proxy's own addresses.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from mobileip.wire.authentication import SecurityAssociation, append
from mobileip.wire.identification import from_unix
from mobileip.wire.messages import Flag, RegistrationReply, RegistrationRequest, parse_message, parse_reply
from mobileip.wire.typed_extensions import HomeAgentParameter
from tests.integration.site import HOME, MIPP_PUB, SECOND_HOME, Site, running, until

pytestmark = [
    pytest.mark.namespaces,
    pytest.mark.skipif(os.geteuid() != 0 or shutil.which("clang") is None, reason="needs root and clang"),
]

MIPP_PRIV, HOME_AGENT = "192.0.2.10", "192.0.2.40"
SECOND_SA = SecurityAssociation(2002, bytes.fromhex("5a4b3c2d1e0f00112233445566778899"))
SHORT = 3
"""Seconds of the second node's lifetime that is left to expire."""

_ASK = """
import socket, sys
channel = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
channel.settimeout(5)
channel.sendto(bytes.fromhex(sys.argv[1]), ("203.0.113.10", 434))
print(channel.recv(4096).hex())
"""
_ASK_WHO_HAS = """
import socket, sys
interface, sender, *targets = sys.argv[1:]
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as channel:
    channel.bind((interface, 0x0806))
    mac = channel.getsockname()[4]
    for target in targets:
        channel.send(bytes.fromhex("ffffffffffff") + mac + bytes.fromhex("08060001080006040001") + mac
                     + socket.inet_aton(sender) + bytes(6) + socket.inet_aton(target))
"""
_FIELDS = (
    *("frame.time_epoch", "arp.opcode", "arp.src.proto_ipv4", "arp.dst.proto_ipv4", "icmp.type", "ip.src", "ip.dst"),
    *("ip.proto", "udp.dstport", "udp.payload", "esp.spi"),
)


@dataclass(frozen=True)
class Frame:
    """A frame on one of the proxy's wires: when, and what tshark saw in it (all values of a field)."""

    seconds: float
    fields: dict[str, list[str]]

    def has(self, field: str, value: str) -> bool:
        return value in self.fields[field]

    @property
    def registration(self) -> bytes:
        """The payload of a datagram for port 434 that no tunnel carries; else nothing."""
        ports, payloads = self.fields["udp.dstport"], self.fields["udp.payload"]
        plain = self.fields["ip.proto"] == ["17"] and payloads and payloads[0][:2] in ("01", "03")
        return bytes.fromhex(payloads[0]) if plain and ports else b""


@dataclass(frozen=True)
class Session:
    """All that the proxy sent and was sent, by side, and two spans in which it had no reason to send anything."""

    sent: dict[str, list[Frame]]
    received: dict[str, list[Frame]]
    away_and_silent: tuple[float, float]
    expiring: tuple[float, float]

    def all_sent(self) -> list[Frame]:
        return [frame for side in self.sent.values() for frame in side]


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    directory = tmp_path_factory.mktemp("never")
    with running(directory) as site:
        with _captured(site, directory):
            silent, expiring = _live(site)
        yield Session(
            {side: _frames(directory / f"sent-{side}.pcap") for side in ("pub", "priv")},
            {side: _frames(directory / f"received-{side}.pcap") for side in ("pub", "priv")},
            silent,
            expiring,
        )


@contextmanager
def _captured(site: Site, directory: Path) -> Iterator[None]:
    """tcpdump on the far ends of the proxy's wires: what goes in there, the proxy has sent."""
    names = []
    # What comes in is captured first, and a second before the rest: what the proxy is seen to send, it is seen to get.
    for name, direction in (("received", "out"), ("sent", "in")):
        for side in ("pub", "priv"):
            file = str(directory / f"{name}-{side}.pcap")
            # Without what the kernel says of itself in IPv6: these hosts have none of it that is ours.
            options = ["-Q", direction, "--immediate-mode", "-U", "-w", file, "ip or arp"]
            command = ["tcpdump", "-i", f"mipp-{side}", *options]
            site.spawn(f"capture-{name}-{side}", "wires", command)
            names.append(f"capture-{name}-{side}")
        for listening in names:
            until(lambda: "listening on" in site.log(listening), what=f"{listening}: {site.log(listening)}")  # noqa: B023 - called at once
        time.sleep(1.0)
    yield
    time.sleep(0.5)
    for name in names:
        process = site.processes.pop(name)
        process.send_signal(signal.SIGTERM)
        process.wait(10)
        assert "0 packets dropped by kernel" in site.log(name)


def _live(site: Site) -> tuple[tuple[float, float], tuple[float, float]]:
    """Two nodes come, move, ask for ARP's answers about them, go silent, expire and leave."""
    _registered(site, "198.51.100.10")
    assert until(lambda: site.ping() == 3, what="ping from outside")
    assert _second(site, "inet", "203.0.113.1", 60).accepted
    _ask_who_has(site)
    site.move("fa")
    _registered(site, "198.51.100.100")
    assert until(lambda: site.ping() == 3, what="ping through the foreign agent")
    # The second node moves as well: what was at one address registers another.
    assert _second(site, "fa", "198.51.100.97", 60, source="198.51.100.100").accepted
    silent = _move_in_silence(site)
    site.move("home")
    site.park(True)
    until(lambda: HOME not in dict(site.bindings("mipp")), what="deregistration")
    site.park(False)
    # One binding ends by its lifetime, the next by its node.
    assert _second(site, "inet", "203.0.113.1", SHORT).lifetime == SHORT
    began = time.time()
    until(lambda: SECOND_HOME not in dict(site.bindings("mipp")), what="expiry")
    time.sleep(1.0)
    expiring = (began + 0.3, time.time())
    assert _second(site, "inet", "203.0.113.1", 60).accepted
    assert _second(site, "inet", "203.0.113.1", 0).accepted
    assert SECOND_HOME not in dict(site.bindings("mipp"))
    site.move("open")
    _registered(site, "198.51.100.10")
    assert until(lambda: site.ping() == 3, what="ping from outside again")
    return silent, expiring


def _registered(site: Site, care_of: str) -> None:
    until(lambda: dict(site.bindings("mipp")).get(HOME) == care_of, what=f"{care_of}; {site.log('mn')[-1500:]}")


def _second(site: Site, host: str, care_of: str, lifetime: int, source: str = "") -> RegistrationReply:
    """What the proxy answers the second node, which is where `host` is."""
    request = RegistrationRequest(
        Flag.DECAPSULATES | Flag.REVERSE_TUNNEL,
        lifetime,
        IPv4Address(SECOND_HOME),
        IPv4Address(MIPP_PUB),
        IPv4Address(source or care_of),
        from_unix(time.time()),
        (HomeAgentParameter(IPv4Address(HOME_AGENT)).extension(),),
    )
    said = site.run(host, sys.executable, "-c", _ASK, append(request.serialize(), SECOND_SA).hex()).stdout
    return parse_reply(bytes.fromhex(said))


def _ask_who_has(site: Site) -> None:
    """Neighbours on both segments ask for the nodes and for the proxy itself."""
    for host, asking, own in (("inet", "203.0.113.1", MIPP_PUB), ("inner", "192.0.2.1", MIPP_PRIV)):
        for _ in range(2):
            site.run(host, sys.executable, "-c", _ASK_WHO_HAS, "dmz", asking, own, HOME, SECOND_HOME)
            time.sleep(0.3)


def _move_in_silence(site: Site) -> tuple[float, float]:
    """The first node is carried off without a word: nobody but itself could have told the proxy."""
    process = site.processes["mn"]
    process.send_signal(signal.SIGSTOP)
    try:
        began = time.time()
        site.move("open")
        time.sleep(2.5)
        return began, time.time() - 0.1
    finally:
        process.send_signal(signal.SIGCONT)


def _frames(capture: Path) -> list[Frame]:
    command = ["tshark", "-r", str(capture), "-T", "fields", "-E", "occurrence=a", "-E", "aggregator=,"]
    for field in _FIELDS:
        command += ["-e", field]
    lines = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.splitlines()
    rows = [dict(zip(_FIELDS, line.split("\t"), strict=True)) for line in lines]
    return [
        Frame(float(row["frame.time_epoch"]), {name: value.split(",") if value else [] for name, value in row.items()})
        for row in rows
    ]


def _requests(frames: list[Frame]) -> list[tuple[float, RegistrationRequest]]:
    found = [(frame.seconds, parse_message(frame.registration)) for frame in frames if frame.registration]
    return [(seconds, message) for seconds, message in found if isinstance(message, RegistrationRequest)]


def _replies(frames: list[Frame]) -> list[tuple[float, RegistrationReply]]:
    found = [(frame.seconds, parse_message(frame.registration)) for frame in frames if frame.registration]
    return [(seconds, message) for seconds, message in found if isinstance(message, RegistrationReply)]


def test_the_captures_show_what_must_be_there(session: Session) -> None:
    assert len(_requests(session.sent["priv"])) >= 6
    assert sum(reply.accepted for _, reply in _replies(session.sent["pub"])) >= 6
    # Data in both of its directions: to the gateway decapsulated, to the node encapsulated.
    esp = [frame for frame in session.sent["pub"] if frame.fields["esp.spi"]]
    assert sum(frame.fields["ip.proto"] == ["50"] for frame in esp) >= 9
    assert sum(frame.fields["ip.proto"][0] == "4" for frame in esp) >= 9


def test_no_advertisement_and_no_solicitation_leave_the_proxy_D_3_a_and_D_3_e(session: Session) -> None:
    assert any(frame.registration for frame in session.all_sent())
    assert [frame for frame in session.all_sent() if frame.has("icmp.type", "9") or frame.has("icmp.type", "10")] == []


def test_no_arp_for_a_node_gratuitous_or_by_proxy_D_3_b_and_D_3_c(session: Session) -> None:
    nodes = {HOME, SECOND_HOME}
    for side, own in (("pub", MIPP_PUB), ("priv", MIPP_PRIV)):
        asked = [frame for frame in session.received[side] if frame.has("arp.opcode", "1")]
        about = {address for frame in asked for address in frame.fields["arp.dst.proto_ipv4"]}
        assert nodes | {own} <= about, "what was asked on this side"
        arp = [frame.fields for frame in session.sent[side] if frame.fields["arp.opcode"]]
        assert any(each["arp.opcode"] == ["2"] and each["arp.src.proto_ipv4"] == [own] for each in arp)
        assert {address for each in arp for address in each["arp.src.proto_ipv4"]} == {own}
        gratuitous = [each for each in arp if each["arp.src.proto_ipv4"] == each["arp.dst.proto_ipv4"]]
        assert [each for each in gratuitous if set(each["arp.dst.proto_ipv4"]) & nodes] == []


def test_nothing_but_registrations_tunnels_and_the_nodes_own_packets_so_no_optimised_route_D_3_d(
    session: Session,
) -> None:
    counted = {"registrations": 0, "tunnelled": 0, "handed over": 0}
    for frame in session.all_sent():
        if frame.fields["arp.opcode"]:
            continue
        protocol, source, destination = (frame.fields[name][0] for name in ("ip.proto", "ip.src", "ip.dst"))
        if frame.registration:
            counted["registrations"] += 1
            # Requests to the home agent, replies to whoever asked: nobody else is told where a node is.
            kind = frame.registration[0]
            assert (kind, source) in ((1, MIPP_PRIV), (3, MIPP_PUB))
            assert kind == 3 or destination == HOME_AGENT
        elif source in (MIPP_PUB, MIPP_PRIV):
            counted["tunnelled"] += 1
            assert protocol == "4", frame
            assert source == MIPP_PUB or destination == HOME_AGENT
        else:
            counted["handed over"] += 1
            assert HOME in (source, destination), frame
    assert all(count >= 6 for count in counted.values()), counted


def test_a_move_is_not_noticed_before_the_node_tells_it_D_3_f(session: Session) -> None:
    began, ended = session.away_and_silent
    sent = [frame for frame in session.all_sent() if began <= frame.seconds <= ended and not frame.fields["arp.opcode"]]
    assert sent == []
    assert any(frame.registration for frame in session.all_sent() if frame.seconds > ended)


def test_every_request_to_a_home_agent_is_a_nodes_own_and_none_is_repeated_or_renewed_D_3_g_and_D_3_h(
    session: Session,
) -> None:
    asked = {request.identification: seconds for seconds, request in _requests(session.received["pub"])}
    relayed = _requests(session.sent["priv"])
    assert relayed
    for seconds, request in relayed:
        assert request.identification in asked, f"of its own accord: {request}"
        assert asked[request.identification] <= seconds
    identifications = [request.identification for _, request in relayed]
    assert len(set(identifications)) == len(identifications)
    # A lifetime runs out on the second node, and nobody is told.
    began, ended = session.expiring
    assert ended - began > SHORT
    assert [frame for frame in session.all_sent() if frame.registration and began < frame.seconds < ended] == []
